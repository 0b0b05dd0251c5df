import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The job with Kafka: a topic, an idempotent producer each, a consumer each in one group. */
final class Kafka {
    private static final Duration POLL = Duration.ofMillis(100);

    private Kafka() {}

    public static void main(String[] words) {
        Job.main(words, Kafka::run);
    }

    private static void run(Job.Given given) throws Exception {
        switch (given.task) {
            case "setup" -> setUp(given);
            case "resize" -> resize(given);
            case "produce" -> Job.produce(given, nth -> new Sender(given));
            case "work" -> work(given);
            default -> throw new IllegalArgumentException(given.task);
        }
    }

    private static Properties properties(Job.Given given) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", given.address);
        if (given.number("resizes", 0) > 0) {
            // Clients notice a new partition when they read the metadata again: by default every
            // five minutes.
            properties.put("metadata.max.age.ms", "500");
        }
        return properties;
    }

    private static void setUp(Job.Given given) throws Exception {
        try (Admin admin = Admin.create(properties(given))) {
            NewTopic topic = new NewTopic(given.text("name"), 8, (short) 1);
            admin.createTopics(List.of(topic)).all().get();
        }
    }

    private static void resize(Job.Given given) throws Exception {
        try (Admin admin = Admin.create(properties(given))) {
            admin.describeCluster().nodes().get();
            Job.waitForTheWord();
            NewPartitions to = NewPartitions.increaseTo(given.number("partitions", 9));
            admin.createPartitions(Map.of(given.text("name"), to)).all().get();
        }
    }

    /** One producer. */
    private static final class Sender implements Job.Producer {
        private final KafkaProducer<String, byte[]> producer;
        private final String topic;
        private final AtomicReference<Exception> failed = new AtomicReference<>();

        Sender(Job.Given given) {
            Properties properties = properties(given);
            // Batches for throughput, no wait for them for latency.
            properties.put("linger.ms", given.number("batching", 0) > 0 ? "10" : "0");
            properties.put("batch.size", "131072");
            properties.put("buffer.memory", "67108864");
            producer = new KafkaProducer<>(
                    properties, new StringSerializer(), new ByteArraySerializer());
            topic = given.text("name");
            producer.partitionsFor(topic);
        }

        @Override
        public void send(String key, byte[] payload) {
            producer.send(
                    new ProducerRecord<>(topic, key, payload),
                    (sent, error) -> failed.compareAndSet(null, error));
        }

        @Override
        public void finish() throws Exception {
            producer.flush();
            if (failed.get() != null) {
                throw failed.get();
            }
        }
    }

    private static void work(Job.Given given) throws Exception {
        Job.Work work = new Job.Work(given);
        CountDownLatch joined = new CountDownLatch(8);
        CountDownLatch assigned = new CountDownLatch(given.number("assigned", 0));
        work.run(8, nth -> {
            Job.Journal journal = work.journal(nth);
            Thread thread = Job.thread(() -> consume(given, work, journal, joined, assigned));
            if (nth == 7) {
                joined.await();
                assigned.await();
            }
            return () -> {
                thread.join();
                journal.writeOut();
            };
        });
    }

    private static void consume(
            Job.Given given,
            Job.Work work,
            Job.Journal journal,
            CountDownLatch joined,
            CountDownLatch assigned)
            throws Exception {
        Properties properties = properties(given);
        properties.put("group.id", given.text("name"));
        properties.put("group.protocol", "consumer");
        properties.put("auto.offset.reset", "earliest");
        properties.put("auto.commit.interval.ms", "1000");
        try (KafkaConsumer<String, byte[]> consumer =
                new KafkaConsumer<>(
                        properties, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(given.text("name")));
            boolean isMember = false;
            boolean isAssigned = false;
            while (!work.isEnding()) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(POLL)) {
                    // In place: an event that is read again later would be overtaken.
                    journal.insist(record.value(), record.partition());
                }
                if (!isMember && consumer.groupMetadata().generationId() > 0) {
                    isMember = true;
                    joined.countDown();
                }
                if (!isAssigned && consumer.assignment().size() == 1) {
                    isAssigned = true;
                    assigned.countDown();
                }
            }
        }
    }
}
