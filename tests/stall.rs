//! A sink that stands still: memory stays within the budget, nothing times out, nothing is replayed,
//! and everything else goes on.

#[path = "kit/mod.rs"]
mod kit;
#[path = "memory_kit/mod.rs"]
mod memory_kit;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use squall::config::{AutoOr, ChainMode};
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::testing::{SimulatedTopology, SimulationOptions};

use kit::{HOUR, Numbers, identity, lock, null, of, seconds, wait_until};
use memory_kit::peak_of;

/// One test at a time: one of them measures the memory of the process.
static ALONE: Mutex<()> = Mutex::new(());

/// Emits a text of so many bytes with each number, as `Numbers` does without the text.
struct Texts {
    next: u64,
    count: u64,
    bytes: usize,
}

impl Spout for Texts {
    fn declare(&self) -> Streams {
        Streams::new(["n", "text"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.next == self.count {
            return Ok(SpoutStatus::Exhausted);
        }
        out.emit_tracked((self.next as i64, "x".repeat(self.bytes)), MessageId(self.next))?;
        self.next += 1;
        Ok(SpoutStatus::Emitted)
    }
}

/// A sink stalled for 60 simulated seconds, twelve times the time-out, at full input. Tuples wait up
/// to the credit of each link and no further; then everything is acked. If it fails, back-pressure
/// turns into replays (and these into more pressure), as in Storm, or into memory.
#[test]
fn a_sink_stalled_for_sixty_simulated_seconds_costs_nothing() {
    let _alone = lock(&ALONE);
    for seed in 0..4 {
        let mut builder = TopologyBuilder::new("stall");
        builder.options(|options| {
            options.message_timeout = Some(seconds(5));
            (options.queue.batch, options.queue.capacity) = (64, 1024);
        });
        builder.spout("source", || Numbers::new(20_000)).parallelism(2);
        builder.bolt("middle", identity(&["n"])).parallelism(2).shuffle("source");
        builder.bolt("sink", null()).fields("middle", ["n"]);
        let topology = builder.build().expect("a valid topology");
        let mut topology = SimulatedTopology::start(topology, SimulationOptions::seeded(seed));
        topology.run_steps(50);
        topology.stall("sink", seconds(60));
        for second in 0..59 {
            topology.advance(seconds(1));
            let stats = topology.stats();
            assert_eq!((stats.failed, stats.replayed), (0, 0), "seed {seed}, second {second}");
            // Links to `sink`: 2, to `middle`: 4; each may be overdrawn by a batch under way for
            // each target.
            for (component, links) in [("sink", 2), ("middle", 4)] {
                let queued = of(&stats, component).queued;
                assert!(queued <= links * (1024 + 2 * 64), "seed {seed}: {queued} wait for {component}");
            }
        }
        let before = topology.stats();
        assert!(before.acked < 40_000, "seed {seed}: the stall came too late to prove anything");
        let stats = topology.run_to_end(HOUR).expect("it ends");
        assert_eq!((stats.acked, stats.failed, stats.replayed), (40_000, 0, 0), "seed {seed}");
    }
}

/// The same with large tuples, for which `queue.memory` is the limit and not the number: batches are
/// full by size long before they are full by number. If it fails, the memory budget does not hold for
/// the tuples that need it.
#[test]
fn the_memory_budget_holds_for_large_tuples() {
    let _alone = lock(&ALONE);
    const BYTES: u64 = 16 << 10;
    for seed in 0..4 {
        let mut builder = TopologyBuilder::new("stall");
        builder.options(|options| {
            // Within a chain there is no link.
            options.chain = ChainMode::Off;
            options.message_timeout = Some(seconds(5));
            (options.queue.memory, options.queue.tuple_size_max) = (2 << 20, 1 << 20);
        });
        builder.spout("source", || Texts { next: 0, count: 1_000, bytes: BYTES as usize });
        builder.bolt("sink", null()).shuffle("source");
        let topology = builder.build().expect("a valid topology");
        let mut topology = SimulatedTopology::start(topology, SimulationOptions::seeded(seed));
        topology.stall("sink", seconds(60));
        topology.advance(seconds(59));
        let stats = topology.stats();
        let bytes = of(&stats, "sink").queued * BYTES;
        assert!(bytes <= 2 << 20, "seed {seed}: {bytes} bytes wait");
        // The rest of the budget is for a batch in hand and two under construction.
        assert!(bytes >= 512 << 10, "seed {seed}: {bytes} bytes are no use of the budget");
        let stats = topology.run_to_end(HOUR).expect("it ends");
        assert_eq!((stats.acked, stats.failed, stats.replayed), (1_000, 0, 0), "seed {seed}");
    }
}

/// Within a chain there is no link whose credit would stop a producer, so each full batch must be executed
/// before more is emitted. If it fails, a chain gathers the output of 64 calls, however large their tuples are.
#[test]
fn a_chain_holds_a_few_large_tuples_at_most() {
    let _alone = lock(&ALONE);
    const BYTES: usize = 256 << 10;
    let peak = peak_of(|| {
        let mut builder = TopologyBuilder::new("chain");
        builder.options(|options| {
            (options.queue.memory, options.queue.tuple_size_max) = (2 << 20, 1 << 20);
        });
        builder.spout("source", || Texts { next: 0, count: 200, bytes: BYTES });
        builder.bolt("middle", identity(&["n", "text"])).shuffle("source");
        builder.bolt("sink", null()).shuffle("middle");
        let topology = builder.build().expect("a valid topology");
        assert_eq!(topology.chains().len(), 2, "both bolts are chained");
        let mut topology = SimulatedTopology::start(topology, SimulationOptions::seeded(1));
        assert_eq!(topology.run_to_end(HOUR).expect("it ends").acked, 200);
        topology
    });
    assert!(peak < 8 * BYTES, "{peak} bytes at once");
}

/// The most memory held at once by a topology of 64 spouts and 64 sinks, of which no sink takes
/// anything, while each spout emits so many texts of 300 bytes.
fn held_by_a_standstill(texts: u64, memory: u64) -> usize {
    peak_of(|| {
        let mut builder = TopologyBuilder::new("stall");
        builder.options(|options| {
            (options.queue.memory, options.queue.tuple_size_max) = (memory, 1 << 20);
            options.delivery = Delivery::AtMostOnce;
        });
        builder.spout("source", move || Texts { next: 0, count: texts, bytes: 300 }).parallelism(64);
        builder.bolt("sink", null()).parallelism(64).fields("source", ["n"]);
        let topology = builder.build().expect("a valid topology");
        let mut topology = SimulatedTopology::start(topology, SimulationOptions::seeded(1));
        topology.stall("sink", seconds(60));
        topology.advance(seconds(59));
        topology
    })
}

/// `queue.memory` used to be a wish: each of 4,096 links got at least 64 KiB, and each of as many
/// batches under construction grew to 256 KiB, so that 16 MiB became 1.2 GB.
#[test]
fn the_memory_of_queues_is_a_ceiling_for_many_tasks() {
    let _alone = lock(&ALONE);
    const MEMORY: usize = 16 << 20;
    let empty = held_by_a_standstill(0, MEMORY as u64);
    let full = held_by_a_standstill(4_000, MEMORY as u64);
    let queues = full.saturating_sub(empty);
    assert!(queues <= MEMORY, "{queues} bytes of {MEMORY}");
    // A spout stops at its first link that is full, when most of its 64 links are not.
    assert!(queues >= MEMORY / 8, "{queues} bytes of {MEMORY} are no standstill");
}

/// A door that bolts wait at inside of `execute`.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn pass(&self) {
        let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_while(open, |open| !*open));
    }

    fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }
}

