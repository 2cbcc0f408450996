//! The frames a worker keeps for one incarnation of a peer until the peer has taken them.
//!
//! ```text
//!   data lane    first ─▼                        ▼─ first + frames.len()
//!                 | w | w | w | not yet written  |
//!                 └─ written ─┘
//! ```
//!
//! 1. A frame gets its sequence and its header when it is queued. So each time it is written, the same
//!    bytes are written.
//! 2. A frame stays until the peer reports it as taken, or until the peer's incarnation ends. Credit
//!    bounds how many frames there are; nothing in this file does.
//! 3. A peer can only have taken frames that were written whole, on the present connection or on an
//!    earlier one. A peer that reports more is at fault.
//! 4. `sent - returned` of a link is its outstanding credit. It covers frames that were taken and
//!    frames that were not.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::fault::LinkFault;
use super::frame::{FrameKind, Lane, lane_of, seal};
use super::outbound::{LinkCredit, Outbound};
use super::payload::Taken;
use crate::clock::Time;
use crate::ids::LinkId;

/// The frames and the credit that are outstanding towards one incarnation of a peer.
#[derive(Debug, Default)]
pub struct Sender {
    control: SendLane,
    data: SendLane,
    /// By link. `outstanding` sorts what it reads, so that simulations repeat exactly.
    accounts: FxHashMap<LinkId, Account>,
}

/// Totals of tuples and bytes of one link since the peer's incarnation began.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    sent: (u64, u64),
    returned: (u64, u64),
}

#[derive(Debug)]
struct SendLane {
    /// Frames not reported as taken, in order, with their headers, and when each was sent. `push`
    /// appends; `settle` drops those that the peer took.
    frames: VecDeque<(Time, Vec<u8>)>,
    /// The sequence of the first of `frames`; if there are none, of the next frame.
    first: u64,
    /// How many of `frames` were written whole on the present connection. A new connection starts
    /// at 0, so it writes all of them again.
    written: usize,
    /// The last sequence that was ever written whole, on any connection.
    written_ever: u64,
    /// Bytes of `frames`.
    bytes: usize,
}

impl Default for SendLane {
    fn default() -> SendLane {
        SendLane { frames: VecDeque::new(), first: 1, written: 0, written_ever: 0, bytes: 0 }
    }
}

impl SendLane {
    fn push(&mut self, kind: FrameKind, message: Outbound) {
        let mut bytes = message.bytes;
        let sequence = self.first + self.frames.len() as u64;
        seal(&mut bytes, kind, sequence, message.payload_crc);
        self.bytes += bytes.len();
        self.frames.push_back((message.sent_at, bytes));
    }

    /// Checks a peer's report that it took all sequences up to `taken`. The report must not go back
    /// behind the previous one, nor beyond `written`, the last sequence written whole.
    fn check(&self, lane: Lane, taken: u64, written: u64) -> Result<(), LinkFault> {
        let before = self.first - 1;
        if taken < before {
            return Err(LinkFault::TakenBack { lane, taken, before });
        }
        if taken > written {
            return Err(LinkFault::TakenAhead { lane, taken, written });
        }
        Ok(())
    }

    /// Drops the frames up to `taken`, which was checked. Returns how many there were.
    fn settle(&mut self, taken: u64) -> u64 {
        let settled = taken + 1 - self.first;
        for _ in 0..settled {
            let (_, frame) = self.frames.pop_front().expect("what was written is kept until it is taken");
            self.bytes -= frame.len();
        }
        self.first = taken + 1;
        self.written = self.written.saturating_sub(settled as usize);
        settled
    }

    fn written_now(&self) -> u64 {
        self.first - 1 + self.written as u64
    }
}

impl Sender {
    /// Queues a payload.
    pub fn push(&mut self, message: Outbound) {
        if let Some(credit) = message.credit {
            let account = self.accounts.entry(credit.link).or_default();
            account.sent.0 += credit.tuples;
            account.sent.1 += credit.bytes;
        }
        let kind = FrameKind::from(message.kind);
        match lane_of(message.kind) {
            Lane::Control => self.control.push(kind, message),
            Lane::Data => self.data.push(kind, message),
        }
    }

