//! An independent check of the ackers, for simulations.
//!
//! The audit counts, per tree, the tuple copies that exist: one more when a copy is sent or held, one less
//! when a copy is processed or a held tuple is acked or failed. When an acker reports that a tree is
//! complete, the count must be zero. So an XOR that became 0 by mistake is found, whatever the mistake
//! was. The code that moves tuples calls the audit, not the code that draws edges. In production there is
//! no audit.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::RootId;
use crate::tuple::TupleBatch;

#[derive(Debug, Default)]
struct Books {
    live: BTreeMap<RootId, i64>,
    lost: BTreeMap<RootId, u64>,
    violations: Vec<String>,
}

/// The count of live tuple copies per tree.
#[derive(Debug, Default)]
pub struct Audit(Mutex<Books>);

impl Audit {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn each_root(batch: &TupleBatch, mut then: impl FnMut(RootId, i64)) {
        for run in batch.runs.iter().filter(|run| run.root.is_tracked()) {
            then(run.root, i64::from(run.len));
        }
        batch.extras.iter().for_each(|(_, anchor)| then(anchor.root, 1));
    }

    /// A whole batch was created.
    pub fn created(&self, batch: &TupleBatch) {
        let mut books = self.books();
        Audit::each_root(batch, |root, copies| *books.live.entry(root).or_default() += copies);
    }

    /// A batch was taken back before it was sent.
    pub fn gone(&self, batch: &TupleBatch) {
        let mut books = self.books();
        Audit::each_root(batch, |root, copies| *books.live.entry(root).or_default() -= copies);
    }

    /// A batch was lost on its way.
    pub fn lost(&self, batch: &TupleBatch) {
        let mut books = self.books();
        Audit::each_root(batch, |root, copies| *books.lost.entry(root).or_default() += copies as u64);
    }

    /// This many copies of a tree were created (positive) or processed (negative).
    pub fn change(&self, root: RootId, copies: i64) {
        if root.is_tracked() {
            *self.books().live.entry(root).or_default() += copies;
        }
    }

    /// A spout received the outcome that the tree is complete.
    pub fn completed(&self, root: RootId) {
        let mut books = self.books();
        let live = books.live.remove(&root).unwrap_or(0);
        let lost = books.lost.remove(&root).unwrap_or(0);
        if live != 0 || lost != 0 {
            books
                .violations
                .push(format!("{root:?} was acked with {live} copies alive, {lost} of them lost"));
        }
    }

    /// The violations found so far.
    pub fn violations(&self) -> Vec<String> {
        self.books().violations.clone()
    }
}
