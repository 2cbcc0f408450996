//! What a component under test did: tuples emitted, acked and failed.
//!
//! The harness of a bolt and the harness of a spout keep the same [`Record`]. It takes the place of the
//! runtime: the calls of the component to its outputs are written to it.

use smol_str::SmolStr;

use crate::api::{Chosen, FailureCause, OpenMessages, OutputCollector, OutputState, Stage, TaskError};
use crate::ids::{MessageId, RootId, SLOTS_MAX, TaskId};
use crate::metrics::{Metric, MetricsRegistry};
use crate::tuple::{Anchor, TupleBatch, Value};

/// A tuple that a component emitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// The stream.
    pub stream: SmolStr,
    /// The values.
    pub values: Vec<Value>,
    /// Of a bolt: the numbers of the inputs it is anchored to. Of a spout: the message it belongs
    /// to. Empty: not tracked.
    pub anchors: Vec<u64>,
    /// The task it was sent to, on a direct stream.
    pub direct: Option<TaskId>,
}

/// What a component did. The component uses it as its runtime.
#[derive(Default)]
pub(super) struct Record {
    pub(super) tracked: bool,
    pub(super) emitted: Vec<Emitted>,
    pub(super) acked: Vec<u64>,
    pub(super) failed: Vec<(u64, FailureCause)>,
    pub(super) timeouts_reset: Vec<u64>,
    pub(super) errors: Vec<String>,
    pub(super) drain_requested: bool,
    pub(super) edges_drawn: u64,
    /// Of a spout: what each tree stands for, by its number.
    pub(super) messages: Vec<MessageId>,
    /// Trees begun so far.
    pub(super) trees: u64,
}

impl Record {
    pub(super) fn begin_tree(&mut self) -> RootId {
        if !self.tracked {
            return RootId::NONE;
        }
        let number = self.trees;
        self.trees += 1;
        let (slot, generation) = (number % u64::from(SLOTS_MAX), number / u64::from(SLOTS_MAX) + 1);
        RootId::new(TaskId(1), slot as u32, generation as u32)
    }

    pub(super) fn tree_number(root: RootId) -> u64 {
        u64::from(root.generation() - 1) * u64::from(SLOTS_MAX) + u64::from(root.slot())
    }

    /// What an anchor is called in the record.
    pub(super) fn name(&self, root: RootId) -> u64 {
        let number = Record::tree_number(root);
        self.messages.get(number as usize).map_or(number, |message| message.0)
    }

    pub(super) fn names(&self, anchors: &[Anchor]) -> Vec<u64> {
        anchors
            .iter()
            .filter(|anchor| anchor.root.is_tracked())
            .map(|anchor| self.name(anchor.root))
            .collect()
    }

    pub(super) fn take_stage(&mut self, stage: &mut Stage) {
        let arity = stage.batch.arity as usize;
        let batch = std::mem::replace(&mut stage.batch, TupleBatch::new(arity));
        let mut roots = batch.runs.iter().flat_map(|run| std::iter::repeat_n(run.root, run.len as usize));
        let mut direct = stage.direct.drain(..);
        for index in 0..batch.len() {
            let first = roots.next().filter(|root| root.is_tracked());
            let extras = batch.extras.iter().filter(|(tuple, _)| *tuple as usize == index);
            let anchors = first.into_iter().chain(extras.map(|(_, anchor)| anchor.root));
            let anchors = anchors.map(|root| self.name(root)).collect();
            let (stream, values) = (stage.stream.name.clone(), batch.row(index).to_vec());
            self.emitted.push(Emitted { stream, values, anchors, direct: direct.next() });
        }
    }

    pub(super) fn take_all(&mut self, outputs: &mut OutputState) {
        for stage in &mut outputs.stages {
            self.take_stage(stage);
        }
    }
}

impl OutputCollector for Record {
    fn route(&mut self, _index: usize, stage: &mut Stage) {
        self.take_stage(stage);
    }

    /// Every tuple goes to task 1.
    fn choose(&mut self, _index: usize, _row: &[Value], tasks: &mut Vec<TaskId>) -> Vec<Chosen> {
        tasks.push(TaskId(1));
        vec![Chosen::AsEvery]
    }

    fn route_chosen(&mut self, _index: usize, stage: &mut Stage, _chosen: &[Chosen]) {
        self.take_stage(stage);
    }

    fn is_direct_target(&self, _index: usize, _task: TaskId) -> bool {
        true
    }

    fn keep_edge(&mut self, _root: RootId) -> u64 {
        self.edges_drawn += 1;
        self.edges_drawn
    }

    fn renew_edge(&mut self, _anchor: &mut Anchor) {}

    fn ack(&mut self, anchors: &[Anchor]) {
        let names = self.names(anchors);
        self.acked.extend(names);
    }

    fn fail(&mut self, anchors: &[Anchor], cause: FailureCause) {
        let names = self.names(anchors);
        self.failed.extend(names.into_iter().map(|name| (name, cause)));
    }

    fn reset_timeout(&mut self, anchors: &[Anchor]) {
        let names = self.names(anchors);
        self.timeouts_reset.extend(names);
    }

    fn open_message(&mut self, id: MessageId, _open: &mut OpenMessages) -> Anchor {
        self.messages.push(id);
        Anchor { root: self.begin_tree(), ..Anchor::NONE }
    }

    fn takes_splits(&self) -> bool {
        false
    }

    fn is_in_split(&self, _split: &str) -> bool {
        true
    }

    fn begin_split(&mut self, _split: &str) {}

    fn end_split(&mut self, _split: &str) {}

    fn report(&mut self, error: TaskError) {
        self.errors.push(error.to_string());
    }

    fn request_drain(&mut self) {
        self.drain_requested = true;
    }
}

/// The methods by which both harnesses show their record.
macro_rules! record_access {
    () => {
        /// Everything emitted since the last call, over all streams, each stream in its order.
        pub fn take_emitted(&mut self) -> Vec<Emitted> {
            std::mem::take(&mut self.record.emitted)
        }

        /// Takes the rows emitted to one stream since the last call.
        pub fn take_rows(&mut self, stream: &str) -> Vec<Vec<Value>> {
            let (taken, kept) =
                self.take_emitted().into_iter().partition(|emitted: &Emitted| emitted.stream == stream);
            self.record.emitted = kept;
            let taken: Vec<Emitted> = taken;
            taken.into_iter().map(|emitted| emitted.values).collect()
        }

        /// The streams it declares.
        pub fn streams(&self) -> &Streams {
            &self.streams
        }

        /// The text of every error that it returned or reported.
        pub fn errors(&self) -> &[String] {
            &self.record.errors
        }

        /// Whether it asked for an orderly end of the topology.
        pub fn drain_requested(&self) -> bool {
            self.record.drain_requested
        }

        /// Its clock, which moves by `advance` only.
        pub fn clock(&self) -> &Clock {
            &self.clock
        }

        /// The value of a counter that it registered; 0 if there is none of that name.
        pub fn counter(&self, name: &str) -> u64 {
            crate::testing::harness::record::counted(&self.metrics, name)
        }
    };
}

pub(super) use record_access;

/// The sum of the counters of a name.
pub(super) fn counted(metrics: &MetricsRegistry, name: &str) -> u64 {
    let metrics = metrics.snapshot();
    let of_name = metrics.iter().filter(|(key, _)| key.name == name);
    of_name
        .map(|(_, metric)| match metric {
            Metric::Counter(counter) | Metric::Loss(counter) => counter.get(),
            Metric::Gauge(_) | Metric::Histogram(_) => 0,
        })
        .sum()
}
