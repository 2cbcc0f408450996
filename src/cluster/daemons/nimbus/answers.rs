//! What was read, as operators are answered.

use std::collections::BTreeMap;
use std::time::Duration;

use smol_str::SmolStr;

use crate::cluster::coordination::{
    CandidateRecord, ClusterRecord, LeaderRecord, candidates_of, read_record,
};
use crate::cluster::daemons::belonging::{cluster_node, nimbus_node};
use crate::cluster::daemons::nimbus::found::{Found, FoundTopology, read_all, read_supervisors};
use crate::cluster::daemons::nimbus::problems::HostProblems;
use crate::cluster::daemons::nimbus::standing::{Fence, LeadError};
use crate::cluster::daemons::supervisor::SupervisorRecord;
use crate::cluster::operations::{
    ClusterInfo, HostInfo, HostedInfo, LogLevelInfo, MasterInfo, NimbusInfo, SupervisorInfo, TopologyInfo,
    WorkerInfo,
};
use crate::cluster::schedule::Placement;
use crate::cluster::topologies::{MasterRecord, StateRecord, TopologyPhase};
use crate::tuple::Timestamp;

/// The workers of a placement, by number.
pub(super) fn workers_of(placement: Option<&Placement>) -> Vec<WorkerInfo> {
    let slots = placement.iter().flat_map(|placement| &placement.slots);
    let mut workers: Vec<WorkerInfo> = slots
        .map(|(worker, slot)| WorkerInfo { worker: worker.0, host: slot.host.to_string(), slot: slot.number })
        .collect();
    workers.sort_unstable_by_key(|worker| worker.worker);
    workers
}

/// A topology. `problems`: those of all hosts.
pub(super) fn info_of(
    fence: &Fence<'_>,
    found: &FoundTopology,
    problems: &HostProblems,
) -> Result<TopologyInfo, LeadError> {
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
    let StateRecord { mut phase, mut outcome, savepoint, generation, verdict, .. } =
        state.unwrap_or_default();
    if let Some(ended) = &spec.ended {
        (phase, outcome) = (TopologyPhase::Ended, Some(ended.clone()));
    }
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
        log: spec.log.as_ref().map(|log| LogLevelInfo {
            levels: log.levels.clone(),
            until: Timestamp(i64::try_from(log.until.saturating_mul(1_000_000)).unwrap_or(i64::MAX))
                .to_string(),
        }),
        upgrade: spec.upgrade.clone(),
        verdict: verdict.filter(|_| spec.pending_upgrade().is_some_and(|it| it.generation == generation)),
        workers: workers_of(assignment.and_then(|assignment| assignment.placement.as_ref())),
        master,
        short: assignment.and_then(|assignment| assignment.short.clone()),
        problems: problems.of_topology(&found.id),
    })
}

/// How long hosts are blacklisted from now on, by id.
pub(super) type Blacklisted = BTreeMap<SmolStr, Duration>;

/// All hosts about which there is something to say, by id: those that are there, and those of which something is wanted,
/// or where something should run.
pub(super) fn hosts_of(found: &Found, blacklisted: &Blacklisted) -> BTreeMap<String, HostInfo> {
    let mut hosts: BTreeMap<String, HostInfo> = BTreeMap::new();
    fn of<'a>(hosts: &'a mut BTreeMap<String, HostInfo>, id: &str) -> &'a mut HostInfo {
        hosts.entry(id.to_owned()).or_insert_with(|| HostInfo { id: id.to_owned(), ..HostInfo::default() })
    }
    for supervisor in &found.supervisors {
        of(&mut hosts, &supervisor.id).is_there = true;
    }
    for (id, since) in &found.drained.hosts {
        of(&mut hosts, id).drained_since = Some(since.clone());
    }
    for (id, left) in blacklisted {
        of(&mut hosts, id).blacklisted_for = Some(left.as_secs());
    }
    for assignment in found.topologies.iter().filter_map(|topology| topology.assignment.as_ref()) {
        let assignment = &assignment.record;
        let mut there: BTreeMap<&str, HostedInfo> = BTreeMap::new();
        let hosted = || HostedInfo {
            topology: assignment.id.name().to_owned(),
            workers: Vec::new(),
            master: false,
            short: assignment.short.clone(),
        };
        for (worker, slot) in assignment.placement.iter().flat_map(|placement| &placement.slots) {
            there.entry(&slot.host).or_insert_with(hosted).workers.push(worker.0);
        }
        if let Some(master) = &assignment.master {
            there.entry(master).or_insert_with(hosted).master = true;
        }
        for (host, mut hosted) in there {
            hosted.workers.sort_unstable();
            of(&mut hosts, host).runs.push(hosted);
        }
    }
    hosts
}

/// The cluster.
pub(super) fn cluster_of(fence: &Fence<'_>, blacklisted: &Blacklisted) -> Result<ClusterInfo, LeadError> {
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
    let found = read_all(fence)?;
    let mut hosts = found.as_ref().map_or_else(BTreeMap::new, |found| hosts_of(found, blacklisted));
    let problems = HostProblems::read(fence)?;
    let supervisors = found.map_or_else(|| read_supervisors(fence), |found| Ok(found.supervisors))?;
    let supervisor = |record: SupervisorRecord| {
        let host = hosts.remove(&record.id).unwrap_or_default();
        let (problems, problems_left_out) = problems.of_host(&record.id);
        let used: usize = host.runs.iter().map(|hosted| hosted.workers.len()).sum();
        SupervisorInfo {
            used: u16::try_from(used).unwrap_or(u16::MAX),
            rack: record.rack,
            slots: record.slots,
            resources: record.resources,
            platform: record.platform,
            started_at: record.started_at,
            host: HostInfo { id: record.id, is_there: true, problems, problems_left_out, ..host },
        }
    };
    let supervisors = supervisors.into_iter().map(supervisor).collect();
    Ok(ClusterInfo {
        id: cluster.map(|(record, _)| record.id).unwrap_or_default(),
        epoch: leader.as_ref().map_or(0, |leader| leader.epoch),
        leader: leader.and_then(|leader| leader.holder).map(|holder| holder.id),
        nimbuses,
        supervisors,
        missing: hosts.into_values().collect(),
    })
}
