//! What documents mean, and what is said about wrong ones.

mod topology_kit;

use squall::config::{
    AutoOr, BatchOptions, ChainMode, CheckpointMode, CheckpointOptions, Delivery, Resources,
    SchedulingStrategy,
};
use squall::topology::declare::{MemorySource, NamedBy, NoVariable, Source, load, load_engine, parse_str};
use squall::topology::{Topology, TopologyBuilder, TopologyErrors};
use std::path::PathBuf;
use std::time::Duration;
use topology_kit::registry;

const WORD_COUNT: &str = r#"
[topology]
name = "word-count"
[spout.lines]
type = "file"
config = { path = "data/*.txt" }
[bolt.split]
type = "split"
parallelism = 2
inputs = ["lines"]
[bolt.count]
type = "count"
inputs = [{ from = "split", fields = ["word"] }]
"#;

fn lines(result: Result<Topology, TopologyErrors>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(errors) => errors.diagnostics().iter().map(|diagnostic| diagnostic.to_string()).collect(),
    }
}

/// Checks what is said about a document, each as `t:line:column: message (help)`.
#[track_caller]
fn check(document: &str, expected: &[&str]) {
    assert_eq!(lines(parse_str("t", document, &registry())), expected);
}

/// As [`check`], for a line added to `[topology]`, which is line 2 then. Places are left out.
#[track_caller]
fn check_option(line: &str, expected: &[&str]) {
    let document = WORD_COUNT.replace("[topology]\n", &format!("[topology]\n{line}\n"));
    check_messages(&document, expected);
}

/// As [`check`], for text added to word count. Places are left out.
#[track_caller]
fn check_added(text: &str, expected: &[&str]) {
    check_messages(&format!("{WORD_COUNT}{text}"), expected);
}

#[track_caller]
fn check_messages(document: &str, expected: &[&str]) {
    let messages: Vec<String> = match parse_str("t", document, &registry()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.diagnostics().iter().map(|diagnostic| diagnostic.one_line()).collect(),
    };
    assert_eq!(messages, expected);
}

fn topology(document: &str) -> Topology {
    parse_str("t", document, &registry()).unwrap()
}

#[test]
fn a_document_becomes_the_graph_it_describes() {
    let topology = topology(WORD_COUNT);
    assert_eq!(topology.name(), "word-count");
    let ids: Vec<&str> = topology.components().iter().map(|component| component.id.as_str()).collect();
    assert_eq!(ids, ["lines", "split", "count"]);
    let lines = topology.component("lines").unwrap();
    assert!(lines.is_spout() && lines.options.blocking);
    assert_eq!(lines.type_name, "file");
    let split = topology.component("split").unwrap();
    assert_eq!((split.options.parallelism, split.options.tasks), (2, None));
    let input = &topology.component("count").unwrap().inputs[0];
    assert_eq!((input.component.as_str(), input.stream.as_str()), ("split", "default"));
    assert_eq!(input.grouping.to_string(), "fields(word)");
}

#[test]
fn every_option_has_its_effect() {
    let document = WORD_COUNT.replace(
        "name = \"word-count\"",
        r#"name = "word-count"
        workers = 3
        delivery = "at-most-once"
        ackers = 2
        message_timeout = "off"
        max_spout_pending = 1000
        max_replays = 3
        threads = 4
        drain_timeout = "1m"
        max_task_parallelism = 8
        key_groups = 128
        load_aware = false
        chain = "off"
        tick = "500ms"
        start_inactive = true
        queue = { batch = 100, capacity = 1000, memory = "1GiB", tuple_size_max = "1MiB" }
        replay = { backoff_min = "20ms", backoff_max = "5s" }
        errors = { limit = 1, interval = "1s", restart_min = "2s", restart_max = "3s" }
        watchdog.step = "4s"
        scheduling.strategy = "resource-aware"
        scheduling.priority = 0
        scheduling.isolate = 2
        scheduling.spread = ["count"]
        scheduling.exclusive = [["split", "count"]]
        scheduling.favor = ["a"]
        scheduling.avoid = ["b", "c"]
        settings = { greeting = "hello", at = [1, 2.5, { b = true }] }"#,
    );
    let options = topology(&document).options().clone();
    assert_eq!(options.delivery, Delivery::AtMostOnce);
    assert_eq!(options.workers, 3);
    assert_eq!((options.ackers, options.threads), (AutoOr::Fixed(2), AutoOr::Fixed(4)));
    assert_eq!(options.message_timeout, None);
    assert_eq!(options.max_spout_pending, AutoOr::Fixed(1000));
    assert_eq!((options.max_replays, options.max_task_parallelism), (Some(3), Some(8)));
    assert_eq!(options.drain_timeout, Duration::from_secs(60));
    assert_eq!((options.key_groups, options.load_aware, options.start_inactive), (128, false, true));
    assert_eq!((options.chain, options.tick), (ChainMode::Off, Some(Duration::from_millis(500))));
    assert_eq!((options.queue.batch, options.queue.capacity), (100, 1000));
    assert_eq!((options.queue.memory, options.queue.tuple_size_max), (1 << 30, 1 << 20));
    assert_eq!(options.replay.backoff_min, Duration::from_millis(20));
    assert_eq!(options.replay.backoff_max, Duration::from_secs(5));
    assert_eq!((options.errors.limit, options.errors.interval), (1, Duration::from_secs(1)));
    assert_eq!(options.errors.restart_min, Duration::from_secs(2));
    assert_eq!(options.errors.restart_max, Duration::from_secs(3));
    assert_eq!(options.watchdog.step, Duration::from_secs(4));
    let scheduling = &options.scheduling;
    assert_eq!((scheduling.strategy, scheduling.priority), (SchedulingStrategy::ResourceAware, 0));
    assert_eq!((scheduling.isolate, &*scheduling.spread), (Some(2), &["count".to_owned()][..]));
    assert_eq!(scheduling.exclusive, [["split", "count"]]);
    assert_eq!(
        (&*scheduling.favor, &*scheduling.avoid),
        (&["a".to_owned()][..], &["b".to_owned(), "c".to_owned()][..])
    );
    assert_eq!(options.settings["at"][2]["b"].as_bool(), Some(true));

    let more = topology(&format!(
        "{WORD_COUNT}
        [spout.more]
        type = 'file'
        max_spout_pending = 'auto'
        blocking = false
        config.path = 'x'
        [bolt.end]
        type = 'print'
        inputs = ['more']
        tasks = 4
        parallelism = 2
        tick = '1s'
        max_replays = 'off'
        resources = {{ cpu = 1, memory = '1GiB' }}
        settings.a = 1"
    ));
    let spout = &more.component("more").unwrap().options;
    assert_eq!((spout.max_spout_pending, spout.blocking), (Some(AutoOr::Auto), false));
    let bolt = &more.component("end").unwrap().options;
    assert_eq!((bolt.tasks, bolt.parallelism, bolt.max_replays), (Some(4), 2, Some(u32::MAX)));
    assert_eq!(bolt.resources, Resources::new(1.0, 1 << 30));
    assert_eq!(spout.resources, Resources::new(0.1, 128 << 20));
    assert_eq!((bolt.tick, bolt.settings["a"].as_integer()), (Some(Duration::from_secs(1)), Some(1)));
}

#[test]
fn inputs_name_streams_and_groupings() {
    let document = format!(
        "{WORD_COUNT}
        [spout.pick]
        type = 'picker'
        [bolt.'a.b']
        type = 'split'
        inputs = ['lines']
        [bolt.all]
        type = 'print'
        inputs = [
            'split.long', 'a.b', 'a.b.long', 'split.dead-letter', 'lines.__system',
            {{ from = 'split', grouping = 'partial-key', fields = ['word'] }},
            {{ from = 'count', grouping = 'local-or-shuffle' }},
            {{ from = 'count', stream = 'dead-letter', grouping = 'global' }},
            {{ from = 'count.__system', grouping = 'all' }},
            {{ from = 'lines', custom = 'first' }},
            {{ from = 'a.b.dead-letter', grouping = 'none' }},
            {{ from = 'pick.picked', grouping = 'direct' }},
        ]"
    );
    let topology = topology(&document);
    let inputs: Vec<String> = topology
        .component("all")
        .unwrap()
        .inputs
        .iter()
        .map(|input| format!("{} {} {}", input.component, input.stream, input.grouping))
        .collect();
    assert_eq!(
        inputs,
        [
            "split long shuffle",
            "a.b default shuffle",
            "a.b long shuffle",
            "split dead-letter shuffle",
            "lines __system shuffle",
            "split default partial-key(word)",
            "count default local-or-shuffle",
            "count dead-letter global",
            "count __system all",
            "lines default custom(first)",
            "a.b dead-letter none",
            "pick picked direct",
        ]
    );
}

