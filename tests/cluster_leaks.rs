//! What fifty deaths of workers leave behind in their parent: nothing. In a program of its own,
//! because it counts what all of the program has open.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use squall::cluster::{Executable, RunningWorkers, TopologySource, WorkersOptions};
use squall::ids::WorkerId;
use squall::prelude::*;
use squall::topology::declare::MemorySource;

const DEADLINE: Duration = Duration::from_secs(180);
const DEATHS: u32 = 50;

const NUMBERS: &str = r#"
topology.name = "numbers"
spout.numbers = { type = "generate", config = { rate = 100, fields = { n = "{seq}" } } }
bolt.count = { type = "count", inputs = ["numbers"], config = { by = ["n"] } }
"#;

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn entries(of: &str) -> usize {
    fs::read_dir(format!("/proc/self/{of}")).unwrap().count()
}

/// The processes that this one started and has not reaped, the dead among them.
fn children() -> BTreeSet<u32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>())
        .collect()
}

#[test]
fn fifty_deaths_leave_nothing_behind() {
    let (files, threads) = (entries("fd"), entries("task"));
    let mut options = WorkersOptions::new(2);
    options.executable = Executable::At(env!("CARGO_BIN_EXE_squall").into(), vec!["worker".into()]);
    options.worker.restart_reset = Duration::from_millis(1);
    options.worker.restart_max = Duration::from_millis(50);
    // Nobody is to be taken for dead because the machine is busy: deaths are counted.
    options.worker.heartbeat_timeout = DEADLINE;
    options.net.silence = DEADLINE;
    options.net.link_lost = DEADLINE;
    let source = MemorySource::new().file("t.toml", NUMBERS);
    let (source, topology) =
        TopologySource::record(&source, "t.toml", &Registry::with_standard(), &[]).unwrap();
    let running = RunningWorkers::start(topology, source, options).unwrap();
    let is_up = || running.stats().processes.up == 2;
    wait_until("all are up", is_up);
    let (files_running, threads_running) = (entries("fd"), entries("task"));
    assert_eq!(children().len(), 2);

    for death in 0..DEATHS {
        let victim = WorkerId((death % 2) as u16);
        let before = running.incarnation(victim).unwrap();
        let pid = running.worker_pids()[victim.index()].expect("it has a process");
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        wait_until("the next life", || running.incarnation(victim) > Some(before) && is_up());
    }
    assert_eq!(running.stats().processes.restarts, u64::from(DEATHS));
    // Readers of a dead worker's output end a moment after it.
    wait_until("no thread is left of the dead", || entries("task") <= threads_running);
    wait_until("no descriptor is left of the dead", || entries("fd") <= files_running);
    assert_eq!(children().len(), 2, "no zombies");

    running.drain();
    assert!(!running.join().topology.cut_short);
    assert!(children().is_empty());
    wait_until("no thread is left", || entries("task") <= threads);
    wait_until("no descriptor is left", || entries("fd") <= files);
}
