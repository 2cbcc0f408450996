//! `squall checkpoint list DIR`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::checkpoint::{CheckpointReader, Listed, Manifest};
use crate::cli::checkpoint::shown::{age, age_seconds, bytes, date, run_state};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::runs::checkpoints_at;
use crate::cli::summary::grouped;
use crate::cli::table::table;
use crate::cli::terminal;
use crate::clock::Clock;
use crate::text::shown;
use crate::tuple::Timestamp;

const EXAMPLES: &str = "\
Examples:
  squall checkpoint list checkpoints
  squall checkpoint list checkpoints --json | jq -r '.[-1].checkpoint'

RUN is how far the run had come: `running`; `ended`, all its input was processed; `committed`, and
all of its output is published. BYTES are those of all files that a restore reads, also files that
earlier checkpoints have written.

Exit codes: 0 all is well, also if there are none; 1 a checkpoint or the directory cannot be read;
2 the command line is wrong.";

/// List the checkpoints in a directory, oldest first
///
/// Nothing is changed, and a run may be using the directory. The snapshot files are not read: `squall checkpoint
/// inspect` checks them.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory in which a topology keeps its checkpoints, or a run, by a name that `squall ps` shows
    #[arg(value_name = "DIR|RUN")]
    place: PathBuf,

    /// Print a JSON array, with what is wrong with a checkpoint as its `problem`
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, color: bool) -> Result<CommandOutcome, CommandError> {
    let reader = CheckpointReader::open(&checkpoints_at(&args.place)?)?;
    let (listed, now) = (reader.list()?, Clock::real().wall_nanos());
    if args.json {
        terminal::print_json(&listed.iter().map(|listed| in_json(listed, now)).collect())?;
    } else if !listed.is_empty() {
        terminal::print(&for_people(&listed, now))?;
    }
    if listed.is_empty() {
        terminal::write_message(&format!("there are no checkpoints in {}", reader.location()));
    }
    let problems: Vec<_> = listed.iter().filter_map(|listed| listed.manifest.as_ref().err()).collect();
    problems.iter().for_each(|problem| terminal::write_error(problem, color));
    Ok(CommandOutcome::done_if(problems.is_empty()))
}

fn in_json(listed: &Listed, now: i64) -> Value {
    let (manifest, problem) = match &listed.manifest {
        Ok(manifest) => (Some(manifest), None),
        Err(problem) => (None, Some(problem.to_string())),
    };
    let of = |value: fn(&Manifest, i64) -> Value| manifest.map(|manifest| value(manifest, now));
    json!({
        "checkpoint": listed.checkpoint.to_string(),
        "topology": of(|manifest, _| json!(manifest.topology)),
        "taken_at": of(|manifest, _| json!(Timestamp(manifest.taken_at))),
        "age_seconds": of(|manifest, now| json!(age_seconds(manifest.taken_at, now))),
        "run": of(|manifest, _| json!(manifest.run)),
        "txid": of(|manifest, _| json!(manifest.txid)),
        "tasks": of(|manifest, _| json!(manifest.tasks.len())),
        "bytes": of(|manifest, _| json!(bytes(manifest))),
        "problem": problem,
    })
}

fn for_people(listed: &[Listed], now: i64) -> String {
    let heading = ["CHECKPOINT", "TAKEN", "AGE", "RUN", "TASKS", "BYTES", "TOPOLOGY"].map(str::to_owned);
    let rows: Vec<[String; 7]> =
        std::iter::once(heading).chain(listed.iter().map(|listed| row(listed, now))).collect();
    table(&rows, &[4, 5])
}

fn row(listed: &Listed, now: i64) -> [String; 7] {
    let checkpoint = listed.checkpoint.to_string();
    match &listed.manifest {
        Ok(manifest) => [
            checkpoint,
            date(manifest.taken_at),
            age(manifest.taken_at, now),
            run_state(manifest.run).to_owned(),
            manifest.tasks.len().to_string(),
            grouped(bytes(manifest)),
            shown(&manifest.topology),
        ],
        Err(_) => {
            let unknown = || "-".to_owned();
            [checkpoint, unknown(), unknown(), "cannot be read".to_owned(), unknown(), unknown(), unknown()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointError, RunState};
    use crate::ids::CheckpointId;

    fn listed() -> [Listed; 2] {
        let checkpoint = CheckpointId { epoch: 2, number: 17 };
        let (topology, taken_at) = ("words\n".into(), 1_790_000_000_120_000_000);
        let manifest = Manifest {
            checkpoint,
            topology,
            key_groups: 1024,
            taken_at,
            run: RunState::Running,
            txid: 17,
            tasks: Vec::new(),
        };
        let next = CheckpointId { number: 18, ..checkpoint };
        let missing = CheckpointError::NoCheckpoints { location: "the directory `a`".to_owned() };
        [Listed { checkpoint, manifest: Ok(manifest) }, Listed { checkpoint: next, manifest: Err(missing) }]
    }

    #[test]
    fn what_cannot_be_read_has_a_row_too() {
        let text = for_people(&listed(), 1_790_000_004_120_000_000);
        let expected = "\
CHECKPOINT  TAKEN                     AGE      RUN             TASKS  BYTES  TOPOLOGY
2-17        2026-09-21T14:13:20.120Z  4 s ago  running             0      0  words\\n
2-18        -                         -        cannot be read      -      -  -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_has_the_same_keys_for_all() {
        let [good, bad] = listed().map(|listed| in_json(&listed, 1_790_000_004_120_000_000));
        let expected = json!({
            "checkpoint": "2-17", "topology": "words\n", "taken_at": "2026-09-21T14:13:20.12Z",
            "age_seconds": 4.0, "run": "running", "txid": 17, "tasks": 0, "bytes": 0, "problem": null,
        });
        assert_eq!(good, expected);
        assert_eq!((&bad["checkpoint"], &bad["run"]), (&json!("2-18"), &Value::Null));
        assert!(bad["problem"].as_str().is_some_and(|text| text.starts_with("there are no checkpoints")));
    }
}
