//! `prepare = true`: transactions that are prepared at the barrier.

use squall::testing::TestTuple;

use crate::runs::{
    COUNT, assert_exact, children, document_with, end_of_lives, ended, kill, kill_lives, make_tables, squall,
    wait_for_rows,
};
use crate::server::{Server, wait_until};
use crate::sinks::Sinks;

const UPSERT: &str = "mode = 'upsert'\nkey = ['id']";

const SINKS: Sinks = Sinks { way: "prepare = true", parallelism: 2 };

fn row(id: i64, item: &str) -> TestTuple {
    TestTuple::new((id, item)).fields(["id", "item"])
}

fn make_table(server: &Server) {
    server.query("CREATE TABLE t (id bigint PRIMARY KEY CHECK (id <> 13), item text)");
}

fn found(server: &Server) -> Vec<String> {
    server.query("SELECT id, item FROM t ORDER BY id")
}

fn prepared(server: &Server) -> Vec<String> {
    server.query("SELECT gid FROM pg_prepared_xacts ORDER BY prepared")
}

#[test]
fn rows_wait_in_a_prepared_transaction_and_not_in_the_checkpoint() {
    let server = Server::start();
    make_table(&server);
    let mut sink = SINKS.started(&server, "", 1);
    let long = "x".repeat(100_000);
    sink.execute(row(1, &long));
    sink.execute(row(13, "refused"));
    let snapshot = sink.checkpoint(1);
    let names = prepared(&server);
    assert!(names.len() == 1 && names[0].starts_with("squall/test/component/0/"), "{names:?}");
    assert!(names[0].ends_with("/1"), "{names:?}");
    assert!(snapshot.size() < 10_000, "the checkpoint has {} bytes", snapshot.size());
    assert_eq!(server.number("SELECT count(*) FROM t"), 0);
    sink.committed(1);
    sink.committed(1);
    assert_eq!(server.number("SELECT count(*) FROM t"), 1);
    assert_eq!(server.query("SELECT number, sequence, place FROM squall_refused"), ["1|1|1"]);
    assert_eq!((prepared(&server).len(), sink.errors()), (0, &[][..]));
    let counts = ["rows_written", "rows_refused", "transactions", "transactions_unprepared"];
    assert_eq!(counts.map(|name| sink.counter(name)), [1, 1, 1, 0]);
    assert_eq!(server.number("SELECT count(*) FROM squall_prepared"), 0, "nothing is left");
}

/// The barrier must not wait for a transaction that waits for the barrier.
#[test]
fn rows_that_would_wait_for_a_lock_wait_in_the_checkpoint() {
    let server = Server::start();
    make_table(&server);
    let mut sink = SINKS.started(&server, UPSERT, 1);
    sink.execute(row(1, "tea"));
    sink.checkpoint(1);
    // That checkpoint is given up, so nobody decides about the transaction before the next one is complete.
    sink.execute(row(1, "rice"));
    let snapshot = sink.checkpoint(2);
    assert_eq!((sink.counter("transactions_unprepared"), sink.errors()), (1, &[][..]));
    drop(sink);
    let mut next = SINKS.restored(&server, UPSERT, 2, &snapshot);
    assert_eq!(found(&server), [""; 0]);
    next.committed(2);
    assert_eq!((found(&server), next.errors()), (vec!["1|rice".to_owned()], &[][..]));
    next.execute(row(1, "salt"));
    next.checkpoint(3);
    assert_eq!(prepared(&server).len(), 1, "it prepares again");
    next.committed(3);
    assert_eq!(found(&server), ["1|salt"]);
}

/// Otherwise the rows would wait for the locks of what is prepared, and that is to be committed after them.
#[test]
fn nothing_is_prepared_while_earlier_rows_wait_in_the_checkpoint() {
    let server = Server::start();
    make_table(&server);
    let mut first = SINKS.started(&server, UPSERT, 1);
    first.execute(row(1, "tea"));
    first.checkpoint(1);
    first.execute(row(1, "rice"));
    first.checkpoint(2);
    first.committed(1);
    first.execute(row(1, "salt"));
    let snapshot = first.checkpoint(3);
    assert_eq!((prepared(&server), first.counter("transactions_unprepared")), (Vec::new(), 2));
    first.committed(2);
    assert_eq!((found(&server), first.errors()), (vec!["1|rice".to_owned()], &[][..]));
    first.execute(row(1, "oats"));
    first.checkpoint(4);
    assert_eq!(prepared(&server), [""; 0], "that of checkpoint 3 still waits");
    drop(first);
    let mut next = SINKS.restored(&server, UPSERT, 2, &snapshot);
    next.execute(row(1, "milk"));
    next.checkpoint(4);
    assert_eq!(prepared(&server), [""; 0], "also after a restart");
    next.committed(4);
    assert_eq!((found(&server), next.errors()), (vec!["1|milk".to_owned()], &[][..]));
    next.execute(row(1, "corn"));
    next.checkpoint(5);
    assert_eq!(prepared(&server).len(), 1, "it prepares again");
}

