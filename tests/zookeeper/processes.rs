//! Processes that end with the test.
//!
//! A process that is dropped is killed, also when the test panics. When the test process itself is killed, the kernel
//! kills its children (`setpriv --pdeathsig`). The kernel does that when the *thread* ends that started the child, so
//! one thread starts all of them and lives as long as the process: a server may outlive the test that started it.

use std::env;
use std::io::{self, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// A child that is killed when it is dropped.
pub struct Process {
    child: Child,
    is_frozen: bool,
}

impl Process {
    /// Starts a program that dies with this process. See [`dying_with_us`].
    pub fn start(command: Command) -> Process {
        let what = format!("{command:?}");
        let child = spawn(command).unwrap_or_else(|error| panic!("{what}: {error}"));
        Process { child, is_frozen: false }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is a child")
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is a child");
        self.child.wait().expect("it is a child");
    }

    /// Stops it in the middle of what it does, or lets it go on.
    pub fn freeze(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(id, if is_frozen { Signal::STOP } else { Signal::CONT }).expect("it is a child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command for [`Process::start`].
pub fn dying_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// Runs a test in a process of its own, so that what the whole process has or does can be counted. `test` is its name,
/// with its module.
pub fn in_own_process(test: &str, body: impl FnOnce()) {
    const NAME: &str = "SQUALL_TEST_OF_THIS_PROCESS";
    if env::var_os(NAME).is_some_and(|name| name == test) {
        return body();
    }
    let program = env::current_exe().expect("it runs");
    let mut command = dying_with_us(program.to_str().expect("its path is text"));
    command.args([test, "--exact", "--nocapture"]).env(NAME, test).stdin(Stdio::null());
    let (mut output, writes) = io::pipe().expect("a pipe");
    command.stdout(writes.try_clone().expect("a descriptor")).stderr(writes);
    let mut process = Process::start(command);
    let mut said = String::new();
    output.read_to_string(&mut said).expect("a pipe");
    let status = process.child.wait().expect("it is a child");
    assert!(status.success() && said.contains("1 passed"), "{said}");
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts the command in the thread that starts all.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, ordered) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, started) in ordered {
                let _ = started.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (started, child) = mpsc::channel();
    STARTER.lock().expect("nothing panics with it").send((command, started)).expect("the thread lives");
    child.recv().expect("the thread answers")
}
