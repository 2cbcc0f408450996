//! The members of a topology: how a worker identifies itself, and which peers it expects.
//!
//! The parent decides on membership. It numbers each change and sends the list to all workers. A worker
//! only compares the numbers, so that a list that arrives late changes nothing.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::ids::{Incarnation, WorkerId};

/// One run of one topology. Workers of two runs never connect, even if the topology is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyKey {
    /// Its name, a legal one: see `ids::is_legal_name`.
    pub name: SmolStr,
    /// Random bytes, drawn by the parent for each run.
    pub run: [u8; 16],
}

/// One incarnation of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The worker.
    pub worker: WorkerId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}, incarnation {}", self.worker, self.incarnation)
    }
}

/// What identifies a worker in the handshake. Between two workers that connect, only `worker` and
/// `incarnation` may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The run it belongs to.
    pub topology: TopologyKey,
    /// The version of the assignment of executors to workers.
    pub assignment: u64,
    /// A hash over what peers must agree on to understand each other's tuples: components, streams,
    /// fields.
    pub schema: u64,
    /// Its place in the assignment.
    pub worker: WorkerId,
    /// Which incarnation of the worker this is.
    pub incarnation: Incarnation,
}

impl Identity {
    /// The worker and its incarnation.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { worker: self.worker, incarnation: self.incarnation }
    }
}

/// The secret that the workers of one run share. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret of these bytes, which must be random.
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// The bytes, to hand them to a worker.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A worker in the list of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its place in the assignment.
    pub worker: WorkerId,
    /// Its present incarnation. Older incarnations are refused.
    pub incarnation: Incarnation,
    /// The address on which it listens. `None`: it does not listen yet.
    pub address: Option<SocketAddr>,
}

/// All workers of a topology at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Counts changes, from 1. An address that becomes known is not a change, so two lists of one
    /// version differ in addresses only.
    pub version: u64,
    /// Each worker once, the receiver of the list included.
    pub members: Vec<Member>,
}
