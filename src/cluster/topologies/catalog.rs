//! Which topologies there are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::coordination::Record;
use crate::cluster::topologies::id::TopologyId;

/// All topologies of a cluster. One compare-and-set adds a topology or removes it, so a name is used once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogRecord {
    /// The epoch of the nimbus that has written this.
    pub epoch: u64,
    /// The number that the next topology gets. A number that was given and not used is not given again.
    pub next: u64,
    /// By name: the topologies that are there, ended ones included until they are removed.
    pub topologies: BTreeMap<String, TopologyId>,
}

impl Record for CatalogRecord {
    const KIND: &'static str = "catalog";
    const VERSION: u32 = 1;
    /// Room for some thousands of topologies.
    const BYTES_MAX: usize = 512 * 1024;
}
