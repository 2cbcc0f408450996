//! Faults that tests inject into a running topology.
//!
//! In production there are no [`Faults`]. The testing kit implements the trait: it drops batches, makes
//! tasks crash before they take a batch, changes the records that an acker receives, and plants defects in the
//! protocol of checkpoints, which the simulation must find.

use crate::runtime::acking::records::AckRecords;
use crate::tuple::TupleBatch;

/// What happens to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is processed.
    Deliver,
    /// It is lost.
    Drop,
    /// The task crashes before it takes the batch.
    Crash,
}

/// A defect of the protocol of checkpoints. See the methods of `FaultPlan` that plant them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointDefect {
    /// A barrier is passed on when it has come over one of several links.
    BarrierEarly,
    /// The first batch that an executor held during an alignment is skipped, at each alignment.
    HeldBatchSkipped,
    /// What is in flight when a barrier goes on is not recorded.
    InFlightForgotten,
    /// Tasks commit a checkpoint when its manifest is about to be published.
    CommitBeforeDurable,
    /// Bolts begin without a watermark after a restore.
    WatermarkForgotten,
    /// A write-ahead log is truncated when a checkpoint has the position of its spout, and not when that is complete.
    LogTruncatedEarly,
    /// A source that is read into a write-ahead log is acknowledged before the log has what was read.
    AckedBeforeLogged,
}

/// Faults that a test injects.
pub trait Faults: Send + Sync {
    /// What happens to a batch for a task of a component. Called for every batch before the task takes it.
    fn fate(&self, component: &str, task_index: usize, batch: &TupleBatch) -> Fate;

    /// May change the records that an acker has received.
    fn tamper(&self, _records: &mut AckRecords) {}

    /// The defect that is planted.
    fn checkpoint_defect(&self) -> Option<CheckpointDefect> {
        None
    }
}
