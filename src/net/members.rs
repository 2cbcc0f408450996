//! Who takes part in a topology: what a worker says of itself, and whom it expects.
//!
//! Membership is the parent's to decide. It numbers each change and tells all workers; here the
//! numbers are only compared, so that what comes late changes nothing.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::ids::{Incarnation, WorkerId};

/// One run of one topology. Two runs of the same topology are strangers to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyKey {
    /// Its name, a legal one: see `ids::is_legal_name`.
    pub name: SmolStr,
    /// Random bytes, drawn by the parent for each run.
    pub run: [u8; 16],
}

/// One life of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The worker.
    pub worker: WorkerId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}, incarnation {}", self.worker, self.incarnation)
    }
}

/// What a worker says of itself and demands of its peers: only `worker` and `incarnation` may differ
/// between two that talk.
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
    /// Which life of it this is.
    pub incarnation: Incarnation,
}

impl Identity {
    /// The life that is named.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { worker: self.worker, incarnation: self.incarnation }
    }
}

/// What the workers of one run know and nobody else does. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret of these bytes, which must be random.
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// The bytes, for whoever hands them to a worker.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A worker, as the parent knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its place in the assignment.
    pub worker: WorkerId,
    /// Its present life. What an older one says is refused.
    pub incarnation: Incarnation,
    /// Where it listens. `None`: it does not yet.
    pub address: Option<SocketAddr>,
}

/// All workers of a topology at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Counts changes, from 1. An address that becomes known is not a change, so two lists of one
    /// version differ in addresses only.
    pub version: u64,
    /// Each worker once, itself included.
    pub members: Vec<Member>,
}
