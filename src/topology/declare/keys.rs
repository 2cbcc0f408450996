//! Every key that squall itself understands, once: what reads it, what describes it to editors
//! and what suggests it for a misspelt one all come from these tables. A component's own `config`
//! is described by its settings struct instead. The keys of components are in `component_keys`, those of the
//! engine's file in `engine_keys`.

use std::path::PathBuf;

use crate::config::{ChainMode, CheckpointMode, StateBackendKind, TopologyOptions, limits};
use crate::topology::declare::scheduling_keys::SCHEDULING;

pub(crate) use crate::topology::declare::key::{Key, Shape};

pub(super) const CHAIN_MODES: &[&str] = &["auto", "off"];

pub(super) fn chain_mode(word: &str) -> ChainMode {
    if word == "off" { ChainMode::Off } else { ChainMode::Auto }
}

type TopologyKey = Key<TopologyOptions>;

/// `[topology]`.
pub(crate) static TOPOLOGY: &[TopologyKey] = &[
    Key { path: "name", doc: "The name of the topology.", default: "required", shape: Shape::Special },
    Key {
        path: "delivery",
        doc: "What happens to a tuple when something fails: `at-most-once`, `at-least-once` or `exactly-once`.",
        default: "\"at-least-once\"",
        shape: Shape::Special,
    },
    Key {
        path: "workers",
        doc: "Worker processes; 1 runs in the process that starts it.",
        default: "1",
        shape: Shape::Count(1, limits::WORKERS_MAX as u32, |o, v| o.workers = v),
    },
    Key {
        path: "include",
        doc: "Other files that belong to the topology, relative to this one.",
        default: "[]",
        shape: Shape::Special,
    },
    Key {
        path: "ackers",
        doc: "Tasks that follow tuple trees; auto is one per worker that has spouts.",
        default: "\"auto\"",
        shape: Shape::AutoOrCount(1, limits::PARALLELISM_MAX, |o, v| o.ackers = v),
    },
    Key {
        path: "message_timeout",
        doc: "A message whose tree is not done after so long fails.",
        default: "\"30s\"",
        shape: Shape::PeriodOrOff(|o, v| o.message_timeout = v),
    },
    Key {
        path: "max_spout_pending",
        doc: "Messages that one spout task may have open; auto follows the completion latency.",
        default: "\"auto\"",
        shape: Shape::AutoOrCount(1, limits::SPOUT_PENDING_MAX, |o, v| o.max_spout_pending = v),
    },
    Key {
        path: "max_replays",
        doc: "After so many replays a tuple that fails goes to the dead-letter stream of the bolt that fails it, or its message is given up.",
        default: "10 where the input ends, no limit elsewhere",
        shape: Shape::CountOrOff(0, u32::MAX, |o, v| o.max_replays = Some(v.unwrap_or(u32::MAX))),
    },
    Key {
        path: "threads",
        doc: "Driver threads, at most; auto is one per core. Where fewer execute more tuples, the others rest.",
        default: "\"auto\"",
        shape: Shape::AutoOrCount(1, limits::THREADS_MAX, |o, v| o.threads = v),
    },
    Key {
        path: "drain_timeout",
        doc: "How long an orderly end may take before it is cut short.",
        default: "\"30s\"",
        shape: Shape::Period(|o, v| o.drain_timeout = v),
    },
    Key {
        path: "max_task_parallelism",
        doc: "A cap on the tasks of every component, for tests.",
        default: "no cap",
        shape: Shape::Count(1, limits::PARALLELISM_MAX, |o, v| o.max_task_parallelism = Some(v)),
    },
    Key {
        path: "key_groups",
        doc: "Into how many groups fields grouping hashes keys.",
        default: "1024",
        shape: Shape::Count(1, limits::KEY_GROUPS_MAX, |o, v| o.key_groups = v),
    },
    Key {
        path: "load_aware",
        doc: "Whether shuffle prefers targets with credit and short queues.",
        default: "true",
        shape: Shape::Switch(|o, v| o.load_aware = v),
    },
    Key {
        path: "chain",
        doc: "Whether neighbours run fused in one executor where that is faster (`auto`), or never (`off`).",
        default: "\"auto\"",
        shape: Shape::OneOf(CHAIN_MODES, |o, v| o.chain = chain_mode(v)),
    },
    Key {
        path: "tick",
        doc: "How often bolts are ticked that set no `tick` of their own.",
        default: "\"off\"",
        shape: Shape::PeriodOrOff(|o, v| o.tick = v),
    },
    Key {
        path: "watermark_interval",
        doc: "How often a component with `event_time` lets those behind it know how far event time is. When it has nothing to emit, it lets them know at once.",
        default: "\"200ms\"",
        shape: Shape::Period(|o, v| o.watermark_interval = v),
    },
    Key {
        path: "start_inactive",
        doc: "Whether nothing is opened before the topology is activated.",
        default: "false",
        shape: Shape::Switch(|o, v| o.start_inactive = v),
    },
    Key {
        path: "hooks",
        doc: "Registered hooks that watch every task of the topology.",
        default: "[]",
        shape: Shape::Special,
    },
    Key {
        path: "queue",
        doc: "How much may be on its way between tasks.",
        default: "see below",
        shape: Shape::Nested(QUEUE),
    },
    Key {
        path: "replay",
        doc: "When messages that failed are replayed.",
        default: "see below",
        shape: Shape::Nested(REPLAY),
    },
    Key {
        path: "checkpoint",
        doc: "How often checkpoints are taken with `exactly-once`, and where they are stored.",
        default: "see below",
        shape: Shape::Nested(CHECKPOINT),
    },
    Key {
        path: "batch",
        doc: "Micro-batches with `exactly-once`: how long each takes in input, and how many are under way at once.",
        default: "no batches",
        shape: Shape::Nested(BATCH),
    },
    Key {
        path: "errors",
        doc: "How errors of components are reported, and how a broken task comes back.",
        default: "see below",
        shape: Shape::Nested(ERRORS),
    },
    Key {
        path: "watchdog",
        doc: "What is noticed about calls that overstay.",
        default: "see below",
        shape: Shape::Nested(WATCHDOG),
    },
    Key {
        path: "scheduling",
        doc: "How a cluster chooses the hosts of the topology.",
        default: "see below",
        shape: Shape::Nested(SCHEDULING),
    },
    Key {
        path: "settings",
        doc: "Free values that components read.",
        default: "{}",
        shape: Shape::Free(|o, v| o.settings = v),
    },
];

