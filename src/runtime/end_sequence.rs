//! Decides when a topology ends, and in which order: a pure machine, for one process or many.
//!
//! ```text
//!            at rest, messages open and held        all answered
//!   Running ───────────────────────────────▶ Asking ────────────▶ Running
//!      │
//!      │ at rest, no message open            all components done, still at rest
//!      └─────────────────────▶ Finishing(0..n) ─────────────────────▶ Closing ──▶ Ended
//!                                  │ something failed: back to Running  ▲
//!                                  ▼                                    │ deadline
//!                               Running ────────────────────────────────┘
//! ```
//!
//! *At rest* is defined in `lifecycle::rest`. Bolts finish one after another in the order of the graph.
//! Each bolt finishes only after all tuples that its predecessors emitted in `finish` were processed. If
//! executors hold tuples while the topology is at rest, they get `finish` first, because otherwise the
//! messages of these tuples would stay open for ever.
//!
//! A drain has a deadline. When it passes, all executors are closed at once, and the run counts as cut
//! short. A run also counts as cut short if executors do not answer the close in time. Time in which their
//! threads got no processor does not count, unless the run is cut short anyway or was killed.
//!
//! The caller passes an [`EndProgress`] and gets at most one [`EndCommand`]. It carries out the command,
//! takes a new progress, and calls again. If the topology runs in one process, the caller is the
//! coordinator. If it runs in several, the caller is the master, with the progress of all workers merged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// How long executors may take to answer a close, besides the time that was withheld from their threads.
pub const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How far one worker, or all together, have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndProgress {
    /// Nothing is outstanding and no spout can emit.
    pub at_rest: bool,
    /// Grows whenever something is processed. If it is equal at two times at rest, nothing was processed in
    /// between.
    pub activity: u64,
    /// Spout executors that may still emit.
    pub live_spouts: u64,
    /// Open messages.
    pub pending: u64,
    /// Executors that hold tuples.
    pub holding: u64,
    /// The last round of `AskHolders` or `Finish` that was carried out; 0 before the first.
    pub round: u64,
    /// Executors that got `Finish` in that round.
    pub asked: u64,
    /// How many of them have answered.
    pub answered: u64,
    /// Executors in all.
    pub executors: u64,
    /// Executors that have closed.
    pub closed: u64,
}

impl EndProgress {
    /// Merges the progress of two workers. The round is the lower one, because the worker with the lower
    /// round has not carried out the later one yet.
    #[must_use]
    pub fn merge(self, other: EndProgress) -> EndProgress {
        EndProgress {
            at_rest: self.at_rest && other.at_rest,
            activity: self.activity + other.activity,
            live_spouts: self.live_spouts + other.live_spouts,
            pending: self.pending + other.pending,
            holding: self.holding + other.holding,
            round: self.round.min(other.round),
            asked: self.asked + other.asked,
            answered: self.answered + other.answered,
            executors: self.executors + other.executors,
            closed: self.closed + other.closed,
        }
    }
}

/// What the caller must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndCommand {
    /// Have all spouts stop emitting.
    Drain,
    /// Have every executor that holds tuples call `finish`.
    AskHolders {
        /// To be reported as [`EndProgress::round`].
        round: u64,
    },
    /// Have the bolt at this place of the graph's order call `finish`.
    Finish {
        /// To be reported as [`EndProgress::round`].
        round: u64,
        /// Counted over bolts, from 0.
        place: usize,
    },
    /// Close every executor.
    Close,
    /// The topology has ended.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndPhase {
    Running,
    /// Executors that hold tuples got `finish` and have not all answered.
    Asking,
    /// The bolt at this place of the order is finishing.
    Finishing(usize),
    /// All bolts have finished, and the last checkpoint is being taken.
    LastCheckpoint,
    /// All executors are closing, until this deadline.
    Closing(Time),
    Ended,
}

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct EndSequence {
    /// Number of bolts of the topology.
    places: usize,
    drain_timeout: Duration,
    phase: EndPhase,
    round: u64,
    drain_deadline: Time,
    drain_sent: bool,
    kill: bool,
    cut_short: bool,
    /// Whether a last checkpoint is taken before the executors close.
    takes_checkpoint: bool,
    /// Whether that was taken.
    checkpoint_taken: bool,
    /// The activity when holders last got `finish`. While it is unchanged, they do not get it again.
    asked_at: Option<u64>,
}

