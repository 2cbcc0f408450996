//! Micro-batches, as bolts see them.

use crate::ids::CheckpointId;

/// A batch of an `exactly-once` topology: what lies between two barriers.
///
/// Batches are committed in the order of their transaction ids, and no id is left out. If one is not committed, because
/// its checkpoint fails or all tasks go back, its id comes again with a later attempt; so do the ids of all batches after
/// it. What belongs to it may then be something else: a failed checkpoint does not take back what was processed, so the
/// next attempt has it, too, and what came after it. A store that keeps the value of before the last transaction id beside
/// the value can begin such a batch again, as Trident's opaque state does.
///
/// # Examples
/// A sink that notes which batch wrote a total:
/// ```
/// use squall::api::Batch;
/// use squall::ids::CheckpointId;
/// use squall::prelude::*;
/// # use squall::testing::{BoltHarness, TestTuple};
///
/// #[derive(Default)]
/// struct Totals {
///     rows: u64,
///     written: Vec<(u64, u64)>,
/// }
///
/// impl Bolt for Totals {
///     fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
///         self.rows += 1;
///         Ok(())
///     }
///
///     fn pre_commit(&mut self, _: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let Batch { txid, .. } = out.batch().expect("a batch ends");
///         self.written.push((txid, std::mem::take(&mut self.rows)));
///         Ok(())
///     }
/// }
/// # let mut bolt = BoltHarness::new(Totals::default());
/// # bolt.execute(TestTuple::new(["storm"]).fields(["word"]));
/// # bolt.checkpoint(1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    /// The transaction id, from 1.
    pub txid: u64,
    /// The attempt: the checkpoint with which the batch ends. Later attempts have higher ones, over restarts, too.
    pub attempt: CheckpointId,
}
