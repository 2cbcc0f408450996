//! Alignment: what an executor with several inputs does about the barriers of a checkpoint.
//!
//! A barrier stands between what belongs to a checkpoint and what comes after it. It comes once over each link.
//!
//! ```text
//!   link a   4 3 │ 2 1 ─▶ ┐                      held: a's 3 and 4 wait for b's barrier
//!   link b       1 │ ───▶ ┴─▶ 1 2 1 │ 3 4 …      then the barrier goes on, and what was held comes first
//! ```
//!
//! 1. After a barrier from a link nothing more of that link is handed out until the barrier has come over all
//!    links. Meanwhile what comes over the link is held, in its order.
//! 2. When the barrier has come over all links, it is handed out: the caller takes its snapshot and sends the
//!    barrier to all its outputs. Until it has, nothing else is handed out.
//! 3. Then comes what was held, before anything new. What was held may include the next barrier.
//! 4. What is held keeps its credit, so memory stays bounded.
//! 5. A link that *leads back* (`feedback = true`) is not waited for, because its barrier comes round only when this one
//!    has gone on. What it brings is handed out until its barrier comes, also while the barrier of the other links waits
//!    to be passed on. See `overtaking` for what comes over it after that.
//!
//! Without blocking (`mode = "at-least-once"`), nothing is held: what comes after a barrier may be executed before
//! the snapshot is taken, and once more after a restore.
//!
//! Pure: the test tries every order of what can come over three links.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::api::Batch;
use crate::ids::CheckpointId;

/// The barrier of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Whether tasks write all of their state, and not only what has changed since the checkpoint before.
    pub full: bool,
    /// The transaction id of the batch that it ends.
    pub txid: u64,
    /// Whether all bolts have finished, so that nothing comes after it.
    pub last: bool,
}

impl Barrier {
    /// The batch that it ends.
    pub fn batch(&self) -> Batch {
        Batch { txid: self.txid, attempt: self.checkpoint }
    }
}

/// What comes over a link, and what is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parcel<T> {
    /// A batch.
    Batch(T),
    /// Over a link: the barrier of that link. Handed out: the barrier has come over all links that do not lead back.
    Barrier(Barrier),
}

impl<T> Parcel<T> {
    /// The barrier, if it is one.
    pub fn barrier(&self) -> Option<Barrier> {
        match self {
            Parcel::Barrier(barrier) => Some(*barrier),
            Parcel::Batch(_) => None,
        }
    }
}

/// The inputs of an executor.
#[derive(Debug)]
pub struct Alignment<T> {
    /// For each link: whether the barrier that is being aligned has come over it.
    arrived: Vec<bool>,
    /// For each link: whether it leads back.
    leads_back: Vec<bool>,
    aligning: Option<Barrier>,
    /// Whether that barrier was handed out, and not passed on yet.
    is_handed_out: bool,
    blocks: bool,
    held: VecDeque<(usize, Parcel<T>)>,
    /// What was held and is now looked at again, before anything new.
    released: VecDeque<(usize, Parcel<T>)>,
}

impl<T> Alignment<T> {
    /// Of an executor with these links, none of which has brought a barrier: for each, whether it leads back. At least one
    /// does not. `blocks`: see the module.
    pub fn new(leads_back: Vec<bool>, blocks: bool) -> Alignment<T> {
        Alignment {
            arrived: vec![false; leads_back.len()],
            leads_back,
            aligning: None,
            is_handed_out: false,
            blocks,
            held: VecDeque::new(),
            released: VecDeque::new(),
        }
    }

    /// Takes what came over a link. Returns what the caller is to handle now, if anything.
    pub fn take(&mut self, link: usize, parcel: Parcel<T>) -> Option<Parcel<T>> {
        if self.blocks && self.arrived[link] {
            self.held.push_back((link, parcel));
            return None;
        }
        let barrier = match parcel {
            Parcel::Batch(batch) => return Some(Parcel::Batch(batch)),
            Parcel::Barrier(barrier) => barrier,
        };
        if !self.blocks && self.arrived[link] {
            // Without blocking a link may be a whole checkpoint ahead of another: the later one waits.
            self.held.push_back((link, Parcel::Barrier(barrier)));
            return None;
        }
        self.arrived[link] = true;
        let aligning = self.aligning.get_or_insert(barrier);
        debug_assert_eq!(aligning.checkpoint, barrier.checkpoint, "each link brings each barrier");
        let mut links = self.arrived.iter().zip(&self.leads_back);
        if self.is_handed_out || !links.all(|(arrived, leads_back)| *arrived || *leads_back) {
            return None;
        }
        self.is_handed_out = true;
        Some(Parcel::Barrier(barrier))
    }

    /// The barrier that was handed out was passed on: what was held is released. Returns over how many links it had come.
    /// Where links lead back, [`Overtaking::begin`](crate::runtime::flow::overtaking::Overtaking::begin) is called
    /// instead.
    pub fn passed(&mut self) -> usize {
        let arrived = self.arrived.iter().filter(|arrived| **arrived).count();
        self.forget_barrier();
        // What is held of a link came before what was released of it and was not looked at again.
        self.held.append(&mut self.released);
        std::mem::swap(&mut self.held, &mut self.released);
        arrived
    }

