//! The counters of a topology as programs get them: `squall run --json`, the master's answer to an observer, and the
//! API have this one shape.
//!
//! Names and units are those of `squall run --json`. A field that is not known to a reader is ignored, so that one side
//! may be newer.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::api::{
    CheckpointStats, CounterInfo, EventTime, FailureCause, LatencyStats, ReplayCounts, StopReason,
};
use crate::cluster::stats::ProcessStats;
use crate::ids::{CheckpointId, is_reserved_name};
use crate::metrics::{Distribution, MetricTotal, MetricTotals, MetricValue};
use crate::runtime::{ComponentStats, TopologyStats};

/// The counters of a topology, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsSummary {
    /// The name of the topology.
    pub topology: String,
    /// Messages that spouts emitted, replays not counted.
    pub emitted: u64,
    /// Messages that are completed.
    pub acked: u64,
    /// What failed and is not emitted again.
    pub failed: u64,
    /// Of these, tuples that no message stands for.
    pub failed_unanchored: u64,
    /// How often messages were emitted again.
    pub replayed: u64,
    /// The same by cause.
    pub replays: ReplaySummary,
    /// Messages that are open.
    pub pending: u64,
    /// Messages that were open in a worker when it died and that were not read again; a lower bound.
    pub lost: u64,
    /// Tuples that were sent to dead-letter streams.
    pub dead_letters: u64,
    /// The sum of all counters of losses.
    pub losses: u64,
    /// Whether the end was cut short, so that work may be undone.
    pub cut_short: bool,
    /// Why the run was given up, if it was.
    pub given_up: Option<String>,
    /// The error of a component that ended the run, if one did.
    pub stopped: Option<StopSummary>,
    /// The processes.
    pub workers: ProcessSummary,
    /// How checkpoints have gone; null: none are taken.
    pub checkpoints: Option<CheckpointSummary>,
    /// Seconds since the counters began.
    pub seconds: f64,
    /// Messages a second, over all this time.
    pub tuples_per_second: f64,
    /// From the emission of a message to its ack, in milliseconds.
    pub complete_latency_ms: LatencySummary,
    /// The components of the topology, in its order.
    pub components: Vec<ComponentSummary>,
}

/// Messages that were emitted again, by the cause of their failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplaySummary {
    /// A bolt failed them.
    pub failed: u64,
    /// A bolt panicked.
    pub panicked: u64,
    /// A bolt dropped them.
    pub abandoned: u64,
    /// They took too long.
    pub timed_out: u64,
    /// A worker died.
    pub worker_lost: u64,
}

/// The error of a component that ended the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StopSummary {
    /// The component.
    pub component: String,
    /// Its task.
    pub task: u32,
    /// The error.
    pub error: String,
}

/// The processes of a topology.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessSummary {
    /// How many there should be.
    pub count: u16,
    /// How often one was started again.
    pub restarts: u64,
}

/// How the checkpoints of a topology have gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointSummary {
    /// How many became complete.
    pub completed: u64,
    /// How many were given up.
    pub failed: u64,
    /// How often all tasks went back to one.
    pub recoveries: u64,
    /// The one that the run began with.
    pub resumed_from: Option<String>,
    /// The savepoint that the run was stopped with.
    pub stopped_with: Option<String>,
    /// The latest that is complete.
    pub latest: Option<String>,
    /// How many became complete on the way to it.
    pub txid: u64,
    /// How long ago it became complete.
    pub age_seconds: Option<f64>,
    /// How long it took.
    pub duration_ms: f64,
    /// How many bytes were written for it.
    pub bytes: u64,
}

/// Latencies, in milliseconds; null: nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencySummary {
    /// The median.
    pub p50: Option<f64>,
    /// 99 of 100 are at most this.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// The counters of a component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentSummary {
    /// Its id.
    pub id: String,
    /// How many tasks it has.
    pub tasks: usize,
    /// Tuples that it emitted.
    pub emitted: u64,
    /// Copies of tuples that were sent to tasks.
    pub transferred: u64,
    /// Tuples that it executed, if it is a bolt.
    pub executed: u64,
    /// Tuples that it acked; of a spout, messages that are completed.
    pub acked: u64,
    /// Tuples that it failed; of a spout, failures of messages.
    pub failed: u64,
    /// Errors of its code.
    pub errors: u64,
    /// The sum of its counters of losses.
    #[serde(default)]
    pub losses: u64,
    /// How often one of its tasks was built again after a panic.
    pub restarts: u64,
    /// How much of the time its tasks were executing, 0 to 1 for each task.
    pub busy: f64,
    /// How much of the time it waited because components behind it were slower, 0 to 1.
    pub blocked: f64,
    /// Its last error, with the task.
    pub last_error: Option<String>,
    /// Its metrics by name: a number, or for a histogram an object.
    pub metrics: Map<String, Value>,
    /// The component that it runs fused with, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chained_behind: Option<String>,
    /// How far event time is; null: no watermark has come; missing: it has no event time.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub watermark: Option<Option<String>>,
    /// Further counters of the runtime by name, if there are any. Times are in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<Map<String, Value>>,
}

