//! Returns credit to producers in another worker.
//!
//! `accounts` holds the totals and decides when the poller must be woken. This file wakes the poller, and
//! connects the accounts with the types of the runtime.

mod accounts;
mod sync;

use std::sync::Arc;

use accounts::{Account, Accounts};

use crate::ids::LinkId;
use crate::runtime::flow::charge::{Charge, LinkCredit};
use crate::runtime::flow::outlet::Outlet;

/// The account of one link.
pub type Returned = Account<LinkId>;

/// The credit that this worker has to return to one incarnation of another worker.
pub struct CreditReturns {
    outlet: Arc<dyn Outlet>,
    accounts: Accounts<LinkId>,
}

impl CreditReturns {
    /// No credit to return yet.
    pub fn new(outlet: Arc<dyn Outlet>) -> CreditReturns {
        CreditReturns { outlet, accounts: Accounts::new() }
    }

    /// A new account for one link, which becomes due when `lot` is unsent.
    pub fn account(&self, id: LinkId, lot: Charge) -> Arc<Returned> {
        self.accounts.open(id, (lot.tuples as u64, lot.bytes as u64))
    }

    /// Adds the credit of a processed batch, and wakes the poller if a lot has become due.
    pub fn give_back(&self, returned: &Arc<Returned>, charge: Charge) {
        if self.accounts.give_back(returned, charge.tuples as u64, charge.bytes as u64) {
            self.outlet.wake_poller();
        }
    }

    /// Totals of the links of which a lot is unsent.
    pub fn take_due(&self, into: &mut Vec<LinkCredit>) {
        self.accounts.take_due(push_to(into));
    }

    /// Totals of the links with unsent credit.
    pub fn take_unsent(&self, into: &mut Vec<LinkCredit>) {
        self.accounts.take_unsent(push_to(into));
    }

    /// Totals of all links for which credit was ever given back.
    pub fn all(&self, into: &mut Vec<LinkCredit>) {
        self.accounts.all(push_to(into));
    }
}

fn push_to(into: &mut Vec<LinkCredit>) -> impl FnMut(LinkId, u64, u64) {
    |link, tuples, bytes| into.push(LinkCredit { link, tuples, bytes })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::Time;
    use crate::runtime::flow::outlet::PayloadKind;

    #[derive(Default)]
    struct Pokes(AtomicU64);

    impl Outlet for Pokes {
        fn send(&self, _: PayloadKind, _: Vec<u8>, _: Option<LinkCredit>, _: Time) {}

        fn wake_poller(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }

        fn payload_max(&self) -> usize {
            0
        }
    }

    fn sent(take: impl FnOnce(&mut Vec<LinkCredit>)) -> Vec<(u32, u64, u64)> {
        let mut sent = Vec::new();
        take(&mut sent);
        sent.into_iter().map(|total| (total.link.0, total.tuples, total.bytes)).collect()
    }

    #[test]
    fn credit_is_sent_in_lots_or_with_other_frames() {
        let outlet = Arc::new(Pokes::default());
        let wake_ups = || outlet.0.load(Ordering::SeqCst);
        let returns = CreditReturns::new(Arc::clone(&outlet) as Arc<dyn Outlet>);
        let [one, two] = [1, 2].map(|id| returns.account(LinkId(id), Charge { tuples: 10, bytes: 100 }));
        let give = |account, tuples, bytes| returns.give_back(account, Charge { tuples, bytes });
        give(&one, 9, 0);
        give(&two, 1, 99);
        assert_eq!((sent(|into| returns.take_due(into)), wake_ups()), (vec![], 0), "neither is a lot");
        give(&one, 1, 0);
        give(&one, 5, 0);
        assert_eq!((sent(|into| returns.take_due(into)), wake_ups()), (vec![(1, 15, 0)], 1), "one wake-up");
        give(&one, 9, 0);
        assert_eq!(sent(|into| returns.take_due(into)), [], "it counts from what was sent");
        assert_eq!(sent(|into| returns.take_unsent(into)), [(1, 24, 0), (2, 1, 99)]);
        assert_eq!((sent(|into| returns.take_unsent(into)), wake_ups()), (vec![], 1));
        give(&two, 1, 100);
        assert_eq!((sent(|into| returns.all(into)), wake_ups()), (vec![(1, 24, 0), (2, 2, 199)], 2));
        assert_eq!(sent(|into| returns.take_due(into)), [(2, 2, 199)], "again, which does no harm");
    }
}
