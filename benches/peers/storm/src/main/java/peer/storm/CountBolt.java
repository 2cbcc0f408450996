package peer.storm;

import java.util.Map;

import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.base.BaseRichBolt;
import org.apache.storm.tuple.Tuple;

import peer.Meter;

/** Counts each word; emits nothing. */
final class CountBolt extends BaseRichBolt {
    private final boolean timed;
    private transient OutputCollector collector;
    private transient Meter.Sink sink;

    CountBolt(boolean timed) {
        this.timed = timed;
    }

    @Override
    public void prepare(Map<String, Object> conf, TopologyContext context, OutputCollector collector) {
        this.collector = collector;
        sink = new Meter.Sink(context.getThisTaskIndex());
    }

    @Override
    public void execute(Tuple word) {
        if (timed) {
            sink.count(word.getString(0), word.getLong(1));
        } else {
            sink.count(word.getString(0));
        }
        collector.ack(word);
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {}
}
