//! Every topology in `topologies/` runs to its end in the simulation, and prints what it says.

use std::fs;
use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use squall::components::lines::{STDIN_RESOURCE, StandardInput};
use squall::components::print::{PRINT_RESOURCE, PrintStyle, PrintTarget};
use squall::prelude::*;
use squall::runtime::TopologyStats;
use squall::testing::{SimulatedTopology, SimulationOptions};
use squall::topology::declare::parse_str;

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(file: &str) -> (Vec<serde_json::Value>, TopologyStats) {
    run_text(file, &text_of(file), "")
}

fn text_of(file: &str) -> String {
    fs::read_to_string(format!("topologies/{file}")).expect("tests run in the repository's root")
}

/// What a topology prints as JSON lines until it has ended, and its final counters.
fn run_text(file: &str, text: &str, stdin: &str) -> (Vec<serde_json::Value>, TopologyStats) {
    let topology = parse_str(file, text, &Registry::with_standard());
    let topology = topology.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let (options, paper) = (SimulationOptions::default(), Paper::default());
    options.resources.set(PRINT_RESOURCE, PrintTarget::new(PrintStyle::JsonLines, paper.clone()));
    options.resources.set(STDIN_RESOURCE, StandardInput::new(Cursor::new(stdin.to_owned())));
    let mut simulated = SimulatedTopology::start(topology, options);
    // Standard input is read by a real thread, so the deadline is on the real clock.
    let deadline = Instant::now() + Duration::from_secs(120);
    while !simulated.stats().ended {
        simulated.advance(Duration::from_millis(100));
        simulated.check().unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(Instant::now() < deadline, "{file} does not end: {:?}", simulated.stats());
    }
    let printed = paper.0.lock().expect("no test panics while it writes").clone();
    let printed = String::from_utf8(printed).expect("JSON is text");
    let rows = printed.lines().map(|line| serde_json::from_str(line).expect("each line is JSON"));
    (rows.collect(), simulated.stats())
}

fn shown(rows: &[serde_json::Value], field: &str) -> Vec<String> {
    rows.iter().filter_map(|row| row["values"].get(field)).map(ToString::to_string).collect()
}

#[test]
fn word_count_ranks_the_words_with_and_without_tracking() {
    let (rows, stats) = run("word_count.toml");
    assert_eq!(rows.len(), 20);
    assert_eq!(shown(&rows[..1], "word"), ["\"the\""]);
    assert_eq!((stats.failed, stats.acked), (0, 1367));
    let (untracked, stats) = run("at_most_once.toml");
    assert_eq!(untracked, rows);
    assert_eq!(stats.emitted, 1367);
}

#[test]
fn word_count_over_standard_input_shows_each_update() {
    let (rows, _) =
        run_text("word_count_stdin.toml", &text_of("word_count_stdin.toml"), "to be or\nnot to be\n");
    let mut counts = shown(&rows, "count");
    counts.sort();
    assert_eq!(counts, ["1", "1", "1", "1", "2", "2"]);
}

#[test]
fn log_analysis_reports_traffic_failures_and_what_is_no_log() {
    let (rows, stats) = run("log_analysis.toml");
    let requests: i64 = shown(&rows, "requests").iter().map(|n| n.parse::<i64>().expect("a number")).sum();
    assert_eq!((requests, stats.failed), (2000, 0));
    assert_eq!(rows.iter().filter(|row| row["stream"] == "unmatched").count(), 7);
    assert_eq!(shown(&rows, "path").len(), 10);
    assert!(shown(&rows, "bytes").len() >= 5, "the sizes of several statuses");
}

#[test]
fn dead_letters_are_what_failed_three_times() {
    let (rows, stats) = run("dead_letters.toml");
    let dead: Vec<_> = rows.iter().filter(|row| row["stream"] == "dead-letter").collect();
    assert_eq!((dead.len(), stats.dead_letters), (7, 7));
    assert!(dead.iter().all(|row| row["values"]["error"] == "the line does not match"), "{dead:#?}");
    assert_eq!(stats.replayed, 14);
}

#[test]
fn top_words_are_shown_at_each_tick() {
    let text = text_of("top_words.toml");
    let shorter = text.replace("count = 600_000", "count = 120_000");
    assert_ne!(text, shorter);
    let (rows, stats) = run_text("top_words.toml", &shorter, "");
    assert_eq!((stats.acked, stats.failed), (120_000, 0));
    // Twelve seconds: two whole ticks of five, and what the end brings.
    assert!(rows.len() >= 20 && rows.len() <= 40, "{} rows", rows.len());
}
