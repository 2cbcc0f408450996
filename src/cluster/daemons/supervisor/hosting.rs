//! How a supervisor runs: one thread speaks with the coordination service, which may let it wait, and another one is there
//! for the processes, which must not wait.
//!
//! ```text
//!   this thread: Supervisor::step · read_topologies · write ── events ──▶ thread "squall-children": Children
//!                                                           ◀── writes ──
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use slog::warn;

use crate::clock::{Clock, Time};
use crate::cluster::coordination::{Coordination, Notice, Notify};
use crate::cluster::daemons::running::EndRequest;
use crate::cluster::daemons::supervisor::actions::Event;
use crate::cluster::daemons::supervisor::child::ChildId;
use crate::cluster::daemons::supervisor::children::{Children, THREAD};
use crate::cluster::daemons::supervisor::readings::{Write, read_topologies, write};
use crate::cluster::daemons::supervisor::registration::{Supervisor, SupervisorState};
use crate::cluster::daemons::supervisor::wake::Wake;
use crate::cluster::topologies::topologies_node;
use crate::tuple::Timestamp;

/// How soon a signal is seen.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// The shortest time from one change of what is published about problems to the next.
const PROBLEMS_EACH: Duration = Duration::from_secs(1);

/// How soon a change of the secrets of the host is seen.
const LOOK_AT_SECRETS: Duration = Duration::from_secs(1);

/// What becomes of the processes when their supervisor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTheEnd {
    /// They go on, and the next supervisor finds them.
    GoOn,
    /// They are killed.
    Kill,
}

/// What wakes the thread that speaks with the coordination service.
enum Wanted {
    Step,
    Write(Box<Write>),
    /// These processes do not run as they should.
    Problems(Vec<(ChildId, String)>),
}

/// Runs a supervisor and its processes until the end is requested. `random` gives tokens for the records of masters.
///
/// # Errors
/// When the system gives no thread or descriptor, or the thread of the processes has panicked.
pub fn host(
    supervisor: &mut Supervisor,
    children: Children,
    coordination: &dyn Coordination,
    clock: &Clock,
    (end, at_the_end): (&EndRequest, AtTheEnd),
    random: impl FnMut() -> u64,
) -> io::Result<()> {
    let (to_children, events) = channel();
    let (to_service, wanted) = channel();
    let wake = Arc::new(Wake::new()?);
    let keeper = Keeper {
        children,
        events,
        writes: to_service.clone(),
        wake: Arc::clone(&wake),
        clock: clock.clone(),
        at_the_end,
        problems: Vec::new(),
        problems_at: None,
    };
    let thread = thread::Builder::new().name(THREAD.to_owned()).spawn(move || keeper.run())?;
    // An error means that the supervisor ends.
    let notify: Arc<Notify> = Arc::new(move |_: Notice| _ = to_service.send(Wanted::Step));
    let watched = supervisor.watched().into_iter().chain([topologies_node()]);
    watched.for_each(|node| coordination.watch(&node, &notify));
    let mut speaker = Speaker {
        supervisor,
        coordination,
        clock,
        to_children,
        wake: Arc::clone(&wake),
        random,
        pending: VecDeque::new(),
        is_registered: false,
        shown: None,
    };
    while !end.is_there() && !thread.is_finished() {
        let next = speaker.step();
        speaker.wait(&wanted, next, || end.is_there() || thread.is_finished());
    }
    // The other thread ends when this channel does.
    drop(speaker);
    wake.wake();
    thread.join().map_err(|_| io::Error::other("the thread of the processes has panicked"))
}

/// The thread of the processes.
struct Keeper {
    children: Children,
    events: Receiver<Event>,
    writes: Sender<Wanted>,
    wake: Arc<Wake>,
    clock: Clock,
    at_the_end: AtTheEnd,
    /// The problems that the other thread knows, and since when.
    problems: Vec<(ChildId, String)>,
    problems_at: Option<Time>,
}

impl Keeper {
    fn run(mut self) {
        while self.take_events(self.clock.now()) {
            for write in self.children.step(self.clock.now()) {
                // An error means that the supervisor ends.
                let _ = self.writes.send(Wanted::Write(Box::new(write)));
            }
            self.send_problems(self.clock.now());
            self.children.wait(&self.wake, self.clock.now());
        }
        if self.at_the_end == AtTheEnd::Kill {
            self.children.end_all();
        }
    }

