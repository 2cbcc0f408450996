//! Observers: processes that know the secret of a topology, are no worker, and ask its master how it goes, or what its
//! processes log.
//!
//! ```text
//!   observer                                       master
//!   Observe      observer protocol · topology · run · nonce ─▶
//!                ◀─ Challenge
//!   Proof        ──────────────────────────────────────────▶   then, as often as it wants:
//!   Question     ──────────────────────────────────────────▶
//!                ◀─ Answer, one line of at most 1 MiB
//! ```
//!
//! 1. An observer changes nothing. The core of the master does not know that there are any.
//! 2. The thread of the connections only takes note of questions. Another thread, which is not that of the master's
//!    decisions, makes one answer for all who have asked.
//! 3. An observer has one question at a time. It is disconnected if it asks again before it has taken the answer, and if
//!    it does nothing for some seconds. Their number is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::cluster::control::{line, parse};
use crate::cluster::link::commands::{Command, Commands, lock};
use crate::cluster::link::connection::LinkConnection;
use crate::cluster::link::hello::{HandshakeLine, Known, handshake_line, read_handshake};
use crate::cluster::log_pieces::{LogAnswer, LogQuestion};
use crate::cluster::observed::{Answer, Observed};
use crate::net::tls::Tls;

/// What an observer asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// For the counters.
    Stats,
    /// For pieces of logs.
    Logs(LogQuestion),
}

/// Whether a line of a worker is an answer about its log.
pub(super) fn is_log_read(line: &[u8]) -> bool {
    line.starts_with(b"{\"LogRead\":")
}

/// Those who have asked a master.
#[derive(Clone, Debug)]
pub struct Observers(Arc<Commands>);

impl Observers {
    pub(super) fn new(commands: Arc<Commands>) -> Observers {
        Observers(commands)
    }

    /// Answers all who have asked since the last time, if there are any, with this line. Never waits for them.
    pub fn answer(&self, line: impl FnOnce() -> Arc<[u8]>) {
        let asked = std::mem::take(&mut *lock(&self.0.asked));
        if !asked.is_empty() {
            self.0.push(Command::Answer(asked, line()));
        }
    }
}

/// An observer's end of its connection.
#[derive(Debug)]
struct Observer {
    connection: LinkConnection,
    clock: Clock,
}

impl Observer {
    /// Connects, and proves that it may ask. `nonce` is random.
    fn connect(
        address: SocketAddr,
        tls: Option<&Tls>,
        known: &Known,
        nonce: u128,
        at_most: Duration,
    ) -> Result<Observer, String> {
        let clock = Clock::real();
        let deadline = clock.now().after(at_most);
        let mut connection = LinkConnection::dial(address, tls, at_most)?;
        let hello = known.observer_hello(nonce);
        connection.out().extend_from_slice(&handshake_line(HandshakeLine::Observe(hello.clone())));
        let challenge = match read_handshake(&connection.next_line(&clock, deadline)?)? {
            HandshakeLine::Challenge(challenge) => challenge,
            _ => return Err("it does not answer with a challenge".to_owned()),
        };
        let proof = known.proof_of_observer(&hello, &challenge)?;
        connection.is_proven();
        connection.out().extend_from_slice(&handshake_line(HandshakeLine::Proof(proof)));
        Ok(Observer { connection, clock })
    }

    /// Asks, and waits for the answer.
    fn ask(&mut self, question: &Question, at_most: Duration) -> Result<Answer, String> {
        let deadline = self.clock.now().after(at_most);
        self.connection.out().extend_from_slice(&line(question));
        let answer = self.connection.next_line(&self.clock, deadline)?;
        match (parse::<Answer>(&answer), read_handshake(&answer)) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(why)) if why.starts_with("refused") => Err(why),
            (Err(error), _) => Err(format!("its answer is not what this squall understands: {error}")),
        }
    }
}

/// How the master at an address is asked.
#[derive(Debug)]
pub struct ObserverAccess<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// With TLS.
    pub tls: Option<&'a Tls>,
    /// The topology and its secret.
    pub known: &'a Known,
    /// Random.
    pub nonce: u128,
    /// How long the answer may take, for connecting and all.
    pub at_most: Duration,
}

impl ObserverAccess<'_> {
    /// Asks how the topology goes.
    ///
    /// # Errors
    /// Why there is no answer in time, for people.
    pub fn stats(&self) -> Result<Observed, String> {
        match self.ask(&Question::Stats)? {
            Answer::Stats(observed) => Ok(*observed),
            Answer::Logs(_) => Err("it has answered another question".to_owned()),
        }
    }

    /// Asks for pieces of logs.
    ///
    /// # Errors
    /// As [`stats`](ObserverAccess::stats).
    pub fn logs(&self, question: &LogQuestion) -> Result<Vec<LogAnswer>, String> {
        match self.ask(&Question::Logs(question.clone()))? {
            Answer::Logs(answers) => Ok(answers),
            Answer::Stats(_) => Err("it has answered another question".to_owned()),
        }
    }

    fn ask(&self, question: &Question) -> Result<Answer, String> {
        let clock = Clock::real();
        let begun = clock.now();
        let mut observer = Observer::connect(self.address, self.tls, self.known, self.nonce, self.at_most)?;
        let answer = observer.ask(question, self.at_most.saturating_sub(clock.now().since(begun)))?;
        observer.connection.close();
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
