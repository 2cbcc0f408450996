//! `[topology]` and the options of components: what the runtime reads. One file, because all of it is read together.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::auto::AutoOr;
use crate::config::event_time::EventTimeOptions;
use crate::config::limits;
use crate::config::resources::Resources;
use crate::config::scheduling::SchedulingOptions;
use crate::config::state::{BoltStateOptions, StateOptions};

/// What happens when a tuple fails or is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Nothing is tracked; lost tuples stay lost. The fastest.
    AtMostOnce,
    /// Each message of a spout is tracked to the end of its tree. It fails if any tuple of the tree fails
    /// or is lost, so that the spout can replay it. A tuple may be processed twice.
    #[default]
    AtLeastOnce,
    /// Nothing is tracked. Checkpoints of the state of all tasks are taken while the topology runs. After a
    /// failure the last checkpoint is restored, and the spouts go back to the positions that are stored in
    /// it. State, and what two-phase sinks publish, are as if each tuple had been processed once.
    ExactlyOnce,
}

impl Delivery {
    /// Whether ackers follow the tree of each message.
    pub fn tracks_tuples(self) -> bool {
        match self {
            Delivery::AtMostOnce | Delivery::ExactlyOnce => false,
            Delivery::AtLeastOnce => true,
        }
    }

    /// Whether checkpoints are taken, and restored after a failure.
    ///
    /// # Examples
    /// ```
    /// use squall::config::Delivery;
    /// assert!(Delivery::ExactlyOnce.is_exactly_once());
    /// assert!(!Delivery::AtLeastOnce.is_exactly_once());
    /// ```
    pub fn is_exactly_once(self) -> bool {
        match self {
            Delivery::AtMostOnce | Delivery::AtLeastOnce => false,
            Delivery::ExactlyOnce => true,
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::AtMostOnce => "at-most-once",
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::ExactlyOnce => "exactly-once",
        })
    }
}

/// Whether neighbours run fused, as one chain; see [`chains`](crate::topology::Topology::chains) for which
/// may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainMode {
    /// Where that is faster.
    #[default]
    Auto,
    /// Never: every executor is scheduled for itself.
    Off,
}

/// Options of a whole topology. [`Default`] has the values of an empty `[topology]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct TopologyOptions {
    /// `delivery`.
    pub delivery: Delivery,
    /// `workers`: worker processes; 1 runs in the process that starts the topology.
    pub workers: u32,
    /// `ackers`: acker tasks; auto is one per worker that has spouts.
    pub ackers: AutoOr<u32>,
    /// `message_timeout`: a message whose tree is not processed after so long fails. The clock stands
    /// still while tuples downstream wait for a stalled or full consumer. `None` (`"off"`): never.
    pub message_timeout: Option<Duration>,
    /// `max_spout_pending`: open messages per spout task; auto follows the completion latency.
    pub max_spout_pending: AutoOr<u32>,
    /// `max_replays`: a message that fails after so many replays is given up; see
    /// [`ComponentOptions::max_replays`] for where the tuple is sent. `None`: ten replays where the
    /// input has an end ([`limits::BOUNDED_REPLAYS_MAX`]), no limit elsewhere. [`u32::MAX`] (`"off"`):
    /// no limit.
    pub max_replays: Option<u32>,
    /// `[topology.replay]`.
    pub replay: ReplayOptions,
    /// `[topology.checkpoint]`. Only [`Delivery::ExactlyOnce`] uses it; the validator refuses other values
    /// than the defaults with another delivery.
    pub checkpoint: CheckpointOptions,
    /// `[topology.batch]`: whether the input is processed in micro-batches, and at what pace. Only
    /// [`Delivery::ExactlyOnce`] has them.
    pub batch: Option<BatchOptions>,
    /// `[state]`.
    pub state: StateOptions,
    /// `threads`: driver threads, at most; auto is one per core. Where fewer execute more tuples, the others rest.
    pub threads: AutoOr<u32>,
    /// `drain_timeout`: how long an orderly end may take before it is cut short.
    pub drain_timeout: Duration,
    /// `max_task_parallelism`: a cap on every component's tasks, for tests.
    pub max_task_parallelism: Option<u32>,
    /// `key_groups`: into how many groups fields grouping hashes keys.
    pub key_groups: u32,
    /// `load_aware`: whether shuffle prefers targets with credit and short queues.
    pub load_aware: bool,
    /// `chain`: whether neighbours run fused in one executor.
    pub chain: ChainMode,
    /// `[topology.queue]`.
    pub queue: QueueOptions,
    /// `[topology.errors]`.
    pub errors: ErrorOptions,
    /// `[topology.watchdog]`.
    pub watchdog: WatchdogOptions,
    /// `[topology.scheduling]`: how a cluster chooses the hosts.
    pub scheduling: SchedulingOptions,
    /// `tick`: the period of `Bolt::tick` for bolts that set none of their own. `None`: no tick.
    pub tick: Option<Duration>,
    /// `watermark_interval`: how often a component with [`ComponentOptions::event_time`] lets others know how far event
    /// time is. When it has nothing to emit, it lets them know at once.
    pub watermark_interval: Duration,
    /// `start_inactive`: nothing is opened before the first activate.
    pub start_inactive: bool,
    /// `[topology.settings]`: free values that tasks read by `TaskContext::setting`.
    pub settings: toml::Table,
}

