//! What a supervisor reads from the coordination service, and writes to it for its masters.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::coordination::{
    Coordination, CoordinationError, NodePath, Record, RecordAccessError, Version, encode_record, read_record,
};
use crate::cluster::topologies::{
    AssignmentRecord, CatalogRecord, MasterRecord, SpecRecord, StateRecord, TopologyId, TopologyNodes,
    topologies_node,
};

/// What is there for a supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The number that the next topology gets.
    pub catalog_next: u64,
    /// The topologies of the catalog.
    pub listed: BTreeSet<TopologyId>,
    /// Those of them that are assigned to it. Of some it is not known, because a record cannot be read:
    /// the text says why.
    pub topologies: BTreeMap<TopologyId, Result<FoundTopology, String>>,
}

/// A topology that runs on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTopology {
    /// What is wanted.
    pub spec: SpecRecord,
    /// Where it runs.
    pub assignment: AssignmentRecord,
    /// Who decides.
    pub master: Option<(MasterRecord, Version)>,
    /// How it goes.
    pub state: Option<(StateRecord, Version)>,
}

/// Reads what is assigned to a supervisor. `None`: there is no catalog, so nothing is known.
///
/// # Errors
/// When the service does not answer, or the catalog cannot be read.
pub fn read_topologies(
    coordination: &dyn Coordination,
    supervisor: &str,
) -> Result<Option<Reading>, RecordAccessError> {
    let Some((catalog, _)) = read_record::<CatalogRecord>(coordination, &topologies_node())? else {
        return Ok(None);
    };
    let listed = catalog.topologies.values().cloned().collect();
    let mut reading = Reading { catalog_next: catalog.next, listed, topologies: BTreeMap::new() };
    for id in catalog.topologies.into_values() {
        match read_topology(coordination, supervisor, &id) {
            Ok(None) => {}
            Ok(Some(found)) => _ = reading.topologies.insert(id, Ok(found)),
            Err(RecordAccessError::Record(error)) => {
                reading.topologies.insert(id, Err(error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(reading))
}

/// A topology; `None` if it is not assigned to the supervisor.
fn read_topology(
    coordination: &dyn Coordination,
    supervisor: &str,
    id: &TopologyId,
) -> Result<Option<FoundTopology>, RecordAccessError> {
    let nodes = TopologyNodes::of(id);
    let Some((assignment, _)) = read_record::<AssignmentRecord>(coordination, &nodes.assignment)? else {
        return Ok(None);
    };
    let is_here = assignment.has_master_on(supervisor) || assignment.workers_on(supervisor).next().is_some();
    if !is_here {
        return Ok(None);
    }
    let Some((spec, _)) = read_record::<SpecRecord>(coordination, &nodes.spec)? else {
        // Specs are written before assignments, so it was removed a moment ago.
        return Ok(None);
    };
    let master = read_record(coordination, &nodes.master)?;
    let state = read_record(coordination, &nodes.state)?;
    Ok(Some(FoundTopology { spec, assignment, master, state }))
}

/// What a supervisor publishes for the master of a topology. `expected`: the version of the node that is replaced; `None`:
/// there is none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The epoch of the next process of the master.
    Epoch {
        /// The topology.
        topology: TopologyId,
        /// The epoch.
        epoch: u64,
        /// See above.
        expected: Option<Version>,
    },
    /// Where the master listens.
    Address {
        /// The topology.
        topology: TopologyId,
        /// The record with the address.
        record: MasterRecord,
        /// See above.
        expected: Option<Version>,
    },
    /// What the master reports.
    State {
        /// The topology.
        topology: TopologyId,
        /// Its report.
        record: StateRecord,
        /// See above.
        expected: Option<Version>,
    },
}

impl Write {
    /// The topology.
    pub fn topology(&self) -> &TopologyId {
        match self {
            Write::Epoch { topology, .. }
            | Write::Address { topology, .. }
            | Write::State { topology, .. } => topology,
        }
    }
}

/// What was written, with the version that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The next epoch was begun.
    Epoch(MasterRecord, Version),
    /// The address was published.
    Address(MasterRecord, Version),
    /// The state was published.
    State(StateRecord, Version),
}

/// Writes something for the supervisor of this id. `token` is random.
///
/// # Errors
/// When somebody else has written the node, or the service does not answer.
pub fn write(
    coordination: &dyn Coordination,
    supervisor: &str,
    token: u64,
    write: &Write,
) -> Result<Written, RecordAccessError> {
    let nodes = TopologyNodes::of(write.topology());
    match write {
        Write::Epoch { epoch, expected, .. } => {
            let record = MasterRecord {
                epoch: *epoch,
                supervisor: supervisor.to_owned(),
                token: format!("{token:016x}"),
                address: None,
            };
            let version = put(coordination, &nodes.master, &record, *expected)?;
            Ok(Written::Epoch(record, version))
        }
        Write::Address { record, expected, .. } => {
            let version = put(coordination, &nodes.master, record, *expected)?;
            Ok(Written::Address(record.clone(), version))
        }
        Write::State { record, expected, .. } => {
            let version = put(coordination, &nodes.state, record, *expected)?;
            Ok(Written::State(record.clone(), version))
        }
    }
}

fn put<R: Record>(
    coordination: &dyn Coordination,
    node: &NodePath,
    record: &R,
    expected: Option<Version>,
) -> Result<Version, RecordAccessError> {
    let data = encode_record(node, record)?;
    let version: Result<Version, CoordinationError> = match expected {
        Some(version) => coordination.set(node, &data, version),
        None => coordination.create(node, &data),
    };
    Ok(version?)
}
