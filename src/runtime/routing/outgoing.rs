//! What all subscriptions of a task share while its tuples are on their way out.
//!
//! An executor has one list of the executors that it sends to, with one link each, whatever the number of
//! streams and tasks behind it.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

use crate::api::{FailureCause, SourceMeta};
use crate::clock::Time;
use crate::event_time::TimeMark;
use crate::ids::{RootId, WorkerSet};
use crate::runtime::acking::ack_buffer::AckBuffer;
use crate::runtime::acking::records::FailureReport;
use crate::runtime::audit::Audit;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::charge::Charge;
use crate::runtime::flow::link::Link;
use crate::runtime::flow::message::{DataMessage, Incoming, TaskBatch};
use crate::runtime::flow::outlet::{HEADROOM, PayloadKind};
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::lifecycle::rest::Rest;
use crate::runtime::remote::address::{Address, RemoteExecutor};
use crate::runtime::remote::payload::{DataHeader, encode_barrier, encode_data, encode_time};
use crate::tuple::{Anchor, Attempt, MessageIndex, Run, TupleBatch};

/// An executor that this one sends to.
pub struct OutLink {
    /// The address of that executor.
    pub address: Address,
    /// The credit for batches to it.
    pub link: Arc<Link>,
}

/// What all subscriptions of a task share while tuples are on their way out.
pub struct Outgoing {
    /// The executors to which the executor of the task sends. All its tasks share the list, so that each
    /// link stands in it once.
    pub links: Arc<[OutLink]>,
    /// Edges created and consumed in this step.
    pub acks: AckBuffer,
    /// The generator of edge ids.
    pub rng: StdRng,
    /// The time of the step.
    pub now: Time,
    /// The membership that the step read when it began. Tuples that the step sends to other workers go to
    /// the incarnations of this membership, or to later ones.
    pub membership: u64,
    /// Whether user code is not to be called again before the executor has looked: a batch that was sent took
    /// the last credit of its link, or a batch waits to be handed over. Set by [`Outgoing::send`] and
    /// [`Outgoing::hand_over`]; cleared by `Emitter::is_blocked` when no stream lacks credit.
    pub must_pause: bool,
    /// Batches for the bolt that is chained behind the executor. The executor hands them over and empties the
    /// list before the step ends.
    pub chained: Vec<TaskBatch>,
    /// Copies sent in this step.
    pub transferred: u64,
    /// Lost tuples of this step that belong to no message.
    pub unanchored: u64,
    /// Faults of custom groupings, and batches that could not be sent. The emitter reports and clears them.
    pub faults: Vec<String>,
    /// Counts what executors of the whole worker have sent each other and not yet processed.
    pub rest: Arc<Rest>,
    /// In a simulation: counts open tuples independently of the ackers.
    pub audit: Option<Arc<Audit>>,
}

impl Outgoing {
    /// A random edge id, never 0. The generator is not predictable.
    #[inline]
    pub fn draw_edge(&mut self) -> u64 {
        loop {
            let edge = self.rng.next_u64();
            if edge != 0 {
                return edge;
            }
        }
    }

    /// A new edge of the tree, noted in the ack buffer.
    #[inline]
    pub fn create_edge(&mut self, root: RootId) -> u64 {
        if !root.is_tracked() {
            return 0;
        }
        let edge = self.draw_edge();
        self.acks.xor(root, edge);
        edge
    }

    /// The same for a tuple to a task in `touched`, which is empty if the task is in this worker.
    #[inline]
    pub fn create_edge_to(&mut self, root: RootId, touched: WorkerSet) -> u64 {
        if touched != WorkerSet::NONE && root.is_tracked() {
            self.acks.touch(root, touched);
        }
        self.create_edge(root)
    }

    /// Takes an edge of the tree and creates another in its place.
    pub fn renew_edge(&mut self, root: RootId, edge: &mut u64) {
        if root.is_tracked() {
            self.acks.xor(root, *edge);
            *edge = self.create_edge(root);
        }
    }

