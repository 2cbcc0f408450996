//! What processes of a cluster agree on: the contract, kept by the service in memory, and what a simulation can do to it.

#[path = "../coordination_kit/mod.rs"]
mod coordination_kit;

mod contract;
mod faults;
mod model;
