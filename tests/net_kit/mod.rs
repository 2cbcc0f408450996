//! Workers joined by pipes of bytes in simulated time: each drives its mesh as the poller does, and
//! each upcall is held against books that are kept beside it.
//!
//! What must hold whatever happens to the pipes is asserted in the upcalls themselves: payloads of a
//! lane come once and in order, from the present incarnation of the peer and meant for this one; credit
//! that comes back was sent; what is reported lost is exactly what was not settled.

#![allow(dead_code, reason = "each user takes a part of it")]

mod books;
pub mod operation;
pub mod raw;

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use squall::clock::Time;
use squall::config::NetOptions;
use squall::ids::{Incarnation, WorkerId};
use squall::net::{
    Action, ConnId, Direction, Identity, Member, Members, Mesh, NetCounts, Outbound, PayloadKind, Secret,
    TopologyKey,
};

pub use books::Books;

/// A worker and the bytes that it read but not used.
pub struct Node {
    pub mesh: Mesh,
    pub books: Books,
    inputs: BTreeMap<ConnId, BytesMut>,
    /// Neither reads, writes, nor looks at the time.
    pub is_stopped: bool,
    /// Whether anybody can connect.
    pub is_listening: bool,
}

/// A connection between two workers.
pub struct Pipe {
    /// The dialer's end, then the other's. `None`: that end was closed.
    ends: [Option<(usize, ConnId)>; 2],
    /// Bytes on their way to the end with the same index.
    flying: [VecDeque<u8>; 2],
    /// Whether bytes to that end are held back.
    pub is_held: [bool; 2],
    /// Bytes that were written so far, from both ends.
    pub carried: u64,
    /// The pipe breaks when it has carried so many.
    pub breaks_at: u64,
    /// The byte that is changed when it is written, and how.
    pub flips_at: (u64, u8),
}

pub struct World {
    pub now: Time,
    /// The workers by their ids, then incarnations that were replaced but live on.
    pub nodes: Vec<Node>,
    pub pipes: Vec<Pipe>,
    /// The incarnations of the workers, as the parent knows them.
    pub incarnations: Vec<Incarnation>,
    pub version: u64,
    pub options: NetOptions,
    /// Whether connections are made at all.
    pub is_apart: bool,
    /// Given to each new pipe.
    pub breaks_at: u64,
    /// Given to each new pipe.
    pub flips_at: (u64, u8),
    /// Given to each new pipe.
    pub is_held: [bool; 2],
    /// Counts of incarnations that are over.
    pub past: Vec<NetCounts>,
    seed: u64,
}

pub fn key(run: u8) -> TopologyKey {
    TopologyKey { name: "words".into(), run: [run; 16] }
}

pub fn identity(worker: usize, incarnation: Incarnation) -> Identity {
    let worker = WorkerId(worker as u16);
    Identity { topology: key(7), assignment: 3, schema: 0x5eed, worker, incarnation }
}

pub fn secret() -> Secret {
    Secret::new(*b"a secret of thirty-two bytes, ok")
}

pub fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + node as u16))
}

impl Pipe {
    pub fn is_dialed_by(&self, node: usize) -> bool {
        self.ends[0].is_some_and(|(n, _)| n == node)
    }
}

impl World {
    /// Workers in their first incarnations, who know of each other and are not linked yet.
    pub fn new(nodes: usize, seed: u64) -> World {
        let mut world = World {
            now: Time(1_000_000_000),
            nodes: Vec::new(),
            pipes: Vec::new(),
            incarnations: vec![Incarnation(1); nodes],
            version: 1,
            options: NetOptions::default(),
            is_apart: false,
            breaks_at: u64::MAX,
            flips_at: (u64::MAX, 0),
            is_held: [false; 2],
            past: Vec::new(),
            seed,
        };
        world.nodes = (0..nodes).map(|node| world.node(identity(node, Incarnation(1)))).collect();
        (0..nodes).for_each(|node| world.set_members(node));
        world
    }

