use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use crate::cluster::link::{LinkEvent, MasterLinks};
use crate::cluster::log_pieces::{LogAsked, LogFile, LogFrom, LogSource};
use crate::cluster::observed::answer_line;
use crate::cluster::summary::StatsSummary;
use crate::cluster::topologies::TopologyId;
use crate::net::Secret;

/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

fn known(secret: u8, run: &str) -> Known {
    let id = TopologyId::new("words", 1).expect("an id");
    Known { id, run: run.to_owned(), secret: Secret::new([secret; 32]) }
}

/// A master whose answers count up, in a thread of its own.
struct Master {
    links: MasterLinks,
    _place: tempfile::TempDir,
    ends: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Master {
    /// `padding`: bytes that each answer has besides.
    fn new(padding: usize) -> Master {
        let any = ([127, 0, 0, 1], 0).into();
        let unexpected = |event: LinkEvent| panic!("observers are no event: {event:?}");
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join("worker.log"), "one\ntwo\n").expect("it is written");
        let links = MasterLinks::listen(any, None, known(1, "a"), (3, 5), place.path(), unexpected);
        let links = links.expect("it listens");
        let (ends, answers): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let (observers, stop, count) = (links.observers(), Arc::clone(&ends), Arc::clone(&answers));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                observers.answer(|| {
                    let emitted = count.fetch_add(1, Ordering::Relaxed) as u64 + 1;
                    let topology = "w".repeat(padding);
                    let summary = StatsSummary { topology, emitted, ..StatsSummary::default() };
                    let observed = Observed { epoch: 3, summary, ..Observed::default() };
                    match padding {
                        0 => answer_line(observed),
                        _ => line(&Answer::Stats(Box::new(observed))).into(),
                    }
                });
                thread::sleep(Duration::from_millis(1));
            }
        });
        Master { links, _place: place, ends, answers, thread: Some(thread) }
    }

    fn observe(&self, known: &Known) -> Result<Observed, String> {
        self.access(known).stats()
    }

    fn access<'a>(&self, known: &'a Known) -> ObserverAccess<'a> {
        ObserverAccess { address: self.links.address(), tls: None, known, nonce: 11, at_most: PATIENCE }
    }

    fn connect(&self) -> Result<Observer, String> {
        Observer::connect(self.links.address(), None, &known(1, "a"), 11, PATIENCE)
    }
}