impl TopologyOptions {
    /// The options of checkpoints: those that are set, at the pace of micro-batches where there are any.
    ///
    /// # Examples
    /// ```
    /// use squall::config::{BatchOptions, TopologyOptions};
    ///
    /// let mut options = TopologyOptions::default();
    /// options.batch = Some(BatchOptions::default());
    /// let checkpoint = options.checkpoint_at_pace();
    /// assert_eq!((checkpoint.interval.as_millis(), checkpoint.max_concurrent), (500, 3));
    /// ```
    pub fn checkpoint_at_pace(&self) -> CheckpointOptions {
        let checkpoint = self.checkpoint.clone();
        match self.batch {
            None => checkpoint,
            Some(BatchOptions { interval, max_pending }) => {
                CheckpointOptions { interval, max_concurrent: max_pending, ..checkpoint }
            }
        }
    }

    /// The number of driver threads on this machine: as set, or one for each core.
    pub fn driver_threads(&self) -> u32 {
        match self.threads {
            AutoOr::Fixed(threads) => threads,
            AutoOr::Auto => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                u32::try_from(cores).unwrap_or(u32::MAX).min(limits::THREADS_MAX)
            }
        }
    }

    /// Where the number of driver threads is left to the machine: sets it to what that is here.
    pub fn resolve_threads(&mut self) {
        self.threads = AutoOr::Fixed(self.driver_threads());
    }

    /// What happens when a call of this bolt fails: its own `on_error` if it sets one. Otherwise, with
    /// [`Delivery::ExactlyOnce`], the call is made again five times, after pauses from 10 ms to 10 s, because
    /// no message is replayed there. Otherwise `None`.
    ///
    /// # Examples
    /// ```
    /// use squall::config::{ComponentOptions, Delivery, OnError, TopologyOptions};
    ///
    /// let mut options = TopologyOptions::default();
    /// let mut bolt = ComponentOptions::default();
    /// assert_eq!(options.on_error_of(&bolt), None);
    ///
    /// options.delivery = Delivery::ExactlyOnce;
    /// assert_eq!(options.on_error_of(&bolt).map(|on_error| on_error.retry), Some(5));
    /// bolt.on_error = Some(OnError::default());
    /// assert_eq!(options.on_error_of(&bolt).map(|on_error| on_error.retry), Some(0));
    /// ```
    pub fn on_error_of(&self, component: &ComponentOptions) -> Option<OnError> {
        let unset = self.delivery.is_exactly_once().then(|| OnError {
            retry: 5,
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_secs(10),
            then: AfterRetries::Fail,
        });
        component.on_error.or(unset)
    }
}

