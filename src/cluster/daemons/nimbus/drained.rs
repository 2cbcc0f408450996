//! Which hosts an operator wants empty: a node of its own, which the leader writes, so it outlives leaders and supervisors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::coordination::{NodePath, Record};

/// The node with the hosts that are to be empty.
pub(super) fn drained_node() -> NodePath {
    NodePath::root().child("drained").expect("it is a name")
}

/// The hosts that are to be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainedRecord {
    /// The epoch of the nimbus that has written this.
    pub epoch: u64,
    /// By id: since when it is to be empty, for people.
    pub hosts: BTreeMap<String, String>,
}

impl Record for DrainedRecord {
    const KIND: &'static str = "drained";
    const VERSION: u32 = 1;
    /// Room for some thousands of hosts.
    const BYTES_MAX: usize = 512 * 1024;
}
