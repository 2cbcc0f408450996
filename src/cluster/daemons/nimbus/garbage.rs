//! What nothing refers to is deleted: topologies that are not in the catalog, and blobs that no spec has.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::blobs::BlobStore;
use crate::cluster::coordination::RecordAccessError;
use crate::cluster::daemons::nimbus::standing::{Fence, LeadError};
use crate::cluster::topologies::{
    AssignmentRecord, BlobHash, CatalogRecord, SpecRecord, TopologyId, TopologyNodes, topologies_node,
};

/// A blob that nothing refers to is kept for so long: somebody may have put it who has not submitted it yet.
const BLOB_AGE: Duration = Duration::from_secs(60 * 60);

/// The topologies that have nodes and are not in the catalog. Names that are no ids are somebody else's, and stay.
pub(super) fn unlisted(catalog: &CatalogRecord, names: &[String]) -> Vec<TopologyId> {
    let listed: BTreeSet<&TopologyId> = catalog.topologies.values().collect();
    let ids = names.iter().filter_map(|name| name.parse::<TopologyId>().ok());
    ids.filter(|id| !listed.contains(id)).collect()
}

/// Deletes what is not in the catalog, which was read in this pass by the leader that has written it: what an earlier
/// leader had begun to submit, and what was removed. Returns what was deleted.
pub(super) fn delete_unlisted(
    fence: &Fence<'_>,
    catalog: &CatalogRecord,
) -> Result<Vec<TopologyId>, LeadError> {
    let names = fence.coordination.children(&topologies_node())?.unwrap_or_default();
    let ids = unlisted(catalog, &names);
    let mut deleted = Vec::new();
    for id in ids {
        match delete_topology(fence, &id) {
            // Its supervisor, or an earlier leader, has just written something. The next pass finds that.
            Err(error) if error.is_race() => {}
            // It is not understood, so it is left alone. It disturbs nobody.
            Err(LeadError::Access(RecordAccessError::Record(_))) => {}
            Err(error) => return Err(error),
            Ok(()) => deleted.push(id),
        }
    }
    Ok(deleted)
}

fn delete_topology(fence: &Fence<'_>, id: &TopologyId) -> Result<(), LeadError> {
    let nodes = TopologyNodes::of(id);
    for name in fence.coordination.children(&nodes.root)?.unwrap_or_default() {
        let Ok(child) = nodes.root.child(&name) else { continue };
        // A later leader is about to add the topology if these have its epoch.
        let version = match &child {
            node if *node == nodes.spec => fence.read::<SpecRecord>(node)?.map(|found| found.version),
            node if *node == nodes.assignment => {
                fence.read::<AssignmentRecord>(node)?.map(|found| found.version)
            }
            node => fence.coordination.get(node)?.map(|found| found.version),
        };
        if let Some(version) = version {
            fence.delete(&child, version)?;
        }
    }
    match fence.coordination.get(&nodes.root)? {
        Some(root) => fence.delete(&nodes.root, root.version),
        None => Ok(()),
    }
}

/// Removes blobs that no spec has, and that are old. Returns how many.
pub(super) fn remove_blobs(
    fence: &Fence<'_>,
    blobs: &BlobStore,
    referred: &BTreeSet<BlobHash>,
) -> Result<usize, LeadError> {
    fence.check()?;
    Ok(blobs.sweep(referred, BLOB_AGE)?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_catalog_has_and_what_is_no_topology_stays() {
        let mut catalog = CatalogRecord::default();
        let id = |text: &str| text.parse::<TopologyId>().expect("an id");
        catalog.topologies.insert("words".to_owned(), id("words-2"));
        let names = ["words-1", "words-2", "notes", "other-7"].map(str::to_owned);
        assert_eq!(unlisted(&catalog, &names), [id("words-1"), id("other-7")]);
    }
}
