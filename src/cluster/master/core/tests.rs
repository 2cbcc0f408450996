//! The master's decisions, as stories. One file, because all of them use one [`Story`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::api::{CounterId, CounterValues};
use crate::cluster::control::{Beat, WorkerFailure};
use crate::cluster::master::counts::Sources;
use crate::cluster::master::events::CoreOptions;
use crate::cluster::stats::WorkerStats;
use crate::config::WorkerOptions;
use crate::ids::{Incarnation, TaskId, WorkerId};
use crate::net::Member;
use crate::runtime::StopReason;

/// By worker: its incarnation, and whether its address is known.
type Incarnations = BTreeMap<u16, (u32, bool)>;

/// A core, the time, and the actions it has returned so far.
struct Story {
    core: Core,
    now: Time,
    actions: Vec<MasterAction>,
    /// A wave that was asked and seen, and is not answered.
    open: Option<u64>,
    /// What a look at a silent worker finds.
    is_starved: bool,
}

fn options(workers: u16) -> CoreOptions {
    CoreOptions {
        sources: vec![Sources::ReadAgain; usize::from(workers)],
        worker: WorkerOptions::default(),
        link_lost: Duration::from_secs(10),
        bolts: 2,
        drain_timeout: Duration::from_secs(30),
        start_inactive: false,
        checkpoints: None,
        first_recovery: 0,
        appointment: None,
    }
}

fn endpoint(worker: u16, incarnation: u32) -> Endpoint {
    Endpoint { worker: WorkerId(worker), incarnation: Incarnation(incarnation) }
}

fn address(who: Endpoint) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 * (who.worker.0 + 1) + who.incarnation.0 as u16))
}

fn fatal(message: &str, is_permanent: bool) -> FromWorker {
    FromWorker::Fatal(WorkerFailure { why: message.into(), is_permanent })
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl Story {
    fn new(options: CoreOptions) -> Story {
        let mut story = Story {
            core: Core::new(options),
            now: Time(1),
            actions: Vec::new(),
            open: None,
            is_starved: false,
        };
        story.tick();
        story
    }

    /// Of workers that listen and are active.
    fn running(workers: u16) -> Story {
        let mut story = Story::new(options(workers));
        (0..workers).for_each(|worker| story.listens(endpoint(worker, 1)));
        (0..workers).for_each(|worker| story.beats(endpoint(worker, 1), 1, false));
        story.actions.clear();
        story
    }

    fn on(&mut self, event: Event) {
        for action in self.core.on(event, self.now) {
            match action {
                MasterAction::Examine(who) => self.on(Event::Examined(who, self.is_starved)),
                action => self.actions.push(action),
            }
        }
    }

    fn tick(&mut self) {
        self.on(Event::Tick);
    }

    /// Lets time pass as a shell does: whenever the core wants to look, it looks. Nobody beats.
    fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.core.deadline() <= end {
            self.now = self.core.deadline().max(self.now.after(Duration::from_micros(100)));
            self.tick();
        }
        self.now = end;
    }

    /// Lets time pass until nobody waits for a next record.
    fn until_started(&mut self) {
        while self.core.workers().iter().any(|record| matches!(record.phase, WorkerPhase::Waiting { .. })) {
            self.now = self.core.deadline();
            self.tick();
        }
    }

    /// The same as [`Story::pass`] while all who are up beat.
    fn pass_beating(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.pass(ms(500).min(end.since(self.now)));
            let up: Vec<_> = self
                .core
                .workers()
                .iter()
                .filter(|record| record.is_up())
                .map(WorkerRecord::endpoint)
                .collect();
            up.into_iter().for_each(|who| self.beats(who, 1, false));
        }
    }

    fn sends(&mut self, who: Endpoint, message: FromWorker) {
        self.on(Event::Message(who, message));
    }

    fn listens(&mut self, who: Endpoint) {
        self.sends(who, FromWorker::Listening { address: address(who) });
    }

    fn beats(&mut self, who: Endpoint, live_spouts: u64, at_rest: bool) {
        self.sends(who, FromWorker::Beat(Beat { at_rest, live_spouts, links_up: 1 }));
    }

    fn dies(&mut self, who: Endpoint) {
        self.on(Event::Exited(who, Exit::Signal(9)));
    }

    fn ends(&mut self, who: Endpoint) {
        self.sends(who, FromWorker::Ended { cut_short: false });
        self.on(Event::Exited(who, Exit::Code(0)));
    }

    /// The actions since the last call.
    fn take(&mut self) -> Vec<MasterAction> {
        std::mem::take(&mut self.actions)
    }

    fn started(&mut self) -> Vec<Endpoint> {
        self.take()
            .into_iter()
            .filter_map(|action| if let MasterAction::Start(who, _) = action { Some(who) } else { None })
            .collect()
    }

    fn sent(&mut self) -> Vec<(Endpoint, ToWorker)> {
        self.take()
            .into_iter()
            .filter_map(|action| {
                if let MasterAction::Send(who, message) = action { Some((who, message)) } else { None }
            })
            .collect()
    }

    fn killed(&mut self) -> Vec<Endpoint> {
        self.take()
            .into_iter()
            .filter_map(|action| if let MasterAction::Kill(who) = action { Some(who) } else { None })
            .collect()
    }

    /// The wave that is open, if every worker was asked the same.
    fn wave(&mut self) -> Option<u64> {
        let sent = self.sent();
        self.note_wave(&sent);
        self.open.take()
    }

    fn note_wave(&mut self, sent: &[(Endpoint, ToWorker)]) {
        let wave = |(_, message): &(Endpoint, ToWorker)| {
            if let ToWorker::Probe { wave } = message { Some(*wave) } else { None }
        };
        let waves: Vec<u64> = sent.iter().filter_map(wave).collect();
        if let Some(wave) = waves.first() {
            assert_eq!(waves, vec![*wave; self.core.workers().len()], "one wave at a time, to all");
            self.open = Some(*wave);
        }
    }

    fn answer(&mut self, worker: u16, wave: u64, progress: EndProgress) {
        let who = self.core.workers()[usize::from(worker)].endpoint();
        self.sends(who, FromWorker::Progress { wave, progress });
    }

    /// All are at rest, twice; returns the messages that are then sent to the first worker, except `Probe`.
    fn rests(&mut self, progress: EndProgress) -> Vec<ToWorker> {
        let workers = self.core.workers().len() as u16;
        for _ in 0..2 {
            let wave = self.wave().or_else(|| {
                self.pass(ms(25));
                self.wave()
            });
            let wave = wave.expect("it asks when all are at rest");
            (0..workers).for_each(|worker| self.answer(worker, wave, progress));
        }
        let sent = self.sent();
        self.note_wave(&sent);
        let sent = sent.into_iter().filter(|(who, _)| who.worker == WorkerId(0)).map(|(_, message)| message);
        sent.filter(|message| !matches!(message, ToWorker::Probe { .. })).collect()
    }
}