#[test]
fn wrong_options_of_the_topology() {
    check_option("delivry = 'x'", &["unknown key `delivry` (did you mean `delivery`?)"]);
    check_option("guarantee = 'x'", &["unknown key `guarantee` (did you mean `delivery`?)"]);
    check_option("delivery = 'exactly-once'", &[]);
    check_option(
        "delivery = 'exactly_once'\ncheckpoint.retain = 5",
        &["there is no delivery `exactly_once` (did you mean `exactly-once`?)"],
    );
    check_option(
        "delivery = 'at-least'",
        &["there is no delivery `at-least` (did you mean `at-least-once`?)"],
    );
    check_option("delivery = 1", &["`delivery` must be a string, not an integer"]);
    check_option("workers = 0", &["`workers` must be at least 1, not 0"]);
    check_option("workers = 1025", &["`workers` must be at most 1024, not 1025"]);
    check_option("workers = '1'", &["`workers` must be a whole number, not a string"]);
    check_option(
        "ackers = 0",
        &["`ackers` must be at least 1, not 0 (to track nothing, set `delivery = \"at-most-once\"`)"],
    );
    check_option("ackers = 'many'", &["`ackers` must be a whole number or \"auto\", not a string"]);
    check_option("ackers = -1", &["`ackers` must be between 1 and 4096"]);
    check_option("threads = 99999999999999999999999999", &["`threads` must be between 1 and 1024"]);
    check_option("threads = 1025", &["`threads` must be at most 1024, not 1025"]);
    check_option("threads = 1.5", &["`threads` must be a whole number or \"auto\", not a float"]);
    check_option(
        "message_timeout = 30",
        &["`message_timeout` has no unit: it must be a duration, as \"30s\", or \"off\""],
    );
    check_option(
        "message_timeout = '30'",
        &[
            "`message_timeout`: duration \"30\" has no unit: expected for example \"500ms\", \"30s\" or \"2m\"",
        ],
    );
    check_option(
        "message_timeout = '30 parsecs'",
        &[
            "`message_timeout`: not a duration: \"30 parsecs\" (expected for example \"500ms\", \"30s\" or \"2m\")",
        ],
    );
    check_option("message_timeout = '0s'", &["`message_timeout` must be at least 1ms, not 0s"]);
    check_option("tick = '31d'", &["`tick` must be at most 30d, not 31d"]);
    check_option("drain_timeout = true", &["`drain_timeout` must be a duration, as \"30s\", not a boolean"]);
    check_option("chain = 'always'", &["`chain` must be \"auto\" or \"off\", not \"always\""]);
    check_option("chain = true", &["`chain` must be \"auto\" or \"off\", not a boolean"]);
    check_option("load_aware = 'yes'", &["`load_aware` must be `true` or `false`, not a string"]);
    check_option("queue = 3", &["`queue` must be a table, not an integer"]);
    check_option("queue.bach = 3", &["unknown key `queue.bach` (did you mean `batch`?)"]);
    check_option(
        "queue.memory = '1 lump'",
        &["`queue.memory`: not a size: \"1 lump\" (expected for example \"512KiB\" or \"64MiB\")"],
    );
    check_option("queue.memory = 1000000", &["`queue.memory` has no unit: it must be a size, as \"64MiB\""]);
    check_option("queue.batch = 0", &["`queue.batch` must be at least 1, not 0"]);
    check_option(
        "errors = { intervall = '1s' }",
        &["unknown key `errors.intervall` (did you mean `interval`?)"],
    );
    check_option("settings = 1", &["`settings` must be a table, not an integer"]);
    check_option(
        "settings.n = 99999999999999999999999999999999999999999999",
        &["`settings`: integer number overflowed"],
    );
    check_option("streams = {}", &["`streams` is not available in this version of squall"]);
    check_messages(
        &WORD_COUNT.replace("word-count", "word count"),
        &[
            "a topology name may hold only letters, digits, `.`, `_` and `-`, unlike `word count` (for example `word-count`)",
        ],
    );
    check_messages(&WORD_COUNT.replace("\"word-count\"", "7"), &["`name` must be a string, not an integer"]);
}

/// The options of checkpoints of a document with these lines in `[topology]`.
fn checkpoint(lines: &str) -> CheckpointOptions {
    let document = WORD_COUNT.replace("[topology]\n", &format!("[topology]\n{lines}\n"));
    topology(&document).options().checkpoint.clone()
}

#[test]
fn every_option_of_checkpoints_has_its_effect() {
    let defaults = CheckpointOptions {
        interval: Duration::from_secs(10),
        min_pause: Duration::ZERO,
        timeout: Duration::from_secs(600),
        alignment_timeout: None,
        max_concurrent: 1,
        retain: 3,
        storage: None,
        wal_storage: None,
        mode: CheckpointMode::ExactlyOnce,
    };
    assert_eq!(checkpoint("delivery = 'exactly-once'"), defaults);
    assert_eq!(checkpoint("delivery = 'exactly-once'\ncheckpoint = {}"), defaults);
    let set = "delivery = 'exactly-once'
        checkpoint.interval = '1s'
        checkpoint.timeout = '1min'
        checkpoint.max_concurrent = 3
        checkpoint.retain = 5
        checkpoint.storage = 'var/checkpoints'
        checkpoint.wal_storage = 'var/logs'
        checkpoint.mode = 'at-least-once'";
    let expected = CheckpointOptions {
        interval: Duration::from_secs(1),
        min_pause: Duration::ZERO,
        timeout: Duration::from_secs(60),
        alignment_timeout: None,
        max_concurrent: 3,
        retain: 5,
        storage: Some(PathBuf::from("var/checkpoints")),
        wal_storage: Some(PathBuf::from("var/logs")),
        mode: CheckpointMode::AtLeastOnce,
    };
    assert_eq!(checkpoint(set), expected);
    let pause = "delivery = 'exactly-once'\ncheckpoint.min_pause = '200ms'";
    assert_eq!(checkpoint(pause).min_pause, Duration::from_millis(200));
    let overtakes = "delivery = 'exactly-once'\ncheckpoint.alignment_timeout = '2s'";
    assert_eq!(checkpoint(overtakes).alignment_timeout, Some(Duration::from_secs(2)));
    assert_eq!(
        checkpoint("delivery = 'exactly-once'\ncheckpoint.mode = 'exactly-once'").mode,
        CheckpointMode::ExactlyOnce
    );
}

/// As [`check_option`], with exactly-once.
#[track_caller]
fn check_checkpoint(line: &str, expected: &[&str]) {
    check_option(&format!("delivery = 'exactly-once'\ncheckpoint.{line}"), expected);
}

#[test]
fn wrong_options_of_scheduling() {
    let check = |options: &str, expected: &[&str]| {
        let document = format!("{WORD_COUNT}\n[topology.scheduling]\n{options}");
        let errors = lines(parse_str("t", &document, &registry()));
        let messages: Vec<&str> =
            errors.iter().map(|line| line.splitn(4, ':').nth(3).unwrap_or("").trim()).collect();
        assert_eq!(messages, expected, "{options}");
    };
    let aware = "strategy = 'resource-aware'\n";
    check(&format!("{aware}spread = ['count']\nexclusive = [['split', 'count']]"), &[]);
    check(
        "strategy = 'fair'",
        &["`scheduling.strategy` must be \"even\" or \"resource-aware\", not \"fair\""],
    );
    check("priority = 1001", &["`scheduling.priority` must be at most 1000, not 1001"]);
    check("isolate = 0", &["`scheduling.isolate` must be at least 1, not 0"]);
    check(
        "spread = 'count'",
        &["`scheduling.spread` must be an array of names, as [\"a\", \"b\"], not a string"],
    );
    check(
        "spread = ['count']",
        &[
            "`scheduling.spread` has no effect with `strategy = \"even\"` (set `strategy = \"resource-aware\"`)",
        ],
    );
    check(
        &format!("{aware}spread = ['cuont']"),
        &["`scheduling.spread` names `cuont`, and there is no such component (did you mean `count`?)"],
    );
    check(
        &format!("{aware}exclusive = ['count']"),
        &["`scheduling.exclusive` must be an array of names, as [\"a\", \"b\"], not a string"],
    );
    check(
        &format!("{aware}exclusive = [['count']]"),
        &[
            "`scheduling.exclusive` has a group of 1: a group has at least 2 (for example `exclusive = [[\"split\", \"count\"]]`)",
        ],
    );
    check(
        &format!("{aware}exclusive = [['count', 'count']]"),
        &[
            "`scheduling.exclusive` has a group with `count` twice (to keep executors of one component apart, put it into `scheduling.spread`)",
        ],
    );
    check(
        "favor = ['a']\navoid = ['a']",
        &["host `a` is in `scheduling.favor` and in `scheduling.avoid` (leave it out of one of them)"],
    );
    check("favored_nodes = ['a']", &["unknown key `scheduling.favored_nodes` (did you mean `favor`?)"]);
}

