//! What the Rust builder accepts, and what it says about the rest.
//!
//! `a_subscription_to_...` port the cases of Storm's `ValidateStructure` (TopologyIntegrationTest).

mod topology_kit;

use std::time::Duration;

use squall::config::{AutoOr, limits};
use squall::prelude::*;
use squall::testing::{BoltHarness, TestTuple};
use squall::topology::graph::{Constructor, Grouping};
use squall::topology::{DEAD_LETTER_FIELDS, SYSTEM_STREAM, Topology};
use topology_kit::{Wants, WantsSettings};

/// A component that declares what the test wants and does nothing.
#[derive(Clone)]
struct Inert(Streams);

impl Spout for Inert {
    fn declare(&self) -> Streams {
        self.0.clone()
    }
    fn next_tuple(&mut self, _out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        Ok(SpoutStatus::Exhausted)
    }
}

impl Bolt for Inert {
    fn declare(&self) -> Streams {
        self.0.clone()
    }
    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

struct First;

impl CustomGrouping for First {
    fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
        chosen.extend(targets.first());
    }
}

fn emitting(fields: &[&str]) -> impl Fn() -> Inert + Send + Sync + 'static {
    let streams = Streams::new(fields.iter().collect::<Fields>());
    move || Inert(streams.clone())
}

/// `lines` (line; direct stream `picked`) → `split` (word) → `count` (word, count).
fn word_count() -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("word-count");
    builder.spout("lines", || Inert(Streams::new(["line"]).direct_stream("picked", ["line"])));
    builder.bolt("split", emitting(&["word"])).shuffle("lines");
    builder.bolt("count", emitting(&["word", "count"])).fields("split", ["word"]);
    builder
}

/// The messages for word count with something added, each with its help.
fn check(change: impl FnOnce(&mut TopologyBuilder), expected: &[&str]) {
    let mut builder = word_count();
    change(&mut builder);
    let found: Vec<String> = match builder.build() {
        Ok(_) => Vec::new(),
        Err(errors) => errors.diagnostics().iter().map(|diagnostic| diagnostic.to_string()).collect(),
    };
    assert_eq!(found, expected);
}

fn sink() -> Inert {
    Inert(Streams::none())
}

#[test]
fn a_valid_word_count_passes() {
    let topology = word_count().build().unwrap();
    assert_eq!(topology.name(), "word-count");
    let ids: Vec<&str> = topology.components().iter().map(|component| component.id.as_str()).collect();
    assert_eq!(ids, ["lines", "split", "count"]);
    let count = topology.component("count").unwrap();
    assert!(!count.is_spout());
    assert_eq!(count.inputs[0].grouping.to_string(), "fields(word)");
}

#[test]
fn a_subscription_to_a_missing_component_is_refused() {
    check(
        |b| {
            b.bolt("sink", sink).shuffle("lnies");
        },
        &["input of bolt `sink`: there is no component `lnies` (did you mean `lines`?)"],
    );
    check(
        |b| {
            b.bolt("sink", sink).shuffle("walrus");
        },
        &["input of bolt `sink`: there is no component `walrus` (components: lines, split, count)"],
    );
}

#[test]
fn a_subscription_to_a_missing_stream_is_refused() {
    check(
        |b| {
            b.bolt("sink", sink).shuffle(("lines", "piked"));
        },
        &["input of bolt `sink`: spout `lines` has no stream `piked` (did you mean `picked`?)"],
    );
    check(
        |b| {
            b.bolt("end", sink).shuffle("count");
            b.bolt("sink", sink).shuffle("end");
        },
        &["input of bolt `sink`: bolt `end` has no stream `default` (streams: dead-letter)"],
    );
}

#[test]
fn a_subscription_by_a_missing_field_is_refused() {
    check(
        |b| {
            b.bolt("sink", sink).fields("split", ["wrod"]).partial_key("count", ["word", "size"]);
        },
        &[
            "input of bolt `sink`: `split.default` has no field `wrod` (did you mean `word`?)",
            "input of bolt `sink`: `count.default` has no field `size` (fields: word, count)",
        ],
    );
}

