//! Whether all workers are at rest at the same time, told from what each said at its own.
//!
//! A worker that says "at rest" may be woken a moment later by a tuple of another, which then rests:
//! asked one after the other, both say yes though work never stopped. So all are asked twice, in
//! *waves*. A worker's activity counter grows with everything it does; if all are at rest in both
//! waves, and nobody's counter has moved between, each was at rest through the whole time from its
//! first answer to its second. The second wave begins only after every answer to the first has come,
//! so these times overlap, and at the moment between the waves all were at rest at once. Nothing was
//! under way then either: who sent something is not at rest until its peer has taken it.
//!
//! 1. A wave is over when everybody has answered. There is at most one at a time.
//! 2. [`Outcome::Rest`] needs two waves in a row of which this holds. Whatever is told to the workers
//!    in between, and any death, starts the count again.

use crate::runtime::ending::Snapshot;

/// What a wave came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody is not at rest, or has moved. All answers merged, not at rest.
    Unrest(Snapshot),
    /// All are at rest, but this was not known of the wave before.
    Perhaps(Snapshot),
    /// All were at rest at one moment between the two waves.
    Rest(Snapshot),
}

/// The waves of questions.
#[derive(Debug)]
pub struct Waves {
    /// The wave that was asked last.
    wave: u64,
    /// Whether its answers are awaited; those that have come, by worker.
    answers: Option<Vec<Option<Snapshot>>>,
    /// Everybody's activity in the wave before, if all were at rest in it.
    at_rest_with: Option<Vec<u64>>,
    workers: usize,
}

impl Waves {
    /// Over so many workers.
    pub fn new(workers: usize) -> Waves {
        Waves { wave: 0, answers: None, at_rest_with: None, workers }
    }

    /// Whether answers are awaited.
    pub fn is_open(&self) -> bool {
        self.answers.is_some()
    }

    /// Begins the next wave: everybody is to be asked with this number.
    pub fn ask(&mut self) -> u64 {
        debug_assert!(!self.is_open(), "the wave before is over first");
        self.wave += 1;
        self.answers = Some(vec![None; self.workers]);
        self.wave
    }

    /// Forgets what was answered: somebody died, or was told something.
    pub fn begin_again(&mut self) {
        self.answers = None;
        self.at_rest_with = None;
    }

    /// Takes an answer in; says what the wave came to if it was the last. What belongs to another
    /// wave is not heard.
    pub fn answer(&mut self, worker: usize, wave: u64, snapshot: Snapshot) -> Option<Outcome> {
        let answers = self.answers.as_mut().filter(|_| wave == self.wave)?;
        answers[worker].get_or_insert(snapshot);
        let all: Option<Vec<Snapshot>> = answers.iter().copied().collect();
        let all = all?;
        self.answers = None;
        let merged = all.iter().copied().reduce(Snapshot::merge).unwrap_or_default();
        let activity: Vec<u64> = all.iter().map(|snapshot| snapshot.activity).collect();
        if !merged.at_rest {
            self.at_rest_with = None;
            return Some(Outcome::Unrest(merged));
        }
        let unchanged = self.at_rest_with.as_ref() == Some(&activity);
        self.at_rest_with = Some(activity);
        Some(if unchanged { Outcome::Rest(merged) } else { Outcome::Perhaps(merged) })
    }
}

#[cfg(test)]
mod tests;
