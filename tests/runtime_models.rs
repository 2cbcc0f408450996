//! Every interleaving of what the threads of one worker share without a lock, by loom.
//!
//! The sources of the protocols are compiled here a second time, with loom's types in the place of the
//! standard library's, so what is tried is the code itself and not a copy of its idea. No flag is
//! needed: `cargo test` runs the models. `LOOM_MAX_PREEMPTIONS` replaces the bound of each (see `loom_kit`).
//!
//! Each model names the changes of the source, or of what the model does in the place of its callers,
//! that it was seen to report.

mod loom_kit;

use std::collections::VecDeque;
use std::sync::Mutex as StdMutex;

use loom::sync::{Arc, Mutex};
use loom::thread;

use loom_kit::{Waker, model, model_with};

/// What the sources take from the standard library in production.
mod sync {
    pub use super::loom_kit::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
}

#[allow(dead_code, reason = "the statistics of a link are not modelled")]
#[path = "../src/runtime/flow/link/credit.rs"]
mod credit;

#[path = "../src/runtime/flow/gauges/waiting_since.rs"]
mod waiting_since;

#[allow(dead_code, reason = "what only a snapshot reads is not modelled")]
#[path = "../src/runtime/lifecycle/rest.rs"]
mod rest;

use credit::Credit;
use rest::Rest;
use waiting_since::{NOTHING_WAITS, WaitingSince};

// ---- The credit of a link ----

/// A producer that sent these batches, of which the first are released by a thread each and the others
/// by nobody, waits until it finds credit. A wake that was lost would leave it waiting for ever, which
/// loom reports.
fn a_producer_waits(
    credit: Credit,
    released: &[(usize, usize)],
    kept: &[(usize, usize)],
    finds: fn(&Credit) -> bool,
) {
    let (credit, waker) = (Arc::new(credit), Arc::new(Waker::default()));
    released.iter().chain(kept).for_each(|(tuples, bytes)| credit.charge(*tuples, *bytes));
    assert!(!finds(&credit), "it has to wait");
    let release = |(tuples, bytes): (usize, usize)| {
        let (credit, waker) = (credit.clone(), waker.clone());
        thread::spawn(move || {
            if credit.release(tuples, bytes) {
                waker.wake();
            }
        })
    };
    let releases: Vec<_> = released.iter().copied().map(release).collect();
    let mut waits = 0;
    while !finds(&credit) {
        credit.wait();
        waits += 1;
        if !finds(&credit) {
            waker.wait();
        }
    }
    releases.into_iter().for_each(|release| release.join().unwrap());
    assert!(waker.wakes() <= waits, "{} wakes for {waits} waits", waker.wakes());
}

/// Reports a producer that does not look again after it noted that it waits, or notes it only after that
/// look; a release that looks for a waiting producer before it gives back, that forgets one without waking
/// it, or that wakes one only when all of the credit is back; and each of the accesses of `waited` and of
/// the counters by which they decide, if it is weaker than `SeqCst`.
#[test]
fn a_producer_without_credit_is_woken_once_half_is_back() {
    model(|| a_producer_waits(Credit::new(3, 100, 1600), &[(1, 1), (1, 1)], &[(1, 1)], Credit::has_credit));
}

/// The producer itself releases a batch that is too large for a frame, at the same time as the poller
/// releases what another worker gave back. Either of the two may have taken only one of the counters down
/// when the other looks.
///
/// Reports a release that decides by what it found in each counter as it took it down: each may find one
/// of them with the batch of the other still in it, and then neither wakes the producer.
#[test]
fn of_several_releases_at_once_one_wakes_the_producer() {
    model(|| a_producer_waits(Credit::new(10, 10, 160), &[(6, 6), (6, 6)], &[], Credit::has_credit));
}

