//! Real nimbuses and supervisors, which are killed, stopped and ended, and whose ZooKeeper loses its data.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::{Client, new_root, options, path, shared};
use crate::processes::{Process, dying_with_us};
use crate::server::Servers;
use crate::wait_until;

use squall::cluster::coordination::Coordination as _;

const SQUALL: &str = env!("CARGO_BIN_EXE_squall");

/// Daemons of one cluster, each with a host name and a disk of its own.
struct Cluster {
    directory: TempDir,
    servers: Vec<String>,
    root: String,
}

/// A daemon that runs.
struct Daemon {
    process: Process,
    log: PathBuf,
}

impl Cluster {
    fn new(servers: &Servers, root: &str) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let key = directory.path().join("cluster.key");
        fs::write(&key, "0123456789abcdef".repeat(4)).expect("the directory is ours");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let servers = servers.addresses().iter().map(ToString::to_string).collect();
        Cluster { directory, servers, root: root.to_owned() }
    }

    /// The engine's file of a host.
    fn configuration(&self, host: &str) -> PathBuf {
        let file = self.directory.path().join(format!("{host}.toml"));
        let text = format!(
            "[zookeeper]\nservers = {:?}\nroot = {:?}\nsession_timeout = \"4s\"\nread_again = \"1s\"\n\
             [cluster]\nblobs = \"blobs\"\nkey_file = \"cluster.key\"\n\
             [nimbus]\nid = {host:?}\ndirectory = \"{host}-nimbus\"\nlisten = \"127.0.0.1:0\"\n\
             [supervisor]\nid = {host:?}\ndirectory = \"{host}-supervisor\"\nslots = 7\nrack = \"r1\"\n",
            self.servers, self.root
        );
        fs::write(&file, text).expect("the directory is ours");
        file
    }

    /// Starts `squall nimbus` or `squall supervisor` on a host.
    fn start(&self, daemon: &str, host: &str) -> Daemon {
        let log = self.directory.path().join(format!("{daemon}-{host}.log"));
        let file = fs::File::options().create(true).append(true).open(&log).expect("the directory is ours");
        let mut command = dying_with_us(SQUALL);
        command.args([daemon, "--log-format", "json", "--config"]).arg(self.configuration(host)).stderr(file);
        Daemon { process: Process::start(command), log }
    }

    /// What `squall cluster` shows, and its exit code.
    fn look(&self) -> (Option<i32>, Value) {
        let arguments = ["cluster", "--json", "--timeout", "90s", "--root", &self.root, "--servers"];
        let output = Command::new(SQUALL)
            .args(arguments)
            .arg(self.servers.join(","))
            .env_remove("SQUALL_CONFIG")
            .output()
            .expect("it is built");
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// The host of the nimbus that leads, and its epoch.
    fn leader(&self) -> Option<(String, u64)> {
        let (_, found) = self.look();
        let leads = |nimbus: &&Value| nimbus["leads"] == true;
        let id = found["nimbuses"].as_array()?.iter().find(leads)?["id"].as_str()?.to_owned();
        let (host, _) = id.rsplit_once('-').expect("a token follows the host");
        Some((host.to_owned(), found["epoch"].as_u64()?))
    }

    fn supervisors(&self) -> Vec<String> {
        let (_, found) = self.look();
        let of = |host: &Value| host["id"].as_str().expect("an id").to_owned();
        found["supervisors"].as_array().map(|hosts| hosts.iter().map(of).collect()).unwrap_or_default()
    }
}

impl Daemon {
    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.process.id()).expect("a pid")).expect("a pid");
        kill_process(id, signal).expect("it is a child");
    }

    /// Ends it by SIGTERM. It must end well.
    fn end(mut self) {
        self.signal(Signal::TERM);
        wait_until("the daemon ends", || self.process.ended().is_some());
        let status = self.process.ended().expect("it has ended");
        assert!(status.success(), "{status}: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("it was made")
    }
}

