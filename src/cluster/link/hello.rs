//! The handshake of a control channel.
//!
//! ```text
//!   worker                                                         master
//!   Hello      protocol · topology · run · worker · process · nonce ─▶  checks all of it
//!              ◀─ Challenge   its epoch · nonce · MAC of both lines     the worker checks it
//!   Proof      MAC of both lines, with another label ──────────────▶  checks it
//! ```
//!
//! The MACs are HMAC-SHA256 with the secret of the topology, as in the handshake of the wire (`net::handshake`), and for
//! the same reasons. A side that refuses sends `Refused` with a reason and closes. The MACs prove who began the
//! connection; only TLS protects what follows against an attacker who can change bytes on their way.
//!
//! An observer (`observers`) begins with `Observe` instead of `Hello`. Its protocol has a number of its own, and it may
//! be of another version of squall.

use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::cluster::control::{line, parse};
use crate::cluster::topologies::TopologyId;
use crate::ids::WorkerId;
use crate::net::Secret;

/// The protocol of this version of squall.
const PROTOCOL: u32 = 1;
/// The protocol of observers.
const OBSERVER_PROTOCOL: u32 = 1;
const MASTER: &str = "squall master";
const WORKER: &str = "squall worker";
const MASTER_TO_OBSERVER: &str = "squall master to an observer";
const OBSERVER: &str = "squall observer";

/// A line of the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandshakeLine {
    /// The first line of a worker.
    Hello(Hello),
    /// The first line of an observer.
    Observe(ObserverHello),
    /// The answer of the master.
    Challenge(Challenge),
    /// The proof of the worker.
    Proof(Proof),
    /// Why the connection ends.
    Refused(String),
}

/// Who connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which protocol follows.
    pub protocol: u32,
    /// The version of squall.
    pub version: String,
    /// The topology.
    pub id: TopologyId,
    /// Its run.
    pub run: String,
    /// The number of the worker.
    pub worker: WorkerId,
    /// Which process: a number that it has drawn.
    pub process: u64,
    /// Random.
    pub nonce: String,
}

/// Who connects to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserverHello {
    /// Which protocol of observers follows.
    pub observer_protocol: u32,
    /// The topology.
    pub id: TopologyId,
    /// Its run.
    pub run: String,
    /// Random.
    pub nonce: String,
}

/// What the master answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The epoch of the master.
    pub epoch: u64,
    /// Random.
    pub nonce: String,
    /// Its proof.
    pub mac: String,
}

impl Challenge {
    /// Whether a worker that has obeyed a master of this epoch may obey this one, too.
    ///
    /// # Errors
    /// When it is an older one.
    pub fn is_not_older_than(&self, obeyed: u64) -> Result<(), String> {
        match self.epoch < obeyed {
            true => Err(format!("it has epoch {}, and this worker has obeyed epoch {obeyed}", self.epoch)),
            false => Ok(()),
        }
    }
}

/// The proof of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The MAC.
    pub mac: String,
}

/// What both sides of a topology know.
#[derive(Clone, Debug)]
pub struct Known {
    /// The topology.
    pub id: TopologyId,
    /// Its run.
    pub run: String,
    /// Its secret.
    pub secret: Secret,
}

