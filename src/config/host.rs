//! What a host of a cluster has.

use serde::{Deserialize, Serialize};

use crate::config::resources::{Cpu, Resources};

/// What a host of a cluster has. [`Default`] has the values of a host about which nothing is said, as in Storm: 4 slots,
/// 4 cores and 4 GiB.
///
/// # Examples
/// ```
/// use squall::config::{Cpu, HostOptions};
/// assert_eq!(HostOptions::default().resources.cpu, Cpu::cores(4.0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostOptions {
    /// `rack`: hosts of one rack are near each other.
    pub rack: String,
    /// `slots`: how many workers it may run.
    pub slots: u16,
    /// `cpu` and `memory`.
    pub resources: Resources,
    /// `count`: so many hosts like this one. Then a number is added to the id: `node-1`, `node-2`.
    pub count: Option<u32>,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions {
            rack: "default-rack".to_owned(),
            slots: 4,
            resources: Resources { cpu: Cpu(4000), memory: 4 << 30 },
            count: None,
        }
    }
}