#[test]
fn every_component_has_a_system_stream_and_every_bolt_a_dead_letter_stream() {
    check(
        |b| {
            b.bolt("watch", sink).global(("lines", SYSTEM_STREAM)).all(("split", SYSTEM_STREAM));
            b.bolt("dead", sink).fields(("split", "dead-letter"), DEAD_LETTER_FIELDS);
        },
        &[],
    );
    check(
        |b| {
            b.bolt("dead", sink).shuffle(("lines", "dead-letter"));
        },
        &["input of bolt `dead`: spout `lines` has no stream `dead-letter` (streams: default, picked)"],
    );
    check(
        |b| {
            b.bolt("own", || Inert(Streams::none().stream("dead-letter", ["why"]))).shuffle("lines");
            b.bolt("dead", sink).fields(("own", "dead-letter"), ["error"]);
        },
        &["input of bolt `dead`: `own.dead-letter` has no field `error` (fields: why)"],
    );
}

#[test]
fn groupings_fit_their_streams() {
    check(
        |b| {
            b.bolt("sink", sink).direct(("lines", "picked"));
        },
        &[],
    );
    check(
        |b| {
            b.bolt("sink", sink).direct("lines").shuffle(("lines", "picked"));
        },
        &[
            "input of bolt `sink`: `lines.default` is not a direct stream, so it has no direct grouping (the component would have to declare it by `Streams::direct_stream`)",
            "input of bolt `sink`: `lines.picked` is a direct stream; grouping shuffle does not fit (use grouping direct)",
        ],
    );
    check(
        |b| {
            b.bolt("sink", sink).fields("lines", Fields::none()).partial_key("split", ["word", "word"]);
        },
        &[
            "input of bolt `sink`: grouping `fields` needs the fields to group by (for example `fields = [\"word\"]`)",
            "input of bolt `sink`: field `word` is named twice",
        ],
    );
    check(
        |b| {
            b.bolt("sink", sink).custom("lines", "first", || First);
        },
        &[],
    );
    check(
        |b| {
            b.bolt("sink", sink).shuffle("lines").global("lines");
        },
        &["bolt `sink` takes `lines.default` twice"],
    );
}

#[test]
fn names_are_legal_and_given_once() {
    check(
        |b| {
            b.spout("lines", || Inert(Streams::new(["a", "a", ""]).stream("default", ["b"])));
            b.spout("__mine", sink);
            b.spout("my lines", || Inert(Streams::none().stream("__system", ["b"]).stream("ü", ["b"])));
            b.spout("x".repeat(65), sink);
        },
        &[
            "component `lines` is defined twice (ids are shared by spouts and bolts; each may be used once)",
            "spout `lines` declares stream `default` with two fields called `a`",
            "spout `lines` declares stream `default` with a field that has no name",
            "spout `lines` declares stream `default` twice",
            "a component id must not begin with `__`: `__mine` is the system's",
            "a component id may hold only letters, digits, `.`, `_` and `-`, unlike `my lines` (for example `my-lines`)",
            "spout `my lines` declares a stream whose name must not begin with `__`: `__system` is the system's",
            "spout `my lines` declares a stream whose name may hold only letters, digits, `.`, `_` and `-`, unlike `ü`",
            "a component id has 65 bytes; the limit is 64",
        ],
    );
    let errors = TopologyBuilder::new("").build().unwrap_err();
    assert_eq!(errors.diagnostics()[0].message, "a topology name is empty");
}

