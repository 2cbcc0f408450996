//! How an operator has the processes of a topology log other records for a while: one write, which supervisors follow.

use std::collections::BTreeSet;

use slog::info;

use crate::cluster::daemons::nimbus::change::{info_now, running, write_spec};
use crate::cluster::daemons::nimbus::leader::{Leader, load};
use crate::cluster::daemons::nimbus::raised_levels::wall_ms;
use crate::cluster::operations::{LEVELS_SECONDS_MAX, LogLevelRequest, OperationError, TopologyInfo};
use crate::cluster::topologies::{LogLevels, SpecRecord};
use crate::logging::LevelChanges;

/// Has the processes of a topology log this for a while, or what their hosts have them log.
pub(super) fn want_levels(
    leader: &Leader,
    name: &str,
    request: &LogLevelRequest,
) -> Result<TopologyInfo, OperationError> {
    let invalid = |why: String| Err(OperationError::Invalid(why));
    let changes: LevelChanges = match request.levels.as_deref().unwrap_or_default().parse() {
        Ok(changes) => changes,
        Err(error) => return invalid(format!("`levels`: {error}")),
    };
    if request.levels.is_some() && changes.is_empty() {
        return invalid("`levels` is empty: write a level, as `debug`, or `COMPONENT=LEVEL`".to_owned());
    }
    if !(1..=LEVELS_SECONDS_MAX).contains(&request.seconds) {
        return invalid(format!("`seconds` must be from 1 to {LEVELS_SECONDS_MAX}, not {}", request.seconds));
    }
    leader.work_on(|work, fence| {
        let found = running(leader, fence, name)?;
        if changes.components().next().is_some() {
            let topology = load(&mut work.sources, &found).map_err(OperationError::Unavailable)?;
            let ids: BTreeSet<&str> = topology.components().iter().map(|component| &*component.id).collect();
            if let Some(unknown) = changes.components().find(|id| !ids.contains(id)) {
                let ids: Vec<&str> = ids.into_iter().collect();
                return invalid(format!(
                    "topology `{name}` has no component `{unknown}`: it has {}",
                    ids.join(", ")
                ));
            }
        }
        let until = wall_ms(fence).saturating_add(request.seconds.saturating_mul(1000));
        let log = request.levels.as_ref().map(|levels| LogLevels { levels: levels.clone(), until });
        let spec = &found.spec.record;
        if log.is_some() || spec.log.is_some() {
            write_spec(leader, work, fence, (name, &found), SpecRecord { log, ..spec.clone() })?;
            info!(leader.logger, "other levels are wanted of a topology"; "id" => %found.id,
                "levels" => &request.levels, "seconds" => request.seconds);
        }
        info_now(leader, fence, name, &found)
    })
}
