//! `squall log-level TOPOLOGY`.

use std::time::Duration;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::topologies::reach::NimbusFlag;
use crate::cluster::operations::LogLevelRequest;
use crate::config::units::parse_duration;
use crate::logging::LevelChanges;
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall log-level words count=debug           records of the component `count`, for five minutes
  squall log-level words debug --for 30s       everything of its master and workers
  squall log-level words warn split=trace --for 1h
  squall log-level words --reset               what the hosts have them log

Processes follow within moments, without a restart, and `squall logs` shows what they log. What was wanted
before is replaced.

Exit codes: 0 the cluster has taken it; 1 it refuses, for example because there is no such component, or
the topology has ended; 2 the command line is wrong; 3 there is no such topology; 4 no nimbus answers, or
none leads.";

/// Have the processes of a topology of the cluster log more or less for a while
///
/// It goes back by itself after `--for`; `squall status` shows it until then.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    /// A level for everything, or for a component: off, critical, error, warn, info, debug or trace
    #[arg(value_name = "LEVEL|COMPONENT=LEVEL", required_unless_present = "reset", conflicts_with = "reset",
        value_parser = parse_level)]
    levels: Vec<String>,

    /// For how long, at most 7d; a number with a unit, as in `30s` or `5m`; `0` is the same as `--reset`
    #[arg(long = "for", value_name = "DURATION", default_value = "5m", value_parser = parse_time)]
    time: Duration,

    /// Take it back now
    #[arg(long)]
    reset: bool,

    #[command(flatten)]
    nimbus: NimbusFlag,
}

fn parse_level(text: &str) -> Result<String, String> {
    match text.parse::<LevelChanges>() {
        Ok(changes) if changes.is_empty() => {
            Err("a level is wanted, as `debug`, or `COMPONENT=LEVEL`".to_owned())
        }
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { parse_duration(text) }
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let is_back = args.reset || args.time.is_zero();
    let levels = (!is_back).then(|| args.levels.join(","));
    let default = LogLevelRequest { levels: None, seconds: 1 };
    let request = match levels {
        None => default,
        // Less than a second would be none.
        Some(levels) => LogLevelRequest { levels: Some(levels), seconds: args.time.as_secs().max(1) },
    };
    let info = args.nimbus.client()?.log_level(&args.topology, &request)?;
    let name = shown(&info.name);
    terminal::write_message(&match &info.log {
        Some(log) => format!("{name} logs {} until {}", shown(&log.levels), shown(&log.until)),
        None => format!("{name} logs what its hosts have it log"),
    });
    Ok(CommandOutcome::Done)
}
