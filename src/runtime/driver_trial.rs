//! Decides by trial how many drivers step executors.
//!
//! A second core does not always bring more. Tuples that go from core to core have to be fetched from the
//! caches of the other one, and where bolts do little, that takes longer than their work. How long it takes
//! depends on the machine, on the bolts, and on what else runs, so it is measured: while the drivers have much
//! to do, they are tried in half and in double the number, in short turns with the number that is chosen. What
//! executes more tuples is chosen.
//!
//! ```text
//!   rest ────────────▶ turns: chosen, tried, chosen, tried … ──▶ rest: short after a change,
//!         much to do                                                    longer after each trial without one
//! ```
//!
//! 1. All drivers work while there is little to do, and while a call does not return.
//! 2. A trial takes [`TURN`] × 2 × [`PAIRS`], and rests grow to [`REST_MAX`], so a trial that shows that nothing
//!    is to be gained costs next to nothing.

use std::time::Duration;

/// How often to look while no trial is made.
const LOOK: Duration = Duration::from_millis(100);
/// How long each number of drivers works in a turn.
const TURN: Duration = Duration::from_millis(20);
/// Turns of each number in a trial.
const PAIRS: usize = 5;
/// In so many of the pairs the tried number must be better.
const BETTER_IN: usize = 4;
/// By how much fewer drivers must be better in all: they leave a core idle that bursts could use.
const GAIN_OF_FEWER: f64 = 1.1;
/// By how much more drivers must be better in all.
const GAIN_OF_MORE: f64 = 1.05;
/// How long there must be much to do before the first trial, and after a change.
const REST_MIN: Duration = Duration::from_millis(500);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(60);
/// By what a rest grows after a trial that changed nothing.
const REST_GROWTH: u32 = 3;
/// There is much to do if all drivers together work at least this part of the time.
const MUCH: f64 = 0.8;

/// What happened since the last look.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How long ago that was.
    pub passed: Duration,
    /// Tuples executed and emitted.
    pub tuples: u64,
    /// How long drivers were in steps, together.
    pub busy: Duration,
    /// Whether a driver has been in one step for long.
    pub is_stuck: bool,
}

/// What to do until the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// So many drivers work.
    pub drivers: usize,
    /// When to look again.
    pub look_in: Duration,
}

/// The trials of one process.
#[derive(Debug)]
pub struct DriverTrial {
    all: usize,
    chosen: usize,
    /// The rest after the next trial that changes nothing.
    pause: Duration,
    /// Whether the next trial is of more drivers, where both are possible.
    tries_more: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Rest { left: Duration },
    Trial { tried: usize, rates: Vec<f64> },
}

impl DriverTrial {
    /// Of so many drivers, which all work at first.
    pub fn new(all: usize) -> DriverTrial {
        let phase = Phase::Rest { left: REST_MIN };
        DriverTrial { all, chosen: all, pause: REST_MIN, tries_more: false, phase }
    }

    /// Takes note of what happened, and decides what to do next.
    pub fn look(&mut self, seen: Seen) -> Advice {
        if seen.is_stuck || seen.busy.as_secs_f64() < seen.passed.as_secs_f64() * MUCH {
            self.chosen = self.all;
            self.rest(self.pause);
            return self.advice();
        }
        match &mut self.phase {
            Phase::Rest { left } if *left > seen.passed => *left -= seen.passed,
            Phase::Rest { .. } => self.begin(),
            Phase::Trial { rates, .. } => {
                rates.push(seen.tuples as f64 / seen.passed.as_secs_f64());
                if rates.len() == 2 * PAIRS {
                    self.end();
                }
            }
        }
        self.advice()
    }

    fn advice(&self) -> Advice {
        match &self.phase {
            Phase::Rest { .. } => Advice { drivers: self.chosen, look_in: LOOK },
            Phase::Trial { tried, rates } => {
                let drivers = if rates.len().is_multiple_of(2) { self.chosen } else { *tried };
                Advice { drivers, look_in: TURN }
            }
        }
    }

    fn rest(&mut self, pause: Duration) {
        self.pause = pause;
        self.phase = Phase::Rest { left: pause };
    }

    fn begin(&mut self) {
        self.tries_more = self.chosen < self.all && (self.tries_more || self.chosen == 1);
        let tried = if self.tries_more { (self.chosen * 2).min(self.all) } else { self.chosen.div_ceil(2) };
        if tried == self.chosen {
            return self.rest(REST_MAX);
        }
        self.phase = Phase::Trial { tried, rates: Vec::new() };
    }

