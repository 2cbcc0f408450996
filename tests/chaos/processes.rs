//! Looking at processes, and doing things to them that a machine does.
//!
//! 1. A process is signalled through a pidfd, and only if it is a child of who asks, or was found by
//!    the mark of this run: a pid alone may be somebody else's by now.
//! 2. What is not possible here (no root, no tool, no cgroup) is said, never passed over in silence.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A variable in the environment of every process of a run, by which they are found.
pub const MARK: &str = "SQUALL_CHAOS_MARK";

/// A process that was there when it was looked up.
#[derive(Debug)]
pub struct Handle {
    /// Its number.
    pub pid: u32,
    pidfd: OwnedFd,
}

impl Handle {
    /// The process of this number, if it is ours: a child of this process.
    pub fn of_child(pid: u32) -> Option<Handle> {
        Handle::open(pid).filter(|_| parent_of(pid) == Some(std::process::id()))
    }

    /// The process of this number, if it carries this mark.
    pub fn of_marked(pid: u32, mark: &str) -> Option<Handle> {
        Handle::open(pid).filter(|_| is_marked(pid, mark))
    }

    /// What is checked after this is checked of the process that the descriptor means: a number is
    /// not given away while a descriptor holds it.
    fn open(pid: u32) -> Option<Handle> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        Some(Handle { pid, pidfd })
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        let mut polled = [PollFd::new(&self.pidfd, PollFlags::IN)];
        !matches!(poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1))
    }

    /// Sends a signal; says whether there was somebody to get it.
    pub fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.pidfd, signal).is_ok()
    }
}

/// A line of `/proc/PID/status`, as a number: `VmHWM` and so on, in KiB.
pub fn status(pid: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields of `/proc/PID/stat` behind the name, which may hold anything: state, parent, and so on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// The parent of a process that runs; nobody's of one that is only to be reaped.
pub fn parent_of(pid: u32) -> Option<u32> {
    let stat = stat(pid)?;
    if stat[0] == "Z" { None } else { stat[1].parse().ok() }
}

/// How many descriptors it has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How many threads it has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// What its descriptors lead to, for whoever looks for a leak.
pub fn descriptor_targets(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let targets = entries.filter_map(Result::ok).filter_map(|entry| fs::read_link(entry.path()).ok());
    let mut targets: Vec<String> = targets.map(|target| target.to_string_lossy().into_owned()).collect();
    targets.sort();
    targets
}

/// How many of its descriptors are established TCP connections.
pub fn connections(pid: u32) -> usize {
    let targets = descriptor_targets(pid);
    let is_its_own = |inode: &&str| targets.contains(&format!("socket:[{inode}]"));
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")));
    let lines: Vec<String> = tables
        .into_iter()
        .flatten()
        .flat_map(|table| table.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let established = lines.iter().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (columns.get(3) == Some(&"01")).then(|| columns.get(9).copied()).flatten()
    });
    established.filter(is_its_own).count()
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn is_marked(pid: u32, mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|variables| {
        variables.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    })
}

/// All processes that carry a mark and run, zombies not counted.
pub fn marked(mark: &str) -> BTreeSet<u32> {
    all_pids().filter(|pid| is_marked(*pid, mark) && parent_of(*pid).is_some()).collect()
}

/// Those of them whose parent this is.
pub fn marked_children(mark: &str, parent: u32) -> Vec<u32> {
    marked(mark).into_iter().filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Kills live TCP connections by `ss -K`.
pub struct Resetter;

impl Resetter {
    /// If this machine has it.
    ///
    /// # Errors
    /// Why not.
    pub fn find() -> Result<Resetter, String> {
        if !is_root() {
            return Err("connections are reset by `ss -K`, which takes root".to_owned());
        }
        let found = Command::new("ss").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Err("connections are reset by `ss -K`, and there is no `ss`".to_owned());
        }
        // One of its own shows whether the kernel does it.
        let tried = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            let address = listener.local_addr()?;
            let _connection = TcpStream::connect(address)?;
            Ok(Resetter.reset(address.port()))
        });
        match tried {
            Ok(closed) if closed > 0 => Ok(Resetter),
            _ => Err("connections are reset by `ss -K`, and this kernel does not do it".to_owned()),
        }
    }

    /// Resets all connections to or from a port of loopback; says how many ends of them there were.
    pub fn reset(&self, port: u16) -> usize {
        let (from, to) = (format!("sport = :{port}"), format!("dport = :{port}"));
        let filter = ["(", &from, "or", &to, ")"];
        let mut command = Command::new("ss");
        command.args(["-K", "-H", "-t", "state", "established"]).args(filter);
        // It lists what it closed, a line each.
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
        output.map_or(0, |output| String::from_utf8_lossy(&output.stdout).lines().count())
    }
}

/// A memory cgroup (v1) below this process's own, for one worker. Dropped, it goes away, and whoever
/// is in it goes back to where this process is.
#[derive(Debug)]
pub struct Cell {
    path: PathBuf,
}

impl Cell {
    /// A cell with a limit in bytes.
    ///
    /// # Errors
    /// Why there cannot be one on this machine.
    pub fn new(name: &str, limit: u64) -> Result<Cell, String> {
        if !is_root() {
            return Err("a memory limit takes root".to_owned());
        }
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let own = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            controllers.split(',').any(|controller| controller == "memory").then_some(parts.next()?)
        });
        let own = own.ok_or("there is no memory controller of cgroup v1")?;
        let path = PathBuf::from(format!("/sys/fs/cgroup/memory{own}")).join(name);
        fs::create_dir(&path).map_err(|error| format!("no cgroup can be made: {error}"))?;
        let cell = Cell { path };
        fs::write(cell.path.join("memory.limit_in_bytes"), limit.to_string())
            .map_err(|error| format!("no memory limit can be set: {error}"))?;
        Ok(cell)
    }

    /// Puts a process into it: what it allocates from now on counts.
    ///
    /// # Errors
    /// When the system refuses, or it is gone.
    pub fn take(&self, process: &Handle) -> Result<(), String> {
        fs::write(self.path.join("cgroup.procs"), process.pid.to_string()).map_err(|error| error.to_string())
    }

    /// Lowers the limit to what its processes use now, so that their next allocation exceeds it.
    pub fn tighten(&self) {
        let used = fs::read_to_string(self.path.join("memory.usage_in_bytes")).unwrap_or_default();
        if used.trim() != "0" {
            // The kernel may refuse; it is tried again at the next look.
            let _ = fs::write(self.path.join("memory.limit_in_bytes"), used.trim());
        }
    }

    /// How many processes in it were killed because there was no more memory.
    pub fn killed(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.oom_control")).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
        count.unwrap_or(0)
    }

    /// Lets go of whoever is in it, and takes it down.
    pub fn open(self) {}
}

impl Drop for Cell {
    fn drop(&mut self) {
        // A process that has just died may hold it a moment longer.
        crate::kit::wait_until("the cgroup is empty", || {
            let inside = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
            let outside = self.path.parent().expect("it was made in one").join("cgroup.procs");
            inside.lines().for_each(|pid| drop(fs::write(&outside, pid)));
            fs::remove_dir(&self.path).is_ok() || !self.path.exists()
        });
    }
}
