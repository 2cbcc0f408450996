//! The resource-aware strategy, first half: units into the workers of a topology, and these onto hosts, while there is
//! room.
//!
//! A host runs one worker of the topology, or more where components must not share one. The hosts are tried in the order
//! of `host_order`, so a topology fills one host, then the next of the same rack. If a unit fits nowhere, the search goes
//! back and tries other hosts for the units before it, as Storm's constraint solver does; it does so only where
//! components are kept apart, and gives up after [`STEPS_MAX`] steps.

use std::collections::BTreeMap;

use crate::cluster::schedule::host_order::{Candidate, Choice, in_order};
use crate::cluster::schedule::ledger::{Ledger, Place, Reach};
use crate::cluster::schedule::shortage::{HOSTS_NAMED_MAX, HostShortage, Lack, Resource, Shortage};
use crate::cluster::schedule::task::Task;
use crate::cluster::schedule::units::Unit;
use crate::config::{Resources, limits};
use crate::ids::WorkerId;
use crate::topology::Topology;
use crate::topology::plan::{ACKER_COMPONENT, has_automatic_ackers};

/// How many steps a search may take that goes back.
const STEPS_MAX: usize = 20_000;

/// Which components must be kept apart.
pub(super) struct Rules {
    /// Whether each host runs one executor of a component at most.
    spread: Vec<bool>,
    /// The components that must not share a worker with each.
    exclusive: Vec<Vec<usize>>,
}

impl Rules {
    pub fn of(topology: &Topology) -> Rules {
        let scheduling = &topology.options().scheduling;
        let components = topology.components();
        let at = |id: &String| components.iter().position(|component| component.id == **id);
        // One more for the ackers, of which nothing is said.
        let mut rules = Rules {
            spread: vec![false; components.len() + 1],
            exclusive: vec![Vec::new(); components.len() + 1],
        };
        scheduling.spread.iter().filter_map(at).for_each(|component| rules.spread[component] = true);
        for group in &scheduling.exclusive {
            let group: Vec<usize> = group.iter().filter_map(at).collect();
            for one in &group {
                rules.exclusive[*one].extend(group.iter().filter(|other| *other != one));
            }
        }
        rules
    }

    /// How many rules each component is subject to.
    pub fn counts(&self) -> Vec<usize> {
        let both = self.spread.iter().zip(&self.exclusive);
        both.map(|(spread, exclusive)| usize::from(*spread) + exclusive.len()).collect()
    }
}

/// A worker in the making.
#[derive(Debug)]
pub(super) struct Packed {
    pub host: usize,
    /// The worker that it was before, with its slot.
    pub was: Option<(WorkerId, u16)>,
    /// Positions of its units.
    pub units: Vec<usize>,
    /// Executors of each component.
    components: BTreeMap<usize, usize>,
    spouts: usize,
}

/// What is left of a host.
struct Room {
    /// For units that are new there.
    free: Resources,
    /// For units that were there before: see [`Ledger::room_to_stay`].
    to_stay: Resources,
    /// Slots for new workers.
    slots: usize,
    /// Positions of the workers of the topology that are there.
    workers: Vec<usize>,
}

/// Where a unit could go: to a worker, or to a new one.
#[derive(Clone, Copy)]
struct Spot {
    host: usize,
    worker: Option<usize>,
    /// What it takes there, with the acker that a worker with spouts needs.
    takes: Resources,
}

/// Whether a unit was on the host before.
#[derive(Clone, Copy)]
enum Stay {
    Kept,
    New,
}

/// How far the hosts were tried for a unit: the position in their order, and the worker there.
type Cursor = (usize, usize);

/// A placement in the making.
pub(super) struct Packing<'a> {
    ledger: &'a Ledger<'a>,
    task: &'a Task<'a>,
    rules: &'a Rules,
    units: &'a [Unit],
    acker: Resources,
    rooms: Vec<Room>,
    pub workers: Vec<Packed>,
    /// Executors of a component that must be spread, by host.
    spread: BTreeMap<(usize, usize), usize>,
    /// Whether each unit has a worker.
    pub placed: Vec<bool>,
    /// What each unit took.
    taken: Vec<Resources>,
    reach: Reach,
}

impl<'a> Packing<'a> {
    pub fn new(
        (ledger, task, rules): (&'a Ledger<'a>, &'a Task<'a>, &'a Rules),
        units: &'a [Unit],
        reach: Reach,
    ) -> Packing<'a> {
        let room = |host: usize| Room {
            free: ledger.room(host),
            to_stay: ledger.room_to_stay(host),
            slots: if ledger.may_use(task.at, task.isolated, host, reach) {
                ledger.free_slots(host).into()
            } else {
                0
            },
            workers: Vec::new(),
        };
        let acker =
            if has_automatic_ackers(task.topology()) { Resources::default() } else { Resources::NONE };
        Packing {
            ledger,
            task,
            rules,
            units,
            acker,
            rooms: (0..ledger.view.hosts.len()).map(room).collect(),
            workers: Vec::new(),
            spread: BTreeMap::new(),
            placed: vec![false; units.len()],
            taken: vec![Resources::NONE; units.len()],
            reach,
        }
    }

