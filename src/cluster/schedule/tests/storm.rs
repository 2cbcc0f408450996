//! Storm's own cases of placement, with their numbers: `nimbus_test`, `IsolationSchedulerTest`.

use super::*;

fn planned(view: &ClusterView, topologies: &[&Topology], before: Option<&ClusterPlan>) -> ClusterPlan {
    let plan = replan(view, topologies, before);
    let demands: Vec<Demand<'_>> = topologies.iter().map(|topology| demand(topology, before)).collect();
    check(view, &demands, &plan);
    plan
}

#[test]
fn assignment_the_first_gets_its_workers_and_the_second_the_free_slots() {
    let view = hosts(4, 3);
    // A spout of one task and bolts of 4 and 1 ask for 4 workers; one of 12, 6, 8 and 4 asks for 20.
    let (first, second) = (topology("first", 4, &[1, 4, 1]), topology("second", 20, &[12, 6, 8, 4]));
    let plan = planned(&view, &[&first, &second], None);
    assert_eq!(of(&plan, "first").workers.len(), 4);
    assert_eq!(by_host(of(&plan, "first")).len(), 4, "one on each host");
    assert_eq!(of(&plan, "second").workers.len(), 8);
    let short = of(&plan, "second").shortage.as_ref().unwrap();
    assert_eq!(short.lack, Lack::Workers { asked: 20, placed: 8 });
    assert_eq!(short.to_string(), "12 slots short: it asks for 20 workers and gets 8");
    assert!(!plan.fits());
}

#[test]
fn over_parallelism_seven_workers_run_all_executors() {
    let view = hosts(2, 5);
    let plan = planned(&view, &[&topology("t", 7, &[21, 9, 2, 10])], None);
    assert_eq!(shape(of(&plan, "t")), [6; 7]);
    assert_eq!(by_host(of(&plan, "t")), [("h0".to_owned(), 4), ("h1".to_owned(), 3)]);
    assert!(plan.fits() || plan.hosts.iter().any(|host| !host.shortages().is_empty()));
}

#[test]
fn squeeze_workers_come_with_slots_and_the_last_of_three_stays_whole() {
    let t = topology("t", 4, &[9]);
    let view = |slots: &[u16]| {
        let mut view = hosts(slots.len(), 0);
        view.hosts.iter_mut().zip(slots).for_each(|(host, slots)| host.slots = *slots);
        view
    };
    let one = planned(&view(&[1]), &[&t], None);
    assert_eq!(shape(of(&one, "t")), [9]);
    let three = planned(&view(&[1, 2]), &[&t], Some(&one));
    assert_eq!(shape(of(&three, "t")), [3, 3, 3]);
    let four = planned(&view(&[1, 2, 8]), &[&t], Some(&three));
    assert_eq!(shape(of(&four, "t")), [3, 2, 2, 2]);
    let largest = of(&four, "t").workers.iter().find(|worker| worker.executors.len() == 3).unwrap();
    assert!(of(&three, "t").workers.contains(largest), "it has the slot and the executors that it had");
    assert!(four.fits());
}

#[test]
fn rebalance_six_executors_run_on_as_many_workers_as_are_asked_for() {
    let view = hosts(1, 8);
    let with = |workers, executors| topology("t", workers, &[executors]);
    let three = planned(&view, &[&with(3, 6)], None);
    assert_eq!(shape(of(&three, "t")), [2, 2, 2]);
    let six = planned(&view, &[&with(6, 6)], Some(&three));
    assert_eq!(shape(of(&six, "t")), [1; 6]);
    let one = planned(&view, &[&with(6, 1)], Some(&six));
    assert_eq!(shape(of(&one, "t")), [1]);
    // 12 tasks in 8 executors on 4 workers.
    let mut t = with(4, 8);
    t.components[0].options.tasks = Some(12);
    let four = planned(&view, &[&t], Some(&one));
    assert_eq!(shape(of(&four, "t")), [2; 4]);
    let tasks = of(&four, "t").plan.as_ref().unwrap().executors.iter().map(|it| it.tasks.len());
    assert_eq!(tasks.collect::<Vec<_>>(), [2, 2, 2, 2, 1, 1, 1, 1]);
}

