//! Topologies as people see them.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::cli::error::CommandError;
use crate::cli::summary::grouped;
use crate::cli::table::table;
use crate::cli::terminal;
use crate::cluster::access::UserName;
use crate::cluster::operations::{TopologyInfo, WorkerInfo};
use crate::cluster::topologies::{Outcome, TopologyPhase, UpgradeOutcome, UpgradeVerdict, Wanted};
use crate::text::{escaped_json, shown};

/// How a command shows its result.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct OutputFlag {
    /// What is printed: text for people, or JSON
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    #[default]
    Table,
    Json,
}

impl OutputFlag {
    /// Whether JSON is wanted.
    pub(super) fn is_json(self) -> bool {
        self.output == OutputFormat::Json
    }

    /// Prints a result as JSON, or as this text.
    pub(super) fn print<T: Serialize>(
        self,
        result: &T,
        for_people: impl FnOnce(&T) -> String,
    ) -> Result<(), CommandError> {
        match self.output {
            OutputFormat::Table => terminal::print(&for_people(result)),
            OutputFormat::Json => {
                let value: Value =
                    serde_json::to_value(result).expect("results have text keys only, so they are JSON");
                terminal::print_json(&value)
            }
        }
    }
}

/// Prints a result as JSON on one line.
pub(super) fn print_json_line<T: Serialize>(result: &T) -> Result<(), CommandError> {
    let text = serde_json::to_string(result).expect("results have text keys only, so they are JSON");
    terminal::print(&escaped_json(&format!("{text}\n")))
}

/// Users in one line.
pub(super) fn user_names(names: &[UserName]) -> String {
    names.iter().map(UserName::as_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn phase_name(phase: TopologyPhase) -> &'static str {
    match phase {
        TopologyPhase::Starting => "starting",
        TopologyPhase::Active => "active",
        TopologyPhase::Inactive => "inactive",
        TopologyPhase::Ending => "ending",
        TopologyPhase::Ended => "ended",
    }
}

pub(super) fn wanted_name(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Active => "active",
        Wanted::Inactive => "inactive",
        Wanted::Drained => "drained",
        Wanted::Killed => "killed",
    }
}

/// How a topology is at the moment, in one line.
pub(super) fn describe(info: &TopologyInfo) -> String {
    let name = &info.name;
    match (info.phase, &info.outcome, &info.short) {
        (TopologyPhase::Ended, Some(outcome), _)
            if outcome.failure.is_none() && stopped_with(info).is_some() =>
        {
            let directory = stopped_with(info).map(shown).unwrap_or_default();
            format!("{name} was stopped with the savepoint {directory}")
        }
        (TopologyPhase::Ended, Some(outcome), _) => format!("{name} has ended: {}", ending(outcome)),
        (TopologyPhase::Ended, None, _) => format!("{name} has ended"),
        (_, _, Some(short)) if info.workers.is_empty() => format!("{name} does not fit: {}", shown(short)),
        (_, _, None) if info.workers.is_empty() => {
            format!("{name} is {}, and runs nowhere yet", phase_name(info.phase))
        }
        (phase, _, _) => format!("{name} is {}: {}{}", phase_name(phase), places(info), problems_of(info)),
    }
}

/// The first problem of its processes, and how many more there are.
pub(super) fn problems_of(info: &TopologyInfo) -> String {
    match &info.problems[..] {
        [] => String::new(),
        [problem] => format!("; {}", shown(problem)),
        [problem, rest @ ..] => format!("; {}; {} more in `squall status`", shown(problem), rest.len()),
    }
}

/// The directory of the savepoint that it was stopped with.
fn stopped_with(info: &TopologyInfo) -> Option<&str> {
    let wish = info.savepoint_wanted.as_ref().filter(|wish| wish.stops)?;
    let answer = info.savepoint.as_ref().filter(|answer| answer.number == wish.number)?;
    answer.taken.as_ref().map(|taken| &*taken.directory)
}

