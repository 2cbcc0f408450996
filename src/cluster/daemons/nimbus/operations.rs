//! What a nimbus does for operators while it leads.

use slog::info;

use crate::cluster::access::{AccessChange, Caller};
use crate::cluster::blobs::BlobError;
use crate::cluster::coordination::RecordAccessError;
use crate::cluster::daemons::nimbus::answers::{cluster_of, info_of};
use crate::cluster::daemons::nimbus::change::{rebalance, restart, to_be_stopped, want_savepoint};
use crate::cluster::daemons::nimbus::change_access::change_access;
use crate::cluster::daemons::nimbus::drain::set_drained;
use crate::cluster::daemons::nimbus::found::{find, no_topology, read_all, read_topology};
use crate::cluster::daemons::nimbus::leader::{Leader, Work};
use crate::cluster::daemons::nimbus::log_level::want_levels;
use crate::cluster::daemons::nimbus::problems::HostProblems;
use crate::cluster::daemons::nimbus::sources::SourceError;
use crate::cluster::daemons::nimbus::standing::{Fence, LeadError};
use crate::cluster::daemons::nimbus::submission::submit;
use crate::cluster::daemons::nimbus::upgrade::upgrade;
use crate::cluster::log_pieces::LogQuestion;
use crate::cluster::operations::{
    ClusterInfo, HostInfo, LogLevelRequest, OperationError, Operations, RebalanceRequest, Rebalanced,
    SavepointRequest, SubmitRequest, Submitted, TopologyInfo, TopologyLogs, TopologyStatus, UpgradeRequest,
    Upgraded,
};
use crate::cluster::topologies::{BlobHash, CatalogRecord, SpecRecord, Wanted, topologies_node};

impl Operations for Leader {
    fn submit(&self, request: &SubmitRequest, by: &Caller) -> Result<Submitted, OperationError> {
        submit(self, request, by)
    }

    fn topologies(&self) -> Result<Vec<TopologyInfo>, OperationError> {
        self.look(|fence| {
            let found = read_all(fence)?.map_or_else(Vec::new, |found| found.topologies);
            let problems = HostProblems::read(fence)?;
            found.iter().map(|topology| info_of(fence, topology, &problems)).collect()
        })
    }

    fn topology(&self, name: &str) -> Result<TopologyInfo, OperationError> {
        let found = self.look(|fence| {
            let (_, found) = find(fence, name)?;
            let problems = HostProblems::read(fence)?;
            found.map(|topology| info_of(fence, &topology, &problems)).transpose()
        })?;
        found.ok_or_else(|| no_topology(name))
    }

    fn stats(&self, name: &str) -> Result<TopologyStatus, OperationError> {
        self.status_of(name)
    }

    fn logs(&self, name: &str, question: &LogQuestion) -> Result<TopologyLogs, OperationError> {
        self.logs_of(name, question)
    }

    fn want(&self, name: &str, wanted: Wanted) -> Result<TopologyInfo, OperationError> {
        self.work_on(|work, fence| {
            let (_, found) = find(fence, name).map_err(|error| self.refused(error))?;
            let found = found.ok_or_else(|| no_topology(name))?;
            let spec = &found.spec.record;
            if check_wanted(name, spec.wanted, found.has_ended(), wanted)? {
                let before = to_be_stopped(&found).filter(|_| wanted == Wanted::Drained);
                let before = before.unwrap_or_else(|| spec.clone());
                let next = SpecRecord { epoch: fence.epoch, change: spec.change + 1, wanted, ..before };
                fence
                    .set(&found.nodes.spec, &next, found.spec.version)
                    .map_err(|error| self.refused(error))?;
                info!(self.logger, "something else is wanted of a topology"; "id" => %found.id,
                    "wanted" => ?wanted);
                self.pass(work, fence);
            }
            let now = read_topology(fence, &found.id).map_err(|error| self.refused(error))?;
            let now = now.ok_or_else(|| no_topology(name))?;
            let problems = HostProblems::read(fence).map_err(|error| self.refused(error))?;
            info_of(fence, &now, &problems).map_err(|error| self.refused(error))
        })
    }

    fn savepoint(&self, name: &str, request: &SavepointRequest) -> Result<TopologyInfo, OperationError> {
        want_savepoint(self, name, request)
    }

    fn restart(&self, name: &str) -> Result<TopologyInfo, OperationError> {
        restart(self, name)
    }

    fn rebalance(&self, name: &str, request: &RebalanceRequest) -> Result<Rebalanced, OperationError> {
        rebalance(self, name, request)
    }

    fn log_level(&self, name: &str, request: &LogLevelRequest) -> Result<TopologyInfo, OperationError> {
        want_levels(self, name, request)
    }

    fn change_access(&self, name: &str, change: &AccessChange) -> Result<TopologyInfo, OperationError> {
        change_access(self, name, change)
    }

    fn upgrade(&self, name: &str, request: &UpgradeRequest) -> Result<Upgraded, OperationError> {
        upgrade(self, name, request)
    }

    fn remove(&self, name: &str) -> Result<(), OperationError> {
        self.work_on(|work, fence| {
            let (catalog, found) = find(fence, name).map_err(|error| self.refused(error))?;
            let catalog = catalog.filter(|catalog| catalog.record.topologies.contains_key(name));
            let Some(catalog) = catalog else { return Err(no_topology(name)) };
            // Without a spec it cannot run, and can be removed.
            if found.is_some_and(|found| !found.has_ended()) {
                let why = format!("topology `{name}` has not ended: kill it, and wait until it has");
                return Err(OperationError::Conflict(why));
            }
            let mut next = CatalogRecord { epoch: fence.epoch, ..catalog.record };
            next.topologies.remove(name);
            work.begun = None;
            let written = fence.set(&topologies_node(), &next, catalog.version);
            written.map_err(|error| self.refused(error))?;
            work.begun = Some(fence.epoch);
            info!(self.logger, "a topology was removed"; "name" => name);
            self.pass(work, fence);
            Ok(())
        })
    }

