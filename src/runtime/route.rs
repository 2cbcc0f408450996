//! From a stage to batches per target: where groupings meet queues.
//!
//! A task has one [`Subscription`] per subscriber of each of its streams, and in it one batch under
//! construction per target task. [`Subscription::take_stage`] spreads a stage over them. With a
//! single target the stage *becomes* the batch; with several, each tuple's values are moved; only
//! a further subscriber costs a copy of the (24-byte) values, or none if it takes the whole batch.
//!
//! 1. Every tracked copy of a tuple stands in a run with an edge that was drawn here and noted in
//!    the ack buffer, before the buffer is next taken. So no ack can overtake the edges of what was
//!    emitted while it was earned.
//! 2. Batches to one target keep the order in which the tuples were emitted.
//!
//! One file, because every way from a stage to a batch has to keep runs, messages and further
//! anchors in step with the values.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::api::{FailureCause, SourceMeta};
use crate::clock::Time;
use crate::ids::{RootId, TaskId, Touched};
use crate::runtime::ack_buffer::AckBuffer;
use crate::runtime::audit::Audit;
use crate::runtime::grouping::{Chooser, TupleChooser};
use crate::runtime::link::{Charge, Link};
use crate::runtime::message::{FailureReport, Incoming, Parcel};
use crate::runtime::remote::payload::{DataHeader, encode_data};
use crate::runtime::remote::{Address, HEADROOM, PayloadKind, RemoteExecutor};
use crate::runtime::run_queue::Urgency;
use crate::tuple::{Anchor, Attempt, BatchLimits, MessageIndex, Rows, Run, TupleBatch, Value};

/// How often shuffle takes in the loads of its targets.
const LOAD_REFRESH: Duration = Duration::from_millis(100);

/// An executor that this one sends to.
pub struct Peer {
    /// Where its messages go.
    pub address: Address,
    /// The credit towards it.
    pub link: Arc<Link>,
}

/// What all subscriptions of a task share while tuples are on their way out.
pub struct Wires {
    /// The executors the task sends to.
    pub peers: Vec<Peer>,
    /// Edges created and consumed in this step.
    pub acks: AckBuffer,
    /// The generator of edge ids.
    pub rng: StdRng,
    /// The time of the step.
    pub now: Time,
    /// The membership of the step: which incarnations of other workers tuples go to, at the oldest.
    pub membership: u64,
    /// Whether a link was found without credit since this was last cleared.
    pub stalled: bool,
    /// Copies sent in this step.
    pub transferred: u64,
    /// Tuples lost in this step that no message stands for.
    pub unanchored: u64,
    /// What custom groupings did wrong and what could not be sent, to be reported.
    pub faults: Vec<String>,
    /// Messages of the whole worker that were sent and not yet processed.
    pub outstanding: Arc<AtomicI64>,
    /// In a simulation, the independent count of what is open.
    pub audit: Option<Arc<Audit>>,
}

impl Wires {
    /// An edge id: from a generator that cannot be guessed, never 0.
    #[inline]
    pub fn draw_edge(&mut self) -> u64 {
        loop {
            let edge = self.rng.next_u64();
            if edge != 0 {
                return edge;
            }
        }
    }

    /// An edge of the tree, noted as created.
    #[inline]
    pub fn create_edge(&mut self, root: RootId) -> u64 {
        if !root.is_tracked() {
            return 0;
        }
        let edge = self.draw_edge();
        self.acks.xor(root, edge);
        edge
    }