/// A field that is there, and may be null.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What failed and is not replayed: messages, and tuples that belong to no message.
pub(crate) fn failed_for_good(stats: &TopologyStats) -> u64 {
    stats.failed + stats.waiting + stats.failed_unanchored
}

/// Messages a second, over the whole run.
pub(crate) fn tuples_per_second(stats: &TopologyStats) -> f64 {
    let seconds = stats.elapsed.as_secs_f64();
    if seconds > 0.0 { stats.emitted as f64 / seconds } else { 0.0 }
}

impl StatsSummary {
    /// The counters of a topology. `processes`: `None` if it runs in this process.
    pub fn new(
        topology: &str,
        stats: &TopologyStats,
        processes: Option<ProcessStats>,
        given_up: Option<&str>,
    ) -> StatsSummary {
        let users = stats.components.iter().filter(|component| !is_reserved_name(&component.id));
        let (count, restarts) = processes.map_or((1, 0), |all| (all.workers, all.restarts));
        StatsSummary {
            topology: topology.to_owned(),
            emitted: stats.emitted,
            acked: stats.acked,
            failed: failed_for_good(stats),
            failed_unanchored: stats.failed_unanchored,
            replayed: stats.replayed,
            replays: ReplaySummary::new(&stats.replays),
            pending: stats.pending,
            lost: stats.lost,
            dead_letters: stats.dead_letters,
            losses: stats.losses(),
            cut_short: stats.cut_short,
            given_up: given_up.map(str::to_owned),
            stopped: stats.stopped.as_ref().map(StopSummary::new),
            workers: ProcessSummary { count, restarts },
            checkpoints: stats.checkpoints.as_ref().map(CheckpointSummary::new),
            seconds: rounded(stats.elapsed.as_secs_f64()),
            tuples_per_second: rounded(tuples_per_second(stats)),
            complete_latency_ms: LatencySummary::new(&stats.complete_latency),
            components: users.map(ComponentSummary::new).collect(),
        }
    }
}

impl ReplaySummary {
    fn new(replays: &ReplayCounts) -> ReplaySummary {
        ReplaySummary {
            failed: replays.of(FailureCause::Failed),
            panicked: replays.of(FailureCause::Panicked),
            abandoned: replays.of(FailureCause::Abandoned),
            timed_out: replays.of(FailureCause::TimedOut),
            worker_lost: replays.of(FailureCause::Lost),
        }
    }
}

impl StopSummary {
    fn new(reason: &StopReason) -> StopSummary {
        let StopReason { component, task, error } = reason;
        StopSummary { component: component.to_string(), task: task.0, error: error.clone() }
    }
}

impl CheckpointSummary {
    fn new(checkpoints: &CheckpointStats) -> CheckpointSummary {
        let id = |id: Option<CheckpointId>| id.map(|id| id.to_string());
        CheckpointSummary {
            completed: checkpoints.completed,
            failed: checkpoints.failed,
            recoveries: checkpoints.recoveries,
            resumed_from: id(checkpoints.resumed_from),
            stopped_with: id(checkpoints.stopped_with),
            latest: id(checkpoints.latest),
            txid: checkpoints.txid,
            age_seconds: checkpoints.age.map(|age| rounded(age.as_secs_f64())),
            duration_ms: in_ms(checkpoints.duration),
            bytes: checkpoints.bytes,
        }
    }
}

impl LatencySummary {
    fn new(latency: &LatencyStats) -> LatencySummary {
        let measured = |time| (latency.count > 0).then(|| in_ms(time));
        LatencySummary { p50: measured(latency.p50), p99: measured(latency.p99), max: measured(latency.max) }
    }
}

impl ComponentSummary {
    fn new(component: &ComponentStats) -> ComponentSummary {
        ComponentSummary {
            id: component.id.to_string(),
            tasks: component.tasks,
            emitted: component.emitted,
            transferred: component.transferred,
            executed: component.executed,
            acked: component.acked,
            failed: component.failed,
            errors: component.errors,
            losses: component.losses(),
            restarts: component.restarts,
            busy: rounded(component.busy),
            blocked: rounded(component.blocked),
            last_error: component.last_error.clone(),
            metrics: metrics_in_json(&component.metrics),
            chained_behind: component.chained_behind.as_ref().map(ToString::to_string),
            watermark: component.event_time.map(watermark),
            counters: counters_in_json(component.counters.listed()),
        }
    }
}

