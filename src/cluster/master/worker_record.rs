//! One worker as the master knows it: its present incarnation, and when the next one may start.
//!
//! Only the core of the master changes it, when it handles an event.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::control::{Beat, WorkerFailure};
use crate::cluster::link::StartedAt;
use crate::cluster::master::counts::{Counts, Sources};
use crate::cluster::master::last_errors::LastErrors;
use crate::config::WorkerOptions;
use crate::ids::{Incarnation, WorkerId};
use crate::net::{Endpoint, Member};

/// The phase of the present incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerPhase {
    /// Not started yet: the back-off is not over.
    Waiting {
        /// It is started at this time.
        until: Time,
    },
    /// StartedAt, and not listening yet.
    Starting {
        /// When it was started, or last got its time again.
        since: Time,
    },
    /// Listening: it takes part.
    Up {
        /// When it reported that it listens.
        since: Time,
    },
    /// Killed; its exit has not been seen.
    Killed,
    /// Ended, and not to be started again.
    Gone,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It could not be started.
    NotStarted(String),
    /// Nobody saw it: another process of the same worker is there.
    Unseen,
    /// It was not heard of for too long. It may still run, but nobody listens to it.
    Fenced,
}

/// Signals that come from other processes: they are no sign that the worker itself is faulty.
const SIGNALS_FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

impl Exit {
    /// Whether the process itself caused its end, so that its replacement may end the same way.
    pub fn is_own_doing(&self) -> bool {
        match self {
            Exit::Code(_) | Exit::NotStarted(_) => true,
            Exit::Signal(signal) => !SIGNALS_FROM_OUTSIDE.contains(signal),
            Exit::Unseen | Exit::Fenced => false,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {}", signal_name(*signal)),
            Exit::NotStarted(why) => write!(f, "it could not be started: {why}"),
            Exit::Unseen => f.write_str("unknown, its supervisor has started another process"),
            Exit::Fenced => f.write_str("being given up"),
        }
    }
}

/// The name of a signal, for logs.
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

/// A worker through all its incarnations.
#[derive(Debug)]
pub struct WorkerRecord {
    /// Which worker.
    pub worker: WorkerId,
    /// The present incarnation; in [`WorkerPhase::Waiting`] the one to be started next.
    pub incarnation: Incarnation,
    /// Its phase.
    pub phase: WorkerPhase,
    /// The address on which it listens. `None`: it does not listen yet.
    pub address: Option<SocketAddr>,
    /// A process that a supervisor has started, and that waits to be the next incarnation.
    pub arrived: Option<u64>,
    /// Where the process that arrived last was started, and for what: that which waits, or that which runs.
    pub started: StartedAt,
    /// When its last message came, or when it was started. Moved forward if the master itself did not
    /// run, or if the worker was given no processor.
    pub last_message_at: Time,
    /// Its last beat, updated by its answers to waves; `None` before the first beat.
    pub beat: Option<Beat>,
    /// Whether the last such command to it was that spouts may emit.
    pub active: bool,
    /// Whether this incarnation was ever sent that command. Before that, its rest means nothing: its
    /// spouts have not run yet.
    pub was_active: bool,
    /// It is overdue and is being examined. Set with the action, reset when the result comes.
    pub is_examined: bool,
    /// It reported that all its executors are closed.
    pub has_ended: bool,
    /// The reason that it reported why it cannot go on. Kept until its exit is handled.
    pub fatal: Option<WorkerFailure>,
    /// Whether this incarnation has listened.
    pub was_up: bool,
    /// Whether any incarnation has listened.
    pub ever_up: bool,
    /// Starts in a row that failed: the process ended before it listened and caused that itself, or
    /// did not listen within `start_timeout`. 0 again once an incarnation listens.
    pub failed_starts: u32,
    /// How many incarnations have died without an orderly end.
    pub restarts: u64,
    /// The pause before the next start after the next death.
    pause: Duration,
    /// Whether the spouts of this incarnation may have emitted: it was sent that they may while the
    /// topology was not draining.
    pub reads: bool,
    /// What all its incarnations counted.
    pub counts: Counts,
    /// Whether a process of it was taken over from an earlier master, so that it has counted for longer than this one.
    pub was_adopted: bool,
    /// The last errors of its components.
    pub errors: LastErrors,
    /// Why an incarnation ended the last time, and when that was known.
    pub last_end: Option<(String, Time)>,
}

impl WorkerRecord {
    /// A worker before its first start. `sources`: where its spouts read.
    pub fn new(worker: WorkerId, sources: Sources) -> WorkerRecord {
        WorkerRecord {
            worker,
            incarnation: Incarnation(1),
            phase: WorkerPhase::Waiting { until: Time::ZERO },
            address: None,
            arrived: None,
            started: StartedAt::default(),
            last_message_at: Time::ZERO,
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
            was_adopted: false,
            errors: LastErrors::default(),
            last_end: None,
        }
    }

    /// The worker and its present incarnation.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { worker: self.worker, incarnation: self.incarnation }
    }

    /// Its entry in the list of members.
    pub fn member(&self) -> Member {
        Member { worker: self.worker, incarnation: self.incarnation, address: self.address }
    }

    /// Whether it takes part.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, WorkerPhase::Up { .. })
    }

    /// Whether there is a process that reads commands.
    pub fn listens_to_us(&self) -> bool {
        matches!(self.phase, WorkerPhase::Starting { .. } | WorkerPhase::Up { .. })
    }

    /// Whether there is a process whose exit was not seen.
    pub fn has_process(&self) -> bool {
        self.listens_to_us() || self.phase == WorkerPhase::Killed
    }

    /// It reported that it listens at this address.
    pub fn comes_up(&mut self, address: SocketAddr, now: Time) {
        self.phase = WorkerPhase::Up { since: now };
        self.address = Some(address);
        self.was_up = true;
        self.ever_up = true;
        self.failed_starts = 0;
    }

    /// Its process has ended without an orderly end. Prepares the next incarnation and its back-off.
    /// The pause is zero for the first death and after an incarnation that was up for `restart_reset`;
    /// otherwise it doubles.
    pub fn dies(&mut self, how: &Exit, options: &WorkerOptions, now: Time) {
        match self.phase {
            WorkerPhase::Up { since } if now.since(since) >= options.restart_reset => {
                self.pause = Duration::ZERO
            }
            _ if !self.was_up && how.is_own_doing() => self.failed_starts += 1,
            _ => {}
        }
        self.counts.end_incarnation(self.reads);
        self.errors.begin_again();
        self.forget();
        self.phase = WorkerPhase::Waiting { until: now.after(self.pause) };
        self.pause = (self.pause * 2).clamp(options.restart_min, options.restart_max);
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        self.restarts += 1;
        self.fatal = None;
    }

    /// Ends the back-off, if it waits for one: the next incarnation is due now.
    pub fn hurry(&mut self, now: Time) {
        if let WorkerPhase::Waiting { until } = &mut self.phase {
            *until = now.min(*until);
        }
    }

    /// It has ended and is not started again. Its counters stay as it last reported them.
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
