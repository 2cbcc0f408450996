//! A model test: the core with simulated workers that pass work to each other and die. In whatever order
//! messages arrive, no worker is sent `Finish` or `Close` while there is work left.
//!
//! Work is tokens. A worker consumes one token at a time and may send others. A token on its way counts
//! as its sender's until the receiver has it, as frames do. Spouts make tokens until they are exhausted.
//! Channels to and from the master keep their order, with any delay.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::cluster::control::Beat;
use crate::cluster::master::events::CoreOptions;
use crate::config::WorkerOptions;
use crate::ids::{Incarnation, WorkerId};

const BOLTS: usize = 2;

#[derive(Default)]
struct Worker {
    incarnation: u32,
    alive: bool,
    active: bool,
    draining: bool,
    /// Tokens that its spout will make.
    to_make: u32,
    tokens: u32,
    /// Tokens that it has sent and that were not taken.
    sent: u32,
    activity: u64,
    round: u64,
    /// The place that it was sent a `Finish` for and has not finished.
    to_finish: Option<usize>,
    /// Up to which place this incarnation has finished.
    finished: usize,
    sent_rest: bool,
    sent_live: bool,
    closed: bool,
    inbox: VecDeque<ToWorker>,
    outbox: VecDeque<FromWorker>,
}

impl Worker {
    fn endpoint(&self, index: usize) -> Endpoint {
        Endpoint { worker: WorkerId(index as u16), incarnation: Incarnation(self.incarnation) }
    }

    fn is_live(&self) -> bool {
        self.to_make > 0 && !self.draining
    }

    fn is_at_rest(&self) -> bool {
        !self.is_live() && self.tokens == 0 && self.sent == 0
    }

    fn progress(&self) -> EndProgress {
        EndProgress {
            at_rest: self.is_at_rest(),
            activity: self.activity,
            live_spouts: u64::from(self.is_live()),
            round: self.round,
            asked: u64::from(self.round > 0),
            answered: u64::from(self.round > 0 && self.to_finish.is_none()),
            executors: 1,
            ..EndProgress::default()
        }
    }
}

