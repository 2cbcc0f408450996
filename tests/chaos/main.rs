//! Real worker processes in trouble: killed, stopped, cut off, starved, and behind a bad network.
//!
//! What a round is about happens in it, on any machine: what may miss (a byte flipped on a line that
//! nobody uses) goes on until it has struck, and its round goes on with it.
//!
//! Each round runs a [`ledger`] in worker processes, does to it what a schedule says, heals it, waits
//! for its end, and checks the books: no line is lost, none is made up, nothing timed out for no
//! reason, no process and no descriptor is left behind. What is measured is printed, and written to
//! `target/chaos/`. Times are never asserted here but where they are deadlines of the system itself.
//!
//! * `SQUALL_CHAOS_SEED` (1): the first seed. A seed repeats its schedule, not what the schedule meets.
//! * `SQUALL_CHAOS_KILLS` (3): kills of `kills`, and of `exactly_once` and `exactly_once_postgres`; `SQUALL_CHAOS_RECOVERIES` (1): those that are
//!   measured; `SQUALL_CHAOS_ROUNDS` (1): rounds of everything else; `SQUALL_CHAOS_WORKERS` (3):
//!   worker processes; `SQUALL_CHAOS_MANY` (8): those of `many_workers`. In a single round each kind of
//!   fault is carried out as in others, but fewer times or for a shorter time.
//! * `scripts/chaos.sh` sets them, in release mode.
//!
//! Tests take turns: they are about times, and all want the same two cores.

#[path = "../kit/mod.rs"]
mod kit;

mod exactly_once;
#[cfg(feature = "server-tests")]
mod exactly_once_postgres;
mod figures;
mod ledger;
mod nemesis;
mod network;
mod orphans;
mod processes;
mod proxy;
mod recovery;
mod round;
#[cfg(feature = "server-tests")]
#[path = "../postgres/server.rs"]
mod server;
mod stall;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use squall::cluster::WorkerEventKind;
use squall::config::WorkerOptions;

use figures::Sums;
use ledger::{Ledger, Source};
use nemesis::{Fault, Kind, Lasts, Schedule};
use orphans::Family;
use processes::Resetter;
use proxy::{Cut, Mode};
use round::{Outcome, Round, fresh_dir, workers_of};

/// Kills in one round: then the books are checked, and another begins.
const KILLS_OF_ROUND: u64 = 20;

fn from_environment(key: &str, otherwise: u64) -> u64 {
    let given = std::env::var(key).ok();
    given.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{key}={text} is no number")))
}

fn first_seed() -> u64 {
    from_environment("SQUALL_CHAOS_SEED", 1)
}

fn rounds() -> u64 {
    from_environment("SQUALL_CHAOS_ROUNDS", 1)
}

fn workers() -> u16 {
    u16::try_from(from_environment("SQUALL_CHAOS_WORKERS", 3)).expect("so many workers there cannot be")
}

/// The turn of a test; the others wait.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No process.
const NOBODY: [u32; 0] = [];

/// How much a round does: all of it, or in a single round, which is what `cargo test` has time for, less.
fn by_rounds<T>(several: T, single: T) -> T {
    if rounds() > 1 { several } else { single }
}

/// What a debug build can do less of.
fn scaled(count: u64) -> u64 {
    if cfg!(debug_assertions) { count / 8 } else { count }
}

/// Lines at a pace that leaves the machine room, for about so long.
fn paced(time: Duration) -> (Source, u64) {
    let rate = scaled(16_000) as f64;
    (Source::Paced(rate), (rate * time.as_secs_f64()) as u64)
}

impl Round {
    /// A round whose lines last about as long as its schedule.
    fn new(name: &str, seed: u64, schedule: Schedule) -> Round {
        let time = schedule.0.last().map_or(Duration::ZERO, |(at, _)| *at) + Duration::from_secs(1);
        let (source, lines) = paced(time);
        Round {
            name: name.to_owned(),
            seed,
            workers: workers(),
            source,
            lines,
            source_tasks: workers(),
            proxies: false,
            schedule,
            at_once: false,
            may_lose: false,
            heartbeat_timeout: WorkerOptions::default().heartbeat_timeout,
            end_max: Duration::from_secs(300) + 3 * time,
        }
    }

