//! Runs topologies.

mod local;
mod stats;

pub use local::{LocalOptions, RunningTopology, StartError};
pub use stats::{ComponentStats, LatencyStats, TopologyStats};