const REST: EndProgress = EndProgress {
    at_rest: true,
    activity: 5,
    live_spouts: 0,
    pending: 0,
    holding: 0,
    round: 0,
    asked: 0,
    answered: 0,
    executors: 3,
    closed: 0,
};

fn members_of(action: &MasterAction) -> Option<(Endpoint, u64, Incarnations)> {
    let (who, members) = match action {
        MasterAction::Start(who, members) => (who, members),
        MasterAction::Send(who, ToWorker::Members(members)) => (who, members),
        _ => return None,
    };
    let of = |member: &Member| (member.worker.0, (member.incarnation.0, member.address.is_some()));
    Some((*who, members.version, members.members.iter().map(of).collect()))
}

#[test]
fn all_are_started_and_activated_together() {
    let mut story = Story::new(options(2));
    let actions = story.take();
    let nobody: Incarnations = [(0, (1, false)), (1, (1, false))].into();
    let starts: Vec<_> = actions.iter().filter_map(members_of).collect();
    assert_eq!(starts, [(endpoint(0, 1), 1, nobody.clone()), (endpoint(1, 1), 1, nobody)]);

    story.listens(endpoint(1, 1));
    let actions = story.take();
    let one: Incarnations = [(0, (1, false)), (1, (1, true))].into();
    let sent: Vec<_> = actions.iter().filter_map(members_of).collect();
    assert_eq!(
        sent,
        [(endpoint(0, 1), 1, one.clone()), (endpoint(1, 1), 1, one)],
        "it is sent to all, under the same version"
    );
    assert!(!actions.iter().any(|action| matches!(action, MasterAction::Send(_, ToWorker::Activate))));

    story.listens(endpoint(0, 1));
    let activated: Vec<_> = story
        .sent()
        .into_iter()
        .filter(|(_, message)| *message == ToWorker::Activate)
        .map(|(who, _)| who)
        .collect();
    assert_eq!(activated, [endpoint(0, 1), endpoint(1, 1)]);
    story.listens(endpoint(0, 1));
    assert!(story.sent().is_empty(), "a second report changes nothing");
}

#[test]
fn a_topology_that_starts_inactive_waits_for_the_word() {
    let mut story = Story::new(CoreOptions { start_inactive: true, ..options(1) });
    story.listens(endpoint(0, 1));
    assert!(!story.sent().iter().any(|(_, message)| *message == ToWorker::Activate));
    story.on(Event::Activate);
    assert_eq!(story.sent(), [(endpoint(0, 1), ToWorker::Activate)]);
    story.on(Event::Activate);
    assert_eq!(story.sent(), []);
    story.on(Event::Deactivate);
    assert_eq!(story.sent(), [(endpoint(0, 1), ToWorker::Deactivate)]);
    story.dies(endpoint(0, 1));
    story.listens(endpoint(0, 2));
    let sent = story.sent().into_iter().map(|(_, message)| message);
    let active: Vec<_> =
        sent.filter(|message| matches!(message, ToWorker::Activate | ToWorker::Deactivate)).collect();
    assert_eq!(
        active,
        [ToWorker::Activate, ToWorker::Deactivate],
        "it opens its tasks, and rests as the others"
    );
}

