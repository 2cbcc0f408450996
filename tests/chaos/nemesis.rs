//! What is done to a run: drawn from a seed before it begins, carried out while it runs.
//!
//! Swarm style: a seed first draws which kinds of faults there are at all, and how often, because a
//! run with everything in it never gets far enough for what needs one thing twice. The schedule is
//! in seconds since the start of the troubles, and names workers by number; what a process was at
//! that time decides who is hit. The same seed has the same schedule; what it meets differs.
//!
//! 1. Every fault that lasts has an end in the schedule, or when it has struck, whichever is later
//!    ([`Lasts`]). [`Nemesis::heal`] ends all that are left.
//! 2. Only children of this process are signalled, and only connections to their ports are reset.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use crate::network::Network;
use crate::processes::{Cell, Handle, Resetter};
use crate::proxy::{Cut, Mode, Way};

/// Bytes that a starved worker has: enough to begin, not enough to work.
const CELL_LIMIT: u64 = 24 << 20;
/// A worker that has not died of hunger after so long, on however busy a machine, never will.
const STARVED_MAX: Duration = Duration::from_secs(60);

/// A kind of fault, as it is drawn and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A worker is killed.
    Kill,
    /// All workers are killed at the same time.
    KillAll,
    /// A worker is stopped for a time that nobody should notice much.
    Pause,
    /// A worker is stopped for so long that it is replaced.
    Stop,
    /// Connections of a worker are reset by the kernel.
    Reset,
    /// A connection is cut by its proxy.
    Cut,
    /// A proxy does something to a connection for a while.
    Proxy,
    /// A worker is killed, and what is started instead gets little memory.
    Starve,
    /// The run is told to drain. No fault, but what comes after it meets a drain.
    Drain,
}

impl Kind {
    /// All faults.
    pub const ALL: [Kind; 8] = [
        Kind::Kill,
        Kind::KillAll,
        Kind::Pause,
        Kind::Stop,
        Kind::Reset,
        Kind::Cut,
        Kind::Proxy,
        Kind::Starve,
    ];

    /// Whether it needs proxies between the workers.
    pub fn needs_proxies(self) -> bool {
        matches!(self, Kind::Cut | Kind::Proxy)
    }
}

/// How long a bad network lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// So long, whether or not anything met it meanwhile.
    For(Duration),
    /// At least so long, and until it has met something. Until then whatever comes later in the
    /// schedule waits, and so does the next fault of the same pair until this one is over.
    UntilStruck(Duration),
}

/// Something that is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// These workers are killed at once.
    Kill(Vec<u16>),
    /// A worker is stopped for so long, or until it is replaced.
    Stop(u16, Duration),
    /// The connections of a worker are reset; if it has none just now, as soon as it has.
    Reset(u16),
    /// The connection by which one sends to another is cut.
    Cut(u16, u16, Cut),
    /// Its proxy is in these modes, forward and backward.
    Proxy(u16, u16, [Mode; 2], Lasts),
    /// A worker is killed, and its next life is to run out of memory.
    Starve(u16),
    /// The run is drained, as soon as work waits in it.
    Drain,
}

impl Fault {
    fn kind(&self, workers: u16) -> Kind {
        match self {
            Fault::Kill(who) if who.len() == usize::from(workers) && workers > 1 => Kind::KillAll,
            Fault::Kill(_) => Kind::Kill,
            Fault::Stop(_, time) if *time < Duration::from_secs(3) => Kind::Pause,
            Fault::Stop(..) => Kind::Stop,
            Fault::Reset(_) => Kind::Reset,
            Fault::Cut(..) => Kind::Cut,
            Fault::Proxy(..) => Kind::Proxy,
            Fault::Starve(_) => Kind::Starve,
            Fault::Drain => Kind::Drain,
        }
    }
}

/// What is done when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule(pub Vec<(Duration, Fault)>);

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(at, fault)| writeln!(f, "{:>8.3} {fault:?}", at.as_secs_f64()))
    }
}

