//! Checkpoints that somebody wants now, to look at the state of this moment.

use super::{INTERVAL, Played};
use crate::runtime::flow::checkpoint::StorageError;
use crate::state::SnapshotKind::{Delta, Full};

/// Completes the checkpoint that was begun last, when nothing else is due before.
fn complete(played: &mut Played) -> Vec<String> {
    played.complete(if played.sequence.counts.stats.completed == 0 { Full } else { Delta })
}

#[test]
fn one_that_is_wanted_begins_at_once_and_has_only_what_changed() {
    let mut played = Played::running(None);
    played.sequence.want_checkpoint(1);
    assert_eq!(played.shown(), ["begin 2-1 full"], "it is the first");
    assert_eq!(complete(&mut played), ["answer 1: 2-1", "commit 2-1"]);
    played.sequence.want_checkpoint(2);
    assert_eq!(played.shown(), ["begin 2-2"]);
    assert_eq!(complete(&mut played), ["answer 2: 2-2", "commit 2-2"]);
    assert_eq!(played.advance(INTERVAL), ["begin 2-3"], "the others come as before");
    assert_eq!(complete(&mut played), ["commit 2-3"]);
}

/// What was processed between the barrier of a checkpoint and the question is not in that checkpoint.
#[test]
fn one_that_is_under_way_is_no_answer() {
    let mut played = Played::running(None);
    assert_eq!(played.advance(INTERVAL), ["begin 2-1 full"]);
    played.sequence.want_checkpoint(1);
    played.sequence.want_checkpoint(2);
    assert_eq!(complete(&mut played), ["commit 2-1", "begin 2-2"], "nobody is answered");
    played.sequence.want_checkpoint(3);
    assert_eq!(complete(&mut played), ["answer 2: 2-2", "commit 2-2", "begin 2-3"]);
    assert_eq!(complete(&mut played), ["answer 3: 2-3", "commit 2-3"]);
}

#[test]
fn one_that_overlaps_begins_beside_those_before() {
    let mut played = Played::with(2).run(None);
    assert_eq!(played.advance(INTERVAL), ["begin 2-1 full"]);
    let first = played.sequence.begun;
    played.sequence.want_checkpoint(1);
    assert_eq!(played.shown(), ["begin 2-2"]);
    (0..super::TASKS).for_each(|index| played.take_of(first, index, Full));
    let _ = played.shown();
    played.sequence.published(first, Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-1"], "it began before the question");
    assert_eq!(complete(&mut played), ["answer 1: 2-2", "commit 2-2"]);
}

#[test]
fn a_savepoint_that_begins_afterwards_is_an_answer() {
    let mut played = Played::running(None);
    played.sequence.want_savepoint("s".into(), false);
    played.sequence.want_checkpoint(1);
    assert_eq!(played.shown(), ["begin 2-1 full"]);
    assert_eq!(complete(&mut played), ["export 2-1 to s", "answer 1: 2-1", "commit 2-1"]);
}

#[test]
fn if_it_does_not_become_complete_the_answer_is_why() {
    let mut played = Played::running(None);
    played.sequence.want_checkpoint(1);
    let _ = played.shown();
    played.sequence.refused(played.sequence.begun, "no", played.now);
    assert_eq!(played.shown(), ["give up 2-1", "answer 1: no, no"]);
    // Nobody waits for the pause that follows a failure.
    played.sequence.want_checkpoint(2);
    assert_eq!(played.shown(), ["begin 2-2 full"]);
    (0..super::TASKS).for_each(|index| played.take(index, Full));
    let _ = played.shown();
    let full = StorageError { why: "no space".into(), is_permanent: false };
    played.sequence.published(played.sequence.begun, Err(full), played.now);
    assert_eq!(played.shown(), ["give up 2-2", "answer 2: no, no space"]);
    // One that waits when all tasks go back waits for the first one afterwards.
    played.sequence.want_checkpoint(3);
    assert_eq!(played.shown(), ["begin 2-3 full"]);
    played.sequence.want_checkpoint(4);
    played.sequence.lost("a spout panicked".into(), played.now);
    let shown = played.shown();
    assert_eq!(shown, ["give up 2-3", "answer 3: no, a spout panicked", "halt"]);
    played.halt_all();
    let _ = played.shown();
    played.load(None);
    let _ = played.shown();
    (0..super::ANSWERERS).for_each(|who| played.sequence.restored(who, played.now));
    assert_eq!(played.shown(), ["resume", "begin 2-4 full"]);
}

#[test]
fn one_that_is_being_published_when_all_go_back_is_no_answer() {
    let mut played = Played::running(None);
    played.sequence.want_checkpoint(1);
    let _ = played.shown();
    (0..super::TASKS).for_each(|index| played.take(index, Full));
    assert!(played.shown()[0].starts_with("publish"));
    played.sequence.lost("a spout panicked".into(), played.now);
    assert_eq!(played.shown(), ["answer 1: no, all tasks went back: a spout panicked", "halt"]);
}

#[test]
fn nobody_waits_for_one_that_never_begins() {
    let ends = "the input has ended, and the run comes to its end";
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    played.sequence.want_checkpoint(1);
    assert!(played.sequence.finished(played.now));
    assert_eq!(played.shown(), [format!("answer 1: no, {ends}")]);
    played.sequence.want_checkpoint(2);
    assert_eq!(played.shown(), [format!("answer 2: no, {ends}")]);

    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    played.sequence.want_checkpoint(1);
    played.sequence.stop(played.now);
    assert_eq!(played.shown(), ["answer 1: no, the run ends because of an error", "give up 2-1"]);

    let mut played = Played::running(None);
    played.sequence.want_savepoint("s".into(), true);
    let _ = played.shown();
    let _ = complete(&mut played);
    played.sequence.want_checkpoint(1);
    let savepoint = played.sequence.begun;
    (0..super::ANSWERERS).for_each(|who| played.sequence.committed(who, savepoint));
    played.sequence.exported(savepoint, Ok(()), played.now);
    assert_eq!(played.shown(), ["savepoint 2-1", "answer 1: no, the run was stopped with a savepoint"]);

    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    (0..super::TASKS).for_each(|index| played.take(index, Full));
    let _ = played.shown();
    played.sequence.want_checkpoint(1);
    let fenced = StorageError { why: "epoch 3 has begun".into(), is_permanent: true };
    played.sequence.published(played.sequence.begun, Err(fenced), played.now);
    assert_eq!(played.shown(), ["answer 1: no, epoch 3 has begun", "fail"]);
}
