package evq;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.net.URI;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.json.JSONArray;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.commands.ProtocolCommand;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.exceptions.JedisException;
import redis.clients.jedis.util.JedisURIHelper;

/**
 * EVQ for Java 17 on Jedis 8: copy this file into your project. One ring and one group.
 *
 * <pre>
 * try (Queue queue = new Queue("redis://localhost:6379", new Queue.Options().group("mailer"))) {
 *   queue.trigger("thread:42", payload, Queue.About.type("PostCreated"));
 *   try (Queue.Crew crew = queue.work(4, event -&gt; sendMail(event.key(), event.payload()))) {
 *     crew.join();  // a handler that throws: the event is retried; its key waits
 *   }               // close() finishes what is in hand, and gives the partitions up
 * }
 * </pre>
 */
public final class Queue implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger("evq");
  // What waiting does not mend ends a worker; anything else is tried again.
  private static final Set<String> HOPELESS = Set.of(
      "EVQNORING", "EVQNAME", "EVQNOGROUP", "WRONGTYPE", "NOPERM", "NOAUTH", "WRONGPASS");

  private final URI uri;
  private final Options options;
  private final RedisClient client;

  /** Does not connect yet. */
  public Queue(String uri, Options options) {
    this.uri = URI.create(uri);
    this.options = options;
    // A pool, for commands that any connection may send. It sends nothing twice by itself.
    client = RedisClient.builder()
        .hostAndPort(JedisURIHelper.getHostAndPort(this.uri)).clientConfig(config(5000)).build();
  }

  private DefaultJedisClientConfig config(int socketTimeoutMs) {
    return DefaultJedisClientConfig.builder()
        .user(JedisURIHelper.getUser(uri)).password(JedisURIHelper.getPassword(uri))
        .database(JedisURIHelper.getDBIndex(uri)).ssl(JedisURIHelper.isRedisSSLScheme(uri))
        .connectionTimeoutMillis(5000).socketTimeoutMillis(socketTimeoutMs).build();
  }

  /** Appends an event. */
  public Appended trigger(String key, byte[] payload, About about) {
    return produce("EVQ.TRIGGER", List.of(key, payload), about);
  }

  /** Appends an event when its time has come; the id is that of its ticket. */
  public Appended schedule(Instant at, String key, byte[] payload, About about) {
    return produce("EVQ.SCHEDULE", List.of(key, payload, "AT", at.toEpochMilli()), about);
  }

  private Appended produce(String command, List<Object> event, About about) {
    List<Object> words = new ArrayList<>(event);
    words.addAll(List.of("RING", options.ring));
    if (about.type != null) words.addAll(List.of("TYPE", about.type));
    about.headers.forEach((name, value) -> words.addAll(List.of("HEADER", name, value)));
    if (about.unique != null) words.addAll(List.of("UNIQUE", about.unique));
    for (long pauseMs = 50; ; pauseMs *= 2) {
      try {
        List<?> reply = (List<?>) call(client::sendCommand, command, words.toArray());
        return new Appended((Long) reply.get(0), text(reply.get(1)));
      } catch (JedisDataException error) {
        throw error; // an answer
      } catch (JedisException error) {
        if (about.unique == null || pauseMs > 5000) throw error;
        try {
          Thread.sleep(pauseMs);
        } catch (InterruptedException stop) {
          Thread.currentThread().interrupt();
          throw error;
        }
      }
    }
  }

  /** How the group stands over all partitions: lag, retrying, dead-letters and more. */
  public Map<String, Object> stats() {
    Object reply = call(client::sendCommand, "EVQ.GROUPS", "RING", options.ring, "JSON");
    for (Object group : new JSONArray(text(reply)).toList()) {
      @SuppressWarnings("unchecked")
      Map<String, Object> map = (Map<String, Object>) group;
      if (options.group.equals(map.get("group"))) return map;
    }
    return Map.of();
  }

  /** Starts that many workers, each a thread with a connection of its own. */
  public Crew work(int workers, Handler handler) {
    return new Crew(workers, handler);
  }

  /** Ends the connections of trigger, schedule and stats. Close the crew before. */
  @Override
  public void close() {
    client.close();
  }

  /** Running workers. */
  public final class Crew implements AutoCloseable {
    private final Map<Worker, Thread> threads = new HashMap<>();
    private final CountDownLatch stopping = new CountDownLatch(1);
    private final ScheduledExecutorService heart = Executors.newSingleThreadScheduledExecutor();
    private volatile RuntimeException failure;

    private Crew(int workers, Handler handler) {
      for (int n = 0; n < workers; n++) {
        Worker worker = new Worker(this, handler);
        threads.put(worker, new Thread(worker, "evq-worker-" + n));
      }
      threads.values().forEach(Thread::start);
      heart.scheduleAtFixedRate(() -> threads.keySet().forEach(Worker::beat),
          options.leaseMs / 3, options.leaseMs / 3, TimeUnit.MILLISECONDS);
    }

    private boolean isStopping() {
      return stopping.getCount() == 0;
    }

    /** Waits until all have ended: by close(), or by what waiting does not mend, thrown here. */
    public void join() throws InterruptedException {
      for (Thread thread : threads.values()) thread.join();
      if (failure != null) throw failure;
    }

    /** Calls the workers that wait; the others finish the event in hand. */
    @Override
    public void close() {
      stopping.countDown();
      try {
        for (Map.Entry<Worker, Thread> each : threads.entrySet()) {
          while (each.getValue().isAlive()) {
            each.getKey().callIn();
            each.getValue().join(20);
          }
        }
      } catch (InterruptedException hurry) {
        Thread.currentThread().interrupt(); // their connections end with the process
      }
      heart.shutdown();
    }
  }

  /**
   * One connection. Without WORKER it is the worker: its lease ends when it closes, however the
   * process ended, and the next in line takes over. A pool may give ACK another than CONSUME had.
   */
  private final class Worker implements Runnable {
    private final Crew crew;
    private final Handler handler;
    private long pauseMs = 100;
    private volatile Long waiting; // the connection's id while it waits in EVQ.CONSUME
    private Lease lease; // in hand; guarded by this

    private Worker(Crew crew, Handler handler) {
      this.crew = crew;
      this.handler = handler;
    }

    @Override
    public void run() {
      while (!crew.isStopping()) {
        // A pull takes as long as BLOCK, and Jedis gives up after 2 seconds by default.
        try (Jedis jedis = new Jedis(
            JedisURIHelper.getHostAndPort(uri), config(options.blockMs + 5000))) {
          pull(jedis);
        } catch (NoPartitionException gone) {
          return; // a resize has removed it, and nothing is left in it
        } catch (RuntimeException error) {
          if (HOPELESS.contains(code(error))) {
            crew.failure = error;
            crew.stopping.countDown();
            return;
          }
          // Nobody knows what the server has done: forget the ACK and what is in hand, and start
          // over as a new worker. What was not acknowledged comes again.
          LOG.log(System.Logger.Level.WARNING, "starting over: " + error);
          try {
            crew.stopping.await(pauseMs, TimeUnit.MILLISECONDS);
          } catch (InterruptedException stop) {
            return;
          }
          pauseMs = Math.min(pauseMs * 2, 5000);
        } finally {
          waiting = null;
        }
      }
    }

    private void pull(Jedis jedis) {
      long id = jedis.clientId();
      Long partition = null;
      List<Object> ack = List.of();
      while (true) {
        waiting = id;
        if (crew.isStopping()) break; // else close() comes later, and finds the id
        List<Object> words = new ArrayList<>(List.of(options.source));
        words.addAll(names("COUNT", options.count, "BLOCK", options.blockMs,
            "LEASE", options.leaseMs));
        words.addAll(ack);
        List<?> reply = (List<?>) call(jedis::sendCommand, "EVQ.CONSUME", words.toArray());
        waiting = null;
        ack = List.of();
        pauseMs = 100;
        if (reply == null) continue; // nothing to do in time, or other workers have it
        partition = (Long) reply.get(0);
        String done = handle(jedis, partition, (Long) reply.get(1), (List<?>) reply.get(2));
        if (done != null) { // acknowledged along with the next pull
          ack = options.source.equals("*")
              ? List.of("ACK", partition, done) : List.of("ACK", done);
        }
      }
      if (!ack.isEmpty()) {
        Object done = ack.get(ack.size() - 1);
        call(jedis::sendCommand, "EVQ.ACK", with(names(), partition, done));
      }
      if (partition == null) return;
      try {
        call(jedis::sendCommand, "EVQ.RELEASE", with(names(), partition));
      } catch (FencedException given) {
        // It has been given to another worker already.
      }
    }

    /** Handles one pull in order; the last id that is finished. */
    private String handle(Jedis jedis, long partition, long epoch, List<?> entries) {
      Lease held = new Lease(partition, epoch, Thread.currentThread());
      Set<String> behind = new HashSet<>();
      String done = null;
      for (Object entry : entries) {
        Event event = Event.of(partition, epoch, (List<?>) entry);
        if (behind.contains(event.id)) continue; // comes again, after the one that failed
        Exception failure = attempt(held, event);
        if (held.lost) throw new FencedException("EVQFENCED the lease was lost");
        if (failure == null) {
          done = event.id;
        } else {
          LOG.log(System.Logger.Level.ERROR, "event " + event.id + " failed", failure);
          // After the last attempt it is a dead letter: EVQ.DEAD lists and retries.
          Object[] words = with(names("REASON", failure.toString()), partition, event.id);
          for (Object id : (List<?>) call(jedis::sendCommand, "EVQ.NACK", words)) {
            behind.add(text(id));
          }
        }
        if (crew.isStopping()) break;
      }
      return done;
    }

    private Exception attempt(Lease held, Event event) {
      synchronized (this) {
        lease = held;
      }
      try {
        handler.handle(event);
        return null;
      } catch (Exception error) {
        return error;
      } finally {
        synchronized (this) {
          lease = null;
          if (held.lost) Thread.interrupted(); // was meant for the handler
        }
      }
    }

    /** The heartbeat. EPOCH proves the lease from any connection; our own is busy or waits. */
    private void beat() {
      Lease beaten;
      synchronized (this) {
        beaten = lease;
      }
      if (beaten == null) return;
      Object[] words = with(
          names("EPOCH", beaten.epoch, "LEASE", options.leaseMs), beaten.partition);
      try {
        call(client::sendCommand, "EVQ.EXTEND", words);
      } catch (FencedException lost) {
        synchronized (this) {
          beaten.lost = true;
          // Another worker may be at the same events by now.
          if (lease == beaten) beaten.thread.interrupt();
        }
      } catch (RuntimeException error) {
        LOG.log(System.Logger.Level.WARNING, "no heartbeat: " + error);
      }
    }

    private void callIn() {
      Long id = waiting;
      try {
        if (id != null) client.sendCommand(word("CLIENT"), "UNBLOCK", id.toString());
      } catch (RuntimeException error) {
        // Not permitted, perhaps: then it ends after BLOCK.
      }
    }
  }

  /** A partition in hand. */
  private static final class Lease {
    private final long partition;
    private final long epoch;
    private final Thread thread;
    private volatile boolean lost;

    private Lease(long partition, long epoch, Thread thread) {
      this.partition = partition;
      this.epoch = epoch;
      this.thread = thread;
    }
  }

  /** An event as a worker gets it. Key, type and headers are read as UTF-8. */
  public record Event(long partition, long epoch, String id, String key, String type,
      byte[] payload, Map<String, String> headers, int attempt) {
    private static Event of(long partition, long epoch, List<?> entry) {
      Map<String, Object> fields = new HashMap<>();
      Map<String, String> headers = new HashMap<>();
      List<?> words = (List<?>) entry.get(1);
      for (int n = 0; n + 1 < words.size(); n += 2) {
        String name = text(words.get(n));
        fields.put(name, words.get(n + 1));
        if (name.startsWith("h:")) headers.put(name.substring(2), text(words.get(n + 1)));
      }
      Object type = fields.get("type");
      Object attempt = fields.get("attempt");
      return new Event(partition, epoch, text(entry.get(0)), text(fields.get("key")),
          type == null ? null : text(type), (byte[]) fields.get("payload"), headers,
          attempt == null ? 1 : Integer.parseInt(text(attempt)));
    }
  }

  /**
   * Handles an event. It may see one again, after a crash. Its thread is interrupted when the lease
   * is lost: another worker may be at the same event then.
   */
  @FunctionalInterface
  public interface Handler {
    void handle(Event event) throws Exception;
  }

  /** Where an event went. */
  public record Appended(long partition, String id) {}

  /**
   * What an event may have beside key and payload. With a token in `unique` it is sent again when a
   * reply is lost, and appended once; without one that is an error, and for you to decide.
   */
  public record About(String type, Map<String, String> headers, String unique) {
    public static About type(String type) {
      return new About(type, Map.of(), null);
    }

    public About unique(String token) {
      return new About(type, headers, token);
    }
  }

  /** Settings, with their defaults. */
  public static final class Options {
    private String ring = "default";
    private String group = "default";
    private String source = "*";
    private int count = 10;
    private int blockMs = 2000;
    private int leaseMs = 30000;

    public Options ring(String name) {
      ring = name;
      return this;
    }

    public Options group(String name) {
      group = name;
      return this;
    }

    /** The partition to pull from; `*`, any. */
    public Options source(String partition) {
      source = partition;
      return this;
    }

    /** Events a pull. */
    public Options count(int events) {
      count = events;
      return this;
    }

    /** How long a pull waits. */
    public Options blockMs(int ms) {
      blockMs = ms;
      return this;
    }

    /** How long a worker may be silent. */
    public Options leaseMs(int ms) {
      leaseMs = ms;
      return this;
    }
  }

  /** An error of EVQ's. Its first word, the code, is what programs may rely on. */
  public static class EvqException extends JedisDataException {
    private EvqException(String message) {
      super(message);
    }

    public String code() {
      return Queue.code(this);
    }
  }

  /** The lease is lost: another worker has the partition, and what was not acknowledged. */
  public static final class FencedException extends EvqException {
    private FencedException(String message) {
      super(message);
    }
  }

  /** The ring's MAXDEPTH is reached and nothing was written: wait, then try again. */
  public static final class FullException extends EvqException {
    private FullException(String message) {
      super(message);
    }
  }

  /** The ring has no such partition, or has it no more. */
  public static final class NoPartitionException extends EvqException {
    private NoPartitionException(String message) {
      super(message);
    }
  }

  private interface Sender {
    Object send(ProtocolCommand command, byte[]... words);
  }

  /** One command, with typed errors. */
  private static Object call(Sender sender, String name, Object... words) {
    byte[][] bytes = new byte[words.length][];
    for (int n = 0; n < words.length; n++) {
      bytes[n] = words[n] instanceof byte[] raw ? raw : words[n].toString().getBytes(UTF_8);
    }
    try {
      return sender.send(word(name), bytes);
    } catch (JedisDataException error) {
      String message = error.getMessage();
      switch (code(error)) {
        case "EVQFENCED": throw new FencedException(message);
        case "EVQFULL": throw new FullException(message);
        case "EVQNOPARTITION": throw new NoPartitionException(message);
        default: throw message.startsWith("EVQ") ? new EvqException(message) : error;
      }
    }
  }

  private static String code(Throwable error) {
    return String.valueOf(error.getMessage()).split(" ", 2)[0];
  }

  private static ProtocolCommand word(String name) {
    return () -> name.getBytes(UTF_8);
  }

  private List<Object> names(Object... more) {
    List<Object> words = new ArrayList<>(List.of("RING", options.ring, "GROUP", options.group));
    words.addAll(List.of(more));
    return words;
  }

  private static Object[] with(List<Object> last, Object... first) {
    List<Object> words = new ArrayList<>(List.of(first));
    words.addAll(last);
    return words.toArray();
  }

  private static String text(Object word) {
    return word instanceof byte[] bytes ? new String(bytes, UTF_8) : String.valueOf(word);
  }
}
