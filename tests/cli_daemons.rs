//! `squall nimbus` and `squall supervisor` without a ZooKeeper. With one: tests/zookeeper/daemons.rs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
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

#[test]
fn without_a_server_they_wait_and_a_signal_ends_them_well() {
    for daemon in ["nimbus", "supervisor"] {
        let home = tempfile::tempdir().unwrap();
        let config = configuration(&home, "nimbus.id = \"n\"\nsupervisor.id = \"s\"\n");
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
        let own = if daemon == "nimbus" { "nimbus-n" } else { "supervisor-s" };
        let directory = home.path().join(".local/state/squall").join(own);
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "there is nothing to remember yet");
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
