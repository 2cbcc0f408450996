//! Placement: Storm's cases, and properties over topologies of any shape.

use super::*;
use crate::config::{ChainMode, Delivery};
use crate::topology::graph::testing::topology;

/// A topology without ackers: spouts and bolts with so many executors.
fn shaped(spouts: &[u32], bolts: &[u32]) -> Topology {
    let names: Vec<String> = (0..spouts.len() + bolts.len()).map(|at| format!("c{at}")).collect();
    let inputs: [&str; 1] = [&names[0]];
    let component = |at: usize| (&*names[at], if at < spouts.len() { &[][..] } else { &inputs[..] });
    let mut topology = topology(&(0..names.len()).map(component).collect::<Vec<_>>());
    topology.options.chain = ChainMode::Off;
    for (component, executors) in topology.components.iter_mut().zip(spouts.iter().chain(bolts)) {
        component.options.parallelism = *executors;
    }
    topology
}

fn untracked(mut topology: Topology) -> Topology {
    topology.options.delivery = Delivery::AtMostOnce;
    topology
}

/// Executors of each worker.
fn loads(assignment: &Assignment) -> Vec<usize> {
    (0..assignment.workers()).map(|worker| assignment.executors_on(WorkerId(worker)).count()).collect()
}

fn sorted(mut numbers: Vec<usize>) -> Vec<usize> {
    numbers.sort_unstable();
    numbers
}

/// The executors of a component on each worker.
fn loads_of(plan: &Plan, assignment: &Assignment, part: Part) -> Vec<usize> {
    let of = |worker| plan.executors_of(part).iter().filter(move |e| assignment.worker_of(e.id).0 == worker);
    (0..assignment.workers()).map(|worker| of(worker).count()).collect()
}

#[test]
fn a_word_count_on_three_workers() {
    let topology = shaped(&[1], &[3, 2]);
    let (plan, assignment) = place(&topology, 3, None);
    assert_eq!(loads(&assignment), [3, 2, 2]);
    assert_eq!(loads_of(&plan, &assignment, Part::Component(1)), [1, 1, 1]);
    assert_eq!(loads_of(&plan, &assignment, Part::Component(2)), [0, 1, 1]);
    assert_eq!(loads_of(&plan, &assignment, Part::Acker), [1, 0, 0]);
    assert!(assignment.has_spouts(&topology, &plan, WorkerId(0)));
    assert!(!assignment.has_spouts(&topology, &plan, WorkerId(1)));
    assert_eq!(assignment.version, 1);
}

#[test]
fn a_worker_alone_has_everything_and_workers_too_many_have_nothing() {
    let topology = shaped(&[1], &[1]);
    let (plan, alone) = place(&topology, 1, None);
    assert_eq!((plan, loads(&alone)), (Plan::local(&topology), vec![3]));
    let (plan, assignment) = place(&topology, 5, None);
    assert_eq!(loads(&assignment), [2, 1, 0, 0, 0]);
    assert_eq!(assignment.used_workers(), [WorkerId(0), WorkerId(1)]);
    assert_eq!(assignment.workers(), 5);
    assert_eq!(ackers_for(&plan, &assignment, ExecutorId(0)), [0]);
    assert_eq!(assignment.executors_on(WorkerId(4)).count(), 0);
    assert_eq!(assignment.executors_on(WorkerId(9)).count(), 0);
}

/// `SchedulerTest` and `NimbusTest` of Storm, as far as they are about one machine.
mod storm {
    use super::*;

    #[test]
    fn a_spout_that_is_not_distributed_has_one_task() {
        let mut topology = shaped(&[3], &[4, 1]);
        topology.components[0].options.tasks = Some(1);
        let (plan, assignment) = place(&untracked(topology), 4, None);
        assert_eq!(plan.tasks(Part::Component(0)).len(), 1);
        assert_eq!(assignment.used_workers().len(), 4);
        assert_eq!(sorted(loads(&assignment)), [1, 1, 2, 2]);
        assert_eq!(sorted(loads_of(&plan, &assignment, Part::Component(1))), [1, 1, 1, 1]);
    }

