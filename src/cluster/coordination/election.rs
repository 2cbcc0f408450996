//! Who of several processes leads, and with which epoch.
//!
//! ```text
//!   /nimbus                     LeaderRecord: epoch, holder     compare-and-set decides
//!   /nimbus/candidates/<id>     CandidateRecord                 held: is there while the candidate lives
//! ```
//!
//! 1. A candidate claims by one compare-and-set, which raises the epoch. So no two candidates have the same epoch, and
//!    epochs only rise.
//! 2. It claims when the record has no holder, or when the holder's candidate node was missing each time it looked,
//!    for `grace`, and the record was not written meanwhile.
//! 3. A leader acts until two thirds of its session's time-out after the last sign of life that was answered, and after
//!    the step in which it read that it leads. It is not asked to stop: whoever acts compares `until` with its clock.
//! 4. A leader that may have been missed writes the record again, unchanged, before it goes on: when its session
//!    is a new one, or its candidate node was missing. That ends the wait of everybody who has seen it missing. So a leader
//!    whose session was lost for a moment goes on with its epoch.
//!
//! Hence no two candidates act at once, if clocks run at the same speed. When a session ends by its time-out, the
//! node vanishes after `until`, and any `grace` will do. When the service ends a session early, loses its data, or
//! somebody deletes a candidate node, the node vanishes earlier: only a `grace` of two thirds of the time-out or more
//! covers that. What a leader writes is fenced by its epoch besides; the clock only keeps two leaders from working
//! against each other.
//!
//! The record is never deleted. One that is missing, or has an older epoch than was seen before, was wiped or rolled
//! back: that is an error, and nobody claims.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::node::Version;
use crate::cluster::coordination::path::{NodePath, PathError};
use crate::cluster::coordination::presence::be_present;
use crate::cluster::coordination::record::{
    Record, RecordAccessError, RecordError, encode_record, read_record,
};
use crate::cluster::coordination::service::{Coordination, Session};

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    /// How often somebody has claimed. 0: nobody has.
    pub epoch: u64,
    /// Who has claimed this epoch; `None` if it has resigned since.
    pub holder: Option<CandidateRecord>,
    /// The id of the candidate that has written this.
    pub written_by: String,
}

impl Record for LeaderRecord {
    const KIND: &'static str = "leader";
    const VERSION: u32 = 1;
}

/// A process that can lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateRecord {
    /// A name that no other process has, and no earlier one had. See [`CandidateRecord::new`].
    pub id: String,
    /// Where it is reached.
    pub address: String,
}

impl Record for CandidateRecord {
    const KIND: &'static str = "candidate";
    const VERSION: u32 = 1;
}

impl CandidateRecord {
    /// The candidate of this name. `token` is random, so that a process that is started again is another candidate.
    pub fn new(name: &str, token: u64, address: impl Into<String>) -> CandidateRecord {
        CandidateRecord { id: format!("{name}-{token:016x}"), address: address.into() }
    }
}

/// What a candidate is after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It leads.
    Leader {
        /// What it writes into everything that it writes.
        epoch: u64,
        /// It acts until then, if no step moves that.
        until: Time,
    },
    /// It does not lead.
    Follower {
        /// Who does, if that is known.
        leader: Option<CandidateRecord>,
    },
}

/// Why a step was not done. What held after the step before holds on: a leader acts until its `until`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElectionError {
    /// A call failed. The next step may succeed if the error is passing.
    #[error(transparent)]
    Coordination(#[from] CoordinationError),
    /// The node has another record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record is older than one that was seen before.
    #[error(
        "node `{path}` has epoch {found}, but epoch {seen} was there already: the data of the coordination service were \
         lost or rolled back. Restore its latest data; until then nobody leads"
    )]
    RolledBack {
        /// The node.
        path: NodePath,
        /// The highest epoch that was seen.
        seen: u64,
        /// The one that was found; 0: there is no record.
        found: u64,
    },
}

