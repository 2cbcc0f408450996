//! What a mesh keeps for one peer: its present incarnation, and the state of both connections.

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

/// Doublings of the pause, at most, before a peer that answered "not yet" is dialed again.
const NOT_YET_DOUBLINGS: u32 = 2;
/// Doublings of the time-out of a handshake, at most: it grows to four times the option.
const LATE_DOUBLINGS: u32 = 2;

/// One peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Its present incarnation. `None`: the parent has not named it yet.
    pub incarnation: Option<Incarnation>,
    /// The address on which it listens. `None`: it does not listen yet.
    pub address: Option<SocketAddr>,
    /// Payloads to it.
    pub sender: Sender,
    /// The connection to it.
    pub dial: Dial,
    /// Payloads from it.
    pub receiver: Receiver,
    /// The connection from it, if it is up.
    pub from: Option<ConnId>,
    /// A connection from it was up before. Counts reconnects.
    pub was_up: bool,
    /// Doublings of the time-out of the next handshake with it, dialed or accepted, at most
    /// [`LATE_DOUBLINGS`].
    handshakes_late: u32,
}

/// The connection to a peer: its state, and when the peer is dialed next.
#[derive(Debug, Default)]
pub(super) struct Dial {
    pub state: DialState,
    /// A connection to the peer was up before. Counts reconnects.
    pub was_up: bool,
    /// Since when payloads to the peer make no progress, or could make none. Set when the connection
    /// ends or dialing starts; cleared by `progress` only.
    pub down_since: Option<Time>,
    /// Dials that were scheduled since the last progress. Each doubles the bound of the pause.
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialState {
    /// The peer is dialed next at this time, if its address is known.
    Waiting { at: Time },
    /// The connection is being made, or in its handshake.
    Busy(ConnId),
    /// The connection is up.
    Up(ConnId),
}

impl Default for DialState {
    fn default() -> DialState {
        DialState::Waiting { at: Time::ZERO }
    }
}

/// The time-out of a handshake grows while the peer is alive and handshakes with it are late, because one of
/// the two workers is overloaded. The peer is alive if it has proven in the handshake that it knows the
/// secret, or if a connection with it is up: such a connection ends after `silence` without a byte. HELLO and
/// REFUSED prove nothing, because strangers can send them. So neither a stranger nor a silent peer causes
/// longer time-outs.
impl Peer {
    /// How long the next handshake with the peer may take, if `least` is the option.
    pub fn handshake_timeout(&self, least: Duration) -> Duration {
        least * (1 << self.handshakes_late)
    }

    /// A handshake that this worker dialed was not completed in time. `has_proven`: the peer has sent an
    /// acceptable CHALLENGE. A peer that is not alive gets the shortest time-out again.
    pub fn dialed_too_late(&mut self, has_proven: bool) {
        if has_proven || self.from.is_some() {
            self.allow_twice_the_time();
        } else {
            self.handshakes_late = 0;
        }
    }

    /// A handshake that the peer seems to have dialed was not completed in time: HELLO named the peer, and no
    /// PROOF came. If the peer is not alive, that may have been a stranger, and changes nothing.
    pub fn answered_too_late(&mut self) {
        if self.from.is_some() || self.dial.is_up() {
            self.allow_twice_the_time();
        }
    }

    fn allow_twice_the_time(&mut self) {
        self.handshakes_late = (self.handshakes_late + 1).min(LATE_DOUBLINGS);
    }

    /// A handshake with the peer was done. If both connections are up now, the next handshake gets the
    /// shortest time-out again.
    pub fn handshake_done(&mut self) {
        if self.from.is_some() && self.dial.is_up() {
            self.handshakes_late = 0;
        }
    }
}

impl Dial {
    /// The peer took payloads, or there are none to take. The next failure begins with short pauses.
    ///
    /// A successful handshake alone is no progress. A payload that the peer cannot take ends each
    /// connection soon after its handshake; if that reset `down_since`, the parent would never get a
    /// report about it.
    pub fn progress(&mut self) {
        self.attempts = 0;
        self.down_since = None;
    }

    /// The connection ended: schedules the next dial. The pause is random between 0 and a bound that
    /// doubles with each attempt (full jitter), so that workers do not dial each other in lockstep.
    pub fn schedule_redial(&mut self, options: &NetOptions, rng: &mut StdRng, now: Time) {
        let doublings = self.attempts.min(31);
        self.attempts += 1;
        let bound = options.reconnect_min.saturating_mul(1 << doublings).min(options.reconnect_max);
        let pause = Duration::from_nanos(rng.random_range(0..=nanos(bound)));
        self.state = DialState::Waiting { at: now.after(pause) };
        self.down_since.get_or_insert(now);
    }

    /// The peer answered "not yet" and will soon accept this worker: keeps the next pauses short.
    pub fn expect_soon(&mut self) {
        self.attempts = self.attempts.min(NOT_YET_DOUBLINGS);
    }

    /// Schedules a dial at once, with short pauses after it, as for a new peer.
    pub fn start(&mut self, now: Time) {
        self.attempts = 0;
        self.state = DialState::Waiting { at: now };
        self.down_since.get_or_insert(now);
    }

    /// Whether the connection to the peer is up.
    pub fn is_up(&self) -> bool {
        matches!(self.state, DialState::Up(_))
    }

    /// The connection to the peer, up or not.
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
