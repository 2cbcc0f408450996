//! The thread of the master's end: it accepts connections, and moves lines between them and the master's thread.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::clock::{Clock, Time};
use crate::cluster::control::{line, parse};
use crate::cluster::link::accepted::{Accepted, Session, Stage};
use crate::cluster::link::arrival::{Arrival, Introduction, Welcome, boot_id};
use crate::cluster::link::commands::{Command, Commands, lock};
use crate::cluster::link::connection::LinkConnection;
use crate::cluster::link::hello::{
    Challenge, HandshakeLine, Hello, Known, handshake_line, read_handshake, read_proof,
};
use crate::cluster::link::log_questions::LogQuestions;
use crate::cluster::link::log_reader::LogReader;
use crate::cluster::link::observers::is_log_read;
use crate::cluster::link::resend::Resend;
use crate::cluster::log_pieces::LogSource;
use crate::net::tls::Tls;
use crate::net::transport::Transport;

/// How long a process may take to prove who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Connections that have not proven who they are, at most. More are closed at once, and come again.
const UNPROVEN_MAX: usize = 256;
/// The thread looks so often at what is due.
const TICK_TIME: Duration = Duration::from_millis(50);
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// When the system has no descriptor left for a connection, it is asked again after this pause.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A process is told so often what was taken, if nothing else tells it.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What happens on the connections of a master.
#[derive(Debug)]
pub enum LinkEvent {
    /// A process has proven who it is, and is to be welcomed.
    Arrived(Arrival),
    /// A process has sent this line.
    Line(u64, Vec<u8>),
    /// The channel of a process cannot go on, for this reason.
    Broken(u64, String),
    /// The connection of a process has ended. It may come back.
    Closed(u64),
}

/// The thread.
pub(super) struct LinksThread {
    listener: TcpListener,
    tls: Option<Tls>,
    pub(super) known: Known,
    epoch: u64,
    rng: StdRng,
    pub(super) clock: Clock,
    pub(super) commands: Arc<Commands>,
    /// By numbers that are not used again.
    pub(super) connections: BTreeMap<u64, Accepted>,
    next: u64,
    /// By process.
    pub(super) sessions: BTreeMap<u64, Session>,
    /// Reads the log of this process.
    pub(super) logs: LogReader,
    pub(super) log_questions: LogQuestions,
    boot: String,
    told_at: Time,
    /// Not before this time a connection is accepted.
    accept_at: Time,
    events: Box<dyn Fn(LinkEvent) + Send>,
}

impl LinksThread {
    /// A thread that accepts on this socket, which does not wait.
    pub(super) fn new(
        listener: TcpListener,
        tls: Option<Tls>,
        known: Known,
        (epoch, seed): (u64, u64),
        (commands, logs): (Arc<Commands>, LogReader),
        events: Box<dyn Fn(LinkEvent) + Send>,
    ) -> LinksThread {
        LinksThread {
            listener,
            tls,
            known,
            epoch,
            rng: StdRng::seed_from_u64(seed),
            clock: Clock::real(),
            commands,
            connections: BTreeMap::new(),
            next: 0,
            sessions: BTreeMap::new(),
            logs,
            log_questions: LogQuestions::default(),
            boot: boot_id(),
            told_at: Time::ZERO,
            accept_at: Time::ZERO,
            events,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let numbers: Vec<u64> = self.connections.keys().copied().collect();
            let ready = self.wait();
            if !self.carry_out() {
                return self.end();
            }
            if ready.is_accepting {
                self.accept();
            }
            for (number, events) in numbers.into_iter().zip(ready.connections) {
                if !events.is_empty() {
                    self.read(number);
                }
            }
            self.close_late();
            self.answer_log_questions();
            let now = self.clock.now();
            if now.since(self.told_at) >= TELL_EVERY {
                self.told_at = now;
                self.tell();
            }
            self.write();
        }
    }

