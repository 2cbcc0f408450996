//! A child, as the core of a supervisor sees it: whether it has a process, since when, and when the next one is due.

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::daemons::supervisor::actions::{Exit, FoundChild, Note, Order};
use crate::cluster::daemons::supervisor::child::ChildId;
use crate::cluster::daemons::supervisor::local_record::KnownChild;
use crate::config::WorkerOptions;

/// Whether a child has a process.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Process {
    /// Not known: somebody has to look at its directory from this time on.
    Unknown(Time),
    /// Somebody looks.
    Asked,
    /// None. The next one may be started from this time on.
    Absent(Time),
    /// The next epoch is being written for it.
    Claiming,
    /// The next epoch is this one.
    Claimed(u64),
    /// It is being started.
    Starting,
    /// It runs.
    Running(Running),
    /// It has none, and its directory is being removed.
    Removing,
}

/// A process that runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running {
    since: Time,
    /// The last time of modification of `alive` that was seen.
    stamp: Option<i64>,
    /// When another one was seen than before; `None`: never.
    touched_at: Option<Time>,
    is_examined: bool,
    /// For how long it gave no sign of life, if it is killed because of that.
    silence: Option<Duration>,
    pub(super) end: End,
}

/// Whether a process that runs is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    No,
    /// It is to be killed.
    Wanted,
    /// It was killed, and its exit was not seen yet.
    Killed,
}

/// What keeps a child from running as it should, and until when that is shown. The text goes on from its name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// It cannot be looked at or started: until a process of it gives a sign of life.
    Start(String),
    /// Its processes end soon after their start: until one has run for `worker.restart_reset`.
    Ends(String),
}

/// A child.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) known: KnownChild,
    pub(super) process: Process,
    /// What is in its `order.json`.
    pub(super) order: Option<Order>,
    /// Of what it was made: see `HostedTopology::revision`.
    pub(super) order_revision: u64,
    /// Not before this time it is written again.
    pub(super) order_at: Time,
    /// Whether its directory has all that a process needs.
    pub(super) is_prepared: bool,
    /// The pause after the next exit.
    pause: Duration,
    problem: Option<Problem>,
}

impl Running {
    fn new(now: Time, stamp: Option<i64>) -> Running {
        let touched_at = stamp.map(|_| now);
        Running { since: now, stamp, touched_at, is_examined: false, silence: None, end: End::No }
    }

    /// For how long it gave no sign of life, if that is too long.
    fn silence(&self, options: &WorkerOptions, now: Time) -> Option<Duration> {
        let (since, limit) = match self.touched_at {
            Some(at) => (at, options.heartbeat_timeout),
            None => (self.since, options.start_timeout),
        };
        Some(now.since(since)).filter(|silence| *silence >= limit)
    }
}

impl Child {
    pub(super) fn new(known: KnownChild) -> Child {
        Child {
            known,
            process: Process::Unknown(Time::ZERO),
            order: None,
            order_revision: 0,
            order_at: Time::ZERO,
            is_prepared: false,
            pause: Duration::ZERO,
            problem: None,
        }
    }

    /// What keeps it from running as it should.
    pub(super) fn problem(&self) -> Option<&str> {
        match self.problem.as_ref()? {
            Problem::Start(text) | Problem::Ends(text) => Some(text),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.process, Process::Running(_))
    }

    /// Until when it does nothing.
    pub(super) fn waits_until(&self) -> Option<Time> {
        match self.process {
            Process::Unknown(at) | Process::Absent(at) => Some(at),
            _ => None,
        }
    }

    pub(super) fn look_again(&mut self, at: Time) {
        self.process = Process::Unknown(at);
    }

    /// Its directory could not be looked at.
    pub(super) fn was_not_found(&mut self, why: &str, at: Time) {
        self.problem = Some(Problem::Start(format!("cannot be looked at: {why}")));
        self.look_again(at);
    }

    pub(super) fn forget_order(&mut self, write_at: Time) {
        (self.order, self.order_revision, self.order_at) = (None, 0, write_at);
    }

    pub(super) fn found(&mut self, found: FoundChild, now: Time) {
        self.is_prepared = found.order.is_some();
        (self.order, self.order_revision) = (found.order, 0);
        self.process = match found.is_running {
            true => Process::Running(Running::new(now, found.alive)),
            false => Process::Absent(now),
        };
    }

