//! The network between simulated workers: streams of bytes that arrive late, in pieces, broken, or
//! not at all.
//!
//! What TCP hides (loss, duplication, reordering of packets) shows as delay: all that follows waits
//! for what is sent again. What it does not hide is here as such: connections that break with bytes
//! on their way, ends of which only one knows, bytes that are not what was written.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::clock::Time;
use crate::ids::WorkerId;
use crate::net::{ConnId, Endpoint};

/// Bytes that fit between two sockets.
const PIPE_BYTES_MAX: usize = 64 << 10;
/// How long TCP takes to send again what was lost.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// What is wrong on the way from one worker to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trouble {
    /// Added to the latency, at most.
    pub delay: Duration,
    /// How many packets are lost below the stream, so that it stands still for a while.
    pub loss: f64,
    /// How many come twice or out of order below the stream, which costs a little time.
    pub reorder: f64,
    /// How many writes arrive twice.
    pub duplicate: f64,
    /// How many writes arrive with a bit flipped.
    pub flip: f64,
    /// How many writes break the connection, a part of them arriving.
    pub truncate: f64,
    /// Bytes in a second, at most.
    pub bandwidth: Option<u32>,
    /// Nothing arrives; what is sent waits.
    pub blocked: bool,
    /// The receiving end does not read.
    pub clogged: bool,
}

/// How often each kind of trouble struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStruck {
    /// Packets lost below the stream.
    pub losses: u64,
    /// Packets doubled or out of order below the stream.
    pub reordered: u64,
    /// Writes that arrived twice.
    pub duplicated: u64,
    /// Writes with a bit flipped.
    pub flips: u64,
    /// Writes of which a part arrived, and then the end of the connection.
    pub truncations: u64,
    /// Connections cut at both ends.
    pub cuts: u64,
    /// Connections of which one end was cut and the other not told.
    pub half_open: u64,
    /// Writes that waited because nothing arrived at all.
    pub blocked: u64,
    /// Writes that found no room.
    pub full: u64,
    /// Connections refused, because nobody listened.
    pub refused: u64,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The life that holds it.
    pub life: Endpoint,
    /// What its mesh calls it.
    pub conn: ConnId,
}

/// What a worker finds at its sockets.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Somebody wants to connect; answer with [`Network::accept`].
    Dialed(u64),
    /// A connection that it dialed is there.
    Connected(ConnId),
    /// Bytes.
    Bytes(ConnId, Vec<u8>),
    /// The end of a connection.
    Closed(ConnId, &'static str),
}

#[derive(Debug, Default)]
struct Pipe {
    segments: VecDeque<(Time, Vec<u8>)>,
    bytes: usize,
    last_arrival: Time,
    /// The writer's end is closed, as the reader learns then.
    fin: Option<Time>,
    /// The reader was told.
    told: bool,
}

#[derive(Debug)]
struct Connection {
    /// The end that dialed, and the one that answered.
    from: WorkerId,
    to: WorkerId,
    ends: [Option<End>; 2],
    /// From the dialer, and to it.
    pipes: [Pipe; 2],
    /// When it reaches the listener, while it has not.
    dialing: Option<Time>,
    /// Waits to be accepted; and the dialer was not told yet that it is connected.
    waiting: bool,
    connected_untold: bool,
    /// It was cut: whatever is written now comes nowhere.
    dead: bool,
}

/// All connections, and what is wrong with the ways between workers.
pub struct Network {
    troubles: BTreeMap<(WorkerId, WorkerId), Trouble>,
    connections: BTreeMap<u64, Connection>,
    by_end: BTreeMap<End, (u64, usize)>,
    next: u64,
    random: StdRng,
    /// How often trouble struck.
    pub struck: NetworkStruck,
}

impl Network {
    /// Without trouble.
    pub fn new(random: StdRng) -> Network {
        Network {
            troubles: BTreeMap::new(),
            connections: BTreeMap::new(),
            by_end: BTreeMap::new(),
            next: 1,
            random,
            struck: NetworkStruck::default(),
        }
    }

    /// What is wrong on the way from one worker to another.
    pub fn trouble(&mut self, from: WorkerId, to: WorkerId) -> &mut Trouble {
        self.troubles.entry((from, to)).or_default()
    }

    /// Nothing is wrong any more.
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

