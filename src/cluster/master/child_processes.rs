//! The processes of workers as children of this process.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::Sender;
use std::time::Duration;

use slog::{info, o};

use crate::cluster::control::{FromWorker, Start, ToWorker, line, parse};
use crate::cluster::link::Welcome;
use crate::cluster::master::events::Event;
use crate::cluster::master::inputs::RereadInput;
use crate::cluster::master::options::WorkersOptions;
use crate::cluster::master::shell::Processes;
use crate::cluster::master::worker_record::Exit;
use crate::cluster::processes::{LineSink, Process, ProcessEvent, WorkerStreams, watcher_name};
use crate::cluster::processor::is_starved;
use crate::ids::WorkerId;
use crate::net::{Endpoint, Members};

/// How long the master waits at the end until the last lines of a worker were passed on.
const OUTPUTS_MAX: Duration = Duration::from_secs(1);

/// Children of this process.
pub(super) struct ChildProcesses {
    /// The `Start` message as all workers get it; `try_start` fills in the fields that differ.
    start: Start,
    options: WorkersOptions,
    /// Standard input, if it can be read again.
    input: Option<RereadInput>,
    happenings: Sender<Event>,
    /// By worker: the present incarnation and its process. Replaced when the next one is started.
    processes: Vec<Option<(Endpoint, Process)>>,
}

impl ChildProcesses {
    /// None is started yet.
    pub(super) fn new(
        start: Start,
        options: WorkersOptions,
        input: Option<RereadInput>,
        happenings: Sender<Event>,
    ) -> ChildProcesses {
        let processes = (0..start.workers).map(|_| None).collect();
        ChildProcesses { start, options, input, happenings, processes }
    }

    fn process(&self, who: Endpoint) -> Option<&Process> {
        let of = self.processes[who.worker.index()].as_ref();
        of.filter(|(endpoint, _)| *endpoint == who).map(|(_, process)| process)
    }

    fn as_dialed_by(&self, worker: WorkerId, mut members: Members) -> Members {
        if let Some(through) = &self.options.dial_through {
            for member in members.members.iter_mut().filter(|member| member.worker != worker) {
                member.address = member.address.map(|address| through(worker, member.worker, address));
            }
        }
        members
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
}

impl Processes for ChildProcesses {
    fn start(&mut self, who: Endpoint, members: Members) -> io::Result<Option<u32>> {
        let process = self.try_start(who, members)?;
        let pid = process.pid();
        self.processes[who.worker.index()] = Some((who, process));
        Ok(Some(pid))
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

    fn is_starved(&self, who: Endpoint) -> bool {
        let reader = watcher_name(&who.worker.to_string());
        self.process(who).is_some_and(|process| is_starved(process.pid(), &reader))
    }

    fn kill(&mut self, who: Endpoint) {
        if let Some(process) = self.process(who) {
            process.kill();
        }
    }

    /// No supervisor starts these processes, so none arrives.
    fn welcome(&mut self, _who: Endpoint, _process: u64, _welcome: Welcome) {}

    fn pid(&self, who: Endpoint) -> Option<u32> {
        self.process(who).map(Process::pid)
    }

    fn finish(&mut self) {
        // The last lines of the workers are passed on before the run counts as ended.
        for (_, process) in self.processes.drain(..).flatten() {
            process.wait_for_outputs(OUTPUTS_MAX);
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
