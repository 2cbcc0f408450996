//! Priorities and eviction: Storm's worked example, and its `TestDefaultEvictionStrategy`.

use super::*;
use crate::cluster::schedule::order::order;

/// A topology of one executor that needs a core and 1000 bytes, of an owner and with a priority.
fn one(name: &str, priority: u32) -> Topology {
    sized(name, priority, 1)
}

fn sized(name: &str, priority: u32, executors: u32) -> Topology {
    let mut topology = packed(name, &[executors], Resources::new(1.0, 1000));
    topology.options.scheduling.priority = priority;
    topology
}

/// Four hosts, each with room for one such executor.
fn four(guarantees: &[(&str, f64, u64)]) -> ClusterView {
    let guarantee = |(owner, cores, memory): &(&str, f64, u64)| Guarantee {
        owner: (*owner).into(),
        resources: Resources::new(*cores, *memory),
    };
    ClusterView {
        guarantees: guarantees.iter().map(guarantee).collect(),
        ..hosts_with(4, 4, Resources::new(1.0, 1000))
    }
}

/// Topologies with their owners and ages, planned one after the other as they are submitted.
struct Cluster {
    view: ClusterView,
    topologies: Vec<(Topology, &'static str, u64)>,
    plan: Option<ClusterPlan>,
}

impl Cluster {
    fn new(view: ClusterView) -> Cluster {
        Cluster { view, topologies: Vec::new(), plan: None }
    }

