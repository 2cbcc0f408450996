//! The master's thread: it passes events to the core and performs the actions of the core. No other
//! thread starts workers or sends to them.
//!
//! This thread never waits for a worker. Other threads write what is sent and read what workers send; all events
//! arrive through one channel.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use slog::{Logger, error, info, o, warn};

use crate::clock::Time;
use crate::cluster::control::ToWorker;
use crate::cluster::link::Welcome;
use crate::cluster::master::events::{Event, MasterAction, Note, StoreJob};
use crate::cluster::master::run::{Shared, WorkerEvent, WorkerEventKind};
use crate::cluster::master::worker_record::Exit;
use crate::net::{Endpoint, Members};
use crate::runtime::flow::checkpoint::StorageError;

/// The master's thread.
pub(super) struct Shell {
    shared: Arc<Shared>,
    logger: Logger,
    processes: Box<dyn Processes>,
    happenings: Sender<Event>,
    /// The thread that publishes checkpoints, if the topology is exactly-once.
    store: Option<StoreThread>,
}

/// The processes of the workers, however they are had.
pub(super) trait Processes: Send {
    /// Starts the process of this incarnation, and sends it `Start` with these members. Returns its process id, if that
    /// is known here.
    fn start(&mut self, who: Endpoint, members: Members) -> io::Result<Option<u32>>;
    /// Sends a message to the process of this incarnation, if there is one. Never waits.
    fn send(&self, who: Endpoint, message: ToWorker);
    /// Whether the process of this incarnation is silent because it is given no processor.
    fn is_starved(&self, who: Endpoint) -> bool;
    /// Kills the process of this incarnation. Its exit is reported as an event.
    fn kill(&mut self, who: Endpoint);
    /// Answers a process that a supervisor has started.
    fn welcome(&mut self, who: Endpoint, process: u64, welcome: Welcome);
    /// The process id of this incarnation, if that is known here.
    fn pid(&self, who: Endpoint) -> Option<u32>;
    /// The run has ended: waits for what the processes have written last.
    fn finish(&mut self);
}

/// The thread that publishes checkpoints.
pub(super) struct StoreThread {
    /// What it is to do. When this is dropped, the thread ends.
    pub(super) jobs: Sender<StoreJob>,
    pub(super) thread: JoinHandle<()>,
}

