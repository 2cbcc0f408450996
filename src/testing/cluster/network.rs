//! The network between simulated workers: byte streams that arrive late, in pieces, corrupted, or
//! not at all.
//!
//! Faults that TCP hides (loss, duplication and reordering of packets) appear as delay: all later bytes
//! of the stream wait for the retransmission. Faults that TCP does not hide are simulated as they are:
//! connections that break with bytes in flight, half-open connections, flipped bits.
//!
//! A connection has two pipes, one for each direction. A pipe holds segments, each with the time at which
//! it arrives; a segment never arrives before the one that was written before it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::clock::Time;
use crate::ids::WorkerId;
use crate::net::{ConnId, Endpoint};

/// Bytes that a pipe holds, as the socket buffers of both ends would. A writer that finds it full waits.
const PIPE_BYTES_MAX: usize = 64 << 10;
/// The delay that TCP needs to retransmit a lost packet.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// The faults of the network from one worker to another. Shares are probabilities for each write.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trouble {
    /// The most that is added to the latency.
    pub delay: Duration,
    /// The share of writes whose packet is lost below TCP, which delays the stream by the retransmission.
    pub loss: f64,
    /// The share of writes whose packets are duplicated or reordered below TCP, a delay of milliseconds.
    pub reorder: f64,
    /// The share of writes that arrive twice.
    pub duplicate: f64,
    /// The share of writes that arrive with one bit flipped.
    pub flip: f64,
    /// The share of writes of which only the first part arrives; then the connection ends.
    pub truncate: f64,
    /// The most bytes per second.
    pub bandwidth: Option<u32>,
    /// Nothing arrives while this is set. What was sent waits and arrives later.
    pub blocked: bool,
    /// The receiver does not read. New connections are still made.
    pub clogged: bool,
}

/// How often each kind of fault occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkFaultCounts {
    /// Packets lost below TCP.
    pub losses: u64,
    /// Packets duplicated or reordered below TCP.
    pub reordered: u64,
    /// Writes that arrived twice.
    pub duplicated: u64,
    /// Writes with a bit flipped.
    pub flips: u64,
    /// Writes of which only a part arrived before the connection ended.
    pub truncations: u64,
    /// Connections cut at both ends.
    pub cuts: u64,
    /// Connections that broke while one end was not notified.
    pub half_open: u64,
    /// Writes into a blocked direction.
    pub blocked: u64,
    /// Writes into a full pipe, which took no bytes.
    pub full: u64,
    /// Connections refused because the worker was not running.
    pub refused: u64,
    /// Writes of a process that arrived after it had died.
    pub late: u64,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The process that holds this end.
    pub endpoint: Endpoint,
    /// The number of the connection in the mesh of that process.
    pub conn: ConnId,
}

/// An event at the sockets of a worker.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Somebody wants to connect; answer with [`Network::accept`].
    Dialed(u64),
    /// A connection that the worker dialed is established.
    Connected(ConnId),
    /// Bytes were received.
    Bytes(ConnId, Vec<u8>),
    /// The peer closed the connection, or the connection broke.
    Closed(ConnId, &'static str),
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    /// What was written and not yet read, with the times of arrival.
    segments: VecDeque<(Time, Vec<u8>)>,
    bytes: usize,
    last_arrival: Time,
    /// When the reader may learn that the writer's end is closed; `None` while it is open.
    fin: Option<Time>,
    /// The reader was notified of the end, or must not be: it closed first, or the end is half-open.
    is_notified: bool,
}

#[derive(Debug)]
struct Connection {
    /// The worker that dialed, and the worker that was dialed.
    from: WorkerId,
    to: WorkerId,
    /// The end of the dialer and the end of the listener, while each is open.
    ends: [Option<End>; 2],
    /// By the writer: what the dialer writes, and what the listener writes.
    pipes: [Pipe; 2],
    /// When the dial reaches the listener; `None` once it has.
    dialing: Option<Time>,
    /// The dial reached a listener that has not accepted it yet.
    waiting: bool,
    /// The dialer has not been notified yet that the connection is established.
    connect_unreported: bool,
    /// The connection was cut: whatever is written from now on is lost.
    dead: bool,
}

/// All connections, and the faults of the network.
pub struct Network {
    troubles: BTreeMap<(WorkerId, WorkerId), Trouble>,
    connections: BTreeMap<u64, Connection>,
    by_end: BTreeMap<End, (u64, usize)>,
    next: u64,
    random: StdRng,
    /// How often each fault occurred.
    pub fault_counts: NetworkFaultCounts,
}