struct Waiting(Door);

impl Bolt for Waiting {
    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.pass();
        Ok(())
    }
}

/// Bytes of the process in memory, from the second number of `/proc/self/statm`, in pages.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// Ten real seconds, more than three times the time-out: one sink declared `blocking` and one that is not, on every
/// driver thread there is, do not come back from `execute`; their spouts would emit for ever. The
/// watchdog lends threads, and the third branch goes on all the while. Then the door opens, and
/// everything is acked. If it fails, one slow database takes down a topology.
#[test]
fn sinks_that_wait_for_ten_seconds_hurt_nobody_else() {
    const QUEUE: u64 = 16 << 20;
    const SLACK: u64 = 96 << 20;
    let _alone = lock(&ALONE);
    let door = Door::default();
    let mut builder = TopologyBuilder::new("stall");
    builder.options(|options| {
        // A thread that the system does not run for so long, on a machine that is not its own, is no sink that waits.
        options.message_timeout = Some(seconds(3));
        options.threads = AutoOr::Fixed(2);
        options.queue.memory = QUEUE;
    });
    let texts = || Texts { next: 0, count: u64::MAX, bytes: 1 << 10 };
    builder.spout("for-blocking", texts);
    let of_blocking = door.clone();
    builder.bolt("blocking", move || Waiting(of_blocking.clone())).shuffle("for-blocking").blocking();
    builder.spout("for-stuck", texts);
    let of_stuck = door.clone();
    builder.bolt("stuck", move || Waiting(of_stuck.clone())).parallelism(2).shuffle("for-stuck");
    builder.spout("free", texts);
    builder.bolt("going", null()).shuffle("free");
    let topology = builder.build().expect("a valid topology");
    let begin = Instant::now();
    let running = RunningTopology::start(topology, LocalOptions::default()).expect("threads start");
    let free = |running: &RunningTopology| of(&running.stats(), "free").acked;
    wait_until("the free branch to run", || free(&running) > 10_000);
    let (at_first, mut rounds) = (resident(), 0_u64);
    // That long at least, and until much came through, however long that takes.
    while begin.elapsed() < seconds(10) || rounds < 20 {
        let before = free(&running);
        wait_until("the free branch to go on", || free(&running) > before + 1_000);
        rounds += 1;
        let grown = resident().saturating_sub(at_first);
        assert!(grown <= QUEUE + SLACK, "{} MiB more after {:?}", grown >> 20, begin.elapsed());
    }
    let stats = running.stats();
    let failed = ["for-blocking", "for-stuck", "free"].map(|spout| (spout, of(&stats, spout).failed));
    assert_eq!(failed.map(|(_, failed)| failed), [0; 3], "a wait is no failure: {failed:?}");
    assert_eq!(stats.replayed, 0, "a wait is no failure");
    assert!(of(&stats, "stuck").executed == 0 && of(&stats, "blocking").executed == 0);
    door.open();
    running.drain();
    let stats = running.join();
    assert!(!stats.cut_short);
    assert_eq!((stats.acked, stats.failed, stats.replayed), (stats.emitted, 0, 0));
}
