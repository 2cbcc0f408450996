//! Tests of what a simulation can do to the service and its clients. What every implementation does is tested by
//! `contract`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use squall::clock::{Clock, Time};
use squall::cluster::coordination::{
    Coordination, CoordinationError, Lose, MemoryClient, MemoryOptions, MemoryService, NodePath, Notice,
    Notify, Version,
};

const TIMEOUT: Duration = Duration::from_secs(6);

fn path(text: &str) -> NodePath {
    text.parse().expect("a path")
}

fn service() -> (Clock, MemoryService) {
    let clock = Clock::simulated();
    (clock.clone(), MemoryService::new(clock, MemoryOptions::default()))
}

/// The data of a node as text.
fn text(client: &MemoryClient, of: &str) -> Option<String> {
    client.get(&path(of)).expect("it is answered").map(|node| String::from_utf8(node.data).expect("text"))
}

fn is_away<T>(result: Result<T, CoordinationError>) -> bool {
    matches!(result, Err(CoordinationError::Away(_)))
}

fn is_uncertain<T>(result: Result<T, CoordinationError>) -> bool {
    matches!(result, Err(CoordinationError::Uncertain(_)))
}

/// A client's notices, as they come.
fn heard(client: &MemoryClient, of: &str) -> (Arc<Notify>, Arc<Mutex<Vec<Notice>>>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notices);
    let notify: Arc<Notify> =
        Arc::new(move |notice| sink.lock().unwrap_or_else(PoisonError::into_inner).push(notice));
    client.watch(&path(of), &notify);
    (notify, notices)
}

fn take(notices: &Mutex<Vec<Notice>>) -> Vec<Notice> {
    std::mem::take(&mut *notices.lock().unwrap_or_else(PoisonError::into_inner))
}

#[test]
fn a_session_lasts_as_long_as_its_process_beats() {
    let (clock, service) = service();
    let (a, b) = (service.client(), service.client());
    assert_eq!(a.hold(&path("/a"), b"a"), Ok(()));
    for _ in 0..10 {
        clock.advance(TIMEOUT - Duration::from_millis(1));
        a.beat();
    }
    assert_eq!((text(&b, "/a").as_deref(), a.session().number), (Some("a"), 1));
    clock.advance(TIMEOUT);
    assert_eq!((text(&b, "/a"), a.session().number), (None, 1), "nobody has noticed yet");
    a.beat();
    assert_eq!((text(&b, "/a").as_deref(), a.session().number), (Some("a"), 2));
}

#[test]
fn a_write_is_done_once_whatever_is_lost_with_its_connection() {
    for lose in [Lose::Request, Lose::Answer, Lose::Late] {
        let (_, service) = service();
        let (a, b) = (service.client(), service.client());
        a.lose_next(lose, false);
        assert_eq!(a.create(&path("/a"), b"a 0"), Ok(Version(0)), "{lose:?}");
        a.lose_next(lose, false);
        a.lose_next(lose, false);
        assert_eq!(a.set(&path("/a"), b"a 1", Version(0)), Ok(Version(1)), "{lose:?}");
        assert_eq!(text(&b, "/a").as_deref(), Some("a 1"));
        service.arrive();
        assert_eq!(text(&b, "/a").as_deref(), Some("a 1"), "what arrives late finds another version");
        a.lose_next(lose, false);
        assert_eq!(a.hold(&path("/held"), b"a"), Ok(()));
        service.arrive();
        a.lose_next(lose, false);
        assert_eq!(a.release(&path("/held")), Ok(()));
        a.lose_next(lose, false);
        assert_eq!(a.delete(&path("/a"), Version(1)), Ok(()), "{lose:?}");
        assert_eq!(b.children(&NodePath::root()), Ok(Some(Vec::new())));
        assert_eq!(a.session().number, 7, "each lost connection was a session");
    }
}

#[test]
fn a_held_node_whose_answer_was_lost_belongs_to_the_session_that_goes_on() {
    let (clock, service) = service();
    let (a, b) = (service.client(), service.client());
    a.lose_next(Lose::Answer, false);
    assert_eq!(a.hold(&path("/a"), b"a"), Ok(()));
    for _ in 0..4 {
        clock.advance(TIMEOUT / 2);
        a.beat();
    }
    assert_eq!(text(&b, "/a").as_deref(), Some("a"), "the lost session has ended");
}

#[test]
fn who_stays_cut_off_does_not_know_what_its_write_did() {
    for (lose, done) in [(Lose::Request, false), (Lose::Answer, true), (Lose::Late, false)] {
        let (_, service) = service();
        let (a, b) = (service.client(), service.client());
        assert_eq!(a.create(&path("/a"), b"0"), Ok(Version(0)));
        a.lose_next(lose, true);
        assert!(is_uncertain(a.set(&path("/a"), b"1", Version(0))), "{lose:?}");
        assert!(is_away(a.get(&path("/a"))) && is_away(a.set(&path("/a"), b"1", Version(0))));
        assert_eq!(text(&b, "/a").as_deref(), Some(if done { "1" } else { "0" }), "{lose:?}");
        service.arrive();
        let is_late = lose == Lose::Late;
        assert_eq!(text(&b, "/a").as_deref(), Some(if done || is_late { "1" } else { "0" }), "{lose:?}");
        a.heal();
        assert_eq!(text(&a, "/a"), text(&b, "/a"));
    }
}