#[test]
fn a_death_is_sent_at_once_and_the_next_incarnation_when_it_listens() {
    let mut story = Story::running(3);
    story.dies(endpoint(1, 1));
    let actions = story.take();
    let dead: Incarnations = [(0, (1, true)), (1, (2, false)), (2, (1, true))].into();
    let sent: Vec<_> = actions.iter().filter_map(members_of).collect();
    let expected =
        [(endpoint(0, 1), 2, dead.clone()), (endpoint(2, 1), 2, dead.clone()), (endpoint(1, 2), 2, dead)];
    assert_eq!(sent, expected, "the others first, then the new one, which is started at once");

    story.listens(endpoint(1, 2));
    let actions = story.take();
    let back: Incarnations = [(0, (1, true)), (1, (2, true)), (2, (1, true))].into();
    let sent: Vec<_> = actions.iter().filter_map(members_of).map(|(_, version, of)| (version, of)).collect();
    assert_eq!(sent, vec![(2, back); 3], "the same version, now with the address");
    let activated = MasterAction::Send(endpoint(1, 2), ToWorker::Activate);
    assert_eq!(
        actions.iter().filter(|action| matches!(action, MasterAction::Send(_, ToWorker::Activate))).count(),
        1
    );
    assert!(actions.contains(&activated));
    assert_eq!(story.core.workers()[1].restarts, 1);
}

#[test]
fn a_worker_that_dies_before_all_were_up_keeps_the_others_waiting() {
    let mut story = Story::new(options(2));
    story.listens(endpoint(0, 1));
    story.dies(endpoint(0, 1));
    story.listens(endpoint(1, 1));
    assert!(!story.sent().iter().any(|(_, message)| *message == ToWorker::Activate));
    story.listens(endpoint(0, 2));
    let activated = story.sent().into_iter().filter(|(_, message)| *message == ToWorker::Activate).count();
    assert_eq!(activated, 2);
}

#[test]
fn messages_of_the_dead_are_ignored() {
    let mut story = Story::running(2);
    story.dies(endpoint(0, 1));
    story.listens(endpoint(0, 2));
    story.take();
    for event in [
        Event::Message(endpoint(0, 1), FromWorker::Listening { address: address(endpoint(0, 1)) }),
        Event::Message(endpoint(0, 1), FromWorker::DrainRequested),
        Event::Message(endpoint(0, 1), fatal("late", false)),
        Event::Exited(endpoint(0, 1), Exit::Signal(9)),
        Event::Broken(endpoint(0, 1), "late".into()),
        Event::Exited(endpoint(9, 1), Exit::Signal(9)),
    ] {
        story.on(event);
    }
    assert_eq!(story.take(), []);
    assert_eq!(story.core.workers()[0].incarnation, Incarnation(2));
}

#[test]
fn pauses_grow_and_begin_anew_after_a_good_incarnation() {
    let mut story = Story::running(1);
    let mut expected = [0, 50, 100, 200, 400, 800].into_iter();
    for incarnation in 1..=6 {
        story.listens(endpoint(0, incarnation));
        story.take();
        let died = story.now;
        story.dies(endpoint(0, incarnation));
        while story.started().is_empty() {
            story.now = story.core.deadline();
            story.tick();
        }
        assert_eq!(Some(story.now.since(died).as_millis()), expected.next());
    }
    story.listens(endpoint(0, 7));
    story.pass_beating(secs(60));
    story.take();
    story.dies(endpoint(0, 7));
    assert_eq!(story.started(), [endpoint(0, 8)], "at once");
}

#[test]
fn the_longest_pause_is_an_option() {
    for longest in [ms(130), secs(3)] {
        let mut chosen = options(1);
        chosen.worker.restart_max = longest;
        let mut story = Story::new(chosen);
        // The first replacement starts at once; each pause after it is twice the one before.
        story.listens(endpoint(0, 1));
        story.dies(endpoint(0, 1));
        let mut pauses = Vec::new();
        for incarnation in 2..=20 {
            story.listens(endpoint(0, incarnation));
            story.take();
            let died = story.now;
            story.dies(endpoint(0, incarnation));
            let WorkerPhase::Waiting { until } = story.core.workers()[0].phase else {
                panic!("incarnation {} does not wait", incarnation + 1)
            };
            pauses.push(until.since(died));
            assert!(until.since(died) <= longest);
            story.pass(longest);
            assert_eq!(story.started(), [endpoint(0, incarnation + 1)]);
        }
        let expected: Vec<_> = (0..19).map(|doubled| (ms(50) * (1 << doubled)).min(longest)).collect();
        assert_eq!(pauses, expected);
    }
}

