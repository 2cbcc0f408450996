//! What must hold for every cluster.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A topology by numbers: parallelism of each component, workers, whether it is resource-aware, cores and memory of each
/// task, priority, isolation, and whether messages are tracked and executors fused.
type Shape = (Vec<u32>, u32, bool, u64, u64, u32, Option<u32>, bool);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let isolate = prop_oneof![4 => Just(None), 1 => (1..3_u32).prop_map(Some)];
    let one = (
        vec(1..5_u32, 1..4),
        1..6_u32,
        any::<bool>(),
        1..20_u64,
        1..20_u64,
        0..3_u32,
        isolate,
        any::<bool>(),
    );
    vec(one, 1..6)
}

fn made(shapes: &[Shape]) -> Vec<Topology> {
    let each = |(at, shape): (usize, &Shape)| {
        let (executors, workers, aware, cpu, memory, priority, isolate, tracked) = shape;
        let mut it = topology(&format!("t{at}"), *workers, executors);
        if *aware {
            it.options.scheduling.strategy = SchedulingStrategy::ResourceAware;
        }
        if *tracked {
            it.options.delivery = Delivery::AtLeastOnce;
            it.options.chain = ChainMode::Auto;
        }
        it.options.scheduling.priority = *priority;
        it.options.scheduling.isolate = *isolate;
        let resources = Resources { cpu: Cpu(cpu * 100), memory: memory << 27 };
        it.components.iter_mut().for_each(|component| component.options.resources = resources);
        if *aware && executors.len() > 1 && cpu % 3 == 0 {
            it.options.scheduling.spread = vec!["c1".to_owned()];
        }
        if *aware && executors.len() > 1 && memory % 3 == 0 {
            it.options.scheduling.exclusive = vec![vec!["c0".to_owned(), "c1".to_owned()]];
        }
        it
    };
    shapes.iter().enumerate().map(each).collect()
}

fn views() -> impl Strategy<Value = ClusterView> {
    let state = prop_oneof![
        8 => Just(HostState::Open),
        1 => Just(HostState::Draining),
        1 => Just(HostState::Blacklisted),
    ];
    vec((0..5_u16, 0..60_u64, 0..60_u64, 0..3_u8, state), 0..7).prop_map(|hosts| {
        let host = |(at, (slots, cpu, memory, rack, state)): (usize, (u16, u64, u64, u8, HostState))| Host {
            id: format!("h{at}").into(),
            rack: format!("r{rack}").into(),
            slots,
            resources: Resources { cpu: Cpu(cpu * 100), memory: memory << 27 },
            secrets: None,
            state,
            taken: (0..slots).filter(|slot| memory % 3 == 0 && cpu >> slot & 1 == 1).collect(),
        };
        ClusterView { hosts: hosts.into_iter().enumerate().map(host).collect(), guarantees: Vec::new() }
    })
}

fn demands<'a>(topologies: &'a [Topology], before: Option<&'a ClusterPlan>) -> Vec<Demand<'a>> {
    let owners = ["a", "b", ""];
    let each = |(at, it): (usize, &'a Topology)| Demand {
        owner: owners[at % 3],
        submitted: at as u64,
        ..demand(it, before)
    };
    topologies.iter().enumerate().map(each).collect()
}

fn guaranteed(mut view: ClusterView) -> ClusterView {
    view.guarantees.push(Guarantee { owner: "a".into(), resources: Resources::new(2.0, 2 << 30) });
    view
}

/// Hosts on which only resource-aware topologies run are promised no more than they have.
fn check_capacity(topologies: &[Topology], plan: &ClusterPlan) {
    for host in &plan.hosts {
        let mut evens = topologies.iter().zip(&plan.topologies).filter(|(topology, it)| {
            topology.options().scheduling.strategy == SchedulingStrategy::Even
                && it.workers.iter().any(|worker| worker.slot.host == host.host.id)
        });
        if evens.next().is_none() {
            assert_eq!(host.shortages(), [], "{}", host.host.id);
        }
    }
}

/// Components that are to be kept apart are.
fn check_apart(topologies: &[Topology], plan: &ClusterPlan) {
    for (topology, it) in topologies.iter().zip(&plan.topologies) {
        let Some(executors) = &it.plan else { continue };
        let part = |executor: &ExecutorId| match executors.executors[executor.index()].part {
            crate::topology::plan::Part::Component(at) => topology.components()[at].id.to_string(),
            crate::topology::plan::Part::Acker => "__acker".to_owned(),
        };
        let scheduling = &topology.options().scheduling;
        let mut on_host = std::collections::BTreeMap::new();
        for worker in &it.workers {
            let parts: Vec<String> = worker.executors.iter().map(part).collect();
            for group in &scheduling.exclusive {
                let there = group.iter().filter(|id| parts.contains(id)).count();
                assert!(there < 2, "{group:?} share a worker of {}", it.name);
            }
            for spread in parts.iter().filter(|id| scheduling.spread.contains(id)) {
                let count = on_host.entry((worker.slot.host.clone(), spread.clone())).or_insert(0);
                *count += 1;
                assert_eq!(*count, 1, "{spread} is on {} once", worker.slot.host);
            }
        }
    }
}

/// An isolated topology shares no host.
fn check_isolated(topologies: &[Topology], plan: &ClusterPlan) {
    for host in &plan.hosts {
        let there: Vec<&str> = plan
            .topologies
            .iter()
            .filter(|it| it.workers.iter().any(|worker| worker.slot.host == host.host.id))
            .map(|it| it.name.as_str())
            .collect();
        let isolated = |name: &&&str| {
            topologies.iter().any(|it| it.name() == **name && it.options().scheduling.isolate.is_some())
        };
        assert!(there.len() < 2 || !there.iter().any(|name| isolated(&name)), "{there:?}");
    }
}

