//! The thread that keeps a session with the ensemble, one after the other, and does what callers ask for.
//!
//! ```text
//!   begin: connect · log in · make the root · catch up · hold again · watch again
//!      │
//!      ▼                     answer late, connection lost, member gone
//!   serve: jobs, beats ──────────────────────────────────────────────▶ pause ──▶ begin
//! ```
//!
//! 1. A request that is not answered within a third of the session's time-out ends the session, and so does any sign
//!    that the connection is lost. A frozen member is left in that way, too.
//! 2. If nothing was asked for a quarter of the time-out, the keeper asks itself, as a sign of life.
//! 3. Each session begins with a write. So what it reads is never older than what earlier sessions have read, even if
//!    its member lags behind.
//! 4. A job whose answer was lost is done again in the next session. `repeated` decides what came of it.
//! 5. A release is done even if its caller has given up, and until then no session makes the node again.
//! 6. The first attempt after a lost session is made at once, the next ones after pauses that double, up to 2 s.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use slog::{Logger, error, info, warn};

use crate::clock::{Clock, Time};
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::service::{Notice, Notify};
use crate::cluster::coordination::zookeeper::connection::{Failure, Request};
use crate::cluster::coordination::zookeeper::held::Held;
use crate::cluster::coordination::zookeeper::inbox::{Changes, Inbox, Message, Task};
use crate::cluster::coordination::zookeeper::operation::{Job, Operation};
use crate::cluster::coordination::zookeeper::perform::{Problem, catch_up, is_ours, make_root, perform};
use crate::cluster::coordination::zookeeper::seen::Seen;
use crate::cluster::coordination::zookeeper::servers::{Reached, Servers};
use crate::cluster::coordination::zookeeper::session::{Beginning, Session};
use crate::cluster::coordination::zookeeper::settings::Settings;
use crate::net::transport::Transport;

/// The bound of the first pause before the ensemble is tried again; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The largest such bound.
const PAUSE_MAX: Duration = Duration::from_secs(2);

pub(super) struct Keeper {
    settings: Settings,
    clock: Clock,
    logger: Logger,
    /// What callers see of the session.
    seen: Arc<Seen>,
    messages: Sender<Message>,
    inbox: Inbox,
    servers: Servers,
    rng: StdRng,
    /// How many connections there were.
    connections: u64,
    /// Jobs that wait for a session, those first whose answers were lost.
    waiting: VecDeque<Job>,
    held: Held,
    watches: Vec<(NodePath, Weak<Notify>)>,
}

/// Why a session is over.
enum Over {
    /// It was lost.
    Lost(String),
    /// The client was dropped. The sender is dropped at the end.
    Ended(Sender<()>),
}

impl Keeper {
    pub fn new(
        settings: Settings,
        (messages, inbox): (Sender<Message>, Receiver<Message>),
        clock: Clock,
        logger: Logger,
        seen: Arc<Seen>,
    ) -> Keeper {
        let options = &settings.options;
        Keeper {
            servers: Servers::new(&options.servers, options.connect_timeout, settings.seed),
            rng: StdRng::seed_from_u64(settings.seed),
            inbox: Inbox::new(inbox, clock.clone()),
            connections: 0,
            waiting: VecDeque::new(),
            held: Held::default(),
            watches: Vec::new(),
            settings,
            clock,
            logger,
            seen,
            messages,
        }
    }

    /// Keeps sessions until the client is dropped.
    pub fn run(mut self) {
        let mut attempts = 0;
        loop {
            let why = match self.begin() {
                Ok(mut session) => {
                    attempts = 0;
                    let over = self.serve(&mut session);
                    self.seen.lost();
                    self.notify(&Notice::SessionLost);
                    match over {
                        Over::Lost(why) => format!("{}: {why}", session.server),
                        Over::Ended(ended) => {
                            session.close(&mut self.inbox);
                            return drop(ended);
                        }
                    }
                }
                Err(why) => why,
            };
            warn!(self.logger, "there is no session with ZooKeeper"; "why" => &why, "attempts" => attempts);
            self.seen.away_because(why);
            if self.pause(attempts) {
                return;
            }
            attempts += 1;
        }
    }

