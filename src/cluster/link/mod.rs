//! The control channel of a worker in a cluster: the messages of `control`, over TCP, between the worker and the
//! master of its topology.
//!
//! ```text
//!   worker: control reader · reports                       master: shell ⇄ core
//!                 ▲  │ socket pair                                  ▲  │
//!                 │  ▼                                              │  ▼
//!            WorkerLink ── thread "squall-link" ═══ TCP ═══ thread "squall-links" ── MasterLinks
//! ```
//!
//! * `hello`: the handshake, by which both prove that they know the secret of the topology.
//! * `resend`: lines are numbered, and sent again on the next connection if the other side may not have got them.
//! * `connection`: a socket without waiting, plain or with TLS, and its lines.
//! * `arrival`: what a process that connects has to say, and what it is answered.
//! * `living`: what a worker that runs has to tell a master that did not start it.
//! * `worker_link`, `master_links`: both ends. `links_thread`: the thread of the master's, `accepted` its connections, and
//!   `commands` what it is to
//!   do.
//! * `observers`: who asks how the topology goes, or for logs. `observed_links`: what the thread does for them.
//!   `log_questions`: questions about logs that are under way. `log_reader`: reads the log of a process.
//!
//! 1. A connection that breaks is not an event. The process connects again, and no line is lost or comes twice. What
//!    counts as a death is silence, or another process of the same worker.
//! 2. A process that connects to a master that does not know it reports what it runs (*living*). The master adopts it,
//!    or refuses it (*fenced*), and then it ends.
//! 3. A worker obeys the master with the highest epoch that it has seen. It reads in its order where that is.

mod accepted;
mod arrival;
mod commands;
mod connection;
mod hello;
mod links_thread;
mod living;
mod log_questions;
mod log_reader;
mod master_links;
mod observed_links;
mod observers;
mod resend;
mod worker_link;

pub use arrival::{Arrival, StartedAt, Welcome};
pub use hello::{Challenge, Hello, Known};
pub use links_thread::LinkEvent;
pub use living::{LifeLog, Living, outlives_its_master};
pub use master_links::{LINKS_THREAD, MasterLinks};
pub use observers::{ObserverAccess, Observers};
pub use worker_link::WorkerLink;
