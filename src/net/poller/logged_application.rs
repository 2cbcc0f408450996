//! The application of a mesh, with a log of what happens to its connections.
//!
//! * A connection that comes up or goes down is logged.
//! * While dialing a worker fails, the first failure is logged, and a warning after [`PATIENCE`].
//!   Workers start one after the other, so the first failure means little.
//! * Accepted connections whose handshake fails are logged once in [`STRANGERS_EVERY`], with the number
//!   of those that failed in between. Their reasons are in the counters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use slog::{Logger, debug, info, warn};

use super::super::application::{Application, Direction, LinkState, PayloadError};
use super::super::outbound::{LinkCredit, PayloadKind};
use super::channel::FarEnd;
use super::handle::ORDERLY_END;
use crate::clock::Time;
use crate::ids::{Incarnation, WorkerId};

/// How long dialing a worker may fail before a warning is logged.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often failed connections of strangers are logged.
const STRANGERS_EVERY: Duration = Duration::from_secs(10);

/// An application whose connections are logged.
pub(super) struct LoggedApplication {
    app: Box<dyn Application + Send>,
    pub log: Logger,
    /// Workers that cannot be dialed. An entry is dropped when a connection with that worker is up.
    vain: BTreeMap<WorkerId, Vain>,
    /// Connections that went down and are not up again.
    broken: BTreeSet<(WorkerId, Direction)>,
    strangers: Strangers,
    /// The worker ends, so the end of a connection is no warning. Set by the poller.
    pub is_ending: bool,
}

struct Vain {
    since: Time,
    is_warned: bool,
}

#[derive(Default)]
struct Strangers {
    /// When the next failure may be logged.
    at: Time,
    /// How many failures were not logged since the last one that was.
    unsaid: u64,
}

impl LoggedApplication {
    pub fn new(app: Box<dyn Application + Send>, log: Logger) -> LoggedApplication {
        LoggedApplication {
            app,
            log,
            vain: BTreeMap::new(),
            broken: BTreeSet::new(),
            strangers: Strangers::default(),
            is_ending: false,
        }
    }

    /// A connection ended before its handshake was complete.
    pub fn connection_failed(&mut self, far_end: FarEnd, why: &str, now: Time) {
        match far_end {
            FarEnd::Dialed(peer, address) => {
                let log = self.log.new(slog::o!("peer" => peer.0, "address" => address.to_string()));
                let vain = self.vain.entry(peer);
                let is_first = matches!(vain, std::collections::btree_map::Entry::Vacant(_));
                let vain = vain.or_insert(Vain { since: now, is_warned: false });
                if is_first {
                    info!(log, "a worker cannot be reached yet"; "why" => why);
                } else if now.since(vain.since) >= PATIENCE && !vain.is_warned {
                    vain.is_warned = true;
                    warn!(log, "a worker cannot be reached; dialing goes on"; "why" => why);
                } else {
                    debug!(log, "a worker cannot be reached"; "why" => why);
                }
            }
            FarEnd::Accepted(address) if now >= self.strangers.at => {
                info!(self.log, "an accepted connection failed";
                    "address" => %address, "why" => why, "others_since" => self.strangers.unsaid);
                self.strangers = Strangers { at: now.after(STRANGERS_EVERY), unsaid: 0 };
            }
            FarEnd::Accepted(address) => {
                debug!(self.log, "an accepted connection failed"; "address" => %address, "why" => why);
                self.strangers.unsaid += 1;
            }
        }
    }
}

impl Application for LoggedApplication {
    fn payload(
        &mut self,
        from: WorkerId,
        kind: PayloadKind,
        payload: Bytes,
        now: Time,
    ) -> Result<(), PayloadError> {
        self.app.payload(from, kind, payload, now)
    }

    fn credit(&mut self, to: WorkerId, more: LinkCredit) {
        self.app.credit(to, more);
    }

    fn settled(&mut self, to: WorkerId, frames: u64) {
        self.app.settled(to, frames);
    }

    fn replaced(&mut self, peer: WorkerId, by: Incarnation) {
        self.app.replaced(peer, by);
    }

    fn lost(&mut self, to: WorkerId, frames: u64, credits: &[LinkCredit]) {
        if frames > 0 {
            info!(self.log, "payloads to a worker that was replaced are dropped";
                "peer" => to.0, "payloads" => frames);
        }
        self.app.lost(to, frames, credits);
    }

    fn status(&mut self, from: WorkerId, status: &[u8], now: Time) {
        self.app.status(from, status, now);
    }

    fn own_status(&mut self, to: WorkerId, out: &mut Vec<u8>) {
        self.app.own_status(to, out);
    }

    fn credits_due(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        self.app.credits_due(to, out);
    }

    fn credits_changed(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        self.app.credits_changed(to, out);
    }

    fn all_credits(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        self.app.all_credits(to, out);
    }

    fn members_set(&mut self, version: u64) {
        self.app.members_set(version);
    }

    fn backlog(&mut self, to: WorkerId, since: Option<Time>) {
        self.app.backlog(to, since);
    }

    fn link(&mut self, peer: WorkerId, direction: Direction, state: LinkState, now: Time) {
        match &state {
            LinkState::Up => {
                self.vain.remove(&peer);
                if self.broken.remove(&(peer, direction)) {
                    info!(self.log, "a connection is up again";
                        "peer" => peer.0, "direction" => %direction);
                } else {
                    debug!(self.log, "a connection is up"; "peer" => peer.0, "direction" => %direction);
                }
            }
            LinkState::Down { why } if self.is_ending || why.ends_with(ORDERLY_END) => {
                debug!(self.log, "a connection has ended";
                    "peer" => peer.0, "direction" => %direction, "why" => why);
            }
            LinkState::Down { why } => {
                self.broken.insert((peer, direction));
                warn!(self.log, "a connection is down";
                    "peer" => peer.0, "direction" => %direction, "why" => why);
            }
        }
        self.app.link(peer, direction, state, now);
    }
}