impl EndSequence {
    /// For a running topology with this many bolts.
    pub fn new(places: usize, drain_timeout: Duration) -> EndSequence {
        EndSequence {
            places,
            drain_timeout,
            phase: EndPhase::Running,
            round: 0,
            drain_deadline: Time::NEVER,
            drain_sent: true,
            kill: false,
            cut_short: false,
            takes_checkpoint: false,
            checkpoint_taken: false,
            asked_at: None,
        }
    }

    /// Begins to count rounds after this one, so that what was answered to somebody else answers nothing.
    pub fn with_rounds_after(mut self, round: u64) -> EndSequence {
        self.round = round;
        self
    }

    /// Has a last checkpoint be taken before the executors close: see
    /// [`waits_for_last_checkpoint`](EndSequence::waits_for_last_checkpoint).
    pub fn with_last_checkpoint(mut self) -> EndSequence {
        self.takes_checkpoint = true;
        self
    }

    /// No last checkpoint is taken: the run ends because of an error, and is continued from the one before.
    pub fn skip_last_checkpoint(&mut self) {
        self.takes_checkpoint = false;
        self.checkpoint_taken |= self.phase == EndPhase::LastCheckpoint;
    }

    /// Whether all bolts have finished, and the last checkpoint is to be taken.
    pub fn waits_for_last_checkpoint(&self) -> bool {
        self.phase == EndPhase::LastCheckpoint
    }

    /// The last checkpoint was taken: the executors may close.
    pub fn last_checkpoint_taken(&mut self) {
        self.checkpoint_taken = true;
    }

    /// Whether bolts have begun to finish, and the executors do not close yet.
    pub fn is_finishing(&self) -> bool {
        matches!(self.phase, EndPhase::Finishing(_) | EndPhase::LastCheckpoint)
    }

    /// Requests an orderly end. The next command is `Drain`.
    pub fn drain(&mut self, now: Time) {
        if self.drain_deadline == Time::NEVER {
            self.drain_deadline = now.after(self.drain_timeout);
            self.drain_sent = false;
        }
    }

    /// Requests an end at once.
    pub fn kill(&mut self) {
        self.kill = true;
    }

    /// Notes that the threads of the executors could not use this much of the time that passed. While
    /// executors close, it extends their deadline.
    pub fn withheld(&mut self, time: Duration) {
        if let EndPhase::Closing(deadline) = &mut self.phase
            && !self.kill
            && !self.cut_short
        {
            *deadline = deadline.after(time);
        }
    }

    /// Whether a drain was requested.
    pub fn is_draining(&self) -> bool {
        self.drain_deadline != Time::NEVER
    }