impl Default for TopologyOptions {
    fn default() -> TopologyOptions {
        TopologyOptions {
            delivery: Delivery::default(),
            workers: 1,
            ackers: AutoOr::Auto,
            message_timeout: Some(Duration::from_secs(30)),
            max_spout_pending: AutoOr::Auto,
            max_replays: None,
            replay: ReplayOptions::default(),
            checkpoint: CheckpointOptions::default(),
            batch: None,
            state: StateOptions::default(),
            threads: AutoOr::Auto,
            drain_timeout: Duration::from_secs(30),
            max_task_parallelism: None,
            key_groups: limits::KEY_GROUPS_DEFAULT,
            load_aware: true,
            chain: ChainMode::Auto,
            queue: QueueOptions::default(),
            errors: ErrorOptions::default(),
            watchdog: WatchdogOptions::default(),
            scheduling: SchedulingOptions::default(),
            tick: None,
            watermark_interval: Duration::from_millis(200),
            start_inactive: false,
            settings: toml::Table::new(),
        }
    }
}

/// `[topology.queue]`: how much may be on its way between tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueOptions {
    /// `batch`: tuples in a full batch.
    pub batch: u32,
    /// `capacity`: tuples that may be on their way over one link (from one executor to another).
    pub capacity: u32,
    /// `memory`: bytes that may be on their way in one worker, over all links.
    pub memory: u64,
    /// `tuple_size_max`: bytes that one tuple may have.
    pub tuple_size_max: u64,
}

impl Default for QueueOptions {
    fn default() -> QueueOptions {
        QueueOptions { batch: 512, capacity: 4096, memory: 64 << 20, tuple_size_max: 8 << 20 }
    }
}

/// `[topology.replay]`: when failed messages are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayOptions {
    /// `backoff_min`: the pause before a message that failed once is replayed.
    pub backoff_min: Duration,
    /// `backoff_max`: the longest such pause. Each is twice the one before; a random part of up to a
    /// half is subtracted.
    pub backoff_max: Duration,
}

impl Default for ReplayOptions {
    fn default() -> ReplayOptions {
        ReplayOptions { backoff_min: Duration::from_millis(10), backoff_max: Duration::from_secs(10) }
    }
}

/// `[topology.checkpoint]`: how often checkpoints are taken, and where they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// `interval`: the time from the begin of one checkpoint to the begin of the next.
    pub interval: Duration,
    /// `min_pause`: the least time between the end of one checkpoint and the begin of the next.
    pub min_pause: Duration,
    /// `timeout`: a checkpoint that takes longer is given up.
    pub timeout: Duration,
    /// `alignment_timeout`: a barrier that waits longer for tuples in front of it, or for the other inputs of a task,
    /// overtakes them, and they become a part of the checkpoint. `None` (`"off"`): it waits for its turn.
    pub alignment_timeout: Option<Duration>,
    /// `max_concurrent`: how many checkpoints may be under way at once.
    pub max_concurrent: u32,
    /// `retain`: how many complete checkpoints are kept. Older ones are deleted.
    pub retain: u32,
    /// `storage`: the directory in which the checkpoints of this topology are stored. `None`: a directory of
    /// its own below the user's state directory, `$XDG_STATE_HOME/squall/<topology>/checkpoints`, or
    /// `~/.local/state/squall/<topology>/checkpoints` where that variable is not set.
    pub storage: Option<PathBuf>,
    /// `wal_storage`: the directory in which the write-ahead logs of this topology are stored, one for each task of a
    /// spout with [`wal`](ComponentOptions::wal). `None`: a directory beside `storage`, whose name ends in `-wal`.
    pub wal_storage: Option<PathBuf>,
    /// `mode`: whether an input waits for the others at a barrier.
    pub mode: CheckpointMode,
}

impl Default for CheckpointOptions {
    fn default() -> CheckpointOptions {
        CheckpointOptions {
            interval: Duration::from_secs(10),
            min_pause: Duration::ZERO,
            timeout: Duration::from_secs(10 * 60),
            alignment_timeout: None,
            max_concurrent: 1,
            retain: 3,
            storage: None,
            wal_storage: None,
            mode: CheckpointMode::default(),
        }
    }
}

