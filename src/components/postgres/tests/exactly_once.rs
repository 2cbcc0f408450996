//! Exactly once, on each of the ways: processes die and connections break in every call.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::server::Server;
use super::{SETTINGS, run_to_end, sink, tuple};
use crate::checkpoint::MemoryStorage;
use crate::components::postgres::{Postgres, PostgresSettings};
use crate::config::Delivery;
use crate::testing::{BoltHarness, HarnessOptions, SimulatedTopology, SimulationOptions, TestTuple};
use crate::topology::Topology;
use crate::topology::declare::parse_str;
use crate::topology::registry::Registry;

/// `generate` makes 0 to `count`, and `postgres` writes them.
fn topology(config: &str, count: u64, tasks: u32, server: &Server) -> Topology {
    let mut registry = Registry::with_standard();
    let of_test = server.clone();
    registry.bolt(
        "on-test-server",
        "Writes to the server of the test.",
        move |settings: &PostgresSettings| Ok(Postgres::new(settings.clone())?.on(&of_test)),
    );
    let document = format!(
        "[topology]\nname = 'shop'\ndelivery = 'exactly-once'\n[topology.checkpoint]\ninterval = '50ms'\n\
         [spout.orders]\ntype = 'generate'\n[spout.orders.config]\nrate = 1000\ncount = {count}\n\
         fields = {{ n = '{{seq}}', text = 'order {{seq}}' }}\n\
         [bolt.store]\ntype = 'on-test-server'\nparallelism = {tasks}\ninputs = ['orders']\n\
         [bolt.store.config]\n{SETTINGS}{config}"
    );
    parse_str("test.toml", &document, &registry).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

/// What makes the sink take each of its ways.
const WAYS: [&str; 3] = ["", "prepare = true", "dirty = true"];

fn start(config: &str, count: u64, server: &Server, storage: &MemoryStorage, seed: u64) -> SimulatedTopology {
    start_with((config, 2), count, server, storage, seed)
}

fn start_with(
    (config, tasks): (&str, u32),
    count: u64,
    server: &Server,
    storage: &MemoryStorage,
    seed: u64,
) -> SimulatedTopology {
    SimulatedTopology::start(
        topology(config, count, tasks, server),
        SimulationOptions::seeded(seed).checkpoints(storage.clone()),
    )
}

fn numbers(count: u64) -> Vec<String> {
    let mut numbers: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    numbers.sort();
    numbers
}

#[test]
fn rows_appear_with_their_checkpoint_each_once() {
    for config in WAYS {
        let (server, storage) = (Server::default(), MemoryStorage::seeded(1));
        let mut run = start(config, 300, &server, &storage, 1);
        run.advance(Duration::from_millis(130));
        let rows = server.firsts().len();
        // Those that are dirty are there at once.
        let clean = rows - server.lock().disk.journal.len();
        assert!(clean > 0 && clean < 130, "{config}: {clean} rows of {rows}");
        let stats = run_to_end(run);
        assert_eq!((server.firsts(), stats.failed), (numbers(300), 0));
    }
}

/// A run whose server has died at this call: before it, or after it was done.
///
/// `is_locked`: other transactions hold locks on the rows.
fn dies_at(
    (at, is_after): (usize, bool),
    config: &str,
    count: u64,
    is_locked: bool,
) -> (Server, MemoryStorage, SimulatedTopology) {
    let (server, storage) = (Server::default(), MemoryStorage::seeded(1));
    server.lock().dies_at = Some((at, is_after));
    server.lock().is_locked = is_locked;
    let mut run = start(config, count, &server, &storage, 1);
    while !server.lock().is_dead && !run.has_ended() {
        run.run_steps(1);
    }
    assert!(server.lock().is_dead, "call {at} is made");
    (server, storage, run)
}

/// The process dies at each call in turn, before or after the server has done it, and the run is continued.
#[test]
fn a_crash_in_any_call_leaves_each_row_once() {
    for config in WAYS {
        // A dirty row is a transaction of its own, if no more wait.
        let count = if config.starts_with("dirty") { 70 } else { 120 };
        let calls = {
            let (server, storage) = (Server::default(), MemoryStorage::seeded(1));
            run_to_end(start(config, count, &server, &storage, 1));
            server.lock().calls
        };
        assert!(calls > 30, "{calls} calls");
        for (at, is_after) in (1..=calls).flat_map(|at| [(at, false), (at, true)]) {
            let (server, storage, run) = dies_at((at, is_after), config, count, false);
            drop(run);
            storage.crash();
            server.lock().is_dead = false;
            let stats = run_to_end(start(config, count, &server, &storage, 2));
            assert_eq!(server.firsts(), numbers(count), "{config}: call {at}, after: {is_after}");
            assert_eq!(stats.failed, 0);
        }
    }
}

/// With `prepare`, rows that would have to wait for a lock wait in the checkpoint. The process dies at each call in turn.
#[test]
fn a_crash_leaves_rows_that_could_not_be_prepared_once() {
    for (at, is_after) in (1..=70).flat_map(|at| [(at, false), (at, true)]) {
        let (server, storage, run) = dies_at((at, is_after), "prepare = true", 120, at % 3 > 0);
        drop(run);
        storage.crash();
        server.lock().is_dead = false;
        server.lock().is_locked = at % 3 < 2;
        let run = start("prepare = true", 120, &server, &storage, 2);
        let stats = run_to_end(run);
        assert_eq!((server.firsts(), stats.failed), (numbers(120), 0), "call {at}, after: {is_after}");
        let disk = server.lock().disk.clone();
        assert_eq!((disk.prepared.len(), disk.marks.len()), (0, 0));
    }
}

/// The server goes away at each call in turn, and comes back; the process lives.
#[test]
fn a_connection_that_breaks_in_any_call_leaves_each_row_once() {
    for config in WAYS {
        for (at, is_after) in (1..=40).flat_map(|at| [(at, false), (at, true)]) {
            let (server, _, mut run) = dies_at((at, is_after), config, 120, false);
            run.advance(Duration::from_millis(70));
            server.lock().is_dead = false;
            run_to_end(run);
            assert_eq!(server.firsts(), numbers(120), "{config}: call {at}, after: {is_after}");
        }
    }
}

/// Tasks that are left write what those that are gone had in the last checkpoint. The process dies in a call of each
/// life, or between calls.
#[test]
fn another_number_of_tasks_leaves_each_row_once() {
    for config in WAYS {
        for seed in 0..60 {
            let (server, storage) = (Server::default(), MemoryStorage::seeded(seed));
            let mut random = StdRng::seed_from_u64(seed);
            for _ in 0..6 {
                let calls = server.lock().calls;
                server.lock().dies_at = Some((calls + random.random_range(1..40), random.random()));
                let tasks = random.random_range(1..=4);
                let mut run =
                    start_with((config, tasks), 300, &server, &storage, random.random_range(0..1000));
                let steps = random.random_range(100..4000);
                for _ in 0..steps {
                    if server.lock().is_dead || run.has_ended() {
                        break;
                    }
                    run.run_steps(1);
                }
                drop(run);
                storage.crash();
                server.lock().is_dead = false;
                server.lock().dies_at = None;
            }
            let stats =
                run_to_end(start_with((config, random.random_range(1..=4)), 300, &server, &storage, 1));
            assert_eq!((server.firsts(), stats.failed), (numbers(300), 0), "{config}: seed {seed}");
        }
    }
}

/// Another task may have newer rows with the same keys after that. With the same number, nobody knows whether the state
/// is that of a checkpoint.
#[test]
fn rows_of_the_checkpoint_come_first_where_the_number_of_tasks_has_changed() {
    for (config, is_locked) in [("", false), ("prepare = true", false), ("prepare = true", true)] {
        let server = Server::default();
        server.lock().is_locked = is_locked;
        let options = |parallelism| HarnessOptions {
            delivery: Delivery::ExactlyOnce,
            parallelism,
            ..HarnessOptions::default()
        };
        let mut first = BoltHarness::start(Box::new(sink(config, &server)), &options(2))
            .unwrap_or_else(|error| panic!("{error}"));
        first.execute(tuple(1));
        let snapshot = first.checkpoint(1);
        drop(first);
        for (parallelism, rows) in [(2, 0), (3, 1), (1, 1)] {
            let mut next =
                BoltHarness::restored(Box::new(sink(config, &server)), &options(parallelism), &snapshot)
                    .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(server.firsts().len(), rows, "{config}: {parallelism}");
            if parallelism != 2 {
                next.committed(1);
                assert_eq!((server.firsts().len(), next.errors()), (1, &[][..]), "{config}");
            }
        }
    }
}

#[test]
fn a_row_that_is_refused_at_the_commit_is_kept_once_and_counts_as_lost() {
    for config in WAYS {
        let (server, storage) = (Server::default(), MemoryStorage::seeded(1));
        server.lock().forbidden = BTreeSet::from(["17".to_owned()]);
        let stats = run_to_end(start(config, 100, &server, &storage, 1));
        assert_eq!(server.firsts().len(), 99);
        let refused = server.lock().disk.refused.clone();
        let [(writer, row)] = refused.as_slice() else { panic!("{refused:?}") };
        assert_eq!((writer.topology.as_str(), writer.component.as_str()), ("shop", "store"));
        assert_eq!((row.row.as_str(), row.why.as_str()), (r#"[17,"order 17"]"#, "17 is forbidden"));
        assert_eq!(stats.losses(), 1, "the exit code is 1");
    }
}

/// The server has committed, and its answer is lost.
#[test]
fn refused_rows_count_whatever_call_breaks() {
    for config in WAYS {
        for (at, is_after) in (1..=40).flat_map(|at| [(at, false), (at, true)]) {
            let (server, storage) = (Server::default(), MemoryStorage::seeded(1));
            server.lock().forbidden = BTreeSet::from(["17".to_owned()]);
            server.lock().dies_at = Some((at, is_after));
            let mut run = start(config, 60, &server, &storage, 1);
            while !server.lock().is_dead && !run.has_ended() {
                run.run_steps(1);
            }
            assert!(server.lock().is_dead, "call {at} is made");
            server.lock().is_dead = false;
            let stats = run_to_end(run);
            assert_eq!(
                (server.firsts().len(), stats.losses()),
                (59, 1),
                "{config}: call {at}, after: {is_after}"
            );
            assert_eq!(server.lock().disk.refused.len(), 1);
        }
    }
}

/// A process was stopped, another one continued its run, and now the first goes on.
#[test]
fn a_zombie_writes_nothing() {
    for config in WAYS {
        for millis in [20, 70, 120, 130, 140, 170] {
            let (server, storage) = (Server::default(), MemoryStorage::seeded(1));
            let mut zombie = start(config, 400, &server, &storage, 1);
            zombie.advance(Duration::from_millis(millis));
            let mut successor = start(config, 400, &server, &storage, 2);
            successor.advance(Duration::from_millis(110));
            zombie.advance(Duration::from_secs(2));
            run_to_end(successor);
            assert_eq!(server.firsts(), numbers(400), "{config}: after {millis} ms");
            assert!(zombie.stats().stopped.is_some() || zombie.stats().cut_short, "the zombie ends");
        }
    }
}

/// Its checkpoints are in another directory, so their numbers are those of the run before.
#[test]
fn a_run_that_begins_anew_is_not_taken_for_the_one_before() {
    for config in WAYS {
        let server = Server::default();
        run_to_end(start(config, 100, &server, &MemoryStorage::seeded(1), 1));
        run_to_end(start(config, 100, &server, &MemoryStorage::seeded(2), 2));
        assert_eq!(server.firsts().len(), 200);
    }
}

#[test]
fn a_value_that_does_not_fit_is_a_failed_tuple_and_no_row() {
    let server = Server::default();
    let options = HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() };
    let mut sink =
        BoltHarness::start(Box::new(sink("", &server)), &options).unwrap_or_else(|error| panic!("{error}"));
    sink.execute(TestTuple::new(("seven", "x")).fields(["n", "text"]));
    sink.execute(tuple(8));
    assert_eq!(sink.errors().len(), 1);
    sink.checkpoint(1);
    assert_eq!(server.firsts(), [""; 0], "the checkpoint is not complete yet");
    sink.committed(1);
    sink.committed(1);
    assert_eq!(server.firsts(), ["8"]);
}

/// With `dirty`: one batch is tried, one waits, and then the bolt waits, too.
#[test]
fn dirty_rows_wait_for_a_server_that_is_away_and_do_not_pile_up() {
    let server = Server::default();
    let options = HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() };
    let postgres = sink("dirty = true\nbatch = { rows = 2 }", &server);
    let mut sink = BoltHarness::start(Box::new(postgres), &options).unwrap_or_else(|error| panic!("{error}"));
    sink.execute_all([1, 2].map(tuple));
    assert_eq!(server.firsts(), [""; 0], "nobody has asked for more");
    server.lock().is_dead = true;
    sink.flush();
    sink.flush();
    assert_eq!(sink.errors().len(), 1, "it is reported once: {:?}", sink.errors());
    sink.execute_all([3, 4].map(tuple));
    server.lock().is_dead = false;
    server.lock().away = 5;
    sink.execute(tuple(5));
    assert_eq!((server.firsts(), sink.counter("attempts_failed")), (numbers(5)[1..].to_vec(), 6));
    sink.checkpoint(1);
    assert_eq!((server.firsts(), sink.errors().len()), (numbers(6)[1..].to_vec(), 1));
}

/// With `prepare`: when a checkpoint has failed, one more batch is taken, and then the bolt waits.
#[test]
fn rows_that_cannot_be_prepared_wait_for_the_server_and_do_not_pile_up() {
    let server = Server::default();
    let options = HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() };
    let postgres = sink("prepare = true\nbatch = { rows = 2 }", &server);
    let mut sink = BoltHarness::start(Box::new(postgres), &options).unwrap_or_else(|error| panic!("{error}"));
    sink.execute_all([1, 2, 3].map(tuple));
    server.lock().is_dead = true;
    sink.checkpoint(1);
    assert_eq!(sink.errors().len(), 1, "{:?}", sink.errors());
    sink.execute(tuple(4));
    sink.checkpoint(2);
    server.lock().is_dead = false;
    server.lock().away = 5;
    sink.execute(tuple(5));
    assert_eq!(server.lock().away, 5, "there is room for a batch, also if checkpoints fail meanwhile");
    let before = sink.clock().now();
    sink.execute(tuple(6));
    assert_eq!(server.lock().away, 0, "it waits for the server");
    assert!(sink.clock().now().since(before) > Duration::from_secs(1), "with pauses");
    sink.execute_all([7, 8, 9].map(tuple));
    assert_eq!(sink.errors().len(), 2, "{:?}", sink.errors());
    sink.checkpoint(3);
    sink.committed(3);
    assert_eq!((server.firsts(), sink.errors().len()), (numbers(10)[1..].to_vec(), 2));
}
