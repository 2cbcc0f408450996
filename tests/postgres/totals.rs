//! `type = "postgres"` of `[state.NAME]`: the table, and whole topologies that are killed while they add to it.

use std::fs;
use std::path::Path;
use std::process::Command;

use squall::Value;
use squall::api::{BackingMap, MapOpening, MapWriter, StateStore, Stored};
use squall::components::postgres::{PostgresState, PostgresStateSettings};
use squall::config::StateMode;
use squall::ids::CheckpointId;
use squall::prelude::*;
use squall::testing::HarnessOptions;

use crate::runs::{children, ended, kill, squall};
use crate::server::{Server, wait_until};

/// The lives that are killed wait six times for at most two minutes, so they come to a few more than 72,000.
const COUNT: i64 = 120_000;
const RATE: i64 = 100;
/// Of a life that comes to its end. It takes no checkpoint before that.
const TO_END: [&str; 4] =
    ["--set", "spout.numbers.config.rate=1000000", "--set", "topology.checkpoint.interval=1h"];

/// How often each kind has come, and the sum of the numbers of each.
fn document(directory: &Path, server: &Server, mode: &str) -> String {
    let (url, shown) = (server.url(), directory.display());
    let text = format!(
        "[topology]\nname = 'totals'\ndelivery = 'exactly-once'\n\
         checkpoint = {{ interval = '100ms', retain = 100, storage = '{shown}/checkpoints' }}\n\
         [state.counts]\ntype = 'postgres'\nmode = '{mode}'\nurl = '{url}'\ntable = 'counts'\n\
         [state.sums]\ntype = 'postgres'\nmode = '{mode}'\nurl = '{url}'\ntable = 'sums'\n\
         [spout.numbers]\ntype = 'generate'\n[spout.numbers.config]\nrate = {RATE}\ncount = {COUNT}\n\
         fields = {{ n = '{{seq}}', kind = '{{choice:a|b|c|d|e|f}}' }}\n\
         [bolt.counts]\ntype = 'aggregate'\nparallelism = 2\n\
         inputs = [{{ from = 'numbers', fields = ['kind'] }}]\n\
         config = {{ state = 'counts', by = ['kind'], function = 'count' }}\n\
         [bolt.sums]\ntype = 'aggregate'\nparallelism = 3\n\
         inputs = [{{ from = 'numbers', fields = ['kind'] }}]\n\
         config = {{ state = 'sums', by = ['kind'], function = 'sum', field = 'n' }}\n",
    );
    let path = directory.join("totals.toml");
    fs::write(&path, text).expect("the directory is the test's");
    path.to_str().expect("it is text").to_owned()
}

/// How many numbers the table `counts` has; the test has made it.
fn counted(server: &Server) -> i64 {
    server.number("SELECT coalesce(sum(value), 0) FROM counts")
}

/// Each number counts `times` times.
fn assert_exact(server: &Server, times: i64) {
    assert_eq!(server.number("SELECT sum(value) FROM counts"), times * COUNT);
    assert_eq!(server.number("SELECT sum(value) FROM sums"), times * COUNT * (COUNT - 1) / 2);
    assert_eq!(server.query("SELECT kind FROM sums ORDER BY kind"), ["a", "b", "c", "d", "e", "f"]);
}

