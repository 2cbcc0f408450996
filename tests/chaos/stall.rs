//! A sink that takes nothing for a while, in one of several processes.
//!
//! The sink writes to a pipe that the test reads from, or does not. While it does not, everything
//! before it must stand still within its memory, no message may time out, and whatever does not lead
//! to that sink must go on as before.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};
use squall::api::FailureCause;
use squall::cluster::WorkersOptions;

use crate::kit::lock;
use crate::network::Network;
use crate::processes::status;
use crate::round::{Arena, fresh_dir, patiently};

/// `topology.queue.memory`.
const QUEUES_KIB: u64 = 16 << 10;
/// What a worker may take beyond that: buffers of sockets and frames, what its spout keeps for
/// replay, what the allocator rounds up.
const SLACK_KIB: u64 = 48 << 10;
/// What a worker may hold more of at a later time, while nothing moves.
const GROWTH_KIB: u64 = 4 << 10;
/// How often memory is looked at until it stands still.
const SETTLES_WITHIN: u32 = 20;
/// What has not come true after so long, on however busy a machine, never will.
const PATIENCE: Duration = Duration::from_secs(300);
/// Lines per second that do not lead to the sink.
const OTHERS: u64 = 1000;

fn document(dir: &Path, workers: u16, lines: u64, delivery: &str) -> String {
    let dir = dir.display();
    let padding = "x".repeat(200);
    format!(
        r#"
topology = {{ name = "stall", message_timeout = "2s", delivery = "{delivery}", start_inactive = true, queue.memory = "{QUEUES_KIB}KiB" }}

[spout.source]
type = "generate"
parallelism = {workers}
config = {{ count = {lines}, fields = {{ n = "{{seq}}", padding = "{padding}{{seq}}" }} }}

[bolt.pass]
type = "project"
parallelism = {workers}
inputs = ["source"]
config = {{ fields = ["n", "padding"] }}

[bolt.sink]
type = "file"
inputs = ["pass"]
config = {{ path = "{dir}/pipe", fields = ["n"] }}

[spout.other]
type = "generate"
parallelism = {workers}
config = {{ rate = {OTHERS}, fields = {{ n = "{{seq}}" }} }}

[bolt.others]
type = "file"
parallelism = {workers}
inputs = ["other"]
config = {{ path = "{dir}/out/{{task}}-{{seq}}.txt" }}
"#
    )
}

/// Reads the pipe, while it may.
struct Reader {
    may_read: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<bool>>>,
    thread: JoinHandle<()>,
    pipe: File,
}

impl Reader {
    fn start(pipe: &Path, lines: u64) -> Reader {
        let stall_at = lines as usize / 4;
        rustix::fs::mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .expect("a pipe can be made");
        // Open for both, so that it neither waits for a writer nor ends without one.
        let pipe = OpenOptions::new().read(true).write(true).open(pipe).expect("it was made");
        let (may_read, seen) =
            (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(vec![false; lines as usize])));
        let thread = thread::spawn({
            let reader = BufReader::with_capacity(1 << 10, pipe.try_clone().expect("descriptors are there"));
            let (may_read, seen) = (Arc::clone(&may_read), Arc::clone(&seen));
            move || {
                let lines = reader.lines().map_while(Result::ok).take_while(|line| line != "end");
                for (nth, line) in lines.enumerate() {
                    // The stall begins by itself in the midst of things.
                    if nth == stall_at {
                        may_read.store(false, Ordering::Relaxed);
                    }
                    while !may_read.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(5));
                    }
                    let number: usize = line.parse().unwrap_or(usize::MAX);
                    if let Some(place) = lock(&seen).get_mut(number) {
                        *place = true;
                    }
                }
            }
        });
        Reader { may_read, seen, thread, pipe }
    }

    fn count(&self) -> usize {
        lock(&self.seen).iter().filter(|seen| **seen).count()
    }

    fn end(mut self) -> Vec<bool> {
        let _ = self.pipe.write_all(b"end\n");
        let _ = self.thread.join();
        std::mem::take(&mut *lock(&self.seen))
    }
}

fn rows_of_others(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir.join("out")).into_iter().flatten().filter_map(Result::ok);
    let rows =
        |path| fs::read(path).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count() as u64);
    entries.map(|entry| rows(entry.path())).sum()
}

