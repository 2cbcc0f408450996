//! Numbers within their bounds, and bounds that depend on each other.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use crate::config::limits::{self, DURATION_MAX};
use crate::config::units::{show_duration, show_size};
use crate::config::{
    AfterRetries, AutoOr, BatchOptions, CheckpointOptions, Delivery, StateOptions, TopologyOptions,
};
use crate::ids::DEAD_LETTER_STREAM;
use crate::topology::draft::{Draft, DraftInput};
use crate::topology::graph::Grouping;
use crate::topology::queue_shares::{Crew, NoShares, QueuePlaces};
use crate::topology::suggest::shown;
use crate::topology::validate::problem::{ById, InputPart, Problem, Site, named};

pub(super) fn problems(draft: &Draft, by_id: &ById<'_>) -> Vec<Problem> {
    let mut problems = topology_problems(&draft.options);
    for at in 0..draft.components.len() {
        problems.extend(component_problems(draft, at));
    }
    problems.extend(too_many_tasks(draft));
    if problems.is_empty() {
        problems.extend(queues_over_memory(draft, by_id));
    }
    problems
}

fn topology_problems(options: &TopologyOptions) -> Vec<Problem> {
    let count = |key, value: u64, min: u64, max: u64| within(Site::Option(key), key, value, min, max);
    let of = |value: AutoOr<u32>| match value {
        AutoOr::Auto => 1,
        AutoOr::Fixed(value) => u64::from(value),
    };
    let period = |key, value: Duration, min: Duration| lasting(Site::Option(key), key, value, min);
    let least = Duration::from_millis(1);
    let queue = &options.queue;
    let checks = [
        count("workers", options.workers.into(), 1, limits::WORKERS_MAX.into()),
        acker_problem(options),
        count("max_spout_pending", of(options.max_spout_pending), 1, limits::SPOUT_PENDING_MAX.into()),
        count("threads", of(options.threads), 1, limits::THREADS_MAX.into()),
        count("key_groups", options.key_groups.into(), 1, limits::KEY_GROUPS_MAX.into()),
        options
            .max_task_parallelism
            .and_then(|cap| count("max_task_parallelism", cap.into(), 1, limits::PARALLELISM_MAX.into())),
        options.message_timeout.and_then(|value| period("message_timeout", value, least)),
        options.tick.and_then(|value| period("tick", value, least)),
        period("watermark_interval", options.watermark_interval, least),
        period("drain_timeout", options.drain_timeout, Duration::ZERO),
        count("queue.batch", queue.batch.into(), 1, limits::BATCH_MAX.into()),
        count("queue.capacity", queue.capacity.into(), 1, limits::LINK_CAPACITY_MAX.into()),
        count("queue.tuple_size_max", queue.tuple_size_max, 1, limits::TUPLE_SIZE_MAX),
        batch_over_capacity(options),
        tuple_over_memory(options),
        period("replay.backoff_min", options.replay.backoff_min, least),
        period("replay.backoff_max", options.replay.backoff_max, options.replay.backoff_min.max(least)),
        period("errors.interval", options.errors.interval, least),
        period("errors.restart_min", options.errors.restart_min, least),
        period("errors.restart_max", options.errors.restart_max, options.errors.restart_min.max(least)),
        period("watchdog.step", options.watchdog.step, least),
    ];
    let further = checkpoint_problems(&options.checkpoint)
        .chain(batch_problems(options))
        .chain(state_problems(&options.state));
    checks.into_iter().flatten().chain(further).collect()
}

fn state_problems(state: &StateOptions) -> impl Iterator<Item = Problem> {
    let directory = state.directory.as_ref();
    let checks = [
        state_memory(Site::Option("state.memory"), "state.memory", state.memory),
        directory.and_then(|path| no_path("state.directory", path)),
    ];
    checks.into_iter().flatten()
}

fn state_memory(site: Site, what: &str, value: u64) -> Option<Problem> {
    within(site, what, value, limits::STATE_MEMORY_MIN, limits::STATE_MEMORY_MAX)
}

/// What is wrong with an option that is the path of a directory.
fn no_path(key: &'static str, path: &Path) -> Option<Problem> {
    path.as_os_str().is_empty().then(|| {
        let message = format!("`{key}` is empty, and must be the path of a directory");
        Problem::new(Site::Option(key), message).help("leave it out for the default directory".to_owned())
    })
}

