//! The bolt over a store in memory, which breaks before, within or after any call, and outlives the processes.

#[cfg(test)]
mod at_once;
mod documents;
#[cfg(test)]
mod new_totals;
#[cfg(test)]
mod running;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use running::{run_to_end, run_until_away, run_with_a_break};
use store::{Done, TestStore};

use super::*;
use crate::api::InputInfo;
use crate::checkpoint::MemoryStorage;
use crate::config::{Delivery, StateMode};
use crate::testing::conformance::SinkCheck;
use crate::testing::{BoltHarness, HarnessOptions, SimulatedTopology, SimulationOptions, TestTuple};
use crate::topology::Topology;
use crate::topology::declare::parse_str;
use crate::topology::registry::NoSettings;

/// More simulated time than any run needs.
const HOUR: Duration = Duration::from_secs(3600);
const MODES: [StateMode; 2] = [StateMode::Transactional, StateMode::Opaque];

fn settings(function: Function, field: Option<&str>) -> AggregateSettings {
    let (state, by, field) = ("totals".to_owned(), vec!["word".to_owned()], field.map(str::to_owned));
    AggregateSettings { state, by, function, field, emit: "total".to_owned() }
}

fn options_of(mode: StateMode, store: impl crate::api::StateStore + 'static) -> HarnessOptions {
    let key = Fields::from(["word"]);
    let input = InputInfo {
        component: "words".into(),
        stream: "default".into(),
        grouping: "fields".to_owned(),
        key: key.clone(),
    };
    let delivery = Delivery::ExactlyOnce;
    let options = HarnessOptions { delivery, key, inputs: vec![input], ..HarnessOptions::default() };
    options.resources.set("state.totals", NamedState { mode, store: Box::new(store) });
    options
}

fn count() -> Box<Aggregate> {
    Box::new(Aggregate::new(settings(Function::Count, None)).unwrap_or_else(|error| panic!("{error}")))
}

fn begin(options: &HarnessOptions) -> BoltHarness {
    BoltHarness::start(count(), options).unwrap_or_else(|error| panic!("{error}"))
}

fn feed(bolt: &mut BoltHarness, words: &str) {
    bolt.execute_all(words.split(' ').map(|word| TestTuple::new([word]).fields(["word"])));
    assert_eq!(bolt.errors(), [""; 0]);
}

fn totals(expected: &[(&str, i64)]) -> BTreeMap<String, i64> {
    expected.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect()
}

// ---- one task ----

/// Each row counts 4 to the power of its number, so the sum shows how often each row has come.
#[test]
fn it_keeps_what_a_sink_promises() {
    for mode in MODES {
        for is_plain in [false, true] {
            let store = if is_plain { TestStore::plain() } else { TestStore::default() };
            let (reader, emptied) = (store.clone(), store.clone());
            let sum = || {
                let sum = Aggregate::new(settings(Function::Sum, Some("weight")));
                Box::new(sum.unwrap_or_else(|error| panic!("{error}"))) as Box<dyn Bolt>
            };
            let number =
                |row: &str| row.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u32>();
            let row = move |row: &str| {
                let number = number(row).unwrap_or_else(|error| panic!("{row}: {error}"));
                TestTuple::new(("all", 4_i64.pow(number))).fields(["word", "weight"])
            };
            let names: Vec<String> = row_names();
            let visible = move || {
                let sum = reader.totals().get("all").copied().unwrap_or(0);
                let times = |at: usize| ((sum >> (2 * at)) & 3) as usize;
                names.iter().enumerate().flat_map(|(at, name)| vec![name.clone(); times(at)]).collect()
            };
            let check = SinkCheck::new(sum, row, visible).options(options_of(mode, store));
            let report = check.fresh(move || {
                let is_plain = is_plain.then(TestStore::plain).unwrap_or_default();
                *emptied.lock() = std::mem::take(&mut *is_plain.lock());
            });
            let report = report.run().unwrap_or_else(|broken| panic!("{mode}, plain: {is_plain}: {broken}"));
            assert!(report.crashes > 50, "{report:?}");
        }
    }
}

