//! The bridge from the wire to the runtime: it passes the upcalls of the mesh to the `Ingress`.
//!
//! When a worker is lost, the order of the steps matters (`runtime::remote::ingress` explains why). The
//! driver of the mesh empties the outbox into the mesh and sets the new members. The mesh drops what
//! was for old incarnations (`replaced`, `lost`), and calls `members_set` after that. Only then does
//! the bridge raise the membership that executors see.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::application::{Application, Direction, LinkState, PayloadError};
use super::outbound::{LinkCredit, PayloadKind};
use crate::clock::{Clock, Time};
use crate::ids::{Incarnation, WorkerId};
use crate::runtime::remote::ingress::Ingress;

/// Is notified of connections that come up and go down.
pub trait LinkWatcher: Send {
    /// A connection with a peer changed its state.
    fn link(&mut self, peer: WorkerId, direction: Direction, state: &LinkState);
}

/// Ignores all changes.
impl LinkWatcher for () {
    fn link(&mut self, _peer: WorkerId, _direction: Direction, _state: &LinkState) {}
}

/// The runtime of a worker as the application of a mesh.
pub struct Bridge {
    ingress: Ingress,
    watcher: Box<dyn LinkWatcher>,
    /// Peers that were replaced, and by which incarnation. `replaced` adds to it; `members_set` takes
    /// all of it.
    lost: Vec<(WorkerId, Incarnation)>,
    clock: Clock,
    /// Peers whose connection to this worker was up and is down, and since when. `backlog` reports such
    /// a time as stuck, too.
    deaf_to: BTreeMap<WorkerId, Time>,
}

impl Bridge {
    /// A bridge to the executors of this worker.
    pub fn new(ingress: Ingress, watcher: Box<dyn LinkWatcher>, clock: Clock) -> Bridge {
        Bridge { ingress, watcher, lost: Vec::new(), clock, deaf_to: BTreeMap::new() }
    }
}

impl Application for Bridge {
    fn payload(
        &mut self,
        from: WorkerId,
        kind: PayloadKind,
        payload: Bytes,
        now: Time,
    ) -> Result<(), PayloadError> {
        self.ingress.take(from, kind, payload, now).map_err(|error| PayloadError(error.to_string()))
    }

    fn credit(&mut self, _to: WorkerId, more: LinkCredit) {
        self.ingress.credit(more);
    }

    fn settled(&mut self, _to: WorkerId, frames: u64) {
        self.ingress.settled(frames);
    }

    fn replaced(&mut self, peer: WorkerId, by: Incarnation) {
        self.lost.push((peer, by));
    }

    fn lost(&mut self, _to: WorkerId, frames: u64, credits: &[LinkCredit]) {
        self.ingress.lost(frames, credits);
    }

    fn status(&mut self, from: WorkerId, status: &[u8], now: Time) {
        self.ingress.note_status(from, status, now);
    }

    fn own_status(&mut self, _to: WorkerId, out: &mut Vec<u8>) {
        self.ingress.status(self.clock.now(), out);
    }

    fn credits_due(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        self.ingress.take_credits_due(to, out);
    }

    fn credits_changed(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        self.ingress.take_credits_unsent(to, out);
    }

    fn all_credits(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        self.ingress.all_credits(to, out);
    }

    fn members_set(&mut self, version: u64) {
        let lost = std::mem::take(&mut self.lost);
        if lost.is_empty() {
            self.ingress.raise_membership(version);
        } else {
            self.ingress.workers_lost(&lost, version);
        }
    }

    fn backlog(&mut self, to: WorkerId, since: Option<Time>) {
        let deaf_since = self.deaf_to.get(&to).copied();
        self.ingress.note_wire(to, since.into_iter().chain(deaf_since).min());
    }

    fn link(&mut self, peer: WorkerId, direction: Direction, state: LinkState, now: Time) {
        match (direction, &state) {
            (Direction::From, LinkState::Up) => {
                self.deaf_to.remove(&peer);
            }
            (Direction::From, LinkState::Down { .. }) => {
                self.deaf_to.insert(peer, now);
            }
            (Direction::To, _) => {}
        }
        self.watcher.link(peer, direction, &state);
    }
}
