//! Credit: how much may be on its way from one executor to another.
//!
//! Each ordered pair of executors that exchange tuples shares a [`Link`]. The producer charges the link
//! when it sends a batch, and takes no more input while the link is full. The consumer releases the charge
//! when the batch is processed, and wakes the producer when half of the credit is back. A batch may
//! overdraw the link by its own size; then the *next* batch waits. So a link holds at most its limit plus
//! the output of one step, and a slow consumer blocks its own producers only.
//!
//! **Cycles.** If all executors of a cycle waited for each other's credit, they would wait for ever. So a
//! batch that enters a cycle waits for credit on the links within it, but batches that are already in the
//! cycle may use a reserve beyond the credit. Batches that enter overdraw the credit by at most one batch,
//! so the reserve remains for batches within the cycle.
//!
//! A link between workers has two halves, one in each worker. The producer's half is charged and waited
//! for like any other link. The consumer's half only collects released credit. `net` sends that credit to
//! the producer's worker in lots of a quarter of the limit, and releases it on the producer's half.
//!
//! The file `credit` has the counters, and decides which release wakes the producer. This file defines
//! the limits and the kinds of links.

mod credit;
mod sync;

use std::sync::Arc;

use credit::Credit;

use crate::config::limits::RESERVE;
use crate::ids::LinkId;
use crate::runtime::flow::charge::Charge;
use crate::runtime::flow::credit_returns::{CreditReturns, Returned};
use crate::topology::plan::ExecutorId;

/// Where a link lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// On no cycle.
    Acyclic,
    /// On a cycle.
    InCycle,
    /// On a cycle, and declared as the edge that closes it. While it is full, spouts emit nothing.
    Feedback,
}

/// The credit between two executors.
pub struct Link {
    /// Which of the topology's links.
    pub id: LinkId,
    /// The executor that is woken when credit is released: the one that sends, or the head of its chain.
    pub producer: ExecutorId,
    /// Whether it is part of a cycle.
    pub kind: LinkKind,
    credit: Credit,
    /// Of a producer's half: how many tuples may have been processed whose credit was not returned yet.
    unreturned_max: usize,
    /// Of a consumer's half: the account that collects released credit.
    returns: Option<(Arc<CreditReturns>, Arc<Returned>)>,
}

impl Link {
    /// A link with all its credit.
    pub fn new(id: LinkId, producer: ExecutorId, max: Charge, kind: LinkKind) -> Link {
        let credit = Credit::new(max.tuples, max.bytes, max.bytes.saturating_mul(RESERVE));
        Link { id, producer, kind, credit, unreturned_max: 0, returns: None }
    }

    /// The producer's half of a link whose consumer is in another worker.
    pub fn to_remote(id: LinkId, producer: ExecutorId, max: Charge, kind: LinkKind) -> Link {
        let max = max.remote_limit();
        Link { unreturned_max: max.lot().tuples, ..Link::new(id, producer, max, kind) }
    }

    /// The consumer's half of a link whose producer is in another worker.
    pub fn from_remote(
        id: LinkId,
        producer: ExecutorId,
        max: Charge,
        kind: LinkKind,
        returns: Arc<CreditReturns>,
    ) -> Link {
        Link::new(id, producer, max.remote_limit(), kind).renewed(returns)
    }

    /// The same consumer's half for the next incarnation of the producer's worker, with a new account.
    pub fn renewed(&self, returns: Arc<CreditReturns>) -> Link {
        let max = Charge { tuples: self.credit.tuples_max, bytes: self.credit.bytes_max };
        let account = returns.account(self.id, max.lot());
        Link { returns: Some((returns, account)), ..Link::new(self.id, self.producer, max, self.kind) }
    }

    /// Takes credit for a batch; returns whether its producer may send another batch.
    pub fn charge(&self, charge: Charge) -> bool {
        self.credit.charge(charge.tuples, charge.bytes);
        self.may_send()
    }

    /// Gives credit back; returns whether the producer waits for it and must be woken.
    #[must_use]
    pub fn release(&self, charge: Charge) -> bool {
        if let Some((returns, account)) = &self.returns {
            returns.give_back(account, charge);
            return false;
        }
        self.credit.release(charge.tuples, charge.bytes)
    }

    /// Whether there is credit left.
    pub fn has_credit(&self) -> bool {
        self.credit.has_credit()
    }

    /// Whether another batch may be sent: if there is credit, or, on a cycle, if there is reserve left.
    pub fn may_send(&self) -> bool {
        match self.kind {
            LinkKind::Acyclic => self.credit.has_credit(),
            LinkKind::InCycle | LinkKind::Feedback => self.credit.has_reserve(),
        }
    }

    /// Notes that the producer waits. The producer must call [`Link::may_send`] once more after this.
    pub fn wait(&self) {
        self.credit.wait();
    }

    /// Tuples on their way.
    pub fn in_flight(&self) -> usize {
        self.credit.in_flight()
    }

    /// How much of the credit is taken, as a part of the limit; above 1 if the link is overdrawn. Credit
    /// that the consumer may have released without returning it yet does not count as taken.
    pub fn load(&self) -> f32 {
        self.in_flight().saturating_sub(self.unreturned_max) as f32 / self.credit.tuples_max as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(tuples: usize, bytes: usize, kind: LinkKind) -> Link {
        Link::new(LinkId(0), ExecutorId(0), Charge { tuples, bytes }, kind)
    }

    fn of(tuples: usize, bytes: usize) -> Charge {
        Charge { tuples, bytes }
    }

    #[test]
    fn a_waiting_producer_is_woken_once_half_the_credit_is_back() {
        let link = link(100, 1 << 20, LinkKind::Acyclic);
        assert!(link.charge(of(99, 10)));
        assert!(!link.charge(of(1, 10)), "the last tuple takes the last credit");
        link.wait();
        assert!(!link.release(of(49, 0)), "51 of 100 are still out");
        assert!(link.release(of(1, 0)));
        assert!(!link.release(of(50, 20)), "it is woken once");
        assert!(link.has_credit());
    }

    #[test]
    fn an_edge_that_closes_a_cycle_has_a_reserve() {
        let link = link(10, 1000, LinkKind::Feedback);
        assert!(link.charge(of(500, 15_999)));
        assert!(!link.has_credit(), "which is what holds the spouts back");
        assert!(!link.charge(of(1, 1)), "the reserve has an end, too");
        link.wait();
        assert!(!link.release(of(1, 7_999)), "more than half of the reserve is out");
        assert!(link.release(of(1, 1)));
        link.wait();
        assert!(!link.release(of(480, 7_000)), "less of it is no news");
        assert!(link.release(of(14, 500)), "but half of the credit is");
    }

    #[test]
    fn bytes_are_credit_too() {
        let link = link(100, 1000, LinkKind::Acyclic);
        assert!(!link.charge(of(1, 1000)));
        assert!(!link.has_credit());
    }
}