    /// A process was started, or why not.
    pub(super) fn was_started(&mut self, outcome: &Result<(), String>, options: &WorkerOptions, now: Time) {
        match outcome {
            Ok(()) => {
                self.is_prepared = true;
                self.process = Process::Running(Running::new(now, None));
            }
            Err(why) => {
                // What was written is not known, nor whether another process is there.
                self.order = None;
                self.process = Process::Unknown(self.next_pause(options, now));
                self.problem = Some(Problem::Start(format!("cannot be started: {why}")));
            }
        }
    }

    pub(super) fn alive(&mut self, stamp: Option<i64>, options: &WorkerOptions, now: Time) {
        if let Process::Running(running) = &mut self.process
            && stamp.is_some()
            && stamp != running.stamp
        {
            (running.stamp, running.touched_at) = (stamp, Some(now));
        }
        if let Process::Running(running) = &self.process {
            let is_over = match &self.problem {
                Some(Problem::Start(_)) => running.touched_at.is_some(),
                Some(Problem::Ends(_)) => now.since(running.since) >= options.restart_reset,
                None => false,
            };
            if is_over {
                self.problem = None;
            }
        }
    }

    /// Whether somebody has to find out why it gives no sign of life.
    pub(super) fn must_be_examined(&mut self, options: &WorkerOptions, now: Time) -> bool {
        let Process::Running(running) = &mut self.process else { return false };
        let is_to_live = running.end == End::No;
        let must = is_to_live && !running.is_examined && running.silence(options, now).is_some();
        running.is_examined |= must;
        must
    }

    /// A process that is silent is killed, unless it gets no processor: then it gets its time again.
    pub(super) fn examined(
        &mut self,
        id: &ChildId,
        is_starved: bool,
        options: &WorkerOptions,
        now: Time,
    ) -> Option<Note> {
        let Process::Running(running) = &mut self.process else { return None };
        running.is_examined = false;
        let silence = running.silence(options, now)?;
        if is_starved {
            running.since = now;
            running.touched_at = running.touched_at.map(|_| now);
            return Some(Note::Starved(id.clone()));
        }
        if running.end != End::No {
            return None;
        }
        running.end = End::Wanted;
        running.silence = Some(silence);
        Some(Note::Silent(id.clone(), silence))
    }

    /// Whether its process is to be killed now.
    pub(super) fn must_be_killed(&mut self, is_unwanted: bool) -> bool {
        let Process::Running(running) = &mut self.process else { return false };
        let must = running.end == End::Wanted || (running.end == End::No && is_unwanted);
        if must {
            running.end = End::Killed;
        }
        must
    }

    pub(super) fn gets_more_time(&mut self, more: Duration) {
        if let Process::Running(running) = &mut self.process {
            running.since = running.since.after(more);
            running.touched_at = running.touched_at.map(|at| at.after(more));
        }
    }

    pub(super) fn exited(&mut self, id: &ChildId, exit: &Exit, options: &WorkerOptions, now: Time) -> Note {
        if exit.is_done {
            self.known.done_for = Some(self.known.change);
            self.process = Process::Absent(now);
            self.problem = None;
            return Note::Done(id.clone());
        }
        let mut how = exit.how.clone();
        if let Process::Running(running) = &self.process {
            if let Some(silence) = running.silence {
                let silence = humantime::format_duration(Duration::from_secs(silence.as_secs()));
                how = format!("it was killed, because it gave no sign of life for {silence}");
            }
            if now.since(running.since) >= options.restart_reset {
                self.pause = Duration::ZERO;
            }
        }
        let pause = self.pause;
        // The first exit after a long time is no more than a restart.
        if !pause.is_zero() {
            let place = "its files `worker.log` and `output` on that host may say more";
            self.problem = Some(Problem::Ends(format!("ends again and again: {how}; {place}")));
        }
        self.process = Process::Absent(self.next_pause(options, now));
        Note::Exited(id.clone(), how, pause)
    }

    /// When the next process is due. Each pause is twice the one before.
    fn next_pause(&mut self, options: &WorkerOptions, now: Time) -> Time {
        let due = now.after(self.pause);
        self.pause = (self.pause * 2).clamp(options.restart_min, options.restart_max);
        due
    }
}
