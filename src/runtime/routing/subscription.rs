//! Spreads the tuples of a stage over batches, one for each target task.
//!
//! A task has one [`Subscription`] per subscriber of each of its streams, and in it one batch under
//! construction per target task. [`Subscription::take_stage`] spreads a stage over them. If there is a
//! single target, the stage *becomes* the batch. If there are several, the values of each tuple are moved.
//! Each further subscriber costs a copy of the (24-byte) values, or none if it takes the whole batch.
//!
//! 1. Every tracked copy of a tuple stands in a run whose edge was drawn here, and noted in the ack buffer
//!    before the buffer is next taken. So the ack record of an input tuple also holds the edges of the
//!    tuples that were emitted for it.
//! 2. Batches to one target keep the order in which the tuples were emitted.
//!
//! One file, because every way from a stage to a batch must keep runs, messages and further anchors
//! consistent with the values.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use crate::api::{Chosen, SourceMeta};
use crate::clock::Time;
use crate::ids::TaskId;
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::routing::grouping::{CustomSelector, Shuffle, TargetSelector, TupleSelector};
use crate::runtime::routing::outgoing::{AnchorWalk, Outgoing, TupleAnchors};
use crate::runtime::routing::target::Target;
use crate::tuple::{Rows, TupleBatch, Value};

/// How often a shuffle grouping reads the loads of its targets.
const LOAD_REFRESH: Duration = Duration::from_millis(100);

/// One subscriber of one stream.
pub struct Subscription {
    /// How targets are chosen.
    selector: TargetSelector,
    targets: Vec<Target>,
    /// Whether shuffle looks at credit and queues.
    load_aware: bool,
    next_refresh: Time,
    /// By fields: the position of the target of each tuple of a stage. Kept to save the allocation.
    owners: Vec<u32>,
}

impl Subscription {
    /// A subscription; `targets` are the subscriber's tasks in order.
    pub fn new(selector: TargetSelector, targets: Vec<Target>, load_aware: bool) -> Subscription {
        Subscription { selector, targets, load_aware, next_refresh: Time::ZERO, owners: Vec::new() }
    }

    /// The subscription of a bolt that is chained behind the executor: all tuples go to this task of it.
    pub fn chained(task: TaskId, local_task: u32) -> Subscription {
        Subscription::new(TargetSelector::Chained { task, local_task }, Vec::new(), false)
    }

    /// Whether a task subscribes to the stream by direct grouping.
    pub fn is_direct_target(&self, task: TaskId) -> bool {
        matches!(self.selector, TargetSelector::Each(TupleSelector::Direct))
            && self.targets.iter().any(|target| target.task == task)
    }

    /// Spreads a batch over the targets. On a direct stream, `direct` has the target of each tuple.
    pub fn take_stage(
        &mut self,
        batch: TupleBatch,
        direct: &[TaskId],
        meta: &Arc<SourceMeta>,
        outgoing: &mut Outgoing,
    ) {
        match &self.selector {
            TargetSelector::First => self.targets[0].take_whole(batch, meta, outgoing),
            TargetSelector::Chained { local_task, .. } => outgoing.hand_over(*local_task, meta, batch),
            TargetSelector::All => self.take_by_all(batch, meta, outgoing),
            TargetSelector::Each(_) => self.take_tuple_by_tuple(batch, direct, meta, outgoing),
        }
    }

    /// Chooses the targets of a tuple that [`take_chosen`](Subscription::take_chosen) gets later, and appends
    /// their tasks to `tasks`.
    pub fn choose(&mut self, row: &[Value], outgoing: &mut Outgoing, tasks: &mut Vec<TaskId>) -> Chosen {
        self.refresh_loads(outgoing);
        let targets = &self.targets;
        let choice = match &mut self.selector {
            TargetSelector::First => {
                tasks.push(targets[0].task);
                return Chosen::AsEvery;
            }
            TargetSelector::Chained { task, .. } => {
                tasks.push(*task);
                return Chosen::AsEvery;
            }
            TargetSelector::All => {
                tasks.extend(targets.iter().map(|target| target.task));
                return Chosen::AsEvery;
            }
            TargetSelector::Each(selector) => match selector {
                TupleSelector::Fields(groups) => Choice::One(groups.choose(row)),
                TupleSelector::PartialKey(partial) => Choice::One(partial.choose(row)),
                TupleSelector::Shuffle(shuffle) if self.load_aware => by_load(shuffle, targets, outgoing),
                TupleSelector::Shuffle(shuffle) => Choice::One(shuffle.next()),
                TupleSelector::Random(rng) => Choice::One(rng.random_range(0..targets.len())),
                // A tuple of a direct stream names its target, and nothing asks for it.
                TupleSelector::Direct => Choice::Nobody,
                TupleSelector::Custom(custom) => by_custom(custom, row, outgoing),
            },
        };
        let positions = match choice {
            Choice::One(position) => vec![position],
            Choice::Several(positions) => positions,
            Choice::Nobody => Vec::new(),
            Choice::Panicked => return Chosen::Panicked,
        };
        tasks.extend(positions.iter().map(|position| targets[*position].task));
        Chosen::At(positions)
    }