    pub fn node(&self, identity: Identity) -> Node {
        let seed = self.seed ^ (u64::from(identity.worker.0) << 32 | u64::from(identity.incarnation.0));
        Node {
            books: Books::new(identity.endpoint()),
            mesh: Mesh::new(identity, secret(), self.options.clone(), seed),
            inputs: BTreeMap::new(),
            is_stopped: false,
            is_listening: true,
        }
    }

    pub fn members(&self) -> Members {
        let member = |(node, incarnation): (usize, &Incarnation)| Member {
            worker: WorkerId(node as u16),
            incarnation: *incarnation,
            address: self.nodes[node].is_listening.then(|| address(node)),
        };
        Members { version: self.version, members: self.incarnations.iter().enumerate().map(member).collect() }
    }

    /// The parent's list of members reaches a worker.
    pub fn set_members(&mut self, node: usize) {
        let members = self.members();
        let Node { mesh, books, .. } = &mut self.nodes[node];
        books.members_set(&members);
        mesh.set_members(&members, self.now, books);
    }

    pub fn set_members_of_all(&mut self) {
        (0..self.incarnations.len()).for_each(|node| self.set_members(node));
    }

    /// A worker is replaced: its next incarnation listens, and another worker knows that only after
    /// `set_members`. The old incarnation is dead, or stays alive although the parent takes it for dead.
    pub fn replace(&mut self, node: usize, stays_alive: bool) {
        if !stays_alive {
            let pipes = (0..self.pipes.len()).filter(|pipe| self.ends_at(*pipe, node)).collect::<Vec<_>>();
            pipes.into_iter().for_each(|pipe| self.cut(pipe, false));
        }
        self.incarnations[node].0 += 1;
        self.version += 1;
        self.nodes[node].books.check_books();
        let next = self.node(identity(node, self.incarnations[node]));
        let past = std::mem::replace(&mut self.nodes[node], next);
        if stays_alive {
            let place = self.nodes.len();
            let ends = self.pipes.iter_mut().flat_map(|pipe| pipe.ends.iter_mut().flatten());
            ends.filter(|(n, _)| *n == node).for_each(|(n, _)| *n = place);
            self.nodes.push(past);
        } else {
            self.past.push(past.mesh.counts().clone());
        }
    }

    fn ends_at(&self, pipe: usize, node: usize) -> bool {
        self.pipes[pipe].ends.iter().flatten().any(|(n, _)| *n == node)
    }

    /// A payload of `padding` bytes and a few; tuples take credit.
    pub fn send(&mut self, from: usize, to: usize, kind: PayloadKind, padding: usize) {
        let now = self.now;
        let node = &mut self.nodes[from];
        let to = WorkerId(to as u16);
        let message: Outbound = node.books.write(to, kind, padding, now);
        node.mesh.send(to, message);
    }

    /// One turn of a worker's poller: read, tick, act, write. At most `bytes` are read from each
    /// connection.
    pub fn turn(&mut self, node: usize, bytes: usize) {
        if self.nodes[node].is_stopped {
            return;
        }
        for pipe in 0..self.pipes.len() {
            for end in 0..2 {
                self.read(pipe, end, node, bytes);
            }
        }
        let Node { mesh, books, .. } = &mut self.nodes[node];
        mesh.tick(self.now, books);
        self.act(node);
        self.write_ready(node);
        self.pipes.retain(|pipe| pipe.ends != [None, None]);
    }

    fn read(&mut self, pipe: usize, end: usize, node: usize, bytes: usize) {
        let Pipe { ends, flying, is_held, .. } = &mut self.pipes[pipe];
        let Some((_, conn)) = ends[end].filter(|(n, _)| *n == node) else { return };
        let Node { mesh, books, inputs, .. } = &mut self.nodes[node];
        let input = inputs.entry(conn).or_default();
        let bytes = if is_held[end] { 0 } else { bytes.min(flying[end].len()) };
        if bytes > 0 {
            let (first, second) = flying[end].as_slices();
            let split = bytes.min(first.len());
            input.extend_from_slice(&first[..split]);
            input.extend_from_slice(&second[..bytes - split]);
            flying[end].drain(..bytes);
            mesh.received(conn, input, self.now, books);
            let missing = mesh.missing_bytes(conn, input);
            assert!(missing.is_none_or(|missing| missing <= self.options.frame_max + 20));
        } else if ends[1 - end].is_none() && flying[end].is_empty() && !is_held[end] {
            ends[end] = None;
            inputs.remove(&conn);
            mesh.closed(conn, "the peer closed", self.now, books);
        }
    }

