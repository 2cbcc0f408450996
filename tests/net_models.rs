//! Every interleaving of what executors and the poller share, by loom.
//!
//! The source of the queues, and of the accounts of credit, is compiled here a second time, with loom's types in the place of the
//! standard library's, so what is tried is the code itself and not a copy of its idea. No flag is
//! needed: `cargo test` runs the models. `LOOM_MAX_PREEMPTIONS` replaces the bound of each (see `loom_kit`).

mod loom_kit;

use std::sync::Arc as StdArc;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use loom_kit::{Waker, model, model_with};

/// What `src/net/outbox/queues.rs` and `src/runtime/flow/credit_returns/accounts.rs` take from the standard
/// library in production.
mod sync {
    pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
    pub use loom::sync::{Arc, Mutex};
    pub use std::sync::PoisonError;
}

#[allow(dead_code, reason = "the gauges of the queues are not modelled")]
#[path = "../src/net/outbox/queues.rs"]
mod queues;

#[allow(dead_code, reason = "what heartbeats and new connections tell is not modelled")]
#[path = "../src/runtime/flow/credit_returns/accounts.rs"]
mod accounts;

use accounts::Accounts;
use queues::{MUCH, Queues, Wake};

/// A thread that pushes one item, and wakes the poller if it has to.
fn pusher<T: Send + 'static>(
    queues: &Arc<Queues<T>>,
    waker: &Arc<Waker>,
    peer: usize,
    item: T,
    bytes: u64,
) -> thread::JoinHandle<()> {
    let (queues, waker) = (queues.clone(), waker.clone());
    thread::spawn(move || {
        if queues.push(peer, item, bytes, 0) == Wake::Needed {
            waker.wake();
        }
    })
}

/// A push whose wake was lost would leave the poller waiting for ever, which loom reports.
#[test]
fn no_push_is_left_behind_by_a_sleeping_poller() {
    model(|| {
        let (queues, waker) = (Arc::new(Queues::new(2)), Arc::new(Waker::default()));
        let pushers: Vec<_> = (0..2).map(|peer| pusher(&queues, &waker, peer, peer, 1)).collect();
        let (mut found, mut sleeps, mut taken) = (Vec::new(), 0, Vec::new());
        while found.len() < 2 {
            if queues.look() {
                for peer in 0..queues.len() {
                    queues.take(peer, &mut taken);
                    found.append(&mut taken);
                }
            }
            if found.len() < 2 && queues.fall_asleep() {
                sleeps += 1;
                waker.wait();
            }
        }
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        found.sort_unstable();
        assert_eq!(found, [0, 1]);
        assert!(waker.wakes() <= sleeps, "{} wakes for {sleeps} sleeps", waker.wakes());
    });
}

/// A poller that is woken by a socket looks into the queues like one that was woken by a push.
#[test]
fn a_wake_by_a_socket_hides_no_push() {
    model(|| {
        let (queues, waker) = (Arc::new(Queues::new(1)), Arc::new(Waker::default()));
        let socket = waker.clone();
        let socket = thread::spawn(move || socket.wake());
        let pusher = pusher(&queues, &waker, 0, 'x', 1);
        let mut taken = Vec::new();
        while taken.is_empty() {
            if queues.look() {
                queues.take(0, &mut taken);
            }
            if taken.is_empty() && queues.fall_asleep() {
                waker.wait();
            }
        }
        assert_eq!(taken, ['x']);
        socket.join().unwrap();
        pusher.join().unwrap();
    });
}

/// Nobody else wakes a poller that lingers, so what is much must; two halves of it count together.
#[test]
fn what_is_much_ends_lingering() {
    model(|| {
        let (queues, waker) = (Arc::new(Queues::new(1)), Arc::new(Waker::default()));
        let pushers: Vec<_> = (0..2).map(|item| pusher(&queues, &waker, 0, item, MUCH / 2)).collect();
        let (mut found, mut taken, mut waits) = (Vec::new(), Vec::new(), 0);
        // It takes for the first time when both are there, be it because of a wake.
        while queues.linger() {
            waits += 1;
            waker.wait();
        }
        assert!(queues.look());
        queues.take(0, &mut taken);
        found.append(&mut taken);
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        found.sort_unstable();
        assert_eq!(found, [0, 1]);
        assert!(waker.wakes() <= waits, "{} wakes for {waits} waits", waker.wakes());
    });
}

