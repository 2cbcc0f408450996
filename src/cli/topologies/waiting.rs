//! Waiting until a topology is as it was wished.

use std::thread;
use std::time::Duration;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::topologies::client::{ClientError, NimbusClient};
use crate::cli::topologies::shown::describe;
use crate::clock::Clock;
use crate::cluster::operations::TopologyInfo;
use crate::cluster::topologies::{TopologyId, TopologyPhase, UpgradeOutcome};
use crate::config::units::parse_duration;

/// How often a command looks.
const LOOK_EACH: Duration = Duration::from_millis(200);

/// Whether a command waits, and for how long.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(in crate::cli) struct WaitFlags {
    /// Return as soon as the cluster has taken it, without waiting until it is done
    #[arg(long)]
    no_wait: bool,

    /// How long to wait until it is done; a number with a unit, as in `90s` or `5m`
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

/// What a topology is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// All its workers were up.
    Up,
    /// All workers of this generation, or of a later one, were up.
    Generation(u64),
    /// It is known what came of the upgrade to this generation.
    Upgrade(u64),
    /// Its spouts emit.
    Active,
    /// Its spouts rest.
    Inactive,
    /// It has ended, however.
    Ended,
    /// It has ended, and nothing was cut short.
    Drained,
    /// The savepoint with this number is answered, and it has ended if it was stopped with that.
    Savepoint {
        /// The number of the wish.
        number: u64,
        /// Whether it ends with it.
        stops: bool,
    },
}

impl Goal {
    fn is_end(self) -> bool {
        matches!(self, Goal::Ended | Goal::Drained)
    }

    fn is_reached(self, info: &TopologyInfo) -> bool {
        let phase = info.phase;
        match self {
            Goal::Up => matches!(phase, TopologyPhase::Active | TopologyPhase::Inactive),
            Goal::Generation(generation) => info.runs >= generation && Goal::Up.is_reached(info),
            Goal::Upgrade(generation) => info.upgrade.as_ref().is_none_or(|upgrade| {
                upgrade.generation != generation || upgrade.outcome != UpgradeOutcome::Pending
            }),
            Goal::Active => phase == TopologyPhase::Active,
            Goal::Inactive => phase == TopologyPhase::Inactive,
            Goal::Ended | Goal::Drained => phase == TopologyPhase::Ended,
            Goal::Savepoint { number, stops } => info
                .savepoint
                .as_ref()
                .filter(|answer| answer.number >= number)
                .is_some_and(|answer| answer.taken.is_none() || !stops),
        }
    }

    /// Whether a topology that has ended like this is what was wished.
    fn allows(self, info: &TopologyInfo) -> bool {
        let is_good = info.outcome.as_ref().is_none_or(|end| end.failure.is_none() && !end.cut_short);
        match self {
            Goal::Ended => true,
            Goal::Drained => is_good,
            // A short input may be processed before anybody looks.
            Goal::Up | Goal::Generation(_) | Goal::Upgrade(_) | Goal::Active => {
                is_good && !info.wanted.is_end()
            }
            Goal::Inactive => false,
            // What came of these is looked at afterwards.
            Goal::Savepoint { .. } => true,
        }
    }
}

impl WaitFlags {
    /// Waits for so long.
    pub(super) fn at_most(timeout: Duration) -> WaitFlags {
        WaitFlags { no_wait: false, timeout }
    }

    /// Whether it waits at all.
    pub(super) fn waits(self) -> bool {
        !self.no_wait
    }

    /// Waits until a topology is so, and shows each change on stderr.
    pub(super) fn wait(
        self,
        client: &mut NimbusClient,
        id: &TopologyId,
        goal: Goal,
    ) -> Result<CommandOutcome, CommandError> {
        self.wait_until(&format!("squall status {}", id.name()), || {
            let info = match client.topology(id.name()) {
                Ok(info) if info.id == *id => info,
                // Removed, and perhaps submitted again.
                Ok(_) | Err(ClientError::Missing(_)) => return Ok(gone(id, goal)),
                Err(error) => return Err(error),
            };
            let outcome = match info.phase {
                TopologyPhase::Ended => Some(CommandOutcome::done_if(goal.allows(&info))),
                _ => goal.is_reached(&info).then_some(CommandOutcome::Done),
            };
            Ok((describe(&info), outcome))
        })
    }

    /// Looks again and again until there is an outcome, and shows on stderr what is seen, whenever that is something else.
    /// `see`: the command that shows later how it goes.
    pub(in crate::cli) fn wait_until(
        self,
        see: &str,
        mut look: impl FnMut() -> Result<(String, Option<CommandOutcome>), ClientError>,
    ) -> Result<CommandOutcome, CommandError> {
        if self.no_wait {
            return Ok(CommandOutcome::Done);
        }
        let clock = Clock::real();
        let begun = clock.now();
        let mut last = String::new();
        loop {
            let was_seen = match look() {
                Ok((seen, outcome)) => {
                    show(&mut last, seen);
                    if let Some(outcome) = outcome {
                        return Ok(outcome);
                    }
                    true
                }
                Err(ClientError::Unreachable(why)) => {
                    show(&mut last, format!("waiting: {why}"));
                    false
                }
                Err(error) => return Err(error.into()),
            };
            let left = self.timeout.saturating_sub(clock.now().since(begun));
            if left.is_zero() {
                let time = humantime::format_duration(self.timeout);
                return Err(match was_seen {
                    true => CommandError::Refused(format!(
                        "that is not done after {time}, and is still to be done ({last}): see `{see}`, or wait longer \
                         with --timeout"
                    )),
                    false => CommandError::Unreachable(format!("{last} (for {time})")),
                });
            }
            thread::sleep(LOOK_EACH.min(left));
        }
    }
}

fn gone(id: &TopologyId, goal: Goal) -> (String, Option<CommandOutcome>) {
    let seen = format!("{id} is not in the cluster any more: it was removed, or submitted again");
    (seen, Some(CommandOutcome::done_if(goal.is_end())))
}

/// Shows a line that is another one than the last.
fn show(last: &mut String, line: String) {
    if *last != line {
        terminal::write_message(&line);
        *last = line;
    }
}