impl Schedule {
    /// So many faults of these kinds, with pauses around `pause` between them.
    pub fn draw(seed: u64, workers: u16, kinds: &[Kind], count: usize, pause: Duration) -> Schedule {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut at = Duration::ZERO;
        let mut faults = Vec::with_capacity(count);
        for _ in 0..count {
            // Now and then two at the same time.
            if !random.random_bool(0.1) {
                at += pause.mul_f64(random.random_range(0.1..1.9));
            }
            let kind = kinds[random.random_range(0..kinds.len())];
            faults.push((at, draw_fault(random, workers, kind)));
        }
        Schedule(faults)
    }

    /// A random part of these kinds, as often as the seed says, for about so long.
    pub fn swarm(seed: u64, workers: u16, from: &[Kind], time: Duration) -> Schedule {
        let random = &mut StdRng::seed_from_u64(seed ^ 0x5eed);
        let mut kinds: Vec<Kind> = from.iter().copied().filter(|_| random.random_bool(0.5)).collect();
        if kinds.is_empty() {
            kinds.push(from[random.random_range(0..from.len())]);
        }
        let pause = Duration::from_millis(random.random_range(50..1500));
        let count = (time.as_secs_f64() / pause.as_secs_f64()).ceil() as usize;
        Schedule::draw(seed, workers, &kinds, count, pause)
    }
}

/// One of the ways a network can be bad, with its strength.
pub fn draw_mode(random: &mut StdRng) -> Mode {
    match random.random_range(0..7) {
        0 => Mode::Delay { mean: Duration::from_millis(75), jitter: Duration::from_millis(50) },
        1 => Mode::Refuse(if random.random_bool(0.5) { Cut::Reset } else { Cut::Finish }),
        2 => Mode::Blackhole,
        3 => Mode::Flip { every: 1 << random.random_range(10..20) },
        4 => Mode::Truncate { after: 1 << random.random_range(6..20) },
        5 => Mode::Slow { per_second: 125_000 },
        _ => Mode::Clog,
    }
}

fn draw_fault(random: &mut StdRng, workers: u16, kind: Kind) -> Fault {
    let worker = random.random_range(0..workers);
    let peer = (worker + random.random_range(1..workers.max(2))) % workers;
    let how = if random.random_bool(0.5) { Cut::Reset } else { Cut::Finish };
    match kind {
        Kind::Kill => Fault::Kill(vec![worker]),
        Kind::KillAll => Fault::Kill((0..workers).collect()),
        Kind::Pause => Fault::Stop(worker, Duration::from_millis(random.random_range(10..2_000))),
        Kind::Stop => Fault::Stop(worker, Duration::from_secs(8)),
        Kind::Reset => Fault::Reset(worker),
        Kind::Cut => Fault::Cut(worker, peer, how),
        Kind::Proxy => {
            let mode = draw_mode(random);
            let modes = match random.random_range(0..3) {
                0 => [mode, Mode::Pass],
                1 => [Mode::Pass, mode],
                _ => [mode, mode],
            };
            let time = Duration::from_millis(random.random_range(50..4_000));
            Fault::Proxy(worker, peer, modes, Lasts::For(time))
        }
        Kind::Starve => Fault::Starve(worker),
        Kind::Drain => Fault::Drain,
    }
}

/// Why a fault was not carried out.
enum Miss {
    /// Nobody was there to be hit. It is tried again at the next look.
    NotYet,
    /// It cannot be, for this reason.
    Never(String),
}

impl<S: Into<String>> From<S> for Miss {
    fn from(why: S) -> Miss {
        Miss::Never(why.into())
    }
}

/// What a fault that lasts is ended by.
enum Remedy {
    Continue(Handle),
    HealPair {
        from: u16,
        to: u16,
        /// Not before it has struck.
        must_strike: bool,
    },
}

/// A cell, and who is to be in it.
struct Starved {
    cell: Cell,
    worker: u16,
    /// The process before the one that is meant.
    before: u32,
    /// The one that is.
    inside: Option<u32>,
    /// Until then.
    until: Duration,
}

/// Carries faults out.
pub struct Nemesis<'a> {
    network: &'a Network,
    workers: u16,
    resetter: Result<Resetter, String>,
    begin: Instant,
    waiting: std::vec::IntoIter<(Duration, Fault)>,
    next: Option<(Duration, Fault)>,
    remedies: Vec<(Duration, Remedy)>,
    cells: Vec<Starved>,
    struck: BTreeMap<Kind, u64>,
    /// Which workers were stopped, and when.
    stopped: Vec<(Duration, u16)>,
    killed: u64,
    drain: Drain,
    skipped: BTreeMap<String, u64>,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    NotDue,
    /// Whoever has the run is to drain it.
    Due,
    Done,
}