    fn act(&mut self, node: usize) {
        for action in self.nodes[node].mesh.actions() {
            match action {
                Action::Dial { conn, address: to, .. } => self.dial(node, conn, to),
                Action::Close { conn, .. } => {
                    self.write(node, conn);
                    for pipe in &mut self.pipes {
                        pipe.ends
                            .iter_mut()
                            .filter(|end| **end == Some((node, conn)))
                            .for_each(|e| *e = None);
                    }
                    let Node { mesh, books, inputs, .. } = &mut self.nodes[node];
                    inputs.remove(&conn);
                    mesh.closed(conn, "closed", self.now, books);
                }
            }
        }
    }

    fn dial(&mut self, node: usize, conn: ConnId, to: SocketAddr) {
        let now = self.now;
        let other = usize::from(to.port() - 7000);
        let accepts = !self.is_apart && self.nodes[other].is_listening && !self.nodes[other].is_stopped;
        let accepted = if accepts { self.nodes[other].mesh.accepted(now) } else { None };
        let Node { mesh, books, .. } = &mut self.nodes[node];
        let Some(accepted) = accepted else { return mesh.closed(conn, "connection refused", now, books) };
        mesh.dialed(conn, now);
        self.pipes.push(Pipe {
            ends: [Some((node, conn)), Some((other, accepted))],
            flying: Default::default(),
            is_held: self.is_held,
            carried: 0,
            breaks_at: self.breaks_at,
            flips_at: self.flips_at,
        });
    }

    fn write_ready(&mut self, node: usize) {
        let mut ready = Vec::new();
        self.nodes[node].mesh.ready(&mut ready);
        for conn in ready {
            while self.write(node, conn) > 0 {}
        }
    }

