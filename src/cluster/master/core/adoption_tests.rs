//! Arrivals and adoption, as stories.

use std::net::SocketAddr;
use std::time::Duration;

use super::Core;
use crate::clock::Time;
use crate::cluster::control::{FromWorker, ToWorker};
use crate::cluster::link::{Arrival, Living, StartedAt, Welcome};
use crate::cluster::master::counts::Sources;
use crate::cluster::master::events::{Appointment, CoreOptions, Event, MasterAction, Places};
use crate::config::WorkerOptions;
use crate::ids::{Incarnation, WorkerId};
use crate::net::{Endpoint, Member, Members};
use crate::runtime::end_sequence::EndCommand;

const GRACE: Duration = Duration::from_secs(5);
/// The version of the assignment.
const ASSIGNMENT: u64 = 4;

struct Story {
    core: Core,
    now: Time,
    /// Where processes are started, and for what.
    started: StartedAt,
    actions: Vec<MasterAction>,
}

fn endpoint(worker: u16, incarnation: u32) -> Endpoint {
    Endpoint { worker: WorkerId(worker), incarnation: Incarnation(incarnation) }
}

fn address(worker: u16) -> SocketAddr {
    ([127, 0, 0, 1], 1000 + worker).into()
}

/// Worker `worker`, which runs as `incarnation` and knows these incarnations.
fn living(incarnation: u32, worker: u16, known: &[u32]) -> Living {
    let members = (0..).zip(known).map(|(worker, incarnation)| Member {
        worker: WorkerId(worker),
        incarnation: Incarnation(*incarnation),
        address: Some(address(worker)),
    });
    Living {
        incarnation: Incarnation(incarnation),
        assignment: ASSIGNMENT,
        address: Some(address(worker)),
        members: Members { version: 7, members: members.collect() },
        active: true,
        was_active: true,
        closes: false,
    }
}

impl Story {
    /// The master of this epoch, of three workers.
    fn new(epoch: u64) -> Story {
        let core = Core::new(CoreOptions {
            sources: vec![Sources::ReadAgain; 3],
            // Nobody beats here, and nobody is to be replaced for that.
            worker: WorkerOptions {
                heartbeat_timeout: Duration::from_secs(3600),
                ..WorkerOptions::default()
            },
            link_lost: Duration::from_secs(10),
            bolts: 1,
            drain_timeout: Duration::from_secs(30),
            start_inactive: false,
            checkpoints: None,
            first_recovery: 0,
            appointment: Some(Appointment { epoch, grace: GRACE, assignment: ASSIGNMENT, on_trial: false }),
        });
        let mut story = Story { core, now: Time(1), started: StartedAt::default(), actions: Vec::new() };
        story.on(Event::Tick);
        story
    }

    fn on(&mut self, event: Event) {
        let actions = self.core.on(event, self.now);
        self.actions.extend(actions.into_iter().filter(|action| !matches!(action, MasterAction::Note(_))));
    }

    fn arrives(&mut self, worker: u16, process: u64, living: Option<Living>) -> Vec<MasterAction> {
        self.on(Event::Arrived(Arrival {
            worker: WorkerId(worker),
            process,
            started: self.started.clone(),
            living,
        }));
        std::mem::take(&mut self.actions)
    }

    fn listens(&mut self, who: Endpoint) -> Vec<MasterAction> {
        self.on(Event::Message(who, FromWorker::Listening { address: address(who.worker.0) }));
        std::mem::take(&mut self.actions)
    }

    /// Lets time pass until the core wants to look, at most so long.
    fn pass(&mut self, time: Duration) -> Vec<MasterAction> {
        let end = self.now.after(time);
        while self.core.deadline() <= end {
            self.now = self.core.deadline().max(self.now.after(Duration::from_micros(100)));
            self.on(Event::Tick);
        }
        self.now = end;
        std::mem::take(&mut self.actions)
    }
}

/// The incarnations that are started.
fn started(actions: &[MasterAction]) -> Vec<Endpoint> {
    let who = |action: &MasterAction| match action {
        MasterAction::Start(who, _) => Some(*who),
        _ => None,
    };
    actions.iter().filter_map(who).collect()
}

