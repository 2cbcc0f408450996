//! What Storm's queue and back-pressure tests ask, of squall's links and credit.
//!
//! Not here: `JCQueueDynamicBatchTest` (a batch has one size here and leaves when input pauses, so
//! nothing adapts), and everything that crosses processes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::config::ChainMode;
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::testing::{Capture, SimulatedTopology, SimulationOptions};

use crate::kit::{HOUR, Numbers, bolt, identity, lock, null, of, seconds, wait_until};

const SEEDS: std::ops::Range<u64> = 0..8;

fn start(builder: TopologyBuilder, seed: u64) -> SimulatedTopology {
    SimulatedTopology::start(builder.build().expect("a valid topology"), SimulationOptions::seeded(seed))
}

fn queue(builder: &mut TopologyBuilder, batch: u32, capacity: u32) {
    builder.options(|options| {
        (options.queue.batch, options.queue.capacity) = (batch, capacity);
        // Within a chain there is no link.
        options.chain = ChainMode::Off;
    });
}

/// Counts tuples that are not the next number.
#[derive(Clone, Default)]
struct InOrder {
    next: i64,
    seen: Arc<AtomicU64>,
    wrong: Arc<AtomicU64>,
}

impl Bolt for InOrder {
    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        self.wrong.fetch_add(u64::from(n != self.next), Ordering::Relaxed);
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.next = n + 1;
        Ok(())
    }
}

/// `JCQueueTest.testFirstMessageFirst` and `testInOrder`, `testInOrderBatch`: 2^20 numbers over one
/// link between two threads, batches of 10 and of 512, and 2^16 in batches of 1. If it fails, links
/// reorder, lose or repeat.
#[test]
fn a_link_keeps_order() {
    for (batch, count) in [(1, 1 << 16), (10, 1 << 20), (512, 1 << 20)] {
        let check = InOrder::default();
        let sink = check.clone();
        let mut builder = TopologyBuilder::new("in-order");
        queue(&mut builder, batch, 4096);
        builder.options(|options| options.delivery = Delivery::AtMostOnce);
        builder.spout("1", move || Numbers::new(count));
        builder.bolt("2", move || sink.clone()).shuffle("1");
        let running = RunningTopology::start(builder.build().expect("valid"), LocalOptions::default());
        running.expect("threads start").join();
        assert_eq!(check.seen.load(Ordering::Relaxed), count, "batch {batch}");
        assert_eq!(check.wrong.load(Ordering::Relaxed), 0, "batch {batch}");
    }
}

/// `JCQueueBackpressureTest.testNoReOrderingUnderBackPressure`: capacity 64, 100 messages. Storm
/// refuses the 65th and keeps it elsewhere; here the producer is not asked for it. If it fails,
/// a full link takes tuples without bound, or gives them out of order.
#[test]
fn a_full_link_stops_its_producer_and_keeps_order() {
    for seed in SEEDS {
        let capture = Capture::new();
        let mut builder = TopologyBuilder::new("full");
        queue(&mut builder, 8, 64);
        builder.spout("1", || Numbers::new(100));
        builder.bolt("2", capture.bolt()).shuffle("1");
        let mut topology = start(builder, seed);
        topology.stall("2", seconds(5));
        topology.advance(seconds(4));
        let stats = topology.stats();
        let queued = of(&stats, "2").queued;
        assert!((64..64 + 8).contains(&queued), "seed {seed}: {queued} queued");
        assert_eq!((of(&stats, "1").emitted, stats.acked), (queued, 0), "seed {seed}");
        let stats = topology.run_to_end(HOUR).expect("it ends");
        assert_eq!((stats.acked, stats.failed, stats.replayed), (100, 0, 0), "seed {seed}");
        assert_eq!(capture.rows(), (0..100).map(|n| vec![Value::from(n)]).collect::<Vec<_>>());
    }
}