#[test]
fn what_earlier_instances_left_is_rolled_back_and_what_others_left_is_not() {
    let server = Server::start();
    make_table(&server);
    let mut first = SINKS.started(&server, "", 1);
    first.execute(row(1, "tea"));
    let snapshot = first.checkpoint(1);
    first.execute(row(2, "rice"));
    first.checkpoint(2);
    drop(first);
    // Task 2 is gone; task 1 and the other bolt look after themselves.
    let gone = "squall/test/component/2/0123456789abcdef/1";
    let others = [
        "x",
        "squall/test/component/x",
        "squall/test/component/1/0123456789abcdef/1",
        "squall/test/component-2/0/0123456789abcdef/1",
    ];
    for (id, name) in (100..).zip(others.into_iter().chain([gone])) {
        server.query(&format!("BEGIN; INSERT INTO t VALUES ({id}); PREPARE TRANSACTION '{name}'"));
    }
    let mut next = SINKS.restored(&server, "", 2, &snapshot);
    let names = prepared(&server);
    assert_eq!((names.len(), &names[1..]), (5, &others.map(str::to_owned)[..]), "{names:?}");
    next.committed(1);
    next.execute(row(2, "oats"));
    next.checkpoint(2);
    next.committed(2);
    assert_eq!((found(&server), next.errors()), (vec!["1|tea".to_owned(), "2|oats".to_owned()], &[][..]));
}

#[test]
fn a_prepared_transaction_that_somebody_rolled_back_ends_the_run() {
    let server = Server::start();
    make_table(&server);
    let mut sink = SINKS.started(&server, "", 1);
    sink.execute(row(1, "tea"));
    sink.execute(row(2, "rice"));
    let snapshot = sink.checkpoint(7);
    server.query(&format!("ROLLBACK PREPARED '{}'", prepared(&server)[0]));
    let says = |errors: &[String]| {
        let parts =
            ["with 2 rows of checkpoint 1-7 is gone", "somebody rolled it back", "--resume=CHECKPOINT"];
        assert!(errors.len() == 1 && parts.iter().all(|part| errors[0].contains(part)), "{errors:?}");
    };
    sink.committed(7);
    says(sink.errors());
    drop(sink);
    // Also in the next process, as often as it is tried.
    let mut next = SINKS.restored(&server, "", 2, &snapshot);
    next.committed(7);
    says(next.errors());
    assert_eq!(found(&server), [""; 0]);
}

#[test]
fn somebody_else_may_commit_what_is_prepared() {
    let server = Server::start();
    make_table(&server);
    let mut sink = SINKS.started(&server, "", 1);
    sink.execute(row(1, "tea"));
    sink.checkpoint(1);
    server.query(&format!("COMMIT PREPARED '{}'", prepared(&server)[0]));
    sink.committed(1);
    assert_eq!((found(&server), sink.errors()), (vec!["1|tea".to_owned()], &[][..]));
}

#[test]
fn a_server_without_prepared_transactions_is_an_error_that_says_what_to_set() {
    let server = Server::with_prepares(0);
    make_table(&server);
    let error = SINKS.begin(&server, "", 1, None).err().expect("it cannot prepare");
    assert!(error.is_fatal() && error.to_string().contains("`max_prepared_transactions`"), "{error}");
}

/// The slots of the server are all in use: then the rows wait in the checkpoint.
#[test]
fn rows_for_which_the_server_has_no_slot_are_not_lost() {
    let server = Server::with_prepares(1);
    make_table(&server);
    server.query("CREATE TABLE other (id int); BEGIN; INSERT INTO other VALUES (1); PREPARE TRANSACTION 'x'");
    let mut sink = SINKS.started(&server, "", 1);
    sink.execute(row(1, "tea"));
    sink.checkpoint(1);
    sink.committed(1);
    assert_eq!((found(&server), sink.errors()), (vec!["1|tea".to_owned()], &[][..]));
    assert_eq!(sink.counter("transactions_unprepared"), 1);
}

/// Two instances of one task: the first was stopped for a while, and the second has taken its place.
#[test]
fn an_instance_that_was_replaced_prepares_and_commits_nothing() {
    let server = Server::start();
    make_table(&server);
    let mut zombie = SINKS.started(&server, "", 1);
    zombie.execute(row(1, "tea"));
    let snapshot = zombie.checkpoint(1);
    zombie.execute(row(2, "zombie"));
    zombie.checkpoint(2);
    let mut successor = SINKS.restored(&server, "", 2, &snapshot);
    assert_eq!(prepared(&server).len(), 1, "that of checkpoint 1");
    zombie.committed(2);
    zombie.execute(row(3, "zombie"));
    zombie.checkpoint(3);
    assert_eq!(zombie.errors().len(), 2, "{:?}", zombie.errors());
    assert!(zombie.errors().iter().all(|error| error.contains("was taken over")), "{:?}", zombie.errors());
    successor.committed(1);
    successor.execute(row(2, "rice"));
    successor.checkpoint(2);
    successor.committed(2);
    assert_eq!(
        (found(&server), successor.errors()),
        (vec!["1|tea".to_owned(), "2|rice".to_owned()], &[][..])
    );
    assert_eq!(prepared(&server), [""; 0]);
}

#[test]
fn runs_that_are_killed_and_continued_leave_each_row_once() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let document = document_with(directory.path(), &server, "exactly-once", "prepare = true");
    kill_lives(&server, &document, || {});
    end_of_lives(&server, &document);
    assert_eq!(prepared(&server), [""; 0]);
    assert_eq!(server.number("SELECT count(*) FROM squall_prepared"), 0);
}

#[test]
fn servers_and_workers_that_are_killed_leave_each_row_once() {
    let (mut server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let document = document_with(directory.path(), &server, "exactly-once", "prepare = true");
    let mut run = squall(&[&document, "--workers", "2"]);
    for part in 1..=3 {
        wait_for_rows(&server, &mut run, COUNT * part / 5);
        if part == 2 {
            let workers = children(run.id());
            workers.into_iter().take(1).for_each(kill);
        } else {
            server.kill();
            server.restart();
        }
    }
    ended(run);
    assert_exact(&server);
    wait_until("nothing is prepared", || prepared(&server).is_empty());
}