#[test]
fn wrong_resources() {
    let check = |resources: &str, expected: &str| {
        let document =
            format!("{WORD_COUNT}\n[bolt.more]\ntype = 'print'\ninputs = ['lines']\nresources = {resources}");
        let errors = lines(parse_str("t", &document, &registry()));
        let message = errors.first().map(|line| line.splitn(4, ':').nth(3).unwrap_or("").trim());
        assert_eq!(message.unwrap_or(""), expected, "{resources}");
    };
    check("{ cpu = 0, memory = '0B' }", "");
    check("{ cpu = 64.0 }", "");
    check(
        "{ cpu = 100 }",
        "`resources.cpu` of bolt `more` must be between 0 and 64 (it is a number of cores: 1 if 100 are points)",
    );
    check("{ cpu = -1 }", "`resources.cpu` of bolt `more` must be between 0 and 64");
    check("{ cpu = inf }", "`resources.cpu` of bolt `more` must be between 0 and 64");
    check("{ cpu = '1' }", "`resources.cpu` of bolt `more` must be a number, not a string");
    check("{ memory = 1 }", "`resources.memory` of bolt `more` has no unit: it must be a size, as \"64MiB\"");
    check("{ memory = '2TiB' }", "`resources.memory` of bolt `more` must be at most 1024GiB, not 2048GiB");
    check("{ cores = 1 }", "unknown key `resources.cores` of bolt `more` (did you mean `cpu`?)");
}

#[test]
fn wrong_options_of_checkpoints() {
    check_checkpoint("interval = '10ms'", &[]);
    check_checkpoint("interval = '24h'", &[]);
    check_checkpoint("interval = '9ms'", &["`checkpoint.interval` must be at least 10ms, not 9ms"]);
    check_checkpoint("interval = '25h'", &["`checkpoint.interval` must be at most 1d, not 1day 1h"]);
    check_checkpoint(
        "interval = 10",
        &["`checkpoint.interval` has no unit: it must be a duration, as \"30s\""],
    );
    check_checkpoint("min_pause = '0s'", &[]);
    check_checkpoint("min_pause = '31d'", &["`checkpoint.min_pause` must be at most 30d, not 31d"]);
    check_checkpoint("timeout = '0s'", &["`checkpoint.timeout` must be at least 1ms, not 0s"]);
    check_checkpoint("timeout = '31d'", &["`checkpoint.timeout` must be at most 30d, not 31d"]);
    check_checkpoint("max_concurrent = 10", &[]);
    check_checkpoint("max_concurrent = 0", &["`checkpoint.max_concurrent` must be at least 1, not 0"]);
    check_checkpoint("max_concurrent = 11", &["`checkpoint.max_concurrent` must be at most 10, not 11"]);
    check_checkpoint("min_pause = '1s'\ncheckpoint.max_concurrent = 1", &[]);
    check_checkpoint(
        "min_pause = '1s'\ncheckpoint.max_concurrent = 2",
        &[
            "no pause fits between checkpoints that overlap: `checkpoint.min_pause` is 1s, `checkpoint.max_concurrent` 2 (leave one of the two out)",
        ],
    );
    check_checkpoint("alignment_timeout = '0s'", &[]);
    check_checkpoint("alignment_timeout = 'off'\ncheckpoint.max_concurrent = 2", &[]);
    check_checkpoint(
        "alignment_timeout = '10min'",
        &[
            "`checkpoint.alignment_timeout` is not shorter than `checkpoint.timeout`, after which a checkpoint is given up (make it shorter, or leave it out)",
        ],
    );
    check_checkpoint(
        "alignment_timeout = '31d'\ncheckpoint.timeout = '30d'",
        &[
            "`checkpoint.alignment_timeout` must be at most 30d, not 31d",
            "`checkpoint.alignment_timeout` is not shorter than `checkpoint.timeout`, after which a checkpoint is given up (make it shorter, or leave it out)",
        ],
    );
    check_checkpoint(
        "alignment_timeout = '1s'\ncheckpoint.mode = 'at-least-once'",
        &[
            "`checkpoint.alignment_timeout` has no place here: no input waits with `checkpoint.mode = \"at-least-once\"` (leave one of the two out)",
        ],
    );
    check_checkpoint(
        "alignment_timeout = '1s'\ncheckpoint.max_concurrent = 2",
        &[
            "`checkpoint.alignment_timeout` has no place here: a barrier cannot overtake another one (leave it out, or set `checkpoint.max_concurrent = 1`)",
        ],
    );
    check_option(
        "delivery = 'exactly-once'\nbatch = {}\ncheckpoint.alignment_timeout = '1s'",
        &[
            "`checkpoint.alignment_timeout` has no place here: a barrier cannot overtake another one (leave it out, or set `batch.max_pending = 1`)",
        ],
    );
    check_checkpoint("retain = 1", &[]);
    check_checkpoint("retain = 100", &[]);
    check_checkpoint("retain = 0", &["`checkpoint.retain` must be at least 1, not 0"]);
    check_checkpoint("retain = 101", &["`checkpoint.retain` must be at most 100, not 101"]);
    check_checkpoint("retain = -1", &["`checkpoint.retain` must be between 1 and 100"]);
    check_checkpoint(
        "storage = ''",
        &[
            "`checkpoint.storage` is empty, and must be the path of a directory (leave it out for the default directory)",
        ],
    );
    check_checkpoint(
        "storage = 5",
        &["`checkpoint.storage` must be the path of a directory, not an integer"],
    );
    check_checkpoint(
        "mode = 'unaligned'",
        &["`checkpoint.mode` must be \"exactly-once\" or \"at-least-once\", not \"unaligned\""],
    );
    check_checkpoint("retian = 5", &["unknown key `checkpoint.retian` (did you mean `retain`?)"]);
    check_option(
        "delivery = 'exactly-once'\ncheckpoint = '10s'",
        &["`checkpoint` must be a table, not a string"],
    );
}

#[test]
fn batches_set_the_pace_of_checkpoints() {
    let batch = |lines: &str| {
        let lines = format!("[topology]\ndelivery = 'exactly-once'\n{lines}\n");
        let topology = topology(&WORD_COUNT.replace("[topology]\n", &lines));
        (topology.options().batch, topology.options().checkpoint_at_pace())
    };
    let pace = |interval: u64, at_once| (Duration::from_millis(interval), at_once);
    let check = |lines: &str, (interval, max_pending): (Duration, u32)| {
        let (batch, checkpoint) = batch(lines);
        assert_eq!(batch, Some(BatchOptions { interval, max_pending }), "{lines}");
        assert_eq!((checkpoint.interval, checkpoint.max_concurrent), (interval, max_pending), "{lines}");
    };
    assert_eq!(batch("").0, None);
    check("batch = {}", pace(500, 3));
    check("batch.interval = '1s'", pace(1000, 3));
    check("batch.max_pending = 1", pace(500, 1));
    check("batch = { interval = '20ms', max_pending = 10 }\ncheckpoint.retain = 2", pace(20, 10));
    check_option(
        "batch = {}",
        &[
            "`batch` is used with `delivery = \"exactly-once\"` only, not with at-least-once (leave it out, or set `delivery = \"exactly-once\"`)",
        ],
    );
    let wrong = |lines: &str, expected: &[&str]| {
        check_option(&format!("delivery = 'exactly-once'\n{lines}"), expected)
    };
    wrong("batch.interval = '1ms'", &["`batch.interval` must be at least 10ms, not 1ms"]);
    wrong("batch.max_pending = 0", &["`batch.max_pending` must be at least 1, not 0"]);
    wrong("batch.max_pending = 11", &["`batch.max_pending` must be at most 10, not 11"]);
    wrong("batch.intervall = '1s'", &["unknown key `batch.intervall` (did you mean `interval`?)"]);
    wrong("batch = 3", &["`batch` must be a table, not an integer"]);
    wrong(
        "batch = {}\ncheckpoint.interval = '1s'\ncheckpoint.max_concurrent = 2",
        &[
            "`checkpoint.interval` does not go with `batch`: each batch ends with a checkpoint (leave it out, and set `batch.interval`)",
            "`checkpoint.max_concurrent` does not go with `batch`: each batch ends with a checkpoint (leave it out, and set `batch.max_pending`)",
        ],
    );
}

/// What the validator has against a topology of Rust with these options.
fn refused_in_rust(change: impl FnOnce(&mut squall::config::TopologyOptions)) -> Vec<String> {
    lines(topology(WORD_COUNT).with_options(change))
}

/// Options that nothing would use are refused, also where they have the values of the defaults.
#[test]
fn options_of_checkpoints_are_refused_with_another_delivery() {
    let refusal = |delivery: &str| {
        format!(
            "`checkpoint` is used with `delivery = \"exactly-once\"` only, not with {delivery} (leave it out, or \
             set `delivery = \"exactly-once\"`)"
        )
    };
    check_option("checkpoint = {}", &[&refusal("at-least-once")]);
    check_option("checkpoint.interval = '10s'", &[&refusal("at-least-once")]);
    check_option("checkpoint.interval = '5s'", &[&refusal("at-least-once")]);
    check_option("delivery = 'at-most-once'\ncheckpoint.retain = 5", &[&refusal("at-most-once")]);
    check_option(
        "checkpoint.retain = 0",
        &[&refusal("at-least-once"), "`checkpoint.retain` must be at least 1, not 0"],
    );
    check(
        &WORD_COUNT.replace("[spout.lines]", "[topology.checkpoint]\nretain = 5\n[spout.lines]"),
        &[&format!("t:4:1: {}", refusal("at-least-once"))],
    );
    assert_eq!(refused_in_rust(|options| options.checkpoint.retain = 5), [refusal("at-least-once")]);
    let both = |options: &mut squall::config::TopologyOptions| {
        options.delivery = Delivery::ExactlyOnce;
        options.checkpoint.retain = 5;
    };
    assert_eq!(refused_in_rust(both), [""; 0]);
    let mut builder = TopologyBuilder::new("rust");
    builder.options(|options| options.checkpoint.retain = 5);
    builder.spout("s", || squall::testing::FixedSpout::new(["n"], [vec![1.into()]]));
    assert_eq!(lines(builder.build()), [refusal("at-least-once")]);
}

