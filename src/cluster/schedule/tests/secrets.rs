//! Hosts that lack a secret of a topology.

use super::*;
use crate::secrets::SecretName;

fn name(text: &str) -> SecretName {
    text.parse().expect("a name")
}

/// As [`hosts`], of which those at these positions have the secret `db`.
fn hosts_of_db(count: usize, slots: u16, having: &[usize]) -> ClusterView {
    let mut view = hosts(count, slots);
    for (at, host) in view.hosts.iter_mut().enumerate() {
        host.secrets = Some(if having.contains(&at) { [name("db")].into() } else { Default::default() });
    }
    view
}

/// Four executors that need the secret `db`.
fn orders(strategy: SchedulingStrategy, workers: u32) -> Topology {
    let mut topology = match strategy {
        SchedulingStrategy::Even => topology("orders", workers, &[2, 2]),
        SchedulingStrategy::ResourceAware => packed("orders", &[2, 2], Resources::new(1.0, 1 << 20)),
    };
    topology.secrets.insert(name("db"));
    topology
}

const STRATEGIES: [SchedulingStrategy; 2] = [SchedulingStrategy::Even, SchedulingStrategy::ResourceAware];

#[test]
fn workers_come_to_hosts_that_have_the_secret() {
    for strategy in STRATEGIES {
        let orders = orders(strategy, 4);
        let view = hosts_of_db(4, 4, &[1, 3]);
        let plan = plan(&view, &[Demand::new(&orders)]);
        let used = by_host(of(&plan, "orders"));
        assert!(!used.is_empty() && used.iter().all(|(host, _)| host == "h1" || host == "h3"), "{used:?}");
    }
}

#[test]
fn without_such_a_host_it_does_not_run_and_others_do() {
    for strategy in STRATEGIES {
        let (orders, plain) = (orders(strategy, 2), topology("plain", 2, &[2, 2]));
        let view = hosts_of_db(3, 2, &[]);
        let plan = plan(&view, &[Demand::new(&orders), Demand::new(&plain)]);
        assert!(of(&plan, "orders").placement.is_none());
        let shortage = of(&plan, "orders").shortage.as_ref().expect("it is short").to_string();
        assert!(shortage.contains("3 hosts may not be used"), "{shortage}");
        assert!(of(&plan, "plain").placement.is_some());
    }
}

#[test]
fn what_is_not_known_of_a_host_does_not_keep_workers_away() {
    let orders = orders(SchedulingStrategy::Even, 2);
    let plan = plan(&hosts(2, 2), &[Demand::new(&orders)]);
    assert_eq!(by_host(of(&plan, "orders")).len(), 2);
}

#[test]
fn what_runs_stays_when_a_secret_is_lost_and_leaves_when_it_begins_anew() {
    for strategy in STRATEGIES {
        let orders = orders(strategy, 2);
        let before = plan(&hosts_of_db(3, 2, &[0]), &[Demand::new(&orders)]);
        assert_eq!(by_host(of(&before, "orders")).iter().map(|(host, _)| host).collect::<Vec<_>>(), ["h0"]);
        let lost = hosts_of_db(3, 2, &[2]);
        let goes_on = demand(&orders, Some(&before));
        let after = plan(&lost, &[goes_on]);
        assert_eq!(of(&after, "orders").moves, []);
        assert_eq!(of(&after, "orders").placement, of(&before, "orders").placement);
        let after = plan(&lost, &[Demand { begins_anew: true, ..goes_on }]);
        assert_eq!(by_host(of(&after, "orders")).iter().map(|(host, _)| host).collect::<Vec<_>>(), ["h2"]);
        let why = &of(&after, "orders").moves[0].why;
        assert_eq!(why, &MoveReason::HostLacksSecret);
        let nowhere = plan(&hosts_of_db(3, 2, &[]), &[Demand { begins_anew: true, ..goes_on }]);
        assert!(of(&nowhere, "orders").placement.is_none());
    }
}

/// A worker whose host is gone must not come to a host without the secret, although others may stay on one.
#[test]
fn a_worker_that_moves_moves_to_a_host_that_has_the_secret() {
    let orders = orders(SchedulingStrategy::Even, 2);
    let before = plan(&hosts_of_db(2, 1, &[0, 1]), &[Demand::new(&orders)]);
    let mut view = hosts_of_db(4, 1, &[3]);
    view.hosts.remove(1);
    let after = plan(&view, &[demand(&orders, Some(&before))]);
    let used: Vec<String> = by_host(of(&after, "orders")).into_iter().map(|(host, _)| host).collect();
    assert_eq!(used, ["h0", "h3"]);
}

#[test]
fn an_isolated_topology_gets_hosts_that_have_the_secret() {
    let mut orders = orders(SchedulingStrategy::Even, 2);
    orders.options.scheduling.isolate = Some(2);
    let after = plan(&hosts_of_db(4, 2, &[2, 3]), &[Demand::new(&orders)]);
    let used: Vec<String> = by_host(of(&after, "orders")).into_iter().map(|(host, _)| host).collect();
    assert_eq!(used, ["h2", "h3"]);
    let short = plan(&hosts_of_db(4, 2, &[2]), &[Demand::new(&orders)]);
    assert!(of(&short, "orders").placement.is_none());
}