fn welcomes(actions: &[MasterAction]) -> Vec<Welcome> {
    let welcome = |action: &MasterAction| match action {
        MasterAction::Welcome(_, _, welcome) => Some(welcome.clone()),
        _ => None,
    };
    actions.iter().filter_map(welcome).collect()
}

/// The versions and incarnations of the lists that are sent, each once.
fn lists(actions: &[MasterAction]) -> Vec<(u64, Vec<u32>)> {
    let list = |action: &MasterAction| match action {
        MasterAction::Send(_, ToWorker::Members(members)) => {
            Some((members.version, members.members.iter().map(|member| member.incarnation.0).collect()))
        }
        _ => None,
    };
    let mut lists: Vec<_> = actions.iter().filter_map(list).collect();
    lists.dedup();
    lists
}

fn is_fenced(actions: &[MasterAction]) -> bool {
    matches!(welcomes(actions)[..], [Welcome::Fenced(_)])
}

#[test]
fn nothing_is_started_before_a_process_is_there() {
    let mut story = Story::new(1);
    assert_eq!(started(&story.pass(Duration::from_secs(100))), []);
    let actions = story.arrives(1, 11, None);
    assert_eq!(welcomes(&actions), [Welcome::Fresh]);
    assert_eq!(started(&actions), [endpoint(1, 1)]);
}

#[test]
fn another_process_of_a_worker_is_its_next_incarnation() {
    let mut story = Story::new(1);
    for worker in 0..3 {
        story.arrives(worker, u64::from(worker), None);
        story.listens(endpoint(worker, 1));
    }
    let actions = story.arrives(1, 11, None);
    assert_eq!(started(&actions), [endpoint(1, 2)]);
    assert_eq!(lists(&actions), [((1 << 32) + 2, vec![1, 2, 1])]);
    // What the former process still sends is nobody's.
    assert_eq!(story.listens(endpoint(1, 1)), []);
    // The pause before the next one is that of a worker that dies again and again.
    assert_eq!(started(&story.arrives(1, 12, None)), []);
    assert_eq!(started(&story.pass(WorkerOptions::default().restart_min)), [endpoint(1, 3)]);
}

#[test]
fn a_process_of_no_worker_is_refused() {
    let mut story = Story::new(1);
    assert!(is_fenced(&story.arrives(3, 1, None)));
    // The first master waits for nobody who runs.
    assert!(is_fenced(&story.arrives(0, 1, Some(living(1, 0, &[1, 1, 1])))));
}

#[test]
fn workers_that_run_are_adopted_and_go_on() {
    let mut story = Story::new(2);
    for (worker, incarnation) in [(0, 1), (1, 4)] {
        let actions = story.arrives(worker, 0, Some(living(incarnation, worker, &[1, 4, 2])));
        assert_eq!((welcomes(&actions), lists(&actions)), (vec![Welcome::Adopted], vec![]));
    }
    let actions = story.arrives(2, 0, Some(living(2, 2, &[1, 4, 2])));
    assert_eq!(welcomes(&actions), [Welcome::Adopted]);
    assert_eq!(lists(&actions), [((2 << 32) + 1, vec![1, 4, 2])]);
    assert_eq!(started(&actions), []);
    let activated = |action: &MasterAction| matches!(action, MasterAction::Send(_, ToWorker::Activate));
    assert!(!actions.iter().any(activated), "they are active");
}

#[test]
fn a_worker_that_died_meanwhile_gets_an_incarnation_that_nobody_knows() {
    let mut story = Story::new(2);
    assert_eq!(started(&story.arrives(2, 9, None)), [], "the others may know a higher one");
    story.arrives(0, 0, Some(living(1, 0, &[1, 4, 2])));
    // This one has heard of a later death.
    let actions = story.arrives(1, 0, Some(living(4, 1, &[1, 4, 3])));
    assert_eq!(started(&actions), [endpoint(2, 4)]);
    assert_eq!(lists(&actions), [((2 << 32) + 1, vec![1, 4, 4])]);
}

