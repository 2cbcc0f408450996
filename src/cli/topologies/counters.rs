//! What a topology has counted, as people see it.

use std::time::Duration;

use crate::cli::summary::{grouped, milliseconds};
use crate::cli::table::table;
use crate::cluster::observed::{Observed, WorkerObserved};
use crate::cluster::operations::TopologyStatus;
use crate::cluster::summary::StatsSummary;
use crate::text::shown;

/// The counters of a topology and of each component, or why they are missing.
pub(super) fn counters(status: &TopologyStatus) -> String {
    match (&status.stats, &status.stats_missing) {
        (Some(observed), _) => of_observed(observed),
        (None, Some(why)) => format!("\ncounters   none: {}\n", shown(why)),
        (None, None) => String::new(),
    }
}

fn of_observed(observed: &Observed) -> String {
    let Observed { summary, processes, left_out, has_adopted, .. } = observed;
    let mut lines = vec![("messages", messages(summary))];
    if !has_adopted {
        lines.push(("rate", format!("{} messages/s over {:.0} s", grouped(rate(summary)), summary.seconds)));
    }
    if let (Some(p50), Some(p99), Some(max)) = latencies(summary) {
        lines.push(("latency", format!("{p50} median, {p99} for 99 of 100, {max} at most")));
    }
    if let Some(checkpoints) = &summary.checkpoints {
        let mut text = format!("{} complete", grouped(checkpoints.completed));
        if checkpoints.failed > 0 {
            text += &format!(", {} given up", grouped(checkpoints.failed));
        }
        if let Some(age) = checkpoints.age_seconds {
            text += &format!(", the latest {age:.0} s ago");
        }
        lines.push(("checkpoint", text));
    }
    let up = processes.iter().filter(|worker| worker.up).count();
    let restarts = grouped(summary.workers.restarts);
    lines.push(("workers", format!("{up} of {} up, {restarts} restarts", summary.workers.count)));
    if let Some(what) = left_out {
        lines.push(("left out", format!("{}: the answer would be too long", shown(what))));
    }
    let lines: String = lines.iter().map(|(name, value)| format!("{name:10} {value}\n")).collect();
    let mut rows = vec![
        ["COMPONENT", "TASKS", "EXECUTED", "EMITTED", "ACKED", "FAILED", "ERRORS", "LOSSES", "BUSY"]
            .map(str::to_owned),
    ];
    rows.extend(summary.components.iter().map(|component| {
        [
            shown(&component.id),
            component.tasks.to_string(),
            grouped(component.executed),
            grouped(component.emitted),
            grouped(component.acked),
            grouped(component.failed),
            grouped(component.errors),
            grouped(component.losses),
            // Workers that were taken over have counted for longer than the master.
            if *has_adopted { "-".to_owned() } else { format!("{:.0} %", component.busy * 100.0) },
        ]
    }));
    format!("\n{lines}\n{}", table(&rows, &[1, 2, 3, 4, 5, 6, 7, 8]))
}

/// One line about the counters, for who watches.
pub(super) fn in_short(status: &TopologyStatus) -> String {
    match &status.stats {
        Some(observed) => messages(&observed.summary),
        None => {
            let why = status.stats_missing.as_ref().map_or_else(String::new, shown);
            format!("no counters: {why}")
        }
    }
}

fn messages(summary: &StatsSummary) -> String {
    let [emitted, acked, failed] = [summary.emitted, summary.acked, summary.failed].map(grouped);
    let mut text = match summary.checkpoints {
        // With checkpoints no message is acked or replayed: the tasks go back together.
        Some(_) => format!("{emitted} emitted, {failed} failed"),
        None => format!(
            "{emitted} emitted, {acked} acked, {failed} failed, {} replayed, {} pending",
            grouped(summary.replayed),
            grouped(summary.pending)
        ),
    };
    let more = [("lost", summary.lost), ("dead letters", summary.dead_letters), ("losses", summary.losses)];
    for (name, count) in more.into_iter().filter(|(_, count)| *count > 0) {
        text += &format!(", {} {name}", grouped(count));
    }
    text
}

fn rate(summary: &StatsSummary) -> u64 {
    summary.tuples_per_second as u64
}

fn latencies(summary: &StatsSummary) -> (Option<String>, Option<String>, Option<String>) {
    let latency = &summary.complete_latency_ms;
    let shown = |ms: Option<f64>| {
        let time = Duration::try_from_secs_f64(ms? / 1e3).ok()?;
        Some(milliseconds(time))
    };
    (shown(latency.p50), shown(latency.p99), shown(latency.max))
}

/// An error that was the last of its kind.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct ListedError {
    /// The component; `None`: the worker itself.
    pub(super) component: Option<String>,
    /// The worker; `None`: not known.
    pub(super) worker: Option<u16>,
    /// When the master learned of it; `None`: before this master began.
    pub(super) at: Option<String>,
    pub(super) error: String,
}