/// Stalls the sink of a run for so long; says what was wrong.
pub fn stall(workers: u16, lines: u64, time: Duration, delivery: &str) -> Vec<String> {
    let dir = fresh_dir(&format!("stall-{delivery}"));
    let reader = Reader::start(&dir.join("pipe"), lines);
    let document = document(&dir, workers, lines, delivery);
    let mut options = WorkersOptions::new(workers);
    options.worker.stats_interval = Duration::from_millis(50);
    // Nobody dies in this test, and nobody is to be taken for dead because the machine is busy.
    options.worker.heartbeat_timeout = PATIENCE;
    options.net.silence = PATIENCE;
    options.net.link_lost = PATIENCE;
    let arena = Arena::start(&dir, &document, Network::new(false, 0), options);
    let mut wrong = Vec::new();
    let pids = |arena: &Arena| -> Vec<u32> { arena.running.worker_pids().into_iter().flatten().collect() };
    let memory = |arena: &Arena, key: &str| -> Vec<u64> {
        pids(arena).into_iter().filter_map(|pid| status(pid, key)).collect()
    };
    if !arena.wait_connected(PATIENCE) {
        wrong.push("it did not start".to_owned());
    }
    let base = memory(&arena, "VmRSS");
    arena.running.activate();
    if !arena.wait(PATIENCE, |_| !reader.may_read.load(Ordering::Relaxed)) {
        wrong.push("too little came through to be stalled".to_owned());
    }
    let (others_early, looked_at) = (rows_of_others(&dir), Instant::now());
    let taken = reader.count();
    // An allocator gives pages back when it pleases: of a while, what a worker held at all times, and
    // what it never exceeded.
    let watch = |time: Duration, pick: fn(u64, u64) -> u64| {
        let (until, mut picked) = (Instant::now() + time, memory(&arena, "VmRSS"));
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(100));
            for (picked, now) in picked.iter_mut().zip(memory(&arena, "VmRSS")) {
                *picked = pick(*picked, now);
            }
        }
        picked
    };
    // What was still on its way settles first, sooner or later: memory stands still when a later while
    // needed no more than an earlier one. Memory that grows for ever never does.
    let mut resident_early = watch(time / 4, u64::max);
    let mut resident_late = watch(time / 4, u64::min);
    let has_grown =
        |early: &[u64], late: &[u64]| early.iter().zip(late).any(|(early, late)| *late > early + GROWTH_KIB);
    for _ in 0..SETTLES_WITHIN {
        if !has_grown(&resident_early, &resident_late) {
            break;
        }
        resident_early = watch(time / 4, u64::max);
        resident_late = watch(time / 4, u64::min);
    }
    // The others are due by the clock, and catch up after the machine was busy with something else.
    let rate_of_others = || (rows_of_others(&dir) - others_early) as f64 / looked_at.elapsed().as_secs_f64();
    patiently(PATIENCE, || rate_of_others() >= 0.9 * OTHERS as f64);
    let others = rate_of_others();
    let peaks = memory(&arena, "VmHWM");
    println!(
        "stall, {delivery}: {workers} workers, {time:?}, {taken} of {lines} lines taken before; resident KiB \
         {base:?} before, {resident_early:?} at first (most), {resident_late:?} at last (least); peaks {peaks:?}; \
         others {others:.0} rows/s of {OTHERS}"
    );
    if reader.count() as u64 >= lines {
        wrong.push("all lines were through before the stall: nothing was tested".to_owned());
    }
    for (worker, (base, peak)) in base.iter().zip(&peaks).enumerate() {
        if *peak > base + QUEUES_KIB + SLACK_KIB {
            wrong.push(format!(
                "MEMORY: worker {worker}: {base} KiB at rest, {QUEUES_KIB} for queues, but {peak}"
            ));
        }
    }
    for (worker, (early, late)) in resident_early.iter().zip(&resident_late).enumerate() {
        if *late > early + GROWTH_KIB {
            wrong
                .push(format!("MEMORY: worker {worker} grew from {early} to {late} KiB while nothing moved"));
        }
    }
    if others < 0.9 * OTHERS as f64 {
        wrong.push(format!("OTHERS: {others:.0} rows/s instead of {OTHERS} while the sink was stalled"));
    }
    reader.may_read.store(true, Ordering::Relaxed);
    if delivery == "at-least-once" && !arena.wait(PATIENCE, |_| reader.count() as u64 == lines) {
        wrong.push(format!(
            "LOST: {} of {lines} lines, {PATIENCE:?} after the stall",
            lines - reader.count() as u64
        ));
    }
    arena.running.drain();
    if !arena.running.wait(PATIENCE) {
        wrong.push(format!("STUCK: not drained within {PATIENCE:?}"));
    }
    let _ = fs::write(dir.join("history.txt"), arena.history());
    arena.running.kill();
    let stats = arena.running.join();
    let seen = reader.end();
    let count = seen.iter().filter(|seen| **seen).count() as u64;
    // At most once nothing is lost either, as long as nobody dies.
    if count < lines && (delivery == "at-least-once" || count < stats_of(&stats, "source")) {
        wrong.push(format!("LOST: {count} of {lines} lines in the end"));
    }
    let replayed = stats.topology.replayed;
    if replayed > 0 {
        let timed_out = stats.topology.replays.of(FailureCause::TimedOut);
        wrong.push(format!("FALSE TIME-OUTS: {timed_out} of {replayed} replays, and nobody had died"));
    }
    if stats.processes.restarts > 0 {
        wrong.push(format!("{} workers were replaced, and nobody had died", stats.processes.restarts));
    }
    if wrong.is_empty() {
        let _ = fs::remove_dir_all(dir);
    }
    wrong
}

/// What a spout emitted.
fn stats_of(stats: &squall::cluster::WorkersStats, component: &str) -> u64 {
    crate::kit::of(&stats.topology, component).emitted
}
