//! The handshake: both sides prove that they know the secret of the run, and that each is the worker
//! and the incarnation that the other expects.
//!
//! ```text
//!   dialer                                                       other
//!   HELLO     magic · protocols · run · versions · from · to · nonce ─▶  checks all of it
//!   checks it ◀─ CHALLENGE  protocol · who it is · nonce · MAC "squall server" of HELLO and this
//!   PROOF     MAC "squall client" of HELLO and CHALLENGE ─────────────▶  checks it
//!             ◀─────────────── WELCOME  taken so far: the connection is up
//! ```
//!
//! * The MACs are HMAC-SHA256 with the secret, compared in constant time. Each covers both nonces, so
//!   a recorded MAC cannot be replayed. Each has a label, so a MAC cannot be sent back to its maker.
//! * When a check fails, the side that finds it sends REFUSED with a code and a text, and closes the
//!   connection. The text reveals no more to a stranger than CHALLENGE does.
//! * The MACs prove who began the connection. They do not protect later bytes: only TLS helps against an
//!   attacker who can change bytes on their way.
//! * Magic and range of protocols come first and keep their places in all releases. So two releases that
//!   have no protocol in common can still report why.

use ring::hmac;
use smol_str::SmolStr;

use super::frame::{FrameKind, HEADER, unsequenced};
use super::members::{Endpoint, Identity, Secret, TopologyKey};
use super::payload::{Cursor, cut_reason, reason_from};
use crate::ids::{Incarnation, WorkerId, is_legal_name};

/// The first bytes of a HELLO.
pub const MAGIC: [u8; 4] = *b"SQLL";
/// The oldest and the newest protocol that this release speaks.
pub const PROTOCOLS: (u16, u16) = (1, 1);
/// Bytes that a connection may send before its handshake is done, headers included.
pub const HANDSHAKE_BYTES_MAX: usize = 4 << 10;

const SERVER: &[u8] = b"squall server";
const CLIENT: &[u8] = b"squall client";

/// A number used once: random bytes.
pub type Nonce = [u8; 32];

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The other side is not a worker of squall.
    #[error("the first bytes are not those of a squall handshake")]
    WrongMagic,
    /// The two releases have no protocol in common.
    #[error("the peer supports protocols {} to {}, this worker {} to {}", theirs.0, theirs.1, ours.0, ours.1)]
    Protocol {
        /// The oldest and the newest protocol of the peer.
        theirs: (u16, u16),
        /// The oldest and the newest protocol of this worker.
        ours: (u16, u16),
    },
    /// Another topology, or another run of the same.
    #[error("the peer belongs to another topology, or to another run of this one")]
    OtherTopology,
    /// The peer has another assignment of executors to workers.
    #[error("the peer has version {theirs} of the assignment, this worker {ours}")]
    OtherAssignment {
        /// The peer's version.
        theirs: u64,
        /// This worker's.
        ours: u64,
    },
    /// The peer's streams or fields differ.
    #[error("the peer has another schema of the topology")]
    OtherSchema,
    /// The dialer has a newer incarnation than the parent has named to this worker so far.
    #[error("not yet: {from} is not in this worker's list of members")]
    NotYet {
        /// The dialer.
        from: Endpoint,
    },
    /// The dialer was replaced by a newer incarnation.
    #[error("fenced: {from} was replaced by incarnation {by}")]
    Fenced {
        /// The dialer.
        from: Endpoint,
        /// Its present incarnation.
        by: Incarnation,
    },
    /// The worker at this address is not the one that the dialer wants.
    #[error("this is {own}, not {wanted}")]
    WrongWorker {
        /// The worker that answers.
        own: Endpoint,
        /// The worker that the dialer wants.
        wanted: Endpoint,
    },
    /// The peer does not know the secret.
    #[error("the proof is wrong: the peer has another secret")]
    BadProof,
    /// More than [`HANDSHAKE_BYTES_MAX`] bytes.
    #[error("the handshake is longer than {HANDSHAKE_BYTES_MAX} bytes")]
    TooLong,
    /// It took longer than it may; see `handshake_timeout`.
    #[error("the handshake was not completed in time")]
    TimedOut,
    /// The frame is not the next one of a handshake, or cannot be read.
    #[error("not a handshake: {what}")]
    Malformed {
        /// What was found instead.
        what: &'static str,
    },
}

