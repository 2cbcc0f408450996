//! The contract of the coordination, kept by the client of a real ZooKeeper: alone, and as an ensemble whose members
//! the clients use in turn, so that they read from followers that lag.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall::clock::{Clock, Time};
use squall::cluster::coordination::Coordination;
use squall::cluster::coordination::zookeeper::ZooKeeperClient;
use squall::config::ZooKeeperOptions;

use crate::clients::{logger, new_root, options, shared, shared_ensemble};
use crate::coordination_kit::{World, contract_tests};
use crate::proxy::Proxy;
use crate::rights::Passwords;
use crate::server::Servers;
use crate::witness::{Right, Witness};

/// Long enough for a busy machine: an answer that takes a third of it ends the session.
const SESSION: Duration = Duration::from_secs(4);
/// Calls that are cut off end after this.
const CALL: Duration = Duration::from_secs(6);

/// Clients below a root of their own, each behind a proxy of its own.
struct RealWorld {
    servers: Arc<Servers>,
    root: String,
    passwords: Passwords,
    clock: Clock,
    /// How a client is cut off.
    cut: fn(&mut Proxy),
    /// The proxy of each client, and the place of the member that it leads to.
    proxies: Mutex<BTreeMap<String, (Proxy, usize)>>,
}

impl RealWorld {
    fn new(servers: Arc<Servers>, cut: fn(&mut Proxy)) -> RealWorld {
        let root = new_root();
        // Clients of several users share the tree.
        let mut witness = Witness::at(servers[0].address());
        witness.create(&root, b"", &[Right::open()]).expect("the root is new");
        let (passwords, clock) = (Passwords::new(), Clock::real());
        RealWorld { servers, root, passwords, clock, cut, proxies: Mutex::default() }
    }

    fn proxies(&self) -> MutexGuard<'_, BTreeMap<String, (Proxy, usize)>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_proxy<T>(&self, name: &str, act: impl FnOnce(&mut Proxy) -> T) -> T {
        act(&mut self.proxies().get_mut(name).expect("there is such a client").0)
    }

    fn open(&self, name: &str, user: Option<&str>) -> Arc<dyn Coordination> {
        let mut proxies = self.proxies();
        let member = proxies.len() % self.servers.len();
        let proxy = Proxy::to(self.servers[member].address());
        let options = ZooKeeperOptions {
            session_timeout: SESSION,
            read_again: Duration::from_secs(1),
            user: user.map(str::to_owned),
            password_file: user.map(|user| self.passwords.file(user)),
            ..options(&[proxy.address()], &self.root)
        };
        let earlier = proxies.insert(name.to_owned(), (proxy, member));
        assert!(earlier.is_none(), "there was a client `{name}` already");
        let client =
            ZooKeeperClient::open(&options, &self.clock, &logger(), 0).expect("the options are right");
        Arc::new(client.with_call_timeout(CALL))
    }
}

impl World for RealWorld {
    fn client(&self, name: &str) -> Arc<dyn Coordination> {
        self.open(name, None)
    }

    fn client_of(&self, name: &str, user: &str) -> Arc<dyn Coordination> {
        self.open(name, Some(user))
    }

    /// Whose connection stays open and passes nothing is as good as dead.
    fn kill(&self, name: &str) {
        self.of_proxy(name, |proxy| proxy.freeze());
    }

    fn cut(&self, name: &str) {
        self.of_proxy(name, self.cut);
    }

    fn heal(&self, name: &str) {
        self.of_proxy(name, Proxy::heal);
    }

    fn expire(&self, name: &str) {
        let mut session = None;
        crate::wait_until("the client has a session", || {
            let proxies = self.proxies();
            let (proxy, member) = &proxies[name];
            let member = &self.servers[*member];
            session =
                proxy.ends().into_iter().find_map(|end| Some((member.address(), member.session_of(end)?)));
            session.is_some()
        });
        let (member, session) = session.expect("it has been waited for");
        Witness::end_session(member, session);
    }

    fn wait_until(&self, what: &str, holds: &mut dyn FnMut() -> bool) {
        crate::wait_until(what, holds);
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

mod alone {
    use super::*;

    contract_tests!(RealWorld::new(shared(), |proxy| proxy.freeze()));
}

mod ensemble {
    use super::*;

    contract_tests!(RealWorld::new(shared_ensemble(), Proxy::refuse));
}