/// What came of the last savepoint, or that it is waited for.
fn savepoint_of(info: &TopologyInfo) -> Option<String> {
    let answer = info.savepoint.as_ref();
    let wish = info.savepoint_wanted.as_ref();
    if wish.is_some_and(|wish| answer.is_none_or(|answer| answer.number < wish.number)) {
        return Some("wanted, and not taken yet".to_owned());
    }
    let answer = answer?;
    Some(match &answer.taken {
        Some(taken) => format!("{} in {}", shown(&taken.checkpoint), shown(&taken.directory)),
        None => format!("not taken: {}", shown(answer.failure.as_deref().unwrap_or_default())),
    })
}

/// What came of the last upgrade, or how it goes.
fn upgrade_of(info: &TopologyInfo) -> Option<String> {
    let upgrade = info.upgrade.as_ref()?;
    let generation = upgrade.generation;
    Some(match &upgrade.outcome {
        UpgradeOutcome::Accepted => format!("to generation {generation}, which is up"),
        UpgradeOutcome::RolledBack(why) => format!("to generation {generation}, rolled back: {}", shown(why)),
        UpgradeOutcome::Pending => match &info.verdict {
            Some(UpgradeVerdict::Waits(what)) => {
                format!("to generation {generation}, not up yet: {}", shown(what))
            }
            _ => format!("to generation {generation}, not up yet"),
        },
    })
}

fn places(info: &TopologyInfo) -> String {
    let mut hosts: Vec<&str> = info.workers.iter().map(|worker| &*worker.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let short = info.short.as_ref().map_or(String::new(), |short| format!("; {}", shown(short)));
    format!("{} on {}{short}", count(info.workers.len(), "worker"), count(hosts.len(), "host"))
}

/// How a topology has ended.
pub(super) fn ending(outcome: &Outcome) -> String {
    match (&outcome.failure, outcome.cut_short) {
        (Some(failure), _) => format!("it failed: {}", shown(failure)),
        (None, true) => "it was cut short".to_owned(),
        (None, false) => "all was processed".to_owned(),
    }
}

pub(super) fn worker_table(workers: &[WorkerInfo]) -> String {
    let mut rows = vec![["WORKER", "HOST", "SLOT"].map(str::to_owned)];
    rows.extend(
        workers
            .iter()
            .map(|worker| [worker.worker.to_string(), shown(&worker.host), worker.slot.to_string()]),
    );
    table(&rows, &[0, 2])
}

/// Everything about a topology.
pub(super) fn for_people(info: &TopologyInfo) -> String {
    let mut lines = vec![
        ("topology", info.id.to_string()),
        ("owner", if info.owner.is_empty() { "-".to_owned() } else { shown(&info.owner) }),
        ("submitted", shown(&info.submitted_at)),
        ("wanted", wanted_name(info.wanted).to_owned()),
        ("phase", phase_name(info.phase).to_owned()),
    ];
    for (heading, list) in [("users", &info.access.users), ("readers", &info.access.readers)] {
        if !list.is_empty() {
            lines.push((heading, user_names(list)));
        }
    }
    if let Some(master) = &info.master {
        let address =
            master.address.map_or_else(|| "no address yet".to_owned(), |address| address.to_string());
        lines.push(("master", format!("{}, {address}, epoch {}", shown(&master.host), master.epoch)));
    }
    if let Some(short) = &info.short {
        lines.push(("short", shown(short)));
    }
    lines.extend(info.problems.iter().map(|problem| ("problem", shown(problem))));
    if let Some(savepoint) = savepoint_of(info) {
        lines.push(("savepoint", savepoint));
    }
    if let Some(log) = &info.log {
        lines.push(("logs", format!("{} until {}", shown(&log.levels), shown(&log.until))));
    }
    if let Some(upgrade) = upgrade_of(info) {
        lines.push(("upgrade", upgrade));
    }
    if let Some(outcome) = &info.outcome {
        lines.push(("ended", format!("{}, {}", shown(&outcome.ended_at), ending(outcome))));
        let counts = [
            ("completed", outcome.completed),
            ("failed", outcome.failed),
            ("lost", outcome.lost),
            ("restarts", outcome.restarts),
        ];
        lines.extend(counts.map(|(name, count)| (name, grouped(count))));
    }
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:9}  {value}\n")).collect();
    if !info.workers.is_empty() {
        text.push('\n');
        text.push_str(&worker_table(&info.workers));
    }
    text
}
