//! What a mesh keeps of one peer: the present life of it, and both links.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::connection::ConnId;
use super::receiver::Receiver;
use super::sender::Sender;
use crate::clock::Time;
use crate::config::NetOptions;
use crate::ids::Incarnation;

/// Doublings of the pause before a peer that has not heard of us yet is dialed again.
const NOT_YET_DOUBLINGS: u32 = 2;

/// One peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Its present life. `None`: the parent has not named it yet.
    pub incarnation: Option<Incarnation>,
    /// Where it listens, once it does.
    pub address: Option<SocketAddr>,
    /// Payloads to it.
    pub sender: Sender,
    /// The link to it.
    pub dial: Dial,
    /// Payloads from it.
    pub receiver: Receiver,
    /// The connection that they come on.
    pub from: Option<ConnId>,
    /// It had such a connection before.
    pub was_heard: bool,
}

/// The link to a peer: when it is dialed, and how often it was in vain.
#[derive(Debug, Default)]
pub(super) struct Dial {
    pub state: DialState,
    /// The peer was reached before.
    pub was_up: bool,
    /// Since when payloads to the peer make no progress, or could make none.
    pub down_since: Option<Time>,
    /// Attempts since the last progress.
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialState {
    /// Dialed next at this time, if there is an address.
    Waiting { at: Time },
    /// Connecting, or in the handshake.
    Busy(ConnId),
    /// Payloads flow.
    Up(ConnId),
}

impl Default for DialState {
    fn default() -> DialState {
        DialState::Waiting { at: Time::ZERO }
    }
}

impl Dial {
    /// Payloads got through, or there are none: a later failure begins with short pauses again.
    ///
    /// That a handshake succeeded is not enough: a payload that the peer cannot take would end each
    /// connection right after it, and nobody would be told.
    pub fn progress(&mut self) {
        self.attempts = 0;
        self.down_since = None;
    }

    /// The connection ended: when to dial again. `full jitter`: anything from 0 to a bound that
    /// doubles with each attempt, so that peers that lost each other do not meet again in step.
    pub fn schedule_redial(&mut self, options: &NetOptions, rng: &mut StdRng, now: Time) {
        let doublings = self.attempts.min(31);
        self.attempts += 1;
        let bound = options.reconnect_min.saturating_mul(1 << doublings).min(options.reconnect_max);
        let pause = Duration::from_nanos(rng.random_range(0..=nanos(bound)));
        self.state = DialState::Waiting { at: now.after(pause) };
        self.down_since.get_or_insert(now);
    }

    /// The peer will take this worker in a moment: pauses stay short.
    pub fn expect_soon(&mut self) {
        self.attempts = self.attempts.min(NOT_YET_DOUBLINGS);
    }

    /// Dials at once, as if for the first time.
    pub fn start(&mut self, now: Time) {
        self.attempts = 0;
        self.state = DialState::Waiting { at: now };
        self.down_since.get_or_insert(now);
    }

    /// The connection of this link, whatever its state.
    pub fn connection(&self) -> Option<ConnId> {
        match self.state {
            DialState::Waiting { .. } => None,
            DialState::Busy(conn) | DialState::Up(conn) => Some(conn),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
