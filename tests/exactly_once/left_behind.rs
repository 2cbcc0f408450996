//! A start with other states of a component than the checkpoint has.

use std::path::Path;

use super::*;

/// What a task registers, beside `counts`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// A state of each kind.
    First,
    /// None of those, and `counts` with another type.
    Second,
    /// None of those, and `counts` of another kind.
    Third,
}

struct Keeps {
    version: Version,
    numbers: ValueState<i64>,
    texts: ValueState<String>,
    kept: ValueState<i64>,
    map: MapState<i64, i64>,
    list: ListState<i64>,
    operator: OperatorState<i64>,
    timer: Timer,
}

impl Keeps {
    fn new(version: Version) -> Keeps {
        Keeps {
            version,
            numbers: ValueState::default(),
            texts: ValueState::default(),
            kept: ValueState::default(),
            map: MapState::default(),
            list: ListState::default(),
            operator: OperatorState::default(),
            timer: Timer::default(),
        }
    }
}

impl Bolt for Keeps {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.kept = context.value_state("kept")?;
        match self.version {
            Version::First => {
                self.numbers = context.value_state("counts")?;
                self.map = context.map_state("a.map")?;
                self.list = context.list_state("list")?;
                self.operator = context.operator_state("operator")?;
                self.timer = context.timer("timer")?;
            }
            Version::Second => self.texts = context.value_state("counts")?,
            Version::Third => self.list = context.list_state("counts")?,
        }
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        let kept = self.kept.update(out, |kept| {
            *kept += 1;
            *kept
        })?;
        let counted = match self.version {
            Version::First => {
                self.map.insert(out, n, n)?;
                self.list.push(out, n)?;
                self.operator.push(out, n)?;
                self.timer.set(out, HOUR)?;
                self.numbers.update(out, |count| {
                    *count += 1;
                    *count
                })?
            }
            Version::Second => self.texts.update(out, |text| {
                text.push('x');
                text.len() as i64
            })?,
            Version::Third => {
                self.list.push(out, n)?;
                self.list.items(out)?.len() as i64
            }
        };
        Ok(out.emit([1_000 * kept + counted])?)
    }
}

/// Five keys, over and over.
fn topology(directory: &Path, version: Version, tasks: u32, count: i64) -> (Topology, Published) {
    let published = Published::default();
    let mut builder = builder();
    let storage = directory.join("checkpoints");
    builder.options(move |options| options.checkpoint.storage = Some(storage));
    builder.spout("numbers", move || Numbers::new(count)).blocking();
    builder
        .bolt_fn("modulo", Streams::new(["n"]), |input, out| Ok(out.emit([input.i64("n")? % 5])?))
        .shuffle("numbers");
    builder.bolt("keeps", move || Keeps::new(version)).parallelism(tasks).fields("modulo", ["n"]);
    builder.bolt("sink", published.sink()).shuffle("keeps");
    (built(builder), published)
}

fn start(topology: Topology, checkpoints: CheckpointBegin, dropped: &[&str]) -> RunningTopology {
    let allow_dropped_state = dropped.iter().map(|name| (*name).to_owned()).collect();
    let options = LocalOptions { checkpoints, allow_dropped_state, ..LocalOptions::default() };
    RunningTopology::start(topology, options).unwrap_or_else(|error| panic!("{error}"))
}

/// Why the run ended.
fn reason(directory: &Path, version: Version, tasks: u32, dropped: &[&str]) -> String {
    let (topology, _) = topology(directory, version, tasks, i64::MAX);
    let stats = start(topology, CheckpointBegin::Resume, dropped).join();
    stats.stopped.expect("the run ends because of it").error
}

const DROPPED: [&str; 4] = ["keeps:a.map", "keeps.list", "keeps.operator", "keeps.timer"];

/// A directory with a checkpoint of the first version, which counted some.
fn first() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let (endless, published) = topology(directory.path(), Version::First, 2, i64::MAX);
    let running = start(endless, CheckpointBegin::New, &[]);
    wait_until("rows are published", || published.sorted().len() > 20);
    running.kill();
    running.join();
    directory
}

#[test]
fn what_is_not_registered_any_more_is_named_on_both_sides() {
    let directory = first();
    let why = reason(directory.path(), Version::Second, 2, &[]);
    let expected = "the checkpoint has `keeps:a.map` (map<i64, i64>), `keeps.list` (list<i64>), `keeps.operator` \
                    (operator<i64>), `keeps.timer` (timer), and the topology has `keeps.kept` (value<i64>), \
                    `keeps.counts` (value<alloc::string::String>): register it as it was, or leave it behind with \
                    `--allow-dropped-state keeps:a.map`, `--allow-dropped-state keeps.list`, \
                    `--allow-dropped-state keeps.operator`, `--allow-dropped-state keeps.timer`";
    assert!(why.contains(expected), "{why}");
    let why = reason(directory.path(), Version::Second, 3, &DROPPED);
    assert!(
        why.contains("it is value<i64> in the checkpoint, and value<alloc::string::String> in the component")
            && why.ends_with("leave it behind with `--allow-dropped-state keeps.counts`"),
        "{why}"
    );
    let why = reason(directory.path(), Version::Third, 2, &DROPPED);
    assert!(
        why.contains(
            "state `counts` is value<i64> in the checkpoint, and the component registers it as list<i64>"
        ) && why.ends_with("`--allow-dropped-state keeps.counts`"),
        "{why}"
    );
}

/// `kept` goes on, and `counts` begins anew. What a task lost is restored from a later checkpoint of this run, whose
/// `counts` are of the new type: these stay. After a kill the next start needs no flag.
#[test]
fn what_is_left_behind_begins_anew_and_what_comes_then_stays() {
    for (version, tasks) in [(Version::Second, 2), (Version::Second, 3), (Version::Third, 1)] {
        let directory = first();
        let dropped = [&DROPPED[..], &["keeps.counts"]].concat();
        let (endless, published) = topology(directory.path(), version, tasks, i64::MAX);
        let running = start(endless, CheckpointBegin::Resume, &dropped);
        wait_until("rows are published", || published.sorted().len() > 40);
        running.kill();
        running.join();
        let rows = published.sorted();
        assert!(rows[0] > 1_000 && rows.iter().all(|row| row / 1_000 > row % 1_000), "{rows:?}");
        assert!(rows.iter().any(|row| row % 1_000 == 1), "counts begin anew: {rows:?}");

        let (endless, published) = topology(directory.path(), version, 2, i64::MAX);
        let running = start(endless, CheckpointBegin::Resume, &[]);
        wait_until("rows are published", || published.sorted().len() > 20);
        running.kill();
        running.join();
        let rows = published.sorted();
        assert!(rows.iter().all(|row| row % 1_000 > 1), "counts go on: {rows:?}");
    }
}
