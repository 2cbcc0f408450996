//! The resource-aware strategy: capacity, racks, constraints, and what is short.

use super::*;

fn planned(view: &ClusterView, topologies: &[&Topology], before: Option<&ClusterPlan>) -> ClusterPlan {
    let plan = replan(view, topologies, before);
    let demands: Vec<Demand<'_>> = topologies.iter().map(|topology| demand(topology, before)).collect();
    check(view, &demands, &plan);
    assert!(plan.hosts.iter().all(|host| host.shortages().is_empty()), "no host is promised too much");
    plan
}

#[test]
fn a_topology_fills_one_host_before_the_next() {
    let view = hosts_with(3, 4, Resources::new(4.0, 4 << 30));
    let plan = planned(&view, &[&packed("t", &[2, 4], Resources::new(1.0, 128 << 20))], None);
    assert_eq!(shape(of(&plan, "t")), [4, 2]);
    assert!(plan.fits());
}

#[test]
fn memory_binds_where_it_is_scarcer_than_processor_time() {
    let view = hosts_with(3, 4, Resources::new(100.0, 1 << 30));
    let plan = planned(&view, &[&packed("t", &[6], Resources::new(0.1, 512 << 20))], None);
    assert_eq!(shape(of(&plan, "t")), [2, 2, 2]);
}

#[test]
fn what_is_short_names_the_resource_and_the_nearest_hosts() {
    let mut view = hosts_with(5, 4, Resources::new(1.0, 1 << 30));
    view.hosts[2].resources.memory = 3 << 29;
    view.hosts[4].state = HostState::Draining;
    let plan = planned(&view, &[&packed("t", &[1], Resources::new(1.5, 2 << 30))], None);
    assert_eq!(of(&plan, "t").placement, None);
    assert_eq!(
        of(&plan, "t").shortage.as_ref().unwrap().to_string(),
        "no host has room for an executor of `c0`, which needs 1.5 cores and 2GiB: \
         h2 lacks 0.5 of cpu (needed 1.5, free 1); h2 lacks 512MiB of memory (needed 2GiB, free 1536MiB); \
         h0 lacks 0.5 of cpu (needed 1.5, free 1); h0 lacks 1GiB of memory (needed 2GiB, free 1GiB); \
         h1 lacks 0.5 of cpu (needed 1.5, free 1); h1 lacks 1GiB of memory (needed 2GiB, free 1GiB); \
         1 more hosts have too little; 1 host may not be used (draining, blacklisted, isolated or without its secrets)"
    );
}

#[test]
fn an_acker_counts_where_spouts_are() {
    let mut t = packed("t", &[1], Resources::new(1.0, 1 << 20));
    t.options.delivery = Delivery::AtLeastOnce;
    let one = hosts_with(1, 4, Resources::new(1.0, 4 << 30));
    assert_eq!(of(&planned(&one, &[&t], None), "t").placement, None);
    let more = hosts_with(1, 4, Resources::new(1.1, 4 << 30));
    assert_eq!(shape(of(&planned(&more, &[&t], None), "t")), [2]);
}

#[test]
fn a_topology_stays_in_one_rack_if_it_can() {
    let mut view = hosts_with(4, 4, Resources::new(2.0, 4 << 30));
    for (host, rack) in view.hosts.iter_mut().zip(["a", "b", "a", "b"]) {
        host.rack = rack.into();
    }
    let plan = planned(&view, &[&packed("t", &[4], Resources::new(1.0, 1 << 20))], None);
    assert_eq!(by_host(of(&plan, "t")), [("h0".to_owned(), 1), ("h2".to_owned(), 1)]);
    // What is lost comes back near the rest, though the other rack has more room.
    view.hosts[0].slots = 0;
    view.hosts[2].resources.cpu = Cpu(4000);
    view.hosts[3].resources.cpu = Cpu(9000);
    let after = planned(&view, &[&packed("t", &[4], Resources::new(1.0, 1 << 20))], Some(&plan));
    assert_eq!(by_host(of(&after, "t")), [("h2".to_owned(), 1)]);
}

#[test]
fn spread_keeps_executors_of_a_component_on_different_hosts() {
    let mut t = packed("t", &[1, 3], Resources::new(0.1, 1 << 20));
    t.options.scheduling.spread = vec!["c1".to_owned()];
    let plan = planned(&hosts(3, 4), &[&t], None);
    assert_eq!(shape(of(&plan, "t")), [2, 1, 1]);
    let few = planned(&hosts(2, 4), &[&t], None);
    let short = of(&few, "t").shortage.as_ref().unwrap().to_string();
    assert!(short.ends_with("h0 has it, or what it must be kept apart from, already; h1 has it, or what it must be kept apart from, already"), "{short}");
}

