//! Every key of `[spout.ID]` and `[bolt.ID]`, once, as `keys` has those of `[topology]`.

use crate::config::units::parse_range;
use crate::config::{AfterRetries, ComponentOptions, EventTimeOptions, StateBackendKind, limits};
use crate::topology::declare::keys::{CHAIN_MODES, Key, Shape, chain_mode};
use crate::topology::declare::scheduling_keys::RESOURCES as RESOURCES_KEYS;
use crate::topology::registry::Kind;

type ComponentKey = Key<ComponentOptions>;

static TYPE: ComponentKey =
    Key { path: "type", doc: "The registered component type.", default: "required", shape: Shape::Special };
static PARALLELISM: ComponentKey = Key {
    path: "parallelism",
    doc: "Executors.",
    default: "1",
    shape: Shape::Count(1, limits::PARALLELISM_MAX, |o, v| o.parallelism = v),
};
static TASKS: ComponentKey = Key {
    path: "tasks",
    doc: "Instances, spread evenly over the executors; at least as many as these.",
    default: "one per executor",
    shape: Shape::Count(1, limits::PARALLELISM_MAX, |o, v| o.tasks = Some(v)),
};
static BLOCKING: ComponentKey = Key {
    path: "blocking",
    doc: "Whether the component waits in its calls, so that each executor gets a thread of its own.",
    default: "by type",
    shape: Shape::Switch(|o, v| o.blocking = v),
};
static CHAIN: ComponentKey = Key {
    path: "chain",
    doc: "Whether the component may run fused with its producer and its consumer (`auto`) or not (`off`).",
    default: "the topology's",
    shape: Shape::OneOf(CHAIN_MODES, |o, v| o.chain = Some(chain_mode(v))),
};
static RESOURCES: ComponentKey = Key {
    path: "resources",
    doc: "What each task needs. A cluster chooses hosts by it.",
    default: "see below",
    shape: Shape::Nested(RESOURCES_KEYS),
};
static SETTINGS: ComponentKey = Key {
    path: "settings",
    doc: "Free values, laid over those of the topology.",
    default: "{}",
    shape: Shape::Free(|o, v| o.settings = v),
};
static CONFIG: ComponentKey = Key {
    path: "config",
    doc: "The settings of the component's type.",
    default: "by type",
    shape: Shape::Special,
};
static HOOKS: ComponentKey = Key {
    path: "hooks",
    doc: "Registered hooks that watch the tasks of the component, beside those of the topology.",
    default: "[]",
    shape: Shape::Special,
};
static SPOUT_PENDING: ComponentKey = Key {
    path: "max_spout_pending",
    doc: "Messages that one task may have open, instead of the topology's.",
    default: "the topology's",
    shape: Shape::AutoOrCount(1, limits::SPOUT_PENDING_MAX, |o, v| o.max_spout_pending = Some(v)),
};
static WAL: ComponentKey = Key {
    path: "wal",
    doc: "Whether what the spout reads goes through a write-ahead log, because it cannot be read again. With `delivery = \"exactly-once\"` only.",
    default: "false",
    shape: Shape::Switch(|o, v| o.wal = v),
};
static INPUTS: ComponentKey = Key {
    path: "inputs",
    doc: "The streams that the bolt takes.",
    default: "required",
    shape: Shape::Special,
};
static TICK: ComponentKey = Key {
    path: "tick",
    doc: "How often the bolt is ticked, instead of the topology's.",
    default: "the topology's",
    shape: Shape::Period(|o, v| o.tick = Some(v)),
};
static MAX_REPLAYS: ComponentKey = Key {
    path: "max_replays",
    doc: "After so many replays a tuple that this bolt fails goes to its dead-letter stream, or its message is given up.",
    default: "the topology's",
    shape: Shape::CountOrOff(0, u32::MAX, |o, v| o.max_replays = Some(v.unwrap_or(u32::MAX))),
};

static ON_ERROR: ComponentKey = Key {
    path: "on_error",
    doc: "What happens when a call of the bolt fails for a tuple.",
    default: "see below",
    shape: Shape::Nested(ON_ERROR_KEYS),
};
static ON_ERROR_KEYS: &[ComponentKey] = &[
    Key {
        path: "on_error.retry",
        doc: "How often the call is made again with the same tuple; meanwhile the task executes no other.",
        default: "0",
        shape: Shape::Count(0, limits::CALL_RETRIES_MAX, |o, v| o.on_error.get_or_insert_default().retry = v),
    },
    Key {
        path: "on_error.backoff",
        doc: "The pause before the first of these calls and the longest such pause; each is twice the one before.",
        default: "\"200ms..10s\"",
        shape: Shape::Text("two durations, as \"200ms..10s\"", |o, v| {
            let on_error = o.on_error.get_or_insert_default();
            (on_error.backoff_min, on_error.backoff_max) = parse_range(v)?;
            Ok(())
        }),
    },
    Key {
        path: "on_error.then",
        doc: "What happens when the last of these calls failed: the tuple fails, so that its message is replayed or it is given up (`fail`), goes to the bolt's dead-letter stream (`dead-letter`), or the run ends (`stop`).",
        default: "\"fail\"",
        shape: Shape::OneOf(&["fail", "dead-letter", "stop"], |o, v| {
            o.on_error.get_or_insert_default().then = match v {
                "dead-letter" => AfterRetries::DeadLetter,
                "stop" => AfterRetries::Stop,
                _ => AfterRetries::Fail,
            };
        }),
    },
];

