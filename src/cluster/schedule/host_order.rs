//! In which order hosts are tried: the racks from best to worst, and the hosts of each.
//!
//! As Storm's resource-aware scheduler does it (STORM-1766, there called subordinate resource availability):
//!
//! 1. Where most executors of the topology are already, so that it stays together.
//! 2. Where the scarcest resource is least scarce. The share of a rack in each of processor time, memory and slots that
//!    the cluster has left is computed; the least of the three counts. For a host it is its share in its rack. A rack
//!    that has much of two and nothing of the third is of no use.
//! 3. Where the mean of the three shares is greatest.
//! 4. In the order of the view; racks in that of their names.
//!
//! Hosts that the topology favors come before all others, and those that it avoids after all others.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::config::Resources;

/// A host, or a rack, that may be tried.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    /// How many executors of the topology are there.
    pub own: usize,
    /// What nobody was promised.
    pub room: Resources,
    /// Its free slots.
    pub slots: u64,
}

/// Positions of the choices, the best first.
pub(super) fn best_first(choices: &[Choice]) -> Vec<usize> {
    let of_all = choices
        .iter()
        .fold((Resources::NONE, 0), |(room, slots), choice| (room + choice.room, slots + choice.slots));
    let scores: Vec<(f64, f64)> = choices.iter().map(|choice| score(choice, of_all)).collect();
    let mut order: Vec<usize> = (0..choices.len()).collect();
    let compare = |one: &usize, other: &usize| -> Ordering {
        let (a, b) = (&choices[*one], &choices[*other]);
        let ((least_a, mean_a), (least_b, mean_b)) = (scores[*one], scores[*other]);
        b.own.cmp(&a.own).then(least_b.total_cmp(&least_a)).then(mean_b.total_cmp(&mean_a))
    };
    // A stable sort: what is equal stays in order.
    order.sort_by(compare);
    order
}

/// The least of the shares in what all have, and their mean.
fn score(choice: &Choice, (room, slots): (Resources, u64)) -> (f64, f64) {
    let share = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
    let cpu = share(choice.room.cpu.0, room.cpu.0);
    let memory = share(choice.room.memory, room.memory);
    let slots = share(choice.slots, slots);
    (cpu.min(memory).min(slots), (cpu + memory + slots) / 3.0)
}

/// A host with its rack, and where the topology wants it: 0 favored, 1 neither, 2 avoided.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub host: usize,
    pub rack: SmolStr,
    pub wanted: u8,
    pub choice: Choice,
}

/// The hosts in the order in which they are tried.
pub(super) fn in_order(candidates: Vec<Candidate>) -> Vec<usize> {
    let mut by_rack: BTreeMap<SmolStr, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        by_rack.entry(candidate.rack.clone()).or_default().push(candidate);
    }
    let racks: Vec<(Choice, Vec<Candidate>)> = by_rack.into_values().map(rack).collect();
    let choices: Vec<Choice> = racks.iter().map(|(choice, _)| choice.clone()).collect();
    let mut hosts = Vec::new();
    for rack in best_first(&choices) {
        let inside: Vec<Choice> = racks[rack].1.iter().map(|candidate| candidate.choice.clone()).collect();
        let order = best_first(&inside);
        hosts.extend(order.into_iter().map(|at| (racks[rack].1[at].wanted, racks[rack].1[at].host)));
    }
    // A stable sort: within each, racks and hosts stay in order.
    hosts.sort_by_key(|(wanted, _)| *wanted);
    hosts.into_iter().map(|(_, host)| host).collect()
}

/// A rack is the sum of its hosts.
fn rack(hosts: Vec<Candidate>) -> (Choice, Vec<Candidate>) {
    let mut sum = Choice { own: 0, room: Resources::NONE, slots: 0 };
    for Candidate { choice, .. } in &hosts {
        sum.own += choice.own;
        sum.room += choice.room;
        sum.slots += choice.slots;
    }
    (sum, hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(cores: f64, memory: u64, slots: u64) -> Choice {
        Choice { own: 0, room: Resources::new(cores, memory), slots }
    }

    /// The worked example of Storm's documentation.
    #[test]
    fn storm_orders_five_racks_by_their_scarcest_resource() {
        let racks = [
            choice(40.0, 80_000, 40),
            choice(20.0, 40_000, 40),
            choice(0.0, 80_000, 40),
            choice(1.0, 200_000, 40),
            choice(61.0, 10_000, 40),
        ];
        assert_eq!(best_first(&racks), [0, 1, 4, 3, 2]);
    }

    /// The second worked example: the scarcest resource is equal, so the mean decides.
    #[test]
    fn storm_orders_hosts_of_equal_scarcity_by_the_mean() {
        let hosts = [choice(0.5, 1024, 20), choice(0.5, 8192, 40), choice(10.0, 0, 0)];
        assert_eq!(best_first(&hosts), [1, 0, 2]);
    }

    #[test]
    fn where_the_topology_is_already_comes_first() {
        let mut hosts = [choice(4.0, 100, 4), choice(1.0, 10, 1)];
        hosts[1].own = 1;
        assert_eq!(best_first(&hosts), [1, 0]);
    }

    #[test]
    fn a_rack_comes_as_a_whole_favored_hosts_first_and_avoided_ones_last() {
        let candidate = |host, rack: &str, wanted, cores| Candidate {
            host,
            rack: rack.into(),
            wanted,
            choice: choice(cores, 100, 4),
        };
        let hosts = vec![
            candidate(0, "small", 1, 1.0),
            candidate(1, "large", 1, 4.0),
            candidate(2, "large", 2, 9.0),
            candidate(3, "large", 1, 5.0),
            candidate(4, "small", 0, 0.5),
        ];
        assert_eq!(in_order(hosts), [4, 3, 1, 0, 2]);
    }
}