#[test]
fn exactly_once_runs_in_several_workers() {
    check_option("delivery = 'exactly-once'\nworkers = 3", &[]);
    let both = |options: &mut squall::config::TopologyOptions| {
        (options.delivery, options.workers) = (Delivery::ExactlyOnce, 3);
    };
    assert_eq!(refused_in_rust(both), [""; 0]);
}

#[test]
fn exactly_once_takes_a_cycle_if_each_bolt_has_an_input_that_leads_forward() {
    let looped =
        "\n[bolt.looped]\ntype = 'split'\ninputs = ['lines', { from = 'looped', feedback = true }]\n";
    check_added(looped, &[]);
    let document = WORD_COUNT.replace("[topology]\n", "[topology]\ndelivery = 'exactly-once'\n");
    check(
        &format!("{document}{}", looped.replace("'lines', ", "{ from = 'lines', feedback = true }, ")),
        &[
            "t:18:40: each input of bolt `looped` leads back, and exactly-once needs one that does not: with that one \
             the barriers of checkpoints come into the bolt (mark with `feedback = true` (`.feedback()` in Rust) the \
             input by which tuples come back to a bolt where they have been, and not the one by which they come \
             here first)",
        ],
    );
    check(&format!("{document}{looped}"), &[]);
    check_messages(
        &format!("{document}{}", looped.replace("true", "false")),
        &[
            "tuples would go round in a cycle: `looped` → `looped` (if it is meant, mark the input that leads back with `feedback = true` (`.feedback()` in Rust))",
        ],
    );
}

/// There are no ackers where nothing is tracked, so a topology may have as many more tasks of its own.
#[test]
fn ackers_count_as_tasks_only_where_tuples_are_tracked() {
    let wide: String = (0..8)
        .map(|i| (i, if i < 7 { 4096 } else { 4091 }))
        .map(|(i, tasks)| format!("[bolt.b{i}]\ntype = 'split'\ninputs = ['lines']\nparallelism = {tasks}\n"))
        .collect();
    let check = |delivery: &str, expected: &[&str]| {
        let document =
            WORD_COUNT.replace("[topology]\n", &format!("[topology]\ndelivery = '{delivery}'\nackers = 2\n"));
        check_messages(&format!("{document}{wide}"), expected);
    };
    check("at-least-once", &["the topology has 32769 tasks; the limit is 32767"]);
    check("at-most-once", &[]);
    check("exactly-once", &[]);
}

/// As with at-most-once, what only tracking uses is accepted and has no effect.
#[test]
fn options_of_tracking_are_accepted_with_every_delivery() {
    for delivery in ["at-most-once", "at-least-once", "exactly-once"] {
        let options = "ackers = 2\nmessage_timeout = '5s'\nmax_replays = 3\nmax_spout_pending = 10\n\
            replay.backoff_max = '5s'";
        check_option(&format!("delivery = '{delivery}'\n{options}"), &[]);
    }
}

#[test]
fn wrong_tables() {
    check(
        "",
        &[
            "t:1:1: there is no `[topology]` table (begin the file with `[topology]` and `name = \"…\"`)",
            "t:1:1: the topology has no spout, so nothing would ever happen (a spout begins the streams: declare one by `[spout.ID]` or `TopologyBuilder::spout`)",
        ],
    );
    check_messages(
        &WORD_COUNT.replace("name = \"word-count\"", ""),
        &["the topology has no `name` (for example `name = \"word-count\"`)"],
    );
    check_added("[bolts.x]\n", &["unknown key `bolts` (did you mean `bolt`?)"]);
    check_added(
        "[state.x]\n[[stream]]\n[[test]]\n",
        &[
            "state `x` has no `type` (types: shelf)",
            "`stream` is not available in this version of squall",
            "`test` is not available in this version of squall",
        ],
    );
    check_messages(
        "topology = 1\nspout = 2\n",
        &["`topology` must be a table, not an integer", "`spout` must be a table, not an integer"],
    );
    check_added("[bolt]\nx = 3\n", &["bolt `x` must be a table"]);
}

/// 4,096 by 4,096 tasks were valid, and the run was then killed for want of memory.
#[test]
fn what_does_not_fit_the_memory_of_queues_is_refused() {
    let wide = |from: u32, to: u32| {
        format!(
            "[bolt.a]\ntype = \"split\"\ninputs = [\"lines\"]\nparallelism = {from}\n\
             [bolt.b]\ntype = \"split\"\ninputs = [\"a\"]\nparallelism = {to}\n"
        )
    };
    check_added(&wide(128, 128), &[]);
    check_added(
        &wide(1024, 512),
        &[
            "`queue.memory` of 64MiB is too little for 525316 pairs of tasks: 1024 tasks of bolt `a` send to 512 tasks of bolt `b` (set `queue.memory` to 1027MiB or more, or a lower `parallelism`)",
        ],
    );
    check_added(
        &wide(4096, 4096),
        &[
            "tuples pass between 16781316 pairs of tasks, and the limit is 1048576: 4096 tasks of bolt `a` send to 4096 tasks of bolt `b` (set a lower `parallelism` or `tasks`, or put a component of few tasks between them)",
        ],
    );
}

#[test]
fn wrong_components() {
    check_added(
        "[bolt.x]\ninputs = ['lines']\n",
        &["bolt `x` has no `type` (types: count, lax, print, split, wants)"],
    );
    check_added(
        "[bolt.x]\ntype = 'prnit'\ninputs = ['lines']\n",
        &["no bolt type `prnit` is known (did you mean `print`?)"],
    );
    check_added(
        "[bolt.x]\ntype = 'file'\ninputs = ['lines']\n",
        &["`file` is a spout type, not a bolt type (declare the component by `[spout.ID]`)"],
    );
    check_added(
        "[bolt.x]\ntype = 3\ninputs = ['lines']\n",
        &["`type` of bolt `x` must be a string, not an integer"],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\nparallelizm = 2\n",
        &["unknown key `parallelizm` of bolt `x` (did you mean `parallelism`?)"],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\nnum_tasks = 2\n",
        &["unknown key `num_tasks` of bolt `x` (did you mean `tasks`?)"],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\nstreams = {}\n",
        &["`streams` of bolt `x` is not available in this version of squall"],
    );
    check_added("[bolt.x]\ntype = 'print'\ninputs = ['lines']\non_error = {}\n", &[]);
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\n\
         on_error = { retry = 5, backoff = '200ms..10s', then = 'stop' }\n",
        &[],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\non_error = { retries = 5, backoff = '1s', then = 'retry' }\n",
        &[
            "unknown key `on_error.retries` of bolt `x` (did you mean `retry`?)",
            "`on_error.backoff` of bolt `x`: \"1s\" is not two durations with `..` between them (it is two \
             durations, as \"200ms..10s\")",
            "`on_error.then` of bolt `x` must be \"fail\", \"dead-letter\" or \"stop\", not \"retry\"",
        ],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\nmax_replays = 3\n\
         on_error = { retry = 1001, backoff = '2s..1s', then = 'dead-letter' }\n",
        &[
            "bolt `x` has `max_replays`, and with `on_error.then = \"dead-letter\"` none of its tuples is \
             replayed (leave out one of them)",
            "`on_error.retry` of bolt `x` must be at most 1000, not 1001",
            "`on_error.backoff` of bolt `x` must be at least 2s, not 1s",
            "bolt `x` sends tuples to its dead-letter stream, and no bolt takes `x.dead-letter` (add a bolt with \
             the input `x.dead-letter`, or set `then = \"fail\"`)",
        ],
    );
    check_added(
        "[spout.x]\ntype = 'picker'\non_error = {}\n",
        &["unknown key `on_error` of spout `x`: only a bolt has it"],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\nmax_spout_pending = 2\n",
        &["unknown key `max_spout_pending` of bolt `x`: only a spout has it"],
    );
    check_added(
        "[spout.x]\ntype = 'picker'\ntick = '1s'\n",
        &["unknown key `tick` of spout `x`: only a bolt has it"],
    );
    check_added(
        "[spout.x]\ntype = 'picker'\ninputs = ['lines']\n",
        &[
            "spout `x` cannot have inputs (a component with inputs is a bolt, declared by `[bolt.ID]` or `TopologyBuilder::bolt`)",
        ],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\n",
        &["bolt `x` has no inputs and would never run (for example `inputs = [\"lines\"]`)"],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = []\n",
        &["bolt `x` has no inputs and would never run (for example `inputs = [\"lines\"]`)"],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\nparallelism = 0\n",
        &["`parallelism` of bolt `x` must be at least 1, not 0"],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\nparallelism = 1000000\n",
        &["`parallelism` of bolt `x` must be at most 4096, not 1000000"],
    );
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['lines']\nparallelism = 3\ntasks = 2\n",
        &[
            "bolt `x` has fewer tasks than executors: tasks 2, parallelism 3 (each executor needs a task; set `parallelism` to 2 or less)",
        ],
    );
    check_added(
        "[bolt.'x y']\ntype = 'print'\ninputs = ['lines']\n",
        &["a component id may hold only letters, digits, `.`, `_` and `-`, unlike `x y` (for example `x-y`)"],
    );
    check_added(
        "[bolt.__acker]\ntype = 'print'\ninputs = ['lines']\n",
        &["a component id must not begin with `__`: `__acker` is the system's"],
    );
    check_added(
        "[bolt.lines]\ntype = 'print'\ninputs = ['split']\n",
        &["component `lines` is defined twice (ids are shared by spouts and bolts; each may be used once)"],
    );
    check_added("[bolt.split]\ntype = 'print'\ninputs = ['split']\n", &["`split` is given twice"]);
}

