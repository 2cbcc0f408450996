//! Executors with a thread of their own beside executors of the driver threads, in real threads.
//!
//! Who wakes an executor must not need to know which kind of thread it is on. A dedicated thread used
//! to queue executors without notifying a driver: `generate` with `blocking = true` at two rows a
//! second showed nothing for 6 s, `delay` hung for ever, and the tree clock stood still meanwhile, so
//! that no time-out helped. Here a row is sent only after the row before it has arrived. So nothing is
//! under way that could wake somebody by chance, and a wake that is missing is a test that hangs.

mod kit;

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Execute, Log, LogLine, Numbers, bolt, lock, wait_until};
use squall::config::AutoOr;
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::topology::builder::BoltDeclarer;

/// Rows that go through each topology, one after another.
const ROWS: i64 = 5;

type Arrived = Arc<Mutex<Vec<i64>>>;

/// Emits what the test sends. With a thread of its own it waits in `next_tuple`; without, it is idle.
struct Fed {
    rows: Arc<Mutex<Receiver<i64>>>,
    waits: bool,
    direct: bool,
    targets: Vec<TaskId>,
}

impl Fed {
    fn next(&mut self) -> Result<i64, SpoutStatus> {
        let rows = lock(&self.rows);
        if self.waits {
            return rows.recv().map_err(|_| SpoutStatus::Exhausted);
        }
        rows.try_recv().map_err(|error| match error {
            TryRecvError::Empty => SpoutStatus::Idle,
            TryRecvError::Disconnected => SpoutStatus::Exhausted,
        })
    }
}

impl Spout for Fed {
    fn declare(&self) -> Streams {
        if self.direct { Streams::none().direct_stream("default", ["n"]) } else { Streams::new(["n"]) }
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.targets = context.tasks_of("relay").to_vec();
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let n = match self.next() {
            Ok(n) => n,
            Err(status) => return Ok(status),
        };
        let id = MessageId(n as u64);
        if self.direct {
            out.emit_direct(self.targets[n as usize % self.targets.len()], "default", [n], Some(id))?;
        } else {
            out.emit_tracked([n], id)?;
        }
        Ok(SpoutStatus::Emitted)
    }
}

/// A grouping of one's own: by the number.
struct ByNumber;

impl CustomGrouping for ByNumber {
    fn choose(&mut self, tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
        let n = tuple[0].as_i64().unwrap_or_default();
        chosen.push(targets[n as usize % targets.len()]);
    }
}

/// Whether the spout and the bolt have threads of their own.
#[derive(Clone, Copy, Debug)]
struct Threads {
    spout: bool,
    bolt: bool,
}

const EACH_KIND: [Threads; 4] = [
    Threads { spout: false, bolt: false },
    Threads { spout: false, bolt: true },
    Threads { spout: true, bolt: false },
    Threads { spout: true, bolt: true },
];

type Subscribe = for<'a> fn(BoltDeclarer<'a>) -> BoltDeclarer<'a>;

/// Sends rows through `feed -> relay (two tasks) -> sink`, each after the one before it has arrived
/// and, as `max_spout_pending` is 1, was acked.
fn check(grouping: &str, copies: usize, threads: Threads, subscribe: Subscribe) {
    let (feed, rows) = channel();
    let running = start(rows, threads, grouping == "direct", subscribe);
    for n in 0..ROWS {
        feed.send(n).expect("the spout is there");
        let expected = copies * (n as usize + 1);
        wait_until(&format!("row {n} by {grouping} with {threads:?}"), || lock(&running.1).len() == expected);
    }
    drop(feed);
    let stats = running.0.join();
    assert_eq!(
        (stats.acked, stats.failed, stats.cut_short),
        (ROWS as u64, 0, false),
        "{grouping} {threads:?}"
    );
}

fn start(
    rows: Receiver<i64>,
    threads: Threads,
    direct: bool,
    subscribe: Subscribe,
) -> (RunningTopology, Arrived) {
    let (rows, arrived) = (Arc::new(Mutex::new(rows)), Arrived::default());
    let mut builder = TopologyBuilder::new("threads");
    let feed = builder.spout("feed", move || Fed {
        rows: Arc::clone(&rows),
        waits: threads.spout,
        direct,
        targets: Vec::new(),
    });
    let feed = feed.max_spout_pending(1);
    if threads.spout {
        feed.blocking();
    }
    let relay: Execute = |input, out| Ok(out.emit(input)?);
    let relay = builder.bolt("relay", bolt(Streams::new(["n"]), relay)).parallelism(2);
    let relay = subscribe(relay);
    if threads.bolt {
        relay.blocking();
    }
    let log = Arc::clone(&arrived);
    let sink = builder.bolt(
        "sink",
        bolt(Streams::none(), move |input: Input<'_>, _: &mut Outputs<'_>| {
            lock(&log).push(input.i64("n")?);
            Ok(())
        }),
    );
    let sink = sink.shuffle("relay");
    if threads.bolt {
        sink.blocking();
    }
    let topology = builder.build().expect("it is right");
    (RunningTopology::start(topology, LocalOptions::default()).expect("it starts"), arrived)
}