    /// An edge of the tree to a task of another worker, or of this one.
    #[inline]
    fn create_edge_to(&mut self, root: RootId, touched: Touched) -> u64 {
        if touched != Touched::NONE && root.is_tracked() {
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

    /// Sends a batch to a target.
    fn send(
        &mut self,
        peer: usize,
        local_task: u32,
        meta: &Arc<SourceMeta>,
        batch: TupleBatch,
        urgency: Urgency,
    ) {
        let Peer { address, link } = &self.peers[peer];
        let charge = Charge { tuples: batch.len(), bytes: batch.charge() };
        self.transferred += charge.tuples as u64;
        if !link.charge(charge) {
            self.stalled = true;
        }
        // SeqCst: counted before it can be taken, so that the count never dips to 0 too early.
        self.outstanding.fetch_add(1, Ordering::SeqCst);
        match address {
            Address::Here(inbox) => {
                let (meta, link, sent_at) = (Arc::clone(meta), Arc::clone(link), self.now);
                let incoming = Incoming { batch, meta, local_task, link, charge, sent_at };
                inbox.send_data(Parcel::Ready(incoming), urgency);
            }
            Address::There(remote) => {
                let remote = Arc::clone(remote);
                self.send_away(&remote, peer, local_task, meta, &batch, charge);
            }
        }
    }

    /// Sends a batch to a task of another worker.
    fn send_away(
        &mut self,
        remote: &RemoteExecutor,
        peer: usize,
        local_task: u32,
        meta: &SourceMeta,
        batch: &TupleBatch,
        charge: Charge,
    ) {
        let link = self.peers[peer].link.id;
        let (tuples, charged) = (charge.tuples as u32, u32::try_from(charge.bytes).unwrap_or(u32::MAX));
        let stream = meta.stream_index;
        let header = DataHeader { link, source: meta.task, stream, local_task, tuples, charged };
        let refusal = match encode_data(&header, batch) {
            Ok(bytes) if bytes.len() - HEADROOM <= remote.outlet.payload_max() => {
                let credit = Some((link, tuples, charged));
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
        self.cannot_send(peer, batch, charge, refusal);
    }

    /// Fails the messages of a batch that does not fit the wire, as if its reader had refused it.
    #[cold]
    fn cannot_send(&mut self, peer: usize, batch: &TupleBatch, charge: Charge, why: String) {
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
        // Its own credit: this task is the producer, and is awake.
        let _ = self.peers[peer].link.release(charge);
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One task of a subscriber.
pub struct Target {
    /// The task.
    pub task: TaskId,
    /// Its place in its executor.
    pub local_task: u32,
    /// Its executor, among the peers.
    pub peer: usize,
    /// The bit of its worker, if that is another one.
    touched: Touched,
    /// What is to be sent to it.
    batch: TupleBatch,
    /// When it is full.
    full_at: BatchLimits,
    /// Values that the last batch had: how much the next one reserves.
    values_hint: usize,
}

impl Target {
    /// A target with an empty batch for tuples of `arity` values, which is sent when it is `full_at`.
    pub fn new(
        (task, local_task): (TaskId, u32),
        peer: usize,
        touched: Touched,
        arity: usize,
        full_at: BatchLimits,
    ) -> Target {
        Target { task, local_task, peer, touched, batch: TupleBatch::new(arity), full_at, values_hint: 0 }
    }

    /// Whether it runs in this worker.
    pub fn is_here(&self) -> bool {
        self.touched == Touched::NONE
    }

    fn send(&mut self, meta: &Arc<SourceMeta>, wires: &mut Wires, urgency: Urgency) {
        if self.batch.is_empty() {
            return;
        }
        let arity = self.batch.arity as usize;
        self.values_hint = self.batch.rows.values().len();
        let batch = std::mem::replace(&mut self.batch, TupleBatch::new(arity));
        wires.send(self.peer, self.local_task, meta, batch, urgency);
    }

    /// Notes the tuple whose values were just appended, and sends the batch if it is full.
    #[inline]
    fn finish_tuple(
        &mut self,
        heap: usize,
        anchors: &TupleAnchors<'_>,
        meta: &Arc<SourceMeta>,
        wires: &mut Wires,
    ) {
        let batch = &mut self.batch;
        batch.len += 1;
        batch.heap += heap;
        if let Some((root, message, attempt)) = anchors.first {
            batch.msgs.push(message);
            match batch.runs.last_mut() {
                Some(run) if run.root == root => run.len += 1,
                _ => {
                    let edge = wires.create_edge_to(root, self.touched);
                    batch.runs.push(Run { root, edge, len: 1, attempt });
                }
            }
            for (_, anchor) in anchors.extras {
                let edge = wires.create_edge_to(anchor.root, self.touched);
                batch.extras.push((batch.len - 1, Anchor { edge, ..*anchor }));
            }
            if let Some(audit) = &wires.audit {
                audit.change(root, 1);
                anchors.extras.iter().for_each(|(_, anchor)| audit.change(anchor.root, 1));
            }
        }
        if self.full_at.reached(batch) {
            self.send(meta, wires, Urgency::Now);
        }
    }

    /// Room for as many values as the last batch had, before the first one is written.
    #[inline]
    fn rows(&mut self) -> &mut Vec<Value> {
        let hint = self.values_hint;
        let rows = self.batch.rows.owned();
        if rows.capacity() == 0 {
            rows.reserve(hint.max(8));
        }
        rows
    }

    /// Takes a whole batch, keeping the order with what is there.
    fn take_whole(&mut self, mut batch: TupleBatch, meta: &Arc<SourceMeta>, wires: &mut Wires) {
        self.send(meta, wires, Urgency::WhenDone);
        for run in &mut batch.runs {
            run.edge = wires.create_edge_to(run.root, self.touched);
        }
        for (_, anchor) in &mut batch.extras {
            anchor.edge = wires.create_edge_to(anchor.root, self.touched);
        }
        if let Some(audit) = &wires.audit {
            audit.created(&batch);
        }
        let full = self.full_at.reached(&batch);
        self.batch = batch;
        if full {
            self.send(meta, wires, Urgency::Now);
        }
    }
}

/// The anchors of one tuple of a stage.
struct TupleAnchors<'a> {
    /// `None` in an untracked topology.
    first: Option<(RootId, MessageIndex, Attempt)>,
    extras: &'a [(u32, Anchor)],
}

impl TupleAnchors<'_> {
    /// Fails the messages of a tuple that cannot be sent.
    #[cold]
    fn fail(&self, wires: &mut Wires) {
        let extras = self.extras.iter().map(|(_, anchor)| (anchor.root, anchor.message, anchor.attempt));
        let mut is_anchored = false;
        for (root, message, attempt) in self.first.into_iter().chain(extras) {
            if root.is_tracked() {
                is_anchored = true;
                let report = FailureReport { cause: FailureCause::Panicked, is_final: attempt.is_last() };
                wires.acks.fail(root, message, report);
            }
        }
        wires.unanchored += u64::from(!is_anchored);
    }
}

/// Walks the anchors of a batch, tuple by tuple.
struct AnchorWalk<'a> {
    runs: std::slice::Iter<'a, Run>,
    run: Option<&'a Run>,
    left: u32,
    msgs: std::slice::Iter<'a, MessageIndex>,
    extras: &'a [(u32, Anchor)],
    tuple: u32,
}

impl<'a> AnchorWalk<'a> {
    fn new(runs: &'a [Run], msgs: &'a [MessageIndex], extras: &'a [(u32, Anchor)]) -> AnchorWalk<'a> {
        AnchorWalk { runs: runs.iter(), run: None, left: 0, msgs: msgs.iter(), extras, tuple: 0 }
    }

    #[inline]
    fn next(&mut self) -> TupleAnchors<'a> {
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

/// One subscriber of one stream.
pub struct Subscription {
    /// How targets are chosen.
    chooser: Chooser,
    targets: Vec<Target>,
    /// Whether shuffle looks at credit and queues.
    load_aware: bool,
    next_refresh: Time,
}

impl Subscription {
    /// A subscription; `targets` are the subscriber's tasks in order.
    pub fn new(chooser: Chooser, targets: Vec<Target>, load_aware: bool) -> Subscription {
        Subscription { chooser, targets, load_aware, next_refresh: Time::ZERO }
    }

    /// Whether a task takes the stream by direct grouping.
    pub fn is_direct_target(&self, task: TaskId) -> bool {
        matches!(self.chooser, Chooser::Each(TupleChooser::Direct))
            && self.targets.iter().any(|target| target.task == task)
    }

    /// Spreads a batch over the targets. `direct` names the target of each tuple on a direct
    /// stream; `chosen`, if given, gets the tasks.
    pub fn take_stage(
        &mut self,
        batch: TupleBatch,
        direct: &[TaskId],
        meta: &Arc<SourceMeta>,
        wires: &mut Wires,
        chosen: Option<&mut Vec<TaskId>>,
    ) {
        match &self.chooser {
            Chooser::First => {
                let target = &mut self.targets[0];
                if let Some(chosen) = chosen {
                    chosen.push(target.task);
                }
                target.take_whole(batch, meta, wires);
            }
            Chooser::All => self.take_by_all(batch, meta, wires, chosen),
            Chooser::Each(_) => self.take_tuple_by_tuple(batch, direct, meta, wires, chosen),
        }
    }

    fn take_by_all(
        &mut self,
        mut batch: TupleBatch,
        meta: &Arc<SourceMeta>,
        wires: &mut Wires,
        chosen: Option<&mut Vec<TaskId>>,
    ) {
        batch.rows.share();
        for target in &mut self.targets {
            target.take_whole(batch.clone(), meta, wires);
        }
        if let Some(chosen) = chosen {
            chosen.extend(self.targets.iter().map(|target| target.task));
        }
    }

    fn refresh_loads(&mut self, wires: &Wires) {
        if let Chooser::Each(TupleChooser::Shuffle(shuffle)) = &mut self.chooser
            && self.load_aware
            && wires.now >= self.next_refresh
        {
            self.next_refresh = wires.now.after(LOAD_REFRESH);
            shuffle.refresh(self.targets.iter().map(|target| wires.peers[target.peer].link.load().min(1.0)));
        }
    }

    fn take_tuple_by_tuple(
        &mut self,
        batch: TupleBatch,
        direct: &[TaskId],
        meta: &Arc<SourceMeta>,
        wires: &mut Wires,
        mut chosen: Option<&mut Vec<TaskId>>,
    ) {
        self.refresh_loads(wires);
        let TupleBatch { arity, len, rows, runs, msgs, extras, heap } = batch;
        let mut anchors = AnchorWalk::new(&runs, &msgs, &extras);
        let arity = arity as usize;
        let mut values = RowSource::new(rows);
        for tuple in 0..len as usize {
            let row = values.peek(arity);
            let heap = if heap == 0 { 0 } else { row.iter().map(Value::heap_size).sum() };
            let anchors = anchors.next();
            let position = match self.choose(row, direct.get(tuple).copied(), wires) {
                Choice::One(position) => position,
                Choice::Nobody => {
                    values.skip(arity);
                    continue;
                }
                Choice::Panicked => {
                    anchors.fail(wires);
                    values.skip(arity);
                    continue;
                }
                Choice::Several(positions) => {
                    for position in &positions {
                        self.targets[*position].rows().extend_from_slice(values.peek(arity));
                        self.targets[*position].finish_tuple(heap, &anchors, meta, wires);
                    }
                    self.tell(&mut chosen, &positions);
                    values.skip(arity);
                    continue;
                }
            };
            values.move_row(arity, self.targets[position].rows());
            self.targets[position].finish_tuple(heap, &anchors, meta, wires);
            self.tell(&mut chosen, &[position]);
        }
    }

    #[inline]
    fn tell(&self, chosen: &mut Option<&mut Vec<TaskId>>, positions: &[usize]) {
        if let Some(chosen) = chosen {
            chosen.extend(positions.iter().map(|position| self.targets[*position].task));
        }
    }

    #[inline]
    fn choose(&mut self, row: &[Value], direct: Option<TaskId>, wires: &mut Wires) -> Choice {
        let targets = &self.targets;
        let Chooser::Each(chooser) = &mut self.chooser else { return Choice::Nobody };
        match chooser {
            TupleChooser::Fields(groups) => Choice::One(groups.choose(row)),
            TupleChooser::Shuffle(shuffle) if self.load_aware => {
                let fits = |position: usize| wires.peers[targets[position].peer].link.has_credit();
                Choice::One(shuffle.next_where(fits))
            }
            TupleChooser::Shuffle(shuffle) => Choice::One(shuffle.next()),
            TupleChooser::PartialKey(partial) => Choice::One(partial.choose(row)),
            TupleChooser::Random(rng) => Choice::One(rng.random_range(0..targets.len())),
            TupleChooser::Direct => direct
                .and_then(|task| targets.iter().position(|target| target.task == task))
                .map_or(Choice::Nobody, Choice::One),
            TupleChooser::Custom(custom) => {
                let (positions, fault) = custom.choose(row);
                wires.faults.extend(fault);
                positions.map_or(Choice::Panicked, Choice::Several)
            }
        }
    }

    /// Sends what is under construction.
    pub fn flush(&mut self, meta: &Arc<SourceMeta>, wires: &mut Wires) {
        for target in &mut self.targets {
            target.send(meta, wires, Urgency::WhenDone);
        }
    }

    /// Whether the next tuple might find no credit. Where it may go to any of several targets, one
    /// with credit is enough. Links that lack it are told that somebody waits.
    pub fn lacks_credit(&self, wires: &Wires) -> bool {
        let is_shuffle = matches!(self.chooser, Chooser::Each(TupleChooser::Shuffle(_)));
        let any_will_do = self.load_aware && is_shuffle;
        let link = |target: &Target| &wires.peers[target.peer].link;
        let fits = |target: &Target| link(target).may_send();
        let enough = || {
            if any_will_do { self.targets.iter().any(fits) } else { self.targets.iter().all(fits) }
        };
        if self.targets.is_empty() || enough() {
            return false;
        }
        self.targets.iter().filter(|target| !fits(target)).for_each(|target| link(target).wait());
        !enough()
    }
}

enum Choice {
    One(usize),
    Several(Vec<usize>),
    Nobody,
    /// Nobody, and the message fails.
    Panicked,
}

/// Rows that are moved out one after another, or copied out if they are shared.
enum RowSource {
    Owned(std::vec::IntoIter<Value>),
    Shared(Arc<Vec<Value>>, usize),
}

impl RowSource {
    fn new(rows: Rows) -> RowSource {
        match rows {
            Rows::Owned(values) => RowSource::Owned(values.into_iter()),
            Rows::Shared(values) => RowSource::Shared(values, 0),
        }
    }

    #[inline]
    fn peek(&self, arity: usize) -> &[Value] {
        match self {
            RowSource::Owned(values) => &values.as_slice()[..arity],
            RowSource::Shared(values, at) => &values[*at..*at + arity],
        }
    }

    #[inline]
    fn move_row(&mut self, arity: usize, to: &mut Vec<Value>) {
        match self {
            RowSource::Owned(values) => to.extend(values.by_ref().take(arity)),
            RowSource::Shared(values, at) => {
                to.extend_from_slice(&values[*at..*at + arity]);
                *at += arity;
            }
        }
    }

    fn skip(&mut self, arity: usize) {
        match self {
            RowSource::Owned(values) => values.by_ref().take(arity).for_each(drop),
            RowSource::Shared(_, at) => *at += arity,
        }
    }
}
