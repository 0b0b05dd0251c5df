import java.io.BufferedReader;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/** The job that every peer does, as benches/compare/README.md has it. */
final class Job {
    static final int PRODUCERS = 4;
    static final int PAYLOAD_BYTES = 200;
    /** Key, number and time, with which a payload begins and a journal's line too. */
    static final int HEAD_BYTES = 34;

    private Job() {}

    /** What the command line says after the task and the address. */
    static final class Given {
        final String task;
        final String address;
        private final Map<String, String> values = new HashMap<>();

        Given(String[] words) {
            task = words[0];
            address = words[1];
            for (int n = 2; n < words.length; n++) {
                String[] pair = words[n].split("=", 2);
                values.put(pair[0], pair[1]);
            }
        }

        String text(String name) {
            return values.getOrDefault(name, "");
        }

        int number(String name, int otherwise) {
            String text = text(name);
            return text.isEmpty() ? otherwise : Integer.parseInt(text);
        }
    }

    /** Runs a task. Other threads must not keep a program that has failed. */
    static void main(String[] words, Task task) {
        try {
            task.run(new Given(words));
            System.exit(0);
        } catch (Throwable error) {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    /** What a program does. */
    interface Task {
        void run(Given given) throws Exception;
    }

    static long nowUs() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1000;
    }

    /** Says that all is prepared, and waits until standard input ends. */
    static void waitForTheWord() throws Exception {
        System.out.println("ready");
        System.in.readAllBytes();
    }

    /** One producer's connection. */
    interface Producer {
        /** Hands an event over, without a wait for its confirmation. */
        void send(String key, byte[] payload) throws Exception;

        /** Waits until all events are confirmed. */
        void finish() throws Exception;

        /** From now on there are so many partitions. */
        default void partitions(int count) throws Exception {}
    }

    /** Makes the producer or the worker of a number. */
    interface Make<T> {
        T make(int nth) throws Exception;
    }

    /** Obeys lines of standard input: EVENTS RATE sends so many at so many a second, or at once. */
    static void produce(Given given, Make<Producer> make) throws Exception {
        int keys = given.number("keys", 10_000) / PRODUCERS;
        List<Producer> producers = new ArrayList<>();
        for (int n = 0; n < PRODUCERS; n++) {
            producers.add(make.make(n));
        }
        int[] next = new int[PRODUCERS];
        System.out.println("ready");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            if (words[0].equals("partitions")) {
                for (Producer producer : producers) {
                    producer.partitions(Integer.parseInt(words[1]));
                }
                continue;
            }
            int events = Integer.parseInt(words[0]) / PRODUCERS;
            long rate = Long.parseLong(words[1]);
            long gap = rate == 0 ? 0 : PRODUCERS * 1_000_000L / rate;
            long start = nowUs();
            List<Thread> threads = new ArrayList<>();
            for (int n = 0; n < PRODUCERS; n++) {
                int nth = n;
                threads.add(thread(() -> {
                    share(producers.get(nth), nth, next[nth], keys, events, gap);
                    next[nth] += events;
                }));
            }
            for (Thread thread : threads) {
                thread.join();
            }
            System.out.println("sent " + start + " " + nowUs());
        }
    }

    private static void share(
            Producer producer, int nth, int first, int keys, int events, long gap)
            throws Exception {
        long start = nowUs();
        byte[] pad = ".".repeat(PAYLOAD_BYTES).getBytes(StandardCharsets.US_ASCII);
        for (int n = 0; n < events; n++) {
            long due = start + n * gap;
            long sent = nowUs();
            if (gap > 0 && sent < due) {
                Thread.sleep((due - sent) / 1000, (int) ((due - sent) % 1000) * 1000);
                sent = nowUs();
            } else if (gap > 0) {
                // A producer that is late was held up: its event counts from when it was due.
                sent = due;
            }
            String key = padded(nth + (first + n) % keys * PRODUCERS, 6);
            byte[] payload = pad.clone();
            String head = key + " " + padded((first + n) / keys, 10) + " " + padded(sent, 16) + " ";
            System.arraycopy(head.getBytes(StandardCharsets.US_ASCII), 0, payload, 0, head.length());
            producer.send(key, payload);
        }
        producer.finish();
    }

