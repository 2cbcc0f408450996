//! `[topology.scheduling]`: how a cluster chooses the hosts of a topology.

use serde::{Deserialize, Serialize};

/// How the executors of a topology are spread over the hosts of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulingStrategy {
    /// As many workers as `workers` has, each in a slot, dealt to the hosts in turn. Counts slots only, as Storm's
    /// even scheduler does.
    #[default]
    Even,
    /// As few hosts as processor time and memory allow, all in one rack if it can be, as Storm's resource-aware
    /// scheduler does. No host is promised more than it has.
    ResourceAware,
}

impl SchedulingStrategy {
    /// The names in documents.
    pub const NAMES: &'static [&'static str] = &["even", "resource-aware"];

    /// The strategy of a name.
    pub(crate) fn named(name: &str) -> SchedulingStrategy {
        if name == "resource-aware" { SchedulingStrategy::ResourceAware } else { SchedulingStrategy::Even }
    }

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            SchedulingStrategy::Even => "even",
            SchedulingStrategy::ResourceAware => "resource-aware",
        }
    }
}

/// Options of `[topology.scheduling]`. A run without a cluster does not use them.
///
/// # Examples
/// ```
/// use squall::config::{SchedulingOptions, SchedulingStrategy};
///
/// let options = SchedulingOptions {
///     strategy: SchedulingStrategy::ResourceAware,
///     spread: vec!["store".to_owned()],
///     ..SchedulingOptions::default()
/// };
/// assert_eq!((options.priority, options.isolate), (29, None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulingOptions {
    /// `strategy`.
    pub strategy: SchedulingStrategy,
    /// `priority`: which topology goes first when there is not enough for all. 0 comes first, and 29 is Storm's default.
    pub priority: u32,
    /// `isolate`: so many hosts run this topology and no other.
    pub isolate: Option<u32>,
    /// `spread`: components of which each host runs one executor at most.
    pub spread: Vec<String>,
    /// `exclusive`: groups of components. No worker runs two components of a group.
    pub exclusive: Vec<Vec<String>>,
    /// `favor`: hosts that are tried before all others.
    pub favor: Vec<String>,
    /// `avoid`: hosts that are tried after all others.
    pub avoid: Vec<String>,
}

impl SchedulingOptions {
    /// Whether a component is in a group of components that must not share a worker.
    pub fn is_exclusive(&self, component: &str) -> bool {
        self.exclusive.iter().flatten().any(|other| other == component)
    }
}

impl Default for SchedulingOptions {
    fn default() -> SchedulingOptions {
        SchedulingOptions {
            strategy: SchedulingStrategy::default(),
            priority: 29,
            isolate: None,
            spread: Vec::new(),
            exclusive: Vec::new(),
            favor: Vec::new(),
            avoid: Vec::new(),
        }
    }
}
