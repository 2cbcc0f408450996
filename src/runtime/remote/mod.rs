//! Executors of other workers, as the executors of this one see them.
//!
//! ```text
//!   emitter, acker ─▶ Address::There ─▶ payload (bytes) ─▶ Outlet      implemented by `net`
//!   inboxes, links ◀─ Ingress ◀── payload (bytes) ◀─────────────────── called by `net`
//! ```
//!
//! Nothing here deals with connections. A payload that is passed to an [`Outlet`] reaches the incarnation
//! of the worker it was meant for exactly once, unless that incarnation is lost. Then
//! `Ingress::workers_lost` is called, and it starts everything that must be done after a loss.

pub mod address;
pub mod cycles_elsewhere;
pub mod ingress;
pub mod payload;