#[test]
fn a_silent_worker_is_killed_and_replaced_when_it_is_dead() {
    let mut story = Story::running(2);
    for _ in 0..4 {
        story.pass(ms(500));
        story.beats(endpoint(0, 1), 1, false);
    }
    assert_eq!(story.killed(), []);
    story.pass(ms(600));
    let actions = story.take();
    assert!(actions.contains(&MasterAction::Kill(endpoint(1, 1))));
    assert!(!actions.iter().any(|action| members_of(action).is_some()), "it may still hold its files");
    story.beats(endpoint(0, 1), 1, false);
    story.dies(endpoint(1, 1));
    assert_eq!(story.started(), [endpoint(1, 2)]);
}

#[test]
fn a_worker_that_does_not_listen_in_time_is_killed_and_in_the_end_the_run_given_up() {
    let mut story = Story::new(options(1));
    for incarnation in 1..=3 {
        story.until_started();
        story.pass(ms(29_900));
        assert_eq!(story.killed(), []);
        story.pass(ms(200));
        assert_eq!(story.killed(), [endpoint(0, incarnation)]);
        story.dies(endpoint(0, incarnation));
    }
    assert!(story.core.is_done());
    assert!(story.core.failure().unwrap().contains("3 times"), "{:?}", story.core.failure());
}

#[test]
fn a_master_that_was_stopped_holds_it_against_nobody() {
    let mut story = Story::running(2);
    story.now = story.now.after(secs(100));
    story.tick();
    assert_eq!(story.killed(), []);
    story.pass(ms(2400));
    assert_eq!(story.killed(), []);
    story.pass(ms(200));
    assert_eq!(story.killed(), [endpoint(0, 1), endpoint(1, 1)], "now they had their time");
}

#[test]
fn a_mistake_of_the_user_ends_the_run_with_its_reason() {
    let mut story = Story::new(options(2));
    assert_eq!(story.started(), [endpoint(0, 1), endpoint(1, 1)]);
    story.listens(endpoint(0, 1));
    story.sends(endpoint(1, 1), fatal("no such bolt", false));
    story.on(Event::Exited(endpoint(1, 1), Exit::Code(1)));
    assert_eq!(story.core.failure(), Some("no such bolt"));
    let actions = story.take();
    assert!(actions.contains(&MasterAction::Send(endpoint(0, 1), ToWorker::Ending(EndCommand::Close))));
    assert!(
        !actions.iter().any(|action| matches!(action, MasterAction::Start(..))),
        "the next incarnation would fail too"
    );
    story.pass(secs(1));
    story.ends(endpoint(0, 1));
    assert!(story.core.is_done() && story.core.is_cut_short());
    assert_eq!(story.started(), []);
}

#[test]
fn a_worker_that_was_good_before_is_given_more_chances() {
    let mut story = Story::running(1);
    story.sends(endpoint(0, 1), fatal("the runtime broke", false));
    story.on(Event::Exited(endpoint(0, 1), Exit::Code(1)));
    for incarnation in 2..=10 {
        assert_eq!(story.core.failure(), None);
        story.until_started();
        story.on(Event::Exited(endpoint(0, incarnation), Exit::Code(101)));
    }
    story.until_started();
    assert_eq!(story.core.failure(), None);
    story.on(Event::Exited(endpoint(0, 11), Exit::Code(101)));
    let why = story.core.failure().unwrap();
    assert!(why.contains("worker 0") && why.contains("10 times") && why.contains("exit code 101"), "{why}");
}

/// A worker hook that could never start again, for example because a password had been changed, was tried
/// ten times with growing pauses before the run ended.
#[test]
fn a_restarted_worker_that_can_never_start_again_ends_the_run() {
    let mut story = Story::running(2);
    story.dies(endpoint(0, 1));
    story.until_started();
    story.sends(endpoint(0, 2), fatal("the database is away", false));
    story.on(Event::Exited(endpoint(0, 2), Exit::Code(1)));
    assert_eq!(story.core.failure(), None, "this may pass");
    story.until_started();
    story.sends(endpoint(0, 3), fatal("the password is wrong", true));
    story.on(Event::Exited(endpoint(0, 3), Exit::Code(1)));
    assert_eq!(story.core.failure(), Some("the password is wrong"));
    story.ends(endpoint(1, 1));
    assert!(story.core.is_done() && story.core.is_cut_short());
}

#[test]
fn who_is_killed_at_its_start_from_outside_may_try_for_ever() {
    let mut story = Story::new(options(1));
    for incarnation in 1..50 {
        story.dies(endpoint(0, incarnation));
        story.pass(secs(30));
    }
    assert_eq!((story.core.failure(), story.core.workers()[0].incarnation), (None, Incarnation(50)));
}

#[test]
fn a_program_that_cannot_be_started_is_no_reason_to_loop() {
    let mut story = Story::new(options(1));
    for incarnation in 1..=3 {
        assert_eq!(story.core.failure(), None);
        story.on(Event::Exited(endpoint(0, incarnation), Exit::NotStarted("no such file".into())));
        story.pass(secs(1));
    }
    assert!(story.core.failure().unwrap().contains("no such file"));
    assert!(story.core.is_done());
}