    fn cluster(&self) -> Result<ClusterInfo, OperationError> {
        let blacklisted = self.blacklisted();
        self.look(|fence| cluster_of(fence, &blacklisted))
    }

    fn drain(&self, host: &str, drained: bool) -> Result<HostInfo, OperationError> {
        set_drained(self, host, drained)
    }

    fn put_blob(&self, hash: &BlobHash, bytes: &[u8]) -> Result<(), OperationError> {
        if self.fence().is_none() {
            return Err(self.not_leader());
        }
        self.blobs.put(hash, bytes).map_err(|error| self.refused_blob(&error))
    }

    fn has_blob(&self, hash: &BlobHash) -> Result<bool, OperationError> {
        if self.fence().is_none() {
            return Err(self.not_leader());
        }
        match self.blobs.keep(hash) {
            Ok(_) => Ok(true),
            // It can be put again.
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => Ok(false),
            Err(error) => Err(self.refused_blob(&error)),
        }
    }

    fn blob(&self, hash: &BlobHash) -> Result<Vec<u8>, OperationError> {
        if self.fence().is_none() {
            return Err(self.not_leader());
        }
        self.blobs.get(hash).map_err(|error| self.refused_blob(&error))
    }
}

impl Leader {
    /// Does something for which the work is needed, if this nimbus leads.
    pub(super) fn work_on<T>(
        &self,
        act: impl FnOnce(&mut Work, &Fence<'_>) -> Result<T, OperationError>,
    ) -> Result<T, OperationError> {
        let mut work = self.work();
        let fence = self.fence().ok_or_else(|| self.not_leader())?;
        self.begin_epoch(&mut work, &fence).map_err(|error| self.refused(error))?;
        let done = act(&mut work, &fence);
        if done.is_err() {
            // Something may have been begun, and something may be left of it.
            self.look_again();
        }
        done
    }

    /// Reads something, if this nimbus leads.
    pub(super) fn look<T>(
        &self,
        read: impl FnOnce(&Fence<'_>) -> Result<T, LeadError>,
    ) -> Result<T, OperationError> {
        let fence = self.fence().ok_or_else(|| self.not_leader())?;
        let caught_up = self.coordination.catch_up().map_err(LeadError::from);
        caught_up.and_then(|()| read(&fence)).map_err(|error| self.refused(error))
    }

    fn not_leader(&self) -> OperationError {
        OperationError::NotLeader { leader: self.standing.leader() }
    }

    /// What an operator is answered when the work could not be done.
    pub(super) fn refused(&self, error: LeadError) -> OperationError {
        match error {
            LeadError::NotLeader | LeadError::Superseded { .. } => self.not_leader(),
            LeadError::Blobs(error) => self.refused_blob(&error),
            LeadError::Access(RecordAccessError::Record(error)) => OperationError::Invalid(error.to_string()),
            error if error.is_race() => {
                OperationError::Unavailable(format!("{error} in the meantime: ask again"))
            }
            error => OperationError::Unavailable(error.to_string()),
        }
    }

    /// The same for the source of a topology.
    pub(super) fn refused_source(&self, error: SourceError) -> OperationError {
        match error {
            SourceError::Blob(error) => self.refused_blob(&error),
            SourceError::Invalid(why) => OperationError::Invalid(why),
        }
    }

    /// The same for a blob.
    pub(super) fn refused_blob(&self, error: &BlobError) -> OperationError {
        let why = error.to_string();
        match error {
            BlobError::Io { .. } | BlobError::Locked { .. } => OperationError::Unavailable(why),
            _ => OperationError::Invalid(why),
        }
    }
}

/// Whether what is wanted changes.
fn check_wanted(name: &str, before: Wanted, has_ended: bool, wanted: Wanted) -> Result<bool, OperationError> {
    let conflict = |what: &str| Err(OperationError::Conflict(format!("topology `{name}` {what}")));
    match (before, wanted) {
        _ if has_ended => conflict("has ended: submit it again"),
        (before, wanted) if before == wanted => Ok(false),
        (Wanted::Killed, _) => conflict("is killed, and that cannot be taken back"),
        (Wanted::Drained, wanted) if wanted != Wanted::Killed => {
            conflict("is ending, and that cannot be taken back: it can be killed")
        }
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_cannot_be_had_run_again_and_what_drains_can_be_killed() {
        use Wanted::{Active, Drained, Inactive, Killed};
        let check = |before, wanted| check_wanted("words", before, false, wanted).ok();
        for (before, wanted, expected) in [
            (Active, Active, Some(false)),
            (Active, Inactive, Some(true)),
            (Inactive, Active, Some(true)),
            (Active, Drained, Some(true)),
            (Inactive, Killed, Some(true)),
            (Drained, Drained, Some(false)),
            (Drained, Killed, Some(true)),
            (Drained, Active, None),
            (Drained, Inactive, None),
            (Killed, Killed, Some(false)),
            (Killed, Drained, None),
            (Killed, Active, None),
        ] {
            assert_eq!(check(before, wanted), expected, "{before:?} to {wanted:?}");
            assert!(check_wanted("words", before, true, wanted).is_err(), "it has ended");
        }
    }
}