/// What the kit calls its rows.
fn row_names() -> Vec<String> {
    (0..6).map(|number| format!("row-{number}")).collect()
}

/// Checkpoints 1, 2 and 3 are under way at once. They are committed one by one, or the last alone, and the process dies
/// after each step and is continued from each checkpoint that is complete then.
#[test]
fn several_checkpoints_under_way_are_put_in_order() {
    let words = ["a b", "a", "a c"];
    let orders: [&[u64]; 3] = [&[1, 2, 3], &[2, 3], &[3]];
    for (mode, commits) in MODES.into_iter().flat_map(|mode| orders.map(|commits| (mode, commits))) {
        for crash_after in 0..=commits.len() {
            let store = TestStore::default();
            let options = options_of(mode, store.clone());
            let mut bolt = begin(&options);
            let mut snapshots = Vec::new();
            for (at, words) in words.iter().enumerate() {
                feed(&mut bolt, words);
                snapshots.push(bolt.checkpoint(at as u64 + 1));
            }
            assert_eq!(store.totals(), totals(&[]), "no checkpoint is complete");
            commits.iter().take(crash_after).for_each(|number| bolt.committed(*number));
            drop(bolt);
            // All are complete, so the run continues from the last, which nobody knows to be committed.
            let restored = BoltHarness::restored(count(), &options, &snapshots[2]);
            let mut bolt = restored.unwrap_or_else(|error| panic!("{error}"));
            bolt.committed(3);
            assert_eq!(
                store.totals(),
                totals(&[("a", 3), ("b", 1), ("c", 1)]),
                "{mode} {commits:?} {crash_after}"
            );
            feed(&mut bolt, "a");
            bolt.checkpoint(4);
            bolt.committed(4);
            assert_eq!(bolt.errors(), [""; 0]);
            assert_eq!(store.totals()["a"], 4);
            // A batch that comes again is put under the highest id so far.
            let mut in_order: Vec<u64> = store.lock().put.iter().map(|(_, txid)| *txid).collect();
            in_order.dedup();
            assert_eq!(in_order, [1, 2, 3, 4], "{mode} {commits:?} {crash_after}");
        }
    }
}

#[test]
fn batches_have_no_gap_and_a_checkpoint_that_is_given_up_costs_none() {
    let store = TestStore::default();
    let options = options_of(StateMode::Opaque, store.clone());
    let mut bolt = begin(&options);
    for (checkpoint, words) in [(1, "a"), (2, ""), (3, "b"), (4, "a")] {
        if !words.is_empty() {
            feed(&mut bolt, words);
        }
        bolt.checkpoint(checkpoint);
        // 3 is given up.
        if checkpoint != 3 {
            bolt.committed(checkpoint);
        }
    }
    assert_eq!(store.lock().put, [(0, 1), (0, 2), (0, 3)]);
    assert_eq!(store.totals(), totals(&[("a", 2), ("b", 1)]));
    assert_eq!((bolt.counter("batches"), bolt.counter("keys_put")), (3, 3));
    assert_eq!(store.lock().entries[&vec![Value::from("a")]].to_string(), "2 (before transaction 3: 1)");
}

#[test]
fn a_run_that_begins_anew_counts_on() {
    let store = TestStore::default();
    let options = options_of(StateMode::Opaque, store.clone());
    for expected in [1, 2] {
        let mut bolt = begin(&options);
        feed(&mut bolt, "a");
        bolt.checkpoint(1);
        bolt.committed(1);
        assert_eq!(store.totals(), totals(&[("a", expected)]));
    }
}

