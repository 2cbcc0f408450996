package peer.flink;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.JobManagerOptions;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

import peer.Meter;
import peer.Options;
import peer.Scratch;
import peer.Text;

/** The workloads on Flink's local environment: a MiniCluster in this JVM. */
public final class Main {
    private static final TypeInformation<Tuple2<String, Long>> TIMED = Types.TUPLE(Types.STRING, Types.LONG);

    private Main() {}

    public static void main(String[] args) throws Exception {
        // An empty default depends on the workload: see `configuration`.
        Options options = new Options(args, Map.of(
                "delivery", "none", "chaining", "on", "object-reuse", "on", "buffer-timeout", "",
                "state", "map", "checkpoint-ms", "1000"));
        Options.require(options.text("state").matches("map|hashmap|rocksdb"), "--state is map, hashmap or rocksdb");
        Path scratch = Scratch.enter();
        Configuration configuration = configuration(options, scratch);
        int interval = options.number("checkpoint-ms");
        StreamExecutionEnvironment env =
                StreamExecutionEnvironment.createLocalEnvironment(options.parallelism(), configuration);
        String delivery = switch (options.text("delivery")) {
            case "at-least-once" -> {
                env.enableCheckpointing(interval, CheckpointingMode.AT_LEAST_ONCE);
                yield "at-least-once";
            }
            case "exactly-once" -> {
                env.enableCheckpointing(interval, CheckpointingMode.EXACTLY_ONCE);
                yield "exactly-once";
            }
            case "none" -> "at-most-once";
            default -> throw new IllegalArgumentException("--delivery is none, at-least-once or exactly-once");
        };
        build(env, options);
        env.executeAsync("peer");
        Meter.measure("flink", options, delivery, String.format(
                "\"chaining\":%s,\"object_reuse\":%s,\"buffer_timeout_ms\":%s,\"state\":\"%s\","
                        + "\"checkpoint_ms\":%s,\"rate\":%s",
                configuration.get(PipelineOptions.OPERATOR_CHAINING),
                configuration.get(PipelineOptions.OBJECT_REUSE),
                configuration.get(ExecutionOptions.BUFFER_TIMEOUT).toMillis(),
                options.text("state"),
                delivery.equals("at-most-once") ? "null" : interval,
                options.isLatency() ? options.text("rate") : "null"));
        Scratch.leave(0);
    }

    private static void build(StreamExecutionEnvironment env, Options options) {
        String file = options.text("text");
        double rate = options.rate();
        switch (options.workload) {
            case "null" -> source(env, n -> "some data", Types.STRING)
                    .flatMap(new Drop()).returns(Types.VOID);
            case "identity" -> source(env, n -> "some data", Types.STRING)
                    .map(text -> text).returns(Types.STRING)
                    .flatMap(new Drop()).returns(Types.VOID);
            case "wordcount" -> source(env, new Lines(file), Types.STRING)
                    .flatMap((FlatMapFunction<String, String>) (line, out) -> Text.split(line, out::collect))
                    .returns(Types.STRING)
                    .keyBy(word -> word)
                    .flatMap(options.text("state").equals("map") ? new Count.Plain() : new KeyedCount())
                    .returns(Types.VOID);
            default -> source(env, new TimedLines(file, rate), TIMED)
                    .flatMap((FlatMapFunction<Tuple2<String, Long>, Tuple2<String, Long>>) (line, out) ->
                            Text.split(line.f0, word -> out.collect(Tuple2.of(word, line.f1))))
                    .returns(TIMED)
                    .keyBy(word -> word.f0)
                    .flatMap(new Count.Timed()).returns(Types.VOID);
        }
    }

    /** One source task, whose position is in the checkpoints. */
    private static <T> DataStream<T> source(
            StreamExecutionEnvironment env, GeneratorFunction<Long, T> generator, TypeInformation<T> type) {
        return env.fromSource(new Endless<>(generator), WatermarkStrategy.noWatermarks(), "source", type)
                .setParallelism(1);
    }

    private static Configuration configuration(Options options, Path scratch) {
        Configuration configuration = new Configuration();
        configuration.set(PipelineOptions.OPERATOR_CHAINING, options.text("chaining").equals("on"));
        configuration.set(PipelineOptions.OBJECT_REUSE, options.text("object-reuse").equals("on"));
        String timeout = options.text("buffer-timeout");
        configuration.set(ExecutionOptions.BUFFER_TIMEOUT, Duration.ofMillis(
                !timeout.isEmpty() ? Long.parseLong(timeout) : options.isLatency() ? 0 : 100));
        // A failure should end the figures, not hide in them.
        configuration.set(RestartStrategyOptions.RESTART_STRATEGY, "disable");
        if (!options.text("state").equals("map")) {
            configuration.set(StateBackendOptions.STATE_BACKEND, options.text("state"));
            // As in production, and as squall: checkpoints are files, and those of RocksDB have what changed.
            configuration.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, scratch.resolve("checkpoints").toUri().toString());
            configuration.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, options.text("state").equals("rocksdb"));
        }
        configuration.set(JobManagerOptions.BIND_HOST, "localhost");
        configuration.set(RestOptions.BIND_ADDRESS, "localhost");
        configuration.set(TaskManagerOptions.NUM_TASK_SLOTS, options.parallelism());
        configuration.set(TaskManagerOptions.NETWORK_MEMORY_MIN, MemorySize.ofMebiBytes(256));
        configuration.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(256));
        return configuration;
    }
}
