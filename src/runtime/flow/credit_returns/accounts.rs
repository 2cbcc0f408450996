//! Accounts of credit that is given back, and who has to wake whom for it.
//!
//! ```text
//!   executor ── give_back ─▶ account ─▶ due ─▶ take_due ── poller, which tells the peer
//!        └── a lot is untold, and the account was not due: wake the poller
//! ```
//!
//! The consumer returns credit in lots: each telling wakes two threads and is a write and a read, and
//! a producer that has most of its credit does not wait for the rest. What is untold is always less
//! than one lot, or its account is due and the poller was woken; so a producer that waits for credit
//! has more than that to come, and will be told.
//!
//! 1. Who gives back, adds to the totals first, and then looks whether a lot is untold. The first to
//!    find one marks the account as due, lists it, and wakes the poller.
//! 2. The poller takes the mark away before it reads the totals, so what it does not find there is
//!    announced again. Both sides change the mark by read-modify-write only: who finds it set is ordered
//!    before the poller that takes it away, and so are the totals.
//! 3. Only one thread tells.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/net_models.rs`): hence `super::sync`, and nothing else from the crate.

use super::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, PoisonError};

/// What is given back for one link.
#[derive(Debug)]
pub struct Account<Id> {
    id: Id,
    /// Tuples and bytes that are told at once.
    lot: (u64, u64),
    tuples: AtomicU64,
    bytes: AtomicU64,
    /// What was told of `tuples` and `bytes`.
    told_tuples: AtomicU64,
    told_bytes: AtomicU64,
    /// It stands in [`Accounts::due`].
    is_due: AtomicBool,
}

/// All accounts with one incarnation of a peer.
#[derive(Debug)]
pub struct Accounts<Id> {
    /// Those of which a lot is untold.
    due: Mutex<Vec<Arc<Account<Id>>>>,
    all: Mutex<Vec<Arc<Account<Id>>>>,
}

impl<Id: Copy> Accounts<Id> {
    /// None yet.
    pub fn new() -> Accounts<Id> {
        Accounts { due: Mutex::new(Vec::new()), all: Mutex::new(Vec::new()) }
    }

    /// A new account, which tells so many tuples or bytes at once.
    pub fn open(&self, id: Id, lot: (u64, u64)) -> Arc<Account<Id>> {
        let zero = || AtomicU64::new(0);
        let account = Arc::new(Account {
            id,
            lot,
            tuples: zero(),
            bytes: zero(),
            told_tuples: zero(),
            told_bytes: zero(),
            is_due: AtomicBool::new(false),
        });
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&account));
        account
    }

    /// Notes credit that came back. Whether the poller must be woken to tell it.
    #[must_use]
    pub fn give_back(&self, account: &Arc<Account<Id>>, tuples: u64, bytes: u64) -> bool {
        account.tuples.fetch_add(tuples, Ordering::SeqCst);
        account.bytes.fetch_add(bytes, Ordering::SeqCst);
        let is_news = account.has_lot() && !account.is_due.swap(true, Ordering::SeqCst);
        if is_news {
            self.due.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(account));
        }
        is_news
    }

    /// Totals of the accounts of which a lot was untold.
    pub fn take_due(&self, into: &mut Vec<(Id, u64, u64)>) {
        let due = std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
        for account in due {
            // Cleared before the totals are read, so that what comes later is noted again; by an
            // exchange, so that what was given back before the mark was set is seen.
            account.is_due.swap(false, Ordering::SeqCst);
            into.push(account.tell());
        }
    }

    /// Totals of the accounts of which anything is untold.
    pub fn take_untold(&self, into: &mut Vec<(Id, u64, u64)>) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        into.extend(all.iter().filter(|account| account.untold() != (0, 0)).map(|account| account.tell()));
    }

    /// Totals of all accounts that ever got something back.
    pub fn all(&self, into: &mut Vec<(Id, u64, u64)>) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        into.extend(all.iter().map(|account| account.tell()).filter(|(_, tuples, _)| *tuples > 0));
    }
}

impl<Id: Copy> Account<Id> {
    fn untold(&self) -> (u64, u64) {
        let since = |total: &AtomicU64, told: &AtomicU64| {
            let told = told.load(Ordering::SeqCst);
            total.load(Ordering::SeqCst).saturating_sub(told)
        };
        (since(&self.tuples, &self.told_tuples), since(&self.bytes, &self.told_bytes))
    }

    fn has_lot(&self) -> bool {
        let (tuples, bytes) = self.untold();
        tuples >= self.lot.0 || bytes >= self.lot.1
    }

    /// The totals, which count as told.
    fn tell(&self) -> (Id, u64, u64) {
        let (tuples, bytes) = (self.tuples.load(Ordering::SeqCst), self.bytes.load(Ordering::SeqCst));
        self.told_tuples.store(tuples, Ordering::SeqCst);
        self.told_bytes.store(bytes, Ordering::SeqCst);
        (self.id, tuples, bytes)
    }
}