#[test]
fn a_run_that_does_not_continue_the_store_ends() {
    let store = TestStore::default();
    let options = options_of(StateMode::Opaque, store.clone());
    let mut bolt = begin(&options);
    feed(&mut bolt, "a");
    let first = bolt.checkpoint(1);
    bolt.committed(1);
    feed(&mut bolt, "a");
    bolt.checkpoint(2);
    bolt.committed(2);
    drop(bolt);
    let refused = |options: &HarnessOptions| {
        let error = BoltHarness::restored(count(), options, &first).err().expect("it is refused");
        assert!(error.is_fatal());
        error.to_string()
    };
    let error = refused(&options);
    assert!(
        error.contains(
            "which has what came up to checkpoint 1-2 already, and the run begins with checkpoint 1-1"
        ),
        "{error}"
    );
    let error = refused(&options_of(StateMode::Opaque, TestStore::default()));
    assert!(error.contains("which has nothing of task 0"), "{error}");
    drop(begin(&HarnessOptions { seed: 1, ..options.clone() }));
    let error = refused(&options);
    assert!(
        error.contains("to which a run that began anew, or one with other checkpoints, has written"),
        "{error}"
    );
    assert_eq!(store.totals(), totals(&[("a", 2)]));
}

#[test]
fn an_instance_that_was_replaced_puts_nothing() {
    let store = TestStore::default();
    let options = options_of(StateMode::Opaque, store.clone());
    let mut zombie = begin(&options);
    feed(&mut zombie, "a");
    let kept = zombie.checkpoint(1);
    let mut successor = BoltHarness::restored(count(), &HarnessOptions { seed: 1, ..options }, &kept)
        .unwrap_or_else(|error| panic!("{error}"));
    zombie.committed(1);
    let error = &zombie.errors()[0];
    assert!(error.starts_with("task 0 was taken over"), "{error}");
    successor.committed(1);
    assert_eq!(store.totals(), totals(&[("a", 1)]));
}

/// With fewer tasks than before, nobody had claimed the place of a task that is gone, so an instance of it that was cut
/// off, and still ran, went on to write totals.
#[test]
fn an_instance_of_a_task_that_is_gone_puts_nothing() {
    let store = TestStore::default();
    let options = options_of(StateMode::Opaque, store.clone());
    let mut zombies: Vec<BoltHarness> = (0..5)
        .map(|task_index| begin(&HarnessOptions { parallelism: 5, task_index, seed: 7, ..options.clone() }))
        .collect();
    for zombie in &mut zombies {
        feed(zombie, "a");
        zombie.checkpoint(1);
        zombie.committed(1);
        feed(zombie, "a");
        zombie.checkpoint(2);
    }
    let before = store.lock().writers.clone();
    for task_index in 0..2 {
        drop(begin(&HarnessOptions { parallelism: 2, task_index, ..options.clone() }));
    }
    let after = store.lock().writers.clone();
    let totals = store.totals();
    for (task, zombie) in (0..).zip(&mut zombies) {
        zombie.committed(2);
        let expected = format!("task {task} was taken over");
        assert!(zombie.errors().iter().any(|error| error.starts_with(&expected)), "{:?}", zombie.errors());
        if task >= 2 {
            assert_eq!(after[&task], MapWriter { owner: after[&task].owner, ..before[&task] });
        }
    }
    assert_eq!(store.totals(), totals);
}

/// An instance that is being replaced puts its last batch after the new one has looked at the store, and before that one
/// claims it. The claim set the store back to what was seen, and nobody noticed that the run was behind.
#[test]
fn what_is_put_while_a_task_is_taken_over_is_seen() {
    let store = TestStore::default();
    let options = options_of(StateMode::Opaque, store.clone());
    let mut bolt = begin(&options);
    feed(&mut bolt, "a");
    let first = bolt.checkpoint(1);
    bolt.committed(1);
    drop(bolt);
    let checkpoint = CheckpointId { epoch: 1, number: 2 };
    let zombie = MapWriter { txid: 2, checkpoint, ..store.lock().writers[&0] };
    store.lock().put_before_claim = Some(zombie);
    let start = || BoltHarness::restored(count(), &options, &first).err().expect("it is refused");
    let error = start();
    assert!(!error.is_fatal() && error.to_string().contains("while it was taken over"), "{error}");
    assert_eq!(store.lock().writers[&0], zombie);
    let error = start();
    assert!(error.is_fatal() && error.to_string().contains("up to checkpoint 1-2 already"), "{error}");
}

