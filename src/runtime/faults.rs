//! Faults that tests inject into a running topology.
//!
//! Production passes no [`Faults`], and an executor without them asks nothing. The testing kit
//! implements the trait: it drops batches, lets tasks die before they take one, and changes the records
//! that an acker receives.

use crate::runtime::acking::records::AckRecords;
use crate::tuple::TupleBatch;

/// What becomes of a batch that a test interferes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is processed.
    Deliver,
    /// It is lost.
    Drop,
    /// The task dies before it takes the batch.
    Crash,
}

/// Interference for tests: asked for every batch before a task takes it.
pub trait Faults: Send + Sync {
    /// What becomes of a batch for a task of a component.
    fn fate(&self, component: &str, task_index: usize, batch: &TupleBatch) -> Fate;

    /// May change what an acker is told.
    fn tamper(&self, _records: &mut AckRecords) {}
}