    fn forget_barrier(&mut self) {
        self.arrived.fill(false);
        self.aligning = None;
        self.is_handed_out = false;
    }

    /// The next of what was held, if its time has come. To be called until it returns `None`, before anything new
    /// is taken.
    pub fn next_released(&mut self) -> Option<Parcel<T>> {
        while let Some((link, parcel)) = self.released.pop_front() {
            if let Some(parcel) = self.take(link, parcel) {
                return Some(parcel);
            }
        }
        None
    }

    /// The barrier that has come over some links, and is to come over the others.
    pub fn aligning(&self) -> Option<Barrier> {
        self.aligning
    }

    /// The first barrier of what was released and not looked at again.
    pub fn first_released(&self) -> Option<Barrier> {
        self.released.iter().find_map(|(_, parcel)| parcel.barrier())
    }

    /// A barrier goes on, and nothing waits for it any more. Returns over which links the barrier has come that is being
    /// aligned, and everything that was held or released, in its order.
    pub fn overtake(&mut self) -> (Vec<bool>, impl Iterator<Item = (usize, Parcel<T>)> + use<'_, T>) {
        let arrived = self.arrived.clone();
        self.forget_barrier();
        // What is held of a link came before what was released of it and was not looked at again.
        (arrived, self.held.drain(..).chain(self.released.drain(..)))
    }