struct World {
    random: StdRng,
    core: Core,
    now: Time,
    workers: Vec<Worker>,
    /// Tokens on their way: from which worker, to which.
    on_the_way: Vec<(usize, usize)>,
    deaths_left: u32,
    /// Everything that makes work costs some of it, so that each world ends.
    budget: u32,
    seed: u64,
    started: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let workers = random.random_range(1..=4_u16);
        let options = CoreOptions {
            sources: vec![crate::cluster::master::counts::Sources::ReadAgain; usize::from(workers)],
            worker: WorkerOptions { restart_max: Duration::from_millis(60), ..WorkerOptions::default() },
            link_lost: Duration::from_secs(10),
            bolts: BOLTS,
            drain_timeout: Duration::from_secs(100_000),
            start_inactive: false,
            checkpoints: None,
            first_recovery: 0,
            appointment: None,
        };
        let deaths_left = if random.random_bool(0.5) { random.random_range(1..4) } else { 0 };
        World {
            core: Core::new(options),
            now: Time(1),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            on_the_way: Vec::new(),
            deaths_left,
            budget: random.random_range(0..60),
            random,
            seed,
            started: 0,
        }
    }

    fn on(&mut self, event: Event) {
        for action in self.core.on(event, self.now) {
            match action {
                MasterAction::Start(who, _) => self.start(who),
                MasterAction::Send(who, message) => {
                    self.check(&message);
                    let worker = &mut self.workers[who.worker.index()];
                    assert_eq!(worker.incarnation, who.incarnation.0);
                    worker.inbox.push_back(message);
                }
                MasterAction::Examine(who) => panic!("seed {}: nobody is overdue: {who}", self.seed),
                MasterAction::Kill(who) => panic!("seed {}: nobody is to be killed: {who}", self.seed),
                MasterAction::Store(job) => panic!("seed {}: no checkpoints are taken: {job:?}", self.seed),
                MasterAction::AnswerSavepoint(_)
                | MasterAction::AnswerCheckpoint(..)
                | MasterAction::Welcome(..)
                | MasterAction::Note(_)
                | MasterAction::Done => {}
            }
        }
    }

    /// Checks what must hold when the master believes that all workers are at rest.
    fn check(&self, message: &ToWorker) {
        let believes_in_rest =
            matches!(message, ToWorker::Ending(EndCommand::Finish { .. } | EndCommand::Close));
        if !believes_in_rest {
            return;
        }
        assert!(self.on_the_way.is_empty(), "seed {}: {message:?} while a token is on its way", self.seed);
        for (index, worker) in self.workers.iter().enumerate() {
            assert!(
                worker.alive && worker.is_at_rest(),
                "seed {}: {message:?} while {index} works",
                self.seed
            );
        }
        match message {
            ToWorker::Ending(EndCommand::Finish { place, .. }) => {
                assert!(self.workers.iter().all(|worker| worker.finished >= *place || *place == 0));
            }
            ToWorker::Ending(EndCommand::Close) => {
                assert!(self.workers.iter().all(|worker| worker.finished == BOLTS))
            }
            _ => {}
        }
    }

    fn start(&mut self, who: Endpoint) {
        self.started += 1;
        let made = self.random.random_range(0..=self.budget.min(6));
        self.budget -= made;
        self.workers[who.worker.index()] =
            Worker { incarnation: who.incarnation.0, alive: true, to_make: made, ..Worker::default() };
        let address = ([127, 0, 0, 1], 1).into();
        self.workers[who.worker.index()].outbox.push_back(FromWorker::Listening { address });
    }

    fn die(&mut self, index: usize) {
        let who = self.workers[index].endpoint(index);
        self.deaths_left -= 1;
        self.workers[index] = Worker { incarnation: who.incarnation.0, ..Worker::default() };
        // The tokens that it had sent, or that were on their way to it, are lost.
        let on_the_way = std::mem::take(&mut self.on_the_way);
        for (from, to) in on_the_way {
            if from != index && to != index {
                self.on_the_way.push((from, to));
            } else if from != index {
                self.workers[from].sent -= 1;
                self.workers[from].activity += 1;
            }
        }
        self.on(Event::Exited(who, Exit::Signal(9)));
    }

    fn make_work(&mut self, index: usize) {
        if self.budget > 0 && self.random.random_bool(0.6) {
            self.budget -= 1;
            let to = self.random.random_range(0..self.workers.len());
            if to == index {
                self.workers[index].tokens += 1;
            } else if self.workers[to].alive {
                self.workers[index].sent += 1;
                self.on_the_way.push((index, to));
            }
        }
    }

    fn step(&mut self) {
        let index = self.random.random_range(0..self.workers.len());
        match self.random.random_range(0..8) {
            // A message reaches the master, or a command reaches a worker.
            0 | 1 => {
                if let Some(message) = self.workers[index].outbox.pop_front() {
                    self.on(Event::Message(self.workers[index].endpoint(index), message));
                }
            }
            2 => {
                if let Some(message) = self.workers[index].inbox.pop_front() {
                    self.run_command(index, message);
                }
            }
            3 => {
                self.now = self.now.after(Duration::from_micros(self.random.random_range(1..5000)));
                self.on(Event::Tick);
            }
            // A worker works.
            4 => {
                let worker = &mut self.workers[index];
                if worker.alive && worker.active && worker.is_live() {
                    worker.to_make -= 1;
                    worker.tokens += 1;
                    worker.activity += 1;
                }
            }
            5 => {
                let worker = &mut self.workers[index];
                if worker.alive && worker.tokens > 0 {
                    worker.tokens -= 1;
                    worker.activity += 1;
                    self.make_work(index);
                } else if worker.alive && worker.to_finish.is_some() {
                    worker.finished = worker.to_finish.take().map_or(0, |place| place + 1);
                    worker.activity += 1;
                    self.make_work(index);
                }
            }
            6 if !self.on_the_way.is_empty() => {
                let token = self.random.random_range(0..self.on_the_way.len());
                let (from, to) = self.on_the_way.swap_remove(token);
                // The receiver has the token before the sender counts it as taken.
                self.workers[to].tokens += 1;
                self.workers[to].activity += 1;
                self.workers[from].sent -= 1;
            }
            7 if self.may_die(index) => self.die(index),
            _ => {}
        }
        self.beat(index);
    }

    fn may_die(&mut self, index: usize) -> bool {
        let may = self.deaths_left > 0 && self.workers[index].alive && !self.is_closing();
        may && self.random.random_bool(0.05)
    }

    fn is_closing(&self) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.closed || worker.inbox.contains(&ToWorker::Ending(EndCommand::Close)))
    }

    fn run_command(&mut self, index: usize, message: ToWorker) {
        let worker = &mut self.workers[index];
        match message {
            ToWorker::Activate => worker.active = true,
            ToWorker::Ending(EndCommand::Drain) => worker.draining = true,
            ToWorker::Ending(EndCommand::Finish { round, place }) => {
                worker.round = round;
                worker.to_finish = Some(place);
            }
            ToWorker::Ending(EndCommand::AskHolders { .. }) => panic!("nobody holds anything"),
            ToWorker::Probe { wave } => {
                let progress = worker.progress();
                worker.outbox.push_back(FromWorker::Progress { wave, progress });
            }
            ToWorker::Ending(EndCommand::Close) => {
                worker.closed = true;
                worker.outbox.push_back(FromWorker::Ended { cut_short: false });
            }
            ToWorker::Ending(EndCommand::End)
            | ToWorker::Start(_)
            | ToWorker::Members(_)
            | ToWorker::Checkpoint(_)
            | ToWorker::ReadLog { .. }
            | ToWorker::Deactivate => {}
        }
    }

    /// Sends a beat as `Reports::progress` does, and sometimes one that is not needed.
    fn beat(&mut self, index: usize) {
        let by_the_way = self.random.random_bool(0.02);
        let worker = &mut self.workers[index];
        let (at_rest, live) = (worker.is_at_rest(), worker.is_live());
        if worker.alive && ((at_rest && !worker.sent_rest) || live != worker.sent_live || by_the_way) {
            (worker.sent_rest, worker.sent_live) = (at_rest, live);
            let beat = Beat { at_rest, live_spouts: u64::from(live), links_up: 0 };
            worker.outbox.push_back(FromWorker::Beat(beat));
        }
    }

    /// Steps until the end. Returns how many incarnations were started.
    fn run(mut self) -> u32 {
        self.on(Event::Tick);
        for _ in 0..200_000 {
            self.step();
            if self.core.is_done() {
                assert!(!self.core.is_cut_short(), "seed {}", self.seed);
                return self.started;
            }
            for index in 0..self.workers.len() {
                if self.workers[index].closed && self.workers[index].outbox.is_empty() {
                    let who = self.workers[index].endpoint(index);
                    self.workers[index].closed = false;
                    self.workers[index].alive = false;
                    self.on(Event::Exited(who, Exit::Code(0)));
                }
            }
        }
        panic!("seed {}: it does not end", self.seed);
    }
}

#[test]
fn the_end_never_comes_early_and_always_comes() {
    let mut deaths = 0;
    for seed in 0..1500 {
        let world = World::new(seed);
        let workers = world.workers.len() as u32;
        deaths += world.run() - workers;
    }
    assert!(deaths > 500, "only {deaths} deaths: the model is too kind");
}