#[test]
fn exclusive_components_get_workers_of_their_own_on_one_host() {
    let mut t = packed("t", &[2, 2, 2], Resources::new(0.1, 1 << 20));
    t.options.scheduling.exclusive = vec![vec!["c0".to_owned(), "c1".to_owned()]];
    let view = hosts(2, 4);
    let plan = planned(&view, &[&t], None);
    assert_eq!(by_host(of(&plan, "t")), [("h0".to_owned(), 2)]);
    let executors = of(&plan, "t").plan.as_ref().unwrap();
    for worker in &of(&plan, "t").workers {
        let parts: std::collections::BTreeSet<_> =
            worker.executors.iter().map(|it| executors.executors[it.index()].part).collect();
        let has = |at| parts.contains(&crate::topology::plan::Part::Component(at));
        assert!(!(has(0) && has(1)), "{parts:?}");
    }
    let again = planned(&view, &[&t], Some(&plan));
    assert_eq!(of(&again, "t").moves, []);
}

/// Fused with a component, its executors could not be kept apart from it.
#[test]
fn exclusive_components_are_not_fused() {
    let mut t = packed("t", &[1, 1], Resources::new(0.1, 1 << 20));
    t.options.chain = ChainMode::Auto;
    assert_eq!(shape(of(&planned(&hosts(1, 4), &[&t], None), "t")), [2]);
    t.options.scheduling.exclusive = vec![vec!["c0".to_owned(), "c1".to_owned()]];
    assert_eq!(shape(of(&planned(&hosts(1, 4), &[&t], None), "t")), [1, 1]);
}

/// Greedy, `c0` takes the host that `c1` needs, because `c1` is larger and they must not share a worker.
#[test]
fn the_search_goes_back_where_components_are_kept_apart() {
    let mut t = packed("t", &[1, 1, 1], Resources::new(1.0, 1 << 20));
    t.components[2].options.resources = Resources::new(3.0, 1 << 20);
    t.components[2].inputs.clear();
    t.options.scheduling.exclusive =
        vec![vec!["c0".to_owned(), "c2".to_owned()], vec!["c1".to_owned(), "c2".to_owned()]];
    let mut view = hosts_with(2, 1, Resources::new(4.0, 1 << 30));
    view.hosts[1].resources.cpu = Cpu(2000);
    let plan = planned(&view, &[&t], None);
    assert_eq!(by_host(of(&plan, "t")).len(), 2);
}

#[test]
fn a_lost_host_moves_only_what_was_on_it() {
    let t = packed("t", &[2, 6], Resources::new(1.0, 1 << 20));
    let before = planned(&hosts(4, 4), &[&t], None);
    assert_eq!(shape(of(&before, "t")), [4, 4]);
    let lost = of(&before, "t").workers[0].slot.host.clone();
    let mut view = hosts(4, 4);
    view.hosts.retain(|host| host.id != lost);
    let after = planned(&view, &[&t], Some(&before));
    let moves = &of(&after, "t").moves;
    assert_eq!(moves.iter().map(|it| it.executors).sum::<usize>(), 4, "{moves:?}");
    assert!(moves.iter().all(|it| it.why == MoveReason::HostGone));
}

/// It must move, although its host is there.
#[test]
fn what_does_not_fit_any_more_moves_and_the_rest_stays() {
    let t = packed("t", &[4], Resources::new(1.0, 1 << 20));
    let view = hosts(2, 4);
    let before = planned(&view, &[&t], None);
    let larger = packed("t", &[4], Resources::new(1.5, 1 << 20));
    let after = planned(&view, &[&larger], Some(&before));
    assert_eq!(shape(of(&after, "t")), [2, 2]);
    assert_eq!(of(&after, "t").moves[0].why, MoveReason::NoRoom);
    assert_eq!(of(&after, "t").moves[0].executors, 2);
}

/// Where more workers come out than `workers` says, fewer executors may be fused.
#[test]
fn chains_fit_the_workers_that_come_out() {
    let mut t = packed("t", &[3, 3, 3], Resources::new(1.0, 1 << 20));
    t.options.chain = ChainMode::Auto;
    let view = hosts_with(9, 1, Resources::new(1.0, 1 << 30));
    let plan = planned(&view, &[&t], None);
    assert!(plan.fits(), "{:?}", of(&plan, "t").shortage);
    assert_eq!(of(&plan, "t").workers.len(), 9);
    assert_eq!(of(&planned(&view, &[&t], Some(&plan)), "t").moves, []);
}

#[test]
fn isolated_and_resource_aware_it_fills_its_own_hosts() {
    let view = hosts(3, 4);
    let mut t = packed("t", &[4], Resources::new(0.1, 1 << 20));
    t.options.scheduling.isolate = Some(2);
    let other = topology("other", 8, &[8]);
    let before = planned(&view, &[&other], None);
    let plan = planned(&view, &[&other, &t], Some(&before));
    assert_eq!(by_host(of(&plan, "t")).len(), 1);
    assert_eq!(by_host(of(&plan, "other")).len(), 1, "the second host of `t` is empty");
    let again = planned(&view, &[&other, &t], Some(&plan));
    assert!(again.topologies.iter().all(|it| it.moves.is_empty()));
}
