//! The sink against a server in memory, which breaks before or after any step that it is asked for.

#[cfg(test)]
mod exactly_once;
mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use server::{Connecting, Server};

use super::connection::DatabaseError;
use super::*;
use crate::components::test_support::refusal;
use crate::testing::{BoltHarness, HarnessOptions, SimulatedTopology, SimulationOptions, TestTuple};
use crate::topology::declare::parse_str;

/// More simulated time than any run needs.
const HOUR: Duration = Duration::from_secs(3600);

impl Postgres {
    fn on(mut self, server: &Server) -> Postgres {
        let server = server.clone();
        self.connector = Arc::new(move |_, _, _| Box::new(Connecting(server.clone())));
        self
    }
}

const SETTINGS: &str = "url = 'postgres://squall@localhost/test'\ntable = 't'\ncolumns = ['n', 'text']\n";

fn sink(config: &str, server: &Server) -> Postgres {
    let settings = toml::from_str(&format!("{SETTINGS}{config}")).expect("these are settings");
    Postgres::new(settings).unwrap_or_else(|error| panic!("{error}")).on(server)
}

fn harness(config: &str, server: &Server) -> BoltHarness {
    let harness = BoltHarness::start(Box::new(sink(config, server)), &HarnessOptions::default());
    harness.unwrap_or_else(|error| panic!("{error}"))
}

fn tuple(n: i64) -> TestTuple {
    TestTuple::new((n, "x")).fields(["n", "text"])
}

fn run_to_end(mut run: SimulatedTopology) -> crate::runtime::TopologyStats {
    run.run_to_end(HOUR).unwrap_or_else(|error| panic!("{error}"))
}

// ---- at least once ----

#[test]
fn a_batch_is_written_when_it_is_full_or_old_or_the_input_ends() {
    let server = Server::default();
    let mut sink = harness("batch = { rows = 2, linger = '1s' }", &server);
    sink.execute_all([1, 2, 3].map(tuple));
    assert_eq!((sink.acked(), server.firsts()), (&[0, 1][..], vec!["1".to_owned(), "2".to_owned()]));
    sink.flush();
    assert_eq!(sink.held(), [2]);
    sink.clock().advance(Duration::from_secs(1));
    assert_eq!((sink.call_due_timers(), sink.acked().len()), (1, 3));
    sink.execute(tuple(4));
    sink.finish();
    assert_eq!((sink.acked().len(), sink.counter("transactions")), (4, 3));
}

#[test]
fn bytes_fill_a_batch_too() {
    let server = Server::default();
    let mut sink = harness("batch = { bytes = '1KiB', linger = '1s' }", &server);
    sink.execute(TestTuple::new((1, "x".repeat(2000))).fields(["n", "text"]));
    assert_eq!(sink.acked(), [0]);
}

#[test]
fn a_refused_row_fails_alone() {
    for at_commit in [false, true] {
        let server = Server::default();
        let forbidden = BTreeSet::from(["7".to_owned(), "300".to_owned()]);
        match at_commit {
            true => server.lock().forbidden_at_commit = forbidden,
            false => server.lock().forbidden = forbidden,
        }
        let mut sink = harness("", &server);
        sink.execute_all((0..400).map(tuple));
        sink.finish();
        let failed: Vec<u64> = sink.failed().iter().map(|(number, _)| *number).collect();
        assert_eq!((failed, server.firsts().len()), (vec![7, 300], 398), "at the commit: {at_commit}");
        assert_eq!((sink.counter("rows_written"), sink.counter("rows_refused")), (398, 2));
        assert!(sink.errors()[0].starts_with("a row was refused: "), "{:?}", sink.errors());
    }
}

/// The one before was dropped for its sake, and was neither written nor refused.
#[test]
fn if_the_last_row_of_a_key_is_refused_the_one_before_counts() {
    let server = Server::default();
    server.lock().forbidden = BTreeSet::from(["7".to_owned()]);
    let mut sink = harness("mode = 'upsert'\nkey = ['text']", &server);
    sink.execute_all([1, 7].map(tuple));
    sink.finish();
    assert_eq!((sink.acked(), server.firsts()), (&[0][..], vec!["1".to_owned()]));
    assert_eq!(sink.failed().len(), 1);
}

