package peer.storm;

import java.util.Map;

import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.base.BaseRichBolt;
import org.apache.storm.tuple.Tuple;

import peer.Meter;

/** The sink of the workloads that only move tuples. */
final class DropBolt extends BaseRichBolt {
    private transient OutputCollector collector;
    private transient Meter.Sink sink;

    @Override
    public void prepare(Map<String, Object> conf, TopologyContext context, OutputCollector collector) {
        this.collector = collector;
        sink = new Meter.Sink(0);
    }

    @Override
    public void execute(Tuple tuple) {
        sink.passed();
        collector.ack(tuple);
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {}
}
