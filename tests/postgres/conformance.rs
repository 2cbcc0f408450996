//! The conformance kit for sinks, on `postgres` in each of its ways of exactly-once.

use std::cell::RefCell;
use std::rc::Rc;

use squall::prelude::*;
use squall::testing::TestTuple;
use squall::testing::conformance::SinkCheck;

use crate::server::{Server, Session};

/// What the kit asks of a table `t`, whose rows it reads from there, and how it empties the tables.
fn check(server: &Server, config: &str) -> (SinkCheck, Rc<RefCell<Session>>) {
    server.query("CREATE TABLE IF NOT EXISTS t (id text PRIMARY KEY)");
    let session = Rc::new(RefCell::new(Session::open(server)));
    let config = format!("url = '{}'\ntable = 't'\ncolumns = ['id']\n{config}", server.url());
    let row = |row: &str| TestTuple::new([row]).fields(["id"]);
    let (reader, emptied) = (Rc::clone(&session), Rc::clone(&session));
    let visible = move || reader.borrow_mut().query("SELECT id FROM t");
    let check = SinkCheck::registered(Registry::with_standard(), "postgres", &config, row, visible);
    let fresh = move || {
        let mut session = emptied.borrow_mut();
        let prepared = session.query("SELECT gid FROM pg_prepared_xacts");
        prepared.iter().for_each(|name| drop(session.query(&format!("ROLLBACK PREPARED '{name}'"))));
        for table in ["t", "squall_commits", "squall_refused", "squall_prepared", "squall_undo"] {
            if session.query(&format!("SELECT to_regclass('{table}') IS NOT NULL")) == ["t"] {
                session.query(&format!("TRUNCATE {table}"));
            }
        }
    };
    (check.fresh(fresh), session)
}

#[test]
fn rows_in_the_checkpoint_keep_the_promises() {
    let server = Server::start();
    let (check, session) = check(&server, "");
    let report = check.run().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.crashes > 100, "{report:?}");
    assert_eq!(session.borrow_mut().query("SELECT count(*) FROM squall_refused"), ["0"]);
}

#[test]
fn prepared_transactions_keep_the_promises() {
    let server = Server::start();
    let (check, session) = check(&server, "prepare = true");
    let report = check.run().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.crashes > 100, "{report:?}");
    assert_eq!(session.borrow_mut().query("SELECT count(*) FROM pg_prepared_xacts"), ["0"]);
    assert_eq!(session.borrow_mut().query("SELECT count(*) FROM squall_refused"), ["0"]);
}

#[test]
fn dirty_rows_keep_the_promises() {
    let server = Server::start();
    for mode in ["insert", "upsert"] {
        let key = if mode == "upsert" { "key = ['id']" } else { "" };
        let (check, session) = check(&server, &format!("dirty = true\nmode = '{mode}'\n{key}"));
        let reader = Rc::clone(&session);
        let clean = move || {
            // Before the first instance there is no view, and no row.
            let mut session = reader.borrow_mut();
            let is_there = session.query("SELECT to_regclass('t_clean') IS NOT NULL") == ["t"];
            if is_there { session.query("SELECT id FROM t_clean") } else { Vec::new() }
        };
        let report = check.dirty(clean).run().unwrap_or_else(|broken| panic!("{mode}: {broken}"));
        assert!(report.crashes > 100, "{report:?}");
        assert_eq!(session.borrow_mut().query("SELECT count(*) FROM squall_undo"), ["0"]);
        assert_eq!(session.borrow_mut().query("SELECT count(*) FROM squall_refused"), ["0"]);
    }
}
