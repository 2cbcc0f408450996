//! A supervisor with real processes: they are started, restarted, adopted, killed and cleaned away, whenever the supervisor
//! itself is killed. The coordination service is one in memory, in the process of the supervisor; what it has is read from
//! a file, so that it is the same for the next supervisor.
//!
//! The supervisor and its children are this test binary, each as a test of its own that does nothing unless it is asked
//! for: [`a_supervisor_for_other_tests`], [`a_child_for_other_tests`].

#[path = "kit/mod.rs"]
mod kit;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kit::wait_until;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use slog::{Discard, Logger, o};
use squall::clock::Clock;
use squall::cluster::Executable;
use squall::cluster::coordination::{
    ClusterRecord, Coordination, MemoryClient, MemoryOptions, MemoryService, NodePath, Record, encode_record,
    join_cluster, read_record,
};
use squall::cluster::daemons::belonging::Belonging;
use squall::cluster::daemons::{
    AtTheEnd, Children, ChildrenOptions, EndRequest, HostSettings, Limits, ProblemsRecord, ProcessProblem,
    Supervisor, SupervisorRecord, host,
};
use squall::cluster::topologies::{
    AssignmentRecord, CatalogRecord, ClusterKey, MasterOrder, MasterReport, ORDER_FILE, Occupancy,
    REPORT_FILE, SpecRecord, StateRecord, TopologyId, TopologyNodes, TopologyPhase, WorkerOrder, read_order,
    topologies_node, write_order,
};
use squall::config::{
    HostOptions, LimitedBy, LogFileOptions, NetOptions, ProcessLimits, Resources, WorkerOptions,
};
use tempfile::TempDir;

const ME: &str = "host-1";
/// For the supervisor: the directory with everything.
const SUPERVISOR: &str = "SQUALL_TEST_SUPERVISOR";
/// For a child: its private directory.
const CHILD: &str = "SQUALL_TEST_CHILD";
/// For a child: the file to which it writes that it runs.
const LOG: &str = "SQUALL_TEST_LOG";
/// For all: the process of the test. Without it they end.
const TEST: &str = "SQUALL_TEST_PROCESS";
/// For the supervisor: the limits of its children, as JSON.
const LIMITS: &str = "SQUALL_TEST_LIMITS";
/// What a topology is made of.
const SOURCE: &[u8] = br#"{"path":"","files":{},"variables":{},"overrides":[],"fingerprint":0}"#;

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a pid")).expect("a pid")
}

fn lives(number: u32) -> bool {
    // A zombie is dead.
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    test_kill_process(pid(number)).is_ok() && state.is_some_and(|state| !"ZX".contains(state))
}

fn test_lives() -> bool {
    let test = std::env::var(TEST).expect("it is set").parse().expect("a pid");
    lives(test)
}

// ---- A child ----

