//! Levels of logs that were changed for a while are taken back when the time is over.

use std::time::Duration;

use slog::{Logger, info};

use crate::cluster::daemons::nimbus::found::FoundTopology;
use crate::cluster::daemons::nimbus::standing::{Fence, LeadError};
use crate::cluster::topologies::SpecRecord;

/// The time, as wishes have it.
pub(super) fn wall_ms(fence: &Fence<'_>) -> u64 {
    u64::try_from(fence.clock.wall_nanos() / 1_000_000).unwrap_or(0)
}

/// Takes back what is over. Returns when the next one is. What is written here is read by the next pass.
pub(super) fn take_back_levels(
    fence: &Fence<'_>,
    topologies: &[FoundTopology],
    logger: &Logger,
) -> Result<Option<Duration>, LeadError> {
    let now = wall_ms(fence);
    let mut next: Option<Duration> = None;
    for topology in topologies.iter().filter(|topology| !topology.has_ended()) {
        let spec = &topology.spec.record;
        let Some(log) = &spec.log else { continue };
        if log.until > now {
            let left = Duration::from_millis(log.until - now);
            next = Some(next.map_or(left, |next| next.min(left)));
            continue;
        }
        let back = SpecRecord { epoch: fence.epoch, change: spec.change + 1, log: None, ..spec.clone() };
        fence.set(&topology.nodes.spec, &back, topology.spec.version)?;
        info!(logger, "the levels of a topology are taken back: their time is over"; "id" => %topology.id,
            "levels" => &log.levels);
    }
    Ok(next)
}