#[test]
fn a_value_that_does_not_fit_its_column_fails_its_tuple() {
    let server = Server::default();
    let mut sink = harness("", &server);
    sink.execute(TestTuple::new(("seven", "x")).fields(["n", "text"]));
    sink.execute(tuple(8));
    sink.finish();
    assert_eq!(server.firsts(), ["8"]);
    assert_eq!(sink.errors(), ["column `n`: a value of type string cannot be written as int8: seven"]);
}

#[test]
fn rows_wait_for_a_server_that_is_away() {
    let server = Server::default();
    server.lock().away = 5;
    let mut sink = harness("", &server);
    sink.execute(tuple(1));
    sink.finish();
    assert_eq!((sink.acked(), server.firsts()), (&[0][..], vec!["1".to_owned()]));
    // One error, not one for each attempt. The first attempt was made before there were rows.
    assert_eq!((sink.errors().len(), sink.counter("attempts_failed")), (1, 4));
}

#[test]
fn rows_fail_when_the_server_was_away_for_too_long() {
    let server = Server::default();
    let mut sink = harness("give_up = '5s'", &server);
    server.lock().broken = Some(DatabaseError::Busy("the disk is full".to_owned()));
    sink.execute(tuple(1));
    sink.finish();
    assert_eq!(sink.failed().len(), 1);
    let failed = sink.counter("attempts_failed");
    sink.execute(tuple(2));
    sink.finish();
    assert_eq!(
        (sink.failed().len(), sink.counter("attempts_failed")),
        (2, failed + 1),
        "it does not wait again"
    );
    server.lock().broken = None;
    sink.execute(tuple(3));
    sink.finish();
    assert_eq!(sink.acked(), [2]);
}

/// The connection breaks in each call in turn, before or after the server has done it.
#[test]
fn no_row_that_was_acked_is_lost_whenever_the_connection_breaks() {
    for (at, is_after) in (1..=12).flat_map(|at| [(at, false), (at, true)]) {
        let server = Server::default();
        server.lock().dies_at = Some((at, is_after));
        let mut sink = harness("give_up = '1s'\nbatch = { rows = 3 }", &server);
        sink.execute_all((0..9).map(tuple));
        sink.finish();
        let acked: BTreeSet<String> = sink.acked().iter().map(u64::to_string).collect();
        let there: BTreeSet<String> = server.firsts().into_iter().collect();
        assert!(acked.is_subset(&there), "call {at}, after: {is_after}: {acked:?} {there:?}");
        assert_eq!(sink.acked().len() + sink.failed().len(), 9);
    }
}

#[test]
fn what_no_waiting_can_mend_ends_the_run() {
    let server = Server::default();
    let mut sink = harness("", &server);
    server.lock().broken = Some(DatabaseError::Permanent("there is no table t".to_owned()));
    sink.execute(tuple(1));
    sink.finish();
    assert_eq!(sink.errors(), ["PostgreSQL refuses: there is no table t"]);
    assert_eq!(sink.failed().len(), 1);
}

