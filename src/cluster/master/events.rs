//! What happens to the master, and what it has done about it.

use std::time::Duration;

use crate::cluster::control::{FromWorker, ToWorker};
use crate::cluster::master::counts::Sources;
use crate::cluster::master::life::Exit;
use crate::config::WorkerOptions;
use crate::ids::WorkerId;
use crate::net::{Endpoint, Members};
use crate::runtime::StopReason;

/// What the core is told once.
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
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Nothing; time has passed.
    Tick,
    /// A worker said something.
    Said(Endpoint, FromWorker),
    /// Nothing sensible can be heard of it any more.
    Broken(Endpoint, String),
    /// Its process was looked at, as [`MasterAction::Examine`] asked: whether it was given no processor.
    Examined(Endpoint, bool),
    /// Its process has ended.
    Exited(Endpoint, Exit),
    /// Spouts may emit (again).
    Activate,
    /// Spouts are to rest.
    Deactivate,
    /// An orderly end is wanted.
    Drain,
    /// An end at once is wanted.
    Kill,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum MasterAction {
    /// Start the process of a life, and tell it who takes part.
    Start(Endpoint, Members),
    /// Tell a worker something.
    Send(Endpoint, ToWorker),
    /// Find out whether it is silent for want of a processor, and report that as [`Event::Examined`].
    Examine(Endpoint),
    /// End its process by force.
    Kill(Endpoint),
    /// For the log.
    Note(Note),
    /// It is over.
    Done,
}

/// What people should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// It listens, so long after it was started.
    Listening(Endpoint, Duration),
    /// It died, and is started again after so long.
    Died(Endpoint, Exit, Duration),
    /// It is late because it was given no processor, and gets its time again.
    Starved(Endpoint),
    /// It is to be killed, for this reason.
    Replaced(Endpoint, String),
    /// It ended as it was told to.
    Ended(Endpoint),
    /// It ended although it was not asked to, or not in order, while all were ending.
    EndedBadly(Endpoint, Exit),
    /// A message of it was too large, and what is missing because of that.
    TooLarge(Endpoint, String),
    /// It cannot go on, in its own words.
    Fatal(Endpoint, String),
    /// One of its components asks for an orderly end.
    DrainRequested(Endpoint),
    /// One of its components cannot go on.
    Stopped(Endpoint, StopReason),
    /// Its link to a peer came up or went down.
    Link(Endpoint, WorkerId, bool),
    /// The run is given up.
    GivenUp(String),
    /// Processes that do not die are left behind.
    LeftBehind(Vec<Endpoint>),
}