    /// Whether the end was or will be cut short, so that some work may not have been done.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Whether `Close` was returned.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, EndPhase::Closing(_) | EndPhase::Ended)
    }

    /// A worker was lost, and with it its answers: starts the sequence again from `Running`.
    pub fn begin_again(&mut self) {
        if !self.is_closing() {
            self.phase = EndPhase::Running;
            self.asked_at = None;
            self.drain_sent = self.drain_deadline == Time::NEVER;
        }
    }

    /// When to call [`EndSequence::next`] again even if nothing changes.
    pub fn deadline(&self) -> Time {
        match self.phase {
            EndPhase::Ended => Time::NEVER,
            EndPhase::Closing(deadline) => deadline,
            EndPhase::Running | EndPhase::Asking | EndPhase::Finishing(_) | EndPhase::LastCheckpoint => {
                self.drain_deadline
            }
        }
    }

    /// The next command, if one is due. The caller carries it out and calls again with a new progress.
    pub fn next(&mut self, seen: &EndProgress, now: Time) -> Option<EndCommand> {
        let deadline_passed = now >= self.drain_deadline;
        if !self.is_closing() && (self.kill || deadline_passed) {
            self.cut_short = true;
            return Some(self.close(now));
        }
        if !self.is_closing() && self.checkpoint_taken {
            return Some(self.close(now));
        }
        if !self.is_closing() && !self.drain_sent {
            self.drain_sent = true;
            return Some(EndCommand::Drain);
        }
        let answered = seen.round == self.round && seen.answered >= seen.asked;
        if self.phase == EndPhase::Asking && answered {
            self.phase = EndPhase::Running;
        }
        match self.phase {
            EndPhase::Running if seen.at_rest => self.at_rest(seen),
            EndPhase::Finishing(place) if answered && seen.at_rest => Some(self.finished(place, seen, now)?),
            EndPhase::Finishing(_) if answered && seen.live_spouts > 0 => {
                // A message failed while bolts finished, and a spout may emit again. So the round is over.
                self.phase = EndPhase::Running;
                None
            }
            EndPhase::Closing(deadline) if seen.closed >= seen.executors || now >= deadline => {
                self.cut_short |= seen.closed < seen.executors;
                self.phase = EndPhase::Ended;
                Some(EndCommand::End)
            }
            _ => None,
        }
    }

    fn at_rest(&mut self, seen: &EndProgress) -> Option<EndCommand> {
        if seen.pending == 0 {
            return Some(self.finish(0));
        }
        if seen.holding == 0 || self.asked_at == Some(seen.activity) {
            // Tuples were lost. Their messages expire and are replayed, so there is nothing to do.
            return None;
        }
        self.asked_at = Some(seen.activity);
        self.phase = EndPhase::Asking;
        self.round += 1;
        Some(EndCommand::AskHolders { round: self.round })
    }

    fn finish(&mut self, place: usize) -> EndCommand {
        self.phase = EndPhase::Finishing(place);
        self.round += 1;
        EndCommand::Finish { round: self.round, place }
    }

    fn finished(&mut self, place: usize, seen: &EndProgress, now: Time) -> Option<EndCommand> {
        if place + 1 < self.places {
            return Some(self.finish(place + 1));
        }
        if seen.pending == 0 && self.takes_checkpoint {
            self.phase = EndPhase::LastCheckpoint;
            return None;
        }
        if seen.pending == 0 {
            return Some(self.close(now));
        }
        self.phase = EndPhase::Running;
        self.at_rest(seen)
    }

    fn close(&mut self, now: Time) -> EndCommand {
        self.phase = EndPhase::Closing(now.after(CLOSE_MAX));
        EndCommand::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: EndProgress = EndProgress {
        at_rest: true,
        activity: 7,
        live_spouts: 0,
        pending: 0,
        holding: 0,
        round: 0,
        asked: 0,
        answered: 0,
        executors: 3,
        closed: 0,
    };
    const BUSY: EndProgress = EndProgress { at_rest: false, live_spouts: 1, ..REST };

    fn ending() -> EndSequence {
        EndSequence::new(2, Duration::from_secs(30))
    }

    #[test]
    fn bolts_finish_in_order_and_then_all_close() {
        let mut ending = ending();
        let now = Time::ZERO;
        assert_eq!(ending.next(&BUSY, now), None);
        assert_eq!(ending.next(&REST, now), Some(EndCommand::Finish { round: 1, place: 0 }));
        let asked = EndProgress { round: 1, asked: 1, ..REST };
        assert_eq!(ending.next(&asked, now), None, "not answered");
        let answered = EndProgress { answered: 1, ..asked };
        assert_eq!(ending.next(&EndProgress { at_rest: false, ..answered }, now), None, "still under way");
        assert_eq!(ending.next(&answered, now), Some(EndCommand::Finish { round: 2, place: 1 }));
        assert_eq!(ending.next(&answered, now), None, "an answer to the round before");
        assert_eq!(ending.next(&EndProgress { round: 2, ..answered }, now), Some(EndCommand::Close));
        assert_eq!(ending.next(&EndProgress { closed: 2, ..REST }, now), None);
        assert_eq!(ending.next(&EndProgress { closed: 3, ..REST }, now), Some(EndCommand::End));
        assert!(!ending.is_cut_short());
    }

    #[test]
    fn holders_are_asked_once_per_standstill() {
        let mut ending = ending();
        let now = Time::ZERO;
        let held = EndProgress { pending: 2, holding: 1, ..REST };
        assert_eq!(ending.next(&held, now), Some(EndCommand::AskHolders { round: 1 }));
        let answered = EndProgress { round: 1, asked: 1, answered: 1, ..held };
        assert_eq!(ending.next(&answered, now), None, "they answered and hold on");
        let moved = EndProgress { activity: 8, ..answered };
        assert_eq!(ending.next(&moved, now), Some(EndCommand::AskHolders { round: 2 }));
    }

    #[test]
    fn a_spout_that_is_live_again_ends_the_finishing() {
        let mut ending = ending();
        let now = Time::ZERO;
        let _ = ending.next(&REST, now);
        let alive = EndProgress { at_rest: false, live_spouts: 1, round: 1, ..REST };
        assert_eq!(ending.next(&alive, now), None);
        let rest = EndProgress { round: 1, ..REST };
        assert_eq!(ending.next(&rest, now), Some(EndCommand::Finish { round: 2, place: 0 }));
    }

    #[test]
    fn a_drain_has_a_deadline_and_a_close_too() {
        let mut ending = ending();
        ending.drain(Time::ZERO);
        assert_eq!(ending.next(&BUSY, Time::ZERO), Some(EndCommand::Drain));
        assert_eq!(ending.next(&BUSY, Time::ZERO), None);
        ending.begin_again();
        assert_eq!(ending.next(&BUSY, Time::ZERO), Some(EndCommand::Drain), "the new one was not sent it");
        let late = Time::ZERO.after(Duration::from_secs(30));
        assert_eq!(ending.deadline(), late);
        assert_eq!(ending.next(&BUSY, late), Some(EndCommand::Close));
        assert!(ending.is_cut_short());
        assert_eq!(ending.next(&BUSY, late), None);
        assert_eq!(ending.next(&BUSY, late.after(CLOSE_MAX)), Some(EndCommand::End));
    }

    #[test]
    fn with_checkpoints_the_last_one_comes_before_the_close() {
        let finished = |takes: bool| {
            let mut ending = EndSequence::new(1, Duration::from_secs(30));
            if takes {
                ending = ending.with_last_checkpoint();
            }
            assert_eq!(ending.next(&REST, Time::ZERO), Some(EndCommand::Finish { round: 1, place: 0 }));
            assert!(ending.is_finishing());
            ending
        };
        let answered = EndProgress { round: 1, asked: 1, answered: 1, ..REST };
        assert_eq!(finished(false).next(&answered, Time::ZERO), Some(EndCommand::Close));
        let mut ending = finished(true);
        assert_eq!(ending.next(&answered, Time::ZERO), None);
        assert!(ending.waits_for_last_checkpoint());
        ending.last_checkpoint_taken();
        assert_eq!(ending.next(&answered, Time::ZERO), Some(EndCommand::Close));
        // All tasks have gone back: the end is as far away as at the begin.
        let mut ending = finished(true);
        ending.begin_again();
        assert!(!ending.is_finishing());
        assert_eq!(ending.next(&BUSY, Time::ZERO), None);
        // The run ends because of an error: it is continued from the checkpoint before.
        let mut ending = finished(true);
        let _ = ending.next(&answered, Time::ZERO);
        ending.skip_last_checkpoint();
        assert_eq!(ending.next(&answered, Time::ZERO), Some(EndCommand::Close));
    }

    /// A sequence whose executors have not closed.
    fn closing(now: Time) -> EndSequence {
        let mut ending = EndSequence::new(1, Duration::from_secs(30));
        let _ = ending.next(&REST, now);
        let answered = EndProgress { round: 1, asked: 1, answered: 1, ..REST };
        assert_eq!(ending.next(&answered, now), Some(EndCommand::Close));
        ending
    }

    /// On a machine with a load of 200, executors got no processor for longer than they had to close, and a
    /// run that had done everything was called cut short.
    #[test]
    fn executors_that_get_no_processor_have_time_to_close() {
        let mut ending = closing(Time::ZERO);
        let late = Time::ZERO.after(Duration::from_secs(60));
        ending.withheld(Duration::from_secs(56));
        assert_eq!(ending.next(&REST, late), None);
        assert_eq!(ending.next(&EndProgress { closed: 3, ..REST }, late), Some(EndCommand::End));
        assert!(!ending.is_cut_short());
    }

    #[test]
    fn a_killed_run_does_not_wait_for_a_processor() {
        let mut ending = closing(Time::ZERO);
        ending.kill();
        ending.withheld(Duration::from_secs(56));
        assert_eq!(ending.next(&REST, Time::ZERO.after(CLOSE_MAX)), Some(EndCommand::End));
        assert!(ending.is_cut_short());
    }

    #[test]
    fn merged_progress_holds_for_all() {
        let merged = REST.merge(EndProgress { round: 3, pending: 2, ..BUSY });
        assert_eq!((merged.at_rest, merged.round, merged.pending, merged.live_spouts), (false, 0, 2, 1));
        assert_eq!((merged.activity, merged.executors), (14, 6));
    }
}
