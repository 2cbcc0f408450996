//! Checkpoints that are under way at once.

use super::{ANSWERERS, INTERVAL, Played, TASKS, manifest};
use crate::checkpoint::{Manifest, RunState};
use crate::ids::CheckpointId;
use crate::runtime::checkpoint_actions::CheckpointAction;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::checkpoint::StorageError;
use crate::state::SnapshotKind::{Delta, Full};

fn id(number: u64) -> CheckpointId {
    CheckpointId { epoch: 2, number }
}

/// Two checkpoints have begun, and no task has taken part in them.
fn two_begun() -> Played {
    let mut played = Played::with(2).run(None);
    assert_eq!(played.advance(INTERVAL), ["begin 2-1 full"]);
    assert_eq!(played.advance(INTERVAL), ["begin 2-2"], "it goes on from the one before");
    played
}

#[test]
fn only_so_many_are_under_way_at_once() {
    let mut played = two_begun();
    assert_eq!(played.advance(INTERVAL), [""; 0]);
    (0..TASKS).for_each(|index| played.take_of(id(1), index, Full));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1]"]);
    played.sequence.published(id(1), Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-1", "begin 2-3"], "it was due already");
}

#[test]
fn they_become_complete_in_their_order_and_each_goes_on_from_the_one_before() {
    let mut played = two_begun();
    played.take_of(id(1), 0, Full);
    played.take_of(id(2), 0, Delta);
    played.take_of(id(1), 1, Full);
    // The later one is whole before the earlier one is complete.
    played.take_of(id(2), 1, Delta);
    assert!(!played.sequence.is_taking());
    assert_eq!(played.shown(), ["publish 2-1 [1, 1]"]);
    assert_eq!(played.shown(), [""; 0], "the other waits");
    played.sequence.published(id(2), Ok(()), played.now);
    assert_eq!(played.shown(), [""; 0], "nobody was asked for that");
    played.sequence.published(id(1), Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-1", "publish 2-2 [2, 2]"]);
    played.sequence.published(id(2), Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-2"]);
    assert_eq!(played.sequence.counts.at(played.now).completed, 2);
}

#[test]
fn one_that_fails_takes_all_later_ones_with_it() {
    let mut played = two_begun();
    (0..TASKS).for_each(|index| played.take_of(id(2), index, Delta));
    played.sequence.refused(id(1), "no", played.now);
    assert_eq!(played.shown(), ["give up 2-1", "give up 2-2"]);
    assert_eq!(played.sequence.counts.at(played.now).failed, 2);
    assert_eq!(played.advance(INTERVAL), ["begin 2-3 full"]);
}

/// The files of the earlier one are given up with it.
#[test]
fn one_that_fails_takes_earlier_ones_with_it_unless_they_are_being_published() {
    let mut played = two_begun();
    played.sequence.refused(id(2), "no", played.now);
    assert_eq!(played.shown(), ["give up 2-1", "give up 2-2"]);

    let mut played = two_begun();
    (0..TASKS).for_each(|index| played.take_of(id(1), index, Full));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1]"]);
    played.sequence.refused(id(2), "no", played.now);
    assert_eq!(played.shown(), ["give up 2-2"]);
    played.sequence.published(id(1), Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-1"], "and the pause after the failure stays");
    // What had changed between the two is not in any file, but it counts as written.
    assert_eq!(played.advance(INTERVAL), ["begin 2-3 full"]);
}

#[test]
fn a_failed_publication_takes_all_later_ones_with_it() {
    let mut played = two_begun();
    (0..TASKS).for_each(|index| played.take_of(id(1), index, Full));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1]"]);
    let full = StorageError { why: "no space".into(), is_permanent: false };
    played.sequence.published(id(1), Err(full), played.now);
    assert_eq!(played.shown(), ["give up 2-1", "give up 2-2"]);
}

#[test]
fn the_one_that_is_published_may_become_complete_while_all_go_back() {
    let mut played = two_begun();
    (0..TASKS).for_each(|index| played.take_of(id(1), index, Full));
    let _ = played.shown();
    played.sequence.lost("a spout panicked".into(), played.now);
    assert_eq!(played.shown(), ["give up 2-2", "halt"]);
    played.sequence.published(id(1), Ok(()), played.now);
    played.halt_all();
    assert_eq!(played.shown(), ["load"]);
    let complete = Manifest { checkpoint: id(1), ..manifest(RunState::Running) };
    played.load(Some(complete));
    let stats = played.sequence.counts.at(played.now);
    assert_eq!((stats.completed, stats.failed, stats.latest), (1, 1, Some(id(1))));
}

#[test]
fn a_savepoint_and_the_last_one_are_alone() {
    let mut played = two_begun();
    played.sequence.want_savepoint("s".into(), false);
    (0..TASKS).for_each(|index| played.take_of(id(1), index, Full));
    (0..TASKS).for_each(|index| played.take_of(id(2), index, Delta));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1]"]);
    played.sequence.published(id(1), Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-1", "publish 2-2 [2, 2]"]);
    played.sequence.published(id(2), Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-2", "begin 2-3 full"], "now the savepoint is alone");
    assert_eq!(played.advance(INTERVAL), [""; 0], "and stays it");
    assert_eq!(played.complete(Full), ["export 2-3 to s", "commit 2-3", "begin 2-4"]);
    played.sequence.exported(id(3), Ok(()), played.now);
    assert_eq!(played.shown(), ["savepoint 2-3"]);
    assert!(played.sequence.finished(played.now));
    assert_eq!(played.advance(INTERVAL), [""; 0]);
    assert_eq!(played.complete(Delta), ["commit 2-4", "begin 2-5"]);
    assert_eq!(played.advance(INTERVAL), [""; 0]);
}

/// The transaction ids of the batches that end with the checkpoints that begin now.
fn begun_txids(played: &mut Played) -> Vec<(CheckpointId, u64)> {
    let barrier = |action| match action {
        CheckpointAction::Begin(Barrier { checkpoint, txid, .. }) => Some((checkpoint, txid)),
        _ => None,
    };
    played.actions(true).into_iter().filter_map(barrier).collect()
}

#[test]
fn a_batch_that_fails_and_all_after_it_come_again_with_a_later_attempt() {
    let mut played = Played::with(3).run(Some(manifest(RunState::Running)));
    let begin = |played: &mut Played| {
        played.now = played.now.after(INTERVAL);
        begun_txids(played)
    };
    assert_eq!(begin(&mut played), [(id(1), 6)], "the checkpoint that it began with ended batch 5");
    assert_eq!(begin(&mut played), [(id(2), 7)]);
    assert_eq!(begin(&mut played), [(id(3), 8)]);
    (0..TASKS).for_each(|index| played.take_of(id(1), index, Full));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1]"]);
    played.sequence.refused(id(2), "no", played.now);
    assert_eq!(begin(&mut played), [(id(4), 7)]);
    played.sequence.published(id(1), Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-1"]);
    assert_eq!(played.sequence.counts.at(played.now).txid, 6);
    assert_eq!(begin(&mut played), [(id(5), 8)]);
    (0..TASKS).for_each(|index| played.take_of(id(4), index, Full));
    let published = played.actions(true).into_iter().find_map(|action| match action {
        CheckpointAction::Publish(manifest) => Some((manifest.checkpoint, manifest.txid)),
        _ => None,
    });
    assert_eq!(published, Some((id(4), 7)));
    // All tasks go back to batch 6.
    played.sequence.lost("a spout panicked".into(), played.now);
    let _ = played.shown();
    played.halt_all();
    let _ = played.shown();
    played.load(Some(Manifest { checkpoint: id(1), txid: 6, ..manifest(RunState::Running) }));
    (0..ANSWERERS).for_each(|who| played.sequence.restored(who, played.now));
    let _ = played.shown();
    assert_eq!(begin(&mut played), [(id(6), 7)]);
}
