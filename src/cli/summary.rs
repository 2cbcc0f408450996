//! The summary of a run: a table for people on stderr, or one JSON line on stdout.

use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use crate::api::{CheckpointStats, CounterInfo, CounterKind, FailureCause};
use crate::cli::error::CommandOutcome;
use crate::cli::running::RunStats;
use crate::cluster::summary::{StatsSummary, failed_for_good, tuples_per_second};
use crate::metrics::{Distribution, MetricTotal, MetricTotals, MetricValue};
use crate::runtime::ComponentStats;
use crate::tuple::Timestamp;

/// Whether a run processed everything: nothing failed for good or was lost, no component counted a loss,
/// no message is open, and the run was neither stopped by an error, given up nor cut short.
pub(super) fn outcome(run: &RunStats) -> CommandOutcome {
    let stats = &run.topology;
    let lost_nothing = failed_for_good(stats) + stats.lost + stats.losses() + stats.pending == 0;
    let in_order = !stats.cut_short && stats.stopped.is_none() && run.failure.is_none();
    CommandOutcome::done_if(lost_nothing && in_order)
}

/// The line `{"summary": …}`, without its end.
pub(super) fn in_json(topology: &str, run: &RunStats) -> String {
    let summary = StatsSummary::new(topology, &run.topology, run.processes, run.failure.as_deref());
    json!({ "summary": summary }).to_string()
}

fn checkpoints_for_people(checkpoints: &CheckpointStats) -> String {
    let mut text = format!("{} complete", grouped(checkpoints.completed));
    if checkpoints.failed > 0 {
        text += &format!(", {} given up", grouped(checkpoints.failed));
    }
    if let Some(from) = checkpoints.resumed_from {
        text += &format!(", continued from {from}");
    }
    if let Some(savepoint) = checkpoints.stopped_with {
        text += &format!(", stopped with {savepoint}");
    }
    if checkpoints.recoveries > 0 {
        text += &format!(", all tasks went back {} times", grouped(checkpoints.recoveries));
    }
    if let (Some(latest), Some(_)) = (checkpoints.latest, checkpoints.age) {
        let (took, bytes) = (milliseconds(checkpoints.duration), grouped(checkpoints.bytes));
        text += &format!("; the latest, {latest}, took {took} and {bytes} bytes");
    }
    text
}

/// The name of a cause of replays, for people.
fn reason(cause: FailureCause) -> &'static str {
    match cause {
        FailureCause::Failed => "failed by a bolt",
        FailureCause::Panicked => "in a bolt that panicked",
        FailureCause::Abandoned => "dropped by a bolt",
        FailureCause::TimedOut => "timed out",
        FailureCause::Lost => "lost with a worker",
    }
}

/// The counters of the runtime that were used, for people.
fn counters_for_people<'a>(counters: impl Iterator<Item = (&'a CounterInfo, i64)>) -> Option<String> {
    let used = counters.filter(|(_, value)| *value != 0);
    let texts: Vec<String> = used.map(|(counter, value)| counter_for_people(counter, value)).collect();
    if texts.is_empty() { None } else { Some(texts.join("; ")) }
}

fn counter_for_people(counter: &CounterInfo, value: i64) -> String {
    let value = match counter.kind {
        CounterKind::Sum | CounterKind::Level => signed(value),
        CounterKind::Nanoseconds => milliseconds(Duration::from_nanos(value.unsigned_abs())),
        CounterKind::EventTime => Timestamp(value).to_string(),
    };
    format!("{} {value}{}", counter.name, if counter.is_loss { " (lost)" } else { "" })
}

/// The metrics of a component that were used, for people.
fn metrics_for_people(metrics: &MetricTotals) -> Option<String> {
    let used = metrics.iter().filter(|total| total.value.is_used());
    let texts: Vec<String> = used.map(metric_for_people).collect();
    if texts.is_empty() { None } else { Some(texts.join("; ")) }
}

