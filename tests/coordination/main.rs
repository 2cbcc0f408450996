//! What processes of a cluster agree on: the contract, kept by the service in memory, what a simulation can do to it,
//! records, and the election of a leader.

#[path = "../coordination_kit/mod.rs"]
mod coordination_kit;

mod contract;
mod election;
mod faults;
mod model;
mod records;
