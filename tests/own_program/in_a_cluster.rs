//! A program is submitted to a cluster of squall's own daemons, which do not have its components.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// `squall dev`, which is ended with the test.
struct Cluster {
    directory: tempfile::TempDir,
    process: Child,
    address: String,
}

impl Cluster {
    fn start() -> Cluster {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = directory.path().join("engine.toml");
        // Nobody is taken for dead because the machine is busy.
        let patient =
            "worker.heartbeat_timeout = \"180s\"\nnet.silence = \"180s\"\nnet.link_lost = \"180s\"\n";
        fs::write(&engine, patient).expect("it is written");
        let mut command = squall();
        command.args([
            "dev",
            "--supervisors",
            "2",
            "--listen",
            "127.0.0.1:0",
            "--log",
            "info",
            "--directory",
        ]);
        command.arg(directory.path().join("data")).arg("--config").arg(&engine);
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let mut seen = String::new();
        let address = loop {
            let line = log.next().and_then(Result::ok).unwrap_or_else(|| panic!("not ready: {seen}"));
            if let Some((_, rest)) = line.split_once("supervisors runs on ") {
                break rest.split(',').next().unwrap_or_default().to_owned();
            }
            seen.push_str(&format!("{line}\n"));
        };
        // Somebody has to read it to the end.
        thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        Cluster { directory, process, address }
    }

    fn programs(&self, supervisor: u16) -> PathBuf {
        self.directory.path().join(format!("data/supervisor-{supervisor}/programs"))
    }

    fn ask(&self, command: &mut Command) -> Output {
        command.args(["--nimbus", &self.address]).stdin(Stdio::null()).output().expect("it runs")
    }

    /// The program itself submits one of its topologies. Returns what it prints on stderr.
    #[track_caller]
    fn submit(&self, args: &[&str]) -> String {
        let mut command = Command::new(env::current_exe().expect("this program has a file"));
        let output = self.ask(command.arg("submit").args(args).args(["--timeout", "180s"]));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
        errors
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let output = self.ask(squall().args(args));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn status(&self, name: &str) -> Value {
        serde_json::from_str(&self.done(&["status", name, "--output", "json"])).expect("it is JSON")
    }

    /// The processes whose program is below the directories of the supervisors.
    fn processes(&self) -> Vec<Pid> {
        let data = self.directory.path().join("data");
        let is_ours =
            |process: &Path| fs::read_link(process.join("exe")).is_ok_and(|exe| exe.starts_with(&data));
        let processes = fs::read_dir("/proc").expect("it is there").flatten().map(|entry| entry.path());
        let pid = |process: PathBuf| process.file_name()?.to_str()?.parse().ok().and_then(Pid::from_raw);
        processes.filter(|process| is_ours(process)).filter_map(pid).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

fn squall() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    command
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Three workers and a master are processes of the program. They are killed while spouts rest, and all messages are
/// processed by those that come after them.
pub fn a_cluster_that_does_not_have_the_program_runs_it() {
    let cluster = Cluster::start();
    let sent = cluster.submit(&["squares", "--inactive"]);
    assert!(sent.contains("sending it to the cluster"), "{sent}");
    wait_until("its processes", || cluster.processes().len() == 4);
    let killed = cluster.processes();
    killed.iter().for_each(|pid| kill_process(*pid, Signal::KILL).expect("it is ours"));
    wait_until("others instead", || {
        let now = cluster.processes();
        now.len() == 4 && now.iter().all(|pid| !killed.contains(pid))
    });
    wait_until("that they are up", || cluster.status("squares")["phase"] == "inactive");
    cluster.done(&["activate", "squares"]);
    wait_until("its end", || cluster.status("squares")["phase"] == "ended");
    let outcome = cluster.status("squares")["outcome"].clone();
    assert_eq!((&outcome["failure"], &outcome["completed"]), (&Value::Null, &1000.into()), "{outcome}");

    // The cluster has it already.
    let sent = cluster.submit(&["squares", "--name", "more", "--no-wait"]);
    assert!(!sent.contains("sending"), "{sent}");
    wait_until("its end", || cluster.status("more")["phase"] == "ended");

    // What nobody needs any more is removed.
    cluster.done(&["remove", "squares"]);
    cluster.done(&["remove", "more"]);
    let left = |supervisor| fs::read_dir(cluster.programs(supervisor)).map_or(0, Iterator::count);
    wait_until("that the program is removed", || left(1) + left(2) == 0);
}
