//! The other end of a connection, played by hand: any bytes at any time.

use std::io::IoSlice;

use bytes::BytesMut;
use squall::clock::Time;
use squall::config::NetOptions;
use squall::ids::{Incarnation, WorkerId};
use squall::net::frame::{self, Frame, FrameKind, HEADER};
use squall::net::handshake::{Answering, Dialing, Hello, Refused};
use squall::net::payload::Taken;
use squall::net::{Action, ConnId, Endpoint, Identity, Member, Members, Mesh, Secret};

use super::{Books, address, identity, secret};

/// Worker 0 in its first incarnation, whose only peer, worker 1, is played by the test.
pub struct Raw {
    pub mesh: Mesh,
    pub books: Books,
    pub now: Time,
    /// Who the test is.
    pub identity: Identity,
    pub secret: Secret,
    members: Members,
}

impl Raw {
    pub fn new() -> Raw {
        let own = identity(0, Incarnation(1));
        let mut raw = Raw {
            books: Books::new(own.endpoint()),
            mesh: Mesh::new(own, secret(), NetOptions::default(), 1),
            now: Time(1_000_000_000),
            identity: identity(1, Incarnation(1)),
            secret: secret(),
            members: Members { version: 1, members: Vec::new() },
        };
        raw.member(1, 1);
        raw
    }

    /// Worker `worker` is in this incarnation, and listens.
    pub fn member(&mut self, worker: u16, incarnation: u32) {
        self.members.version += 1;
        self.members.members.retain(|member| member.worker != WorkerId(worker));
        self.members.members.push(Member {
            worker: WorkerId(worker),
            incarnation: Incarnation(incarnation),
            address: Some(address(worker.into())),
        });
        self.books.members_set(&self.members);
        self.mesh.set_members(&self.members, self.now, &mut self.books);
    }

    pub fn target(&self) -> Endpoint {
        Endpoint { worker: WorkerId(0), incarnation: Incarnation(1) }
    }

    /// What the mesh dials next.
    pub fn dialed(&mut self) -> ConnId {
        loop {
            self.mesh.tick(self.now, &mut self.books);
            for action in self.mesh.actions() {
                if let Action::Dial { conn, .. } = action {
                    return conn;
                }
            }
            self.now = self.mesh.deadline().max(self.now);
        }
    }

    /// Bytes for the mesh. What it left unread comes back.
    pub fn give(&mut self, conn: ConnId, bytes: &[u8]) -> BytesMut {
        let mut input = BytesMut::from(bytes);
        self.mesh.received(conn, &mut input, self.now, &mut self.books);
        input
    }

    /// The frames that the mesh wrote.
    pub fn frames(&mut self, conn: ConnId) -> Vec<Frame> {
        let mut bytes = BytesMut::new();
        loop {
            let mut chunks: Vec<IoSlice<'_>> = Vec::new();
            self.mesh.chunks(conn, &mut chunks);
            let before = bytes.len();
            chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
            let written = bytes.len() - before;
            if written == 0 {
                break;
            }
            self.mesh.wrote(conn, written);
        }
        let mut frames = Vec::new();
        while let Some(frame) = frame::take(&mut bytes, 16 << 20).expect("a mesh writes frames") {
            frames.push(frame);
        }
        assert!(bytes.is_empty(), "and whole ones");
        frames
    }

    /// The only frame that the mesh wrote.
    pub fn frame(&mut self, conn: ConnId) -> Frame {
        let mut frames = self.frames(conn);
        assert_eq!(frames.len(), 1, "{frames:?}");
        frames.remove(0)
    }

    /// A connection on which HELLO was said and CHALLENGE heard: the PROOF.
    pub fn greet(&mut self) -> (ConnId, Vec<u8>) {
        let conn = self.mesh.accepted(self.now).expect("there is room");
        let (dialing, hello) = Dialing::new(&self.identity, self.target(), [9; 32]);
        self.give(conn, &hello);
        let challenge = self.frame(conn);
        assert_eq!(challenge.kind, FrameKind::Challenge, "{challenge:?}");
        let proof = dialing.prove(&challenge.payload, &self.secret).expect("the mesh knows the secret");
        (conn, proof)
    }

    /// The link from the test to the mesh, up.
    pub fn link_to_mesh(&mut self) -> (ConnId, Taken) {
        let (conn, proof) = self.greet();
        self.give(conn, &proof);
        let welcome = self.frames(conn).remove(0);
        assert_eq!(welcome.kind, FrameKind::Welcome);
        (conn, Taken::decode(&welcome.payload).expect("a WELCOME says what was taken"))
    }

    /// The link from the mesh to the test, up to its PROOF.
    pub fn answer(&mut self) -> ConnId {
        let conn = self.dialed();
        self.mesh.dialed(conn, self.now);
        let hello = self.frame(conn);
        let read = Hello::decode(&hello.payload).expect("a mesh says HELLO first");
        let (answering, challenge) =
            Answering::new(&self.identity, &read, &hello.payload, [8; 32], &self.secret);
        self.give(conn, &challenge);
        let proof = self.frame(conn);
        let from = answering.check(&proof.payload, &self.secret, Some(Incarnation(1)));
        assert_eq!(from, Ok(self.target()));
        conn
    }

    /// The link from the mesh to the test, up, when the test took so much.
    pub fn link_from_mesh(&mut self, taken: Taken) -> ConnId {
        let conn = self.answer();
        self.give(conn, &taken.frame(FrameKind::Welcome));
        conn
    }

    /// Why the mesh closes a connection, if it does; done as the poller does it.
    pub fn closes(&mut self, conn: ConnId) -> Option<(String, Vec<Frame>)> {
        let close = |action| match action {
            Action::Close { conn: closed, why } if closed == conn => Some(why),
            _ => None,
        };
        let why = self.mesh.actions().into_iter().find_map(close)?;
        let last = self.frames(conn);
        self.mesh.closed(conn, "closed", self.now, &mut self.books);
        Some((why, last))
    }

    /// The mesh refuses a handshake: under which name, and what it says.
    #[track_caller]
    pub fn refusal(&mut self, conn: ConnId) -> (&'static str, String) {
        let (why, last) = self.closes(conn).expect("the handshake is refused");
        assert!(why.starts_with("refused: "), "{why}");
        assert_eq!(last.len(), 1, "the peer is told: {last:?}");
        let refused = Refused::decode(&last[0].payload);
        assert!(why.starts_with(&format!("refused: {}", refused.reason)), "{why}: {refused:?}");
        assert_eq!(self.mesh.counts().refused.get(refused.name()), Some(&1));
        (refused.name(), refused.reason)
    }
}

/// A sequenced frame.
pub fn sequenced(kind: FrameKind, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; HEADER], payload].concat();
    frame::seal(&mut bytes, kind, sequence, frame::payload_crc(payload));
    bytes
}
