//! `squall checkpoint inspect DIR [CHECKPOINT]`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::checkpoint::{CheckpointError, CheckpointReader, Manifest, TaskEntry};
use crate::cli::checkpoint::shown::{age, age_seconds, bytes, date, run_state};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::runs::checkpoints_at;
use crate::cli::state::sorted_entries::{EntrySort, no_room};
use crate::cli::summary::grouped;
use crate::cli::terminal;
use crate::clock::Clock;
use crate::ids::CheckpointId;
use crate::state::{SavedReader, StateError, StateKind, TakeSaved, Written};
use crate::text::{Shown, shown};
use crate::tuple::{Timestamp, Value as Key};

const EXAMPLES: &str = "\
Examples:
  squall checkpoint inspect checkpoints
  squall checkpoint inspect checkpoints 2-17
  squall checkpoint inspect checkpoints --json | jq '.tasks[].files[] | select(.problem)'

Every file that the checkpoint names is read, and its checksums are compared. A file that is
missing, cut off, changed, exchanged for another one, or of a newer squall is named. If all files of
a task are whole, it is checked that they follow each other, and keys are counted. A checkpoint with
such a file cannot be restored: put back a copy of the file, or continue from another
checkpoint by `squall run FILE --resume=CHECKPOINT`.

Exit codes: 0 all of it can be read; 1 something cannot; 2 the command line is wrong.";

/// How often the latest checkpoint is looked for before a run that deletes it meanwhile is an error.
const ATTEMPTS_MAX: usize = 8;

/// Show what a checkpoint has, and check every file of it
///
/// Nothing is changed, and a run may be using the directory. Of each task the files, states, positions and watermark are shown.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory in which a topology keeps its checkpoints, or a run, by a name that `squall ps` shows
    #[arg(value_name = "DIR|RUN")]
    place: PathBuf,

    /// The checkpoint, as `squall checkpoint list` shows it; the latest one if none is given
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: Option<CheckpointId>,

    /// Print a JSON object, with what is wrong with a file as its `problem`
    #[arg(long)]
    json: bool,
}

/// A checkpoint whose files were checked.
struct Checked {
    manifest: Manifest,
    /// One for each task of the manifest.
    tasks: Vec<CheckedTask>,
}

/// What was found in the files of a task.
#[derive(Default)]
struct CheckedTask {
    /// What is wrong with each file.
    files: Vec<Option<String>>,
    /// Why the state in the files, which are whole, cannot be read.
    state: Option<String>,
    /// How many keys each state has, if it could be read and has keys.
    keys: BTreeMap<SmolStr, u64>,
}

impl Checked {
    fn broken_files(&self) -> usize {
        self.tasks.iter().flat_map(|task| &task.files).flatten().count()
    }

    fn broken_states(&self) -> usize {
        self.tasks.iter().filter(|task| task.state.is_some()).count()
    }

    /// The error about what is wrong, if something is.
    fn result(&self, location: &str) -> Result<CommandOutcome, CommandError> {
        let (files, states) = (self.broken_files(), self.broken_states());
        let all = self.tasks.iter().map(|task| task.files.len()).sum::<usize>();
        let broken = match (files, states) {
            (0, 0) => return Ok(CommandOutcome::Done),
            (0, states) => format!("the state of {states} of {} tasks", self.tasks.len()),
            (files, _) => format!("{files} of {all} files"),
        };
        let checkpoint = self.manifest.checkpoint;
        Err(CommandError::Refused(format!(
            "{broken} of checkpoint {checkpoint} in {location} cannot be used: put back copies of the files, or continue \
             from another checkpoint by `squall run FILE --resume=CHECKPOINT`"
        )))
    }
}

pub(super) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let reader = CheckpointReader::open(&checkpoints_at(&args.place)?)?;
    let (checked, now) = (check(&reader, args.checkpoint)?, Clock::real().wall_nanos());
    match args.json {
        true => terminal::print_json(&in_json(&checked, now))?,
        false => terminal::print(&for_people(&checked, reader.location(), now))?,
    }
    checked.result(reader.location())
}

