//! What is *in flight* when a barrier goes on: barriers that overtake (`alignment_timeout`), and links that lead back.
//!
//! ```text
//!   link a   4 3 │ 2 1 ─▶ ┐   the snapshot is taken where the executor is: it has executed 1.
//!   link b   2 │ 1 ─────▶ ┴─  it has the state of then, and 2 of a and 1 of b, which are in flight.
//! ```
//!
//! 1. What was sent before the barrier over each link, and was not executed when the snapshot began, is in flight: it is
//!    part of the snapshot, and is executed first after a restore. The executor executes it all the same.
//! 2. The barrier is sent on at once. What is executed later is, for all that come behind, after the checkpoint.
//! 3. Until the barrier has come over all links, everything is taken out of the inbox as soon as it comes, so that what
//!    is in flight is known. It waits here, in its order, and keeps its credit.
//! 4. The next barrier does not go on before that.
//!
//! If a barrier does not come over all links soon, it overtakes. A link that leads back brings it only after it was sent
//! on, so there each barrier leaves something in flight: what goes round in the cycle.
//!
//! Links of a cycle have a lane of their own here, as in the inbox: what is in the cycle goes first.
//!
//! Pure: the tests try every order of what can come over three links, and every moment to overtake.

use std::collections::VecDeque;

use crate::runtime::flow::alignment::{Alignment, Barrier, Parcel};

/// What was taken out of the inbox before its turn.
#[derive(Debug)]
pub struct Overtaking<T> {
    /// For each link: whether it is part of a cycle.
    in_cycle: Vec<bool>,
    /// Of links of a cycle: what waits to be executed, in the order in which it came.
    cycle: VecDeque<(usize, Parcel<T>)>,
    /// The same of all others.
    data: VecDeque<(usize, Parcel<T>)>,
    /// How many of these are barriers.
    barriers: usize,
    /// For each link: whether the barrier that has gone on is still to come over it. Empty if none is.
    missing: Vec<bool>,
}

impl<T> Overtaking<T> {
    /// Of an executor with these links: for each, whether it is part of a cycle.
    pub fn new(in_cycle: Vec<bool>) -> Overtaking<T> {
        let (cycle, data) = (VecDeque::new(), VecDeque::new());
        Overtaking { in_cycle, cycle, data, barriers: 0, missing: Vec::new() }
    }

    /// Whether a barrier has gone on and is still to come over a link.
    pub fn is_open(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.cycle.is_empty() && self.data.is_empty()
    }

    /// The next of the cycle to be executed.
    pub fn pop_cycle(&mut self) -> Option<(usize, Parcel<T>)> {
        let next = self.cycle.pop_front();
        self.popped(next)
    }

    /// The next of everything else.
    pub fn pop_data(&mut self) -> Option<(usize, Parcel<T>)> {
        let next = self.data.pop_front();
        self.popped(next)
    }

    fn popped(&mut self, next: Option<(usize, Parcel<T>)>) -> Option<(usize, Parcel<T>)> {
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
        let first =
            |lane: &VecDeque<(usize, Parcel<T>)>| lane.iter().find_map(|(_, parcel)| parcel.barrier());
        let first_ahead = || {
            let firsts = first(&self.cycle).into_iter().chain(first(&self.data));
            firsts.min_by_key(|barrier| barrier.checkpoint)
        };
        alignment.aligning().or_else(|| alignment.first_released()).or_else(first_ahead)
    }

