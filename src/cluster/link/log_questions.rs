//! Questions of observers about logs, until all processes have answered. Pure.
//!
//! 1. A question is answered once: when each process has answered, or after [`ANSWER_TIME`] with what there is.
//! 2. There are at most as many as observers, because an observer asks one at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::log_pieces::{LogAnswer, LogPiece, LogSource};

/// How long processes may take. Shorter than a nimbus waits.
const ANSWER_TIME: Duration = Duration::from_millis(1200);

/// The questions that are under way, by number.
#[derive(Debug, Default)]
pub(super) struct LogQuestions {
    asked: BTreeMap<u64, Asked>,
    last: u64,
}

#[derive(Debug)]
struct Asked {
    /// The connection of the observer.
    connection: u64,
    processes: Vec<(LogSource, Option<Result<LogPiece, String>>)>,
    until: Time,
}

impl LogQuestions {
    /// Takes a question, and returns its number.
    pub(super) fn ask(
        &mut self,
        connection: u64,
        processes: impl Iterator<Item = LogSource>,
        now: Time,
    ) -> u64 {
        self.last += 1;
        let processes = processes.map(|process| (process, None)).collect();
        self.asked.insert(self.last, Asked { connection, processes, until: now.after(ANSWER_TIME) });
        self.last
    }

    /// A process has answered. What nobody waits for is dropped.
    pub(super) fn answered(&mut self, question: u64, process: LogSource, read: Result<LogPiece, String>) {
        let Some(asked) = self.asked.get_mut(&question) else { return };
        if let Some((_, waits)) =
            asked.processes.iter_mut().find(|(of, answer)| *of == process && answer.is_none())
        {
            *waits = Some(read);
        }
    }

    /// The answers that are due, each with the connection of its observer.
    pub(super) fn due(&mut self, now: Time) -> Vec<(u64, Vec<LogAnswer>)> {
        let is_due = |asked: &Asked| now >= asked.until || asked.processes.iter().all(|(_, it)| it.is_some());
        let due = self.asked.extract_if(.., |_, asked| is_due(asked));
        let late = || Err(format!("it has not answered within {ANSWER_TIME:?}"));
        let answer =
            |(process, read): (LogSource, Option<_>)| LogAnswer::new(process, read.unwrap_or_else(late));
        due.map(|(_, asked)| (asked.connection, asked.processes.into_iter().map(answer).collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO.after(Duration::from_millis(ms))
    }

    fn piece(text: &str) -> Result<LogPiece, String> {
        Ok(LogPiece { text: text.to_owned(), ..LogPiece::default() })
    }

    fn texts(answers: &[LogAnswer]) -> Vec<&str> {
        answers
            .iter()
            .map(|answer| match (&answer.piece, &answer.missing) {
                (Some(piece), None) => &*piece.text,
                (None, Some(why)) => why,
                _ => panic!("{answer:?}"),
            })
            .collect()
    }

    #[test]
    fn a_question_is_answered_once_when_all_have_answered() {
        let mut questions = LogQuestions::default();
        let (one, two) = (LogSource::Worker(1), LogSource::Master);
        let first = questions.ask(7, [one, two].into_iter(), at(0));
        let second = questions.ask(8, [one].into_iter(), at(0));
        questions.answered(first, two, piece("of the master"));
        questions.answered(first, two, piece("twice"));
        questions.answered(first, LogSource::Worker(9), piece("not asked"));
        assert_eq!(questions.due(at(1)), []);
        questions.answered(first, one, Err("no disk".to_owned()));
        let due = questions.due(at(2));
        assert_eq!((due.len(), due[0].0, texts(&due[0].1)), (1, 7, vec!["no disk", "of the master"]));
        questions.answered(first, one, piece("late"));
        questions.answered(second, one, piece("of 1"));
        assert_eq!(texts(&questions.due(at(3))[0].1), ["of 1"]);
        assert_eq!(questions.due(at(10_000)), []);
        assert!(questions.asked.is_empty());
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let mut questions = LogQuestions::default();
        let question = questions.ask(7, [LogSource::Worker(0), LogSource::Worker(1)].into_iter(), at(0));
        questions.answered(question, LogSource::Worker(1), piece("there"));
        assert_eq!(questions.due(at(1199)), []);
        let due = questions.due(at(1200));
        assert_eq!(texts(&due[0].1), ["it has not answered within 1.2s", "there"]);
    }
}
