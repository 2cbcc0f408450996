package peer;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;

/**
 * Lines in memory, and when each is due.
 *
 * <p>Latency is open loop: a line is due at epoch + words so far / rate, however late the earlier
 * ones left, so a stall is charged to every line that it holds up. Both are functions of the line's
 * sequence number, which is thereby all that a source must remember.
 */
public final class Text {
    private final String[] lines;
    /** Words before each line, and at the end the words of the whole text. */
    private final long[] wordsBefore;
    private final double nanosPerWord;
    private final long epoch = System.nanoTime();

    /** Starts the schedule: make it when the source starts, not when the cluster does. */
    public Text(String file, double rate) {
        List<String> read;
        try {
            read = Files.readAllLines(Path.of(file));
        } catch (IOException why) {
            throw new UncheckedIOException(why);
        }
        lines = read.toArray(new String[0]);
        nanosPerWord = rate > 0 ? TimeUnit.SECONDS.toNanos(1) / rate : 0;
        wordsBefore = new long[lines.length + 1];
        for (int i = 0; i < lines.length; i++) {
            long[] words = {0};
            split(lines[i], word -> words[0]++);
            wordsBefore[i + 1] = wordsBefore[i] + words[0];
        }
        if (wordsBefore[lines.length] == 0) {
            throw new IllegalArgumentException(file + " has no words");
        }
    }

    public String line(long sequence) {
        return lines[(int) (sequence % lines.length)];
    }

    /** The scheduled time of a line, on the clock of {@link System#nanoTime}. */
    public long due(long sequence) {
        long words = sequence / lines.length * wordsBefore[lines.length]
                + wordsBefore[(int) (sequence % lines.length)];
        return epoch + (long) (words * nanosPerWord);
    }

    /** Sleeps until {@code due}, or not at all if that is past. */
    public static void await(long due) {
        for (long early = due - System.nanoTime(); early > 0; early = due - System.nanoTime()) {
            LockSupport.parkNanos(early);
        }
    }

    /** The words between ASCII white space. By hand, because a regular expression costs a multiple. */
    public static void split(String line, Consumer<String> each) {
        int start = -1;
        for (int i = 0; i < line.length(); i++) {
            char at = line.charAt(i);
            boolean space = at == ' ' || (at >= '\t' && at <= '\r' && at != 0x0b);
            if (space && start >= 0) {
                each.accept(line.substring(start, i));
                start = -1;
            } else if (!space && start < 0) {
                start = i;
            }
        }
        if (start >= 0) {
            each.accept(line.substring(start));
        }
    }
}
