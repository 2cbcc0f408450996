//! A PostgreSQL server of a test's own, from the packages of the system.
//!
//! 1. All its data is in a temporary directory, and it listens on a free port of the loopback interface.
//! 2. It runs as another user where the tests run as root, because PostgreSQL refuses root.
//! 3. It ends with the test, also if that panics or is killed: the kernel kills it with the thread that started it
//!    (`setpriv --pdeathsig`).

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything here may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server that ends with it.
pub struct Server {
    directory: tempfile::TempDir,
    port: u16,
    /// `max_prepared_transactions`.
    prepares: u32,
    process: Child,
}

impl Server {
    pub fn start() -> Server {
        Server::with_prepares(20)
    }

    /// A server that takes so many prepared transactions at a time.
    pub fn with_prepares(prepares: u32) -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        if rustix::process::geteuid().is_root() {
            let (user, group) = (id_of("-u"), id_of("-g"));
            chown(directory.path(), Some(user), Some(group)).expect("root may give a directory away");
        }
        let made = as_server("initdb", directory.path())
            .args(["-U", "squall", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8", "-D"])
            .arg(directory.path().join("data"))
            .output();
        let made = made.expect("initdb can be started");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let process = launch(directory.path(), port, prepares);
        let server = Server { directory, port, prepares, process };
        server.wait_until_ready();
        server
    }

    /// The setting `url`.
    pub fn url(&self) -> String {
        format!("postgres://squall@127.0.0.1:{}/postgres", self.port)
    }

    /// The same server by another name: a host of the machine, or a directory with a socket.
    pub fn url_at(&self, host: &str) -> String {
        format!("host={host} port={} user=squall dbname=postgres", self.port)
    }

    /// The directory that its socket is in.
    pub fn socket_directory(&self) -> &str {
        self.directory.path().to_str().expect("it is text")
    }

    /// Kills the server, as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("it is a child");
        self.process.wait().expect("it is a child");
        // Its processes end when they notice; until then they hold its memory.
        wait_until("the server is gone", || !answers(&self.psql("SELECT 1")));
    }

    /// Stops the server in order, without waiting for its clients (a "fast" shutdown).
    pub fn stop(&mut self) {
        let process = Pid::from_raw(i32::try_from(self.process.id()).expect("a pid")).expect("a pid");
        kill_process(process, Signal::INT).expect("it is a child");
        self.process.wait().expect("it is a child");
    }

    /// Stops all its processes in the middle of what they do, or lets them go on.
    pub fn freeze(&self, is_frozen: bool) {
        let signal = if is_frozen { Signal::STOP } else { Signal::CONT };
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("it lives");
        let ids = children.split_whitespace().filter_map(|id| id.parse().ok()).chain([id as i32]);
        for process in ids.filter_map(Pid::from_raw) {
            // A session may have ended by itself.
            let _ = kill_process(process, signal);
        }
    }

    /// Starts it again after [`kill`](Server::kill) or [`stop`](Server::stop).
    pub fn restart(&mut self) {
        self.process = launch(self.directory.path(), self.port, self.prepares);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        wait_until("the server answers", || answers(&self.psql("SELECT 1")));
    }

    /// Executes a statement, and returns its rows, a line for each, with `|` between values.
    pub fn query(&self, sql: &str) -> Vec<String> {
        let output = self.psql(sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// The only value of a statement.
    pub fn number(&self, sql: &str) -> i64 {
        let rows = self.query(sql);
        rows.first().and_then(|row| row.parse().ok()).unwrap_or_else(|| panic!("{sql}: {rows:?}"))
    }

    fn psql(&self, sql: &str) -> std::process::Output {
        let mut command = Command::new("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql]);
        command.env("PGCONNECT_TIMEOUT", "5").output().expect("psql is installed")
    }
}

/// A session that stays open, for tests with more queries than processes can be started for.
pub struct Session {
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What stands after the answer to a query.
const END_OF_ANSWER: &str = "-- end of the answer --";

impl Session {
    pub fn open(server: &Server) -> Session {
        let mut command = Command::new("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &server.url()]);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql is installed");
        let input = process.stdin.take().expect("it is a pipe");
        let lines = BufReader::new(process.stdout.take().expect("it is a pipe")).lines();
        Session { process, input, lines }
    }

    /// As [`Server::query`].
    pub fn query(&mut self, sql: &str) -> Vec<String> {
        writeln!(self.input, "{sql};\n\\echo {END_OF_ANSWER}").expect("psql reads");
        let lines = self.lines.by_ref().map(|line| line.expect("it is text"));
        let mut rows = Vec::new();
        for line in lines {
            if line == END_OF_ANSWER {
                return rows;
            }
            rows.push(line);
        }
        panic!("psql has ended at: {sql}");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn answers(output: &std::process::Output) -> bool {
    output.status.success()
}

fn launch(directory: &Path, port: u16, prepares: u32) -> Child {
    let mut command = as_server("postgres", directory);
    command.arg("-D").arg(directory.join("data")).arg("-k").arg(directory).args(["-p", &port.to_string()]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50"]);
    command.args(["-c", &format!("max_prepared_transactions={prepares}")]);
    let log = fs::File::create(directory.join("log")).expect("the directory is ours");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    command.spawn().expect("postgres can be started")
}

/// A program of the server's, as a user that it takes.
fn as_server(program: &str, directory: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
    }
    command.arg(bin().join(program)).current_dir(directory);
    command
}

/// Where the programs of the newest server are, which Debian has in no path.
fn bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let newest = versions.map(|version| version.path()).max();
    newest.expect("PostgreSQL is installed: run scripts/test-servers.sh").join("bin")
}

fn id_of(kind: &str) -> u32 {
    let output = Command::new("id").args([kind, "postgres"]).output().expect("there is `id`");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("the package makes the user postgres")
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