#[test]
fn a_total_that_is_too_large_ends_the_run_and_a_wrong_field_fails_its_tuple() {
    let options = options_of(StateMode::Opaque, TestStore::default());
    let sum = Aggregate::new(settings(Function::Sum, Some("n"))).unwrap_or_else(|error| panic!("{error}"));
    let mut bolt = BoltHarness::start(Box::new(sum), &options).unwrap_or_else(|error| panic!("{error}"));
    let tuple = |n: Value| TestTuple::new(vec![Value::from("a"), n]).fields(["word", "n"]);
    bolt.execute(tuple(Value::from("x")));
    assert_eq!(bolt.errors(), ["field `n` is of type string, and has to be a number"]);
    for checkpoint in [1, 2] {
        bolt.execute(tuple(Value::from(i64::MAX)));
        bolt.checkpoint(checkpoint);
        bolt.committed(checkpoint);
    }
    assert!(bolt.errors()[1].contains("the total of [\"a\"] would not fit an i64"), "{:?}", bolt.errors());
}

// ---- whole topologies ----

const WORDS: u64 = 12;

/// Words, each as often as the others, counted by some tasks.
fn topology(run: &Run<'_>) -> Topology {
    let Run { count, rate, tasks, mode, .. } = run;
    let mut registry = Registry::with_standard();
    let store = run.store.clone();
    registry.state_type("test", "The store of the test.", move |_: &NoSettings| Ok(store.clone()));
    let rows: Vec<String> = (0..WORDS).map(|word| format!("{{ word = 'word{word}' }}")).collect();
    let document = format!(
        "[topology]\nname = 'words'\ndelivery = 'exactly-once'\n[topology.checkpoint]\ninterval = '50ms'\n\
         [state.totals]\ntype = 'test'\nmode = '{mode}'\n\
         [spout.words]\ntype = 'generate'\n[spout.words.config]\nrate = {rate}\ncount = {count}\nrows = [{}]\n\
         [bolt.totals]\ntype = 'aggregate'\nparallelism = {tasks}\n\
         inputs = [{{ from = 'words', fields = ['word'] }}]\n\
         config = {{ state = 'totals', by = ['word'], function = 'count' }}\n",
        rows.join(", ")
    );
    parse_str("words.toml", &document, &registry).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

struct Run<'a> {
    count: u64,
    /// Words a second.
    rate: u32,
    tasks: u32,
    mode: StateMode,
    store: &'a TestStore,
    storage: &'a MemoryStorage,
}

impl Run<'_> {
    fn start(&self, seed: u64) -> SimulatedTopology {
        let topology = topology(self);
        SimulatedTopology::start(topology, SimulationOptions::seeded(seed).checkpoints(self.storage.clone()))
    }

    fn assert_exact(&self, what: &str) {
        let each = (self.count / WORDS).cast_signed();
        let expected = (0..WORDS).map(|word| (format!("word{word}"), each)).collect();
        assert_eq!(self.store.totals(), expected, "{what}");
    }
}

/// The process dies at each call of the store in turn, and the run is continued; or the store goes away at that call, and
/// the process lives.
#[test]
fn a_crash_in_any_call_leaves_exact_totals() {
    let (count, tasks) = (120, 2);
    for mode in MODES {
        for is_plain in [false, true] {
            let new_store = || if is_plain { TestStore::plain() } else { TestStore::default() };
            let calls = {
                let (store, storage) = (new_store(), MemoryStorage::seeded(1));
                run_to_end(Run { count, rate: 1000, tasks, mode, store: &store, storage: &storage }.start(1));
                store.lock().calls
            };
            assert!(calls >= 12, "{calls} calls");
            let broken =
                (1..=calls).flat_map(|at| [Done::Nothing, Done::Half, Done::Everything].map(|d| (at, d)));
            for ((at, done), dies) in broken.flat_map(|at| [(at, true), (at, false)]) {
                let (store, storage) = (new_store(), MemoryStorage::seeded(1));
                let run = Run { count, rate: 1000, tasks, mode, store: &store, storage: &storage };
                let stats = run_with_a_break((at, done), dies, &store, &storage, |seed| run.start(seed));
                assert_eq!(stats.failed, 0);
                run.assert_exact(&format!("{mode}, plain: {is_plain}, call {at}, {done:?}, dies: {dies}"));
            }
        }
    }
}