    /// The same with lines that come as fast as they are taken: so many times as many.
    fn saturated(self, times: u64) -> Round {
        Round { source: Source::Lines, lines: times * self.lines, ..self }
    }

    /// The same with lines until the schedule is through, however long that takes.
    fn endless(self) -> Round {
        let rate = scaled(16_000) as f64;
        Round { source: Source::Endless(rate), lines: rate as u64 * 1000, ..self }
    }

    /// The same with proxies between the workers.
    fn proxied(self) -> Round {
        Round { proxies: true, ..self }
    }

    /// Runs it and adds it up.
    fn play(self, sums: &mut Sums) -> Outcome {
        let outcome = self.run();
        sums.add(&self, &outcome);
        outcome
    }
}

/// `kill -9` of random workers, now and then of all at once. If it fails, a dead worker takes lines
/// with it, or leaves something behind.
#[test]
fn kills() {
    let _turn = turn();
    let (wanted, mut seed) = (from_environment("SQUALL_CHAOS_KILLS", 3), first_seed());
    let mut sums = Sums::new("kills");
    while sums.killed() < wanted && sums.goes_on() {
        let left = (wanted - sums.killed()).min(KILLS_OF_ROUND) as usize;
        let random = &mut StdRng::seed_from_u64(seed);
        let pause = Duration::from_millis(random.random_range(100..1000));
        let kinds = [[Kind::Kill; 9].as_slice(), &[Kind::KillAll]].concat();
        let round = Round::new("kills", seed, Schedule::draw(seed, workers(), &kinds, left, pause));
        // Killed spouts begin again, so that fewer lines last as long.
        if random.random_bool(0.5) { round.saturated(6) } else { round }.play(&mut sums);
        seed += 1;
    }
    sums.conclude();
}

/// As many workers as `squall run` allows, and kills while they still find each other. If it fails,
/// something is bounded by less than they are.
#[test]
fn many_workers() {
    let _turn = turn();
    let many = from_environment("SQUALL_CHAOS_MANY", 8);
    let many = u16::try_from(many).expect("so many workers there cannot be");
    let mut sums = Sums::new("many workers");
    for seed in (first_seed()..).take(rounds() as usize) {
        let random = &mut StdRng::seed_from_u64(seed);
        let pause = Duration::from_millis(random.random_range(50..400));
        let schedule = Schedule::draw(seed, many, &[Kind::Kill], by_rounds(5, 3), pause);
        let round = Round::new("many", seed, schedule);
        let at_once = random.random_bool(0.5);
        Round { workers: many, source_tasks: many, at_once, ..round }.play(&mut sums);
    }
    sums.conclude();
}

/// Kills while everything ends: short inputs, and a kill every few moments until one meets the drain,
/// the finishing of bolts, the closing, or the start of what was killed before.
#[test]
fn kills_near_the_end() {
    let _turn = turn();
    let mut sums = Sums::new("kills near the end");
    for seed in (first_seed()..).take(3 * rounds() as usize) {
        let random = &mut StdRng::seed_from_u64(seed);
        let pause = Duration::from_millis(random.random_range(10..200));
        let schedule = Schedule::draw(seed, workers(), &[Kind::Kill], 10, pause);
        let round = Round::new("end", seed, schedule);
        let lines = random.random_range(1..scaled(16_000));
        let source = if random.random_bool(0.5) { Source::Lines } else { round.source };
        let at_once = random.random_bool(0.5);
        Round { source, lines, at_once, ..round }.play(&mut sums);
    }
    sums.conclude();
}

