//! Runs topologies.

pub mod acker;
mod local;
mod stats;

pub use local::{LocalOptions, RunningTopology, StartError};
pub use stats::{ComponentStats, LatencyStats, TopologyStats};
