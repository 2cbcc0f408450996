//! Everything that one executor can send another: two closed enums, one per lane of the inbox.
//!
//! *Data* needs credit, so its producer may have to wait. *Control* needs no credit and never waits
//! behind data, so a full pipeline can still ack, fail and end.

use std::sync::Arc;

use bytes::Bytes;

use crate::api::SourceMeta;
use crate::clock::Time;
use crate::event_time::TimeMark;
use crate::ids::{CheckpointId, Incarnation, WorkerId};
use crate::runtime::acking::acker::Outcome;
use crate::runtime::acking::records::AckRecords;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::charge::Charge;
use crate::runtime::flow::checkpoint::{CheckpointEvent, CheckpointOrder, Restored, StorageJob};
use crate::runtime::flow::link::Link;
use crate::tuple::TupleBatch;

/// A batch for one task.
pub struct TaskBatch {
    /// The tuples.
    pub batch: TupleBatch,
    /// Their source: component, stream and task.
    pub meta: Arc<SourceMeta>,
    /// The target, counted from the first task of its executor.
    pub local_task: u32,
}

/// A batch on its way to a task of another executor.
pub struct Incoming {
    /// The batch and its target.
    pub input: TaskBatch,
    /// The link whose credit the batch holds; released when it is processed.
    pub link: Arc<Link>,
    /// What the link was charged for it.
    pub charge: Charge,
    /// When it was sent. If it waits for too long, tree clocks stand still.
    pub sent_at: Time,
}

/// What travels in the data lane of an inbox. What comes over one link keeps its order.
pub enum DataMessage {
    /// A batch from this worker.
    Batch(Incoming),
    /// A batch from another worker, still encoded. The consumer decodes it, so that the poller need not.
    Encoded {
        /// The batch in the codec of `tuple`.
        bytes: Bytes,
        /// Everything but the tuples: its batch is empty.
        incoming: Incoming,
    },
    /// The barrier of a checkpoint. It needs no credit.
    Barrier {
        /// The link that it came over.
        link: Arc<Link>,
        /// The barrier.
        barrier: Barrier,
        /// When it was sent.
        sent_at: Time,
    },
    /// How far event time is. It needs no credit.
    Time {
        /// The link that it came over.
        link: Arc<Link>,
        /// How far it is.
        mark: TimeMark,
        /// When it was sent.
        sent_at: Time,
    },
}

impl DataMessage {
    /// The link that it came over. Its kind decides which channel it takes.
    pub fn link(&self) -> &Link {
        match self {
            DataMessage::Batch(incoming) | DataMessage::Encoded { incoming, .. } => &incoming.link,
            DataMessage::Barrier { link, .. } | DataMessage::Time { link, .. } => link,
        }
    }

    /// How much of the link's credit it holds, in tuples and bytes.
    pub fn charge(&self) -> Charge {
        match self {
            DataMessage::Batch(incoming) | DataMessage::Encoded { incoming, .. } => incoming.charge,
            DataMessage::Barrier { .. } | DataMessage::Time { .. } => Charge::default(),
        }
    }

    /// When it was sent.
    pub fn sent_at(&self) -> Time {
        match self {
            DataMessage::Batch(incoming) | DataMessage::Encoded { incoming, .. } => incoming.sent_at,
            DataMessage::Barrier { sent_at, .. } | DataMessage::Time { sent_at, .. } => *sent_at,
        }
    }
}

/// What may come over the control lane. Each kind of executor handles its own variants, and names those
/// that it ignores, so that a new variant must be considered for every kind of executor.
pub enum Control {
    /// About trees of tuples.
    Tree(TreeMessage),
    /// What an executor is to do.
    Command(ExecutorCommand),
    /// An acker or a worker was lost: blocks fail because of it.
    Loss(Loss),
    /// What the coordinator is to do.
    End(EndRequest),
    /// What an executor of tasks is to do about checkpoints.
    Checkpoint(CheckpointCommand),
    /// To the coordinator: what has happened to a checkpoint.
    CheckpointEvent(CheckpointEvent),
    /// To the coordinator of one worker of several: what the master wants done about a checkpoint.
    CheckpointOrder(CheckpointOrder),
    /// To the executor that writes checkpoints.
    Storage(StorageJob),
}

/// What executors send each other about trees. Of all control messages, only these are also sent from one
/// worker to another.
pub enum TreeMessage {
    /// To an acker: records of one executor's step.
    Acks(AckRecords),
    /// To a spout's executor: outcomes of its blocks.
    Outcomes(Vec<Outcome>),
}

/// A command to executors of this worker. Commands are never sent to executors of another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutorCommand {
    /// To all: spouts may emit, and tasks that were not built yet are built.
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

/// What executors of tasks do about checkpoints. Never sent to executors of another worker.
pub enum CheckpointCommand {
    /// To spouts: take part in this checkpoint, and send its barrier.
    Begin(Barrier),
    /// To all: the checkpoint is complete and durable.
    Committed(CheckpointId),
    /// To all: drop every instance and everything in hand, and take nothing until `Restore`.
    Halt,
    /// To all: take this, for the recovery with this number, and wait for the others.
    Restore(u64, Arc<Restored>),
    /// To all: everybody has what was restored, so run.
    Resume,
}

/// What was lost, as reported by the ingress of this worker, or by an acker of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// To a spout's executor: an acker lost its entries, so every block that it kept fails.
    Acker {
        /// Which of the topology's ackers.
        acker: usize,
    },
    /// To an acker, and where there is event time to executors of tasks: a worker is lost.
    Worker {
        /// Which.
        worker: WorkerId,
        /// Its next incarnation.
        next: Incarnation,
        /// The first membership without the lost incarnation.
        membership: u64,
    },
}

/// A request to the coordinator of this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndRequest {
    /// End the topology in order.
    Drain,
    /// A component cannot continue: end the topology in order. The lifecycle holds the reason.
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

impl From<CheckpointCommand> for Control {
    fn from(command: CheckpointCommand) -> Control {
        Control::Checkpoint(command)
    }
}

impl From<CheckpointEvent> for Control {
    fn from(event: CheckpointEvent) -> Control {
        Control::CheckpointEvent(event)
    }
}

impl From<CheckpointOrder> for Control {
    fn from(order: CheckpointOrder) -> Control {
        Control::CheckpointOrder(order)
    }
}

impl From<StorageJob> for Control {
    fn from(job: StorageJob) -> Control {
        Control::Storage(job)
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