    /// Hands over what is wrong with the processes, if that has changed. If it has changed a moment ago, a later step
    /// does that.
    fn send_problems(&mut self, now: Time) {
        if self.problems_at.is_some_and(|at| now.since(at) < PROBLEMS_EACH) {
            return;
        }
        let problems = self.children.problems();
        if problems != self.problems {
            // An error means that the supervisor ends.
            let _ = self.writes.send(Wanted::Problems(problems.clone()));
            (self.problems, self.problems_at) = (problems, Some(now));
        }
    }

    /// Returns whether the supervisor goes on.
    fn take_events(&mut self, now: Time) -> bool {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.children.handle(event, now),
                Err(error) => return error == std::sync::mpsc::TryRecvError::Empty,
            }
        }
    }
}

/// The thread that speaks with the coordination service.
struct Speaker<'a, R> {
    supervisor: &'a mut Supervisor,
    coordination: &'a dyn Coordination,
    clock: &'a Clock,
    to_children: Sender<Event>,
    wake: Arc<Wake>,
    random: R,
    pending: VecDeque<Write>,
    is_registered: bool,
    /// Why the topologies could not be read, as it was logged last.
    shown: Option<String>,
}

impl<R: FnMut() -> u64> Speaker<'_, R> {
    /// Registers, reads, and writes what waits. Returns how soon the next step is due.
    fn step(&mut self) -> Duration {
        let state = self.supervisor.step(self.coordination);
        self.is_registered = state == SupervisorState::Registered;
        let reading = if self.is_registered { self.read() } else { Event::Away };
        self.send(reading);
        while let Some(write) = self.pending.pop_front() {
            self.write(write);
        }
        state.next_step()
    }

    fn read(&mut self) -> Event {
        let (event, why) = match read_topologies(self.coordination, self.supervisor.id()) {
            Ok(Some(reading)) => (Event::Read(reading), None),
            Ok(None) => (Event::Away, None),
            Err(error) => (Event::Away, Some(error.to_string())),
        };
        if self.shown != why {
            if let Some(why) = &why {
                warn!(self.supervisor.logger(), "what this host runs is left as it is"; "why" => why);
            }
            self.shown = why;
        }
        event
    }

    fn write(&mut self, wanted: Write) {
        let written = match self.is_registered {
            true => write(self.coordination, self.supervisor.id(), (self.random)(), &wanted)
                .map_err(|error| error.to_string()),
            false => Err("this supervisor does not belong to the cluster at the moment".to_owned()),
        };
        let event = match written {
            Ok(written) => Event::Written(wanted.topology().clone(), written),
            Err(why) => Event::NotWritten(wanted, why),
        };
        self.send(event);
    }

    fn send(&self, event: Event) {
        // An error means that the other thread has ended, which the loop sees.
        let _ = self.to_children.send(event);
        self.wake.wake();
    }

    /// Waits until something has changed, here or elsewhere, or a step is due, and writes meanwhile.
    fn wait(&mut self, wanted: &Receiver<Wanted>, next: Duration, is_over: impl Fn() -> bool) {
        let (mut waited, mut looked) = (Duration::ZERO, Duration::ZERO);
        while waited < next && !is_over() {
            let look = LOOK_MAX.min(next - waited);
            match wanted.recv_timeout(look) {
                Ok(Wanted::Write(write)) => self.write(*write),
                Ok(Wanted::Problems(problems)) => {
                    self.set_problems(&problems);
                    break;
                }
                Ok(Wanted::Step) => break,
                Err(RecvTimeoutError::Timeout) => {
                    waited += look;
                    if waited - looked >= LOOK_AT_SECRETS {
                        looked = waited;
                        if self.supervisor.look_at_secrets() {
                            break;
                        }
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // Many changes are one reason to look.
        for wanted in wanted.try_iter() {
            match wanted {
                Wanted::Write(write) => self.pending.push_back(*write),
                Wanted::Problems(problems) => self.set_problems(&problems),
                Wanted::Step => {}
            }
        }
    }

    fn set_problems(&mut self, problems: &[(ChildId, String)]) {
        self.supervisor.set_problems(problems, &Timestamp(self.clock.wall_nanos()).to_string());
    }
}
