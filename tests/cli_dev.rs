//! `squall dev`: a whole cluster of real processes, as a user has it on one machine.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// Numbers to a file, until it is stopped.
const NUMBERS: &str = r#"
[topology]
name = "numbers"
workers = 3
message_timeout = "180s"
[spout.numbers]
type = "generate"
config = { rate = 1000, fields = { n = "{seq}" } }
[bolt.same]
type = "map"
parallelism = 3
inputs = ["numbers"]
config.set = { n = "n" }
[bolt.store]
type = "file"
parallelism = 2
inputs = [{ from = "same", fields = ["n"] }]
config = { path = "DIR/out-{task}", format = "text" }
"#;

fn squall(args: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_squall")]).args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
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

/// A cluster, and the directory that it has.
struct Cluster {
    directory: tempfile::TempDir,
    process: Option<Child>,
    address: String,
}

impl Cluster {
    fn new() -> Cluster {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("topology.toml"), "").expect("it is written");
        let mut cluster = Cluster { directory, process: None, address: String::new() };
        cluster.start();
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts `squall dev`, and waits until it is ready.
    fn start(&mut self) {
        let engine = self.path("engine.toml");
        // Nobody is taken for dead because the machine is busy.
        let patient =
            "worker.heartbeat_timeout = \"180s\"\nnet.silence = \"180s\"\nnet.link_lost = \"180s\"\n";
        fs::write(&engine, patient).expect("it is written");
        let data = self.path("data");
        let mut command = squall(&["dev", "--listen", "127.0.0.1:0", "--log", "info"]);
        command.arg("--directory").arg(&data).arg("--config").arg(&engine);
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = process.stderr.take().expect("it is piped");
        self.process = Some(process);
        let log = self.path("dev.log");
        let (ready, wait) = std::sync::mpsc::channel();
        thread::spawn(move || {
            use std::io::Write as _;
            let mut kept = fs::File::options().create(true).append(true).open(log).expect("it is made");
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = writeln!(kept, "{line}");
                if let Some((_, rest)) = line.split_once("supervisors runs on ") {
                    let address = rest.split(',').next().unwrap_or_default().to_owned();
                    let _ = ready.send(address);
                }
            }
        });
        self.address = wait.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not ready:\n{}", self.logs()));
    }

    fn run(&self, args: &[&str]) -> Output {
        squall(args).args(["--nimbus", &self.address]).output().expect("it runs")
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {text}{errors}\n{}", self.logs());
        text
    }

    fn submit(&self) {
        let text = NUMBERS.replace("DIR", self.directory.path().to_str().expect("it is UTF-8"));
        let file = self.path("topology.toml");
        fs::write(&file, text).expect("it is written");
        self.done(&["submit", file.to_str().expect("it is UTF-8"), "--timeout", "180s"]);
    }

    fn status(&self) -> Value {
        let text = self.done(&["status", "numbers", "--output", "json"]);
        serde_json::from_str(&text).expect("it is JSON")
    }

    /// The numbers in the files, and how many lines there are.
    fn written(&self) -> (BTreeSet<u64>, usize) {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.directory.path()).expect("it is there").flatten() {
            if entry.file_name().to_string_lossy().starts_with("out-") {
                let text = fs::read_to_string(entry.path()).expect("it is text");
                let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
                lines.extend(whole.filter_map(|line| line.parse::<u64>().ok()));
            }
        }
        (lines.iter().copied().collect(), lines.len())
    }

    #[track_caller]
    fn wait_for_more(&self, what: &str) {
        let before = self.written().1;
        wait_until(what, || self.written().1 > before + 100);
    }

    /// The processes of topologies, by their private directories.
    fn processes(&self) -> Vec<(PathBuf, i32)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("it is there").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<&str> = line.split('\0').collect();
            if let Some(at) = words.iter().position(|word| *word == "--directory")
                && let Some(directory) = words.get(at + 1)
                && Path::new(directory).starts_with(self.path("data").join(""))
                && words.iter().any(|word| *word == "worker" || *word == "master")
            {
                found.push((PathBuf::from(directory), pid));
            }
        }
        found.sort();
        found
    }

    fn kill(&self, pid: i32) {
        let _ = kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
    }

    /// Ends the cluster as Ctrl-C does.
    fn interrupt(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::INT).expect("it is ours");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match process.try_wait().expect("it is ours") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "it does not end:\n{}", self.logs()),
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(0), "{}", self.logs());
    }

    fn logs(&self) -> String {
        let mut text = fs::read_to_string(self.path("dev.log")).unwrap_or_default();
        for (directory, _) in self.processes() {
            for file in ["worker.log", "output"] {
                let log = fs::read_to_string(directory.join(file)).unwrap_or_default();
                text.push_str(&format!("== {}/{file}\n{log}", directory.display()));
            }
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.processes().into_iter().for_each(|(_, pid)| self.kill(pid));
    }
}

