//! What tests of commands about checkpoints share: a directory in which `squall` runs a topology, and what it prints.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use squall::ids::CheckpointId;

/// How long anything here may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// Counts words that come faster than a test looks, for longer than a test takes.
pub const WORDS: &str = r#"
[topology]
name = "words"
delivery = "exactly-once"
checkpoint = { interval = "50ms", storage = "checkpoints", retain = 3 }

[spout.words]
type = "generate"
config = { rate = 2_000, rows = [{ word = "storm" }, { word = "squall" }, { word = "storm" }] }

[bolt.count]
type = "count"
parallelism = 2
inputs = [{ from = "words", fields = ["word"] }]
config = { by = ["word"] }

[bolt.store]
type = "file"
inputs = ["count"]
config = { path = "out/counts-{task}-{seq}.jsonl" }
"#;

/// A directory in which `squall` is called.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a directory"));
        fs::write(place.path("words.toml"), WORDS).expect("it can be written");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
            command.env_remove(name);
        }
        // What a run keeps where nobody named a place for it is not to be in the home of whoever tests.
        command.current_dir(self.0.path()).env("XDG_STATE_HOME", self.path("user-state")).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a command has printed. Its exit code must be the expected one.
    #[track_caller]
    pub fn squall(&self, args: &[&str], code: i32) -> Printed {
        let output = self.command(args).output().expect("it can be started");
        let printed = Printed::of(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{}\n{}", printed.stdout, printed.stderr);
        printed
    }

    /// Starts a run, and waits until it has taken so many checkpoints.
    pub fn run_until(&self, checkpoints: u64) -> Child {
        self.run_while(&[], || self.latest() < checkpoints)
    }

    /// Starts a run with these arguments, and waits until it has taken a checkpoint, or one more.
    pub fn run_until_next(&self, args: &[&str]) -> Child {
        let before = self.latest_id();
        // A run that goes back gives later ones up first.
        self.run_while(args, || self.latest_id() <= before)
    }

    fn run_while(&self, args: &[&str], waits: impl Fn() -> bool) -> Child {
        let args = [&["run", "words.toml", "-q"], args].concat();
        let child = self.command(&args).spawn().expect("it can be started");
        let begin = Instant::now();
        while waits() {
            assert!(begin.elapsed() < PATIENCE, "no checkpoint is taken");
            std::thread::yield_now();
        }
        child
    }

    /// The number of the latest checkpoint; 0 if there is none.
    pub fn latest(&self) -> u64 {
        self.latest_id().map_or(0, |id| id.number)
    }

    fn latest_id(&self) -> Option<CheckpointId> {
        if !self.path("checkpoints").exists() {
            return None;
        }
        let listed = self.squall(&["checkpoint", "list", "checkpoints", "--json"], 0).json();
        let id = listed.as_array().and_then(|listed| listed.last()).map(|last| last["checkpoint"].clone());
        id.and_then(|id| id.as_str()?.parse().ok())
    }

    pub fn run_and_kill(&self) {
        let mut child = self.run_until(3);
        child.kill().expect("it runs");
        child.wait().expect("it was started");
    }

    /// Every file of the checkpoints with its bytes.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.path("checkpoints")).expect("it is there");
        let file = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().expect("names are text");
            (name, fs::read(entry.path()).expect("it can be read"))
        };
        entries.map(|entry| file(entry.expect("it can be read"))).collect()
    }
}

pub struct Printed {
    pub stdout: String,
    pub stderr: String,
}

impl Printed {
    pub fn of(output: &Output) -> Printed {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
        Printed { stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("it is JSON")
    }
}
