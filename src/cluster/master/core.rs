//! The decisions of the master as a state machine: events and the time in, actions out.
//!
//! ```text
//!              Start                 Listening            exit, or silence ─▶ Kill ─▶ exit
//!   Waiting ──────────▶ Starting ──────────────▶ Up ──────────────────────────────────────┐
//!      ▲                    └── start_timeout ─▶ Kill ─▶ exit ─▶┐                          │
//!      └────────── back-off, next incarnation ──────────────────┴──────────────────────────┘
//! ```
//!
//! 1. The list of members has a version, from 1. The death of a worker makes a new version, sent at
//!    once, in which the worker has its next incarnation and no address. An address that becomes known is
//!    sent under the same version. A new worker gets its first list with
//!    [`Start`](super::super::control).
//! 2. The next incarnation of a worker is started only after the exit of the one before was seen. So two
//!    processes never hold the same worker's files.
//! 3. Spouts are activated when all workers listen at the same time for the first time. The spouts of a
//!    replacement are activated as soon as it listens.
//! 4. `runtime::end_sequence` decides the end. It is fed with the result of each wave (`waves`). Workers
//!    are asked only while no spout can emit, or while a request to them is not answered.
//! 5. Each event is answered once, with a list of actions. The shell performs them and reports their
//!    results as new events.
//! 6. In a cluster supervisors start the processes: `adoption`. The next incarnation is that of the next process that
//!    arrives, and a master that is not the first takes over workers that run.
//! 7. If the master itself did not run for a while, that time does not count as a worker's silence. Nor
//!    does the master replace a worker that was given no processor: before it kills a silent worker, it
//!    has the worker's threads examined.

mod adoption;
mod checkpoints;
mod closing;
mod moves;
mod silence;
mod state;
mod trial;

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::control::{FromWorker, ToWorker};
use crate::cluster::master::events::{Event, MasterAction, Note};
use crate::cluster::master::waves::WaveOutcome;
use crate::cluster::master::worker_record::{Exit, WorkerPhase, WorkerRecord};
use crate::net::Endpoint;
use crate::runtime::end_sequence::{EndCommand, EndProgress};

pub use state::Core;

/// From a worker's report that it is at rest to the next wave: other workers are likely to come to rest
/// at about the same time.
const WAVE_SOON: Duration = Duration::from_millis(1);
/// From the end of one wave to the next while not all workers are at rest.
const WAVE_PERIOD: Duration = Duration::from_millis(20);
/// At so many failed starts in a row the run is given up, for a worker that was never up.
const FAILED_STARTS_NEW: u32 = 3;
/// The same for a worker that was up before.
const FAILED_STARTS_MAX: u32 = 10;

impl Core {
    /// Handles an event. Returns the actions to perform, in order.
    #[must_use]
    pub fn on(&mut self, event: Event, now: Time) -> Vec<MasterAction> {
        self.forgive_own_absence(now);
        match event {
            Event::Tick => {}
            Event::Message(who, message) => self.take_message(who, message, now),
            Event::Broken(who, why) => {
                if self.is_current(who) && self.close_by.is_none() {
                    self.replace(who.worker, format!("its control channel is broken: {why}"));
                }
            }
            Event::Examined(who, is_starved) => self.examined(who, is_starved, now),
            Event::Exited(who, how) => self.exited(who, how, now),
            Event::Arrived(arrival) => self.arrived(arrival, now),
            Event::Closed(who) => self.connection_ended(who, now),
            Event::Loaded(result) => self.loaded(result, now),
            Event::Fenced => self.is_fenced = true,
            Event::Published(checkpoint, result) => self.published(checkpoint, result, now),
            Event::Savepoint { directory, stops } => self.want_savepoint(directory, stops),
            Event::CheckpointWanted(question) => self.want_checkpoint(question),
            Event::Exported(checkpoint, result) => self.exported(checkpoint, result, now),
            Event::Activate => self.want_active(true),
            Event::Deactivate => self.want_active(false),
            Event::Accepted => self.accepted(),
            Event::Placed(places) => self.places = Some(places),
            Event::Drain => self.drain(now),
            Event::Kill => self.kill(now),
        }
        self.look(now);
        std::mem::take(&mut self.actions)
    }