impl Known {
    /// The first line of a worker.
    pub fn hello(&self, worker: WorkerId, process: u64, nonce: u128) -> Hello {
        Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            id: self.id.clone(),
            run: self.run.clone(),
            worker,
            process,
            nonce: format!("{nonce:032x}"),
        }
    }

    /// What a master answers to a first line.
    ///
    /// # Errors
    /// Why it refuses.
    pub fn challenge(&self, hello: &Hello, epoch: u64, nonce: u128) -> Result<Challenge, String> {
        if hello.protocol != PROTOCOL || hello.version != env!("CARGO_PKG_VERSION") {
            return Err(format!(
                "this worker is of squall {} with protocol {}, and its master of squall {} with protocol {PROTOCOL}",
                crate::text::shown(&hello.version),
                hello.protocol,
                env!("CARGO_PKG_VERSION")
            ));
        }
        self.check_run(&hello.id, &hello.run)?;
        let nonce = format!("{nonce:032x}");
        let mac = self.mac(&signed(MASTER, hello, epoch, &nonce));
        Ok(Challenge { epoch, nonce, mac })
    }

    fn check_run(&self, id: &TopologyId, run: &str) -> Result<(), String> {
        match (id, run) == (&self.id, &*self.run) {
            true => Ok(()),
            false => Err("this is the master of another topology, or of another run".to_owned()),
        }
    }

    /// The first line of an observer.
    pub fn observer_hello(&self, nonce: u128) -> ObserverHello {
        ObserverHello {
            observer_protocol: OBSERVER_PROTOCOL,
            id: self.id.clone(),
            run: self.run.clone(),
            nonce: format!("{nonce:032x}"),
        }
    }

    /// What a master answers to the first line of an observer.
    ///
    /// # Errors
    /// Why it refuses.
    pub fn challenge_observer(
        &self,
        hello: &ObserverHello,
        epoch: u64,
        nonce: u128,
    ) -> Result<Challenge, String> {
        if hello.observer_protocol != OBSERVER_PROTOCOL {
            return Err(format!(
                "this observer has protocol {}, and the master has protocol {OBSERVER_PROTOCOL}",
                hello.observer_protocol
            ));
        }
        self.check_run(&hello.id, &hello.run)?;
        let nonce = format!("{nonce:032x}");
        let mac = self.mac(&signed(MASTER_TO_OBSERVER, hello, epoch, &nonce));
        Ok(Challenge { epoch, nonce, mac })
    }

    /// What an observer proves itself with, if the master has proven itself.
    ///
    /// # Errors
    /// When it has not.
    pub fn proof_of_observer(&self, hello: &ObserverHello, challenge: &Challenge) -> Result<Proof, String> {
        let Challenge { epoch, nonce, mac } = challenge;
        self.check(&signed(MASTER_TO_OBSERVER, hello, *epoch, nonce), mac)?;
        Ok(Proof { mac: self.mac(&signed(OBSERVER, hello, *epoch, nonce)) })
    }

    /// Whether an observer has proven itself.
    ///
    /// # Errors
    /// When it has not.
    pub fn verify_observer(
        &self,
        hello: &ObserverHello,
        challenge: &Challenge,
        proof: &Proof,
    ) -> Result<(), String> {
        self.check(&signed(OBSERVER, hello, challenge.epoch, &challenge.nonce), &proof.mac)
    }

    fn mac(&self, signed: &[u8]) -> String {
        hex(hmac::sign(&self.key(), signed).as_ref())
    }

    /// What the worker proves itself with, if the master has proven itself.
    ///
    /// # Errors
    /// When it has not.
    pub fn proof(&self, hello: &Hello, challenge: &Challenge) -> Result<Proof, String> {
        let Challenge { epoch, nonce, mac } = challenge;
        self.check(&signed(MASTER, hello, *epoch, nonce), mac)?;
        Ok(Proof { mac: self.mac(&signed(WORKER, hello, *epoch, nonce)) })
    }

    /// Whether the worker has proven itself.
    ///
    /// # Errors
    /// When it has not.
    pub fn verify(&self, hello: &Hello, challenge: &Challenge, proof: &Proof) -> Result<(), String> {
        self.check(&signed(WORKER, hello, challenge.epoch, &challenge.nonce), &proof.mac)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.bytes())
    }

    fn check(&self, signed: &[u8], mac: &str) -> Result<(), String> {
        let wrong = || "the proof is wrong: the other side has another secret".to_owned();
        let mac = from_hex(mac).ok_or_else(wrong)?;
        hmac::verify(&self.key(), signed, &mac).map_err(|_| wrong())
    }
}

/// The line of a part of the handshake, with its end.
pub fn handshake_line(part: HandshakeLine) -> Vec<u8> {
    line(&part)
}

/// The part of the handshake that a line is.
///
/// # Errors
/// When it is none, or says why the connection ends.
pub fn read_handshake(line: &[u8]) -> Result<HandshakeLine, String> {
    match parse(line) {
        Ok(HandshakeLine::Refused(why)) => Err(format!("refused: {}", crate::text::shown(why))),
        Ok(part) => Ok(part),
        Err(_) => Err("the other side does not speak squall's control protocol".to_owned()),
    }
}