static QUEUE: &[TopologyKey] = &[
    Key {
        path: "queue.batch",
        doc: "Tuples in a full batch.",
        default: "512",
        shape: Shape::Count(1, limits::BATCH_MAX, |o, v| o.queue.batch = v),
    },
    Key {
        path: "queue.capacity",
        doc: "Tuples that may be on their way over one link, from one executor to another.",
        default: "4096",
        shape: Shape::Count(1, limits::LINK_CAPACITY_MAX, |o, v| o.queue.capacity = v),
    },
    Key {
        path: "queue.memory",
        doc: "Bytes that may be on their way in one worker, over all links.",
        default: "\"64MiB\"",
        shape: Shape::Size(|o, v| o.queue.memory = v),
    },
    Key {
        path: "queue.tuple_size_max",
        doc: "Bytes that one tuple may have.",
        default: "\"8MiB\"",
        shape: Shape::Size(|o, v| o.queue.tuple_size_max = v),
    },
];

static REPLAY: &[TopologyKey] = &[
    Key {
        path: "replay.backoff_min",
        doc: "The pause before a message that failed once is replayed; each is twice the one before.",
        default: "\"10ms\"",
        shape: Shape::Period(|o, v| o.replay.backoff_min = v),
    },
    Key {
        path: "replay.backoff_max",
        doc: "The longest such pause.",
        default: "\"10s\"",
        shape: Shape::Period(|o, v| o.replay.backoff_max = v),
    },
];