/// What is in a cycle may come out of it only after the producer has gone on, so one batch is not released.
/// Reports a release that wakes nobody when half of the reserve is back.
#[test]
fn a_producer_without_reserve_is_woken_once_half_of_it_is_back() {
    model(|| a_producer_waits(Credit::new(100, 1, 4), &[(1, 2), (1, 2)], &[(1, 2)], Credit::has_reserve));
}

/// The first release gives half of the reserve back, and wakes a producer that needs more than that.
/// Reports two wakes for one wait: by a release that leaves `waited` set, or that wakes though another
/// release has cleared it.
#[test]
fn a_producer_that_is_woken_too_early_is_woken_again() {
    model_with(2, || a_producer_waits(Credit::new(100, 1, 4), &[(1, 2), (1, 2)], &[], Credit::has_credit));
}

// ---- The time since which an inbox waits ----

/// Later than all that is sent.
const NOW: u64 = 9;

/// An executor's inbox, and the queue in which the executor stands. A lane is locked by whoever looks into
/// it, as those of `flume` are.
#[derive(Default)]
struct Inbox {
    /// When the batches that lie here were sent.
    lane: Mutex<VecDeque<u64>>,
    waiting_since: WaitingSince,
    run_queue: Waker,
}

impl Inbox {
    /// As `InboxSender::send_data`.
    fn send(&self, sent_at: u64) {
        self.waiting_since.put(sent_at, || self.lane.lock().unwrap().push_back(sent_at));
        self.run_queue.wake();
    }

    fn is_empty(&self) -> bool {
        self.lane.lock().unwrap().is_empty()
    }

    /// As a step of a bolt's executor that processes so many batches at most.
    fn step(&self, batches: usize) {
        for _ in 0..batches {
            let Some(sent_at) = self.lane.lock().unwrap().pop_front() else { break };
            self.waiting_since.set(sent_at);
            assert_eq!(self.waiting_since.get(), sent_at, "the batch in hand is the oldest");
        }
        if self.is_empty() {
            self.waiting_since.note_empty(NOW, || self.is_empty());
        }
    }
}

/// Two producers send while the executor takes a step that a timer asked for, and one because it was woken.
/// When they are done it is stepped as often as it was woken since.
///
/// Reports an executor that does not look into its lanes again after it noted that nothing waits; a
/// producer that notes its time before the batch is in the lane, or after it woke the executor; and one
/// that notes it whatever is noted, or by a load and a store.
#[test]
fn a_time_is_noted_while_a_batch_waits_and_only_then() {
    model(|| {
        let inbox = Arc::new(Inbox::default());
        let send = |sent_at| {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.send(sent_at))
        };
        let senders = [send(1), send(2)];
        inbox.step(1);
        if inbox.run_queue.has_woken() {
            inbox.step(2);
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(inbox.is_empty() || inbox.waiting_since.get() != NOTHING_WAITS, "a batch waits unseen");
        while inbox.run_queue.has_woken() {
            inbox.step(2);
        }
        assert!(inbox.is_empty());
        assert_eq!(inbox.waiting_since.get(), NOTHING_WAITS, "nothing waits, but it seems so");
    });
}

// ---- The rest of a worker ----

/// What the executors of a worker share with its coordinator.
#[derive(Default)]
struct Worker {
    rest: Rest,
    coordinator: Waker,
    /// Messages under way and live spouts as they are. loom does not know of it, so it takes no part in
    /// what is tried: it changes together with the access beside it.
    truth: StdMutex<(i32, i32)>,
}

impl Worker {
    fn new(messages: i32, spouts: i32) -> Arc<Worker> {
        let worker = Worker::default();
        (0..messages).for_each(|_| worker.send());
        (0..spouts).for_each(|_| worker.count_live_spout());
        worker.coordinator.has_woken();
        Arc::new(worker)
    }

    fn send(&self) {
        self.truth.lock().unwrap().0 += 1;
        self.rest.sending();
    }

    /// As `ExecutorHandles::processed`.
    fn process(&self) {
        self.truth.lock().unwrap().0 -= 1;
        if self.rest.processed(1) {
            self.coordinator.wake();
        }
    }

