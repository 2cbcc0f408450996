//! How a topology is taken.
//!
//! ```text
//!   catalog: the next number ─▶ /topologies/<id>, spec, assignment (nowhere yet) ─▶ catalog: the name ─▶ a pass
//! ```
//!
//! 1. The number is taken before anything is called by it, so nothing is ever called by it again.
//! 2. The topology is there when the catalog has its name. Until then its nodes are garbage, which the next pass deletes.
//! 3. If it is not known whether the catalog was written, the next pass writes everything once before it deletes
//!    anything. So what it finds stays as it is.

use std::sync::Arc;

use rand::Rng as _;
use slog::info;

use crate::cluster::access::{Caller, Right, TopologyAccess, UserName};
use crate::cluster::daemons::nimbus::answers::workers_of;
use crate::cluster::daemons::nimbus::decision::{Change, Known, NOT_PLACED_YET, decide};
use crate::cluster::daemons::nimbus::found::{Found, read_all, read_topology};
use crate::cluster::daemons::nimbus::lacked_secrets::nowhere;
use crate::cluster::daemons::nimbus::leader::{Leader, Work, known, load};
use crate::cluster::daemons::nimbus::standing::{Fence, LeadError, Stored};
use crate::cluster::operations::{OperationError, SubmitRequest, Submitted};
use crate::cluster::topologies::{
    AssignmentRecord, CatalogRecord, SpecRecord, TopologyBegin, TopologyId, TopologyNodes, Wanted,
    topologies_node,
};
use crate::topology::Topology;

/// Characters of the longest owner.
const OWNER_MAX: usize = 100;

/// Takes a topology of somebody, or plans it.
pub(super) fn submit(
    leader: &Leader,
    request: &SubmitRequest,
    by: &Caller,
) -> Result<Submitted, OperationError> {
    let owner = by.name().map_or(&*request.owner, UserName::as_str);
    check_owner(owner)?;
    check_access(&request.access)?;
    leader.work_on(|work, fence| {
        let taken = work.sources.take(&request.source);
        let topology = taken.map_err(|error| leader.refused_source(error))?;
        let found = read_all(fence).map_err(|error| leader.refused(error))?;
        let found = found.ok_or_else(|| {
            OperationError::Unavailable("there is no catalog of topologies yet: ask again".to_owned())
        })?;
        let catalog = &found.catalog.record;
        check_begin(&request.begin, &topology)?;
        let id = TopologyId::new(topology.name(), catalog.next)
            .map_err(|error| OperationError::Invalid(error.to_string()))?;
        check_name(catalog, &found, &id, by)?;
        if let Some(why) = nowhere(&topology, &leader.look_at_hosts(work, &found)) {
            return Err(OperationError::Conflict(why));
        }
        let spec = draft(leader, work, fence, (request, owner), &id);
        if request.dry_run {
            return Ok(plan(leader, work, fence, &found, &spec, &topology));
        }
        take(work, fence, &found.catalog, &spec).map_err(|error| leader.refused(error))?;
        info!(leader.logger, "a topology was submitted"; "id" => %id, "owner" => &spec.owner);
        leader.pass(work, fence);
        Ok(placed(fence, id))
    })
}

fn check_owner(owner: &str) -> Result<(), OperationError> {
    match owner.chars().count() <= OWNER_MAX && !owner.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(OperationError::Invalid(format!(
            "an owner is a name of at most {OWNER_MAX} characters, without control characters"
        ))),
    }
}

pub(super) fn check_access(access: &TopologyAccess) -> Result<(), OperationError> {
    match access.is_short() {
        true => Ok(()),
        false => Err(OperationError::Invalid("a topology has at most 256 users and 256 readers".to_owned())),
    }
}

/// Only a topology that takes checkpoints can begin with one.
fn check_begin(begin: &TopologyBegin, topology: &Topology) -> Result<(), OperationError> {
    begin.to_checkpoint_begin().map_err(|error| OperationError::Invalid(error.to_string()))?;
    match begin.is_default() || topology.options().delivery.is_exactly_once() {
        true => Ok(()),
        false => Err(OperationError::Invalid(format!(
            "topology `{}` takes no checkpoints, so it cannot begin with one: only a topology with \
             `delivery = \"exactly-once\"` takes them",
            topology.name()
        ))),
    }
}

