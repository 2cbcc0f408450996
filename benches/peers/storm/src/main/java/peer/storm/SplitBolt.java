package peer.storm;

import java.util.Map;

import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.base.BaseRichBolt;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Tuple;
import org.apache.storm.tuple.Values;

import peer.Text;

/** A line in, its words out, each with the line's scheduled time. */
final class SplitBolt extends BaseRichBolt {
    private final boolean timed;
    private transient OutputCollector collector;

    SplitBolt(boolean timed) {
        this.timed = timed;
    }

    @Override
    public void prepare(Map<String, Object> conf, TopologyContext context, OutputCollector collector) {
        this.collector = collector;
    }

    @Override
    public void execute(Tuple line) {
        if (timed) {
            Long due = line.getLong(1);
            Text.split(line.getString(0), word -> collector.emit(line, new Values(word, due)));
        } else {
            Text.split(line.getString(0), word -> collector.emit(line, new Values(word)));
        }
        collector.ack(line);
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
        declarer.declare(timed ? new Fields("text", "due") : new Fields("text"));
    }
}
