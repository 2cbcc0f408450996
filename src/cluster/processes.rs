//! One worker process, as its parent sees it: started, spoken to, listened to, reaped.
//!
//! ```text
//!   Process::start ─▶ child: stdin = its end of the control socket, stderr = a pipe, stdout = ours or a pipe
//!        │
//!        ├─ thread "squall-watch-N": poll(control, pidfd, wake)     ─▶ Line* · Broken? · Exited
//!        └─ threads "squall-stderr-N" and "squall-stdout-N"         ─▶ lines, to whoever wants them
//! ```
//!
//! The control socket is the child's stdin because a process can take that over without `unsafe`;
//! what is to be the child's real stdin travels over the socket (`SCM_RIGHTS`), see `Process::send_stdin`.
//!
//! 1. [`ProcessEvent::Exited`] is the last event, and what the process said before stands before it:
//!    the watcher empties the socket once the pidfd says that nobody writes any more.
//! 2. A process is reaped by its watcher, at once. There are no zombies, and a pid that is killed is
//!    never somebody else's, because killing goes through the pidfd.
//! 3. Sending never blocks and never fails: what the socket does not take is kept, up to
//!    `WAITING_MAX`, and written by the watcher. A process that reads nothing for so long is broken.
//! 4. The kernel kills the child when the *thread* that started it ends: that thread must live as long
//!    as its workers. The master's does.
//! 5. Nothing but the three standard streams reaches the child: every descriptor of ours is
//!    close-on-exec.

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

/// Bytes that may wait for a process to read them.
const WAITING_MAX: usize = 2 * LINE_MAX;
/// A process that closes its control channel is on its way out: its exit says more.
const END_SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Bytes read in one go.
const PIECE: usize = 64 << 10;
/// A line of output that is longer is passed on in parts.
const OUTPUT_LINE_MAX: usize = 64 << 10;

/// Which program worker processes run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Executable {
    /// The program that this process runs, also when its file was replaced meanwhile: a restarted
    /// worker is of the same version as its parent.
    #[default]
    This,
    /// Another one, with these arguments. For tests.
    At(PathBuf, Vec<OsString>),
}

/// What is to be told of a process.
#[derive(Debug)]
pub enum ProcessEvent {
    /// It said this, without the end of the line.
    Line(Vec<u8>),
    /// Nothing sensible can be said or heard any more, for this reason. Said once.
    Broken(String),
    /// It has ended and was reaped.
    Exited(ExitStatus),
}

/// Who hears what a process writes, line by line.
pub type LineSink = Box<dyn FnMut(&str) + Send>;

/// Where what a process writes goes.
pub struct WorkerStreams {
    /// `None`: it has our stdout.
    pub stdout: Option<LineSink>,
    /// Its complaints.
    pub stderr: LineSink,
}

/// A process that was started. Dropping it leaves it alone; its watcher reaps it all the same.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    outbox: Arc<ControlOutput>,
    /// Ends when its readers have.
    outputs: Receiver<()>,
}

impl Process {
    /// Starts a process. `name` is for its threads in the parent; `events` is called by the watcher.
    ///
    /// # Errors
    /// When the system refuses: no such program, too many processes, descriptors or threads.
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
        // The thread could fail to start; until it runs, the child is ours to reap.
        let watcher = Watcher { outbox: Arc::clone(&outbox), pidfd: Arc::clone(&pidfd), reaped };
        let started = thread::Builder::new().name(watcher_name(name));
        let (hand_over, taken) = channel();
        started.spawn(move || {
            if let Ok(child) = taken.recv() {
                watcher.watch(child, events);
            }
        })?;
        if let Some(child) = child.0.take() {
            // The receiver waits for it.
            let _ = hand_over.send(child);
        }
        Ok(Process { pid, pidfd, outbox, outputs: outputs_read })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a line. Never blocks; nobody hears it if the process is gone.
    pub fn send(&self, line: &[u8]) {
        self.outbox.push(line, None);
    }

    /// Sends a line with a descriptor: what is to be its stdin.
    pub fn send_stdin(&self, line: &[u8], stdin: OwnedFd) {
        self.outbox.push(line, Some(stdin));
    }

    /// Waits until all it wrote was taken, at most so long. It must have been reaped.
    pub fn wait_for_outputs(&self, at_most: Duration) {
        let _ = self.outputs.recv_timeout(at_most);
    }

    /// Ends it at once, whatever it does. Harmless if it is gone.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// The program of `executable`, under the name that it goes by in lists of processes.
fn command(executable: &Executable) -> io::Result<Command> {
    match executable {
        Executable::At(path, arguments) => {
            let mut command = Command::new(path);
            command.args(arguments);
            Ok(command)
        }
        Executable::This => {
            let path = env::current_exe()?;
            // The link leads to the program itself, not to whatever has its name by now.
            let link = Path::new("/proc/self/exe");
            let mut command = Command::new(if link.exists() { link } else { &path });
            let shown = path.file_name().map_or_else(|| path.clone().into(), ToOwned::to_owned);
            command.arg0(shown).arg("worker");
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

/// What waits to be written to a process.
#[derive(Debug)]
struct ControlOutput {
    control: UnixStream,
    waiting: Mutex<Waiting>,
    /// Readable: there is something to write, or to look at.
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Goes with the first byte that is written from now on.
    stdin: Option<OwnedFd>,
    /// More waits than may; everything else is dropped.
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

    /// Writes what the socket takes.
    fn write(&self) -> io::Result<()> {
        let mut waiting = self.lock();
        if waiting.overflown {
            return Err(io::Error::other("it reads nothing of what it is told"));
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

/// Writes to a socket without blocking and without a signal; a descriptor may go along.
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
    // Full is as good as woken.
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}

/// The name of the thread that looks after the process of this name.
pub(super) fn watcher_name(process: &str) -> String {
    format!("squall-watch-{process}")
}

/// The thread that looks after a process.
struct Watcher {
    outbox: Arc<ControlOutput>,
    pidfd: Arc<OwnedFd>,
    /// Tells the readers of its outputs that nothing more comes.
    reaped: Arc<OwnedFd>,
}

impl Watcher {
    fn watch(self, mut child: Child, mut events: impl FnMut(ProcessEvent)) {
        let mut lines = Lines::default();
        // Set when reading or writing has come to its end; the process may still be there.
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
                    // The end of the socket mostly belongs to the end of the process.
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
            // Somebody else reaped it: it is gone, and nobody knows how.
            Err(_) => events(ProcessEvent::Exited(ExitStatus::default())),
        }
    }

    /// Whether the process ends within [`END_SOON`].
    fn ends_soon(&self) -> bool {
        let mut fds = [PollFd::new(&*self.pidfd, PollFlags::IN)];
        matches!(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&END_SOON))), Ok(1..))
    }

    /// Reads until nothing is there at the moment. `Err` at the end, and when it is no conversation.
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

/// Passes on what a process writes, until it ends or is reaped. A thread of its own, because whoever
/// takes the lines may be slow, and nothing else must be.
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
            // A grandchild may hold the pipe open for ever; the worker is dead and has said all.
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