/// Squall is killed, and continued with other numbers of tasks and workers; the server is killed; workers are killed. A
/// run that begins anew counts on.
#[test]
fn totals_are_exact_whatever_is_killed() {
    let (mut server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    server.query("CREATE TABLE counts (kind text PRIMARY KEY, value bigint, prev bigint, txid bigint)");
    let document = document(directory.path(), &server, "opaque");
    let lives: [&[&str]; 4] = [
        &[],
        &["--set", "bolt.counts.parallelism=3", "--set", "bolt.sums.parallelism=1"],
        &["--workers", "2"],
        &["--set", "bolt.counts.parallelism=1", "--set", "bolt.sums.parallelism=4"],
    ];
    for (nth, life) in (1..).zip(lives) {
        let mut run = squall(&[&[document.as_str(), "--resume"], life].concat());
        let goal = counted(&server) + 40;
        wait_until("totals", || counted(&server) >= goal || run.try_wait().expect("a child").is_some());
        match nth {
            2 => {
                server.kill();
                server.restart();
                wait_until("more", || counted(&server) > goal || run.try_wait().expect("a child").is_some());
            }
            3 => children(run.id()).into_iter().take(1).for_each(kill),
            _ => {}
        }
        kill(run.id());
        run.wait().expect("it is a child");
    }
    assert!(counted(&server) < COUNT, "it was killed in the middle");
    ended(squall(&[&[document.as_str(), "--resume"][..], &TO_END].concat()));
    assert_exact(&server, 1);
    let checkpoints = directory.path().join("checkpoints");
    let listed =
        Command::new(env!("CARGO_BIN_EXE_squall")).args(["checkpoint", "list"]).arg(checkpoints).output();
    let listed = String::from_utf8(listed.expect("squall can be started").stdout).expect("it is text");
    let oldest = listed.lines().nth(1).and_then(|line| line.split(' ').next()).expect("several are kept");
    let back = squall(&[&document, &format!("--resume={oldest}")]).wait_with_output().expect("it is a child");
    let error = String::from_utf8_lossy(&back.stderr);
    let is_ahead = error.contains(&format!("already, and the run begins with checkpoint {oldest}"));
    assert!(!back.status.success() && is_ahead, "{error}");
    assert_exact(&server, 1);
    ended(squall(&[&[document.as_str(), "--discard-checkpoints"][..], &TO_END].concat()));
    assert_exact(&server, 2);
}

#[test]
fn a_mode_decides_on_the_columns_of_the_table_that_is_made() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    let document = document(directory.path(), &server, "transactional");
    ended(squall(&[&document, "--set", "spout.numbers.config.rate=1000000"]));
    assert_exact(&server, 1);
    let columns =
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'sums' ORDER BY 1";
    assert_eq!(server.query(columns), ["kind|text", "txid|bigint", "value|bigint"]);
    assert_eq!(server.number("SELECT count(*) FROM squall_states WHERE state = '\"public\".\"sums\"'"), 3);
}

fn store(server: &Server, settings: &str) -> PostgresState {
    let settings: PostgresStateSettings =
        toml::from_str(&format!("url = '{}'\ntable = 'totals'\n{settings}", server.url())).expect("settings");
    PostgresState::new(settings).unwrap_or_else(|error| panic!("{error}"))
}

fn open(store: &PostgresState, key: &[&str]) -> Result<Box<dyn BackingMap>, TaskError> {
    open_as("totals", store, key)
}

fn open_as(name: &str, store: &PostgresState, key: &[&str]) -> Result<Box<dyn BackingMap>, TaskError> {
    let key: Fields = key.iter().collect();
    let mode = StateMode::Opaque;
    store.open(&MapOpening { name, mode, key: &key, task: &HarnessOptions::default().task_context() })
}

#[test]
fn everything_comes_back_as_it_was_put() {
    let server = Server::start();
    let store = store(&server, "key = { n = 'bigint', is = 'boolean' }\nvalue = 'double precision'");
    let mut map = open(&store, &["word", "n", "is"]).unwrap_or_else(|error| panic!("{error}"));
    let key = |word: &str, n: i64| vec![Value::from(word), Value::from(n), Value::from(n > 0)];
    let stored = |value: f64| Stored { value: value.into(), prev: Value::Null, txid: Some(7) };
    let words = ["a", "it's", "a\"b\\{},NULL", "", "ü\n"];
    let numbers = [0.1, -1e300, f64::INFINITY, f64::NAN, 3.0];
    let entries: Vec<_> =
        (0..).zip(words).zip(numbers).map(|((n, word), x)| (key(word, n), stored(x))).collect();
    map.multi_put(&entries).unwrap_or_else(|error| panic!("{error}"));
    map.multi_put(&entries[..1]).unwrap_or_else(|error| panic!("{error}"));
    let mut keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
    keys.insert(2, key("missing", 1));
    let mut expected: Vec<_> = entries.iter().map(|(_, stored)| Some(stored.clone())).collect();
    expected.insert(2, None);
    assert_eq!(map.multi_get(&keys).unwrap_or_else(|error| panic!("{error}")), expected);
    // More than go into one statement.
    let many: Vec<_> = (0..25_000).map(|n| (key("many", n), stored(0.0))).collect();
    let keys: Vec<_> = many.iter().map(|(key, _)| key.clone()).collect();
    map.multi_put(&many).unwrap_or_else(|error| panic!("{error}"));
    let found = map.multi_get(&keys).unwrap_or_else(|error| panic!("{error}"));
    assert!(found.len() == 25_000 && found.iter().all(Option::is_some));
}