    /// As `SpoutExecutor::note_live`, of one that has something to emit.
    fn count_live_spout(&self) {
        self.rest.count_live_spout();
        self.truth.lock().unwrap().1 += 1;
        self.coordinator.wake();
    }

    /// As `SpoutExecutor::note_live`, of one that has nothing left to emit.
    fn spout_rests(&self) {
        self.truth.lock().unwrap().1 -= 1;
        self.rest.spout_rests();
        self.coordinator.wake();
    }

    /// A look of the coordinator.
    fn is_at_rest(&self) -> bool {
        let is_at_rest = self.rest.is_at_rest();
        assert!(!is_at_rest || *self.truth.lock().unwrap() == (0, 0), "rest is seen too early");
        is_at_rest
    }

    /// The coordinator, which looks whenever it is woken. If nobody woke it, it would wait for ever, which
    /// loom reports.
    fn wait_for_rest(&self) {
        self.coordinator.wait();
        while !self.is_at_rest() {
            self.coordinator.wait();
        }
    }
}

/// A thread of its own for what an executor does, or what several do one after another.
fn spawn(worker: &Arc<Worker>, body: impl FnOnce(&Arc<Worker>) + 'static) {
    let worker = worker.clone();
    thread::spawn(move || body(&worker));
}

/// The last to come is either of two bolts or the spout.
///
/// Reports a bolt's executor that looks at the live spouts before it takes its message off the count, or
/// wakes nobody; a spout's executor that wakes nobody, or does so before it is taken off the live ones; and
/// each of their accesses, and the coordinator's look at the messages, if it is weaker than `SeqCst`.
#[test]
fn who_is_last_wakes_the_coordinator() {
    model_with(2, || {
        let worker = Worker::new(2, 1);
        spawn(&worker, |worker| worker.process());
        spawn(&worker, |worker| worker.process());
        spawn(&worker, |worker| worker.spout_rests());
        worker.wait_for_rest();
    });
}

/// A spout emits its last tuple, and a bolt another because of it, while the coordinator looks for other
/// reasons.
///
/// Reports a coordinator that looks at the messages before it looks at the spouts; a spout that is taken off
/// the live ones before what it emitted is counted; and a bolt whose input is taken off the count before what
/// came of it is counted.
#[test]
fn rest_is_not_seen_while_tuples_are_passed_on() {
    model(|| {
        let worker = Worker::new(0, 1);
        spawn(&worker, |worker| {
            worker.send();
            spawn(worker, |worker| {
                worker.send();
                spawn(worker, |worker| worker.process());
                worker.process();
            });
            worker.spout_rests();
        });
        worker.is_at_rest();
        worker.wait_for_rest();
    });
}

/// A message fails while the coordinator looks for another reason: the spout lives again, and emits it once
/// more.
///
/// Reports a coordinator that does not look at the activity before and after it looks at the counts; and a
/// spout that counts as live again only after the message that revived it is taken off the count.
#[test]
fn rest_is_not_seen_while_a_message_is_replayed() {
    model(|| {
        let worker = Worker::new(1, 0);
        spawn(&worker, |worker| {
            worker.count_live_spout();
            worker.process();
            worker.send();
            worker.spout_rests();
            worker.process();
        });
        worker.is_at_rest();
        worker.wait_for_rest();
    });
}

/// The coordinator asks for something at rest, and knows by the activity whether anything came of it. It
/// may see rest before it is woken for it.
///
/// Reports activity that is not counted, or only after the message is taken off the count.
#[test]
fn activity_distinguishes_two_times_of_rest() {
    model(|| {
        let worker = Worker::new(1, 0);
        let rest_after_a_message = || {
            spawn(&worker, |worker| worker.process());
            if !worker.is_at_rest() {
                worker.wait_for_rest();
            }
            worker.rest.activity()
        };
        let before = rest_after_a_message();
        worker.send();
        assert_ne!(rest_after_a_message(), before, "something was processed unseen");
    });
}
