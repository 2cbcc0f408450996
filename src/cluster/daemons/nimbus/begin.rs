//! How a leader begins an epoch: it writes the catalog, the drained hosts, and each spec and assignment once, with its
//! epoch and unchanged content. From then on nothing that an earlier leader has read can be written.

use crate::cluster::coordination::NodePath;
use crate::cluster::daemons::nimbus::drained::{DrainedRecord, drained_node};
use crate::cluster::daemons::nimbus::standing::{Authored, Fence, LeadError, Stored};
use crate::cluster::topologies::{
    AssignmentRecord, CatalogRecord, SpecRecord, TopologyNodes, topologies_node,
};

/// How often a record is read again because an earlier leader has just written it. It can do so once for each call that
/// it had under way.
const ATTEMPTS_MAX: usize = 16;

/// Begins the epoch of the fence.
///
/// # Errors
/// When something could not be written. Then the epoch has not begun, and this may be called again.
pub(super) fn begin(fence: &Fence<'_>) -> Result<(), LeadError> {
    let catalog = match write_once::<CatalogRecord>(fence, &topologies_node())? {
        Some(catalog) => catalog,
        None => {
            let catalog = CatalogRecord { epoch: fence.epoch, next: 1, ..CatalogRecord::default() };
            fence.create(&topologies_node(), &catalog)?;
            catalog
        }
    };
    if write_once::<DrainedRecord>(fence, &drained_node())?.is_none() {
        let drained = DrainedRecord { epoch: fence.epoch, ..DrainedRecord::default() };
        fence.create(&drained_node(), &drained)?;
    }
    for id in catalog.topologies.values() {
        let nodes = TopologyNodes::of(id);
        write_once::<SpecRecord>(fence, &nodes.spec)?;
        write_once::<AssignmentRecord>(fence, &nodes.assignment)?;
    }
    Ok(())
}

/// Writes a record with the epoch of this leader, if it is there.
fn write_once<R: Authored>(fence: &Fence<'_>, path: &NodePath) -> Result<Option<R>, LeadError> {
    let mut attempts = 0;
    loop {
        let Some(Stored { record, version }) = fence.read::<R>(path)? else { return Ok(None) };
        let record = record.at(fence.epoch);
        match fence.set(path, &record, version) {
            Ok(_) => return Ok(Some(record)),
            Err(error) if error.is_race() && attempts < ATTEMPTS_MAX => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}
