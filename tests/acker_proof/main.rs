//! Proofs of the acker: every order of small trees, and a long random walk beside an explicit tree.
//!
//! What must never happen is a *false completion*: the acker calls a block complete although an
//! edge of it was not processed. That message would be lost without a trace. What must not happen
//! when links de-duplicate is a *hang*: everything arrived and the block stays open. And nothing
//! may stay behind of a block that is over (a *ghost*), for Storm's acker once leaked that way.
//!
//! * `exhaustive`: all trees of up to 4 edges, each record delivered 0 to 2 times, in every order.
//! * `model`: random operations; the tree is kept as a set of live edges and predicts each outcome.
//! * `suspects`: Storm's rule and ackers broken on purpose; the checkers must find each of them.

mod exhaustive;
mod model;
mod suspects;

use squall::runtime::acker::{AckRecord, Acker, Outcome};

/// Anything that claims to be an acker.
trait Tracker {
    fn apply(&mut self, record: AckRecord) -> Option<Outcome>;
    fn open(&self) -> usize;
}

impl Tracker for Acker {
    fn apply(&mut self, record: AckRecord) -> Option<Outcome> {
        Acker::apply(self, record)
    }

    fn open(&self) -> usize {
        Acker::open(self)
    }
}

/// What a checker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Violation {
    /// Complete, though an edge was not processed.
    FalseCompletion,
    /// Everything arrived, and it is not complete.
    Hang,
    /// An entry stays, or speaks, after its block is over.
    Ghost,
    /// An open block has no entry.
    Missing,
    /// A failure or reset was not passed on, or passed on for a block that is over.
    WrongReport,
}
