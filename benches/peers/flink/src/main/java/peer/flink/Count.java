package peer.flink;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.util.Collector;

import peer.Meter;

/**
 * Counts each word; emits nothing.
 *
 * <p>The map is a plain one, as every peer's, and goes whole into each checkpoint: at this size that
 * is far cheaper than a look-up in keyed state for every word.
 */
abstract class Count<T> extends RichFlatMapFunction<T, Void> implements CheckpointedFunction {
    protected transient Meter.Sink sink;
    private transient ListState<Tuple2<String, Long>> checkpointed;

    @Override
    public void initializeState(FunctionInitializationContext context) throws Exception {
        sink = new Meter.Sink(getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
        checkpointed = context.getOperatorStateStore().getListState(
                new ListStateDescriptor<>("words", Types.TUPLE(Types.STRING, Types.LONG)));
        for (Tuple2<String, Long> word : checkpointed.get()) {
            sink.words.put(word.f0, new long[] {word.f1});
        }
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) throws Exception {
        List<Tuple2<String, Long>> all = new ArrayList<>(sink.words.size());
        for (Map.Entry<String, long[]> word : sink.words.entrySet()) {
            all.add(Tuple2.of(word.getKey(), word.getValue()[0]));
        }
        checkpointed.update(all);
    }

    /** Of words alone. */
    static final class Plain extends Count<String> {
        @Override
        public void flatMap(String word, Collector<Void> out) {
            sink.count(word);
        }
    }

    /** Of words that carry their scheduled time. */
    static final class Timed extends Count<Tuple2<String, Long>> {
        @Override
        public void flatMap(Tuple2<String, Long> word, Collector<Void> out) {
            sink.count(word.f0, word.f1);
        }
    }
}