    fn submit(&mut self, topologies: Vec<(Topology, &'static str)>) {
        let at = self.topologies.len() as u64;
        self.topologies.extend(topologies.into_iter().zip(at..).map(|((it, owner), at)| (it, owner, at)));
        let demands: Vec<Demand<'_>> = self
            .topologies
            .iter()
            .map(|(it, owner, submitted)| Demand {
                owner,
                submitted: *submitted,
                ..demand(it, self.plan.as_ref())
            })
            .collect();
        let plan = plan(&self.view, &demands);
        check(&self.view, &demands, &plan);
        assert!(plan.hosts.iter().all(|host| host.shortages().is_empty()));
        self.plan = Some(plan);
    }

    fn running(&self) -> Vec<&str> {
        let plan = self.plan.as_ref().unwrap();
        let running = plan.topologies.iter().filter(|it| it.placement.is_some());
        let mut names: Vec<&str> = running.map(|it| it.name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// The worked example of Storm's documentation, with its scores.
#[test]
fn storm_scores_topologies_by_what_their_owners_are_guaranteed() {
    let each = |name: &str, priority| {
        let mut it = packed(name, &[1], Resources::new(1.0, 1000));
        it.options.scheduling.priority = priority;
        it
    };
    let topologies = [each("A-1", 1), each("A-2", 10), each("B-1", 1), each("B-2", 10)];
    let guarantee = |owner: &str, cores, memory| Guarantee {
        owner: owner.into(),
        resources: Resources::new(cores, memory),
    };
    let view = ClusterView {
        guarantees: vec![guarantee("A", 1.0, 1000), guarantee("B", 2.0, 1500)],
        ..hosts_with(1, 4, Resources::new(3.0, 4000))
    };
    let demands: Vec<Demand<'_>> =
        topologies.iter().map(|it| Demand { owner: &it.name()[..1], ..Demand::new(it) }).collect();
    let needs = vec![Resources::new(1.0, 1000); 4];
    let ranks = order(&view, &demands, &needs);
    let order: Vec<(&str, f64)> = ranks
        .iter()
        .map(|rank| (topologies[rank.topology].name(), (rank.score * 1000.0).round() / 1000.0))
        .collect();
    // `B-2` is scored again when `A-1` is given: (1,000 + 1,000 - 1,500) / 2,000.
    assert_eq!(order[..3], [("B-1", -0.125), ("A-1", 0.0), ("B-2", 0.25)]);
}

/// In the second round of the example, `A-1` and `B-2` are compared while 200 of CPU and 3,000 of memory are left.
#[test]
fn storm_scores_the_second_round_before_the_next_is_given() {
    let topologies = [one("A-1", 1), one("B-1", 1), one("B-2", 10)];
    let guarantee = |owner: &str, cores, memory| Guarantee {
        owner: owner.into(),
        resources: Resources::new(cores, memory),
    };
    let view = ClusterView {
        // `A` has more than it is guaranteed in any case, so `B-2` is next with its score of the second round.
        guarantees: vec![guarantee("A", 0.0, 0), guarantee("B", 2.0, 1500)],
        ..hosts_with(1, 4, Resources::new(3.0, 4000))
    };
    let demands: Vec<Demand<'_>> =
        topologies.iter().map(|it| Demand { owner: &it.name()[..1], ..Demand::new(it) }).collect();
    let ranks = order(&view, &demands, &[Resources::new(1.0, 1000); 3]);
    let second = (topologies[ranks[1].topology].name(), (ranks[1].score * 1000.0).round() / 1000.0);
    assert_eq!(second, ("B-2", 0.167));
}

#[test]
fn storm_evicts_the_topology_of_an_owner_that_is_beyond_its_guarantee() {
    let mut cluster = Cluster::new(four(&[("jerry", 2.0, 2000), ("bobby", 1.0, 1000), ("derek", 2.0, 2000)]));
    cluster.submit(vec![
        (one("topo-1", 10), "jerry"),
        (one("topo-2", 10), "bobby"),
        (one("topo-3", 20), "bobby"),
        (one("topo-4", 29), "derek"),
    ]);
    assert_eq!(cluster.running(), ["topo-1", "topo-2", "topo-3", "topo-4"]);
    cluster.submit(vec![(one("topo-6", 20), "jerry")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-2", "topo-4", "topo-6"]);
    let evicted = of(cluster.plan.as_ref().unwrap(), "topo-3");
    assert_eq!(evicted.evicted_for.as_deref(), Some("topo-6"));
    assert_eq!(evicted.moves[0].why, MoveReason::EvictedFor("topo-6".into()));
    assert_eq!(evicted.moves[0].to, None);
}

#[test]
fn storm_evicts_several_topologies_of_an_owner_without_a_guarantee() {
    let mut cluster = Cluster::new(four(&[("jerry", 2.0, 2000), ("derek", 1.0, 1000)]));
    cluster.submit(vec![
        (one("topo-2", 10), "bobby"),
        (one("topo-3", 20), "bobby"),
        (one("topo-4", 29), "derek"),
        (one("topo-5", 29), "derek"),
    ]);
    cluster.submit(vec![(sized("topo-1", 10, 2), "jerry")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-4", "topo-5"]);
}

#[test]
fn storm_evicts_topologies_of_several_owners_in_order() {
    let mut cluster = Cluster::new(four(&[("jerry", 3.0, 3000), ("derek", 1.0, 1000)]));
    cluster.submit(vec![
        (one("topo-2", 10), "bobby"),
        (one("topo-3", 20), "bobby"),
        (one("topo-5", 29), "derek"),
        (one("topo-4", 29), "derek"),
    ]);
    cluster.submit(vec![(one("topo-1", 10), "jerry")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-2", "topo-4", "topo-5"]);
    cluster.submit(vec![(one("topo-6", 10), "jerry")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-4", "topo-5", "topo-6"]);
    cluster.submit(vec![(one("topo-7", 10), "jerry")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-5", "topo-6", "topo-7"]);
}

#[test]
fn storm_evicts_a_topology_of_the_owner_itself() {
    let mut cluster = Cluster::new(four(&[("jerry", 2.0, 2000), ("bobby", 1.0, 1000), ("derek", 1.0, 1000)]));
    cluster.submit(vec![
        (one("topo-1", 20), "jerry"),
        (one("topo-2", 20), "jerry"),
        (one("topo-5", 10), "bobby"),
        (one("topo-6", 29), "derek"),
    ]);
    cluster.submit(vec![(one("topo-3", 29), "jerry")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-2", "topo-5", "topo-6"]);
    cluster.submit(vec![(one("topo-4", 10), "jerry")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-4", "topo-5", "topo-6"]);
}

#[test]
fn storm_evicts_beyond_guarantees_by_priority() {
    let mut cluster = Cluster::new(four(&[("jerry", 0.7, 700), ("bobby", 1.0, 1000), ("derek", 0.25, 250)]));
    cluster.submit(vec![
        (one("topo-1", 20), "jerry"),
        (one("topo-3", 10), "bobby"),
        (one("topo-4", 10), "bobby"),
        (one("topo-5", 29), "derek"),
    ]);
    cluster.submit(vec![(one("topo-6", 10), "derek")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-3", "topo-4", "topo-6"]);
    cluster.submit(vec![(one("topo-2", 20), "jerry")]);
    assert_eq!(cluster.running(), ["topo-1", "topo-3", "topo-4", "topo-6"]);
}

/// Among equals, who came first stays. A topology of higher priority takes the slot even of the even strategy.
#[test]
fn slots_go_to_the_topology_of_higher_priority() {
    let view = hosts(1, 1);
    let with = |name: &str, priority| {
        let mut it = topology(name, 1, &[1]);
        it.options.scheduling.priority = priority;
        it
    };
    let mut cluster = Cluster::new(view);
    cluster.submit(vec![(with("old", 29), "")]);
    cluster.submit(vec![(with("new", 29), "")]);
    assert_eq!(cluster.running(), ["old"]);
    cluster.submit(vec![(with("urgent", 5), "")]);
    assert_eq!(cluster.running(), ["urgent"]);
}

/// `small` is last, and in nobody's way.
#[test]
fn nobody_is_evicted_in_vain() {
    let mut view = hosts_with(2, 4, Resources::new(2.0, 1000));
    view.hosts[1].resources = Resources::new(1.0, 1000);
    let with = |name: &str, cores, priority| {
        let mut it = packed(name, &[1], Resources::new(cores, 100));
        it.options.scheduling.priority = priority;
        it
    };
    let mut cluster = Cluster::new(view);
    cluster.submit(vec![(with("large", 2.0, 28), ""), (with("small", 1.0, 29), "")]);
    cluster.submit(vec![(with("urgent", 2.0, 1), "")]);
    assert_eq!(cluster.running(), ["small", "urgent"]);
    assert_eq!(of(cluster.plan.as_ref().unwrap(), "small").moves, []);
    // It would not fit even if all others were gone.
    cluster.submit(vec![(with("huge", 3.0, 0), "")]);
    assert_eq!(cluster.running(), ["small", "urgent"]);
}