/// `BackPressureTrackerTest`: who is under back-pressure, and who is not any more. A stalled bolt
/// holds back its own producers, link by link up to the spout, and nobody else; it ends by itself.
/// If it fails, one slow branch stops the topology or fills the memory.
#[test]
fn back_pressure_reaches_the_spout_of_the_slow_branch_only() {
    for seed in SEEDS {
        let mut builder = TopologyBuilder::new("branches");
        queue(&mut builder, 4, 16);
        for branch in ["slow", "fast"] {
            let [spout, middle, sink] = ["spout", "middle", "sink"].map(|part| format!("{branch}-{part}"));
            builder.spout(&spout, || Numbers::new(1_000));
            builder.bolt(&middle, identity(&["n"])).shuffle(&spout);
            builder.bolt(&sink, null()).shuffle(&middle);
        }
        let mut topology = start(builder, seed);
        topology.stall("slow-sink", seconds(20));
        topology.advance(seconds(10));
        let stats = topology.stats();
        assert_eq!(of(&stats, "fast-spout").acked, 1_000, "seed {seed}");
        assert_eq!(of(&stats, "slow-spout").acked, 0, "seed {seed}");
        for held_up in ["slow-middle", "slow-sink"] {
            let queued = of(&stats, held_up).queued;
            assert!(queued <= 16 + 8, "seed {seed}: {queued} queued for {held_up}");
        }
        let stats = topology.run_to_end(HOUR).expect("it ends");
        assert_eq!(of(&stats, "slow-spout").acked, 1_000, "seed {seed}");
        assert!(of(&stats, "slow-middle").blocked > 0.0, "seed {seed}: it waited for credit");
        assert_eq!(of(&stats, "fast-middle").blocked, 0.0, "seed {seed}");
        assert_eq!(stats.replayed, 0, "seed {seed}");
    }
}

/// `LoadAwareShuffleGroupingTest`, through the runtime: of two tasks one stands still; once its link
/// is full the other gets the rest. If it fails, one stuck task stops a stateless pipeline.
#[test]
fn shuffle_goes_round_a_full_task() {
    for seed in SEEDS {
        let mut builder = TopologyBuilder::new("round");
        queue(&mut builder, 4, 32);
        builder.spout("1", || Numbers::new(2_000));
        builder.bolt("2", null()).parallelism(2).shuffle("1");
        let mut topology = start(builder, seed);
        topology.stall_one("2", 0, seconds(20));
        topology.advance(seconds(10));
        let stats = topology.stats();
        let (queued, executed) = (of(&stats, "2").queued, of(&stats, "2").executed);
        assert!(queued <= 32 + 8, "seed {seed}: {queued}");
        assert_eq!(queued + executed, 2_000, "seed {seed}: everything was emitted");
    }
}

/// Sends each number round until it has been seen 6 times.
fn round(input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    let (n, round) = (input.i64("n")?, input.i64("round").unwrap_or(0));
    if round < 5 {
        out.emit_to("again", (n, round + 1))?;
    }
    Ok(())
}

/// STORM-3637: with full queues everywhere a cycle deadlocks in Storm, since each waits for the
/// next. Here an edge that closes a cycle never waits; the spouts do. If it fails, cyclic topologies
/// hang under load.
#[test]
fn a_cycle_with_tiny_links_does_not_deadlock() {
    for seed in SEEDS {
        let mut builder = TopologyBuilder::new("cycle");
        queue(&mut builder, 1, 1);
        builder.spout("1", || Numbers::new(200));
        let rounds = bolt(Streams::none().stream("again", ["n", "round"]), round);
        builder.bolt("2", rounds).parallelism(2).shuffle("1").shuffle(("2", "again")).feedback();
        let stats = start(builder, seed).run_to_end(HOUR).expect("it ends");
        assert_eq!((stats.acked, stats.replayed), (200, 0), "seed {seed}");
        assert_eq!(of(&stats, "2").executed, 6 * 200, "seed {seed}");
    }
}

/// Numbers, one every 100 ms.
struct Slow(Numbers);

impl Spout for Slow {
    fn declare(&self) -> Streams {
        self.0.declare()
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        Ok(match self.0.next_tuple(out)? {
            SpoutStatus::Emitted => SpoutStatus::IdleFor(Duration::from_millis(100)),
            other => other,
        })
    }
}

/// Emits so many numbers at its first tick, in one step.
struct Burst(i64);

impl Bolt for Burst {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        (0..std::mem::take(&mut self.0)).try_for_each(|n| Ok(out.emit([n])?))
    }
}

