//! How many frames this worker has taken from one incarnation of a peer.
//!
//! 1. A lane takes exactly the next sequence. A frame with a lower sequence is a duplicate: it is
//!    counted and dropped. A higher sequence is a fault, because frames never overtake each other on
//!    a connection.
//! 2. This state outlives connections and ends with the peer's incarnation. So a payload is taken
//!    once, however often connections are cut and frames are written again.
//! 3. Frames are not reported as taken one by one. A TAKEN frame is sent after [`TAKEN_BYTES`] or
//!    [`TAKEN_DELAY`], or earlier when credit is sent anyway.

use std::time::Duration;

use super::fault::LinkFault;
use super::frame::Lane;
use super::payload::Taken;
use crate::clock::Time;

/// A taken frame is reported at the latest after this time, so that the sender can free it.
pub const TAKEN_DELAY: Duration = Duration::from_millis(2);
/// Taken frames are reported at once when they have this many bytes together.
pub const TAKEN_BYTES: usize = 256 << 10;

/// The last sequences taken from one incarnation of a peer.
#[derive(Debug, Default)]
pub struct Receiver {
    taken: Taken,
    /// When the oldest taken frame that was not reported yet was taken. Set by `take`, cleared by
    /// `report`.
    unreported_since: Option<Time>,
    unreported_bytes: usize,
}

/// Whether a frame is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It is the next frame of its lane: take it.
    Next,
    /// It was taken before: drop it.
    Duplicate,
}

impl Receiver {
    /// Checks the sequence of a frame. The frame counts as taken only after `take`.
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

    /// Counts the next frame of a lane as taken. Its payload has `bytes` bytes.
    pub fn take(&mut self, lane: Lane, bytes: usize, now: Time) {
        match lane {
            Lane::Control => self.taken.control += 1,
            Lane::Data => self.taken.data += 1,
        }
        self.unreported_bytes += bytes;
        self.unreported_since.get_or_insert(now);
    }

    /// What was taken so far.
    pub fn taken(&self) -> Taken {
        self.taken
    }

    /// When the next TAKEN frame is due. `None`: everything was reported.
    pub fn report_at(&self) -> Option<Time> {
        let since = self.unreported_since?;
        Some(if self.unreported_bytes >= TAKEN_BYTES { since } else { since.after(TAKEN_DELAY) })
    }

    /// Returns what the next TAKEN frame reports, and marks it as reported. `None`: there is nothing
    /// new to report.
    pub fn report(&mut self) -> Option<Taken> {
        self.unreported_bytes = 0;
        self.unreported_since.take().map(|_| self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_frames_are_reported_after_a_delay_or_many_bytes() {
        let mut receiver = Receiver::default();
        let now = Time(1_000_000);
        assert_eq!((receiver.report_at(), receiver.report()), (None, None));
        for _ in 0..3 {
            receiver.take(Lane::Data, TAKEN_BYTES / 2, now);
            assert_eq!(receiver.report_at(), Some(now.after(TAKEN_DELAY)), "the delay runs from the first");
            receiver.take(Lane::Control, TAKEN_BYTES / 2, now.after(TAKEN_DELAY / 2));
            assert_eq!(receiver.report_at(), Some(now), "that is much");
            assert_eq!(receiver.report(), Some(receiver.taken()));
            assert_eq!((receiver.report_at(), receiver.report()), (None, None));
        }
        assert_eq!(receiver.taken(), Taken { control: 3, data: 3 });
    }
}