#[test]
fn what_is_late_is_not_done_after_its_session() {
    let (clock, service) = service();
    let a = service.client();
    a.lose_next(Lose::Late, true);
    assert!(is_uncertain(a.create(&path("/a"), b"0")));
    a.heal();
    clock.advance(TIMEOUT);
    service.arrive();
    assert_eq!(text(&a, "/a"), None);
}

#[test]
fn a_reader_lags_until_it_catches_up_or_writes() {
    let (_, service) = service();
    let (a, b) = (service.client(), service.client());
    assert_eq!(a.create(&path("/a"), b"0"), Ok(Version(0)));
    b.lag(true);
    for (version, data) in [(0, b"1"), (1, b"2"), (2, b"3")] {
        a.set(&path("/a"), data, Version(version)).expect("it has this version");
    }
    b.beat();
    assert_eq!(text(&b, "/a").as_deref(), Some("0"));
    assert_eq!(b.set(&path("/a"), b"x", Version(0)), Err(CoordinationError::Changed(path("/a"))));
    assert_eq!(text(&b, "/a").as_deref(), Some("3"), "a write that fails has seen what is there");
    a.set(&path("/a"), b"4", Version(3)).expect("it has this version");
    assert_eq!(text(&b, "/a").as_deref(), Some("3"));
    assert_eq!(b.catch_up(), Ok(()));
    assert_eq!(text(&b, "/a").as_deref(), Some("4"));
    b.lag(false);
    a.set(&path("/a"), b"5", Version(4)).expect("it has this version");
    assert_eq!(text(&b, "/a").as_deref(), Some("5"));
}

#[test]
fn no_session_ends_while_the_service_is_away() {
    let (clock, service) = service();
    let (a, b) = (service.client(), service.client());
    assert_eq!(a.hold(&path("/a"), b"a"), Ok(()));
    service.set_away(true);
    assert!(is_away(a.get(&path("/a"))) && is_away(a.create(&path("/b"), b"")));
    assert_eq!(a.take_spent(), Duration::from_millis(1) + MemoryOptions::default().call_timeout * 2);
    clock.advance(TIMEOUT * 100);
    service.set_away(false);
    assert_eq!(text(&b, "/a").as_deref(), Some("a"), "it has its whole time-out again");
    clock.advance(TIMEOUT);
    assert_eq!(text(&b, "/a"), None);
    a.beat();
    assert_eq!(text(&b, "/a").as_deref(), Some("a"));
}

#[test]
fn wiped_data_are_gone_and_what_is_held_comes_back_when_it_can() {
    let (_, service) = service();
    let a = service.client();
    assert_eq!(a.create(&path("/dir"), b""), Ok(Version(0)));
    assert_eq!(a.hold(&path("/dir/a"), b"a"), Ok(()));
    assert_eq!(a.hold(&path("/a"), b"a"), Ok(()));
    service.wipe();
    a.beat();
    assert_eq!(a.children(&NodePath::root()), Ok(Some(vec!["a".to_owned()])));
    assert_eq!(a.create(&path("/dir"), b""), Ok(Version(0)));
    a.beat();
    assert_eq!(text(&a, "/dir/a").as_deref(), Some("a"));
}

#[test]
fn a_held_node_that_somebody_deletes_is_made_again_by_the_next_session() {
    let (_, service) = service();
    let (a, b) = (service.client(), service.client());
    assert_eq!(a.hold(&path("/a"), b"a"), Ok(()));
    assert_eq!(b.delete(&path("/a"), Version(0)), Ok(()));
    a.beat();
    assert_eq!(text(&b, "/a"), None);
    a.expire();
    a.beat();
    assert_eq!(text(&b, "/a").as_deref(), Some("a"));
    assert_eq!(b.delete(&path("/a"), Version(0)), Ok(()));
    assert_eq!(a.hold(&path("/a"), b"a"), Ok(()), "or when it is asked for");
    assert_eq!(text(&b, "/a").as_deref(), Some("a"));
}

#[test]
fn data_that_are_rolled_back_are_those_of_then() {
    let (clock, service) = service();
    let (a, b) = (service.client(), service.client());
    assert_eq!(a.create(&path("/a"), b"0"), Ok(Version(0)));
    assert_eq!(b.hold(&path("/b"), b"b"), Ok(()));
    let snapshot = service.snapshot();
    assert_eq!(a.set(&path("/a"), b"1", Version(0)), Ok(Version(1)));
    assert_eq!(b.release(&path("/b")), Ok(()));
    let c = service.client();
    assert_eq!(c.hold(&path("/c"), b"c"), Ok(()));
    service.roll_back(&snapshot);
    assert_eq!(text(&a, "/a").as_deref(), Some("0"));
    assert_eq!((text(&a, "/b").as_deref(), text(&a, "/c")), (Some("b"), None));
    assert_eq!(a.session().number, 1, "its session was there then");
    c.beat();
    assert_eq!((text(&a, "/c").as_deref(), c.session().number), (Some("c"), 2));
    clock.advance(TIMEOUT / 2);
    c.beat();
    clock.advance(TIMEOUT / 2);
    assert_eq!(text(&a, "/b"), None, "nobody holds it any more");
}