    /// What is free on all hosts together.
    pub fn room(&self) -> Resources {
        self.rooms.iter().fold(Resources::NONE, |sum, room| sum + room.free)
    }

    /// Puts a unit where it was, if that is still possible.
    pub fn keep(&mut self, unit: usize, worker: WorkerId, place: Place) {
        if !self.ledger.may_stay(self.task.at, self.task.isolated, place.host, self.reach) {
            return;
        }
        let was = Some((worker, place.slot));
        let known = self.workers.iter().position(|packed| packed.was == was && packed.host == place.host);
        if let Some(known) = known {
            let spot = self.spot(unit, place.host, Some(known), Stay::Kept);
            spot.into_iter().for_each(|spot| self.put(unit, spot, None));
            return;
        }
        // Its slot is free for it, on a host that is closed for new workers, too.
        let room = &mut self.rooms[place.host];
        let slots = room.slots;
        room.slots = slots.max(1);
        match self.spot(unit, place.host, None, Stay::Kept) {
            Some(spot) => {
                self.put(unit, spot, was);
                self.rooms[place.host].slots = slots.saturating_sub(1);
            }
            None => self.rooms[place.host].slots = slots,
        }
    }

    /// The spot of a unit on a host, in a worker or a new one, if there is room and nothing there that it must be kept
    /// apart from.
    fn spot(&self, unit: usize, host: usize, worker: Option<usize>, stay: Stay) -> Option<Spot> {
        let (unit, room) = (&self.units[unit], &self.rooms[host]);
        let needs_acker = unit.has_spout && worker.is_none_or(|worker| self.workers[worker].spouts == 0);
        let takes = if needs_acker { unit.need + self.acker } else { unit.need };
        let fits = takes.fits(match stay {
            Stay::Kept => room.to_stay,
            Stay::New => room.free,
        });
        let has_slot =
            worker.is_some() || (room.slots > 0 && self.workers.len() < limits::WORKERS_MAX.into());
        let may = fits && has_slot && self.may_be_on(unit, host);
        let may = may && worker.is_none_or(|worker| self.may_share(unit, worker));
        may.then_some(Spot { host, worker, takes })
    }

    fn may_be_on(&self, unit: &Unit, host: usize) -> bool {
        !unit.components.iter().any(|at| self.rules.spread[*at] && self.spread.contains_key(&(host, *at)))
    }

    fn may_share(&self, unit: &Unit, worker: usize) -> bool {
        let there = &self.workers[worker].components;
        let apart = unit.components.iter().flat_map(|at| &self.rules.exclusive[*at]);
        !apart.into_iter().any(|other| there.contains_key(other))
    }

    fn put(&mut self, unit: usize, spot: Spot, was: Option<(WorkerId, u16)>) {
        let worker = spot.worker.unwrap_or_else(|| {
            self.workers.push(Packed {
                host: spot.host,
                was,
                units: Vec::new(),
                components: BTreeMap::new(),
                spouts: 0,
            });
            let room = &mut self.rooms[spot.host];
            room.slots -= 1;
            room.workers.push(self.workers.len() - 1);
            self.workers.len() - 1
        });
        let packed = &mut self.workers[worker];
        packed.units.push(unit);
        packed.spouts += usize::from(self.units[unit].has_spout);
        self.rooms[spot.host].free -= spot.takes;
        self.rooms[spot.host].to_stay -= spot.takes;
        for at in &self.units[unit].components {
            *packed.components.entry(*at).or_default() += 1;
            if self.rules.spread[*at] {
                *self.spread.entry((spot.host, *at)).or_default() += 1;
            }
        }
        (self.placed[unit], self.taken[unit]) = (true, spot.takes);
    }

    /// Takes back the unit that was put last, from the worker that got it.
    fn take_back(&mut self, unit: usize) {
        let worker = self.workers.iter().rposition(|packed| packed.units.last() == Some(&unit));
        let worker = worker.expect("it was put last");
        let packed = &mut self.workers[worker];
        packed.units.pop();
        packed.spouts -= usize::from(self.units[unit].has_spout);
        let host = packed.host;
        for at in &self.units[unit].components {
            let count = packed.components.get_mut(at).expect("it was counted");
            *count -= 1;
            if *count == 0 {
                packed.components.remove(at);
            }
            if self.rules.spread[*at] {
                self.spread.remove(&(host, *at));
            }
        }
        self.rooms[host].free += self.taken[unit];
        self.rooms[host].to_stay += self.taken[unit];
        self.placed[unit] = false;
        if packed.units.is_empty() {
            self.workers.pop();
            self.rooms[host].workers.pop();
            self.rooms[host].slots += 1;
        }
    }