impl From<RecordAccessError> for ElectionError {
    fn from(error: RecordAccessError) -> ElectionError {
        match error {
            RecordAccessError::Coordination(error) => ElectionError::Coordination(error),
            RecordAccessError::Record(error) => ElectionError::Record(error),
        }
    }
}

/// One candidate of an election.
#[derive(Debug)]
pub struct Election {
    path: NodePath,
    candidates: NodePath,
    own_node: NodePath,
    me: CandidateRecord,
    grace: Duration,
    /// The highest epoch that was seen.
    seen: u64,
    /// The epoch that this candidate leads with, and the session in which everybody could see it alive.
    confirmed: Option<(u64, u64)>,
    absence: Option<Absence>,
}

/// That the candidate node of the holder is missing.
#[derive(Clone, Copy, Debug)]
struct Absence {
    /// The version of the leader record when that was first seen.
    version: Version,
    /// A time at which that was seen already.
    since: Time,
}

/// The node below which the candidates of an election are.
///
/// # Errors
/// When the path is too deep.
pub fn candidates_of(election: &NodePath) -> Result<NodePath, PathError> {
    election.child("candidates")
}

impl Election {
    /// A candidate at this path. `grace`: how long the holder must be missing before this candidate claims.
    /// `seen`: the highest epoch that is remembered; 0: none.
    ///
    /// # Errors
    /// When the candidate's id is not a name of a node, or the path is too deep.
    pub fn new(
        path: NodePath,
        me: CandidateRecord,
        grace: Duration,
        seen: u64,
    ) -> Result<Election, PathError> {
        let candidates = candidates_of(&path)?;
        let own_node = candidates.child(&me.id)?;
        Ok(Election { path, candidates, own_node, me, grace, seen, confirmed: None, absence: None })
    }

    /// The highest epoch that was seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Looks at what is there, and claims if it is time to. To be called when something changed, and several times in
    /// each session time-out: a leader that does not step stops being one. `now` is a time before the call, by the
    /// clock of the session.
    ///
    /// # Errors
    /// When a call failed, or what is there cannot be relied on.
    pub fn step(&mut self, coordination: &dyn Coordination, now: Time) -> Result<Leadership, ElectionError> {
        coordination.catch_up()?;
        let session = coordination.session();
        let (record, version) = self.read(coordination)?;
        let was_missing = self.join(coordination)?;
        match &record.holder {
            Some(holder) if holder.id == self.me.id => {
                self.absence = None;
                let proof = (record.epoch, session.number);
                if was_missing || self.confirmed != Some(proof) {
                    let confirmed = LeaderRecord { written_by: self.me.id.clone(), ..record.clone() };
                    if !self.write(coordination, &confirmed, version)? {
                        return Ok(Leadership::Follower { leader: None });
                    }
                    self.confirmed = Some(proof);
                }
                Ok(Leadership::Leader { epoch: record.epoch, until: good_until(&session, now) })
            }
            Some(holder) if !self.is_missing_for_long(coordination, holder, version, now)? => {
                Ok(Leadership::Follower { leader: Some(holder.clone()) })
            }
            _ => self.claim(coordination, (&record, version), &session, now),
        }
    }

    /// Gives up the leadership, if this candidate has it, and the candidacy. It must not act any more when this is
    /// called. After an error this may be called again; a step makes it a candidate again.
    ///
    /// # Errors
    /// As [`step`](Election::step).
    pub fn resign(&mut self, coordination: &dyn Coordination) -> Result<(), ElectionError> {
        // A write that is done late must not end a leadership that goes on: the next step would write before.
        self.confirmed = None;
        self.absence = None;
        if let Some((record, version)) = read_record::<LeaderRecord>(coordination, &self.path)?
            && record.holder.as_ref().is_some_and(|holder| holder.id == self.me.id)
        {
            let vacant = LeaderRecord { holder: None, written_by: self.me.id.clone(), ..record };
            self.write(coordination, &vacant, version)?;
        }
        Ok(coordination.release(&self.own_node)?)
    }

