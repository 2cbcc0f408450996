//! Where threads wait for the answers to what they have asked the run.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::ids::CheckpointId;

/// How often a thread that waits looks whether the run has ended.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// A checkpoint, or why there is none.
pub(super) type Answer = Result<CheckpointId, String>;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It did not come in time.
    TimedOut,
    /// The run has ended.
    Ended,
}

/// The questions of threads that wait, by their numbers, with the answers that have come.
#[derive(Debug, Default)]
struct Questions {
    last: u64,
    answers: BTreeMap<u64, Option<Answer>>,
}

/// Where threads wait. Any number of them may.
#[derive(Debug, Default)]
pub(super) struct Answers {
    questions: Mutex<Questions>,
    on_answer: Condvar,
}

impl Answers {
    /// Asks by passing on the number of the question, and waits for the answer: at most for so long, if there is a limit,
    /// or until the run has ended.
    pub(super) fn ask(
        &self,
        ask: impl FnOnce(u64),
        at_most: Option<Duration>,
        has_ended: impl Fn() -> bool,
    ) -> Result<Answer, NoAnswer> {
        let clock = Clock::real();
        let deadline = at_most.map_or(Time::NEVER, |at_most| clock.now().after(at_most));
        let question = self.open();
        ask(question);
        loop {
            // Looked at before the answer: what was answered at the end is not missed.
            let (ended, left) = (has_ended(), deadline.since(clock.now()));
            let is_open = |questions: &mut Questions| matches!(questions.answers.get(&question), Some(None));
            let wait = self.on_answer.wait_timeout_while(self.lock(), left.min(LOOK_PERIOD), is_open);
            let mut questions = wait.unwrap_or_else(PoisonError::into_inner).0;
            let answer = match questions.answers.get_mut(&question).and_then(Option::take) {
                Some(answer) => Ok(answer),
                None if ended => Err(NoAnswer::Ended),
                None if left.is_zero() => Err(NoAnswer::TimedOut),
                None => continue,
            };
            questions.answers.remove(&question);
            return answer;
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
    pub(super) fn answer(&self, upto: u64, answer: &Answer) {
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

    const LONG: Option<Duration> = Some(Duration::from_secs(3_600));
    const FIRST: CheckpointId = CheckpointId { epoch: 1, number: 1 };

    #[test]
    fn an_answer_is_for_all_questions_before_it() {
        let desk = Answers::default();
        let (asked, questions) = channel();
        thread::scope(|scope| {
            let ask = |at_most| {
                let (asked, desk) = (asked.clone(), &desk);
                scope.spawn(move || {
                    desk.ask(|question| asked.send(question).expect("it is read"), at_most, || false)
                })
            };
            let askers = [ask(LONG), ask(None)];
            let both: BTreeSet<u64> = questions.iter().take(2).collect();
            assert_eq!(both, BTreeSet::from([1, 2]));
            desk.answer(2, &Ok(FIRST));
            for asker in askers {
                assert_eq!(asker.join().expect("it does not panic"), Ok(Ok(FIRST)));
            }
        });
        assert!(desk.lock().answers.is_empty());
    }

    #[test]
    fn a_question_ends_without_an_answer() {
        let desk = Answers::default();
        let question = Cell::new(0);
        let late = desk.ask(|number| question.set(number), Some(Duration::ZERO), || false);
        assert_eq!(late, Err(NoAnswer::TimedOut));
        // The answer comes now, and is for nobody.
        desk.answer(question.get(), &Ok(FIRST));
        assert_eq!(desk.ask(|number| question.set(number), LONG, || true), Err(NoAnswer::Ended));
        assert_eq!(question.get(), 2);
        assert_eq!(desk.ask(|_| {}, None, || true), Err(NoAnswer::Ended));
        assert!(desk.lock().answers.is_empty());
    }
}