/// `None`: no watermark has come. The end of time has a name of its own.
fn watermark(time: EventTime) -> Option<String> {
    match time {
        EventTime::Unknown => None,
        EventTime::Watermark(watermark) => Some(watermark.to_string()),
        EventTime::Ended => Some("end".to_owned()),
    }
}

/// Counters of the runtime by name, if there are any. Times are in nanoseconds.
fn counters_in_json<'a>(
    counters: impl Iterator<Item = (&'a CounterInfo, i64)>,
) -> Option<Map<String, Value>> {
    let object: Map<String, Value> =
        counters.map(|(counter, value)| (counter.name.to_owned(), json!(value))).collect();
    if object.is_empty() { None } else { Some(object) }
}

/// Metrics by name: a number, or for a histogram an object. If two tasks of a component registered
/// one name as two kinds, the second is listed under its name and kind.
fn metrics_in_json(metrics: &MetricTotals) -> Map<String, Value> {
    let mut object = Map::new();
    for MetricTotal { name, value } in metrics.iter() {
        let (kind, value) = match value {
            MetricValue::Counter(sum) => ("counter", json!(sum)),
            MetricValue::Loss(sum) => ("loss", json!(sum)),
            MetricValue::Gauge(value) => ("gauge", json!(value)),
            MetricValue::Histogram(counts) => ("histogram", distribution_in_json(&counts.distribution())),
        };
        let is_taken = object.contains_key(name.as_str());
        let name = if is_taken { format!("{name}.{kind}") } else { name.to_string() };
        object.insert(name, value);
    }
    object
}

fn distribution_in_json(values: &Distribution) -> Value {
    let Distribution { count, mean, p50, p99, max } = *values;
    json!({ "count": count, "mean": rounded(mean), "p50": p50, "p99": p99, "max": max })
}

fn in_ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

/// To three decimals: microseconds of a millisecond are enough, and lines stay short.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{COUNTERS, CounterKind};
    use crate::tuple::Timestamp;

    #[test]
    fn a_counter_without_a_field_of_its_own_is_listed_by_name() {
        let info = |name, kind, is_loss| CounterInfo { name, kind, is_loss, ..COUNTERS[0] };
        let (sum, level, nanoseconds) = (CounterKind::Sum, CounterKind::Level, CounterKind::Nanoseconds);
        let counters = [
            (&info("state_reads", sum, false), 1200),
            (&info("state_open", level, false), -3),
            (&info("state_time", nanoseconds, false), 2_500_000),
            (&info("state_lost", sum, true), 1),
            (&info("state_writes", sum, false), 0),
        ];
        let line =
            r#"{"state_reads":1200,"state_open":-3,"state_time":2500000,"state_lost":1,"state_writes":0}"#;
        let listed = counters_in_json(counters.into_iter()).unwrap();
        assert_eq!(Value::Object(listed).to_string(), line);
        assert_eq!(counters_in_json([].into_iter()), None);
    }

    /// What a master sends is what a nimbus answers: a field that changed on the way would be shown wrong.
    #[test]
    fn a_summary_is_read_as_it_was_written() {
        let check = |event_time| {
            let component = ComponentStats {
                id: "count".into(),
                tasks: 2,
                executed: 3,
                event_time,
                last_error: Some("task 1: no".to_owned()),
                chained_behind: Some("lines".into()),
                ..ComponentStats::default()
            };
            let acker = ComponentStats { id: "__acker".into(), ..ComponentStats::default() };
            let stats = TopologyStats {
                elapsed: Duration::from_millis(1500),
                components: vec![component, acker],
                checkpoints: Some(CheckpointStats::default()),
                ..TopologyStats::default()
            };
            let summary = StatsSummary::new("words", &stats, None, Some("why"));
            assert_eq!(summary.components.len(), 1, "those of the system are not shown");
            let text = serde_json::to_string(&summary).unwrap();
            assert_eq!(serde_json::from_str::<StatsSummary>(&text).unwrap(), summary, "{text}");
            text.contains("\"watermark\":")
        };
        assert!(!check(None));
        assert!(check(Some(EventTime::Unknown)) && check(Some(EventTime::Ended)));
        assert!(check(Some(EventTime::Watermark(Timestamp(1)))));
    }
}
