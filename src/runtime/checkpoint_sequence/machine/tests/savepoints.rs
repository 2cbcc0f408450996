//! Savepoints: a run goes on after them, or stops.

use super::{ANSWERERS, INTERVAL, Played};
use crate::ids::CheckpointId;
use crate::state::SnapshotKind;

#[test]
fn a_savepoint_is_taken_at_once_and_in_full_and_the_run_goes_on() {
    let mut played = Played::running(None);
    let _ = played.advance(INTERVAL);
    let _ = played.complete(SnapshotKind::Full);
    played.sequence.want_savepoint("s".into(), false);
    assert_eq!(played.shown(), ["begin 2-2 full"]);
    played.sequence.want_savepoint("t".into(), false);
    assert_eq!(played.shown(), ["no savepoint: another savepoint is being taken"]);
    assert_eq!(played.complete(SnapshotKind::Full), ["export 2-2 to s", "commit 2-2"]);
    played.sequence.exported(played.sequence.begun, Ok(()), played.now);
    assert_eq!(played.shown(), ["savepoint 2-2"]);
    assert_eq!(played.advance(INTERVAL), ["begin 2-3"]);
    // One that is wanted while a checkpoint is taken waits for the next.
    played.sequence.want_savepoint("u".into(), false);
    assert_eq!(played.shown(), [""; 0]);
    assert_eq!(played.complete(SnapshotKind::Delta), ["commit 2-3", "begin 2-4 full"]);
    let timeout = played.sequence.options.timeout;
    let shown = played.advance(timeout);
    assert_eq!(shown[0], "give up 2-4");
    assert!(shown[1].starts_with("no savepoint: it was not complete"), "{shown:?}");
}

#[test]
fn a_run_stops_with_a_savepoint_when_all_have_committed_it() {
    let mut played = Played::running(None);
    played.sequence.want_savepoint("s".into(), true);
    assert_eq!(played.shown(), ["rest", "begin 2-1 full"]);
    assert_eq!(played.complete(SnapshotKind::Full), ["export 2-1 to s", "commit 2-1"]);
    let checkpoint = CheckpointId { epoch: 2, number: 1 };
    (0..ANSWERERS).for_each(|who| played.sequence.committed(who, checkpoint));
    assert_eq!(played.shown(), [""; 0], "it is not copied yet");
    played.sequence.exported(played.sequence.begun, Ok(()), played.now);
    assert_eq!(played.shown(), ["savepoint 2-1"]);
    assert!(played.sequence.is_over());
    assert_eq!(played.sequence.counts.at(played.now).stopped_with, Some(checkpoint));
}

#[test]
fn a_run_that_cannot_stop_with_a_savepoint_goes_on() {
    let full = || Err("no space".to_owned());
    let mut played = Played::running(None);
    played.sequence.want_savepoint("s".into(), true);
    let _ = played.shown();
    let _ = played.complete(SnapshotKind::Full);
    played.sequence.exported(played.sequence.begun, full(), played.now);
    assert_eq!(played.shown(), ["no savepoint: no space", "go on"]);
    assert_eq!(played.advance(INTERVAL), ["begin 2-2"]);
    let _ = played.complete(SnapshotKind::Delta);
    // A loss while all commit it.
    played.sequence.want_savepoint("s".into(), true);
    assert_eq!(played.shown(), ["rest", "begin 2-3 full"]);
    let _ = played.complete(SnapshotKind::Full);
    played.sequence.exported(played.sequence.begun, Ok(()), played.now);
    played.sequence.left(0, "worker 0 died", played.now);
    assert_eq!(played.shown(), ["no savepoint: all tasks went back: worker 0 died", "go on", "halt"]);
    // The input ends, or an error ends the run, while all commit it: that was not the last checkpoint.
    for ends_by_error in [false, true] {
        let mut played = Played::running(None);
        played.sequence.want_savepoint("s".into(), true);
        let _ = played.shown();
        let savepoint = CheckpointId { epoch: 2, number: 1 };
        assert_eq!(played.complete(SnapshotKind::Full), ["export 2-1 to s", "commit 2-1"]);
        match ends_by_error {
            true => played.sequence.stop(played.now),
            false => assert!(played.sequence.finished(played.now)),
        }
        assert!(played.shown()[0].starts_with("no savepoint"));
        (0..ANSWERERS).for_each(|who| played.sequence.committed(who, savepoint));
        let shown = played.shown();
        assert!(!shown.iter().any(|action| action.contains("committed")), "{shown:?}");
        assert!(!played.sequence.is_over());
    }
    // A copy of a savepoint that was given up says nothing about the next one.
    let mut played = Played::running(None);
    played.sequence.want_savepoint("s".into(), true);
    let _ = played.shown();
    let _ = played.complete(SnapshotKind::Full);
    let first = played.sequence.begun;
    played.sequence.left(0, "worker 0 died", played.now);
    let _ = played.shown();
    played.sequence.want_savepoint("t".into(), true);
    assert_eq!(played.shown(), ["rest"]);
    played.sequence.exported(first, Ok(()), played.now);
    assert_eq!(played.shown(), [""; 0]);
    // The input has ended.
    let mut played = Played::running(None);
    played.sequence.finished(played.now);
    let _ = played.shown();
    played.sequence.want_savepoint("s".into(), false);
    let shown = played.shown();
    assert_eq!(shown, ["no savepoint: the input has ended, and the run comes to its end"]);
}