/// Marks the run as ended when the thread ends, even by a panic. The kernel kills all workers when this
/// thread ends.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Shell {
    pub(super) fn new(
        shared: Arc<Shared>,
        logger: Logger,
        processes: Box<dyn Processes>,
        happenings: Sender<Event>,
        store: Option<StoreThread>,
    ) -> Shell {
        Shell { shared, logger, processes, happenings, store }
    }

    /// Runs the workers until the end.
    pub(super) fn run(mut self, happenings: &Receiver<Event>) {
        let _ends_even_if_it_panics = EndOnDrop(Arc::clone(&self.shared));
        let mut event = Event::Tick;
        loop {
            let now = self.shared.clock.now();
            let (actions, deadline) = {
                let core = &mut self.shared.lock().core;
                (core.on(event, now), core.deadline())
            };
            let mut is_done = false;
            for action in actions {
                is_done |= action == MasterAction::Done;
                self.act(action);
            }
            if is_done {
                break;
            }
            let wait = deadline.since(self.shared.clock.now()).max(Duration::from_micros(100));
            event = match happenings.recv_timeout(wait) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Event::Tick,
            };
        }
        // The last lines of the workers are passed on before the run counts as ended.
        self.processes.finish();
        if let Some(StoreThread { jobs, thread }) = self.store {
            drop(jobs);
            // After an end that was cut short, a write may never return. It is not waited for.
            if !self.shared.lock().core.is_cut_short() {
                let _ = thread.join();
            }
        }
    }

    fn act(&mut self, action: MasterAction) {
        match action {
            MasterAction::Start(who, members) => self.start_process(who, members),
            MasterAction::Send(who, message) => self.processes.send(who, message),
            MasterAction::Examine(who) => {
                let is_starved = self.processes.is_starved(who);
                let _ = self.happenings.send(Event::Examined(who, is_starved));
            }
            MasterAction::Kill(who) => self.processes.kill(who),
            MasterAction::Welcome(who, process, welcome) => {
                if welcome == Welcome::Adopted {
                    self.remember(who, WorkerEventKind::Listening);
                }
                self.processes.welcome(who, process, welcome);
            }
            MasterAction::Store(job) => {
                let refused = self.store.as_ref().and_then(|store| store.jobs.send(job).err());
                if let Some(SendError(job)) = refused {
                    // It ends only after this thread, so it has panicked.
                    let why = "the thread that writes checkpoints has ended".to_owned();
                    let error = StorageError { why, is_permanent: true };
                    let event = match job {
                        StoreJob::Load => Some(Event::Loaded(Err(error))),
                        StoreJob::Publish(manifest) => {
                            Some(Event::Published(manifest.checkpoint, Err(error)))
                        }
                        StoreJob::Export(checkpoint, _) => Some(Event::Exported(checkpoint, Err(error.why))),
                        StoreJob::Discard(_) => None,
                    };
                    event.into_iter().for_each(|event| _ = self.happenings.send(event));
                }
            }
            MasterAction::AnswerSavepoint(answer) => self.shared.savepoints.answer(&answer),
            MasterAction::AnswerCheckpoint(upto, answer) => {
                self.shared.savepoints.checkpoints.answer(upto, &answer);
            }
            MasterAction::Note(note) => self.note(note),
            MasterAction::Done => {}
        }
    }

    fn start_process(&mut self, who: Endpoint, members: Members) {
        match self.processes.start(who, members) {
            Ok(pid) => {
                self.shared.lock().pids[who.worker.index()] = pid;
                if let Some(pid) = pid {
                    self.remember(who, WorkerEventKind::Started(pid));
                }
            }
            Err(error) => {
                let exited = Event::Exited(who, Exit::NotStarted(error.to_string()));
                let _ = self.happenings.send(exited);
            }
        }
    }

    // ---- Log and history ----

    fn remember(&self, who: Endpoint, kind: WorkerEventKind) {
        let at = self.shared.clock.now().since(Time::ZERO);
        let event = WorkerEvent { at, worker: who.worker, incarnation: who.incarnation, kind };
        self.shared.lock().remember(event);
    }

    fn dead(&self, who: Endpoint, how: &Exit) {
        self.shared.lock().pids[who.worker.index()] = None;
        self.remember(who, WorkerEventKind::Died(how.to_string()));
    }

    fn logger_of(&self, who: Endpoint) -> Logger {
        self.logger.new(o!("worker" => who.worker.0, "incarnation" => who.incarnation.0))
    }

    fn note(&self, note: Note) {
        match note {
            Note::Listening(who, after) => {
                self.remember(who, WorkerEventKind::Listening);
                info!(self.logger_of(who), "a worker is up"; "after" => format!("{after:.0?}"));
            }
            Note::Died(who, how, pause) => {
                self.dead(who, &how);
                warn!(self.logger_of(who), "a worker died and is started again";
                    "by" => %how, "after" => format!("{pause:.0?}"));
            }
            Note::Starved(who) => {
                warn!(
                    self.logger_of(who),
                    "a worker is late because it gets no processor time; it is waited for"
                );
            }
            Note::Replaced(who, why) => {
                self.remember(who, WorkerEventKind::Replaced(why.clone()));
                warn!(self.logger_of(who), "a worker is replaced"; "because" => why);
            }
            Note::Adopted(who) => info!(self.logger_of(who), "a worker that was running goes on"),
            Note::Ended(who) => {
                self.dead(who, &Exit::Code(0));
                slog::debug!(self.logger_of(who), "a worker has ended");
            }
            Note::EndedBadly(who, how) => {
                self.dead(who, &how);
                warn!(self.logger_of(who), "a worker did not end in order"; "by" => %how);
            }
            Note::Fatal(who, why) => error!(self.logger_of(who), "a worker cannot go on"; "because" => why),
            Note::TooLarge(who, what) => {
                error!(self.logger_of(who), "a message of a worker was too large"; "missing" => what);
            }
            Note::DrainRequested(who) => {
                info!(self.logger_of(who), "draining"; "because" => "a component asked for it");
            }
            Note::Stopped(who, reason) => {
                error!(self.logger_of(who), "draining: a component cannot go on"; "because" => %reason);
            }
            Note::Link(who, peer, up) => {
                let kind = if up { WorkerEventKind::LinkUp(peer) } else { WorkerEventKind::LinkDown(peer) };
                self.remember(who, kind);
            }
            Note::CheckpointGivenUp(checkpoint, why) => {
                warn!(self.logger, "a checkpoint was given up: {}", why; "checkpoint" => %checkpoint);
            }
            Note::GoingBack(latest, why) => {
                let latest = latest.map_or("the begin".to_owned(), |id| id.to_string());
                warn!(self.logger, "all tasks go back to the latest checkpoint: {}", why;
                    "latest_so_far" => latest);
            }
            Note::CheckpointUnread(why) => {
                warn!(self.logger, "the latest checkpoint cannot be read; trying again: {}", why);
            }
            Note::GivenUp(why) => error!(self.logger, "the run is given up"; "because" => why),
            Note::LeftBehind(left) => {
                let pids: Vec<u32> = left.iter().filter_map(|who| self.processes.pid(*who)).collect();
                error!(self.logger, "processes do not die and are left behind"; "pids" => ?pids);
            }
        }
    }
}