fn metric_for_people(MetricTotal { name, value }: &MetricTotal) -> String {
    match value {
        MetricValue::Counter(sum) => format!("{name} {}", grouped(*sum)),
        MetricValue::Loss(sum) => format!("{name} {} (lost)", grouped(*sum)),
        MetricValue::Gauge(value) => format!("{name} {}", signed(*value)),
        MetricValue::Histogram(counts) => {
            let Distribution { count, p50, p99, max, .. } = counts.distribution();
            let [count, p50, p99, max] = [count, p50, p99, max].map(grouped);
            format!("{name} {p50} median, {p99} for 99 of 100, {max} at most, {count} values")
        }
    }
}

/// Whether a component is of the user; components of the system have reserved names.
fn is_users(component: &ComponentStats) -> bool {
    !crate::ids::is_reserved_name(&component.id)
}

/// The table for people.
pub(super) fn for_people(topology: &str, run: &RunStats) -> String {
    let stats = &run.topology;
    let failed = failed_for_good(stats);
    let seconds = stats.elapsed.as_secs_f64();
    let mut text = format!("\n{topology} ran for {seconds:.1} s: {}\n\n", verdict(run, failed));
    let rows = stats.components.iter().filter(|component| is_users(component)).map(row);
    let header = ["component", "tasks", "executed", "emitted", "acked", "failed", "errors", "busy"];
    let rows: Vec<[String; 8]> = [header.map(str::to_owned)].into_iter().chain(rows).collect();
    let widths: [usize; 8] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let _ = write!(text, "  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text.push('\n');
    let [emitted, failed_text] = [stats.emitted, failed].map(grouped);
    text += &match stats.checkpoints {
        // With checkpoints no message is acked or replayed: the tasks go back together.
        Some(_) => format!("  messages  {emitted} emitted, {failed_text} failed"),
        None => format!(
            "  messages  {emitted} emitted, {} acked, {failed_text} failed, {} replayed, {} pending",
            grouped(stats.acked),
            grouped(stats.replayed),
            grouped(stats.pending),
        ),
    };
    if stats.failed_unanchored > 0 {
        let lost = grouped(stats.failed_unanchored);
        text += &format!(" (of these {lost} tuples that no message stands for)");
    }
    if stats.dead_letters > 0 {
        text += &format!(", {} dead letters", grouped(stats.dead_letters));
    }
    let causes = FailureCause::ALL.map(|cause| (stats.replays.of(cause), reason(cause)));
    let causes = causes.iter().filter(|(count, _)| *count > 0);
    let causes: Vec<String> = causes.map(|(count, why)| format!("{} {why}", grouped(*count))).collect();
    if !causes.is_empty() {
        text += &format!("\n  replayed  {}", causes.join(", "));
    }
    if let Some(checkpoints) = &stats.checkpoints {
        text += &format!("\n  checkpoints  {}", checkpoints_for_people(checkpoints));
    }
    if let Some(processes) = run.processes {
        text += &format!("\n  workers   {}, {} restarts", processes.workers, grouped(processes.restarts));
    }
    if stats.lost > 0 {
        let lost = grouped(stats.lost);
        text +=
            &format!("\n  lost      {lost} that were open in a worker when it died and were not read again");
    }
    text += &format!("\n  rate      {} messages/s\n", grouped(tuples_per_second(stats) as u64));
    let latency = &stats.complete_latency;
    if latency.count > 0 {
        let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(milliseconds);
        text += &format!("  latency   {p50} median, {p99} for 99 of 100, {max} at most\n");
    }
    let times = stats.components.iter().filter(|it| is_users(it));
    let times = times.filter_map(|it| Some(format!("{} {}", it.id, it.event_time?)));
    let times: Vec<String> = times.collect();
    if !times.is_empty() {
        text += &format!("  event time {}\n", times.join(", "));
    }
    for component in stats.components.iter() {
        if let Some(metrics) = metrics_for_people(&component.metrics) {
            text += &format!("  metrics of {}: {metrics}\n", component.id);
        }
        if let Some(counters) = counters_for_people(component.counters.listed()) {
            text += &format!("  counters of {}: {counters}\n", component.id);
        }
    }
    if let Some(failure) = &run.failure {
        text += &format!("  given up: {failure}\n");
    }
    if let Some(reason) = &stats.stopped {
        text += &format!("  stopped: {reason}\n");
    }
    let chained = stats
        .components
        .iter()
        .filter_map(|c| Some(format!("{} behind {}", c.id, c.chained_behind.as_ref()?)));
    let chained: Vec<String> = chained.collect();
    if !chained.is_empty() {
        text += &format!("  chained: {}\n", chained.join(", "));
    }
    let errors = stats.components.iter().filter_map(|c| Some((&c.id, c.last_error.as_ref()?)));
    for (id, error) in errors {
        text += &format!("  last error of {id}: {error}\n");
    }
    text
}

fn verdict(run: &RunStats, failed: u64) -> &'static str {
    let stats = &run.topology;
    match () {
        () if run.failure.is_some() => "given up",
        () if stats.stopped.is_some() => "stopped by an error",
        () if stats.cut_short => "cut short, with work undone",
        () if failed > 0 => "something failed for good",
        () if stats.losses() > 0 => "components report losses",
        () if stats.lost > 0 => "messages were lost with a worker",
        () if stats.pending > 0 => "some messages are still open",
        () if stats.checkpoints.is_some_and(|checkpoints| checkpoints.stopped_with.is_some()) => {
            "stopped with a savepoint, to be continued"
        }
        () => "all done",
    }
}

