//! Connections between the workers of a topology.

pub mod members;
