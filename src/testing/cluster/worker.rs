//! A worker process of the simulation: the executors, mesh and bridge of production, without threads.
//!
//! [`SimulatedProcess::poll`] does one round of what the poller thread does in production, on a
//! simulated [`Network`] in place of sockets. [`SimulatedProcess::take_messages`] and
//! [`SimulatedProcess::run_command`] stand for the control channel to the master.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;

use crate::clock::{Clock, Time};
use crate::cluster::WorkerStats;
use crate::cluster::control::{Beat, FromWorker, ToWorker};
use crate::ids::WorkerId;
use crate::net::bridge::{Bridge, LinkWatcher};
use crate::net::{
    Action, ConnId, Direction, Endpoint, LinkState, Members, Mesh, NetCounts, Outbound, Outbox,
};
use crate::runtime::end_sequence::{EndCommand, EndProgress};
use crate::runtime::flow::checkpoint::CheckpointReport;
use crate::runtime::simulated::SimulatedWorker;
use crate::runtime::{MasterHandle, StopReason};
use crate::testing::cluster::network::{Arrival, End, Network};

/// The port of an incarnation of a worker. The port determines the worker; see [`worker_at`].
fn port_of(endpoint: Endpoint) -> u16 {
    10_000 + endpoint.worker.0 * 1_000 + (endpoint.incarnation.0 % 1_000) as u16
}

/// The address on which an incarnation listens.
pub fn address_of(endpoint: Endpoint) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port_of(endpoint)))
}

fn worker_at(address: SocketAddr) -> WorkerId {
    WorkerId((address.port() - 10_000) / 1_000)
}

/// Messages to the master that wait to be sent. Executors and the mesh push them;
/// [`SimulatedProcess::take_messages`] takes them.
#[derive(Debug, Default)]
pub struct MasterMessages(Mutex<Vec<FromWorker>>);

impl MasterMessages {
    fn push(&self, message: FromWorker) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    fn take(&self) -> Vec<FromWorker> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MasterHandle for MasterMessages {
    fn look(&self, seen: &EndProgress) {
        let beat = Beat { at_rest: seen.at_rest, live_spouts: seen.live_spouts, links_up: 0 };
        self.push(FromWorker::Beat(beat));
    }

    fn drain(&self) {
        self.push(FromWorker::DrainRequested);
    }

    fn stop(&self, reason: &StopReason) {
        self.push(FromWorker::Stopped(reason.clone()));
    }

    fn checkpoint(&self, report: CheckpointReport) {
        self.push(FromWorker::Checkpoint(report));
    }
}

/// Reports to the master when the outgoing connection to a peer comes up or goes down.
pub struct Links(pub Arc<MasterMessages>);

impl LinkWatcher for Links {
    fn link(&mut self, peer: WorkerId, direction: Direction, state: &LinkState) {
        if direction == Direction::To {
            self.0.push(FromWorker::Link { peer, up: *state == LinkState::Up });
        }
    }
}

/// One process: one incarnation of a worker.
pub struct SimulatedProcess {
    /// Which worker and incarnation it is.
    pub endpoint: Endpoint,
    /// The process does nothing before this time; the cluster sets it to stop the process.
    pub stopped_until: Time,
    /// Commands that came while it was stopped, in their order.
    pub waiting: VecDeque<ToWorker>,
    worker: SimulatedWorker,
    mesh: Mesh,
    bridge: Bridge,
    outbox: Arc<Outbox>,
    /// Whether the poller has to run. Set by the outbox when something is pushed while the poller
    /// sleeps; reset when a round of the poller begins.
    woken: Arc<AtomicBool>,
    to_master: Arc<MasterMessages>,
    /// Bytes of each connection that were received and are not yet a whole frame.
    inputs: BTreeMap<ConnId, BytesMut>,
    /// Connections whose bytes did not all fit into the network; written again when there is room.
    unwritten: Vec<ConnId>,
    next_beat: Time,
    closing: bool,
    /// The other workers.
    peers: Vec<WorkerId>,
    clock: Clock,
}

/// The parts of a process.
pub struct Parts {
    /// The executors.
    pub worker: SimulatedWorker,
    /// The connections to the peers.
    pub mesh: Mesh,
    /// Hands what the mesh receives to the executors.
    pub bridge: Bridge,
    /// What executors send to other workers.
    pub outbox: Arc<Outbox>,
    /// What executors and mesh report to the master.
    pub to_master: Arc<MasterMessages>,
}

impl SimulatedProcess {
    /// A process that has just started. It reports its address to the master.
    pub fn new(endpoint: Endpoint, parts: Parts, members: &Members, clock: Clock) -> SimulatedProcess {
        let Parts { worker, mesh, bridge, outbox, to_master } = parts;
        let woken = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&woken);
        let connected = outbox.connect(Arc::new(move || flag.store(true, Ordering::SeqCst)));
        assert!(connected.is_ok(), "an outbox has one poller");
        let now = clock.now();
        let mut process = SimulatedProcess {
            endpoint,
            stopped_until: Time::ZERO,
            waiting: VecDeque::new(),
            worker,
            mesh,
            bridge,
            outbox,
            woken,
            to_master,
            inputs: BTreeMap::new(),
            unwritten: Vec::new(),
            next_beat: now,
            closing: false,
            clock,
            peers: members
                .members
                .iter()
                .map(|member| member.worker)
                .filter(|worker| *worker != endpoint.worker)
                .collect(),
        };
        process.set_members(members);
        process.to_master.push(FromWorker::Listening { address: address_of(endpoint) });
        process
    }