#[test]
fn an_instance_that_was_replaced_puts_nothing() {
    let server = Server::start();
    let store = store(&server, "");
    let mut map = open(&store, &["word"]).unwrap_or_else(|error| panic!("{error}"));
    let writer = MapWriter {
        task: 3,
        lineage: -7,
        owner: 1,
        txid: 0,
        checkpoint: CheckpointId { epoch: 1, number: 4 },
    };
    assert_eq!(map.claim(None, &writer).ok(), Some(true));
    let entry = (vec![Value::from("a")], Stored { value: Value::from(1), prev: Value::Null, txid: Some(1) });
    let entries = [entry];
    map.put_as(&MapWriter { txid: 1, ..writer }, &entries).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(map.writers().ok().flatten(), Some(vec![MapWriter { txid: 1, ..writer }]));
    let mut other = open(&store, &["word"]).unwrap_or_else(|error| panic!("{error}"));
    let successor = MapWriter { owner: 2, txid: 1, ..writer };
    for outdated in [None, Some(&writer)] {
        assert_eq!(other.claim(outdated, &successor).ok(), Some(false), "transaction 1 was put since");
    }
    let put = MapWriter { txid: 1, ..writer };
    assert_eq!(other.claim(Some(&put), &successor).ok(), Some(true));
    let later =
        [(vec![Value::from("a")], Stored { value: Value::from(9), prev: Value::Null, txid: Some(2) })];
    let error = map.put_as(&MapWriter { txid: 2, ..writer }, &later).expect_err("it was replaced");
    assert!(error.is_fatal() && error.to_string().contains("was taken over"), "{error}");
    assert_eq!(server.query("SELECT word, value, prev, txid FROM totals"), ["a|1||1"]);
}

#[test]
fn a_table_that_does_not_fit_is_refused_with_its_column() {
    let server = Server::start();
    server.query("CREATE TABLE totals (word text PRIMARY KEY, value numeric, prev numeric, txid bigint)");
    let error = open(&store(&server, ""), &["word"]).err().expect("a numeric is no bigint");
    assert!(
        error.is_fatal()
            && error.to_string().contains("the column `value` of the table \"totals\" is of type numeric"),
        "{error}"
    );
    let error = open(&store(&server, ""), &["wrod"]).err().expect("there is no such column");
    assert!(error.is_fatal() && error.to_string().contains("wrod"), "{error}");
}

