//! The plan of a whole cluster: topology by topology, in the order of `order`.
//!
//! 1. What runs is booked first, so that nobody takes the slot of another that could have stayed.
//! 2. Each topology is placed by its strategy. If there is no room, topologies that come after it are evicted, the last
//!    one first, if `order::may_evict` allows it and only if it helps. Those that turn out not to be in the way get
//!    their places back.
//! 3. An isolated topology takes hosts with as few workers of others as can be, and these must leave.
//! 4. Whoever lost a place comes later in the order, and is placed again. The rounds are repeated until one changes
//!    nothing, so that the next plan of the same cluster moves nothing. They end: each change gives a place to a topology
//!    and takes places only from later ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cluster::schedule::even::{self, place_evenly};
use crate::cluster::schedule::host_order::{Choice, best_first};
use crate::cluster::schedule::ledger::{Counts, Held, Ledger, Place, Reach};
use crate::cluster::schedule::order::{Rank, may_evict, order};
use crate::cluster::schedule::resource_aware::pack;
use crate::cluster::schedule::shortage::{Lack, Shortage};
use crate::cluster::schedule::task::{Placed, Preferred, Task, held_before, need_of_all};
use crate::cluster::schedule::view::{ClusterView, Demand, HostState};
use crate::config::{Resources, SchedulingStrategy};

/// A plan in the making. Topologies are positions among the demands.
pub(super) struct Planner<'a> {
    demands: &'a [Demand<'a>],
    pub ledger: Ledger<'a>,
    tasks: Vec<Task<'a>>,
    ranks: Vec<Rank>,
    /// Where each runs now.
    running: Vec<Preferred>,
    /// What is booked for each.
    held: Vec<Held>,
    pub placed: Vec<Option<Placed>>,
    pub shortages: Vec<Option<Shortage>>,
    /// What is short elsewhere, if it stays on hosts that are draining.
    pub stays: Vec<Option<Shortage>>,
    /// For whom each was evicted last.
    pub evicted_for: Vec<Option<usize>>,
    /// The isolated topologies for which each had to leave a host, by host.
    pub left_for: Vec<BTreeMap<usize, usize>>,
}

/// What was taken from a topology, to be given back if it did not help.
struct Taken {
    topology: usize,
    held: Held,
    placed: Option<Placed>,
    /// The hosts that were its own.
    hosts: Vec<usize>,
}

