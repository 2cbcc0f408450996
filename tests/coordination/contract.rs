//! The service in memory keeps the contract of the coordination: as it is, with notices that come at once, and with
//! readers that see an earlier moment until they catch up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::clock::{Clock, Time};
use squall::cluster::coordination::{Coordination, MemoryClient, MemoryOptions, MemoryService};

use crate::coordination_kit::World;

/// More simulated time than any condition needs.
const PATIENCE: Duration = Duration::from_secs(3600);
const STEP: Duration = Duration::from_millis(100);

struct Twin {
    clock: Clock,
    service: MemoryService,
    lags: bool,
    clients: Mutex<BTreeMap<String, Arc<MemoryClient>>>,
}

impl Twin {
    fn new(notices_at_once: bool, lags: bool) -> Twin {
        let clock = Clock::simulated();
        let service =
            MemoryService::new(clock.clone(), MemoryOptions { notices_at_once, ..MemoryOptions::default() });
        Twin { clock, service, lags, clients: Mutex::default() }
    }

    fn add(&self, name: &str, client: MemoryClient) -> Arc<dyn Coordination> {
        client.lag(self.lags);
        let client = Arc::new(client);
        let mut clients = self.clients.lock().expect("nothing panics with it");
        let earlier = clients.insert(name.to_owned(), Arc::clone(&client));
        assert!(earlier.is_none(), "there was a client `{name}` already");
        client
    }

    fn named(&self, name: &str) -> Arc<MemoryClient> {
        Arc::clone(&self.clients.lock().expect("nothing panics with it")[name])
    }
}

impl World for Twin {
    fn client(&self, name: &str) -> Arc<dyn Coordination> {
        self.add(name, self.service.client())
    }

    fn client_of(&self, name: &str, user: &str) -> Arc<dyn Coordination> {
        self.add(name, self.service.client_of(user))
    }

    fn kill(&self, name: &str) {
        self.named(name).die();
    }

    fn cut(&self, name: &str) {
        self.named(name).cut();
    }

    fn heal(&self, name: &str) {
        self.named(name).heal();
    }

    fn expire(&self, name: &str) {
        self.named(name).expire();
    }

    fn wait_until(&self, what: &str, holds: &mut dyn FnMut() -> bool) {
        let deadline = self.clock.now().after(PATIENCE);
        while !holds() {
            assert!(self.clock.now() < deadline, "in vain waited for: {what}");
            self.clock.advance(STEP);
            self.service.step();
            let clients: Vec<_> =
                self.clients.lock().expect("nothing panics with it").values().cloned().collect();
            clients.iter().for_each(|client| client.beat());
        }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

mod notices_that_wait {
    crate::coordination_kit::contract_tests!(crate::contract::Twin::new(false, false));
}

mod notices_at_once {
    crate::coordination_kit::contract_tests!(crate::contract::Twin::new(true, false));
}

mod readers_that_lag {
    crate::coordination_kit::contract_tests!(crate::contract::Twin::new(false, true));
}