/// A kill while a signal drains and work waits: nothing passes between the workers, so that messages
/// are open; the run is drained; a worker is killed; then everything passes again. A drain replays
/// nothing, so lines may be missing in the sink, but a run that lost any must not say that all is well.
/// One source task runs on one worker: while that one lives, each line that is missing is counted.
fn kill_while_draining(seed: u64, of_source: bool, sums: &mut Sums) {
    let workers = workers().max(2);
    let ledger = Ledger::new(&fresh_dir("draining"), Source::Endless(1.0), 1, (workers, 1));
    let source = workers_of(&ledger.document(), "source", workers)[0];
    let random = &mut StdRng::seed_from_u64(seed);
    let other = (source + random.random_range(1..workers)) % workers;
    let victim = if of_source { source } else { other };
    let pairs = (0..workers).flat_map(|from| (0..workers).map(move |to| (from, to)));
    let clog = |(from, to)| {
        let lasts = Lasts::UntilStruck(Duration::from_millis(1500));
        (Duration::from_millis(100), Fault::Proxy(from, to, [Mode::Clog; 2], lasts))
    };
    let mut faults: Vec<_> = pairs.filter(|(from, to)| from != to).map(clog).collect();
    faults.push((Duration::from_millis(random.random_range(300..600)), Fault::Drain));
    faults.push((Duration::from_millis(random.random_range(600..1000)), Fault::Kill(vec![victim])));
    let round = Round::new("draining", seed, Schedule(faults)).endless().proxied();
    let outcome = Round { workers, source_tasks: 1, may_lose: true, ..round }.play(sums);
    let (emitted, books) = (outcome.stats.topology.emitted, &outcome.books);
    let (made, arrived) = (emitted.max(books.lines), books.arrived);
    let topology = &outcome.stats.topology;
    let counted = topology.failed + topology.waiting + topology.lost;
    if made - arrived > counted && !of_source {
        sums.complain(
            seed,
            format!("LOST: {made} lines were emitted, {arrived} arrived, {counted} were counted"),
        );
    }
    if arrived < made && outcome.says_all_is_well() {
        sums.complain(
            seed,
            format!("LOST IN SILENCE: {made} lines were emitted, {arrived} arrived, and all is well"),
        );
    }
}

#[test]
fn kills_while_draining() {
    let _turn = turn();
    let mut sums = Sums::new("kills while draining");
    for seed in (first_seed()..).take(rounds() as usize) {
        kill_while_draining(seed, false, &mut sums);
        kill_while_draining(seed, true, &mut sums);
    }
    sums.conclude();
}

/// A worker that stands still for a second is nobody's business; one that stands still for longer
/// than its parent waits is replaced. The parent waits for much longer than a second, so that nobody
/// is replaced because the machine is busy.
#[test]
fn stops() {
    let _turn = turn();
    let mut sums = Sums::new("stops");
    for seed in (first_seed()..).take(rounds() as usize) {
        let worker = (seed % u64::from(workers())) as u16;
        let faults = vec![
            (Duration::from_millis(500), Fault::Stop(worker, Duration::from_secs(1))),
            (Duration::from_millis(1700), Fault::Stop((worker + 1) % workers(), Duration::from_secs(600))),
        ];
        let round = Round::new("stops", seed, Schedule(faults)).endless();
        let outcome = Round { heartbeat_timeout: Duration::from_secs(4), ..round }.play(&mut sums);
        sums.note_stops(&outcome);
        let restarts = outcome.stats.processes.restarts;
        if restarts != 1 {
            sums.complain(seed, format!("{restarts} workers were replaced; one was stopped for long"));
        }
    }
    sums.conclude();
}

