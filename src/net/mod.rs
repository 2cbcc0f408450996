//! The wire between workers. It carries the payloads of executors over connections that may break at
//! any byte; each payload is taken once and in order.
//!
//! ```text
//!   worker X                                                worker Y
//!   outbox ─▶ Mesh: Sender ──  dials: payloads, heartbeats ──▶ Receiver ─▶ Application::payload
//!                          ◀── TAKEN, CREDIT, heartbeats ────
//!   and a second connection, dialed by Y, for the other direction
//! ```
//!
//! [`Mesh`] is a state machine: bytes and time in, bytes and upcalls out. It does no I/O, reads no
//! clock, starts no thread, and takes its random numbers from a seed. So the simulation, the fuzz
//! targets and the poller drive the same code.
//!
//! 1. Each incarnation of a peer takes a payload once. The sender keeps the payload until the peer
//!    reports it as taken (TAKEN), and writes it again on the next connection; the receiver drops
//!    duplicates by their sequence.
//! 2. Payloads of one lane are taken in the order they were sent. Ack records and outcomes have a lane
//!    of their own and do not wait behind batches.
//! 3. When an incarnation of a peer ends, the application gets back the credit that was outstanding and
//!    the number of payloads that were not taken. Nothing from that incarnation is accepted any more.
//! 4. No input from the network ends the worker or makes it allocate without bound. Bad input closes
//!    its connection and is counted by its reason.
//! 5. Both ends of a connection send at least every `heartbeat`. The end that receives nothing for
//!    `silence` closes the connection. So a connection that works in one direction only is down for both.
//!
//! Not decided here: how much may be on its way (the credit of links), what payloads mean (the
//! application), and who is a member (the parent).

mod application;
pub(crate) mod bridge;
mod connection;
mod counts;
mod fault;
pub mod frame;
pub mod handshake;
mod members;
mod mesh;
mod outbound;
mod outbox;
pub mod payload;
mod peer;
mod poller;
pub(crate) mod receiver;
pub(crate) mod sender;
pub(crate) mod tls;
pub(crate) mod transfer;
pub(crate) mod transport;

pub use application::{Application, Direction, LinkState, PayloadError};
pub use connection::{CHUNK_BYTES_MAX, ConnId, SLICES_MAX};
pub use counts::{ByReason, NetCounts};
pub use fault::LinkFault;
pub use members::{Endpoint, Identity, Member, Members, Secret, TopologyKey};
pub use mesh::{Action, Mesh, UNPROVEN_MAX};
pub use outbound::{HEADROOM, LinkCredit, Outbound, PayloadKind};
pub use outbox::{Outbox, outlet};
pub use payload::STATUS_MAX;
pub use poller::{NetStatus, ORDERLY_END, PeerStatus, Poller, PollerHandle, Wire};