impl<'a> Nemesis<'a> {
    /// Begins with a schedule, now.
    pub fn begin(network: &'a Network, workers: u16, schedule: Schedule) -> Nemesis<'a> {
        let mut waiting = schedule.0.into_iter();
        Nemesis {
            network,
            workers,
            resetter: Resetter::find(),
            begin: Instant::now(),
            next: waiting.next(),
            waiting,
            remedies: Vec::new(),
            cells: Vec::new(),
            struck: BTreeMap::new(),
            stopped: Vec::new(),
            killed: 0,
            drain: Drain::NotDue,
            skipped: BTreeMap::new(),
        }
    }

    /// Whether the run is to be drained; what comes later waits for [`Nemesis::drained`].
    pub fn wants_drain(&self) -> bool {
        self.drain == Drain::Due
    }

    /// The run was told to drain.
    pub fn drained(&mut self) {
        self.drain = Drain::Done;
    }

    /// Whether nothing is left to be done.
    pub fn is_through(&self) -> bool {
        self.next.is_none() && self.remedies.is_empty() && self.cells.is_empty()
    }

    /// How often each kind was carried out.
    pub fn struck(&self) -> &BTreeMap<Kind, u64> {
        &self.struck
    }

    /// Which workers were stopped, and when, since it began.
    pub fn stopped(&self) -> &[(Duration, u16)] {
        &self.stopped
    }

    /// Processes that were killed by signal.
    pub fn killed(&self) -> u64 {
        self.killed
    }

    /// What could not be done, why, and how often.
    pub fn skipped(&self) -> &BTreeMap<String, u64> {
        &self.skipped
    }

    /// Does what is due. `pids` are the processes there are.
    pub fn act(&mut self, pids: &[Option<u32>]) {
        let now = self.begin.elapsed();
        // Who is dead needs no remedy.
        self.remedies.retain(|(_, remedy)| match remedy {
            Remedy::Continue(process) => process.is_running(),
            Remedy::HealPair { .. } => true,
        });
        let remedies = std::mem::take(&mut self.remedies).into_iter();
        let (due, later) = remedies.partition(|(at, remedy)| *at <= now && !self.is_to_strike(remedy));
        self.remedies = later;
        let due: Vec<(Duration, Remedy)> = due;
        due.into_iter().for_each(|(_, remedy)| self.apply(&remedy));
        self.look_after_cells(pids, now);
        while let Some((at, fault)) = self.next.clone()
            && at <= now
            && !self.has_to_wait(&fault)
        {
            let kind = fault.kind(self.workers);
            match self.strike(fault, pids, now) {
                Err(Miss::NotYet) => break,
                // Counted when it has died.
                Ok(()) if kind == Kind::Starve => {}
                Ok(()) => *self.struck.entry(kind).or_default() += 1,
                Err(Miss::Never(why)) => *self.skipped.entry(why).or_default() += 1,
            }
            self.next = self.waiting.next();
        }
    }

    /// Whether this is the end of something that has to strike first, and has not yet.
    fn is_to_strike(&self, remedy: &Remedy) -> bool {
        match remedy {
            Remedy::HealPair { from, to, must_strike: true } => !self.network.has_struck(*from, *to),
            _ => false,
        }
    }

    /// Whether something that has to strike would be kept from it by this fault.
    fn has_to_wait(&self, fault: &Fault) -> bool {
        let mut lasting = self.remedies.iter().map(|(_, remedy)| remedy);
        lasting.any(|remedy| match (remedy, fault) {
            (Remedy::HealPair { from, to, must_strike: true }, Fault::Proxy(same_from, same_to, ..)) => {
                (from, to) == (same_from, same_to) || self.is_to_strike(remedy)
            }
            _ => self.is_to_strike(remedy),
        })
    }

    /// What is still to be done, or to strike.
    pub fn left(&self) -> Vec<String> {
        let to_strike = self.remedies.iter().filter(|(_, remedy)| self.is_to_strike(remedy));
        let lasting = to_strike.filter_map(|(_, remedy)| match remedy {
            Remedy::HealPair { from, to, .. } => Some(format!("the network from {from} to {to} met nothing")),
            _ => None,
        });
        let next = self.next.iter().chain(self.waiting.as_slice());
        lasting.chain(next.map(|(_, fault)| format!("{fault:?}"))).collect()
    }

    /// Ends whatever still lasts, and whatever was still to come.
    pub fn heal(&mut self) {
        self.next = None;
        self.waiting = Vec::new().into_iter();
        for (_, remedy) in std::mem::take(&mut self.remedies) {
            self.apply(&remedy);
        }
        // Nobody is left to be put into a cell; who is in one is to be let out, or it would die later.
        let cells = std::mem::take(&mut self.cells);
        cells.into_iter().for_each(|starved| starved.cell.open());
        self.network.heal();
    }

    /// Puts new lives into their cells, and takes down those in which somebody died.
    fn look_after_cells(&mut self, pids: &[Option<u32>], now: Duration) {
        let mut still = Vec::new();
        for mut starved in std::mem::take(&mut self.cells) {
            let pid = pids.get(usize::from(starved.worker)).copied().flatten();
            match (starved.inside, pid) {
                (None, Some(pid)) if pid != starved.before => {
                    let taken = Handle::of_child(pid).map(|process| starved.cell.take(&process));
                    starved.inside = matches!(taken, Some(Ok(()))).then_some(pid);
                }
                (Some(inside), pid) if pid != Some(inside) => {
                    *self.struck.entry(Kind::Starve).or_default() += starved.cell.killed();
                    continue;
                }
                // How soon it would reach the limit by itself depends on how fast it works.
                (Some(_), _) => starved.cell.tighten(),
                _ => {}
            }
            if now >= starved.until {
                *self.skipped.entry("a starved worker did not die of it".to_owned()).or_default() += 1;
                starved.cell.open();
                continue;
            }
            still.push(starved);
        }
        self.cells = still;
    }

    fn apply(&self, remedy: &Remedy) {
        match remedy {
            // It may have been replaced meanwhile.
            Remedy::Continue(process) => drop(process.signal(Signal::CONT)),
            Remedy::HealPair { from, to, .. } => self.network.heal_pair(*from, *to),
        }
    }

    fn strike(&mut self, fault: Fault, pids: &[Option<u32>], now: Duration) -> Result<(), Miss> {
        let process = |worker: u16| {
            let pid = pids.get(usize::from(worker)).copied().flatten();
            pid.and_then(Handle::of_child).ok_or_else(|| "it was dead already".to_owned())
        };
        match fault {
            Fault::Kill(who) => {
                let there: Vec<Handle> = who.into_iter().filter_map(|worker| process(worker).ok()).collect();
                let killed = there.iter().filter(|process| process.signal(Signal::KILL)).count();
                self.killed += killed as u64;
                if killed == 0 { Err(Miss::Never("it was dead already".to_owned())) } else { Ok(()) }
            }
            Fault::Stop(worker, time) => {
                let process = process(worker)?;
                process.signal(Signal::STOP);
                self.stopped.push((self.begin.elapsed(), worker));
                self.remedies.push((now + time, Remedy::Continue(process)));
                Ok(())
            }
            Fault::Reset(worker) => {
                if self.workers < 2 {
                    return Err(Miss::from("it is connected to nobody"));
                }
                let resetter = self.resetter.as_ref().map_err(String::clone)?;
                let port = self.network.port_of(worker).ok_or("it did not listen yet")?;
                if resetter.reset(port) > 0 { Ok(()) } else { Err(Miss::NotYet) }
            }
            Fault::Cut(from, to, how) => Ok(self.network.cut(from, to, how)?),
            Fault::Proxy(from, to, modes, lasts) => {
                self.network.set(from, to, modes)?;
                let (time, must_strike) = match lasts {
                    Lasts::For(time) => (time, false),
                    Lasts::UntilStruck(time) => (time, true),
                };
                self.remedies.push((now + time, Remedy::HealPair { from, to, must_strike }));
                Ok(())
            }
            Fault::Drain if self.drain == Drain::Done => Ok(()),
            Fault::Drain => {
                self.drain = Drain::Due;
                Err(Miss::NotYet)
            }
            Fault::Starve(worker) => {
                let process = process(worker)?;
                let name = format!("squall-chaos-{}-{}", std::process::id(), process.pid);
                let cell = Cell::new(&name, CELL_LIMIT)?;
                process.signal(Signal::KILL);
                self.killed += 1;
                let (before, until) = (process.pid, now + STARVED_MAX);
                self.cells.push(Starved { cell, worker, before, inside: None, until });
                Ok(())
            }
        }
    }
}

impl Network {
    /// Puts the ways of a pair into these modes.
    fn set(&self, from: u16, to: u16, modes: [Mode; 2]) -> Result<(), String> {
        self.with(from, to, |proxy| {
            proxy.set(Way::Forward, modes[0]);
            proxy.set(Way::Backward, modes[1]);
        })
    }

