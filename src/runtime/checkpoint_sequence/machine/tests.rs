//! The sequence, step by step, and under random events.

mod ending;
mod overlapping;
mod savepoints;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::api::Positions;
use crate::runtime::checkpoint_sequence::recovery::RECOVERIES_MAX;
use crate::runtime::flow::checkpoint::{Loaded, Restored};

const INTERVAL: Duration = Duration::from_secs(10);
const TASKS: u32 = 2;
const ANSWERERS: usize = 2;

fn task(index: u32) -> TaskName {
    TaskName::new("count", index)
}

/// A sequence, and the time at which it is called.
struct Played {
    sequence: CheckpointSequence,
    now: Time,
    /// Whether tuples are in flight when a task takes its part.
    has_in_flight: bool,
}

impl Played {
    /// Of a process with epoch 2.
    fn new() -> Played {
        Played::with(1)
    }

    /// The same, with so many checkpoints at once.
    fn with(max_concurrent: u32) -> Played {
        let options =
            CheckpointOptions { interval: INTERVAL, max_concurrent, ..CheckpointOptions::default() };
        let tasks = (0..TASKS).map(|index| (task(index), TASKS)).collect();
        let parts = Parts { topology: "words".into(), tasks, key_groups: 1024, answerers: ANSWERERS };
        let sequence = CheckpointSequence::new(options, parts, 2);
        Played { sequence, now: Time::ZERO, has_in_flight: false }
    }

    /// Of several workers, none of which is up.
    fn of_workers() -> Played {
        let played = Played::new();
        Played { sequence: played.sequence.of_workers(), ..played }
    }

    /// One that runs, and began with this manifest.
    fn running(manifest: Option<Manifest>) -> Played {
        Played::new().run(manifest)
    }

    /// Begins with this manifest, and runs.
    fn run(self, manifest: Option<Manifest>) -> Played {
        let mut played = self;
        played.sequence.activate(played.now);
        assert_eq!(played.shown(), ["load"]);
        played.load(manifest);
        assert_eq!(played.shown(), ["restore"]);
        (0..ANSWERERS).for_each(|who| played.sequence.restored(who, played.now));
        assert_eq!(played.shown(), ["resume"]);
        played
    }

    fn load(&mut self, manifest: Option<Manifest>) {
        let restored = Arc::new(Restored::default());
        self.sequence.loaded(Ok(Loaded { manifest, restored }), self.now);
    }

    /// Everything that it wants done now.
    fn actions(&mut self, at_rest: bool) -> Vec<CheckpointAction> {
        std::iter::from_fn(|| self.sequence.next(at_rest, self.now, 7)).collect()
    }

    fn shown(&mut self) -> Vec<String> {
        self.actions(true).iter().map(shown).collect()
    }

    fn advance(&mut self, by: Duration) -> Vec<String> {
        self.now = self.now.after(by);
        self.shown()
    }

    fn take(&mut self, index: u32, kind: SnapshotKind) {
        self.take_of(self.sequence.begun, index, kind);
    }

    fn take_of(&mut self, checkpoint: CheckpointId, index: u32, kind: SnapshotKind) {
        let (states, positions) = (Vec::new(), Positions::default());
        let part = TaskPart {
            task: task(index),
            kind,
            states,
            positions,
            names_keys: false,
            event_time: Default::default(),
            has_in_flight: self.has_in_flight,
        };
        let name = format!("{checkpoint}-{index}");
        self.sequence.taken(checkpoint, part, Some(SnapshotFile { name, bytes: 10, crc32c: 0 }));
    }

    /// Takes all parts, and publishes.
    fn complete(&mut self, kind: SnapshotKind) -> Vec<String> {
        (0..TASKS).for_each(|index| self.take(index, kind));
        let checkpoint = self.sequence.begun;
        assert!(self.shown()[0].starts_with("publish"));
        self.sequence.published(checkpoint, Ok(()), self.now);
        self.shown()
    }

    fn halt_all(&mut self) {
        (0..ANSWERERS).for_each(|who| self.sequence.halted(who));
    }
}

