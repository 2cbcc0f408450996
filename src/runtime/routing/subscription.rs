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

use crate::api::SourceMeta;
use crate::clock::Time;
use crate::ids::TaskId;
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::routing::grouping::{TargetSelector, TupleSelector};
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
}

impl Subscription {
    /// A subscription; `targets` are the subscriber's tasks in order.
    pub fn new(selector: TargetSelector, targets: Vec<Target>, load_aware: bool) -> Subscription {
        Subscription { selector, targets, load_aware, next_refresh: Time::ZERO }
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

    /// Spreads a batch over the targets. On a direct stream, `direct` has the target of each tuple. The
    /// chosen tasks are added to `chosen`, if given.
    pub fn take_stage(
        &mut self,
        batch: TupleBatch,
        direct: &[TaskId],
        meta: &Arc<SourceMeta>,
        outgoing: &mut Outgoing,
        chosen: Option<&mut Vec<TaskId>>,
    ) {
        match &self.selector {
            TargetSelector::First => {
                let target = &mut self.targets[0];
                if let Some(chosen) = chosen {
                    chosen.push(target.task);
                }
                target.take_whole(batch, meta, outgoing);
            }
            TargetSelector::Chained { task, local_task } => {
                if let Some(chosen) = chosen {
                    chosen.push(*task);
                }
                outgoing.hand_over(*local_task, meta, batch);
            }
            TargetSelector::All => self.take_by_all(batch, meta, outgoing, chosen),
            TargetSelector::Each(_) => self.take_tuple_by_tuple(batch, direct, meta, outgoing, chosen),
        }
    }

    fn take_by_all(
        &mut self,
        mut batch: TupleBatch,
        meta: &Arc<SourceMeta>,
        outgoing: &mut Outgoing,
        chosen: Option<&mut Vec<TaskId>>,
    ) {
        batch.rows.share();
        for target in &mut self.targets {
            target.take_whole(batch.clone(), meta, outgoing);
        }
        if let Some(chosen) = chosen {
            chosen.extend(self.targets.iter().map(|target| target.task));
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
        chosen: Option<&mut Vec<TaskId>>,
    ) {
        self.refresh_loads(outgoing);
        let load_aware = self.load_aware;
        let TargetSelector::Each(selector) = &mut self.selector else { return };
        let spread = Spread { targets: &mut self.targets, meta, outgoing, chosen };
        // The loop is compiled for each grouping, so that it does not look at the grouping for each tuple.
        match selector {
            TupleSelector::Fields(groups) => {
                spread.tuples(batch, |_, row, _, _| Choice::One(groups.choose(row)));
            }
            TupleSelector::PartialKey(partial) => {
                spread.tuples(batch, |_, row, _, _| Choice::One(partial.choose(row)));
            }
            TupleSelector::Shuffle(shuffle) if load_aware => {
                spread.tuples(batch, |_, _, targets, outgoing| {
                    let link = |position: usize| &outgoing.links[targets[position].out_link].link;
                    Choice::One(shuffle.next_where(|position| link(position).has_credit()))
                });
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
                spread.tuples(batch, |_, row, _, outgoing| {
                    let (positions, fault) = custom.choose(row);
                    outgoing.faults.extend(fault);
                    positions.map_or(Choice::Panicked, Choice::Several)
                });
            }
        }
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

/// Where the tuples of a stage go, and what is needed to send them there.
struct Spread<'a> {
    targets: &'a mut [Target],
    meta: &'a Arc<SourceMeta>,
    outgoing: &'a mut Outgoing,
    /// Gets the task of each copy of a tuple.
    chosen: Option<&'a mut Vec<TaskId>>,
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
        if let Some(chosen) = &mut self.chosen {
            chosen.push(target.task);
        }
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
            // Straight from place to place: a value that is taken out and then pushed is copied twice, and the
            // second copy waits for the first.
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