#[test]
fn cycles_need_a_mark() {
    check(
        |b| {
            b.bolt("a", emitting(&["x"])).shuffle("lines").shuffle("c");
            b.bolt("b", emitting(&["x"])).shuffle("a");
            b.bolt("c", emitting(&["x"])).shuffle("b");
        },
        &[
            "tuples would go round in a cycle: `a` → `b` → `c` → `a` (if it is meant, mark the input that leads back with `feedback = true` (`.feedback()` in Rust))",
        ],
    );
    check(
        |b| {
            b.bolt("a", emitting(&["x"])).shuffle("lines").shuffle("c").feedback();
            b.bolt("b", emitting(&["x"])).shuffle("a");
            b.bolt("c", emitting(&["x"])).shuffle("b");
            b.bolt("self", emitting(&["x"])).shuffle("a").shuffle("self").feedback();
        },
        &[],
    );
    check(
        |b| {
            b.bolt("a", emitting(&["x"])).shuffle("a").feedback();
        },
        &["no spout leads to bolt `a`, so it would never run"],
    );
}

#[test]
fn a_topology_needs_a_spout_and_a_bolt_an_input() {
    let mut builder = TopologyBuilder::new("empty");
    builder.bolt("sink", sink);
    let errors = builder.build().unwrap_err();
    let messages: Vec<&str> = errors.diagnostics().iter().map(|d| d.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "bolt `sink` has no inputs and would never run",
            "the topology has no spout, so nothing would ever happen"
        ]
    );
}

#[test]
fn numbers_stay_within_their_bounds() {
    check(
        |b| {
            b.bolt("a", sink).shuffle("lines").parallelism(0).tasks(5000).tick(Duration::ZERO);
            b.bolt("b", sink).shuffle("lines").parallelism(3).tasks(2);
            b.spout("c", sink).max_spout_pending(0);
        },
        &[
            "`parallelism` of bolt `a` must be at least 1, not 0",
            "`tasks` of bolt `a` must be at most 4096, not 5000",
            "`tick` of bolt `a` must be at least 1ms, not 0s",
            "bolt `b` has fewer tasks than executors: tasks 2, parallelism 3 (each executor needs a task; set `parallelism` to 2 or less)",
            "`max_spout_pending` of spout `c` must be at least 1, not 0",
        ],
    );
    check(
        |b| {
            b.options(|o| {
                o.ackers = AutoOr::Fixed(0);
                o.threads = AutoOr::Fixed(limits::THREADS_MAX + 1);
                o.key_groups = 2;
                o.message_timeout = Some(limits::DURATION_MAX + Duration::from_secs(1));
                o.queue.capacity = 100;
                o.queue.memory = 1000;
                o.replay.backoff_max = Duration::from_millis(5);
                o.errors.restart_max = Duration::from_millis(50);
            });
            b.bolt("a", sink).fields("lines", ["line"]).parallelism(3);
        },
        &[
            "`ackers` must be at least 1, not 0 (to track nothing, set `delivery = \"at-most-once\"`)",
            "`threads` must be at most 1024, not 1025",
            "`message_timeout` must be at most 30d, not 30days 1s",
            "a full batch does not fit a link: `queue.batch` is 512, `queue.capacity` 100 (set `queue.batch` to 100 or less)",
            "a tuple of `queue.tuple_size_max` (8388608 bytes) would not fit `queue.memory` (1000 bytes)",
            "`replay.backoff_max` must be at least 10ms, not 5ms",
            "`errors.restart_max` must be at least 100ms, not 50ms",
            "bolt `a` has 3 tasks for 2 key groups: 1 of them would never get a tuple (set `key_groups` of the topology to 3 or more)",
        ],
    );
    check(
        |b| {
            for i in 0..8 {
                b.bolt(format!("b{i}"), sink).shuffle("lines").parallelism(4096);
            }
        },
        &["the topology has 32772 tasks; the limit is 32767"],
    );
}

#[test]
fn a_constructor_that_fails_is_reported_once() {
    check(
        |b| {
            b.bolt_with("broken", || Err::<Inert, _>(TaskError::new("no such model"))).shuffle("lines");
            b.bolt("sink", sink).fields("broken", ["x"]);
        },
        &["bolt `broken` cannot be built: no such model"],
    );
}