    fn cut(&self, from: u16, to: u16, how: Cut) -> Result<(), String> {
        self.with(from, to, |proxy| proxy.cut(how))
    }

    /// Whether the proxy of a pair has done what its modes say. True where there is none.
    fn has_struck(&self, from: u16, to: u16) -> bool {
        let mut has_struck = true;
        let _ = self.with(from, to, |proxy| has_struck = proxy.has_struck());
        has_struck
    }

    fn heal_pair(&self, from: u16, to: u16) {
        // A pair that never had a proxy has nothing to be healed of.
        let _ = self.with(from, to, crate::proxy::Proxy::heal);
    }
}

#[cfg(test)]
mod tests {
    use squall::ids::WorkerId;

    use super::*;

    #[test]
    fn a_seed_has_one_schedule() {
        let time = Duration::from_secs(20);
        for seed in 0..200 {
            let schedule = Schedule::swarm(seed, 3, &Kind::ALL, time);
            assert_eq!(schedule, Schedule::swarm(seed, 3, &Kind::ALL, time));
            assert!(schedule.0.is_sorted_by_key(|(at, _)| *at) && !schedule.0.is_empty());
            assert!(schedule.0.iter().all(|(_, fault)| match fault {
                Fault::Kill(who) => who.iter().all(|worker| *worker < 3),
                Fault::Cut(from, to, _) | Fault::Proxy(from, to, ..) => from != to && *from < 3 && *to < 3,
                Fault::Stop(worker, _) | Fault::Reset(worker) | Fault::Starve(worker) => *worker < 3,
                Fault::Drain => false,
            }));
        }
    }

