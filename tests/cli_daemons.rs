//! `squall nimbus` and `squall supervisor` without a ZooKeeper. With one: tests/zookeeper/daemons.rs.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A child that is killed if the test panics.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(daemon: &str, home: &Path, config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.arg(daemon).arg("--config").arg(config);
    command.env("HOME", home).env_remove("XDG_STATE_HOME").env_remove("SQUALL_LOG").stderr(Stdio::piped());
    command
}

/// An engine's file whose server does not listen, and more.
fn configuration(home: &TempDir, more: &str) -> std::path::PathBuf {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = home.path().join("squall.toml");
    let text = format!(
        "nimbus.listen = \"127.0.0.1:0\"\n{more}\n[zookeeper]\nservers = [\"{nobody}\"]\nsession_timeout = \"1s\"\nconnect_timeout = \"100ms\"\n"
    );
    fs::write(&file, text).unwrap();
    file
}

/// The key of a cluster in its usual place.
fn key(home: &TempDir) {
    let directory = home.path().join(".local/state/squall");
    fs::create_dir_all(&directory).unwrap();
    let file =
        fs::File::options().create_new(true).write(true).mode(0o600).open(directory.join("cluster.key"));
    file.unwrap().write_all("0123456789abcdef".repeat(4).as_bytes()).unwrap();
}

#[test]
fn a_supervisor_needs_the_key_that_a_nimbus_makes() {
    let home = tempfile::tempdir().unwrap();
    let config = configuration(&home, "");
    let output = command("supervisor", home.path(), &config).output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{messages}");
    assert!(messages.contains("there is no key of the cluster in"), "{messages}");
    assert!(messages.contains("copy the file from a host with a nimbus"), "{messages}");
    let mut nimbus = Running(command("nimbus", home.path(), &config).spawn().unwrap());
    let mut log = BufReader::new(nimbus.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    log.find(|line| line.contains("the key of the cluster was made")).expect("it makes one");
    let mut supervisor = Running(command("supervisor", home.path(), &config).spawn().unwrap());
    let mut log = BufReader::new(supervisor.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    log.find(|line| line.contains("a supervisor begins")).expect("it has the key");
}

#[test]
fn without_a_server_they_wait_and_a_signal_ends_them_well() {
    for daemon in ["nimbus", "supervisor"] {
        let home = tempfile::tempdir().unwrap();
        let config = configuration(&home, "nimbus.id = \"n\"\nsupervisor.id = \"s\"\n");
        key(&home);
        let mut running = Running(command(daemon, home.path(), &config).spawn().unwrap());
        let mut log = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let waits = log.find(|line| line.contains(&format!("this {daemon} waits"))).expect("it waits");
        assert!(waits.contains("Connection refused"), "{waits}");
        let id = Pid::from_raw(i32::try_from(running.0.id()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        // The pipe must be read, or the daemon could not log its end.
        let rest: Vec<String> = log.collect();
        assert!(rest.iter().any(|line| line.contains(&format!("this {daemon} ends"))), "{rest:?}");
        assert!(running.0.wait().unwrap().success(), "{rest:?}");
        let (own, there): (_, &[&str]) = match daemon {
            "nimbus" => ("nimbus-n", &[]),
            _ => ("supervisor-s", &["lock", "topologies"]),
        };
        let entries = fs::read_dir(home.path().join(".local/state/squall").join(own)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, there, "there is nothing to remember yet");
    }
}

#[test]
fn what_keeps_them_from_beginning_is_an_error_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let check = |more: &str, said: &str| {
        let config = configuration(&home, more);
        let output = command("nimbus", home.path(), &config).output().unwrap();
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{messages}");
        assert!(messages.contains(said), "{messages}");
    };
    check("nimbus.id = \"a b\"", "`nimbus.id`: \"a b\" is not a name");
    fs::write(home.path().join("taken"), "a file").unwrap();
    check("nimbus.directory = \"taken/below\"", "cannot make the directory");
    fs::create_dir(home.path().join("torn")).unwrap();
    fs::write(home.path().join("torn/cluster.json"), "{").unwrap();
    check("nimbus.directory = \"torn\"", "is damaged");
}