#[test]
fn settings_hooks_and_options_reach_the_topology() {
    let mut builder = word_count();
    builder.setting("greeting", "hello").options(|o| o.max_replays = Some(3));
    builder.bolt("sink", sink).shuffle("count").setting("limit", 7).max_replays(1).blocking();
    let topology = builder.build().unwrap();
    assert_eq!(topology.options().settings["greeting"].as_str(), Some("hello"));
    assert_eq!(topology.options().max_replays, Some(3));
    let sink = &topology.component("sink").unwrap().options;
    assert_eq!(
        (sink.settings["limit"].as_integer(), sink.max_replays, sink.blocking),
        (Some(7), Some(1), true)
    );
}

#[test]
fn components_of_a_topology_can_be_exchanged_for_mocks() {
    let topology = || word_count().build().unwrap();
    let mocked = topology().with_spout("lines", sink).unwrap();
    assert_eq!(mocked.component("lines").unwrap().streams, topology().component("lines").unwrap().streams);

    let message = |result: Result<Topology, squall::topology::TopologyErrors>| {
        result.unwrap_err().diagnostics().iter().map(|d| d.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        message(topology().with_spout("split", sink)),
        ["topology `word-count` has no spout `split` to replace"]
    );
    let renamed = topology().with_component(
        "split",
        Constructor::bolt(|| Ok::<_, TaskError>(sink())),
        Some(Streams::new(["token"])),
    );
    assert_eq!(message(renamed), ["input of bolt `count`: `split.default` has no field `word`"]);
    assert_eq!(
        message(topology().with_options(|o| o.key_groups = 0)),
        ["`key_groups` must be at least 1, not 0"]
    );
    let bolt = topology().with_bolt("count", sink).unwrap();
    assert!(matches!(bolt.component("count").unwrap().constructor, Constructor::Bolt(_)));
    assert!(matches!(bolt.component("count").unwrap().inputs[0].grouping, Grouping::Fields(_)));
}

/// Works in one task only.
struct Alone;

impl Bolt for Alone {
    fn check(&self, check: &mut Check<'_>) {
        if check.parallelism() > 1 {
            check.refuse("start", format!("one task numbers the rows, not {}", check.parallelism()));
        }
    }

    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

#[test]
fn a_component_can_refuse_several_tasks() {
    let refused = |tasks| format!("config `start` of bolt `alone`: one task numbers the rows, not {tasks}");
    check(
        |b| {
            b.bolt("alone", || Alone).shuffle("split");
        },
        &[],
    );
    check(
        |b| {
            b.bolt("alone", || Alone).parallelism(3).shuffle("split");
        },
        &[&refused(3)],
    );
    check(
        |b| {
            b.bolt("alone", || Alone).parallelism(2).tasks(4).shuffle("split");
        },
        &[&refused(4)],
    );
}

#[test]
fn a_component_built_in_rust_refuses_what_surrounds_it_too() {
    let wants = |settings: WantsSettings| move || Wants(settings.clone());
    let none = WantsSettings { field: None, ticks: false, device: None, state: None };
    let field = WantsSettings { field: Some("wrod".to_owned()), ..none.clone() };
    let ticks = WantsSettings { ticks: true, ..none.clone() };
    let lamp = WantsSettings { device: Some("lamp".to_owned()), ..none };
    check(
        |b| {
            b.bolt("w", wants(field)).shuffle("split");
        },
        &["config `field` of bolt `w`: `split.default` has no field `wrod` (did you mean `word`?)"],
    );
    check(
        |b| {
            b.bolt("w", wants(lamp.clone())).parallelism(2).shuffle("split");
            b.bolt("x", wants(lamp)).shuffle("split");
        },
        &[
            "bolt `w` has 2 tasks, and only one task can use lamp (set `parallelism` to 1)",
            "bolt `x` uses lamp, which bolt `w` uses already (only one task of a topology can use lamp)",
        ],
    );
    let mut builder = word_count();
    builder.options(|options| options.tick = Some(Duration::from_secs(1)));
    builder.bolt("w", wants(ticks)).shuffle("split");
    let without = builder.build().unwrap().with_options(|options| options.tick = None).unwrap_err();
    assert_eq!(without.diagnostics()[0].message, "config `ticks` of bolt `w`: there is no tick");
}

#[test]
fn a_number_that_fits_no_value_fails_the_emit_and_nothing_else() {
    let mut harness = BoltHarness::new(bolt_fn(Streams::new(["a", "b"]), |input, out| {
        let n: u128 = input.to::<String>("field1")?.parse()?;
        out.emit((1, n))?;
        Ok(())
    }));
    harness.execute(TestTuple::new(["7"]));
    harness.execute(TestTuple::new([u64::MAX.to_string()]));
    harness.execute(TestTuple::new(["8"]));
    let rows = harness.take_rows("default");
    assert_eq!(rows, [[Value::from(1), Value::from(7)], [Value::from(1), Value::from(8)]]);
    assert_eq!((harness.acked(), harness.failed().len()), (&[0, 2][..], 1));
    let expected =
        "component `component`, stream `default`: 18446744073709551615 does not fit into an i64 exactly";
    assert_eq!(harness.errors(), [expected]);
}

/// A bolt that panics in the methods that validation calls.
struct Panics(&'static str);

impl Bolt for Panics {
    fn declare(&self) -> Streams {
        if self.0 == "declare" {
            std::panic::resume_unwind(Box::new("no streams"))
        }
        Streams::none()
    }

    fn check(&self, _check: &mut Check<'_>) {
        if self.0 == "check" {
            std::panic::resume_unwind(Box::new("no check"))
        }
    }

    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("no end"))
    }
}

struct ManyStreams;

impl Bolt for ManyStreams {
    fn declare(&self) -> Streams {
        (0..70_000).fold(Streams::none(), |streams, n| streams.stream(format!("s{n}"), ["x"]))
    }

    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

/// If it fails, a bug of a component takes down the process that validates its topology.
#[test]
fn panics_and_misuse_are_mistakes_with_the_name_of_the_component() {
    check(
        |b| {
            let constructor = || -> Panics { std::panic::resume_unwind(Box::new("no instance")) };
            b.bolt("constructor", constructor).shuffle("lines");
            b.bolt("declare", || Panics("declare")).shuffle("lines");
            b.bolt("check", || Panics("check")).shuffle("lines");
            b.bolt("drop", || Panics("drop")).shuffle("lines");
            b.bolt("cycle", sink).feedback().shuffle("lines");
            b.bolt("many", || ManyStreams).shuffle("lines");
        },
        &[
            "bolt `constructor` cannot be built: its constructor panicked: no instance",
            "bolt `declare` cannot be built: its `declare` panicked: no streams",
            "bolt `cycle`: `feedback()` marks the input that was declared before it, and there is none (call it after the input, as in `.shuffle(\"other\").feedback()`)",
            "bolt `many` declares 70000 streams; the limit is 65533",
            "bolt `check`: its `check` panicked: no check",
        ],
    );
}

/// Warnings name limits whose letters go nowhere, and letters that never come.
#[test]
fn dead_letters_that_go_nowhere_are_warned_of() {
    let warnings = |of_topology: Option<u32>, of_bolt: Option<u32>, taken: bool| {
        let mut builder = TopologyBuilder::new("letters");
        builder.options(|options| options.max_replays = of_topology);
        builder.spout("lines", || Inert(Streams::new(["line"])));
        let bolt = builder.bolt("bolt", sink).shuffle("lines");
        if let Some(max) = of_bolt {
            bolt.max_replays(max);
        }
        if taken {
            builder.bolt("letters", sink).shuffle(("bolt", "dead-letter"));
        }
        builder.build().expect("valid").warnings()
    };
    assert!(
        warnings(None, Some(5), false)[0].starts_with("bolt `bolt` sets `max_replays`, but no bolt takes")
    );
    assert!(warnings(Some(u32::MAX), None, true)[0].starts_with("bolt `letters` takes the dead letters of"));
    for (of_topology, of_bolt, taken) in
        [(None, None, false), (Some(3), None, false), (None, Some(5), true), (None, Some(u32::MAX), false)]
    {
        assert_eq!(warnings(of_topology, of_bolt, taken), Vec::<String>::new());
    }
}
