package peer;

import java.util.Map;
import java.util.TreeMap;

/** A workload and {@code --name value} flags; a flag that has no default here or in the peer is refused. */
public final class Options {
    public final String workload;
    private final Map<String, String> flags = new TreeMap<>(Map.of(
            "text", "", "tasks", "1/1/1", "rate", "0", "warmup", "2", "seconds", "5", "repeat", "1"));

    /** @param own the peer's own flags and their defaults */
    public Options(String[] args, Map<String, String> own) {
        flags.putAll(own);
        require(args.length % 2 == 1, "expected: null|identity|wordcount|latency [--flag value]...");
        workload = args[0];
        require(Map.of("null", 0, "identity", 0, "wordcount", 0, "latency", 0).containsKey(workload),
                "no such workload: " + workload);
        for (int i = 1; i < args.length; i += 2) {
            String name = args[i].replaceFirst("^--", "");
            require(args[i].startsWith("--") && flags.containsKey(name), "no such flag: " + args[i]);
            flags.put(name, args[i + 1]);
        }
        require(text("tasks").matches("1/1/1|1/2/2"), "--tasks is 1/1/1 or 1/2/2");
        require(!isLatency() || rate() > 0, "latency needs --rate WORDS_PER_SEC above 0");
        require(!isWords() || !text("text").isEmpty(), "this workload needs --text FILE");
    }

    public String text(String name) {
        return flags.get(name);
    }

    public int number(String name) {
        return Integer.parseInt(text(name));
    }

    public double rate() {
        return Double.parseDouble(text("rate"));
    }

    public boolean isLatency() {
        return workload.equals("latency");
    }

    /** Whether lines are split into words, as opposed to one string being moved about. */
    public boolean isWords() {
        return isLatency() || workload.equals("wordcount");
    }

    /** How many splitters, and how many counters. */
    public int parallelism() {
        return isWords() && text("tasks").equals("1/2/2") ? 2 : 1;
    }

    /** Tasks per component of the workload at hand. */
    public String tasks() {
        return switch (workload) {
            case "null" -> "1/1";
            case "identity" -> "1/1/1";
            default -> text("tasks");
        };
    }

    public static void require(boolean holds, String otherwise) {
        if (!holds) {
            System.err.println(otherwise);
            System.exit(2);
        }
    }
}
