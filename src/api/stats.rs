//! The counters of a running topology, and the trait that receives them while it runs.
//!
//! [`RunningTopology`](crate::runtime::RunningTopology) fills in these structs for one process,
//! [`RunningWorkers`](crate::cluster::RunningWorkers) for several. A [`MetricsReporter`] receives the
//! same structs at regular intervals and once at the end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::api::counters::{CounterId, CounterValues};
use crate::api::event_time::EventTime;
use crate::api::failure::FailureCause;
use crate::ids::{CheckpointId, TaskId};
use crate::metrics::MetricTotals;

/// Receives the counters of a topology while it runs: to send them to a monitoring system, to draw
/// them, to raise an alarm.
///
/// One thread of the process that started the topology calls it: at every interval, and once after
/// the end with the final counters ([`TopologyStats::ended`] is true then). A call may be slow: the
/// topology does not wait for it, and only the final call waits for the call before it. A panic is
/// logged, and no further call is made.
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use squall::api::{MetricsReporter, TopologyStats};
/// use squall::prelude::Registry;
///
/// /// Keeps the number of losses so far, for a health check.
/// #[derive(Default)]
/// struct Health(AtomicU64);
///
/// impl MetricsReporter for Health {
///     fn report(&self, _topology: &str, stats: &TopologyStats) {
///         self.0.store(stats.losses(), Ordering::Relaxed);
///     }
/// }
///
/// let mut registry = Registry::with_standard();
/// registry.metrics_reporter(Duration::from_secs(10), Health::default());
/// // squall::cli::run(registry)
/// ```
pub trait MetricsReporter: Send + Sync {
    /// The counters of the topology of this name, since its start.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{MetricsReporter, TopologyStats};
    ///
    /// /// Writes a line on standard error.
    /// struct Line;
    ///
    /// impl MetricsReporter for Line {
    ///     fn report(&self, topology: &str, stats: &TopologyStats) {
    ///         eprintln!("{topology}: {} acked, {} pending", stats.acked, stats.pending);
    ///     }
    /// }
    /// # Line.report("t", &TopologyStats::default());
    /// ```
    fn report(&self, topology: &str, stats: &TopologyStats);
}

/// A [`MetricsReporter`] and how often it is called.
///
/// # Examples
/// For a topology that a program runs itself:
/// ```
/// use squall::api::{MetricsReporter, MetricsReporting, TopologyStats};
/// use squall::runtime::LocalOptions;
/// use std::time::Duration;
///
/// struct Silent;
/// impl MetricsReporter for Silent {
///     fn report(&self, _topology: &str, _stats: &TopologyStats) {}
/// }
///
/// let metrics = Some(MetricsReporting::new(Duration::from_secs(10), Silent));
/// let options = LocalOptions { metrics, ..LocalOptions::default() };
/// assert!(options.metrics.is_some());
/// ```
#[derive(Clone)]
pub struct MetricsReporting {
    /// The time from one call to the next.
    pub interval: Duration,
    /// The reporter that is called.
    pub reporter: Arc<dyn MetricsReporter>,
}

impl MetricsReporting {
    /// A reporter that is called at this interval, at most once a millisecond.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{MetricsReporter, MetricsReporting, TopologyStats};
    /// use std::time::Duration;
    ///
    /// struct Silent;
    /// impl MetricsReporter for Silent {
    ///     fn report(&self, _topology: &str, _stats: &TopologyStats) {}
    /// }
    /// assert_eq!(MetricsReporting::new(Duration::ZERO, Silent).interval, Duration::from_millis(1));
    /// ```
    pub fn new(interval: Duration, reporter: impl MetricsReporter + 'static) -> MetricsReporting {
        MetricsReporting { interval: interval.max(Duration::from_millis(1)), reporter: Arc::new(reporter) }
    }
}

impl fmt::Debug for MetricsReporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetricsReporting(every {:?})", self.interval)
    }
}