    /// When the core needs an [`Event::Tick`] if no other event comes before.
    pub fn deadline(&self) -> Time {
        if self.is_done {
            return Time::NEVER;
        }
        let worker = &self.options.worker;
        let of_worker = |record: &WorkerRecord| match record.phase {
            WorkerPhase::Waiting { until } if self.can_start(record) => until,
            WorkerPhase::Waiting { .. } => Time::NEVER,
            WorkerPhase::Starting { since } => since.after(worker.start_timeout),
            WorkerPhase::Up { .. } => record.last_message_at.after(worker.heartbeat_timeout),
            WorkerPhase::Killed | WorkerPhase::Gone => Time::NEVER,
        };
        let of_workers = self.workers.iter().map(of_worker).min().unwrap_or(Time::NEVER);
        let of_wave = if self.is_to_ask() { self.wave_at } else { Time::NEVER };
        let of_checkpoints = self
            .checkpoints
            .as_ref()
            .map_or(Time::NEVER, |checkpoints| checkpoints.sequence.wake_at(self.last_event_at));
        let of_adoption = self.adoption.as_ref().map_or(Time::NEVER, |adoption| adoption.until());
        let of_run =
            self.ending.deadline().min(self.link_reports.deadline()).min(of_checkpoints).min(of_adoption);
        match self.dead_by.or(self.close_by) {
            Some(by) => by,
            // At least one tick per heartbeat: a longer time between events then means that this process
            // did not run (`forgive_own_absence`).
            None => of_workers.min(of_wave).min(of_run).min(self.last_event_at.after(worker.heartbeat)),
        }
    }

    // ---- Events ----

    /// If the last event was long ago, this process did not run, and could not read what workers sent.
    /// That time is added to their deadlines.
    fn forgive_own_absence(&mut self, now: Time) {
        let gap = now.since(self.last_event_at);
        if gap > self.options.worker.heartbeat_timeout / 2 {
            for record in &mut self.workers {
                record.last_message_at = record.last_message_at.after(gap).min(now);
                if let WorkerPhase::Starting { since } = &mut record.phase {
                    *since = since.after(gap).min(now);
                }
            }
        }
        self.last_event_at = now;
    }

    fn take_message(&mut self, who: Endpoint, message: FromWorker, now: Time) {
        if !self.is_current(who) {
            return;
        }
        let index = who.worker.index();
        self.workers[index].last_message_at = now;
        match message {
            FromWorker::Listening { address } => {
                if let WorkerPhase::Starting { since } = self.workers[index].phase {
                    self.workers[index].comes_up(address, now);
                    self.note(Note::Listening(who, now.since(since)));
                    self.halted_by_start(index);
                    self.send_members();
                    self.send_active();
                }
            }
            FromWorker::Beat(beat) => {
                let record = &mut self.workers[index];
                let came_to_rest = beat.at_rest && !record.beat.is_some_and(|before| before.at_rest);
                record.beat = Some(beat);
                if came_to_rest {
                    self.wave_at = self.wave_at.min(now.after(WAVE_SOON));
                }
            }
            FromWorker::Progress { wave, progress } => {
                if let Some(beat) = &mut self.workers[index].beat {
                    beat.live_spouts = progress.live_spouts;
                    beat.at_rest = progress.at_rest;
                }
                if let Some(outcome) = self.waves.answer(index, wave, progress) {
                    self.wave_is_over(outcome, now);
                }
            }
            FromWorker::Stats(stats) => {
                let draining = self.ending.is_draining();
                let record = &mut self.workers[index];
                record.errors.report(&stats.components, now);
                record.counts.report(*stats, record.reads, draining);
            }
            FromWorker::DrainRequested => {
                if !self.ending.is_draining() && self.close_by.is_none() {
                    self.note(Note::DrainRequested(who));
                    self.drain(now);
                }
            }
            FromWorker::Stopped(reason) => self.stop(who, reason, now),
            FromWorker::Checkpoint(report) => self.take_report(index, report, now),
            FromWorker::Link { peer, up } => {
                if up {
                    self.link_reports.withdraw(who.worker, peer);
                }
                self.note(Note::Link(who, peer, up));
            }
            FromWorker::LinkDown { peer, for_ms } => {
                let both_up = self.workers.get(peer.index()).is_some_and(WorkerRecord::is_up);
                if both_up && Duration::from_millis(for_ms) >= self.options.link_lost {
                    self.link_reports.add(who.worker, peer, now);
                }
            }
            FromWorker::TooLarge { what } => self.note(Note::TooLarge(who, what)),
            FromWorker::Fatal(failure) => {
                self.note(Note::Fatal(who, failure.why.clone()));
                self.workers[index].fatal = Some(failure);
            }
            // `link` has taken it for whoever has asked.
            FromWorker::LogRead { .. } => {}
            FromWorker::ClosesLate => self.extend_deadline(who, now),
            FromWorker::Ended { cut_short } => {
                self.workers[index].has_ended = true;
                self.cut_short |= cut_short && self.close_by.is_some();
            }
        }
    }

