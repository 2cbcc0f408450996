//! Topologies: written in TOML or built in Rust, one validated graph. Pure: no thread, no clock.

pub mod graph;
pub mod order;
pub mod plan;
pub mod registry;
