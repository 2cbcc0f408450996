package peer.storm;

import java.util.Map;

import org.apache.storm.spout.SpoutOutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.base.BaseRichSpout;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Values;

/** Emits the same short string for ever. What fails needs no replay: all tuples are alike. */
final class ConstantSpout extends BaseRichSpout {
    private final boolean acked;
    private transient SpoutOutputCollector collector;
    private long sequence;

    ConstantSpout(boolean acked) {
        this.acked = acked;
    }

    @Override
    public void open(Map<String, Object> conf, TopologyContext context, SpoutOutputCollector collector) {
        this.collector = collector;
    }

    @Override
    public void nextTuple() {
        if (acked) {
            collector.emit(new Values("some data"), sequence++);
        } else {
            collector.emit(new Values("some data"));
        }
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
        declarer.declare(new Fields("text"));
    }
}