static EVENT_TIME: ComponentKey = Key {
    path: "event_time",
    doc: "Where the time stands in what the component emits, so that everything behind it knows how far event time is.",
    default: "that of its inputs",
    shape: Shape::Nested(EVENT_TIME_KEYS),
};
static EVENT_TIME_KEYS: &[ComponentKey] = &[
    Key {
        path: "event_time.field",
        doc: "The field that has the time, in each stream of the component that has this field.",
        default: "required",
        shape: Shape::Text("the name of a field", |o, v| {
            event_time(o).field = v.to_owned();
            Ok(())
        }),
    },
    Key {
        path: "event_time.format",
        doc: "How a text or a number is read: `unix`, `unix_ms`, `unix_us` and `unix_ns` are numbers since 1970, anything else is a format of strftime.",
        default: "RFC 3339, or a number since 1970 whose magnitude shows its unit",
        shape: Shape::Text("a format, as \"unix_ms\" or \"%Y-%m-%d %H:%M:%S %z\"", |o, v| {
            event_time(o).format = Some(v.to_owned());
            Ok(())
        }),
    },
    Key {
        path: "event_time.time_zone",
        doc: "The zone of times that name none: `UTC`, an offset as `+02:00`, or a name as `Europe/Berlin`.",
        default: "each time names its zone",
        shape: Shape::Text("a time zone, as \"UTC\" or \"Europe/Berlin\"", |o, v| {
            event_time(o).time_zone = Some(v.to_owned());
            Ok(())
        }),
    },
    Key {
        path: "event_time.max_out_of_order",
        doc: "How much later than a tuple one may come that happened before it: the watermark stays so far behind the greatest time seen. What comes later still is late.",
        default: "\"0s\"",
        shape: Shape::Period(|o, v| event_time(o).max_out_of_order = v),
    },
    Key {
        path: "event_time.idle_after",
        doc: "When a split, or a task, that brings nothing is not waited for any more; the time in which it could not emit does not count. `off`: it is waited for until it ends.",
        default: "\"off\"",
        shape: Shape::PeriodOrOff(|o, v| event_time(o).idle_after = v),
    },
];

fn event_time(options: &mut ComponentOptions) -> &mut EventTimeOptions {
    options.event_time.get_or_insert_default()
}

static STATE: ComponentKey = Key {
    path: "state",
    doc: "What keeps the state of the bolt while it runs; overrides `[state]`.",
    default: "as `[state]` has it",
    shape: Shape::Nested(STATE_KEYS),
};
static STATE_KEYS: &[ComponentKey] = &[
    Key {
        path: "state.backend",
        doc: "`memory`, or `redb` for state that is larger than memory.",
        default: "that of `[state]`",
        shape: Shape::OneOf(StateBackendKind::NAMES, |o, v| {
            o.state.backend = Some(StateBackendKind::named(v));
        }),
    },
    Key {
        path: "state.memory",
        doc: "How much of its state each task of the bolt keeps in memory, about, with `redb`.",
        default: "that of `[state]`",
        shape: Shape::Size(|o, v| o.state.memory = Some(v)),
    },
];

static SPOUT: &[&ComponentKey] = &[
    &TYPE,
    &PARALLELISM,
    &TASKS,
    &BLOCKING,
    &WAL,
    &CHAIN,
    &SPOUT_PENDING,
    &EVENT_TIME,
    &RESOURCES,
    &HOOKS,
    &SETTINGS,
    &CONFIG,
];
static BOLT: &[&ComponentKey] = &[
    &TYPE,
    &INPUTS,
    &PARALLELISM,
    &TASKS,
    &BLOCKING,
    &CHAIN,
    &TICK,
    &MAX_REPLAYS,
    &ON_ERROR,
    &STATE,
    &EVENT_TIME,
    &RESOURCES,
    &HOOKS,
    &SETTINGS,
    &CONFIG,
];

/// `[spout.ID]` or `[bolt.ID]`.
pub(crate) fn component(kind: Kind) -> &'static [&'static ComponentKey] {
    match kind {
        Kind::Spout => SPOUT,
        Kind::Bolt => BOLT,
    }
}
