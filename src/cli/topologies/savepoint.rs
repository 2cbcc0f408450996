//! What `squall savepoint create` and `squall stop --savepoint` do with a topology of a cluster.

use std::path::Path;

use serde_json::json;

use crate::cli::checkpoint_flags::absolute_text;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::waiting::{Goal, WaitFlags};
use crate::cluster::operations::SavepointRequest;
use crate::text::shown;

/// Takes a savepoint, waits for it, and prints where it is.
pub(in crate::cli) fn take(
    name: &str,
    (directory, stops): (Option<&Path>, bool),
    nimbus: &NimbusFlag,
    wait: WaitFlags,
    as_json: bool,
) -> Result<CommandOutcome, CommandError> {
    let directory = directory.map(absolute_text).transpose()?;
    let mut client = nimbus.client()?;
    let info = client.savepoint(name, &SavepointRequest { directory, stops })?;
    if !wait.waits() {
        return Ok(CommandOutcome::Done);
    }
    let number = info.savepoint_wanted.map_or(0, |wish| wish.number);
    let outcome = wait.wait(&mut client, &info.id, Goal::Savepoint { number, stops })?;
    let answer = client.topology(name)?.savepoint.filter(|answer| answer.number == number);
    let Some(answer) = answer else {
        return Err(CommandError::Refused(format!("`{name}` has ended, and no savepoint was taken")));
    };
    let Some(taken) = answer.taken else {
        return Err(CommandError::Refused(shown(answer.failure.unwrap_or_default())));
    };
    match as_json {
        true => {
            terminal::print_json(&json!({ "checkpoint": taken.checkpoint, "directory": taken.directory }))?
        }
        false => terminal::print(&format!("{}\n", shown(&taken.directory)))?,
    }
    Ok(outcome)
}