#[test]
fn wrong_settings_of_components() {
    let spout = |config: &str| format!("[spout.x]\ntype = 'file'\n{config}\n");
    check_added(&spout(""), &["config of spout `x` (type `file`) needs `path`"]);
    check_added(&spout("config = {}"), &["config of spout `x` (type `file`) needs `path`"]);
    check_added(&spout("config = 1"), &["`config` of spout `x` must be a table, not an integer"]);
    check_added(
        &spout("config = { path = 1 }"),
        &["config of spout `x`: invalid type: integer `1`, expected a string"],
    );
    check_added(
        &spout("config = { path = 'a', folow = true }"),
        &["unknown key `folow` in config of spout `x` (type `file`) (did you mean `follow`?)"],
    );
    check_added(
        &spout("config = { pth = 'a', folow = true }"),
        &[
            "config of spout `x` (type `file`) needs `path`",
            "unknown key `pth` in config of spout `x` (type `file`) (did you mean `path`?)",
            "unknown key `folow` in config of spout `x` (type `file`) (did you mean `follow`?)",
        ],
    );
    check_added(
        &spout("config = { path = 'a', rotation = { sizes = 1, size = 2 } }"),
        &["unknown key `sizes` in config of spout `x` (type `file`) (did you mean `size`?)"],
    );
    check_added(
        &spout("config = { path = 'a', rotation = {} }"),
        &["config of spout `x`: `size` is missing here"],
    );
    check_added(
        &spout("config = { path = 'a', rotation = { size = 1, keep = 0 } }"),
        &["config of spout `x`: invalid value: integer `0`, expected a nonzero u32"],
    );
    let bolt = |name: &str, config: &str| {
        format!("[bolt.x]\ntype = '{name}'\ninputs = ['lines']\nconfig = {config}\n")
    };
    check_added(&bolt("split", "{ pattern = '' }"), &["config of bolt `x`: a pattern cannot be empty"]);
    check_added(&bolt("count", "{ a = 1 }"), &["unknown key `a` in config of bolt `x` (type `count`)"]);
    check_added(
        &bolt("lax", "{ limti = 1, inner = { deep = 2, depe = 3 } }"),
        &[
            "unknown key `limti` in config of bolt `x` (type `lax`) (did you mean `limit`?)",
            "unknown key `depe` in config of bolt `x` (type `lax`)",
        ],
    );
    check_added(&bolt("lax", "{ limit = 101 }"), &["config of bolt `x`: too much"]);
    // User code never takes the process down: neither `validate` nor `run`.
    check_added(
        &bolt("lax", "{ limit = 100 }"),
        &["config of bolt `x`: its constructor panicked: no instance"],
    );
}

#[test]
fn wrong_inputs() {
    let check_inputs = |inputs: &str, expected: &[&str]| {
        check_added(&format!("[bolt.x]\ntype = 'print'\ninputs = {inputs}\n"), expected);
    };
    check_inputs(
        "'lines'",
        &["`inputs` of bolt `x` must be an array, not a string (for example `inputs = [\"lines\"]`)"],
    );
    check_inputs(
        "[1]",
        &["an input of bolt `x` must be \"id\", \"id.stream\" or { from = \"id\", … }, not an integer"],
    );
    check_inputs("['line']", &["input of bolt `x`: there is no component `line` (did you mean `lines`?)"]);
    check_inputs(
        "['spilt.long']",
        &["input of bolt `x`: there is no component `spilt.long` (did you mean `split.long`?)"],
    );
    check_inputs(
        "['split.lnog']",
        &["input of bolt `x`: bolt `split` has no stream `lnog` (did you mean `long`?)"],
    );
    check_inputs(
        "[{ from = 'split', stream = 'lnog' }]",
        &["input of bolt `x`: bolt `split` has no stream `lnog` (did you mean `long`?)"],
    );
    check_inputs(
        "[{ form = 'split' }]",
        &[
            "an input of bolt `x` names no component (give the id of one by `from`)",
            "unknown key `inputs.form` of bolt `x` (did you mean `from`?)",
        ],
    );
    check_inputs("[{ from = 1 }]", &["`inputs.from` of bolt `x` must be a string, not an integer"]);
    check_inputs(
        "[{ from = 'split', grouping = 'shufle' }]",
        &["there is no grouping `shufle` (did you mean `shuffle`?)"],
    );
    check_inputs(
        "[{ from = 'split', grouping = 'fields' }]",
        &[
            "input of bolt `x`: grouping `fields` needs the fields to group by (for example `fields = [\"word\"]`)",
        ],
    );
    check_inputs(
        "[{ from = 'split', fields = 'word' }]",
        &["`inputs.fields` of bolt `x` must be an array of field names, as [\"word\"], not a string"],
    );
    check_inputs(
        "[{ from = 'split', fields = [1] }]",
        &["`inputs.fields` of bolt `x` must be a field name, not an integer"],
    );
    check_inputs(
        "[{ from = 'split', fields = ['word', 'wrod'] }]",
        &["input of bolt `x`: `split.default` has no field `wrod` (did you mean `word`?)"],
    );
    check_inputs(
        "[{ from = 'split', grouping = 'all', fields = ['word'], custom = 'first' }]",
        &["`fields` does not go with grouping `all`", "`custom` does not go with grouping `all`"],
    );
    check_inputs(
        "[{ from = 'split', grouping = 'custom' }]",
        &[
            "grouping `custom` needs the name of a registered grouping (give it by `custom`; registered: first, top)",
        ],
    );
    check_inputs(
        "[{ from = 'split', custom = 'frist' }]",
        &["no custom grouping `frist` is registered (did you mean `first`?)"],
    );
    check_inputs("[{ from = 'split', custom = 'top', config = { tasks = 2 } }]", &[]);
    check_inputs(
        "[{ from = 'split', custom = 'top', config = { tasks = 0 } }]",
        &["config of an input of bolt `x`: no task would get a tuple"],
    );
    check_inputs(
        "[{ from = 'split', custom = 'top', config = { tasks = 1, task = 2 } }]",
        &["unknown key `task` in config of an input of bolt `x` (grouping `top`) (did you mean `tasks`?)"],
    );
    check_inputs(
        "[{ from = 'split', custom = 'top' }]",
        &["config of an input of bolt `x` (grouping `top`) needs `tasks`"],
    );
    check_inputs(
        "[{ from = 'split', custom = 'first', config = { tasks = 2 } }]",
        &["unknown key `tasks` in config of an input of bolt `x` (grouping `first`)"],
    );
    check_inputs(
        "[{ from = 'split', custom = 'top', config = 2 }]",
        &["`inputs.config` of bolt `x` must be a table, not an integer"],
    );
    check_inputs(
        "[{ from = 'split', config = { tasks = 2 } }]",
        &["`config` does not go with grouping `shuffle`"],
    );
    check_inputs(
        "[{ from = 'split', grouping = 'direct' }]",
        &[
            "input of bolt `x`: `split.default` is not a direct stream, so it has no direct grouping (the component would have to declare it by `Streams::direct_stream`)",
        ],
    );
    check_inputs("['split', 'split.default']", &["bolt `x` takes `split.default` twice"]);
    check_inputs(
        "[{ from = 'split', feedback = 'yes' }]",
        &["`inputs.feedback` of bolt `x` must be `true` or `false`, not a string"],
    );
}