    /// Takes a batch for a task of the bolt that is chained behind the executor. Its tuples have no edges, as
    /// in the stage, and need none: they are executed in this step, whose ack record is sent after that.
    pub fn hand_over(&mut self, local_task: u32, meta: &Arc<SourceMeta>, batch: TupleBatch) {
        self.transferred += batch.len() as u64;
        if let Some(audit) = &self.audit {
            audit.created(&batch);
        }
        self.chained.push(TaskBatch { batch, meta: Arc::clone(meta), local_task });
        // No link is here to become full, so a batch at a time bounds the memory.
        self.must_pause = true;
    }

    /// Charges the link for a batch and sends it. The batch is sent even without credit; the executor sees
    /// `must_pause` and takes no more input.
    pub fn send(
        &mut self,
        out_link: usize,
        local_task: u32,
        meta: &Arc<SourceMeta>,
        batch: TupleBatch,
        urgency: Urgency,
    ) {
        let OutLink { address, link } = &self.links[out_link];
        let charge = Charge { tuples: batch.len(), bytes: batch.charge() };
        self.transferred += charge.tuples as u64;
        if !link.charge(charge) {
            self.must_pause = true;
        }
        self.rest.sending();
        match address {
            Address::Here(inbox) => {
                let (meta, link, sent_at) = (Arc::clone(meta), Arc::clone(link), self.now);
                let input = TaskBatch { batch, meta, local_task };
                let incoming = Incoming { input, link, charge, sent_at };
                inbox.send_data(DataMessage::Batch(incoming), urgency);
            }
            Address::There(remote) => {
                let remote = Arc::clone(remote);
                self.send_away(&remote, out_link, local_task, meta, &batch, charge);
            }
        }
    }

    /// Sends a barrier on all links. Everything that belongs before it must have been sent.
    pub fn send_barrier(&mut self, barrier: Barrier) {
        let sent_at = self.now;
        self.send_mark(
            PayloadKind::Barrier,
            |link| DataMessage::Barrier { link, barrier, sent_at },
            |link| encode_barrier(link.id, barrier),
        );
    }

    /// Sends on all links how far event time is. Everything that belongs before it must have been sent.
    pub fn send_time(&mut self, mark: TimeMark) {
        let sent_at = self.now;
        self.send_mark(
            PayloadKind::Time,
            |link| DataMessage::Time { link, mark, sent_at },
            |link| encode_time(link.id, mark),
        );
    }

    fn send_mark(
        &mut self,
        kind: PayloadKind,
        here: impl Fn(Arc<Link>) -> DataMessage,
        away: impl Fn(&Link) -> Vec<u8>,
    ) {
        for OutLink { address, link } in self.links.iter() {
            self.rest.sending();
            match address {
                Address::Here(inbox) => inbox.send_data(here(Arc::clone(link)), Urgency::WhenDone),
                Address::There(remote) => remote.outlet.send(kind, away(link), None, self.now),
            }
        }
    }

    /// Sends a batch to a task of another worker.
    fn send_away(
        &mut self,
        remote: &RemoteExecutor,
        out_link: usize,
        local_task: u32,
        meta: &SourceMeta,
        batch: &TupleBatch,
        charge: Charge,
    ) {
        let link = self.links[out_link].link.id;
        let (tuples, charged) = (charge.tuples as u32, u32::try_from(charge.bytes).unwrap_or(u32::MAX));
        let stream = meta.stream_index;
        let header = DataHeader { link, source: meta.task, stream, local_task, tuples, charged };
        let refusal = match encode_data(&header, batch) {
            Ok(bytes) if bytes.len() - HEADROOM <= remote.outlet.payload_max() => {
                let credit = Some(header.credit());
                remote.outlet.send(PayloadKind::Data, bytes, credit, self.now);
                return;
            }
            Ok(bytes) => {
                let max = remote.outlet.payload_max();
                format!(
                    "{} bytes for `{}` are more than [net] frame_max ({max}) allows",
                    bytes.len(),
                    remote.component
                )
            }
            Err(error) => format!("a tuple cannot be sent to `{}`: {error}", remote.component),
        };
        self.cannot_send(out_link, batch, charge, refusal);
    }