/// What is little waits for the end of the lingering, whether it came before or during it.
#[test]
fn what_is_little_is_found_after_lingering() {
    model(|| {
        let queues = Arc::new(Queues::new(1));
        let pusher = {
            let queues = queues.clone();
            thread::spawn(move || queues.push(0, 'x', 1, 0))
        };
        assert!(queues.linger(), "nothing is urgent");
        let (mut found, mut taken) = (Vec::new(), Vec::new());
        let woken = pusher.join().unwrap();
        // The timer.
        if queues.look() {
            queues.take(0, &mut taken);
            found.append(&mut taken);
        }
        assert_eq!((found, woken), (vec!['x'], Wake::NotNeeded));
    });
}

/// Two pushes of one executor stay in order, in one take or in two.
#[test]
fn what_one_thread_pushes_stays_in_order() {
    model(|| {
        let queues = Arc::new(Queues::new(1));
        let pusher = {
            let queues = queues.clone();
            thread::spawn(move || {
                let _ = queues.push(0, 1, 1, 0);
                let _ = queues.push(0, 2, 1, 0);
            })
        };
        let (mut found, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            queues.take(0, &mut taken);
            found.append(&mut taken);
        }
        pusher.join().unwrap();
        queues.take(0, &mut taken);
        found.append(&mut taken);
        assert_eq!(found, [1, 2]);
    });
}

/// When a peer is replaced, the poller takes what is queued for the old incarnation, and only then
/// shows executors the new one. So what an executor sent after it had seen the new incarnation is
/// never among the lost; what it sent before may be, and is then counted as lost.
#[test]
fn what_is_sent_to_a_new_incarnation_is_not_lost_with_the_old_one() {
    let outcomes = StdArc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let seen = outcomes.clone();
    model(move || {
        let (queues, incarnation) = (Arc::new(Queues::new(1)), Arc::new(AtomicU32::new(1)));
        let pusher = {
            let (queues, incarnation) = (queues.clone(), incarnation.clone());
            thread::spawn(move || {
                let read = incarnation.load(Ordering::Acquire);
                let _ = queues.push(0, read, 1, 0);
                read
            })
        };
        let (mut lost, mut kept) = (Vec::new(), Vec::new());
        queues.take(0, &mut lost);
        incarnation.store(2, Ordering::Release);
        let read = pusher.join().unwrap();
        queues.take(0, &mut kept);
        assert_eq!(lost.len() + kept.len(), 1, "it is with the lost or with the new incarnation");
        assert!(lost.is_empty() || read == 1, "lost, though sent in sight of the new incarnation");
        seen.lock().unwrap().insert((read, lost.len()));
    });
    // The model is worth something only if it met all that can happen.
    let outcomes: Vec<_> = outcomes.lock().unwrap().iter().copied().collect();
    assert_eq!(outcomes, [(1, 0), (1, 1), (2, 0)]);
}

/// A producer that waits for credit hears of every lot that was given back: a lot that was left untold
/// without a wake would leave it, and here the poller, waiting for ever, which loom reports.
#[test]
fn no_lot_of_credit_is_left_unsent() {
    model_with(2, || {
        let (accounts, waker) = (Arc::new(Accounts::new()), Arc::new(Waker::default()));
        let account = accounts.open(7, (2, 100));
        let givers: Vec<_> = [2, 2]
            .into_iter()
            .map(|times| {
                let (accounts, account, waker) = (accounts.clone(), account.clone(), waker.clone());
                thread::spawn(move || {
                    for _ in 0..times {
                        if accounts.give_back(&account, 1, 0) {
                            waker.wake();
                        }
                    }
                })
            })
            .collect();
        // Four in all, of which less than a lot may stay untold.
        let mut last = 0;
        while last < 3 {
            waker.wait();
            accounts.take_due(|id, tuples, _| {
                assert!(id == 7 && tuples >= last, "totals rise");
                last = tuples;
            });
        }
        givers.into_iter().for_each(|giver| giver.join().unwrap());
        accounts.take_unsent(|_, tuples, _| last = tuples);
        assert_eq!(last, 4, "nothing is lost");
    });
}
