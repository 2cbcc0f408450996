//! What other workers send this one, handed to whom it is for; and what follows when one is lost.
//!
//! One thread owns the ingress (the poller of `net`, or the simulation), so nothing here is locked.
//!
//! **A lost worker.** When an incarnation of a peer is over, this happens, in this order:
//!
//! 1. what waits to be sent to it is thrown away; its credit comes back ([`Ingress::lost`]);
//! 2. the membership is raised, which every step reads before it sends anything;
//! 3. the ackers here are told, and fail the blocks that touched the worker; the spouts here are
//!    told of the ackers that it ran, and fail what those kept ([`Ingress::workers_lost`]).
//!
//! So a tuple that was thrown away was sent by a step that read the membership before, its ack
//! record is stamped with that, and an acker knows the record for one about the worker that was.
//!
//! Links from the lost worker get new accounts: batches of the old incarnation that are still being
//! processed give their credit back to nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::api::SourceMeta;
use crate::clock::Time;
use crate::ids::{Incarnation, LinkId, WorkerId};
use crate::runtime::flow::charge::Charge;
use crate::runtime::flow::credit_returns::CreditReturns;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::link::Link;
use crate::runtime::flow::message::{DataMessage, Incoming, Loss, TreeMessage};
use crate::runtime::flow::outlet::{Outlet, PayloadKind};
use crate::runtime::flow::run_queue::{RunQueue, Urgency};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::remote::address::RemoteExecutor;
use crate::runtime::remote::cycles_elsewhere::CyclesElsewhere;
use crate::runtime::remote::payload::{self, PayloadError};
use crate::topology::plan::ExecutorId;
use crate::tuple::TupleBatch;

/// A consumer that keeps tuples waiting for longer is named in the status that peers get.
const TOLD_AFTER: Duration = Duration::from_millis(50);
/// A payload is a view of the buffer that it was read into, which it keeps alive. Small ones are copied
/// out, so that a slow inbox of small batches does not hold many times their size.
const COPIED_BELOW: usize = 16 << 10;
/// Executors that a status names at most.
const TOLD_MAX: usize = 400;

/// An executor as the ingress knows it.
pub struct Place {
    /// Where it runs.
    pub worker: WorkerId,
    /// Its tasks.
    pub tasks: std::ops::Range<u32>,
    /// Its inbox, if it runs here.
    pub inbox: Option<InboxSender>,
    /// What is shown of it, if it runs elsewhere.
    pub remote: Option<Arc<RemoteExecutor>>,
    /// Whether it is a spout's.
    pub is_spout: bool,
    /// Which acker of the topology it is, if it is one.
    pub acker: Option<usize>,
}

/// The two ends of a link, and its half in this worker, if it has one.
pub struct LinkEnds {
    /// Who sends.
    pub producer: ExecutorId,
    /// Who receives.
    pub consumer: ExecutorId,
    /// Whether it closes a cycle.
    pub feedback: bool,
    /// The half that is here: the producer's, or that of a consumer whose producer is elsewhere.
    pub link: Option<Arc<Link>>,
}

/// Another worker.
pub struct PeerWorker {
    /// The way there.
    pub outlet: Arc<dyn Outlet>,
    /// Credit owed to its current incarnation.
    pub returns: Arc<CreditReturns>,
    /// Shows since when something waits for the wire, as if the wire were a consumer.
    pub wire: Arc<Gauges>,
    /// The same of the outgoing that the peer has to others, as it says.
    pub wires_there: Arc<Gauges>,
}

/// See the [module](self).
pub struct Ingress {
    /// This worker.
    pub me: WorkerId,
    /// All executors of the topology, by id.
    pub places: Vec<Place>,
    /// All links of the topology, by id.
    pub links: Vec<LinkEnds>,
    /// By task and stream: what receivers are told of the origin.
    pub metas: Vec<Vec<Arc<SourceMeta>>>,
    /// The other workers, by id; `None` for this one and for those that have no executors.
    pub peers: Vec<Option<PeerWorker>>,
    /// Which incarnations of them are current.
    pub membership: Arc<AtomicU64>,
    /// The peers in which a cycle of the topology is full.
    pub cycles_full: Arc<CyclesElsewhere>,
    /// The way to the end.
    pub lifecycle: Arc<Lifecycle>,
    /// Who is runnable.
    pub run_queue: Arc<RunQueue>,
    /// Who hears of rest.
    pub coordinator: InboxSender,
}

