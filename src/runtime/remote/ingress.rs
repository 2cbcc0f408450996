//! Delivers what other workers send this one to its executors, and notifies executors when a worker is
//! lost.
//!
//! One thread owns the ingress (the poller of `net`, or the simulation), so nothing here is locked.
//!
//! **A lost worker.** When an incarnation of a peer is over, the following happens in this order:
//!
//! 1. Payloads that wait to be sent to it are thrown away, and their credit is released
//!    ([`Ingress::lost`]).
//! 2. The membership is raised. Every step reads the membership before it sends anything.
//! 3. The ackers of this worker are notified, and end the blocks of which tuples were sent to the lost
//!    worker. The spouts of this worker are notified of each acker that the lost worker ran, and fail
//!    the blocks that the acker kept ([`Ingress::workers_lost`]).
//!
//! So if a tuple was thrown away, the step that sent it had read an older membership. The ack record of
//! that step is stamped with the older membership, so the acker recognises that the record means the lost
//! incarnation, even if it arrives after 3.
//!
//! Links from the lost worker get new accounts. Batches of the old incarnation that are still being
//! processed release their credit into the old accounts, which nobody reads any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::api::SourceMeta;
use crate::clock::Time;
use crate::ids::{Incarnation, LinkId, WorkerId};
use crate::runtime::flow::charge::LinkCredit;
use crate::runtime::flow::credit_returns::CreditReturns;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::link::Link;
use crate::runtime::flow::message::{DataMessage, Incoming, Loss, TaskBatch, TreeMessage};
use crate::runtime::flow::outlet::{Outlet, PayloadKind};
use crate::runtime::flow::run_queue::{RunQueue, Urgency};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::remote::address::RemoteExecutor;
use crate::runtime::remote::cycles_elsewhere::CyclesElsewhere;
use crate::runtime::remote::payload::{self, PayloadError};
use crate::topology::plan::ExecutorId;
use crate::tuple::TupleBatch;

/// An executor that keeps tuples waiting for longer than this is listed in the status sent to peers.
const LISTED_AFTER: Duration = Duration::from_millis(50);
/// A payload is a view of the buffer that it was read into, and keeps the whole buffer alive. A payload
/// smaller than this is copied, so that small batches in a slow inbox do not keep large buffers alive.
const COPIED_BELOW: usize = 16 << 10;
/// The most executors that a status lists.
const LISTED_MAX: usize = 400;

/// What the ingress needs of an executor.
pub struct Place {
    /// Where it runs.
    pub worker: WorkerId,
    /// Its tasks.
    pub tasks: std::ops::Range<u32>,
    /// Its inbox, if it runs here.
    pub inbox: Option<InboxSender>,
    /// Its address and gauges, if it runs in another worker.
    pub remote: Option<Arc<RemoteExecutor>>,
    /// Whether it is an executor of a spout.
    pub is_spout: bool,
    /// Which acker of the topology it is, if it is one.
    pub acker: Option<usize>,
    /// Whether it lets those behind it know how far event time is. Those of a lost worker have to learn it once more.
    pub has_event_time: bool,
}

/// The two ends of a link, and its half in this worker, if it has one.
pub struct LinkEnds {
    /// The executor that sends.
    pub producer: ExecutorId,
    /// The executor that receives.
    pub consumer: ExecutorId,
    /// Whether it closes a cycle.
    pub feedback: bool,
    /// The half in this worker: the producer's, or the consumer's if the producer is in another worker.
    /// A consumer's half is replaced when the producer's worker is lost.
    pub link: Option<Arc<Link>>,
}

/// Another worker.
pub struct PeerWorker {
    /// The way to that worker.
    pub outlet: Arc<dyn Outlet>,
    /// Credit to return to its current incarnation. Replaced when the worker is lost.
    pub returns: Arc<CreditReturns>,
    /// Shows since when a payload to this peer has waited to be written, as if the connection were a
    /// consumer. Written by [`Ingress::note_wire`].
    pub wire: Arc<Gauges>,
    /// The same for the connections of the peer, as its last status reported.
    pub wires_there: Arc<Gauges>,
}

/// See the [module](self).
pub struct Ingress {
    /// All executors of the topology, by id.
    pub places: Vec<Place>,
    /// All links of the topology, by id.
    pub links: Vec<LinkEnds>,
    /// By task and stream: the source of a tuple, as receivers see it.
    pub metas: Vec<Vec<Arc<SourceMeta>>>,
    /// The other workers, by id; `None` for this one and for those that have no executors.
    pub peers: Vec<Option<PeerWorker>>,
    /// Which incarnations of the workers are current. Written here only; executors read it at the begin of
    /// each step.
    pub membership: Arc<AtomicU64>,
    /// The peers in which a cycle of the topology is full.
    pub cycles_full: Arc<CyclesElsewhere>,
    /// Counts what is outstanding in this worker.
    pub lifecycle: Arc<Lifecycle>,
    /// The runnable executors of this worker.
    pub run_queue: Arc<RunQueue>,
    /// Woken when nothing is outstanding in this worker any more.
    pub coordinator: InboxSender,
}