/// The last error of each component in each worker, in the order of the topology, and then of each worker itself.
pub(super) fn last_errors(observed: &Observed) -> Vec<ListedError> {
    let mut errors = Vec::new();
    for component in &observed.summary.components {
        let before = errors.len();
        for WorkerObserved { worker, errors: of_worker, .. } in &observed.processes {
            errors.extend(of_worker.iter().filter(|error| error.component == component.id).map(|error| {
                ListedError {
                    component: Some(component.id.clone()),
                    worker: Some(*worker),
                    at: error.at.clone(),
                    error: error.error.clone(),
                }
            }));
        }
        // Known, but not of which worker: the answer was cut.
        if let (true, Some(error)) = (errors.len() == before, &component.last_error) {
            let component = Some(component.id.clone());
            errors.push(ListedError { component, worker: None, at: None, error: error.clone() });
        }
    }
    errors.extend(observed.processes.iter().filter_map(|worker| {
        let end = worker.last_end.as_ref()?;
        Some(ListedError {
            component: None,
            worker: Some(worker.worker),
            at: end.at.clone(),
            error: format!("it ended, and was started again: {}", end.error),
        })
    }));
    errors
}

/// The same as a table.
pub(super) fn error_table(errors: &[ListedError]) -> String {
    let mut rows = vec![["COMPONENT", "WORKER", "AT", "ERROR"].map(str::to_owned)];
    let or_none = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), shown);
    rows.extend(errors.iter().map(|error| {
        [
            or_none(error.component.as_ref()),
            or_none(error.worker.map(|worker| worker.to_string()).as_ref()),
            or_none(error.at.as_ref()),
            shown(&error.error),
        ]
    }));
    table(&rows, &[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::observed::{ComponentError, DatedError};
    use crate::cluster::summary::{ComponentSummary, LatencySummary, ProcessSummary};

    fn observed() -> Observed {
        let component = |id: &str, executed| ComponentSummary {
            id: id.to_owned(),
            tasks: 2,
            executed,
            emitted: 4000,
            busy: 0.126,
            ..ComponentSummary::default()
        };
        let error = |component: &str, at: Option<&str>| ComponentError {
            component: component.to_owned(),
            error: "task 3: no such \u{1b}field".to_owned(),
            at: at.map(str::to_owned),
        };
        let at = "2026-11-30T12:00:00Z";
        let end = DatedError { error: "exit code 9".to_owned(), at: Some(at.to_owned()) };
        Observed {
            epoch: 1,
            has_adopted: false,
            summary: StatsSummary {
                topology: "words".to_owned(),
                emitted: 4000,
                acked: 3990,
                pending: 10,
                seconds: 2.0,
                tuples_per_second: 2000.0,
                workers: ProcessSummary { count: 2, restarts: 1 },
                complete_latency_ms: LatencySummary { p50: Some(0.21), p99: Some(12.34), max: Some(140.0) },
                components: vec![component("lines", 0), component("count", 1_234_567)],
                ..StatsSummary::default()
            },
            processes: vec![
                WorkerObserved {
                    worker: 0,
                    up: true,
                    errors: vec![error("count", Some(at)), error("lines", None)],
                    ..WorkerObserved::default()
                },
                WorkerObserved { worker: 1, restarts: 1, last_end: Some(end), ..WorkerObserved::default() },
            ],
            left_out: None,
        }
    }

    #[test]
    fn people_get_the_counters_of_each_component() {
        let expected = "
messages   4,000 emitted, 3,990 acked, 0 failed, 0 replayed, 10 pending
rate       2,000 messages/s over 2 s
latency    0.21 ms median, 12.3 ms for 99 of 100, 140 ms at most
workers    1 of 2 up, 1 restarts

COMPONENT  TASKS   EXECUTED  EMITTED  ACKED  FAILED  ERRORS  LOSSES  BUSY
lines          2          0    4,000      0       0       0       0  13 %
count          2  1,234,567    4,000      0       0       0       0  13 %
";
        assert_eq!(of_observed(&observed()), expected);
    }

    #[test]
    fn what_is_lost_and_what_is_left_out_is_shown() {
        let mut observed = observed();
        observed.summary.lost = 3;
        observed.summary.losses = 1200;
        observed.left_out = Some("metrics".to_owned());
        observed.has_adopted = true;
        let text = of_observed(&observed);
        assert!(text.contains("10 pending, 3 lost, 1,200 losses\n"), "{text}");
        assert!(!text.contains("rate") && text.contains("       0     -\n"), "{text}");
        assert!(text.contains("\nleft out   metrics: the answer would be too long\n"), "{text}");
    }

    #[test]
    fn errors_are_listed_by_component_and_then_by_worker() {
        let table = error_table(&last_errors(&observed()));
        let expected = "\
COMPONENT  WORKER  AT                    ERROR
lines           0  -                     task 3: no such \\u{1b}field
count           0  2026-11-30T12:00:00Z  task 3: no such \\u{1b}field
-               1  2026-11-30T12:00:00Z  it ended, and was started again: exit code 9
";
        assert_eq!(table, expected);
        let mut cut = observed();
        cut.processes = Vec::new();
        cut.summary.components[1].last_error = Some("task 3: no".to_owned());
        let error = "task 3: no".to_owned();
        let known = ListedError { component: Some("count".to_owned()), worker: None, at: None, error };
        assert_eq!(last_errors(&cut), [known]);
    }
}
