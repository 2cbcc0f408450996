//! A nimbus takes part in the election, leads or stands by, and notices when the data of the cluster are lost.
//!
//! 1. [`Nimbus::step`] is called when something has changed, and several times in each session. It takes its
//!    coordination and its time as arguments, so a simulation runs the same code.
//! 2. Nothing is written before what was found was compared with what is remembered, and no epoch is used before it is
//!    remembered.
//! 3. It keeps nothing that cannot be lost: all that a successor needs is in the coordination service.

use std::time::Duration;

use slog::{Logger, error, info, warn};

use crate::clock::Time;
use crate::cluster::coordination::{
    CandidateRecord, ClusterRecord, Coordination, Election, ElectionError, Leadership, PathError,
};
use crate::cluster::daemons::belonging::{Belonging, nimbus_node};

/// How long the leader must be missing before another nimbus claims. Longer than a leader needs to begin another
/// session after its connection was lost. What two leaders write is kept apart by their epochs, not by this.
const GRACE: Duration = Duration::from_millis(500);

/// From one step to the next of a nimbus that leads: several in each session.
const STEP_OF_LEADER: Duration = Duration::from_secs(1);
/// The same if it does not lead: it must not miss the end of the grace time by much.
const STEP_OF_OTHERS: Duration = Duration::from_millis(250);

/// What a nimbus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NimbusState {
    /// It leads, with this epoch, until this time if no step moves that.
    Leads {
        /// The epoch.
        epoch: u64,
        /// It must not act later.
        until: Time,
    },
    /// Another one leads, if it is known which.
    StandsBy {
        /// The id of that candidate.
        leader: Option<String>,
    },
    /// It does nothing, for a reason that a person has to look at.
    Refuses(String),
    /// It waits until the coordination service answers.
    Waits(String),
}

impl NimbusState {
    /// How soon the next step is due, if nothing changes before. `timeout`: that of the session.
    pub fn next_step(&self, timeout: Duration) -> Duration {
        match self {
            NimbusState::Leads { .. } => STEP_OF_LEADER.min(timeout / 6),
            NimbusState::StandsBy { .. } => STEP_OF_OTHERS,
            NimbusState::Refuses(_) | NimbusState::Waits(_) => STEP_OF_LEADER,
        }
    }
}

/// A nimbus.
#[derive(Debug)]
pub struct Nimbus {
    belonging: Belonging,
    election: Election,
    /// The cluster that it begins if there is none.
    new: ClusterRecord,
    /// An epoch of its own that it could not remember. Until it can, it does not take part.
    unsaved: u64,
    logger: Logger,
    /// The nimbus that leads, if it is another one and known.
    leader: Option<CandidateRecord>,
    /// What was logged last.
    shown: Option<NimbusState>,
}

impl Nimbus {
    /// A nimbus that has not looked at anything yet.
    ///
    /// # Errors
    /// When the id of the candidate is not a name of a node.
    pub fn new(
        belonging: Belonging,
        me: CandidateRecord,
        new: ClusterRecord,
        logger: Logger,
    ) -> Result<Nimbus, PathError> {
        let election = Election::new(nimbus_node(), me, GRACE, belonging.epoch())?;
        Ok(Nimbus { belonging, election, new, unsaved: 0, logger, leader: None, shown: None })
    }

    /// Looks at what is there, and claims the leadership if nobody has it.
    pub fn step(&mut self, coordination: &dyn Coordination, now: Time) -> NimbusState {
        let state = match self.belonging.check(coordination, Some(&self.new)) {
            Ok(_) => self.take_part(coordination, now),
            Err(error) => state_of(&error, error.is_passing()),
        };
        self.show(&state);
        state
    }

    /// Where the API of the nimbus that leads is reached, if that is another one, and known.
    pub fn leader_address(&self) -> Option<&str> {
        self.leader.as_ref().map(|leader| &*leader.address)
    }

    /// Gives up the leadership, so that another nimbus need not wait. Without a session it waits for nothing.
    pub fn end(&mut self, coordination: &dyn Coordination) {
        if !coordination.session().is_connected {
            return;
        }
        if let Err(error) = self.election.resign(coordination) {
            warn!(self.logger, "the others will wait until this session has ended"; "why" => %error);
        }
    }

    fn take_part(&mut self, coordination: &dyn Coordination, now: Time) -> NimbusState {
        if let Err(error) = self.belonging.saw(self.unsaved) {
            return state_of(&error, false);
        }
        let step = self.election.step(coordination, now);
        self.leader = match &step {
            Ok(Leadership::Follower { leader }) => leader.clone(),
            _ => None,
        };
        match step {
            Ok(Leadership::Leader { epoch, until }) => match self.belonging.saw(epoch) {
                Ok(()) => NimbusState::Leads { epoch, until },
                Err(error) => {
                    // Another one can lead, whose disk takes what it has to remember.
                    self.unsaved = epoch;
                    self.end(coordination);
                    state_of(&error, false)
                }
            },
            Ok(Leadership::Follower { leader }) => {
                NimbusState::StandsBy { leader: leader.map(|leader| leader.id) }
            }
            Err(ElectionError::Coordination(error)) => state_of(&error, error.is_passing()),
            Err(error) => state_of(&error, false),
        }
    }

    /// Logs what has changed.
    fn show(&mut self, state: &NimbusState) {
        let is_new = match (&self.shown, state) {
            (Some(NimbusState::Leads { epoch: before, .. }), NimbusState::Leads { epoch, .. }) => {
                before != epoch
            }
            (before, state) => before.as_ref() != Some(state),
        };
        if !is_new {
            return;
        }
        match state {
            NimbusState::Leads { epoch, .. } => info!(self.logger, "this nimbus leads"; "epoch" => epoch),
            NimbusState::StandsBy { leader: Some(leader) } => {
                info!(self.logger, "this nimbus stands by"; "leader" => leader);
            }
            // Until the next step it is not known who leads.
            NimbusState::StandsBy { leader: None } => return,
            NimbusState::Refuses(why) => error!(self.logger, "this nimbus does nothing"; "why" => why),
            NimbusState::Waits(why) => warn!(self.logger, "this nimbus waits"; "why" => why),
        }
        self.shown = Some(state.clone());
    }
}

fn state_of(error: &(impl std::error::Error + ?Sized), is_passing: bool) -> NimbusState {
    let why = error.to_string();
    if is_passing { NimbusState::Waits(why) } else { NimbusState::Refuses(why) }
}
