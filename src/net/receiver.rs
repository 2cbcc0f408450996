//! How much of what one life of a peer sends was taken.
//!
//! 1. A lane takes exactly the next sequence. A lower one is a duplicate and leaves nothing but a
//!    count; a higher one is a fault, because frames never overtake each other on a connection.
//! 2. The state outlives connections and ends with the peer's life. So a payload is taken once,
//!    however often connections are cut and frames are written again.
//! 3. What was taken is told soon, but not frame by frame: after [`TOLD_BYTES`] or [`TOLD_DELAY`],
//!    or together with whatever else is said.

use std::time::Duration;

use super::fault::LinkFault;
use super::frame::Lane;
use super::payload::Taken;
use crate::clock::Time;

/// Taking is told at the latest after so long: the sender may then free its frames.
pub const TOLD_DELAY: Duration = Duration::from_millis(2);
/// Taking is told after so many bytes.
pub const TOLD_BYTES: usize = 256 << 10;

/// What was taken from one life of a peer.
#[derive(Debug, Default)]
pub struct Receiver {
    taken: Taken,
    /// Since when there is something taken that the peer was not told.
    untold_since: Option<Time>,
    untold_bytes: usize,
}

/// Whether a frame is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It is the next.
    Next,
    /// It was taken before.
    Duplicate,
}

impl Receiver {
    /// Looks at the sequence of a frame. It is not yet taken by that.
    ///
    /// # Errors
    /// [`LinkFault::Gap`].
    pub fn admit(&self, lane: Lane, sequence: u64) -> Result<Admission, LinkFault> {
        let expected = 1 + match lane {
            Lane::Control => self.taken.control,
            Lane::Data => self.taken.data,
        };
        match sequence.cmp(&expected) {
            std::cmp::Ordering::Less => Ok(Admission::Duplicate),
            std::cmp::Ordering::Equal => Ok(Admission::Next),
            std::cmp::Ordering::Greater => Err(LinkFault::Gap { lane, expected, found: sequence }),
        }
    }

    /// The next frame of a lane was taken, with so many bytes.
    pub fn take(&mut self, lane: Lane, bytes: usize, now: Time) {
        match lane {
            Lane::Control => self.taken.control += 1,
            Lane::Data => self.taken.data += 1,
        }
        self.untold_bytes += bytes;
        self.untold_since.get_or_insert(now);
    }

    /// What was taken so far.
    pub fn taken(&self) -> Taken {
        self.taken
    }

    /// When the peer must be told. `None`: there is nothing to tell.
    pub fn tell_at(&self) -> Option<Time> {
        let since = self.untold_since?;
        Some(if self.untold_bytes >= TOLD_BYTES { since } else { since.after(TOLD_DELAY) })
    }

    /// What to tell the peer, which is told by that. `None`: it knows.
    pub fn tell(&mut self) -> Option<Taken> {
        self.untold_bytes = 0;
        self.untold_since.take().map(|_| self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_told_after_a_while_or_much() {
        let mut receiver = Receiver::default();
        let now = Time(1_000_000);
        assert_eq!((receiver.tell_at(), receiver.tell()), (None, None));
        for _ in 0..3 {
            receiver.take(Lane::Data, TOLD_BYTES / 2, now);
            assert_eq!(receiver.tell_at(), Some(now.after(TOLD_DELAY)), "the delay runs from the first");
            receiver.take(Lane::Control, TOLD_BYTES / 2, now.after(TOLD_DELAY / 2));
            assert_eq!(receiver.tell_at(), Some(now), "that is much");
            assert_eq!(receiver.tell(), Some(receiver.taken()));
            assert_eq!((receiver.tell_at(), receiver.tell()), (None, None));
        }
        assert_eq!(receiver.taken(), Taken { control: 3, data: 3 });
    }
}
