//! What is written of tuples, and which are refused.

use squall::prelude::*;
use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
use squall::{Timestamp, Value};

use crate::server::Server;

fn sink(server: &Server, config: &str) -> BoltHarness {
    start(server, config, &HarnessOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn start(server: &Server, config: &str, options: &HarnessOptions) -> Result<BoltHarness, TaskError> {
    let config = format!("url = '{}'\n{config}", server.url());
    BoltHarness::registered(&Registry::with_standard(), "postgres", &config, options)
}

fn write(sink: &mut BoltHarness, rows: impl IntoIterator<Item = (i64, &'static str)>) {
    sink.execute_all(rows.into_iter().map(|row| TestTuple::new(row).fields(["id", "item"])));
    sink.finish();
}

#[test]
fn rows_are_inserted_upserted_and_deleted() {
    let server = Server::start();
    server.query("CREATE SCHEMA shop; CREATE TABLE shop.\"Orders\" (id bigint PRIMARY KEY, item text)");
    let table = "table = 'shop.Orders'\ncolumns = ['id', 'item']\n";
    let rows = || server.query("SELECT id, item FROM shop.\"Orders\" ORDER BY id");

    let mut insert = sink(&server, table);
    write(&mut insert, [(1, "tea"), (2, "rice"), (3, "salt")]);
    assert_eq!((rows(), insert.acked().len()), (vec!["1|tea".into(), "2|rice".into(), "3|salt".into()], 3));

    let mut upsert = sink(&server, &format!("{table}mode = 'upsert'\nkey = ['id']"));
    write(&mut upsert, [(2, "oats"), (4, "milk"), (2, "rye")]);
    assert_eq!(rows(), ["1|tea", "2|rye", "3|salt", "4|milk"]);
    assert_eq!((upsert.acked().len(), upsert.failed().len()), (3, 0));

    let mut delete = sink(&server, &format!("{table}mode = 'delete'\nkey = ['id']"));
    write(&mut delete, [(1, ""), (4, ""), (9, "")]);
    assert_eq!((rows(), delete.acked().len()), (vec!["2|rye".into(), "3|salt".into()], 3));

    let statement = "statement = 'UPDATE shop.\"Orders\" SET item = upper($2) WHERE id = $1'\n\
                     parameters = ['id', '{item} no. {id}']";
    write(&mut sink(&server, statement), [(3, "pepper")]);
    assert_eq!(rows(), ["2|rye", "3|PEPPER NO. 3"]);
}

/// What the server or the user has set for all sessions changes nothing.
#[test]
fn sessions_have_settings_of_their_own() {
    let server = Server::start();
    server.query(
        "ALTER ROLE squall SET default_transaction_isolation = 'serializable'; \
         ALTER ROLE squall SET extra_float_digits = -5; \
         CREATE TABLE t (id bigint, item text, isolation text DEFAULT current_setting('transaction_isolation'), \
         digits text DEFAULT current_setting('extra_float_digits'))",
    );
    write(&mut sink(&server, "table = 't'\ncolumns = ['id', 'item']"), [(1, "tea")]);
    assert_eq!(server.query("SELECT isolation, digits FROM t"), ["read committed|1"]);
}

/// An index takes no value of more than 2700 bytes, however often it is tried.
#[test]
fn a_value_beyond_a_limit_of_the_server_fails_alone() {
    let server = Server::start();
    server.query("CREATE TABLE t (id bigint, item text PRIMARY KEY)");
    // Nothing that can be compressed.
    let mut number = 1_u64;
    let mut next = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{number:016x}")
    };
    let long: String = (0..2000).map(|_| next()).collect();
    let mut sink = sink(&server, "table = 't'\ncolumns = ['id', 'item']");
    for (id, item) in [(1, "tea"), (2, long.as_str()), (3, "rice")] {
        sink.execute(TestTuple::new((id, item)).fields(["id", "item"]));
    }
    sink.finish();
    assert_eq!(server.query("SELECT id FROM t ORDER BY id"), ["1", "3"]);
    assert_eq!((sink.failed().len(), sink.counter("rows_refused")), (1, 1));
}

#[test]
fn large_batches_go_in_statements_of_many_rows() {
    let server = Server::start();
    server.query("CREATE TABLE t (id bigint, item text)");
    let mut sink = sink(&server, "table = 't'\ncolumns = ['id', 'item']\nbatch = { rows = 5000 }");
    write(&mut sink, (0..12_345).map(|id| (id, "x")));
    assert_eq!(server.query("SELECT count(*), sum(id) FROM t"), [format!("12345|{}", 12_344 * 12_345 / 2)]);
    assert_eq!((sink.acked().len(), sink.counter("transactions")), (12_345, 3));
}

#[test]
fn every_type_is_written_as_the_same_value() {
    let server = Server::start();
    server.query(
        "CREATE TYPE mood AS ENUM ('calm', 'gale'); CREATE DOMAIN percent AS int CHECK (VALUE <= 100)",
    );
    let check = |column_type: &str, value: Value, shown: &str| {
        server.query(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (v {column_type})"));
        let mut sink = sink(&server, "table = 't'\ncolumns = ['v']");
        sink.execute(TestTuple::new([value]).fields(["v"]));
        sink.finish();
        assert_eq!(sink.errors(), [""; 0], "{column_type}");
        assert_eq!(server.query("SET timezone = 'UTC'; SELECT v FROM t"), [shown], "{column_type}");
    };
    check("bool", true.into(), "t");
    check("smallint", (-32768).into(), "-32768");
    check("integer", 7.into(), "7");
    check("bigint", i64::MIN.into(), "-9223372036854775808");
    check("real", 0.5.into(), "0.5");
    check("double precision", 0.1.into(), "0.1");
    check("double precision", f64::INFINITY.into(), "Infinity");
    check("numeric(20, 4)", "12345678901234.5678".into(), "12345678901234.5678");
    check("numeric", 7.into(), "7");
    check("text", "it's 100 % \\ \"fine\" ü".into(), "it's 100 % \\ \"fine\" ü");
    check("varchar(3)", "abc".into(), "abc");
    check("text", 7.into(), "7");
    check("bytea", Value::bytes(&b"\x00\xff\\"[..]), "\\x00ff5c");
    check("timestamptz", Timestamp(1_500_000).into(), "1970-01-01 00:00:00.0015+00");
    check("timestamp", Timestamp(1_500_000).into(), "1970-01-01 00:00:00.0015");
    check("timestamptz", "2026-11-29T12:00:00+02:00".into(), "2026-11-29 10:00:00+00");
    check("date", "2026-11-29".into(), "2026-11-29");
    check("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into(), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    check("inet", "10.0.0.1".into(), "10.0.0.1");
    check("mood", "gale".into(), "gale");
    check("percent", 99.into(), "99");
    check("interval", "1 day 2 hours".into(), "1 day 02:00:00");
    check("jsonb", Value::map([("a", Value::list([1.into(), Value::Null]))]), r#"{"a": [1, null]}"#);
    check("json", "[1,2]".into(), "[1,2]");
    check("integer[]", Value::list([1.into(), Value::Null]), "{1,NULL}");
    check("text[]", Value::list(["a \"b\"".into(), "c,\\".into()]), r#"{"a \"b\"","c,\\"}"#);
    check("integer[]", Value::list([Value::list([1.into()]), Value::list([2.into()])]), "{{1},{2}}");
    check("integer", Value::Null, "");
}

#[test]
fn bad_rows_fail_and_their_neighbours_are_written() {
    let server = Server::start();
    server.query("CREATE TABLE kinds (item text PRIMARY KEY); INSERT INTO kinds VALUES ('tea')");
    server.query(
        "CREATE TABLE t (id int PRIMARY KEY CHECK (id <> 13), \
         item text REFERENCES kinds DEFERRABLE INITIALLY DEFERRED)",
    );
    let mut sink = sink(&server, "table = 't'\ncolumns = ['id', 'item']");
    let row = |id: i64, item: &str| TestTuple::new((id, item)).fields(["id", "item"]);
    sink.execute(row(1 << 40, "tea"));
    sink.execute_all((0..300).map(|id| row(id, if id == 200 { "stone" } else { "tea" })));
    sink.execute(row(7, "tea"));
    sink.finish();
    assert_eq!(server.query("SELECT count(*), max(id) FROM t WHERE id NOT IN (13, 200)"), ["298|299"]);
    assert_eq!(server.number("SELECT count(*) FROM t"), 298);
    let mut failed: Vec<u64> = sink.failed().iter().map(|(number, _)| *number).collect();
    failed.sort_unstable();
    assert_eq!(failed, [0, 14, 201, 301], "13, the stone, and 7 for the second time");
    let errors = sink.errors().join("\n");
    for why in [
        "column `id`: the i64 1099511627776 does not fit int4",
        "violates check constraint \"t_id_check\"",
        "violates foreign key constraint \"t_item_fkey\"",
        "duplicate key value violates unique constraint \"t_pkey\"",
    ] {
        assert!(errors.contains(why), "{why} is not in\n{errors}");
    }
}

#[test]
fn what_is_not_there_is_named_before_the_first_row() {
    let server = Server::start();
    server.query("CREATE TABLE t (id int)");
    let refused = |config: &str| {
        let error = start(&server, config, &HarnessOptions::default()).err();
        let error = error.unwrap_or_else(|| panic!("{config}"));
        assert!(error.is_fatal(), "{error}");
        error.to_string()
    };
    assert!(refused("table = 'ts'\ncolumns = ['id']").contains("relation \"ts\" does not exist"));
    assert!(
        refused("table = 't'\ncolumns = ['it']").contains("column \"it\" of relation \"t\" does not exist")
    );
    assert!(refused("statement = 'SELECT $1::int'").contains("has 1 parameters, and 0 are named"));
    assert!(refused("table = 't'\ncolumns = ['id']\npassword_file = '/no/such'").contains("cannot be read"));
    // The server looks for the index when it writes.
    let mut upsert = sink(&server, "table = 't'\ncolumns = ['id']\nmode = 'upsert'\nkey = ['id']");
    upsert.execute(TestTuple::new([1]).fields(["id"]));
    upsert.finish();
    assert!(upsert.errors()[0].contains("no unique or exclusion constraint"), "{:?}", upsert.errors());
}

/// Two instances of one task: the first was stopped for a while, and the second has taken its place.
#[test]
fn an_instance_that_was_replaced_writes_nothing() {
    let server = Server::start();
    server.query("CREATE TABLE t (id bigint, item text)");
    let (config, delivery) = ("table = 't'\ncolumns = ['id', 'item']", Delivery::ExactlyOnce);
    let started = |seed| {
        let options = HarnessOptions { delivery, seed, ..HarnessOptions::default() };
        start(&server, config, &options).unwrap_or_else(|error| panic!("{error}"))
    };
    let row = |id: i64| TestTuple::new((id, "tea")).fields(["id", "item"]);
    let mut zombie = started(1);
    zombie.execute(row(1));
    zombie.checkpoint(1);
    zombie.committed(1);
    zombie.execute(row(2));
    zombie.checkpoint(2);
    let mut successor = started(2);
    zombie.committed(2);
    assert!(zombie.errors()[0].contains("was taken over"), "{:?}", zombie.errors());
    successor.execute(row(3));
    successor.checkpoint(1);
    successor.committed(1);
    successor.committed(1);
    assert_eq!(server.query("SELECT id FROM t ORDER BY id"), ["1", "3"]);
    assert_eq!(successor.errors(), [""; 0]);
}

#[test]
fn a_row_that_is_refused_at_the_commit_goes_to_a_table() {
    let server = Server::start();
    server.query("CREATE TABLE t (id bigint CHECK (id <> 2), item text)");
    let options = HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() };
    let sink = start(&server, "table = 't'\ncolumns = ['id', 'item']", &options);
    let mut sink = sink.unwrap_or_else(|error| panic!("{error}"));
    write(&mut sink, [(1, "tea"), (2, "rice"), (3, "salt")]);
    sink.checkpoint(4);
    sink.committed(4);
    assert_eq!(server.query("SELECT id FROM t ORDER BY id"), ["1", "3"]);
    let refused = server.query("SELECT component, epoch, number, place, row, error FROM squall_refused");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("component|1|4|1|[2,\"rice\"]|new row for relation \"t\""), "{refused:?}");
    assert_eq!(sink.counter("rows_refused"), 1);
}

/// A server that is stopped held the bolt for as long as it was stopped: only the server kept the time-outs.
#[test]
fn a_server_that_is_stopped_is_given_up() {
    let server = Server::start();
    server.query("CREATE TABLE t (id bigint, item text)");
    let limits = "connect_timeout = '3s'\nstatement_timeout = '3s'\ngive_up = '0s'";
    let mut sink = sink(&server, &format!("table = 't'\ncolumns = ['id', 'item']\n{limits}"));
    write(&mut sink, [(1, "tea")]);
    server.freeze(true);
    // In the middle of a session, and at the next connect.
    write(&mut sink, [(2, "rice")]);
    write(&mut sink, [(3, "salt")]);
    server.freeze(false);
    let errors = sink.errors();
    assert_eq!((sink.acked().len(), sink.failed().len(), errors.len()), (1, 2, 2), "{errors:?}");
    assert!(errors[0].contains("it has not answered for 6s"), "{errors:?}");
    assert!(errors[1].contains("it has not answered for 3s"), "{errors:?}");
}
