//! How a supervisor belongs to its cluster: with the slots and resources that it offers. It notices when the data of the
//! cluster are lost.
//!
//! 1. [`Supervisor::step`] is called when one of its nodes has changed, and from time to time.
//! 2. Its node is held: it vanishes a session time-out after the supervisor has died. What runs on the host is not
//!    touched by that.
//! 3. It registers only if the coordination service has the cluster that it remembers, or if it remembers none.
//! 4. It publishes the names of the secrets of its host, and publishes them again in the step after they have changed. No
//!    value leaves the host.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slog::{Logger, debug, error, info, warn};

use crate::cluster::coordination::{
    Coordination, CoordinationError, NodePath, PathError, Record, RecordAccessError, be_present,
    encode_record,
};
use crate::cluster::daemons::belonging::{
    Belonging, BelongingError, cluster_node, nimbus_node, supervisors_node,
};
use crate::cluster::daemons::supervisor::child::ChildId;
use crate::cluster::daemons::supervisor::problems::PublishedProblems;
use crate::cluster::platform::Platform;
use crate::config::{HostOptions, Resources};
use crate::secrets::{SecretDirectory, SecretName};

/// From one step to the next of a supervisor that belongs to the cluster. There may be a thousand, and a step is a write
/// and some reads, so it does not give signs of life: the session does.
const STEP: Duration = Duration::from_secs(10);
/// The same of one that waits for something.
const STEP_WHILE_WAITING: Duration = Duration::from_secs(1);

/// The most names of secrets that a host publishes. With the longest names, the record has about 67 KB.
pub const SECRETS_MAX: usize = 1000;

/// A host of a cluster, as its supervisor offers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorRecord {
    /// Its id, unique in the cluster.
    pub id: String,
    /// The rack that it is in.
    pub rack: String,
    /// How many workers it may run.
    pub slots: u16,
    /// Its processor time, in thousandths of a core, and memory, in bytes.
    pub resources: Resources,
    /// Which programs it can run.
    pub platform: Platform,
    /// The names of the secrets that it has, at most `SECRETS_MAX`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<SecretName>,
    /// Random, and new with each start of the supervisor.
    pub token: String,
    /// When the supervisor was started, by its own clock. For people.
    pub started_at: String,
}

impl SupervisorRecord {
    /// A host that offers this, on the platform of this machine. Its secrets are found out by its supervisor, and which
    /// start of it this is, and when, is for the caller to add.
    pub fn new(id: impl Into<String>, offered: &HostOptions) -> SupervisorRecord {
        SupervisorRecord {
            id: id.into(),
            rack: offered.rack.clone(),
            slots: offered.slots,
            resources: offered.resources,
            platform: Platform::of_this_machine(),
            secrets: BTreeSet::new(),
            token: String::new(),
            started_at: String::new(),
        }
    }
}

impl Record for SupervisorRecord {
    const KIND: &'static str = "supervisor";
    const VERSION: u32 = 1;
    const BYTES_MAX: usize = 128 * 1024;
}

/// What a supervisor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupervisorState {
    /// It belongs to the cluster.
    Registered,
    /// No nimbus has begun the cluster yet.
    WaitsForCluster,
    /// Another process has its id: a second supervisor, or the one before it, whose session has not ended yet.
    IdIsTaken,
    /// It does nothing, for a reason that a person has to look at.
    Refuses(String),
    /// It waits until the coordination service answers.
    Waits(String),
}

impl SupervisorState {
    /// How soon the next step is due, if nothing changes before.
    pub fn next_step(&self) -> Duration {
        match self {
            SupervisorState::Registered => STEP,
            SupervisorState::WaitsForCluster
            | SupervisorState::IdIsTaken
            | SupervisorState::Refuses(_)
            | SupervisorState::Waits(_) => STEP_WHILE_WAITING,
        }
    }
}

/// A supervisor.
#[derive(Debug)]
pub struct Supervisor {
    belonging: Belonging,
    me: SupervisorRecord,
    node: NodePath,
    problems: PublishedProblems,
    /// Where the secrets of this host are.
    secrets: SecretDirectory,
    logger: Logger,
    /// What was logged last.
    shown: Option<SupervisorState>,
    /// What was logged last about secrets.
    shown_of_secrets: Option<String>,
}

impl Supervisor {
    /// A supervisor that has not registered yet.
    ///
    /// # Errors
    /// When its id is not a name of a node.
    pub fn new(belonging: Belonging, me: SupervisorRecord, logger: Logger) -> Result<Supervisor, PathError> {
        let node = supervisors_node().child(&me.id)?;
        let problems = PublishedProblems::new(&me.id, &me.token)?;
        let secrets = SecretDirectory::none();
        Ok(Supervisor { belonging, me, node, problems, secrets, logger, shown: None, shown_of_secrets: None })
    }

    /// The same, of a host that has secrets: it publishes their names.
    #[must_use]
    pub fn with_secrets(self, secrets: SecretDirectory) -> Supervisor {
        Supervisor { secrets, ..self }
    }

