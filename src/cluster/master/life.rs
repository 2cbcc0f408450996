//! One worker as the master knows it: which life it is in, and when it may begin another.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::control::Beat;
use crate::cluster::master::counts::{Counts, Sources};
use crate::config::WorkerOptions;
use crate::ids::{Incarnation, WorkerId};
use crate::net::{Endpoint, Member};

/// How far a life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerPhase {
    /// Not started yet: a back-off passes.
    Waiting {
        /// Until then.
        until: Time,
    },
    /// Started, and not listening yet.
    Starting {
        /// Since then.
        since: Time,
    },
    /// Listening: it takes part.
    Up {
        /// Since then.
        since: Time,
    },
    /// Told to end by force; its exit has not been seen.
    Killed,
    /// Dead, and not to come back.
    Gone,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It could not even be started.
    NotStarted(String),
}

/// Signals by which others end a process: it may be all right.
const SIGNALS_FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

impl Exit {
    /// Whether it is the process's own doing, so that another one may well end the same way.
    pub fn is_own_doing(&self) -> bool {
        !matches!(self, Exit::Signal(signal) if SIGNALS_FROM_OUTSIDE.contains(signal))
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {}", signal_name(*signal)),
            Exit::NotStarted(why) => write!(f, "it could not be started: {why}"),
        }
    }
}

/// The name of a signal that ends a process, for people.
fn signal_name(signal: i32) -> String {
    let names = [
        (1, "HUP"),
        (2, "INT"),
        (3, "QUIT"),
        (4, "ILL"),
        (6, "ABRT"),
        (7, "BUS"),
        (8, "FPE"),
        (9, "KILL"),
        (11, "SEGV"),
        (13, "PIPE"),
        (14, "ALRM"),
        (15, "TERM"),
        (24, "XCPU"),
        (25, "XFSZ"),
        (31, "SYS"),
    ];
    let name = names.iter().find(|(number, _)| *number == signal);
    name.map_or_else(|| signal.to_string(), |(_, name)| format!("SIG{name}"))
}

/// A worker through all its lives.
#[derive(Debug)]
pub struct WorkerLife {
    /// Which worker.
    pub worker: WorkerId,
    /// The present life, or the next one while it waits.
    pub incarnation: Incarnation,
    /// How far it has come.
    pub phase: WorkerPhase,
    /// Where it listens, once it does.
    pub address: Option<SocketAddr>,
    /// When it last said anything.
    pub heard: Time,
    /// What it last said of itself; `None` before it did.
    pub beat: Option<Beat>,
    /// Whether it knows that spouts may emit.
    pub active: bool,
    /// Whether it was ever told so in this life. Before that, its rest means nothing.
    pub was_active: bool,
    /// It is overdue, and is being examined.
    pub is_examined: bool,
    /// It said that all its executors are closed.
    pub has_ended: bool,
    /// Why it cannot go on, in its own words.
    pub fatal: Option<String>,
    /// Whether this life has listened, and whether any has.
    pub was_up: bool,
    pub ever_up: bool,
    /// Starts in a row that ended before it listened, by its own doing.
    pub failed_starts: u32,
    /// Lives it has lost.
    pub restarts: u64,
    /// The next pause before it is started.
    pause: Duration,
    /// Whether its spouts may have emitted: it was told that they may while the topology was not
    /// draining.
    pub reads: bool,
    /// What all its lives counted.
    pub counts: Counts,
}

impl WorkerLife {
    /// The first life, not started yet, of a worker whose spouts read from there.
    pub fn new(worker: WorkerId, sources: Sources) -> WorkerLife {
        WorkerLife {
            worker,
            incarnation: Incarnation(1),
            phase: WorkerPhase::Waiting { until: Time::ZERO },
            address: None,
            heard: Time::ZERO,
            beat: None,
            active: false,
            was_active: false,
            is_examined: false,
            has_ended: false,
            fatal: None,
            was_up: false,
            ever_up: false,
            failed_starts: 0,
            restarts: 0,
            pause: Duration::ZERO,
            reads: false,
            counts: Counts::new(sources),
        }
    }

    /// Who it is now.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { worker: self.worker, incarnation: self.incarnation }
    }

    /// As others are told of it.
    pub fn member(&self) -> Member {
        Member { worker: self.worker, incarnation: self.incarnation, address: self.address }
    }

    /// Whether it takes part.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, WorkerPhase::Up { .. })
    }

    /// Whether there is a process that reads what it is sent.
    pub fn listens_to_us(&self) -> bool {
        matches!(self.phase, WorkerPhase::Starting { .. } | WorkerPhase::Up { .. })
    }

    /// Whether there is a process.
    pub fn has_process(&self) -> bool {
        self.listens_to_us() || self.phase == WorkerPhase::Killed
    }

    /// It listens now.
    pub fn comes_up(&mut self, address: SocketAddr, now: Time) {
        self.phase = WorkerPhase::Up { since: now };
        self.address = Some(address);
        self.was_up = true;
        self.ever_up = true;
        self.failed_starts = 0;
    }

    /// It is dead. Plans the next life, the first one after a good life at once.
    pub fn dies(&mut self, how: &Exit, options: &WorkerOptions, now: Time) {
        match self.phase {
            WorkerPhase::Up { since } if now.since(since) >= options.restart_reset => {
                self.pause = Duration::ZERO
            }
            _ if !self.was_up && how.is_own_doing() => self.failed_starts += 1,
            _ => {}
        }
        self.counts.bury(self.reads);
        self.forget();
        self.phase = WorkerPhase::Waiting { until: now.after(self.pause) };
        self.pause = (self.pause * 2).clamp(options.restart_min, options.restart_max);
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        self.restarts += 1;
        self.fatal = None;
    }

    /// Its next life, if it waits for one, is due now.
    pub fn hurry(&mut self, now: Time) {
        if let WorkerPhase::Waiting { until } = &mut self.phase {
            *until = now.min(*until);
        }
    }

    /// It is dead and does not come back. What it counted stands as it last said.
    pub fn leaves(&mut self) {
        self.forget();
        self.phase = WorkerPhase::Gone;
    }

    fn forget(&mut self) {
        self.address = None;
        self.beat = None;
        self.active = false;
        self.was_active = false;
        self.reads = false;
        self.was_up = false;
    }
}
