//! The service itself, and the faults that it has as a whole.

use std::fmt;
use std::time::Duration;

use crate::clock::Clock;
use crate::cluster::coordination::memory::client::MemoryClient;
use crate::cluster::coordination::memory::ensemble::Ensemble;
use crate::cluster::coordination::memory::node::KeptNode;
use crate::cluster::coordination::memory::options::MemoryOptions;
use crate::cluster::coordination::memory::state::{Data, State};

/// What the data of a service were at one moment.
#[derive(Clone)]
pub struct MemorySnapshot(Data);

/// A service in memory. Clones are the same service.
///
/// # Examples
/// ```
/// use squall::clock::Clock;
/// use squall::cluster::coordination::{Coordination, MemoryOptions, MemoryService, Version};
///
/// let service = MemoryService::new(Clock::simulated(), MemoryOptions::default());
/// let (nimbus, supervisor) = (service.client(), service.client());
/// let path = "/words".parse()?;
/// nimbus.create(&path, b"storm")?;
/// supervisor.set(&path, b"squall", Version(0))?;
/// assert!(nimbus.set(&path, b"rain", Version(0)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryService(Ensemble);

impl MemoryService {
    /// A service without nodes.
    pub fn new(clock: Clock, options: MemoryOptions) -> MemoryService {
        MemoryService(Ensemble::new(State::new(clock, options)))
    }

    /// A service with these nodes, each after its parent.
    ///
    /// # Errors
    /// The path of a node that cannot be there.
    pub(super) fn with_nodes(
        clock: Clock,
        options: MemoryOptions,
        nodes: Vec<KeptNode>,
    ) -> Result<MemoryService, String> {
        let service = MemoryService::new(clock, options);
        service.0.with(|state| {
            let mut data = Data::new();
            nodes.into_iter().try_for_each(|node| data.put(node))?;
            state.restart_with(data);
            Ok(service.clone())
        })
    }

    /// All nodes that no session holds, each after its parent.
    pub(super) fn nodes(&self) -> Vec<KeptNode> {
        self.0.with(|state| state.data.tree.kept())
    }

    /// A process without a user.
    pub fn client(&self) -> MemoryClient {
        MemoryClient::new(self.0.clone(), self.0.with(|state| state.add_client(None)))
    }

    /// A process that has logged in as this user.
    pub fn client_of(&self, user: &str) -> MemoryClient {
        MemoryClient::new(self.0.clone(), self.0.with(|state| state.add_client(Some(user))))
    }

    /// Ends the sessions that are over by the clock.
    pub fn step(&self) {
        self.0.with(State::expire_silent);
        self.0.deliver_at_once();
    }

    /// Whether the whole service is away. No session ends meanwhile; when it is there again, all sessions have their
    /// whole time-out.
    pub fn set_away(&self, is_away: bool) {
        self.0.with(|state| {
            state.expire_silent();
            if state.is_away && !is_away {
                state.renew_all();
            }
            state.is_away = is_away;
        });
        self.0.deliver_at_once();
    }

    /// Whether its disk is full. Nothing is written meanwhile, no session begins, and none ends.
    pub fn set_full(&self, is_full: bool) {
        self.0.with(|state| {
            state.expire_silent();
            state.is_full = is_full;
        });
        self.0.deliver_at_once();
    }

    /// Everything is lost: all nodes and all sessions.
    pub fn wipe(&self) {
        self.0.with(|state| state.restart_with(Data::new()));
    }

    /// The data of this moment.
    pub fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot(self.0.with(|state| state.data.clone()))
    }

    /// The data are those of an earlier moment, and so are the sessions.
    pub fn roll_back(&self, snapshot: &MemorySnapshot) {
        self.0.with(|state| state.restart_with(snapshot.0.clone()));
    }

    /// The requests arrive that were late.
    pub fn arrive(&self) {
        self.0.with(|state| {
            state.expire_silent();
            state.arrive();
        });
        self.0.deliver_at_once();
    }

    /// What every answered call counts for from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.0.with(|state| state.options.latency = latency);
    }
}

impl fmt::Debug for MemoryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryService").finish_non_exhaustive()
    }
}

impl fmt::Debug for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySnapshot").finish_non_exhaustive()
    }
}