fn shown(action: &CheckpointAction) -> String {
    match action {
        CheckpointAction::Load => "load".into(),
        CheckpointAction::Restore(_) => "restore".into(),
        CheckpointAction::Resume => "resume".into(),
        CheckpointAction::Begin(barrier) => {
            format!("begin {}{}", barrier.checkpoint, if barrier.full { " full" } else { "" })
        }
        CheckpointAction::Publish(manifest) => {
            let files: Vec<usize> = manifest.tasks.iter().map(|entry| entry.files.len()).collect();
            let last = match manifest.run {
                RunState::Running => "",
                RunState::Ended => " last",
                RunState::Committed => " committed",
            };
            format!("publish {} {files:?}{last}", manifest.checkpoint)
        }
        CheckpointAction::Commit(checkpoint) => format!("commit {checkpoint}"),
        CheckpointAction::GiveUp(checkpoint, _) => format!("give up {checkpoint}"),
        CheckpointAction::Halt(_) => "halt".into(),
        CheckpointAction::Export(checkpoint, directory) => {
            format!("export {checkpoint} to {}", directory.display())
        }
        CheckpointAction::AnswerSavepoint(Ok(checkpoint)) => format!("savepoint {checkpoint}"),
        CheckpointAction::AnswerSavepoint(Err(why)) => format!("no savepoint: {why}"),
        CheckpointAction::AnswerCheckpoint(upto, Ok(checkpoint)) => format!("answer {upto}: {checkpoint}"),
        CheckpointAction::AnswerCheckpoint(upto, Err(why)) => format!("answer {upto}: no, {why}"),
        CheckpointAction::Rest(true) => "rest".into(),
        CheckpointAction::Rest(false) => "go on".into(),
        CheckpointAction::Wait(_) => "wait".into(),
        CheckpointAction::Fail(_) => "fail".into(),
    }
}

fn manifest(run: RunState) -> Manifest {
    let entry = |index| TaskEntry {
        component: "count".into(),
        task_index: index,
        tasks: TASKS,
        files: vec![SnapshotFile { name: format!("1-5-{index}"), bytes: 10, crc32c: 0 }],
        positions: BTreeMap::new(),
        states: Vec::new(),
        names_keys: false,
        event_time: Default::default(),
    };
    Manifest {
        checkpoint: CheckpointId { epoch: 1, number: 5 },
        topology: "words".into(),
        key_groups: 1024,
        taken_at: 0,
        run,
        txid: 5,
        tasks: (0..TASKS).map(entry).collect(),
    }
}

#[test]
fn checkpoints_follow_each_other_and_later_ones_have_what_changed() {
    let mut played = Played::running(None);
    assert_eq!(played.advance(INTERVAL / 2), [""; 0]);
    assert_eq!(played.advance(INTERVAL / 2), ["begin 2-1 full"]);
    assert_eq!(played.complete(SnapshotKind::Full), ["commit 2-1"]);
    assert_eq!(played.advance(INTERVAL), ["begin 2-2"]);
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Delta));
    assert_eq!(played.shown(), ["publish 2-2 [2, 2]"], "the file before, and the delta");
}

#[test]
fn after_a_start_with_a_checkpoint_everything_is_written_once_more() {
    let mut played = Played::running(Some(manifest(RunState::Running)));
    assert_eq!(played.advance(INTERVAL), ["begin 2-1 full"]);
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Full));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1]"]);
    let stats = played.sequence.counts.at(played.now);
    assert_eq!(stats.resumed_from, Some(CheckpointId { epoch: 1, number: 5 }));
}

#[test]
fn what_is_not_complete_in_time_is_given_up() {
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    played.take(0, SnapshotKind::Full);
    let timeout = played.sequence.options.timeout;
    assert_eq!(played.advance(timeout), ["give up 2-1"]);
    played.take(1, SnapshotKind::Full);
    assert_eq!(played.shown(), [""; 0], "what comes late is not counted");
    assert_eq!(played.advance(INTERVAL), ["begin 2-2 full"], "a delta would miss what 2-1 had");
}

#[test]
fn a_refusal_or_a_failed_publication_gives_a_checkpoint_up() {
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    played.sequence.refused(CheckpointId { epoch: 2, number: 1 }, "no", played.now);
    assert_eq!(played.shown(), ["give up 2-1"]);
    assert_eq!(played.advance(INTERVAL), ["begin 2-2 full"]);
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Full));
    let _ = played.shown();
    let full = StorageError { why: "no space".into(), is_permanent: false };
    played.sequence.published(CheckpointId { epoch: 2, number: 2 }, Err(full), played.now);
    assert_eq!(played.shown(), ["give up 2-2"]);
    assert_eq!(played.sequence.counts.at(played.now).failed, 2);
}

#[test]
fn a_process_that_was_superseded_ends() {
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Full));
    let _ = played.shown();
    let fenced = StorageError { why: "epoch 3 has begun".into(), is_permanent: true };
    played.sequence.published(CheckpointId { epoch: 2, number: 1 }, Err(fenced), played.now);
    assert_eq!(played.shown(), ["fail"]);
    assert!(played.sequence.has_failed());
}

