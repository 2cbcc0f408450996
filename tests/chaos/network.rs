//! The network between the workers of a run: who listens where, and the proxies between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use squall::cluster::DialThrough;

use crate::kit::lock;
use crate::proxy::{Counts, Proxy};

/// By the two ends of a way, from and to.
type Proxies = Arc<Mutex<BTreeMap<(u16, u16), Proxy>>>;

/// Knows where workers listen, and holds a proxy for each ordered pair if there are proxies.
#[derive(Clone, Debug)]
pub struct Network {
    /// Where each worker listens, as the others were told last.
    listening: Arc<Mutex<BTreeMap<u16, SocketAddr>>>,
    proxies: Option<Proxies>,
    counts: Arc<Counts>,
    seed: u64,
}

impl Network {
    /// Workers dial each other, or their proxies.
    pub fn new(with_proxies: bool, seed: u64) -> Network {
        let proxies = with_proxies.then(Arc::default);
        Network { listening: Arc::default(), proxies, counts: Arc::default(), seed }
    }

    /// To be handed to the master: whom to dial.
    pub fn dial_through(&self) -> DialThrough {
        let network = self.clone();
        Arc::new(move |from, to, address| {
            lock(&network.listening).insert(to.0, address);
            let Some(proxies) = &network.proxies else { return address };
            let mut proxies = lock(proxies);
            let seed = network.seed ^ (u64::from(from.0) << 32 | u64::from(to.0));
            let start = || Proxy::start(address, seed, Arc::clone(&network.counts));
            let proxy = proxies.entry((from.0, to.0)).or_insert_with(start);
            proxy.lead_to(address);
            proxy.address()
        })
    }

    /// Where a worker listens, or did last.
    pub fn port_of(&self, worker: u16) -> Option<u16> {
        lock(&self.listening).get(&worker).map(SocketAddr::port)
    }

    /// What the proxies did.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Lets everything pass everywhere.
    pub fn heal(&self) {
        if let Some(proxies) = &self.proxies {
            lock(proxies).values().for_each(Proxy::heal);
        }
    }

    /// Does something with the proxy by which one worker sends to another.
    ///
    /// # Errors
    /// When there is none.
    pub fn with(&self, from: u16, to: u16, act: impl FnOnce(&Proxy)) -> Result<(), String> {
        let proxies = self.proxies.as_ref().ok_or("there are no proxies in this run")?;
        let proxies = lock(proxies);
        act(proxies.get(&(from, to)).ok_or("they never met")?);
        Ok(())
    }

    /// Closes all proxies.
    pub fn close(&self) {
        if let Some(proxies) = &self.proxies {
            let proxies = std::mem::take(&mut *lock(proxies));
            drop(proxies);
        }
    }
}