fn checkpoint_problems(checkpoint: &CheckpointOptions) -> impl Iterator<Item = Problem> {
    let period = |key, value: Duration, min: Duration, max: Duration| {
        lasting_within(Site::Option(key), key, value, (min, max))
    };
    let (shortest, longest) = (limits::CHECKPOINT_INTERVAL_MIN, limits::CHECKPOINT_INTERVAL_MAX);
    let retain = ("checkpoint.retain", u64::from(checkpoint.retain));
    let concurrent = ("checkpoint.max_concurrent", u64::from(checkpoint.max_concurrent));
    let checks = [
        period("checkpoint.interval", checkpoint.interval, shortest, longest),
        period("checkpoint.min_pause", checkpoint.min_pause, Duration::ZERO, DURATION_MAX),
        period("checkpoint.timeout", checkpoint.timeout, Duration::from_millis(1), DURATION_MAX),
        within(Site::Option(retain.0), retain.0, retain.1, 1, limits::CHECKPOINTS_RETAINED_MAX.into()),
        within(
            Site::Option(concurrent.0),
            concurrent.0,
            concurrent.1,
            1,
            limits::CHECKPOINTS_CONCURRENT_MAX.into(),
        ),
        pause_between_concurrent(checkpoint),
        checkpoint.alignment_timeout.and_then(|timeout| {
            period("checkpoint.alignment_timeout", timeout, Duration::ZERO, DURATION_MAX)
        }),
        checkpoint.storage.as_ref().and_then(|path| no_path("checkpoint.storage", path)),
        checkpoint.wal_storage.as_ref().and_then(|path| no_path("checkpoint.wal_storage", path)),
    ];
    checks.into_iter().flatten()
}

fn batch_problems(options: &TopologyOptions) -> impl Iterator<Item = Problem> {
    let BatchOptions { interval, max_pending } = options.batch.unwrap_or_default();
    let (shortest, longest) = (limits::CHECKPOINT_INTERVAL_MIN, limits::CHECKPOINT_INTERVAL_MAX);
    let (key, pending) = ("batch.max_pending", u64::from(max_pending));
    let checks = [
        lasting_within(Site::Option("batch.interval"), "batch.interval", interval, (shortest, longest)),
        within(Site::Option(key), key, pending, 1, limits::CHECKPOINTS_CONCURRENT_MAX.into()),
    ];
    checks.into_iter().flatten()
}

fn pause_between_concurrent(checkpoint: &CheckpointOptions) -> Option<Problem> {
    let CheckpointOptions { min_pause, max_concurrent, .. } = checkpoint;
    (*max_concurrent > 1 && !min_pause.is_zero()).then(|| {
        let message = format!(
            "no pause fits between checkpoints that overlap: `checkpoint.min_pause` is {min_pause:?}, `checkpoint.max_concurrent` {max_concurrent}"
        );
        Problem::new(Site::Option("checkpoint.min_pause"), message).help("leave one of the two out".to_owned())
    })
}

fn acker_problem(options: &TopologyOptions) -> Option<Problem> {
    let AutoOr::Fixed(ackers) = options.ackers else { return None };
    let problem = within(Site::Option("ackers"), "ackers", ackers.into(), 1, limits::PARALLELISM_MAX.into())?;
    let off = "to track nothing, set `delivery = \"at-most-once\"`".to_owned();
    Some(if ackers == 0 { problem.help(off) } else { problem })
}

fn batch_over_capacity(options: &TopologyOptions) -> Option<Problem> {
    let (batch, capacity) = (options.queue.batch, options.queue.capacity);
    (batch > capacity).then(|| {
        let message = format!(
            "a full batch does not fit a link: `queue.batch` is {batch}, `queue.capacity` {capacity}"
        );
        Problem::new(Site::Option("queue.capacity"), message)
            .help(format!("set `queue.batch` to {capacity} or less"))
    })
}

fn tuple_over_memory(options: &TopologyOptions) -> Option<Problem> {
    let (size, memory) = (options.queue.tuple_size_max, options.queue.memory);
    (size > memory).then(|| {
        let message = format!(
            "a tuple of `queue.tuple_size_max` ({size} bytes) would not fit `queue.memory` ({memory} bytes)"
        );
        Problem::new(Site::Option("queue.memory"), message)
    })
}

