package peer.flink;

import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.connector.datagen.source.GeneratorFunction;

import peer.Text;

/** Cycles through a text, a line per tuple. */
final class Lines implements GeneratorFunction<Long, String> {
    private final String file;
    private transient Text text;

    Lines(String file) {
        this.file = file;
    }

    @Override
    public void open(SourceReaderContext context) {
        text = new Text(file, 0);
    }

    @Override
    public String map(Long sequence) {
        return text.line(sequence);
    }
}
