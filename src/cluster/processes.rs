//! One worker process, as its parent sees it: it is started, exchanges messages, and is reaped.
//!
//! ```text
//!   Process::start ─▶ child: stdin = its control socket, stderr = a pipe, stdout = ours or a pipe
//!        │
//!        ├─ thread "squall-watch-N": poll(control, pidfd, wake)     ─▶ Line* · Broken? · Exited
//!        └─ threads "squall-stderr-N" and "squall-stdout-N"         ─▶ lines, to a LineSink
//! ```
//!
//! The control socket is the child's stdin, because a process can take its stdin over without `unsafe`.
//! The child's real stdin is sent over the socket (`SCM_RIGHTS`), see `Process::send_stdin`.
//!
//! 1. [`ProcessEvent::Exited`] is the last event. All that the process wrote to the control socket comes
//!    before it: once the pidfd shows that the process has ended, the watcher reads the socket empty.
//! 2. The watcher reaps a process as soon as it ends, so there are no zombies. Killing goes through the
//!    pidfd, so it never hits another process that has got the same pid.
//! 3. Sending never blocks and never fails. What the socket does not take is kept, up to `WAITING_MAX`,
//!    and the watcher writes it later. If more than that waits, the process counts as broken.
//! 4. The kernel kills the child when the *thread* that started it ends. So that thread must live as
//!    long as its workers. The master's thread does.
//! 5. The child inherits the three standard streams and no other descriptor: all descriptors of the
//!    parent are close-on-exec.

use std::ffi::OsString;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, thread};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cluster::control::{LINE_MAX, Lines};

/// Bytes that may wait until a process reads them.
const WAITING_MAX: usize = 2 * LINE_MAX;
/// How long the watcher waits for the exit of a process whose control channel has ended. The exit shows
/// the cause better than the end of the channel.
const END_SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Bytes read at once.
const PIECE: usize = 64 << 10;
/// A line of output that is longer is passed on in parts.
const OUTPUT_LINE_MAX: usize = 64 << 10;

/// Which program worker processes run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Executable {
    /// The program that this process runs, even if its file was replaced meanwhile. So a restarted
    /// worker has the same version as its parent.
    #[default]
    This,
    /// Another program, with these arguments. For tests.
    At(PathBuf, Vec<OsString>),
}

/// An event of a process, passed on by its watcher.
#[derive(Debug)]
pub enum ProcessEvent {
    /// The process wrote this line to its control channel. Without the end of the line.
    Line(Vec<u8>),
    /// The control channel cannot be used any more, for this reason. Passed on once at most.
    Broken(String),
    /// The process has ended and was reaped.
    Exited(ExitStatus),
}

/// Takes the output of a process, line by line.
pub type LineSink = Box<dyn FnMut(&str) + Send>;

/// Where the output of a process goes.
pub struct WorkerStreams {
    /// Takes its stdout. `None`: it inherits the parent's stdout.
    pub stdout: Option<LineSink>,
    /// Takes its stderr.
    pub stderr: LineSink,
}

/// A process that was started. Dropping this does not end the process; its watcher still reaps it.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    outbox: Arc<ControlOutput>,
    /// Disconnected once the threads that read its output have ended: each holds a sender.
    outputs: Receiver<()>,
}