#[test]
fn nothing_is_written_to_a_full_disk() {
    let (clock, service) = service();
    let (a, b) = (service.client(), service.client());
    assert_eq!(a.create(&path("/a"), b"0"), Ok(Version(0)));
    assert_eq!(b.hold(&path("/b"), b"b"), Ok(()));
    service.set_full(true);
    assert!(is_away(a.set(&path("/a"), b"1", Version(0))));
    assert!(is_away(a.hold(&path("/c"), b"1")) && is_away(a.delete(&path("/a"), Version(0))));
    assert_eq!(text(&a, "/a").as_deref(), Some("0"), "it can be read");
    let c = service.client();
    assert!(is_away(c.get(&path("/a"))), "a session begins with a write");
    // Lost after it was sent, and then refused: the first call may have been done.
    a.lose_next(Lose::Answer, false);
    assert!(is_uncertain(a.set(&path("/a"), b"1", Version(0))));
    clock.advance(TIMEOUT * 2);
    service.set_full(false);
    assert_eq!(text(&a, "/b"), None, "its silence was too long");
    assert_eq!(a.set(&path("/a"), b"1", Version(0)), Ok(Version(1)));
}

#[test]
fn notices_come_after_the_change_and_equal_ones_are_merged() {
    let (_, service) = service();
    let (a, b) = (service.client(), service.client());
    let (_notify, notices) = heard(&a, "/a");
    a.beat();
    assert_eq!(take(&notices), [Notice::ReadAgain]);
    assert_eq!(b.create(&path("/a"), b"0"), Ok(Version(0)));
    for version in 0..5 {
        b.set(&path("/a"), b"x", Version(version)).expect("it has this version");
    }
    assert_eq!(take(&notices), []);
    a.deliver();
    assert_eq!(take(&notices), [Notice::Changed(path("/a"))]);
    a.deliver();
    assert_eq!(take(&notices), []);
}

#[test]
fn notices_are_missed_while_a_process_is_cut_off() {
    let (_, service) = service();
    let (a, b) = (service.client(), service.client());
    let (_notify, notices) = heard(&a, "/a");
    a.beat();
    a.cut();
    assert_eq!(b.create(&path("/a"), b"0"), Ok(Version(0)));
    a.beat();
    assert_eq!(take(&notices), [Notice::ReadAgain, Notice::SessionLost]);
    a.beat();
    a.heal();
    a.beat();
    assert_eq!(take(&notices), [Notice::ReadAgain]);
}

#[test]
fn a_notify_that_calls_does_not_wait_for_itself() {
    let service = MemoryService::new(
        Clock::simulated(),
        MemoryOptions { notices_at_once: true, ..MemoryOptions::default() },
    );
    let (a, b) = (Arc::new(service.client()), service.client());
    a.beat();
    let caller = Arc::clone(&a);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let notify: Arc<Notify> = Arc::new(move |notice| {
        if notice == Notice::Changed(path("/a")) {
            sink.lock().expect("nothing panics with it").push(text(&caller, "/a"));
        }
    });
    a.watch(&path("/a"), &notify);
    assert_eq!(b.create(&path("/a"), b"0"), Ok(Version(0)));
    assert_eq!(*seen.lock().expect("nothing panics with it"), [Some("0".to_owned())]);
}

#[test]
fn who_says_goodbye_takes_along_what_it_holds() {
    let (_, service) = service();
    let (a, b) = (service.client(), service.client());
    assert_eq!(a.hold(&path("/a"), b"a"), Ok(()));
    drop(a);
    assert_eq!(text(&b, "/a"), None);
    let (c, d) = (service.client(), service.client());
    assert!(c.hold(&path("/c"), b"c").is_ok() && d.hold(&path("/d"), b"d").is_ok());
    c.die();
    d.cut();
    drop((c, d));
    assert_eq!((text(&b, "/c").as_deref(), text(&b, "/d").as_deref()), (Some("c"), Some("d")));
}

#[test]
fn the_time_of_calls_is_counted_and_not_slept() {
    let (clock, service) = service();
    let a = service.client();
    service.set_latency(Duration::from_millis(30));
    assert!(a.create(&path("/a"), b"").is_ok() && a.get(&path("/a")).is_ok());
    assert_eq!((a.take_spent(), a.take_spent()), (Duration::from_millis(60), Duration::ZERO));
    a.cut();
    assert!(is_away(a.get(&path("/a"))));
    assert_eq!(a.take_spent(), MemoryOptions::default().call_timeout);
    assert_eq!(clock.now(), Time::ZERO);
}