    /// Something was taken out of the inbox. What is in flight is recorded. Returns whether it was a barrier that has
    /// gone on, and is gone.
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
        let lane = if self.in_cycle[link] { &mut self.cycle } else { &mut self.data };
        lane.push_back((link, parcel));
        false
    }

    /// A barrier goes on, whether it has come over all links or overtakes: nothing waits for it in the alignment any
    /// more. What is in flight is recorded. Returns over how many links it has come.
    pub fn begin(&mut self, alignment: &mut Alignment<T>, record: &mut dyn FnMut(&T)) -> usize {
        let later = [std::mem::take(&mut self.cycle), std::mem::take(&mut self.data)];
        self.barriers = 0;
        let (arrived, before) = alignment.overtake();
        self.missing = arrived.iter().map(|arrived| !arrived).collect();
        if !self.missing.contains(&true) {
            self.missing.clear();
        }
        let passed = before.chain(later.into_iter().flatten()).filter_map(|(link, parcel)| {
            let passes = self.take_in(link, parcel, record);
            passes.then_some(())
        });
        passed.count() + arrived.iter().filter(|arrived| **arrived).count()
    }

    /// Forgets everything, and returns what waited.
    pub fn clear(&mut self) -> impl Iterator<Item = Parcel<T>> + use<'_, T> {
        self.missing.clear();
        self.barriers = 0;
        self.cycle.drain(..).chain(self.data.drain(..)).map(|(_, parcel)| parcel)
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
        leads_back: Vec<bool>,
        inbox: VecDeque<(usize, Parcel<Named>)>,
        alignment: Alignment<Named>,
        overtaking: Overtaking<Named>,
        passing: Option<Barrier>,
        executed: Vec<Named>,
        /// The barriers that were passed on; what had been executed then; and what was in flight.
        snapshots: Vec<(Barrier, Vec<Named>, Vec<Named>)>,
    }

    impl Played {
        /// With these links, of which some lead back.
        fn new(leads_back: &[bool]) -> Played {
            Played {
                leads_back: leads_back.to_vec(),
                inbox: VecDeque::new(),
                alignment: Alignment::new(leads_back.to_vec(), true),
                overtaking: Overtaking::new(leads_back.to_vec()),
                passing: None,
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

        fn goes_on(&mut self, barrier: Barrier) {
            let mut in_flight = Vec::new();
            self.overtaking.begin(&mut self.alignment, &mut |batch| in_flight.push(*batch));
            self.passing = None;
            self.snapshots.push((barrier, self.executed.clone(), in_flight));
        }

        /// The barrier that has come over all links is passed on.
        fn passes(&mut self, barrier: Barrier) {
            if self.leads_back.contains(&true) {
                return self.goes_on(barrier);
            }
            self.alignment.passed();
            self.passing = None;
            self.snapshots.push((barrier, self.executed.clone(), Vec::new()));
        }

        fn next_to_align(&mut self) -> Option<(usize, Parcel<Named>)> {
            let is_open = self.overtaking.is_open();
            let from_inbox = |played: &mut Played, in_cycle| {
                let at = played.inbox.iter().position(|(link, _)| played.leads_back[*link] == in_cycle);
                at.filter(|_| !is_open).and_then(|at| played.inbox.remove(at))
            };
            let cycle = self.overtaking.pop_cycle().or_else(|| from_inbox(self, true));
            cycle.or_else(|| self.overtaking.pop_data()).or_else(|| from_inbox(self, false))
        }

        /// Executes a batch or passes a barrier on, if there is one whose time has come.
        fn step(&mut self) -> bool {
            if self.overtaking.is_open() {
                self.take_ahead();
            }
            loop {
                if let Some(barrier) = self.passing
                    && !self.overtaking.is_open()
                {
                    self.passes(barrier);
                    return true;
                }
                let parcel = match self.alignment.next_released() {
                    Some(parcel) => Some(parcel),
                    None => match self.next_to_align() {
                        Some((link, parcel)) => self.alignment.take(link, parcel),
                        None => return false,
                    },
                };
                match parcel {
                    Some(Parcel::Batch(batch)) => {
                        self.executed.push(batch);
                        return true;
                    }
                    Some(Parcel::Barrier(barrier)) => self.passing = Some(barrier),
                    None => {}
                }
            }
        }

        /// A barrier overtakes, if one waits.
        fn overtake(&mut self) -> bool {
            if self.overtaking.is_open() || self.passing.is_some() {
                return false;
            }
            self.take_ahead();
            let Some(barrier) = self.overtaking.next_barrier(&self.alignment) else { return false };
            self.goes_on(barrier);
            true
        }
    }

    fn sorted(mut batches: Vec<Named>) -> Vec<Named> {
        batches.sort_unstable();
        batches
    }

    /// Every order in which these links bring their parcels, of which some lead back, and every moment to overtake, if a
    /// barrier may. Returns how often a barrier has overtaken, and how many snapshots had something in flight.
    fn try_all(links: &[[u32; 3]], leads_back: &[bool], overtakes: bool) -> (u32, u32) {
        let upto = |last: usize| -> Vec<Named> {
            let of = |(link, counts): (usize, &[u32; 3])| {
                (0..counts[..last].iter().sum()).map(move |nth| (link, nth))
            };
            links.iter().enumerate().flat_map(of).collect()
        };
        let (mut overtaken, mut with_some_in_flight) = (0, 0);
        for order in orders(links) {
            // The executor is so many parcels behind, and looks whether a barrier waits when so many have come.
            let looks = if overtakes { 0..order.len() } else { order.len()..order.len() + 1 };
            for (behind, looks_at) in (0..4).flat_map(|behind| looks.clone().map(move |at| (behind, at))) {
                let mut played = Played::new(leads_back);
                for (at, parcel) in order.iter().enumerate() {
                    played.inbox.push_back(parcel.clone());
                    // It looks again and again, as one whose barriers never wait long.
                    overtaken += u32::from(at >= looks_at && played.overtake());
                    if at >= behind {
                        played.step();
                    }
                }
                while played.step() {}
                let named =
                    format!("{order:?}, {leads_back:?}, {behind} behind, overtakes from {looks_at} on");
                let barriers: Vec<Barrier> = played.snapshots.iter().map(|(barrier, ..)| *barrier).collect();
                assert_eq!(barriers, [barrier(1), barrier(2)], "{named}");
                for (last, (_, executed, in_flight)) in (1..).zip(&played.snapshots) {
                    with_some_in_flight += u32::from(!in_flight.is_empty());
                    let has = [&executed[..], in_flight].concat();
                    assert_eq!(sorted(has), upto(last), "{named}");
                }
                for link in 0..links.len() {
                    assert!(played.executed.iter().filter(|(of, _)| *of == link).is_sorted(), "{named}");
                }
                assert_eq!(sorted(played.executed), upto(3), "{named}");
            }
        }
        (overtaken, with_some_in_flight)
    }

    #[test]
    fn whenever_a_barrier_overtakes_the_snapshot_has_what_came_before_it() {
        let shapes: [&[[u32; 3]]; 4] = [
            &[[2, 2, 1]],
            &[[1, 1, 1], [1, 0, 1]],
            &[[2, 0, 1], [0, 2, 1]],
            &[[1, 0, 0], [0, 1, 0], [1, 1, 0]],
        ];
        let try_shape = |links: &&[[u32; 3]]| try_all(links, &vec![false; links.len()], true).0;
        let overtaken: u32 = shapes.iter().map(try_shape).sum();
        assert!(overtaken > 1000, "{overtaken}");
    }

    /// Also if the barrier comes round before that of the other links, as it does where a cycle has two links that lead
    /// back, and if the next barrier is there before this one has come round.
    #[test]
    fn what_comes_over_links_that_lead_back_is_in_the_snapshot() {
        let shapes: [(&[[u32; 3]], &[bool]); 6] = [
            (&[[1, 1, 1], [2, 1, 1]], &[false, true]),
            (&[[0, 0, 1], [1, 2, 1]], &[false, true]),
            (&[[2, 1, 0], [1, 1, 0]], &[true, false]),
            (&[[1, 0, 0], [0, 1, 0], [1, 0, 0]], &[false, true, false]),
            (&[[0, 0, 1], [1, 0, 0], [0, 1, 0]], &[false, true, true]),
            (&[[2, 2, 1]], &[true]),
        ];
        for overtakes in [false, true] {
            let (mut overtaken, mut in_flight) = (0, 0);
            for (links, leads_back) in shapes {
                let (more, with_some) = try_all(links, leads_back, overtakes);
                (overtaken, in_flight) = (overtaken + more, in_flight + with_some);
            }
            assert!(in_flight > 1000, "{in_flight}");
            assert_eq!(overtaken > 1000, overtakes, "{overtaken}");
        }
    }

    /// The one before waits in the cycle behind tuples. If these were not executed, both would wait for ever.
    #[test]
    fn while_a_barrier_waits_for_the_one_before_what_comes_round_is_executed() {
        let mut played = Played::new(&[false, true]);
        let parcels = [
            (0, Parcel::Barrier(barrier(1))),
            (0, Parcel::Barrier(barrier(2))),
            (0, Parcel::Batch((0, 0))),
            (1, Parcel::Batch((1, 0))),
        ];
        played.inbox.extend(parcels);
        while played.step() {}
        assert_eq!((played.snapshots.len(), &played.executed[..]), (1, &[(1, 0)][..]));
        played.inbox.extend([(1, Parcel::Barrier(barrier(1))), (1, Parcel::Batch((1, 1)))]);
        while played.step() {}
        let (second, executed, in_flight) = &played.snapshots[1];
        assert_eq!((*second, &executed[..]), (barrier(2), &[(1, 0)][..]));
        assert_eq!(in_flight[..], [(1, 1)]);
        assert_eq!(played.executed, [(1, 0), (1, 1), (0, 0)]);
        played.inbox.push_back((1, Parcel::Batch((1, 2))));
        while played.step() {}
        assert_eq!(played.snapshots[1].2, [(1, 1), (1, 2)]);
    }

    /// A bolt that takes its own tuples: each goes round so many times.
    struct Ring {
        bolt: Played,
        /// What the spout still emits: how often a tuple goes round, or a barrier.
        spout: VecDeque<Parcel<u32>>,
        /// How often each tuple that was made goes round from there, and the first of its line.
        made: Vec<(u32, u32)>,
        emitted: u32,
        /// How many were emitted before each barrier.
        before: Vec<u32>,
        executed: usize,
        passed: usize,
    }

    impl Ring {
        fn new(rounds: [u32; 3]) -> Ring {
            let [first, second, third] = rounds.map(Parcel::Batch);
            let [one, two] = [1, 2].map(|number| Parcel::Barrier(barrier(number)));
            Ring {
                bolt: Played::new(&[false, true]),
                spout: [first, one, second, two, third].into(),
                made: Vec::new(),
                emitted: 0,
                before: Vec::new(),
                executed: 0,
                passed: 0,
            }
        }

        fn make(&mut self, link: usize, rounds: u32, first: u32) {
            let number = self.made.len() as u32;
            self.made.push((rounds, first));
            self.bolt.inbox.push_back((link, Parcel::Batch((link, number))));
        }

        fn emit(&mut self) -> bool {
            match self.spout.pop_front() {
                Some(Parcel::Batch(rounds)) => {
                    self.emitted += 1;
                    self.make(0, rounds, self.emitted);
                }
                Some(Parcel::Barrier(barrier)) => {
                    self.before.push(self.emitted);
                    self.bolt.inbox.push_back((0, Parcel::Barrier(barrier)));
                }
                None => return false,
            }
            true
        }

        /// What the step executed, or the barrier that it passed on, is sent round.
        fn step(&mut self, overtakes: bool) -> bool {
            let works = (overtakes && self.bolt.overtake()) || self.bolt.step();
            if let Some((_, number)) = self.bolt.executed.get(self.executed) {
                let (rounds, first) = self.made[*number as usize];
                self.executed += 1;
                if rounds > 0 {
                    self.make(1, rounds - 1, first);
                }
            }
            if let Some((barrier, ..)) = self.bolt.snapshots.get(self.passed) {
                let barrier = *barrier;
                self.passed += 1;
                self.bolt.inbox.push_back((1, Parcel::Barrier(barrier)));
            }
            works
        }

        /// How often tuples of each line have been executed in the end, if all begins again with this snapshot: what it has,
        /// what comes of tuples in flight, and what the spout emits after it.
        fn after_restore(&self, snapshot: usize, rounds: [u32; 3]) -> [u32; 3] {
            let mut counts = [0; 3];
            let (_, executed, in_flight) = &self.bolt.snapshots[snapshot];
            for (_, number) in executed {
                counts[self.made[*number as usize].1 as usize - 1] += 1;
            }
            for (_, number) in in_flight {
                let (rounds, first) = self.made[*number as usize];
                counts[first as usize - 1] += rounds + 1;
            }
            for at in self.before[snapshot] as usize..3 {
                counts[at] += rounds[at] + 1;
            }
            counts
        }
    }

    #[test]
    fn whatever_goes_round_a_restore_counts_each_round_once() {
        let rounds = [2, 0, 3];
        let mut runs = 0;
        for overtakes in [false, true] {
            // Each number is a schedule: its bits say who is next.
            for schedule in 0_u32..1 << 13 {
                let mut ring = Ring::new(rounds);
                for bit in 0..13 {
                    match schedule >> bit & 1 {
                        0 => ring.emit(),
                        _ => ring.step(overtakes),
                    };
                }
                while ring.emit() || ring.step(overtakes) {}
                let expected = rounds.map(|rounds| rounds + 1);
                assert_eq!(ring.bolt.executed.len() as u32, expected.iter().sum::<u32>());
                assert_eq!(ring.bolt.snapshots.len(), 2, "{schedule:b}");
                for snapshot in 0..2 {
                    assert_eq!(ring.after_restore(snapshot, rounds), expected, "{schedule:b}, {overtakes}");
                }
                runs += 1;
            }
        }
        assert_eq!(runs, 2 << 13);
    }
}