/// Nothing of what was emitted is missing.
#[track_caller]
fn nothing_is_missing(cluster: &Cluster) {
    let (numbers, _) = cluster.written();
    let last = *numbers.last().expect("something was written");
    let missing: Vec<u64> = (0..last).filter(|number| !numbers.contains(number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_topology_is_submitted_watched_stopped_and_removed() {
    let mut cluster = Cluster::new();
    cluster.submit();
    let status = cluster.status();
    assert_eq!((&status["phase"], &status["wanted"]), (&"active".into(), &"active".into()), "{status}");
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(3), "{status}");
    assert_eq!(cluster.processes().len(), 4, "three workers and a master");
    cluster.wait_for_more("it writes");
    cluster.done(&["deactivate", "numbers", "--timeout", "180s"]);
    cluster.done(&["activate", "numbers", "--timeout", "180s"]);
    let hosts: Value = serde_json::from_str(&cluster.done(&["cluster", "--json"])).expect("it is JSON");
    let used = hosts["supervisors"]
        .as_array()
        .map(|hosts| hosts.iter().filter_map(|host| host["used"].as_u64()).sum());
    assert_eq!(used, Some(3_u64), "{hosts}");
    let listed = cluster.done(&["list"]);
    assert!(listed.contains("numbers"), "{listed}");
    cluster.done(&["stop", "numbers", "--cluster", "--timeout", "180s"]);
    let status = cluster.status();
    assert_eq!(status["phase"], "ended", "{status}");
    let (numbers, lines) = cluster.written();
    assert_eq!(status["outcome"]["completed"], lines, "{status}");
    assert_eq!(numbers.len(), lines, "each once");
    nothing_is_missing(&cluster);
    wait_until("its processes are gone", || cluster.processes().is_empty());
    // What was printed and logged is there until the topology is removed.
    let host = status["master"]["host"].as_str().unwrap_or("supervisor-1").to_owned();
    let log = cluster.path("data").join(format!("{host}/topologies/numbers-1/master/worker.log"));
    let text = fs::read_to_string(&log).expect("it stays");
    assert!(text.contains("the topology has ended"), "{text}");
    cluster.done(&["remove", "numbers"]);
    assert_eq!(cluster.run(&["status", "numbers"]).status.code(), Some(3));
    let left = |supervisor: u16| cluster.path("data").join(format!("supervisor-{supervisor}/topologies"));
    wait_until("its directories are gone", || {
        (1..=3).all(|supervisor| fs::read_dir(left(supervisor)).map_or(true, |left| left.count() == 0))
    });
    cluster.interrupt();
}

#[test]
fn whatever_is_killed_nothing_is_lost() {
    let mut cluster = Cluster::new();
    cluster.submit();
    let names: Vec<PathBuf> = cluster.processes().into_iter().map(|(directory, _)| directory).collect();
    assert_eq!(names.len(), 4);
    for name in names {
        cluster.wait_for_more("it writes");
        let (_, pid) = cluster.processes().into_iter().find(|(of, _)| *of == name).expect("it runs");
        cluster.kill(pid);
        wait_until("another process has its place", || {
            cluster.processes().iter().any(|(of, now)| *of == name && *now != pid)
        });
    }
    cluster.wait_for_more("it writes after all were killed");
    // A spout whose process was killed has begun again, and what it had open is written when it has come so far.
    let last = *cluster.written().0.last().expect("something was written");
    wait_until("what was open is written", || {
        let (numbers, _) = cluster.written();
        (0..last).all(|number| numbers.contains(&number))
    });
    cluster.done(&["stop", "numbers", "--cluster", "--timeout", "180s"]);
    nothing_is_missing(&cluster);
    cluster.interrupt();
    assert_eq!(cluster.processes(), []);
}

/// Nimbus, supervisors and the coordination die at once, and topologies do not notice.
#[test]
fn the_daemons_are_killed_and_the_topology_goes_on() {
    let mut cluster = Cluster::new();
    cluster.submit();
    let before = cluster.processes();
    let mut process = cluster.process.take().expect("it runs");
    process.kill().expect("it is ours");
    process.wait().expect("it is ours");
    cluster.wait_for_more("it writes without daemons");
    cluster.start();
    wait_until("the next nimbus leads", || cluster.run(&["status", "numbers"]).status.code() == Some(0));
    cluster.wait_for_more("it writes");
    assert_eq!(cluster.processes(), before, "the same processes");
    cluster.done(&["stop", "numbers", "--cluster", "--timeout", "180s"]);
    let (numbers, lines) = cluster.written();
    assert_eq!(numbers.len(), lines, "each once");
    nothing_is_missing(&cluster);
    cluster.interrupt();
}

#[test]
fn an_ended_cluster_goes_on_where_it_was() {
    let mut cluster = Cluster::new();
    cluster.submit();
    cluster.wait_for_more("it writes");
    cluster.interrupt();
    assert_eq!(cluster.processes(), [], "nothing is left behind");
    cluster.start();
    wait_until("it runs again", || {
        cluster.run(&["status", "numbers"]).status.code() == Some(0) && cluster.status()["phase"] == "active"
    });
    cluster.wait_for_more("it writes again");
    cluster.done(&["kill", "numbers", "--timeout", "180s"]);
    cluster.interrupt();
}

#[test]
fn one_directory_has_one_cluster() {
    let mut cluster = Cluster::new();
    let data = cluster.path("data");
    let second =
        squall(&["dev", "--listen", "127.0.0.1:0", "--directory"]).arg(&data).output().expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("another `squall dev`"), "{text}");
    cluster.interrupt();
}