    /// Forgets all barriers, and returns what was held.
    pub fn clear(&mut self) -> Vec<Parcel<T>> {
        self.forget_barrier();
        let held = self.released.drain(..).chain(self.held.drain(..));
        held.map(|(_, parcel)| parcel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(number: u64) -> Barrier {
        Barrier { checkpoint: CheckpointId { epoch: 1, number }, full: false, txid: number, last: false }
    }

    /// A batch of a link: which link, and which batch of it.
    type Numbered = Parcel<(usize, u32)>;
    /// An order in which parcels arrive, each with its link.
    type Order = Vec<(usize, Numbered)>;

    /// What comes over one link: batches, which are (link, nth), and barriers 1, 2, ….
    fn inputs(link: usize, batches: [u32; 3]) -> Vec<Numbered> {
        let mut parcels = Vec::new();
        let mut nth = 0;
        for (number, count) in batches.into_iter().enumerate() {
            for _ in 0..count {
                parcels.push(Parcel::Batch((link, nth)));
                nth += 1;
            }
            if number < 2 {
                parcels.push(Parcel::Barrier(barrier(number as u64 + 1)));
            }
        }
        parcels
    }

    /// Tries every order in which these may arrive. Returns how many there are.
    fn every_order(
        left: &mut Vec<VecDeque<Numbered>>,
        order: &mut Order,
        check: &mut dyn FnMut(&Order),
    ) -> usize {
        let mut orders = 0;
        for link in 0..left.len() {
            let Some(parcel) = left[link].pop_front() else { continue };
            order.push((link, parcel));
            orders += every_order(left, order, check);
            let (_, parcel) = order.pop().expect("it was pushed");
            left[link].push_front(parcel);
        }
        if left.iter().all(VecDeque::is_empty) {
            check(order);
            orders += 1;
        }
        orders
    }

    fn handed_out(links: usize, blocks: bool, order: &Order) -> Vec<Numbered> {
        let mut alignment = Alignment::new(vec![false; links], blocks);
        let mut out = Vec::new();
        let mut pass = |alignment: &mut Alignment<_>, parcel: Numbered| {
            if parcel.barrier().is_some() {
                alignment.passed();
            }
            out.push(parcel);
        };
        for (link, parcel) in order {
            while let Some(parcel) = alignment.next_released() {
                pass(&mut alignment, parcel);
            }
            if let Some(parcel) = alignment.take(*link, parcel.clone()) {
                pass(&mut alignment, parcel);
            }
        }
        while let Some(parcel) = alignment.next_released() {
            pass(&mut alignment, parcel);
        }
        out
    }

    /// Batches between the barriers that were handed out, for each link in the order in which they came.
    fn by_checkpoint(out: &[Numbered]) -> Vec<Vec<(usize, u32)>> {
        let mut parts = vec![Vec::new()];
        let mut barriers = 0;
        for parcel in out {
            match parcel {
                Parcel::Batch(batch) => parts.last_mut().expect("there is one").push(*batch),
                Parcel::Barrier(found) => {
                    barriers += 1;
                    assert_eq!(*found, barrier(barriers), "barriers come in their order");
                    parts.push(Vec::new());
                }
            }
        }
        for part in &mut parts {
            // Links may be mixed; within a link the order must be that of the link.
            part.sort_by_key(|(link, _)| *link);
        }
        parts
    }

    #[test]
    fn every_order_over_three_links_is_cut_at_the_barriers() {
        let shapes = [
            vec![[1, 1, 0], [0, 1, 1]],
            vec![[2, 0, 1], [1, 2, 0]],
            vec![[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            vec![[0, 1, 0], [1, 0, 1], [0, 1, 0]],
        ];
        for shape in shapes {
            let links = shape.len();
            let all: Vec<_> =
                shape.iter().enumerate().map(|(link, batches)| inputs(link, *batches)).collect();
            let expected: Vec<Vec<(usize, u32)>> = (0..3)
                .map(|part| {
                    let of_link = |link: usize| {
                        let begin: u32 = shape[link][..part].iter().sum();
                        (begin..begin + shape[link][part]).map(move |nth| (link, nth))
                    };
                    (0..links).flat_map(of_link).collect()
                })
                .collect();
            let mut left: Vec<VecDeque<_>> = all.into_iter().map(VecDeque::from).collect();
            let mut orders = 0;
            let tried = every_order(&mut left, &mut Vec::new(), &mut |order| {
                orders += 1;
                let out = handed_out(links, true, order);
                assert_eq!(by_checkpoint(&out), expected, "{order:?}");
            });
            assert_eq!(tried, orders);
            assert!(tried > 10, "{tried}");
        }
    }

    #[test]
    fn without_blocking_nothing_waits_and_barriers_still_come_in_order() {
        let mut left: Vec<VecDeque<_>> =
            [inputs(0, [1, 1, 1]), inputs(1, [0, 1, 1])].into_iter().map(VecDeque::from).collect();
        every_order(&mut left, &mut Vec::new(), &mut |order| {
            let out = handed_out(2, false, order);
            let batches: Vec<_> =
                out.iter().filter(|parcel| matches!(parcel, Parcel::Batch(_))).cloned().collect();
            let came: Vec<_> = order.iter().map(|(_, parcel)| parcel.clone()).collect();
            let came: Vec<_> = came.into_iter().filter(|parcel| matches!(parcel, Parcel::Batch(_))).collect();
            assert_eq!(batches, came, "no batch waits for another");
            let barriers = out.iter().filter(|parcel| matches!(parcel, Parcel::Barrier(_))).cloned();
            assert_eq!(
                barriers.collect::<Vec<_>>(),
                [Parcel::Barrier(barrier(1)), Parcel::Barrier(barrier(2))]
            );
            // What a snapshot must have: everything that came before the barrier of its link.
            for (nth, number) in [1, 2].into_iter().enumerate() {
                let cut = out
                    .iter()
                    .position(|parcel| *parcel == Parcel::Barrier(barrier(number)))
                    .expect("it came");
                let before = |link: usize| [[1, 2], [0, 1]][link][nth];
                for link in 0..2 {
                    let seen = out[..cut]
                        .iter()
                        .filter(|parcel| matches!(parcel, Parcel::Batch((of, _)) if *of == link));
                    assert!(seen.count() >= before(link), "{order:?}");
                }
            }
        });
    }

    /// The barrier of the other links cannot come round before this one has gone on.
    #[test]
    fn a_link_that_leads_back_is_not_waited_for() {
        let mut alignment = Alignment::new(vec![false, true, false], true);
        assert_eq!(alignment.take(0, Parcel::Barrier(barrier(1))), None);
        assert_eq!(alignment.take(1, Parcel::Batch(1)), Some(Parcel::Batch(1)));
        assert_eq!(alignment.take(2, Parcel::Barrier(barrier(1))), Some(Parcel::Barrier(barrier(1))));
        assert_eq!(alignment.take(0, Parcel::Batch(2)), None, "it was not passed on");
        assert_eq!(alignment.take(1, Parcel::Batch(3)), Some(Parcel::Batch(3)));
        assert_eq!(alignment.take(1, Parcel::Barrier(barrier(1))), None, "it is not handed out twice");
        assert_eq!(alignment.take(1, Parcel::Batch(4)), None, "it belongs behind the barrier");
        assert_eq!(alignment.passed(), 3);
        assert_eq!(alignment.next_released(), Some(Parcel::Batch(2)));
        assert_eq!(alignment.next_released(), Some(Parcel::Batch(4)));
        assert_eq!(alignment.next_released(), None);
    }

    #[test]
    fn what_is_held_is_given_back_when_everything_is_forgotten() {
        let mut alignment = Alignment::new(vec![false; 2], true);
        assert_eq!(alignment.take(0, Parcel::Barrier(barrier(1))), None);
        assert_eq!(alignment.take(0, Parcel::Batch(7)), None);
        assert_eq!(alignment.take(1, Parcel::Batch(8)), Some(Parcel::Batch(8)));
        assert_eq!(alignment.clear(), [Parcel::Batch(7)]);
        assert_eq!(
            alignment.take(0, Parcel::Batch(9)),
            Some(Parcel::Batch(9)),
            "nothing is aligned any more"
        );
        assert_eq!(alignment.take(1, Parcel::Barrier(barrier(2))), None);
        assert_eq!(alignment.take(0, Parcel::Barrier(barrier(2))), Some(Parcel::Barrier(barrier(2))));
    }
}
