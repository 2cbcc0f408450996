package peer.flink;

import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.datagen.source.GeneratorFunction;

import peer.Text;

/** As {@link Lines}, but each line waits until it is due and carries that time. */
final class TimedLines implements GeneratorFunction<Long, Tuple2<String, Long>> {
    private final String file;
    private final double rate;
    private transient Text text;

    TimedLines(String file, double rate) {
        this.file = file;
        this.rate = rate;
    }

    /** The schedule starts with the first line: the other tasks deploy while this one opens. */
    @Override
    public Tuple2<String, Long> map(Long sequence) {
        if (text == null) {
            text = new Text(file, rate);
        }
        long due = text.due(sequence);
        Text.await(due);
        return Tuple2.of(text.line(sequence), due);
    }
}
