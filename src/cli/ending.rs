//! When a run ends early: what is to be done about a signal, and the end of `--for`.
//!
//! A pure core; the loop in `run` feeds it and does what it says.
//!
//! 1. The first signal drains: spouts stop, what is in flight is processed within the topology's
//!    `drain_timeout`. The second stops at once. A drain that `--for` or
//!    the limit of processor time began counts as no signal.
//! 2. A topology is told to drain once and to stop once.

/// Something that may end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The time given by `--for` is over.
    TimeUp,
    /// The processor time of the process is used up (`ulimit -t`); the system says so again and again.
    ProcessorTimeUp,
    /// A signal that asks the run to end.
    Signal,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum EndAction {
    /// Go on as before.
    GoOn,
    /// Begin an orderly end.
    Drain,
    /// End at once.
    Stop,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ending {
    phase: Phase,
    signals: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Running,
    Draining,
    Stopping,
}

impl Ending {
    /// Takes an event in and says what to do.
    pub(super) fn on(&mut self, event: Event) -> EndAction {
        let wanted = match event {
            Event::TimeUp | Event::ProcessorTimeUp => Phase::Draining,
            Event::Signal => {
                self.signals = self.signals.saturating_add(1);
                if self.signals == 1 { Phase::Draining } else { Phase::Stopping }
            }
        };
        if wanted <= self.phase {
            return EndAction::GoOn;
        }
        self.phase = wanted;
        match wanted {
            Phase::Running => EndAction::GoOn,
            Phase::Draining => EndAction::Drain,
            Phase::Stopping => EndAction::Stop,
        }
    }

    /// Whether the end has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.phase > Phase::Running
    }
}

#[cfg(test)]
mod tests {
    use super::EndAction::{Drain, GoOn, Stop};
    use super::Event::{ProcessorTimeUp, Signal, TimeUp};
    use super::*;

    #[test]
    fn a_run_is_drained_once_and_stopped_once() {
        let check = |events: &[Event], expected: &[EndAction]| {
            let mut ending = Ending::default();
            let actions: Vec<EndAction> = events.iter().map(|&event| ending.on(event)).collect();
            assert_eq!(actions, expected, "{events:?}");
            assert!(ending.has_begun());
        };
        check(&[TimeUp, TimeUp], &[Drain, GoOn]);
        check(&[ProcessorTimeUp, ProcessorTimeUp, Signal, Signal], &[Drain, GoOn, GoOn, Stop]);
        check(&[Signal, Signal, Signal], &[Drain, Stop, GoOn]);
        check(&[TimeUp, Signal, Signal], &[Drain, GoOn, Stop]);
        check(&[Signal, TimeUp, Signal], &[Drain, GoOn, Stop]);
    }
}