    /// Fails the messages of a batch that cannot be encoded or is too large for a frame, and takes its
    /// edges, as if the receiver had failed every tuple.
    #[cold]
    fn cannot_send(&mut self, out_link: usize, batch: &TupleBatch, charge: Charge, why: String) {
        let mut anchors = AnchorWalk::new(&batch.runs, &batch.msgs, &batch.extras);
        (0..batch.len()).for_each(|_| anchors.next().fail(self));
        let edges = batch.runs.iter().map(|run| (run.root, run.edge));
        let extras = batch.extras.iter().map(|(_, anchor)| (anchor.root, anchor.edge));
        for (root, edge) in edges.chain(extras).filter(|(root, _)| root.is_tracked()) {
            self.acks.xor(root, edge);
        }
        if let Some(audit) = &self.audit {
            audit.gone(batch);
        }
        self.faults.push(why);
        // Nobody must be woken: the producer of this link is the executor that runs now.
        let _ = self.links[out_link].link.release(charge);
        self.rest.not_sent();
    }
}

/// The anchors of one tuple of a stage.
pub struct TupleAnchors<'a> {
    /// `None` in an untracked topology.
    pub first: Option<(RootId, MessageIndex, Attempt)>,
    pub extras: &'a [(u32, Anchor)],
}

impl TupleAnchors<'_> {
    /// Fails the messages of a tuple that cannot be sent.
    #[cold]
    pub fn fail(&self, outgoing: &mut Outgoing) {
        let extras = self.extras.iter().map(|(_, anchor)| (anchor.root, anchor.message, anchor.attempt));
        let mut is_anchored = false;
        for (root, message, attempt) in self.first.into_iter().chain(extras) {
            if root.is_tracked() {
                is_anchored = true;
                let report = FailureReport { cause: FailureCause::Panicked, is_final: attempt.is_last() };
                outgoing.acks.fail(root, message, report);
            }
        }
        outgoing.unanchored += u64::from(!is_anchored);
    }
}

/// Walks the anchors of a batch, tuple by tuple.
pub struct AnchorWalk<'a> {
    runs: std::slice::Iter<'a, Run>,
    run: Option<&'a Run>,
    left: u32,
    msgs: std::slice::Iter<'a, MessageIndex>,
    extras: &'a [(u32, Anchor)],
    tuple: u32,
}

impl<'a> AnchorWalk<'a> {
    pub fn new(runs: &'a [Run], msgs: &'a [MessageIndex], extras: &'a [(u32, Anchor)]) -> AnchorWalk<'a> {
        AnchorWalk { runs: runs.iter(), run: None, left: 0, msgs: msgs.iter(), extras, tuple: 0 }
    }

    #[inline]
    pub fn next(&mut self) -> TupleAnchors<'a> {
        let Some(message) = self.msgs.next() else {
            return TupleAnchors { first: None, extras: &[] };
        };
        if self.left == 0 {
            self.run = self.runs.next();
            self.left = self.run.map_or(0, |run| run.len);
        }
        self.left = self.left.saturating_sub(1);
        let first = self.run.map(|run| (run.root, *message, run.attempt));
        let tuple = self.tuple;
        self.tuple += 1;
        if self.extras.is_empty() {
            return TupleAnchors { first, extras: &[] };
        }
        let own = self.extras.iter().take_while(|(of, _)| *of == tuple).count();
        let (extras, rest) = self.extras.split_at(own);
        self.extras = rest;
        TupleAnchors { first, extras }
    }
}
