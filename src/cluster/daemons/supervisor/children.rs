//! The processes of a supervisor and their private directories: performs what the core wants, and notifies it of what
//! happens.
//!
//! ```text
//!   <supervisor.directory>/
//!     lock                         held by the supervisor: a directory has one at a time
//!     children.json                the local record
//!     topologies/<id>/<role>/      private directories: see `topologies::orders`
//!     programs/<hash>/<name>       programs of users: see `programs`
//! ```
//!
//! 1. Each process is in a process group of its own, so a signal of a terminal to the group of the supervisor does not
//!    reach it, and lives on when the supervisor ends, however that happens. When a process of this supervisor has ended,
//!    its group is killed: what user code has started does not outlive it. See `process_group`.
//! 2. A process is killed and watched by its pidfd, whether this supervisor has started it or an earlier one, so no
//!    signal reaches another process that has got its number.
//! 3. Whoever starts a process finds out by the lock of its directory whether it is the one that has it. A process that
//!    ends while another one has the directory was one too many: then the other one is the process of that child.
//!    So whenever an earlier supervisor was killed, between any two of its calls, a child has one process.
//! 4. A directory is taken before it is removed, so no process begins in it meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slog::{Logger, error, info, warn};

use crate::clock::Time;
use crate::cluster::blobs::ReadBlob;
use crate::cluster::daemons::supervisor::actions::{
    Action, Event, Exit, FoundChild, Importance, Order, Preparation,
};
use crate::cluster::daemons::supervisor::child::{ChildId, Role};
use crate::cluster::daemons::supervisor::child_process::ChildProcess;
use crate::cluster::daemons::supervisor::core::SupervisorCore;
use crate::cluster::daemons::supervisor::limits::Limits;
use crate::cluster::daemons::supervisor::local_record::LocalRecord;
use crate::cluster::daemons::supervisor::private_directory::{
    needs_source, prepare, program_of, programs_in, write_child_order,
};
use crate::cluster::daemons::supervisor::programs::{Fetched, Programs};
use crate::cluster::daemons::supervisor::readings::Write;
use crate::cluster::daemons::supervisor::settings::HostSettings;
use crate::cluster::daemons::supervisor::source_reads::{ReadSource, SourceReads};
use crate::cluster::daemons::supervisor::strangers::log_strangers;
use crate::cluster::daemons::supervisor::wake::Wake;
use crate::cluster::processes::Executable;
use crate::cluster::processor::is_starved;
use crate::cluster::topologies::{
    ALIVE_FILE, BlobHash, ClusterKey, ORDER_FILE, OUTPUT_FILE, Occupancy, OccupancyError, REPORT_FILE,
    occupant_of, read_order,
};
use crate::config::LogFileOptions;
use crate::files::make_private_directory;
use crate::logging::rotate_by_copy;

/// The directory of private directories.
const TOPOLOGIES: &str = "topologies";
/// The name of the thread that does all this.
pub(super) const THREAD: &str = "squall-children";
/// The longest time between two looks at what children have written.
const LOOK_MAX: Duration = Duration::from_millis(250);
/// The same for the sizes of their outputs.
const LOOK_AT_OUTPUTS: Duration = Duration::from_secs(5);

/// What the processes of a supervisor are started with.
pub struct ChildrenOptions {
    /// The directory of the supervisor, which is there.
    pub directory: PathBuf,
    /// The program that they run, if their topology has none of its own.
    pub executable: Executable,
    /// From which the secrets of topologies follow.
    pub key: ClusterKey,
    /// Reads what topologies are made of.
    pub read_blob: ReadBlob,
    /// What they may use.
    pub limits: Limits,
    /// Where this supervisor logs.
    pub logger: Logger,
}

/// See the module.
pub struct Children {
    options: ChildrenOptions,
    core: SupervisorCore,
    topologies: PathBuf,
    processes: BTreeMap<ChildId, ChildProcess>,
    programs: Programs,
    sources: SourceReads,
    /// Those that are started when their program is there.
    waiting: Vec<(ChildId, BlobHash)>,
    /// Wakes when a source or a program has come.
    fetched_wake: Arc<Wake>,
    look_period: Duration,
    looked_at: Option<Time>,
    outputs_looked_at: Time,
    log_files: LogFileOptions,
    _lock: Occupancy,
}