#[test]
fn cycles() {
    let text =
        "[bolt.a]\ntype = 'count'\ninputs = ['lines', FROM_B]\n[bolt.b]\ntype = 'count'\ninputs = ['a']\n";
    check_added(
        &text.replace("FROM_B", "'b'"),
        &[
            "tuples would go round in a cycle: `a` → `b` → `a` (if it is meant, mark the input that leads back with `feedback = true` (`.feedback()` in Rust))",
        ],
    );
    check_added(&text.replace("FROM_B", "{ from = 'b', feedback = true }"), &[]);
}

#[test]
fn nothing_is_reported_that_follows_from_another_mistake() {
    // The fields of `split` are unknown as long as its settings are wrong.
    let document =
        WORD_COUNT.replace("inputs = [\"lines\"]", "inputs = [\"lines\"]\nconfig = { emmit = 'w' }");
    check_messages(
        &document,
        &["unknown key `emmit` in config of bolt `split` (type `split`) (did you mean `emit`?)"],
    );
}

#[test]
fn syntax_errors_come_with_what_else_is_wrong() {
    check(
        "[topology]\nname = \"a\nworkers = '3'\n[bolt.x\ntype = 'prnit'\ninputs = ['y']\n[spout.s]\ntype = 'file'\nconfig.path = \n",
        &[
            "t:2:10: invalid basic string, expected `\"`",
            "t:3:11: `workers` must be a whole number, not a string",
            "t:4:8: unclosed table, expected `]`",
            "t:9:15: string values must be quoted, expected literal string",
        ],
    );
}

#[test]
fn variables_are_put_into_string_values() {
    let load_with = |source: MemorySource, text: &str| load(&source.file("t", text), "t", &registry(), &[]);
    let text = WORD_COUNT.replace("word-count", "${NAME}-${KIND:-batch}$$x");
    let source = MemorySource::new().set("NAME", "my");
    let errors = load_with(source, &text).unwrap_err();
    assert!(errors.to_string().contains("unlike `my-batch$x`"), "{errors}");

    let check = |value: &str, expected: &str| {
        let text =
            WORD_COUNT.replace("name = \"word-count\"", &format!("name = 'n'\nsettings.v = '{value}'"));
        let source = MemorySource::new().set("A", "1").set("EMPTY", "").set("NESTED", "${A}");
        let found = match load_with(source, &text) {
            Ok(topology) => topology.options().settings["v"].as_str().unwrap().to_owned(),
            Err(errors) => errors.diagnostics()[0].message.clone(),
        };
        assert_eq!(found, expected, "{value}");
    };
    check("${A}${A}", "11");
    check("a$b $ $1 \\d+$", "a$b $ $1 \\d+$");
    check("$${A}", "${A}");
    check("$$$$", "$$");
    check("${EMPTY}", "");
    check("${EMPTY:-d}", "d");
    check("${A:-d}", "1");
    check("${B:-}", "");
    check("${B:-a:-b}", "a:-b");
    check("${NESTED}", "${A}");
    check("${B}", "variable `B` is not set, and `topology.settings.v` needs it");
    check("${A", "`${` without `}` in `topology.settings.v`");
    check("${}", "`${}` in `topology.settings.v` does not name a variable");
    check("${a b}", "`${a b}` in `topology.settings.v` does not name a variable");
}

#[test]
fn variables_cannot_blow_a_document_up() {
    let source = MemorySource::new().set("LONG", &"x".repeat(1 << 20)).file(
        "t",
        WORD_COUNT.replace(
            "name = \"word-count\"",
            &format!("name = 'n'\nsettings.v = '{}'", "${LONG}".repeat(100_000)),
        ),
    );
    let errors = load(&source, "t", &registry(), &[]).unwrap_err();
    assert_eq!(errors.diagnostics()[0].message, "variables add more than 4194304 bytes to the topology");
}

#[test]
fn overrides_win_and_their_mistakes_are_named() {
    let set = |arguments: &[&str]| {
        let source = MemorySource::new().set("N", "3").file("t", WORD_COUNT);
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        load(&source, "t", &registry(), &arguments)
    };
    let topology = set(&[
        "bolt.split.parallelism=3",
        "topology.max_replays = 3",
        "bolt.split.config.emit='word'",
        "spout.lines.config.path=a=b.txt",
        "topology.queue.batch=7",
        "topology.settings.\"a.b\"=[1, 2]",
        "topology.name=other-${N}",
    ])
    .unwrap();
    assert_eq!(topology.name(), "other-3");
    assert_eq!(topology.component("split").unwrap().options.parallelism, 3);
    assert_eq!(topology.options().max_replays, Some(3));
    assert_eq!(topology.options().queue.batch, 7);
    assert_eq!(topology.options().settings["a.b"][1].as_integer(), Some(2));

    let check = |argument: &str, expected: &str| {
        assert_eq!(lines(set(&[argument])), [expected], "{argument}");
    };
    check(
        "bolt.split.parallelizm=3",
        "--set bolt.split.parallelizm=3:1:12: unknown key `parallelizm` of bolt `split` (did you mean `parallelism`?)",
    );
    check(
        "topology.nope=3",
        "--set topology.nope=3:1:10: unknown key `nope` (keys: name, delivery, workers, include, ackers, message_timeout, max_spout_pending, max_replays, threads, drain_timeout, max_task_parallelism, key_groups and 14 more)",
    );
    check(
        "bolt.split.parallelism=x",
        "--set bolt.split.parallelism=x:1:24: `parallelism` of bolt `split` must be a whole number, not a string",
    );
    check(
        "bolt.splti.tasks=3",
        "--set bolt.splti.tasks=3:1:6: `--set bolt.splti.tasks=3`: there is no bolt `splti` (did you mean `split`?)",
    );
    check(
        "bolt.split.parallelism.x=3",
        "--set bolt.split.parallelism.x=3:1:12: `--set bolt.split.parallelism.x=3`: `parallelism` is not a table",
    );
    check(
        "bolt.split.config.patern=3",
        "--set bolt.split.config.patern=3:1:19: unknown key `patern` in config of bolt `split` (type `split`) (did you mean `pattern`?)",
    );
    check(
        "nothing",
        "--set nothing:1:1: `--set nothing`: there is no `=` between key and value (for example `--set bolt.count.parallelism=2`)",
    );
    check(
        "a b=1",
        "--set a b=1:1:1: `--set a b=1`: the part before `=` is not a key (for example `--set bolt.count.parallelism=2`)",
    );
    check(
        "topology.include=['x']",
        "--set topology.include=['x']:1:1: `--set topology.include=['x']`: includes cannot be set: the files have been read",
    );
    check("topology.threads=0", "--set topology.threads=0:1:18: `threads` must be at least 1, not 0");
    check("bolts.x=1", "--set bolts.x=1:1:1: unknown key `bolts` (did you mean `bolt`?)");
}

/// A file called 2026-11-28 or 5 could not be named: TOML reads the one as a date and the other as a
/// number, where a path was wanted.
#[test]
fn overrides_are_text_where_text_is_meant() {
    let set = |arguments: &[&str]| {
        let ungrouped = WORD_COUNT.replace("{ from = \"split\", fields = [\"word\"] }", "\"split\"");
        let source = MemorySource::new().file("t", ungrouped);
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        load(&source, "t", &registry(), &arguments)
    };
    for text in
        ["2026-11-28", "5", "true", "07:30:00", "1.50", "0x1F", "2026-11-28T07:30:00Z", "inf", "a.txt"]
    {
        let (path, emit) =
            (format!("spout.lines.config.path={text}"), format!("bolt.split.config.emit={text}"));
        // Both at once, and each beside a value that is a number and stays one.
        let topology = set(&[&path, &emit, "bolt.split.parallelism=3", "topology.settings.n=5"]);
        let topology = topology.unwrap_or_else(|errors| panic!("{text}: {errors}"));
        let split = topology.component("split").unwrap();
        assert_eq!(split.streams.get("default").unwrap().fields.get(0).map(|name| name.as_str()), Some(text));
        assert_eq!(split.options.parallelism, 3);
        assert_eq!(topology.options().settings["n"].as_integer(), Some(5));
    }
    assert_eq!(set(&["topology.name=2026"]).unwrap().name(), "2026");

    let check = |argument: &str, expected: &str| {
        let found = lines(set(&[argument])).into_iter().next().unwrap_or_default();
        assert_eq!(found, format!("--set {argument}:1:{expected}"));
    };
    // Text would be taken, but a list is rarely meant as text.
    check(
        "spout.lines.config.path=[1]",
        "25: config of spout `lines`: invalid type: an array, expected a string (if it is meant as text: --set 'spout.lines.config.path=\"[1]\"')",
    );
    check(
        "spout.lines.config.path={a='b'}",
        "25: config of spout `lines`: invalid type: a table, expected a string (if it is meant as text: --set 'spout.lines.config.path=\"{a='\\''b'\\''}\"')",
    );
    // Text would be no better.
    check(
        "spout.lines.config.follow=5",
        "27: config of spout `lines`: invalid type: integer `5`, expected a boolean",
    );
    check(
        "topology.message_timeout=30",
        "26: `message_timeout` has no unit: it must be a duration, as \"30s\", or \"off\"",
    );
    // The last argument holds, and it is judged by itself.
    let last = ["spout.lines.config.path=5", "spout.lines.config.path='b.txt'", "topology.threads=x"];
    assert_eq!(lines(set(&last)).len(), 1);
}

