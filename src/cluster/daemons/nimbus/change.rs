//! How a topology that runs is changed: what is wanted is written into its spec, and the rest follows from that.
//!
//! Each change is one write, so a leader that dies has made it or not. A savepoint is taken by the master, which sees the
//! wish in its order. A restart or a rebalance is a new generation: the next pass writes an assignment of it, the master
//! of the assignment before ends, and the next master begins with workers that are started anew. A rebalance that only
//! spreads workers over the hosts ends nothing but those that move ([decision
//! 0035](../../../../docs/decisions/0035-changing-a-topology.md)).

use slog::info;

use crate::cluster::daemons::nimbus::answers::{info_of, workers_of};
use crate::cluster::daemons::nimbus::decision::{Change, Known, decide_with_moves};
use crate::cluster::daemons::nimbus::found::{FoundTopology, find, no_topology, read_all, read_topology};
use crate::cluster::daemons::nimbus::lacked_secrets::nowhere;
use crate::cluster::daemons::nimbus::leader::{Leader, Work, known, load};
use crate::cluster::daemons::nimbus::problems::HostProblems;
use crate::cluster::daemons::nimbus::standing::Fence;
use crate::cluster::daemons::nimbus::trial::judge;
use crate::cluster::operations::{
    MoveInfo, OperationError, RebalanceRequest, Rebalanced, SavepointRequest, TopologyInfo, WorkerInfo,
};
use crate::cluster::schedule::Move;
use crate::cluster::topologies::{BlobHash, SavepointWish, SpecRecord, absolute};
use crate::topology::Topology;

/// Has a topology take a savepoint.
pub(super) fn want_savepoint(
    leader: &Leader,
    name: &str,
    request: &SavepointRequest,
) -> Result<TopologyInfo, OperationError> {
    if let Some(directory) = &request.directory {
        absolute(directory).map_err(|error| OperationError::Invalid(error.to_string()))?;
    }
    leader.work_on(|work, fence| {
        let found = running(leader, fence, name)?;
        if !request.stops {
            no_upgrade_is_pending(name, &found.spec.record)?;
        }
        let topology = load(&mut work.sources, &found).map_err(OperationError::Unavailable)?;
        if !topology.options().delivery.is_exactly_once() {
            return Err(OperationError::Conflict(format!(
                "topology `{name}` takes no checkpoints, and a savepoint is one: only a topology with \
                 `delivery = \"exactly-once\"` takes them"
            )));
        }
        let spec = &found.spec.record;
        let answered = found.state.as_ref().and_then(|state| state.record.savepoint.as_ref());
        let answered = answered.map_or(0, |answer| answer.number);
        let number = match &spec.savepoint {
            Some(wish) if wish.number > answered => {
                if (&wish.directory, wish.stops) != (&request.directory, request.stops) {
                    return Err(OperationError::Conflict(format!(
                        "another savepoint of topology `{name}` is wanted and not taken yet: wait until it is, see \
                         `squall status {name}`"
                    )));
                }
                return info_now(leader, fence, name, &found);
            }
            wish => wish.as_ref().map_or(0, |wish| wish.number).max(answered) + 1,
        };
        let wish = SavepointWish { number, directory: request.directory.clone(), stops: request.stops };
        let next = SpecRecord { savepoint: Some(wish), ..to_be_stopped(&found).unwrap_or(spec.clone()) };
        write_spec(leader, work, fence, (name, &found), next)?;
        info!(leader.logger, "a savepoint is wanted of a topology"; "id" => %found.id, "number" => number,
            "stops" => request.stops);
        info_now(leader, fence, name, &found)
    })
}

/// Has all workers of a topology begin anew, where they are.
pub(super) fn restart(leader: &Leader, name: &str) -> Result<TopologyInfo, OperationError> {
    leader.work_on(|work, fence| {
        let found = running(leader, fence, name)?;
        let spec = &found.spec.record;
        no_upgrade_is_pending(name, spec)?;
        some_host_has_its_secrets(leader, work, fence, &found)?;
        let next = SpecRecord { generation: spec.generation + 1, spreads: false, ..spec.clone() };
        write_spec(leader, work, fence, (name, &found), next)?;
        info!(leader.logger, "a topology is restarted"; "id" => %found.id);
        info_now(leader, fence, name, &found)
    })
}

