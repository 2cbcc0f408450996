//! Whether all workers are at rest at the same moment, decided from what each reports for itself.
//!
//! One answer of each worker is not enough: worker A can answer that it is at rest, be woken by a tuple
//! of worker B, and B can then rest and answer the same, although work never stopped. So all workers
//! are asked twice, in two *waves*. Each worker has an activity counter that grows with everything it
//! does. If all workers are at rest in both waves and no counter has changed between them, each worker
//! was at rest for the whole time from its first answer to its second. The second wave begins only
//! after all answers to the first have arrived, so these times overlap, and at the moment between the
//! waves all workers were at rest at once. No tuple was on its way between workers at that moment
//! either, because a worker that has sent something is not at rest until its peer has taken it.
//!
//! 1. A wave ends when every worker has answered. There is at most one wave at a time.
//! 2. [`WaveOutcome::Rest`] needs two waves in a row for which this holds. A command to the workers in
//!    between, or the death of one, starts the count again.

use crate::runtime::end_sequence::EndProgress;

/// The result of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaveOutcome {
    /// A worker is not at rest, or its counter has changed. The merged answers, marked as not at rest.
    Unrest(EndProgress),
    /// All workers are at rest in this wave, but were not in the one before.
    Perhaps(EndProgress),
    /// All workers were at rest at one moment between the two waves.
    Rest(EndProgress),
}

/// The waves, and the answers to the present one.
#[derive(Debug)]
pub struct ProgressWaves {
    /// The number of the last wave.
    wave: u64,
    /// The answers that have arrived, by worker; `None` while no wave is open.
    answers: Option<Vec<Option<EndProgress>>>,
    /// The activity counters of the wave before, if all workers were at rest in it.
    at_rest_with: Option<Vec<u64>>,
    workers: usize,
}

impl ProgressWaves {
    /// Waves over this number of workers.
    pub fn new(workers: usize) -> ProgressWaves {
        ProgressWaves { wave: 0, answers: None, at_rest_with: None, workers }
    }

    /// Whether answers are awaited.
    pub fn is_open(&self) -> bool {
        self.answers.is_some()
    }

    /// Begins the next wave; every worker is to be asked with the number that it returns.
    pub fn ask(&mut self) -> u64 {
        debug_assert!(!self.is_open(), "the wave before is over first");
        self.wave += 1;
        self.answers = Some(vec![None; self.workers]);
        self.wave
    }

    /// Drops the answers, because a worker died or was sent a command.
    pub fn begin_again(&mut self) {
        self.answers = None;
        self.at_rest_with = None;
    }

    /// Takes an answer. Returns the result of the wave if it was the last answer. An answer to another
    /// wave is ignored.
    pub fn answer(&mut self, worker: usize, wave: u64, progress: EndProgress) -> Option<WaveOutcome> {
        let answers = self.answers.as_mut().filter(|_| wave == self.wave)?;
        answers[worker].get_or_insert(progress);
        let all: Option<Vec<EndProgress>> = answers.iter().copied().collect();
        let all = all?;
        self.answers = None;
        let merged = all.iter().copied().reduce(EndProgress::merge).unwrap_or_default();
        let activity: Vec<u64> = all.iter().map(|progress| progress.activity).collect();
        if !merged.at_rest {
            self.at_rest_with = None;
            return Some(WaveOutcome::Unrest(merged));
        }
        let unchanged = self.at_rest_with.as_ref() == Some(&activity);
        self.at_rest_with = Some(activity);
        Some(if unchanged { WaveOutcome::Rest(merged) } else { WaveOutcome::Perhaps(merged) })
    }
}

#[cfg(test)]
mod tests;