    fn exited(&mut self, who: Endpoint, how: Exit, now: Time) {
        if !self.is_current(who) {
            return;
        }
        let record = &mut self.workers[who.worker.index()];
        // While all close, an exit is expected, and the worker is not started again.
        if self.close_by.is_some() {
            let in_order = record.has_ended;
            record.leaves();
            if in_order {
                self.note(Note::Ended(who));
            } else {
                // Once the last checkpoint is committed, nothing is left to be done.
                self.cut_short |= !self.has_committed_all();
                self.note(Note::EndedBadly(who, how));
            }
            return;
        }
        let fatal = record.fatal.take();
        let was_up = record.was_up;
        // Of one that was killed the reason is known already.
        if record.phase != WorkerPhase::Killed {
            let why = fatal.as_ref().map_or_else(|| how.to_string(), |failure| failure.why.clone());
            record.last_end = Some((why, now));
        }
        record.dies(&how, &self.options.worker, now);
        let (ever_up, failed_starts) = (record.ever_up, record.failed_starts);
        let pause =
            if let WorkerPhase::Waiting { until } = record.phase { until.since(now) } else { Duration::ZERO };
        // The answers of the dead incarnation do not hold for the next one: the end starts over, and so
        // do the waves.
        self.version += 1;
        self.link_reports.forget(who.worker);
        self.ending.begin_again();
        self.ask_anew(now);
        self.note(Note::Died(who, how.clone(), pause));
        self.left_by_death(who.worker.index(), &format!("worker {} died: {how}", who.worker), now);
        // A worker that never came up and reported why would only fail again. One that came up before may
        // fail for a reason that passes, unless it reports that the reason does not.
        if let Some(failure) = &fatal
            && !was_up
            && (!ever_up || failure.is_permanent)
        {
            return self.give_up(failure.why.clone(), now);
        }
        if failed_starts >= if ever_up { FAILED_STARTS_MAX } else { FAILED_STARTS_NEW } {
            let why = fatal.map_or_else(|| how.to_string(), |failure| failure.why);
            let message = format!(
                "worker {} did not start {failed_starts} times in a row; the last time: {why}",
                who.worker
            );
            return self.give_up(message, now);
        }
        self.send_members();
    }

    fn want_active(&mut self, active: bool) {
        self.wanted_active = active;
        self.send_active();
    }

    // ---- What is due ----

    /// Does what is due by the time and the state.
    fn look(&mut self, now: Time) {
        if self.is_done {
            return;
        }
        self.end_adoption(now);
        if self.close_by.is_none() {
            self.advance_checkpoints(now);
            // Commands that follow from a request of the embedder or from a deadline need no answers of
            // the workers, so the progress is empty.
            while let Some(command) = self.ending.next(&EndProgress::default(), now) {
                self.carry_out(command, now);
            }
        }
        match self.close_by {
            None => {
                self.look_at_workers(now);
                self.replace_cut_off_worker(now);
                self.look_at_waves(now);
            }
            Some(by) => self.look_at_end(by, now),
        }
    }

    fn replace_cut_off_worker(&mut self, now: Time) {
        let link_lost = self.options.link_lost;
        if let Some(worker) = self.link_reports.decide(now, link_lost) {
            self.replace(worker, format!("its links were down for more than {link_lost:?}"));
        }
    }

