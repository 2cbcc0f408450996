//! What an operator can do with the topologies of a cluster: requests and answers.
//!
//! ```text
//!   squall submit, list, kill ... ─ HTTP ─▶ api ─▶ Operations ─▶ nimbus: catalog, specs, assignments
//! ```
//!
//! The types here are those of the HTTP API, too. They know nothing of HTTP.

mod hosts;

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::access::{AccessChange, Caller, TopologyAccess};
use crate::cluster::log_pieces::{LogAnswer, LogQuestion};
use crate::cluster::observed::Observed;
use crate::cluster::problem::ProblemInfo;
use crate::cluster::topologies::{
    BlobHash, Outcome, SavepointAnswer, SavepointWish, TopologyBegin, TopologyId, TopologyPhase, Upgrade,
    UpgradeVerdict, Wanted,
};
pub use hosts::{ClusterInfo, HostInfo, HostedInfo, NimbusInfo, SupervisorInfo};

/// What a nimbus does for operators. Calls wait for the coordination service, for at most the time-out of a call.
pub trait Operations: Send + Sync {
    /// Takes a topology, or, if `dry_run` is set, plans where it would run. It is that of the user who asks.
    ///
    /// # Errors
    /// Why it was not taken.
    fn submit(&self, request: &SubmitRequest, by: &Caller) -> Result<Submitted, OperationError>;

    /// All topologies, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    fn topologies(&self) -> Result<Vec<TopologyInfo>, OperationError>;

    /// One topology.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be read.
    fn topology(&self, name: &str) -> Result<TopologyInfo, OperationError>;

    /// One topology, and what its master has counted. It waits for the master, for about two seconds at most.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be read. A master that does not answer is no error.
    fn stats(&self, name: &str) -> Result<TopologyStatus, OperationError>;

    /// Pieces of what the processes of a topology log, which its master asks them for. It waits for the master, for about
    /// two seconds at most.
    ///
    /// # Errors
    /// When there is none of this name, it cannot be read, or too much is asked for. A process or a master that does not
    /// answer is no error.
    fn logs(&self, name: &str, question: &LogQuestion) -> Result<TopologyLogs, OperationError>;

    /// Has a topology do something. A topology that is to end cannot be had run again, and a drained one can be killed.
    ///
    /// # Errors
    /// When there is no such topology, or it has ended or is ending.
    fn want(&self, name: &str, wanted: Wanted) -> Result<TopologyInfo, OperationError>;

    /// Has a topology take a savepoint. The answer does not wait until it is taken: [`TopologyInfo`] has what came of it. If
    /// the same is wanted already, it is not wanted once more.
    ///
    /// # Errors
    /// When there is no such topology, it takes no checkpoints, it has ended or is ending, or another savepoint is wanted
    /// and not taken yet.
    fn savepoint(&self, name: &str, request: &SavepointRequest) -> Result<TopologyInfo, OperationError>;

    /// Has all workers of a topology begin anew. The answer does not wait until they do.
    ///
    /// # Errors
    /// When there is no such topology, or it has ended or is ending.
    fn restart(&self, name: &str) -> Result<TopologyInfo, OperationError>;

    /// Has a topology run with other workers, parallelism or values, or, if `dry_run` is set, plans that. The answer does
    /// not wait until it does.
    ///
    /// # Errors
    /// Why not: there is no such topology, it has ended or is ending, a value is not allowed, or there is no room.
    fn rebalance(&self, name: &str, request: &RebalanceRequest) -> Result<Rebalanced, OperationError>;

    /// Has the processes of a topology log other records for a while, or takes that back. The answer does not wait until
    /// they do.
    ///
    /// # Errors
    /// When there is no such topology, it has ended or is ending, or what is asked for makes no sense.
    fn log_level(&self, name: &str, request: &LogLevelRequest) -> Result<TopologyInfo, OperationError>;

    /// Changes who may do what with a topology, whether it runs or has ended.
    ///
    /// # Errors
    /// When there is no such topology, somebody is named twice, or too many are.
    fn change_access(&self, name: &str, change: &AccessChange) -> Result<TopologyInfo, OperationError>;

    /// Puts another topology in the place of one that runs, or, if `dry_run` is set, plans that. The answer does not wait
    /// until it is up: [`TopologyInfo::upgrade`] has what comes of it. If it is not up in time, the one before runs again.
    ///
    /// # Errors
    /// Why not: there is no such topology, it has ended or is ending, it is being upgraded already, the new one is invalid
    /// or changes what cannot be changed, or there is no room.
    fn upgrade(&self, name: &str, request: &UpgradeRequest) -> Result<Upgraded, OperationError>;