impl Network {
    /// A network without faults. `random` decides latencies, and which writes the shares affect.
    pub fn new(random: StdRng) -> Network {
        Network {
            troubles: BTreeMap::new(),
            connections: BTreeMap::new(),
            by_end: BTreeMap::new(),
            next: 1,
            random,
            fault_counts: NetworkFaultCounts::default(),
        }
    }

    /// The faults from one worker to another, to be set by the test.
    pub fn trouble(&mut self, from: WorkerId, to: WorkerId) -> &mut Trouble {
        self.troubles.entry((from, to)).or_default()
    }

    /// Removes all faults.
    pub fn heal(&mut self) {
        self.troubles.clear();
    }

    fn trouble_of(&self, from: WorkerId, to: WorkerId) -> Trouble {
        self.troubles.get(&(from, to)).copied().unwrap_or_default()
    }

    fn latency(&mut self, trouble: &Trouble) -> Duration {
        let micros = self.random.random_range(20..200);
        let more = u64::try_from(trouble.delay.as_micros()).unwrap_or(u64::MAX);
        let more = if more == 0 { 0 } else { self.random.random_range(0..=more) };
        Duration::from_micros(micros + more)
    }

    /// A worker dials another. `end` is the dialer's end of the new connection.
    pub fn dial(&mut self, end: End, to: WorkerId, now: Time) {
        let from = end.endpoint.worker;
        let trouble = self.trouble_of(from, to);
        let latency = self.latency(&trouble);
        let id = self.next;
        self.next += 1;
        self.by_end.insert(end, (id, 0));
        let connection = Connection {
            from,
            to,
            ends: [Some(end), None],
            pipes: Default::default(),
            dialing: Some(now.after(latency)),
            waiting: false,
            connect_unreported: false,
            dead: false,
        };
        self.connections.insert(id, connection);
    }