fn component_problems(draft: &Draft, at: usize) -> Vec<Problem> {
    let options = &draft.components[at].options;
    let key = |key, value: u32, max| {
        let what = format!("{key} of {}", named(draft, at));
        within(Site::Key(at, key), &what, value.into(), 1, u64::from(max))
    };
    let tick = options.tick.and_then(|tick| {
        let what = format!("tick of {}", named(draft, at));
        lasting(Site::Key(at, "tick"), &what, tick, Duration::from_millis(1))
    });
    let pending = match options.max_spout_pending {
        Some(AutoOr::Fixed(pending)) => key("max_spout_pending", pending, limits::SPOUT_PENDING_MAX),
        Some(AutoOr::Auto) | None => None,
    };
    let parallelism = key("parallelism", options.parallelism, limits::PARALLELISM_MAX);
    let tasks = options.tasks.and_then(|tasks| key("tasks", tasks, limits::PARALLELISM_MAX));
    let sound = parallelism.is_none() && tasks.is_none();
    let relations = if sound { task_relations(draft, at) } else { Vec::new() };
    let memory = options.state.memory.and_then(|memory| {
        state_memory(Site::Key(at, "state"), &format!("state.memory of {}", named(draft, at)), memory)
    });
    let problems = [parallelism, tasks, tick, pending, memory].into_iter().flatten();
    problems.chain(on_error_problems(draft, at)).chain(relations).collect()
}