#[test]
fn a_cluster_forms_and_survives_the_death_of_each_daemon() {
    let servers = shared();
    let cluster = Cluster::new(&servers, &new_root());
    let (code, _) = cluster.look();
    assert_eq!(code, Some(1), "there is no cluster yet");
    let early = cluster.start("supervisor", "a");
    wait_until("the supervisor waits for a cluster", || {
        early.log().contains("no nimbus has begun the cluster")
    });
    let mut first = cluster.start("nimbus", "x");
    wait_until("the first nimbus leads", || cluster.leader() == Some(("x".to_owned(), 1)));
    let second = cluster.start("nimbus", "y");
    let mut other = cluster.start("supervisor", "b");
    wait_until("both hosts are there", || cluster.supervisors() == ["a", "b"]);
    wait_until("the second stands by", || second.log().contains("this nimbus stands by"));
    let (code, found) = cluster.look();
    assert_eq!(code, Some(0), "{found}");
    let host = &found["supervisors"][0];
    assert_eq!((&host["slots"], &host["rack"]), (&Value::from(7), &Value::from("r1")), "{host}");

    first.process.kill();
    wait_until("the second leads", || cluster.leader() == Some(("y".to_owned(), 2)));
    assert_eq!(cluster.supervisors(), ["a", "b"], "supervisors do not notice");
    other.process.kill();
    wait_until("its host is gone", || cluster.supervisors() == ["a"]);
    let other = cluster.start("supervisor", "b");
    wait_until("it is back", || cluster.supervisors() == ["a", "b"]);

    let first = cluster.start("nimbus", "x");
    wait_until("it stands by", || first.log().contains("this nimbus stands by"));
    second.end();
    assert_eq!(cluster.leader().map(|(_, epoch)| epoch).filter(|epoch| *epoch == 2), None, "it has resigned");
    wait_until("the other leads", || cluster.leader() == Some(("x".to_owned(), 3)));
    early.end();
    assert_eq!(cluster.supervisors(), ["b"], "it has left at once");
    first.end();
    other.end();
    let (code, found) = cluster.look();
    assert_eq!(code, Some(1), "nobody leads: {found}");
    let client = Client::open(&options(&servers.addresses(), &cluster.root));
    let candidates = client.children(&path("/nimbus/candidates")).expect("it answers");
    assert_eq!(candidates, Some(Vec::new()), "nothing of them is left");
}

#[test]
fn a_nimbus_that_was_stopped_does_not_lead_when_it_goes_on() {
    let servers = shared();
    let cluster = Cluster::new(&servers, &new_root());
    let mut first = cluster.start("nimbus", "x");
    wait_until("it leads", || cluster.leader() == Some(("x".to_owned(), 1)));
    let _second = cluster.start("nimbus", "y");
    first.process.freeze(true);
    wait_until("the second leads", || cluster.leader() == Some(("y".to_owned(), 2)));
    first.process.freeze(false);
    wait_until("the first stands by", || first.log().contains("this nimbus stands by"));
    assert_eq!(cluster.leader(), Some(("y".to_owned(), 2)));
}

#[test]
fn daemons_refuse_data_that_are_wiped_or_old_and_go_on_with_the_latest() {
    let mut servers = Servers::alone();
    let cluster = Cluster::new(&servers, "/squall");
    let nimbus = cluster.start("nimbus", "x");
    let supervisor = cluster.start("supervisor", "a");
    wait_until("the host is there", || cluster.supervisors() == ["a"]);
    assert_eq!(cluster.leader(), Some(("x".to_owned(), 1)));
    servers.kill_all();
    let latest = servers.copy_all();
    servers.wipe_all();
    servers.restart_all();
    for daemon in [&nimbus, &supervisor] {
        wait_until("it refuses", || daemon.log().contains("has lost its data"));
    }
    let client = Client::open(&options(&servers.addresses(), &cluster.root));
    assert_eq!(client.children(&path("/")), Ok(Some(Vec::new())), "nothing is begun");
    drop(client);
    servers.kill_all();
    servers.roll_back_all(&latest);
    servers.restart_all();
    wait_until("the nimbus leads again", || cluster.leader().is_some_and(|(host, _)| host == "x"));
    wait_until("the host is back", || cluster.supervisors() == ["a"]);
    nimbus.end();
    supervisor.end();
}

#[test]
fn what_a_daemon_remembers_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let servers = shared();
    let cluster = Cluster::new(&servers, &new_root());
    let nimbus = cluster.start("nimbus", "x");
    wait_until("it leads", || cluster.leader().is_some());
    let directory = cluster.directory.path().join("x-nimbus");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o077;
    assert_eq!(mode(&directory), 0);
    assert!(directory.join("cluster.json").exists());
    nimbus.end();
}