/// `[topology.batch]`: micro-batches, as Trident has them. A batch is what is emitted between two barriers, and has a
/// transaction id.
///
/// # Examples
/// ```
/// use squall::config::BatchOptions;
/// assert_eq!(BatchOptions::default().max_pending, 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// `interval`: how long a batch takes in input.
    pub interval: Duration,
    /// `max_pending`: how many batches may be under way at once.
    pub max_pending: u32,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions { interval: Duration::from_millis(500), max_pending: 3 }
    }
}

/// What a task with several inputs does when the barrier of a checkpoint has arrived from one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CheckpointMode {
    /// It takes no more tuples of this input until the barrier has arrived from all of them (the barriers
    /// are aligned).
    #[default]
    ExactlyOnce,
    /// It takes tuples of all inputs. Latency is lower, because no input waits for another; after a recovery,
    /// tuples that overtook a barrier are processed twice.
    AtLeastOnce,
}

impl CheckpointMode {
    /// Whether an input waits for the others.
    pub(crate) fn aligns(self) -> bool {
        match self {
            CheckpointMode::ExactlyOnce => true,
            CheckpointMode::AtLeastOnce => false,
        }
    }
}

/// `[topology.errors]`: how errors of user code are reported, and when a task that panicked is built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorOptions {
    /// `limit`: reports per `interval` and component; the rest are counted.
    pub limit: u32,
    /// `interval`.
    pub interval: Duration,
    /// `restart_min`: the first pause before a task that panicked is built again.
    pub restart_min: Duration,
    /// `restart_max`: the longest such pause; each is twice the one before.
    pub restart_max: Duration,
}

impl Default for ErrorOptions {
    fn default() -> ErrorOptions {
        ErrorOptions {
            limit: 5,
            interval: Duration::from_secs(10),
            restart_min: Duration::from_millis(100),
            restart_max: Duration::from_secs(30),
        }
    }
}

/// `[topology.watchdog]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchdogOptions {
    /// `step`: a call into user code that takes longer is named in the log, and its thread is
    /// replaced by another.
    pub step: Duration,
}

impl Default for WatchdogOptions {
    fn default() -> WatchdogOptions {
        WatchdogOptions { step: Duration::from_secs(1) }
    }
}

/// `on_error` of a bolt: what happens when `execute` returns an error or panics. What the call did has been
/// taken back then. If the call is made again after a panic, the instance is built again at once, because the
/// pause is that of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnError {
    /// `retry`: how often the call is made again with the same tuple. Meanwhile the task executes no other.
    pub retry: u32,
    /// `backoff`, the part before `..`: the pause before the first of these calls.
    pub backoff_min: Duration,
    /// `backoff`, the part after `..`: the longest such pause. Each is twice the one before.
    pub backoff_max: Duration,
    /// `then`: what happens with the tuple when the last call has failed.
    pub then: AfterRetries,
}

impl OnError {
    /// The pause before the call that is made again for the `number`th time, counted from 1.
    pub fn pause(&self, number: u32) -> Duration {
        doubled(self.backoff_min, number, self.backoff_max)
    }
}

impl Default for OnError {
    fn default() -> OnError {
        OnError {
            retry: 0,
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(10),
            then: AfterRetries::default(),
        }
    }
}

/// What happens with a tuple for which a bolt's call failed for the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterRetries {
    /// It fails. With [`Delivery::AtLeastOnce`], its message is replayed by the spout, within `max_replays`.
    /// With another delivery nobody replays it: it is given up.
    #[default]
    Fail,
    /// It goes to the bolt's dead-letter stream at once, and counts as processed.
    DeadLetter,
    /// The run ends in order and counts as failed, with the error as the reason.
    Stop,
}

/// A pause that starts at `first` and doubles each time, up to `most`. `number` counts from 1.
pub fn doubled(first: Duration, number: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << number.saturating_sub(1).min(31)).min(most)
}

