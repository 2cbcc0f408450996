//! Who has which slot of which host, and what is promised there, while a plan is made.
//!
//! Topologies and hosts are numbers here: their positions among the demands and in the view.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::schedule::view::{ClusterView, Demand, Host, HostState};
use crate::config::Resources;
use crate::ids::WorkerId;

/// A slot of the host at this position of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub host: usize,
    pub slot: u16,
}

/// Stands for the topologies that are not among the demands.
const NOT_ASKED: usize = usize::MAX;

/// What a topology has: the slot of each of its workers, and what the worker needs.
pub(super) type Held = BTreeMap<WorkerId, (Place, Resources)>;

/// Whether a topology counts processor time and memory, or slots only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Slots,
    Resources,
}

/// What is promised on one host.
#[derive(Clone, Debug)]
struct Account {
    /// The topology that has each slot.
    slots: Vec<Option<usize>>,
    free: u16,
    used: Resources,
    /// The part of it that is of topologies that count resources.
    counted: Resources,
    /// The topology that has the host for itself.
    isolated_by: Option<usize>,
}

/// Which hosts may be used. Each level has those of the levels before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Open hosts; workers may stay on blacklisted ones.
    Open,
    /// Workers may stay on draining hosts, too.
    Draining,
    /// New workers may come to blacklisted hosts, too.
    Blacklisted,
}

/// All accounts.
#[derive(Clone, Debug)]
pub(super) struct Ledger<'a> {
    pub view: &'a ClusterView,
    accounts: Vec<Account>,
    /// By topology.
    lacks: Vec<LackedSecrets>,
}

/// Where a topology finds no secrets.
#[derive(Clone, Debug, Default)]
struct LackedSecrets {
    /// The hosts that lack one.
    hosts: BTreeSet<usize>,
    /// Whether workers that run there go on, and so stay.
    may_stay: bool,
}

impl LackedSecrets {
    fn of(view: &ClusterView, demand: &Demand<'_>) -> LackedSecrets {
        let hosts = view.hosts.iter().enumerate();
        let lacking = hosts.filter(|(_, host)| host.lacks(demand.topology).next().is_some());
        LackedSecrets { hosts: lacking.map(|(at, _)| at).collect(), may_stay: !demand.begins_anew }
    }
}

impl<'a> Ledger<'a> {
    pub fn new(view: &'a ClusterView, demands: &[Demand<'_>]) -> Ledger<'a> {
        let account = |host: &Host| {
            let of = |slot: u16| host.taken.contains(&slot).then_some(NOT_ASKED);
            let slots: Vec<Option<usize>> = (0..host.slots).map(of).collect();
            let free = slots.iter().filter(|of| of.is_none()).count();
            Account {
                free: u16::try_from(free).expect("there are not more than slots"),
                slots,
                used: Resources::NONE,
                counted: Resources::NONE,
                isolated_by: None,
            }
        };
        let lacks = demands.iter().map(|demand| LackedSecrets::of(view, demand)).collect();
        Ledger { view, accounts: view.hosts.iter().map(account).collect(), lacks }
    }

    pub fn host(&self, host: usize) -> &'a Host {
        &self.view.hosts[host]
    }

    /// Whether a slot is there and nobody has it.
    pub fn is_free(&self, place: Place) -> bool {
        self.accounts[place.host].slots.get(usize::from(place.slot)).is_some_and(Option::is_none)
    }

    pub fn free_slots(&self, host: usize) -> u16 {
        self.accounts[host].free
    }

    /// The numbers of the free slots of a host, in order.
    pub fn free_numbers(&self, host: usize) -> impl Iterator<Item = u16> + use<'_> {
        let slots = (0..).zip(&self.accounts[host].slots);
        slots.filter(|(_, of)| of.is_none()).map(|(number, _)| number)
    }

    /// What nobody was promised yet.
    pub fn room(&self, host: usize) -> Resources {
        self.host(host).resources - self.accounts[host].used
    }

    /// What was not promised to topologies that count resources. One of these that runs on the host may stay there,
    /// even if others, which do not count, promised away the rest.
    pub fn room_to_stay(&self, host: usize) -> Resources {
        self.host(host).resources - self.accounts[host].counted
    }

    /// What is promised.
    pub fn used(&self, host: usize) -> Resources {
        self.accounts[host].used
    }

    /// How many slots of a host other topologies have.
    pub fn foreign(&self, host: usize, topology: usize) -> usize {
        self.accounts[host].slots.iter().flatten().filter(|of| **of != topology).count()
    }

    /// The topologies that have slots of a host, as far as they are among the demands.
    pub fn on(&self, host: usize) -> Vec<usize> {
        let slots = self.accounts[host].slots.iter().flatten().copied();
        let mut on: Vec<usize> = slots.filter(|of| *of != NOT_ASKED).collect();
        on.sort_unstable();
        on.dedup();
        on
    }

    /// Books slots that are free.
    pub fn book(&mut self, topology: usize, counts: Counts, held: &Held) {
        for (place, load) in held.values() {
            let account = &mut self.accounts[place.host];
            let slot = &mut account.slots[usize::from(place.slot)];
            assert!(slot.is_none(), "a slot has one worker");
            *slot = Some(topology);
            account.free -= 1;
            account.used += *load;
            if counts == Counts::Resources {
                account.counted += *load;
            }
        }
    }

    /// Gives back what was booked.
    pub fn release(&mut self, counts: Counts, held: &Held) {
        for (place, load) in held.values() {
            let account = &mut self.accounts[place.host];
            account.slots[usize::from(place.slot)] = None;
            account.free += 1;
            account.used -= *load;
            if counts == Counts::Resources {
                account.counted -= *load;
            }
        }
    }

    /// Gives a host to one topology alone, or back to all.
    pub fn isolate(&mut self, host: usize, topology: Option<usize>) {
        self.accounts[host].isolated_by = topology;
    }

    pub fn isolated_by(&self, host: usize) -> Option<usize> {
        self.accounts[host].isolated_by
    }

    /// Whether a host lacks a secret of a topology.
    pub fn lacks_secret(&self, topology: usize, host: usize) -> bool {
        self.lacks[topology].hosts.contains(&host)
    }

    /// Whether a topology may have new workers on a host, which has its secrets. One that is isolated has its own hosts and no others.
    pub fn may_use(&self, topology: usize, isolated: bool, host: usize, reach: Reach) -> bool {
        let by_state = match self.host(host).state {
            HostState::Open => true,
            HostState::Blacklisted => reach >= Reach::Blacklisted,
            HostState::Draining => false,
        };
        by_state && !self.lacks_secret(topology, host) && self.is_for(topology, isolated, host)
    }

    /// Whether a topology may keep workers on a host.
    pub fn may_stay(&self, topology: usize, isolated: bool, host: usize, reach: Reach) -> bool {
        let by_state = match self.host(host).state {
            HostState::Open | HostState::Blacklisted => true,
            HostState::Draining => reach >= Reach::Draining,
        };
        let by_secrets = self.lacks[topology].may_stay || !self.lacks_secret(topology, host);
        by_state && by_secrets && self.is_for(topology, isolated, host)
    }

    fn is_for(&self, topology: usize, isolated: bool, host: usize) -> bool {
        match self.accounts[host].isolated_by {
            Some(other) => other == topology,
            None => !isolated,
        }
    }
}
