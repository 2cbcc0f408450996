//! The last checkpoint of a run.

use super::{ANSWERERS, INTERVAL, Played, TASKS, manifest};
use crate::checkpoint::RunState;
use crate::ids::CheckpointId;
use crate::state::SnapshotKind;

#[test]
fn the_last_checkpoint_begins_when_all_have_finished() {
    let mut played = Played::running(None);
    played.sequence.note_finishing(true);
    assert_eq!(played.advance(INTERVAL * 2), [""; 0], "none begins while bolts finish");
    assert!(played.sequence.finished(played.now));
    assert!(!played.sequence.finished(played.now), "it is no news");
    assert_eq!(played.shown(), ["begin 2-1 full"]);
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Full));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1] last"]);
    let last = CheckpointId { epoch: 2, number: 1 };
    played.sequence.published(last, Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-1"]);
    played.sequence.committed(0, last);
    assert_eq!(played.shown(), [""; 0]);
    played.sequence.committed(1, last);
    assert_eq!(played.shown(), ["publish 2-2 [1, 1] committed"]);
    assert!(!played.sequence.is_over());
    played.sequence.published(CheckpointId { number: 2, ..last }, Ok(()), played.now);
    assert!(played.sequence.is_over());
}

/// Bolts of a cycle emit in `pre_commit`. If the run ended, what comes of that would be lost. If it was continued from
/// there, bolts would finish once more.
#[test]
fn while_tuples_are_in_flight_another_checkpoint_is_the_last() {
    let mut played = Played::running(None);
    assert!(played.sequence.finished(played.now));
    for number in 1..3 {
        assert_eq!(played.advance(INTERVAL), [format!("begin 2-{number} full")]);
        for index in 0..TASKS {
            played.has_in_flight = index == 0;
            played.take(index, SnapshotKind::Full);
        }
        assert_eq!(played.shown(), [format!("give up 2-{number}")], "and nothing is published");
    }
    assert_eq!(played.advance(INTERVAL), ["begin 2-3 full"]);
    let last = CheckpointId { epoch: 2, number: 3 };
    played.has_in_flight = false;
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Full));
    assert_eq!(played.shown(), ["publish 2-3 [1, 1] last"]);
    played.sequence.published(last, Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-3"]);
    (0..ANSWERERS).for_each(|who| played.sequence.committed(who, last));
    assert_eq!(played.shown(), ["publish 2-4 [1, 1] committed"]);
    assert_eq!(played.sequence.counts.stats.failed, 0, "nothing has failed");
}

/// It has the state of before the end. If it counted as the last, what came after it would be lost.
#[test]
fn a_checkpoint_that_began_before_the_end_is_not_the_last() {
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    played.sequence.note_finishing(true);
    assert!(played.sequence.finished(played.now));
    (0..TASKS).for_each(|index| played.take(index, SnapshotKind::Full));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1]"]);
    played.sequence.published(CheckpointId { epoch: 2, number: 1 }, Ok(()), played.now);
    assert_eq!(played.shown(), ["commit 2-1", "begin 2-2"], "the last one follows at once");
}

#[test]
fn a_topology_that_had_ended_only_commits() {
    let mut played = Played::running(Some(manifest(RunState::Ended)));
    assert!(played.sequence.only_commits());
    assert_eq!(played.advance(INTERVAL), [""; 0]);
    let last = CheckpointId { epoch: 1, number: 5 };
    (0..ANSWERERS).for_each(|who| played.sequence.committed(who, last));
    assert_eq!(played.shown(), ["publish 2-1 [1, 1] committed"]);
    played.sequence.published(CheckpointId { epoch: 2, number: 1 }, Ok(()), played.now);
    assert!(played.sequence.is_over());
}