#[test]
fn a_worker_whose_channel_is_broken_is_killed() {
    let mut story = Story::running(2);
    story.on(Event::Broken(endpoint(1, 1), "not JSON".into()));
    assert_eq!(story.killed(), [endpoint(1, 1)]);
    story.on(Event::Broken(endpoint(1, 1), "not JSON".into()));
    assert_eq!(story.killed(), []);
    story.dies(endpoint(1, 1));
    assert_eq!(story.started(), [endpoint(1, 2)]);
}

#[test]
fn the_one_whose_links_are_down_is_replaced() {
    let mut story = Story::running(3);
    let report_link_down = |story: &mut Story, who: u16, of: u16, seconds: u64| {
        story.sends(endpoint(who, 1), FromWorker::LinkDown { peer: WorkerId(of), for_ms: 1000 * seconds });
    };
    report_link_down(&mut story, 0, 1, 9);
    story.pass_beating(secs(2));
    assert_eq!(story.killed(), [], "not long enough");
    for (who, of) in [(1, 0), (1, 2), (0, 1), (2, 1)] {
        report_link_down(&mut story, who, of, 10);
    }
    assert_eq!(story.killed(), [], "others may complain too");
    story.pass_beating(secs(2));
    assert_eq!(story.killed(), [endpoint(1, 1)]);
    report_link_down(&mut story, 0, 2, 10);
    story.dies(endpoint(1, 1));
    story.pass_beating(secs(2));
    assert_eq!(story.killed(), [], "one at a time");
}

#[test]
fn the_end_comes_in_order() {
    let mut story = Story::running(2);
    story.beats(endpoint(0, 1), 0, true);
    story.pass(ms(100));
    story.beats(endpoint(1, 1), 1, false);
    assert_eq!(story.wave(), None, "a spout is live");
    story.beats(endpoint(1, 1), 0, true);
    assert_eq!(story.rests(REST), [ToWorker::Ending(EndCommand::Finish { round: 1, place: 0 })]);
    let answered = EndProgress { round: 1, asked: 1, answered: 1, ..REST };
    assert_eq!(story.rests(answered), [ToWorker::Ending(EndCommand::Finish { round: 2, place: 1 })]);
    assert_eq!(story.rests(EndProgress { answered: 0, round: 2, ..answered }), [], "not answered");
    assert_eq!(
        story.rests(EndProgress { round: 2, activity: 6, ..answered }),
        [ToWorker::Ending(EndCommand::Close)]
    );
    story.sends(endpoint(1, 1), FromWorker::Ended { cut_short: false });
    assert_eq!(story.sent(), [], "the other would take it for a death");
    story.sends(endpoint(0, 1), FromWorker::Ended { cut_short: false });
    assert_eq!(
        story.sent(),
        [
            (endpoint(0, 1), ToWorker::Ending(EndCommand::End)),
            (endpoint(1, 1), ToWorker::Ending(EndCommand::End))
        ]
    );
    story.on(Event::Exited(endpoint(1, 1), Exit::Code(0)));
    assert!(!story.core.is_done());
    story.on(Event::Exited(endpoint(0, 1), Exit::Code(0)));
    assert!(story.core.is_done() && !story.core.is_cut_short());
    assert_eq!(story.take().last(), Some(&MasterAction::Done));
    assert_eq!(story.core.deadline(), Time::NEVER);
}

#[test]
fn the_first_question_comes_a_millisecond_after_rest_and_then_each_twenty() {
    let mut story = Story::running(1);
    story.beats(endpoint(0, 1), 0, false);
    story.pass(ms(19));
    let first = story.wave().expect("bounded input is exhausted");
    story.answer(0, first, EndProgress { at_rest: false, ..REST });
    story.pass(ms(19));
    assert_eq!(story.wave(), None);
    story.beats(endpoint(0, 1), 0, true);
    story.pass(ms(1));
    assert!(story.wave().is_some(), "it came to rest");
}

#[test]
fn holders_are_asked_before_the_end() {
    let mut story = Story::running(2);
    (0..2).for_each(|worker| story.beats(endpoint(worker, 1), 0, true));
    let held = EndProgress { pending: 1, holding: 1, ..REST };
    assert_eq!(story.rests(held), [ToWorker::Ending(EndCommand::AskHolders { round: 1 })]);
    let let_go = EndProgress { round: 1, asked: 1, answered: 1, activity: 9, ..REST };
    assert_eq!(story.rests(let_go), [ToWorker::Ending(EndCommand::Finish { round: 2, place: 0 })]);
}