    #[test]
    fn every_kind_is_drawn() {
        for kind in Kind::ALL {
            let schedule = Schedule::draw(1, 3, &[kind], 5, Duration::from_millis(100));
            assert!(!schedule.0.is_empty(), "nothing was drawn of {kind:?}");
            assert!(schedule.0.iter().all(|(_, fault)| fault.kind(3) == kind), "{schedule}");
        }
    }

    #[test]
    fn what_must_strike_holds_up_what_comes_later() {
        let network = Network::new(true, 1);
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = (network.dial_through())(WorkerId(0), WorkerId(1), peer.local_addr().unwrap());
        let clog = [Mode::Clog, Mode::Pass];
        let first = Fault::Proxy(0, 1, clog, Lasts::UntilStruck(Duration::ZERO));
        let schedule =
            Schedule(vec![(Duration::ZERO, first), (Duration::ZERO, Fault::Cut(0, 1, Cut::Reset))]);
        let mut nemesis = Nemesis::begin(&network, 2, schedule);
        // Nobody uses the line: however often it is looked at, nothing goes on.
        (0..3).for_each(|_| nemesis.act(&[]));
        assert_eq!(nemesis.left(), ["the network from 0 to 1 met nothing", "Cut(0, 1, Reset)"]);
        let _user = std::net::TcpStream::connect(address).unwrap();
        crate::kit::wait_until("both were done", || {
            nemesis.act(&[]);
            nemesis.is_through()
        });
        assert_eq!(nemesis.struck(), &BTreeMap::from([(Kind::Proxy, 1), (Kind::Cut, 1)]));
        assert_eq!(nemesis.left(), [""; 0]);
    }
}