/// A topology that begins anew without its secrets would run nowhere.
fn some_host_has_its_secrets(
    leader: &Leader,
    work: &mut Work,
    fence: &Fence<'_>,
    found: &FoundTopology,
) -> Result<(), OperationError> {
    // One whose blob is away stays where it is.
    let Ok(topology) = load(&mut work.sources, found) else { return Ok(()) };
    if topology.secrets().next().is_none() {
        return Ok(());
    }
    let all = read_all(fence).map_err(|error| leader.refused(error))?;
    let hosts = all.map_or_else(Vec::new, |all| leader.look_at_hosts(work, &all));
    nowhere(&topology, &hosts).map_or(Ok(()), |why| Err(OperationError::Conflict(why)))
}

/// Has a topology run in another way, or plans that. Without other values its workers are spread over the hosts, and those
/// that stay where they are go on. Nothing is written if it does not fit.
pub(super) fn rebalance(
    leader: &Leader,
    name: &str,
    request: &RebalanceRequest,
) -> Result<Rebalanced, OperationError> {
    leader.work_on(|work, fence| {
        let topology = running(leader, fence, name)?;
        let spec = &topology.spec.record;
        no_upgrade_is_pending(name, spec)?;
        let refused = |error| leader.refused_source(error);
        let before = work.sources.load(&spec.source).map_err(refused)?;
        let spreads = request.overrides.is_empty();
        // Without other values it is the topology that runs, whoever has its code.
        let changed = match spreads {
            true => None,
            false => Some(work.sources.with_overrides(&spec.source, &request.overrides).map_err(refused)?),
        };
        let after = changed.as_ref().map_or(&*before, |(_, after)| after);
        check_same(&before, after)?;
        let blob = changed.as_ref().map(|(bytes, _)| (BlobHash::of(bytes), bytes));
        let next = SpecRecord {
            source: blob.as_ref().map_or_else(|| spec.source.clone(), |(hash, _)| hash.clone()),
            generation: spec.generation + 1,
            spreads,
            ..spec.clone()
        };
        let planned = plan(leader, work, fence, &next, after)?;
        if request.dry_run {
            return Ok(planned);
        }
        if let Some(short) = planned.short {
            return Err(OperationError::Conflict(format!(
                "topology `{name}` does not fit so, and runs on as it is: {short}"
            )));
        }
        if let Some((hash, bytes)) = blob {
            work.sources.blobs.put(&hash, bytes).map_err(|error| leader.refused_blob(&error))?;
        }
        let generation = Some(next.generation);
        write_spec(leader, work, fence, (name, &topology), next)?;
        info!(leader.logger, "a topology is rebalanced"; "id" => %topology.id, "generation" => generation,
            "overrides" => request.overrides.join(" "));
        Ok(Rebalanced { generation, workers: workers_now(leader, fence, &topology)?, ..planned })
    })
}

/// Where the workers of a topology run now.
pub(super) fn workers_now(
    leader: &Leader,
    fence: &Fence<'_>,
    found: &FoundTopology,
) -> Result<Vec<WorkerInfo>, OperationError> {
    let now = read_topology(fence, &found.id).map_err(|error| leader.refused(error))?;
    let assignment = now.and_then(|now| now.assignment);
    Ok(workers_of(assignment.as_ref().and_then(|stored| stored.record.placement.as_ref())))
}

/// While it is not known what comes of an upgrade, the topology is changed in no other way.
pub(super) fn no_upgrade_is_pending(name: &str, spec: &SpecRecord) -> Result<(), OperationError> {
    match spec.pending_upgrade() {
        None => Ok(()),
        Some(upgrade) => Err(OperationError::Conflict(format!(
            "topology `{name}` is being upgraded: wait until the new one is up or rolled back, which takes at most {} s, \
             or end it by `squall stop {name}` or `squall kill {name}`",
            upgrade.timeout_ms / 1000
        ))),
    }
}

/// The spec of a topology that is to be stopped while it is not known what comes of its upgrade: a topology that is not
/// up does not end in order, so the one before does.
pub(super) fn to_be_stopped(found: &FoundTopology) -> Option<SpecRecord> {
    let state = found.state.as_ref().map(|stored| &stored.record);
    judge(&found.spec.record, state, Some("it was stopped before the new one was up"))
}

