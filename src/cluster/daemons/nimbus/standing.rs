//! Who leads, and the fence around what a leader writes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, Time};
use crate::cluster::blobs::BlobError;
use crate::cluster::coordination::{
    Coordination, CoordinationError, NodePath, Record, RecordAccessError, RecordError, Version,
    encode_record, read_record,
};
use crate::cluster::daemons::nimbus::drained::DrainedRecord;
use crate::cluster::topologies::{AssignmentRecord, CatalogRecord, SpecRecord};

/// Why a leader does not go on. The next pass begins from what is there then.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeadError {
    /// This nimbus does not lead, or does not know whether it still does.
    #[error("this nimbus does not lead any more")]
    NotLeader,
    /// Another one has led since.
    #[error("node `{path}` has epoch {found}: another nimbus leads")]
    Superseded {
        /// The node.
        path: NodePath,
        /// Its epoch.
        found: u64,
    },
    /// The service does not do it.
    #[error(transparent)]
    Access(#[from] RecordAccessError),
    /// The blobs cannot be used.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

impl From<CoordinationError> for LeadError {
    fn from(error: CoordinationError) -> LeadError {
        LeadError::Access(error.into())
    }
}

impl From<RecordError> for LeadError {
    fn from(error: RecordError) -> LeadError {
        LeadError::Access(error.into())
    }
}

impl LeadError {
    /// Whether somebody else has written or deleted the node since it was read.
    pub fn is_race(&self) -> bool {
        use CoordinationError::{Changed, Exists, Missing, NotEmpty};
        matches!(
            self,
            LeadError::Access(RecordAccessError::Coordination(
                Changed(_) | Exists(_) | Missing(_) | NotEmpty(_)
            ))
        )
    }
}

/// With which epoch this nimbus leads, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub epoch: u64,
    pub until: Time,
}

/// Who leads. Steps write it, whoever writes to the service reads it.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    lead: Option<Lead>,
    leader: Option<String>,
}

impl Standing {
    /// What a step has found: the lead of this nimbus, or where the API of the nimbus that leads is reached.
    pub fn set(&self, lead: Option<Lead>, leader: Option<String>) {
        *self.known() = Known { lead, leader };
    }

    /// The lead of this nimbus, if it has it at this time.
    pub fn lead(&self, now: Time) -> Option<Lead> {
        self.known().lead.filter(|lead| now < lead.until)
    }

    /// Where the API of the nimbus that leads is reached, if that is another one and known.
    pub fn leader(&self) -> Option<String> {
        self.known().leader.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record of which a leader is the author.
pub(super) trait Authored: Record {
    /// The epoch of the leader that has written it.
    fn epoch(&self) -> u64;

    /// As it is written with another epoch.
    fn at(self, epoch: u64) -> Self;
}

macro_rules! authored {
    ($($record:ty),*) => {$(
        impl Authored for $record {
            fn epoch(&self) -> u64 {
                self.epoch
            }

            fn at(self, epoch: u64) -> Self {
                Self { epoch, ..self }
            }
        }
    )*};
}

authored!(CatalogRecord, SpecRecord, AssignmentRecord, DrainedRecord);

/// A record, and the version that its node has.
#[derive(Clone, Debug)]
pub(super) struct Stored<R> {
    pub record: R,
    pub version: Version,
}

/// The service, as a leader of one epoch may use it.
pub(super) struct Fence<'a> {
    pub coordination: &'a dyn Coordination,
    pub clock: &'a Clock,
    pub standing: &'a Standing,
    pub epoch: u64,
}

impl Fence<'_> {
    /// Whether this nimbus leads with this epoch now.
    pub fn check(&self) -> Result<(), LeadError> {
        match self.standing.lead(self.clock.now()) {
            Some(lead) if lead.epoch == self.epoch => Ok(()),
            _ => Err(LeadError::NotLeader),
        }
    }

    /// Reads a record of a leader. One of a later epoch means that this nimbus leads no more.
    pub fn read<R: Authored>(&self, path: &NodePath) -> Result<Option<Stored<R>>, LeadError> {
        let Some((record, version)) = read_record::<R>(self.coordination, path)? else { return Ok(None) };
        match record.epoch() {
            found if found > self.epoch => Err(LeadError::Superseded { path: path.clone(), found }),
            _ => Ok(Some(Stored { record, version })),
        }
    }

    pub fn create<R: Record>(&self, path: &NodePath, record: &R) -> Result<Version, LeadError> {
        self.create_raw(path, &encode_record(path, record)?)
    }

    pub fn create_raw(&self, path: &NodePath, data: &[u8]) -> Result<Version, LeadError> {
        self.check()?;
        Ok(self.coordination.create(path, data)?)
    }

    pub fn set<R: Record>(
        &self,
        path: &NodePath,
        record: &R,
        expected: Version,
    ) -> Result<Version, LeadError> {
        let data = encode_record(path, record)?;
        self.check()?;
        Ok(self.coordination.set(path, &data, expected)?)
    }

    pub fn delete(&self, path: &NodePath, expected: Version) -> Result<(), LeadError> {
        self.check()?;
        Ok(self.coordination.delete(path, expected)?)
    }
}
