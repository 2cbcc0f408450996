//! Accounts of the credit that consumers release for producers in another worker, and the rule for waking
//! the poller, which sends that credit to the peer.
//!
//! ```text
//!   executor ── give_back ─▶ account ─▶ due ─▶ take_due ── poller, which sends the totals to the peer
//!        └── a lot is unsent, and the account was not due: wake the poller
//! ```
//!
//! Credit is returned in lots of a fixed part of the link's limit. Each message with credit costs a write
//! and a read and wakes two threads, and a producer that still has most of its credit does not need the
//! rest. Credit that is released but not sent is less than one lot, or else its account is due
//! and the poller was woken. So a blocked producer is still owed at least one lot, and will be woken.
//!
//! 1. An executor that gives credit back adds to the totals first, and then checks whether a lot is
//!    unsent. The first to find one marks the account as due, lists it, and wakes the poller.
//! 2. The poller clears the mark before it reads the totals. Credit that comes too late for this read
//!    finds the mark cleared, and marks the account again. Both sides change the mark by
//!    read-modify-write only, so an executor that finds the mark set comes before the poller that clears
//!    it, and the poller sees the totals of that executor.
//! 3. Only one thread, the poller, sends totals.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/net_models.rs`): hence `super::sync`, and nothing else from the crate.

use super::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, PoisonError};

/// The credit given back for one link. Totals only grow, so sending a total twice does no harm.
#[derive(Debug)]
pub struct Account<Id> {
    id: Id,
    /// So many unsent tuples or bytes make the account due.
    lot: (u64, u64),
    /// All credit given back so far. Written by executors, read by the poller.
    tuples: AtomicU64,
    bytes: AtomicU64,
    /// The totals that were last sent. Written by the poller, read by executors.
    sent_tuples: AtomicU64,
    sent_bytes: AtomicU64,
    /// Whether it stands in [`Accounts::due`]. Set by executors, cleared by the poller.
    is_due: AtomicBool,
}

/// All accounts with one incarnation of a peer.
#[derive(Debug)]
pub struct Accounts<Id> {
    /// The accounts of which a lot is unsent.
    due: Mutex<Vec<Arc<Account<Id>>>>,
    all: Mutex<Vec<Arc<Account<Id>>>>,
}

impl<Id: Copy> Accounts<Id> {
    /// Without accounts.
    pub fn new() -> Accounts<Id> {
        Accounts { due: Mutex::new(Vec::new()), all: Mutex::new(Vec::new()) }
    }

    /// A new account, which becomes due when a lot of tuples or bytes is unsent.
    pub fn open(&self, id: Id, lot: (u64, u64)) -> Arc<Account<Id>> {
        let zero = || AtomicU64::new(0);
        let account = Arc::new(Account {
            id,
            lot,
            tuples: zero(),
            bytes: zero(),
            sent_tuples: zero(),
            sent_bytes: zero(),
            is_due: AtomicBool::new(false),
        });
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&account));
        account
    }

    /// Adds credit to an account; returns whether the caller must wake the poller.
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

    /// Passes on the totals (tuples, bytes) of all accounts that are due. They count as sent from now on.
    pub fn take_due(&self, mut send: impl FnMut(Id, u64, u64)) {
        let due = std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
        for account in due {
            // Cleared before the totals are read, so that later credit marks the account again. By an
            // exchange, so that credit given back before the mark was set is seen.
            account.is_due.swap(false, Ordering::SeqCst);
            account.send_totals(&mut send);
        }
    }

    /// Passes on the totals of all accounts with unsent credit. They count as sent from now on.
    pub fn take_unsent(&self, mut send: impl FnMut(Id, u64, u64)) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|account| account.unsent() != (0, 0))
            .for_each(|account| account.send_totals(&mut send));
    }

    /// Passes on the totals of all accounts that were ever given credit. They count as sent from now on.
    pub fn all(&self, mut send: impl FnMut(Id, u64, u64)) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|account| account.tuples.load(Ordering::SeqCst) > 0)
            .for_each(|account| account.send_totals(&mut send));
    }
}

impl<Id: Copy> Account<Id> {
    fn unsent(&self) -> (u64, u64) {
        let since = |total: &AtomicU64, sent: &AtomicU64| {
            let sent = sent.load(Ordering::SeqCst);
            total.load(Ordering::SeqCst).saturating_sub(sent)
        };
        (since(&self.tuples, &self.sent_tuples), since(&self.bytes, &self.sent_bytes))
    }

    fn has_lot(&self) -> bool {
        let (tuples, bytes) = self.unsent();
        tuples >= self.lot.0 || bytes >= self.lot.1
    }

    /// Passes the totals on. They count as sent from now on.
    fn send_totals(&self, send: &mut impl FnMut(Id, u64, u64)) {
        let (tuples, bytes) = (self.tuples.load(Ordering::SeqCst), self.bytes.load(Ordering::SeqCst));
        self.sent_tuples.store(tuples, Ordering::SeqCst);
        self.sent_bytes.store(bytes, Ordering::SeqCst);
        send(self.id, tuples, bytes);
    }
}
