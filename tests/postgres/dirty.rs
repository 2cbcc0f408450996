//! `dirty = true`: rows that are visible at once, and taken back if they belong to no checkpoint.

use squall::components::postgres::Postgres;
use squall::testing::{BoltHarness, HarnessOptions, Snapshot, TestTuple};

use crate::runs::{
    COUNT, assert_exact, children, document_with, end_of_lives, ended, kill, kill_lives, squall,
    wait_for_rows,
};
use crate::server::Server;
use crate::sinks::{self, Sinks};

const INSERT: &str = "";
const UPSERT: &str = "mode = 'upsert'\nkey = ['id']";
const DELETE: &str = "mode = 'delete'\nkey = ['id']";

const SINKS: Sinks = Sinks { way: "dirty = true", parallelism: 1 };

fn write(sink: &mut BoltHarness, rows: &[(i64, &str)]) {
    for row in rows {
        sink.execute(TestTuple::new(*row).fields(["id", "item"]));
    }
    sink.flush();
    assert_eq!(sink.errors(), [""; 0]);
}

fn all(server: &Server) -> String {
    server.query("SELECT id, item, note FROM t ORDER BY id").join(" ")
}

fn clean(server: &Server) -> String {
    server.query("SELECT id, item, note FROM t_clean ORDER BY id").join(" ")
}

fn make_table(server: &Server) {
    server.query(
        "CREATE TABLE t (id bigint PRIMARY KEY CHECK (id <> 13), item text, note text DEFAULT 'n', \
         twice text GENERATED ALWAYS AS (item || item) STORED)",
    );
}

