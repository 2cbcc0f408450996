//! Every topology in `topologies/` runs to its end in the simulation, and prints what it says; and
//! every example in TOML of every document is valid as it stands there.

use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use squall::cli::Files;
use squall::cluster::TopologySource;
use squall::components::lines::{STDIN_RESOURCE, StandardInput};
use squall::components::print::{PRINT_RESOURCE, PrintStyle, PrintTarget};
use squall::prelude::*;
use squall::runtime::TopologyStats;
use squall::testing::{SimulatedTopology, SimulationOptions};
use squall::topology::declare::{MemorySource, load_hosts, parse_engine, parse_str};
use squall::topology::{Plan, Scale, Topology, TopologyOutline};

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
    assert_eq!((requests, stats.failed), (2002, 0));
    assert_eq!(rows.iter().filter(|row| row["stream"] == "unmatched").count(), 5);
    assert_eq!(shown(&rows, "path").len(), 10);
    assert!(shown(&rows, "bytes").len() >= 5, "the sizes of several statuses");
}

#[test]
fn clicks_are_counted_in_windows_that_overlap() {
    let (rows, stats) = run("clicks_per_minute.toml");
    // Each line is in two windows; what is shown are the busy ones.
    assert_eq!((stats.failed, shown(&rows, "path").len()), (0, 38));
    assert!(rows.iter().all(|row| row["values"]["clicks"].as_i64() >= Some(8)), "{rows:#?}");
    let mut once = shown(&rows, "window_start").into_iter().zip(shown(&rows, "path")).collect::<Vec<_>>();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), rows.len(), "each window is told once");
}

#[test]
fn sessions_are_all_counted_in_the_end() {
    let (rows, stats) = run("sessions.toml");
    assert_eq!(
        (stats.failed, shown(&rows, "visits"), shown(&rows, "longest")),
        (0, vec!["612".into()], vec!["41".into()])
    );
    assert_eq!(shown(&rows, "host").len(), 14);
}

#[test]
fn each_line_is_in_one_hour() {
    let (rows, stats) = run("top_pages.toml");
    let clicks: i64 = shown(&rows, "clicks").iter().map(|n| n.parse::<i64>().expect("a number")).sum();
    assert_eq!((clicks, rows.len(), stats.failed), (2002, 6, 0));
    assert!(rows.iter().all(|row| row["values"]["pages"].as_array().is_some_and(|pages| !pages.is_empty())));
}

#[test]
fn dead_letters_are_what_failed_three_times() {
    let (rows, stats) = run("dead_letters.toml");
    let dead: Vec<_> = rows.iter().filter(|row| row["stream"] == "dead-letter").collect();
    assert_eq!((dead.len(), stats.dead_letters), (5, 5));
    assert!(dead.iter().all(|row| row["values"]["error"] == "the line does not match"), "{dead:#?}");
    assert_eq!(stats.replayed, 10);
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

/// An example in TOML, with what is around it in its text.
struct Example {
    /// The file, and the line of the fence, from 1.
    place: String,
    text: String,
}

/// The examples of a text: blocks between fences of `toml`, in Markdown or in comments of Rust.
fn examples_in(file: &Path) -> Vec<Example> {
    let text = fs::read_to_string(file).expect("it is text");
    let is_rust = file.extension().is_some_and(|extension| extension == "rs");
    let mut examples = Vec::new();
    let mut open: Option<Example> = None;
    for (at, line) in text.lines().enumerate() {
        let comment =
            ["//! ", "/// ", "//!", "///"].iter().find_map(|mark| line.trim_start().strip_prefix(mark));
        let line = if is_rust { comment.unwrap_or_default() } else { line };
        match &mut open {
            None if line.trim() == "```toml" => {
                open = Some(Example { place: format!("{}:{}", file.display(), at + 1), text: String::new() });
            }
            Some(_) if line.trim() == "```" => examples.extend(open.take()),
            Some(example) => example.text += &format!("{line}\n"),
            None => {}
        }
    }
    assert!(open.is_none(), "{}: a fence is not closed", file.display());
    examples
}

/// All files under a directory with one of these endings.
fn files_under(directory: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::from(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("tests run in the repository's root") {
            let path = entry.expect("it can be read").path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            match path.is_dir() {
                true => directories.push(path),
                false if endings.contains(&ending) => files.push(path),
                false => {}
            }
        }
    }
    files
}

/// The settings of `any`: what an example takes from a component that it does not show.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct AnySettings {
    fields: Vec<String>,
    streams: Vec<String>,
}