/// Asks for the counters.
fn stats(observer: &mut Observer) -> Result<Observed, String> {
    match observer.ask(&Question::Stats, PATIENCE)? {
        Answer::Stats(observed) => Ok(*observed),
        other => panic!("{other:?}"),
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

#[test]
fn an_observer_asks_as_often_as_it_wants() {
    let master = Master::new(0);
    assert_eq!(master.answers.load(Ordering::Relaxed), 0, "nobody has asked");
    let mut observer = master.connect().expect("it is let in");
    for emitted in 1..=20 {
        let observed = stats(&mut observer).expect("it is answered");
        assert_eq!((observed.epoch, observed.summary.emitted), (3, emitted));
    }
    assert_eq!(master.observe(&known(1, "a")).expect("it is answered").summary.emitted, 21);
}

#[test]
fn who_does_not_know_the_secret_learns_nothing() {
    let master = Master::new(0);
    let refused = |known: &Known| master.observe(known).expect_err("it is refused");
    // The master proves itself first, so such an observer finds another secret at the master.
    assert!(refused(&known(2, "a")).contains("another secret"));
    assert!(refused(&known(1, "b")).contains("another run"));

    // One that goes on nevertheless, with a proof that it has made up.
    let mut socket = TcpStream::connect(master.links.address()).expect("it is accepted");
    let hello = known(1, "a").observer_hello(1);
    socket.write_all(&handshake_line(HandshakeLine::Observe(hello))).expect("it is sent");
    let proof = crate::cluster::link::hello::Proof { mac: "00".repeat(32) };
    socket.write_all(&handshake_line(HandshakeLine::Proof(proof))).expect("it is sent");
    socket.write_all(&line(&Question::Stats)).expect("it is sent");
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    assert!(answer.contains("Challenge") && !answer.contains("Stats"), "{answer}");
    assert_eq!(master.answers.load(Ordering::Relaxed), 0);
}

#[test]
fn who_sends_something_else_is_disconnected_and_others_are_answered() {
    let master = Master::new(0);
    let garbage: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", b"\0\xff\n", b"{\"Observe\":{}}\n", &[b'a'; 10_000]];
    for bytes in garbage {
        let mut socket = TcpStream::connect(master.links.address()).expect("it is accepted");
        // It may be disconnected before everything is sent.
        let _ = socket.write_all(bytes);
        let _ = socket.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("Stats"));
    }
    // The same after the handshake.
    let mut observer = master.connect().expect("it is let in");
    observer.connection.out().extend_from_slice(b"\"Everything\"\n");
    assert!(stats(&mut observer).expect_err("it is refused").contains("refused"));
    assert!(master.observe(&known(1, "a")).is_ok());
}

#[test]
fn an_observer_that_does_not_take_its_answer_is_disconnected_and_others_are_answered() {
    // More than the buffers of a connection take.
    let padding = 12 << 20;
    let master = Master::new(padding);
    let mut slow = master.connect().expect("it is let in");
    let send = |slow: &mut Observer| {
        slow.connection.out().extend_from_slice(&line(&Question::Stats));
        slow.connection.write().expect("there is room for a question");
    };
    send(&mut slow);
    let deadline = Instant::now() + PATIENCE;
    while master.answers.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline, "it is not answered");
        thread::yield_now();
    }
    assert_eq!(master.observe(&known(1, "a")).expect("it is answered").summary.topology.len(), padding);
    send(&mut slow);
    let until = slow.clock.now().after(PATIENCE);
    let end = slow.connection.next_line(&slow.clock, until);
    assert!(end.is_err(), "the end of the connection, before the answer is whole");
    assert!(master.observe(&known(1, "a")).is_ok());
}

#[test]
fn observers_are_bounded_and_make_room_when_they_leave() {
    let master = Master::new(0);
    let mut observers = Vec::new();
    for _ in 0..16 {
        let mut observer = master.connect().expect("it is let in");
        stats(&mut observer).expect("it is answered");
        observers.push(observer);
    }
    assert!(master.observe(&known(1, "a")).expect_err("it is refused").contains("16 observers"));
    observers.pop().expect("there are some").connection.close();
    let deadline = Instant::now() + PATIENCE;
    while let Err(why) = master.observe(&known(1, "a")) {
        assert!(Instant::now() < deadline, "{why}");
    }
}

#[test]
fn pieces_of_logs_are_asked_for_and_who_is_not_there_is_named() {
    let master = Master::new(0);
    let asked = |process, from| LogAsked { process, from };
    let question = |of: Vec<LogAsked>| LogQuestion { file: LogFile::Log, component: None, of };
    let known = known(1, "a");
    let of = vec![asked(LogSource::Master, LogFrom::Last(1)), asked(LogSource::Worker(3), LogFrom::Last(1))];
    let answers = master.access(&known).logs(&question(of)).expect("it is answered");
    let piece = answers[0].piece.as_ref().expect("it has a log");
    assert_eq!((answers[0].process, &*piece.text), (LogSource::Master, "two\n"));
    assert_eq!(answers[1].process, LogSource::Worker(3));
    assert!(answers[1].missing.as_ref().is_some_and(|why| why.contains("not connected")), "{answers:?}");
    // From there on there is nothing.
    let of = vec![asked(LogSource::Master, LogFrom::At(piece.next))];
    let answers = master.access(&known).logs(&question(of)).expect("it is answered");
    assert!(answers[0].piece.as_ref().is_some_and(|piece| piece.text.is_empty() && piece.is_end));
    // What is too much is refused, and others are answered.
    let many = vec![asked(LogSource::Master, LogFrom::Last(1)); 25];
    assert!(master.access(&known).logs(&question(many)).expect_err("it is refused").contains("not 25"));
    assert!(master.observe(&known).is_ok());
}
