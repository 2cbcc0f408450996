//! The bounds that no option may exceed, in one place, so that their relations can be checked.

use std::time::Duration;

use crate::ids;

/// Bytes of a topology document, its includes counted with it.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// How deep tables and arrays may nest in a topology document.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// Files that a topology document may include.
pub const INCLUDES_MAX: usize = 64;

/// Stores outside of squall that a topology may have.
pub const STATES_MAX: usize = 256;

/// Components of a topology, the system's not counted.
pub const COMPONENTS_MAX: usize = 4096;
/// Streams that one component may declare. It has two more streams of the system, and the numbers of all
/// must fit 16 bits.
pub const STREAMS_MAX: usize = u16::MAX as usize - 2;
/// Inputs of a topology, over all its bolts.
pub const INPUTS_MAX: usize = 32_768;
/// The longest period or time-out: 30 days. A longer one is probably a mistake, and with this bound the
/// sum of a point in time and a period cannot overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Executors or tasks of one component.
pub const PARALLELISM_MAX: u32 = 4096;
/// Tasks of a topology.
pub const TASKS_MAX: u32 = 32_767;
/// The shortest `nimbus.supervisor_timeout`.
pub const SUPERVISOR_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// The most faults within the time that `nimbus.blacklist` tolerates.
pub const TOLERANCE_COUNT_MAX: u32 = 1000;
/// The shortest times of `nimbus.blacklist`.
pub const BLACKLIST_TIME_MIN: Duration = Duration::from_secs(1);
/// Bytes of the smallest and the largest log file.
pub const LOG_SIZE_MIN: u64 = 4 << 10;
/// See [`LOG_SIZE_MIN`].
pub const LOG_SIZE_MAX: u64 = 1 << 40;
/// Earlier log files that are kept.
pub const LOG_FILES_MAX: u32 = 1000;
/// Bytes of the least `supervisor.limits.memory_extra`: the code, threads and buffers of a worker that does nothing.
pub const MEMORY_EXTRA_MIN: u64 = 64 << 20;
/// The fewest threads and processes that a control group may be limited to.
pub const GROUP_THREADS_MIN: u32 = 64;
/// See [`GROUP_THREADS_MIN`]. Linux has no more.
pub const GROUP_THREADS_MAX: u32 = 1 << 22;
/// Driver threads of a worker.
pub const THREADS_MAX: u32 = 1024;
/// Messages that one spout task may have open.
pub const SPOUT_PENDING_MAX: u32 = 1 << 20;
/// The initial value of an automatic `max_spout_pending`, and the least that it shrinks to.
pub const SPOUT_PENDING_AUTO_MIN: u32 = 1 << 10;
/// The most an automatic `max_spout_pending` grows to.
pub const SPOUT_PENDING_AUTO_MAX: u32 = 1 << 18;

/// Messages that share one tree entry.
pub const BLOCK_MESSAGES_MAX: u32 = 64;
/// Replays of a message whose input has an end, where `max_replays` is not set.
pub const BOUNDED_REPLAYS_MAX: u32 = 10;
/// How often a bolt's call may be made again.
pub const CALL_RETRIES_MAX: u32 = 1000;
/// Failed messages of a spout task that may wait for their replay. While so many wait, the task emits no
/// new messages.
pub const REPLAYS_WAITING_MAX: usize = 1 << 12;
/// Messages whose failures are remembered per spout task, for `max_replays`.
pub const FAILURES_REMEMBERED_MAX: usize = 1 << 20;

/// Tuples in a batch.
pub const BATCH_MAX: u32 = 1 << 16;
/// Bytes outside its rows at which a batch is sent, even if it has few tuples: otherwise a batch could
/// hold hundreds of large tuples.
pub const BATCH_HEAP_MAX: usize = 256 << 10;
/// The least share of `queue.memory` that a batch under construction may have.
pub const BATCH_BYTES_MIN: usize = 512;
/// Pairs of tasks between which tuples may pass, over all inputs of a topology.
pub const LANES_MAX: u64 = 1 << 20;
/// The reserve of a link in a cycle, in multiples of its credit in bytes. It is not counted in tuples,
/// because it is memory that must be bounded. A cycle that fills the reserve makes more tuples than it
/// takes; no reserve would be enough for it.
pub const RESERVE: usize = 16;
/// Components in one chain. Each adds to the depth of the calls of a step.
pub const CHAIN_MAX: usize = 16;
/// Tuples on their way over one link.
pub const LINK_CAPACITY_MAX: u32 = 1 << 24;
/// Bytes of one tuple.
pub const TUPLE_SIZE_MAX: u64 = 1 << 30;

