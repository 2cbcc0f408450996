//! What stands between the wire and the runtime: upcalls of the mesh become messages of executors.
//!
//! The order in which a lost worker is dealt with is the runtime's (`runtime::remote::ingress`); the
//! driver of the mesh keeps it by calling [`Bridge::members_changed`] once the mesh and the queues in
//! front of it have thrown away what was for the old incarnations.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Application, Direction, LinkState, Mesh, PayloadError, PayloadKind};
use crate::clock::Time;
use crate::ids::{LinkId, WorkerId};
use crate::runtime::remote::ingress::Ingress;

/// Who hears of links that come and go: the log, and whoever started the worker.
pub trait LinkWatcher: Send {
    /// A link with a peer changed its state.
    fn link(&mut self, peer: WorkerId, direction: Direction, state: &LinkState);
}

/// Nobody.
impl LinkWatcher for () {
    fn link(&mut self, _peer: WorkerId, _direction: Direction, _state: &LinkState) {}
}

/// The runtime, as the mesh sees it.
pub struct Bridge {
    ingress: Ingress,
    watcher: Box<dyn LinkWatcher>,
    /// Peers whose life ended since the members last changed.
    lost: Vec<WorkerId>,
    /// Payloads refused, by peer: see [`Bridge::refused`].
    refused: u64,
    /// By peer, since when payloads wait without any being taken.
    waiting: BTreeMap<WorkerId, Time>,
    now: Time,
}

impl Bridge {
    /// A bridge to the executors of this worker.
    pub fn new(ingress: Ingress, watcher: Box<dyn LinkWatcher>) -> Bridge {
        Bridge { ingress, watcher, lost: Vec::new(), refused: 0, waiting: BTreeMap::new(), now: Time::ZERO }
    }

    /// Payloads that made no sense.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Payloads that never came to the mesh, because the peer they were for is lost.
    pub fn thrown_away(&mut self, payloads: u64, credits: &[(LinkId, u64, u64)]) {
        self.ingress.lost(payloads, credits);
    }

    /// The mesh was told of new members, and everything for lost ones is gone.
    pub fn members_changed(&mut self, version: u64) {
        let lost = std::mem::take(&mut self.lost);
        lost.iter().for_each(|worker| drop(self.waiting.remove(worker)));
        if lost.is_empty() {
            self.ingress.raise_membership(version);
        } else {
            self.ingress.workers_lost(&lost, version);
        }
    }

    /// Looks at how long payloads have been waiting for the wire; to be called after each tick. While
    /// they do, the tree clocks of spouts stand still.
    pub fn look(&mut self, mesh: &Mesh, now: Time) {
        self.now = now;
        for peer in self.ingress.peer_ids() {
            let waits = mesh.untaken(peer).0 > 0;
            let since = waits.then(|| *self.waiting.entry(peer).or_insert(now));
            if since.is_none() {
                self.waiting.remove(&peer);
            }
            self.ingress.note_wire(peer, since);
        }
    }

    /// Whether peers should hear of this worker's state before the next heartbeat.
    pub fn has_news(&self, now: Time) -> bool {
        self.ingress.has_news(now)
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
        self.ingress.take(from, kind, payload, now).map_err(|error| {
            self.refused += 1;
            PayloadError(error.to_string())
        })
    }

    fn credit(&mut self, _to: WorkerId, link: LinkId, tuples: u64, bytes: u64) {
        self.ingress.credit(link, tuples, bytes);
    }

    fn settled(&mut self, to: WorkerId, frames: u64) {
        if frames > 0 {
            // What still waits has waited since then at the longest, as far as anybody can tell.
            self.waiting.remove(&to);
        }
        self.ingress.settled(frames);
    }

    fn lost(&mut self, to: WorkerId, frames: u64, credits: &[(LinkId, u64, u64)]) {
        self.lost.push(to);
        self.ingress.lost(frames, credits);
    }

    fn status(&mut self, from: WorkerId, status: &[u8], now: Time) {
        self.ingress.note_status(from, status, now);
    }

    fn own_status(&mut self, _to: WorkerId, out: &mut Vec<u8>) {
        self.ingress.status(self.now, out);
    }

    fn credits(&mut self, to: WorkerId, out: &mut Vec<(LinkId, u64, u64)>) {
        self.ingress.take_credits(to, out);
    }

    fn all_credits(&mut self, to: WorkerId, out: &mut Vec<(LinkId, u64, u64)>) {
        self.ingress.all_credits(to, out);
    }

    fn link(&mut self, peer: WorkerId, direction: Direction, state: LinkState, _now: Time) {
        self.watcher.link(peer, direction, &state);
    }
}
