//! Topologies in worker processes, as programs that embed squall run them.
//!
//! Where workers die, what counts is what reached the sink: counters of a process that was killed are
//! gone with it, or count twice what its next life does again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use squall::api::{MetricsReporter, MetricsReporting, TopologyStats};
use squall::cluster::{
    Executable, RunningWorkers, TopologySource, WorkerEventKind, WorkersOptions, WorkersStats,
};
use squall::ids::{Incarnation, WorkerId};
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::topology::Topology;
use squall::topology::declare::MemorySource;

/// A condition of a real run that has not come true after this long never will.
const DEADLINE: Duration = Duration::from_secs(180);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Numbers that are counted by key; as many as given, or for ever.
fn numbers(count: Option<u32>, rate: u32) -> String {
    let count = count.map_or_else(String::new, |count| format!("count = {count},"));
    format!(
        r#"
        topology.name = "numbers"
        [spout.numbers]
        type = "generate"
        config = {{ {count} rate = {rate}, fields = {{ n = "{{random:0..100}}" }} }}
        [bolt.count]
        type = "count"
        inputs = [{{ from = "numbers", grouping = "fields", fields = ["n"] }}]
        parallelism = 3
        config = {{ by = ["n"] }}
        "#
    )
}

/// Numbers of one spout task, passed on and written down; as many as given, or for ever.
struct Kept(tempfile::TempDir);

impl Kept {
    fn new() -> Kept {
        Kept(tempfile::tempdir().unwrap())
    }

    fn document(&self, count: Option<u32>, rate: u32) -> String {
        let count = count.map_or_else(String::new, |count| format!("count = {count},"));
        let dir = self.0.path().display();
        format!(
            r#"
            topology.name = "kept"
            [spout.numbers]
            type = "generate"
            config = {{ {count} rate = {rate}, fields = {{ n = "{{seq}}" }} }}
            [bolt.pass]
            type = "project"
            parallelism = 3
            inputs = ["numbers"]
            config = {{ fields = ["n"] }}
            [bolt.sink]
            type = "file"
            parallelism = 3
            inputs = ["pass"]
            config = {{ path = "{dir}/{{task}}-{{seq}}.txt" }}
            "#
        )
    }