    /// Takes a batch of one tuple, whose targets were chosen before.
    pub fn take_chosen(
        &mut self,
        batch: TupleBatch,
        chosen: &Chosen,
        meta: &Arc<SourceMeta>,
        outgoing: &mut Outgoing,
    ) {
        let choose: &dyn Fn() -> Choice = match chosen {
            Chosen::AsEvery => return self.take_stage(batch, &[], meta, outgoing),
            Chosen::At(positions) => &|| Choice::Several(positions.clone()),
            Chosen::Panicked => &|| Choice::Panicked,
        };
        Spread { targets: &mut self.targets, meta, outgoing }.tuples(batch, |_, _, _, _| choose());
    }

    fn take_by_all(&mut self, mut batch: TupleBatch, meta: &Arc<SourceMeta>, outgoing: &mut Outgoing) {
        batch.rows.share();
        for target in &mut self.targets {
            target.take_whole(batch.clone(), meta, outgoing);
        }
    }

    fn refresh_loads(&mut self, outgoing: &Outgoing) {
        if let TargetSelector::Each(TupleSelector::Shuffle(shuffle)) = &mut self.selector
            && self.load_aware
            && outgoing.now >= self.next_refresh
        {
            self.next_refresh = outgoing.now.after(LOAD_REFRESH);
            shuffle.refresh(
                self.targets.iter().map(|target| outgoing.links[target.out_link].link.load().min(1.0)),
            );
        }
    }

    /// Chooses the target of each tuple and moves its values there.
    fn take_tuple_by_tuple(
        &mut self,
        batch: TupleBatch,
        direct: &[TaskId],
        meta: &Arc<SourceMeta>,
        outgoing: &mut Outgoing,
    ) {
        self.refresh_loads(outgoing);
        let load_aware = self.load_aware;
        let TargetSelector::Each(selector) = &mut self.selector else { return };
        let spread = Spread { targets: &mut self.targets, meta, outgoing };
        // The loop is compiled for each grouping, so that it does not look at the grouping for each tuple.
        match selector {
            TupleSelector::Fields(groups) => {
                // The owners of all first: the processor then hashes several keys at a time, where it would
                // otherwise wait for each before it moves the tuple.
                groups.choose_all(&batch, &mut self.owners);
                let owners = &self.owners;
                spread.tuples(batch, |tuple, _, _, _| Choice::One(owners[tuple] as usize));
            }
            TupleSelector::PartialKey(partial) => {
                spread.tuples(batch, |_, row, _, _| Choice::One(partial.choose(row)));
            }
            TupleSelector::Shuffle(shuffle) if load_aware => {
                spread.tuples(batch, |_, _, targets, outgoing| by_load(shuffle, targets, outgoing));
            }
            TupleSelector::Shuffle(shuffle) => {
                spread.tuples(batch, |_, _, _, _| Choice::One(shuffle.next()));
            }
            TupleSelector::Random(rng) => {
                spread.tuples(batch, |_, _, targets, _| Choice::One(rng.random_range(0..targets.len())));
            }
            TupleSelector::Direct => {
                spread.tuples(batch, |tuple, _, targets, _| {
                    let position_of = |task: &TaskId| targets.iter().position(|target| target.task == *task);
                    direct.get(tuple).and_then(position_of).map_or(Choice::Nobody, Choice::One)
                });
            }
            TupleSelector::Custom(custom) => {
                spread.tuples(batch, |_, row, _, outgoing| by_custom(custom, row, outgoing));
            }
        }
    }

    /// Drops the batches under construction.
    pub fn clear(&mut self) {
        self.targets.iter_mut().for_each(Target::clear);
    }

    /// Sends the batches under construction.
    pub fn flush(&mut self, meta: &Arc<SourceMeta>, outgoing: &mut Outgoing) {
        for target in &mut self.targets {
            target.send(meta, outgoing, Urgency::WhenDone);
        }
    }

