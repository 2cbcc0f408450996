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

/// What lies in the data lane of an inbox.
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
    /// What is known without decoding.
    pub fn incoming(&self) -> &Incoming {
        match self {
            DataMessage::Batch(incoming) | DataMessage::Encoded { incoming, .. } => incoming,
        }
    }
}

/// What executors tell each other about trees, wherever they run: of all that comes over the control
/// lane, only this crosses from worker to worker.
pub enum Tracking {
    /// To an acker: records of one executor's step.
    Acks(AckRecords),
    /// To a spout's executor: what became of its blocks.
    Outcomes(Vec<Outcome>),
}

impl From<Tracking> for Control {
    fn from(message: Tracking) -> Control {
        match message {
            Tracking::Acks(records) => Control::Acks(records),
            Tracking::Outcomes(outcomes) => Control::Outcomes(outcomes),
        }
    }
}

/// What may come over the control lane.
pub enum Control {
    /// To an acker: records of one executor's step.
    Acks(AckRecords),
    /// To a spout's executor: what became of its blocks.
    Outcomes(Vec<Outcome>),
    /// To a spout's executor: an acker lost its entries; every block it kept fails.
    AckerLost {
        /// Which of the topology's ackers.
        acker: usize,
    },
    /// To an acker: a worker is lost, as this membership is the first to say.
    WorkerLost {
        /// Which.
        worker: WorkerId,
        /// Its next life.
        next: Incarnation,
        /// The membership.
        membership: u64,
    },
    /// To all: spouts may emit; what was not opened is opened.
    Activate,
    /// To spouts: rest.
    Deactivate,
    /// To spouts: emit no more, the topology is ending. To the coordinator: end it in order.
    Drain,
    /// To the coordinator: a component cannot go on. The reason stands in the lifecycle.
    Stop,
    /// To bolts: input has ended, call `finish`.
    Finish,
    /// To all: call `cleanup` or `close`; nothing follows. To the coordinator: end at once.
    Close,
    /// To any, from a test: lose the state of the task as a panic would.
    Crash,
}