    /// The executors.
    pub fn worker(&self) -> &SimulatedWorker {
        &self.worker
    }

    /// The counters of the mesh.
    pub fn net_counts(&self) -> &NetCounts {
        self.mesh.counts()
    }

    /// The state of the connections as text, for debugging.
    pub fn wire_state(&self) -> String {
        let mut state = String::new();
        for peer in self.peers.iter().copied() {
            let is_up = |direction| self.mesh.is_up(peer, direction);
            let (to, from, untaken) = (is_up(Direction::To), is_up(Direction::From), self.mesh.untaken(peer));
            state += &format!(
                "  peer {peer}: up to {to} from {from}, untaken {untaken:?} {}\n",
                self.mesh.describe(peer)
            );
        }
        state
    }

    /// Whether the process runs now, that is, is not stopped.
    pub fn runs(&self, now: Time) -> bool {
        self.stopped_until <= now
    }

    fn end(&self, conn: ConnId) -> End {
        End { endpoint: self.endpoint, conn }
    }

    fn set_members(&mut self, members: &Members) {
        let now = self.clock.now();
        self.empty_outbox();
        self.mesh.set_members(members, now, &mut self.bridge);
        self.woken.store(true, Ordering::SeqCst);
    }

    fn empty_outbox(&mut self) {
        let mesh = &mut self.mesh;
        let mut taken: Vec<Outbound> = Vec::new();
        self.outbox.take_all(&mut taken, |to, message| mesh.send(to, message));
    }

