//! When a run ends early: the reaction to signals and to the end of `--for`.
//!
//! A pure core: the loop in `run` passes events to it and carries out the returned actions.
//!
//! 1. The first signal drains: spouts stop, what is in flight is processed within the topology's
//!    `drain_timeout`. The second stops at once. A drain that `--for` or
//!    the limit of processor time began does not count as the first signal.
//! 2. Drain and stop are each returned at most once.

/// Something that may end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The time of `--for` has passed.
    TimeUp,
    /// The processor time of the process is used up (`ulimit -t`); the system repeats this signal.
    ProcessorTimeUp,
    /// A signal that asks the run to end.
    Signal,
}

/// The action that follows an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum EndAction {
    /// Continue.
    GoOn,
    /// Begin an orderly end.
    Drain,
    /// End at once.
    Stop,
}

/// The state of the end of a run.
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
    /// Takes an event and returns the action for it.
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