/// Takes its directory, gives signs of life, reports if it is a master, and fails if it finds a file `fail`.
#[test]
fn a_child_for_other_tests() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let directory = Path::new(&directory);
    let Ok(_occupancy) = Occupancy::take(directory) else { std::process::exit(3) };
    let name = directory.iter().rev().take(2).collect::<Vec<_>>();
    let name = format!("{}/{}", name[1].display(), name[0].display());
    // Another lock than that of the directory: it proves that there is one process.
    let alone = File::create(directory.join("alone")).expect("it can be made");
    let word = if alone.try_lock().is_ok() { "runs" } else { "TWO" };
    let log = std::env::var_os(LOG).expect("it is set");
    let mut log = OpenOptions::new().append(true).create(true).open(log).expect("it can be written");
    log.write_all(format!("{name} {} {word}\n", std::process::id()).as_bytes()).expect("it can be written");
    println!("{name} says something");
    let mut reported = 0;
    while test_lives() && directory.exists() {
        let _ = File::create(directory.join("alive"));
        if directory.join("eat").exists() {
            let eaten: Vec<Vec<u8>> = (0..1024).map(|_| vec![1; 1 << 20]).collect();
            println!("nothing limits it to less than {} MiB", eaten.len());
            std::process::exit(9);
        }
        if let Ok(program) = fs::read_to_string(directory.join("spawn"))
            && fs::remove_file(directory.join("spawn")).is_ok()
        {
            // `setsid` of a process that leads no group becomes the program.
            let mut words = program.split(' ');
            let mut command = Command::new(words.next().expect("a program"));
            let spawned = command.args(words).spawn().expect("it starts").id();
            fs::write(directory.join("spawned.new"), spawned.to_string()).expect("it can be written");
            fs::rename(directory.join("spawned.new"), directory.join("spawned")).expect("it can be renamed");
        }
        if fs::remove_file(directory.join("fail")).is_ok() {
            std::process::exit(1);
        }
        if name.ends_with("/master")
            && let Ok(Some(order)) = read_order::<MasterOrder>(directory, ORDER_FILE)
            && order.epoch != reported
        {
            assert_eq!(fs::read(directory.join("source.json")).expect("it is there"), SOURCE);
            let state = StateRecord {
                epoch: order.epoch,
                generation: 1,
                phase: TopologyPhase::Active,
                outcome: None,
                savepoint: None,
                verdict: None,
            };
            let report = MasterReport { address: Some(([127, 0, 0, 1], 7000).into()), state };
            write_order(directory, REPORT_FILE, &report).expect("it can be written");
            reported = order.epoch;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

// ---- A supervisor ----

fn record<R: Record>(service: &dyn Coordination, node: &NodePath, record: &R) {
    let data = encode_record(node, record).expect("it is small");
    match service.get(node).expect("it answers") {
        Some(found) if found.data == data => {}
        Some(found) => _ = service.set(node, &data, found.version).expect("nobody else writes it"),
        None => _ = service.create(node, &data).expect("nobody else writes it"),
    }
}

fn id_of(number: u64) -> TopologyId {
    TopologyId::new("words", number).expect("an id")
}

/// What is in the file: by topology, a change and roles.
type Assigned = Vec<(u64, u64, Vec<String>)>;

/// Does to the service what a nimbus would do.
fn assign(service: &MemoryClient, assigned: &Assigned) {
    if service.get(&topologies_node()).expect("it answers").is_none() {
        // It is no catalog before it has all topologies.
        service.create(&topologies_node(), b"").expect("nobody else makes it");
    }
    for (number, change, roles) in assigned {
        let id = id_of(*number);
        let nodes = TopologyNodes::of(&id);
        if service.get(&nodes.root).expect("it answers").is_none() {
            service.create(&nodes.root, b"").expect("nobody else makes it");
        }
        let spec = json!({
            "epoch": 1, "id": id, "change": 1, "owner": "", "access": { "users": [], "readers": [] },
            "submitted_at": "", "run": "0".repeat(32), "dropped": [],
            "source": squall::cluster::topologies::BlobHash::of(SOURCE), "wanted": "active", "begin": {},
            "generation": 1, "spreads": false,
        });
        record::<SpecRecord>(service, &nodes.spec, &serde_json::from_value(spec).expect("it is one"));
        let workers = roles.iter().filter_map(|role| role.strip_prefix("worker-")?.parse::<u16>().ok());
        let slots = workers.clone().map(|worker| json!([worker, { "host": ME, "number": worker }]));
        let slots: Vec<serde_json::Value> = slots.collect();
        let needs: Vec<(u16, Resources)> =
            workers.map(|worker| (worker, Resources::new(0.1, 1 << 20))).collect();
        let assignment = json!({
            "epoch": 1, "id": id, "change": change, "short": null, "generation": 1, "is_upgrade": false,
            "source": squall::cluster::topologies::BlobHash::of(SOURCE),
            "placement": {
                "assignment": { "version": 1, "workers": 4, "threads": 1, "shape": [], "worker_of": [] },
                "slots": slots,
            },
            "needs": needs,
            "master": roles.contains(&"master".to_owned()).then_some(ME),
        });
        let assignment: AssignmentRecord = serde_json::from_value(assignment).expect("it is one");
        record(service, &nodes.assignment, &assignment);
    }
    let topologies = assigned.iter().map(|(number, ..)| (format!("words{number}"), id_of(*number))).collect();
    record(service, &topologies_node(), &CatalogRecord { epoch: 1, next: 100, topologies });
}

/// Writes what supervisors have published about their problems, for the test.
fn write_problems(service: &MemoryClient, place: &Path) {
    let node: NodePath = "/problems".parse().expect("a path");
    let mut problems: Vec<ProcessProblem> = Vec::new();
    for name in service.children(&node).expect("it answers").unwrap_or_default() {
        let path = node.child(&name).expect("it is a name");
        let record = read_record::<ProblemsRecord>(service, &path).expect("it is one");
        problems.extend(record.into_iter().flat_map(|(record, _)| record.problems));
    }
    let unfinished = place.join("problems.new");
    fs::write(&unfinished, serde_json::to_vec(&problems).expect("it is JSON")).expect("it can be written");
    fs::rename(unfinished, place.join("problems")).expect("it can be renamed");
}

fn worker_options() -> WorkerOptions {
    WorkerOptions {
        restart_min: Duration::from_millis(10),
        restart_max: Duration::from_millis(50),
        ..WorkerOptions::default()
    }
}

/// What the program of the children is: this one. Its arguments become variables, because the test harness takes none.
fn child_program() -> Executable {
    let script = format!("{CHILD}=\"$3\" exec \"$0\" --exact a_child_for_other_tests --nocapture");
    let this = std::env::current_exe().expect("it runs");
    Executable::At("/bin/sh".into(), vec!["-c".into(), script.into(), this.into()])
}

/// Those that the test wants, or none.
fn limits(directory: &Path) -> Result<Limits, String> {
    let written = std::env::var_os(LIMITS);
    let options: ProcessLimits = written.map_or_else(ProcessLimits::default, |options| {
        serde_json::from_slice(options.as_encoded_bytes()).expect("the test has written them")
    });
    let squall = Executable::At(env!("CARGO_BIN_EXE_squall").into(), Vec::new());
    Limits::prepare(&options, directory, squall, &Logger::root(Discard, o!()))
}

fn children_options(directory: &Path) -> ChildrenOptions {
    ChildrenOptions {
        directory: directory.to_owned(),
        executable: child_program(),
        key: ClusterKey::new(&[7; 32]),
        read_blob: std::sync::Arc::new(|_| Ok(SOURCE.to_vec())),
        limits: limits(directory).expect("they can be had"),
        logger: Logger::root(Discard, o!()),
    }
}

fn settings() -> HostSettings {
    let (net, worker) = (NetOptions::default(), worker_options());
    let log_files = LogFileOptions { max: 4096, keep: 1 };
    let (secrets, log) = Default::default();
    HostSettings { id: ME.to_owned(), net, worker, secrets, log, log_files }
}

/// Runs until it is killed, or until there is a file `end`; then its children are ended.
#[test]
fn a_supervisor_for_other_tests() {
    let Some(place) = std::env::var_os(SUPERVISOR) else { return };
    // Otherwise its other threads go on, and whoever has started it waits in vain.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    let place = PathBuf::from(place);
    let clock = Clock::real();
    let service = MemoryService::new(clock.clone(), MemoryOptions::default());
    let (client, nimbus) = (Arc::new(service.client()), service.client());
    let cluster = "/cluster".parse().expect("a path");
    client.beat();
    nimbus.beat();
    join_cluster(&nimbus, &cluster, &ClusterRecord::new(7, 0)).expect("it is the first");
    let (end, is_over) = (EndRequest::by_hand(), AtomicBool::new(false));
    let directory = place.join("supervisor");
    // What was assigned is there before the supervisor looks.
    let assigned = |file: &Option<Vec<u8>>| serde_json::from_slice(file.as_ref()?).ok();
    let mut done = fs::read(place.join("assigned")).ok();
    assign(&nimbus, &assigned(&done).unwrap_or_default());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                service.step();
                client.beat();
                nimbus.beat();
                let file = fs::read(place.join("assigned")).ok();
                if file != done {
                    assign(&nimbus, &assigned(&file).expect("it is renamed when it is whole"));
                    done = file;
                }
                write_problems(&nimbus, &place);
                if !test_lives() || place.join("end").exists() {
                    end.set();
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let me = SupervisorRecord {
            token: std::process::id().to_string(),
            ..SupervisorRecord::new(ME, &HostOptions::default())
        };
        let belonging = Belonging::read(&directory).expect("it can be read");
        let mut supervisor =
            Supervisor::new(belonging, me, Logger::root(Discard, o!())).expect("it is a name");
        let children = Children::open(children_options(&directory), settings(), clock.now());
        let children = children.expect("it is the only one");
        let mut rng = StdRng::seed_from_u64(u64::from(std::process::id()));
        let ended =
            host(&mut supervisor, children, &*client, &clock, (&end, AtTheEnd::Kill), || rng.next_u64());
        is_over.store(true, Ordering::Relaxed);
        ended.expect("it ends well");
    });
    // What the harness would print is no sign of how it went.
    std::process::exit(0);
}

// ---- Tests ----

/// A host, and the supervisor that runs on it.
struct Host {
    place: TempDir,
    limits: Option<ProcessLimits>,
    supervisor: Option<Child>,
}

impl Host {
    fn new() -> Host {
        Host::with_limits(None)
    }

    fn with_limits(limits: Option<ProcessLimits>) -> Host {
        let place = tempfile::tempdir().expect("a directory");
        fs::create_dir(place.path().join("supervisor")).expect("it can be made");
        let mut host = Host { place, limits, supervisor: None };
        host.start();
        host
    }

    fn start(&mut self) {
        let this = std::env::current_exe().expect("it runs");
        let mut command = Command::new(this);
        command.args(["--exact", "a_supervisor_for_other_tests", "--nocapture"]);
        command.env(SUPERVISOR, self.place.path()).env(TEST, std::process::id().to_string());
        if let Some(limits) = &self.limits {
            command.env(LIMITS, serde_json::to_string(limits).expect("it is JSON"));
        }
        command.env(LOG, self.log()).stdin(Stdio::null()).stdout(Stdio::null());
        self.supervisor = Some(command.spawn().expect("it starts"));
    }

    fn kill(&mut self) {
        let mut supervisor = self.supervisor.take().expect("it runs");
        supervisor.kill().expect("it is ours");
        supervisor.wait().expect("it is ours");
    }

    /// Ends it, and with it its children.
    fn end(mut self) {
        File::create(self.place.path().join("end")).expect("it can be made");
        let status = self.supervisor.take().expect("it runs").wait().expect("it is ours");
        assert!(status.success(), "{status}");
        let living = self.living();
        assert_eq!(living, [] as [(String, u32); 0]);
        assert!(!self.log_text().contains("TWO"), "{}", self.log_text());
    }

    fn log(&self) -> PathBuf {
        self.place.path().join("log")
    }

    fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn directory(&self, child: &str) -> PathBuf {
        self.place.path().join("supervisor/topologies").join(child)
    }

    fn assign(&self, assigned: &[(u64, u64, &[&str])]) {
        let unfinished = self.place.path().join("assigned.new");
        fs::write(&unfinished, serde_json::to_vec(assigned).expect("it is JSON")).expect("it can be written");
        fs::rename(unfinished, self.place.path().join("assigned")).expect("it can be renamed");
    }

    /// The processes that have had their directories and live.
    fn living(&self) -> Vec<(String, u32)> {
        let text = self.log_text();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next().expect("a name").to_owned();
            (name, words.next().expect("a pid").parse::<u32>().expect("a number"))
        };
        let mut living: Vec<(String, u32)> = text.lines().map(line).filter(|(_, pid)| lives(*pid)).collect();
        living.sort();
        living
    }

    /// What the supervisor has published, each as `words-1/worker-0 cannot be started: ...`.
    fn problems(&self) -> Vec<String> {
        let Ok(file) = fs::read(self.place.path().join("problems")) else { return Vec::new() };
        let problems: Vec<ProcessProblem> = serde_json::from_slice(&file).expect("it is renamed when whole");
        problems.iter().map(|it| format!("{}/{} {}", it.topology, it.process, it.problem)).collect()
    }

    /// Has a child start a program, and returns its number.
    fn spawn(&self, child: &str, program: &str) -> u32 {
        let directory = self.directory(child);
        fs::write(directory.join("spawn.new"), program).expect("it can be written");
        fs::rename(directory.join("spawn.new"), directory.join("spawn")).expect("it can be renamed");
        let spawned = directory.join("spawned");
        wait_until("it has started something", || spawned.exists());
        let number = fs::read_to_string(&spawned).expect("it is there").parse().expect("a pid");
        fs::remove_file(spawned).expect("it is there");
        number
    }

    /// Has the processes of a child need more memory than they may have, until its supervisor says so.
    fn starve(&self, child: &str) {
        File::create(self.directory(child).join("eat")).expect("it can be made");
        let why = "used up the 65MiB of memory that it may have (`resources.memory` of its components, and";
        wait_until("the reason is published", || self.problems().iter().any(|problem| problem.contains(why)));
        assert!(
            self.problems()[0].starts_with(&format!("{child} ends again and again: ")),
            "{:?}",
            self.problems()
        );
        fs::remove_file(self.directory(child).join("eat")).expect("it is there");
    }

    fn pid_of(&self, child: &str) -> Option<u32> {
        self.living().into_iter().find(|(name, _)| name == child).map(|(_, pid)| pid)
    }

    #[track_caller]
    fn wait_for(&self, children: &[&str]) {
        wait_until(&format!("{children:?} run"), || {
            let living: Vec<String> = self.living().into_iter().map(|(name, _)| name).collect();
            assert!(!self.log_text().contains("TWO"), "{}", self.log_text());
            let supervisor = self.supervisor.as_ref().map(Child::id);
            assert!(supervisor.is_none_or(lives), "the supervisor has ended by itself");
            living == children
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
        }
        for (_, number) in self.living() {
            let _ = kill_process(pid(number), Signal::KILL);
        }
    }
}

const MASTER: &str = "words-1/master";
const W0: &str = "words-1/worker-0";
const W1: &str = "words-1/worker-1";

#[test]
fn what_is_assigned_runs_is_started_again_and_is_cleaned_away() {
    let host = Host::new();
    fs::create_dir_all(host.directory("words-9/worker-0")).expect("it can be made");
    host.assign(&[(1, 1, &["master", "worker-0", "worker-1"])]);
    host.wait_for(&[MASTER, W0, W1]);
    // What the processes have: their orders, with the master that listens.
    wait_until("the worker is sent to its master", || {
        let order = read_order::<WorkerOrder>(&host.directory(W0), ORDER_FILE).expect("it is whole");
        order.is_some_and(|order| order.master.is_some_and(|place| place.epoch == 1))
    });
    wait_until("its output is kept", || {
        let output = fs::read_to_string(host.directory(W0).join("output")).unwrap_or_default();
        output.contains("words-1/worker-0 says something")
    });
    // One fails, and one is killed by somebody else.
    let (first, other) = (host.pid_of(W0).expect("it runs"), host.pid_of(W1).expect("it runs"));
    File::create(host.directory(W0).join("fail")).expect("it can be made");
    wait_until("it is started again", || host.pid_of(W0).is_some_and(|pid| pid != first));
    assert_eq!(host.pid_of(W1), Some(other), "it goes on");
    kill_process(pid(host.pid_of(MASTER).expect("it runs")), Signal::KILL).expect("it lives");
    wait_until("the next master has the next epoch", || {
        let order = read_order::<WorkerOrder>(&host.directory(W0), ORDER_FILE).expect("it is whole");
        order.is_some_and(|order| order.master.is_some_and(|place| place.epoch == 2))
    });
    // Some of it is placed elsewhere, and then it is gone.
    host.assign(&[(1, 2, &["worker-1"])]);
    host.wait_for(&[W1]);
    assert!(host.directory(W0).exists(), "what it has printed is there for whoever wants to read it");
    assert_eq!(host.pid_of(W1), Some(other), "it goes on");
    host.assign(&[]);
    host.wait_for(&[]);
    wait_until("its directory is gone", || !host.directory("words-1").exists());
    assert!(host.directory("words-9/worker-0").exists(), "what it does not know is left alone");
    host.end();
}

/// A sub-process that user code had started went on when its worker was killed, beside the next process of the worker.
#[test]
fn what_a_process_has_started_does_not_outlive_it() {
    let host = Host::new();
    host.assign(&[(1, 1, &["worker-0", "worker-1"])]);
    host.wait_for(&[W0, W1]);
    let (of_first, of_other) = (host.spawn(W0, "sleep 600"), host.spawn(W1, "sleep 600"));
    let first = host.pid_of(W0).expect("it runs");
    File::create(host.directory(W0).join("fail")).expect("it can be made");
    wait_until("it is started again", || host.pid_of(W0).is_some_and(|pid| pid != first));
    wait_until("what it had started has ended, too", || !lives(of_first));
    assert!(lives(of_other), "that of the other worker goes on");
    // It is not assigned any more.
    host.assign(&[(1, 2, &["worker-0"])]);
    host.wait_for(&[W0]);
    wait_until("what it has started has ended, too", || !lives(of_other));
    host.end();
}

#[test]
fn a_process_that_needs_more_memory_than_it_may_have_is_ended_with_the_reason() {
    let by = LimitedBy::Rlimit;
    let limits = ProcessLimits { by, memory_extra: 64 << 20, ..ProcessLimits::default() };
    let host = Host::with_limits(Some(limits));
    host.assign(&[(1, 1, &["master", "worker-0"])]);
    host.wait_for(&[MASTER, W0]);
    let master = host.pid_of(MASTER);
    host.starve(W0);
    host.wait_for(&[MASTER, W0]);
    assert_eq!(host.pid_of(MASTER), master, "it goes on");
    host.end();
}

/// A control group for one test, below which a supervisor makes its own.
struct TestGroup {
    options: ProcessLimits,
}

impl TestGroup {
    /// `None`: this user cannot make one here.
    fn new() -> Option<TestGroup> {
        let group = Some(format!("/squall-test-{}", std::process::id()));
        let by = LimitedBy::ControlGroups;
        let options = ProcessLimits { by, memory_extra: 64 << 20, group, ..ProcessLimits::default() };
        let place = tempfile::tempdir().expect("a directory");
        let squall = Executable::At(env!("CARGO_BIN_EXE_squall").into(), Vec::new());
        let prepared = Limits::prepare(&options, place.path(), squall, &Logger::root(Discard, o!()));
        prepared.is_ok().then_some(TestGroup { options })
    }

    /// The groups that are left, and what may be removed of its own.
    fn left(&self) -> Vec<PathBuf> {
        let name = self.options.group.as_ref().expect("as above").trim_start_matches('/');
        let roots = ["", "memory", "cpu", "cpu,cpuacct", "pids", "unified"];
        let roots = roots.map(|root| Path::new("/sys/fs/cgroup").join(root).join(name));
        let entries = roots.iter().filter_map(|root| fs::read_dir(root).ok());
        entries.flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for TestGroup {
    fn drop(&mut self) {
        let name = self.options.group.as_ref().expect("as above").trim_start_matches('/');
        for root in ["", "memory", "cpu", "cpu,cpuacct", "pids"] {
            let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(root).join(name));
        }
    }
}

#[test]
fn a_control_group_ends_with_its_process_whoever_sees_it() {
    let Some(group) = TestGroup::new() else {
        eprintln!("SKIPPED: this user cannot make control groups here");
        return;
    };
    let mut host = Host::with_limits(Some(group.options.clone()));
    host.assign(&[(1, 1, &["master", "worker-0", "worker-1"])]);
    host.wait_for(&[MASTER, W0, W1]);
    assert!(!group.left().is_empty(), "each process has one");
    host.starve(W0);
    host.wait_for(&[MASTER, W0, W1]);
    // In a session of its own a process is not reached by the signal to the group of its worker.
    let (of_first, of_other) = (host.spawn(W0, "setsid sleep 600"), host.spawn(W1, "setsid sleep 600"));
    let first = host.pid_of(W0).expect("it runs");
    File::create(host.directory(W0).join("fail")).expect("it can be made");
    wait_until("it is started again", || host.pid_of(W0).is_some_and(|pid| pid != first));
    assert!(!lives(of_first), "what it had started had ended before");
    // Nobody sees this end.
    host.kill();
    let other = host.pid_of(W1).expect("it runs");
    kill_process(pid(other), Signal::KILL).expect("it lives");
    wait_until("it has ended", || !lives(other));
    assert!(lives(of_other));
    host.start();
    host.wait_for(&[MASTER, W0, W1]);
    assert!(!lives(of_other), "what it had started had ended before");
    // Of what is removed, nothing is left.
    host.assign(&[]);
    host.wait_for(&[]);
    wait_until("no group is left", || group.left().is_empty());
    host.end();
}

#[test]
fn why_a_process_does_not_start_is_published_until_it_does() {
    let host = Host::new();
    // Where the directory of a topology should be is something else.
    fs::create_dir_all(host.directory("")).expect("it can be made");
    fs::write(host.directory("words-1"), "").expect("it can be written");
    host.assign(&[(1, 1, &["worker-0"]), (2, 1, &["worker-0"])]);
    wait_until("it is published", || host.problems().len() == 1);
    let problem = host.problems().remove(0);
    assert!(problem.starts_with("words-1/worker-0 cannot be "), "{problem}");
    assert!(problem.contains("Not a directory"), "{problem}");
    host.wait_for(&["words-2/worker-0"]);
    fs::remove_file(host.directory("words-1")).expect("it is there");
    host.wait_for(&[W0, "words-2/worker-0"]);
    wait_until("it is gone", || host.problems().is_empty());
    // What ends again and again is published with how it has ended.
    let fail = host.directory(W0).join("fail");
    wait_until("it is published", || {
        if !fail.exists() {
            let _ = File::create(&fail);
        }
        host.problems().iter().any(|problem| problem.contains("ends again and again: exit status: 1"))
    });
    host.end();
}

#[test]
fn a_process_that_hangs_is_replaced() {
    let host = Host::new();
    host.assign(&[(1, 1, &["worker-0"])]);
    host.wait_for(&[W0]);
    let first = host.pid_of(W0).expect("it runs");
    wait_until("it gives signs of life", || host.directory(W0).join("alive").exists());
    kill_process(pid(first), Signal::STOP).expect("it lives");
    wait_until("it is replaced", || host.pid_of(W0).is_some_and(|pid| pid != first));
    host.end();
}

#[test]
fn a_supervisor_that_was_killed_is_followed_by_one_that_finds_its_processes() {
    let mut host = Host::new();
    host.assign(&[(1, 1, &["master", "worker-0", "worker-1"])]);
    host.wait_for(&[MASTER, W0, W1]);
    let before = host.living();
    host.kill();
    assert_eq!(host.living(), before, "they go on without it");
    host.start();
    // It restarts the one that dies, and leaves the others alone.
    let first = host.pid_of(W0).expect("it runs");
    kill_process(pid(first), Signal::KILL).expect("it lives");
    wait_until("it is started again", || host.pid_of(W0).is_some_and(|pid| pid != first));
    let of = |living: &[(String, u32)], name: &str| living.iter().find(|(it, _)| it == name).cloned();
    assert_eq!(of(&host.living(), W1), of(&before, W1));
    assert_eq!(of(&host.living(), MASTER), of(&before, MASTER));
    // While there is none, one dies and one is no longer assigned.
    host.kill();
    kill_process(pid(host.pid_of(W1).expect("it runs")), Signal::KILL).expect("it lives");
    host.assign(&[(1, 2, &["master", "worker-1"])]);
    host.start();
    host.wait_for(&[MASTER, W1]);
    assert!(host.directory(W0).exists(), "what it has printed is there for whoever wants to read it");
    host.assign(&[]);
    wait_until("the directories are gone", || !host.directory("words-1").exists());
    host.end();
}

/// `SQUALL_SEEDS` (20): how often the supervisor is killed.
#[test]
fn whenever_a_supervisor_is_killed_each_child_has_one_process_in_the_end() {
    let kills = std::env::var("SQUALL_SEEDS").map_or(20, |number| number.parse().expect("a number"));
    let mut rng = StdRng::seed_from_u64(7);
    let mut host = Host::new();
    let all = ["master", "worker-0", "worker-1", "worker-2"];
    for round in 0..kills {
        let change = round + 1;
        let chosen: Vec<&str> = all.into_iter().filter(|_| rng.random_bool(0.6)).collect();
        host.assign(&[(1, change, &chosen), (2, change, &all[..2])]);
        thread::sleep(Duration::from_millis(rng.random_range(0..120)));
        if rng.random_bool(0.3)
            && let Some((_, number)) = host.living().first()
        {
            // It may be gone by now.
            let _ = kill_process(pid(*number), Signal::KILL);
        }
        host.kill();
        host.start();
    }
    host.assign(&[(1, kills + 1, &all), (2, kills + 1, &all[1..2])]);
    host.wait_for(&[MASTER, W0, W1, "words-1/worker-2", "words-2/worker-0"]);
    host.assign(&[(2, kills + 2, &all[1..2])]);
    host.wait_for(&["words-2/worker-0"]);
    wait_until("directories are gone", || !host.directory("words-1").exists());
    let left: BTreeSet<String> = fs::read_dir(host.directory("words-2"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left, ["master".to_owned(), "worker-0".to_owned()].into(), "until the topology is removed");
    host.assign(&[]);
    wait_until("directories are gone", || !host.directory("words-2").exists());
    host.end();
}

#[test]
fn a_directory_has_one_supervisor() {
    let host = Host::new();
    wait_until("the first one has it", || host.place.path().join("supervisor/topologies").exists());
    let directory = host.place.path().join("supervisor");
    let second = Children::open(children_options(&directory), settings(), Clock::real().now());
    let refused = second.err().expect("it is taken").to_string();
    assert!(refused.contains("another supervisor (process "), "{refused}");
    host.end();
}

#[test]
fn a_damaged_record_is_set_aside_and_what_is_assigned_is_found_again() {
    let mut host = Host::new();
    host.assign(&[(1, 1, &["worker-0"])]);
    host.wait_for(&[W0]);
    let before = host.living();
    host.kill();
    let record = host.place.path().join("supervisor/children.json");
    fs::write(&record, "{").expect("it can be written");
    host.start();
    wait_until("it is written again", || fs::read(&record).is_ok_and(|bytes| bytes.len() > 100));
    assert_eq!(host.living(), before);
    host.assign(&[]);
    host.wait_for(&[]);
    wait_until("its directory is gone", || !host.directory("words-1").exists());
    host.end();
}
