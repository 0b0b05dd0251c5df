import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.stream.Address;
import com.rabbitmq.stream.Consumer;
import com.rabbitmq.stream.Environment;
import com.rabbitmq.stream.OffsetSpecification;
import com.rabbitmq.stream.Producer;
import com.rabbitmq.stream.ProducerBuilder;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.Phaser;

/**
 * The job with RabbitMQ's streams: a super stream, whose partitions the client chooses by the key's
 * hash, and a single active consumer on each.
 */
final class Streams {
    private Streams() {}

    public static void main(String[] words) {
        Job.main(words, Streams::run);
    }

    private static void run(Job.Given given) throws Exception {
        String name = given.text("name");
        switch (given.task) {
            case "setup" -> {
                try (Environment environment = connect(given)) {
                    environment.streamCreator().name(name).superStream().partitions(8).creator()
                            .create();
                }
            }
            case "resize" -> add(given, given.number("partitions", 9) - 1);
            case "produce" -> Job.produce(given, nth -> new Sender(given));
            case "work" -> {
                Job.Work work = new Job.Work(given);
                Environment environment = connect(given);
                work.run(8, nth -> receive(given, environment, work, nth));
            }
            default -> throw new IllegalArgumentException(given.task);
        }
    }

    private static Environment connect(Job.Given given) {
        String[] words = given.address.split(":");
        Address address = new Address(words[0], Integer.parseInt(words[1]));
        return Environment.builder()
                .host(address.host())
                .port(address.port())
                .addressResolver(advertised -> address)
                .maxProducersByConnection(1)
                .maxConsumersByConnection(1)
                .requestedHeartbeat(Duration.ofMillis(given.number("lease_ms", 30_000)))
                .build();
    }

    /** Adds a partition. The stream protocol has no command for that; AMQP has the parts. */
    private static void add(Job.Given given, int partition) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setPort(given.number("amqp", 5672));
        try (Connection connection = factory.newConnection()) {
            Channel channel = connection.createChannel();
            Job.waitForTheWord();
            String name = given.text("name");
            String stream = name + "-" + partition;
            Map<String, Object> kind = Map.of("x-queue-type", "stream");
            channel.queueDeclare(stream, true, false, false, kind);
            Map<String, Object> order = Map.of("x-stream-partition-order", partition);
            channel.queueBind(stream, name, String.valueOf(partition), order);
        }
    }

    /** One producer. */
    private static final class Sender implements Job.Producer {
        private final Environment environment;
        private final Job.Given given;
        private final Phaser unconfirmed = new Phaser(1);
        private Producer producer;

        Sender(Job.Given given) {
            this.given = given;
            environment = connect(given);
            open();
        }

        private void open() {
            ProducerBuilder builder = environment.producerBuilder();
            if (given.number("batching", 0) > 0) {
                // What the documentation recommends for throughput, at the expense of latency.
                builder.subEntrySize(50);
            }
            producer = builder.superStream(given.text("name"))
                    .routing(message -> message.getProperties().getMessageIdAsString())
                    .producerBuilder()
                    .build();
        }

        @Override
        public void send(String key, byte[] payload) {
            unconfirmed.register();
            producer.send(
                    producer.messageBuilder()
                            .properties().messageId(key).messageBuilder()
                            .addData(payload).build(),
                    status -> {
                        if (!status.isConfirmed()) {
                            System.err.println("refused: " + status.getCode());
                            Runtime.getRuntime().halt(1);
                        }
                        unconfirmed.arriveAndDeregister();
                    });
        }

        @Override
        public void finish() {
            unconfirmed.arriveAndAwaitAdvance();
        }

        @Override
        public void partitions(int count) {
            // A producer knows the partitions of when it was opened.
            producer.close();
            open();
        }
    }

    private static Job.Worker receive(
            Job.Given given, Environment environment, Job.Work work, int partition)
            throws Exception {
        Job.Journal journal = work.journal(partition);
        Consumer consumer = environment.consumerBuilder()
                .stream(given.text("name") + "-" + partition)
                .name("workers")
                .singleActiveConsumer()
                .offset(OffsetSpecification.first())
                .autoTrackingStrategy()
                .messageCountBeforeStorage(10_000)
                .flushInterval(Duration.ofSeconds(2))
                .builder()
                .messageHandler((context, message) -> {
                    try {
                        // In place: a stream has no other way.
                        if (!work.isEnding()) {
                            journal.insist(message.getBodyAsBinary(), partition);
                        }
                    } catch (Exception error) {
                        error.printStackTrace();
                        Runtime.getRuntime().halt(1);
                    }
                })
                .build();
        return () -> {
            consumer.close();
            journal.writeOut();
        };
    }
}
