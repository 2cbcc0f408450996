//! Losses and ends of topologies in several workers, as stories: start, stop, kill, drain, expect.

use std::sync::Mutex;

use super::*;
use crate::api::{Bolt, EventTime, Input, Outputs, TaskContext, TaskError};
use crate::config::{ChainMode, Delivery, EventTimeOptions};
use crate::testing::{Feeder, FixedSpout, SimulatedTopology, SimulationOptions};
use crate::topology::builder::TopologyBuilder;
use crate::topology::plan::Part;
use crate::tuple::{Timestamp, Value};

const MESSAGES: u64 = 200;
const SEEDS: u64 = 20;
const HOUR: Duration = Duration::from_secs(3600);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

struct Sink;

impl Bolt for Sink {
    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Two workers; the spout runs in one, the bolt in the other.
fn two_workers(seed: u64, inactive: bool) -> (SimulatedCluster, WorkerId, WorkerId) {
    let rows = (0..MESSAGES).map(|n| vec![Value::I64(n as i64)]);
    let spout = FixedSpout::new(["n"], rows);
    let mut builder = TopologyBuilder::new("t");
    builder.options(|options| {
        options.drain_timeout = DRAIN_TIMEOUT;
        options.start_inactive = inactive;
    });
    builder.spout("numbers", move || spout.clone());
    builder.bolt("sink", || Sink).shuffle("numbers");
    let topology = builder.build().expect("it is valid");
    let cluster = SimulatedCluster::start(topology, ClusterOptions::seeded(seed, 2));
    let worker_of = |component| {
        let executor = &cluster.plan.executors_of(Part::Component(component))[0];
        cluster.assignment.worker_of(executor.id)
    };
    let (spouts, bolts) = (worker_of(0), worker_of(1));
    assert_ne!(spouts, bolts);
    (cluster, spouts, bolts)
}

/// Takes turns until the counters that workers reported to the master satisfy a condition.
#[track_caller]
fn run_until(cluster: &mut SimulatedCluster, is_reached: impl Fn(&TopologyStats) -> bool) {
    for _ in 0..1_000_000 {
        if is_reached(&cluster.stats()) {
            return;
        }
        cluster.run_turns(1);
    }
    panic!("{:?}\n{}", cluster.stats(), cluster.state());
}

/// Blocks the network to the bolt's worker, and runs until the master knows that all messages are open.
#[track_caller]
fn all_is_emitted_and_nothing_arrives(cluster: &mut SimulatedCluster, spouts: WorkerId, bolts: WorkerId) {
    cluster.trouble(spouts, bolts).blocked = true;
    run_until(cluster, |stats| stats.pending == MESSAGES);
    assert_eq!(cluster.stats().acked, 0);
}

/// Checks the counters, and that every message emitted is counted as acked, failed, pending or lost.
#[track_caller]
fn check_sums(cluster: &SimulatedCluster, expected: [u64; 4]) {
    let stats = cluster.stats();
    let [emitted, acked, failed, lost] = expected;
    assert_eq!((stats.emitted, stats.acked, stats.failed, cluster.lost()), (emitted, acked, failed, lost));
    assert_eq!(stats.emitted, stats.acked + stats.failed + stats.pending + cluster.lost());
}

/// The worker of the bolt is killed during a drain, while no message is acked. The spout does not replay
/// the failed messages any more; once, the summary nevertheless counted 0 as failed.
#[test]
fn a_bolts_worker_that_dies_in_a_drain_leaves_failures_behind() {
    for seed in 0..SEEDS {
        let (mut cluster, spouts, bolts) = two_workers(seed, false);
        all_is_emitted_and_nothing_arrives(&mut cluster, spouts, bolts);
        cluster.drain();
        cluster.kill(bolts);
        cluster.heal();
        cluster.run_to_end(HOUR).expect("it ends");
        assert!(!cluster.is_cut_short());
        check_sums(&cluster, [MESSAGES, 0, MESSAGES, 0]);
    }
}

/// The worker of the spout is killed during a drain: no spout emits its messages again, so they are lost.
/// Once, the drain ended only with its time-out, and the summary counted 0 as pending.
#[test]
fn a_spouts_worker_that_dies_in_a_drain_loses_what_was_open_and_holds_nobody_up() {
    for seed in 0..SEEDS {
        let (mut cluster, spouts, bolts) = two_workers(seed, false);
        all_is_emitted_and_nothing_arrives(&mut cluster, spouts, bolts);
        cluster.drain();
        let drained_at = cluster.now();
        cluster.kill(spouts);
        cluster.heal();
        cluster.run_to_end(HOUR).expect("it ends");
        let took = cluster.now() - drained_at;
        assert!(!cluster.is_cut_short() && took < DRAIN_TIMEOUT / 2, "seed {seed}: {took:?}");
        check_sums(&cluster, [MESSAGES, 0, 0, MESSAGES]);
    }
}

/// A spout whose worker dies before the drain reads its source again, and nothing is lost.
#[test]
fn what_is_read_again_is_not_lost() {
    for seed in 0..SEEDS {
        let (mut cluster, spouts, bolts) = two_workers(seed, false);
        all_is_emitted_and_nothing_arrives(&mut cluster, spouts, bolts);
        cluster.kill(spouts);
        cluster.heal();
        cluster.run_to_end(HOUR).expect("it ends");
        check_sums(&cluster, [MESSAGES, MESSAGES, 0, 0]);
    }
}

/// A topology that was never activated has nothing in flight, so its drain ends at once.
#[test]
fn a_topology_that_was_never_activated_drains_at_once() {
    let (mut cluster, ..) = two_workers(1, true);
    cluster.run_turns(1000);
    cluster.drain();
    let drained_at = cluster.now();
    cluster.run_to_end(HOUR).expect("it ends");
    let took = cluster.now() - drained_at;
    assert!(!cluster.is_cut_short() && took < DRAIN_TIMEOUT / 2, "{took:?}");
    check_sums(&cluster, [0, 0, 0, 0]);
}

/// Of each instance: its task, and the recovery after which it has begun.
type Begun = Arc<Mutex<Vec<(usize, u64)>>>;

/// Notes when it begins. It keeps what no other has, so if it is lost, all tasks go back.
struct Noting(Begun);

impl Bolt for Noting {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0.lock().expect("nobody panics").push((context.task_index(), context.recovery()));
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    fn keeps_data(&self) -> bool {
        true
    }
}

/// Numbers that come again after a checkpoint, and two tasks that take them.
fn noting(begun: &Begun) -> Topology {
    let spout = FixedSpout::new(["n"], (0..5000).map(|n| vec![Value::I64(n)]));
    let mut builder = TopologyBuilder::new("t");
    builder.options(|options| {
        options.delivery = Delivery::ExactlyOnce;
        options.checkpoint.interval = Duration::from_millis(20);
    });
    builder.spout("numbers", move || spout.clone());
    let begun = Arc::clone(begun);
    builder.bolt("noting", move || Noting(Arc::clone(&begun))).parallelism(2).shuffle("numbers");
    builder.build().expect("it is valid")
}

/// Both tasks have begun after each recovery, and the numbers rise.
fn assert_together(begun: &Begun) {
    let begun = begun.lock().expect("nobody panics");
    let of_task = |task| begun.iter().filter(move |(of, _)| *of == task).map(|(_, recovery)| *recovery);
    let first: Vec<u64> = of_task(0).collect();
    assert!(first.len() > 1 && first.is_sorted_by(|a, b| a < b), "{begun:?}");
    assert_eq!(of_task(1).collect::<Vec<_>>(), first, "{begun:?}");
}

#[test]
fn tasks_that_go_back_together_have_one_recovery() {
    let begun = Begun::default();
    let mut run = SimulatedTopology::start(noting(&begun), SimulationOptions::seeded(1));
    while begun.lock().expect("nobody panics").len() < 2 {
        run.run_steps(1);
    }
    run.crash("noting");
    run.run_to_end(HOUR).unwrap_or_else(|error| panic!("{error}"));
    assert_together(&begun);

    let begun = Begun::default();
    let mut cluster = SimulatedCluster::start(noting(&begun), ClusterOptions::seeded(1, 2));
    while begun.lock().expect("nobody panics").len() < 2 {
        cluster.run_turns(1);
    }
    assert!(cluster.kill(WorkerId(1)));
    cluster.run_to_end(HOUR).unwrap_or_else(|error| panic!("{error}"));
    assert_together(&begun);
}

/// The spout has ended, and has let everybody know. A worker that begins anew has to learn it once more, because no other
/// watermark comes.
#[test]
fn a_worker_that_begins_anew_learns_how_far_event_time_is() {
    for seed in 0..SEEDS {
        let mut builder = TopologyBuilder::new("t");
        builder.options(|options| options.chain = ChainMode::Off);
        let rows = (1..=3).map(|n| vec![Value::Timestamp(Timestamp(n))]);
        let spout = FixedSpout::new(["at"], rows);
        // One executor in each worker.
        let done = builder.spout("done", move || spout.clone()).event_time(EventTimeOptions::of("at"));
        done.parallelism(2);
        builder.bolt("watch", || Sink).shuffle("done");
        // It never ends, so nobody is asked to finish, which would end time, too.
        builder.spout("open", Feeder::new(["n"]).spout());
        builder.bolt("other", || Sink).shuffle("open");
        let topology = builder.build().expect("it is valid");
        let mut cluster = SimulatedCluster::start(topology, ClusterOptions::seeded(seed, 2));
        let workers_of = |component| {
            let executors = cluster.plan.executors_of(Part::Component(component)).iter();
            executors.map(|executor| cluster.assignment.worker_of(executor.id)).collect::<Vec<_>>()
        };
        let (spouts, bolts) = (workers_of(0), workers_of(1)[0]);
        assert_ne!(spouts[0], spouts[1]);
        let is_ended = |stats: &TopologyStats, component: &str| {
            let found = stats.components.iter().find(|it| it.id == component);
            found.and_then(|it| it.event_time) == Some(EventTime::Ended)
        };
        run_until(&mut cluster, |stats| is_ended(stats, "watch"));
        cluster.kill(bolts);
        run_until(&mut cluster, |stats| !is_ended(stats, "watch"));
        run_until(&mut cluster, |stats| is_ended(stats, "watch"));
        assert!(!cluster.has_ended());
        assert!(cluster.stats().components.iter().any(|it| it.id == "other" && it.event_time.is_none()));
    }
}