    /// Whether the next wave may be sent: all workers can answer, and either a request to them is not
    /// answered or no spout can emit.
    fn is_to_ask(&self) -> bool {
        if !self.all_were_up || self.waves.is_open() || !self.workers.iter().all(WorkerRecord::is_up) {
            return false;
        }
        match &self.checkpoints {
            Some(checkpoints) if checkpoints.sequence.waits_for_rest() => return true,
            Some(checkpoints) if !checkpoints.sequence.is_running() => return false,
            Some(_) | None => {}
        }
        let may_emit = |record: &WorkerRecord| record.beat.is_none_or(|beat| beat.live_spouts > 0);
        self.workers.iter().all(|record| record.was_active || self.ending.is_draining())
            && (self.round.is_some() || !self.workers.iter().any(may_emit))
    }

    fn look_at_waves(&mut self, now: Time) {
        if now >= self.wave_at && self.is_to_ask() {
            let wave = self.waves.ask();
            (0..self.workers.len()).for_each(|index| self.send(index, ToWorker::Probe { wave }));
        }
    }

    fn wave_is_over(&mut self, outcome: WaveOutcome, now: Time) {
        let (mut seen, is_at_rest) = match outcome {
            WaveOutcome::Unrest(seen) => (seen, false),
            // The second wave follows at once. Nothing is concluded from the first alone.
            WaveOutcome::Perhaps(_) => return self.wave_at = now,
            WaveOutcome::Rest(seen) => (seen, true),
        };
        self.wave_at = now.after(WAVE_PERIOD);
        if let Some(checkpoints) = &mut self.checkpoints
            && checkpoints.take_progress(is_at_rest, &mut seen)
        {
            return;
        }
        let answered = self.round.is_some_and(|round| seen.round == round && seen.answered >= seen.asked);
        // The request is answered and spouts can emit: no wave is needed until they cannot.
        if answered && seen.live_spouts > 0 {
            self.round = None;
        }
        if self.close_by.is_none()
            && let Some(command) = self.ending.next(&seen, now)
        {
            self.carry_out(command, now);
        }
    }

    fn carry_out(&mut self, command: EndCommand, now: Time) {
        match command {
            EndCommand::Drain => self.broadcast(ToWorker::Ending(command)),
            EndCommand::AskHolders { round } | EndCommand::Finish { round, .. } => {
                self.broadcast(ToWorker::Ending(command));
                self.ask_anew(now);
                self.round = Some(round);
            }
            EndCommand::Close => self.close(now),
            // After `Close`, `look_at_end` decides by the workers' own reports.
            EndCommand::End => {}
        }
    }

    /// Drops the answers so far, because a command or a death made them stale.
    pub(super) fn ask_anew(&mut self, now: Time) {
        self.waves.begin_again();
        self.round = None;
        self.wave_at = now;
    }

    /// Sends whether spouts may emit to the workers whose last such command differs. Nothing is sent
    /// until all workers have listened at the same time. A worker that was started after the first activation opens
    /// its tasks, also if its spouts are to rest.
    pub(super) fn send_active(&mut self) {
        self.all_were_up |= self.workers.iter().all(WorkerRecord::is_up);
        if !self.all_were_up || self.adoption.is_some() {
            return;
        }
        self.was_activated |= self.wanted_active;
        let active = self.wanted_active && !self.rests;
        for index in 0..self.workers.len() {
            if !self.workers[index].is_up() {
                continue;
            }
            if self.was_activated && !self.workers[index].was_active {
                self.set_active(index, true);
            }
            if self.workers[index].active != active {
                self.set_active(index, active);
            }
        }
    }
}

impl Core {
    fn set_active(&mut self, index: usize, active: bool) {
        let draining = self.ending.is_draining();
        let record = &mut self.workers[index];
        record.active = active;
        record.was_active |= active;
        record.reads |= active && !draining;
        self.send(index, if active { ToWorker::Activate } else { ToWorker::Deactivate });
    }
}

#[cfg(test)]
mod adoption_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial_tests;