    /// Removes a topology that has ended from the list.
    ///
    /// # Errors
    /// When there is none, or it has not ended.
    fn remove(&self, name: &str) -> Result<(), OperationError>;

    /// Nimbuses, supervisors, and what runs on them.
    ///
    /// # Errors
    /// When they cannot be read.
    fn cluster(&self) -> Result<ClusterInfo, OperationError>;

    /// Has a host emptied, or used again: then it leaves the blacklist, too. The answer does not wait until it is empty.
    ///
    /// # Errors
    /// When there is no such host, or it cannot be written.
    fn drain(&self, host: &str, drained: bool) -> Result<HostInfo, OperationError>;

    /// Keeps a blob. It is there when this returns.
    ///
    /// # Errors
    /// When its hash is another one, or it cannot be written.
    fn put_blob(&self, hash: &BlobHash, bytes: &[u8]) -> Result<(), OperationError>;

    /// Whether a blob is there. Then it counts as new, so it is kept for whoever submits it next.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn has_blob(&self, hash: &BlobHash) -> Result<bool, OperationError>;

    /// Reads a blob.
    ///
    /// # Errors
    /// When it does not lead, there is no such blob, or it cannot be read.
    fn blob(&self, hash: &BlobHash) -> Result<Vec<u8>, OperationError>;
}

/// A topology to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// The blob with its [`TopologySource`](crate::cluster::TopologySource) as JSON, which was put before. Its name is
    /// that of the topology; the override `topology.name=...` of a source gives it another one.
    pub source: BlobHash,
    /// Whose it is, if the nimbus has no users; empty: nobody's in particular. If it has, it is that of the user who asks,
    /// whatever this is.
    #[serde(default)]
    pub owner: String,
    /// Who else may do something with it.
    #[serde(default)]
    pub access: TopologyAccess,
    /// Whether its spouts rest until somebody activates them.
    #[serde(default)]
    pub inactive: bool,
    /// Whether it is only planned.
    #[serde(default)]
    pub dry_run: bool,
    /// With which checkpoint it begins.
    #[serde(default)]
    pub begin: TopologyBegin,
}

/// How a topology is to run instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RebalanceRequest {
    /// `KEY=VALUE`, as of `--set`: they count after those that the topology has. Without any, its workers are spread anew
    /// over the hosts; otherwise what can stay stays.
    #[serde(default)]
    pub overrides: Vec<String>,
    /// Whether it is only planned.
    #[serde(default)]
    pub dry_run: bool,
}

/// What becomes of a topology that is rebalanced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rebalanced {
    /// Its id.
    pub id: TopologyId,
    /// The generation that has it; `None` if it was only planned.
    pub generation: Option<u64>,
    /// Where its workers run, or would run; empty if there is no room.
    pub workers: Vec<WorkerInfo>,
    /// Which executors move.
    pub moves: Vec<MoveInfo>,
    /// What is short, if it does not fit. Only of a plan: otherwise it is an error.
    pub short: Option<String>,
}

/// Another topology in the place of one that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// The blob with its [`TopologySource`](crate::cluster::TopologySource) as JSON, which was put before. Its name is
    /// that of the topology that runs.
    pub source: BlobHash,
    /// Until when it has to be up, in seconds, 1 to 86,400; by default 60. Otherwise it is rolled back.
    #[serde(default = "upgrade_timeout")]
    pub timeout_seconds: u64,
    /// The components and states that are left behind in the checkpoint, as `COMPONENT` or `COMPONENT.STATE`.
    #[serde(default)]
    pub allow_dropped_state: Vec<String>,
    /// Whether it is only planned.
    #[serde(default)]
    pub dry_run: bool,
}

fn upgrade_timeout() -> u64 {
    60
}

/// What becomes of a topology that is upgraded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgraded {
    /// Its id.
    pub id: TopologyId,
    /// The generation that has it; `None` if it was only planned.
    pub generation: Option<u64>,
    /// What of its graph changes, each as a line for people. Values of components are not compared.
    pub changes: Vec<String>,
    /// Where its workers run, or would run; empty if there is no room.
    pub workers: Vec<WorkerInfo>,
    /// Which executors move.
    pub moves: Vec<MoveInfo>,
    /// What is short, if it does not fit. Only of a plan: otherwise it is an error.
    pub short: Option<String>,
}

/// Executors that move together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MoveInfo {
    /// Where they ran, as `HOST:SLOT`. `None`: nowhere.
    pub from: Option<String>,
    /// Where they are to run. `None`: nowhere.
    pub to: Option<String>,
    /// How many they are.
    pub executors: u64,
    /// Why they move.
    pub why: String,
}

/// Seconds for which levels may be changed, at most: a week.
pub const LEVELS_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;