    /// Waits before the next attempt. Returns whether the client was dropped.
    fn pause(&mut self, attempts: u32) -> bool {
        let bound = match attempts {
            0 => Duration::ZERO,
            _ => PAUSE_MIN.saturating_mul(1 << (attempts - 1).min(16)).min(PAUSE_MAX),
        };
        let until = self.clock.now().after(self.rng.random_range(Duration::ZERO..=bound));
        loop {
            match self.inbox.next(until) {
                Task::Due if self.clock.now() >= until => return false,
                Task::Due | Task::Lost(_) => {}
                Task::End(ended) => {
                    drop(ended);
                    return true;
                }
                Task::Job(job) => self.waiting.push_back(job),
                Task::Watch(path, notify) => self.watches.push((path, notify)),
            }
        }
    }

    /// Begins a session and makes in it what this process wants to have.
    fn begin(&mut self) -> Result<Session, String> {
        let reached = self.servers.connect()?;
        let server = reached.name.clone();
        let begun = self.begin_with(reached);
        begun.map_err(|why| format!("{server}: {why}"))
    }

    fn begin_with(&mut self, reached: Reached) -> Result<Session, String> {
        let transport = match &self.settings.tls {
            Some(tls) => tls.dial(&reached.host)?,
            None => Transport::Plain,
        };
        self.connections += 1;
        let options = &self.settings.options;
        let beginning = Beginning {
            number: self.connections,
            reached,
            transport,
            timeout: options.session_timeout,
            connect_timeout: options.connect_timeout,
            is_user: options.user.is_some(),
            root: &self.settings.root,
            clock: &self.clock,
            messages: &self.messages,
        };
        let mut session = Session::begin(beginning, &mut self.inbox)?;
        if let (Some(user), Some(password)) = (&self.settings.options.user, &self.settings.password) {
            let login = Request::Login { user: user.clone(), password: password.clone() };
            session.call(&mut self.inbox, login).map_err(|failure| failure.to_string())?;
        }
        if !self.settings.only_reads {
            make_root(&self.settings.root, &mut session, &mut self.inbox)?;
            catch_up(&mut session, &mut self.inbox).map_err(|failure| failure.to_string())?;
        }
        for job in &self.waiting {
            if let Operation::Release { path } = &job.operation {
                self.held.mark_for_release(path);
            }
        }
        self.hold_again(&self.held.paths(), &mut session)?;
        self.watch_again(&mut session)?;
        self.seen.begun(&session);
        info!(self.logger, "a session with ZooKeeper has begun";
            "server" => &session.server, "timeout" => ?session.timeout());
        self.notify(&Notice::ReadAgain);
        Ok(session)
    }

    fn hold_again(&mut self, paths: &[NodePath], session: &mut Session) -> Result<(), String> {
        for path in paths {
            match self.held.hold_again(path, session, &mut self.inbox) {
                Ok(()) => {}
                Err(Failure::Lost(why)) => return Err(why),
                Err(Failure::Exists) => {
                    error!(self.logger, "another process holds a node of this one"; "node" => %path);
                    self.notify(&Notice::HeldByOther(path.clone()));
                }
                Err(failure) => {
                    warn!(self.logger, "a node cannot be held for now"; "node" => %path, "why" => %failure);
                }
            }
        }
        Ok(())
    }

    fn watch_again(&mut self, session: &mut Session) -> Result<(), String> {
        self.watches.retain(|(_, notify)| notify.strong_count() > 0);
        let mut paths: Vec<NodePath> = self.watches.iter().map(|(path, _)| path.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let request = Request::Watch { path: session.absolute(&path) };
            session.call(&mut self.inbox, request).map_err(|failure| failure.to_string())?;
        }
        Ok(())
    }