/// What `mode` writes in two checkpoints and then some, and what is there before and after a crash.
fn check(config: &str, steps: [&[(i64, &str)]; 3], dirty: [&str; 3], clean_after: [&str; 3]) {
    let server = Server::start();
    make_table(&server);
    server.query("INSERT INTO t (id, item) VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    let before = all(&server);
    let mut first = SINKS.started(&server, config, 1);
    write(&mut first, steps[0]);
    assert_eq!((all(&server).as_str(), clean(&server)), (dirty[0], before), "{config}: first");
    let snapshot = first.checkpoint(1);
    write(&mut first, steps[1]);
    assert_eq!(all(&server), dirty[1], "{config}: second");
    first.committed(1);
    assert_eq!((all(&server).as_str(), clean(&server).as_str()), (dirty[1], clean_after[0]), "{config}");
    first.checkpoint(2);
    write(&mut first, steps[2]);
    assert_eq!((all(&server).as_str(), clean(&server).as_str()), (dirty[2], clean_after[0]), "{config}");
    drop(first);
    let mut next = SINKS.restored(&server, config, 2, &snapshot);
    let back = (all(&server), clean(&server));
    assert_eq!((back.0.as_str(), back.1.as_str()), (clean_after[1], clean_after[1]), "{config}: taken back");
    assert_eq!(server.number("SELECT count(*) FROM squall_undo"), 0);
    write(&mut next, steps[1]);
    next.checkpoint(2);
    next.committed(2);
    let end = (all(&server), clean(&server));
    assert_eq!((end.0.as_str(), end.1.as_str()), (clean_after[2], clean_after[2]), "{config}: the end");
}

#[test]
fn inserts_are_visible_at_once_and_taken_back() {
    check(
        INSERT,
        [&[(4, "four")], &[(5, "five")], &[(6, "six")]],
        [
            "1|one|n 2|two|n 3|three|n 4|four|n",
            "1|one|n 2|two|n 3|three|n 4|four|n 5|five|n",
            "1|one|n 2|two|n 3|three|n 4|four|n 5|five|n 6|six|n",
        ],
        [
            "1|one|n 2|two|n 3|three|n 4|four|n",
            "1|one|n 2|two|n 3|three|n 4|four|n",
            "1|one|n 2|two|n 3|three|n 4|four|n 5|five|n",
        ],
    );
}

#[test]
fn upserts_are_visible_at_once_and_taken_back() {
    check(
        UPSERT,
        [
            &[(1, "uno"), (4, "vier"), (1, "eins")],
            &[(1, "un"), (4, "quatre")],
            &[(1, "x"), (2, "y"), (9, "z")],
        ],
        [
            "1|eins|n 2|two|n 3|three|n 4|vier|n",
            "1|un|n 2|two|n 3|three|n 4|quatre|n",
            "1|x|n 2|y|n 3|three|n 4|quatre|n 9|z|n",
        ],
        [
            "1|eins|n 2|two|n 3|three|n 4|vier|n",
            "1|eins|n 2|two|n 3|three|n 4|vier|n",
            "1|un|n 2|two|n 3|three|n 4|quatre|n",
        ],
    );
}

#[test]
fn deletes_are_visible_at_once_and_taken_back() {
    check(
        DELETE,
        [&[(1, "")], &[(2, ""), (7, "")], &[(3, "")]],
        ["2|two|n 3|three|n", "3|three|n", ""],
        ["2|two|n 3|three|n", "2|two|n 3|three|n", "3|three|n"],
    );
}

/// What nobody continues is taken back by the run that begins anew; what is clean stays.
#[test]
fn a_run_that_begins_anew_takes_back_what_is_not_clean() {
    let server = Server::start();
    make_table(&server);
    let mut first = SINKS.started(&server, UPSERT, 1);
    write(&mut first, &[(1, "one")]);
    first.checkpoint(1);
    first.committed(1);
    write(&mut first, &[(1, "dirty"), (2, "dirty")]);
    first.checkpoint(2);
    drop(first);
    let mut next = SINKS.started(&server, UPSERT, 2);
    assert_eq!((all(&server).as_str(), clean(&server).as_str()), ("1|one|n", "1|one|n"));
    write(&mut next, &[(1, "uno")]);
    assert_eq!((all(&server).as_str(), clean(&server).as_str()), ("1|uno|n", "1|one|n"));
}

/// Every type comes back as the same value, also where its text is special.
#[test]
fn values_of_every_type_are_put_back_as_they_were() {
    let server = Server::start();
    let columns = "b bool, f double precision, n numeric(20, 4), s text, v varchar(9), c char(4), x bytea, \
                   w timestamptz, d date, i interval, j json, k jsonb, a text[], r int4range, u uuid";
    server.query(&format!("CREATE TABLE t (id bigint PRIMARY KEY, item text, {columns})"));
    server.query(
        "INSERT INTO t VALUES (1, 'one', true, '-Infinity', 1.10, 'it''s \\ \"fine\"', NULL, 'ab', '\\x00ff5c', \
         '2026-11-29 12:00:00.123456+02', '2026-02-28', '-1 day 02:00', '{\"a\" :  1, \"a\":2}', '{\"b\":[null]}', \
         '{\"x\\\"\",NULL,\"\"}', '[1,5)', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'); INSERT INTO t VALUES (2, '', NULL, 'NaN', 0.1)",
    );
    let all = || server.query("SELECT t::text FROM t ORDER BY id");
    let before = all();
    let mut first = SINKS.started(&server, DELETE, 1);
    write(&mut first, &[(1, ""), (2, "")]);
    assert_eq!(all(), [""; 0]);
    assert_eq!(server.query("SELECT t::text FROM t_clean t ORDER BY id"), before);
    drop(first);
    drop(SINKS.started(&server, DELETE, 2));
    assert_eq!(all(), before);
}

/// Rows that are refused are taken back, too, and come again.
#[test]
fn refused_rows_are_kept_once() {
    let server = Server::start();
    make_table(&server);
    let mut first = SINKS.started(&server, INSERT, 1);
    let snapshot = first.checkpoint(1);
    write(&mut first, &[(12, "a"), (13, "refused"), (14, "b")]);
    assert_eq!(first.counter("rows_refused"), 1);
    assert_eq!(server.query("SELECT row FROM squall_refused"), [r#"[13,"refused"]"#]);
    drop(first);
    let mut next = SINKS.restored(&server, INSERT, 2, &snapshot);
    assert_eq!(server.number("SELECT count(*) FROM squall_refused"), 0);
    write(&mut next, &[(12, "a"), (13, "refused"), (14, "b")]);
    next.checkpoint(2);
    next.committed(2);
    assert_eq!((all(&server).as_str(), clean(&server).as_str()), ("12|a|n 14|b|n", "12|a|n 14|b|n"));
    assert_eq!(server.number("SELECT count(*) FROM squall_refused"), 1);
    drop(SINKS.started(&server, INSERT, 3));
    assert_eq!(server.number("SELECT count(*) FROM squall_refused"), 1, "it is clean");
}

#[test]
fn an_instance_that_was_replaced_writes_and_cleans_nothing() {
    let server = Server::start();
    make_table(&server);
    let mut zombie = SINKS.started(&server, UPSERT, 1);
    write(&mut zombie, &[(1, "one")]);
    let snapshot = zombie.checkpoint(1);
    let _successor = SINKS.restored(&server, UPSERT, 2, &snapshot);
    zombie.committed(1);
    zombie.execute(TestTuple::new((2, "zombie")).fields(["id", "item"]));
    zombie.flush();
    assert_eq!(zombie.errors().len(), 2, "{:?}", zombie.errors());
    assert!(zombie.errors().iter().all(|error| error.contains("was taken over")), "{:?}", zombie.errors());
    assert_eq!((all(&server).as_str(), clean(&server).as_str()), ("1|one|n", ""));
}

#[test]
fn tables_whose_rows_could_not_be_found_again_are_refused() {
    let server = Server::start();
    let refused = |config: &str| {
        let error = SINKS.begin(&server, config, 1, None).err();
        let error = error.unwrap_or_else(|| panic!("{config}"));
        assert!(error.is_fatal(), "{error}");
        server.query("DROP TABLE IF EXISTS t CASCADE");
        error.to_string()
    };
    server.query("CREATE TABLE t (id bigint, item text)");
    assert!(refused(INSERT).contains("has no primary key"));
    server.query("CREATE TABLE t (id bigint UNIQUE, item text PRIMARY KEY)");
    assert!(refused(UPSERT).contains("column `item` is in the primary key of \"t\" and not in `key`"));
    server.query("CREATE TABLE t (id bigint PRIMARY KEY, item text) PARTITION BY RANGE (id)");
    assert!(refused(UPSERT).contains("is no ordinary table"));
    server.query("CREATE TABLE t_clean (x int); CREATE TABLE t (id bigint PRIMARY KEY, item text)");
    assert!(refused(INSERT).contains("the name `t_clean`"));
    let settings = format!("url = '{}'\ndirty = true\n", server.url());
    let wrong = |config: &str| {
        let settings = toml::from_str(&format!("{settings}{config}")).expect("these are settings");
        Postgres::new(settings).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(
        wrong("table = 't'\ncolumns = ['id']\nprepare = true").contains("does not go with `dirty = true`")
    );
    assert!(wrong("statement = 'SELECT 1'").contains("does not go with `dirty = true`"));
}

/// What was written to another table could not be taken back; nobody forgets it.
#[test]
fn a_table_with_dirty_rows_is_not_left_for_another() {
    let server = Server::start();
    make_table(&server);
    server.query("CREATE TABLE u (id bigint PRIMARY KEY, item text)");
    let elsewhere = |from: Option<&Snapshot>| {
        let config = "table = 'u'\ncolumns = ['id', 'item']\ndirty = true";
        sinks::begin(&server, config, &SINKS.options(2), from)
    };
    let mut first = SINKS.started(&server, UPSERT, 1);
    write(&mut first, &[(1, "one")]);
    let snapshot = first.checkpoint(1);
    write(&mut first, &[(1, "dirty")]);
    drop(first);
    for from in [None, Some(&snapshot)] {
        let error = elsewhere(from).err().expect("rows are dirty");
        assert!(error.is_fatal(), "{error}");
        for part in [r#""public"."t""#, r#""public"."u""#, "continue with", "relation = '\"public\".\"t\"'"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    let mut next = SINKS.restored(&server, UPSERT, 3, &snapshot);
    assert_eq!(all(&server), "1|one|n");
    next.committed(1);
    drop(next);
    assert!(elsewhere(Some(&snapshot)).is_ok(), "nothing is dirty");
}

/// A trigger that leaves rows as they are is nobody who writes at the same time.
#[test]
fn triggers_may_leave_rows_as_they_are() {
    let server = Server::start();
    make_table(&server);
    server.query(
        "INSERT INTO t (id, item) VALUES (1, 'fixed'), (2, 'two'); \
         CREATE FUNCTION fix() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF OLD.item = ''fixed'' THEN RETURN NULL; END IF; RETURN NEW; END'; \
         CREATE TRIGGER fix BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fix()",
    );
    let mut first = SINKS.started(&server, UPSERT, 1);
    write(&mut first, &[(1, "x"), (2, "zwei"), (3, "drei")]);
    assert_eq!(all(&server), "1|fixed|n 2|zwei|n 3|drei|n");
    drop(first);
    drop(SINKS.started(&server, UPSERT, 2));
    assert_eq!(all(&server), "1|fixed|n 2|two|n");
}

/// The view follows a table that gets a column.
#[test]
fn the_view_gets_new_columns_at_the_next_start() {
    let server = Server::start();
    make_table(&server);
    let mut first = SINKS.started(&server, UPSERT, 1);
    write(&mut first, &[(1, "one")]);
    drop(first);
    server.query("ALTER TABLE t ADD COLUMN more int DEFAULT 7");
    drop(SINKS.started(&server, UPSERT, 2));
    server.query("INSERT INTO t (id) VALUES (5)");
    assert_eq!(server.query("SELECT id, more FROM t_clean"), ["5|7"]);
}

fn make_tables(server: &Server) {
    server.query("CREATE TABLE numbers (n bigint PRIMARY KEY)");
    server.query("CREATE TABLE kinds (kind text PRIMARY KEY, count bigint)");
}

/// The views have what the tables have, and nothing is left that could be taken back.
fn assert_all_clean(server: &Server) {
    for table in ["numbers", "kinds"] {
        let differ = format!("SELECT count(*) FROM (TABLE {table} EXCEPT TABLE {table}_clean) x");
        assert_eq!(server.number(&differ), 0);
        assert_eq!(
            server.query(&format!("SELECT count(*) FROM {table}")),
            server.query(&format!("SELECT count(*) FROM {table}_clean"))
        );
    }
    assert_eq!(server.number("SELECT count(*) FROM squall_undo"), 0);
    assert_eq!(server.number("SELECT count(*) FROM squall_refused"), 0);
}

/// What is clean only grows, and needs no run to be right.
#[test]
fn runs_that_are_killed_and_continued_leave_each_row_once() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let document = document_with(directory.path(), &server, "exactly-once", "dirty = true");
    let mut clean_before = 0;
    kill_lives(&server, &document, || {
        let clean = server.number("SELECT count(*) FROM numbers_clean");
        assert!(clean_before <= clean, "{clean_before} {clean}");
        clean_before = clean;
    });
    end_of_lives(&server, &document);
    assert_all_clean(&server);
}

#[test]
fn servers_and_workers_that_are_killed_leave_each_row_once() {
    let (mut server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let document = document_with(directory.path(), &server, "exactly-once", "dirty = true");
    let mut run = squall(&[&document, "--workers", "2"]);
    for part in 1..=3 {
        wait_for_rows(&server, &mut run, COUNT * part / 5);
        if part == 2 {
            children(run.id()).into_iter().take(1).for_each(kill);
        } else {
            server.kill();
            server.restart();
        }
    }
    ended(run);
    assert_exact(&server);
    assert_all_clean(&server);
}

/// A sink of one of two tasks. Those with one seed have gone back together.
fn start_of_two(server: &Server, config: &str, task_index: usize, seed: u64) -> BoltHarness {
    let options = HarnessOptions { task_index, parallelism: 2, ..SINKS.options(seed) };
    let config = format!("table = 't'\ncolumns = ['id', 'item']\ndirty = true\n{config}");
    sinks::begin(server, &config, &options, None).unwrap_or_else(|error| panic!("{error}"))
}

/// Tasks begin at different times. What one has to take back yet, another must neither take for a row that is there already
/// nor build upon.
#[test]
fn a_task_waits_for_what_another_has_to_take_back() {
    for (config, dirty, at_the_end) in
        [(INSERT, "1|first|n", "1|second|n"), (UPSERT, "1|first|n", "1|second|n"), (DELETE, "", "")]
    {
        let server = Server::start();
        make_table(&server);
        if config == DELETE {
            server.query("INSERT INTO t VALUES (1, 'zero')");
        }
        let start = |task, seed| start_of_two(&server, config, task, seed);
        let mut first = start(0, 1);
        write(&mut first, &[(1, "first")]);
        drop(first);
        // All tasks go back, and the row comes to the other task, which is the first to begin.
        let mut other = start(1, 2);
        other.execute(TestTuple::new((1, "second")).fields(["id", "item"]));
        other.flush();
        assert_eq!(other.errors().len(), 1, "{config}");
        assert!(other.errors()[0].contains("are still to be taken back"), "{:?}", other.errors());
        assert_eq!(all(&server), dirty, "{config}");
        let _first = start(0, 2);
        other.checkpoint(1);
        other.committed(1);
        assert_eq!((all(&server).as_str(), clean(&server).as_str()), (at_the_end, at_the_end), "{config}");
        assert_eq!((other.errors().len(), other.counter("rows_refused")), (1, 0));
    }
}

/// Both tasks have gone back and have begun, and both write the same row. The second took what the first had just written
/// for something that was still to be taken back, and waited for that for ever.
#[test]
fn a_row_of_a_task_that_has_begun_is_refused_or_replaced() {
    for (config, at_the_end, refused) in [(INSERT, "1|first|n", 1), (UPSERT, "1|second|n", 0)] {
        let server = Server::start();
        make_table(&server);
        for (task, row) in [(0, (1, "before")), (1, (2, "before"))] {
            write(&mut start_of_two(&server, config, task, 1), &[row]);
        }
        let mut first = start_of_two(&server, config, 0, 2);
        write(&mut first, &[(1, "first")]);
        let mut second = start_of_two(&server, config, 1, 2);
        write(&mut second, &[(1, "second")]);
        assert_eq!(all(&server), at_the_end, "{config}");
        assert_eq!(second.counter("rows_refused"), refused, "{config}");
        assert_eq!(server.number("SELECT count(*) FROM squall_refused") as u64, refused, "{config}");
        for sink in [&mut first, &mut second] {
            sink.checkpoint(1);
            sink.committed(1);
        }
        assert_eq!(clean(&server), at_the_end, "{config}");
    }
}

/// An earlier version had no table of the tasks that have begun.
#[test]
fn what_an_earlier_version_left_dirty_is_taken_back() {
    let server = Server::start();
    make_table(&server);
    write(&mut start_of_two(&server, INSERT, 0, 1), &[(1, "before")]);
    server.query("DROP TABLE squall_begun");
    let mut second = start_of_two(&server, INSERT, 1, 2);
    second.execute(TestTuple::new((1, "second")).fields(["id", "item"]));
    second.flush();
    assert!(second.errors()[0].contains("are still to be taken back"), "{:?}", second.errors());
    let _first = start_of_two(&server, INSERT, 0, 2);
    second.checkpoint(1);
    assert_eq!((all(&server).as_str(), second.counter("rows_refused")), ("1|second|n", 0));
}

/// A user who may not make tables needs one more than with an earlier version.
#[test]
fn a_table_that_cannot_be_made_is_named_with_what_to_do() {
    let server = Server::start();
    make_table(&server);
    drop(SINKS.started(&server, INSERT, 1));
    server.query(
        "DROP TABLE squall_begun; CREATE ROLE guest LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO guest",
    );
    let guest = server.url().replace("squall@", "guest@");
    let settings = format!("url = '{guest}'\ntable = 't'\ncolumns = ['id', 'item']\n{}", SINKS.way);
    let settings = toml::from_str(&settings).expect("these are settings");
    let sink = Box::new(Postgres::new(settings).expect("they go together"));
    let error = BoltHarness::start(sink, &SINKS.options(2)).err().expect("guests make no tables");
    assert!(error.is_fatal(), "{error}");
    for part in ["the table squall_begun", "permission denied", "docs/components.md"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
