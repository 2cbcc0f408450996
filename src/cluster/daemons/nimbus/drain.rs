//! How an operator empties a host: one write says that it is to be empty, and the passes do the rest.
//!
//! A host that is to be empty gets nothing new, and what runs there moves as soon as there is room elsewhere. What has no
//! other place stays: such a wish never ends a topology.

use slog::info;

use crate::cluster::daemons::nimbus::answers::hosts_of;
use crate::cluster::daemons::nimbus::drained::{DrainedRecord, drained_node};
use crate::cluster::daemons::nimbus::found::read_all;
use crate::cluster::daemons::nimbus::leader::Leader;
use crate::cluster::operations::{HostInfo, OperationError};

/// Has a host emptied, or used again. A host that is used again has a clean slate, so it leaves the blacklist, too.
pub(super) fn set_drained(leader: &Leader, host: &str, drained: bool) -> Result<HostInfo, OperationError> {
    leader.work_on(|work, fence| {
        let refused = |error| leader.refused(error);
        let before = fence.read::<DrainedRecord>(&drained_node()).map_err(refused)?;
        let Some(before) = before else {
            // Only a person can have deleted it.
            work.begun = None;
            let why = "the node with the drained hosts is missing, and is made now: ask again";
            return Err(OperationError::Unavailable(why.to_owned()));
        };
        let mut next = DrainedRecord { epoch: fence.epoch, ..before.record };
        let is_drained = next.hosts.contains_key(host);
        if !is_drained && !leader.knows_host(work, fence, host).map_err(refused)? {
            return Err(OperationError::NoSupervisor { id: host.to_owned() });
        }
        if is_drained != drained {
            match drained {
                true => drop(next.hosts.insert(host.to_owned(), leader.date())),
                false => drop(next.hosts.remove(host)),
            }
            fence.set(&drained_node(), &next, before.version).map_err(refused)?;
            let what = if drained { "a host is to be empty" } else { "a host is used again" };
            info!(leader.logger, "{}", what; "host" => host);
        }
        if !drained {
            work.hosts.release(host);
        }
        leader.pass(work, fence);
        let found = read_all(fence).map_err(refused)?;
        let info = found.and_then(|found| hosts_of(&found, &leader.blacklisted()).remove(host));
        Ok(info.unwrap_or_else(|| HostInfo { id: host.to_owned(), ..HostInfo::default() }))
    })
}