#[test]
fn a_spout_that_is_live_again_stops_the_waves() {
    let mut story = Story::running(1);
    story.beats(endpoint(0, 1), 0, true);
    story.rests(REST);
    story.pass(ms(25));
    let wave = story.wave().expect("it waits for the answer to the round");
    story.answer(
        0,
        wave,
        EndProgress { at_rest: false, live_spouts: 1, round: 1, asked: 1, answered: 1, ..REST },
    );
    story.pass(ms(100));
    assert_eq!(story.wave(), None);
    story.beats(endpoint(0, 1), 0, true);
    assert_eq!(
        story.rests(EndProgress { round: 1, ..REST }),
        [ToWorker::Ending(EndCommand::Finish { round: 2, place: 0 })]
    );
}

#[test]
fn a_death_while_finishing_begins_the_end_again() {
    let mut story = Story::running(2);
    (0..2).for_each(|worker| story.beats(endpoint(worker, 1), 0, true));
    assert_eq!(story.rests(REST), [ToWorker::Ending(EndCommand::Finish { round: 1, place: 0 })]);
    story.pass(ms(25));
    let wave = story.wave().expect("it waits for the answer");
    story.answer(0, wave, EndProgress { round: 1, asked: 1, answered: 1, ..REST });
    story.dies(endpoint(1, 1));
    story.listens(endpoint(1, 2));
    story.sends(endpoint(1, 2), FromWorker::Progress { wave, progress: EndProgress { round: 1, ..REST } });
    story.pass(ms(100));
    assert!(
        !story.sent().iter().any(|(_, message)| matches!(
            message,
            ToWorker::Ending(EndCommand::Finish { .. }) | ToWorker::Probe { .. }
        )),
        "the new one has not reported yet"
    );
    story.beats(endpoint(1, 2), 1, false);
    story.pass(ms(100));
    assert_eq!(story.wave(), None, "its spout emits again");
    story.beats(endpoint(1, 2), 0, true);
    assert_eq!(story.rests(REST), [ToWorker::Ending(EndCommand::Finish { round: 2, place: 0 })]);
}

#[test]
fn a_drain_is_sent_to_those_that_come_later_before_they_emit() {
    let mut story = Story::running(2);
    story.on(Event::Drain);
    assert_eq!(
        story.sent(),
        [
            (endpoint(0, 1), ToWorker::Ending(EndCommand::Drain)),
            (endpoint(1, 1), ToWorker::Ending(EndCommand::Drain))
        ]
    );
    story.on(Event::Drain);
    assert_eq!(story.sent(), []);
    story.dies(endpoint(1, 1));
    story.listens(endpoint(1, 2));
    let of_new: Vec<_> = story
        .sent()
        .into_iter()
        .filter(|(who, message)| *who == endpoint(1, 2) && !matches!(message, ToWorker::Members(_)))
        .map(|(_, message)| message)
        .collect();
    assert_eq!(of_new, [ToWorker::Ending(EndCommand::Drain), ToWorker::Activate]);
}

#[test]
fn a_drain_may_be_asked_for_by_a_component() {
    let mut story = Story::running(1);
    story.sends(endpoint(0, 1), FromWorker::DrainRequested);
    story.sends(endpoint(0, 1), FromWorker::DrainRequested);
    let actions = story.take();
    assert_eq!(
        actions,
        [
            MasterAction::Note(Note::DrainRequested(endpoint(0, 1))),
            MasterAction::Send(endpoint(0, 1), ToWorker::Ending(EndCommand::Drain))
        ]
    );
}

/// A worker that had died often is started again only after a long pause: a drain waited for it until
/// its own time-out.
#[test]
fn a_drain_does_not_wait_for_the_pause_of_a_dead_worker() {
    let mut story = Story::running(2);
    for incarnation in 1..8 {
        story.dies(endpoint(1, incarnation));
        if incarnation < 7 {
            story.until_started();
            story.listens(endpoint(1, incarnation + 1));
        }
    }
    assert_eq!(story.started().last(), Some(&endpoint(1, 7)));
    story.on(Event::Drain);
    assert_eq!(story.started(), [endpoint(1, 8)]);
}

#[test]
fn a_component_that_cannot_go_on_drains_all_and_the_first_reason_stands() {
    let mut story = Story::running(2);
    let reason = |error: &str| StopReason { component: "b".into(), task: TaskId(1), error: error.to_owned() };
    story.sends(endpoint(1, 1), FromWorker::Stopped(reason("no such file")));
    story.sends(endpoint(0, 1), FromWorker::Stopped(reason("later")));
    let actions = story.take();
    let drain = |worker| MasterAction::Send(endpoint(worker, 1), ToWorker::Ending(EndCommand::Drain));
    let note = MasterAction::Note(Note::Stopped(endpoint(1, 1), reason("no such file")));
    assert_eq!(actions, [note, drain(0), drain(1)]);
    assert_eq!(story.core.stopped(), Some(&reason("no such file")));
}

#[test]
fn a_drain_before_anybody_listens_ends_the_run() {
    let mut story = Story::new(options(1));
    story.on(Event::Drain);
    story.listens(endpoint(0, 1));
    story.beats(endpoint(0, 1), 0, true);
    assert_eq!(story.rests(REST), [ToWorker::Ending(EndCommand::Finish { round: 1, place: 0 })]);
}