impl Process {
    /// Starts a process. `name` is for the names of its threads in the parent. The watcher thread calls
    /// `events`.
    ///
    /// # Errors
    /// When the system refuses: no such program, or too many processes, descriptors or threads.
    pub fn start(
        executable: &Executable,
        name: &str,
        outputs: WorkerStreams,
        events: impl FnMut(ProcessEvent) + Send + 'static,
    ) -> io::Result<Process> {
        let (control, theirs) = UnixStream::pair()?;
        control.set_nonblocking(true)?;
        let outbox = Arc::new(ControlOutput::new(control)?);
        let reaped = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let mut command = command(executable)?;
        command.stdin(OwnedFd::from(theirs)).stderr(Stdio::piped());
        command.stdout(if outputs.stdout.is_some() { Stdio::piped() } else { Stdio::inherit() });
        let mut child = Reaped(Some(command.spawn()?));
        let pid = child.id();
        let pidfd = Arc::new(pidfd_open(own_pid(pid), PidfdFlags::empty())?);
        let (reading, outputs_read) = channel();
        let stderr = child.get().stderr.take().map(|pipe| (OwnedFd::from(pipe), outputs.stderr));
        let stdout = child.get().stdout.take().map(OwnedFd::from).zip(outputs.stdout);
        for (stream, (pipe, sink)) in
            [("err", stderr), ("out", stdout)].into_iter().filter_map(|(name, output)| Some((name, output?)))
        {
            let (reaped, reading) = (Arc::clone(&reaped), reading.clone());
            thread::Builder::new().name(format!("squall-std{stream}-{name}")).spawn(move || {
                read_output(&pipe, &reaped, sink);
                drop(reading);
            })?;
        }
        // The watcher thread may fail to start. Until it runs, `Reaped` kills and reaps the child.
        let watcher = Watcher { outbox: Arc::clone(&outbox), pidfd: Arc::clone(&pidfd), reaped };
        let started = thread::Builder::new().name(watcher_name(name));
        let (hand_over, taken) = channel();
        started.spawn(move || {
            if let Ok(child) = taken.recv() {
                watcher.watch(child, events);
            }
        })?;
        if let Some(child) = child.0.take() {
            // This cannot fail: the watcher thread waits for it.
            let _ = hand_over.send(child);
        }
        Ok(Process { pid, pidfd, outbox, outputs: outputs_read })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a line. Never blocks. If the process is gone, the line is dropped.
    pub fn send(&self, line: &[u8]) {
        self.outbox.push(line, None);
    }

    /// Sends a line, and with it the descriptor that becomes the stdin of the process.
    pub fn send_stdin(&self, line: &[u8], stdin: OwnedFd) {
        self.outbox.push(line, Some(stdin));
    }

    /// Waits until all output of the process was passed on, at most for this time. To be called after
    /// the process was reaped.
    pub fn wait_for_outputs(&self, at_most: Duration) {
        let _ = self.outputs.recv_timeout(at_most);
    }

    /// Kills the process. Does nothing if the process is gone.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// The command that runs `executable` as a worker of a parent.
fn command(executable: &Executable) -> io::Result<Command> {
    let mut command = program(executable)?;
    if *executable == Executable::This {
        command.arg("worker");
    }
    Ok(command)
}

/// The command that runs `executable`. Its argument 0 is the program's own name, for lists of processes.
pub(super) fn program(executable: &Executable) -> io::Result<Command> {
    match executable {
        Executable::At(path, arguments) => {
            let mut command = Command::new(path);
            command.args(arguments);
            Ok(command)
        }
        Executable::This => {
            let path = env::current_exe()?;
            // This link leads to the program that runs, even if another file has its path by now.
            let link = Path::new("/proc/self/exe");
            let mut command = Command::new(if link.exists() { link } else { &path });
            let shown = path.file_name().map_or_else(|| path.clone().into(), ToOwned::to_owned);
            command.arg0(shown);
            Ok(command)
        }
    }
}

fn own_pid(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the system gave a pid")
}

/// A child that is killed and reaped unless it is handed over.
struct Reaped(Option<Child>);

impl Reaped {
    fn get(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is taken at the end only")
    }

    fn id(&mut self) -> u32 {
        self.get().id()
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The parent's end of the control channel, with what waits to be written to it. Senders append; the
/// watcher writes.
#[derive(Debug)]
struct ControlOutput {
    control: UnixStream,
    waiting: Mutex<Waiting>,
    /// An eventfd that wakes the watcher. Readable: something was appended, or too much waits.
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Sent along with the next byte that is written, then dropped.
    stdin: Option<OwnedFd>,
    /// More than [`WAITING_MAX`] would wait. Later lines are dropped, and the next write fails.
    overflown: bool,
}

impl ControlOutput {
    fn new(control: UnixStream) -> io::Result<ControlOutput> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(ControlOutput { control, waiting: Mutex::default(), wake })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8], stdin: Option<OwnedFd>) {
        {
            let mut waiting = self.lock();
            if waiting.overflown || waiting.bytes.len() + line.len() > WAITING_MAX {
                waiting.overflown = true;
            } else {
                waiting.bytes.extend_from_slice(line);
                waiting.stdin = stdin.or(waiting.stdin.take());
            }
        }
        wake(&self.wake);
    }

    /// Writes as much as the socket takes.
    fn write(&self) -> io::Result<()> {
        let mut waiting = self.lock();
        if waiting.overflown {
            return Err(io::Error::other("it does not read what it is sent"));
        }
        let mut written = 0;
        while written < waiting.bytes.len() {
            let sent = send(&self.control, &waiting.bytes[written..], waiting.stdin.as_ref());
            match sent {
                Ok(sent) => {
                    written += sent;
                    waiting.stdin = None;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        waiting.bytes.drain(..written);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        let waiting = self.lock();
        waiting.bytes.is_empty() && !waiting.overflown
    }
}

/// Writes to a socket without blocking and without SIGPIPE. `along` is a descriptor to send along.
fn send(socket: &UnixStream, bytes: &[u8], along: Option<&OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights: Vec<BorrowedFd<'_>> = along.iter().map(|fd| fd.as_fd()).collect();
    if !rights.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(&rights));
        debug_assert!(fits, "the space is for one descriptor");
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}

fn wake(eventfd: &OwnedFd) {
    // If the counter is full, the eventfd is readable already.
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}

/// The name of the watcher thread of the process of this name.
pub(super) fn watcher_name(process: &str) -> String {
    format!("squall-watch-{process}")
}

/// The thread that watches a process: it reads and writes the control channel, and reaps the process.
struct Watcher {
    outbox: Arc<ControlOutput>,
    pidfd: Arc<OwnedFd>,
    /// An eventfd that becomes readable after the process was reaped. Then the readers of its output read
    /// what is left and end.
    reaped: Arc<OwnedFd>,
}

impl Watcher {
    fn watch(self, mut child: Child, mut events: impl FnMut(ProcessEvent)) {
        let mut lines = Lines::default();
        // Set when the channel has ended or failed. The process may still run.
        let mut broken = false;
        loop {
            let mut wanted = PollFlags::empty();
            if !broken {
                wanted |= PollFlags::IN;
                if !self.outbox.is_empty() {
                    wanted |= PollFlags::OUT;
                }
            }
            let mut fds =
                vec![PollFd::new(&*self.pidfd, PollFlags::IN), PollFd::new(&self.outbox.wake, PollFlags::IN)];
            if !broken {
                fds.push(PollFd::new(&self.outbox.control, wanted));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
            let has_ended = !fds[0].revents().is_empty();
            if !fds[1].revents().is_empty() {
                let _ = rustix::io::read(&self.outbox.wake, &mut [0; 8]);
            }
            if !broken {
                let outcome = self.outbox.write().map_err(|error| error.to_string());
                let outcome = match (self.read(&mut lines, &mut events), outcome) {
                    (Err(why), _) | (_, Err(why)) => Err(why),
                    _ => Ok(()),
                };
                if let Err(why) = outcome {
                    broken = true;
                    // The channel usually ends because the process ends, which its exit reports.
                    if !has_ended && !self.ends_soon() {
                        events(ProcessEvent::Broken(why));
                    }
                }
            }
            if has_ended {
                break;
            }
        }
        let status = child.wait();
        wake(&self.reaped);
        match status {
            Ok(status) => events(ProcessEvent::Exited(status)),
            // Another part of this program has reaped it, so its exit status is unknown.
            Err(_) => events(ProcessEvent::Exited(ExitStatus::default())),
        }
    }

    /// Whether the process ends within [`END_SOON`].
    fn ends_soon(&self) -> bool {
        let mut fds = [PollFd::new(&*self.pidfd, PollFlags::IN)];
        matches!(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&END_SOON))), Ok(1..))
    }

    /// Reads until the socket is empty. `Err` at the end of the stream, and when a line is too long.
    fn read(&self, lines: &mut Lines, events: &mut impl FnMut(ProcessEvent)) -> Result<(), String> {
        let mut piece = vec![0; PIECE];
        loop {
            match (&self.outbox.control).read(&mut piece) {
                Ok(0) => return Err("it closed its control channel".to_owned()),
                Ok(len) => lines.push(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            }
            while let Some(line) = lines.take().map_err(|error| error.to_string())? {
                events(ProcessEvent::Line(line));
            }
        }
    }
}

/// Passes on the output of a process, until the pipe ends or the process was reaped. Runs in a thread of
/// its own, because the sink may be slow, and must not delay the watcher.
fn read_output(pipe: &OwnedFd, reaped: &OwnedFd, mut sink: LineSink) {
    let _ = rustix::io::ioctl_fionbio(pipe, true);
    let mut piece = vec![0; PIECE];
    let mut pending = Vec::new();
    let mut last = false;
    loop {
        match rustix::io::read(pipe, &mut piece) {
            Ok(0) => break,
            Ok(len) => {
                pending.extend_from_slice(&piece[..len]);
                pass_lines(&mut pending, &mut sink);
            }
            Err(Errno::INTR) => {}
            // The worker is dead and the pipe is empty. A child of the worker may hold the pipe open for
            // ever, so its end is not waited for.
            Err(Errno::AGAIN) if last => break,
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(pipe, PollFlags::IN), PollFd::new(reaped, PollFlags::IN)];
                if !matches!(poll(&mut fds, None), Ok(_) | Err(Errno::INTR)) {
                    break;
                }
                last = !fds[1].revents().is_empty();
            }
            Err(_) => break,
        }
    }
    if !pending.is_empty() {
        sink(&String::from_utf8_lossy(&pending));
    }
}

fn pass_lines(pending: &mut Vec<u8>, sink: &mut LineSink) {
    let mut start = 0;
    while let Some(len) = pending[start..].iter().position(|byte| *byte == b'\n') {
        sink(String::from_utf8_lossy(&pending[start..start + len]).trim_end_matches('\r'));
        start += len + 1;
    }
    pending.drain(..start);
    if pending.len() > OUTPUT_LINE_MAX {
        sink(&String::from_utf8_lossy(pending));
        pending.clear();
    }
}

#[cfg(test)]
mod tests;
