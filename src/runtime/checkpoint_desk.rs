//! Where threads that want a checkpoint now wait for the answer.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::ids::CheckpointId;

/// How often a thread that waits looks whether the run has ended.
pub(super) const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// Why there is no checkpoint that was taken on demand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeCheckpointError {
    /// The topology takes no checkpoints.
    #[error("only a topology with `delivery = \"exactly-once\"` takes checkpoints")]
    NoCheckpoints,
    /// It did not become complete, for this reason. The run goes on.
    #[error("the checkpoint could not be taken: {0}")]
    Failed(String),
    /// It was not complete in time. It is still taken, unless it takes longer than `[topology.checkpoint] timeout`.
    #[error("the checkpoint was not complete after {0:?}")]
    TimedOut(Duration),
    /// The run ended before it was taken.
    #[error("the run ended before the checkpoint was taken")]
    Ended,
}

/// The questions of threads that wait, by their numbers, with the answers that have come.
#[derive(Debug, Default)]
struct Questions {
    last: u64,
    answers: BTreeMap<u64, Option<Result<CheckpointId, String>>>,
}

/// Where threads wait. Any number of them may.
#[derive(Debug, Default)]
pub struct CheckpointDesk {
    questions: Mutex<Questions>,
    on_answer: Condvar,
}

impl CheckpointDesk {
    /// Asks by passing on the number of the question, and waits for the answer: at most for so long, or until the run has
    /// ended.
    pub fn ask(
        &self,
        ask: impl FnOnce(u64),
        at_most: Duration,
        has_ended: impl Fn() -> bool,
    ) -> Result<CheckpointId, TakeCheckpointError> {
        let clock = Clock::real();
        let deadline = clock.now().after(at_most);
        let question = self.open();
        ask(question);
        loop {
            // Looked at before the answer: what was answered at the end is not missed.
            let (ended, left) = (has_ended(), deadline.since(clock.now()));
            let is_open = |questions: &mut Questions| matches!(questions.answers.get(&question), Some(None));
            let wait = self.on_answer.wait_timeout_while(self.lock(), left.min(LOOK_PERIOD), is_open);
            let mut questions = wait.unwrap_or_else(PoisonError::into_inner).0;
            let result = match questions.answers.get_mut(&question).and_then(Option::take) {
                Some(Ok(checkpoint)) => Ok(checkpoint),
                Some(Err(why)) => Err(TakeCheckpointError::Failed(why)),
                None if ended => Err(TakeCheckpointError::Ended),
                None if left.is_zero() => Err(TakeCheckpointError::TimedOut(at_most)),
                None => continue,
            };
            questions.answers.remove(&question);
            return result;
        }
    }

    /// Numbers a question, which is open from now on.
    fn open(&self) -> u64 {
        let mut questions = self.lock();
        questions.last += 1;
        let question = questions.last;
        questions.answers.insert(question, None);
        question
    }

    fn lock(&self) -> MutexGuard<'_, Questions> {
        // Nothing that holds the lock can panic half-way.
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers this question and all before it that are open.
    pub fn answer(&self, upto: u64, answer: &Result<CheckpointId, String>) {
        let mut questions = self.lock();
        for (_, open) in questions.answers.range_mut(..=upto).filter(|(_, open)| open.is_none()) {
            *open = Some(answer.clone());
        }
        self.on_answer.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);
    const FIRST: CheckpointId = CheckpointId { epoch: 1, number: 1 };

    #[test]
    fn an_answer_is_for_all_questions_before_it() {
        let desk = CheckpointDesk::default();
        let (asked, questions) = channel();
        thread::scope(|scope| {
            let ask = || {
                let asked = asked.clone();
                scope.spawn(|| {
                    desk.ask(move |question| asked.send(question).expect("it is read"), LONG, || false)
                })
            };
            let askers = [ask(), ask()];
            let both: BTreeSet<u64> = questions.iter().take(2).collect();
            assert_eq!(both, BTreeSet::from([1, 2]));
            desk.answer(2, &Ok(FIRST));
            for asker in askers {
                assert_eq!(asker.join().expect("it does not panic").ok(), Some(FIRST));
            }
        });
        assert!(desk.lock().answers.is_empty());
    }

    #[test]
    fn a_question_ends_without_an_answer() {
        let desk = CheckpointDesk::default();
        let question = Cell::new(0);
        let late = desk.ask(|number| question.set(number), Duration::ZERO, || false);
        assert!(matches!(late, Err(TakeCheckpointError::TimedOut(Duration::ZERO))), "{late:?}");
        // The answer comes now, and is for nobody.
        desk.answer(question.get(), &Ok(FIRST));
        let over = desk.ask(|number| question.set(number), LONG, || true);
        assert!(matches!(over, Err(TakeCheckpointError::Ended)), "{over:?}");
        assert_eq!(question.get(), 2);
        assert!(desk.lock().answers.is_empty());
    }
}