    /// The answer to [`Arrival::Dialed`]: the listener's end, or `None` to refuse the connection.
    pub fn accept(&mut self, id: u64, end: Option<End>, now: Time) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match end {
            Some(end) => {
                connection.ends[1] = Some(end);
                self.by_end.insert(end, (id, 1));
            }
            None => connection.pipes[1].fin = Some(now),
        }
    }

    /// Takes bytes that one end writes, with the faults of that direction. Returns how many were taken;
    /// as with a socket, that may be fewer than all. What is written to a broken connection is lost.
    pub fn write(&mut self, end: End, bytes: &[u8], now: Time) -> usize {
        let Some((id, side)) = self.by_end.get(&end).copied() else { return bytes.len() };
        let connection = &self.connections[&id];
        if connection.dead {
            return bytes.len();
        }
        let (from, to) =
            if side == 0 { (connection.from, connection.to) } else { (connection.to, connection.from) };
        let trouble = self.trouble_of(from, to);
        let room = PIPE_BYTES_MAX.saturating_sub(connection.pipes[side].bytes);
        let mut latency = self.latency(&trouble);
        if room == 0 {
            self.fault_counts.full += 1;
            return 0;
        }
        let most = bytes.len().min(room);
        let taken = if self.random.random_bool(0.1) { self.random.random_range(1..=most) } else { most };
        let mut segment = bytes[..taken].to_vec();
        if self.occurs(trouble.loss) {
            self.fault_counts.losses += 1;
            latency += RETRANSMIT;
        }
        if self.occurs(trouble.reorder) {
            self.fault_counts.reordered += 1;
            latency += Duration::from_millis(self.random.random_range(1..20));
        }
        if self.occurs(trouble.flip) {
            self.fault_counts.flips += 1;
            let at = self.random.random_range(0..segment.len());
            segment[at] ^= 1 << self.random.random_range(0..8);
        }
        let truncated = self.occurs(trouble.truncate);
        if truncated {
            self.fault_counts.truncations += 1;
            segment.truncate(self.random.random_range(0..segment.len()));
        }
        if self.occurs(trouble.duplicate) {
            self.fault_counts.duplicated += 1;
            segment.extend_from_within(..);
        }
        self.fault_counts.blocked += u64::from(trouble.blocked);
        let connection = self.connections.get_mut(&id).expect("it was there");
        let pipe = &mut connection.pipes[side];
        let transfer = trouble
            .bandwidth
            .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(segment.len() as f64 / f64::from(rate)));
        let arrival = now.after(latency).max(pipe.last_arrival).after(transfer);
        pipe.last_arrival = arrival;
        pipe.bytes += segment.len();
        pipe.segments.push_back((arrival, segment));
        if truncated {
            for pipe in &mut connection.pipes {
                pipe.fin.get_or_insert(arrival);
            }
        }
        taken
    }

    fn occurs(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.random_bool(share)
    }

    /// Whether a write would take at least one byte.
    pub fn has_room(&self, end: End) -> bool {
        let Some((id, side)) = self.by_end.get(&end) else { return false };
        self.connections[id].pipes[*side].bytes < PIPE_BYTES_MAX
    }

    /// A worker closes its end. What it wrote before still arrives.
    pub fn close(&mut self, end: End, now: Time) {
        let Some((id, side)) = self.by_end.remove(&end) else { return };
        let connection = self.connections.get_mut(&id).expect("ends are of connections");
        connection.ends[side] = None;
        connection.dialing = if side == 0 { None } else { connection.dialing };
        let at = now.max(connection.pipes[side].last_arrival);
        connection.pipes[side].fin.get_or_insert(at);
        connection.pipes[1 - side].segments.clear();
        connection.pipes[1 - side].is_notified = true;
        self.drop_if_done(id);
    }

    fn drop_if_done(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let open = connection.ends.iter().flatten().count();
        let is_dialing = connection.waiting && connection.ends[0].is_some();
        if open == 0 && !is_dialing {
            self.connections.remove(&id);
        }
    }

    /// A process died: its ends are closed. For about half of them, a random number of the segments that
    /// it wrote last is lost.
    pub fn died(&mut self, endpoint: Endpoint, now: Time) {
        let own: Vec<End> = self.by_end.keys().filter(|end| end.endpoint == endpoint).copied().collect();
        for end in own {
            if let Some((id, side)) = self.by_end.get(&end).copied() {
                let pipe = &mut self.connections.get_mut(&id).expect("it is there").pipes[side];
                if self.random.random_bool(0.5) {
                    let kept = self.random.random_range(0..=pipe.segments.len());
                    pipe.segments.truncate(kept);
                    pipe.bytes = pipe.segments.iter().map(|(_, segment)| segment.len()).sum();
                }
                self.fault_counts.late += pipe.segments.len() as u64;
            }
            self.close(end, now);
        }
        // Nobody accepts the dials that wait at this process any more: they are refused.
        for connection in self.connections.values_mut().filter(|connection| connection.to == endpoint.worker)
        {
            if connection.waiting && connection.ends[1].is_none() {
                connection.pipes[1].fin.get_or_insert(now);
                connection.waiting = false;
            }
        }
    }

    /// Cuts a connection that `a` dialed to `b`, and returns whether there was one. Bytes in flight are
    /// lost. With `half_open`, only one of the ends is notified; the other waits for ever.
    pub fn cut(&mut self, a: WorkerId, b: WorkerId, half_open: bool, now: Time) -> bool {
        let is_between =
            |c: &Connection| (c.from, c.to) == (a, b) && c.ends.iter().all(Option::is_some) && !c.dead;
        let found = self.connections.iter().find(|(_, connection)| is_between(connection)).map(|(id, _)| *id);
        let Some(id) = found else { return false };
        let spared = half_open.then(|| self.random.random_range(0..2));
        let connection = self.connections.get_mut(&id).expect("it was found");
        connection.dead = true;
        for (side, pipe) in connection.pipes.iter_mut().enumerate() {
            pipe.segments.clear();
            pipe.bytes = 0;
            if spared == Some(side) {
                // The reader of this pipe is never notified.
                pipe.is_notified = true;
                pipe.fin = None;
            } else {
                pipe.fin = Some(now);
            }
        }
        if half_open {
            self.fault_counts.half_open += 1;
        } else {
            self.fault_counts.cuts += 1;
        }
        true
    }

    /// Takes what has arrived for a process by now. New connections are accepted if it `listens`.
    pub fn arrivals(&mut self, endpoint: Endpoint, listens: bool, now: Time) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let own =
            self.connections.iter().filter(|(_, c)| c.from == endpoint.worker || c.to == endpoint.worker);
        let ids: Vec<u64> = own.map(|(id, _)| *id).collect();
        for id in ids {
            self.arrivals_of(id, endpoint, listens, now, &mut arrivals);
        }
        arrivals
    }

    fn arrivals_of(
        &mut self,
        id: u64,
        endpoint: Endpoint,
        listens: bool,
        now: Time,
        into: &mut Vec<Arrival>,
    ) {
        let (from, to) = (self.connections[&id].from, self.connections[&id].to);
        let ways = [self.trouble_of(from, to), self.trouble_of(to, from)];
        let connection = self.connections.get_mut(&id).expect("it is there");
        if to == endpoint.worker && connection.waiting && connection.ends[1].is_none() && listens {
            connection.waiting = false;
            into.push(Arrival::Dialed(id));
            return;
        }
        let Some(side) =
            connection.ends.iter().position(|end| end.is_some_and(|end| end.endpoint == endpoint))
        else {
            return;
        };
        let end = connection.ends[side].expect("it was found");
        if side == 0 && std::mem::take(&mut connection.connect_unreported) {
            into.push(Arrival::Connected(end.conn));
        }
        let pipe = &mut connection.pipes[1 - side];
        let way = &ways[1 - side];
        if way.blocked || way.clogged {
            return;
        }
        while pipe.segments.front().is_some_and(|(at, _)| *at <= now) {
            let (_, segment) = pipe.segments.pop_front().expect("it is there");
            pipe.bytes -= segment.len();
            if !segment.is_empty() {
                into.push(Arrival::Bytes(end.conn, segment));
            }
        }
        if pipe.segments.is_empty() && !pipe.is_notified && pipe.fin.is_some_and(|at| at <= now) {
            pipe.is_notified = true;
            into.push(Arrival::Closed(end.conn, "the connection was closed"));
        }
    }

    /// Lets due dials reach their listeners. A dial is refused if the worker does not listen, and waits
    /// while either direction is blocked.
    pub fn progress(&mut self, now: Time, listens: impl Fn(WorkerId) -> bool) {
        let due = |connection: &Connection| connection.dialing.is_some_and(|at| at <= now);
        let due = self.connections.iter().filter(|(_, connection)| due(connection));
        let ids: Vec<u64> = due.map(|(id, _)| *id).collect();
        for id in ids {
            let (from, to) = (self.connections[&id].from, self.connections[&id].to);
            let blocked = self.trouble_of(from, to).blocked || self.trouble_of(to, from).blocked;
            let connection = self.connections.get_mut(&id).expect("it is there");
            if blocked {
                continue;
            }
            connection.dialing = None;
            if listens(to) {
                connection.waiting = true;
                connection.connect_unreported = true;
            } else {
                self.fault_counts.refused += 1;
                connection.pipes[1].fin = Some(now);
            }
        }
    }

    /// When the next event occurs at any worker.
    pub fn next_event(&self) -> Time {
        let mut next = Time::NEVER;
        for connection in self.connections.values() {
            let (from, to) = (connection.from, connection.to);
            let ways = [self.trouble_of(from, to), self.trouble_of(to, from)];
            if let Some(at) = connection.dialing.filter(|_| !ways[0].blocked && !ways[1].blocked) {
                next = next.min(at);
            }
            for (side, pipe) in connection.pipes.iter().enumerate() {
                if ways[side].blocked || ways[side].clogged || connection.ends[1 - side].is_none() {
                    continue;
                }
                if let Some((at, _)) = pipe.segments.front() {
                    next = next.min(*at);
                } else if !pipe.is_notified
                    && let Some(at) = pipe.fin
                {
                    next = next.min(at);
                }
            }
        }
        next
    }

    /// Whether [`Network::arrivals`] would find something for a process now.
    pub fn has_arrivals(&self, endpoint: Endpoint, now: Time) -> bool {
        self.connections.values().any(|connection| {
            if connection.to == endpoint.worker && connection.waiting && connection.ends[1].is_none() {
                return true;
            }
            let side = connection.ends.iter().position(|end| end.is_some_and(|end| end.endpoint == endpoint));
            let Some(side) = side else { return false };
            if side == 0 && connection.connect_unreported {
                return true;
            }
            let way =
                if side == 0 { (connection.to, connection.from) } else { (connection.from, connection.to) };
            let trouble = self.trouble_of(way.0, way.1);
            let pipe = &connection.pipes[1 - side];
            let due = match pipe.segments.front() {
                Some((at, _)) => *at <= now,
                None => !pipe.is_notified && pipe.fin.is_some_and(|at| at <= now),
            };
            due && !trouble.blocked && !trouble.clogged
        })
    }
}
