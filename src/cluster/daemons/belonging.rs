//! Which cluster this process belongs to, and whether the coordination service still has the data of that cluster.
//!
//! A service that was wiped, or restored from an old copy, would look as if nothing were to run. So each daemon
//! remembers on its own disk what it has seen, and acts only if what it finds is not older. What it will act on is
//! remembered before it acts.

use std::path::Path;

use crate::cluster::coordination::{
    ClusterRecord, Coordination, CoordinationError, LeaderRecord, Mark, MarkError, MarkFile, MarkMismatch,
    NodePath, RecordAccessError, check_mark, join_cluster, read_record,
};
use crate::cluster::topologies::ClusterKey;

/// The node with the id of the cluster.
const CLUSTER: &str = "cluster";
/// The node of the leading nimbus, with the epochs of the cluster.
const NIMBUS: &str = "nimbus";

/// The node with the id of the cluster.
pub(crate) fn cluster_node() -> NodePath {
    child(CLUSTER)
}

/// The node of the leading nimbus.
pub(crate) fn nimbus_node() -> NodePath {
    child(NIMBUS)
}

/// The node below which supervisors are.
pub(crate) fn supervisors_node() -> NodePath {
    child("supervisors")
}

fn child(name: &str) -> NodePath {
    NodePath::root().child(name).expect("it is a name")
}

/// Why a daemon must not act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BelongingError {
    /// The service does not answer, or has something else than it should.
    #[error(transparent)]
    Access(#[from] RecordAccessError),
    /// The service has lost data, or is that of another cluster.
    #[error(transparent)]
    Mismatch(#[from] MarkMismatch),
    /// The cluster has another key than this host.
    #[error(
        "the key of this host is not that of the cluster, so nothing that was started with it would be let in: copy the file \
         `cluster.key_file` from a host of the cluster, by default `squall/cluster.key` in the state directory of its user"
    )]
    OtherKey,
    /// What was seen cannot be remembered.
    #[error(transparent)]
    Mark(#[from] MarkError),
}

impl BelongingError {
    /// Whether it may be over soon, without anybody doing something.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            BelongingError::Access(RecordAccessError::Coordination(error)) if error.is_passing()
        )
    }
}

impl From<CoordinationError> for BelongingError {
    fn from(error: CoordinationError) -> BelongingError {
        BelongingError::Access(error.into())
    }
}

/// What a daemon remembers of its cluster.
#[derive(Debug)]
pub struct Belonging {
    file: MarkFile,
    remembered: Option<Mark>,
    /// The fingerprint of the key of this host. `None`: it is not compared.
    key: Option<String>,
}

impl Belonging {
    /// What is remembered in a directory, which is there.
    ///
    /// # Errors
    /// When the file in it cannot be read.
    pub fn read(directory: &Path) -> Result<Belonging, MarkError> {
        let file = MarkFile::new(directory);
        let remembered = file.read()?;
        Ok(Belonging { file, remembered, key: None })
    }

    /// The same, for a cluster that has this key alone.
    pub fn of_key(self, key: &ClusterKey) -> Belonging {
        Belonging { key: Some(key.fingerprint()), ..self }
    }

    /// The highest epoch that is remembered; 0: none.
    pub fn epoch(&self) -> u64 {
        self.remembered.as_ref().map_or(0, |mark| mark.epoch)
    }

    /// Compares what is remembered with what the service has, and remembers what it has. Returns whether there is a
    /// cluster. `new`: a cluster that this process may begin if it remembers none and finds none.
    ///
    /// What is found may be what was true a moment ago. Who acts on it catches up first, or in what it does.
    ///
    /// # Errors
    /// Why the daemon must not act.
    pub fn check(
        &mut self,
        coordination: &dyn Coordination,
        new: Option<&ClusterRecord>,
    ) -> Result<bool, BelongingError> {
        let record = match (read_record::<ClusterRecord>(coordination, &cluster_node())?, new) {
            (Some((record, _)), _) => Some(record),
            (None, Some(new)) if self.remembered.is_none() => {
                Some(join_cluster(coordination, &cluster_node(), new)?)
            }
            (None, _) => None,
        };
        if let (Some(record), Some(key)) = (&record, &self.key)
            && record.key_fingerprint != *key
        {
            return Err(BelongingError::OtherKey);
        }
        let leader = read_record::<LeaderRecord>(coordination, &nimbus_node())?;
        let epoch = leader.map_or(0, |(leader, _)| leader.epoch);
        let found = record.map(|record| Mark { cluster: record.id, epoch });
        let next = check_mark(self.remembered.as_ref(), found.as_ref())?;
        self.remember(next)?;
        Ok(self.remembered.is_some())
    }

    /// Remembers an epoch of the cluster.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn saw(&mut self, epoch: u64) -> Result<(), BelongingError> {
        let later = self.remembered.clone().filter(|mark| mark.epoch < epoch);
        let next = later.map(|mark| Mark { epoch, ..mark });
        if next.is_some() { self.remember(next) } else { Ok(()) }
    }

    fn remember(&mut self, mark: Option<Mark>) -> Result<(), BelongingError> {
        if let Some(mark) = mark.filter(|mark| self.remembered.as_ref() != Some(mark)) {
            self.file.write(&mark)?;
            self.remembered = Some(mark);
        }
        Ok(())
    }
}