    /// The numbers that have reached the sink.
    fn arrived(&self) -> BTreeSet<u64> {
        let files = fs::read_dir(self.0.path()).unwrap().filter_map(Result::ok);
        // One may be renamed since it was listed, and the last row of one that grows may be half there.
        let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        texts
            .flat_map(|text| {
                let whole = text.rfind('\n').map_or(0, |end| end + 1);
                text[..whole].lines().map(|row| row.parse().expect("a number")).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Waits until nothing is missing of what was there at the time of the call. A spout that is
    /// started again begins from 0, and what its last life had under way comes when it is there again.
    fn wait_for_all_so_far(&self) {
        let last = self.arrived().last().copied().expect("something arrived");
        wait_until("all up to where it was", || {
            let arrived = self.arrived();
            arrived.range(..=last).count() as u64 == last + 1
        });
    }

    /// Says how many there are, and that none is missing before the last.
    fn count(&self) -> u64 {
        let arrived = self.arrived();
        let missing = (0..).zip(&arrived).find(|(n, found)| n != *found).map(|(n, _)| n);
        assert_eq!(missing, None, "lost: the first that is missing of {} numbers", arrived.len());
        arrived.len() as u64
    }
}

fn options(workers: u16) -> WorkersOptions {
    let mut options = WorkersOptions::new(workers);
    options.executable = Executable::At(env!("CARGO_BIN_EXE_squall").into(), vec!["worker".into()]);
    options.worker.restart_reset = Duration::from_millis(1);
    // Nobody is to be taken for dead because the machine is busy; where that is the matter, it is less.
    options.worker.heartbeat_timeout = DEADLINE;
    options.net.silence = DEADLINE;
    options.net.link_lost = DEADLINE;
    options
}

/// A run that tells what its workers said when it is stuck.
struct Run {
    running: RunningWorkers,
    log: Arc<Mutex<Vec<String>>>,
}

impl Deref for Run {
    type Target = RunningWorkers;

    fn deref(&self) -> &RunningWorkers {
        &self.running
    }
}

impl Run {
    fn start(topology: Topology, source: TopologySource, mut options: WorkersOptions) -> Run {
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = Arc::clone(&log);
        options.log.levels = "debug".parse().unwrap();
        options.stderr = Some(Arc::new(move |_, line| lines.lock().unwrap().push(line.to_owned())));
        Run { running: RunningWorkers::start(topology, source, options).unwrap(), log }
    }

    /// Waits for the end.
    fn join(self) -> WorkersStats {
        if !self.running.wait(DEADLINE) {
            let log = self.log.lock().unwrap().join("\n");
            panic!("stuck:\n{log}\n{:#?}\n{:#?}", self.running.events(), self.running.stats());
        }
        self.running.join()
    }
}

fn start(document: &str, options: WorkersOptions) -> Run {
    let files = MemorySource::new().file("t.toml", document);
    let registry = Registry::with_standard();
    let (source, topology) = TopologySource::record(&files, "t.toml", &registry, &[])
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    Run::start(topology, source, options)
}

fn is_alive(pid: u32) -> bool {
    // A zombie is dead; in a container nobody may reap those whose parent was killed.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

fn all_up(running: &Run) -> bool {
    let processes = running.stats().processes;
    processes.up == processes.workers && processes.links_up == processes.links
}

#[test]
fn bounded_input_is_processed_to_its_end() {
    let kept = Kept::new();
    let running = start(&kept.document(Some(20_000), 1_000_000), options(3));
    let stats = running.join();
    let topology = &stats.topology;
    assert_eq!(kept.count(), 20_000);
    assert_eq!((topology.emitted, topology.acked, topology.failed, topology.pending), (20_000, 20_000, 0, 0));
    assert!(topology.ended && !topology.cut_short && stats.failure.is_none(), "{stats:?}");
    let pass = topology.components.iter().find(|component| component.id == "pass").unwrap();
    assert_eq!((pass.tasks, pass.executed), (3, 20_000));
    assert_eq!(topology.complete_latency.count, 20_000);
    assert_eq!((stats.processes.workers, stats.processes.restarts), (3, 0));
}

/// Keeps every report.
#[derive(Clone, Default)]
struct KeptReports(Arc<Mutex<Vec<TopologyStats>>>);

impl MetricsReporter for KeptReports {
    fn report(&self, topology: &str, stats: &TopologyStats) {
        assert_eq!(topology, "numbers");
        self.0.lock().unwrap().push(stats.clone());
    }
}

#[test]
fn a_reporter_is_called_while_a_topology_runs_and_at_its_end() {
    let reports = KeptReports::default();
    let metrics = Some(MetricsReporting::new(Duration::from_millis(5), reports.clone()));
    let check = |last: &TopologyStats| {
        let reports = std::mem::take(&mut *reports.0.lock().unwrap());
        assert!(reports.len() > 2, "only {}", reports.len());
        assert!(reports.windows(2).all(|pair| pair[0].emitted <= pair[1].emitted && !pair[0].ended));
        let end = reports.last().unwrap();
        assert!(end.ended);
        assert_eq!((end.emitted, end.acked), (last.emitted, last.acked));
    };
    let was_reported = |acked: u64| reports.0.lock().unwrap().iter().any(|stats| stats.acked > acked);

    let mut options = options(2);
    options.metrics.clone_from(&metrics);
    let running = start(&numbers(None, 5000), options);
    wait_until("the reporter is called", || was_reported(100));
    running.drain();
    check(&running.join().topology);

    let files = MemorySource::new().file("t.toml", numbers(None, 5000));
    let topology =
        squall::topology::declare::load(&files, "t.toml", &Registry::with_standard(), &[]).unwrap();
    let options = LocalOptions { metrics, ..LocalOptions::default() };
    let running = RunningTopology::start(topology, options).unwrap();
    wait_until("the reporter is called", || was_reported(100));
    running.drain();
    check(&running.join());
}

#[test]
fn a_worker_that_is_killed_comes_back_and_nothing_is_lost() {
    let kept = Kept::new();
    let running = start(&kept.document(None, 5000), options(3));
    wait_until("all are up", || all_up(&running));
    for round in 0..6_u16 {
        let victim = WorkerId(round % 3);
        let before = running.incarnation(victim).unwrap();
        let pid = running.worker_pids()[victim.index()].expect("it has a process");
        kill(pid);
        wait_until("the next life", || running.incarnation(victim) > Some(before) && all_up(&running));
        assert!(!is_alive(pid));
        let acked = running.stats().topology.acked;
        wait_until("work goes on", || running.stats().topology.acked > acked + 1000);
    }
    kept.wait_for_all_so_far();
    running.drain();
    let stats = running.join();
    assert!(kept.count() > 1000);
    assert_eq!(
        (stats.processes.restarts, stats.topology.failed, stats.topology.pending),
        (6, 0, 0),
        "{stats:?}"
    );
    assert!(!stats.topology.cut_short);
}

/// Deaths at any moment: before a worker listens, between two lives, several at once.
#[test]
fn whatever_is_killed_the_run_comes_to_its_end() {
    let mut options = options(3);
    options.worker.restart_max = Duration::from_millis(50);
    let kept = Kept::new();
    let running = start(&kept.document(None, 3000), options);
    // A plain generator: the moments need not be random, only different each time.
    let mut state = 12_345_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    // Each process is killed once: on a busy machine it takes a while until a death is noticed.
    let mut killed = BTreeSet::new();
    while killed.len() < 100 {
        thread::sleep(Duration::from_micros(next(40_000)));
        let pids = running.worker_pids();
        if let Some(pid) = pids[next(3) as usize]
            && killed.insert(pid)
        {
            kill(pid);
        }
    }
    wait_until("all are up again", || running.stats().processes.restarts == 100 && all_up(&running));
    let acked = running.stats().topology.acked;
    wait_until("work goes on", || running.stats().topology.acked > acked + 3000);
    kept.wait_for_all_so_far();
    running.drain();
    let stats = running.join();
    assert!(kept.count() > 1000);
    assert_eq!(stats.processes.restarts, 100);
    assert_eq!(
        (stats.topology.failed, stats.topology.pending, stats.topology.cut_short),
        (0, 0, false),
        "{stats:?}"
    );
}

#[test]
fn what_happened_is_remembered_in_order() {
    let running = start(&numbers(None, 1000), options(2));
    wait_until("all are up", || all_up(&running));
    let first = running.worker_pids()[1].unwrap();
    kill(first);
    wait_until("it is back", || running.incarnation(WorkerId(1)) == Some(Incarnation(2)) && all_up(&running));
    let second = running.worker_pids()[1].unwrap();
    running.kill();
    wait_until("the end", || running.wait(Duration::from_millis(1)));
    let events = running.events();
    assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let of_one = events.iter().filter(|event| event.worker == WorkerId(1));
    let lives: Vec<(u32, WorkerEventKind)> = of_one
        .filter(|event| !matches!(event.kind, WorkerEventKind::LinkUp(_) | WorkerEventKind::LinkDown(_)))
        .map(|event| (event.incarnation.0, event.kind.clone()))
        .collect();
    use WorkerEventKind::{Died, Listening, Started};
    let expected = [
        (1, Started(first)),
        (1, Listening),
        (1, Died("signal SIGKILL".into())),
        (2, Started(second)),
        (2, Listening),
        (2, Died("exit code 0".into())),
    ];
    assert_eq!(lives, expected);
    let ups = events.iter().filter(|event| event.kind == WorkerEventKind::LinkUp(WorkerId(1))).count();
    assert_eq!(ups, 2, "worker 0 reached both lives of worker 1");
    assert_eq!(running.worker_pids(), [None, None]);
}

#[test]
fn a_stopped_worker_is_replaced() {
    let mut options = options(2);
    options.worker.heartbeat_timeout = Duration::from_secs(2);
    let running = start(&numbers(None, 1000), options);
    wait_until("all are up", || all_up(&running));
    let pid = running.worker_pids()[0].unwrap();
    signal(pid, rustix::process::Signal::STOP);
    wait_until("it is replaced", || running.incarnation(WorkerId(0)) >= Some(Incarnation(2)));
    assert!(!is_alive(pid));
    wait_until("all are up", || all_up(&running));
    let acked = running.stats().topology.acked;
    wait_until("work goes on", || running.stats().topology.acked > acked + 100);
    running.drain();
    assert!(!running.join().topology.cut_short);
}

#[test]
fn signals_that_a_terminal_sends_to_all_are_the_parents_to_answer() {
    let running = start(&numbers(None, 1000), options(2));
    wait_until("all are up", || all_up(&running));
    for pid in running.worker_pids().into_iter().flatten() {
        signal(pid, rustix::process::Signal::INT);
        signal(pid, rustix::process::Signal::TERM);
    }
    let acked = running.stats().topology.acked;
    wait_until("work goes on", || running.stats().topology.acked > acked + 1000);
    running.drain();
    let stats = running.join();
    assert_eq!((stats.processes.restarts, stats.topology.cut_short), (0, false));
}

/// Its tasks were never built, so nobody answered: the drain ended with its time-out, as if it had been
/// cut short.
#[test]
fn a_topology_that_was_never_activated_drains_in_order() {
    let document =
        format!("topology.start_inactive = true\ntopology.drain_timeout = '1h'\n{}", numbers(None, 1000));
    let running = start(&document, options(2));
    running.drain();
    let stats = running.join().topology;
    assert_eq!((stats.emitted, stats.cut_short), (0, false));
    let files = MemorySource::new().file("t.toml", document);
    let topology =
        squall::topology::declare::load(&files, "t.toml", &Registry::with_standard(), &[]).unwrap();
    let running = RunningTopology::start(topology, LocalOptions::default()).unwrap();
    running.drain();
    wait_until("the end", || running.wait(Duration::from_millis(1)));
    let stats = running.join();
    assert_eq!((stats.emitted, stats.cut_short), (0, false));
}

#[test]
fn a_topology_rests_and_goes_on() {
    let running = start(&format!("topology.start_inactive = true\n{}", numbers(None, 1000)), options(2));
    wait_until("all are up", || all_up(&running));
    assert_eq!(running.stats().topology.emitted, 0);
    running.activate();
    wait_until("it runs", || running.stats().topology.acked > 100);
    running.deactivate();
    // The rate is a thousand a second, and workers report four times a second what has changed: 800 ms
    // without a new count mean that the spout rests.
    let mut emitted = (0, Instant::now());
    wait_until("it rests", || {
        let now = running.stats().topology.emitted;
        if now != emitted.0 {
            emitted = (now, Instant::now());
        }
        emitted.1.elapsed() > Duration::from_millis(800)
    });
    running.activate();
    wait_until("it goes on", || running.stats().topology.emitted > emitted.0);
    running.deactivate();
    running.drain();
    assert!(!running.join().topology.cut_short, "also from rest");
}

#[test]
fn dropped_it_is_killed() {
    let running = start(&numbers(None, 1000), options(2));
    wait_until("all are up", || all_up(&running));
    let pids: Vec<u32> = running.worker_pids().into_iter().flatten().collect();
    assert_eq!(pids.len(), 2);
    drop(running);
    wait_until("nobody is left", || !pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn only_workers_that_have_something_to_do_are_started() {
    let running = start(&numbers(Some(10), 1000), options(50));
    let stats = running.join();
    assert_eq!((stats.processes.workers, stats.topology.acked), (4, 10));
}

/// Passes connections on to another address, and counts them.
struct Forwarder {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Forwarder {
    fn to(target: SocketAddr) -> Forwarder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(target).unwrap());
                counted.fetch_add(1, Ordering::Relaxed);
                let ways = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
                for (mut from, mut to) in ways {
                    thread::spawn(move || {
                        // An end that breaks off ends the way, as one that closes does.
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Forwarder { address, connections }
    }
}

#[test]
fn one_worker_dials_another_at_the_address_of_dial_through() {
    let dials = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&dials);
    let ways: Arc<Mutex<BTreeMap<(WorkerId, WorkerId), Forwarder>>> = Arc::default();
    let made = Arc::clone(&ways);
    let mut options = options(2);
    options.dial_through = Some(Arc::new(move |from, to, address: SocketAddr| {
        assert_ne!(from, to);
        seen.fetch_add(1, Ordering::Relaxed);
        made.lock().unwrap().entry((from, to)).or_insert_with(|| Forwarder::to(address)).address
    }));
    let stats = start(&numbers(Some(1000), 1_000_000), options).join();
    assert_eq!(stats.topology.acked, 1000);
    assert!(dials.load(Ordering::Relaxed) >= 2);
    let ways = ways.lock().unwrap();
    let used = |from: u16, to: u16| ways[&(WorkerId(from), WorkerId(to))].connections.load(Ordering::Relaxed);
    assert!(used(0, 1) >= 1 && used(1, 0) >= 1, "{} and {} connections", used(0, 1), used(1, 0));
}

#[test]
fn links_that_lead_nowhere_cost_a_worker_its_place() {
    let cut = Arc::new(Mutex::new(true));
    let is_cut = Arc::clone(&cut);
    let mut options = options(2);
    options.net.silence = Duration::from_secs(2);
    options.net.link_lost = Duration::from_secs(2);
    options.dial_through = Some(Arc::new(move |_, to, address| {
        // The discard port of nobody.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        if to == WorkerId(1) && *is_cut.lock().unwrap() { nowhere } else { address }
    }));
    let running = start(&numbers(Some(1000), 1_000_000), options);
    let is_replaced =
        |event: &squall::cluster::WorkerEvent| matches!(event.kind, WorkerEventKind::Replaced(_));
    wait_until("one is replaced", || running.events().iter().any(is_replaced));
    *cut.lock().unwrap() = false;
    let replaced: Vec<_> = running.events().into_iter().filter(is_replaced).collect();
    assert!(
        matches!(&replaced[0].kind, WorkerEventKind::Replaced(why) if why.contains("links")),
        "{replaced:?}"
    );
    assert_eq!(running.join().topology.acked, 1000);
}

#[test]
fn a_program_that_is_not_there_ends_the_run() {
    let mut options = options(2);
    options.executable = Executable::At(PathBuf::from("/no/such/program"), Vec::new());
    let stats = start(&numbers(None, 1000), options).join();
    let failure = stats.failure.expect("it was given up");
    assert!(failure.contains("No such file"), "{failure}");
}

#[test]
fn a_program_that_is_no_worker_ends_the_run() {
    let mut options = options(1);
    options.executable = Executable::At("sh".into(), vec!["-c".into(), "exit 5".into()]);
    let stats = start(&numbers(None, 1000), options).join();
    let failure = stats.failure.expect("it was given up");
    assert!(failure.contains("3 times") && failure.contains("exit code 5"), "{failure}");
}

#[test]
fn what_a_worker_knows_better_ends_the_run() {
    // The parent knows a component that squall's own binary does not.
    let mut registry = Registry::with_standard();
    struct Silent;
    impl Bolt for Silent {
        fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
            Ok(())
        }
    }
    registry.bolt("silent", "Says nothing.", |_: &NoSettings| Ok::<_, SettingError>(Silent));
    let document = numbers(None, 1000)
        .replace("type = \"count\"", "type = \"silent\"")
        .replace("config = { by = [\"n\"] }", "");
    let files = MemorySource::new().file("t.toml", document);
    let (source, topology) = TopologySource::record(&files, "t.toml", &registry, &[])
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let stats = Run::start(topology, source, options(2)).join();
    let failure = stats.failure.expect("it was given up");
    assert!(failure.contains("silent") && failure.contains("t.toml"), "{failure}");
}