impl Refusal {
    /// The number on the wire. A number is never used again for another reason.
    pub fn code(&self) -> u8 {
        match self {
            Refusal::WrongMagic => 1,
            Refusal::Protocol { .. } => 2,
            Refusal::OtherTopology => 3,
            Refusal::OtherAssignment { .. } => 4,
            Refusal::OtherSchema => 5,
            Refusal::NotYet { .. } => 6,
            Refusal::Fenced { .. } => 7,
            Refusal::WrongWorker { .. } => 8,
            Refusal::BadProof => 9,
            Refusal::TooLong => 10,
            Refusal::TimedOut => TIMED_OUT,
            Refusal::Malformed { .. } => 12,
        }
    }

    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        refusal_name(self.code())
    }

    /// The REFUSED frame.
    pub fn frame(&self) -> Vec<u8> {
        unsequenced(FrameKind::Refused, |out| {
            out.push(self.code());
            out.extend_from_slice(cut_reason(&self.to_string()).as_bytes());
        })
    }
}

/// The code of [`Refusal::NotYet`]. The dialer should dial again soon.
pub const NOT_YET: u8 = 6;
/// The code of [`Refusal::TimedOut`].
pub const TIMED_OUT: u8 = 11;

fn refusal_name(code: u8) -> &'static str {
    match code {
        1 => "wrong-magic",
        2 => "protocol",
        3 => "other-topology",
        4 => "other-assignment",
        5 => "other-schema",
        NOT_YET => "not-yet",
        7 => "fenced",
        8 => "wrong-worker",
        9 => "bad-proof",
        10 => "too-long",
        TIMED_OUT => "timed-out",
        12 => "malformed",
        _ => "unknown",
    }
}

/// A refusal that the other side sent. It is not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its code, which may be one that only a newer release knows.
    pub code: u8,
    /// Its reason, fit for a log.
    pub reason: String,
}

impl Refused {
    /// Reads a payload of REFUSED. An empty one has code 0, which is no reason.
    pub fn decode(payload: &[u8]) -> Refused {
        let (code, reason) = payload.split_first().unwrap_or((&0, b"for no reason"));
        Refused { code: *code, reason: reason_from(reason) }
    }

    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        refusal_name(self.code)
    }
}

/// HELLO: who the dialer is, and which worker it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest and the newest protocol that the dialer speaks.
    pub protocols: (u16, u16),
    /// Its run.
    pub topology: TopologyKey,
    /// Its version of the assignment.
    pub assignment: u64,
    /// Its hash of the schema.
    pub schema: u64,
    /// The dialer.
    pub from: Endpoint,
    /// The worker that it wants to reach.
    pub to: Endpoint,
    /// Makes this handshake differ from all others.
    pub nonce: Nonce,
}