impl Ingress {
    /// Takes a payload of a peer; it counts as under way here from then on.
    ///
    /// # Errors
    /// When it is malformed or not for this worker; it is then dropped.
    pub fn take(
        &mut self,
        from: WorkerId,
        kind: PayloadKind,
        payload: Bytes,
        now: Time,
    ) -> Result<(), PayloadError> {
        match kind {
            PayloadKind::Data => self.take_data(from, payload, now),
            PayloadKind::Acks => {
                let (acker, records) = payload::decode_acks(payload)?;
                self.deliver(acker, TreeMessage::Acks(records), |place| place.acker.is_some())
            }
            PayloadKind::Outcomes => {
                let (spout, outcomes) = payload::decode_outcomes(payload)?;
                self.deliver(spout, TreeMessage::Outcomes(outcomes), |place| place.is_spout)
            }
        }
    }

    fn deliver(
        &self,
        executor: ExecutorId,
        message: TreeMessage,
        fits: impl Fn(&Place) -> bool,
    ) -> Result<(), PayloadError> {
        let place = self.places.get(executor.index()).filter(|place| fits(place));
        let inbox = place.and_then(|place| place.inbox.as_ref());
        let inbox = inbox.ok_or(unknown("executor", executor.0))?;
        self.lifecycle.rest.sending();
        inbox.send_control(message, Urgency::Now);
        Ok(())
    }

    fn take_data(&self, from: WorkerId, mut payload: Bytes, now: Time) -> Result<(), PayloadError> {
        let header = payload::decode_data_header(&mut payload)?;
        let ends = self.links.get(header.link.0 as usize).ok_or(unknown("link", header.link.0))?;
        let (producer, consumer) = (&self.places[ends.producer.index()], &self.places[ends.consumer.index()]);
        let (Some(inbox), Some(link)) = (&consumer.inbox, &ends.link) else {
            return Err(unknown("link", header.link.0));
        };
        if producer.worker != from || !producer.tasks.contains(&header.source.0) {
            return Err(unknown("source task", header.source.0));
        }
        if header.local_task >= consumer.tasks.len() as u32 {
            return Err(unknown("target task", header.local_task));
        }
        let metas = &self.metas[header.source.index()];
        let meta = metas.get(usize::from(header.stream));
        let meta = Arc::clone(meta.ok_or(unknown("stream", u32::from(header.stream)))?);
        let charge = Charge { tuples: header.tuples as usize, bytes: header.charged as usize };
        let batch = TupleBatch::new(meta.fields.len());
        let (local_task, link) = (header.local_task, Arc::clone(link));
        let incoming = Incoming { batch, meta, local_task, link, charge, sent_at: now };
        if payload.len() < COPIED_BELOW {
            payload = Bytes::copy_from_slice(&payload);
        }
        self.lifecycle.rest.sending();
        inbox.send_data(DataMessage::Encoded { bytes: payload, incoming }, Urgency::Now);
        Ok(())
    }

    /// A peer gives credit back.
    pub fn credit(&self, link: LinkId, tuples: u64, bytes: u64) {
        let half = self.links.get(link.0 as usize).and_then(|ends| ends.link.as_ref());
        if let Some(half) = half
            && half.release(Charge { tuples: tuples as usize, bytes: bytes as usize })
        {
            self.run_queue.wake(half.producer, Urgency::Now);
        }
    }

    /// So many payloads are no longer under way here: a peer took them, or they are lost.
    pub fn settled(&self, payloads: u64) {
        if payloads > 0 && self.lifecycle.rest.processed(payloads as i64) {
            self.coordinator.wake(Urgency::Now);
        }
    }

    /// Payloads to a worker were thrown away, with the credit that was out to it.
    pub fn lost(&self, payloads: u64, credits: &[(LinkId, u64, u64)]) {
        credits.iter().for_each(|(link, tuples, bytes)| self.credit(*link, *tuples, *bytes));
        self.settled(payloads);
    }

    /// These workers have a next incarnation, as this membership is the first to say. What waited
    /// for them must have been thrown away: see [`Ingress::lost`].
    pub fn workers_lost(&mut self, lost: &[(WorkerId, Incarnation)], membership: u64) {
        for (worker, _) in lost {
            self.renew_links_from(*worker);
            for place in self.places.iter().filter(|place| place.worker == *worker) {
                if let Some(remote) = &place.remote {
                    remote.gauges.waiting_since.set(Time::NEVER.0);
                }
            }
            self.cycles_full.note(*worker, false);
        }
        // Release: who reads it sees that everything to the old incarnations is gone.
        self.membership.store(membership, Ordering::Release);
        for (worker, next) in lost {
            let ackers_lost: Vec<usize> = self
                .places
                .iter()
                .filter(|place| place.worker == *worker)
                .filter_map(|place| place.acker)
                .collect();
            for place in &self.places {
                let Some(inbox) = &place.inbox else { continue };
                if place.acker.is_some() {
                    let lost = Loss::Worker { worker: *worker, next: *next, membership };
                    inbox.send_control(lost, Urgency::Now);
                }
                if place.is_spout {
                    for acker in &ackers_lost {
                        inbox.send_control(Loss::Acker { acker: *acker }, Urgency::Now);
                    }
                }
            }
        }
    }