    /// A worker dials another.
    pub fn dial(&mut self, end: End, to: WorkerId, now: Time) {
        let from = end.life.worker;
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
            connected_untold: false,
            dead: false,
        };
        self.connections.insert(id, connection);
    }

    /// The answer to [`Arrival::Dialed`].
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

    /// How many bytes of a write are taken.
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
            self.struck.full += 1;
            return 0;
        }
        let most = bytes.len().min(room);
        let taken = if self.random.random_bool(0.1) { self.random.random_range(1..=most) } else { most };
        let mut segment = bytes[..taken].to_vec();
        if self.strikes(trouble.loss) {
            self.struck.losses += 1;
            latency += RETRANSMIT;
        }
        if self.strikes(trouble.reorder) {
            self.struck.reordered += 1;
            latency += Duration::from_millis(self.random.random_range(1..20));
        }
        if self.strikes(trouble.flip) {
            self.struck.flips += 1;
            let at = self.random.random_range(0..segment.len());
            segment[at] ^= 1 << self.random.random_range(0..8);
        }
        let truncated = self.strikes(trouble.truncate);
        if truncated {
            self.struck.truncations += 1;
            segment.truncate(self.random.random_range(0..segment.len()));
        }
        if self.strikes(trouble.duplicate) {
            self.struck.duplicated += 1;
            segment.extend_from_within(..);
        }
        self.struck.blocked += u64::from(trouble.blocked);
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

    fn strikes(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.random_bool(share)
    }

    /// Whether a write would find room.
    pub fn has_room(&self, end: End) -> bool {
        let Some((id, side)) = self.by_end.get(&end) else { return false };
        self.connections[id].pipes[*side].bytes < PIPE_BYTES_MAX
    }

    /// A worker closes its end. What it wrote still arrives.
    pub fn close(&mut self, end: End, now: Time) {
        let Some((id, side)) = self.by_end.remove(&end) else { return };
        let connection = self.connections.get_mut(&id).expect("ends are of connections");
        connection.ends[side] = None;
        connection.dialing = if side == 0 { None } else { connection.dialing };
        let at = now.max(connection.pipes[side].last_arrival);
        connection.pipes[side].fin.get_or_insert(at);
        connection.pipes[1 - side].segments.clear();
        connection.pipes[1 - side].told = true;
        self.drop_if_done(id);
    }

    fn drop_if_done(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let open = connection.ends.iter().flatten().count();
        let untold = connection.waiting && connection.ends[0].is_some();
        if open == 0 && !untold {
            self.connections.remove(&id);
        }
    }

    /// A life is over: its ends are closed, and what it had written but the network not carried is
    /// gone or not, as it comes.
    pub fn died(&mut self, life: Endpoint, now: Time) {
        let own: Vec<End> = self.by_end.keys().filter(|end| end.life == life).copied().collect();
        for end in own {
            if let Some((id, side)) = self.by_end.get(&end).copied()
                && self.random.random_bool(0.5)
            {
                let pipe = &mut self.connections.get_mut(&id).expect("it is there").pipes[side];
                let kept = self.random.random_range(0..=pipe.segments.len());
                pipe.segments.truncate(kept);
                pipe.bytes = pipe.segments.iter().map(|(_, segment)| segment.len()).sum();
            }
            self.close(end, now);
        }
        // Nobody will accept what still knocks.
        for connection in self.connections.values_mut().filter(|connection| connection.to == life.worker) {
            if connection.waiting && connection.ends[1].is_none() {
                connection.pipes[1].fin.get_or_insert(now);
                connection.waiting = false;
            }
        }
    }

    /// Cuts a connection between two workers, if there is one; says whether. Half-open: only one of
    /// its ends is told.
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
                // Its reader waits for ever.
                pipe.told = true;
                pipe.fin = None;
            } else {
                pipe.fin = Some(now);
            }
        }
        if half_open {
            self.struck.half_open += 1;
        } else {
            self.struck.cuts += 1;
        }
        true
    }

    /// What has come for a life by now, in an order that the seed decides between connections.
    pub fn arrivals(&mut self, life: Endpoint, listens: bool, now: Time) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let own = self.connections.iter().filter(|(_, c)| c.from == life.worker || c.to == life.worker);
        let ids: Vec<u64> = own.map(|(id, _)| *id).collect();
        for id in ids {
            self.arrivals_of(id, life, listens, now, &mut arrivals);
        }
        arrivals
    }

    fn arrivals_of(&mut self, id: u64, life: Endpoint, listens: bool, now: Time, into: &mut Vec<Arrival>) {
        let (from, to) = (self.connections[&id].from, self.connections[&id].to);
        let ways = [self.trouble_of(from, to), self.trouble_of(to, from)];
        let connection = self.connections.get_mut(&id).expect("it is there");
        if to == life.worker && connection.waiting && connection.ends[1].is_none() && listens {
            connection.waiting = false;
            into.push(Arrival::Dialed(id));
            return;
        }
        let Some(side) = connection.ends.iter().position(|end| end.is_some_and(|end| end.life == life))
        else {
            return;
        };
        let end = connection.ends[side].expect("it was found");
        if side == 0 && std::mem::take(&mut connection.connected_untold) {
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
        if pipe.segments.is_empty() && !pipe.told && pipe.fin.is_some_and(|at| at <= now) {
            pipe.told = true;
            into.push(Arrival::Closed(end.conn, "the connection was closed"));
        }
    }

    /// Brings dialers to their listeners; `listens` says whether a worker has one now.
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
                connection.connected_untold = true;
            } else {
                self.struck.refused += 1;
                connection.pipes[1].fin = Some(now);
            }
        }
    }

    /// When something arrives next for anybody.
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
                } else if !pipe.told
                    && let Some(at) = pipe.fin
                {
                    next = next.min(at);
                }
            }
        }
        next
    }

    /// Whether something is there for a life now.
    pub fn has_arrivals(&self, life: Endpoint, now: Time) -> bool {
        self.connections.values().any(|connection| {
            if connection.to == life.worker && connection.waiting && connection.ends[1].is_none() {
                return true;
            }
            let side = connection.ends.iter().position(|end| end.is_some_and(|end| end.life == life));
            let Some(side) = side else { return false };
            if side == 0 && connection.connected_untold {
                return true;
            }
            let way =
                if side == 0 { (connection.to, connection.from) } else { (connection.from, connection.to) };
            let trouble = self.trouble_of(way.0, way.1);
            let pipe = &connection.pipes[1 - side];
            let due = match pipe.segments.front() {
                Some((at, _)) => *at <= now,
                None => !pipe.told && pipe.fin.is_some_and(|at| at <= now),
            };
            due && !trouble.blocked && !trouble.clogged
        })
    }
}