impl Children {
    /// Takes the directory of a supervisor, and reads which children there are.
    ///
    /// # Errors
    /// When another supervisor has the directory, or it cannot be read or written.
    pub fn open(options: ChildrenOptions, settings: HostSettings, now: Time) -> io::Result<Children> {
        let lock = Occupancy::take(&options.directory).map_err(|error| match error {
            OccupancyError::Taken { directory, pid } => io::Error::other(format!(
                "another supervisor{} has the directory `{}`: give this one another `supervisor.directory`",
                pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
                directory.display()
            )),
            error => io::Error::other(error),
        })?;
        let topologies = options.directory.join(TOPOLOGIES);
        make_private_directory(&topologies)?;
        let (record, why) = LocalRecord::read(&options.directory)?;
        if let Some(why) = why {
            error!(options.logger, "{}", why);
        }
        log_strangers(&topologies, &record, &options.logger)?;
        let look_period = (settings.worker.heartbeat / 2).min(LOOK_MAX);
        let log_files = settings.log_files;
        let core = SupervisorCore::new(settings, record, now);
        let fetched_wake = Arc::new(Wake::new()?);
        let read_blob = || Arc::clone(&options.read_blob);
        let programs = Programs::new(&options.directory, read_blob(), Arc::clone(&fetched_wake));
        let sources = SourceReads::new(read_blob(), Arc::clone(&fetched_wake));
        Ok(Children {
            options,
            core,
            topologies,
            processes: BTreeMap::new(),
            programs,
            sources,
            waiting: Vec::new(),
            fetched_wake,
            look_period,
            looked_at: None,
            outputs_looked_at: now,
            log_files,
            _lock: lock,
        })
    }

    /// Something has happened elsewhere.
    pub fn handle(&mut self, event: Event, now: Time) {
        self.core.handle(event, now);
    }

    /// Looks at the children, and does what is to be done. Returns what is to be written to the coordination service.
    pub fn step(&mut self, now: Time) -> Vec<Write> {
        self.reap(now);
        self.start_waiting(now);
        if self.looked_at.is_none_or(|at| now.since(at) >= self.look_period) {
            self.looked_at = Some(now);
            self.look(now);
        }
        if now.since(self.outputs_looked_at) >= LOOK_AT_OUTPUTS {
            self.outputs_looked_at = now;
            self.rotate_outputs();
        }
        let mut writes = Vec::new();
        loop {
            let actions = self.core.decide(now);
            if actions.is_empty() {
                return writes;
            }
            for action in actions {
                if let Some(event) = self.perform(action, &mut writes) {
                    self.core.handle(event, now);
                }
            }
        }
    }

    /// What keeps processes from running as they should.
    pub fn problems(&self) -> Vec<(ChildId, String)> {
        self.core.problems()
    }

    /// Waits until a process ends, something is due, or somebody wakes this thread.
    pub fn wait(&self, wake: &Wake, now: Time) {
        let due = self.core.next_due(now).map_or(self.look_period, |at| at.since(now));
        let limit =
            Timespec::try_from(due.min(self.look_period)).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        let wakes = [wake, &*self.fetched_wake];
        let mut fds: Vec<PollFd<'_>> = wakes.iter().map(|wake| PollFd::new(wake, PollFlags::IN)).collect();
        fds.extend(self.processes.values().map(|process| PollFd::new(&process.pidfd, PollFlags::IN)));
        // An interruption is one more reason to look.
        let _ = poll(&mut fds, Some(&limit));
        wakes.iter().for_each(|wake| wake.clear());
    }

    /// Kills all processes, and waits until they are gone. Their directories stay.
    pub fn end_all(mut self) {
        for process in self.processes.values() {
            process.kill();
        }
        for (id, mut process) in std::mem::take(&mut self.processes) {
            let mut fds = [PollFd::new(&process.pidfd, PollFlags::IN)];
            if rustix::io::retry_on_intr(|| poll(&mut fds, None)).is_ok() {
                let mut exit = process.reap();
                self.process_ended(&id, &mut exit);
                info!(self.options.logger, "{} was ended", id);
            }
        }
    }

    fn directory(&self, id: &ChildId) -> PathBuf {
        id.directory(&self.topologies)
    }

    /// Notifies the core of processes that have ended.
    fn reap(&mut self, now: Time) {
        let mut fds: Vec<PollFd<'_>> =
            self.processes.values().map(|process| PollFd::new(&process.pidfd, PollFlags::IN)).collect();
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        if fds.is_empty() || rustix::io::retry_on_intr(|| poll(&mut fds, Some(&none))).is_err() {
            return;
        }
        let ended = self.processes.keys().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        let ended: Vec<ChildId> = ended.map(|(id, _)| id.clone()).collect();
        for id in ended {
            let Some(mut process) = self.processes.remove(&id) else { continue };
            let mut exit = process.reap();
            match occupant_of(&self.directory(&id)) {
                Ok(Some(occupant)) => {
                    info!(self.options.logger, "another process of {} was there first", id; "pid" => occupant.pid);
                    let process = ChildProcess { pid: occupant.pid, pidfd: occupant.pidfd, child: None };
                    self.processes.insert(id, process);
                    continue;
                }
                Ok(None) => self.process_ended(&id, &mut exit),
                Err(error) => {
                    warn!(self.options.logger, "it is not known whether {} has a process", id; "why" => %error);
                }
            }
            // What a master has to say at its end is known before its end is.
            self.look_at(&id, now);
            self.core.handle(Event::Exited(id, exit), now);
        }
    }