/// The shortest interval of checkpoints.
pub const CHECKPOINT_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// The longest interval of checkpoints; all that was processed since the last one is processed again after a
/// failure.
pub const CHECKPOINT_INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Complete checkpoints that are kept.
pub const CHECKPOINTS_RETAINED_MAX: u32 = 100;
/// Checkpoints that are under way at once.
pub const CHECKPOINTS_CONCURRENT_MAX: u32 = 10;

/// The least of its state that a task keeps in memory, in bytes.
pub const STATE_MEMORY_MIN: u64 = 64 << 10;
/// The most of its state that a task may be configured to keep in memory, in bytes.
pub const STATE_MEMORY_MAX: u64 = 1 << 40;

/// Worker processes of a topology.
pub const WORKERS_MAX: u16 = 1024;
/// Cores that one task may ask for. Who writes Storm's points, where 100 is a core, gets an error that names this.
pub const TASK_CORES_MAX: f64 = 64.0;
/// Memory that one task may ask for.
pub const TASK_MEMORY_MAX: u64 = 1 << 40;
/// The priority that comes last.
pub const PRIORITY_MAX: u32 = 1000;
/// Hosts of a cluster.
pub const HOSTS_MAX: u32 = 10_000;
/// Workers that one host may run.
pub const HOST_SLOTS_MAX: u16 = 1024;
/// Cores of one host.
pub const HOST_CORES_MAX: f64 = 4096.0;
/// Memory of one host.
pub const HOST_MEMORY_MAX: u64 = 1 << 50;
/// The least that `net.frame_max` can be set to: larger than any payload that is not tuples.
pub const FRAME_MIN: usize = 64 << 10;
/// The most that `net.frame_max` can be set to.
pub const FRAME_MAX: usize = 2 << 30;
/// Bytes that a frame may need in addition to its largest tuple and the batch that this tuple is in.
pub const FRAME_OVERHEAD_MAX: u64 = 64 << 10;
/// The least that a socket's buffers can be set to; the kernel takes no less.
pub const SOCKET_BUFFER_MIN: usize = 4 << 10;
/// The most that a socket's buffers can be set to; the kernel may give less.
pub const SOCKET_BUFFER_MAX: usize = 1 << 30;
/// The shortest interval of heartbeats and reports; more frequent ones would be a load of their own.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
/// The longest interval of heartbeats; with rarer ones a death would be detected too late.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(60);
/// The longest silence on a connection before its peer counts as gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(300);
/// The shortest pause between attempts.
pub const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The longest pause between attempts to reach a peer.
pub const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// The longest `net.linger`.
pub const LINGER_MAX: Duration = Duration::from_millis(100);
/// The least time that a worker has to start.
pub const START_MIN: Duration = Duration::from_secs(1);
/// The shortest session with a coordination service; a shorter one would end whenever a machine is busy.
pub const SESSION_MIN: Duration = Duration::from_secs(1);
/// The longest: after it, what a dead process held would stay for too long.
pub const SESSION_MAX: Duration = Duration::from_secs(60 * 60);
/// The least time that connecting to a coordination service may take, and between two full reads.
pub const CONNECT_MIN: Duration = Duration::from_millis(100);

/// Key groups by default.
pub const KEY_GROUPS_DEFAULT: u32 = 1024;
/// Key groups at most, as in Flink.
pub const KEY_GROUPS_MAX: u32 = 32_768;

const _: () = assert!(TASKS_MAX <= ids::SPOUT_TASK_MAX, "a root id names its spout task");
const _: () = assert!(SPOUT_PENDING_MAX <= ids::SLOTS_MAX, "each open message may need a slot");
const _: () = assert!(PARALLELISM_MAX <= TASKS_MAX);
const _: () = assert!(KEY_GROUPS_MAX >= PARALLELISM_MAX, "each task can own a key group");
const _: () = assert!(BLOCK_MESSAGES_MAX <= 64, "failed messages of a block are a 64-bit mask");
const _: () = assert!(BATCH_MAX <= LINK_CAPACITY_MAX, "a full batch fits a link");
const _: () = assert!(CHECKPOINT_INTERVAL_MIN.as_nanos() < CHECKPOINT_INTERVAL_MAX.as_nanos());
const _: () = assert!(CHECKPOINT_INTERVAL_MAX.as_nanos() <= DURATION_MAX.as_nanos());
const _: () = assert!(FRAME_MAX <= u32::MAX as usize, "a frame's length is 32 bits");
const _: () = assert!(TUPLE_SIZE_MAX + BATCH_HEAP_MAX as u64 + FRAME_OVERHEAD_MAX <= FRAME_MAX as u64);