fn check_all(view: &ClusterView, topologies: &[Topology], before: Option<&ClusterPlan>) -> ClusterPlan {
    let demands = demands(topologies, before);
    let planned = plan(view, &demands);
    check(view, &demands, &planned);
    check_capacity(topologies, &planned);
    check_apart(topologies, &planned);
    check_isolated(topologies, &planned);
    assert_eq!(plan(view, &demands), planned, "the same input gives the same plan");
    planned
}

fn moved(plan: &ClusterPlan) -> Vec<(&str, &Move)> {
    plan.topologies.iter().flat_map(|it| it.moves.iter().map(|each| (it.name.as_str(), each))).collect()
}

proptest! {
    #[test]
    fn a_second_plan_moves_nothing(view in views(), shapes in shapes()) {
        let (view, topologies) = (guaranteed(view), made(&shapes));
        let first = check_all(&view, &topologies, None);
        let second = check_all(&view, &topologies, Some(&first));
        prop_assert_eq!(moved(&second), vec![]);
        for (one, other) in first.topologies.iter().zip(&second.topologies) {
            prop_assert_eq!(&one.placement, &other.placement);
        }
    }

    #[test]
    fn whatever_changes_plans_are_sound_and_come_to_rest(
        views in vec(views(), 2..4),
        shapes in vec(shapes(), 2..4),
    ) {
        let mut before: Option<ClusterPlan> = None;
        for (view, shapes) in views.into_iter().zip(&shapes) {
            let (view, topologies) = (guaranteed(view), made(shapes));
            let next = check_all(&view, &topologies, before.as_ref());
            let again = check_all(&view, &topologies, Some(&next));
            prop_assert_eq!(moved(&again), vec![]);
            before = Some(next);
        }
    }

    /// Where all that a lost host ran finds room, nothing else moves.
    #[test]
    fn a_lost_host_moves_only_what_was_on_it(
        executors in vec(1..5_u32, 1..4),
        aware: bool,
        workers in 1..5_u32,
        lost in 0..4_usize,
    ) {
        let each = Resources::new(1.0, 1 << 20);
        let mut one = if aware { packed("t0", &executors, each) } else { topology("t0", workers, &executors) };
        one.options.workers = workers;
        let other = topology("t1", 2, &[2]);
        let topologies = [one, other];
        // Twice as much as is needed, so that it always fits.
        let all = hosts_with(12, 8, Resources::new(4.0, 4 << 30));
        let first = check_all(&all, &topologies, None);
        let hosts: Vec<String> = by_host(&first.topologies[0]).into_iter().map(|(host, _)| host).collect();
        let lost = &hosts[lost % hosts.len()];
        let mut view = all.clone();
        view.hosts.retain(|host| host.id != lost.as_str());
        let second = check_all(&view, &topologies, Some(&first));
        for (name, each) in moved(&second) {
            prop_assert_eq!(each.from.as_ref().map(|slot| slot.host.as_str()), Some(lost.as_str()), "{}", name);
            prop_assert!(each.to.is_some());
        }
        // And a host that is added moves nothing by itself.
        let third = check_all(&all, &topologies, Some(&second));
        prop_assert_eq!(moved(&third), vec![]);
    }

    /// A host that is added to a squeezed topology moves at most what evenness demands.
    #[test]
    fn an_added_host_moves_no_more_than_evenness_demands(executors in 1..20_u32, before in 1..5_u16, added in 1..5_u16) {
        let t = [topology("t0", 8, &[executors])];
        let mut view = hosts(1, before);
        let first = check_all(&view, &t, None);
        let mut new = hosts(2, added).hosts.remove(1);
        new.slots = added;
        view.hosts.push(new);
        let second = check_all(&view, &t, Some(&first));
        // What the new workers run, and nothing besides.
        let old = first.topologies[0].workers.len();
        let new: usize = second.topologies[0].workers.iter().skip(old).map(|worker| worker.executors.len()).sum();
        let moved: usize = moved(&second).iter().map(|(_, each)| each.executors).sum();
        prop_assert_eq!(moved, new);
    }

    /// A rebalance of an even topology leaves no host with two more than another that has room.
    #[test]
    fn a_rebalance_is_even_and_moves_as_few_as_can_be(workers in 1..9_u32, hosts_before in 1..4_usize, hosts_after in 1..6_usize) {
        let t = [topology("t0", workers, &[workers])];
        let before = check_all(&hosts(hosts_before, 8), &t, None);
        let count = hosts_before.max(hosts_after);
        let view = hosts(count, 8);
        let demands = [Demand { rebalance: true, ..demand(&t[0], Some(&before)) }];
        let after = plan(&view, &demands);
        check(&view, &demands, &after);
        let own = |plan: &ClusterPlan, at: usize| {
            let host = format!("h{at}");
            by_host(&plan.topologies[0]).into_iter().find(|it| it.0 == host).map_or(0, |it| it.1)
        };
        let counts: Vec<usize> = (0..count).map(|at| own(&after, at)).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        let surplus: usize = (0..count).map(|at| own(&before, at).saturating_sub(counts[at])).sum();
        let moved: usize = moved(&after).iter().map(|(_, each)| each.executors).sum();
        prop_assert_eq!(moved, surplus);
    }
}
