//! What `squall stop` does with a topology of a cluster: it is drained.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::topologies::client::ClientError;
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::waiting::{Goal, WaitFlags};
use crate::cluster::topologies::Wanted;

/// Drains a topology, and waits for its end. `elsewhere`: why it is not on this machine.
pub(in crate::cli) fn drain(
    name: &str,
    nimbus: &NimbusFlag,
    wait: WaitFlags,
    elsewhere: Option<&str>,
) -> Result<CommandOutcome, CommandError> {
    let mut client = nimbus.client()?;
    let info = client.want(name, Wanted::Drained).map_err(|error| {
        let add = |text: String| {
            elsewhere.map_or(text.clone(), |elsewhere| format!("{elsewhere}; and in a cluster: {text}"))
        };
        CommandError::from(match error {
            ClientError::Missing(text) => ClientError::Missing(add(text)),
            ClientError::Unreachable(text) => ClientError::Unreachable(add(text)),
            ClientError::Refused(text) => ClientError::Refused(text),
        })
    })?;
    wait.wait(&mut client, &info.id, Goal::Drained)
}