    /// The leader record. The first candidate makes it.
    fn read(&mut self, coordination: &dyn Coordination) -> Result<(LeaderRecord, Version), ElectionError> {
        let found = read_record::<LeaderRecord>(coordination, &self.path)?;
        let epoch = found.as_ref().map_or(0, |(record, _)| record.epoch);
        if epoch < self.seen {
            let (path, seen) = (self.path.clone(), self.seen);
            return Err(ElectionError::RolledBack { path, seen, found: epoch });
        }
        self.seen = epoch;
        if let Some(found) = found {
            return Ok(found);
        }
        let nobody = LeaderRecord { epoch: 0, holder: None, written_by: self.me.id.clone() };
        match coordination.create(&self.path, &encode_record(&self.path, &nobody)?) {
            Ok(version) => Ok((nobody, version)),
            Err(CoordinationError::Exists(path)) => {
                let found = read_record(coordination, &path)?;
                Ok(found.ok_or(CoordinationError::Missing(path))?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the candidate node, if it is missing. Returns whether it was.
    fn join(&self, coordination: &dyn Coordination) -> Result<bool, ElectionError> {
        let data = encode_record(&self.own_node, &self.me)?;
        Ok(be_present(coordination, &self.own_node, &data)?)
    }

    /// Whether the holder was missing each time since so long, and has not written meanwhile.
    fn is_missing_for_long(
        &mut self,
        coordination: &dyn Coordination,
        holder: &CandidateRecord,
        version: Version,
        now: Time,
    ) -> Result<bool, ElectionError> {
        let node = self.candidates.child(&holder.id).map_err(|error| RecordError::Malformed {
            path: self.path.clone(),
            kind: LeaderRecord::KIND,
            flaw: error.to_string(),
        })?;
        if coordination.get(&node)?.is_some() {
            self.absence = None;
            return Ok(false);
        }
        let absence = match self.absence.filter(|absence| absence.version == version) {
            Some(absence) => absence,
            None => {
                // A request that is sent now is sent after the node was missing.
                coordination.catch_up()?;
                let since = coordination.session().proven_at.max(now);
                *self.absence.insert(Absence { version, since })
            }
        };
        Ok(now >= absence.since.after(self.grace))
    }

    fn claim(
        &mut self,
        coordination: &dyn Coordination,
        (record, version): (&LeaderRecord, Version),
        session: &Session,
        now: Time,
    ) -> Result<Leadership, ElectionError> {
        let epoch = record.epoch.checked_add(1).ok_or_else(|| RecordError::Malformed {
            path: self.path.clone(),
            kind: LeaderRecord::KIND,
            flaw: "its epoch is the last one that there can be".to_owned(),
        })?;
        let claim = LeaderRecord { epoch, holder: Some(self.me.clone()), written_by: self.me.id.clone() };
        self.absence = None;
        if !self.write(coordination, &claim, version)? {
            return Ok(Leadership::Follower { leader: None });
        }
        self.seen = epoch;
        self.confirmed = Some((epoch, session.number));
        Ok(Leadership::Leader { epoch, until: good_until(session, now) })
    }

    /// Writes the leader record, unless somebody else has written it. Returns whether it was written.
    fn write(
        &self,
        coordination: &dyn Coordination,
        record: &LeaderRecord,
        expected: Version,
    ) -> Result<bool, ElectionError> {
        match coordination.set(&self.path, &encode_record(&self.path, record)?, expected) {
            Ok(_) => Ok(true),
            Err(CoordinationError::Changed(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Until when a leader may act that has read at `now` or later that it leads.
fn good_until(session: &Session, now: Time) -> Time {
    session.good_until().min(now.after(session.timeout * 2 / 3))
}