#[test]
fn a_drain_that_takes_too_long_is_cut_short() {
    let mut story = Story::running(2);
    story.on(Event::Drain);
    story.take();
    story.pass_beating(ms(30_100));
    assert!(story.sent().contains(&(endpoint(1, 1), ToWorker::Ending(EndCommand::Close))));
    story.ends(endpoint(0, 1));
    story.ends(endpoint(1, 1));
    assert!(story.core.is_done() && story.core.is_cut_short());
}

#[test]
fn a_kill_closes_those_that_answer_and_kills_the_others() {
    let mut story = Story::running(3);
    story.dies(endpoint(2, 1));
    story.take();
    story.on(Event::Kill);
    let closed = [endpoint(0, 1), endpoint(1, 1), endpoint(2, 2)]
        .map(|who| (who, ToWorker::Ending(EndCommand::Close)));
    assert_eq!(story.sent(), closed);
    story.ends(endpoint(0, 1));
    story.pass(ms(1900));
    assert_eq!(story.killed(), []);
    story.pass(ms(200));
    assert_eq!(story.killed(), [endpoint(1, 1), endpoint(2, 2)]);
    story.dies(endpoint(1, 1));
    assert!(!story.core.is_done());
    story.dies(endpoint(2, 2));
    assert!(story.core.is_done() && story.core.is_cut_short());
    assert_eq!(story.started(), [], "nobody comes back");
}

#[test]
fn what_does_not_die_is_left_behind() {
    let mut story = Story::running(1);
    story.on(Event::Kill);
    story.pass(secs(8));
    assert!(story.core.is_done());
    assert!(story.take().contains(&MasterAction::Note(Note::LeftBehind(vec![endpoint(0, 1)]))));
}

#[test]
fn a_kill_while_closing_shortens_the_wait() {
    let mut story = Story::running(1);
    story.beats(endpoint(0, 1), 0, true);
    story.rests(REST);
    story.rests(EndProgress { round: 1, ..REST });
    assert_eq!(story.rests(EndProgress { round: 2, ..REST }), [ToWorker::Ending(EndCommand::Close)]);
    story.pass(ms(100));
    story.on(Event::Kill);
    story.pass(ms(2100));
    assert_eq!(story.killed(), [endpoint(0, 1)]);
}

#[test]
fn a_death_while_closing_is_an_end_and_not_a_good_one() {
    let mut story = Story::running(2);
    (0..2).for_each(|worker| story.beats(endpoint(worker, 1), 0, true));
    story.rests(REST);
    story.rests(EndProgress { round: 1, ..REST });
    assert_eq!(story.rests(EndProgress { round: 2, ..REST }), [ToWorker::Ending(EndCommand::Close)]);
    story.dies(endpoint(0, 1));
    assert_eq!(story.started(), []);
    story.ends(endpoint(1, 1));
    assert!(story.core.is_done() && story.core.is_cut_short());
}

#[test]
fn a_worker_that_waits_for_its_restart_does_not_delay_the_end() {
    let mut story = Story::running(1);
    story.dies(endpoint(0, 1));
    story.listens(endpoint(0, 2));
    story.dies(endpoint(0, 2));
    assert!(matches!(story.core.workers()[0].phase, WorkerPhase::Waiting { .. }));
    story.on(Event::Kill);
    assert!(story.core.is_done());
}

/// Counters of a worker whose messages all have this latency; its spout may still emit.
fn counts(emitted: i64, pending: i64, latency: u64) -> FromWorker {
    let acked = emitted - pending;
    let total = [(CounterId::EMITTED, emitted), (CounterId::ACKED, acked), (CounterId::PENDING, pending)];
    FromWorker::Stats(Box::new(WorkerStats {
        total: CounterValues::from(total),
        live_spouts: 1,
        latencies: vec![(latency, acked as u64)],
        ..WorkerStats::default()
    }))
}

#[test]
fn counters_of_the_dead_count_on() {
    let mut story = Story::running(2);
    let sums = |story: &Story| {
        let sum = story.core.sum().messages();
        assert_eq!(sum.emitted, sum.acked + sum.pending + story.core.lost());
        (sum.emitted, sum.pending, story.core.lost())
    };
    story.sends(endpoint(0, 1), counts(10, 3, 5));
    story.sends(endpoint(1, 1), counts(100, 7, 5));
    story.sends(endpoint(1, 1), counts(200, 8, 5));
    assert_eq!(sums(&story), (210, 11, 0));
    story.dies(endpoint(1, 1));
    assert_eq!(sums(&story), (210, 11, 0), "its next incarnation reads them again");
    story.sends(endpoint(1, 1), counts(999, 9, 5));
    story.listens(endpoint(1, 2));
    story.sends(endpoint(1, 2), counts(1, 1, 6));
    assert_eq!(sums(&story), (211, 12, 0));
    story.sends(endpoint(1, 2), counts(250, 1, 6));
    assert_eq!(sums(&story), (452, 4, 0), "it has read as far as the one before");
    assert_eq!(story.core.sum().latencies, [(5, 199), (6, 249)]);
    story.dies(endpoint(1, 2));
    story.on(Event::Kill);
    story.ends(endpoint(0, 1));
    assert_eq!(sums(&story), (452, 3, 1), "nobody reads that again; worker 0 keeps what it reported last");
}