static CHECKPOINT: &[TopologyKey] = &[
    Key {
        path: "checkpoint.interval",
        doc: "The time from the begin of one checkpoint to the begin of the next.",
        default: "\"10s\"",
        shape: Shape::Period(|o, v| o.checkpoint.interval = v),
    },
    Key {
        path: "checkpoint.min_pause",
        doc: "The least time between the end of one checkpoint and the begin of the next.",
        default: "\"0ms\"",
        shape: Shape::Period(|o, v| o.checkpoint.min_pause = v),
    },
    Key {
        path: "checkpoint.timeout",
        doc: "A checkpoint that takes longer is given up.",
        default: "\"10min\"",
        shape: Shape::Period(|o, v| o.checkpoint.timeout = v),
    },
    Key {
        path: "checkpoint.alignment_timeout",
        doc: "A barrier that waits longer overtakes the tuples that it waits for, and they become a part of the checkpoint.",
        default: "\"off\"",
        shape: Shape::PeriodOrOff(|o, v| o.checkpoint.alignment_timeout = v),
    },
    Key {
        path: "checkpoint.max_concurrent",
        doc: "How many checkpoints may be under way at once. They become complete in their order.",
        default: "1",
        shape: Shape::Count(1, limits::CHECKPOINTS_CONCURRENT_MAX, |o, v| o.checkpoint.max_concurrent = v),
    },
    Key {
        path: "checkpoint.retain",
        doc: "How many complete checkpoints are kept; older ones are deleted.",
        default: "3",
        shape: Shape::Count(1, limits::CHECKPOINTS_RETAINED_MAX, |o, v| o.checkpoint.retain = v),
    },
    Key {
        path: "checkpoint.storage",
        doc: "The directory in which the checkpoints of this topology are stored.",
        default: "`$XDG_STATE_HOME/squall/<topology>/checkpoints`",
        shape: Shape::Text("the path of a directory", |o, v| {
            o.checkpoint.storage = Some(PathBuf::from(v));
            Ok(())
        }),
    },
    Key {
        path: "checkpoint.wal_storage",
        doc: "The directory in which the write-ahead logs of this topology are stored, for spouts with `wal = true`.",
        default: "`storage`, with `-wal` behind it",
        shape: Shape::Text("the path of a directory", |o, v| {
            o.checkpoint.wal_storage = Some(PathBuf::from(v));
            Ok(())
        }),
    },
    Key {
        path: "checkpoint.mode",
        doc: "Whether an input waits for the others at a barrier (`exactly-once`), or not (`at-least-once`): lower latency, but after a recovery tuples may be processed twice.",
        default: "\"exactly-once\"",
        shape: Shape::OneOf(&["exactly-once", "at-least-once"], |o, v| {
            o.checkpoint.mode = match v {
                "at-least-once" => CheckpointMode::AtLeastOnce,
                _ => CheckpointMode::ExactlyOnce,
            };
        }),
    },
];

static BATCH: &[TopologyKey] = &[
    Key {
        path: "batch.interval",
        doc: "How long a batch takes in input.",
        default: "\"500ms\"",
        shape: Shape::Period(|o, v| o.batch.get_or_insert_default().interval = v),
    },
    Key {
        path: "batch.max_pending",
        doc: "How many batches may be under way at once. They are committed in their order.",
        default: "3",
        shape: Shape::Count(1, limits::CHECKPOINTS_CONCURRENT_MAX, |o, v| {
            o.batch.get_or_insert_default().max_pending = v;
        }),
    },
];

/// `[state]`, which stands beside `[topology]`.
pub(crate) static STATE: &[TopologyKey] = &[
    Key {
        path: "state.backend",
        doc: "What keeps the state of bolts while they run: `memory`, or `redb` for state that is larger than memory.",
        default: "\"memory\"",
        shape: Shape::OneOf(StateBackendKind::NAMES, |o, v| o.state.backend = StateBackendKind::named(v)),
    },
    Key {
        path: "state.memory",
        doc: "How much of its state each task keeps in memory, about, with `redb`.",
        default: "\"64MiB\"",
        shape: Shape::Size(|o, v| o.state.memory = v),
    },
    Key {
        path: "state.directory",
        doc: "The directory of the files in which `redb` keeps what is not in memory.",
        default: "`$XDG_STATE_HOME/squall`",
        shape: Shape::Text("the path of a directory", |o, v| {
            o.state.directory = Some(PathBuf::from(v));
            Ok(())
        }),
    },
];

