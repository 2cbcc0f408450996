//! How who may do what with a topology is changed: one write. The API looks at it with each request.

use slog::info;

use crate::cluster::access::AccessChange;
use crate::cluster::daemons::nimbus::change::{info_now, write_spec};
use crate::cluster::daemons::nimbus::found::{find, no_topology};
use crate::cluster::daemons::nimbus::leader::Leader;
use crate::cluster::daemons::nimbus::submission::check_access;
use crate::cluster::operations::{OperationError, TopologyInfo};
use crate::cluster::topologies::SpecRecord;

/// Changes who may do what with a topology, whether it runs or has ended.
pub(super) fn change_access(
    leader: &Leader,
    name: &str,
    change: &AccessChange,
) -> Result<TopologyInfo, OperationError> {
    if let Some(user) = change.contradiction() {
        return Err(OperationError::Invalid(format!("user `{user}` is named twice")));
    }
    leader.work_on(|work, fence| {
        let (_, found) = find(fence, name).map_err(|error| leader.refused(error))?;
        let found = found.ok_or_else(|| no_topology(name))?;
        let spec = &found.spec.record;
        let mut access = spec.access.clone();
        access.change(change);
        check_access(&access)?;
        if access != spec.access {
            info!(leader.logger, "who may do what with a topology is changed"; "id" => %found.id,
                "users" => ?access.users, "readers" => ?access.readers);
            write_spec(leader, work, fence, (name, &found), SpecRecord { access, ..spec.clone() })?;
        }
        info_now(leader, fence, name, &found)
    })
}