    /// Says that this membership is current, in which nobody was lost.
    pub fn raise_membership(&self, membership: u64) {
        self.membership.fetch_max(membership, Ordering::Release);
    }

    fn renew_links_from(&mut self, worker: WorkerId) {
        let Some(peer) = self.peers.get_mut(worker.index()).and_then(Option::as_mut) else { return };
        peer.returns = Arc::new(CreditReturns::new(Arc::clone(&peer.outlet)));
        for ends in &mut self.links {
            let from_there = self.places[ends.producer.index()].worker == worker;
            if let Some(half) = ends.link.as_mut().filter(|_| from_there) {
                *half = Arc::new(half.renewed(Arc::clone(&peer.returns)));
            }
        }
    }

    /// Totals of credit that a peer should hear of now; see [`CreditReturns::take_due`].
    pub fn take_credits_due(&self, peer: WorkerId, into: &mut Vec<(LinkId, u64, u64)>) {
        if let Some(peer) = self.peer(peer) {
            peer.returns.take_due(into);
        }
    }

    /// Totals of credit that a peer has not heard of.
    pub fn take_credits_untold(&self, peer: WorkerId, into: &mut Vec<(LinkId, u64, u64)>) {
        if let Some(peer) = self.peer(peer) {
            peer.returns.take_untold(into);
        }
    }

    /// Totals of all credit given back to a peer's current incarnation.
    pub fn all_credits(&self, peer: WorkerId, into: &mut Vec<(LinkId, u64, u64)>) {
        if let Some(peer) = self.peer(peer) {
            peer.returns.all(into);
        }
    }

    fn peer(&self, worker: WorkerId) -> Option<&PeerWorker> {
        self.peers.get(worker.index()).and_then(Option::as_ref)
    }

    /// Since when something waits for the wire to a peer; `None`: nothing does.
    pub fn note_wire(&self, peer: WorkerId, waiting_since: Option<Time>) {
        if let Some(peer) = self.peer(peer) {
            let since = waiting_since.unwrap_or(Time::NEVER);
            peer.wire.waiting_since.set(since.0);
        }
    }

    /// What peers are to know: whether a cycle is full here, and who keeps tuples waiting.
    pub fn status(&self, now: Time, out: &mut Vec<u8>) {
        let is_full = |ends: &LinkEnds| {
            let is_ours = self.places[ends.producer.index()].inbox.is_some();
            ends.feedback && is_ours && ends.link.as_ref().is_some_and(|link| !link.has_credit())
        };
        out.push(u8::from(self.links.iter().any(is_full)));
        let outgoing = self.peers.iter().flatten().map(|peer| peer.wire.waiting(now));
        let longest = outgoing.max().unwrap_or_default();
        out.extend_from_slice(&u32::try_from(longest.as_millis()).unwrap_or(u32::MAX).to_le_bytes());
        let here = self.places.iter().filter_map(|place| place.inbox.as_ref());
        for inbox in here.filter(|inbox| inbox.gauges.waiting(now) > TOLD_AFTER).take(TOLD_MAX) {
            out.extend_from_slice(&inbox.executor.0.to_le_bytes());
            let waiting = u32::try_from(inbox.gauges.waiting(now).as_millis()).unwrap_or(u32::MAX);
            out.extend_from_slice(&waiting.to_le_bytes());
        }
    }

    /// A peer's status.
    pub fn note_status(&self, from: WorkerId, mut status: &[u8], now: Time) {
        let (Ok(full), Ok(outgoing)) = (status.try_get_u8(), status.try_get_u32_le()) else { return };
        self.cycles_full.note(from, full != 0);
        let ago = |millis: u32| Time(now.0.saturating_sub(u64::from(millis) * 1_000_000));
        if let Some(peer) = self.peer(from) {
            let since = if outgoing == 0 { Time::NEVER } else { ago(outgoing) };
            peer.wires_there.waiting_since.set(since.0);
        }
        let theirs = || self.places.iter().filter(|place| place.worker == from);
        let mut waiting = std::collections::BTreeMap::new();
        while let (Ok(executor), Ok(millis)) = (status.try_get_u32_le(), status.try_get_u32_le()) {
            waiting.insert(executor, ago(millis));
        }
        for remote in theirs().filter_map(|place| place.remote.as_ref()) {
            let since = waiting.get(&remote.executor.0).copied().unwrap_or(Time::NEVER);
            remote.gauges.waiting_since.set(since.0);
        }
    }
}

fn unknown(what: &'static str, number: u32) -> PayloadError {
    PayloadError::Unknown { what, number: u64::from(number) }
}