    /// These processes of the host do not run as they should at this time. The next step publishes that.
    pub fn set_problems(&mut self, problems: &[(ChildId, String)], now: &str) {
        self.problems.set(problems, now);
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.me.id
    }

    /// Where it logs.
    pub(super) fn logger(&self) -> &Logger {
        &self.logger
    }

    /// The nodes whose changes concern it.
    pub fn watched(&self) -> [NodePath; 3] {
        [cluster_node(), nimbus_node(), self.node.clone()]
    }

    /// Looks at what is there, and registers if it is not registered.
    pub fn step(&mut self, coordination: &dyn Coordination) -> SupervisorState {
        let caught_up = coordination.catch_up().map_err(BelongingError::from);
        let state = match caught_up.and_then(|()| self.belonging.check(coordination, None)) {
            Ok(true) => {
                self.look_at_secrets();
                self.register(coordination)
            }
            Ok(false) => SupervisorState::WaitsForCluster,
            Err(error) if error.is_passing() => SupervisorState::Waits(error.to_string()),
            Err(error) => SupervisorState::Refuses(error.to_string()),
        };
        self.show(&state);
        if state == SupervisorState::Registered
            && let Err(error) = self.problems.publish(coordination)
        {
            // The next step tries it again. If the supervisor before this one has published something, it stays until
            // its session ends.
            debug!(self.logger, "the problems of processes are not published"; "why" => %error);
        }
        state
    }

    /// Leaves the cluster at once. Without a session it waits for nothing.
    pub fn end(&mut self, coordination: &dyn Coordination) {
        if !coordination.session().is_connected {
            return;
        }
        let released = self.problems.release(coordination);
        if let Err(error) = released.and_then(|()| coordination.release(&self.node)) {
            warn!(self.logger, "this host is listed until this session has ended"; "why" => %error);
        }
    }

    /// Finds out which secrets this host has, and returns whether they are others than before. If that cannot be found
    /// out, it has those that it had.
    pub(super) fn look_at_secrets(&mut self) -> bool {
        let (found, wrong) = usable_secrets(&self.secrets);
        if self.shown_of_secrets != wrong {
            if let Some(why) = &wrong {
                warn!(self.logger, "not all secrets of this host can be used"; "why" => why);
            }
            self.shown_of_secrets = wrong;
        }
        match found {
            Some(found) if found != self.me.secrets => {
                self.me.secrets = found;
                true
            }
            Some(_) | None => false,
        }
    }

    fn register(&self, coordination: &dyn Coordination) -> SupervisorState {
        match self.hold(coordination) {
            Ok(()) => SupervisorState::Registered,
            Err(RecordAccessError::Coordination(CoordinationError::Exists(_))) => SupervisorState::IdIsTaken,
            Err(RecordAccessError::Coordination(error)) if error.is_passing() => {
                SupervisorState::Waits(error.to_string())
            }
            Err(error) => SupervisorState::Refuses(error.to_string()),
        }
    }

    fn hold(&self, coordination: &dyn Coordination) -> Result<(), RecordAccessError> {
        let data = encode_record(&self.node, &self.me)?;
        be_present(coordination, &self.node, &data)?;
        Ok(())
    }

    /// Logs what has changed.
    fn show(&mut self, state: &SupervisorState) {
        if self.shown.as_ref() == Some(state) {
            return;
        }
        match state {
            SupervisorState::Registered => {
                info!(self.logger, "this host belongs to the cluster"; "slots" => self.me.slots,
                    "resources" => %self.me.resources);
            }
            SupervisorState::WaitsForCluster => {
                info!(self.logger, "no nimbus has begun the cluster yet: waiting for one");
            }
            SupervisorState::IdIsTaken => warn!(
                self.logger,
                "another process is the supervisor of this id: if it is the one before this, its session ends soon; \
                 otherwise give this one another `supervisor.id`"; "id" => &self.me.id
            ),
            SupervisorState::Refuses(why) => {
                error!(self.logger, "this supervisor does nothing"; "why" => why)
            }
            SupervisorState::Waits(why) => warn!(self.logger, "this supervisor waits"; "why" => why),
        }
        self.shown = Some(state.clone());
    }
}

/// The names of the secrets that can be used, or `None` if that cannot be found out; and what is wrong, if anything is.
fn usable_secrets(secrets: &SecretDirectory) -> (Option<BTreeSet<SecretName>>, Option<String>) {
    let names = match secrets.names() {
        Ok(names) => names,
        Err(error) => return (None, Some(error.to_string())),
    };
    let (mut usable, mut wrong) = (BTreeSet::new(), None);
    for name in names {
        match secrets.check(&name) {
            Ok(()) if usable.len() < SECRETS_MAX => _ = usable.insert(name),
            Ok(()) => {
                wrong.get_or_insert_with(|| format!("only the first {SECRETS_MAX} are published"));
            }
            Err(error) => _ = wrong.get_or_insert_with(|| error.to_string()),
        }
    }
    (Some(usable), wrong)
}
