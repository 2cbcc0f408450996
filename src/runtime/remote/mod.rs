//! Executors of other workers, as the executors of this one see them.
//!
//! ```text
//!   emitter, acker ─▶ Address::There ─▶ payload (bytes) ─▶ Outlet      implemented by `net`
//!   inboxes, links ◀─ Ingress ◀── payload (bytes) ◀─────────────────── told by `net`
//! ```
//!
//! Nothing here knows of connections. What is handed to an [`Outlet`] either reaches the incarnation
//! of the worker it was meant for, once, or that incarnation is gone, and `Ingress::workers_lost` is
//! called. Everything that follows from a loss follows from that call.

pub mod address;
pub mod cycles_elsewhere;
pub mod ingress;
pub mod payload;