    /** A number with leading zeros: String.format would be what is measured. */
    static String padded(long number, int width) {
        char[] digits = new char[width];
        for (int n = width - 1; n >= 0; n--) {
            digits[n] = (char) ('0' + number % 10);
            number /= 10;
        }
        return new String(digits);
    }

    /** What may throw. */
    interface Body {
        void run() throws Exception;
    }

    /** A thread whose failure is that of the program. */
    static Thread thread(Body body) {
        Thread thread = new Thread(() -> {
            try {
                body.run();
            } catch (Throwable error) {
                error.printStackTrace();
                Runtime.getRuntime().halt(1);
            }
        });
        thread.start();
        return thread;
    }

    /** A worker, once it works. */
    interface Worker {
        /** Handles no more, and writes its journal out. */
        void close() throws Exception;
    }

    /** What all workers of a process share. */
    static final class Work {
        final int delayMs;
        private final boolean atOnce;
        private final long busyUs;
        private final byte[] failing;
        private final AtomicInteger failures = new AtomicInteger();
        private final AtomicLong handled = new AtomicLong();
        private volatile long milestone;
        private volatile boolean ending;
        private final String journals;

        Work(Given given) {
            journals = given.text("journals");
            atOnce = given.number("at_once", 0) > 0;
            busyUs = given.number("busy_us", 0);
            failing = given.text("failing").replace('-', ' ').getBytes(StandardCharsets.US_ASCII);
            delayMs = given.number("delay_ms", 500);
        }

        boolean isEnding() {
            return ending;
        }

        Journal journal(int nth) throws Exception {
            return new Journal(this, nth);
        }

        /**
         * Makes workers, and ends them when standard input ends. A line of it is the next
         * milestone, or partitions N: then there are as many workers.
         */
        void run(int count, Make<Worker> make) throws Exception {
            List<Worker> workers = new ArrayList<>();
            for (int n = 0; n < count; n++) {
                workers.add(make.make(n));
            }
            System.out.println("ready");
            BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                if (line.startsWith("partitions ")) {
                    for (int n = workers.size(); n < Integer.parseInt(line.split(" ")[1]); n++) {
                        workers.add(make.make(n));
                    }
                } else {
                    milestone = Long.parseLong(line);
                }
            }
            ending = true;
            for (Worker worker : workers) {
                worker.close();
            }
        }
    }

    /** What one worker has handled: a line for each event. */
    static final class Journal {
        private final Work work;
        private final OutputStream file;
        private final byte[] lines = new byte[64 * 1024];
        private int used;

        Journal(Work work, int nth) throws Exception {
            this.work = work;
            file = new FileOutputStream(work.journals + "." + nth);
        }

        /** Handles an event; false if that failed, and has to be tried again after the delay. */
        synchronized boolean handle(byte[] payload, int partition) throws Exception {
            if (work.failing.length > 0
                    && begins(payload, work.failing)
                    && work.failures.getAndIncrement() < 2) {
                return false;
            }
            if (work.busyUs > 0) {
                Thread.sleep(work.busyUs / 1000, (int) (work.busyUs % 1000) * 1000);
            }
            String tail = " " + padded(nowUs(), 16) + " " + padded(partition, 2) + "\n";
            if (used + HEAD_BYTES + tail.length() > lines.length) {
                writeOut();
            }
            System.arraycopy(payload, 0, lines, used, HEAD_BYTES);
            used += HEAD_BYTES;
            for (int n = 0; n < tail.length(); n++) {
                lines[used++] = (byte) tail.charAt(n);
            }
            if (work.atOnce) {
                writeOut();
            }
            long handled = work.handled.incrementAndGet();
            if (handled == work.milestone) {
                System.out.println("handled " + handled);
            }
            return true;
        }

        /** As handle, again and again until it succeeds: the partition waits. */
        void insist(byte[] payload, int partition) throws Exception {
            while (!handle(payload, partition)) {
                Thread.sleep(work.delayMs);
            }
        }

        synchronized void writeOut() throws Exception {
            file.write(lines, 0, used);
            used = 0;
        }

        private static boolean begins(byte[] text, byte[] start) {
            for (int n = 0; n < start.length; n++) {
                if (text[n] != start[n]) {
                    return false;
                }
            }
            return true;
        }
    }
}