impl Hello {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.topology.name.as_bytes();
        let mut out = Vec::with_capacity(128 + name.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.protocols.0.to_le_bytes());
        out.extend_from_slice(&self.protocols.1.to_le_bytes());
        out.push(u8::try_from(name.len()).expect("a legal name has at most 64 bytes"));
        out.extend_from_slice(name);
        out.extend_from_slice(&self.topology.run);
        out.extend_from_slice(&self.assignment.to_le_bytes());
        out.extend_from_slice(&self.schema.to_le_bytes());
        write_endpoint(self.from, &mut out);
        write_endpoint(self.to, &mut out);
        out.extend_from_slice(&self.nonce);
        out
    }

    /// Reads a payload of HELLO.
    ///
    /// # Errors
    /// [`Refusal::WrongMagic`], [`Refusal::Protocol`] and [`Refusal::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Hello, Refusal> {
        let mut cursor = Cursor(payload);
        if cursor.array() != Some(MAGIC) {
            return Err(Refusal::WrongMagic);
        }
        let short = Refusal::Malformed { what: "a HELLO that ends too early" };
        let protocols = cursor.u16().zip(cursor.u16()).ok_or(short.clone())?;
        if chosen_protocol(protocols).is_none() {
            return Err(Refusal::Protocol { theirs: protocols, ours: PROTOCOLS });
        }
        let hello = Hello::decode_rest(protocols, &mut cursor).ok_or(short)?;
        if !cursor.is_done() {
            return Err(Refusal::Malformed { what: "a HELLO that goes on after its end" });
        }
        if !is_legal_name(&hello.topology.name) {
            return Err(Refusal::Malformed { what: "a HELLO with an illegal name" });
        }
        Ok(hello)
    }

    fn decode_rest(protocols: (u16, u16), cursor: &mut Cursor<'_>) -> Option<Hello> {
        let [len] = cursor.array()?;
        // A name that is not UTF-8 becomes empty, which is refused as an illegal name.
        let name = SmolStr::new(str::from_utf8(cursor.slice(len.into())?).unwrap_or_default());
        Some(Hello {
            protocols,
            topology: TopologyKey { name, run: cursor.array()? },
            assignment: cursor.u64()?,
            schema: cursor.u64()?,
            from: read_endpoint(cursor)?,
            to: read_endpoint(cursor)?,
            nonce: cursor.array()?,
        })
    }

    /// Checks whether `own` accepts this dialer. `known` is the incarnation of the dialer's worker that
    /// the parent named last.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn check(&self, own: &Identity, known: Option<Incarnation>) -> Result<(), Refusal> {
        if self.topology != own.topology {
            return Err(Refusal::OtherTopology);
        }
        if self.from.worker == own.worker {
            return Err(Refusal::Malformed { what: "a worker that dials itself" });
        }
        if self.to != own.endpoint() {
            return Err(Refusal::WrongWorker { own: own.endpoint(), wanted: self.to });
        }
        if self.assignment != own.assignment {
            return Err(Refusal::OtherAssignment { theirs: self.assignment, ours: own.assignment });
        }
        if self.schema != own.schema {
            return Err(Refusal::OtherSchema);
        }
        check_incarnation(self.from, known)
    }
}

fn check_incarnation(from: Endpoint, known: Option<Incarnation>) -> Result<(), Refusal> {
    match known {
        Some(known) if known == from.incarnation => Ok(()),
        Some(known) if known > from.incarnation => Err(Refusal::Fenced { from, by: known }),
        Some(_) | None => Err(Refusal::NotYet { from }),
    }
}

/// CHALLENGE: who the answering side is, and its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The protocol that both sides will speak.
    pub protocol: u16,
    /// The answering worker.
    pub own: Endpoint,
    /// Makes this handshake differ from all others.
    pub nonce: Nonce,
    /// HMAC over `SERVER`, the HELLO, and the fields above.
    pub mac: [u8; 32],
}

/// Bytes of a CHALLENGE without its MAC.
const CHALLENGE_FIELDS: usize = 2 + 2 + 4 + 32;

impl Challenge {
    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CHALLENGE_FIELDS + self.mac.len());
        out.extend_from_slice(&self.protocol.to_le_bytes());
        write_endpoint(self.own, &mut out);
        out.extend_from_slice(&self.nonce);
        out
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.fields();
        out.extend_from_slice(&self.mac);
        out
    }

    /// Reads a payload of CHALLENGE.
    pub fn decode(payload: &[u8]) -> Option<Challenge> {
        let mut cursor = Cursor(payload);
        let challenge = Challenge {
            protocol: cursor.u16()?,
            own: read_endpoint(&mut cursor)?,
            nonce: cursor.array()?,
            mac: cursor.array()?,
        };
        cursor.is_done().then_some(challenge)
    }
}

/// The dialer's side, after it sent HELLO.
#[derive(Debug)]
pub struct Dialing {
    to: Endpoint,
    hello: Vec<u8>,
}

impl Dialing {
    /// Begins a handshake. Returns the state that waits for CHALLENGE, and the HELLO frame to write.
    pub fn new(own: &Identity, to: Endpoint, nonce: Nonce) -> (Dialing, Vec<u8>) {
        let hello = Hello {
            protocols: PROTOCOLS,
            topology: own.topology.clone(),
            assignment: own.assignment,
            schema: own.schema,
            from: own.endpoint(),
            to,
            nonce,
        };
        let hello = hello.encode();
        let frame = unsequenced(FrameKind::Hello, |out| out.extend_from_slice(&hello));
        (Dialing { to, hello }, frame)
    }

