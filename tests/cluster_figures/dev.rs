//! A cluster of `squall dev` with a topology that writes numbers to files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);

/// Of the sink.
const TASKS: usize = 3;

const NUMBERS: &str = r#"
[topology]
name = "numbers"
workers = 3
[spout.numbers]
type = "generate"
config = { rate = 2000, fields = { n = "{seq}" } }
[bolt.same]
type = "map"
parallelism = 3
inputs = ["numbers"]
config.set = { n = "n" }
[bolt.store]
type = "file"
parallelism = 3
inputs = [{ from = "same", fields = ["n"] }]
config = { path = "DIR/out-{task}", format = "text" }
"#;

/// See the module.
pub struct Cluster {
    directory: tempfile::TempDir,
    process: Option<Child>,
    address: String,
    pub ready_after: Duration,
}

impl Cluster {
    pub fn new() -> Cluster {
        let directory = tempfile::tempdir().expect("a directory");
        let mut cluster =
            Cluster { directory, process: None, address: String::new(), ready_after: Duration::ZERO };
        cluster.start();
        cluster
    }

    fn start(&mut self) {
        let begin = Instant::now();
        // Each death counts as the first, which has no pause.
        let (engine, data) = (self.directory.path().join("engine.toml"), self.directory.path().join("data"));
        fs::write(&engine, "worker.restart_reset = \"1s\"\n").expect("it is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
        command.args(["dev", "--listen", "127.0.0.1:0"]);
        command.arg("--directory").arg(&data).arg("--config").arg(&engine);
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = process.stderr.take().expect("it is piped");
        self.process = Some(process);
        let (ready, wait) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("supervisors runs on ") {
                    let _ = ready.send(rest.split(',').next().unwrap_or_default().to_owned());
                }
            }
        });
        self.address = wait.recv_timeout(PATIENCE).expect("it is ready");
        self.ready_after = begin.elapsed();
    }

    /// Kills nimbus, the supervisors and the coordination, and starts them again.
    pub fn restart_daemons(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it is ours");
        process.wait().expect("it is ours");
        self.start();
    }

    pub fn done(&self, args: &[&str]) {
        let output =
            Command::new(env!("CARGO_BIN_EXE_squall")).args(args).args(["--nimbus", &self.address]).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn submit(&self) {
        let file = self.directory.path().join("topology.toml");
        let place = self.directory.path().to_str().expect("it is UTF-8");
        fs::write(&file, NUMBERS.replace("DIR", place)).expect("it is written");
        self.done(&["submit", file.to_str().expect("it is UTF-8"), "--no-wait"]);
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).expect("it is there").flatten();
        let is_output =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("out-"));
        entries.map(|entry| entry.path()).filter(is_output).collect()
    }

    /// How many bytes each task has written. A task that was killed goes on in another file.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0; TASKS];
        for file in self.files() {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let task = name["out-".len()..].chars().next().and_then(|digit| digit.to_digit(10));
            let len = fs::metadata(&file).map_or(0, |found| found.len());
            if let Some(size) = task.and_then(|task| sizes.get_mut(task as usize)) {
                *size += len;
            }
        }
        sizes
    }

    fn lines(&self) -> Vec<u64> {
        let texts = self.files().into_iter().map(|file| fs::read_to_string(file).unwrap_or_default());
        let lines =
            |text: String| -> Vec<u64> { text.lines().filter_map(|line| line.parse().ok()).collect() };
        texts.flat_map(lines).collect()
    }

    pub fn wait_for_lines(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines().len() < count {
            assert!(Instant::now() < deadline, "no lines come");
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn forget_lines(&self) {
        self.files().into_iter().for_each(|file| fs::remove_file(file).expect("it is ours"));
    }

    /// The longest time within `window` in which a task has written nothing.
    pub fn longest_pause(&self, window: Duration) -> Duration {
        let begin = Instant::now();
        let mut last: Vec<(u64, Instant)> = self.sizes().into_iter().map(|size| (size, begin)).collect();
        let mut longest = Duration::ZERO;
        // A pause that has begun is followed to its end.
        while begin.elapsed() < window || last.iter().any(|(_, at)| at.elapsed() > Duration::from_millis(200))
        {
            assert!(begin.elapsed() < PATIENCE, "a task does not write any more");
            for (size, (before, at)) in self.sizes().into_iter().zip(&mut last) {
                if size != *before {
                    longest = longest.max(at.elapsed());
                    (*before, *at) = (size, Instant::now());
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        longest
    }

    /// How many different numbers are written in a second.
    pub fn rate(&mut self, window: Duration) -> f64 {
        self.rate_while(window, |_| {})
    }

    pub fn rate_while(&mut self, window: Duration, act: impl FnOnce(&mut Cluster)) -> f64 {
        let (before, begin) = (self.lines().len(), Instant::now());
        act(self);
        thread::sleep(window.saturating_sub(begin.elapsed()));
        let took = begin.elapsed();
        (self.lines().len() - before) as f64 / took.as_secs_f64()
    }

    pub fn check_that_nothing_is_missing(&self) {
        let mut numbers = self.lines();
        numbers.sort_unstable();
        numbers.dedup();
        let last = *numbers.last().expect("something was written");
        println!("{:60} {} of {}", "numbers that were emitted and are in a file", numbers.len(), last + 1);
    }

    /// The masters or workers, by their private directories.
    pub fn processes(&self, what: &str) -> Vec<(PathBuf, i32)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("it is there").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<&str> = line.split('\0').collect();
            let Some(at) = words.iter().position(|word| *word == "--directory") else { continue };
            let ours = words.get(at + 1).filter(|word| Path::new(word).starts_with(self.directory.path()));
            if let Some(directory) = ours.filter(|_| words[at - 1] == what) {
                found.push((PathBuf::from(directory), pid));
            }
        }
        found.sort();
        found
    }

    /// The same, once there is one.
    pub fn wait_for_processes(&self, what: &str) -> Vec<(PathBuf, i32)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.processes(what);
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < deadline, "there is no {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn kill(&self, pid: i32) {
        kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it lives");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            for (directory, pid) in self.processes("worker").into_iter().chain(self.processes("master")) {
                let log = fs::read_to_string(directory.join("worker.log")).unwrap_or_default();
                eprintln!("== {}, process {pid}\n{log}", directory.display());
            }
        }
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        for (_, pid) in self.processes("worker").into_iter().chain(self.processes("master")) {
            let _ = kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
        }
    }
}
