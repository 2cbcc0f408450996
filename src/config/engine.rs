//! The options of the engine, as opposed to those of one topology: the file `squall.toml`.
//!
//! A topology document describes what is computed, and is the same on a laptop and in a cluster; the
//! engine's file describes how this installation runs it. `topology::declare` reads the file
//! (`parse_engine`); this module checks the values, from a file or from Rust.

use serde::{Deserialize, Serialize};

use crate::config::daemons::{ClusterOptions, SupervisorOptions};
use crate::config::limits::{BATCH_HEAP_MAX, FRAME_OVERHEAD_MAX};
use crate::config::net::NetOptions;
use crate::config::nimbus::NimbusOptions;
use crate::config::problems::{OptionProblem, Problems};
use crate::config::secrets::SecretsOptions;
use crate::config::topology::TopologyOptions;
use crate::config::units::show_size;
use crate::config::worker::WorkerOptions;
use crate::config::zookeeper::ZooKeeperOptions;

/// All options of an engine. [`Default`] has the values of an empty file.
///
/// # Examples
/// ```
/// use squall::config::EngineOptions;
/// assert!(EngineOptions::default().problems().is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineOptions {
    /// `[net]`.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker: WorkerOptions,
    /// `[zookeeper]`.
    pub zookeeper: ZooKeeperOptions,
    /// `[cluster]`.
    pub cluster: ClusterOptions,
    /// `[nimbus]`.
    pub nimbus: NimbusOptions,
    /// `[supervisor]`.
    pub supervisor: SupervisorOptions,
    /// `[secrets]`.
    pub secrets: SecretsOptions,
}

impl EngineOptions {
    /// Everything that is wrong with these options.
    pub fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = self.net.problems();
        problems.extend(self.worker.problems());
        problems.extend(self.zookeeper.problems());
        problems.extend(self.nimbus.problems());
        problems.extend(self.supervisor.problems());
        problems
    }

    /// Problems of these options with a topology: its largest tuple must fit a frame.
    pub fn problems_with(&self, topology: &TopologyOptions) -> Vec<OptionProblem> {
        let mut problems = Problems::default();
        let tuple = topology.queue.tuple_size_max;
        let needed = tuple.saturating_add(FRAME_OVERHEAD_MAX + BATCH_HEAP_MAX as u64);
        if needed > self.net.frame_max as u64 {
            let message = format!(
                "a tuple of `topology.queue.tuple_size_max` ({}) does not fit a frame of `net.frame_max` ({})",
                show_size(tuple),
                show_size(self.net.frame_max as u64)
            );
            let least = show_size(needed.next_multiple_of(1 << 20));
            let help = format!("set `net.frame_max` to {least} or more, or `tuple_size_max` to less");
            problems.add("net.frame_max", None, message, help);
        }
        problems.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_defaults_fit_each_other_and_those_of_topologies() {
        let options = EngineOptions::default();
        assert_eq!(options.problems(), []);
        assert_eq!(options.problems_with(&TopologyOptions::default()), []);
    }

    #[test]
    fn the_largest_tuple_must_fit_a_frame() {
        let options = EngineOptions::default();
        let mut topology = TopologyOptions::default();
        topology.queue.tuple_size_max = 16 << 20;
        let problems = options.problems_with(&topology);
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            "a tuple of `topology.queue.tuple_size_max` (16MiB) does not fit a frame of `net.frame_max` \
             (16MiB) (set `net.frame_max` to 17MiB or more, or `tuple_size_max` to less)"
        );
    }

    #[test]
    fn problems_of_all_tables_are_found() {
        let mut options = EngineOptions::default();
        options.net.heartbeat = Duration::ZERO;
        options.worker.heartbeat = Duration::ZERO;
        let keys: Vec<_> = options.problems().iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["net.heartbeat", "worker.heartbeat"]);
    }
}
