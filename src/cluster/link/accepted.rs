//! Connections that a master has accepted, and how far each has come.
//!
//! A *session* is what the master and one process have had to say to each other. It outlives connections, and ends when
//! the process is fenced.

use crate::clock::Time;
use crate::cluster::link::connection::LinkConnection;
use crate::cluster::link::hello::{Challenge, Hello, ObserverHello};
use crate::cluster::link::resend::Resend;
use crate::ids::WorkerId;

/// How far a connection has come.
pub(super) enum Stage {
    /// Nothing has come.
    AwaitsHello,
    /// It was challenged.
    AwaitsProof(Hello, Challenge),
    /// It was challenged, and is no worker.
    AwaitsObserverProof(ObserverHello, Challenge),
    /// It has proven that it may ask. Whether it has, and was not answered yet.
    Observes { has_asked: bool },
    /// It has proven who it is.
    AwaitsIntroduction(Hello),
    /// The master's thread decides about this process of this worker.
    AwaitsWelcome(u64, WorkerId),
    /// It carries the lines of this process.
    Up(u64),
}

/// A connection.
pub(super) struct Accepted {
    pub(super) connection: LinkConnection,
    pub(super) stage: Stage,
    /// By when it must have proven who it is, and an observer must have asked or taken its answer.
    pub(super) deadline: Time,
}

/// What the master and one process have had to say to each other.
pub(super) struct Session {
    pub(super) worker: WorkerId,
    pub(super) resend: Resend,
    /// The connection that carries it, if there is one.
    pub(super) connection: Option<u64>,
}