#[test]
fn rebalance_plain_spreads_over_hosts_that_were_added_only_when_it_is_asked_for() {
    let t = topology("t", 3, &[3]);
    let one = planned(&hosts(1, 3), &[&t], None);
    assert_eq!(shape(of(&one, "t")), [1, 1, 1]);
    let view = hosts(3, 3);
    let unasked = planned(&view, &[&t], Some(&one));
    assert_eq!(by_host(of(&unasked, "t")), [("h0".to_owned(), 3)]);
    assert_eq!(of(&unasked, "t").moves, []);
    let asked = plan(&view, &[Demand { rebalance: true, ..demand(&t, Some(&one)) }]);
    assert_eq!(by_host(of(&asked, "t")).len(), 3);
    assert_eq!(of(&asked, "t").moves.len(), 2, "one of three stays");
    assert!(of(&asked, "t").moves.iter().all(|it| it.why == MoveReason::Rebalance));
}

#[test]
fn rebalance_of_a_constrained_cluster_never_gives_two_topologies_one_slot() {
    let view = hosts(1, 4);
    let topologies = ["a", "b", "c"].map(|name| topology(name, 3, &[3]));
    let all: Vec<&Topology> = topologies.iter().collect();
    let before = planned(&view, &all, None);
    assert_eq!(before.topologies.iter().map(|it| it.workers.len()).collect::<Vec<_>>(), [3, 1, 0]);
    let larger = topology("a", 4, &[4]);
    let after = planned(&view, &[&larger, all[1], all[2]], Some(&before));
    assert_eq!(after.topologies.iter().map(|it| it.workers.len()).collect::<Vec<_>>(), [3, 1, 0]);
}

#[test]
fn reassignment_moves_all_when_all_hosts_are_gone_and_nothing_otherwise() {
    let t = topology("t", 2, &[2]);
    let view = hosts(2, 1);
    let before = planned(&view, &[&t], None);
    // Everybody is dead: unassigned. One host is back: assigned.
    let none = planned(&hosts(0, 0), &[&t], Some(&before));
    assert_eq!(of(&none, "t").placement, None);
    assert_eq!(of(&none, "t").moves.len(), 2);
    let mut other = hosts(3, 1);
    other.hosts.drain(..2);
    let back = planned(&other, &[&t], Some(&before));
    assert_eq!(by_host(of(&back, "t")), [("h2".to_owned(), 1)]);
    assert_eq!(planned(&view, &[&t], Some(&before)).topologies[0].moves, []);
}

#[test]
fn isolation_gives_hosts_to_one_topology_alone_and_squeezes_the_others() {
    let view = hosts(6, 3);
    let shared = topology("noniso", 4, &[4]);
    let isolated = |name: &str, hosts| {
        let mut topology = topology(name, 6, &[12]);
        topology.options.scheduling.isolate = Some(hosts);
        topology
    };
    let (tester1, tester2) = (isolated("tester1", 3), isolated("tester2", 2));
    let before = planned(&view, &[&shared], None);
    assert_eq!(by_host(of(&before, "noniso")).len(), 4);
    let after = planned(&view, &[&shared, &tester1, &tester2], Some(&before));
    let counts = |name| by_host(of(&after, name)).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
    assert_eq!(counts("tester1"), [2, 2, 2]);
    assert_eq!(counts("tester2"), [3, 3]);
    assert_eq!(counts("noniso"), [3]);
    let hosts: Vec<String> = ["tester1", "tester2", "noniso"]
        .iter()
        .flat_map(|name| by_host(of(&after, name)))
        .map(|it| it.0)
        .collect();
    assert_eq!(hosts.iter().collect::<std::collections::BTreeSet<_>>().len(), 6, "no host is shared");
    assert!(of(&after, "noniso").moves.iter().any(|it| matches!(it.why, MoveReason::HostIsolatedFor(_))));
    // 20 s later nothing has changed.
    let later = planned(&view, &[&shared, &tester1, &tester2], Some(&after));
    assert!(later.topologies.iter().all(|it| it.moves.is_empty()), "{:?}", later.topologies);
}

