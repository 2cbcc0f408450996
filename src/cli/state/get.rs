//! `squall state get DIR|RUN`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::checkpoint::{CheckpointError, CheckpointReader, Manifest};
use crate::cli::checkpoint::shown::{age, date};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::run::parse_duration;
use crate::cli::runs::{Place, checkpoint_now};
use crate::cli::state::contents::{Contents, StateOfTask};
use crate::cli::state::lookup::Lookup;
use crate::cli::summary::grouped;
use crate::cli::terminal;
use crate::clock::Clock;
use crate::ids::CheckpointId;
use crate::state::{SavedValue, StateKind, key_in_json, value_in_json};
use crate::text::{Shown, escaped_json, shown};
use crate::tuple::Value;

const EXAMPLES: &str = "\
Examples:
  squall state get checkpoints --component count --state counts --key '[\"the\"]'
  squall state get checkpoints --component count --state counts --key '[\"the\"]' --checkpoint 2-17
  squall state get words --component count --state counts --key '[\"the\"]'
  squall state get words --component count --state counts --key '[\"the\"]' --latest
  squall state get checkpoints --component store --state prepared --task 0
  squall state get checkpoints --component count --state counts --dump | jq -c .value

A run, as `words` above, is asked to take a checkpoint now, and that one is shown: it has everything
that was processed before the question. With --latest the run is not asked. A directory comes before a
run of the same name. Which checkpoint was read, and when it was taken, is written to stderr.

A key is a JSON array with one value for each of its fields. A point in time is written as RFC 3339,
and bytes as lower-case hex, as --dump shows them.

Exit codes: 0 done; 1 the key, state, component or checkpoint is not there, or cannot be read, or the
run took no checkpoint in time; 2 the command line is wrong.";

/// How often the latest checkpoint is read before a run that deletes it meanwhile is an error.
const ATTEMPTS_MAX: usize = 8;
/// Bytes of JSON lines that are written at once.
const LINES_MAX: usize = 1 << 16;
/// Keys that an error names.
const SAMPLE_MAX: usize = 3;

/// Print what a state has for a key, or all that a component keeps, as JSON
///
/// Of a running topology this shows the state of this moment, by a checkpoint that the run takes for it. Of a directory it
/// shows the latest checkpoint, changes nothing, and a run may be using it. State may be larger than memory.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory in which a topology keeps its checkpoints, or a run, by a name that `squall ps` shows
    #[arg(value_name = "DIR|RUN")]
    place: PathBuf,

    /// The component that keeps the state
    #[arg(long, value_name = "NAME")]
    component: String,

    /// The state, by the name that the component registers it by; with --dump, all states if none is named
    #[arg(long, value_name = "NAME", required_unless_present = "dump")]
    state: Option<String>,

    /// The key: a JSON array, for example '["the"]'; not needed for an operator state, which has no keys
    #[arg(long, value_name = "JSON", value_parser = parse_key, conflicts_with = "dump")]
    key: Option<JsonKey>,

    /// Print all keys, one JSON line each: {"state": …, "task": …, "key": […], "value": …}
    ///
    /// Lines are in the order of tasks, then states as they were registered, then keys. An operator state has one line
    /// for each task, whose key is null.
    #[arg(long)]
    dump: bool,

    /// Look at this task of the component only, counted from 0
    #[arg(long, value_name = "N")]
    task: Option<u32>,

    /// The checkpoint, as `squall checkpoint list` shows it; of a directory, the latest one if none is given
    #[arg(long, value_name = "CHECKPOINT")]
    checkpoint: Option<CheckpointId>,

    /// Of a run, read its latest complete checkpoint: it is not asked to take one
    #[arg(long, conflicts_with = "checkpoint")]
    latest: bool,

    /// How long a run may take until its checkpoint is complete
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    timeout: Duration,
}

/// A key as the command line has it: a JSON array that is not empty.
#[derive(Clone, Debug, PartialEq)]
struct JsonKey(Json);

fn parse_key(text: &str) -> Result<JsonKey, String> {
    let hint =
        "write a JSON array with one value for each field of the key, in quotes for the shell: '[\"the\"]'";
    match serde_json::from_str::<Json>(text) {
        Ok(Json::Array(values)) if !values.is_empty() => Ok(JsonKey(Json::Array(values))),
        Ok(_) => Err(hint.to_owned()),
        Err(error) => Err(format!("{error}; {hint}")),
    }
}

