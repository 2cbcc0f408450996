//! `squall checkpoint inspect DIR [CHECKPOINT]`.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::checkpoint::{CheckpointError, CheckpointReader, Manifest, SnapshotFile, TaskEntry};
use crate::cli::checkpoint::shown::{age, age_seconds, bytes, date, run_state};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::summary::grouped;
use crate::cli::terminal;
use crate::clock::Clock;
use crate::ids::CheckpointId;
use crate::text::{Shown, shown};
use crate::tuple::Timestamp;

const EXAMPLES: &str = "\
Examples:
  squall checkpoint inspect checkpoints
  squall checkpoint inspect checkpoints 2-17
  squall checkpoint inspect checkpoints --json | jq '.tasks[].files[] | select(.problem)'

Every file that the checkpoint names is read, and its checksums are compared. A file that is
missing, cut off, changed, exchanged for another one, or of a newer squall is named. A checkpoint
with such a file cannot be restored: put back a copy of the file, or continue from another
checkpoint by `squall run FILE --resume=CHECKPOINT`.

Exit codes: 0 all of it can be read; 1 something cannot; 2 the command line is wrong.";

/// How often the latest checkpoint is looked for before a run that deletes it meanwhile is an error.
const ATTEMPTS_MAX: usize = 8;

/// Show what a checkpoint has, and check every file of it
///
/// Nothing is changed, and a run may be using the directory. Of each task the files, states and positions are shown.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory in which a topology keeps its checkpoints
    #[arg(value_name = "DIR")]
    directory: PathBuf,

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
    /// For each task what is wrong with each of its files.
    problems: Vec<Vec<Option<String>>>,
}

pub(super) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let reader = CheckpointReader::open(&args.directory)?;
    let (checked, now) = (check(&reader, args.checkpoint)?, Clock::real().wall_nanos());
    let broken = checked.problems.iter().flatten().flatten().count();
    match args.json {
        true => terminal::print_json(&in_json(&checked, now))?,
        false => terminal::print(&for_people(&checked, reader.location(), now))?,
    }
    if broken > 0 {
        let files = checked.problems.iter().flatten().count();
        let checkpoint = checked.manifest.checkpoint;
        return Err(CommandError::Refused(format!(
            "{broken} of {files} files of checkpoint {checkpoint} in {} cannot be used: put back copies of them, or continue from \
             another checkpoint by `squall run FILE --resume=CHECKPOINT`",
            reader.location()
        )));
    }
    Ok(CommandOutcome::Done)
}

/// Reads a checkpoint and all its files. If a run deletes the latest one meanwhile, the next one is read.
fn check(reader: &CheckpointReader, wanted: Option<CheckpointId>) -> Result<Checked, CheckpointError> {
    let mut attempts = ATTEMPTS_MAX;
    loop {
        attempts -= 1;
        let manifest = reader.manifest(wanted)?;
        let (mut problems, mut first_error) = (Vec::new(), None);
        for task in &manifest.tasks {
            let checked = task.files.iter().map(|file| match reader.chunks(file) {
                Ok(_) => None,
                Err(error) => {
                    let text = problem(&error);
                    first_error.get_or_insert(error);
                    Some(text)
                }
            });
            problems.push(checked.collect());
        }
        match first_error.map(|error| reader.explain(manifest.checkpoint, error)) {
            Some(CheckpointError::Deleted { .. }) if wanted.is_none() && attempts > 0 => {}
            Some(deleted @ CheckpointError::Deleted { .. }) => return Err(deleted),
            Some(_) | None => return Ok(Checked { manifest, problems }),
        }
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
    let Checked { manifest, problems } = checked;
    let file = |(file, problem): (&SnapshotFile, &Option<String>)| json!({ "name": file.name, "bytes": file.bytes, "problem": problem });
    let task = |(task, problems): (&TaskEntry, &Vec<Option<String>>)| {
        json!({
            "component": task.component,
            "task": task.task_index,
            "tasks": task.tasks,
            "files": task.files.iter().zip(problems).map(file).collect::<Value>(),
            "states": task.states,
            "positions": task.positions,
        })
    };
    json!({
        "checkpoint": manifest.checkpoint.to_string(),
        "topology": manifest.topology,
        "taken_at": Timestamp(manifest.taken_at),
        "age_seconds": age_seconds(manifest.taken_at, now),
        "run": manifest.run,
        "bytes": bytes(manifest),
        "problems": problems.iter().flatten().flatten().count(),
        "tasks": manifest.tasks.iter().zip(problems).map(task).collect::<Value>(),
    })
}

fn for_people(checked: &Checked, location: &str, now: i64) -> String {
    let Checked { manifest, problems } = checked;
    let mut text = format!(
        "checkpoint {} of `{}` in {location}\ntaken {} ({}), {}, {} in all\n",
        manifest.checkpoint,
        Shown(&manifest.topology),
        date(manifest.taken_at),
        age(manifest.taken_at, now),
        run_state(manifest.run),
        of_bytes(bytes(manifest)),
    );
    for (task, problems) in manifest.tasks.iter().zip(problems) {
        let _ = writeln!(text, "\n{}, task {} of {}", task.component, task.task_index, task.tasks);
        let lines = lines_of(task, problems);
        if lines.is_empty() {
            text.push_str("  keeps nothing\n");
        }
        lines.iter().for_each(|line| text.extend(["  ", line, "\n"]));
    }
    text
}

/// Files, states and positions of a task, each kind in columns.
fn lines_of(task: &TaskEntry, problems: &[Option<String>]) -> Vec<String> {
    let files = task.files.iter().zip(problems).map(|(file, problem)| {
        let problem = problem.as_ref().map_or_else(|| "ok".to_owned(), shown);
        (file.name.clone(), format!("{}, {problem}", of_bytes(file.bytes)))
    });
    let states = task.states.iter().map(|state| {
        let of = if state.rust_type.is_empty() { String::new() } else { format!("<{}>", state.rust_type) };
        (shown(&state.name), shown(format_args!("{}{of}", state.kind)))
    });
    let positions = task.positions.iter().map(|(split, position)| (shown(split), shown(position)));
    let kinds =
        [("file", files.collect::<Vec<_>>()), ("state", states.collect()), ("position", positions.collect())];
    let mut lines = Vec::new();
    for (kind, pairs) in kinds {
        let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        lines.extend(pairs.iter().map(|(name, what)| format!("{kind:8}  {name:width$}  {what}")));
    }
    lines
}

fn of_bytes(bytes: u64) -> String {
    format!("{} bytes", grouped(bytes))
}
