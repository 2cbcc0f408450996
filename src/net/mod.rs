//! The wire between workers: payloads of executors, each taken once and in order, over connections
//! that may break at any byte.
//!
//! ```text
//!   worker X                                                worker Y
//!   outbox ─▶ Mesh: Sender ──  dials: payloads, heartbeats ──▶ Receiver ─▶ Application::payload
//!                          ◀── TAKEN, CREDIT, heartbeats ────
//!   and a second connection, dialed by Y, for the other direction
//! ```
//!
//! [`Mesh`] is a state machine: bytes and time in, bytes and upcalls out. It does no I/O, reads no
//! clock, starts no thread and draws from a seed, so the simulation, the fuzz targets and the poller
//! drive the same code.
//!
//! 1. A payload is taken once by each life of a peer: it is kept until the peer says that it took it,
//!    written again on the next connection, and de-duplicated by its sequence.
//! 2. Payloads of one lane are taken in the order they were sent; acks and outcomes have a lane of
//!    their own and never wait behind tuples.
//! 3. When a life of a peer ends, what was not taken and the credit that was out are handed back, and
//!    nothing that comes from that life is accepted any more.
//! 4. Nothing that comes in ends the worker or makes it allocate without bound: it closes the one
//!    link, and is counted by its reason.
//! 5. Both ends of a link speak at least each `heartbeat`; whichever hears nothing for `silence`
//!    closes it. So a link that works one way only is down for both.
//!
//! How much may be on its way is not decided here, but by the credit of links. What payloads mean is
//! the application's. Who is a member, the parent's.

mod application;
pub mod bridge;
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
pub mod receiver;
pub mod sender;
mod tls;
mod transfer;
mod transport;

pub use application::{Application, Direction, LinkState, PayloadError};
pub use connection::{CHUNK_BYTES_MAX, ConnId, SLICES_MAX};
pub use counts::{ByReason, NetCounts};
pub use fault::LinkFault;
pub use members::{Endpoint, Identity, Member, Members, Secret, TopologyKey};
pub use mesh::{Action, Mesh, UNPROVEN_MAX};
pub use outbound::{HEADROOM, Outbound, PayloadKind};
pub use outbox::{Outbox, outlet};
pub use payload::STATUS_MAX;
pub use poller::{NetStatus, ORDERLY_END, PeerStatus, Poller, PollerHandle, Wire};
