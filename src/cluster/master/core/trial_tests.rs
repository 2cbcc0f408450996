//! Topologies on trial, as stories.

use std::collections::BTreeMap;
use std::time::Duration;

use smol_str::SmolStr;

use super::Core;
use crate::checkpoint::{Manifest, TaskName};
use crate::clock::Time;
use crate::cluster::control::{Beat, FromWorker, ToWorker};
use crate::cluster::link::{Arrival, StartedAt};
use crate::cluster::master::counts::Sources;
use crate::cluster::master::events::{Appointment, CoreOptions, Event, MasterAction, StoreJob};
use crate::cluster::stats::WorkerStats;
use crate::cluster::topologies::TopologyPhase;
use crate::config::{CheckpointOptions, WorkerOptions};
use crate::ids::{CheckpointId, Incarnation, WorkerId};
use crate::net::Endpoint;
use crate::runtime::StopReason;
use crate::runtime::checkpoint_actions::Parts;
use crate::runtime::end_sequence::EndProgress;
use crate::runtime::flow::checkpoint::{CheckpointOrder, CheckpointReport, TaskPart};
use crate::state::SnapshotKind;

/// The epoch of the store.
const STORE_EPOCH: u64 = 6;

struct Story {
    core: Core,
    now: Time,
    actions: Vec<MasterAction>,
}

fn who(worker: u16, incarnation: u32) -> Endpoint {
    Endpoint { worker: WorkerId(worker), incarnation: Incarnation(incarnation) }
}

fn task() -> TaskName {
    TaskName::new(SmolStr::new("count"), 0)
}

/// Of a topology with one task that has a state.
fn parts() -> Parts {
    let tasks = BTreeMap::from([(task(), 1)]);
    Parts { topology: "words".into(), tasks, key_groups: 16, answerers: 2 }
}

impl Story {
    /// Two workers, of which none has arrived.
    fn new(has_checkpoints: bool, start_inactive: bool) -> Story {
        let checkpoints = has_checkpoints.then(|| (CheckpointOptions::default(), parts(), STORE_EPOCH));
        let (grace, epoch, assignment, on_trial) = (Duration::from_secs(5), 1, 4, true);
        let core = Core::new(CoreOptions {
            sources: vec![Sources::ReadAgain; 2],
            // Nobody is to be replaced for being silent.
            worker: WorkerOptions {
                heartbeat_timeout: Duration::from_secs(3600),
                ..WorkerOptions::default()
            },
            link_lost: Duration::from_secs(10),
            bolts: 1,
            drain_timeout: Duration::from_secs(30),
            start_inactive,
            checkpoints,
            first_recovery: 1,
            appointment: Some(Appointment { epoch, grace, assignment, on_trial }),
        });
        let mut story = Story { core, now: Time(1), actions: Vec::new() };
        (0..2).for_each(|worker| story.arrives(worker, 1));
        story
    }

    fn on(&mut self, event: Event) {
        let actions = self.core.on(event, self.now);
        self.actions.extend(actions);
    }

    fn says(&mut self, from: Endpoint, message: FromWorker) {
        self.on(Event::Message(from, message));
    }

    fn arrives(&mut self, worker: u16, incarnation: u32) {
        let process = u64::from(worker) + 10 * u64::from(incarnation);
        self.on(Event::Arrived(Arrival {
            worker: WorkerId(worker),
            process,
            started: StartedAt::default(),
            living: None,
        }));
        let address = ([127, 0, 0, 1], 1000 + worker).into();
        self.says(who(worker, incarnation), FromWorker::Listening { address });
    }

    /// Time passes, and each wave is answered with rest, until there is nothing to do for a while.
    fn settles(&mut self, incarnations: [u32; 2]) {
        for _ in 0..20 {
            self.now = self.now.after(Duration::from_millis(25));
            self.on(Event::Tick);
            let waves: Vec<u64> = self.take(|action| match action {
                MasterAction::Send(_, ToWorker::Probe { wave }) => Some(*wave),
                _ => None,
            });
            if let Some(wave) = waves.iter().max() {
                for (worker, incarnation) in (0..).zip(incarnations) {
                    let progress = EndProgress { at_rest: true, executors: 1, ..EndProgress::default() };
                    self.says(who(worker, incarnation), FromWorker::Progress { wave: *wave, progress });
                }
            }
        }
    }

    /// Takes these actions out.
    fn take<T>(&mut self, chosen: impl Fn(&MasterAction) -> Option<T>) -> Vec<T> {
        let found = self.actions.iter().filter_map(&chosen).collect();
        self.actions.retain(|action| chosen(action).is_none());
        found
    }

    fn jobs(&mut self) -> Vec<StoreJob> {
        self.take(|action| match action {
            MasterAction::Store(job) => Some(job.clone()),
            _ => None,
        })
    }

    fn orders(&mut self) -> Vec<CheckpointOrder> {
        let mut orders = self.take(|action| match action {
            MasterAction::Send(to, ToWorker::Checkpoint(order)) if to.worker == WorkerId(0) => Some(*order),
            _ => None,
        });
        orders.dedup();
        orders
    }

    /// All restore, and the first checkpoint begins. Returns which.
    fn restores(&mut self, incarnations: [u32; 2]) -> CheckpointId {
        self.settles(incarnations);
        assert_eq!(self.jobs(), [StoreJob::Load]);
        self.on(Event::Loaded(Ok(None)));
        for (worker, incarnation) in (0..).zip(incarnations) {
            self.says(who(worker, incarnation), FromWorker::Checkpoint(CheckpointReport::Restored));
        }
        let begun = self.orders().into_iter().find_map(|order| match order {
            CheckpointOrder::Begin(barrier) => Some(barrier.checkpoint),
            _ => None,
        });
        begun.expect("the first checkpoint begins at once")
    }