/// With and without its schema, a table was two in `squall_states`, so the number of a batch could come twice.
#[test]
fn a_table_is_one_with_and_without_its_schema() {
    let server = Server::start();
    let mut map = open(&store(&server, ""), &["word"]).unwrap_or_else(|error| panic!("{error}"));
    let writer = MapWriter { task: 0, lineage: 7, owner: 1, txid: 5, checkpoint: CheckpointId::default() };
    assert_eq!(map.claim(None, &writer).ok(), Some(true));
    let settings = format!("url = '{}'\ntable = 'public.totals'", server.url());
    let settings: PostgresStateSettings = toml::from_str(&settings).expect("settings");
    let named = PostgresState::new(settings).unwrap_or_else(|error| panic!("{error}"));
    let mut map = open(&named, &["word"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(map.writers().ok().flatten(), Some(vec![writer]));
}

/// Even if the server cannot compress it.
#[test]
fn the_longest_key_that_is_taken_fits_the_index() {
    let server = Server::start();
    let mut map = open(&store(&server, ""), &["word"]).unwrap_or_else(|error| panic!("{error}"));
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from((state >> 33) % 64).expect("it is below 64"))
    };
    let text: String = (0..4000).map(|_| letter()).collect();
    let taken = |bytes: &usize| map.check(&[Value::from(&text[..*bytes])], &Value::from(1)).is_ok();
    let longest = (1..4000).rev().find(taken).expect("a short one is taken");
    let entry = |bytes: usize| {
        let stored = Stored { value: Value::from(1), prev: Value::Null, txid: Some(1) };
        [(vec![Value::from(&text[..bytes])], stored)]
    };
    map.multi_put(&entry(longest)).unwrap_or_else(|error| panic!("{longest}: {error}"));
    assert!(map.multi_put(&entry(3000)).is_err(), "the server has no such limit, so squall needs none");
}

/// Of two states in one table, each took the other's place in `squall_states`, if their URLs named the server differently.
#[test]
fn a_server_is_one_by_all_its_names() {
    let server = Server::start();
    let _first = open(&store(&server, ""), &["word"]).unwrap_or_else(|error| panic!("{error}"));
    for host in ["localhost", server.socket_directory()] {
        let at = |table: &str| {
            let settings = format!("url = '{}'\ntable = '{table}'", server.url_at(host));
            let settings: PostgresStateSettings = toml::from_str(&settings).expect("settings");
            PostgresState::new(settings).unwrap_or_else(|error| panic!("{error}"))
        };
        let error = open_as("again", &at("public.totals"), &["word"]).err().expect("it is the same table");
        assert!(error.is_fatal(), "{error}");
        for part in
            ["the state `again`", r#""public"."totals""#, "squall test/component/0", "another `table`"]
        {
            assert!(error.to_string().contains(part), "{host}: {error}");
        }
        let same = open_as("totals", &at("totals"), &["word"]);
        assert!(same.is_ok(), "tasks of one state share it: {:?}", same.err());
        assert!(open_as("again", &at("others"), &["word"]).is_ok(), "{host}");
    }
}

/// Without checkpoints there is only the mode `non-transactional`. Nothing fails here, so each number counts once.
#[test]
fn totals_without_checkpoints_count_what_comes() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    for delivery in ["at-least-once", "at-most-once"] {
        let url = server.url();
        server.query("DROP TABLE IF EXISTS counts, changes; CREATE TABLE changes (kind text, total bigint)");
        let text = format!(
            "[topology]\nname = 'totals'\ndelivery = '{delivery}'\n\
             [state.counts]\ntype = 'postgres'\nmode = 'non-transactional'\nurl = '{url}'\ntable = 'counts'\n\
             [spout.numbers]\ntype = 'generate'\n[spout.numbers.config]\ncount = 10_000\n\
             fields = {{ kind = '{{choice:a|b|c|d|e|f}}' }}\n\
             [bolt.counts]\ntype = 'aggregate'\nparallelism = 2\n\
             inputs = [{{ from = 'numbers', fields = ['kind'] }}]\n\
             config = {{ state = 'counts', by = ['kind'], function = 'count' }}\n\
             [bolt.changes]\ntype = 'postgres'\ninputs = ['counts']\n\
             config = {{ url = '{url}', table = 'changes', columns = ['kind', 'total'] }}\n",
        );
        let path = directory.path().join("totals.toml");
        fs::write(&path, text).expect("the directory is the test's");
        ended(squall(&[path.to_str().expect("it is text")]));
        assert_eq!(server.number("SELECT sum(value) FROM counts"), 10_000, "{delivery}");
        let columns =
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'counts' ORDER BY 1";
        assert_eq!(server.query(columns), ["kind", "value"]);
        let latest = "SELECT kind, max(total) FROM changes GROUP BY kind ORDER BY kind";
        assert_eq!(
            server.query(latest),
            server.query("SELECT kind, value FROM counts ORDER BY kind"),
            "{delivery}"
        );
    }
}
