import static java.nio.charset.StandardCharsets.UTF_8;

import evq.Queue;
import java.time.Instant;

/**
 * Posts to the threads of a forum: java -cp 'target/classes:target/dependency/*' Producer [posts]
 *
 * <pre>
 * REDIS_URL   where the server is, redis://localhost:6379
 * EVQ_RUN     names this run: its posts get tokens, so a second start appends none twice
 * EVQ_IN_MS   schedules each post so many milliseconds ahead
 * </pre>
 */
public final class Producer {
  public static void main(String[] args) throws InterruptedException {
    String url = System.getenv().getOrDefault("REDIS_URL", "redis://localhost:6379");
    int posts = args.length > 0 ? Integer.parseInt(args[0]) : 10;
    try (Queue queue = new Queue(url, new Queue.Options())) {
      for (int n = 0; n < posts; n++) {
        String key = "thread:" + n % 3; // events of one key stay in order
        Queue.Appended appended = post(queue, key, n);
        System.out.println(appended.partition() + " " + appended.id() + " " + key);
      }
    }
  }

  private static Queue.Appended post(Queue queue, String key, int n) throws InterruptedException {
    byte[] payload = ("{\"post\":" + n + ",\"text\":\"Hello\"}").getBytes(UTF_8);
    Queue.About about = Queue.About.type("PostCreated");
    String run = System.getenv("EVQ_RUN");
    if (run != null) about = about.unique(run + ":" + n);
    String inMs = System.getenv("EVQ_IN_MS");
    while (true) {
      try {
        return inMs == null
            ? queue.trigger(key, payload, about)
            : queue.schedule(Instant.now().plusMillis(Long.parseLong(inMs)), key, payload, about);
      } catch (Queue.FullException full) {
        System.err.println("full: waiting");
        Thread.sleep(100); // the workers are behind; nothing was written
      }
    }
  }
}