/// Connections that the kernel resets; where that cannot be asked for, by proxies that do.
#[test]
fn resets() {
    let _turn = turn();
    let mut sums = Sums::new("resets");
    let kind = if Resetter::find().is_ok() { Kind::Reset } else { Kind::Cut };
    for seed in (first_seed()..).take(rounds() as usize) {
        let schedule = Schedule::draw(seed, workers(), &[kind], 20, Duration::from_millis(150));
        let round = Round::new("resets", seed, schedule);
        let round = Round { proxies: kind.needs_proxies(), ..round };
        let round = if seed % 2 == 0 { round.saturated(16) } else { round.endless() };
        let outcome = round.play(&mut sums);
        let struck = outcome.struck.iter().any(|(struck, _)| *struck == kind);
        let links_down =
            outcome.events.iter().filter(|event| matches!(event.kind, WorkerEventKind::LinkDown(_)));
        if struck && links_down.count() == 0 {
            sums.complain(seed, "no link ever went down: nothing was reset".to_owned());
        }
    }
    sums.require(first_seed(), kind);
    sums.conclude();
}

/// Every kind of bad network, one after the other, in this or that direction, each until it has struck.
fn tour(seed: u64) -> Schedule {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut at = Duration::from_millis(200);
    let modes = [
        Mode::Delay { mean: Duration::from_millis(75), jitter: Duration::from_millis(50) },
        Mode::Refuse(Cut::Reset),
        Mode::Refuse(Cut::Finish),
        Mode::Blackhole,
        Mode::Flip { every: 4 << 10 },
        Mode::Truncate { after: 4 << 10 },
        Mode::Slow { per_second: 125_000 },
        Mode::Clog,
    ];
    let mut faults = Vec::new();
    for mode in modes {
        let from = random.random_range(0..workers());
        let to = (from + random.random_range(1..workers().max(2))) % workers();
        let ways = [[mode, Mode::Pass], [Mode::Pass, mode], [mode, mode]][random.random_range(0..3)];
        let time = Duration::from_millis(random.random_range(500..by_rounds(2000, 1000)));
        faults.push((at, Fault::Proxy(from, to, ways, Lasts::UntilStruck(time))));
        at += time.mul_f64(0.8);
    }
    for how in [Cut::Reset, Cut::Finish] {
        faults.push((at, Fault::Cut(0, 1 % workers(), how)));
    }
    Schedule(faults)
}

/// A bad network: each kind of it in turn, and in later rounds storms of all kinds.
#[test]
fn bad_network() {
    let _turn = turn();
    let mut sums = Sums::new("bad network");
    for seed in (first_seed()..).take(rounds() as usize) {
        let is_tour = seed % 2 == first_seed() % 2;
        let kinds = [Kind::Proxy, Kind::Proxy, Kind::Proxy, Kind::Cut];
        let storm = || Schedule::draw(seed, workers(), &kinds, 40, Duration::from_millis(250));
        let round = Round::new("network", seed, if is_tour { tour(seed) } else { storm() }).proxied();
        let round = match seed % 4 {
            _ if is_tour => round.endless(),
            0 | 1 => round,
            _ => round.saturated(8),
        };
        let outcome = round.play(&mut sums);
        sums.note_network(&outcome);
    }
    let never = sums.never_happened();
    if !never.is_empty() {
        sums.complain(first_seed(), format!("never happened: {never:?}"));
    }
    sums.conclude();
}

/// A random mixture, of a random strength.
#[test]
fn swarm() {
    let _turn = turn();
    let mut sums = Sums::new("swarm");
    for seed in (first_seed()..).take(rounds() as usize) {
        let proxies = seed % 2 == 1;
        let kinds: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| proxies || !kind.needs_proxies()).collect();
        let schedule = Schedule::swarm(seed, workers(), &kinds, Duration::from_secs(by_rounds(6, 3)));
        let round = Round::new("swarm", seed, schedule);
        let round = if proxies { round.proxied() } else { round };
        if seed % 4 >= 2 { round.saturated(12) } else { round }.play(&mut sums);
    }
    sums.conclude();
}

