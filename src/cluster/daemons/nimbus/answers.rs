//! What was read, as operators are answered.

use std::collections::BTreeMap;

use crate::cluster::coordination::{
    CandidateRecord, ClusterRecord, LeaderRecord, candidates_of, read_record,
};
use crate::cluster::daemons::belonging::{cluster_node, nimbus_node};
use crate::cluster::daemons::nimbus::found::{FoundTopology, read_all, read_supervisors};
use crate::cluster::daemons::nimbus::standing::{Fence, LeadError};
use crate::cluster::daemons::supervisor::SupervisorRecord;
use crate::cluster::operations::{
    ClusterInfo, MasterInfo, NimbusInfo, SupervisorInfo, TopologyInfo, WorkerInfo,
};
use crate::cluster::schedule::Placement;
use crate::cluster::topologies::{MasterRecord, StateRecord};

/// The workers of a placement, by number.
pub(super) fn workers_of(placement: Option<&Placement>) -> Vec<WorkerInfo> {
    let slots = placement.iter().flat_map(|placement| &placement.slots);
    let mut workers: Vec<WorkerInfo> = slots
        .map(|(worker, slot)| WorkerInfo { worker: worker.0, host: slot.host.to_string(), slot: slot.number })
        .collect();
    workers.sort_unstable_by_key(|worker| worker.worker);
    workers
}

/// A topology.
pub(super) fn info_of(fence: &Fence<'_>, found: &FoundTopology) -> Result<TopologyInfo, LeadError> {
    let spec = &found.spec.record;
    let assignment = found.assignment.as_ref().map(|stored| &stored.record);
    let host = assignment.and_then(|assignment| assignment.master.clone());
    let master = match host {
        None => None,
        Some(host) => {
            let record = read_record::<MasterRecord>(fence.coordination, &found.nodes.master)?;
            let record = record.map(|(record, _)| record);
            let epoch = record.as_ref().map_or(0, |record| record.epoch);
            // Another host has started it if the assignment is newer.
            let address = record.filter(|record| record.supervisor == host).and_then(|record| record.address);
            Some(MasterInfo { host, epoch, address })
        }
    };
    let state = found.state.as_ref().map(|stored| stored.record.clone());
    let StateRecord { phase, outcome, savepoint, generation, .. } = state.unwrap_or_default();
    Ok(TopologyInfo {
        id: found.id.clone(),
        name: found.id.name().to_owned(),
        owner: spec.owner.clone(),
        access: spec.access.clone(),
        submitted_at: spec.submitted_at.clone(),
        wanted: spec.wanted,
        generation: spec.generation,
        runs: generation,
        phase,
        outcome,
        savepoint_wanted: spec.savepoint.clone(),
        savepoint,
        workers: workers_of(assignment.and_then(|assignment| assignment.placement.as_ref())),
        master,
        short: assignment.and_then(|assignment| assignment.short.clone()),
    })
}

/// The cluster.
pub(super) fn cluster_of(fence: &Fence<'_>) -> Result<ClusterInfo, LeadError> {
    let coordination = fence.coordination;
    let cluster = read_record::<ClusterRecord>(coordination, &cluster_node())?;
    let leader = read_record::<LeaderRecord>(coordination, &nimbus_node())?.map(|(leader, _)| leader);
    let candidates = candidates_of(&nimbus_node()).expect("it is a short path");
    let mut nimbuses = Vec::new();
    for name in coordination.children(&candidates)?.unwrap_or_default() {
        let Ok(path) = candidates.child(&name) else { continue };
        let found = read_record::<CandidateRecord>(coordination, &path)?;
        nimbuses.extend(found.map(|(record, _)| NimbusInfo { id: record.id, address: record.address }));
    }
    let mut used: BTreeMap<String, u16> = BTreeMap::new();
    for topology in read_all(fence)?.map_or_else(Vec::new, |found| found.topologies) {
        let placement = topology.assignment.and_then(|assignment| assignment.record.placement);
        for (_, slot) in placement.iter().flat_map(|placement| &placement.slots) {
            *used.entry(slot.host.to_string()).or_default() += 1;
        }
    }
    let supervisor = |record: SupervisorRecord| SupervisorInfo {
        used: used.get(&record.id).copied().unwrap_or(0),
        id: record.id,
        rack: record.rack,
        slots: record.slots,
        resources: record.resources,
        platform: record.platform,
        started_at: record.started_at,
    };
    Ok(ClusterInfo {
        id: cluster.map(|(record, _)| record.id).unwrap_or_default(),
        epoch: leader.as_ref().map_or(0, |leader| leader.epoch),
        leader: leader.and_then(|leader| leader.holder).map(|holder| holder.id),
        nimbuses,
        supervisors: read_supervisors(fence)?.into_iter().map(supervisor).collect(),
    })
}