/// Counters of one component, summed over its tasks.
///
/// # Examples
/// ```
/// use squall::api::{ComponentStats, TopologyStats};
///
/// /// The busiest component, which should get more tasks.
/// fn bottleneck(stats: &TopologyStats) -> Option<&ComponentStats> {
///     stats.components.iter().max_by(|a, b| a.busy.total_cmp(&b.busy))
/// }
/// # use squall::prelude::*;
/// # use squall::testing::{Capture, FixedSpout, SimulatedTopology, SimulationOptions};
/// # let mut builder = TopologyBuilder::new("t");
/// # builder.spout("numbers", || FixedSpout::new(["n"], (0..4).map(|n| vec![Value::from(n)])));
/// # builder.bolt("sink", Capture::new().bolt()).shuffle("numbers");
/// # let mut topology = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
/// # let stats = topology.run_to_end(std::time::Duration::from_secs(60))?;
/// # assert!(bottleneck(&stats).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComponentStats {
    /// Its id.
    pub id: SmolStr,
    /// Whether it is a spout.
    pub is_spout: bool,
    /// The number of its tasks.
    pub tasks: usize,
    /// The component that it is chained behind: the two run fused in one executor.
    pub chained_behind: Option<SmolStr>,
    /// Tuples emitted, over all its streams.
    pub emitted: u64,
    /// Tuple copies sent to targets (one per target task).
    pub transferred: u64,
    /// Tuples executed, of a bolt.
    pub executed: u64,
    /// Tuples acked; for a spout, messages acked.
    pub acked: u64,
    /// Tuples failed; for a spout, failures of messages.
    pub failed: u64,
    /// Errors that user code returned or panicked with.
    pub errors: u64,
    /// Times a task was built again after a panic.
    pub restarts: u64,
    /// Tuples waiting in its inboxes.
    pub queued: u64,
    /// How much of the time its tasks were executing, 0 to 1 per task, since the start.
    pub busy: f64,
    /// How much of the time its executors waited for credit downstream, 0 to 1, since the start.
    pub blocked: f64,
    /// How far event time has come in it: the least of its executors. `None`: it has no event time.
    pub event_time: Option<EventTime>,
    /// All its counters, by name. Those above are made of some of them.
    pub counters: CounterValues,
    /// The last error reported, with the task it came from.
    pub last_error: Option<String>,
    /// The metrics that its tasks registered, summed over them.
    pub metrics: MetricTotals,
}

impl ComponentStats {
    /// What its tasks counted as lost, and what the runtime did under names of its own.
    pub(crate) fn losses(&self) -> u64 {
        let listed = self.counters.listed().filter(|(counter, _)| counter.is_loss);
        let listed = listed.map(|(_, value)| u64::try_from(value).unwrap_or(0));
        listed.fold(self.metrics.losses(), u64::saturating_add)
    }
}

/// Completion latency of messages: from the emit by the spout to the ack.
///
/// # Examples
/// ```
/// use squall::api::LatencyStats;
/// use std::time::Duration;
///
/// fn is_slow(latency: &LatencyStats) -> bool {
///     latency.count > 0 && latency.p99 > Duration::from_secs(1)
/// }
/// # assert!(!is_slow(&LatencyStats::default()));
/// # assert!(is_slow(&LatencyStats { count: 1, p99: Duration::from_secs(2), ..LatencyStats::default() }));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyStats {
    /// Messages measured.
    pub count: u64,
    /// Median.
    pub p50: Duration,
    /// 99 of 100 are at most this.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// Messages emitted again, by the cause of their failure.
///
/// # Examples
/// ```
/// use squall::api::{FailureCause, ReplayCounts};
///
/// let mut replays = ReplayCounts::default();
/// *replays.of_mut(FailureCause::TimedOut) += 2;
/// assert_eq!((replays.of(FailureCause::TimedOut), replays.total()), (2, 2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts([u64; FailureCause::ALL.len()]);