/// Workers that get no more memory from the kernel, and are killed for wanting some.
#[test]
fn starved() {
    let _turn = turn();
    let mut sums = Sums::new("starved");
    for seed in (first_seed()..).take(rounds() as usize) {
        let schedule =
            Schedule::draw(seed, workers(), &[Kind::Starve], by_rounds(3, 1), Duration::from_millis(1500));
        Round::new("starved", seed, schedule).endless().play(&mut sums);
    }
    sums.require(first_seed(), Kind::Starve);
    sums.conclude();
}

/// A sink that takes nothing for a while: memory stays within its bounds, nothing times out, and
/// what does not lead there goes on.
#[test]
fn stalled_sink() {
    let _turn = turn();
    let time = Duration::from_secs(by_rounds(60, 6));
    let lines = scaled(400_000);
    let mut wrong = stall::stall(workers(), lines, time, "at-least-once");
    if rounds() > 1 {
        wrong.extend(stall::stall(workers(), lines, time, "at-most-once"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Workers that die leave no descriptor and no thread in those that go on.
#[test]
fn leaks() {
    let _turn = turn();
    let wrong = orphans::leaks(workers(), by_rounds(12, 4));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever happens to the parent, its workers do not outlive it.
#[test]
fn orphans_after_the_parent_was_killed() {
    let _turn = turn();
    let random = &mut StdRng::seed_from_u64(first_seed());
    for nth in 0..4 * rounds() {
        let mut family = Family::start("orphans", workers());
        match nth {
            0 => assert!(family.is_at_work(), "it never got to work"),
            // Stopped, so that it can do nothing about it.
            1 => {
                assert!(family.is_at_work(), "it never got to work");
                family.signal(Signal::STOP);
            }
            // While it starts them.
            _ => std::thread::sleep(Duration::from_millis(random.random_range(0..200))),
        }
        family.signal(Signal::KILL);
        assert!(family.ended().is_some(), "a killed parent ends");
        assert_eq!(family.left_behind(), NOBODY, "kill {nth}");
    }
}

/// A terminal sends its SIGINT to all processes of the group; the workers leave the answer to their
/// parent, which drains.
#[test]
fn an_interrupted_family_ends_in_order() {
    let _turn = turn();
    for signal in [Signal::INT, Signal::TERM] {
        let mut family = Family::start("interrupted", workers());
        assert!(family.is_at_work(), "it never got to work");
        family.signal_group(signal);
        let status = family.ended().expect("it drains and ends");
        assert!(status.success(), "{signal:?}: {status}");
        assert_eq!(family.left_behind(), NOBODY);
    }
}

/// A parent that stood still comes back to the same workers: it was not there to hear them.
#[test]
fn a_parent_that_stood_still_replaces_nobody() {
    let _turn = turn();
    let mut family = Family::start("stood-still", workers());
    assert!(family.is_at_work(), "it never got to work");
    let before = family.worker_pids();
    family.signal(Signal::STOP);
    // The fault itself: longer than a parent waits for a word of a worker.
    std::thread::sleep(orphans::HEARTBEAT_TIMEOUT + Duration::from_secs(1));
    assert!(before.iter().all(|pid| orphans::is_running(*pid)), "workers do not wait for their parent");
    family.signal(Signal::CONT);
    assert!(family.is_at_work(), "it goes on");
    assert_eq!(family.worker_pids(), before, "nobody was replaced");
    family.signal(Signal::TERM);
    assert!(family.ended().is_some_and(|status| status.success()));
    // By now it has looked at everybody since it went on.
    assert_eq!(family.restarts(), Some(0), "nobody was replaced");
    assert_eq!(family.left_behind(), NOBODY);
}

/// How long a killed worker is missed. Measures; fails only if something never comes back.
#[test]
fn recovery() {
    let _turn = turn();
    let kills = from_environment("SQUALL_CHAOS_RECOVERIES", 1);
    let rate = from_environment("SQUALL_CHAOS_RATE", scaled(16_000));
    let wrong = recovery::measure(workers(), kills, rate, first_seed());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
