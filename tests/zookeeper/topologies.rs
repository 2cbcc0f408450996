//! Topologies on a cluster of real processes and a real ZooKeeper, of which everything is killed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::{new_root, shared};
use crate::processes::{Process, dying_with_us};
use crate::server::Servers;
use crate::wait_until;

const SQUALL: &str = env!("CARGO_BIN_EXE_squall");

/// Numbers to files, until it is stopped.
const NUMBERS: &str = r#"
[topology]
name = "numbers"
workers = 3
message_timeout = "180s"
[spout.numbers]
type = "generate"
config = { rate = 500, fields = { n = "{seq}" } }
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

/// Hosts, each with a nimbus, a supervisor, or both, and one disk.
struct Cluster {
    directory: TempDir,
    servers: Vec<String>,
    root: String,
    nimbuses: Vec<(&'static str, Process)>,
    supervisors: Vec<(&'static str, Process)>,
    /// The nimbuses that supervisors ask for blobs. Empty: they see the directory.
    blobs_from: Vec<String>,
}

impl Cluster {
    /// Two nimbuses and three supervisors, with the topology `numbers`, which runs.
    fn with_numbers(servers: &Servers, root: &str) -> Cluster {
        let mut cluster = Cluster::with_nimbuses(servers, root);
        cluster.run_numbers();
        cluster
    }

    /// Two nimbuses, of which one leads.
    fn with_nimbuses(servers: &Servers, root: &str) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let key = directory.path().join("cluster.key");
        fs::write(&key, "0123456789abcdef".repeat(4)).expect("the directory is ours");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let addresses = servers.addresses().iter().map(ToString::to_string).collect();
        let mut cluster = Cluster {
            directory,
            servers: addresses,
            root: root.to_owned(),
            nimbuses: Vec::new(),
            supervisors: Vec::new(),
            blobs_from: Vec::new(),
        };
        ["x", "y"].into_iter().for_each(|host| cluster.start_nimbus(host));
        wait_until("a nimbus leads", || cluster.leader().is_some());
        cluster
    }

    /// Starts three supervisors, and the topology `numbers` on them.
    fn run_numbers(&mut self) {
        ["a", "b", "c"].into_iter().for_each(|host| self.start_supervisor(host));
        wait_until("all hosts are there", || self.hosts().len() == 3);
        let file = self.path("topology.toml");
        let place = self.directory.path().to_str().expect("it is UTF-8");
        fs::write(&file, NUMBERS.replace("DIR", place)).expect("it is ours");
        self.done(&["submit", file.to_str().expect("it is UTF-8"), "--timeout", "180s"]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The engine's file of a host. Nobody is taken for dead because the machine is busy.
    fn configuration(&self, host: &str) -> PathBuf {
        let file = self.path(&format!("{host}.toml"));
        let blobs = if self.blobs_from.is_empty() { "blobs" } else { "nowhere" };
        let text = format!(
            "[zookeeper]\nservers = {:?}\nroot = {:?}\nsession_timeout = \"4s\"\nread_again = \"1s\"\n\
             [cluster]\nblobs = {blobs:?}\nkey_file = \"cluster.key\"\n\
             [nimbus]\nid = {host:?}\ndirectory = \"{host}-nimbus\"\nlisten = \"127.0.0.1:0\"\n\
             supervisor_timeout = \"3s\"\n\
             [supervisor]\nid = {host:?}\ndirectory = \"{host}-supervisor\"\nslots = 3\nblobs_from = {:?}\n\
             [worker]\nheartbeat_timeout = \"180s\"\n[net]\nsilence = \"180s\"\nlink_lost = \"180s\"\n",
            self.servers, self.root, self.blobs_from
        );
        fs::write(&file, text).expect("the directory is ours");
        file
    }

    fn start(&self, daemon: &str, host: &str) -> Process {
        let log =
            fs::File::options().create(true).append(true).open(self.path(&format!("{daemon}-{host}.log")));
        let mut command = dying_with_us(SQUALL);
        command.args([daemon, "--log-format", "json", "--config"]).arg(self.configuration(host));
        command.stderr(log.expect("the directory is ours"));
        Process::start(command)
    }

    fn start_nimbus(&mut self, host: &'static str) {
        let process = self.start("nimbus", host);
        self.nimbuses.push((host, process));
    }

    fn start_supervisor(&mut self, host: &'static str) {
        let process = self.start("supervisor", host);
        self.supervisors.push((host, process));
    }

    fn look(&self) -> Value {
        let output = Command::new(SQUALL)
            .args(["cluster", "--json", "--timeout", "90s", "--root", &self.root, "--servers"])
            .arg(self.servers.join(","))
            .env_remove("SQUALL_CONFIG")
            .output()
            .expect("it is built");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The host of the nimbus that leads, and where its API is.
    fn leader(&self) -> Option<(String, String)> {
        let found = self.look();
        let leader = found["nimbuses"].as_array()?.iter().find(|nimbus| nimbus["leads"] == true)?;
        let (host, _) = leader["id"].as_str()?.rsplit_once('-').expect("a token follows the host");
        Some((host.to_owned(), leader["api"].as_str()?.to_owned()))
    }

    fn hosts(&self) -> Vec<String> {
        let found = self.look();
        let of = |host: &Value| host["id"].as_str().expect("an id").to_owned();
        found["supervisors"].as_array().map(|hosts| hosts.iter().map(of).collect()).unwrap_or_default()
    }

    fn run(&self, args: &[&str]) -> Option<Output> {
        let (_, address) = self.leader()?;
        let mut command = Command::new(SQUALL);
        let command = command.args(args).args(["--nimbus", &address]);
        Some(command.env_remove("SQUALL_CONFIG").output().expect("it is built"))
    }

    fn done(&self, args: &[&str]) -> String {
        // One that was elected does what it is asked for when it has looked at everything.
        wait_until("a nimbus does what it is asked for", || {
            self.run(&["list"]).is_some_and(|output| output.status.success())
        });
        let output = self.run(args).expect("a nimbus leads");
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{args:?}: {text}{errors}");
        text.into_owned()
    }

    fn status(&self) -> Option<Value> {
        let output = self.run(&["status", "numbers", "--output", "json"])?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The hosts of the workers, by their numbers.
    fn workers(&self) -> Option<Vec<String>> {
        let status = self.status()?;
        let host = |worker: &Value| worker["host"].as_str().expect("a host").to_owned();
        Some(status["workers"].as_array()?.iter().map(host).collect())
    }

    /// The processes of the topology, by their private directories.
    fn processes(&self) -> Vec<(PathBuf, i32)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("it is there").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut words = line.split('\0').skip_while(|word| *word != "--directory").skip(1);
            if let Some(directory) =
                words.next().filter(|word| Path::new(word).starts_with(self.directory.path()))
            {
                found.push((PathBuf::from(directory), pid));
            }
        }
        found.sort();
        found
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

    fn wait_for_more(&self, what: &str) {
        let before = self.written().1;
        wait_until(what, || self.written().1 > before + 100);
    }

    /// Ends the topology in order. Nothing of what was emitted is missing. Returns how many lines there are.
    fn stop(&self) -> usize {
        // A spout whose process was killed has begun again, and what it had open is written when it has come so far.
        let last = *self.written().0.last().expect("something was written");
        wait_until("what was open is written", || {
            let (numbers, _) = self.written();
            (0..last).all(|number| numbers.contains(&number))
        });
        self.done(&["stop", "numbers", "--cluster", "--timeout", "180s"]);
        let (numbers, lines) = self.written();
        let last = *numbers.last().expect("something was written");
        let missing: Vec<u64> = (0..last).filter(|number| !numbers.contains(number)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        wait_until("no process is left", || self.processes().is_empty());
        lines
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(self.directory.path()).expect("it is there").flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    eprintln!(
                        "== {}\n{}",
                        entry.path().display(),
                        fs::read_to_string(entry.path()).unwrap_or_default()
                    );
                }
            }
        }
        // First those who would start them again.
        self.supervisors.clear();
        self.nimbuses.clear();
        self.processes().into_iter().for_each(|(_, pid)| kill(pid));
    }
}

fn kill(pid: i32) {
    // It may have ended meanwhile.
    let _ = kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
}

/// Nothing is emitted twice when only daemons die, because no process of the topology notices.
#[test]
fn daemons_are_killed_and_a_topology_does_not_notice() {
    let servers = shared();
    let mut cluster = Cluster::with_numbers(&servers, &new_root());
    let before = cluster.processes();
    assert_eq!(before.len(), 4, "three workers and a master");
    let (leader, _) = cluster.leader().expect("one leads");
    let at = cluster.nimbuses.iter().position(|(host, _)| *host == leader).expect("it is ours");
    cluster.nimbuses.remove(at).1.kill();
    while let Some((host, mut supervisor)) = cluster.supervisors.pop() {
        supervisor.kill();
        drop(supervisor);
        cluster.wait_for_more("it writes without a supervisor");
        let process = cluster.start("supervisor", host);
        cluster.supervisors.insert(0, (host, process));
        if cluster.supervisors.iter().map(|(host, _)| *host).eq(["a", "b", "c"]) {
            break;
        }
    }
    wait_until("the other nimbus leads", || cluster.leader().is_some_and(|(host, _)| host != leader));
    wait_until("all hosts are there", || cluster.hosts().len() == 3);
    cluster.wait_for_more("it writes");
    assert_eq!(cluster.processes(), before, "the same processes");
    let lines = cluster.stop();
    assert_eq!(cluster.written().0.len(), lines, "each once");
}

#[test]
fn each_process_of_a_topology_is_killed_and_replaced() {
    let servers = shared();
    let cluster = Cluster::with_numbers(&servers, &new_root());
    for (directory, pid) in cluster.processes() {
        cluster.wait_for_more("it writes");
        kill(pid);
        wait_until("another process has its place", || {
            cluster.processes().iter().any(|(of, now)| *of == directory && *now != pid)
        });
    }
    cluster.wait_for_more("it writes after all were killed");
    cluster.stop();
}

/// What a host has got once it need not ask for again, so its workers are replaced while no nimbus is there.
#[test]
fn hosts_that_do_not_see_the_blobs_ask_a_nimbus_for_them() {
    let servers = shared();
    let mut cluster = Cluster::with_nimbuses(&servers, &new_root());
    let found = cluster.look();
    let api = |nimbus: &Value| nimbus["api"].as_str().expect("an address").to_owned();
    cluster.blobs_from = found["nimbuses"].as_array().expect("they are there").iter().map(api).collect();
    cluster.run_numbers();
    assert!(!cluster.path("nowhere").exists());
    cluster.wait_for_more("it writes");
    let (api_before, nimbuses) = (cluster.leader(), std::mem::take(&mut cluster.nimbuses));
    for (_, mut nimbus) in nimbuses {
        nimbus.kill();
    }
    for (directory, pid) in cluster.processes().into_iter().filter(|(of, _)| !of.ends_with("master")) {
        kill(pid);
        wait_until("another process has its place", || {
            cluster.processes().iter().any(|(of, now)| *of == directory && *now != pid)
        });
    }
    cluster.wait_for_more("it writes without a nimbus");
    cluster.blobs_from.clear();
    cluster.start_nimbus("x");
    wait_until("a nimbus leads again", || cluster.leader().is_some_and(|now| Some(now) != api_before));
    cluster.stop();
}

#[test]
fn a_lost_host_is_replaced_and_may_come_back() {
    let servers = shared();
    let mut cluster = Cluster::with_numbers(&servers, &new_root());
    let workers = cluster.workers().expect("they are placed");
    // The host of the master, too.
    let lost = workers[0].clone();
    let at = cluster.supervisors.iter().position(|(host, _)| *host == lost).expect("it is ours");
    let (host, mut supervisor) = cluster.supervisors.remove(at);
    supervisor.kill();
    drop(supervisor);
    let its = cluster.path(&format!("{lost}-supervisor"));
    cluster.processes().into_iter().filter(|(of, _)| of.starts_with(&its)).for_each(|(_, pid)| kill(pid));
    wait_until("its workers are elsewhere", || {
        cluster.workers().is_some_and(|workers| workers.len() == 3 && !workers.contains(&lost))
    });
    let after = cluster.workers().expect("they are placed");
    let moved = workers.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(moved, workers.iter().filter(|worker| **worker == lost).count(), "{workers:?} {after:?}");
    cluster.wait_for_more("it writes on other hosts");
    cluster.start_supervisor(host);
    wait_until("the host is back", || cluster.hosts().len() == 3);
    cluster.wait_for_more("it writes");
    assert_eq!(cluster.processes().iter().filter(|(of, _)| of.starts_with(&its)).count(), 0);
    cluster.stop();
}

#[test]
fn zookeeper_is_away_and_workers_are_replaced_all_the_same() {
    let mut servers = Servers::alone();
    let cluster = Cluster::with_numbers(&servers, "/squall");
    servers.kill_all();
    cluster.wait_for_more("it writes without ZooKeeper");
    let workers: Vec<(PathBuf, i32)> =
        cluster.processes().into_iter().filter(|(of, _)| !of.ends_with("master")).collect();
    assert_eq!(workers.len(), 3);
    for (directory, pid) in workers {
        kill(pid);
        wait_until("another process has its place", || {
            cluster.processes().iter().any(|(of, now)| *of == directory && *now != pid)
        });
        cluster.wait_for_more("it writes with another worker");
    }
    servers.restart_all();
    wait_until("a nimbus leads", || cluster.leader().is_some());
    wait_until("all hosts are there", || cluster.hosts().len() == 3);
    cluster.stop();
}

#[test]
fn everything_is_killed_at_once_and_started_again() {
    let mut servers = Servers::alone();
    let mut cluster = Cluster::with_numbers(&servers, "/squall");
    cluster.wait_for_more("it writes");
    servers.kill_all();
    for (_, daemon) in cluster.nimbuses.iter_mut().chain(&mut cluster.supervisors) {
        daemon.kill();
    }
    cluster.nimbuses.clear();
    cluster.supervisors.clear();
    cluster.processes().into_iter().for_each(|(_, pid)| kill(pid));
    wait_until("nothing runs", || cluster.processes().is_empty());
    servers.restart_all();
    ["x", "y"].into_iter().for_each(|host| cluster.start_nimbus(host));
    ["a", "b", "c"].into_iter().for_each(|host| cluster.start_supervisor(host));
    wait_until("all processes are there", || cluster.processes().len() == 4);
    let of_first_run = *cluster.written().0.last().expect("something was written");
    wait_until("it has written all once more", || {
        let (numbers, _) = cluster.written();
        (0..of_first_run + 100).all(|number| numbers.contains(&number))
    });
    cluster.stop();
}
