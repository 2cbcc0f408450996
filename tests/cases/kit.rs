//! A directory, a run of squall in it, and what the run came to.

#![allow(dead_code, reason = "each part of the suite uses its own share")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// A run that takes longer than this is stuck. No test measures time: this is only a way out.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// A user without rights, whom files of mode 000 keep out; root reads them all the same.
const NOBODY: u32 = 65534;

/// A directory that squall runs in, removed at the end of the test.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// An empty directory that every user may enter and write to.
    pub fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("squall-case-").tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
        Place { dir }
    }

    /// The directory with these files in it; folders are made as needed.
    pub fn with(files: &[(&str, &str)]) -> Place {
        let place = Place::new();
        files.iter().for_each(|(name, text)| place.write(name, text.as_bytes()));
        place
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder");
        fs::write(path, bytes).expect("the file");
    }

    /// Lets nobody but its owner read a file.
    pub fn make_private(&self, name: &str) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// The path of a file here.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What stands in a file here.
    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `squall` with these arguments, in this directory; nothing on its standard input.
    pub fn squall(&self, args: &[&str]) -> Command {
        // With the signals of a terminal: whoever started the tests may have had some of them ignored.
        let mut command = Command::new("env");
        command.args(["--default-signal", env!("CARGO_BIN_EXE_squall")]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
            command.env_remove(name);
        }
        command.current_dir(self.dir.path()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The same by a shell, for redirections and limits; `$SQUALL` is the binary.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(self.dir.path()).args(["-c", script]);
        command.env("SQUALL", env!("CARGO_BIN_EXE_squall"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `squall` with these arguments to its end.
    pub fn run(&self, args: &[&str]) -> Ended {
        finish(self.squall(args), b"")
    }

    /// Runs `squall` with these arguments in one process, then in so many workers.
    pub fn run_both_ways(&self, args: &[&str], workers: &str) -> [Ended; 2] {
        [self.run(args), self.run(&[args, &["--workers", workers]].concat())]
    }

    /// Runs `squall` with these arguments and this standard input to its end.
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ended {
        finish(self.squall(args), input)
    }

    /// Runs `squall` as a user without rights, so that permissions count. The binary is copied here,
    /// where that user can reach it.
    pub fn run_unprivileged(&self, args: &[&str]) -> Ended {
        finish(self.unprivileged(args), b"")
    }

    /// The command of [`Place::run_unprivileged`].
    pub fn unprivileged(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.binary_for_all());
        command.args(args);
        self.without_rights(command)
    }

    /// A shell of a user without rights, for limits that root does not have; `$0` is the binary.
    pub fn shell_unprivileged(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(self.binary_for_all());
        self.without_rights(command)
    }

    /// A copy of the binary here, where every user can reach it. A process of its own makes it: a descriptor of this
    /// one that writes to it could be in a process that another test just starts, and then it cannot be executed.
    pub fn binary_for_all(&self) -> PathBuf {
        let binary = self.path("squall-under-test");
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_squall")).arg(&binary).status();
        assert!(copied.is_ok_and(|status| status.success()), "a copy of the binary");
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("permissions");
        binary
    }

    fn without_rights(&self, mut command: Command) -> Command {
        command.current_dir(self.dir.path()).env("HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if is_root() {
            command.gid(NOBODY).uid(NOBODY);
        }
        command
    }

    /// Sets the mode of a file here.
    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("permissions");
    }
}

fn is_root() -> bool {
    // The owner of the process's own entry is its effective user.
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("/proc is there")) == 0
}

/// What a run came to.
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Ended {
    /// Fails the test unless the run ended with this exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Ended {
        assert_eq!(self.code, Some(code), "{}", self.all());
        self
    }

    /// Fails the test unless standard error has this text.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Ended {
        assert!(self.stderr.contains(text), "`{text}` is missing in\n{}", self.all());
        self
    }

    /// Fails the test unless standard output is exactly these lines, in whatever order.
    #[track_caller]
    pub fn prints(&self, lines: &[&str]) -> &Ended {
        let (mut found, mut expected): (Vec<&str>, Vec<&str>) =
            (self.stdout.lines().collect(), lines.to_vec());
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}", self.all());
        self
    }

    /// The summary of a run with `--json`.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("no summary in\n{}", self.all()));
        let line: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("no summary: {last}"));
        line.get("summary").unwrap_or_else(|| panic!("no summary: {last}")).clone()
    }

    /// Both streams, for messages of failed tests.
    pub fn all(&self) -> String {
        format!("exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs a command to its end with this standard input (none if empty), and kills it when it is stuck.
#[track_caller]
pub fn finish(mut command: Command, input: &[u8]) -> Ended {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().expect("it starts");
    let writer = child.stdin.take().map(|mut stdin| {
        let input = input.to_vec();
        // A program that does not read its standard input closes it early, which is its right.
        thread::spawn(move || drop(stdin.write_all(&input)))
    });
    let ended = wait(child);
    writer.into_iter().for_each(|writer| writer.join().expect("the writer ends"));
    ended
}

/// Waits for a child, and kills it when it is stuck.
#[track_caller]
pub fn wait(child: Child) -> Ended {
    let pid = child.id().to_string();
    let (ended, wait) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let output = child.wait_with_output().expect("its output");
        let _ = ended.send(());
        output
    });
    let stuck = wait.recv_timeout(DEADLINE).is_err();
    if stuck {
        send_signal("KILL", &pid);
    }
    let ended = Ended::from(waiter.join().expect("the waiter ends"));
    assert!(!stuck, "stuck:\n{}", ended.all());
    ended
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// Sends a signal, by its name without SIG, to a process.
pub fn send_signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", name, pid]).status().expect("kill is there").success());
}

/// Waits until a file here has at least so many bytes.
#[track_caller]
pub fn wait_for_file(path: &Path, bytes: u64) {
    wait_until(&format!("{} to have {bytes} bytes", path.display()), || {
        fs::metadata(path).is_ok_and(|file| file.len() >= bytes)
    });
}

/// Waits until the condition holds; a run that takes longer than [`DEADLINE`] is stuck.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "in vain waited for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