/// Where Storm clears the shared hosts until there are enough, here they go on.
#[test]
fn isolation_without_enough_hosts_waits_and_others_run_on() {
    let view = hosts(2, 3);
    let shared = topology("shared", 4, &[4]);
    let mut isolated = topology("isolated", 3, &[3]);
    isolated.options.scheduling.isolate = Some(3);
    let before = planned(&view, &[&shared], None);
    let after = planned(&view, &[&shared, &isolated], Some(&before));
    assert_eq!(of(&after, "shared").moves, []);
    let short = of(&after, "isolated").shortage.as_ref().unwrap();
    assert_eq!(short.to_string(), "it asks for 3 hosts of its own, and 2 could be given to it");
}

#[test]
fn blacklist_new_workers_keep_off_a_host_that_failed_unless_there_is_no_other() {
    let mut view = hosts(3, 4);
    let mut blacklist = Blacklist::new(BlacklistOptions::default());
    let at = std::time::Duration::from_secs;
    (0..3).for_each(|n| blacklist.fault("h0", at(n * 10)));
    blacklist.mark(&mut view, at(30));
    let t = topology("t", 6, &[6]);
    let without = planned(&view, &[&t], None);
    assert_eq!(by_host(of(&without, "t")), [("h1".to_owned(), 3), ("h2".to_owned(), 3)]);
    // What runs there stays.
    let open = planned(&hosts(3, 4), &[&t], None);
    assert_eq!(of(&planned(&view, &[&t], Some(&open)), "t").moves, []);
    // Storm's `TestReleaseBlacklist`: with topologies that find no other slot, the host is used.
    let others = ["a", "b", "c"].map(|name| topology(name, 4, &[4]));
    let all: Vec<&Topology> = others.iter().collect();
    let full = planned(&view, &all, None);
    assert_eq!(by_host(of(&full, "c")), [("h0".to_owned(), 4)]);
    // 1800 s after the last fault it is open again.
    let mut view = hosts(3, 4);
    blacklist.mark(&mut view, at(20 + 1800));
    assert_eq!(by_host(of(&planned(&view, &[&t], None), "t")).len(), 3);
}

#[test]
fn draining_moves_workers_to_other_hosts_and_stays_where_there_is_none() {
    let t = topology("t", 2, &[2]);
    let before = planned(&hosts(2, 2), &[&t], None);
    let mut view = hosts(2, 2);
    view.hosts[0].state = HostState::Draining;
    let after = planned(&view, &[&t], Some(&before));
    assert_eq!(by_host(of(&after, "t")), [("h1".to_owned(), 2)]);
    assert_eq!(of(&after, "t").moves[0].why, MoveReason::HostDraining);
    assert_eq!(of(&after, "t").moves.len(), 1);
    view.hosts[1].state = HostState::Draining;
    let stays = planned(&view, &[&t], Some(&before));
    assert_eq!(of(&stays, "t").moves, []);
}

#[test]
fn favored_hosts_come_first_and_avoided_ones_last() {
    let view = hosts(3, 2);
    let mut t = topology("t", 4, &[4]);
    t.options.scheduling.favor = vec!["h2".to_owned()];
    t.options.scheduling.avoid = vec!["h0".to_owned()];
    let plan = planned(&view, &[&t], None);
    assert_eq!(by_host(of(&plan, "t")), [("h1".to_owned(), 2), ("h2".to_owned(), 2)]);
}

/// A host is lost, and there are slots for fewer workers: those that are left keep their slots.
#[test]
fn the_workers_that_are_left_share_what_a_lost_one_ran() {
    let t = topology("t", 3, &[6]);
    let before = planned(&hosts(3, 1), &[&t], None);
    let mut view = hosts(3, 1);
    view.hosts.remove(0);
    let after = planned(&view, &[&t], Some(&before));
    assert_eq!(shape(of(&after, "t")), [3, 3]);
    let moved: usize = of(&after, "t").moves.iter().map(|it| it.executors).sum();
    assert_eq!(moved, 2, "what ran on the lost host");
    assert!(of(&after, "t").moves.iter().all(|it| it.why == MoveReason::HostGone));
}

#[test]
fn the_even_strategy_counts_slots_only_and_the_host_says_what_is_promised_in_excess() {
    let view = hosts_with(1, 4, Resources::new(0.5, 4 << 30));
    let plan = planned(&view, &[&topology("t", 1, &[8])], None);
    assert_eq!(plan.hosts[0].shortages()[0].to_string(), "h0 lacks 0.3 of cpu (needed 0.8, free 0.5)");
    assert!(!plan.fits());
}