    #[test]
    fn more_workers_than_there_are_slots() {
        // Twenty workers are asked for; eight is what is free. The parent decides on the number.
        let (plan, assignment) = place(&untracked(shaped(&[12], &[6, 8, 4])), 8, None);
        assert_eq!(plan.task_count(), 30);
        assert_eq!(sorted(loads(&assignment)), [3, 3, 4, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn seven_workers_are_all_used_and_all_tasks_placed() {
        let (plan, assignment) = place(&shaped(&[21], &[9, 2, 10]), 7, None);
        assert_eq!(assignment.used_workers().len(), 7);
        assert_eq!(plan.task_count(), 42 + 7);
        assert_eq!(assignment.executor_count(), 49);
        assert_eq!(loads(&assignment), [7; 7]);
        assert_eq!(loads_of(&plan, &assignment, Part::Component(0)), [3; 7]);
        assert_eq!(sorted(loads_of(&plan, &assignment, Part::Component(1))), [1, 1, 1, 1, 1, 2, 2]);
        assert_eq!(sorted(loads_of(&plan, &assignment, Part::Component(2))), [0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(sorted(loads_of(&plan, &assignment, Part::Component(3))), [1, 1, 1, 1, 2, 2, 2]);
        assert_eq!(loads_of(&plan, &assignment, Part::Acker), [1; 7]);
    }

    #[test]
    fn five_tasks_in_three_executors_and_two_in_eight() {
        let mut topology = shaped(&[3], &[8]);
        topology.components[0].options.tasks = Some(5);
        topology.components[1].options.tasks = Some(2);
        let (plan, assignment) = place(&untracked(topology), 3, None);
        let tasks = |part| -> Vec<usize> {
            plan.executors_of(Part::Component(part)).iter().map(|e| e.tasks.len()).collect()
        };
        assert_eq!((tasks(0), tasks(1)), (vec![2, 2, 1], vec![1, 1]));
        assert_eq!(sorted(loads(&assignment)), [1, 2, 2]);
    }

    #[test]
    fn squeezed_to_one_worker_and_spread_again() {
        let topology = untracked(shaped(&[9], &[]));
        let one = place(&topology, 1, None).1;
        assert_eq!(loads(&one), [9]);
        let three = place(&topology, 3, Some(&one)).1;
        assert_eq!(loads(&three), [3, 3, 3]);
        let four = place(&topology, 4, Some(&three)).1;
        assert_eq!(sorted(loads(&four)), [2, 2, 2, 3]);
        // The worker with three keeps what it has; the others give one each, and keep the rest.
        assert_eq!(moved(&three, &four), 2);
        assert_eq!([one.version, three.version, four.version], [1, 2, 3]);
        let back = place(&topology, 1, Some(&four)).1;
        assert_eq!(loads(&back), [9]);
    }

    #[test]
    fn rebalanced_to_more_workers_and_to_other_executors() {
        let mut topology = untracked(shaped(&[6], &[]));
        topology.components[0].options.tasks = Some(12);
        let three = place(&topology, 3, None).1;
        assert_eq!(loads(&three), [2, 2, 2]);
        let six = place(&topology, 6, Some(&three)).1;
        assert_eq!(loads(&six), [1; 6]);
        assert_eq!(moved(&three, &six), 3);

        topology.components[0].options.parallelism = 1;
        let one = place(&topology, 6, Some(&six)).1;
        assert_eq!(sorted(loads(&one)), [0, 0, 0, 0, 0, 1]);

        topology.components[0].options.parallelism = 8;
        let (plan, eight) = place(&topology, 4, Some(&one));
        assert_eq!(loads(&eight), [2, 2, 2, 2]);
        let tasks: Vec<usize> = plan.executors.iter().map(|executor| executor.tasks.len()).collect();
        assert_eq!(tasks, [2, 2, 2, 2, 1, 1, 1, 1]);
    }
}

fn moved(before: &Assignment, after: &Assignment) -> usize {
    before.worker_of.iter().zip(&after.worker_of).filter(|(before, after)| before != after).count()
}

#[test]
fn a_chain_stands_on_one_worker_and_counts_once() {
    let mut topology = topology(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &["c"])]);
    [0, 1, 3].into_iter().for_each(|at| topology.components[at].options.parallelism = 2);
    let topology = untracked(topology);
    let (plan, assignment) = place(&topology, 2, None);
    // `c` has one executor, so it ends the chain of `a` and `b`, and `d` begins anew.
    for (a, b) in plan.executors_of(Part::Component(0)).iter().zip(plan.executors_of(Part::Component(1))) {
        assert_eq!((a.next, b.behind), (Some(b.id), Some(a.id)));
        assert_eq!(assignment.worker_of(a.id), assignment.worker_of(b.id));
    }
    // Two chains of `a` and `b`, one executor of `c`, two of `d`: five units on two workers.
    let units = |worker| {
        let on_it = assignment.executors_on(WorkerId(worker));
        on_it.filter(|id| plan.executors[id.index()].behind.is_none()).count()
    };
    assert_eq!(sorted(vec![units(0), units(1)]), [2, 3]);
    assert_eq!(place(&topology, 2, Some(&assignment)).1, assignment, "it comes back as it was");

    let mut changed = topology;
    changed.options.chain = ChainMode::Off;
    let (_, apart) = place(&changed, 2, Some(&assignment));
    assert_eq!(sorted(loads(&apart)), [3, 4]);
    changed.options.chain = ChainMode::Auto;
    assert!(apart.plan(&changed).is_none() || apart.plan(&changed) == Some(place(&changed, 2, None).0));
}

#[test]
fn what_did_not_change_comes_back_as_it_was() {
    let topology = shaped(&[2], &[3]);
    let (plan, first) = place(&topology, 3, None);
    assert_eq!(place(&topology, 3, Some(&first)), (plan, first.clone()));
    let other = Assignment { version: 41, ..first };
    assert_eq!(place(&topology, 3, Some(&other)).1.version, 41);
    assert_eq!(place(&topology, 4, Some(&other)).1.version, 42);
}

#[test]
fn ackers_keep_their_worker_when_spouts_do() {
    let topology = shaped(&[2], &[6]);
    let (plan, two) = place(&topology, 2, None);
    assert_eq!(loads_of(&plan, &two, Part::Acker), [1, 1]);
    let (plan, three) = place(&topology, 3, Some(&two));
    assert_eq!(sorted(loads(&three)), [3, 3, 4]);
    let acker =
        |assignment: &Assignment, at: usize| assignment.worker_of(plan.executors_of(Part::Acker)[at].id);
    assert_eq!([acker(&three, 0), acker(&three, 1)], [acker(&two, 0), acker(&two, 1)]);
}

#[test]
fn a_fixed_number_of_ackers_stands_with_spouts_while_there_is_room() {
    let check = |spouts, bolts: &[u32], ackers, workers, expected: &[usize]| {
        let mut topology = shaped(&[spouts], bolts);
        topology.options.ackers = AutoOr::Fixed(ackers);
        let (plan, assignment) = place(&topology, workers, None);
        assert_eq!(loads_of(&plan, &assignment, Part::Acker), expected);
        let all = sorted(loads(&assignment));
        assert!(all[all.len() - 1] - all[0] <= 1, "{all:?}");
    };
    check(1, &[5], 1, 3, &[1, 0, 0]);
    check(2, &[6], 2, 3, &[1, 1, 0]);
    check(3, &[6], 2, 3, &[1, 1, 0]);
    check(1, &[5], 2, 2, &[2, 0]);
    check(1, &[2], 3, 2, &[2, 1]);
    check(3, &[3], 6, 3, &[2, 2, 2]);
    check(1, &[1], 8, 2, &[4, 4]);
}

#[test]
fn a_spout_without_an_acker_beside_it_uses_all() {
    let mut topology = shaped(&[3], &[3]);
    topology.options.ackers = AutoOr::Fixed(2);
    let (plan, assignment) = place(&topology, 3, None);
    let ackers: Vec<Vec<usize>> =
        (0..3).map(|spout| ackers_for(&plan, &assignment, ExecutorId(spout))).collect();
    assert_eq!(ackers, [vec![0], vec![1], vec![0, 1]]);
    let (plan, assignment) = place(&untracked(topology), 3, None);
    assert!(ackers_for(&plan, &assignment, ExecutorId(0)).is_empty());
}

#[test]
fn a_worker_finds_the_plan_of_its_parent() {
    let topology = shaped(&[2], &[3]);
    let (plan, assignment) = place(&topology, 2, None);
    let text = serde_json::to_string(&assignment).unwrap();
    let received: Assignment = serde_json::from_str(&text).unwrap();
    assert_eq!(received.plan(&topology), Some(plan));

    assert_eq!(received.plan(&shaped(&[2], &[4])), None);
    assert_eq!(received.plan(&shaped(&[2], &[2, 1])), None);
    assert_eq!(received.plan(&shaped(&[3], &[2])), None);
    assert_eq!(received.plan(&untracked(topology)), None);
}

#[test]
fn an_assignment_that_makes_no_sense_is_not_kept_to() {
    let topology = shaped(&[2], &[3]);
    let (_, good) = place(&topology, 2, None);
    let check = |bad: Assignment| {
        assert_eq!(bad.plan(&topology), None);
        assert_eq!(sorted(loads(&place(&topology, 2, Some(&bad)).1)), [3, 4]);
    };
    check(Assignment { worker_of: vec![WorkerId(9); 7], ..good.clone() });
    check(Assignment { worker_of: Vec::new(), ..good.clone() });
    check(Assignment { shape: vec![u32::MAX; 3], ..good.clone() });
    check(Assignment { shape: vec![0, 0, 9], ..good.clone() });
    check(Assignment { shape: Vec::new(), worker_of: Vec::new(), ..good.clone() });
    check(Assignment { workers: 1, ..good });
}

#[test]
fn the_largest_topology_is_placed_and_moved_soon() {
    let topology = shaped(&[4096, 4096], &[4096, 4096, 4096, 4096]);
    let (_, many) = place(&topology, 1024, None);
    assert_eq!(loads(&many), [25; 1024]);
    let (_, few) = place(&topology, 1, Some(&many));
    assert_eq!(loads(&few), [24_577]);
    let (_, many) = place(&topology, 300, Some(&few));
    assert!(loads(&many).iter().all(|load| (82..=83).contains(load)));
}

mod properties {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn config() -> ProptestConfig {
        ProptestConfig { failure_persistence: None, max_global_rejects: 1 << 20, ..ProptestConfig::default() }
    }

    /// A topology and whether it is tracked, and by how many ackers.
    fn topologies(spouts: usize, bolts: usize, executors: u32) -> impl Strategy<Value = Topology> {
        let sizes = |from, to| prop::collection::vec(1..=executors, from..=to);
        let ackers = prop_oneof![
            Just(Some(AutoOr::Auto)),
            Just(None),
            (1..=executors).prop_map(|ackers| Some(AutoOr::Fixed(ackers)))
        ];
        (sizes(1, spouts), sizes(0, bolts), ackers).prop_map(|(spouts, bolts, ackers)| {
            let mut topology = shaped(&spouts, &bolts);
            match ackers {
                Some(ackers) => topology.options.ackers = ackers,
                None => topology.options.delivery = Delivery::AtMostOnce,
            }
            topology
        })
    }

    /// What must hold of every assignment.
    #[track_caller]
    fn assert_sound(topology: &Topology, workers: u16, (plan, assignment): &(Plan, Assignment)) {
        assert_eq!(assignment.plan(topology).as_ref(), Some(plan));
        assert_eq!(assignment.executor_count(), plan.executors.len());
        let users = plan.executors.iter().filter(|executor| executor.part != Part::Acker).count();
        let used: Vec<WorkerId> = (0..workers.min(users as u16)).map(WorkerId).collect();
        assert_eq!(assignment.used_workers(), used);
        let loads = &loads(assignment)[..used.len()];
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(most - least <= 1, "{loads:?}");
        if topology.options.ackers == AutoOr::Auto && topology.options.delivery == Delivery::AtLeastOnce {
            for worker in used {
                let ackers = plan.executors_of(Part::Acker);
                let here = ackers.iter().filter(|acker| assignment.worker_of(acker.id) == worker).count();
                assert_eq!(here, usize::from(assignment.has_spouts(topology, plan, worker)));
            }
        }
    }

    proptest! {
        #![proptest_config(config())]
        #[test]
        fn every_assignment_is_even_with_ackers_beside_spouts(
            topology in topologies(4, 4, 8),
            rebalances in prop::collection::vec((1..10_u16, 0..8_usize, 1..8_u32), 1..6),
        ) {
            let mut topology = topology;
            let mut previous: Option<Assignment> = None;
            for (count, component, executors) in rebalances {
                let components = topology.components.len();
                let parallelism = &mut topology.components[component % components].options.parallelism;
                let is_same = std::mem::replace(parallelism, executors) == executors;
                let placed = place(&topology, count, previous.as_ref());
                assert_sound(&topology, count, &placed);
                prop_assert_eq!(&place(&topology, count, previous.as_ref()), &placed);
                let again = place(&topology, count, Some(&placed.1));
                prop_assert_eq!(&again, &placed);
                let version = previous.as_ref().map_or(0, |previous| previous.version);
                let same = is_same && previous.as_ref().is_some_and(|previous| previous.workers() == count);
                prop_assert_eq!(placed.1.version, if same { version } else { version + 1 });
                previous = Some(placed.1);
            }
        }
    }

    /// Every placement of the executors of components that is sound, as workers by executor.
    fn all_sound(topology: &Topology, workers: usize) -> Vec<Vec<usize>> {
        let plan = Plan::new(topology, Scale { workers: 1, threads: 1 }, 1);
        let users = plan.executors.iter().filter(|executor| executor.part != Part::Acker).count();
        let tracked = topology.options.delivery == Delivery::AtLeastOnce;
        let in_use = workers.min(users);
        let is_spout = |at: usize| match plan.executors[at].part {
            Part::Component(part) => topology.components()[part].is_spout(),
            Part::Acker => unreachable!("these come last"),
        };
        let all = (0..in_use.pow(users as u32)).map(|number| {
            (0..users).map(|at| number / in_use.pow(at as u32) % in_use).collect::<Vec<usize>>()
        });
        let is_sound = |places: &Vec<usize>| {
            let mut loads = vec![0; in_use];
            let mut with_spouts = vec![0; in_use];
            for (at, worker) in places.iter().enumerate() {
                loads[*worker] += 1;
                with_spouts[*worker] |= usize::from(tracked && is_spout(at));
            }
            let loads: Vec<usize> = loads.iter().zip(with_spouts).map(|(load, acker)| load + acker).collect();
            loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1
        };
        all.filter(is_sound).collect()
    }

    /// On how many workers each component is, added up.
    fn spread(topology: &Topology, places: &[usize]) -> usize {
        let plan = Plan::new(topology, Scale { workers: 1, threads: 1 }, 1);
        let workers_of = |part: usize| {
            let executors = plan.executors_of(Part::Component(part)).iter();
            sorted(executors.map(|executor| places[executor.id.index()]).collect())
        };
        let distinct = |part| {
            let mut workers = workers_of(part);
            workers.dedup();
            workers.len()
        };
        (0..topology.components().len()).map(distinct).sum()
    }

    fn user_places(topology: &Topology, assignment: &Assignment) -> Vec<usize> {
        let users = Plan::new(topology, Scale { workers: 1, threads: 1 }, 1)
            .executors
            .iter()
            .filter(|e| e.part != Part::Acker)
            .count();
        assignment.worker_of[..users].iter().map(|worker| worker.index()).collect()
    }

    fn automatic_or_none(topology: &Topology) -> bool {
        topology.options.delivery == Delivery::AtMostOnce || topology.options.ackers == AutoOr::Auto
    }

    proptest! {
        #![proptest_config(config())]
        #[test]
        fn components_are_spread_as_far_as_evenness_allows(
            topology in topologies(2, 2, 3),
            workers in 1..4_u16,
        ) {
            let (_, assignment) = place(&topology, workers, None);
            let places = user_places(&topology, &assignment);
            prop_assume!(places.len() < 9 && automatic_or_none(&topology));
            let best = all_sound(&topology, workers.into()).iter().map(|places| spread(&topology, places)).max();
            prop_assert_eq!(Some(spread(&topology, &places)), best, "{:?}", places);
        }

        #[test]
        fn as_few_executors_move_as_can(
            topology in topologies(1, 2, 5),
            (long_before, before, after) in (1..5_u16, 1..5_u16, 1..5_u16),
        ) {
            let (_, first) = place(&topology, long_before, None);
            let (_, first) = place(&topology, before, Some(&first));
            let old = user_places(&topology, &first);
            prop_assume!(old.len() < 8 && automatic_or_none(&topology));
            let (_, second) = place(&topology, after, Some(&first));
            let new = user_places(&topology, &second);
            // An acker whose worker has no spouts any more is lost to those that it followed.
            let acked = |places: &[usize]| -> BTreeSet<usize> {
                let spouts = (0..topology.components()[0].options.parallelism as usize).map(|at| places[at]);
                spouts.filter(|_| topology.options.delivery == Delivery::AtLeastOnce).collect()
            };
            let moved = |new: &[usize]| {
                let moved = old.iter().zip(new).filter(|(old, new)| old != new).count();
                moved + acked(&old).difference(&acked(new)).count()
            };
            let least = all_sound(&topology, after.into()).iter().map(|places| moved(places)).min();
            prop_assert_eq!(Some(moved(&new)), least, "{:?} -> {:?}", &old, &new);
        }
    }
}
