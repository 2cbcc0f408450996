//! Decides when a checkpoint is taken, when it is complete, and when all tasks go back to one: a pure machine.
//!
//! ```text
//!            loaded          all answered
//!   Loading ───────▶ Restoring ──────────▶ Running ──────────────────▶ Committing ─▶ Closing ─▶ Over
//!      ▲                                     │     the last is complete
//!      │ all have halted,                    │ a task has lost what no other has
//!      │ nothing is on its way               ▼
//!      └────────────────────────────────── Halting
//!
//!   While it runs: due ─▶ barriers are sent ─▶ all parts durable ─▶ published ─▶ Committed is sent to all
//!                                   └─ too long, or refused: given up, and with it all that began later
//! ```
//!
//! 1. A start is a recovery: executors begin halted, and take what was restored, which may be nothing.
//! 2. A checkpoint is complete when its manifest is durable, and not before. What is committed is complete.
//! 3. Several checkpoints may be under way (`max_concurrent`). They become complete in their order. The last one, and
//!    savepoints, are alone. A number is never used again, whether its checkpoint became complete or not.
//! 4. If a checkpoint did not become complete, or tasks went back to one, the next has all of the state: what has
//!    changed since the one before is not enough.
//! 5. While bolts finish, no checkpoint begins: between them, some have emitted their last tuples and some have not.
//!    The last checkpoint begins when all have finished. If tuples were in flight, as in a cycle, another one is the last.
//! 6. If the run ends because of an error, no checkpoint becomes complete any more: the tuple that could not be executed
//!    comes again when the run is continued.
//! 7. If tasks lose what they had again and again, and no checkpoint becomes complete in between, the run ends.
//! 8. A checkpoint that somebody wants now begins as soon as one can (`wanted_checkpoints`, `savepoints`).
//!
//! The caller carries out each action, and reports what comes of it. If the topology runs in one process, the caller
//! is the coordinator; if it runs in several, the master.
//!
//! `machine` has the state and what happens in order, `pending` the checkpoints that are under way, `recovery` how all
//! tasks go back, `ending` the last checkpoint, `on_demand` those that somebody wants.

mod ending;
mod machine;
mod on_demand;
mod pending;
mod recovery;

pub use machine::CheckpointSequence;
