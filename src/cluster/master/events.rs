//! The events that the core of the master handles, and the actions that it returns.

use std::path::PathBuf;
use std::time::Duration;

use crate::checkpoint::Manifest;
use crate::cluster::control::{FromWorker, ToWorker};
use crate::cluster::link::{Arrival, Welcome};
use crate::cluster::master::counts::Sources;
use crate::cluster::master::worker_record::Exit;
use crate::config::{CheckpointOptions, WorkerOptions};
use crate::ids::{CheckpointId, WorkerId};
use crate::net::{Endpoint, Members};
use crate::runtime::StopReason;
use crate::runtime::checkpoint_actions::Parts;
use crate::runtime::flow::checkpoint::StorageError;

/// What the core is made with.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// For each worker, from 0, where its spouts read.
    pub sources: Vec<Sources>,
    /// `[worker]`.
    pub worker: WorkerOptions,
    /// `net.link_lost`.
    pub link_lost: Duration,
    /// Bolts of the topology.
    pub bolts: usize,
    /// `topology.drain_timeout`.
    pub drain_timeout: Duration,
    /// Whether spouts wait for [`Event::Activate`].
    pub start_inactive: bool,
    /// If the topology is exactly-once: how checkpoints are taken, of what, and which start of the topology this is.
    pub checkpoints: Option<(CheckpointOptions, Parts, u64)>,
    /// The number of the first recovery, which is the start: one that no other run has. Each later one adds 1.
    pub first_recovery: u64,
    /// If supervisors start the processes: how this master begins.
    pub appointment: Option<Appointment>,
}

/// How a master begins whose workers are started by supervisors, and may run already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appointment {
    /// Its epoch, from 1. One that is not the first looks for workers that run.
    pub epoch: u64,
    /// How long it waits for workers that run.
    pub grace: Duration,
    /// The version of the assignment of executors to workers. Workers with another one are not adopted.
    pub assignment: u64,
    /// Whether the topology is on trial as an upgrade, until [`Event::Accepted`].
    pub on_trial: bool,
}

/// What is to be done in the store of checkpoints, in the order in which it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreJob {
    /// Find the latest checkpoint.
    Load,
    /// Publish a checkpoint. The shell states the time in it.
    Publish(Box<Manifest>),
    /// Delete what was written for a checkpoint that was given up.
    Discard(CheckpointId),
    /// Copy a checkpoint that is complete to a directory.
    Export(CheckpointId, PathBuf),
}

/// An event. An event of an incarnation that is not the current one is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time has passed, and nothing else happened.
    Tick,
    /// A worker sent a message.
    Message(Endpoint, FromWorker),
    /// The control channel of a worker cannot be used any more, for this reason.
    Broken(Endpoint, String),
    /// The result of [`MasterAction::Examine`]: whether the worker was given no processor.
    Examined(Endpoint, bool),
    /// The process of a worker has ended.
    Exited(Endpoint, Exit),
    /// A process that a supervisor has started is there.
    Arrived(Arrival),
    /// The connection of a process that a supervisor has started has ended. It may come back.
    Closed(Endpoint),
    /// The latest checkpoint was found, or could not be.
    Loaded(Result<Option<Box<Manifest>>, StorageError>),
    /// A later master has the store of checkpoints, so this one is to end, and the topology is not.
    Fenced,
    /// A checkpoint was published, or could not be.
    Published(CheckpointId, Result<(), StorageError>),
    /// The embedder wants a savepoint in this directory.
    Savepoint {
        /// The directory.
        directory: PathBuf,
        /// Whether the run ends with it.
        stops: bool,
    },
    /// The embedder wants a checkpoint now: the question of this number.
    CheckpointWanted(u64),
    /// This checkpoint was copied as a savepoint, or could not be.
    Exported(CheckpointId, Result<(), String>),
    /// The embedder wants spouts to emit (again).
    Activate,
    /// The embedder wants spouts to rest.
    Deactivate,
    /// The topology is on trial no more: it stays.
    Accepted,
    /// Workers are to run there: some move to other hosts, and the others go on.
    Placed(Places),
    /// An orderly end is wanted.
    Drain,
    /// An end at once is wanted.
    Kill,
}

/// Where workers are to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The generation of the spec that wants it.
    pub generation: u64,
    /// The id of the supervisor of each worker.
    pub hosts: Vec<(WorkerId, String)>,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum MasterAction {
    /// Start the process of this incarnation, and send it `Start` with these members.
    Start(Endpoint, Members),
    /// Send a message to a worker.
    Send(Endpoint, ToWorker),
    /// Find out whether the worker is silent because it is given no processor, and report the result as
    /// [`Event::Examined`].
    Examine(Endpoint),
    /// Kill the process of a worker.
    Kill(Endpoint),
    /// Answer a process that has arrived. It is this worker; an incarnation counts only if it is adopted.
    Welcome(Endpoint, u64, Welcome),
    /// Do this in the store of checkpoints, and report what comes of it.
    Store(StoreJob),
    /// Tell the embedder what became of the savepoint.
    AnswerSavepoint(Result<CheckpointId, String>),
    /// Tell the embedder what became of the checkpoint that it wants, up to this question.
    AnswerCheckpoint(u64, Result<CheckpointId, String>),
    /// Write this to the log, and to the history of the run where it belongs there.
    Note(Note),
    /// The run is over: end the master's thread.
    Done,
}

/// What the master logs, about one worker or about the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// The worker listens, this long after it was started.
    Listening(Endpoint, Duration),
    /// The worker died, and is started again after this pause.
    Died(Endpoint, Exit, Duration),
    /// The worker is late because it was given no processor, and gets its time again.
    Starved(Endpoint),
    /// The worker is killed, for this reason, to be replaced.
    Replaced(Endpoint, String),
    /// The worker was running before this master began, and goes on.
    Adopted(Endpoint),
    /// The worker closed and ended in order.
    Ended(Endpoint),
    /// The worker ended before it had closed, while all were closing.
    EndedBadly(Endpoint, Exit),
    /// A message of the worker was too large; what is missing because of that.
    TooLarge(Endpoint, String),
    /// The worker cannot go on, for the reason that it reported.
    Fatal(Endpoint, String),
    /// A component of the worker requests an orderly end.
    DrainRequested(Endpoint),
    /// A component of the worker cannot go on.
    Stopped(Endpoint, StopReason),
    /// The connection by which the worker sends to a peer came up or went down.
    Link(Endpoint, WorkerId, bool),
    /// A checkpoint was given up, for this reason.
    CheckpointGivenUp(CheckpointId, String),
    /// All tasks go back to the latest checkpoint, if there is one, for this reason.
    GoingBack(Option<CheckpointId>, String),
    /// The latest checkpoint cannot be read, for this reason. It is tried again.
    CheckpointUnread(String),
    /// The run is given up.
    GivenUp(String),
    /// Processes that do not die are left behind.
    LeftBehind(Vec<Endpoint>),
}
