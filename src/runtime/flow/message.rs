//! Everything that one executor can send another: two closed kinds, one per lane of the inbox.
//!
//! *Data* is bounded by credit and may make its producer wait. *Control* never waits behind data
//! and needs no credit, so a full pipeline can still ack, fail, tick and end.

use std::sync::Arc;

use bytes::Bytes;

use crate::api::SourceMeta;
use crate::clock::Time;
use crate::ids::{Incarnation, WorkerId};
use crate::runtime::acking::acker::Outcome;
use crate::runtime::acking::records::AckRecords;
use crate::runtime::flow::charge::Charge;
use crate::runtime::flow::link::Link;
use crate::tuple::TupleBatch;

/// A batch on its way to one task.
pub struct Incoming {
    /// The tuples.
    pub batch: TupleBatch,
    /// Where they come from.
    pub meta: Arc<SourceMeta>,
    /// The target, counted from the first task of its executor.
    pub local_task: u32,
    /// The link whose credit the batch holds; released when it is processed.
    pub link: Arc<Link>,
    /// What the link was charged for it.
    pub charge: Charge,
    /// When it was sent: how long it has been waiting decides whether tree clocks stand still.
    pub sent_at: Time,
}

/// What lies in the data lane of an inbox. What comes over one link keeps its order.
pub enum DataMessage {
    /// A batch from this worker.
    Batch(Incoming),
    /// A batch from another, as it came: whoever takes it decodes it, on its own thread.
    Encoded {
        /// The batch in the codec of `tuple`.
        bytes: Bytes,
        /// All of it but the tuples; the batch in it is empty.
        incoming: Incoming,
    },
}

impl DataMessage {
    /// The link it came over, which decides its lane.
    pub fn link(&self) -> &Link {
        match self {
            DataMessage::Batch(incoming) | DataMessage::Encoded { incoming, .. } => &incoming.link,
        }
    }

    /// How much of the link's credit it holds, in tuples and bytes.
    pub fn charge(&self) -> Charge {
        match self {
            DataMessage::Batch(incoming) | DataMessage::Encoded { incoming, .. } => incoming.charge,
        }
    }

    /// When it was sent.
    pub fn sent_at(&self) -> Time {
        match self {
            DataMessage::Batch(incoming) | DataMessage::Encoded { incoming, .. } => incoming.sent_at,
        }
    }
}

/// What may come over the control lane. Each executor handles what is for its kind and ignores the rest
/// by name, so that a new message is a decision for every kind of executor.
pub enum Control {
    /// About trees of tuples.
    Tree(TreeMessage),
    /// What an executor is to do.
    Command(ExecutorCommand),
    /// Part of the tracking is gone: blocks fail because of it.
    Loss(Loss),
    /// What the coordinator is to do.
    End(EndRequest),
}

/// What executors send each other about trees, wherever they run. Of all that comes over the control
/// lane, only this crosses from worker to worker.
pub enum TreeMessage {
    /// To an acker: records of one executor's step.
    Acks(AckRecords),
    /// To a spout's executor: what became of its blocks.
    Outcomes(Vec<Outcome>),
}

/// A command to executors of this worker. It never crosses: whoever starts a worker commands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutorCommand {
    /// To all: spouts may emit; what was not opened is opened.
    Activate,
    /// To spouts: emit nothing until the next `Activate`.
    Deactivate,
    /// To spouts: emit no more, the topology is ending.
    Drain,
    /// To bolts: input has ended, call `finish`.
    Finish,
    /// To all: call `cleanup` or `close`; nothing follows.
    Close,
    /// To any, from a test: lose the state of the task as a panic would.
    Crash,
}

/// What was lost of the tracking, as the ingress of this worker or an acker of it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// To a spout's executor: an acker lost its entries; every block it kept fails.
    Acker {
        /// Which of the topology's ackers.
        acker: usize,
    },
    /// To an acker: a worker is lost.
    Worker {
        /// Which.
        worker: WorkerId,
        /// Its next life.
        next: Incarnation,
        /// The first membership without its last life.
        membership: u64,
    },
}

/// A request to the coordinator of this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndRequest {
    /// End the topology in order.
    Drain,
    /// A component cannot go on: end the topology in order. The reason stands in the lifecycle.
    Stop,
    /// End at once.
    Kill,
}

impl From<TreeMessage> for Control {
    fn from(message: TreeMessage) -> Control {
        Control::Tree(message)
    }
}

impl From<ExecutorCommand> for Control {
    fn from(command: ExecutorCommand) -> Control {
        Control::Command(command)
    }
}

impl From<Loss> for Control {
    fn from(loss: Loss) -> Control {
        Control::Loss(loss)
    }
}

impl From<EndRequest> for Control {
    fn from(request: EndRequest) -> Control {
        Control::End(request)
    }
}