impl ReplayCounts {
    /// The replays among these counters.
    pub(crate) fn among(counters: &CounterValues) -> ReplayCounts {
        ReplayCounts(FailureCause::ALL.map(|cause| counters.count(CounterId::replayed(cause))))
    }

    /// Replays because of this cause.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{FailureCause, ReplayCounts};
    /// assert_eq!(ReplayCounts::default().of(FailureCause::Lost), 0);
    /// ```
    pub fn of(&self, cause: FailureCause) -> u64 {
        self.0[cause.index()]
    }

    /// Replays because of this cause, to be changed.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{FailureCause, ReplayCounts};
    /// let mut replays = ReplayCounts::default();
    /// *replays.of_mut(FailureCause::Lost) += 1;
    /// assert_eq!(replays.of(FailureCause::Lost), 1);
    /// ```
    pub fn of_mut(&mut self, cause: FailureCause) -> &mut u64 {
        &mut self.0[cause.index()]
    }

    /// Replays of all causes.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{FailureCause, ReplayCounts};
    /// let mut replays = ReplayCounts::default();
    /// *replays.of_mut(FailureCause::Lost) += 1;
    /// *replays.of_mut(FailureCause::Failed) += 2;
    /// assert_eq!(replays.total(), 3);
    /// ```
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds the counts of another.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{FailureCause, ReplayCounts};
    /// let (mut of_all, mut of_one) = (ReplayCounts::default(), ReplayCounts::default());
    /// *of_one.of_mut(FailureCause::TimedOut) += 1;
    /// of_all.add(&of_one);
    /// of_all.add(&of_one);
    /// assert_eq!(of_all.of(FailureCause::TimedOut), 2);
    /// ```
    pub fn add(&mut self, other: &ReplayCounts) {
        self.0.iter_mut().zip(other.0).for_each(|(own, theirs)| *own += theirs);
    }
}

/// Why a component ended the run: the first error that no retry could solve.
///
/// # Examples
/// ```
/// use squall::api::StopReason;
/// use squall::TaskId;
///
/// let reason = StopReason { component: "lines".into(), task: TaskId(2), error: "no such file".to_owned() };
/// assert_eq!(reason.to_string(), "lines, task 2: no such file");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReason {
    /// The component.
    pub component: SmolStr,
    /// The task that returned the error.
    pub task: TaskId,
    /// The error, bounded and escaped.
    pub error: String,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task.0 {
            // No task of a component, but the engine itself.
            0 => write!(f, "{}: {}", self.component, self.error),
            task => write!(f, "{}, task {task}: {}", self.component, self.error),
        }
    }
}

/// How the checkpoints of a topology have gone so far.
///
/// # Examples
/// ```
/// use squall::api::CheckpointStats;
/// use std::time::Duration;
///
/// /// Whether a crash now would lose more than a minute of work.
/// fn is_old(stats: &CheckpointStats) -> bool {
///     stats.age.is_none_or(|age| age > Duration::from_secs(60))
/// }
/// # assert!(is_old(&CheckpointStats::default()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStats {
    /// Checkpoints that became complete.
    pub completed: u64,
    /// Checkpoints that were given up.
    pub failed: u64,
    /// How often all tasks went back to a checkpoint, or to the beginning.
    pub recoveries: u64,
    /// The checkpoint that the run began with; `None`: it began at the beginning.
    pub resumed_from: Option<CheckpointId>,
    /// The savepoint with which the run was stopped, to be continued; `None`: it was not.
    pub stopped_with: Option<CheckpointId>,
    /// The latest complete checkpoint.
    pub latest: Option<CheckpointId>,
    /// How many became complete on the way to it, in this run and in those that it continues: the transaction id of the
    /// last batch that was committed.
    pub txid: u64,
    /// How long ago it became complete; `None`: none has in this run.
    pub age: Option<Duration>,
    /// How long it took.
    pub duration: Duration,
    /// The bytes that were written for it.
    pub bytes: u64,
}