    fn end(&mut self) {
        let Phase::Trial { tried, rates } = &self.phase else { return };
        let tried = *tried;
        let pairs = || rates.as_chunks::<2>().0.iter();
        let better = pairs().filter(|[chosen, tried]| tried > chosen).count();
        let [chosen_sum, tried_sum] = [0, 1].map(|which| pairs().map(|pair| pair[which]).sum::<f64>());
        let gain = if tried > self.chosen { GAIN_OF_MORE } else { GAIN_OF_FEWER };
        if better >= BETTER_IN && tried_sum > chosen_sum * gain {
            self.chosen = tried;
            self.rest(REST_MIN);
        } else {
            self.tries_more = !self.tries_more;
            self.rest((self.pause * REST_GROWTH).min(REST_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which so many drivers execute so many tuples a second.
    fn run(
        trial: &mut DriverTrial,
        time: Duration,
        rate: impl Fn(usize, Duration) -> f64,
    ) -> Vec<(Duration, usize)> {
        let (mut advice, mut now, mut working) = (trial.advice(), Duration::ZERO, Vec::new());
        while now < time {
            let tuples = rate(advice.drivers, now) * advice.look_in.as_secs_f64();
            working.push((advice.look_in, advice.drivers));
            now += advice.look_in;
            advice = trial.look(Seen {
                passed: advice.look_in,
                tuples: tuples as u64,
                busy: advice.look_in,
                is_stuck: false,
            });
        }
        working
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn chosen_after_a_minute(all: usize, rate: impl Fn(usize, Duration) -> f64) -> usize {
        let mut trial = DriverTrial::new(all);
        run(&mut trial, MINUTE, rate);
        trial.chosen
    }

    #[test]
    fn the_number_that_executes_most_is_chosen() {
        assert_eq!(chosen_after_a_minute(2, |drivers, _| if drivers == 1 { 42e6 } else { 32e6 }), 1);
        assert_eq!(chosen_after_a_minute(2, |drivers, _| 20e6 * drivers as f64), 2);
        assert_eq!(
            chosen_after_a_minute(64, |drivers, _| 1e6 * (drivers as f64).min(16.0)
                / (drivers as f64).sqrt()),
            16
        );
        assert_eq!(chosen_after_a_minute(3, |drivers, _| 1e6 / drivers as f64), 1);
    }

    #[test]
    fn a_small_gain_leaves_all_drivers_at_work() {
        assert_eq!(chosen_after_a_minute(2, |drivers, _| if drivers == 1 { 1.08e6 } else { 1e6 }), 2);
    }

    /// A rate that changes from turn to turn by more than what is to be gained.
    #[test]
    fn noise_is_no_gain() {
        let noise = |_, now: Duration| [1e6, 1.3e6, 1.6e6, 0.9e6, 1.2e6][(now.as_millis() / 20) as usize % 5];
        assert_eq!(chosen_after_a_minute(8, noise), 8);
    }

    #[test]
    fn what_was_chosen_is_given_up_when_the_work_changes() {
        let changed = Duration::from_secs(20);
        let rate = |drivers: usize, now| match now < changed {
            true => 1e6 / drivers as f64,
            false => 1e6 * drivers as f64,
        };
        assert_eq!(chosen_after_a_minute(4, rate), 4);
    }

    #[test]
    fn trials_that_change_nothing_take_hardly_any_time() {
        let mut trial = DriverTrial::new(4);
        let working = run(&mut trial, 10 * MINUTE, |drivers, _| drivers as f64 * 1e6);
        let fewer: Duration = working.iter().filter(|(_, drivers)| *drivers < 4).map(|(time, _)| *time).sum();
        assert!(fewer > Duration::ZERO && fewer < Duration::from_secs(2), "{fewer:?} of ten minutes");
    }

    #[test]
    fn all_work_while_there_is_little_to_do_or_a_call_does_not_return() {
        for (busy, is_stuck) in [(LOOK / 2, false), (LOOK, true)] {
            let mut trial = DriverTrial::new(2);
            run(&mut trial, MINUTE, |drivers, _| 1e6 / drivers as f64);
            assert_eq!(trial.chosen, 1);
            let advice = trial.look(Seen { passed: LOOK, tuples: 1, busy, is_stuck });
            assert_eq!(advice, Advice { drivers: 2, look_in: LOOK });
        }
    }
}
