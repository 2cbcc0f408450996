//! The sending half of a task: `api::Outputs` calls it for each emitted tuple, and the executor at the
//! end of each step.
//!
//! A step must end in this order:
//!
//! 1. Stages are routed. This draws the edges of all emitted tuples.
//! 2. If the executor pauses, batches under construction are sent.
//! 3. Blocks are closed, and ack records are sent, as one message per acker. They come after 1, because
//!    a record must hold the edges of everything that was emitted in the step.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::api::{
    Chosen, FailureCause, OpenMessages, OutputCollector, OutputState, SourceMeta, Stage, TaskError,
};
use crate::clock::Time;
use crate::ids::{MessageId, RootId, TaskId};
use crate::logging::panics::guarded;
use crate::runtime::acking::ack_buffer::AckerTable;
use crate::runtime::acking::pending::Pending;
use crate::runtime::acking::records::FailureReport;
use crate::runtime::errors::ErrorReporter;
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::message::{EndRequest, TreeMessage};
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::remote::address::Address;
use crate::runtime::routing::emitted_times::EmittedTimes;
use crate::runtime::routing::outgoing::Outgoing;
use crate::runtime::routing::subscription::Subscription;
use crate::tuple::{Anchor, Timestamp, TupleBatch, Value};

/// An output stream with its subscribers.
pub struct StreamOut {
    /// The source of its tuples, as receivers see it.
    pub meta: Arc<SourceMeta>,
    /// Its subscribers.
    pub subscriptions: Vec<Subscription>,
}

/// The sending half of a task.
pub struct Emitter {
    /// One per stage, in the same order.
    pub streams: Vec<StreamOut>,
    /// The links to other executors, and the ack records of the step.
    pub outgoing: Outgoing,
    /// The ackers of the topology; empty when nothing is tracked.
    pub ackers: Vec<Address>,
    /// Which acker keeps which tree.
    pub acker_table: Arc<AckerTable>,
    /// Of a spout in a tracked topology: its open messages.
    pub pending: Option<Pending>,
    /// Of a spout in a tracked topology: blocks that were complete when they were closed.
    pub settled: Vec<RootId>,
    /// Where errors of user code are reported.
    pub errors: ErrorReporter,
    /// The executor that ends the topology.
    pub coordinator: InboxSender,
    /// The tree time of the step.
    pub tree_now: Time,
    /// Tuples that failed in this step while they were executed.
    pub failed_now: u64,
    /// Tuples that had been held and were acked in this step.
    pub acked_later: u64,
    /// Tuples that had been held and failed in this step.
    pub failed_later: u64,
    /// Lost tuples of this step that belong to no message.
    pub unanchored_now: u64,
    /// Of a bolt that has a limit of its own: how often messages that it fails are replayed.
    pub max_replays: Option<u32>,
    /// Whether what the bolt fails becomes a dead letter at once, and is not replayed.
    pub letters_at_once: bool,
    /// Where the component has `event_time`: reads the times of what is emitted.
    pub times: Option<EmittedTimes>,
}

impl Emitter {
    /// Routes what all stages hold.
    pub fn route_stages(&mut self, state: &mut OutputState) {
        for (index, stage) in state.stages.iter_mut().enumerate() {
            if !stage.batch.is_empty() {
                self.route(index, stage);
            }
        }
    }

    /// Sends all batches under construction.
    pub fn flush(&mut self) {
        for stream in &mut self.streams {
            for subscription in &mut stream.subscriptions {
                subscription.flush(&stream.meta, &mut self.outgoing);
            }
        }
    }

    /// Drops everything that the task emitted, holds and keeps. Dropping it may call user code that panics.
    pub fn drop_all(&mut self, state: &mut OutputState, now: Time) {
        if let Err(panic) = guarded(|| state.clear()) {
            self.errors.report_text(&format!("dropping its state {panic}"), now);
        }
        for stream in &mut self.streams {
            stream.subscriptions.iter_mut().for_each(Subscription::clear);
        }
        self.outgoing.chained.clear();
    }