/// What is wrong with `on_error` of a bolt.
fn on_error_problems(draft: &Draft, at: usize) -> Vec<Problem> {
    let component = &draft.components[at];
    let options = &component.options;
    let Some(on_error) = options.on_error else { return Vec::new() };
    let site = || Site::Key(at, "on_error");
    let what = |key: &str| format!("on_error.{key} of {}", named(draft, at));
    let least = Duration::from_millis(1);
    let letters = on_error.then == AfterRetries::DeadLetter;
    let takes = |input: &DraftInput| input.component == component.id && input.stream == DEAD_LETTER_STREAM;
    let is_taken = || draft.components.iter().any(|other| other.inputs().iter().any(takes));
    let goes_nowhere = (letters && !is_taken()).then(|| {
        let id = shown(&component.id);
        let message = format!(
            "{} sends tuples to its dead-letter stream, and no bolt takes `{id}.{DEAD_LETTER_STREAM}`",
            named(draft, at)
        );
        let help = format!("add a bolt with the input `{id}.{DEAD_LETTER_STREAM}`, or set `then = \"fail\"`");
        Problem::new(site(), message).help(help)
    });
    let own_stream = component.streams().is_some_and(|streams| streams.get(DEAD_LETTER_STREAM).is_some());
    let no_letters = (letters && own_stream).then(|| {
        let message = format!(
            "{} declares a stream `{DEAD_LETTER_STREAM}` of its own, so it has no dead letters",
            named(draft, at)
        );
        Problem::new(site(), message).help("set `then = \"fail\"` or `\"stop\"`".to_owned())
    });
    let two_limits = (letters && options.max_replays.is_some()).then(|| {
        let message = format!(
            "{} has `max_replays`, and with `on_error.then = \"dead-letter\"` none of its tuples is replayed",
            named(draft, at)
        );
        Problem::new(Site::Key(at, "max_replays"), message).help("leave out one of them".to_owned())
    });
    [
        within(site(), &what("retry"), on_error.retry.into(), 0, limits::CALL_RETRIES_MAX.into()),
        lasting(site(), &what("backoff"), on_error.backoff_min, least),
        lasting(site(), &what("backoff"), on_error.backoff_max, on_error.backoff_min.max(least)),
        goes_nowhere,
        no_letters,
        two_limits,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What must hold between a component's tasks, its executors and the key groups.
fn task_relations(draft: &Draft, at: usize) -> Vec<Problem> {
    let component = &draft.components[at];
    let (tasks, parallelism) = (component.options.task_count(), component.options.parallelism);
    let mut problems = Vec::new();
    if tasks < parallelism {
        let message = format!(
            "{} has fewer tasks than executors: tasks {tasks}, parallelism {parallelism}",
            named(draft, at)
        );
        let help = format!("each executor needs a task; set `parallelism` to {tasks} or less");
        problems.push(Problem::new(Site::Key(at, "tasks"), message).help(help));
    }
    let groups = draft.options.key_groups;
    let keyed = |grouping: &Option<Grouping>| matches!(grouping, Some(Grouping::Fields(_)));
    let first_keyed = component.inputs().iter().position(|input| keyed(&input.grouping));
    if let Some(input) = first_keyed.filter(|_| groups > 0 && capped(draft, at) > groups) {
        let message = format!(
            "{} has {tasks} tasks for {groups} key groups: {} of them would never get a tuple",
            named(draft, at),
            tasks - groups
        );
        let help = format!("set `key_groups` of the topology to {tasks} or more");
        problems.push(Problem::new(Site::Input(at, input, InputPart::Whole), message).help(help));
    }
    problems
}

fn too_many_tasks(draft: &Draft) -> Option<Problem> {
    let ackers = match (draft.options.delivery, draft.options.ackers) {
        (Delivery::AtMostOnce | Delivery::ExactlyOnce, _) => 0,
        (Delivery::AtLeastOnce, AutoOr::Auto) => 1,
        (Delivery::AtLeastOnce, AutoOr::Fixed(ackers)) => u64::from(ackers),
    };
    // Counts that are out of bounds by themselves have been reported.
    let tasks = |at| u64::from(capped(draft, at).min(limits::PARALLELISM_MAX));
    let total = ackers + (0..draft.components.len()).map(tasks).sum::<u64>();
    let limit = u64::from(limits::TASKS_MAX);
    (total > limit).then(|| {
        let message = format!("the topology has {total} tasks; the limit is {limit}");
        Problem::new(Site::Document, message)
    })
}

/// Whether `queue.memory` suffices for all places where tuples lie on their way.
fn queues_over_memory(draft: &Draft, by_id: &ById<'_>) -> Option<Problem> {
    let crew = |at: usize| Crew::of(&draft.components[at].options, &draft.options);
    let (mut places, mut streams) = (QueuePlaces::default(), BTreeSet::new());
    let mut most: Option<(u64, usize, usize)> = None;
    for (to, component) in draft.components.iter().enumerate() {
        for input in component.inputs() {
            let Some(&from) = by_id.get(input.component.as_str()) else { continue };
            if streams.insert((from, input.stream.as_str())) {
                places.add_stream(crew(from));
            }
            places.add_input(crew(from), crew(to), input.feedback);
            let lanes = crew(from).tasks * crew(to).tasks;
            most = most.filter(|(most, ..)| *most >= lanes).or(Some((lanes, from, to)));
        }
    }
    let (error, (_, from, to)) = (places.check(draft.options.queue.memory).err()?, most?);
    let pairs = format!(
        "{} of {} send to {} of {}",
        counted(crew(from).tasks, "task"),
        named(draft, from),
        counted(crew(to).tasks, "task"),
        named(draft, to)
    );
    Some(match error {
        NoShares::TooManyLanes => {
            let message = format!(
                "tuples pass between {} pairs of tasks, and the limit is {}: {pairs}",
                places.lanes,
                limits::LANES_MAX
            );
            let help = "set a lower `parallelism` or `tasks`, or put a component of few tasks between them";
            Problem::new(Site::Key(to, "parallelism"), message).help(help.to_owned())
        }
        NoShares::MemoryMin(needed) => {
            let memory = draft.options.queue.memory;
            let message = format!(
                "`queue.memory` of {} is too little for {} pairs of tasks: {pairs}",
                show_size(memory),
                places.lanes
            );
            let enough = show_size(needed.next_multiple_of(1 << 20));
            let help = format!("set `queue.memory` to {enough} or more, or a lower `parallelism`");
            Problem::new(Site::Option("queue.memory"), message).help(help)
        }
    })
}

/// `1 task` or `3 tasks`.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The tasks that a component will have.
pub(super) fn capped(draft: &Draft, at: usize) -> u32 {
    let tasks = draft.components[at].options.task_count();
    tasks.min(draft.options.max_task_parallelism.unwrap_or(u32::MAX))
}

pub(super) fn within(site: Site, what: &str, value: u64, min: u64, max: u64) -> Option<Problem> {
    out_of_bounds(site, what, &value, (value < min).then_some(min), (value > max).then_some(max))
}

pub(super) fn lasting(site: Site, what: &str, value: Duration, min: Duration) -> Option<Problem> {
    lasting_within(site, what, value, (min, DURATION_MAX))
}

fn lasting_within(
    site: Site,
    what: &str,
    value: Duration,
    (min, max): (Duration, Duration),
) -> Option<Problem> {
    let (below, above) = (value < min, value > max);
    let (min, max) = (below.then(|| show_duration(min)), above.then(|| show_duration(max)));
    out_of_bounds(site, what, &show_duration(value), min, max)
}

fn out_of_bounds<B: Display>(
    site: Site,
    what: &str,
    value: &dyn Display,
    below: Option<B>,
    above: Option<B>,
) -> Option<Problem> {
    let bound = match (below, above) {
        (Some(min), _) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => return None,
    };
    let what = what.split_once(' ').map_or(format!("`{what}`"), |(key, rest)| format!("`{key}` {rest}"));
    Some(Problem::new(site, format!("{what} must be {bound}, not {value}")))
}
