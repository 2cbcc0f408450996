//! What a leader has read.

use crate::cluster::coordination::{RecordAccessError, Version, read_record};
use crate::cluster::daemons::belonging::supervisors_node;
use crate::cluster::daemons::nimbus::drained::{DrainedRecord, drained_node};
use crate::cluster::daemons::nimbus::standing::{Fence, LeadError, Stored};
use crate::cluster::daemons::supervisor::SupervisorRecord;
use crate::cluster::operations::OperationError;
use crate::cluster::topologies::{
    AssignmentRecord, CatalogRecord, SpecRecord, StateRecord, TopologyId, TopologyNodes, TopologyPhase,
    topologies_node,
};

/// A topology of the catalog.
#[derive(Clone, Debug)]
pub(super) struct FoundTopology {
    pub id: TopologyId,
    pub nodes: TopologyNodes,
    pub spec: Stored<SpecRecord>,
    pub assignment: Option<Stored<AssignmentRecord>>,
    pub state: Option<Stored<StateRecord>>,
}

impl FoundTopology {
    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        let state = self.state.as_ref();
        self.spec.record.ended.is_some()
            || state.is_some_and(|state| state.record.phase == TopologyPhase::Ended)
    }
}

/// All that a pass decides from.
#[derive(Debug)]
pub(super) struct Found {
    pub catalog: Stored<CatalogRecord>,
    pub topologies: Vec<FoundTopology>,
    pub supervisors: Vec<SupervisorRecord>,
    /// The hosts that are to be empty.
    pub drained: DrainedRecord,
}

/// Reads everything. `None`: there is no catalog.
pub(super) fn read_all(fence: &Fence<'_>) -> Result<Option<Found>, LeadError> {
    let Some(catalog) = fence.read::<CatalogRecord>(&topologies_node())? else { return Ok(None) };
    let mut topologies = Vec::new();
    for id in catalog.record.topologies.values() {
        topologies.extend(read_topology(fence, id)?);
    }
    let drained =
        fence.read::<DrainedRecord>(&drained_node())?.map(|stored| stored.record).unwrap_or_default();
    Ok(Some(Found { catalog, topologies, supervisors: read_supervisors(fence)?, drained }))
}

/// Reads one topology of the catalog. `None`: it has no spec, which only a person can have deleted.
pub(super) fn read_topology(fence: &Fence<'_>, id: &TopologyId) -> Result<Option<FoundTopology>, LeadError> {
    let nodes = TopologyNodes::of(id);
    let Some(spec) = fence.read::<SpecRecord>(&nodes.spec)? else { return Ok(None) };
    let assignment = fence.read::<AssignmentRecord>(&nodes.assignment)?;
    let state = read_record::<StateRecord>(fence.coordination, &nodes.state)?;
    let stored = |(record, version): (StateRecord, Version)| Stored { record, version };
    Ok(Some(FoundTopology { id: id.clone(), nodes, spec, assignment, state: state.map(stored) }))
}

/// The supervisors that are there, by id.
pub(super) fn read_supervisors(fence: &Fence<'_>) -> Result<Vec<SupervisorRecord>, LeadError> {
    let node = supervisors_node();
    let mut supervisors = Vec::new();
    for name in fence.coordination.children(&node)?.unwrap_or_default() {
        let Ok(path) = node.child(&name) else { continue };
        // One that has left meanwhile is not there.
        let found: Result<_, RecordAccessError> = read_record::<SupervisorRecord>(fence.coordination, &path);
        supervisors.extend(found?.map(|(record, _)| SupervisorRecord { id: name, ..record }));
    }
    Ok(supervisors)
}

/// The answer if there is none.
pub(super) fn no_topology(name: &str) -> OperationError {
    OperationError::NoTopology { name: name.to_owned() }
}

/// The catalog, and a topology of it.
pub(super) type Search = (Option<Stored<CatalogRecord>>, Option<FoundTopology>);

/// Looks for a topology by its name.
pub(super) fn find(fence: &Fence<'_>, name: &str) -> Result<Search, LeadError> {
    let Some(catalog) = fence.read::<CatalogRecord>(&topologies_node())? else { return Ok((None, None)) };
    let id: Option<TopologyId> = catalog.record.topologies.get(name).cloned();
    let found = id.map(|id| read_topology(fence, &id)).transpose()?.flatten();
    Ok((Some(catalog), found))
}
