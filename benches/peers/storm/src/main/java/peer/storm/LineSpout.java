package peer.storm;

import java.util.ArrayDeque;
import java.util.Map;

import org.apache.storm.spout.SpoutOutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.base.BaseRichSpout;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Values;

import peer.Text;

/** Cycles through a text, a line per tuple, flat out or on its schedule. */
final class LineSpout extends BaseRichSpout {
    private final String file;
    private final double rate;
    private final boolean timed;
    private final boolean acked;
    private transient SpoutOutputCollector collector;
    private transient Text text;
    /** Lines to emit again: the message id is the sequence number, so a replay needs no more. */
    private transient ArrayDeque<Long> failed;
    private long next;

    LineSpout(String file, double rate, boolean timed, boolean acked) {
        this.file = file;
        this.rate = rate;
        this.timed = timed;
        this.acked = acked;
    }

    @Override
    public void open(Map<String, Object> conf, TopologyContext context, SpoutOutputCollector collector) {
        this.collector = collector;
        failed = new ArrayDeque<>();
    }

    /** Opening is not starting: a spout is opened well before its bolts are ready. */
    @Override
    public void activate() {
        text = new Text(file, rate);
    }

    @Override
    public void nextTuple() {
        long sequence = failed.isEmpty() ? next++ : failed.poll();
        Values line;
        if (timed) {
            long due = text.due(sequence);
            // Storm would sleep a millisecond after an empty call; this sleeps as long as needed.
            Text.await(due);
            line = new Values(text.line(sequence), due);
        } else {
            line = new Values(text.line(sequence));
        }
        if (acked) {
            collector.emit(line, sequence);
        } else {
            collector.emit(line);
        }
    }

    @Override
    public void fail(Object sequence) {
        failed.add((Long) sequence);
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
        declarer.declare(timed ? new Fields("text", "due") : new Fields("text"));
    }
}
