//! The socket of a run: it answers the commands of this user.
//!
//! Each connection has a thread of its own, because a savepoint or a checkpoint takes a while. A run that cannot have a socket goes on
//! without one.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, process};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slog::Logger;

use crate::cli::running::Running;
use crate::cli::runs::directory::{open, own_name, socket_of};
use crate::cli::runs::messages::{Reply, Request, RunInfo, read, write};
use crate::clock::Clock;
use crate::text::shown;
use crate::tuple::Timestamp;

/// How often the thread looks whether the run has ended.
const LOOK_PERIOD: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How long a client may take to send its request.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// How long the end of the run waits for the last replies to be written.
const LAST_REPLIES_WAIT: Duration = Duration::from_secs(1);
/// How many clients are served at once.
const CLIENTS_MAX: usize = 16;

/// The socket of a run. It is removed when this is dropped.
pub(in crate::cli) struct RunSocket {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    clients: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// What a run is served with.
pub(in crate::cli) struct Served {
    /// The run, as long as it is not over.
    pub(in crate::cli) running: Weak<Running>,
    pub(in crate::cli) topology: String,
    pub(in crate::cli) file: String,
    pub(in crate::cli) workers: u16,
    /// Where its checkpoints are; `None`: the topology takes none. Savepoints that name no directory go beside them.
    pub(in crate::cli) checkpoints: Option<PathBuf>,
    pub(in crate::cli) logger: Logger,
}

impl RunSocket {
    /// Opens the socket, and answers from now on.
    pub(in crate::cli) fn open(served: Served) -> io::Result<RunSocket> {
        let path = socket_of(&open()?, &own_name(&served.topology));
        // It gets its name when it listens. Until then it refuses connections, and who lists runs would take it for the
        // socket of one that was killed, and remove it.
        let unnamed = path.with_extension("new");
        // One of the same name was left by a process that had this number.
        let _ = fs::remove_file(&unnamed);
        let listener = UnixListener::bind(&unnamed)?;
        listener.set_nonblocking(true)?;
        fs::rename(&unnamed, &path)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = Arc::new(AtomicUsize::new(0));
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&clients));
        let thread = thread::Builder::new()
            .name("squall-socket".to_owned())
            .spawn(move || serve(&listener, &Arc::new(served), &count, &over))?;
        Ok(RunSocket { path, is_over, clients, thread: Some(thread) })
    }
}

impl Drop for RunSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Who waits for an answer gets it before the process ends.
        let clock = Clock::real();
        let deadline = clock.now().after(LAST_REPLIES_WAIT);
        while self.clients.load(Ordering::SeqCst) > 0 && clock.now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The place of a client, which it gives back when it has gone.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Place {
        clients.fetch_add(1, Ordering::SeqCst);
        Place(Arc::clone(clients))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(listener: &UnixListener, served: &Arc<Served>, clients: &Arc<AtomicUsize>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&LOOK_PERIOD));
        let Ok((stream, _)) = listener.accept() else { continue };
        let place = Place::take(clients);
        if clients.load(Ordering::SeqCst) > CLIENTS_MAX {
            continue;
        }
        let served = Arc::clone(served);
        let client = thread::Builder::new().name("squall-client".to_owned());
        // If there is no thread, the client is told nothing, and may try again.
        let _ = client.spawn(move || {
            // A client that has gone is none of the run's business.
            let _ = answer(&stream, &served);
            drop(place);
        });
    }
}

fn answer(stream: &UnixStream, served: &Served) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(REQUEST_WAIT))?;
    stream.set_write_timeout(Some(REQUEST_WAIT))?;
    let request = read(stream)?;
    let reply = match (served.running.upgrade(), request) {
        (None, _) => Reply::Error("the run has ended".to_owned()),
        (Some(running), Request::Info) => Reply::Info(Box::new(info(served, &running))),
        (Some(running), Request::Drain) => {
            slog::info!(served.logger, "draining"; "because" => "a command asked for it");
            running.drain();
            Reply::Draining
        }
        (Some(running), Request::Checkpoint { wait_ms }) => {
            match running.checkpoint(Duration::from_millis(wait_ms)) {
                Ok(checkpoint) => Reply::Checkpoint(checkpoint.to_string()),
                Err(error) => Reply::Error(error.to_string()),
            }
        }
        (Some(running), Request::Savepoint { directory, stop }) => {
            savepoint(served, &running, directory, stop)
        }
    };
    write(stream, &reply)
}

fn savepoint(served: &Served, running: &Running, directory: Option<PathBuf>, stop: bool) -> Reply {
    let beside = || Some(served.checkpoints.as_ref()?.parent()?.join("savepoints").join(fresh_name()));
    let Some(directory) = directory.or_else(beside) else {
        let none =
            "a savepoint is a checkpoint, and only a topology with `delivery = \"exactly-once\"` takes any";
        return Reply::Error(none.to_owned());
    };
    slog::info!(served.logger, "taking a savepoint"; "directory" => %directory.display(), "stop" => stop);
    match running.savepoint(directory, stop) {
        Ok(savepoint) => {
            slog::info!(served.logger, "the savepoint is there"; "checkpoint" => %savepoint.checkpoint);
            Reply::Savepoint { checkpoint: savepoint.checkpoint.to_string(), directory: savepoint.directory }
        }
        Err(error) => {
            slog::warn!(served.logger, "there is no savepoint: {}", shown(&error));
            Reply::Error(error.to_string())
        }
    }
}

/// A name for a savepoint: the time, which is another one each time.
fn fresh_name() -> String {
    Timestamp(Clock::real().wall_nanos()).to_string().replace(':', "")
}

fn info(served: &Served, running: &Running) -> RunInfo {
    let stats = running.stats().topology;
    RunInfo {
        topology: served.topology.clone(),
        file: served.file.clone(),
        pid: process::id(),
        workers: served.workers,
        seconds: stats.elapsed.as_secs_f64(),
        emitted: stats.emitted,
        checkpoint: stats.checkpoints.and_then(|checkpoints| checkpoints.latest).map(|id| id.to_string()),
        checkpoints: served.checkpoints.clone(),
    }
}