    /// Closes blocks and sends the ack records. Stages must have been routed.
    pub fn send_acks(&mut self) {
        if self.ackers.is_empty() {
            return;
        }
        if let Some(pending) = &mut self.pending {
            let (acks, settled) = (&mut self.outgoing.acks, &mut self.settled);
            pending.init_blocks(self.tree_now, |root| match acks.is_settled(root) {
                true => settled.push(root),
                false => acks.init(root),
            });
        }
        if self.outgoing.acks.is_empty() {
            return;
        }
        for (acker, mut records) in self.outgoing.acks.take(&self.acker_table) {
            records.membership = self.outgoing.membership;
            self.outgoing.rest.sending();
            let acks = TreeMessage::Acks(records);
            self.ackers[acker].send_tree_message(acks, Urgency::WhenDone, self.outgoing.now);
        }
    }

    /// Whether some stream may lack credit. If so, its full links are marked, and a release of credit will
    /// wake this executor. Cheap while no link was found full.
    pub fn is_blocked(&mut self) -> bool {
        if !self.outgoing.must_pause {
            return false;
        }
        let outgoing = &self.outgoing;
        let blocked = self.streams.iter().any(|stream| {
            stream.subscriptions.iter().any(|subscription| subscription.waits_for_credit(outgoing))
        });
        self.outgoing.must_pause = blocked;
        blocked
    }

    /// Hands the tuples of a stage to all subscriptions of its stream, and leaves the stage empty. The last
    /// subscription gets the batch itself; each of the others gets a copy that shares the values.
    fn spread_stage(
        &mut self,
        index: usize,
        stage: &mut Stage,
        take: impl Fn(usize, &mut Subscription, TupleBatch, &[TaskId], &Arc<SourceMeta>, &mut Outgoing),
    ) {
        let StreamOut { meta, subscriptions } = &mut self.streams[index];
        if let Some(times) = &mut self.times {
            let (errors, now) = (&self.errors, self.outgoing.now);
            times.observe(index, &stage.batch, |why| errors.report_text(&why, now));
        }
        let empty = stage.empty_like();
        let mut batch = std::mem::replace(&mut stage.batch, empty);
        if let Some((last, earlier)) = subscriptions.split_last_mut() {
            let position = earlier.len();
            for (position, subscription) in earlier.iter_mut().enumerate() {
                batch.rows.share();
                take(position, subscription, batch.clone(), &stage.direct, meta, &mut self.outgoing);
            }
            take(position, last, batch, &stage.direct, meta, &mut self.outgoing);
        }
        stage.direct.clear();
        for fault in self.outgoing.faults.drain(..) {
            self.errors.report_text(&fault, self.outgoing.now);
        }
    }

    /// Whether a tuple with this anchor is not replayed any more if it fails here: its message was replayed
    /// as often as allowed, or the tuple belongs to no message, or it becomes a dead letter at once. A tuple that
    /// was held and dropped, for example with an instance that panicked on another one, may be well, so it does
    /// not become one at once.
    pub fn is_final(&self, anchor: &Anchor, cause: FailureCause) -> bool {
        match self.max_replays {
            _ if !anchor.root.is_tracked() => true,
            _ if self.letters_at_once && cause != FailureCause::Abandoned => true,
            Some(max) => anchor.attempt.replays() >= max,
            None => anchor.attempt.is_last(),
        }
    }

    /// Fails the messages that a tuple is anchored to. If there are none, the tuple is lost, and counted.
    pub fn fail_messages(&mut self, anchors: impl Iterator<Item = Anchor>, cause: FailureCause) {
        let mut is_anchored = false;
        for anchor in anchors.filter(|anchor| anchor.root.is_tracked()) {
            is_anchored = true;
            let report = FailureReport { cause, is_final: self.is_final(&anchor, cause) };
            self.outgoing.acks.fail(anchor.root, anchor.message, report);
        }
        self.unanchored_now += u64::from(!is_anchored);
    }

    /// Reports an error of a call that has no input tuple. If the error is that an emitted tuple was
    /// refused, that tuple is lost, and counted.
    pub fn report_loss(&mut self, error: &TaskError) {
        self.unanchored_now += u64::from(error.is_refused_emit());
        self.errors.report(error, self.outgoing.now);
    }

