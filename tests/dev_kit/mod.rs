//! What tests of clusters share: `squall dev` in a directory of its own, and the processes of its topologies.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Nobody is taken for dead because the machine is busy. Secrets are in the directory `secrets` of the cluster.
const ENGINE: &str = "worker.heartbeat_timeout = \"180s\"\nnet.silence = \"180s\"\nnet.link_lost = \"180s\"\n\
                      secrets.directory = \"secrets\"\n";

/// `squall` with these arguments, as from a shell whose variables say nothing about it.
pub fn squall(args: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_squall")]).args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A cluster, and the directory that it has.
pub struct DevCluster {
    directory: tempfile::TempDir,
    pub process: Option<Child>,
    pub address: String,
}

impl DevCluster {
    pub fn new() -> DevCluster {
        let directory = tempfile::tempdir().expect("a directory");
        let mut cluster = DevCluster { directory, process: None, address: String::new() };
        cluster.start();
        cluster
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts `squall dev`, and waits until it is ready.
    pub fn start(&mut self) {
        let (engine, data) = (self.path("engine.toml"), self.path("data"));
        fs::write(&engine, ENGINE).expect("it is written");
        let mut command = squall(&["dev", "--listen", "127.0.0.1:0", "--log", "info"]);
        command.arg("--directory").arg(&data).arg("--config").arg(&engine);
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = process.stderr.take().expect("it is piped");
        self.process = Some(process);
        let log = self.path("dev.log");
        let (ready, wait) = channel();
        thread::spawn(move || {
            let mut kept = fs::File::options().create(true).append(true).open(log).expect("it is made");
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = writeln!(kept, "{line}");
                if let Some((_, rest)) = line.split_once("supervisors runs on ") {
                    let _ = ready.send(rest.split(',').next().unwrap_or_default().to_owned());
                }
            }
        });
        self.address = wait.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not ready:\n{}", self.logs()));
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.ask(&mut squall(args))
    }

    /// The same with another program.
    pub fn ask(&self, command: &mut Command) -> Output {
        command.args(["--nimbus", &self.address]).stdin(Stdio::null()).output().expect("it runs")
    }

    #[track_caller]
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {text}{errors}\n{}", self.logs());
        text
    }

    /// Writes a document, in which `DIR` stands for the directory of the test.
    pub fn document(&self, name: &str, text: &str) -> String {
        let text = text.replace("DIR", self.directory.path().to_str().expect("it is UTF-8"));
        let file = self.path(name);
        fs::write(&file, text).expect("it is written");
        file.to_str().expect("it is UTF-8").to_owned()
    }

    /// The rows of files below `DIR/out` that are published and whose names begin like this, as numbers.
    pub fn rows(&self, name: &str) -> Vec<Vec<u64>> {
        let mut rows = Vec::new();
        for entry in fs::read_dir(self.path("out")).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            if file.starts_with(name) && file.ends_with(".csv") {
                let text = fs::read_to_string(entry.path()).expect("it is text");
                let numbers =
                    text.lines().map(|line| line.split(',').map_while(|part| part.parse().ok()).collect());
                rows.extend(numbers.filter(|row: &Vec<u64>| !row.is_empty()));
            }
        }
        rows
    }

    /// The processes of topologies, by their private directories.
    pub fn processes(&self) -> Vec<(PathBuf, i32)> {
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

    /// The process with a private directory of this name.
    pub fn pid_of(&self, name: &str) -> Option<i32> {
        let is_it = |(directory, _): &&(PathBuf, i32)| directory.ends_with(name);
        self.processes().iter().find(is_it).map(|(_, pid)| *pid)
    }

    pub fn kill(&self, pid: i32) {
        let _ = kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
    }

    /// Ends the cluster as Ctrl-C does.
    pub fn interrupt(&mut self) {
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

    pub fn logs(&self) -> String {
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

impl Drop for DevCluster {
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