/// Every document and every include is UTF-8; whatever else it is, is named at its place.
#[test]
fn other_encodings_are_named_wherever_they_are_read() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let check = |source: MemorySource, expected: &[&str]| {
        let found = lines(load(&source, "t", &registry(), &[]));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
    };
    check(MemorySource::new().file("t", [b"\xef\xbb\xbf", WORD_COUNT.as_bytes()].concat()), &[]);
    check(MemorySource::new().file("t", WORD_COUNT.replace('\n', "\r\n")), &[]);
    check(
        MemorySource::new().file("t", utf16(WORD_COUNT)),
        &[
            "t:1:1: this is UTF-16 (little-endian, without a byte-order mark), not UTF-8 (documents are UTF-8: save",
        ],
    );
    check(
        MemorySource::new().file("t", [WORD_COUNT.as_bytes(), b"# caf\xe9"].concat()),
        &["t:14:6: byte 0xE9 at offset 238 is not UTF-8; the text looks like Latin-1 (ISO 8859-1)"],
    );
    let including = WORD_COUNT.replace("[topology]\n", "[topology]\ninclude = ['more.toml']\n");
    check(
        MemorySource::new().file("t", including.clone()).file("more.toml", b"a = 1\n\n\0".as_slice()),
        &["more.toml:3:1: a NUL byte at offset 7: no document may hold one"],
    );
    let source = MemorySource::new().file("t", including).file("more.toml", b"# \xe9".as_slice());
    let errors = load(&source, "t", &registry(), &[]).unwrap_err();
    assert_eq!(errors.diagnostics()[0].related[0].0.to_string(), "t:3:12");
    let engine = MemorySource::new().file("squall.toml", utf16("\u{feff}[net]\n"));
    let errors = load_engine(&engine, "squall.toml").unwrap_err();
    assert!(
        errors.to_string().contains("this is UTF-16 (little-endian, with a byte-order mark)"),
        "{errors}"
    );
}

#[test]
fn overrides_find_ids_with_dots() {
    let text = format!("{WORD_COUNT}[bolt.'a.b']\ntype = 'print'\ninputs = ['lines']\n");
    let source = MemorySource::new().file("t", text);
    let topology = load(&source, "t", &registry(), &["bolt.a.b.parallelism=2".to_owned()]).unwrap();
    assert_eq!(topology.component("a.b").unwrap().options.parallelism, 2);
}

#[test]
fn includes_add_to_a_document() {
    let source = MemorySource::new()
        .set("PART", "count")
        .file("dir/main.toml", "[topology]\nname = 'n'\ninclude = ['common/a.toml', '${PART}.toml']\nsettings.a = 1\n")
        .file("dir/common/a.toml", "[topology]\ninclude = ['../b.toml']\nsettings.b = 2\nqueue.batch = 5\n[spout.lines]\ntype = 'file'\nconfig.path = 'x'\n")
        .file("dir/b.toml", "[bolt.split]\ntype = 'split'\ninputs = ['lines']\n[topology.queue]\ncapacity = 50\n")
        .file("dir/count.toml", "[bolt.count]\ntype = 'count'\ninputs = ['split']\n");
    let topology = load(&source, "dir/main.toml", &registry(), &[]).unwrap();
    let ids: Vec<&str> = topology.components().iter().map(|component| component.id.as_str()).collect();
    assert_eq!(ids, ["lines", "split", "count"]);
    assert_eq!((topology.options().queue.batch, topology.options().queue.capacity), (5, 50));
    assert_eq!(topology.options().settings.len(), 2);
}

#[test]
fn mistakes_in_included_files_are_shown_where_they_are() {
    let main = |rest: &str| {
        MemorySource::new()
            .file("d/m.toml", format!("[topology]\nname = 'n'\n{rest}\n[spout.s]\ntype = 'picker'\n"))
    };
    let check = |source: MemorySource, expected: &[&str]| {
        assert_eq!(lines(load(&source, "d/m.toml", &registry(), &[])), expected);
    };
    check(main("include = ['a.toml']"), &["d/m.toml:3:12: cannot read `d/a.toml`: entity not found"]);
    check(
        main("include = 'a.toml'"),
        &[
            "d/m.toml:3:11: `include` must be an array of paths (for example `include = [\"common/kafka.toml\"]`)",
        ],
    );
    check(main("include = [3]"), &["d/m.toml:3:12: an item of `include` must be a path"]);
    check(
        main("include = ['a.toml']").file("d/a.toml", "[topology]\ninclude = ['./m.toml']\n"),
        &["d/a.toml:2:12: files include each other in a cycle: d/m.toml → d/a.toml → d/m.toml"],
    );
    check(
        main("include = ['a.toml', 'x/../a.toml']").file("d/a.toml", ""),
        &["d/m.toml:3:22: `d/a.toml` is included twice"],
    );
    check(
        main("include = ['a.toml']").file("d/a.toml", "[bolt.b]\ntype = 'prnit'\ninputs = ['t']\n"),
        &[
            "d/a.toml:2:8: no bolt type `prnit` is known (did you mean `print`?)",
            "d/a.toml:3:11: input of bolt `b`: there is no component `t` (components: s)",
        ],
    );
    let twice =
        main("include = ['a.toml']").file("d/a.toml", "[spout.s]\ntype = 'file'\n[topology]\nname = 'm'\n");
    check(
        twice.clone(),
        &[
            "d/a.toml:1:8: spout `s` is given in two files",
            "d/a.toml:4:1: `topology.name` is given in two files",
        ],
    );
    let errors = load(&twice, "d/m.toml", &registry(), &[]).unwrap_err();
    assert_eq!(errors.diagnostics()[0].related[0].0.to_string(), "d/m.toml:4:8");
    check(
        main("include = ['a.toml']").file(
            "d/a.toml",
            "[bolt.s]\ntype = 'print'\ninputs = ['p']\n[spout.p]\ntype = 'file'\nconfig.path = 'x'",
        ),
        &[
            "d/a.toml:1:7: component `s` is defined twice (ids are shared by spouts and bolts; each may be used once)",
        ],
    );
    let missing = load(&MemorySource::new(), "no.toml", &registry(), &[]);
    assert_eq!(lines(missing), ["cannot read `no.toml`: entity not found"]);
}

#[test]
fn a_component_refuses_what_surrounds_it_at_the_key_that_asks_for_it() {
    let document = |config: &str, more: &str| {
        format!(
            "{WORD_COUNT}[bolt.w]\ntype = \"wants\"\ninputs = [\"split\", \"count\"]\n{more}\nconfig = {config}\n"
        )
    };
    check(&document("{ field = 'word' }", ""), &[]);
    check(
        &document("{ field = 'wrod' }", ""),
        &[
            "t:18:20: config `field` of bolt `w`: `split.default` has no field `wrod` (did you mean `word`?)",
            "t:18:20: config `field` of bolt `w`: `count.default` has no field `wrod` (did you mean `word`?)",
        ],
    );
    check(
        &document("{ field = 'count' }", ""),
        &["t:18:20: config `field` of bolt `w`: `split.default` has no field `count` (fields: word)"],
    );
    check(&document("{ ticks = true }", ""), &["t:18:20: config `ticks` of bolt `w`: there is no tick"]);
    check(&document("{ ticks = true }", "tick = '1s'"), &[]);
    check(&document("{ ticks = true }", "").replace("[topology]", "[topology]\ntick = '1s'"), &[]);
}

#[test]
fn a_component_sees_the_fields_of_streams_that_nobody_declared() {
    let bolt = |from: &str, field: &str| {
        format!("{WORD_COUNT}[bolt.w]\ntype = 'wants'\ninputs = ['{from}']\nconfig.field = '{field}'\n")
    };
    check(&bolt("split.dead-letter", "attempt"), &[]);
    check(
        &bolt("split.dead-letter", "word"),
        &["t:17:16: config `field` of bolt `w`: `split.dead-letter` has no field `word` \
           (fields: source, stream, values, error, attempt)"],
    );
    // What is unknown because of another error is not judged.
    check(
        &bolt("splti", "word"),
        &["t:16:11: input of bolt `w`: there is no component `splti` (did you mean `split`?)"],
    );
}

#[test]
fn a_resource_is_claimed_once() {
    let bolts = |parallelism: u32, devices: &[&str]| {
        let bolt = |(n, device): (usize, &&str)| {
            format!(
                "[bolt.w{n}]\ntype = 'wants'\ninputs = ['split']\nparallelism = {parallelism}\nconfig.device = '{device}'\n"
            )
        };
        let bolts: String = devices.iter().enumerate().map(bolt).collect();
        format!("{WORD_COUNT}{bolts}")
    };
    check(&bolts(1, &["lamp", "bell"]), &[]);
    check(
        &bolts(1, &["lamp", "lamp"]),
        &["t:23:17: bolt `w1` uses lamp, which bolt `w0` uses already \
           (only one task of a topology can use lamp)"],
    );
    let errors = parse_str("t", &bolts(1, &["lamp", "lamp"]), &registry()).unwrap_err();
    assert!(errors.render(false).contains("bolt `w0` uses it here"), "{}", errors.render(false));
    check(
        &bolts(3, &["lamp"]),
        &["t:18:17: bolt `w0` has 3 tasks, and only one task can use lamp (set `parallelism` to 1)"],
    );
}