static ERRORS: &[TopologyKey] = &[
    Key {
        path: "errors.limit",
        doc: "Reports per interval and component; the rest is counted.",
        default: "5",
        shape: Shape::Count(0, u32::MAX, |o, v| o.errors.limit = v),
    },
    Key {
        path: "errors.interval",
        doc: "The interval of `limit`.",
        default: "\"10s\"",
        shape: Shape::Period(|o, v| o.errors.interval = v),
    },
    Key {
        path: "errors.restart_min",
        doc: "The first pause before a task that panicked is built again; each is twice the one before.",
        default: "\"100ms\"",
        shape: Shape::Period(|o, v| o.errors.restart_min = v),
    },
    Key {
        path: "errors.restart_max",
        doc: "The longest such pause.",
        default: "\"30s\"",
        shape: Shape::Period(|o, v| o.errors.restart_max = v),
    },
];

static WATCHDOG: &[TopologyKey] = &[Key {
    path: "watchdog.step",
    doc: "A call into a component that takes longer is named in the log, and its thread is replaced.",
    default: "\"1s\"",
    shape: Shape::Period(|o, v| o.watchdog.step = v),
}];

/// An item of `inputs` that is a table.
pub(crate) static INPUT: &[(&str, &str)] = &[
    ("from", "The component it takes tuples from, as `id` or `id.stream`."),
    ("stream", "The stream of that component."),
    ("grouping", "How tuples are spread over the tasks of the bolt."),
    ("fields", "The fields to group by."),
    ("custom", "The registered grouping of the user's own."),
    ("config", "The settings of the registered grouping."),
    ("feedback", "Whether the input is meant to close a cycle."),
];

/// The groupings by the names they have in documents.
pub(crate) const GROUPINGS: &[&str] =
    &["shuffle", "fields", "partial-key", "all", "global", "none", "local-or-shuffle", "direct", "custom"];

/// Keys and tables that come with later versions.
pub(super) const LATER: &[&str] = &["stream", "test", "drpc", "streams"];

/// What other systems and earlier drafts call a key.
pub(super) const OTHER_NAMES: &[(&str, &str)] = &[
    ("guarantee", "delivery"),
    ("guarantees", "delivery"),
    ("semantics", "delivery"),
    ("parallelism_hint", "parallelism"),
    ("executors", "parallelism"),
    ("num_executors", "parallelism"),
    ("threads", "parallelism"),
    ("num_tasks", "tasks"),
    ("acker_executors", "ackers"),
    ("num_workers", "workers"),
    ("message_timeout_secs", "message_timeout"),
    ("timeout", "message_timeout"),
    ("auto_task_hooks", "hooks"),
    ("hook", "hooks"),
    ("max_pending", "max_spout_pending"),
    ("tick_tuple_freq_secs", "tick"),
    ("input", "inputs"),
    ("groupings", "grouping"),
    ("component", "from"),
    ("source", "from"),
    ("stream_id", "stream"),
    ("includes", "include"),
    ("kind", "type"),
    ("class", "type"),
    ("options", "config"),
    ("args", "config"),
    ("favored_nodes", "favor"),
    ("unfavored_nodes", "avoid"),
    ("spread_components", "spread"),
    ("isolate_machines", "isolate"),
    ("cores", "cpu"),
    ("memory_mb", "memory"),
    // Of the engine's file.
    ("address", "listen"),
    ("bind", "listen"),
    ("host", "listen"),
    ("port", "listen"),
    ("max_frame", "frame_max"),
    ("max_frame_size", "frame_max"),
    ("min_wait_ms", "reconnect_min"),
    ("max_wait_ms", "reconnect_max"),
    ("heartbeat_interval", "heartbeat"),
    ("worker_timeout", "heartbeat_timeout"),
    ("buffer_size", "send_buffer"),
    ("cert", "certificate"),
    ("certificate_file", "certificate"),
    ("keystore", "certificate"),
    ("private_key", "key"),
    ("key_file", "key"),
    ("ca", "authority"),
    ("ca_file", "authority"),
    ("truststore", "authority"),
];
