//! Every interleaving of what the threads of one worker share without a lock, by loom.
//!
//! The sources of the protocols are compiled here a second time, with loom's types in the place of the
//! standard library's, so what is tried is the code itself and not a copy of its idea. No flag is
//! needed: `cargo test` runs the models, and `LOOM_MAX_PREEMPTIONS` bounds them further.
//!
//! Each model names the changes of the source, or of what the model does in the place of its callers,
//! that it was seen to report.

mod loom_kit;

use loom::sync::Arc;
use loom::thread;

use loom_kit::{Waker, model, model_with};

/// What the sources take from the standard library in production.
mod sync {
    pub use super::loom_kit::atomic::{AtomicBool, AtomicUsize, Ordering};
}

#[allow(dead_code, reason = "the statistics of a link are not modelled")]
#[path = "../src/runtime/flow/link/credit.rs"]
mod credit;

use credit::Credit;

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
