//! `squall run --workers` as people run it: whatever is killed, nobody is left behind.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::processes::{
    self, Handle, MARK, connections, descriptor_targets, descriptors, marked, marked_children, threads,
};
use crate::round::{fresh_dir, patiently};

/// What takes no time, and has not come true after so long, never will.
const SOON: Duration = Duration::from_secs(120);
/// How long the parent waits for a word of a worker. Longer than usual, so that nobody is replaced
/// because the machine is busy.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(4);

/// A parent and its workers.
pub struct Family {
    child: Child,
    mark: String,
    dir: PathBuf,
    workers: u16,
}

fn document(dir: &Path, workers: u16) -> String {
    let dir = dir.display();
    format!(
        r#"
topology.name = "family"
spout.source = {{ type = "generate", parallelism = {workers}, config = {{ rate = 1000, fields = {{ n = "{{seq}}" }} }} }}
bolt.pass = {{ type = "project", parallelism = {workers}, inputs = ["source"], config = {{ fields = ["n"] }} }}
bolt.sink = {{ type = "file", parallelism = {workers}, inputs = ["pass"], config = {{ path = "{dir}/out/{{task}}-{{seq}}.txt" }} }}
"#
    )
}

impl Family {
    /// Starts one, in a process group of its own.
    pub fn start(name: &str, workers: u16) -> Family {
        let dir = fresh_dir(name);
        let mark = format!("{}-{}", std::process::id(), dir.display());
        fs::write(dir.join("family.toml"), document(&dir, workers)).expect("it can be written");
        let engine = format!("worker.heartbeat_timeout = '{}s'\n", HEARTBEAT_TIMEOUT.as_secs());
        fs::write(dir.join("squall.toml"), engine).expect("it can be written");
        let log = File::create(dir.join("stderr.log")).expect("it can be written");
        let summary = File::create(dir.join("summary.json")).expect("it can be written");
        // With the signals of a terminal: whoever started the tests may have had some of them ignored.
        let mut command = Command::new("env");
        command.args(["--default-signal", env!("CARGO_BIN_EXE_squall")]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
            command.env_remove(name);
        }
        command.env(MARK, &mark).arg("run").arg(dir.join("family.toml"));
        command.args(["--json", "--workers", &workers.to_string()]).process_group(0);
        command.arg("--config").arg(dir.join("squall.toml"));
        command.stdin(Stdio::null()).stdout(summary).stderr(log);
        let child = command.spawn().expect("the program was built");
        Family { child, mark, dir, workers }
    }

    /// The parent.
    pub fn parent(&self) -> u32 {
        self.child.id()
    }

    /// The workers that run.
    pub fn worker_pids(&self) -> Vec<u32> {
        marked_children(&self.mark, self.parent())
    }

    fn handle(&self, pid: u32) -> Option<Handle> {
        Handle::of_marked(pid, &self.mark)
    }

    /// Waits until all workers are there and rows are written.
    pub fn is_at_work(&self) -> bool {
        let before = self.written();
        patiently(SOON, || self.worker_pids().len() == usize::from(self.workers) && self.written() > before)
    }

    fn written(&self) -> u64 {
        let entries = fs::read_dir(self.dir.join("out")).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// Sends the parent a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(parent) = self.handle(self.parent()) {
            parent.signal(signal);
        }
    }

    /// Sends all of them a signal, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, signal);
    }

    /// How the parent ended, if it did in time.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let mut status = None;
        patiently(SOON, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status
    }

    /// How many workers were replaced, as the summary of a run that has ended in order says.
    pub fn restarts(&self) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join("summary.json")).ok()?;
        let line: serde_json::Value = serde_json::from_str(text.lines().last()?).ok()?;
        line["summary"]["workers"]["restarts"].as_u64()
    }

    /// Those that do not go.
    pub fn left_behind(&self) -> Vec<u32> {
        patiently(SOON, || marked(&self.mark).is_empty());
        marked(&self.mark).into_iter().collect()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in marked(&self.mark) {
            if let Some(process) = self.handle(pid) {
                process.signal(Signal::KILL);
            }
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Kills workers one after another; says what the parent and the one that was spared have more of
/// than before.
pub fn leaks(workers: u16, kills: u64) -> Vec<String> {
    let family = Family::start("leaks", workers);
    assert!(family.is_at_work(), "it never got to work");
    let spared = family.worker_pids()[0];
    let those = [("the parent", family.parent()), ("the worker that was spared", spared)];
    // To each of the others and from each of them: then nothing is still on its way.
    let links = 2 * (usize::from(workers) - 1);
    assert!(patiently(SOON, || connections(spared) == links), "it never was connected to all");
    let before = those.map(|(_, pid)| (descriptors(pid), threads(pid)));
    let targets = those.map(|(_, pid)| descriptor_targets(pid));
    let mut wrong = Vec::new();
    for nth in 0..kills {
        let others: Vec<u32> = family.worker_pids().into_iter().filter(|pid| *pid != spared).collect();
        let victim = others[nth as usize % others.len()];
        family.handle(victim).map(|worker| worker.signal(Signal::KILL));
        if !patiently(SOON, || !family.worker_pids().contains(&victim)) || !family.is_at_work() {
            wrong.push(format!("it was not at work again after kill {nth}"));
            return wrong;
        }
    }
    for (nth, (who, pid)) in those.into_iter().enumerate() {
        let now = || (descriptors(pid), threads(pid));
        let is_flat = || now().0 <= before[nth].0 && now().1 <= before[nth].1 && now().0 > 0;
        if !patiently(SOON, is_flat) {
            wrong.push(format!(
                "LEAK: {who} had (descriptors, threads) {:?}, and has {:?} after {kills} kills: {:?}, before {:?}",
                before[nth],
                now(),
                descriptor_targets(pid),
                targets[nth],
            ));
        }
    }
    println!(
        "leaks: {kills} kills; (descriptors, threads) of parent and spared worker {before:?} before, {:?} after",
        those.map(|(_, pid)| (descriptors(pid), threads(pid)))
    );
    wrong
}

/// Whether a process that was found is still the same one.
pub fn is_running(pid: u32) -> bool {
    processes::parent_of(pid).is_some()
}
