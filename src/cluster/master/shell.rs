//! The master's thread: it passes events to the core and performs the actions of the core. No other
//! thread starts workers or sends to them.
//!
//! This thread never waits for a worker. The worker's watcher thread writes what is sent and reads what
//! the worker sends; all events arrive through one channel.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use slog::{Logger, error, info, o, warn};

use crate::clock::Time;
use crate::cluster::control::{FromWorker, Start, ToWorker, line, parse};
use crate::cluster::master::events::{Event, MasterAction, Note, StoreJob};
use crate::cluster::master::inputs::RereadInput;
use crate::cluster::master::options::WorkersOptions;
use crate::cluster::master::run::{Shared, WorkerEvent, WorkerEventKind};
use crate::cluster::master::worker_record::Exit;
use crate::cluster::processes::{LineSink, Process, ProcessEvent, WorkerStreams, watcher_name};
use crate::cluster::processor::is_starved;
use crate::ids::WorkerId;
use crate::net::{Endpoint, Members};
use crate::runtime::flow::checkpoint::StorageError;

/// How long the master waits at the end until the last lines of a worker were passed on.
const OUTPUTS_MAX: Duration = Duration::from_secs(1);

/// The master's thread.
pub(super) struct Shell {
    shared: Arc<Shared>,
    /// The `Start` message as all workers get it; `try_start` fills in the fields that differ.
    start: Start,
    options: WorkersOptions,
    /// Standard input, if it can be read again.
    input: Option<RereadInput>,
    happenings: Sender<Event>,
    /// The thread that publishes checkpoints, if the topology is exactly-once.
    store: Option<StoreThread>,
    /// By worker: the present incarnation and its process. Replaced when the next one is started.
    processes: Vec<Option<(Endpoint, Process)>>,
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
        start: Start,
        options: WorkersOptions,
        input: Option<RereadInput>,
        happenings: Sender<Event>,
        store: Option<StoreThread>,
    ) -> Shell {
        let processes = (0..start.workers).map(|_| None).collect();
        Shell { shared, start, options, input, happenings, store, processes }
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
        for (_, process) in self.processes.drain(..).flatten() {
            process.wait_for_outputs(OUTPUTS_MAX);
        }
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
            MasterAction::Send(who, message) => self.send(who, message),
            MasterAction::Examine(who) => {
                let reader = watcher_name(&who.worker.to_string());
                let is_starved = self.process(who).is_some_and(|process| is_starved(process.pid(), &reader));
                let _ = self.happenings.send(Event::Examined(who, is_starved));
            }
            MasterAction::Kill(who) => {
                if let Some(process) = self.process(who) {
                    process.kill();
                }
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

    fn process(&self, who: Endpoint) -> Option<&Process> {
        let of = self.processes[who.worker.index()].as_ref();
        of.filter(|(endpoint, _)| *endpoint == who).map(|(_, process)| process)
    }

    fn send(&self, who: Endpoint, message: ToWorker) {
        let message = match message {
            ToWorker::Members(members) => ToWorker::Members(self.as_dialed_by(who.worker, members)),
            message => message,
        };
        if let Some(process) = self.process(who) {
            process.send(&line(&message));
        }
    }

    fn as_dialed_by(&self, worker: WorkerId, mut members: Members) -> Members {
        if let Some(through) = &self.options.dial_through {
            for member in members.members.iter_mut().filter(|member| member.worker != worker) {
                member.address = member.address.map(|address| through(worker, member.worker, address));
            }
        }
        members
    }

    fn start_process(&mut self, who: Endpoint, members: Members) {
        match self.try_start(who, members) {
            Ok(process) => {
                let kind = WorkerEventKind::Started(process.pid());
                self.shared.lock().pids[who.worker.index()] = Some(process.pid());
                self.processes[who.worker.index()] = Some((who, process));
                self.remember(who, kind);
            }
            Err(error) => {
                let exited = Event::Exited(who, Exit::NotStarted(error.to_string()));
                let _ = self.happenings.send(exited);
            }
        }
    }

    fn try_start(&self, who: Endpoint, members: Members) -> io::Result<Process> {
        let stdin = match self.start.stdin {
            true => Some(io::stdin().as_fd().try_clone_to_owned()?),
            false => None,
        };
        if let Some(input) = self.input.as_ref().filter(|input| input.reader == who.worker) {
            input.rewind()?;
        }
        let start = Start {
            worker: who.worker,
            incarnation: who.incarnation,
            members: self.as_dialed_by(who.worker, members),
            ..self.start.clone()
        };
        let happenings = self.happenings.clone();
        let process = Process::start(
            &self.options.executable,
            &who.worker.to_string(),
            WorkerStreams { stdout: self.stdout_of(who.worker), stderr: self.stderr_of(who.worker) },
            move |event| drop(happenings.send(event_of(who, event))),
        )?;
        let start = line(&ToWorker::Start(Box::new(start)));
        match stdin {
            Some(stdin) => process.send_stdin(&start, stdin),
            None => process.send(&start),
        }
        Ok(process)
    }

    fn stdout_of(&self, worker: WorkerId) -> Option<LineSink> {
        let lines = self.options.stdout.clone()?;
        Some(Box::new(move |line| lines(worker, line)))
    }

    fn stderr_of(&self, worker: WorkerId) -> LineSink {
        match self.options.stderr.clone() {
            Some(lines) => Box::new(move |line| lines(worker, line)),
            None => {
                let logger = self.options.logger.new(o!("worker" => worker.0));
                Box::new(move |line| info!(logger, "{}", line))
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

    fn logger(&self, who: Endpoint) -> Logger {
        self.options.logger.new(o!("worker" => who.worker.0, "incarnation" => who.incarnation.0))
    }

    fn note(&self, note: Note) {
        match note {
            Note::Listening(who, after) => {
                self.remember(who, WorkerEventKind::Listening);
                info!(self.logger(who), "a worker is up"; "after" => format!("{after:.0?}"));
            }
            Note::Died(who, how, pause) => {
                self.dead(who, &how);
                warn!(self.logger(who), "a worker died and is started again";
                    "by" => %how, "after" => format!("{pause:.0?}"));
            }
            Note::Starved(who) => {
                warn!(
                    self.logger(who),
                    "a worker is late because it gets no processor time; it is waited for"
                );
            }
            Note::Replaced(who, why) => {
                self.remember(who, WorkerEventKind::Replaced(why.clone()));
                warn!(self.logger(who), "a worker is replaced"; "because" => why);
            }
            Note::Ended(who) => {
                self.dead(who, &Exit::Code(0));
                slog::debug!(self.logger(who), "a worker has ended");
            }
            Note::EndedBadly(who, how) => {
                self.dead(who, &how);
                warn!(self.logger(who), "a worker did not end in order"; "by" => %how);
            }
            Note::Fatal(who, why) => error!(self.logger(who), "a worker cannot go on"; "because" => why),
            Note::TooLarge(who, what) => {
                error!(self.logger(who), "a message of a worker was too large"; "missing" => what);
            }
            Note::DrainRequested(who) => {
                info!(self.logger(who), "draining"; "because" => "a component asked for it");
            }
            Note::Stopped(who, reason) => {
                error!(self.logger(who), "draining: a component cannot go on"; "because" => %reason);
            }
            Note::Link(who, peer, up) => {
                let kind = if up { WorkerEventKind::LinkUp(peer) } else { WorkerEventKind::LinkDown(peer) };
                self.remember(who, kind);
            }
            Note::CheckpointGivenUp(checkpoint, why) => {
                warn!(self.options.logger, "a checkpoint was given up: {}", why; "checkpoint" => %checkpoint);
            }
            Note::GoingBack(latest, why) => {
                let latest = latest.map_or("the begin".to_owned(), |id| id.to_string());
                warn!(self.options.logger, "all tasks go back to the latest checkpoint: {}", why;
                    "latest_so_far" => latest);
            }
            Note::CheckpointUnread(why) => {
                warn!(self.options.logger, "the latest checkpoint cannot be read; trying again: {}", why);
            }
            Note::GivenUp(why) => error!(self.options.logger, "the run is given up"; "because" => why),
            Note::LeftBehind(left) => {
                let pids: Vec<u32> =
                    left.iter().filter_map(|who| self.process(*who)).map(Process::pid).collect();
                error!(self.options.logger, "processes do not die and are left behind"; "pids" => ?pids);
            }
        }
    }
}

/// The event of the core that a process event becomes.
fn event_of(who: Endpoint, event: ProcessEvent) -> Event {
    match event {
        ProcessEvent::Line(line) => match parse::<FromWorker>(&line) {
            Ok(message) => Event::Message(who, message),
            Err(error) => Event::Broken(who, error.to_string()),
        },
        ProcessEvent::Broken(why) => Event::Broken(who, why),
        ProcessEvent::Exited(status) => Event::Exited(who, exit(status)),
    }
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(0),
    }
}
