package peer.flink;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.util.Collector;

import peer.Meter;

/** Counts each word in keyed state, which the state backend keeps; emits nothing. */
final class KeyedCount extends RichFlatMapFunction<String, Void> {
    private transient Meter.Sink sink;
    private transient ValueState<Long> count;

    @Override
    public void open(OpenContext context) {
        sink = new Meter.Sink(getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
        count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
    }

    @Override
    public void flatMap(String word, Collector<Void> out) throws Exception {
        Long seen = count.value();
        count.update(seen == null ? 1L : seen + 1);
        sink.passed();
    }
}