/// A name is free if no topology has it, or one that has ended and that whoever asks may remove.
fn check_name(
    catalog: &CatalogRecord,
    found: &Found,
    id: &TopologyId,
    by: &Caller,
) -> Result<(), OperationError> {
    let Some(other) = catalog.topologies.get(id.name()) else { return Ok(()) };
    let topology = found.topologies.iter().find(|topology| topology.id == *other);
    // Without a spec it cannot run, and is nobody's.
    let Some(topology) = topology else { return Ok(()) };
    let spec = &topology.spec.record;
    if !topology.has_ended() {
        return Err(OperationError::Conflict(format!(
            "there is a topology `{}` already: kill it and wait until it has ended, or give this one another name",
            id.name()
        )));
    }
    match Right::Operate.is_of(by, Some((&spec.owner, &spec.access))) {
        true => Ok(()),
        false => Err(OperationError::Conflict(format!(
            "there is a topology `{}` already, which has ended and is somebody else's: give this one another name",
            id.name()
        ))),
    }
}

fn draft(
    leader: &Leader,
    work: &mut Work,
    fence: &Fence<'_>,
    (request, owner): (&SubmitRequest, &str),
    id: &TopologyId,
) -> SpecRecord {
    SpecRecord {
        epoch: fence.epoch,
        id: id.clone(),
        change: 1,
        owner: owner.to_owned(),
        access: request.access.clone(),
        submitted_at: leader.date(),
        source: request.source.clone(),
        generation: 1,
        spreads: false,
        run: format!("{:016x}{:016x}", work.rng.next_u64(), work.rng.next_u64()),
        begin: request.begin.clone(),
        wanted: if request.inactive { Wanted::Inactive } else { Wanted::Active },
        savepoint: None,
        log: None,
        upgrade: None,
        dropped: Vec::new(),
        ended: None,
    }
}

/// Writes all that makes it a topology of the cluster.
fn take(
    work: &mut Work,
    fence: &Fence<'_>,
    catalog: &Stored<CatalogRecord>,
    spec: &SpecRecord,
) -> Result<(), LeadError> {
    let (epoch, id) = (fence.epoch, &spec.id);
    let node = topologies_node();
    // From here on it is not known what the catalog is, unless all of this is done.
    work.begun = None;
    let mut next = CatalogRecord { epoch, next: id.number() + 1, ..catalog.record.clone() };
    let version = fence.set(&node, &next, catalog.version)?;
    let nodes = TopologyNodes::of(id);
    fence.create_raw(&nodes.root, b"")?;
    fence.create(&nodes.spec, spec)?;
    let short = Some(NOT_PLACED_YET.to_owned());
    let nowhere = AssignmentRecord {
        epoch,
        id: id.clone(),
        change: 1,
        source: spec.source.clone(),
        generation: spec.generation,
        is_upgrade: false,
        placement: None,
        needs: Vec::new(),
        master: None,
        short,
    };
    fence.create(&nodes.assignment, &nowhere)?;
    next.topologies.insert(id.name().to_owned(), id.clone());
    fence.set(&node, &next, version)?;
    work.begun = Some(epoch);
    Ok(())
}

/// Where it runs now.
fn placed(fence: &Fence<'_>, id: TopologyId) -> Submitted {
    let name = id.name().to_owned();
    let assignment = read_topology(fence, &id).ok().flatten().and_then(|found| found.assignment);
    let (placement, short) = match assignment {
        Some(Stored { record, .. }) => (record.placement, record.short),
        // It was taken. Where it runs is found out by asking again.
        None => (None, Some(NOT_PLACED_YET.to_owned())),
    };
    Submitted { id: Some(id), name, workers: workers_of(placement.as_ref()), short }
}

/// Where it would run.
fn plan(
    leader: &Leader,
    work: &mut Work,
    fence: &Fence<'_>,
    found: &Found,
    spec: &SpecRecord,
    topology: &Arc<Topology>,
) -> Submitted {
    let hosts = leader.look_at_hosts(work, found);
    let others = found.topologies.iter().filter(|other| other.id.name() != spec.id.name());
    let loaded: Vec<_> = others.map(|other| (other, load(&mut work.sources, other))).collect();
    let new = Known::new(spec, None, Ok(topology));
    let known = loaded.iter().map(|(found, loaded)| known(found, loaded)).chain([new]);
    let changes = decide(fence.epoch, hosts, &known.collect::<Vec<_>>(), "");
    let planned = changes.into_iter().find_map(|change| match change {
        Change::Assign(record) if record.id == spec.id => Some(record),
        _ => None,
    });
    let (placement, short) = planned.map_or((None, None), |record| (record.placement, record.short));
    let name = spec.id.name().to_owned();
    Submitted { id: None, name, workers: workers_of(placement.as_ref()), short }
}