    /// Takes the count of lost tuples that belong to no message.
    pub fn take_unanchored(&mut self) -> u64 {
        std::mem::take(&mut self.unanchored_now) + std::mem::take(&mut self.outgoing.unanchored)
    }

    /// Notes that the edge of this anchor is taken. Calls no hook and counts nothing.
    pub fn consume(&mut self, anchor: &Anchor) {
        if anchor.root.is_tracked() {
            self.outgoing.acks.xor(anchor.root, anchor.edge);
            if let Some(audit) = &self.outgoing.audit {
                audit.change(anchor.root, -1);
            }
        }
    }

    /// The greatest time that was emitted of each split, for a checkpoint.
    pub fn latest_times(&self) -> BTreeMap<SmolStr, Timestamp> {
        self.times.as_ref().map(|times| times.source.latest()).unwrap_or_default()
    }

    /// Whether a stream has subscribers.
    pub fn has_subscribers(&self, index: usize) -> bool {
        !self.streams[index].subscriptions.is_empty()
    }
}

impl OutputCollector for Emitter {
    fn route(&mut self, index: usize, stage: &mut Stage) {
        self.spread_stage(index, stage, |_, subscription, batch, direct, meta, outgoing| {
            subscription.take_stage(batch, direct, meta, outgoing);
        });
    }

    fn choose(&mut self, index: usize, row: &[Value], tasks: &mut Vec<TaskId>) -> Vec<Chosen> {
        let subscriptions = self.streams[index].subscriptions.iter_mut();
        subscriptions.map(|subscription| subscription.choose(row, &mut self.outgoing, tasks)).collect()
    }

    fn route_chosen(&mut self, index: usize, stage: &mut Stage, chosen: &[Chosen]) {
        self.spread_stage(index, stage, |position, subscription, batch, _, meta, outgoing| {
            subscription.take_chosen(batch, &chosen[position], meta, outgoing);
        });
    }

    fn is_direct_target(&self, index: usize, task: TaskId) -> bool {
        self.streams[index].subscriptions.iter().any(|subscription| subscription.is_direct_target(task))
    }

    fn keep_edge(&mut self, root: RootId) -> u64 {
        if let Some(audit) = &self.outgoing.audit {
            audit.change(root, 1);
        }
        self.outgoing.create_edge(root)
    }

    fn renew_edge(&mut self, anchor: &mut Anchor) {
        self.outgoing.renew_edge(anchor.root, &mut anchor.edge);
    }

    fn ack(&mut self, anchors: &[Anchor]) {
        self.acked_later += 1;
        anchors.iter().for_each(|anchor| self.consume(anchor));
    }

    fn fail(&mut self, anchors: &[Anchor], cause: FailureCause) {
        self.failed_later += 1;
        self.fail_messages(anchors.iter().copied(), cause);
        anchors.iter().for_each(|anchor| self.consume(anchor));
    }

    fn reset_timeout(&mut self, anchors: &[Anchor]) {
        anchors
            .iter()
            .filter(|anchor| anchor.root.is_tracked())
            .for_each(|anchor| self.outgoing.acks.reset(anchor));
    }

    #[inline]
    fn open_message(&mut self, id: MessageId, open: &mut OpenMessages) -> Anchor {
        match &mut self.pending {
            Some(pending) => pending.open_message(id, open, self.outgoing.now),
            None => Anchor::NONE,
        }
    }

    fn takes_splits(&self) -> bool {
        self.times.is_some()
    }

    fn is_in_split(&self, split: &str) -> bool {
        self.times.as_ref().is_some_and(|times| times.source.is_in_split(split))
    }

    fn begin_split(&mut self, split: &str) {
        if let Some(times) = &mut self.times {
            times.source.begin_split(split);
        }
    }

    fn end_split(&mut self, split: &str) {
        if let Some(times) = &mut self.times {
            times.source.end_split(split);
        }
    }

    fn report(&mut self, error: TaskError) {
        self.report_loss(&error);
    }

    fn request_drain(&mut self) {
        self.coordinator.send_control(EndRequest::Drain, Urgency::WhenDone);
    }
}