#[test]
fn who_does_not_arrive_in_time_is_not_waited_for() {
    let mut story = Story::new(2);
    story.arrives(0, 0, Some(living(1, 0, &[1, 4, 2])));
    assert_eq!(lists(&story.pass(GRACE - Duration::from_millis(1))), []);
    assert_eq!(lists(&story.pass(Duration::from_millis(2))), [((2 << 32) + 1, vec![1, 5, 3])]);
    assert!(is_fenced(&story.arrives(1, 1, Some(living(4, 1, &[1, 4, 2])))));
    assert_eq!(started(&story.arrives(1, 2, None)), [endpoint(1, 5)]);
}

#[test]
fn a_worker_that_runs_by_another_assignment_is_not_adopted() {
    let mut story = Story::new(2);
    let other = Living { assignment: ASSIGNMENT - 1, ..living(1, 0, &[1, 1, 1]) };
    assert!(is_fenced(&story.arrives(0, 0, Some(other))));
}

#[test]
fn what_the_master_before_had_closed_is_closed() {
    let mut story = Story::new(2);
    story.arrives(0, 0, Some(Living { closes: true, ..living(1, 0, &[1, 1, 1]) }));
    story.arrives(1, 0, Some(living(1, 1, &[1, 1, 1])));
    let actions = story.arrives(2, 0, Some(living(1, 2, &[1, 1, 1])));
    let close =
        |action: &&MasterAction| matches!(action, MasterAction::Send(_, ToWorker::Ending(EndCommand::Close)));
    assert_eq!(actions.iter().filter(close).count(), 3);
    for worker in 0..3 {
        let who = endpoint(worker, 1);
        // A connection that ends before says nothing.
        story.on(Event::Closed(who));
        story.on(Event::Message(who, FromWorker::Ended { cut_short: false }));
    }
    assert!(!story.core.is_done());
    (0..3).for_each(|worker| story.on(Event::Closed(endpoint(worker, 1))));
    assert!(story.core.is_done());
    assert!(!story.core.is_cut_short());
}

fn started_on(host: &str, change: u64) -> StartedAt {
    StartedAt { host: host.to_owned(), change }
}

/// Supervisors and the master see an assignment at different moments, so a worker may be there before its master knows
/// that it moves, and a process of the place before may come after.
#[test]
fn a_worker_has_moved_when_a_process_of_its_new_place_is_up() {
    let mut story = Story::new(1);
    story.started = started_on("a", 1);
    for worker in 0..3 {
        story.arrives(worker, 0, None);
        story.listens(endpoint(worker, 1));
    }
    let placed = |generation, hosts: [&str; 3]| {
        let hosts = (0..).map(WorkerId).zip(hosts.map(str::to_owned)).collect();
        Event::Placed(Places { generation, hosts })
    };
    assert_eq!(story.core.moved_to(), None, "nothing has changed");
    story.on(placed(2, ["a", "a", "a"]));
    assert_eq!(story.core.moved_to(), Some(2), "all are where they should be");
    // Worker 1 is there already.
    story.started = started_on("b", 3);
    story.arrives(1, 1, None);
    story.listens(endpoint(1, 2));
    story.on(placed(3, ["a", "b", "c"]));
    assert_eq!(story.core.moved_to(), None);
    // Its place before has not seen that.
    story.started = started_on("a", 1);
    assert!(is_fenced(&story.arrives(1, 2, None)));
    // Worker 2 is to move, and then it is not: it has never left.
    story.on(placed(3, ["a", "b", "a"]));
    assert_eq!(story.core.moved_to(), Some(3));
    story.on(placed(4, ["a", "b", "c"]));
    story.started = started_on("c", 5);
    story.arrives(2, 3, None);
    assert_eq!(story.core.moved_to(), None, "it does not listen yet");
    story.listens(endpoint(2, 2));
    assert_eq!(story.core.moved_to(), Some(4));
    assert_eq!(story.core.workers()[0].incarnation, Incarnation(1), "worker 0 has gone on");
    // One that does not say where it was started is not waited for.
    story.started = StartedAt::default();
    story.arrives(0, 1, None);
    story.listens(endpoint(0, 2));
    assert_eq!(story.core.moved_to(), Some(4));
}
