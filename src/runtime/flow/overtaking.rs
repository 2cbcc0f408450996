//! Barriers that overtake: what an executor does if a barrier does not come over all links soon (`alignment_timeout`).
//!
//! ```text
//!   link a   4 3 │ 2 1 ─▶ ┐   the snapshot is taken where the executor is: it has executed 1.
//!   link b   2 │ 1 ─────▶ ┴─  it has the state of then, and 2 of a and 1 of b, which are in flight.
//! ```
//!
//! 1. What was sent before the barrier over each link, and was not executed when the snapshot began, is *in flight*: it is
//!    part of the snapshot, and is executed first after a restore. The executor executes it all the same.
//! 2. The barrier is sent on at once. What is executed later is, for all that come behind, after the checkpoint.
//! 3. Until the barrier has come over all links, everything is taken out of the inbox as soon as it comes, so that what
//!    is in flight is known. It waits here, in its order, and keeps its credit.
//!
//! Pure: the test tries every order of what can come over three links, and every moment to overtake.

use std::collections::VecDeque;

use crate::runtime::flow::alignment::{Alignment, Barrier, Parcel};

/// What was taken out of the inbox before its turn.
#[derive(Debug)]
pub struct Overtaking<T> {
    /// It waits to be executed, in the order in which it came.
    ahead: VecDeque<(usize, Parcel<T>)>,
    /// How many of these are barriers.
    barriers: usize,
    /// For each link: whether the barrier that has overtaken is still to come over it. Empty if none is.
    missing: Vec<bool>,
}

impl<T> Default for Overtaking<T> {
    fn default() -> Overtaking<T> {
        Overtaking { ahead: VecDeque::new(), barriers: 0, missing: Vec::new() }
    }
}