/// Reads a checkpoint and all its files. If a run deletes the latest one meanwhile, the next one is read.
fn check(reader: &CheckpointReader, wanted: Option<CheckpointId>) -> Result<Checked, CommandError> {
    let mut attempts = ATTEMPTS_MAX;
    loop {
        attempts -= 1;
        let manifest = reader.manifest(wanted)?;
        let mut first_error = None;
        let tasks = manifest.tasks.iter().map(|task| check_task(reader, task, &mut first_error));
        let tasks = tasks.collect::<Result<_, CommandError>>()?;
        match first_error.map(|error| reader.explain(manifest.checkpoint, error)) {
            Some(CheckpointError::Deleted { .. }) if wanted.is_none() && attempts > 0 => {}
            Some(deleted @ CheckpointError::Deleted { .. }) => return Err(deleted.into()),
            Some(_) | None => return Ok(Checked { manifest, tasks }),
        }
    }
}

/// Reads the files of a task, and what it keeps, if all of them are whole.
fn check_task(
    reader: &CheckpointReader,
    task: &TaskEntry,
    first_error: &mut Option<CheckpointError>,
) -> Result<CheckedTask, CommandError> {
    let (mut checked, mut keys) = (CheckedTask::default(), SavedReader::new(Keys::new()));
    let mut unreadable = None;
    for file in &task.files {
        let read = reader.snapshots(std::slice::from_ref(file)).for_each_chunk(|chunk| {
            if unreadable.is_none() {
                unreadable = keys.read(chunk).err();
            }
            Ok(())
        });
        let problem = match read {
            Ok(()) => None,
            Err(error) => {
                let text = problem(&error);
                first_error.get_or_insert(error);
                Some(text)
            }
        };
        checked.files.push(problem);
    }
    if task.files.is_empty() || checked.files.iter().any(Option::is_some) {
        return Ok(checked);
    }
    let finished = unreadable.map_or_else(|| Ok(keys.finish()?), Err);
    match finished.and_then(Keys::counted) {
        Ok(keys) => checked.keys = keys,
        Err(KeysError::State(error)) => checked.state = Some(error.to_string()),
        Err(KeysError::Scratch(error)) => return Err(no_room(error)),
    }
    Ok(checked)
}

/// The keys that each state has, without their values.
struct Keys {
    sort: EntrySort,
    states: Vec<(SmolStr, StateKind)>,
}

/// Why keys are not counted.
enum KeysError {
    State(StateError),
    /// There is no room to sort them.
    Scratch(io::Error),
}

impl From<StateError> for KeysError {
    fn from(error: StateError) -> KeysError {
        KeysError::State(error)
    }
}

impl From<io::Error> for KeysError {
    fn from(error: io::Error) -> KeysError {
        KeysError::Scratch(error)
    }
}

impl Keys {
    fn new() -> Keys {
        Keys { sort: EntrySort::in_temporary_files(), states: Vec::new() }
    }

    /// How many each state has that has keys.
    fn counted(self) -> Result<BTreeMap<SmolStr, u64>, KeysError> {
        let mut counts = vec![0; self.states.len()];
        self.sort.for_each(|state, _, _| {
            counts[state] += 1;
            Ok::<(), KeysError>(())
        })?;
        let counted = self.states.into_iter().zip(counts);
        Ok(counted.filter(|((_, kind), _)| kind.is_keyed()).map(|((name, _), count)| (name, count)).collect())
    }
}

impl TakeSaved for Keys {
    type Error = KeysError;

    fn add_state(&mut self, name: &SmolStr, kind: StateKind) {
        self.states.push((name.clone(), kind));
    }

    fn set(&mut self, state: usize, key: &[Key], value: Option<Written<'_>>) -> Result<(), KeysError> {
        if self.states[state].1.is_keyed() {
            self.sort.set(state, key, value.map(|_| Written::Plain(&[]).into()))?;
        }
        Ok(())
    }
}

/// What is wrong with a file, beside its name.
fn problem(error: &CheckpointError) -> String {
    match error {
        CheckpointError::Damaged { flaw, .. } => flaw.clone(),
        CheckpointError::Newer { version, supported, .. } => format!(
            "it was made by a newer squall: its format is version {version}, and this squall reads up to {supported}"
        ),
        CheckpointError::Io { source, .. } => format!("it cannot be read: {source}"),
        other => other.to_string(),
    }
}