/// A message that fails for ever waits for its next replay when the end comes: it was counted as
/// failed by one process, and not at all by two.
#[test]
fn an_orderly_end_hides_nothing() {
    let mut story = Story::running(1);
    let total = CounterValues::from([
        (CounterId::EMITTED, 3),
        (CounterId::ACKED, 1),
        (CounterId::UNREPLAYED, 1),
        (CounterId::PENDING, 1),
    ]);
    let last = WorkerStats { total, ..WorkerStats::default() };
    story.on(Event::Kill);
    story.sends(endpoint(0, 1), FromWorker::Stats(Box::new(last)));
    story.ends(endpoint(0, 1));
    assert!(story.core.is_done());
    let sum = story.core.sum().messages();
    assert_eq!((sum.emitted, sum.acked, sum.failed, sum.pending, story.core.lost()), (3, 1, 1, 1, 0));
}

/// What a spout had emitted when its worker was killed in a drain is emitted by nobody again.
#[test]
fn a_death_while_draining_loses_what_was_open() {
    let mut story = Story::running(1);
    story.sends(endpoint(0, 1), counts(2000, 1999, 5));
    story.on(Event::Drain);
    story.dies(endpoint(0, 1));
    story.until_started();
    story.listens(endpoint(0, 2));
    story.sends(endpoint(0, 2), FromWorker::Stats(Box::default()));
    story.on(Event::Kill);
    story.ends(endpoint(0, 2));
    let sum = story.core.sum().messages();
    assert_eq!((sum.emitted, sum.acked, sum.pending, story.core.lost()), (2000, 1, 0, 1999));
}

/// On an overloaded machine, healthy workers could not beat within the time-out, were killed, and had to
/// be started again by an even busier machine: 64 workers on two cores never came to run.
#[test]
fn a_worker_that_gets_no_processor_is_waited_for() {
    let mut story = Story::running(2);
    story.is_starved = true;
    story.pass(secs(60));
    let actions = story.take();
    assert!(!actions.iter().any(|action| matches!(action, MasterAction::Kill(_))), "{actions:?}");
    let starved = |action: &&MasterAction| matches!(action, MasterAction::Note(Note::Starved(_)));
    let notes = actions.iter().filter(starved).count() as u128;
    assert!(notes >= 2, "each of the two is noted");
    let timeout = WorkerOptions::default().heartbeat_timeout;
    assert!(notes <= 2 * (secs(60).as_nanos() / timeout.as_nanos()), "once per time-out: {notes}");
    story.is_starved = false;
    story.pass(timeout);
    assert_eq!(story.killed(), [endpoint(0, 1), endpoint(1, 1)], "nothing keeps them from beating now");
}

#[test]
fn a_worker_that_gets_no_processor_has_time_to_start() {
    let mut story = Story::new(options(1));
    story.is_starved = true;
    story.pass(WorkerOptions::default().start_timeout * 5);
    assert_eq!(story.killed(), []);
    story.listens(endpoint(0, 1));
    assert!(story.core.workers()[0].is_up());
}

/// On a machine with a load of 200, workers that were about to end were killed, and a run that had done
/// everything was called cut short.
#[test]
fn a_worker_that_gets_no_processor_has_time_to_close() {
    let mut story = Story::running(2);
    (0..2).for_each(|worker| story.beats(endpoint(worker, 1), 0, true));
    story.rests(REST);
    story.rests(EndProgress { round: 1, ..REST });
    story.rests(EndProgress { round: 2, ..REST });
    assert!(story.core.is_closing());
    story.is_starved = true;
    story.pass(secs(60));
    assert_eq!(story.killed(), []);
    story.on(Event::Kill);
    story.is_starved = false;
    story.pass(secs(3));
    assert_eq!(story.killed(), [endpoint(0, 1), endpoint(1, 1)], "who insists is not kept waiting");
}

/// The threads that carry messages got their processor, and those of the executors did not: the worker
/// waited for its executors, and was killed after 6 s.
#[test]
fn a_worker_whose_executors_get_no_processor_has_time_to_close() {
    let mut story = Story::running(1);
    story.beats(endpoint(0, 1), 0, true);
    story.rests(REST);
    story.rests(EndProgress { round: 1, ..REST });
    story.rests(EndProgress { round: 2, ..REST });
    assert!(story.core.is_closing());
    for _ in 0..12 {
        story.pass(secs(5));
        story.sends(endpoint(0, 1), FromWorker::ClosesLate);
    }
    assert_eq!(story.killed(), []);
    story.ends(endpoint(0, 1));
    assert!(!story.core.is_cut_short());
}
