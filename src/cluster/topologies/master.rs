//! Who decides for a topology.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::cluster::coordination::Record;

/// The master of a topology: which process decides, and where workers reach it.
///
/// The supervisor to which the master is assigned writes it: once with the next epoch and without an address before it
/// starts the process, and once more when the process listens. So each process of a master has an epoch of its own, and
/// a master whose successor was begun has a lower one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterRecord {
    /// One more with each process of the master. Workers obey the highest that they have seen.
    pub epoch: u64,
    /// The id of the supervisor that has started it.
    pub supervisor: String,
    /// Random, and new with each process, so that no two supervisors of one id write the same.
    pub token: String,
    /// Where workers reach it; `None`: it does not listen yet.
    pub address: Option<SocketAddr>,
}

impl Record for MasterRecord {
    const KIND: &'static str = "master";
    const VERSION: u32 = 1;
}