/// What the processes of a topology are to log for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevelRequest {
    /// A level, or `COMPONENT=LEVEL`, several separated by commas. They replace those that were wanted before. null: what
    /// the hosts have them log.
    #[serde(default)]
    pub levels: Option<String>,
    /// For how many seconds, at most a week.
    #[serde(default = "five_minutes")]
    pub seconds: u64,
}

fn five_minutes() -> u64 {
    300
}

/// What the processes of a topology log for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLevelInfo {
    /// The levels.
    pub levels: String,
    /// Until when, for people.
    pub until: String,
}

/// A savepoint to take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SavepointRequest {
    /// Its directory on the hosts, an absolute path, which must be empty or not there. Without one, it is a new one, beside
    /// the directory of the checkpoints.
    #[serde(default)]
    pub directory: Option<String>,
    /// Whether the topology ends with it.
    #[serde(default)]
    pub stops: bool,
}

/// What became of a topology that was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// Its id; `None` if it was only planned.
    pub id: Option<TopologyId>,
    /// Its name.
    pub name: String,
    /// Where its workers run, or would run; empty if there is no room.
    pub workers: Vec<WorkerInfo>,
    /// What is short, if it does not fit.
    pub short: Option<String>,
}

/// One topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopologyInfo {
    /// Its id.
    pub id: TopologyId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: String,
    /// Who else may do something with it.
    pub access: TopologyAccess,
    /// When it was submitted, for people.
    pub submitted_at: String,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// The generation that is wanted; one more with each restart, rebalance, upgrade, or roll back of one.
    pub generation: u64,
    /// The generation whose master has reported last; 0 if none has.
    pub runs: u64,
    /// What it does, as its master last reported.
    pub phase: TopologyPhase,
    /// How it has ended, if it has.
    pub outcome: Option<Outcome>,
    /// The savepoint that was wanted last.
    pub savepoint_wanted: Option<SavepointWish>,
    /// What came of the savepoint that was answered last.
    pub savepoint: Option<SavepointAnswer>,
    /// What its processes log for a while, if somebody wants that.
    pub log: Option<LogLevelInfo>,
    /// The last upgrade, and what came of it.
    pub upgrade: Option<Upgrade>,
    /// While that is not known: how it goes, as the master of its generation last reported.
    pub verdict: Option<UpgradeVerdict>,
    /// Its workers, by number; empty if it runs nowhere.
    pub workers: Vec<WorkerInfo>,
    /// The host of its master.
    pub master: Option<MasterInfo>,
    /// Why it runs nowhere, or with fewer workers than it asks for.
    pub short: Option<String>,
    /// What keeps its processes from running, as the supervisors of their hosts report.
    #[serde(default)]
    pub problems: Vec<ProblemInfo>,
}

/// One topology, and how it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TopologyStatus {
    /// What the cluster knows of it.
    #[serde(flatten)]
    pub topology: TopologyInfo,
    /// What its master has counted; null if the master was not asked or does not answer.
    pub stats: Option<Observed>,
    /// Why `stats` is null, for people.
    pub stats_missing: Option<String>,
}

/// Pieces of what the processes of a topology log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopologyLogs {
    /// The topology.
    pub id: TopologyId,
    /// What it does.
    pub phase: TopologyPhase,
    /// The numbers of its workers.
    pub workers: Vec<u16>,
    /// What the processes have answered; empty if the master does not answer.
    pub logs: Vec<LogAnswer>,
    /// Why there is no answer at all, for people.
    pub missing: Option<String>,
}

/// One worker of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerInfo {
    /// Its number.
    pub worker: u16,
    /// The id of its supervisor.
    pub host: String,
    /// Its slot there.
    pub slot: u16,
}

/// The master of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MasterInfo {
    /// The id of its supervisor.
    pub host: String,
    /// How often one was started.
    pub epoch: u64,
    /// Where it is reached; `None`: it does not listen yet.
    pub address: Option<SocketAddr>,
}

/// Why a nimbus did not do what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// This nimbus does not lead.
    #[error("this nimbus does not lead")]
    NotLeader {
        /// Where the API of the one that does is reached, if that is known.
        leader: Option<String>,
    },
    /// There is no such topology.
    #[error("there is no topology `{name}` in this cluster")]
    NoTopology {
        /// The name.
        name: String,
    },
    /// There is no such host.
    #[error("there is no supervisor `{id}` in this cluster: see `squall cluster`")]
    NoSupervisor {
        /// The id.
        id: String,
    },
    /// What is asked for does not fit what is there: a name that is in use, a topology that is ending.
    #[error("{0}")]
    Conflict(String),
    /// What is asked for makes no sense, or is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The coordination service or the disk does not do it now. It may be asked for again.
    #[error("{0}")]
    Unavailable(String),
}