/// Keys move to other tasks, with what is pending of them. The process dies in a call of each life, or between calls.
#[test]
fn another_number_of_tasks_leaves_exact_totals() {
    for seed in 0..80 {
        let mut random = StdRng::seed_from_u64(seed);
        let store = if random.random() { TestStore::plain() } else { TestStore::default() };
        let (mode, storage) = (MODES[random.random_range(0..2)], MemoryStorage::seeded(seed));
        // With few tuples, tasks have intervals without any, and so other numbers of batches than their neighbours.
        let (count, rate) = if random.random() { (300, 1000) } else { (48, 25) };
        let run_of = |tasks| Run { count, rate, tasks, mode, store: &store, storage: &storage };
        for _ in 0..6 {
            let done = [Done::Nothing, Done::Half, Done::Everything][random.random_range(0..3)];
            let at = store.lock().calls + random.random_range(1..40);
            store.lock().breaks_at = Some((at, done));
            let mut run = run_of(random.random_range(1..=4)).start(random.random_range(0..1000));
            run_until_away(&mut run, &store, random.random_range(100..4000));
            assert!(run.stats().stopped.is_none(), "seed {seed}: {:?}", run.stats().stopped);
            drop(run);
            storage.crash();
            let mut state = store.lock();
            (state.is_away, state.breaks_at) = (false, None);
        }
        let last = run_of(random.random_range(1..=4));
        assert_eq!(run_to_end(last.start(1)).failed, 0);
        last.assert_exact(&format!("seed {seed}"));
    }
}

/// Tuples are so few that tasks have intervals without any, and so other numbers of batches than their neighbours. A
/// checkpoint of so many tasks is continued by another number, which puts what it has, and is killed before its next
/// checkpoint is complete; then as many as before continue it again. They were refused, because the store had what a
/// neighbour had numbered.
#[test]
fn a_checkpoint_that_others_have_continued_can_be_continued_again() {
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let (store, storage) = (TestStore::default(), MemoryStorage::seeded(seed));
        let mode = StateMode::Opaque;
        let run_of = |tasks| Run { count: 24, rate: 25, tasks, mode, store: &store, storage: &storage };
        let start = |tasks, seed| run_of(tasks).start(seed);
        let mut first = start(3, seed);
        // It dies when the store is asked to put a batch, before it has.
        while store.lock().put.len() < random.random_range(2..8) && !first.has_ended() {
            first.run_steps(1);
        }
        let at = store.lock().calls + 1 + usize::from(random.random::<bool>());
        store.lock().breaks_at = Some((at, Done::Nothing));
        run_until_away(&mut first, &store, usize::MAX);
        drop(first);
        storage.crash();
        store.lock().is_away = false;
        let before = store.lock().put.len();
        let mut other = start(random.random_range(1..=2), seed);
        while store.lock().put.len() == before && !other.has_ended() {
            other.run_steps(1);
        }
        drop(other);
        storage.crash();
        let stats = run_to_end(start(3, seed));
        assert!(stats.stopped.is_none(), "seed {seed}: {:?}", stats.stopped);
        run_of(3).assert_exact(&format!("seed {seed}"));
    }
}

/// Counts per batch are what a batch has, so that a batch that comes again counts again. This is what the other modes are
/// for, and it shows that the tests above can fail.
#[test]
fn without_transactions_a_batch_may_count_twice() {
    let (store, storage) = (TestStore::plain(), MemoryStorage::seeded(1));
    let run = Run {
        count: 120,
        rate: 1000,
        tasks: 1,
        mode: StateMode::NonTransactional,
        store: &store,
        storage: &storage,
    };
    // The second call of `put_as` is done, and the process dies before it knows.
    let mut first = run.start(1);
    while store.lock().put.is_empty() {
        first.run_steps(1);
    }
    let next_put = store.lock().calls + 2;
    store.lock().breaks_at = Some((next_put, Done::Everything));
    run_until_away(&mut first, &store, usize::MAX);
    drop(first);
    storage.crash();
    store.lock().is_away = false;
    run_to_end(run.start(2));
    let sum: i64 = store.totals().values().sum();
    assert!(sum > 120, "{sum}");
}