/// Options of one component.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentOptions {
    /// `parallelism`: executors.
    pub parallelism: u32,
    /// `tasks`: instances, spread evenly over the executors; `None`: one each.
    pub tasks: Option<u32>,
    /// `tick`: overrides the topology's.
    pub tick: Option<Duration>,
    /// `blocking`: the component waits in its calls, so each executor gets a thread of its own.
    pub blocking: bool,
    /// `chain`: overrides the topology's, for this component with its producer and its consumer.
    pub chain: Option<ChainMode>,
    /// `max_spout_pending`: overrides the topology's.
    pub max_spout_pending: Option<AutoOr<u32>>,
    /// `max_replays`: overrides the topology's, for tuples that this bolt fails. Such a tuple goes to
    /// the bolt's dead-letter stream once its message was replayed so often. If no bolt takes that
    /// stream, the message is given up.
    pub max_replays: Option<u32>,
    /// `on_error`, of a bolt. `None`: as [`TopologyOptions::on_error_of`] has it for the topology's delivery.
    /// If that is `None` too, a call that fails is not made again, the tuple fails, and a task that panicked
    /// is built again after a pause ([`ErrorOptions::restart_min`]).
    pub on_error: Option<OnError>,
    /// `state`, of a bolt.
    pub state: BoltStateOptions,
    /// `wal`, of a spout that cannot go back to a position in its input: what it reads is written to a write-ahead log
    /// before it counts as read, so that it comes again after a failure. Only with [`Delivery::ExactlyOnce`].
    pub wal: bool,
    /// `event_time`: where the time stands in what the component emits. `None`: its event time is that of its inputs.
    pub event_time: Option<EventTimeOptions>,
    /// `resources`: what each task needs, for a cluster that chooses hosts by it.
    pub resources: Resources,
    /// `settings`: override the topology's, key by key.
    pub settings: toml::Table,
}

impl Default for ComponentOptions {
    fn default() -> ComponentOptions {
        ComponentOptions {
            parallelism: 1,
            tasks: None,
            tick: None,
            blocking: false,
            chain: None,
            max_spout_pending: None,
            max_replays: None,
            on_error: None,
            state: BoltStateOptions::default(),
            wal: false,
            event_time: None,
            resources: Resources::default(),
            settings: toml::Table::new(),
        }
    }
}

impl ComponentOptions {
    /// The number of tasks: `tasks`, or one per executor.
    pub fn task_count(&self) -> u32 {
        self.tasks.unwrap_or(self.parallelism)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(delivery: Delivery) -> TopologyOptions {
        TopologyOptions { delivery, ..TopologyOptions::default() }
    }

    /// If it fails, a spout of an exactly-once topology keeps messages that no acker acks.
    #[test]
    fn only_at_least_once_tracks_tuples() {
        let check = |delivery: Delivery, tracks, exactly_once| {
            assert_eq!((delivery.tracks_tuples(), delivery.is_exactly_once()), (tracks, exactly_once));
        };
        check(Delivery::AtMostOnce, false, false);
        check(Delivery::AtLeastOnce, true, false);
        check(Delivery::ExactlyOnce, false, true);
    }

    #[test]
    fn a_bolt_without_on_error_retries_its_calls_in_exactly_once_only() {
        let unset = ComponentOptions::default();
        assert_eq!(options(Delivery::AtMostOnce).on_error_of(&unset), None);
        assert_eq!(options(Delivery::AtLeastOnce).on_error_of(&unset), None);
        let default = OnError {
            retry: 5,
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_secs(10),
            then: AfterRetries::Fail,
        };
        assert_eq!(options(Delivery::ExactlyOnce).on_error_of(&unset), Some(default));
        let own = OnError { retry: 1, then: AfterRetries::Stop, ..OnError::default() };
        let set = ComponentOptions { on_error: Some(own), ..ComponentOptions::default() };
        for delivery in [Delivery::AtMostOnce, Delivery::AtLeastOnce, Delivery::ExactlyOnce] {
            assert_eq!(options(delivery).on_error_of(&set), Some(own), "{delivery}");
        }
    }
}