fn in_json(checked: &Checked, now: i64) -> Value {
    let Checked { manifest, tasks } = checked;
    json!({
        "checkpoint": manifest.checkpoint.to_string(),
        "topology": manifest.topology,
        "taken_at": Timestamp(manifest.taken_at),
        "age_seconds": age_seconds(manifest.taken_at, now),
        "run": manifest.run,
        "txid": manifest.txid,
        "bytes": bytes(manifest),
        "problems": checked.broken_files() + checked.broken_states(),
        "tasks": manifest.tasks.iter().zip(tasks).map(|(task, checked)| task_in_json(task, checked)).collect::<Value>(),
    })
}

fn task_in_json(task: &TaskEntry, checked: &CheckedTask) -> Value {
    let files = task
        .files
        .iter()
        .zip(&checked.files)
        .map(|(file, problem)| json!({ "name": file.name, "bytes": file.bytes, "problem": problem }));
    let states = task.states.iter().map(|state| {
        let keys = checked.keys.get(&state.name);
        json!({ "name": state.name, "kind": state.kind, "type": state.rust_type, "keys": keys })
    });
    json!({
        "component": task.component,
        "task": task.task_index,
        "tasks": task.tasks,
        "files": files.collect::<Value>(),
        "states": states.collect::<Value>(),
        "positions": task.positions,
        "event_time": task.event_time,
        "problem": checked.state,
    })
}

fn for_people(checked: &Checked, location: &str, now: i64) -> String {
    let Checked { manifest, tasks } = checked;
    let mut text = format!(
        "checkpoint {} of `{}` in {location}\ntaken {} ({}), {}, {} in all\n",
        manifest.checkpoint,
        Shown(&manifest.topology),
        date(manifest.taken_at),
        age(manifest.taken_at, now),
        run_state(manifest.run),
        of_bytes(bytes(manifest)),
    );
    for (task, checked) in manifest.tasks.iter().zip(tasks) {
        let _ = writeln!(text, "\n{}, task {} of {}", task.component, task.task_index, task.tasks);
        let lines = lines_of(task, checked);
        if lines.is_empty() {
            text.push_str("  keeps nothing\n");
        }
        lines.iter().for_each(|line| text.extend(["  ", line, "\n"]));
    }
    text
}

/// Files, states, positions and event time of a task, each kind in columns.
fn lines_of(task: &TaskEntry, checked: &CheckedTask) -> Vec<String> {
    let files = task.files.iter().zip(&checked.files).map(|(file, problem)| {
        let problem = problem.as_ref().map_or_else(|| "ok".to_owned(), shown);
        (file.name.clone(), format!("{}, {problem}", of_bytes(file.bytes)))
    });
    let states = task.states.iter().map(|state| {
        let of = if state.rust_type.is_empty() { String::new() } else { format!("<{}>", state.rust_type) };
        let keys = match checked.keys.get(&state.name) {
            Some(1) => ", 1 key".to_owned(),
            Some(keys) => format!(", {} keys", grouped(*keys)),
            None => String::new(),
        };
        (shown(&state.name), shown(format_args!("{}{of}{keys}", state.kind)))
    });
    let positions = task.positions.iter().map(|(split, position)| (shown(split), shown(position)));
    let watermark = task.event_time.watermark.map(|at| {
        let at = if at.0 == i64::MAX { "the end of time".to_owned() } else { at.to_string() };
        (at, "the watermark".to_owned())
    });
    let latest = task.event_time.latest.iter().map(|(split, at)| {
        let of = if split.is_empty() { String::new() } else { format!(" of {}", shown(split)) };
        (at.to_string(), format!("the latest time{of}"))
    });
    let times = watermark.into_iter().chain(latest);
    let kinds = [
        ("file", files.collect::<Vec<_>>()),
        ("state", states.collect()),
        ("position", positions.collect()),
        ("time", times.collect()),
    ];
    let mut lines = Vec::new();
    for (kind, pairs) in kinds {
        let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        lines.extend(pairs.iter().map(|(name, what)| format!("{kind:8}  {name:width$}  {what}")));
    }
    lines.extend(checked.state.as_ref().map(|why| format!("its state cannot be read: {}", shown(why))));
    lines
}

fn of_bytes(bytes: u64) -> String {
    format!("{} bytes", grouped(bytes))
}