    /// Whether the next tuple may find no credit. If it may go to any of several targets, one target with
    /// credit is enough. Links without credit are marked as waited for, and then all are looked at once
    /// more: credit that was released before the mark wakes nobody.
    pub fn waits_for_credit(&self, outgoing: &Outgoing) -> bool {
        let is_shuffle = matches!(self.selector, TargetSelector::Each(TupleSelector::Shuffle(_)));
        let any_will_do = self.load_aware && is_shuffle;
        let link = |target: &Target| &outgoing.links[target.out_link].link;
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
    /// The custom grouping panicked: the tuple is not sent, and its messages fail.
    Panicked,
}

/// The next target that has credit, or the next one if none has.
#[inline]
fn by_load(shuffle: &mut Shuffle, targets: &[Target], outgoing: &Outgoing) -> Choice {
    let link = |position: usize| &outgoing.links[targets[position].out_link].link;
    Choice::One(shuffle.next_where(|position| link(position).has_credit()))
}

fn by_custom(custom: &mut CustomSelector, row: &[Value], outgoing: &mut Outgoing) -> Choice {
    let (positions, fault) = custom.choose(row);
    outgoing.faults.extend(fault);
    positions.map_or(Choice::Panicked, Choice::Several)
}

/// Where the tuples of a stage go, and what is needed to send them there.
struct Spread<'a> {
    targets: &'a mut [Target],
    meta: &'a Arc<SourceMeta>,
    outgoing: &'a mut Outgoing,
}

impl Spread<'_> {
    /// Moves the values of each tuple to the target that `choose` returns for its number and its values.
    /// The values are copied if several targets were chosen, or if other subscribers share them.
    #[inline]
    fn tuples(
        mut self,
        batch: TupleBatch,
        mut choose: impl FnMut(usize, &[Value], &[Target], &mut Outgoing) -> Choice,
    ) {
        let TupleBatch { arity, len, rows, runs, msgs, extras, heap } = batch;
        let mut anchors = AnchorWalk::new(&runs, &msgs, &extras);
        let arity = arity as usize;
        let mut values = RowSource::new(rows);
        for tuple in 0..len as usize {
            let row = values.peek(arity);
            let heap = if heap == 0 { 0 } else { row.iter().map(Value::heap_size).sum() };
            let anchors = anchors.next();
            match choose(tuple, row, self.targets, self.outgoing) {
                Choice::One(position) => {
                    values.move_row(arity, self.targets[position].rows());
                    self.finish(position, heap, &anchors);
                    continue;
                }
                Choice::Several(positions) => {
                    for position in positions {
                        self.targets[position].rows().extend_from_slice(row);
                        self.finish(position, heap, &anchors);
                    }
                }
                Choice::Nobody => {}
                Choice::Panicked => anchors.fail(self.outgoing),
            }
            values.skip(arity);
        }
    }

    /// Completes the tuple whose values were just appended to a target's batch.
    #[inline]
    fn finish(&mut self, position: usize, heap: usize, anchors: &TupleAnchors<'_>) {
        let target = &mut self.targets[position];
        target.finish_tuple(heap, anchors, self.meta, self.outgoing);
    }
}

/// Rows that are moved out one after another, or copied out if they are shared. The number is the place of
/// the next row.
enum RowSource {
    Owned(Vec<Value>, usize),
    Shared(Arc<Vec<Value>>, usize),
}

impl RowSource {
    fn new(rows: Rows) -> RowSource {
        match rows {
            Rows::Owned(values) => RowSource::Owned(values, 0),
            Rows::Shared(values) => RowSource::Shared(values, 0),
        }
    }

    #[inline]
    fn peek(&self, arity: usize) -> &[Value] {
        match self {
            RowSource::Owned(values, at) => &values[*at..*at + arity],
            RowSource::Shared(values, at) => &values[*at..*at + arity],
        }
    }

    #[inline]
    fn move_row(&mut self, arity: usize, to: &mut Vec<Value>) {
        match self {
            RowSource::Owned(values, at) if arity == 1 => to.push(std::mem::take(&mut values[*at])),
            // Straight from place to place.
            RowSource::Owned(values, at) => {
                to.extend(values[*at..*at + arity].iter_mut().map(std::mem::take));
            }
            RowSource::Shared(values, at) => to.extend_from_slice(&values[*at..*at + arity]),
        }
        self.skip(arity);
    }

    #[inline]
    fn skip(&mut self, arity: usize) {
        let (RowSource::Owned(_, at) | RowSource::Shared(_, at)) = self;
        *at += arity;
    }
}