    /// The only task takes its part of a checkpoint.
    fn takes_part(&mut self, from: Endpoint, checkpoint: CheckpointId) {
        let part = TaskPart {
            task: task(),
            kind: SnapshotKind::Full,
            states: Vec::new(),
            positions: Default::default(),
            names_keys: false,
            has_in_flight: false,
            event_time: Default::default(),
        };
        let taken = CheckpointReport::Taken { checkpoint, part: Box::new(part), file: None };
        self.says(from, FromWorker::Checkpoint(taken));
    }

    fn phase(&self) -> (TopologyPhase, bool) {
        (self.core.phase(), self.core.trial_is_passed())
    }

    fn opens(&mut self, from: Endpoint, unopened: u64) {
        let stats = WorkerStats { unopened: Some(unopened), ..WorkerStats::default() };
        self.says(from, FromWorker::Stats(Box::new(stats)));
    }
}

fn published(jobs: &[StoreJob]) -> Vec<CheckpointId> {
    let publish = |job: &StoreJob| match job {
        StoreJob::Publish(manifest) => Some(Manifest::clone(manifest).checkpoint),
        _ => None,
    };
    jobs.iter().filter_map(publish).collect()
}

const STARTING: (TopologyPhase, bool) = (TopologyPhase::Starting, false);
const PASSED: (TopologyPhase, bool) = (TopologyPhase::Active, true);

#[test]
fn the_first_checkpoint_passes_the_trial_and_is_published_when_it_is_accepted() {
    let mut story = Story::new(true, false);
    assert_eq!(story.phase(), STARTING);
    let first = story.restores([1, 1]);
    assert_eq!(story.phase(), STARTING, "it is up when it is seen that it can take a checkpoint");
    story.takes_part(who(1, 1), first);
    assert_eq!((story.phase(), story.jobs()), (PASSED, vec![]), "nothing is published");
    story.settles([1, 1]);
    assert_eq!((story.phase(), story.jobs()), (PASSED, vec![]), "however long it takes");
    story.on(Event::Accepted);
    assert_eq!(published(&story.jobs()), [first]);
    assert_eq!((story.core.phase(), story.core.is_on_trial()), (TopologyPhase::Active, false));
    story.on(Event::Accepted);
    assert_eq!(story.jobs(), []);
}

#[test]
fn one_that_is_accepted_before_its_first_checkpoint_publishes_that_when_it_is_taken() {
    let mut story = Story::new(true, false);
    let first = story.restores([1, 1]);
    story.on(Event::Accepted);
    assert_eq!(story.jobs(), []);
    story.takes_part(who(1, 1), first);
    assert_eq!(published(&story.jobs()), [first]);
}

#[test]
fn what_is_held_is_dropped_when_all_go_back() {
    let mut story = Story::new(true, false);
    let first = story.restores([1, 1]);
    story.takes_part(who(1, 1), first);
    assert_eq!(story.phase(), PASSED);
    story.arrives(0, 2);
    assert_eq!((story.phase(), story.jobs()), (STARTING, vec![StoreJob::Discard(first)]));
    story.says(who(1, 1), FromWorker::Checkpoint(CheckpointReport::Halted));
    let second = story.restores([2, 1]);
    assert!(second > first);
    story.on(Event::Accepted);
    story.takes_part(who(1, 1), second);
    assert_eq!(published(&story.jobs()), [second], "the first is published by nobody");
}

#[test]
fn one_that_cannot_go_on_is_not_up() {
    let mut story = Story::new(true, false);
    let first = story.restores([1, 1]);
    story.takes_part(who(1, 1), first);
    let reason = StopReason {
        component: "count".into(),
        task: crate::ids::TaskId(1),
        error: "no such file".to_owned(),
    };
    story.says(who(1, 1), FromWorker::Stopped(reason));
    assert!(!story.core.trial_is_passed());
}

#[test]
fn without_checkpoints_all_tasks_must_be_opened() {
    let mut story = Story::new(false, false);
    let beat = Beat { at_rest: false, live_spouts: 1, links_up: 1 };
    (0..2).for_each(|worker| story.says(who(worker, 1), FromWorker::Beat(beat)));
    assert_eq!(story.phase(), STARTING, "it is not known whether they are");
    story.opens(who(0, 1), 0);
    story.opens(who(1, 1), 2);
    assert_eq!(story.phase(), STARTING);
    assert!(story.core.trial_waits_for().contains("not all of its tasks"));
    story.opens(who(1, 1), 0);
    assert_eq!(story.phase(), PASSED);
    // What another process has opened says nothing about this one.
    story.arrives(1, 2);
    assert_eq!(story.phase(), STARTING);
    story.opens(who(1, 2), 0);
    assert_eq!(story.phase(), PASSED);
}

#[test]
fn spouts_that_rest_have_nothing_to_open() {
    let inactive = (TopologyPhase::Inactive, true);
    assert_eq!(Story::new(false, true).phase(), inactive);
    let mut story = Story::new(true, true);
    assert_eq!(story.phase(), STARTING, "nothing is restored yet");
    story.settles([1, 1]);
    story.on(Event::Loaded(Ok(None)));
    (0..2).for_each(|worker| {
        story.says(who(worker, 1), FromWorker::Checkpoint(CheckpointReport::Restored));
    });
    assert_eq!(story.phase(), inactive);
}
