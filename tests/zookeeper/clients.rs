//! Clients of squall for the tests, and what they are notified of.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use slog::{Discard, FilterLevel, Logger, o};
use squall::clock::Clock;
use squall::cluster::coordination::zookeeper::ZooKeeperClient;
use squall::cluster::coordination::{
    Coordination as _, CoordinationError, NodePath, Notice, Notify, Version,
};
use squall::config::ZooKeeperOptions;
use squall::logging::{Levels, LogFormat, Logging};

use crate::server::{Member, Servers};
use crate::wait_until;
use crate::witness::Witness;

/// The time-out of sessions that are to end soon. An answer that takes a third of it ends a session, too.
pub const SHORT: Duration = Duration::from_secs(2);
/// The time-out of sessions that are to last. The busiest machine answers within a third of it.
pub const LONG: Duration = Duration::from_secs(100);
/// How long a call may take that is to be done in the end, whatever happens in between.
const CALL: Duration = Duration::from_secs(90);

/// The path of a node.
pub fn path(text: &str) -> NodePath {
    text.parse().expect("a path")
}

/// A server that all tests share who do not harm it. It ends with the last of them.
pub fn shared() -> Arc<Servers> {
    static SERVER: Mutex<Weak<Servers>> = Mutex::new(Weak::new());
    of(&SERVER, Servers::alone)
}

/// The same with an ensemble.
pub fn shared_ensemble() -> Arc<Servers> {
    static ENSEMBLE: Mutex<Weak<Servers>> = Mutex::new(Weak::new());
    of(&ENSEMBLE, Servers::three)
}

/// What others use already, or a new one.
fn of(running: &Mutex<Weak<Servers>>, start: fn() -> Servers) -> Arc<Servers> {
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = running.upgrade().unwrap_or_else(|| Arc::new(start()));
    *running = Arc::downgrade(&servers);
    servers
}

/// A root that no other test of this process uses.
pub fn new_root() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Relaxed: only the number itself matters.
    format!("/squall-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What clients log: nothing, or with `SQUALL_SHOW` in the environment everything, to the standard error.
pub fn logger() -> Logger {
    static SHOWN: LazyLock<Option<Logging>> = LazyLock::new(|| {
        let levels = Levels::all(FilterLevel::Debug);
        let show = || Logging::start(levels, LogFormat::Terminal, false, std::io::stderr());
        std::env::var_os("SQUALL_SHOW").map(|_| show())
    });
    SHOWN.as_ref().map_or_else(|| Logger::root(Discard, o!()), |logging| logging.logger.clone())
}

/// Options for these servers, with sessions that are [`SHORT`].
pub fn options(servers: &[SocketAddr], root: &str) -> ZooKeeperOptions {
    ZooKeeperOptions {
        servers: servers.iter().map(SocketAddr::to_string).collect(),
        root: root.to_owned(),
        session_timeout: SHORT,
        ..ZooKeeperOptions::default()
    }
}

/// A client, and what it is notified of about its whole tree.
pub struct Client {
    pub clock: Clock,
    root: String,
    notices: Notices,
    client: ZooKeeperClient,
}

impl Deref for Client {
    type Target = ZooKeeperClient;

    fn deref(&self) -> &ZooKeeperClient {
        &self.client
    }
}

impl Client {
    /// A client whose calls are done in the end, whatever happens in between.
    pub fn open(options: &ZooKeeperOptions) -> Client {
        Client::with_call_timeout(options, CALL)
    }

    /// A client whose calls give up after so long.
    pub fn with_call_timeout(options: &ZooKeeperOptions, call_timeout: Duration) -> Client {
        let (clock, logger) = (Clock::real(), logger());
        let client = ZooKeeperClient::open(options, &clock, &logger, 0).expect("the options are well formed");
        let client = client.with_call_timeout(call_timeout);
        let notices = Notices::of(&client, "/");
        Client { clock, root: options.root.clone(), notices, client }
    }

    /// A client of the server alone or of all members, with a root of its own.
    pub fn of(servers: &[SocketAddr]) -> Client {
        Client::open(&options(servers, &new_root()))
    }

    /// What it was notified of.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// The path of a node in the whole tree of the server.
    pub fn absolute(&self, below: &str) -> String {
        match (self.root.as_str(), below) {
            ("/", below) => below.to_owned(),
            (root, "/") => root.to_owned(),
            (root, below) => format!("{root}{below}"),
        }
    }

    /// The number of its session on the server, read from a node that it holds.
    pub fn session_at(&self, member: &Member, held: &str) -> i64 {
        let found = Witness::at(member.address()).get(&self.absolute(held));
        found.expect("the node is held").1.owner
    }

    /// Waits until a session of more than this number has begun.
    pub fn wait_for_session_after(&self, number: u64) {
        wait_until("a new session begins", || {
            let session = self.client.session();
            session.number > number && session.is_connected
        });
    }

    /// Makes a node, and checks that it was.
    #[track_caller]
    pub fn make(&self, at: &str, data: &[u8]) {
        assert_eq!(self.client.create(&path(at), data), Ok(Version(0)), "{at}");
    }

    /// Makes a node with calls that may give up. One that gave up may have been done.
    pub fn make_in_the_end(&self, at: &str, data: &[u8]) {
        wait_until("the node is made", || match self.client.create(&path(at), data) {
            Ok(_) | Err(CoordinationError::Exists(_)) => true,
            Err(error) => {
                assert!(error.is_passing(), "{error}");
                false
            }
        });
    }

    /// What a node has.
    #[track_caller]
    pub fn data(&self, at: &str) -> Option<Vec<u8>> {
        self.client.get(&path(at)).expect("the server is well").map(|node| node.data)
    }
}

/// What somebody is notified of, for as long as it exists.
pub struct Notices {
    notices: Arc<Mutex<Vec<Notice>>>,
    /// Kept because the watch ends with it.
    _notify: Arc<Notify>,
}

impl Notices {
    /// Watches a node and what is below it.
    pub fn of(client: &ZooKeeperClient, watched: &str) -> Notices {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        let notify: Arc<Notify> =
            Arc::new(move |notice| sink.lock().unwrap_or_else(PoisonError::into_inner).push(notice));
        client.watch(&path(watched), &notify);
        Notices { notices, _notify: notify }
    }

    /// All that came, in its order.
    pub fn all(&self) -> Vec<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what came.
    pub fn clear(&self) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub fn count(&self, notice: &Notice) -> usize {
        self.all().iter().filter(|other| *other == notice).count()
    }

    /// Waits until this has come.
    #[track_caller]
    pub fn wait_for(&self, notice: &Notice) {
        wait_until(&format!("the notice {notice:?}"), || self.count(notice) > 0);
    }
}

/// The notice that this node has changed.
pub fn changed(at: &str) -> Notice {
    Notice::Changed(path(at))
}