/// The proof that a line is.
///
/// # Errors
/// When it is none, or says why the connection ends.
pub fn read_proof(line: &[u8]) -> Result<Proof, String> {
    match read_handshake(line)? {
        HandshakeLine::Proof(proof) => Ok(proof),
        _ => Err("the second line is no proof".to_owned()),
    }
}

/// What is signed. JSON, so that no two different handshakes have the same bytes.
fn signed(label: &str, hello: &impl Serialize, epoch: u64, nonce: &str) -> Vec<u8> {
    serde_json::to_vec(&(label, hello, epoch, nonce)).expect("it is made of texts and numbers")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(secret: u8, run: &str) -> Known {
        let id = TopologyId::new("words", 1).expect("an id");
        Known { id, run: run.to_owned(), secret: Secret::new([secret; 32]) }
    }

    #[test]
    fn both_prove_themselves() {
        let (worker, master) = (known(1, "a"), known(1, "a"));
        let hello = worker.hello(WorkerId(2), 7, 11);
        let challenge = master.challenge(&hello, 3, 12).expect("it is its topology");
        let proof = worker.proof(&hello, &challenge).expect("it is its master");
        assert_eq!(master.verify(&hello, &challenge, &proof), Ok(()));
        // A proof is good for one handshake, and for one side.
        let other = master.challenge(&hello, 3, 13).expect("it is its topology");
        assert!(master.verify(&hello, &other, &proof).is_err());
        let echoed = Proof { mac: challenge.mac.clone() };
        assert!(master.verify(&hello, &challenge, &echoed).is_err());
        let raised = Challenge { epoch: 4, ..challenge };
        assert!(worker.proof(&hello, &raised).is_err(), "the epoch is part of what is proven");
    }

    #[test]
    fn who_does_not_know_the_secret_is_refused() {
        let (worker, master) = (known(1, "a"), known(2, "a"));
        let hello = worker.hello(WorkerId(2), 7, 11);
        let challenge = master.challenge(&hello, 3, 12).expect("it is its topology");
        assert!(worker.proof(&hello, &challenge).is_err());
        let bad = Proof { mac: "zz".to_owned() };
        assert!(master.verify(&hello, &challenge, &bad).is_err());
    }

    #[test]
    fn an_older_master_than_one_that_was_obeyed_is_refused() {
        let hello = known(1, "a").hello(WorkerId(2), 7, 11);
        let challenge = known(1, "a").challenge(&hello, 3, 12).expect("it is its topology");
        let may_be_obeyed = [0, 2, 3, 4].map(|obeyed| challenge.is_not_older_than(obeyed).is_ok());
        assert_eq!(may_be_obeyed, [true, true, true, false]);
    }

    #[test]
    fn another_run_or_version_is_refused() {
        let (worker, master) = (known(1, "a"), known(1, "b"));
        let hello = worker.hello(WorkerId(2), 7, 11);
        assert!(master.challenge(&hello, 3, 12).is_err_and(|why| why.contains("another run")));
        let newer = Hello { protocol: 2, ..hello };
        assert!(worker.challenge(&newer, 3, 12).is_err_and(|why| why.contains("protocol 2")));
    }

    #[test]
    fn an_observer_proves_itself_and_is_not_taken_for_a_worker() {
        let (observer, master) = (known(1, "a"), known(1, "a"));
        let hello = observer.observer_hello(11);
        let challenge = master.challenge_observer(&hello, 3, 12).expect("it is its topology");
        let proof = observer.proof_of_observer(&hello, &challenge).expect("it is its master");
        assert_eq!(master.verify_observer(&hello, &challenge, &proof), Ok(()));
        let worker = observer.hello(WorkerId(2), 7, 11);
        let of_worker = master.challenge(&worker, 3, 12).expect("it is its topology");
        assert!(master.verify(&worker, &of_worker, &proof).is_err());
        assert!(known(2, "a").proof_of_observer(&hello, &challenge).is_err());
        assert!(
            known(1, "b").challenge_observer(&hello, 3, 12).is_err_and(|why| why.contains("another run"))
        );
        let newer = ObserverHello { observer_protocol: 2, ..hello };
        assert!(master.challenge_observer(&newer, 3, 12).is_err_and(|why| why.contains("protocol 2")));
    }
}
