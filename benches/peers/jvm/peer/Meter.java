package peer;

import java.lang.management.ManagementFactory;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLongArray;

import com.sun.management.OperatingSystemMXBean;

import org.HdrHistogram.Histogram;
import org.HdrHistogram.SingleWriterRecorder;

/**
 * What the sinks write and the main thread reads.
 *
 * <p>Static, because both systems make their tasks by deserialising them, in this same JVM: nothing
 * else is shared between a task and whoever submitted it.
 */
public final class Meter {
    private static final int SINKS_MAX = 2;
    /** Counts two cache lines apart, so that two sinks do not fight over one. */
    private static final int STRIDE = 16;
    private static final AtomicLongArray COUNTS = new AtomicLongArray((SINKS_MAX + 1) * STRIDE);
    private static final SingleWriterRecorder[] LATENCY = {recorder(), recorder()};

    private Meter() {}

    /** One sink task's figures and, for word count, its map; one thread uses it. */
    public static final class Sink {
        private final int index;
        private long passed;
        public final Map<String, long[]> words = new HashMap<>();

        public Sink(int index) {
            this.index = index;
        }

        public void passed() {
            COUNTS.lazySet((index + 1) * STRIDE, ++passed);
        }

        public void count(String word) {
            long[] seen = words.get(word);
            if (seen == null) {
                words.put(word, seen = new long[1]);
            }
            seen[0]++;
            passed();
        }

        public void count(String word, long due) {
            count(word);
            LATENCY[index].recordValue(Math.max(0, System.nanoTime() - due));
        }
    }

    /** Waits for the first tuple, sleeps through the warm-up, and prints a line per interval. */
    public static void measure(String peer, Options options, String delivery, String config)
            throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.MINUTES.toNanos(1);
        while (passed() == 0) {
            if (System.nanoTime() > deadline) {
                System.err.println(peer + ": no tuple arrived within a minute of the start");
                Scratch.leave(1);
            }
            Thread.sleep(10);
        }
        sleep(Double.parseDouble(options.text("warmup")));
        takeLatency();
        OperatingSystemMXBean system =
                (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long before = passed();
        long since = System.nanoTime();
        long processor = system.getProcessCpuTime();
        for (int i = 0; i < options.number("repeat"); i++) {
            double rest = Double.parseDouble(options.text("seconds")) - (System.nanoTime() - since) / 1e9;
            sleep(Math.max(0, rest));
            long after = passed();
            long now = System.nanoTime();
            long processorNow = system.getProcessCpuTime();
            double seconds = (now - since) / 1e9;
            System.out.printf(Locale.ROOT,
                    "{\"peer\":\"%s\",\"workload\":\"%s\",\"tasks\":\"%s\",\"delivery\":\"%s\","
                            + "\"config\":{%s},\"rate\":%.0f,\"seconds\":%.3f,"
                            + "\"cpu_ns_per_tuple\":%.1f,\"latency_us\":%s}%n",
                    peer, options.workload, options.tasks(), delivery, config,
                    (after - before) / seconds, seconds,
                    (processorNow - processor) / (double) Math.max(1, after - before), quantiles(takeLatency()));
            before = after;
            since = now;
            processor = processorNow;
        }
    }

    private static void sleep(double seconds) throws InterruptedException {
        TimeUnit.NANOSECONDS.sleep((long) (seconds * 1e9));
    }

    private static long passed() {
        long all = 0;
        for (int i = 1; i <= SINKS_MAX; i++) {
            all += COUNTS.get(i * STRIDE);
        }
        return all;
    }

    /** Nanoseconds, to three digits, of any size. */
    private static SingleWriterRecorder recorder() {
        return new SingleWriterRecorder(3);
    }

    private static Histogram takeLatency() {
        Histogram all = new Histogram(3);
        all.setAutoResize(true);
        for (SingleWriterRecorder one : LATENCY) {
            all.add(one.getIntervalHistogram());
        }
        return all;
    }

    private static String quantiles(Histogram latency) {
        if (latency.getTotalCount() == 0) {
            return "null";
        }
        return String.format(Locale.ROOT,
                "{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}",
                latency.getValueAtPercentile(50) / 1e3, latency.getValueAtPercentile(90) / 1e3,
                latency.getValueAtPercentile(99) / 1e3, latency.getValueAtPercentile(99.9) / 1e3,
                latency.getMaxValue() / 1e3);
    }
}