impl<'a> Planner<'a> {
    pub fn new(view: &'a ClusterView, demands: &'a [Demand<'a>]) -> Planner<'a> {
        let needs: Vec<Resources> = demands.iter().map(|demand| need_of_all(demand.topology)).collect();
        let by_id: HashMap<&str, usize> =
            view.hosts.iter().enumerate().map(|(at, host)| (host.id.as_str(), at)).collect();
        let count = demands.len();
        Planner {
            demands,
            ledger: Ledger::new(view, demands),
            tasks: demands.iter().enumerate().map(|(at, demand)| Task::new(at, demand)).collect(),
            ranks: order(view, demands, &needs),
            running: demands.iter().map(|demand| running(view, demand, &by_id)).collect(),
            held: vec![Held::new(); count],
            placed: vec![None; count],
            shortages: vec![None; count],
            stays: vec![None; count],
            evicted_for: vec![None; count],
            left_for: vec![BTreeMap::new(); count],
        }
    }

    /// Makes the plan.
    pub fn run(&mut self) {
        for rank in self.ranks.clone() {
            self.book_running(rank.topology);
        }
        for _ in 0..self.demands.len() + 2 {
            let mut changed = false;
            for position in 0..self.ranks.len() {
                if !self.is_settled(self.ranks[position].topology) {
                    changed |= self.settle(position);
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Books what runs, as far as it can stay.
    fn book_running(&mut self, topology: usize) {
        let Some(assignment) = &self.running[topology].assignment else { return };
        let before = held_before(&self.tasks[topology], assignment, &self.running[topology].slots);
        let held = self.bookable(topology, before);
        self.book(topology, held);
    }

    /// What of it can be booked: slots that are free, and with the resource-aware strategy room for what runs there.
    fn bookable(&self, topology: usize, held: Held) -> Held {
        let counts = self.counts(topology) == Counts::Resources;
        let mut promised: BTreeMap<usize, Resources> = BTreeMap::new();
        let fits = |promised: &mut BTreeMap<usize, Resources>, (place, load): (Place, Resources)| {
            let sum = promised.entry(place.host).or_insert(Resources::NONE);
            let fits = !counts || (*sum + load).fits(self.ledger.room_to_stay(place.host));
            if fits {
                *sum += load;
            }
            fits
        };
        held.into_iter()
            .filter(|(_, (place, load))| self.ledger.is_free(*place) && fits(&mut promised, (*place, *load)))
            .collect()
    }

    fn strategy(&self, topology: usize) -> SchedulingStrategy {
        self.demands[topology].topology.options().scheduling.strategy
    }

    fn counts(&self, topology: usize) -> Counts {
        match self.strategy(topology) {
            SchedulingStrategy::Even => Counts::Slots,
            SchedulingStrategy::ResourceAware => Counts::Resources,
        }
    }

    fn book(&mut self, topology: usize, held: Held) {
        self.ledger.book(topology, self.counts(topology), &held);
        self.held[topology] = held;
    }

    fn release(&mut self, topology: usize) -> Held {
        let held = std::mem::take(&mut self.held[topology]);
        self.ledger.release(self.counts(topology), &held);
        held
    }

    /// Whether it has all that it could have.
    fn is_settled(&self, topology: usize) -> bool {
        let leaves = |place: &Place| self.ledger.host(place.host).state == HostState::Draining;
        let stays = !self.held[topology].values().any(|(place, _)| leaves(place));
        self.placed[topology].is_some() && self.shortages[topology].is_none() && stays
    }

    /// Places a topology. Whether anything changed.
    fn settle(&mut self, position: usize) -> bool {
        let topology = self.ranks[position].topology;
        let before = self.placed[topology].take();
        self.release(topology);
        let preferred = self.preferred(topology, before.as_ref());
        let result = match self.tasks[topology].isolated {
            true => self.place_isolated(position, &preferred).or_else(|shortage| {
                // Where it is may be what keeps it from having enough.
                self.place_isolated(position, &Preferred::default()).map_err(|_| shortage)
            }),
            false => self.place_or_evict(position, &preferred),
        };
        self.stays[topology] = None;
        match result {
            Ok((placed, shortage)) => {
                self.stays[topology] = self.why_it_stays(topology, &placed, &preferred);
                self.shortages[topology] = shortage;
                self.placed[topology] = Some(placed);
            }
            Err(shortage) => self.shortages[topology] = Some(shortage),
        }
        self.placed[topology] != before
    }

    /// What was short on other hosts, if a topology that was just booked has workers on hosts that are draining.
    fn why_it_stays(&mut self, topology: usize, placed: &Placed, preferred: &Preferred) -> Option<Shortage> {
        let is_draining =
            |(place, _): &(Place, Resources)| self.ledger.host(place.host).state == HostState::Draining;
        if !placed.held.values().any(is_draining) {
            return None;
        }
        let held = self.release(topology);
        let elsewhere = self.place_within(topology, preferred, Reach::Open);
        self.book(topology, held);
        elsewhere.err()
    }

    /// What it would like to keep: what this plan gave it before, or where it runs.
    fn preferred(&self, topology: usize, before: Option<&Placed>) -> Preferred {
        let mut preferred = match before {
            Some(placed) => Preferred {
                assignment: Some(placed.assignment.clone()),
                slots: placed.held.iter().map(|(worker, (place, _))| (*worker, *place)).collect(),
            },
            None => self.running[topology].clone(),
        };
        preferred.slots.retain(|_, place| self.ledger.is_free(*place));
        preferred
    }

    fn place_or_evict(
        &mut self,
        position: usize,
        preferred: &Preferred,
    ) -> Result<(Placed, Option<Shortage>), Shortage> {
        let rank = self.ranks[position];
        let first = self.place(rank.topology, preferred);
        let Err(shortage) = first else {
            return first.inspect(|(placed, _)| self.book(rank.topology, placed.held.clone()));
        };
        let may = |victim: &&Rank| {
            let isolated = self.tasks[victim.topology].isolated;
            !isolated && !self.held[victim.topology].is_empty() && may_evict(self.demands, rank, **victim)
        };
        let victims: Vec<usize> =
            self.ranks[position + 1..].iter().rev().filter(may).map(|victim| victim.topology).collect();
        if victims.is_empty() {
            return Err(shortage);
        }
        let all: Vec<Taken> = victims.iter().map(|victim| self.take(*victim)).collect();
        let helps = self.place(rank.topology, preferred).is_ok();
        all.into_iter().for_each(|taken| self.give_back(taken));
        if !helps {
            return Err(shortage);
        }
        let mut evicted = Vec::new();
        for victim in victims {
            evicted.push(self.take(victim));
            let placed = self.place(rank.topology, preferred);
            if let Ok((placed, short)) = placed {
                self.book(rank.topology, placed.held.clone());
                self.return_what_fits(rank.topology, evicted);
                return Ok((placed, short));
            }
        }
        evicted.into_iter().for_each(|taken| self.give_back(taken));
        Err(shortage)
    }

    fn take(&mut self, topology: usize) -> Taken {
        let held = self.release(topology);
        let own = |host: &usize| self.ledger.isolated_by(*host) == Some(topology);
        let hosts: Vec<usize> = (0..self.ledger.view.hosts.len()).filter(own).collect();
        hosts.iter().for_each(|host| self.ledger.isolate(*host, None));
        Taken { topology, held, placed: self.placed[topology].take(), hosts }
    }

    fn give_back(&mut self, Taken { topology, held, placed, hosts }: Taken) {
        self.book(topology, held);
        self.placed[topology] = placed;
        hosts.iter().for_each(|host| self.ledger.isolate(*host, Some(topology)));
    }

    /// Gives back to those that were not in the way, the last evicted first: it comes before the others.
    fn return_what_fits(&mut self, first: usize, evicted: Vec<Taken>) {
        for taken in evicted.into_iter().rev() {
            let fits = self.bookable(taken.topology, taken.held.clone()) == taken.held;
            if fits {
                self.give_back(taken);
            } else {
                self.evicted_for[taken.topology] = Some(first);
            }
        }
    }

    /// Places an isolated topology on hosts of its own. Others leave them, isolated ones only if they come later.
    fn place_isolated(
        &mut self,
        position: usize,
        preferred: &Preferred,
    ) -> Result<(Placed, Option<Shortage>), Shortage> {
        let topology = self.ranks[position].topology;
        let asked = self.demands[topology].topology.options().scheduling.isolate.unwrap_or(1) as usize;
        let before = self.take(topology);
        debug_assert!(before.held.is_empty(), "it was released");
        let mut hosts = self.hosts_for(position, preferred);
        if hosts.len() < asked {
            let there = hosts.len();
            let closed_hosts = self.ledger.view.hosts.len() - there;
            let lack = Lack::Hosts { asked, there };
            return Err(Shortage { lack, hosts: Vec::new(), more_hosts: 0, closed_hosts });
        }
        hosts.truncate(asked);
        let mut left: Vec<Taken> = Vec::new();
        for host in &hosts {
            // One that has the host for itself has another claim then, or none.
            left.extend(self.ledger.isolated_by(*host).map(|other| self.take(other)));
            for other in self.ledger.on(*host) {
                left.push(self.take_from(other, *host));
            }
            self.ledger.isolate(*host, Some(topology));
        }
        let placed = self.place(topology, preferred);
        if let Ok((placed, _)) = &placed {
            self.book(topology, placed.held.clone());
            for taken in left {
                let on = taken.held.values().map(|(place, _)| place.host).filter(|host| hosts.contains(host));
                self.left_for[taken.topology].extend(on.map(|host| (host, topology)));
            }
        } else {
            hosts.iter().for_each(|host| self.ledger.isolate(*host, None));
            // The other way round, because a topology may have left several hosts.
            for taken in left.into_iter().rev() {
                self.release(taken.topology);
                self.give_back(taken);
            }
        }
        placed
    }

    /// Takes the slots of one host from a topology. Returns all that it had.
    fn take_from(&mut self, topology: usize, host: usize) -> Taken {
        let taken = self.take(topology);
        let mut rest = taken.held.clone();
        rest.retain(|_, (place, _)| place.host != host);
        self.book(topology, rest);
        taken
    }

    /// The hosts that an isolated topology could have, the best first: those that it wants, those where it is, those
    /// with fewest workers of others, those that are not blacklisted, those with most room. Draining hosts come last.
    fn hosts_for(&self, position: usize, preferred: &Preferred) -> Vec<usize> {
        let topology = self.ranks[position].topology;
        let mut own: BTreeMap<usize, usize> = BTreeMap::new();
        preferred.slots.values().for_each(|place| *own.entry(place.host).or_default() += 1);
        let earlier: BTreeSet<usize> = self.ranks[..position].iter().map(|rank| rank.topology).collect();
        let view = self.ledger.view;
        let is_free =
            |host: usize| self.ledger.isolated_by(host).is_none_or(|other| !earlier.contains(&other));
        let mut hosts: Vec<usize> =
            (0..view.hosts.len()).filter(|host| view.hosts[*host].slots > 0 && is_free(*host)).collect();
        let goes_on = |host: &usize| own.contains_key(host) && !self.demands[topology].begins_anew;
        let may = |host: &usize| goes_on(host) || !self.ledger.lacks_secret(topology, *host);
        hosts.retain(may);
        let best = self.by_room(topology, &hosts);
        hosts.sort_by_key(|host| {
            let own = own.get(host).copied().unwrap_or(0);
            let state = view.hosts[*host].state;
            let (leaves, is_bad) = (state == HostState::Draining, state == HostState::Blacklisted);
            let wants = self.tasks[topology].wants(&view.hosts[*host].id);
            let foreign = self.ledger.foreign(*host, topology);
            (leaves, wants, Reverse(own), foreign, is_bad, best[host])
        });
        hosts
    }

    /// The place of each host in the order of what it has.
    fn by_room(&self, topology: usize, hosts: &[usize]) -> BTreeMap<usize, usize> {
        let choice = |host: &usize| {
            let host = self.ledger.host(*host);
            let room = match self.counts(topology) {
                // Where only slots count, all hosts have the same of the rest.
                Counts::Slots => Resources::new(1.0, 1),
                Counts::Resources => host.resources,
            };
            Choice { own: 0, room, slots: host.slots.into() }
        };
        let choices: Vec<Choice> = hosts.iter().map(choice).collect();
        best_first(&choices).into_iter().enumerate().map(|(rank, at)| (hosts[at], rank)).collect()
    }

    /// Places a topology without taking anything from others.
    fn place(&self, topology: usize, preferred: &Preferred) -> Result<(Placed, Option<Shortage>), Shortage> {
        let mut first = None;
        for reach in self.reaches() {
            match self.place_within(topology, preferred, reach) {
                Ok(placed) => return Ok(placed),
                Err(shortage) => first.get_or_insert(shortage),
            };
        }
        Err(first.expect("there is an attempt for open hosts"))
    }

    /// The same, on these hosts.
    fn place_within(
        &self,
        topology: usize,
        preferred: &Preferred,
        reach: Reach,
    ) -> Result<(Placed, Option<Shortage>), Shortage> {
        let task = &self.tasks[topology];
        match self.strategy(topology) {
            SchedulingStrategy::Even => place_evenly(&self.ledger, task, preferred, reach)
                .map(|placed| (self.fewer_workers(task, placed.held.len()), placed))
                .map(|(shortage, placed)| (placed, shortage))
                .ok_or_else(|| self.no_slot(task)),
            SchedulingStrategy::ResourceAware => {
                pack(&self.ledger, task, preferred, reach).map(|placed| (placed, None))
            }
        }
    }

    fn reaches(&self) -> Vec<Reach> {
        let any = |state| self.ledger.view.hosts.iter().any(|host| host.state == state);
        let further =
            [(any(HostState::Draining), Reach::Draining), (any(HostState::Blacklisted), Reach::Blacklisted)];
        let further = further.into_iter().filter(|(is, _)| *is).map(|(_, reach)| reach);
        [Reach::Open].into_iter().chain(further).collect()
    }

    /// What is short if a topology has fewer workers than it could use.
    fn fewer_workers(&self, task: &Task<'_>, placed: usize) -> Option<Shortage> {
        if task.topology().options().workers as usize <= placed {
            return None;
        }
        let asked = even::wanted(task);
        (asked > placed).then(|| self.slots_short(task, asked, placed))
    }

    fn no_slot(&self, task: &Task<'_>) -> Shortage {
        self.slots_short(task, even::wanted(task), 0)
    }

    fn slots_short(&self, task: &Task<'_>, asked: usize, placed: usize) -> Shortage {
        let usable = |host: &usize| self.ledger.may_use(task.at, task.isolated, *host, Reach::Open);
        let hosts = self.ledger.view.hosts.len();
        let closed_hosts = hosts - (0..hosts).filter(usable).count();
        Shortage { lack: Lack::Workers { asked, placed }, hosts: Vec::new(), more_hosts: 0, closed_hosts }
    }
}

/// Where a topology runs, on hosts and slots that are there.
fn running(view: &ClusterView, demand: &Demand<'_>, by_id: &HashMap<&str, usize>) -> Preferred {
    let Some(current) = demand.current else { return Preferred::default() };
    let mut taken = BTreeSet::new();
    let places = current.slots.iter().filter_map(|(worker, slot)| {
        let host = *by_id.get(slot.host.as_str())?;
        let place = Place { host, slot: slot.number };
        // What was stored may be wrong: no slot is two workers'.
        (slot.number < view.hosts[host].slots && taken.insert(place)).then_some((*worker, place))
    });
    Preferred { assignment: Some(current.assignment.clone()), slots: places.collect() }
}