    /// Writes once. A pipe that is about to break takes what it still can.
    fn write(&mut self, node: usize, conn: ConnId) -> usize {
        let is_this = |pipe: &&mut Pipe| pipe.ends.contains(&Some((node, conn)));
        let Some(pipe) = self.pipes.iter_mut().find(is_this) else { return 0 };
        let to = usize::from(pipe.ends[0] == Some((node, conn)));
        let mesh = &mut self.nodes[node].mesh;
        let mut chunks: Vec<IoSlice<'_>> = Vec::new();
        mesh.chunks(conn, &mut chunks);
        let mut bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.to_vec()).collect();
        let room = usize::try_from(pipe.breaks_at - pipe.carried).unwrap_or(usize::MAX);
        let written = bytes.len().min(room);
        let (flips_at, mask) = pipe.flips_at;
        let flips = usize::try_from(flips_at.wrapping_sub(pipe.carried)).ok().filter(|at| *at < written);
        flips.into_iter().for_each(|at| bytes[at] ^= mask);
        pipe.flying[to].extend(&bytes[..written]);
        pipe.carried += written as u64;
        mesh.wrote(conn, written);
        if pipe.carried == pipe.breaks_at {
            // The reader still gets what is on its way, then both see the end.
            let Some((node, conn)) = pipe.ends[1 - to].take() else { return 0 };
            let Node { mesh, books, inputs, .. } = &mut self.nodes[node];
            inputs.remove(&conn);
            mesh.closed(conn, "connection reset", self.now, books);
            return 0;
        }
        written
    }

    /// Cuts a pipe: what is on its way still arrives, or not.
    pub fn cut(&mut self, pipe: usize, arrives: bool) {
        if arrives {
            for end in 0..2 {
                self.pipes[pipe].is_held[end] = false;
                if let Some((node, _)) = self.pipes[pipe].ends[end] {
                    self.read(pipe, end, node, usize::MAX);
                }
            }
        }
        let ends = std::mem::take(&mut self.pipes[pipe].ends);
        for (node, conn) in ends.into_iter().flatten() {
            let Node { mesh, books, inputs, .. } = &mut self.nodes[node];
            inputs.remove(&conn);
            mesh.closed(conn, "connection reset", self.now, books);
        }
    }

    /// Changes a byte that is on its way. Whether there was one.
    pub fn flip(&mut self, pipe: usize, end: usize, at: usize, mask: u8) -> bool {
        let flying = &mut self.pipes[pipe].flying[end];
        let len = flying.len();
        let byte = if len == 0 { None } else { flying.get_mut(at % len) };
        byte.map(|byte| *byte ^= mask).is_some()
    }

    /// Lets time pass, turn by turn, to the next deadline or by a millisecond.
    pub fn step(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.turn(node, usize::MAX));
        let is_flying = |pipe: &Pipe| (0..2).any(|end| !pipe.is_held[end] && !pipe.flying[end].is_empty());
        let deadlines = self.nodes.iter().filter(|node| !node.is_stopped).map(|node| node.mesh.deadline());
        let next = deadlines.min().unwrap_or(Time::NEVER);
        let soon = self.now.after(Duration::from_millis(1));
        let is_busy = self.pipes.iter().any(is_flying) || next <= self.now;
        self.now = if is_busy { soon } else { next.min(self.now.after(Duration::from_millis(100))) };
    }

    /// Lets so much time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while self.now < end {
            self.step();
        }
    }

    /// Steps until something holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, holds: impl Fn(&World) -> bool) -> Duration {
        let start = self.now;
        while !holds(self) {
            assert!(self.now.since(start) < Duration::from_secs(60), "{what}: not within a minute");
            self.step();
        }
        self.now.since(start)
    }

    pub fn is_linked(&self) -> bool {
        let count = self.incarnations.len();
        let up = |node: &Node, peer: usize| {
            let peer = WorkerId(peer as u16);
            node.mesh.is_up(peer, Direction::To) && node.mesh.is_up(peer, Direction::From)
        };
        let linked = |(i, node): (usize, &Node)| (0..count).all(|peer| peer == i || up(node, peer));
        self.nodes[..count].iter().enumerate().all(linked)
    }

    /// Heals everything, lets all credit come back, and waits for rest: then nothing may be missing.
    #[track_caller]
    pub fn settle(&mut self) {
        self.is_apart = false;
        self.breaks_at = u64::MAX;
        self.flips_at.1 = 0;
        self.is_held = [false; 2];
        self.pipes.iter_mut().for_each(|pipe| pipe.flips_at.1 = 0);
        self.pipes.iter_mut().for_each(|pipe| (pipe.is_held, pipe.breaks_at) = ([false; 2], u64::MAX));
        self.nodes.iter_mut().for_each(|node| (node.is_stopped, node.is_listening) = (false, true));
        self.set_members_of_all();
        let workers = self.incarnations.len();
        let is_settled = |world: &World| world.nodes[..workers].iter().all(|node| node.books.is_settled());
        self.until("rest", |world| world.is_linked() && is_settled(world));
        self.nodes.iter_mut().for_each(|node| node.books.give_back_all());
        let is_back = |world: &World| world.nodes[..workers].iter().all(|node| node.books.is_credit_back());
        self.until("all credit back", is_back);
        for node in &self.nodes[..workers] {
            node.books.check_books();
            for (peer, sent) in node.books.sent() {
                assert_eq!(self.nodes[peer.index()].books.taken_from(node.books.own.worker), sent);
                assert_eq!(node.mesh.untaken(peer), (0, 0));
                assert_eq!(node.mesh.down_since(peer), None);
            }
        }
    }

    /// A total over all workers and their past incarnations.
    pub fn total(&self, of: impl Fn(&NetCounts) -> u64) -> u64 {
        self.nodes.iter().map(|node| node.mesh.counts()).chain(&self.past).map(of).sum()
    }
}
