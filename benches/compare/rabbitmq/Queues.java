import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.MessageProperties;
import java.io.IOException;
import java.util.Map;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.Semaphore;

/**
 * The job with RabbitMQ's quorum queues: one for each partition, behind a consistent-hash exchange,
 * each with a single active consumer.
 */
final class Queues {
    /** Events of a producer that may be unconfirmed. */
    private static final int UNCONFIRMED = 2000;
    /** Events that a worker acknowledges at once, and that it may have. */
    private static final int ACK_EACH = 100;
    private static final int PREFETCH = 500;

    private Queues() {}

    public static void main(String[] words) {
        Job.main(words, Queues::run);
    }

    private static void run(Job.Given given) throws Exception {
        switch (given.task) {
            case "setup" -> setUp(given);
            case "resize" -> {
                Connection connection = connect(given);
                Job.waitForTheWord();
                add(connection, given, given.number("partitions", 9) - 1);
            }
            case "produce" -> Job.produce(given, nth -> new Sender(given));
            case "work" -> {
                Job.Work work = new Job.Work(given);
                work.run(8, nth -> new Receiver(given, work, nth));
            }
            default -> throw new IllegalArgumentException(given.task);
        }
    }

    private static Connection connect(Job.Given given) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        String[] address = given.address.split(":");
        factory.setHost(address[0]);
        factory.setPort(Integer.parseInt(address[1]));
        factory.setRequestedHeartbeat(given.number("lease_ms", 30_000) / 1000);
        return factory.newConnection();
    }

    private static String queue(Job.Given given, int partition) {
        return given.text("name") + "." + partition;
    }

    private static void setUp(Job.Given given) throws Exception {
        Connection connection = connect(given);
        Channel channel = connection.createChannel();
        channel.exchangeDeclare(given.text("name"), "x-consistent-hash", true);
        for (int partition = 0; partition < 8; partition++) {
            add(connection, given, partition);
        }
    }

    private static void add(Connection connection, Job.Given given, int partition)
            throws Exception {
        Channel channel = connection.createChannel();
        Map<String, Object> arguments =
                Map.of("x-queue-type", "quorum", "x-single-active-consumer", true);
        String queue = queue(given, partition);
        channel.queueDeclare(queue, true, false, false, arguments);
        // The routing key of a binding is its weight.
        channel.queueBind(queue, given.text("name"), "1");
        channel.close();
    }

    /** One producer, with asynchronous confirms. */
    private static final class Sender implements Job.Producer {
        private final Channel channel;
        private final String exchange;
        private final Semaphore room = new Semaphore(UNCONFIRMED);
        private final ConcurrentNavigableMap<Long, Boolean> unconfirmed =
                new ConcurrentSkipListMap<>();

        Sender(Job.Given given) throws Exception {
            channel = connect(given).createChannel();
            exchange = given.text("name");
            channel.confirmSelect();
            channel.addConfirmListener(this::confirmed, (number, multiple) -> {
                System.err.println("refused: " + number);
                Runtime.getRuntime().halt(1);
            });
        }

        private void confirmed(long number, boolean multiple) {
            if (!multiple) {
                unconfirmed.remove(number);
                room.release();
                return;
            }
            Map<Long, Boolean> gone = unconfirmed.headMap(number, true);
            room.release(gone.size());
            gone.clear();
        }

        @Override
        public void send(String key, byte[] payload) throws Exception {
            room.acquire();
            unconfirmed.put(channel.getNextPublishSeqNo(), true);
            AMQP.BasicProperties persistent = MessageProperties.MINIMAL_PERSISTENT_BASIC;
            channel.basicPublish(exchange, key, persistent, payload);
        }

        @Override
        public void finish() throws Exception {
            channel.waitForConfirmsOrDie(60_000);
        }
    }

    /** One worker. */
    private static final class Receiver extends DefaultConsumer implements Job.Worker {
        private final Job.Journal journal;
        private final int partition;
        private long handled;
        private long acknowledged;
        private volatile boolean ending;

        Receiver(Job.Given given, Job.Work work, int partition) throws Exception {
            super(connect(given).createChannel());
            this.partition = partition;
            journal = work.journal(partition);
            getChannel().basicQos(PREFETCH);
            if (partition >= 8) {
                add(getChannel().getConnection(), given, partition);
            }
            getChannel().basicConsume(queue(given, partition), false, this);
            Thread idle = new Thread(this::acknowledgeNowAndThen);
            idle.setDaemon(true);
            idle.start();
        }

        @Override
        public void handleDelivery(
                String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body)
                throws IOException {
            if (ending) {
                return;
            }
            try {
                // In place: an event that is requeued would be overtaken.
                journal.insist(body, partition);
            } catch (Exception error) {
                throw new IOException(error);
            }
            synchronized (this) {
                handled = envelope.getDeliveryTag();
                if (handled - acknowledged >= ACK_EACH) {
                    acknowledge();
                }
            }
        }

        private synchronized void acknowledge() throws IOException {
            if (handled > acknowledged) {
                getChannel().basicAck(handled, true);
                acknowledged = handled;
            }
        }

        private void acknowledgeNowAndThen() {
            try {
                while (!ending) {
                    Thread.sleep(100);
                    acknowledge();
                }
            } catch (Exception error) {
                if (!ending) {
                    error.printStackTrace();
                    Runtime.getRuntime().halt(1);
                }
            }
        }

        @Override
        public void close() throws Exception {
            acknowledge();
            ending = true;
            journal.writeOut();
            getChannel().getConnection().abort(1000);
        }
    }
}