#[test]
fn every_grouping_wakes_both_kinds_of_thread() {
    let groupings: [(&str, usize, Subscribe); 9] = [
        ("shuffle", 1, |relay| relay.shuffle("feed")),
        ("fields", 1, |relay| relay.fields("feed", ["n"])),
        ("partial key", 1, |relay| relay.partial_key("feed", ["n"])),
        ("all", 2, |relay| relay.all("feed")),
        ("global", 1, |relay| relay.global("feed")),
        ("none", 1, |relay| relay.none("feed")),
        ("local or shuffle", 1, |relay| relay.local_or_shuffle("feed")),
        ("direct", 1, |relay| relay.direct("feed")),
        ("custom", 1, |relay| relay.custom("feed", "by-number", || ByNumber)),
    ];
    for (name, copies, subscribe) in groupings {
        for threads in EACH_KIND {
            check(name, copies, threads, subscribe);
        }
    }
}

/// What a blocking bolt emitted is sent before its next call, which may wait for as long as it likes.
/// It used to be sent after up to 64 further calls.
#[test]
fn a_call_that_waits_does_not_hold_back_what_was_emitted_before_it() {
    let (feed, rows) = channel();
    let (open_gate, gate) = channel::<()>();
    let (rows, gate, arrived) = (Arc::new(Mutex::new(rows)), Arc::new(Mutex::new(gate)), Arrived::default());
    (0..ROWS).for_each(|n| feed.send(n).expect("the spout is there"));
    drop(feed);
    let mut builder = TopologyBuilder::new("gate");
    builder.spout("feed", move || Fed {
        rows: Arc::clone(&rows),
        waits: false,
        direct: false,
        targets: Vec::new(),
    });
    let pass = bolt(Streams::new(["n"]), move |input: Input<'_>, out: &mut Outputs<'_>| {
        let n = input.i64("n")?;
        if n > 0 {
            lock(&gate).recv()?;
        }
        Ok(out.emit([n])?)
    });
    builder.bolt("pass", pass).blocking().shuffle("feed");
    let log = Arc::clone(&arrived);
    let sink = bolt(Streams::none(), move |input: Input<'_>, _: &mut Outputs<'_>| {
        lock(&log).push(input.i64("n")?);
        Ok(())
    });
    builder.bolt("sink", sink).shuffle("pass");
    let topology = builder.build().expect("it is right");
    let running = RunningTopology::start(topology, LocalOptions::default()).expect("it starts");
    for n in 0..ROWS {
        // The gate of the next row opens when this one has arrived.
        wait_until(&format!("row {n}"), || lock(&arrived).len() as i64 == n + 1);
        open_gate.send(()).expect("the bolt is there");
    }
    drop(open_gate);
    assert_eq!(running.join().acked, ROWS as u64);
}

/// A dedicated thread lost the time at which its spout was to be asked again, when a wake had come while
/// it was awake: the token of that wake ended its nap early, and it then slept without a time. With one
/// message at a time, each ack is such a wake, and nothing else comes.
#[test]
fn a_nap_that_ends_early_does_not_forget_why_it_was_taken() {
    /// Emits a number, rests for a while, and so on.
    struct Slow(Numbers, bool);

    impl Spout for Slow {
        fn declare(&self) -> Streams {
            self.0.declare()
        }

        fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            self.1 = !self.1;
            if self.1 { self.0.next_tuple(out) } else { Ok(SpoutStatus::IdleFor(Duration::from_millis(2))) }
        }
    }

    const NUMBERS: u64 = 200;
    let mut builder = TopologyBuilder::new("naps");
    builder.spout("slow", || Slow(Numbers::new(NUMBERS), false)).max_spout_pending(1).blocking();
    builder.bolt("sink", kit::null()).blocking().shuffle("slow");
    let topology = builder.build().expect("it is right");
    let running = RunningTopology::start(topology, LocalOptions::default()).expect("it starts");
    wait_until("all messages to be acked", || running.stats().acked == NUMBERS);
    running.drain();
    assert!(!running.join().cut_short);
}

/// A driver whose step takes too long is replaced, and leaves when the step returns. What the step made
/// runnable was then left in the queue, while the other driver slept: 25 rows through a bolt that sleeps
/// for 1.3 s stood still for 75 s.
#[test]
fn a_driver_that_was_replaced_hands_its_work_over() {
    let (log, arrived) = (Log::default(), Arrived::default());
    let mut builder = TopologyBuilder::new("replaced");
    builder.options(|options| {
        options.threads = AutoOr::Fixed(1);
        options.watchdog.step = Duration::from_millis(20);
        // Without tracking there is no timer that would wake a driver by chance.
        options.delivery = Delivery::AtMostOnce;
    });
    builder.spout("feed", || Numbers::new(ROWS as u64));
    let warnings = log.clone();
    let rows = Arc::clone(&arrived);
    // It emits nothing: a batch that is sent would wake the other driver.
    let slow = bolt(Streams::none(), move |input: Input<'_>, _: &mut Outputs<'_>| {
        let n = input.i64("n")?;
        wait_until("the driver to be replaced", || {
            let replaced = |line: &LogLine| line.text.contains("does not return");
            warnings.lines(slog::Level::Warning).iter().filter(|line| replaced(line)).count() as i64 > n
        });
        lock(&rows).push(n);
        Ok(())
    });
    builder.bolt("slow", slow).global("feed");
    builder.options(|options| options.queue.batch = 1);
    let topology = builder.build().expect("it is right");
    let options = LocalOptions { logger: log.logger(), ..LocalOptions::default() };
    let running = RunningTopology::start(topology, options).expect("it starts");
    wait_until("all rows to arrive", || lock(&arrived).len() as i64 == ROWS);
    running.drain();
    assert!(!running.join().cut_short);
    assert_eq!(*lock(&arrived), (0..ROWS).collect::<Vec<_>>());
}