/// A snapshot of a topology.
///
/// # Examples
/// ```
/// use squall::api::TopologyStats;
///
/// /// Whether a run that has ended processed everything.
/// fn is_well(stats: &TopologyStats) -> bool {
///     stats.ended && !stats.cut_short && stats.failed == 0 && stats.lost == 0 && stats.losses() == 0
/// }
/// # use squall::prelude::*;
/// # use squall::testing::{Capture, FixedSpout, SimulatedTopology, SimulationOptions};
/// # let mut builder = TopologyBuilder::new("t");
/// # builder.spout("numbers", || FixedSpout::new(["n"], (0..4).map(|n| vec![Value::from(n)])));
/// # builder.bolt("sink", Capture::new().bolt()).shuffle("numbers");
/// # let mut topology = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
/// # let stats = topology.run_to_end(std::time::Duration::from_secs(60))?;
/// # assert!(is_well(&stats));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopologyStats {
    /// Time since the start.
    pub elapsed: Duration,
    /// Messages that spouts emitted, replays not counted; untracked tuples of spouts count here.
    pub emitted: u64,
    /// Messages acked.
    pub acked: u64,
    /// Messages failed for good: they failed, were not emitted again and do not wait for a replay.
    pub failed: u64,
    /// Messages that failed and wait for their replay.
    pub waiting: u64,
    /// Failed tuples that belong to no message, so that no spout replays them: a bolt failed a tuple that
    /// was emitted without an anchor (in `tick` and `finish`, or where nothing is tracked), or a tuple
    /// was refused as it was emitted.
    pub failed_unanchored: u64,
    /// Failures of messages that had used up `max_replays`. Spouts may still emit other messages in
    /// `failed` again.
    pub given_up: u64,
    /// Messages emitted again after a failure.
    pub replayed: u64,
    /// The same by the cause of the failure.
    pub replays: ReplayCounts,
    /// Messages open.
    pub pending: u64,
    /// Messages that were open in a worker at its last report before it died, and that were not read
    /// again from their source.
    pub lost: u64,
    /// Tuples sent to dead-letter streams.
    pub dead_letters: u64,
    /// All counters, summed over the components. `emitted`, `acked` and `failed` are sums over spouts, and
    /// `emitted` includes replays here. The fields above are made of some of them.
    pub counters: CounterValues,
    /// Completion latency of messages since the start.
    pub complete_latency: LatencyStats,
    /// Per component, in the order of the topology; the system's own come last.
    pub components: Vec<ComponentStats>,
    /// Whether the topology has ended.
    pub ended: bool,
    /// Whether the end was cut short by a deadline or a kill, so that some work may not have been done.
    pub cut_short: bool,
    /// Why the run was ended, if a component returned an error that no retry can solve.
    pub stopped: Option<StopReason>,
    /// How its checkpoints have gone, if it is exactly-once.
    pub checkpoints: Option<CheckpointStats>,
}

impl TopologyStats {
    /// The sum of the loss counters of all components. If it is above 0, the exit code of the run is 1.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{FixedSpout, SimulatedTopology, SimulationOptions};
    /// use squall::metrics::Counter;
    ///
    /// /// Drops rows that it cannot write, and counts them as lost.
    /// #[derive(Default)]
    /// struct Writer {
    ///     unwritten: Counter,
    /// }
    ///
    /// impl Bolt for Writer {
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.unwritten = context.loss_counter("rows_unwritten");
    ///         Ok(())
    ///     }
    ///
    ///     fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         self.unwritten.add(1);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut builder = TopologyBuilder::new("t");
    /// builder.spout("numbers", || FixedSpout::new(["n"], (0..4).map(|n| vec![Value::from(n)])));
    /// builder.bolt("writer", Writer::default).shuffle("numbers");
    /// let mut topology = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
    /// let stats = topology.run_to_end(std::time::Duration::from_secs(60))?;
    /// assert_eq!((stats.acked, stats.losses()), (4, 4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn losses(&self) -> u64 {
        self.components.iter().map(ComponentStats::losses).fold(0, u64::saturating_add)
    }
}