fn row(component: &ComponentStats) -> [String; 8] {
    let unless_spout = |n: u64| if component.is_spout { "-".to_owned() } else { grouped(n) };
    [
        component.id.to_string(),
        component.tasks.to_string(),
        unless_spout(component.executed),
        grouped(component.emitted),
        grouped(component.acked),
        grouped(component.failed),
        grouped(component.errors),
        format!("{:.0} %", component.busy * 100.0),
    ]
}

/// A number with separated thousands: 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The same of a number that may be below 0.
fn signed(number: i64) -> String {
    format!("{}{}", if number < 0 { "-" } else { "" }, grouped(number.unsigned_abs()))
}

/// A time in milliseconds, to about three digits.
pub(super) fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    let decimals = match ms {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{ms:.decimals$} ms")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::{COUNTERS, CounterId, CounterValues};
    use crate::cluster::ProcessStats;
    use crate::ids::TaskId;
    use crate::runtime::stats::{component_stats, topology_stats, total_of};
    use crate::runtime::{ComponentShape, LatencyStats, StopReason, TopologyStats};

    fn here(topology: TopologyStats) -> RunStats {
        RunStats { topology, ..RunStats::default() }
    }

    fn stats() -> TopologyStats {
        let spout = ComponentStats {
            id: "lines".into(),
            is_spout: true,
            tasks: 1,
            emitted: 4000,
            acked: 4000,
            busy: 0.123,
            ..ComponentStats::default()
        };
        let bolt = ComponentStats {
            id: "count".into(),
            tasks: 2,
            executed: 1_234_567,
            acked: 1_234_567,
            last_error: Some("task 3: no such field".to_owned()),
            ..ComponentStats::default()
        };
        let acker = ComponentStats { id: "__acker".into(), ..ComponentStats::default() };
        TopologyStats {
            elapsed: Duration::from_millis(2000),
            emitted: 4000,
            acked: 4000,
            complete_latency: LatencyStats {
                count: 4000,
                p50: Duration::from_micros(210),
                p99: Duration::from_micros(12_340),
                max: Duration::from_millis(140),
            },
            components: vec![spout, bolt, acker],
            ended: true,
            ..TopologyStats::default()
        }
    }

    #[test]
    fn people_get_a_table() {
        let expected = "
word-count ran for 2.0 s: all done

  component  tasks   executed  emitted      acked  failed  errors  busy
  lines          1          -    4,000      4,000       0       0  12 %
  count          2  1,234,567        0  1,234,567       0       0   0 %

  messages  4,000 emitted, 4,000 acked, 0 failed, 0 replayed, 0 pending
  rate      2,000 messages/s
  latency   0.21 ms median, 12.3 ms for 99 of 100, 140 ms at most
  last error of count: task 3: no such field
";
        assert_eq!(for_people("word-count", &here(stats())), expected);
    }

    #[test]
    fn programs_get_one_line() {
        let line = in_json("word-count", &here(stats()));
        assert!(!line.contains('\n'));
        let summary = &serde_json::from_str::<Value>(&line).unwrap()["summary"];
        assert_eq!(summary["tuples_per_second"], 2000.0);
        assert_eq!(summary["complete_latency_ms"], json!({"p50": 0.21, "p99": 12.34, "max": 140.0}));
        assert_eq!(summary["components"].as_array().unwrap().len(), 2);
        let untracked = in_json("t", &RunStats::default());
        assert!(untracked.contains(r#""complete_latency_ms":{"p50":null,"p99":null,"max":null}"#));
    }

    #[test]
    fn only_a_run_without_losses_is_done() {
        let check = |change: fn(&mut TopologyStats), expected| {
            let mut stats = stats();
            change(&mut stats);
            assert_eq!(outcome(&here(stats)), expected);
        };
        check(|_| {}, CommandOutcome::Done);
        check(|stats| stats.replayed = 7, CommandOutcome::Done);
        check(|stats| stats.dead_letters = 7, CommandOutcome::Done);
        check(|stats| stats.failed = 1, CommandOutcome::Failed);
        check(|stats| stats.pending = 1, CommandOutcome::Failed);
        check(|stats| stats.cut_short = true, CommandOutcome::Failed);
    }

    #[test]
    fn tuples_that_no_message_stands_for_fail_for_good() {
        let run = here(TopologyStats { failed: 1, failed_unanchored: 2000, ..stats() });
        assert_eq!(failed_for_good(&run.topology), 2001);
        assert_eq!(outcome(&run), CommandOutcome::Failed);
        let text = for_people("t", &run);
        let expected =
            "2,001 failed, 0 replayed, 0 pending (of these 2,000 tuples that no message stands for)";
        assert!(text.contains("something failed for good") && text.contains(expected), "{text}");
        let summary: Value = serde_json::from_str(&in_json("t", &run)).unwrap();
        assert_eq!(summary["summary"]["failed_unanchored"], 2000);
    }

    #[test]
    fn what_components_count_is_shown_and_a_loss_makes_the_run_fail() {
        let mut stats = stats();
        let metrics = &mut stats.components[1].metrics;
        metrics.add(&"unmatched".into(), &MetricValue::Counter(1200));
        metrics.add(&"open".into(), &MetricValue::Gauge(-3));
        metrics.add(&"unused".into(), &MetricValue::Counter(0));
        let text = for_people("t", &here(stats.clone()));
        assert!(text.contains("all done"), "{text}");
        assert!(text.contains("\n  metrics of count: open -3; unmatched 1,200\n"), "{text}");
        assert_eq!(outcome(&here(stats.clone())), CommandOutcome::Done);

        stats.components[0].metrics.add(&"unreadable".into(), &MetricValue::Loss(2));
        let text = for_people("t", &here(stats.clone()));
        assert!(text.contains("ran for 2.0 s: components report losses\n"), "{text}");
        assert!(text.contains("\n  metrics of lines: unreadable 2 (lost)\n"), "{text}");
        assert_eq!(outcome(&here(stats.clone())), CommandOutcome::Failed);

        stats.components[1].metrics.add(&"open".into(), &MetricValue::Counter(7));
        let line = in_json("t", &here(stats));
        let summary = &serde_json::from_str::<Value>(&line).unwrap()["summary"];
        assert_eq!(summary["losses"], 2);
        assert_eq!(summary["components"][0]["metrics"], json!({"unreadable": 2}));
        let counted = json!({"open": 7, "open.gauge": -3, "unmatched": 1200, "unused": 0});
        assert_eq!(summary["components"][1]["metrics"], counted);
    }

    /// A loss that made no run fail would go unnoticed.
    #[test]
    fn a_counter_of_losses_makes_the_run_fail_and_no_other_does() {
        for counter in CounterId::all() {
            let shape = ComponentShape {
                id: "lines".into(),
                is_spout: true,
                tasks: 1,
                chained_behind: None,
                executors: 1,
            };
            let (counters, time) = (CounterValues::from([(counter, 1)]), Duration::from_secs(1));
            let components = vec![component_stats(shape, counters, None, MetricTotals::default(), time)];
            let total = total_of(&components);
            let run = here(TopologyStats { components, ..topology_stats(total, time) });
            let expected = CommandOutcome::done_if(!counter.info().is_loss);
            assert_eq!(outcome(&run), expected, "{}", counter.info().name);
        }
    }

    #[test]
    fn a_counter_without_a_field_of_its_own_is_shown_by_name() {
        let info = |name, kind, is_loss| CounterInfo { name, kind, is_loss, ..COUNTERS[0] };
        let (sum, level, nanoseconds) = (CounterKind::Sum, CounterKind::Level, CounterKind::Nanoseconds);
        let counters = [
            (&info("state_reads", sum, false), 1200),
            (&info("state_open", level, false), -3),
            (&info("state_time", nanoseconds, false), 2_500_000),
            (&info("state_lost", sum, true), 1),
            (&info("state_writes", sum, false), 0),
        ];
        let text = "state_reads 1,200; state_open -3; state_time 2.50 ms; state_lost 1 (lost)";
        assert_eq!(counters_for_people(counters.into_iter()).as_deref(), Some(text));
    }

    #[test]
    fn numbers_read_well() {
        let check = |number, expected| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!(milliseconds(Duration::from_micros(9)), "0.01 ms");
        assert_eq!(milliseconds(Duration::from_micros(99_940)), "99.9 ms");
        assert_eq!(milliseconds(Duration::from_secs(3)), "3000 ms");
    }

    #[test]
    fn replays_say_why_and_workers_how_often_they_came_back() {
        let mut stats = stats();
        *stats.replays.of_mut(FailureCause::Lost) = 1200;
        *stats.replays.of_mut(FailureCause::TimedOut) = 3;
        stats.replayed = stats.replays.total();
        let processes = ProcessStats { workers: 3, up: 3, restarts: 2, links: 6, links_up: 6 };
        let run = RunStats { topology: stats, processes: Some(processes), failure: None };
        let text = for_people("word-count", &run);
        let expected = "
  messages  4,000 emitted, 4,000 acked, 0 failed, 1,203 replayed, 0 pending
  replayed  3 timed out, 1,200 lost with a worker
  workers   3, 2 restarts
  rate ";
        assert!(text.contains(expected), "{text}");
        let line = in_json("word-count", &run);
        let summary = &serde_json::from_str::<Value>(&line).unwrap()["summary"];
        assert_eq!(summary["workers"], json!({"count": 3, "restarts": 2}));
        let replays =
            json!({"failed": 0, "panicked": 0, "abandoned": 0, "timed_out": 3, "worker_lost": 1200});
        assert_eq!((&summary["replays"], &summary["replayed"]), (&replays, &json!(1203)));
    }

    #[test]
    fn a_run_that_a_component_stopped_says_which_and_why() {
        let reason =
            StopReason { component: "lines".into(), task: TaskId(2), error: "no such file".to_owned() };
        let run = here(TopologyStats { stopped: Some(reason), ..stats() });
        assert_eq!(outcome(&run), CommandOutcome::Failed);
        let text = for_people("t", &run);
        assert!(
            text.contains("t ran for 2.0 s: stopped by an error\n")
                && text.contains("  stopped: lines, task 2: no such file\n"),
            "{text}"
        );
        let line = in_json("t", &run);
        let summary = &serde_json::from_str::<Value>(&line).unwrap()["summary"];
        assert_eq!(summary["stopped"], json!({"component": "lines", "task": 2, "error": "no such file"}));
    }

    #[test]
    fn a_run_that_was_given_up_is_not_done() {
        let run = RunStats { failure: Some("no such bolt".to_owned()), ..here(stats()) };
        assert_eq!(outcome(&run), CommandOutcome::Failed);
        let text = for_people("word-count", &run);
        assert!(
            text.contains("ran for 2.0 s: given up") && text.contains("  given up: no such bolt\n"),
            "{text}"
        );
    }
}
