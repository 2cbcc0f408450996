package peer;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.stream.Stream;

/** The run's own temporary directory: neither system removes all that it leaves behind. */
public final class Scratch {
    private static Path directory;

    private Scratch() {}

    /** To be called before either system starts, for they ask where temporary files go. */
    public static Path enter() {
        File made = new File(System.getProperty("java.io.tmpdir"), "peer-" + ProcessHandle.current().pid());
        Options.require(made.mkdir(), "cannot make " + made);
        System.setProperty("java.io.tmpdir", made.getPath());
        directory = made.toPath();
        Runtime.getRuntime().addShutdownHook(new Thread(Scratch::remove));
        return directory;
    }

    /** Ends the process at once: an orderly end of either system outlasts the measurement. */
    public static void leave(int status) {
        remove();
        Runtime.getRuntime().halt(status);
    }

    /** Best effort, since the system may still be writing there. */
    private static void remove() {
        try (Stream<Path> all = Files.walk(directory)) {
            all.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        } catch (IOException | UncheckedIOException why) {
            System.err.println("left behind: " + directory + ": " + why);
        }
    }
}
