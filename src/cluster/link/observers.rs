//! Observers: processes that know the secret of a topology, are no worker, and ask its master how it goes.
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
use crate::cluster::observed::{Answer, Observed};
use crate::net::tls::Tls;

/// What an observer asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// For the counters.
    Stats,
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
    fn ask(&mut self, at_most: Duration) -> Result<Observed, String> {
        let deadline = self.clock.now().after(at_most);
        self.connection.out().extend_from_slice(&line(&Question::Stats));
        let answer = self.connection.next_line(&self.clock, deadline)?;
        match (parse::<Answer>(&answer), read_handshake(&answer)) {
            (Ok(Answer::Stats(observed)), _) => Ok(*observed),
            (Err(_), Err(why)) if why.starts_with("refused") => Err(why),
            (Err(error), _) => Err(format!("its answer is not what this squall understands: {error}")),
        }
    }
}

/// Asks the master at this address how its topology goes. `nonce` is random.
///
/// # Errors
/// Why there is no answer within this time, for people.
pub fn observe(
    address: SocketAddr,
    tls: Option<&Tls>,
    known: &Known,
    nonce: u128,
    at_most: Duration,
) -> Result<Observed, String> {
    let clock = Clock::real();
    let begun = clock.now();
    let mut observer = Observer::connect(address, tls, known, nonce, at_most)?;
    let observed = observer.ask(at_most.saturating_sub(clock.now().since(begun)))?;
    observer.connection.close();
    Ok(observed)
}

#[cfg(test)]
mod tests;