    /// Does what is asked for, until the session is over.
    fn serve(&mut self, session: &mut Session) -> Over {
        let mut read_again_at = self.clock.now().after(self.settings.options.read_again);
        while let Some(job) = self.waiting.pop_front() {
            if let Err(why) = self.do_job(job, session) {
                return Over::Lost(why);
            }
        }
        loop {
            self.pass_on_changes(session);
            if self.clock.now() >= read_again_at {
                read_again_at = self.clock.now().after(self.settings.options.read_again);
                if let Err(why) = self.hold_again(&self.held.missing(), session) {
                    return Over::Lost(why);
                }
                self.notify(&Notice::ReadAgain);
            }
            let beat_at = session.answered_at.after(session.timeout() / 4);
            let done = match self.inbox.next(beat_at.min(read_again_at)) {
                Task::Job(job) => self.do_job(job, session),
                Task::Watch(path, notify) => self.watch(path, notify, session),
                Task::End(ended) => return Over::Ended(ended),
                Task::Lost(why) => Err(why),
                Task::Due => self.beat(session, beat_at),
            };
            if let Err(why) = done {
                return Over::Lost(why);
            }
        }
    }

    /// `Err`: the session was lost, and the job waits for the next one.
    fn do_job(&mut self, job: Job, session: &mut Session) -> Result<(), String> {
        let is_release = matches!(job.operation, Operation::Release { .. });
        let Some(was_sent) = job.begin().or(is_release.then_some(true)) else { return Ok(()) };
        let outcome = perform(&job.operation, was_sent, session, &mut self.inbox, &mut self.held);
        self.seen.answered(session);
        match outcome {
            Ok(outcome) => job.end(Ok(outcome)),
            Err(Problem::Failed(error)) => job.end(Err(error)),
            Err(Problem::Lost(why)) => {
                self.waiting.push_front(job);
                return Err(why);
            }
        }
        Ok(())
    }

    fn beat(&mut self, session: &mut Session, due: Time) -> Result<(), String> {
        if self.clock.now() < due {
            return Ok(());
        }
        let request = Request::Beat { path: session.absolute(&NodePath::root()) };
        match session.call(&mut self.inbox, request) {
            Err(Failure::Lost(why)) => Err(why),
            _ => {
                self.seen.answered(session);
                Ok(())
            }
        }
    }

    fn watch(&mut self, path: NodePath, notify: Weak<Notify>, session: &mut Session) -> Result<(), String> {
        let request = Request::Watch { path: session.absolute(&path) };
        let is_new = self.watches.iter().all(|(other, _)| *other != path);
        if let Some(notify) = notify.upgrade() {
            self.watches.push((path, Arc::downgrade(&notify)));
            if is_new && let Err(failure) = session.call(&mut self.inbox, request) {
                return Err(failure.to_string());
            }
            // What has changed before the watch was there was not reported.
            self.send(&*notify, Notice::ReadAgain);
        }
        Ok(())
    }

    fn pass_on_changes(&mut self, session: &Session) {
        let changes = match self.inbox.take_changes() {
            Changes::All => return self.notify(&Notice::ReadAgain),
            Changes::Some(changes) => changes,
        };
        let paths: Vec<NodePath> =
            changes.iter().filter_map(|path| session.relative(path)).filter(|path| !is_ours(path)).collect();
        for (watched, notify) in self.living_watches() {
            for path in paths.iter().filter(|path| path.is_within(&watched)) {
                self.send(&*notify, Notice::Changed(path.clone()));
            }
        }
    }

    /// Sends a notice to all who watch anything.
    fn notify(&mut self, notice: &Notice) {
        for (_, notify) in self.living_watches() {
            self.send(&*notify, notice.clone());
        }
    }

    fn living_watches(&mut self) -> Vec<(NodePath, Arc<Notify>)> {
        self.watches.retain(|(_, notify)| notify.strong_count() > 0);
        self.watches.iter().filter_map(|(path, notify)| Some((path.clone(), notify.upgrade()?))).collect()
    }

    /// A panic of the receiver must not end the session.
    fn send(&self, notify: &Notify, notice: Notice) {
        if catch_unwind(AssertUnwindSafe(|| notify(notice))).is_err() {
            error!(self.logger, "a receiver of notices of the coordination has panicked");
        }
    }
}