#[test]
fn a_document_read_from_a_resource_leaves_it_to_no_component() {
    struct Lamp(MemorySource);
    impl Source for Lamp {
        fn read(&self, path: &str, named_by: NamedBy, at_most: usize) -> std::io::Result<Vec<u8>> {
            self.0.read(path, named_by, at_most)
        }
        fn variable(&self, name: &str) -> Result<String, NoVariable> {
            self.0.variable(name)
        }
        fn takes(&self, path: &str) -> Option<&'static str> {
            (path == "-").then_some("lamp")
        }
    }
    let document =
        format!("{WORD_COUNT}[bolt.w]\ntype = 'wants'\ninputs = ['split']\nconfig.device = 'lamp'\n");
    let read = |path: &str| {
        let source = Lamp(MemorySource::new().file(path, document.clone()));
        lines(load(&source, path, &registry(), &[]))
    };
    assert_eq!(read("file"), [] as [String; 0]);
    assert_eq!(
        read("-"),
        [
            "-:17:17: bolt `w` uses lamp, from which the topology itself is read (read the topology from a file)"
        ]
    );
}

#[test]
fn hooks_are_registered_names() {
    check_option("hooks = ['audit']", &[]);
    check_option("hooks = 'audit'", &["`hooks` must be an array of names, as [\"audit\"], not a string"]);
    check_option("hooks = [1]", &["`hooks` must be the name of a hook, not an integer"]);
    check_option("hooks = ['adit']", &["no hook `adit` is registered (did you mean `audit`?)"]);
    check_added("[bolt.x]\ntype = 'print'\ninputs = ['split']\nhooks = ['audit']\n", &[]);
    check_added(
        "[bolt.x]\ntype = 'print'\ninputs = ['split']\nhooks = ['x', 'audit']\n",
        &["no hook `x` is registered (registered: audit)"],
    );
    let document = "topology = { name = 'a', hooks = ['b'] }\n";
    let errors = parse_str("t", document, &squall::prelude::Registry::new()).unwrap_err();
    let hook = errors.diagnostics().iter().find(|diagnostic| diagnostic.message.contains("hook")).unwrap();
    assert_eq!(hook.place.as_ref().unwrap().to_string(), "t:1:35");
    assert_eq!(hook.one_line(), "no hook `b` is registered (none is registered; see `Registry::hook`)");
}

/// A bolt with settings that are secrets, and a state with one.
mod secrets {
    use std::path::Path;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use squall::api::{BackingMap, MapOpening, StateStore, TaskError};
    use squall::prelude::{Registry, Secret};
    use squall::secrets::{SecretDirectory, SecretError, SecretName};
    use squall::testing::Capture;
    use squall::topology::TopologyOutline;

    use super::*;

    #[derive(Clone, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct LoginSettings {
        user: String,
        password: Secret,
        #[serde(default)]
        proxy: Option<Secret>,
    }

    #[derive(Clone, Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only read")]
    struct StoreSettings {
        url: Secret,
    }

    struct Store;

    impl StateStore for Store {
        fn open(&self, _: &MapOpening<'_>) -> Result<Box<dyn BackingMap>, TaskError> {
            Err(TaskError::new("nowhere"))
        }
    }

    fn registry() -> Registry {
        let mut registry = Registry::with_standard();
        registry.bolt("login", "Logs in.", |_: &LoginSettings| Ok(Capture::new().bolt()()));
        registry.state_type("store", "A store.", |_: &StoreSettings| Ok(Store));
        registry
    }

    const ORDERS: &str = r#"
[topology]
name = "orders"
delivery = "exactly-once"
[state.totals]
type = "store"
url = { secret = "totals-db" }
[spout.orders]
type = "generate"
config.fields = { id = "{seq}" }
[bolt.login]
type = "login"
inputs = ["orders"]
config = { user = "squall", password = { secret = "orders-db" }, proxy = { secret = "proxy" } }
[bolt.totals]
type = "aggregate"
inputs = [{ from = "orders", fields = ["id"] }]
config = { state = "totals", by = ["id"], function = "count" }
"#;

    /// A document, and the secrets of a host.
    struct Host(MemorySource, SecretDirectory);

    impl Source for Host {
        fn read(&self, path: &str, named_by: NamedBy, at_most: usize) -> std::io::Result<Vec<u8>> {
            self.0.read(path, named_by, at_most)
        }

        fn variable(&self, name: &str) -> Result<String, NoVariable> {
            self.0.variable(name)
        }

        fn secret(&self, name: &SecretName) -> Result<(), SecretError> {
            self.1.read(name).map(drop)
        }
    }

    fn host(document: &str, directory: &Path) -> Host {
        Host(MemorySource::new().file("t", document), SecretDirectory::new(directory))
    }

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    #[test]
    fn a_topology_knows_their_names_and_so_does_its_outline() {
        let topology = parse_str("t", ORDERS, &registry()).unwrap();
        let expected = ["orders-db", "proxy", "totals-db"].map(name);
        assert_eq!(topology.secrets().cloned().collect::<Vec<_>>(), expected);
        let outline = serde_json::to_string(&TopologyOutline::of(&topology)).unwrap();
        let outline: TopologyOutline = serde_json::from_str(&outline).unwrap();
        let placed = outline.to_topology().unwrap();
        assert_eq!(placed.secrets().cloned().collect::<Vec<_>>(), expected);
        let text = ORDERS.replace("{ secret = \"orders-db\" }", "\"hush\"");
        let topology = parse_str("t", &text, &registry()).unwrap();
        assert_eq!(topology.secrets().cloned().collect::<Vec<_>>(), ["proxy", "totals-db"].map(name));
        assert!(!format!("{topology:?}").contains("hush"));
    }

    #[test]
    fn those_that_the_host_lacks_are_reported_where_they_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().display();
        let host = host(ORDERS, directory.path());
        let lacks = |at: &str, name: &str| {
            format!(
                "t:{at}: there is no secret `{name}`: the file `{place}/{name}` is not there (make it by `squall secret \
                 set {name} --directory {place}`)"
            )
        };
        let found = || lines(load(&host, "t", &registry(), &[]));
        let of_login = |at: &str, name: &str| lacks(&format!("14:{at}"), name);
        let (url, password) = (lacks("7:7", "totals-db"), of_login("40", "orders-db"));
        assert_eq!(found(), [url.clone(), password, of_login("74", "proxy")]);
        host.1.set(&name("orders-db"), b"hush").unwrap();
        host.1.set(&name("proxy"), b"hush").unwrap();
        assert_eq!(found(), [url]);
        host.1.set(&name("totals-db"), b"hush").unwrap();
        assert_eq!(found(), [""; 0]);
        // Also one that an override names.
        let set = ["bolt.login.config.password={ secret = \"other\" }".to_owned()];
        let found = lines(load(&host, "t", &registry(), &set));
        assert!(found.len() == 1 && found[0].contains("there is no secret `other`"), "{found:?}");
    }

    #[test]
    fn one_that_a_program_declares_is_looked_for_too() {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = Registry::with_standard();
        registry.topology("orders", || {
            let mut builder = TopologyBuilder::new("orders");
            builder.secret(name("orders-db"));
            builder.spout("orders", || squall::testing::FixedSpout::new(["id"], Vec::new()));
            builder.build()
        });
        let host = host("", directory.path());
        let found = lines(load(&host, "orders", &registry, &[]));
        assert!(found.len() == 1 && found[0].starts_with("there is no secret `orders-db`"), "{found:?}");
        let set = ["topology.message_timeout=1s".to_owned()];
        assert_eq!(lines(load(&host, "orders", &registry, &set)), found);
        host.1.set(&name("orders-db"), b"hush").unwrap();
        let topology = load(&host, "orders", &registry, &set).unwrap();
        assert_eq!(topology.secrets().count(), 1);
    }

    #[test]
    fn the_schema_takes_both_forms() {
        let schema = squall::topology::schema::document_schema(&registry());
        let validator = jsonschema::validator_for(&schema).unwrap();
        let check = |password: &str, fits: bool| {
            let text = ORDERS.replace("{ secret = \"orders-db\" }", password);
            let document: serde_json::Value = toml::from_str(&text).unwrap();
            assert_eq!(validator.is_valid(&document), fits, "{password}");
        };
        check("{ secret = \"orders-db\" }", true);
        check("\"hush\"", true);
        check("{ secret = \"../orders-db\" }", false);
        check("{ secret = \"\" }", false);
        check("{ sekret = \"orders-db\" }", false);
        check("{}", false);
        check("5", false);
    }
}
