//! Which places of a state with a time to live are to be looked at, and when.
//!
//! ```text
//!   write ─▶ deadline = now + ttl, in the cell        due: heap of (time, place), one for each place
//!            place in the heap? nothing to do          │ the first is due
//!            else push (deadline, place)               ▼
//!                                                     look: expired ─▶ remove
//!                                                           alive   ─▶ push again, at its deadline
//! ```
//!
//! Whether an entry is seen is decided by its deadline alone, at each access. The heap only decides when memory is
//! given back, so it may be late:
//!
//! 1. A place that has something is in the heap once, at a time that is no later than the first deadline of its cell,
//!    or than the next look that rule 3 allows. A write moves a deadline to a later time, so it does not touch the heap.
//!    An undone call puts an earlier deadline back; the place was in the heap for it, and nothing is taken out of the
//!    heap within a call.
//! 2. Each call to remove looks at [`LOOKS`] places, and at two more for each write since the call before. A place is
//!    looked at because something in it was written or has expired, and what expires was written once. So removing
//!    keeps pace with writing, whatever keys come.
//! 3. A look at a map or a list costs as much as it is long. So two looks at a place are at least an eighth of the time
//!    to live apart. A task without input is woken as seldom. Together that makes a quarter: an entry is removed at the
//!    latest when so much of its time to live has passed once more, if the task is stepped in time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::clock::Time;
use crate::state::expiring::Deadlines;
use crate::state::stored::SnapshotTime;
use crate::state::ttl::Ttl;

/// Places that are looked at in a step, besides those that its writes have paid for.
const LOOKS: usize = 256;

/// Two looks at a place are apart by this part of the time to live.
const LOOKS_PER_TTL: u32 = 8;

/// The places to look at.
pub(super) struct Expiry {
    ttl: Ttl,
    due: BinaryHeap<Reverse<(Time, u32)>>,
    /// For each place, whether it is in the heap. May be shorter than the column.
    is_queued: Vec<bool>,
    /// Looks that writes have paid for.
    paid: usize,
}

impl Expiry {
    pub(super) fn new(ttl: Ttl) -> Expiry {
        Expiry { ttl, due: BinaryHeap::new(), is_queued: Vec::new(), paid: 0 }
    }

    pub(super) fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// The deadline of what is written now.
    #[inline]
    pub(super) fn deadline(&self, now: Time) -> Time {
        now.after(self.ttl.period())
    }

    /// The deadlines of what is restored at this time.
    pub(super) fn deadlines(&self, time: SnapshotTime) -> Deadlines {
        Deadlines::new(time.dated_before(self.ttl.period()), self.deadline(time.now()))
    }

    /// Something was written into a place, with this deadline.
    #[inline]
    pub(super) fn written(&mut self, place: u32, deadline: Time) {
        self.paid += 2;
        if !self.is_queued.get(place as usize).is_some_and(|queued| *queued) {
            self.look_at(place, deadline);
        }
    }

    /// The place is to be looked at, and is not in the heap.
    fn look_at(&mut self, place: u32, at: Time) {
        let index = place as usize;
        if index >= self.is_queued.len() {
            self.is_queued.resize(index + 1, false);
        }
        self.is_queued[index] = true;
        self.due.push(Reverse((at, place)));
    }

    /// A place was looked at, and has something until this deadline.
    pub(super) fn look_again(&mut self, place: u32, now: Time, deadline: Time) {
        self.look_at(place, deadline.max(now.after(self.pause())));
    }

    /// How many places may be looked at now.
    pub(super) fn take_looks(&mut self) -> usize {
        LOOKS + std::mem::take(&mut self.paid)
    }

    /// Takes a place that is due out of the heap.
    pub(super) fn take_due(&mut self, now: Time) -> Option<u32> {
        let Reverse((at, place)) = *self.due.peek()?;
        if at > now {
            return None;
        }
        self.due.pop();
        self.is_queued[place as usize] = false;
        Some(place)
    }

    /// When a task that does nothing else should remove what has expired.
    pub(super) fn next_removal(&self) -> Time {
        self.due.peek().map_or(Time::NEVER, |Reverse((at, _))| at.after(self.pause()))
    }

    fn pause(&self) -> Duration {
        self.ttl.period() / LOOKS_PER_TTL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_the_heap_once_however_often_it_is_written() {
        let mut expiry = Expiry::new(Ttl::after_write(Duration::from_nanos(80)));
        for now in 0..1_000 {
            let deadline = expiry.deadline(Time(now));
            expiry.written(7, deadline);
        }
        assert_eq!((expiry.due.len(), expiry.next_removal()), (1, Time(90)));
        assert_eq!(expiry.take_due(Time(79)), None);
        assert_eq!((expiry.take_due(Time(80)), expiry.take_due(Time(80))), (Some(7), None));
        expiry.look_again(7, Time(80), Time(81));
        assert_eq!((expiry.take_due(Time(89)), expiry.take_due(Time(90))), (None, Some(7)));
        assert_eq!((expiry.take_looks(), expiry.take_looks()), (LOOKS + 2_000, LOOKS));
    }
}
