//! A TCP proxy whose connections the test cuts, freezes and refuses.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::place::{CLIENT_PORT, new_address};

/// A way that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

use Direction::{ToClient, ToServer};

/// Listens at an address of its own, and passes what comes to a server. Ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Accepts connections. None while they are refused.
    acceptor: Option<Acceptor>,
}

struct Acceptor {
    listener: TcpListener,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    server: Option<SocketAddr>,
    frozen_to_server: bool,
    frozen_to_client: bool,
    /// How long each piece of an answer is kept back.
    delay: Duration,
    /// Connections are accepted and closed at once.
    hangs_up: bool,
    /// How many connections were accepted.
    accepted: u64,
    open: Vec<Connection>,
    /// The threads that pass bytes.
    pumps: Vec<JoinHandle<()>>,
}

/// A connection that was made and has not ended.
struct Connection {
    /// The value of `accepted` that it came with.
    number: u64,
    client: TcpStream,
    server: TcpStream,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

impl State {
    fn is_frozen(&self, direction: Direction) -> bool {
        match direction {
            ToServer => self.frozen_to_server,
            ToClient => self.frozen_to_client,
        }
    }

    fn cut(&mut self) -> usize {
        let count = self.open.len();
        self.open.drain(..).for_each(Connection::end);
        count
    }

    /// Whether bytes of the connection have to wait.
    fn holds_back(&self, number: u64, direction: Direction) -> bool {
        self.is_frozen(direction) && self.open.iter().any(|connection| connection.number == number)
    }
}

impl Connection {
    fn end(self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

impl Proxy {
    /// A proxy for the server at this address.
    pub fn to(server: SocketAddr) -> Proxy {
        Proxy::at((new_address(), CLIENT_PORT).into(), server)
    }

    /// The same with a place to listen that has a name: `localhost`, and a free port.
    pub fn at_localhost(server: SocketAddr) -> Proxy {
        Proxy::at((Ipv4Addr::LOCALHOST, 0).into(), server)
    }

    fn at(address: SocketAddr, server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(address).expect("the address is ours");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        shared.state().server = Some(server);
        let acceptor = Some(accept_from(listener, &shared));
        Proxy { address, shared, acceptor }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were ever accepted.
    pub fn accepted(&self) -> u64 {
        self.shared.state().accepted
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    /// The addresses from which the open connections reach the server.
    pub fn ends(&self) -> Vec<SocketAddr> {
        self.shared.state().open.iter().filter_map(|connection| connection.server.local_addr().ok()).collect()
    }

    /// Sends the connections from now on to another server.
    pub fn lead_to(&self, server: SocketAddr) {
        self.shared.change(|state| state.server = Some(server));
    }

    /// Ends all connections, and returns how many there were. What is under way in them is lost.
    pub fn cut(&self) -> usize {
        let mut count = 0;
        self.shared.change(|state| count = state.cut());
        count
    }

    /// Waits until there is a connection, and ends it.
    #[track_caller]
    pub fn cut_in_use(&self) {
        crate::wait_until("somebody is connected", || self.cut() > 0);
    }

    /// Keeps connections open, accepts others, and passes nothing in either direction.
    pub fn freeze(&self) {
        self.shared.change(|state| (state.frozen_to_server, state.frozen_to_client) = (true, true));
    }

    /// Passes nothing in this direction, and everything in the other.
    pub fn freeze_only(&self, direction: Direction) {
        self.shared.change(|state| {
            (state.frozen_to_server, state.frozen_to_client) = (direction == ToServer, direction == ToClient);
        });
    }

    /// Keeps each piece of an answer back for so long.
    pub fn delay_answers(&self, delay: Duration) {
        self.shared.change(|state| state.delay = delay);
    }

    /// Cuts all connections, and closes each that comes as soon as it is accepted. It is counted.
    pub fn hang_up(&self) {
        self.shared.change(|state| {
            state.hangs_up = true;
            state.cut();
        });
    }

    /// Cuts all connections, and listens no more: the system refuses those that come.
    pub fn refuse(&mut self) {
        if let Some(Acceptor { listener, thread }) = self.acceptor.take() {
            // On Linux this ends `accept`.
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
            let _ = thread.join();
        }
        self.cut();
    }

    /// Accepts and passes everything again. What was frozen goes on its way.
    pub fn heal(&mut self) {
        self.shared.change(|state| {
            (state.frozen_to_server, state.frozen_to_client) = (false, false);
            (state.delay, state.hangs_up) = (Duration::ZERO, false);
        });
        if self.acceptor.is_none() {
            let listener = TcpListener::bind(self.address).expect("the address is ours");
            self.acceptor = Some(accept_from(listener, &self.shared));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse();
        self.shared.change(|state| (state.frozen_to_server, state.frozen_to_client) = (false, false));
        let pumps = std::mem::take(&mut self.shared.state().pumps);
        for pump in pumps {
            let _ = pump.join();
        }
    }
}

fn accept_from(listener: TcpListener, shared: &Arc<Shared>) -> Acceptor {
    let (shared, accepting) = (Arc::clone(shared), listener.try_clone().expect("a descriptor"));
    let thread = thread::spawn(move || {
        while let Ok((client, _)) = accepting.accept() {
            serve(client, &shared);
        }
    });
    Acceptor { listener, thread }
}

/// Passes what a connection brings, unless it is closed at once.
fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let (number, server) = {
        let mut state = shared.state();
        state.accepted += 1;
        if state.hangs_up {
            return;
        }
        (state.accepted, state.server.expect("it has been set"))
    };
    // A server that is away refuses, and the client sees its connection end.
    let Ok(server) = TcpStream::connect_timeout(&server, Duration::from_secs(5)) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
    let ways = [(copy(&client), copy(&server), ToServer), (copy(&server), copy(&client), ToClient)];
    let mut state = shared.state();
    state.open.push(Connection { number, client, server });
    state.pumps.retain(|pump| !pump.is_finished());
    for (from, to, direction) in ways {
        let shared = Arc::clone(shared);
        state.pumps.push(thread::spawn(move || pump(from, to, number, direction, &shared)));
    }
}

/// Passes bytes in one direction until either side ends, and then ends the connection.
fn pump(mut from: TcpStream, mut to: TcpStream, number: u64, direction: Direction, shared: &Shared) {
    let mut piece = [0; 16 * 1024];
    loop {
        let length = from.read(&mut piece).unwrap_or(0);
        // The end of a connection is as little passed as its bytes.
        let state = shared.changed.wait_while(shared.state(), |state| state.holds_back(number, direction));
        let delay = state.unwrap_or_else(PoisonError::into_inner).delay;
        if direction == ToClient {
            thread::sleep(delay);
        }
        if length == 0 || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    shared.change(|state| {
        let ended = state.open.extract_if(.., |connection| connection.number == number);
        ended.for_each(Connection::end);
    });
}
