import static java.nio.charset.StandardCharsets.UTF_8;

import evq.Queue;
import java.util.Map;
import org.json.JSONObject;

/**
 * Handles the posts of a forum until SIGTERM or SIGINT:
 * java -cp 'target/classes:target/dependency/*' Worker
 *
 * <pre>
 * REDIS_URL     where the server is, redis://localhost:6379
 * EVQ_GROUP     the group to work for, default
 * EVQ_WORKERS   workers in this process, 1
 * EVQ_LEASE_MS  how long a worker may be silent, 30000
 * EVQ_SOURCE    a partition, instead of any
 * </pre>
 *
 * A post like {"ms": 500, "fails": 1} takes half a second and fails once.
 */
public final class Worker {
  public static void main(String[] args) throws InterruptedException {
    Map<String, String> setting = System.getenv();
    Queue.Options options = new Queue.Options()
        .group(setting.getOrDefault("EVQ_GROUP", "default"))
        .source(setting.getOrDefault("EVQ_SOURCE", "*"))
        .leaseMs(Integer.parseInt(setting.getOrDefault("EVQ_LEASE_MS", "30000")));
    int workers = Integer.parseInt(setting.getOrDefault("EVQ_WORKERS", "1"));
    String url = setting.getOrDefault("REDIS_URL", "redis://localhost:6379");
    try (Queue queue = new Queue(url, options);
        Queue.Crew crew = queue.work(workers, Worker::handle)) {
      // The virtual machine ends when its hooks have, so this one waits for the workers.
      Runtime.getRuntime().addShutdownHook(new Thread(crew::close));
      crew.join();
    }
  }

  /** May see an event again, after a crash: it must bear that. */
  private static void handle(Queue.Event event) throws Exception {
    JSONObject post = new JSONObject(new String(event.payload(), UTF_8));
    Thread.sleep(post.optLong("ms")); // interrupted if the lease is lost
    if (event.attempt() <= post.optInt("fails")) throw new IllegalStateException("not yet");
    String head = String.format("%d %d %s %d %s ",
        event.partition(), event.epoch(), event.id(), event.attempt(), event.key());
    // One write, for several workers may share the output.
    System.out.writeBytes((head + new String(event.payload(), UTF_8) + "\n").getBytes(UTF_8));
    System.out.flush();
  }
}
