//! Routing: from the tuple that user code emits to a batch for each target task.
//!
//! ```text
//!   emit ─▶ stage ─▶ emitter ─▶ subscription ─▶ grouping picks the task
//!                                   └─▶ target (batch under construction) ─▶ outgoing ─▶ link, inbox
//! ```
//!
//! * [`emitter`]: one per task; the streams, and who subscribes to each.
//! * [`subscription`]: spreads a stage over the tasks of one subscriber, as its [`grouping`] decides.
//! * [`target`]: the batch under construction for one task.
//! * [`outgoing`]: what the subscriptions of a task share: links, edges, counts.

pub mod emitted_times;
pub mod emitter;
pub mod grouping;
pub mod outgoing;
pub mod subscription;
pub mod target;