#[test]
fn after_a_loss_all_halt_before_anything_is_read() {
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    played.sequence.lost("a spout panicked".into(), played.now);
    assert_eq!(played.shown(), ["give up 2-1", "halt"]);
    assert_eq!(played.sequence.wake_at(played.now), Time::NEVER, "it waits for answers, and for no time");
    assert!(!played.sequence.is_running());
    played.halt_all();
    assert!(played.actions(false).is_empty(), "something is still on its way");
    assert_eq!(played.shown(), ["load"]);
    played.load(None);
    assert_eq!(played.shown(), ["restore"]);
    played.sequence.restored(0, played.now);
    played.sequence.restored(0, played.now);
    assert_eq!(played.shown(), [""; 0], "one has not answered");
    played.sequence.restored(1, played.now);
    assert_eq!(played.shown(), ["resume"]);
    assert_eq!(played.advance(INTERVAL), ["begin 2-2 full"], "no number is used again");
}

#[test]
fn losses_without_a_checkpoint_in_between_slow_down_and_then_end_the_run() {
    let mut played = Played::running(None);
    let mut pauses = Vec::new();
    for _ in 0..RECOVERIES_MAX {
        played.sequence.lost("again".into(), played.now);
        assert_eq!(played.shown(), ["halt"]);
        played.halt_all();
        let pause = match played.sequence.wake_at(played.now) {
            Time::NEVER => Duration::ZERO,
            wake_at => wake_at.since(played.now),
        };
        pauses.push(pause.as_millis());
        assert_eq!(played.advance(pause), ["load"]);
        played.load(None);
        let _ = played.shown();
        (0..ANSWERERS).for_each(|who| played.sequence.restored(who, played.now));
        assert_eq!(played.shown(), ["resume"]);
    }
    assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    played.sequence.lost("again".into(), played.now);
    assert_eq!(played.shown(), ["fail"]);
}

#[test]
fn a_store_that_cannot_be_read_now_is_read_later() {
    let mut played = Played::new();
    assert_eq!(played.shown(), ["load"]);
    let away = || StorageError { why: "away".into(), is_permanent: false };
    played.sequence.loaded(Err(away()), played.now);
    assert_eq!(played.shown(), ["wait"]);
    assert_eq!(played.advance(Duration::from_millis(100)), ["load"]);
    played.sequence.loaded(Err(away()), played.now);
    assert_eq!(played.shown(), ["wait"]);
    assert_eq!(played.advance(Duration::from_millis(199)), [""; 0]);
    assert_eq!(played.advance(Duration::from_millis(1)), ["load"]);
    played.sequence.loaded(Err(StorageError { why: "damaged".into(), is_permanent: true }), played.now);
    assert_eq!(played.shown(), ["fail"]);
}

#[test]
fn workers_begin_when_all_are_up_and_go_back_when_one_dies() {
    let mut played = Played::of_workers();
    played.sequence.activate(played.now);
    assert_eq!(played.shown(), [""; 0], "none is up");
    played.sequence.halted(0);
    played.sequence.halted(0);
    assert_eq!(played.shown(), [""; 0], "one is up");
    assert!(!played.sequence.waits_for_rest());
    played.sequence.halted(1);
    assert!(played.sequence.waits_for_rest());
    assert_eq!(played.shown(), ["load"]);
    played.sequence.left(1, "worker 1 died", played.now);
    assert_eq!(played.shown(), ["halt"]);
    played.load(None);
    assert_eq!(played.shown(), [""; 0], "what was asked for before the death is no answer");
    played.sequence.halted(0);
    played.sequence.halted(1);
    played.sequence.left(1, "worker 1 died again", played.now);
    assert_eq!(played.shown(), [""; 0]);
    played.sequence.halted(1);
    assert_eq!(played.shown(), ["load"]);
    played.load(None);
    assert_eq!(played.shown(), ["restore"]);
    played.sequence.restored(1, played.now);
    let away = StorageError { why: "away".into(), is_permanent: false };
    played.sequence.not_restored(away, played.now);
    assert_eq!(played.shown(), ["wait", "halt"], "those that have it halt again");
    played.halt_all();
    assert_eq!(played.advance(Duration::from_millis(100)), ["load"]);
    played.load(None);
    let _ = played.shown();
    (0..ANSWERERS).for_each(|who| played.sequence.restored(who, played.now));
    assert_eq!(played.shown(), ["resume"]);
    assert_eq!(played.advance(INTERVAL), ["begin 2-1 full"]);
    for _ in 0..2 * RECOVERIES_MAX {
        played.sequence.left(0, "killed again", played.now);
        assert_eq!(
            played.shown().last().map(String::as_str),
            Some("halt"),
            "this may happen as often as it wants"
        );
        played.halt_all();
        assert_eq!(played.shown(), ["load"]);
        played.load(None);
        let _ = played.shown();
        (0..ANSWERERS).for_each(|who| played.sequence.restored(who, played.now));
        assert_eq!(played.shown(), ["resume"]);
    }
}