impl<T> Overtaking<T> {
    /// Whether a barrier has overtaken and is still to come over a link.
    pub fn is_open(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The next to be executed.
    pub fn pop(&mut self) -> Option<(usize, Parcel<T>)> {
        let next = self.ahead.pop_front();
        let is_barrier = next.as_ref().is_some_and(|(_, parcel)| parcel.barrier().is_some());
        self.barriers -= usize::from(is_barrier);
        next
    }

    /// Whether a barrier waits.
    pub fn has_barrier(&self) -> bool {
        self.barriers > 0
    }

    /// The barrier that is being aligned, or comes next.
    pub fn next_barrier(&self, alignment: &Alignment<T>) -> Option<Barrier> {
        let first_ahead = || self.ahead.iter().find_map(|(_, parcel)| parcel.barrier());
        alignment.aligning().or_else(|| alignment.first_released()).or_else(first_ahead)
    }

    /// Something was taken out of the inbox. What is in flight is recorded. Returns whether it was a barrier that has
    /// overtaken, and is gone.
    pub fn take_in(&mut self, link: usize, parcel: Parcel<T>, record: &mut dyn FnMut(&T)) -> bool {
        if self.missing.get(link) == Some(&true) {
            match &parcel {
                Parcel::Batch(batch) => record(batch),
                Parcel::Barrier(_) => {
                    self.missing[link] = false;
                    if !self.missing.contains(&true) {
                        self.missing.clear();
                    }
                    return true;
                }
            }
        }
        self.barriers += usize::from(parcel.barrier().is_some());
        self.ahead.push_back((link, parcel));
        false
    }

    /// The next barrier overtakes: nothing waits for it in the alignment any more. What is in flight is recorded. Returns
    /// over how many links the barrier has come.
    pub fn begin(&mut self, alignment: &mut Alignment<T>, record: &mut dyn FnMut(&T)) -> usize {
        let later = std::mem::take(&mut self.ahead);
        self.barriers = 0;
        let (arrived, before) = alignment.overtake();
        self.missing = arrived.iter().map(|arrived| !arrived).collect();
        if !self.missing.contains(&true) {
            self.missing.clear();
        }
        let passed = before.chain(later).filter_map(|(link, parcel)| {
            let passes = self.take_in(link, parcel, record);
            passes.then_some(())
        });
        passed.count() + arrived.iter().filter(|arrived| **arrived).count()
    }

    /// Forgets everything, and returns what waited.
    pub fn clear(&mut self) -> impl Iterator<Item = Parcel<T>> + use<'_, T> {
        self.missing.clear();
        self.barriers = 0;
        self.ahead.drain(..).map(|(_, parcel)| parcel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CheckpointId;

    /// A batch: its link, and which of the link it is.
    type Named = (usize, u32);
    type Orders = Vec<Vec<(usize, Parcel<Named>)>>;

    fn barrier(number: u64) -> Barrier {
        Barrier { checkpoint: CheckpointId { epoch: 1, number }, full: false, txid: number, last: false }
    }

    /// Every order in which these links bring their parcels: batches, and barriers 1 and 2 after so many of them.
    fn orders(links: &[[u32; 3]]) -> Orders {
        let parcels = |(link, counts): (usize, &[u32; 3])| -> VecDeque<Parcel<Named>> {
            let mut nth = 0..;
            let mut parcels = VecDeque::new();
            for (number, count) in (1..).zip(counts) {
                let batches = nth.by_ref().take(*count as usize).map(|nth| Parcel::Batch((link, nth)));
                parcels.extend(batches);
                parcels.extend((number <= 2).then(|| Parcel::Barrier(barrier(number))));
            }
            parcels
        };
        let mut all = Vec::new();
        extend(&mut links.iter().enumerate().map(parcels).collect(), &mut Vec::new(), &mut all);
        all
    }

    fn extend(
        left: &mut Vec<VecDeque<Parcel<Named>>>,
        order: &mut Vec<(usize, Parcel<Named>)>,
        all: &mut Orders,
    ) {
        if left.iter().all(VecDeque::is_empty) {
            all.push(order.clone());
        }
        for link in 0..left.len() {
            let Some(parcel) = left[link].pop_front() else { continue };
            order.push((link, parcel));
            extend(left, order, all);
            let (_, parcel) = order.pop().expect("it was pushed");
            left[link].push_front(parcel);
        }
    }

    /// An executor.
    struct Played {
        inbox: VecDeque<(usize, Parcel<Named>)>,
        alignment: Alignment<Named>,
        overtaking: Overtaking<Named>,
        executed: Vec<Named>,
        /// The barriers that were passed on; what had been executed then; and what was in flight.
        snapshots: Vec<(Barrier, Vec<Named>, Vec<Named>)>,
    }

    impl Played {
        fn new(links: usize) -> Played {
            Played {
                inbox: VecDeque::new(),
                alignment: Alignment::new(links, true),
                overtaking: Overtaking::default(),
                executed: Vec::new(),
                snapshots: Vec::new(),
            }
        }

        fn take_ahead(&mut self) {
            let mut recorded = Vec::new();
            for (link, parcel) in self.inbox.drain(..) {
                self.overtaking.take_in(link, parcel, &mut |batch| recorded.push(*batch));
            }
            if let Some((.., in_flight)) = self.snapshots.last_mut() {
                in_flight.extend(recorded);
            }
        }

        fn passes(&mut self, barrier: Barrier, in_flight: Vec<Named>) {
            self.snapshots.push((barrier, self.executed.clone(), in_flight));
        }

        /// Executes a batch or passes a barrier on, if there is one whose time has come.
        fn step(&mut self) -> bool {
            if self.overtaking.is_open() {
                self.take_ahead();
            }
            loop {
                let parcel = match self.alignment.next_released() {
                    Some(parcel) => Some(parcel),
                    None => match self.overtaking.pop().or_else(|| self.inbox.pop_front()) {
                        Some((link, parcel)) => self.alignment.take(link, parcel),
                        None => return false,
                    },
                };
                match parcel {
                    Some(Parcel::Batch(batch)) => self.executed.push(batch),
                    Some(Parcel::Barrier(barrier)) => self.passes(barrier, Vec::new()),
                    None => continue,
                }
                return true;
            }
        }

        /// A barrier overtakes, if one waits.
        fn overtake(&mut self) -> bool {
            if self.overtaking.is_open() {
                return false;
            }
            self.take_ahead();
            let Some(barrier) = self.overtaking.next_barrier(&self.alignment) else { return false };
            let mut in_flight = Vec::new();
            self.overtaking.begin(&mut self.alignment, &mut |batch| in_flight.push(*batch));
            self.passes(barrier, in_flight);
            true
        }
    }

    fn sorted(mut batches: Vec<Named>) -> Vec<Named> {
        batches.sort_unstable();
        batches
    }

    #[test]
    fn whenever_a_barrier_overtakes_the_snapshot_has_what_came_before_it() {
        let shapes: [&[[u32; 3]]; 4] = [
            &[[2, 2, 1]],
            &[[1, 1, 1], [1, 0, 1]],
            &[[2, 0, 1], [0, 2, 1]],
            &[[1, 0, 0], [0, 1, 0], [1, 1, 0]],
        ];
        let mut overtaken = 0;
        for links in shapes {
            let upto = |last: usize| -> Vec<Named> {
                let of = |(link, counts): (usize, &[u32; 3])| {
                    (0..counts[..last].iter().sum()).map(move |nth| (link, nth))
                };
                links.iter().enumerate().flat_map(of).collect()
            };
            for order in orders(links) {
                // The executor is so many parcels behind, and looks whether a barrier waits when so many have come.
                for (behind, looks_at) in
                    (0..4).flat_map(|behind| (0..order.len()).map(move |at| (behind, at)))
                {
                    let mut played = Played::new(links.len());
                    for (at, parcel) in order.iter().enumerate() {
                        played.inbox.push_back(parcel.clone());
                        // It looks again and again, as one whose barriers never wait long.
                        overtaken += u32::from(at >= looks_at && played.overtake());
                        if at >= behind {
                            played.step();
                        }
                    }
                    while played.step() {}
                    let named = format!("{order:?}, {behind} behind, overtakes from {looks_at} on");
                    let barriers: Vec<Barrier> =
                        played.snapshots.iter().map(|(barrier, ..)| *barrier).collect();
                    assert_eq!(barriers, [barrier(1), barrier(2)], "{named}");
                    for (last, (_, executed, in_flight)) in (1..).zip(&played.snapshots) {
                        let has = [&executed[..], in_flight].concat();
                        assert_eq!(sorted(has), upto(last), "{named}");
                    }
                    for link in 0..links.len() {
                        assert!(played.executed.iter().filter(|(of, _)| *of == link).is_sorted(), "{named}");
                    }
                    assert_eq!(sorted(played.executed), upto(3), "{named}");
                }
            }
        }
        assert!(overtaken > 1000, "{overtaken}");
    }
}