    /// Carries out the commands that have come.
    pub fn catch_up(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            self.run_command(command);
        }
    }

    /// Carries out a command of the master.
    fn run_command(&mut self, command: ToWorker) {
        match command {
            ToWorker::Start(_) | ToWorker::Ending(EndCommand::End) => {}
            ToWorker::Members(members) => self.set_members(&members),
            ToWorker::Activate => self.worker.activate(),
            ToWorker::Deactivate => self.worker.deactivate(),
            ToWorker::Ending(command) => {
                self.closing |= command == EndCommand::Close;
                self.worker.carry_out(command);
                if command == EndCommand::Drain {
                    self.worker.activate();
                }
            }
            ToWorker::Checkpoint(order) => self.worker.carry_out_order(order),
            // Only asked of processes that a supervisor has started.
            ToWorker::ReadLog { .. } => {}
            ToWorker::Probe { wave } => {
                self.to_master.push(FromWorker::Progress { wave, progress: self.worker.progress() });
            }
        }
    }

    /// Takes the messages that are now sent to the master. The second value is true if the process has
    /// closed all executors and ends after these messages.
    pub fn take_messages(
        &mut self,
        heartbeat: std::time::Duration,
        link_lost: std::time::Duration,
    ) -> (Vec<FromWorker>, bool) {
        let now = self.clock.now();
        let mut messages = self.to_master.take();
        if now >= self.next_beat {
            self.next_beat = now.after(heartbeat);
            let seen = self.worker.progress();
            messages.push(FromWorker::Beat(Beat {
                at_rest: seen.at_rest,
                live_spouts: seen.live_spouts,
                links_up: 0,
            }));
            messages.push(FromWorker::Stats(Box::new(self.stats())));
            for peer in self.peers.clone() {
                if let Some(since) = self.mesh.down_since(peer)
                    && now.since(since) >= link_lost
                {
                    messages.push(FromWorker::LinkDown { peer, for_ms: now.since(since).as_millis() as u64 });
                }
            }
        }
        let has_closed = |seen: EndProgress| seen.closed >= seen.executors;
        let ends = self.closing && has_closed(self.worker.progress());
        if ends {
            messages.push(FromWorker::Stats(Box::new(self.stats())));
            messages.push(FromWorker::Ended { cut_short: false });
        }
        (messages, ends)
    }

    fn stats(&self) -> WorkerStats {
        WorkerStats::new(self.worker.progress().live_spouts, self.worker.stats(), Vec::new())
    }

    /// When the process has something to do next, received bytes not considered.
    pub fn next_event(&self) -> Time {
        if self.woken.load(Ordering::SeqCst) {
            return Time::ZERO;
        }
        let timer = self.worker.next_timer().unwrap_or(Time::NEVER);
        timer.min(self.mesh.deadline()).min(self.next_beat)
    }

    /// Whether the poller has something to do.
    pub fn needs_poll(&self, network: &Network, now: Time) -> bool {
        self.woken.load(Ordering::SeqCst)
            || self.mesh.deadline() <= now
            || network.has_arrivals(self.endpoint, now)
            || self.unwritten.iter().any(|conn| network.has_room(self.end(*conn)))
    }

    /// One round of the poller, in the order of the poller of production. The last check makes sure that
    /// nothing that was pushed during the round waits for a wake-up that never comes.
    pub fn poll(&mut self, network: &mut Network) {
        let now = self.clock.now();
        self.woken.store(false, Ordering::SeqCst);
        if self.outbox.look() {
            self.empty_outbox();
        }
        for arrival in network.arrivals(self.endpoint, true, now) {
            self.take(arrival, network, now);
        }
        self.mesh.tick(now, &mut self.bridge);
        self.act(network, now);
        self.write(network, now);
        self.act(network, now);
        if !self.outbox.fall_asleep() {
            self.woken.store(true, Ordering::SeqCst);
        }
    }

    fn take(&mut self, arrival: Arrival, network: &mut Network, now: Time) {
        match arrival {
            Arrival::Dialed(id) => {
                let conn = self.mesh.accepted(now);
                network.accept(id, conn.map(|conn| self.end(conn)), now);
            }
            Arrival::Connected(conn) => self.mesh.dialed(conn, now),
            Arrival::Bytes(conn, bytes) => {
                let input = self.inputs.entry(conn).or_default();
                input.extend_from_slice(&bytes);
                self.mesh.received(conn, input, now, &mut self.bridge);
            }
            Arrival::Closed(conn, why) => {
                self.inputs.remove(&conn);
                self.mesh.closed(conn, why, now, &mut self.bridge);
                network.close(self.end(conn), now);
            }
        }
    }

    fn act(&mut self, network: &mut Network, now: Time) {
        for action in self.mesh.actions() {
            match action {
                Action::Dial { conn, address, .. } => network.dial(self.end(conn), worker_at(address), now),
                Action::Close { conn, why } => {
                    self.write_one(conn, network, now);
                    self.inputs.remove(&conn);
                    network.close(self.end(conn), now);
                    self.mesh.closed(conn, &why, now, &mut self.bridge);
                }
            }
        }
    }

    fn write(&mut self, network: &mut Network, now: Time) {
        let mut ready = std::mem::take(&mut self.unwritten);
        self.mesh.ready(&mut ready);
        ready.sort();
        ready.dedup();
        for conn in ready {
            if self.write_one(conn, network, now) {
                self.unwritten.push(conn);
            }
        }
    }

    /// Writes what fits. Returns whether more is left.
    fn write_one(&mut self, conn: ConnId, network: &mut Network, now: Time) -> bool {
        loop {
            let mut chunks = Vec::new();
            self.mesh.chunks(conn, &mut chunks);
            // Byte by byte this took half of the time of the simulated clusters in a debug build.
            let mut bytes = Vec::with_capacity(chunks.iter().map(|chunk| chunk.len()).sum());
            chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
            drop(chunks);
            if bytes.is_empty() {
                return false;
            }
            let written = network.write(self.end(conn), &bytes, now);
            self.mesh.wrote(conn, written);
            if written < bytes.len() {
                return true;
            }
        }
    }
}