#[test]
fn a_topology_that_was_never_activated_takes_its_last_checkpoint() {
    let mut played = Played::new();
    let _ = played.shown();
    played.load(None);
    let _ = played.shown();
    (0..ANSWERERS).for_each(|who| played.sequence.restored(who, played.now));
    assert_eq!(played.shown(), ["resume"]);
    assert_eq!(played.advance(INTERVAL), [""; 0], "it is not active");
    assert!(played.sequence.finished(played.now));
    assert_eq!(played.shown(), ["begin 2-1 full"]);
}

#[test]
fn a_checkpoint_that_became_complete_while_all_went_back_counts() {
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Full));
    assert!(played.shown()[0].starts_with("publish"));
    played.sequence.lost("a spout panicked".into(), played.now);
    let _ = played.shown();
    let checkpoint = played.sequence.begun;
    played.sequence.published(checkpoint, Ok(()), played.now);
    played.halt_all();
    assert_eq!(played.shown(), ["load"]);
    played.load(Some(Manifest { checkpoint, ..manifest(RunState::Running) }));
    let stats = played.sequence.counts.at(played.now);
    assert_eq!((stats.completed, stats.latest), (1, Some(checkpoint)));
}

#[test]
fn a_run_that_an_error_ends_completes_nothing_more() {
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Full));
    played.sequence.stop(played.now);
    assert_eq!(played.shown(), ["give up 2-1"]);
    assert_eq!(played.advance(INTERVAL * 3), [""; 0]);
}

/// Random events in any order: a checkpoint is committed only once it is published, only with all its parts, and numbers
/// only rise.
#[test]
fn in_any_order_only_what_is_whole_is_committed() {
    for seed in 0..500 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut played = Played::with(random.random_range(1..4));
        played.sequence.activate(played.now);
        let (mut taken, mut published, mut committed) = (BTreeMap::new(), None, CheckpointId::default());
        for _ in 0..300 {
            let begun = played.sequence.begun;
            let who = random.random_range(0..ANSWERERS);
            match random.random_range(0..13) {
                0..4 => {
                    let index = random.random_range(0..TASKS);
                    let of = if random.random_bool(0.2) {
                        CheckpointId {
                            number: begun.number.saturating_sub(random.random_range(1..4)),
                            ..begun
                        }
                    } else {
                        begun
                    };
                    let (states, positions) = (Vec::new(), Positions::default());
                    let part = TaskPart {
                        task: task(index),
                        kind: SnapshotKind::Full,
                        states,
                        positions,
                        names_keys: false,
                        event_time: Default::default(),
                        has_in_flight: random.random_bool(0.1),
                    };
                    taken.entry(of).or_insert_with(std::collections::BTreeSet::new).insert(index);
                    played.sequence.taken(of, part, None);
                }
                4 => {
                    if let Some(checkpoint) = published.take() {
                        let failed = || StorageError { why: "no space".into(), is_permanent: false };
                        let result = if random.random_bool(0.7) { Ok(()) } else { Err(failed()) };
                        played.sequence.published(checkpoint, result, played.now);
                    }
                }
                5 => played.load(None),
                6 | 7 => played.sequence.restored(who, played.now),
                8 => played.sequence.halted(who),
                9 if random.random_bool(0.1) => played.sequence.lost("a loss".into(), played.now),
                10 if random.random_bool(0.1) => played.sequence.refused(begun, "no", played.now),
                11 if random.random_bool(0.1) => played.sequence.left(who, "a worker died", played.now),
                _ => played.now = played.now.after(INTERVAL / 3),
            }
            for action in played.actions(random.random_bool(0.5)) {
                match action {
                    CheckpointAction::Begin(barrier) => {
                        assert!(barrier.checkpoint > committed, "seed {seed}")
                    }
                    CheckpointAction::Publish(manifest) => {
                        let parts = taken.get(&manifest.checkpoint).map_or(0, |parts| parts.len());
                        assert_eq!(parts, TASKS as usize, "seed {seed}: not all parts were durable");
                        published = Some(manifest.checkpoint);
                    }
                    CheckpointAction::Commit(checkpoint) => {
                        assert!(checkpoint > committed, "seed {seed}");
                        committed = checkpoint;
                    }
                    _ => {}
                }
            }
        }
    }
}