impl Ingress {
    /// Takes a payload of a peer and delivers it. It counts as outstanding in this worker from then on.
    ///
    /// # Errors
    /// When it is malformed or not for this worker; then it is dropped.
    pub fn take(
        &mut self,
        from: WorkerId,
        kind: PayloadKind,
        payload: Bytes,
        now: Time,
    ) -> Result<(), PayloadError> {
        match kind {
            PayloadKind::Data => self.take_data(from, payload, now),
            PayloadKind::Barrier => {
                let (link, barrier) = payload::decode_barrier(payload)?;
                self.deliver_mark(from, link, |link| DataMessage::Barrier { link, barrier, sent_at: now })
            }
            PayloadKind::Time => {
                let (link, mark) = payload::decode_time(payload)?;
                self.deliver_mark(from, link, |link| DataMessage::Time { link, mark, sent_at: now })
            }
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

    /// Checks the header of a batch against the plan, and delivers the batch still encoded. A header that
    /// passes names a link between the two workers, a task of its producer and a task of its consumer.
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
        let charge = header.credit().charge();
        let batch = TupleBatch::new(meta.fields.len());
        let (local_task, link) = (header.local_task, Arc::clone(link));
        let input = TaskBatch { batch, meta, local_task };
        let incoming = Incoming { input, link, charge, sent_at: now };
        if payload.len() < COPIED_BELOW {
            payload = Bytes::copy_from_slice(&payload);
        }
        self.lifecycle.rest.sending();
        inbox.send_data(DataMessage::Encoded { bytes: payload, incoming }, Urgency::Now);
        Ok(())
    }

    /// Delivers what is no batch, in its place among the batches of its link.
    fn deliver_mark(
        &self,
        from: WorkerId,
        id: LinkId,
        mark: impl FnOnce(Arc<Link>) -> DataMessage,
    ) -> Result<(), PayloadError> {
        let ends = self.links.get(id.0 as usize).ok_or(unknown("link", id.0))?;
        let inbox = self.places[ends.consumer.index()].inbox.as_ref();
        let is_theirs = self.places[ends.producer.index()].worker == from;
        let (Some(inbox), Some(link)) = (inbox.filter(|_| is_theirs), &ends.link) else {
            return Err(unknown("link", id.0));
        };
        self.lifecycle.rest.sending();
        inbox.send_data(mark(Arc::clone(link)), Urgency::Now);
        Ok(())
    }

    /// A peer returned credit: releases it, and wakes the producer if it waits for that.
    pub fn credit(&self, credit: LinkCredit) {
        let half = self.links.get(credit.link.0 as usize).and_then(|ends| ends.link.as_ref());
        if let Some(half) = half
            && half.release(credit.charge())
        {
            self.run_queue.wake(half.producer, Urgency::Now);
        }
    }

    /// This many payloads are no longer outstanding in this worker: a peer took them, or they are lost.
    pub fn settled(&self, payloads: u64) {
        if payloads > 0 && self.lifecycle.rest.processed(payloads as i64) {
            self.coordinator.wake(Urgency::Now);
        }
    }

    /// Payloads to a lost worker were thrown away. `credits` is all credit that was out to that worker.
    pub fn lost(&self, payloads: u64, credits: &[LinkCredit]) {
        credits.iter().for_each(|credit| self.credit(*credit));
        self.settled(payloads);
    }

    /// These workers are lost. Each comes with its next incarnation, and `membership` is the first that
    /// contains it. Payloads to the old incarnations must have been thrown away: see [`Ingress::lost`].
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
        // Release: a step that reads this membership also sees that the payloads to the old incarnations
        // were thrown away.
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
                if place.acker.is_some() || place.has_event_time {
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

    /// Raises the membership to one in which no worker was lost.
    pub fn raise_membership(&self, membership: u64) {
        self.membership.fetch_max(membership, Ordering::Release);
    }

    /// Replaces the accounts and the consumers' halves of all links from a lost worker. Batches that hold
    /// credit of the old halves keep them alive until they are processed.
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

    /// Totals of credit to send to a peer now; see [`CreditReturns::take_due`].
    pub fn take_credits_due(&self, peer: WorkerId, into: &mut Vec<LinkCredit>) {
        if let Some(peer) = self.peer(peer) {
            peer.returns.take_due(into);
        }
    }

    /// Totals of credit that were not sent to a peer yet.
    pub fn take_credits_unsent(&self, peer: WorkerId, into: &mut Vec<LinkCredit>) {
        if let Some(peer) = self.peer(peer) {
            peer.returns.take_unsent(into);
        }
    }

    /// Totals of all credit returned to a peer's current incarnation.
    pub fn all_credits(&self, peer: WorkerId, into: &mut Vec<LinkCredit>) {
        if let Some(peer) = self.peer(peer) {
            peer.returns.all(into);
        }
    }

    fn peer(&self, worker: WorkerId) -> Option<&PeerWorker> {
        self.peers.get(worker.index()).and_then(Option::as_ref)
    }

    /// Notes since when a payload has waited to be written to a peer; `None` if none waits.
    pub fn note_wire(&self, peer: WorkerId, waiting_since: Option<Time>) {
        if let Some(peer) = self.peer(peer) {
            let since = waiting_since.unwrap_or(Time::NEVER);
            peer.wire.waiting_since.set(since.0);
        }
    }

    /// Writes the status that peers get: whether a cycle is full in this worker, how long a payload has
    /// waited to be written, and which executors keep tuples waiting, and for how long.
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
        for inbox in here.filter(|inbox| inbox.gauges.waiting(now) > LISTED_AFTER).take(LISTED_MAX) {
            out.extend_from_slice(&inbox.executor.0.to_le_bytes());
            let waiting = u32::try_from(inbox.gauges.waiting(now).as_millis()).unwrap_or(u32::MAX);
            out.extend_from_slice(&waiting.to_le_bytes());
        }
    }

    /// Takes the status of a peer.
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
