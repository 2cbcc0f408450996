//! How a topology that runs is changed: what is wanted is written into its spec, and the rest follows from that.
//!
//! Each change is one write, so a leader that dies has made it or not. A savepoint is taken by the master, which sees the
//! wish in its order.

use slog::info;

use crate::cluster::daemons::nimbus::answers::info_of;
use crate::cluster::daemons::nimbus::found::{FoundTopology, find, no_topology, read_topology};
use crate::cluster::daemons::nimbus::leader::{Leader, Work, load};
use crate::cluster::daemons::nimbus::standing::Fence;
use crate::cluster::operations::{OperationError, SavepointRequest, TopologyInfo};
use crate::cluster::topologies::{SavepointWish, SpecRecord, absolute};

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
        let next = SpecRecord { savepoint: Some(wish), ..spec.clone() };
        write_spec(leader, work, fence, (name, &found), next)?;
        info!(leader.logger, "a savepoint is wanted of a topology"; "id" => %found.id, "number" => number,
            "stops" => request.stops);
        info_now(leader, fence, name, &found)
    })
}

/// A topology that has not ended, and is not to end.
fn running(leader: &Leader, fence: &Fence<'_>, name: &str) -> Result<FoundTopology, OperationError> {
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
fn write_spec(
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

fn info_now(
    leader: &Leader,
    fence: &Fence<'_>,
    name: &str,
    found: &FoundTopology,
) -> Result<TopologyInfo, OperationError> {
    let now = read_topology(fence, &found.id).map_err(|error| leader.refused(error))?;
    let now = now.ok_or_else(|| no_topology(name))?;
    info_of(fence, &now).map_err(|error| leader.refused(error))
}