/// A burst of 500 into a cycle whose links hold 4 and whose reserve is 64. All of it used to go into
/// the cycle before any of it came out: the reserve was full, and the cycle waited for itself for
/// ever. Now what comes round goes first. If it fails, a window that flushes into an iteration hangs.
#[test]
fn a_burst_into_a_cycle_does_not_fill_its_reserve() {
    for seed in SEEDS {
        let mut builder = TopologyBuilder::new("burst");
        queue(&mut builder, 4, 4);
        builder.spout("1", || Slow(Numbers::new(100)));
        builder.bolt("burst", || Burst(500)).shuffle("1").tick(seconds(1));
        let rounds = bolt(Streams::none().stream("again", ["n", "round"]), round);
        builder.bolt("2", rounds).shuffle("burst").shuffle(("2", "again")).feedback();
        let stats = start(builder, seed).run_to_end(HOUR).expect("it ends");
        assert_eq!((stats.acked, stats.failed), (100, 0), "seed {seed}");
        assert_eq!(of(&stats, "2").executed, 6 * 500, "seed {seed}");
    }
}

/// `ExecutorTransferMultiThreadingTest`: ten threads emit a tuple each, one consumer gets ten whole
/// ones. If it fails, producers that share a consumer corrupt each other's batches.
#[test]
fn ten_threads_send_to_one_consumer() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let note = move |input: Input<'_>, _: &mut Outputs<'_>| {
        lock(&noted).push(input.str("text")?.to_owned());
        Ok(())
    };
    struct Once(bool);
    impl Spout for Once {
        fn declare(&self) -> Streams {
            Streams::new(["text"])
        }
        fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            if std::mem::replace(&mut self.0, true) {
                return Ok(SpoutStatus::Exhausted);
            }
            out.emit_tracked(["a text too long to be stored inside of its value"], MessageId(1))?;
            Ok(SpoutStatus::Emitted)
        }
    }
    let mut builder = TopologyBuilder::new("ten");
    builder.spout("1", || Once(false)).parallelism(10).blocking();
    builder.bolt("2", bolt(Streams::none(), note)).shuffle("1");
    let running = RunningTopology::start(builder.build().expect("valid"), LocalOptions::default());
    let stats = running.expect("threads start").join();
    assert_eq!(stats.acked, 10);
    assert_eq!(*lock(&seen), ["a text too long to be stored inside of its value"; 10]);
}

/// Acks do not stand behind data: while a bolt has a full inbox that it is not let near, what was
/// executed before is acked all the same. In Storm acks wait in the queue of a stopped spout. If it
/// fails, a full pipeline times out.
#[test]
fn acks_pass_a_full_pipeline() {
    let mut builder = TopologyBuilder::new("full");
    queue(&mut builder, 4, 16);
    builder.spout("fast", || Numbers::new(100));
    builder.spout("slow", || Numbers::new(100));
    builder.bolt("shared", identity(&["n"])).shuffle("fast").shuffle("slow");
    builder.bolt("2", null()).shuffle("fast");
    builder.bolt("3", null()).shuffle("slow");
    let mut topology = start(builder, 1);
    topology.stall("3", seconds(60));
    topology.advance(seconds(1));
    let stats = topology.stats();
    assert_eq!((of(&stats, "fast").acked, of(&stats, "slow").acked), (100, 0));
    assert!(of(&stats, "slow").emitted < 100, "its link is full");
    let stats = topology.run_to_end(HOUR).expect("it ends");
    assert_eq!((stats.acked, stats.replayed), (200, 0));
}

/// The same threads that run everything else: a topology at its limit still answers `stats`, `drain`
/// and ends. If it fails, a user cannot stop what is overloaded.
#[test]
fn a_topology_under_full_load_drains() {
    let mut builder = TopologyBuilder::new("load");
    queue(&mut builder, 16, 64);
    builder.spout("1", || Numbers::new(u64::MAX)).parallelism(2);
    builder.bolt("2", identity(&["n"])).parallelism(2).fields("1", ["n"]);
    builder.bolt("3", null()).parallelism(2).shuffle("2");
    let running = RunningTopology::start(builder.build().expect("valid"), LocalOptions::default());
    let running = running.expect("threads start");
    wait_until("10,000 acks", || running.stats().acked > 10_000);
    running.drain();
    let stats = running.join();
    assert!(!stats.cut_short);
    assert_eq!((stats.acked, stats.failed, stats.pending), (stats.emitted, 0, 0));
}