    /// A process has ended, and no other one has its directory.
    fn process_ended(&self, id: &ChildId, exit: &mut Exit) {
        if let Err(why) = self.options.limits.ended(id, &self.directory(id), exit) {
            warn!(self.options.logger, "something of {} is left", id; "why" => why);
        }
    }

    /// Notifies the core of what children have written.
    fn look(&mut self, now: Time) {
        let ids: Vec<ChildId> = self.core.running().collect();
        ids.iter().for_each(|id| self.look_at(id, now));
    }

    fn look_at(&mut self, id: &ChildId, now: Time) {
        let directory = self.directory(id);
        self.core.handle(Event::Alive(id.clone(), modified(&directory.join(ALIVE_FILE))), now);
        if id.role == Role::Master {
            match read_order(&directory, REPORT_FILE) {
                Ok(Some(report)) => self.core.handle(Event::Reported(id.topology.clone(), report), now),
                Ok(None) => {}
                Err(error) => warn!(self.options.logger, "{}", error),
            }
        }
    }

    fn rotate_outputs(&self) {
        let LogFileOptions { max, keep } = self.log_files;
        for id in self.processes.keys() {
            let path = self.directory(id).join(OUTPUT_FILE);
            if let Err(error) = rotate_by_copy(&path, max, keep as usize) {
                warn!(self.options.logger, "cannot rotate `{}`", path.display(); "why" => %error);
            }
        }
    }

    fn perform(&mut self, action: Action, writes: &mut Vec<Write>) -> Option<Event> {
        match action {
            Action::Save(record) => {
                let written = record.write(&self.options.directory);
                Some(Event::Saved(written.map(|()| record).map_err(|error| error.to_string())))
            }
            Action::Find(id) => {
                let found = self.find(&id).map_err(|error| error.to_string());
                Some(Event::Found(id, found))
            }
            Action::Start(id, preparation) => {
                let started = self.prepare_and_start(&id, preparation.as_deref()).transpose()?;
                Some(Event::Started(id, started))
            }
            Action::Order(id, order) => {
                let written = write_child_order(&self.directory(&id), &order);
                Some(Event::Ordered(id, written))
            }
            Action::Kill(id) => {
                if let Some(process) = self.processes.get(&id) {
                    process.kill();
                }
                None
            }
            Action::Examine(id) => {
                let pid = self.processes.get(&id).map(|process| process.pid);
                // No thread has no name: this one, which looks at files, runs at this moment.
                Some(Event::Examined(id, pid.is_some_and(|pid| is_starved(pid, ""))))
            }
            Action::Remove(id) => {
                let removed = self.remove(&id).map_err(|error| error.to_string());
                Some(Event::Removed(id, removed))
            }
            Action::Publish(write) => {
                writes.push(write);
                None
            }
            Action::Note(note) => {
                let logger = &self.options.logger;
                match note.importance() {
                    Importance::Info => info!(logger, "{}", note),
                    Importance::Warning => warn!(logger, "{}", note),
                    Importance::Error => error!(logger, "{}", note),
                }
                None
            }
        }
    }

    fn find(&mut self, id: &ChildId) -> io::Result<FoundChild> {
        let directory = self.directory(id);
        let occupant = occupant_of(&directory)?;
        let is_running = occupant.is_some();
        if let Some(occupant) = occupant {
            let process = ChildProcess { pid: occupant.pid, pidfd: occupant.pidfd, child: None };
            self.processes.insert(id.clone(), process);
        } else if let Err(why) = self.options.limits.end(id, &directory) {
            warn!(self.options.logger, "something of {} is left", id; "why" => why);
        }
        let order = match id.role {
            Role::Master => read_order(&directory, ORDER_FILE).map(|order| order.map(Order::Master)),
            Role::Worker(_) => read_order(&directory, ORDER_FILE).map(|order| order.map(Order::Worker)),
        };
        let report = match id.role {
            Role::Master => read_order(&directory, REPORT_FILE),
            Role::Worker(_) => Ok(None),
        };
        let warned = |error| warn!(self.options.logger, "{}", error);
        let (order, report) = (order.map_err(warned).ok().flatten(), report.map_err(warned).ok().flatten());
        Ok(FoundChild { is_running, order, report, alive: modified(&directory.join(ALIVE_FILE)) })
    }