/// What a topology cannot change while it runs: its name, and where its checkpoints are.
pub(super) fn check_same(before: &Topology, after: &Topology) -> Result<(), OperationError> {
    let invalid = |what: &str| {
        Err(OperationError::Invalid(format!(
            "{what} of a topology that runs cannot be changed: stop it, with a savepoint if it takes checkpoints, and \
             submit another one"
        )))
    };
    let (old, new) = (before.options(), after.options());
    match () {
        () if before.name() != after.name() => invalid("the name"),
        () if old.delivery != new.delivery => invalid("`topology.delivery`"),
        () if old.checkpoint.storage != new.checkpoint.storage => invalid("`topology.checkpoint.storage`"),
        () if old.checkpoint.wal_storage != new.checkpoint.wal_storage => {
            invalid("`topology.checkpoint.wal_storage`")
        }
        () if old.key_groups != new.key_groups => invalid("`topology.key_groups`"),
        () => Ok(()),
    }
}

/// Where a topology would run with another spec, beside the others.
pub(super) fn plan(
    leader: &Leader,
    work: &mut Work,
    fence: &Fence<'_>,
    next: &SpecRecord,
    topology: &Topology,
) -> Result<Rebalanced, OperationError> {
    let found = read_all(fence).map_err(|error| leader.refused(error))?;
    let found = found.ok_or_else(|| no_topology(next.id.name()))?;
    let hosts = leader.look_at_hosts(work, &found);
    let loaded: Vec<_> = found.topologies.iter().map(|other| load(&mut work.sources, other)).collect();
    let with_next = |(found, loaded)| {
        let known = known(found, loaded);
        match known.spec.id == next.id {
            true => Known { spec: next, topology: Ok(topology), ..known },
            false => known,
        }
    };
    let known: Vec<Known<'_>> = found.topologies.iter().zip(&loaded).map(with_next).collect();
    let (changes, mut moves) = decide_with_moves(fence.epoch, hosts, &known, "");
    let planned = changes.into_iter().find_map(|change| match change {
        Change::Assign(record) if record.id == next.id => Some(record),
        _ => None,
    });
    let (placement, short) = planned.map_or((None, None), |record| (record.placement, record.short));
    let moves = moves.remove(&next.id).unwrap_or_default();
    let info = |it: Move| MoveInfo {
        from: it.from.map(|slot| slot.to_string()),
        to: it.to.map(|slot| slot.to_string()),
        executors: it.executors as u64,
        why: it.why.to_string(),
    };
    Ok(Rebalanced {
        id: next.id.clone(),
        generation: None,
        workers: workers_of(placement.as_ref()),
        moves: moves.into_iter().map(info).collect(),
        short,
    })
}

/// A topology that has not ended, and is not to end.
pub(super) fn running(
    leader: &Leader,
    fence: &Fence<'_>,
    name: &str,
) -> Result<FoundTopology, OperationError> {
    let (_, found) = find(fence, name).map_err(|error| leader.refused(error))?;
    let found = found.ok_or_else(|| no_topology(name))?;
    let conflict = |what: &str| Err(OperationError::Conflict(format!("topology `{name}` {what}")));
    match () {
        () if found.has_ended() => conflict("has ended: submit it again"),
        () if found.spec.record.wanted.is_end() => conflict("is ending, and that cannot be taken back"),
        () => Ok(found),
    }
}

/// Writes what is wanted, with the next number, and has it followed at once.
pub(super) fn write_spec(
    leader: &Leader,
    work: &mut Work,
    fence: &Fence<'_>,
    (name, found): (&str, &FoundTopology),
    next: SpecRecord,
) -> Result<(), OperationError> {
    let next = SpecRecord { epoch: fence.epoch, change: found.spec.record.change + 1, ..next };
    match fence.set(&found.nodes.spec, &next, found.spec.version) {
        Ok(_) => {
            leader.pass(work, fence);
            Ok(())
        }
        Err(error) if error.is_race() => Err(OperationError::Unavailable(format!(
            "something else was wanted of topology `{name}` at the same moment: ask again"
        ))),
        Err(error) => Err(leader.refused(error)),
    }
}

pub(super) fn info_now(
    leader: &Leader,
    fence: &Fence<'_>,
    name: &str,
    found: &FoundTopology,
) -> Result<TopologyInfo, OperationError> {
    let now = read_topology(fence, &found.id).map_err(|error| leader.refused(error))?;
    let now = now.ok_or_else(|| no_topology(name))?;
    let problems = HostProblems::read(fence).map_err(|error| leader.refused(error))?;
    info_of(fence, &now, &problems).map_err(|error| leader.refused(error))
}