pub(super) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let place = Place::named(&args.place)?;
    let reader = CheckpointReader::open(&place.directory()?)?;
    let taken = match &place {
        Place::Run(run) if args.checkpoint.is_none() && !args.latest => {
            Some(checkpoint_now(run, args.timeout)?)
        }
        Place::Run(_) | Place::Directory(_) => None,
    };
    let mut lines = Lines::default();
    for attempt in 1.. {
        match print_state(&reader, args, taken, &mut lines) {
            // The next one is read, unless a part of this one was printed.
            Err(CommandError::Checkpoint(CheckpointError::Deleted { .. }))
                if args.checkpoint.is_none() && lines.are_unwritten && attempt < ATTEMPTS_MAX =>
            {
                lines = Lines::default();
            }
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    Ok(CommandOutcome::Done)
}

/// `taken`: the checkpoint that a run took for this. It may have taken others since.
fn print_state(
    reader: &CheckpointReader,
    args: &Args,
    taken: Option<CheckpointId>,
    lines: &mut Lines,
) -> Result<(), CommandError> {
    let manifest = reader.manifest(args.checkpoint)?;
    if let Some(taken) = taken.filter(|taken| manifest.checkpoint < *taken) {
        let (location, latest) = (reader.location(), manifest.checkpoint);
        let text = format!("the run took checkpoint {taken}, and the latest in {location} is {latest}");
        return Err(CommandError::Refused(text));
    }
    lines.note = note_of(&manifest);
    let contents = Contents::find(reader, manifest, &args.component, args.task)?;
    let state = args.state.as_ref().map(|name| contents.state(name)).transpose()?;
    let Some(state) = state.filter(|_| !args.dump) else {
        return dump(&contents, args.state.as_deref(), lines);
    };
    let (name, component) = (&state.name, &contents.component);
    let value = match (&args.key, state.kind) {
        (Some(key), kind) if kind.is_keyed() => value_of(&contents, name, key)?,
        (None, StateKind::Operator) => list_of(&contents, name)?,
        (Some(_), _) => {
            let text = format!(
                "state `{name}` of `{component}` has no keys, because it is an operator state: leave out --key"
            );
            return Err(CommandError::Refused(text));
        }
        (None, _) => {
            let text = format!(
                "state `{name}` of `{component}` is kept by key: name one by --key, or print all of them by --dump"
            );
            return Err(CommandError::Refused(text));
        }
    };
    lines.write_note();
    terminal::print_json(&value)
}

/// Which checkpoint is read, and when it was taken.
fn note_of(manifest: &Manifest) -> String {
    let (checkpoint, taken_at) = (manifest.checkpoint, manifest.taken_at);
    let age = age(taken_at, Clock::real().wall_nanos());
    format!("checkpoint {checkpoint} of `{}`, taken {} ({age})", Shown(&manifest.topology), date(taken_at))
}

/// Prints everything, or one state.
fn dump(contents: &Contents<'_>, name: Option<&str>, lines: &mut Lines) -> Result<(), CommandError> {
    contents.check_stateful()?;
    // All files are read before the first line is printed: whoever reads the lines may take their time, and a run deletes
    // files meanwhile.
    let sorted = contents.sorted(&|state| name.is_none_or(|name| state == name))?;
    sorted.for_each(|state, key, value| {
        let value = decoded(contents, state, key, value)?;
        let key = state.kind.is_keyed().then(|| key_in_json(key));
        lines.add(&json!({ "state": state.name, "task": state.task, "key": key, "value": value }))
    })?;
    lines.flush()
}

/// What a state has for a key, in whichever task.
fn value_of(contents: &Contents<'_>, name: &str, key: &JsonKey) -> Result<Json, CommandError> {
    let mut found = Vec::new();
    for task in &contents.tasks {
        found.extend(contents.read(task, Lookup::new(name, Some(&key.0)))?.entry(task.task_index));
    }
    match &found[..] {
        [(state, key, value)] => decoded(contents, state, key, value),
        [] => Err(nothing_for(contents, name, key)?),
        several => {
            let tasks: Vec<String> = several.iter().map(|(state, ..)| state.task.to_string()).collect();
            let (component, key) = (&contents.component, shown(&key.0));
            let text = format!(
                "state `{name}` has key `{key}` in several tasks of `{component}`, {}: name one by --task",
                tasks.join(", ")
            );
            Err(CommandError::Refused(text))
        }
    }
}

/// The error about a key for which a state has nothing. It names some that are there.
fn nothing_for(contents: &Contents<'_>, name: &str, key: &JsonKey) -> Result<CommandError, CommandError> {
    let (mut keys, mut likely, mut sample) = (0, None, Vec::new());
    contents.sorted(&|state| state == name)?.for_each(|_, known, _| {
        keys += 1;
        if sample.len() < SAMPLE_MAX {
            sample.push(shown(key_in_json(known)));
        }
        if likely.is_none() {
            likely = Some(key_in_json(known)).filter(|known| is_like(known, &key.0));
        }
        Ok(())
    })?;
    let there = match (keys, likely) {
        (0, _) => "it has no keys".to_owned(),
        (_, Some(likely)) => format!("did you mean `{}`?", shown(likely)),
        (_, None) => {
            let such_as = if keys > sample.len() as u64 { "such as " } else { "" };
            format!("of its {}, {such_as}{}; --dump prints all", counted(keys, "key"), sample.join(", "))
        }
    };
    let (place, component, key) = (contents.place(), &contents.component, shown(&key.0));
    Ok(CommandError::Refused(format!(
        "state `{name}` of `{component}` has nothing for key `{key}` in {place}: {there}"
    )))
}

/// The list of an operator state, of which each task has one.
fn list_of(contents: &Contents<'_>, name: &str) -> Result<Json, CommandError> {
    let [task] = &contents.tasks[..] else {
        let (component, tasks) = (&contents.component, contents.tasks.len());
        let text = format!(
            "each of the {tasks} tasks of `{component}` has a list of its own in state `{name}`: name one by --task, \
             or print all of them by --dump"
        );
        return Err(CommandError::Refused(text));
    };
    match contents.read(task, Lookup::new(name, None))?.entry(task.task_index) {
        Some((state, key, value)) => decoded(contents, &state, &key, &value),
        None => Ok(Json::Array(Vec::new())),
    }
}

/// Whether two keys have the same texts, although not the same types.
fn is_like(known: &Json, wanted: &Json) -> bool {
    let texts = |key: &Json| -> Vec<String> {
        let text =
            |value: &Json| value.as_str().map_or_else(|| value.to_string(), |text| text.to_lowercase());
        key.as_array().map(|values| values.iter().map(text).collect()).unwrap_or_default()
    };
    texts(known) == texts(wanted)
}

fn decoded(
    contents: &Contents<'_>,
    state: &StateOfTask,
    key: &[Value],
    value: &SavedValue,
) -> Result<Json, CommandError> {
    value_in_json(state.kind, value.written()).map_err(|error| {
        let (name, component, index) = (shown(&state.name), &contents.component, state.task);
        let (key, error) = (shown(key_in_json(key)), shown(error));
        CommandError::Refused(format!(
            "state `{name}` of `{component}`, task {index}, cannot be shown for key `{key}`: {error}"
        ))
    })
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// JSON lines on their way to standard output.
struct Lines {
    text: String,
    /// What is written to stderr before the first line.
    note: String,
    /// Whether nothing was written so far.
    are_unwritten: bool,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { text: String::new(), note: String::new(), are_unwritten: true }
    }
}

impl Lines {
    fn add(&mut self, line: &Json) -> Result<(), CommandError> {
        self.text.push_str(&escaped_json(&line.to_string()));
        self.text.push('\n');
        if self.text.len() >= LINES_MAX { self.flush() } else { Ok(()) }
    }

    fn write_note(&mut self) {
        if std::mem::take(&mut self.are_unwritten) {
            terminal::write_message(&self.note);
        }
    }

    fn flush(&mut self) -> Result<(), CommandError> {
        self.write_note();
        terminal::print(&std::mem::take(&mut self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_an_array() {
        let check = |text: &str, expected: Option<Json>| {
            let parsed = parse_key(text);
            assert_eq!(parsed.clone().ok(), expected.map(JsonKey), "{text}");
            if let Err(error) = parsed {
                assert!(error.contains("write a JSON array"), "{error}");
            }
        };
        check(r#"["the", 7]"#, Some(json!(["the", 7])));
        check("[[]]", Some(json!([[]])));
        for bad in ["", "the", "[the]", r#""the""#, "7", "[]", "{}", r#"["the"] x"#] {
            check(bad, None);
        }
    }

    #[test]
    fn keys_of_other_types_are_like() {
        let check =
            |known: Json, wanted: Json, expected: bool| assert_eq!(is_like(&known, &wanted), expected);
        check(json!([7]), json!(["7"]), true);
        check(json!(["The"]), json!(["the"]), true);
        check(json!([7, "a"]), json!(["7", "A"]), true);
        check(json!([7]), json!([7, 7]), false);
        check(json!([7]), json!(["8"]), false);
    }
}