/// Declares the streams that it is told, and emits nothing.
struct Any(Streams);

impl Spout for Any {
    fn declare(&self) -> Streams {
        self.0.clone()
    }
    fn next_tuple(&mut self, _out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        Ok(SpoutStatus::Exhausted)
    }
    fn is_rewindable(&self) -> bool {
        true
    }
}

fn registry_with_any() -> Registry {
    let mut registry = Registry::with_standard();
    registry.assume_compiled_in();
    registry.spout("any", "Whatever comes before an example.", |settings: &AnySettings| {
        let fields: Fields = settings.fields.iter().collect();
        let default = Streams::new(fields.clone());
        let streams = settings.streams.iter();
        Ok(Any(streams.fold(default, |streams, name| streams.stream(name, fields.clone()))))
    });
    registry
}

/// The example, completed by what it refers to: the table it stands in, if its first line says `# of`
/// and the table; a name; and for each component that it does not show, one with every field that the
/// example could mean.
fn completed(example: &str) -> String {
    let table = example.lines().next().and_then(|line| line.strip_prefix("# of `")?.strip_suffix('`'));
    let type_name = if table.is_some() { "type = \"null\"\n" } else { "" };
    let example = format!("{}\n{type_name}{example}", table.unwrap_or_default());
    let document: toml::Table = example.parse().unwrap_or_else(|error| panic!("{error}\n{example}"));
    if document.contains_key("topology") {
        return example;
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut fields: Vec<&str> = example.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    // What most components read unless a setting says otherwise.
    fields.push("line");
    fields.sort_unstable();
    fields.dedup();
    let mut before: Vec<(String, Vec<String>)> = Vec::new();
    for (id, stream) in inputs_of(&document) {
        if ["spout", "bolt"]
            .iter()
            .any(|kind| document.get(*kind).is_some_and(|table| table.get(&id).is_some()))
        {
            continue;
        }
        if !before.iter().any(|(other, _)| *other == id) {
            before.push((id.clone(), Vec::new()));
        }
        let (_, streams) = before.iter_mut().find(|(other, _)| *other == id).expect("it is there by now");
        streams.extend((stream != "default").then_some(stream));
    }
    // Windows go by the time that something in front of them has.
    let time = if example.contains("time = \"time\"") { "event_time = { field = \"time\" }\n" } else { "" };
    let before = before.iter().map(|(id, streams)| {
        format!(
            "[spout.{id}]\ntype = \"any\"\n{time}config = {{ fields = {fields:?}, streams = {streams:?} }}\n"
        )
    });
    // What only exactly-once has.
    let delivery = if example.contains("type = \"aggregate\"") { "exactly-once" } else { "at-least-once" };
    format!(
        "[topology]\nname = \"example\"\ndelivery = \"{delivery}\"\n{example}\n{}",
        before.collect::<String>()
    )
}

/// The components and streams that the bolts of a document take.
fn inputs_of(document: &toml::Table) -> Vec<(String, String)> {
    let bolts = document.get("bolt").and_then(toml::Value::as_table).into_iter().flatten();
    let inputs = bolts.filter_map(|(_, bolt)| bolt.get("inputs")?.as_array()).flatten();
    let named = inputs.filter_map(|input| {
        let from = input.as_str().or_else(|| input.get("from")?.as_str())?;
        let (id, stream) = from.split_once('.').unwrap_or((from, "default"));
        let stream = input.get("stream").and_then(toml::Value::as_str).unwrap_or(stream);
        Some((id.to_owned(), stream.to_owned()))
    });
    named.collect()
}

/// The first example of docs/topology.md was refused: it named a type that is not there.
#[test]
fn every_example_of_every_document_is_valid() {
    let mut files = files_under("docs", &["md"]);
    files.extend(files_under("src", &["rs"]));
    files.extend(["README.md", "ARCHITECTURE.md"].map(PathBuf::from));
    let registry = registry_with_any();
    let mut examples: Vec<Example> = files.iter().flat_map(|file| examples_in(file)).collect();
    let shown = registry.components().filter(|component| component.name != "any");
    examples.extend(shown.map(|component| Example {
        place: format!("the example of `{}`", component.name),
        text: component.example.clone(),
    }));
    let (mut whole, mut engine, mut hosts, mut part) = (0, 0, 0, 0);
    for Example { place, text } in &examples {
        if text.contains("[host.") {
            let source = MemorySource::new().file(place, text.as_str());
            load_hosts(&source, place).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
            hosts += 1;
            continue;
        }
        if ["[net", "[worker", "[zookeeper", "[nimbus", "[supervisor"]
            .iter()
            .any(|table| text.contains(table))
        {
            parse_engine(place, text).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
            engine += 1;
            continue;
        }
        let completed = completed(text);
        *(if completed.trim_start() == *text { &mut whole } else { &mut part }) += 1;
        parse_str(place, &completed, &registry).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    }
    assert!(
        whole >= 2 && engine >= 3 && hosts >= 1 && part >= 24,
        "{whole} topologies, {engine} engines, {hosts} clusters, {part} parts"
    );
}

#[test]
fn the_files_of_the_engine_that_are_shipped_are_valid() {
    let mut files = files_under("config", &["toml"]);
    files.sort();
    let names = ["nimbus", "squall", "supervisor"].map(|name| PathBuf::from(format!("config/{name}.toml")));
    assert_eq!(files, names);
    for file in files {
        let text = fs::read_to_string(&file).expect("it is text");
        parse_engine("squall.toml", &text).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    }
}

/// What a nimbus places is the outline: if it differed, workers would be handed executors that their topology does not
/// have.
#[test]
fn the_outline_of_every_topology_is_placed_as_the_topology() {
    let mut registry = Registry::with_standard();
    registry.assume_compiled_in();
    let shipped =
        fs::read_dir("topologies").expect("it is there").map(|entry| entry.expect("it is read").path());
    let every_key = PathBuf::from("tests/fixtures/every_key.toml");
    let mut checked = 0;
    for path in shipped.filter(|path| path.extension().is_some_and(|end| end == "toml")).chain([every_key]) {
        let path_text = path.to_str().expect("it is text");
        // What needs a variable or another file of the user's is left out.
        let Ok((_, topology)) = TopologySource::record(&Files, path_text, &registry, &[]) else { continue };
        let outline = TopologyOutline::of(&topology);
        let sent = serde_json::to_string(&outline).expect("it is JSON");
        let taken: TopologyOutline = serde_json::from_str(&sent).expect("it is read again");
        let outlined = taken.to_topology().unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        assert_eq!(outlined.fingerprint(), topology.fingerprint(), "{}", path.display());
        for (workers, threads) in [(1, 1), (2, 1), (3, 4), (8, 2)] {
            let scale = Scale { workers, threads };
            assert_eq!(Plan::new(&outlined, scale, 1), Plan::new(&topology, scale, 1), "{}", path.display());
        }
        let needs =
            |of: &Topology| -> Vec<_> { of.components().iter().map(|it| it.options.resources).collect() };
        assert_eq!(needs(&outlined), needs(&topology));
        assert_eq!(outlined.options().scheduling, topology.options().scheduling);
        checked += 1;
    }
    assert!(checked >= 9, "only {checked} were outlined");
}