    /// Starts a process; `None`: later, when its source and its program are there.
    fn prepare_and_start(
        &mut self,
        id: &ChildId,
        preparation: Option<&Preparation>,
    ) -> Result<Option<()>, String> {
        let directory = self.directory(id);
        if occupant_of(&directory).map_err(|error| error.to_string())?.is_some() {
            return Err("another process has its directory".to_owned());
        }
        if let Some(preparation) = preparation {
            if needs_source(&directory, preparation) {
                self.sources.begin(id, preparation)?;
                return Ok(None);
            }
            self.prepare(id, preparation, None)?;
        }
        self.start_prepared(id)
    }

    fn prepare(&self, id: &ChildId, preparation: &Preparation, source: Option<&[u8]>) -> Result<(), String> {
        let secret = self.options.key.secret_of(&id.topology, &preparation.run);
        prepare(&self.directory(id), preparation, &secret, source)
    }

    /// Starts a process whose directory is prepared; `None`: later, when its program is there.
    fn start_prepared(&mut self, id: &ChildId) -> Result<Option<()>, String> {
        let directory = self.directory(id);
        let Some(file) = program_of(&directory)? else {
            return self.start(id, &self.options.executable.clone()).map(Some);
        };
        match self.programs.find(&file)? {
            Some(path) => self.start(id, &own_program(path)).map(Some),
            None => {
                self.waiting.push((id.clone(), file.hash().clone()));
                Ok(None)
            }
        }
    }

    /// Starts the processes whose sources and programs have come.
    fn start_waiting(&mut self, now: Time) {
        for ReadSource { id, preparation, bytes } in self.sources.finished() {
            let prepared = bytes.and_then(|bytes| self.prepare(&id, &preparation, Some(&bytes)));
            if let Some(started) = prepared.and_then(|()| self.start_prepared(&id)).transpose() {
                self.core.handle(Event::Started(id, started), now);
            }
        }
        for Fetched { hash, result } in self.programs.finished() {
            let (come, others) =
                std::mem::take(&mut self.waiting).into_iter().partition(|(_, of)| *of == hash);
            self.waiting = others;
            let come: Vec<(ChildId, BlobHash)> = come;
            for (id, _) in come {
                let started = match &result {
                    Ok(()) => self.start_prepared(&id).transpose(),
                    Err(why) => Some(Err(why.clone())),
                };
                if let Some(started) = started {
                    self.core.handle(Event::Started(id, started), now);
                }
            }
        }
    }

    fn start(&mut self, id: &ChildId, executable: &Executable) -> Result<(), String> {
        let directory = self.directory(id);
        for name in [ALIVE_FILE, REPORT_FILE] {
            match fs::remove_file(directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("cannot remove its file `{name}`: {error}"));
                }
                _ => {}
            }
        }
        let mut command = self.options.limits.command(id, &directory, executable)?;
        command.arg(id.role.command()).arg("--directory").arg(&directory);
        let process = ChildProcess::start(command, &directory.join(OUTPUT_FILE));
        self.processes.insert(id.clone(), process.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn remove(&mut self, id: &ChildId) -> Result<(), io::Error> {
        let directory = self.directory(id);
        match Occupancy::take(&directory) {
            Err(OccupancyError::Gone(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
            Ok(occupancy) => {
                self.options.limits.end(id, &directory).map_err(io::Error::other)?;
                fs::remove_dir_all(&directory)?;
                drop(occupancy);
            }
        }
        // The last child of a topology leaves an empty directory.
        match fs::remove_dir(self.topologies.join(id.topology.to_string())) {
            Err(error) if !is_not_there_or_not_empty(&error) => return Err(error),
            _ => {}
        }
        // What is needed and cannot be read now must not be removed.
        match programs_in(&self.topologies) {
            Some(used) => self.programs.retain(&used.iter().map(|file| file.hash().clone()).collect()),
            None => Ok(()),
        }
    }
}

fn own_program(path: PathBuf) -> Executable {
    Executable::At(path, Vec::new())
}

fn is_not_there_or_not_empty(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty)
}

/// When a file was modified; `None` if it is not there.
fn modified(path: &Path) -> Option<i64> {
    let metadata = path.metadata().ok()?;
    Some(metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec()))
}