    /// Checks a CHALLENGE. Returns the PROOF frame to write.
    ///
    /// # Errors
    /// When CHALLENGE is not from the wanted worker, or not from this run.
    pub fn prove(&self, payload: &[u8], secret: &Secret) -> Result<Vec<u8>, Refusal> {
        let malformed = Refusal::Malformed { what: "a CHALLENGE of another length" };
        let challenge = Challenge::decode(payload).ok_or(malformed)?;
        if !is_mac(secret, SERVER, &self.hello, &challenge.fields(), &challenge.mac) {
            return Err(Refusal::BadProof);
        }
        if challenge.own != self.to {
            return Err(Refusal::WrongWorker { own: challenge.own, wanted: self.to });
        }
        let protocol = challenge.protocol;
        if !(PROTOCOLS.0..=PROTOCOLS.1).contains(&protocol) {
            return Err(Refusal::Protocol { theirs: (protocol, protocol), ours: PROTOCOLS });
        }
        let proof = mac(secret, CLIENT, &self.hello, payload);
        Ok(unsequenced(FrameKind::Proof, |out| out.extend_from_slice(&proof)))
    }
}

/// The answering side, after it sent CHALLENGE.
#[derive(Debug)]
pub struct Answering {
    from: Endpoint,
    hello: Vec<u8>,
    challenge: Vec<u8>,
}

impl Answering {
    /// Answers a HELLO that passed [`Hello::check`]; `payload` is the payload it was decoded from.
    /// Returns the state that waits for PROOF, and the CHALLENGE frame to write.
    pub fn new(
        own: &Identity,
        hello: &Hello,
        payload: &[u8],
        nonce: Nonce,
        secret: &Secret,
    ) -> (Answering, Vec<u8>) {
        let protocol = chosen_protocol(hello.protocols).unwrap_or(PROTOCOLS.1);
        let mut challenge = Challenge { protocol, own: own.endpoint(), nonce, mac: [0; 32] };
        challenge.mac = mac(secret, SERVER, payload, &challenge.fields());
        let challenge = challenge.encode();
        let frame = unsequenced(FrameKind::Challenge, |out| out.extend_from_slice(&challenge));
        (Answering { from: hello.from, hello: payload.to_vec(), challenge }, frame)
    }

    /// Checks a PROOF. Returns the dialer. Its incarnation is checked again, because it may have been
    /// replaced since HELLO.
    ///
    /// # Errors
    /// [`Refusal::BadProof`], [`Refusal::Fenced`], [`Refusal::NotYet`].
    pub fn check(
        &self,
        payload: &[u8],
        secret: &Secret,
        known: Option<Incarnation>,
    ) -> Result<Endpoint, Refusal> {
        if !is_mac(secret, CLIENT, &self.hello, &self.challenge, payload) {
            return Err(Refusal::BadProof);
        }
        check_incarnation(self.from, known)?;
        Ok(self.from)
    }

    /// The worker that HELLO names as the dialer.
    pub fn from(&self) -> Endpoint {
        self.from
    }
}

/// The newest protocol that both sides speak.
fn chosen_protocol(theirs: (u16, u16)) -> Option<u16> {
    let newest = theirs.1.min(PROTOCOLS.1);
    (theirs.0 <= theirs.1 && newest >= theirs.0.max(PROTOCOLS.0)).then_some(newest)
}

/// The bytes under a MAC. The length of HELLO precedes it, so that no other pair of `hello` and `rest`
/// has the same bytes.
fn signed(label: &[u8], hello: &[u8], rest: &[u8]) -> Vec<u8> {
    let len = u32::try_from(hello.len()).expect("a handshake is short");
    [label, &len.to_le_bytes(), hello, rest].concat()
}

fn mac(secret: &Secret, label: &[u8], hello: &[u8], rest: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
    let tag = hmac::sign(&key, &signed(label, hello, rest));
    tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
}

fn is_mac(secret: &Secret, label: &[u8], hello: &[u8], rest: &[u8], tag: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
    hmac::verify(&key, &signed(label, hello, rest), tag).is_ok()
}

fn write_endpoint(endpoint: Endpoint, out: &mut Vec<u8>) {
    out.extend_from_slice(&endpoint.worker.0.to_le_bytes());
    out.extend_from_slice(&endpoint.incarnation.0.to_le_bytes());
}

fn read_endpoint(cursor: &mut Cursor<'_>) -> Option<Endpoint> {
    Some(Endpoint { worker: WorkerId(cursor.u16()?), incarnation: Incarnation(cursor.u32()?) })
}

const _: () = assert!(2 * HEADER + 256 < HANDSHAKE_BYTES_MAX, "a HELLO and a PROOF fit");
