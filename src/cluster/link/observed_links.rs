//! What the thread of the master's end does for observers: it lets them in, takes their questions, and answers.
//!
//! Questions for counters are noted for another thread. Questions about logs are passed on to the workers here, and their
//! answers are collected: the thread of the master's decisions sees neither.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::control::{FromWorker, ToWorker, line, parse};
use crate::cluster::link::accepted::{Accepted, Session, Stage};
use crate::cluster::link::commands::{Command, lock};
use crate::cluster::link::hello::{Challenge, ObserverHello, read_proof};
use crate::cluster::link::links_thread::LinksThread;
use crate::cluster::link::observers::Question;
use crate::cluster::log_pieces::{LogQuestion, LogSource, LogWish};
use crate::cluster::observed::{ANSWER_MAX, Answer};

/// Observers at a time, at most. More are refused.
const OBSERVERS_MAX: usize = 16;
/// An observer that neither asks nor takes its answer for so long is disconnected.
const OBSERVER_REST: Duration = Duration::from_secs(10);

impl LinksThread {
    /// The proof of an observer has come.
    pub(super) fn observer_proves(
        &mut self,
        number: u64,
        hello: &ObserverHello,
        challenge: &Challenge,
        line: &[u8],
    ) {
        let verified =
            read_proof(line).and_then(|proof| self.known.verify_observer(hello, challenge, &proof));
        let observes = |accepted: &&Accepted| matches!(accepted.stage, Stage::Observes { .. });
        let has_room = self.connections.values().filter(observes).count() < OBSERVERS_MAX;
        match verified {
            Ok(()) if !has_room => {
                let why = format!("{OBSERVERS_MAX} observers are connected already: ask again later");
                self.refuse(number, why);
            }
            Ok(()) => self.observes(number, false),
            Err(why) => self.refuse(number, why),
        }
    }

    fn observes(&mut self, number: u64, has_asked: bool) {
        if let Some(accepted) = self.connections.get_mut(&number) {
            accepted.stage = Stage::Observes { has_asked };
            accepted.deadline = self.clock.now().after(OBSERVER_REST);
        }
    }

    /// A question of an observer has come.
    pub(super) fn observer_asks(&mut self, number: u64, has_asked: bool, line: &[u8]) {
        let Some(accepted) = self.connections.get_mut(&number) else { return };
        // It has to take an answer before it asks again, so that answers do not pile up here.
        if has_asked || !accepted.connection.out().is_empty() {
            return self.drop_connection(number);
        }
        match parse::<Question>(line) {
            Ok(question) => {
                accepted.connection.may_send_a_little();
                self.observes(number, true);
                match question {
                    Question::Stats => lock(&self.commands.asked).push(number),
                    Question::Logs(question) => self.ask_for_logs(number, &question),
                }
            }
            Err(error) => self.refuse(number, error.to_string()),
        }
    }

    pub(super) fn answer_observer(&mut self, number: u64, line: &[u8]) {
        if let Some(accepted) = self.connections.get_mut(&number)
            && matches!(accepted.stage, Stage::Observes { has_asked: true })
        {
            accepted.connection.out().extend_from_slice(line);
            self.observes(number, false);
        }
    }

    // ---- Logs ----

    fn ask_for_logs(&mut self, number: u64, question: &LogQuestion) {
        let wishes = match question.wishes() {
            Ok(wishes) => wishes,
            Err(why) => return self.refuse(number, why),
        };
        let processes = wishes.iter().map(|(process, _)| *process);
        let question = self.log_questions.ask(number, processes, self.clock.now());
        for (process, wish) in wishes {
            match process {
                LogSource::Master => {
                    let commands = Arc::clone(&self.commands);
                    self.logs.read(wish, move |read| commands.push(Command::LogRead(question, read)));
                }
                LogSource::Worker(worker) => self.ask_worker_for_log(question, worker, wish),
            }
        }
    }

    fn ask_worker_for_log(&mut self, question: u64, worker: u16, wish: LogWish) {
        let is_there = |session: &Session| session.worker.0 == worker && session.connection.is_some();
        let Some((process, session)) = self.sessions.iter_mut().find(|(_, session)| is_there(session)) else {
            let why = "it is not connected to the master: it is being started, or cannot be reached";
            return self.log_questions.answered(question, LogSource::Worker(worker), Err(why.to_owned()));
        };
        let mut line = line(&ToWorker::ReadLog { question, wish });
        line.pop();
        if let Err(error) = session.resend.push(line) {
            let process = *process;
            self.broken(process, error.to_string());
        }
    }

    /// A worker has answered.
    pub(super) fn log_was_read(&mut self, process: u64, line: &[u8]) {
        let Some(session) = self.sessions.get(&process) else { return };
        match parse::<FromWorker>(line) {
            Ok(FromWorker::LogRead { question, read }) => {
                self.log_questions.answered(question, LogSource::Worker(session.worker.0), read);
            }
            Ok(_) => {}
            Err(error) => self.broken(process, error.to_string()),
        }
    }

    /// Answers the questions about logs that all have answered, or that have waited for long enough.
    pub(super) fn answer_log_questions(&mut self) {
        for (number, mut answers) in self.log_questions.due(self.clock.now()) {
            let mut answer = line(&Answer::Logs(answers.clone()));
            if answer.len() > ANSWER_MAX {
                for answer in &mut answers {
                    (answer.piece, answer.missing) = (None, Some("the answer would be too long".to_owned()));
                }
                answer = line(&Answer::Logs(answers));
            }
            self.answer_observer(number, &answer);
        }
    }
}