    fn wait(&self) -> Ready {
        // A connection that cannot be accepted now would end the waiting at once, again and again.
        let accepts = if self.clock.now() >= self.accept_at { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = vec![
            PollFd::new(&self.commands.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.as_fd(), accepts),
        ];
        let connections = self.connections.values().map(|accepted| &accepted.connection);
        fds.extend(
            connections.map(|connection| PollFd::from_borrowed_fd(connection.fd(), connection.wants())),
        );
        match poll(&mut fds, Some(&TICK)) {
            Ok(_) | Err(Errno::INTR) => {}
            // The system has no memory for now. What is due is looked at all the same.
            Err(_) => thread::sleep(TICK_TIME),
        }
        if !fds[0].revents().is_empty() {
            let _ = rustix::io::read(&self.commands.wake, &mut [0; 8]);
        }
        Ready {
            is_accepting: !fds[1].revents().is_empty(),
            connections: fds[2..].iter().map(PollFd::revents).collect(),
        }
    }

    /// Carries out what the master's thread wants. Returns whether it goes on.
    fn carry_out(&mut self) -> bool {
        for command in self.commands.take() {
            match command {
                Command::Welcome(process, welcome) => self.welcome(process, welcome),
                Command::Send(process, line) => {
                    let Some(session) = self.sessions.get_mut(&process) else { continue };
                    if let Err(error) = session.resend.push(line) {
                        self.broken(process, error.to_string());
                    }
                }
                Command::Fence(process) => {
                    lock(&self.commands.pids).remove(&process);
                    let session = self.sessions.remove(&process);
                    if let Some(number) = session.and_then(|session| session.connection) {
                        self.drop_connection(number);
                    }
                }
                Command::Answer(numbers, line) => {
                    numbers.into_iter().for_each(|number| self.answer_observer(number, &line));
                }
                Command::LogRead(question, read) => {
                    self.log_questions.answered(question, LogSource::Master, read);
                }
                Command::End => return false,
            }
        }
        true
    }

    /// Writes what can be written at once, and ends.
    fn end(mut self) {
        self.tell();
        self.write();
        for accepted in std::mem::take(&mut self.connections).into_values() {
            accepted.connection.close();
        }
    }

    fn accept(&mut self) {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nobody waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // This one has gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                // The system has no descriptor left for now.
                Err(_) => {
                    self.accept_at = self.clock.now().after(ACCEPT_PAUSE);
                    return;
                }
            };
            let unproven = |accepted: &&Accepted| {
                use Stage::{AwaitsHello, AwaitsObserverProof, AwaitsProof};
                matches!(accepted.stage, AwaitsHello | AwaitsProof(..) | AwaitsObserverProof(..))
            };
            if self.connections.values().filter(unproven).count() >= UNPROVEN_MAX {
                continue;
            }
            let transport = match &self.tls {
                None => Ok(Transport::Plain),
                Some(tls) => tls.accept().map(|session| Transport::Tls(Box::new(session))),
            };
            let connection = transport.and_then(|transport| LinkConnection::new(socket, transport));
            let Ok(connection) = connection else { continue };
            let deadline = self.clock.now().after(HANDSHAKE_MAX);
            self.connections.insert(self.next, Accepted { connection, stage: Stage::AwaitsHello, deadline });
            self.next += 1;
        }
    }

    fn read(&mut self, number: u64) {
        let Some(accepted) = self.connections.get_mut(&number) else { return };
        let goes_on = accepted.connection.read();
        loop {
            let Some(accepted) = self.connections.get_mut(&number) else { return };
            match accepted.connection.line() {
                Ok(Some(line)) => self.take(number, &line),
                Ok(None) => break,
                Err(_) => return self.drop_connection(number),
            }
        }
        if !matches!(goes_on, Ok(true)) {
            self.drop_connection(number);
        }
    }

    /// Takes a line of a connection.
    fn take(&mut self, number: u64, line: &[u8]) {
        let Some(accepted) = self.connections.get_mut(&number) else { return };
        match &accepted.stage {
            Stage::AwaitsHello => match self.challenge(line) {
                Ok((stage, challenge)) => {
                    let answer = handshake_line(HandshakeLine::Challenge(challenge));
                    if let Some(accepted) = self.connections.get_mut(&number) {
                        accepted.connection.out().extend_from_slice(&answer);
                        accepted.stage = stage;
                    }
                }
                Err(why) => self.refuse(number, why),
            },
            Stage::AwaitsProof(hello, challenge) => {
                match read_proof(line).and_then(|proof| self.known.verify(hello, challenge, &proof)) {
                    Ok(()) => {
                        let hello = hello.clone();
                        accepted.connection.is_proven();
                        accepted.stage = Stage::AwaitsIntroduction(hello);
                    }
                    Err(why) => self.refuse(number, why),
                }
            }
            Stage::AwaitsObserverProof(hello, challenge) => {
                let (hello, challenge) = (hello.clone(), challenge.clone());
                self.observer_proves(number, &hello, &challenge, line);
            }
            Stage::Observes { has_asked } => {
                let has_asked = *has_asked;
                self.observer_asks(number, has_asked, line);
            }
            Stage::AwaitsIntroduction(hello) => {
                let hello = hello.clone();
                match parse::<Introduction>(line) {
                    Ok(introduction) => self.introduced(number, &hello, introduction),
                    Err(error) => self.refuse(number, error.to_string()),
                }
            }
            // It waits for its answer, so it has nothing to send.
            Stage::AwaitsWelcome(..) => self.drop_connection(number),
            Stage::Up(process) => {
                let process = *process;
                let Some(session) = self.sessions.get_mut(&process) else { return };
                match session.resend.take(line) {
                    Ok(Some(line)) if is_log_read(line) => {
                        let line = line.to_vec();
                        self.log_was_read(process, &line);
                    }
                    Ok(Some(line)) => (self.events)(LinkEvent::Line(process, line.to_vec())),
                    Ok(None) => {}
                    // On its next connection both sides find out where they are.
                    Err(_) => self.drop_connection(number),
                }
            }
        }
    }

    /// What the first line of a connection is answered, and how far it has come then.
    fn challenge(&mut self, line: &[u8]) -> Result<(Stage, Challenge), String> {
        let nonce = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        match read_handshake(line)? {
            HandshakeLine::Hello(hello) => {
                let challenge = self.known.challenge(&hello, self.epoch, nonce)?;
                Ok((Stage::AwaitsProof(hello, challenge.clone()), challenge))
            }
            HandshakeLine::Observe(hello) => {
                let challenge = self.known.challenge_observer(&hello, self.epoch, nonce)?;
                Ok((Stage::AwaitsObserverProof(hello, challenge.clone()), challenge))
            }
            _ => Err("the first line is no hello".to_owned()),
        }
    }

    fn introduced(&mut self, number: u64, hello: &Hello, introduction: Introduction) {
        let Introduction { pid, boot, epoch, taken, started, living } = introduction;
        let process = hello.process;
        if boot == self.boot {
            lock(&self.commands.pids).insert(process, pid);
        }
        let known = self.sessions.get_mut(&process).filter(|_| epoch == self.epoch);
        let Some(session) = known else {
            if let Some(accepted) = self.connections.get_mut(&number) {
                accepted.stage = Stage::AwaitsWelcome(process, hello.worker);
            }
            let worker = hello.worker;
            return (self.events)(LinkEvent::Arrived(Arrival { worker, process, started, living }));
        };
        let welcome = Welcome::Again { taken: session.resend.taken() };
        match session.resend.connected(taken) {
            Ok(()) => {
                let before = session.connection.replace(number);
                self.answer(number, &welcome, Stage::Up(process));
                before.into_iter().for_each(|before| self.drop_connection(before));
            }
            Err(error) => self.broken(process, error.to_string()),
        }
    }

    fn welcome(&mut self, process: u64, welcome: Welcome) {
        let waits =
            |accepted: &Accepted| matches!(accepted.stage, Stage::AwaitsWelcome(of, _) if of == process);
        // If it has connected again meanwhile, only its last connection is of use.
        let waiting: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, accepted)| waits(accepted))
            .map(|(number, _)| *number)
            .collect();
        let Some((last, others)) = waiting.split_last() else { return };
        others.iter().for_each(|number| self.drop_connection(*number));
        let Some(Stage::AwaitsWelcome(_, worker)) = self.connections.get(last).map(|it| &it.stage) else {
            return;
        };
        let worker = *worker;
        match welcome {
            Welcome::Fenced(_) => {
                lock(&self.commands.pids).remove(&process);
                self.answer(*last, &welcome, Stage::AwaitsWelcome(process, worker));
                self.answer(*last, &welcome, Stage::AwaitsWelcome(process, worker));
                if let Some(accepted) = self.connections.remove(last) {
                    accepted.connection.close();
                }
            }
            Welcome::Fresh | Welcome::Adopted | Welcome::Again { .. } => {
                let session = Session { worker, resend: Resend::default(), connection: Some(*last) };
                self.sessions.insert(process, session);
                self.answer(*last, &welcome, Stage::Up(process));
            }
        }
    }

    fn answer(&mut self, number: u64, welcome: &Welcome, stage: Stage) {
        if let Some(accepted) = self.connections.get_mut(&number) {
            accepted.connection.out().extend_from_slice(&line(welcome));
            accepted.stage = stage;
        }
    }

    pub(super) fn refuse(&mut self, number: u64, why: String) {
        if let Some(mut accepted) = self.connections.remove(&number) {
            accepted.connection.out().extend_from_slice(&handshake_line(HandshakeLine::Refused(why)));
            accepted.connection.close();
        }
    }

    pub(super) fn broken(&mut self, process: u64, why: String) {
        if let Some(number) = self.sessions.remove(&process).and_then(|session| session.connection) {
            self.drop_connection(number);
        }
        (self.events)(LinkEvent::Broken(process, why));
    }

    pub(super) fn drop_connection(&mut self, number: u64) {
        let Some(accepted) = self.connections.remove(&number) else { return };
        accepted.connection.close();
        if let Stage::Up(process) = accepted.stage
            && let Some(session) = self.sessions.get_mut(&process)
            && session.connection == Some(number)
        {
            session.connection = None;
            (self.events)(LinkEvent::Closed(process));
        }
    }

    /// Closes connections that have not proven in time who they are, and those of observers that do nothing.
    fn close_late(&mut self) {
        let now = self.clock.now();
        let is_late = |accepted: &Accepted| {
            let is_unproven = !matches!(accepted.stage, Stage::Up(_) | Stage::AwaitsWelcome(..));
            is_unproven && now >= accepted.deadline
        };
        let late: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, accepted)| is_late(accepted))
            .map(|(number, _)| *number)
            .collect();
        late.into_iter().for_each(|number| self.drop_connection(number));
    }

    fn tell(&mut self) {
        for session in self.sessions.values_mut() {
            if let Some(accepted) = session.connection.and_then(|number| self.connections.get_mut(&number)) {
                session.resend.tell(accepted.connection.out());
            }
        }
    }

    fn write(&mut self) {
        for session in self.sessions.values_mut() {
            if let Some(accepted) = session.connection.and_then(|number| self.connections.get_mut(&number))
                && !accepted.connection.is_full()
            {
                session.resend.write(accepted.connection.out());
            }
        }
        let failed: Vec<u64> = self
            .connections
            .iter_mut()
            .filter_map(|(number, accepted)| accepted.connection.write().is_err().then_some(*number))
            .collect();
        failed.into_iter().for_each(|number| self.drop_connection(number));
    }
}

/// What can be done.
struct Ready {
    is_accepting: bool,
    /// In the order of the connections.
    connections: Vec<PollFlags>,
}