#[test]
fn the_dead_letter_of_a_refused_row_has_the_error_of_the_server() {
    let (server, letters) = (Server::default(), Server::default());
    server.lock().forbidden = BTreeSet::from(["3".to_owned()]);
    let mut registry = Registry::with_standard();
    for (name, server) in [("rows", server.clone()), ("letters", letters.clone())] {
        registry.bolt(name, "Writes to a server of the test.", move |settings: &PostgresSettings| {
            Ok(Postgres::new(settings.clone())?.on(&server))
        });
    }
    let document = "[topology]\nname = 'shop'\nmax_replays = 1\n\
         [spout.orders]\ntype = 'generate'\n[spout.orders.config]\nrate = 1000\ncount = 9\n\
         fields = { n = '{seq}', text = 'order' }\n\
         [bolt.store]\ntype = 'rows'\ninputs = ['orders']\n\
         config = { url = '', table = 't', columns = ['n', 'text'] }\n\
         [bolt.dead]\ntype = 'letters'\ninputs = ['store.dead-letter']\n\
         config = { url = '', table = 't', columns = { n = 'attempt', error = '{error}: {values}' } }\n";
    let document = document.replace("url = ''", "url = 'postgres://localhost'");
    let topology = parse_str("test.toml", &document, &registry);
    let topology = topology.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let stats = run_to_end(SimulatedTopology::start(topology, SimulationOptions::seeded(1)));
    assert_eq!((server.firsts().len(), stats.dead_letters), (8, 1));
    let rows = letters.lock().disk.rows.clone();
    let texts: Vec<&str> = rows.iter().flatten().flatten().map(String::as_str).collect();
    assert_eq!(texts, ["1", r#"3 is forbidden: {"n": 3, "text": "order"}"#]);
}

// ---- settings ----

#[test]
fn wrong_settings_are_refused_and_no_password_is_shown() {
    let check = |config: &str, why: &str| {
        let error = refusal("postgres", config);
        assert!(error.contains(why), "{config}: {error}");
        assert!(!error.contains("hush"), "{error}");
    };
    let url = "url = 'postgres://me:hush@localhost/db'\n";
    check(&format!("{url}table = 't'"), "name the `columns`");
    check(&format!("{SETTINGS}batch = {{ rows = 0 }}"), "from 1 to 100000");
    check(&format!("{SETTINGS}reconnect = '0ms..1s'"), "at least 1ms");
    check(&format!("{SETTINGS}connect_timeout = '0s'"), "from 1ms");
    check(&format!("{SETTINGS}dirty = true\nprepare = true"), "does not go with `dirty = true`");
    check(&format!("{url}statement = 'SELECT 1'\ndirty = true"), "does not go with `dirty = true`");
    let document = "[topology]\nname = 'shop'\n[spout.orders]\ntype = 'generate'\n\
                    config.fields = { n = '{seq}', text = 'x' }\n[bolt.store]\ntype = 'postgres'\n\
                    inputs = ['orders']\n[bolt.store.config]\n";
    for way in ["prepare", "dirty"] {
        let document = format!("{document}{SETTINGS}{way} = true\n");
        let errors = parse_str("shop.toml", &document, &Registry::with_standard()).err();
        let errors = errors.map(|errors| errors.render(false)).unwrap_or_default();
        assert!(errors.contains("goes with `delivery = \"exactly-once\"` only"), "{errors}");
    }
    check(&format!("{url}table = 't'\ncolumns = {{ a = '{{b' }}"), "is not closed");
    check(&format!("{url}tabel = 't'"), "unknown field `tabel`");
    let settings: PostgresSettings = toml::from_str(&format!("{url}table = 't'")).expect("settings");
    assert!(!format!("{settings:?}").contains("hush"));
}

#[cfg(feature = "postgres")]
#[test]
fn urls_that_cannot_work_are_refused() {
    for (url, why) in [
        ("postgres://me:hush@localhost/db?sslmode=require", "asks for TLS"),
        ("host=localhost password=hush port=many", "is not what"),
        ("hush", "is not what"),
        ("user=hush", "names no host"),
    ] {
        let error = refusal("postgres", &format!("url = '{url}'\ntable = 't'\ncolumns = ['a']"));
        assert!(error.contains(why) && !error.contains("hush"), "{url}: {error}");
    }
}

/// Mistakes in the settings are reported all the same.
#[cfg(not(feature = "postgres"))]
#[test]
fn a_program_without_the_feature_says_how_to_build_it() {
    let document = format!(
        "[topology]\nname = 'shop'\n[spout.orders]\ntype = 'generate'\nconfig.fields = {{ n = '{{seq}}' }}\n\
         [bolt.store]\ntype = 'postgres'\ninputs = ['orders']\n[bolt.store.config]\n{SETTINGS}"
    );
    let errors = parse_str("shop.toml", &document, &Registry::with_standard()).err();
    let errors = errors.map(|errors| errors.render(false)).unwrap_or_default();
    for part in [
        "`postgres` is not compiled in: it needs the Cargo feature `postgres`",
        "build squall by `cargo build --release --features postgres`",
        "has no field `text`",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
    let run = harness_without_server();
    assert!(run.contains("cargo build --release --features postgres"), "{run}");
}

/// What a task says that is prepared without the feature, in a program that did not validate its topology.
#[cfg(not(feature = "postgres"))]
fn harness_without_server() -> String {
    refusal("postgres", SETTINGS)
}
