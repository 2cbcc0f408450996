package peer.storm;

import java.io.File;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

import org.apache.storm.Config;
import org.apache.storm.LocalCluster;
import org.apache.storm.generated.StormTopology;
import org.apache.storm.policy.WaitStrategyPark;
import org.apache.storm.shade.org.apache.zookeeper.server.NIOServerCnxnFactory;
import org.apache.storm.shade.org.apache.zookeeper.server.ZooKeeperServer;
import org.apache.storm.topology.TopologyBuilder;
import org.apache.storm.tuple.Fields;

import peer.Meter;
import peer.Options;
import peer.Scratch;

/**
 * The workloads on a Storm {@link LocalCluster}, in one JVM. With one worker there is no wire between
 * tasks; with several, they send each other tuples by Storm's transport (Netty) over loopback, as
 * workers in JVMs of their own would, but share a heap and its collector.
 */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        // An empty default depends on the workload: see `settings`.
        Options options = new Options(args, Map.of(
                "workers", "1", "ackers", "0", "batch", "", "pending", "2000", "flush-ms", "1", "queue", "32768",
                "wait", ""));
        Path scratch = Scratch.enter();
        // How workers find each other, and that they use the transport of a real cluster.
        System.setProperty("storm.options", Config.STORM_LOCAL_HOSTNAME + "=localhost,"
                + Config.STORM_LOCAL_MODE_ZMQ + "=true");
        Map<String, Object> settings = settings(options);
        StormTopology topology = topology(options);
        // Not closed: see Scratch.leave.
        LocalCluster cluster = new LocalCluster("localhost", zooKeeper(scratch));
        cluster.submitTopology("peer", settings, topology);
        Meter.measure("storm", options, ackers(options) > 0 ? "at-least-once" : "at-most-once",
                String.format("\"workers\":%d,\"ackers\":%d,\"producer_batch\":%s,\"max_spout_pending\":%s,"
                                + "\"flush_ms\":%s,\"receive_queue\":%s,\"wait\":\"%s\",\"rate\":%s",
                        options.number("workers"), ackers(options),
                        settings.get(Config.TOPOLOGY_PRODUCER_BATCH_SIZE),
                        settings.get(Config.TOPOLOGY_MAX_SPOUT_PENDING), options.text("flush-ms"),
                        options.text("queue"), wait(options),
                        options.isLatency() ? options.text("rate") : "null"));
        Scratch.leave(0);
    }

    /** The ZooKeeper that LocalCluster would start itself, but on loopback only. */
    private static long zooKeeper(Path scratch) throws Exception {
        File state = Files.createDirectory(scratch.resolve("zookeeper")).toFile();
        NIOServerCnxnFactory door = new NIOServerCnxnFactory();
        door.configure(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        door.startup(new ZooKeeperServer(state, state, ZooKeeperServer.DEFAULT_TICK_TIME));
        return door.getLocalPort();
    }

    private static StormTopology topology(Options options) {
        TopologyBuilder builder = new TopologyBuilder();
        boolean acked = ackers(options) > 0;
        int parallelism = options.parallelism();
        builder.setSpout("source", options.isWords()
                ? new LineSpout(options.text("text"), options.rate(), options.isLatency(), acked)
                : new ConstantSpout(acked), 1);
        switch (options.workload) {
            case "null" -> builder.setBolt("sink", new DropBolt(), 1).shuffleGrouping("source");
            case "identity" -> {
                builder.setBolt("identity", new IdentityBolt(), 1).shuffleGrouping("source");
                builder.setBolt("sink", new DropBolt(), 1).shuffleGrouping("identity");
            }
            default -> {
                builder.setBolt("split", new SplitBolt(options.isLatency()), parallelism)
                        .shuffleGrouping("source");
                builder.setBolt("count", new CountBolt(options.isLatency()), parallelism)
                        .fieldsGrouping("split", new Fields("text"));
            }
        }
        return builder.createTopology();
    }

    /** Storm's own advice for throughput, and what measuring added to it; see the README. */
    private static Map<String, Object> settings(Options options) {
        Map<String, Object> settings = new HashMap<>();
        settings.put(Config.TOPOLOGY_WORKERS, options.number("workers"));
        settings.put(Config.TOPOLOGY_ACKER_EXECUTORS, ackers(options));
        settings.put(Config.TOPOLOGY_PRODUCER_BATCH_SIZE, batch(options));
        settings.put(Config.TOPOLOGY_BATCH_FLUSH_INTERVAL_MILLIS, options.number("flush-ms"));
        settings.put(Config.TOPOLOGY_EXECUTOR_RECEIVE_BUFFER_SIZE, options.number("queue"));
        if (ackers(options) > 0) {
            settings.put(Config.TOPOLOGY_MAX_SPOUT_PENDING, options.number("pending"));
        }
        if (wait(options).equals("park")) {
            settings.put(Config.TOPOLOGY_BOLT_WAIT_STRATEGY, WaitStrategyPark.class.getName());
            settings.put(Config.TOPOLOGY_BACKPRESSURE_WAIT_STRATEGY, WaitStrategyPark.class.getName());
        }
        // With one worker there is no load elsewhere to be aware of, and with two on one machine little.
        settings.put(Config.TOPOLOGY_DISABLE_LOADAWARE_MESSAGING, true);
        // Sampling clocks for statistics nobody reads here.
        settings.put(Config.TOPOLOGY_STATS_SAMPLE_RATE, 0.001);
        return settings;
    }

    private static int batch(Options options) {
        if (!options.text("batch").isEmpty()) {
            return options.number("batch");
        }
        if (options.isLatency()) {
            return 1; // A batch leaves when it is full or by a timer; latency waits for neither.
        }
        return ackers(options) > 0 ? 100 : 1000;
    }

    /** Storm's default naps briefly a thousand times: good for latency, costly where cores are few. */
    private static String wait(Options options) {
        String asked = options.text("wait");
        return !asked.isEmpty() ? asked : options.isLatency() ? "progressive" : "park";
    }

    private static int ackers(Options options) {
        return options.number("ackers");
    }
}