    /// The hosts in the order in which they are tried.
    fn hosts(&self) -> Vec<usize> {
        let own = |host: usize| {
            let workers = self.rooms[host].workers.iter();
            workers.map(|worker| self.workers[*worker].units.len()).sum()
        };
        let candidates = (0..self.rooms.len()).filter(|host| {
            let room = &self.rooms[*host];
            room.slots > 0 || !room.workers.is_empty()
        });
        let candidate = |host: usize| Candidate {
            host,
            rack: self.ledger.host(host).rack.clone(),
            wanted: self.task.wants(&self.ledger.host(host).id),
            choice: Choice {
                own: own(host),
                room: self.rooms[host].free,
                slots: self.rooms[host].slots as u64,
            },
        };
        in_order(candidates.map(candidate).collect())
    }

    /// Puts the units in this order.
    ///
    /// # Errors
    /// What is short for the first unit that fits nowhere.
    pub fn pack(&mut self, order: &[usize]) -> Result<(), Shortage> {
        let hosts = self.hosts();
        let goes_back = self.rules.counts().iter().any(|count| *count > 0);
        let mut cursors: Vec<Cursor> = Vec::new();
        let (mut cursor, mut steps): (Cursor, usize) = ((0, 0), 0);
        let mut short = None;
        while let Some(unit) = order.get(cursors.len()) {
            if let Some((spot, next)) = self.next_spot(*unit, cursor, &hosts) {
                self.put(*unit, spot, None);
                cursors.push(next);
                cursor = (0, 0);
                continue;
            }
            let shortage = short.get_or_insert_with(|| self.shortage(*unit));
            steps += 1;
            match cursors.pop().filter(|_| goes_back && steps < STEPS_MAX) {
                Some(before) => {
                    self.take_back(order[cursors.len()]);
                    cursor = before;
                }
                None => return Err(shortage.clone()),
            }
        }
        Ok(())
    }

    /// The first spot of a unit from a cursor on, and where to go on behind it.
    fn next_spot(&self, unit: usize, (first, mut inside): Cursor, hosts: &[usize]) -> Option<(Spot, Cursor)> {
        for (position, host) in hosts.iter().enumerate().skip(first) {
            let room = &self.rooms[*host];
            if self.units[unit].need.fits(room.free) {
                let workers = room.workers.iter().copied().map(Some).chain([None]);
                for (at, worker) in workers.enumerate().skip(inside) {
                    if let Some(spot) = self.spot(unit, *host, worker, Stay::New) {
                        return Some((spot, (position, at + 1)));
                    }
                }
            }
            inside = 0;
        }
        None
    }

    /// What the hosts lack for a unit, the nearest first.
    fn shortage(&self, unit: usize) -> Shortage {
        let needs =
            self.units[unit].need + if self.units[unit].has_spout { self.acker } else { Resources::NONE };
        let (mut lacking, mut closed) = (Vec::new(), 0);
        for host in 0..self.rooms.len() {
            let is_open = self.ledger.may_use(self.task.at, self.task.isolated, host, self.reach);
            if !is_open && self.rooms[host].workers.is_empty() {
                closed += 1;
                continue;
            }
            lacking.push(self.lacks(unit, needs, host));
        }
        // The least that is lacking of what is needed, in millionths.
        let distance = |lacks: &[HostShortage]| {
            let parts = lacks.iter().map(|short| {
                let missing = u128::from(short.needed - short.free.min(short.needed));
                missing * 1_000_000 / u128::from(short.needed.max(1))
            });
            parts.max().unwrap_or(0)
        };
        lacking.sort_by_key(|lacks| (distance(lacks), lacks.len()));
        let hosts = lacking.len();
        let component = self.units[unit].components[0];
        let id = self.task.topology().components().get(component).map(|component| component.id.clone());
        Shortage {
            lack: Lack::Executor { component: id.unwrap_or_else(|| ACKER_COMPONENT.into()), needs },
            hosts: lacking.into_iter().take(HOSTS_NAMED_MAX).flatten().collect(),
            more_hosts: hosts.saturating_sub(HOSTS_NAMED_MAX),
            closed_hosts: closed,
        }
    }

    /// Everything that one host lacks for a unit.
    fn lacks(&self, unit: usize, needs: Resources, host: usize) -> Vec<HostShortage> {
        let (unit, room) = (&self.units[unit], &self.rooms[host]);
        let mut lacks = Vec::new();
        let mut add = |resource, needed: u64, free: u64| {
            let host = self.ledger.host(host).id.clone();
            lacks.push(HostShortage { host, resource, needed, free });
        };
        if needs.cpu > room.free.cpu {
            add(Resource::Cpu, needs.cpu.0, room.free.cpu.0);
        }
        if needs.memory > room.free.memory {
            add(Resource::Memory, needs.memory, room.free.memory);
        }
        if !self.may_be_on(unit, host) {
            add(Resource::Apart, 1, 0);
        } else if room.slots == 0 {
            match room.workers.is_empty() {
                true => add(Resource::Slots, 1, 0),
                false if !room.workers.iter().any(|worker| self.may_share(unit, *worker)) => {
                    add(Resource::Apart, 1, 0);
                }
                false => {}
            }
        }
        lacks
    }
}