    /// Starts a new connection. WELCOME carried `taken`: frames up to there are dropped, and all later
    /// ones will be written again. Returns how many were dropped: the peer took them, but its report
    /// did not arrive on the connection before.
    ///
    /// # Errors
    /// [`LinkFault::TakenBack`], [`LinkFault::TakenAhead`].
    pub fn resume(&mut self, taken: Taken) -> Result<u64, LinkFault> {
        (self.control.written, self.data.written) = (0, 0);
        let (control, data) = (self.control.written_ever, self.data.written_ever);
        self.settle(taken, control, data)
    }

    /// Handles a TAKEN frame of the present connection. Returns how many frames it newly reports.
    ///
    /// # Errors
    /// [`LinkFault::TakenBack`], [`LinkFault::TakenAhead`].
    pub fn taken(&mut self, taken: Taken) -> Result<u64, LinkFault> {
        let (control, data) = (self.control.written_now(), self.data.written_now());
        self.settle(taken, control, data)
    }

    fn settle(&mut self, taken: Taken, control: u64, data: u64) -> Result<u64, LinkFault> {
        // Both lanes are checked before any frame is dropped.
        self.control.check(Lane::Control, taken.control, control)?;
        self.data.check(Lane::Data, taken.data, data)?;
        Ok(self.control.settle(taken.control) + self.data.settle(taken.data))
    }

    /// Handles a total of credit in a CREDIT frame of the peer. Returns by how much it exceeds the previous
    /// total.
    ///
    /// # Errors
    /// [`LinkFault::Credit`] when the total is less than the last, or more than was ever sent.
    pub fn credit(&mut self, total: LinkCredit) -> Result<LinkCredit, LinkFault> {
        let LinkCredit { link, tuples, bytes } = total;
        let Some(account) = self.accounts.get_mut(&link) else {
            return if total.is_zero() { Ok(total) } else { Err(LinkFault::Credit { total }) };
        };
        let more = tuples.checked_sub(account.returned.0).zip(bytes.checked_sub(account.returned.1));
        match more {
            Some((more, more_bytes)) if tuples <= account.sent.0 && bytes <= account.sent.1 => {
                account.returned = (tuples, bytes);
                Ok(LinkCredit { link, tuples: more, bytes: more_bytes })
            }
            _ => Err(LinkFault::Credit { total }),
        }
    }

    /// How many frames the peer has not reported as taken.
    pub fn untaken(&self) -> u64 {
        (self.control.frames.len() + self.data.frames.len()) as u64
    }

    /// When the oldest of these frames was sent.
    pub fn oldest(&self) -> Option<Time> {
        let first = |lane: &SendLane| lane.frames.front().map(|(sent_at, _)| *sent_at);
        first(&self.control).into_iter().chain(first(&self.data)).min()
    }

    /// How many bytes these frames have.
    pub fn untaken_bytes(&self) -> usize {
        self.control.bytes + self.data.bytes
    }

    /// The outstanding credit of each link that has any, in the order of links.
    pub fn outstanding(&self) -> Vec<LinkCredit> {
        let out = |(link, account): (&LinkId, &Account)| LinkCredit {
            link: *link,
            tuples: account.sent.0 - account.returned.0,
            bytes: account.sent.1 - account.returned.1,
        };
        let mut credits: Vec<_> = self.accounts.iter().map(out).filter(|credit| !credit.is_zero()).collect();
        credits.sort_unstable_by_key(|credit| credit.link);
        credits
    }

    /// The frames of a lane that were not yet written on the present connection, in order.
    pub(super) fn unwritten(&self, lane: Lane) -> impl Iterator<Item = &[u8]> {
        let lane = self.lane(lane);
        lane.frames.range(lane.written..).map(|(_, frame)| frame.as_slice())
    }

    /// Counts the first unwritten frame of a lane as written whole. Returns whether it was written
    /// whole before, on an earlier connection.
    pub(super) fn wrote_one(&mut self, lane: Lane) -> bool {
        let lane = match lane {
            Lane::Control => &mut self.control,
            Lane::Data => &mut self.data,
        };
        debug_assert!(lane.written < lane.frames.len());
        lane.written += 1;
        let sequence = lane.written_now();
        let again = sequence <= lane.written_ever;
        lane.written_ever = lane.written_ever.max(sequence);
        again
    }

    fn lane(&self, lane: Lane) -> &SendLane {
        match lane {
            Lane::Control => &self.control,
            Lane::Data => &self.data,
        }
    }
}
