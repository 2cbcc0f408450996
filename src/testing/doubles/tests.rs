use super::*;
use crate::config::Delivery;
use crate::testing::{HarnessOptions, SpoutHarness};

fn exactly_once(task_index: usize, parallelism: usize) -> HarnessOptions {
    HarnessOptions { task_index, parallelism, delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() }
}

fn start(spout: impl Spout + 'static, task_index: usize, parallelism: usize) -> SpoutHarness {
    let started = SpoutHarness::start(Box::new(spout), &exactly_once(task_index, parallelism));
    started.unwrap_or_else(|error| panic!("it cannot be opened: {error}"))
}

fn numbers(spout: &mut SpoutHarness) -> Vec<i64> {
    let rows = spout.take_emitted().into_iter();
    rows.map(|row| {
        assert!(row.anchors.is_empty(), "nothing is tracked");
        row.values[0].as_i64().expect("it is a number")
    })
    .collect()
}

#[test]
fn fixed_rows_go_on_from_the_position() {
    let fixed = FixedSpout::new(["n"], (0..5).map(|n| vec![Value::from(n)]));
    let mut first = start(fixed.clone(), 0, 2);
    let _ = first.run(2);
    let positions = first.snapshot().expect("it can be rewound");
    let _ = first.run(2);
    assert_eq!(numbers(&mut first), [0, 1, 2, 3]);
    let mut second = start(fixed.clone(), 0, 2);
    second.restore(&positions).expect("it is of this task");
    assert_eq!(second.run(9), Some(SpoutStatus::Exhausted));
    assert_eq!(numbers(&mut second), [2, 3, 4]);
    let refused = start(fixed, 0, 3).restore(&positions);
    assert!(refused.is_err_and(|error| error.is_fatal()));
}

#[test]
fn what_was_fed_comes_again_to_the_task_that_had_it() {
    let feeder = Feeder::new(["n"]);
    let ids: Vec<MessageId> = (0..6).map(|n| feeder.feed([n])).collect();
    let (mut a, mut b) = (start(feeder.spout()(), 0, 2), start(feeder.spout()(), 1, 2));
    let _ = (a.run(2), b.run(1));
    let positions = a.snapshot().expect("it can be rewound");
    let _ = (a.run(1), b.run(1));
    assert_eq!((numbers(&mut a), numbers(&mut b)), (vec![0, 1, 3], vec![2, 4]));
    let mut again = start(feeder.spout()(), 0, 2);
    again.restore(&positions).expect("it is of this task");
    let _ = again.run(9);
    assert_eq!(numbers(&mut again), [3, 5], "what the other task had does not come");
    let mut anew = start(feeder.spout()(), 1, 2);
    let _ = anew.run(9);
    assert_eq!(numbers(&mut anew), [2, 4], "without a checkpoint it begins at the beginning");
    assert!(ids.iter().all(|id| feeder.is_open(*id)), "no checkpoint is complete");
}

#[test]
fn a_fed_message_is_acked_by_a_complete_checkpoint() {
    let feeder = Feeder::new(["n"]);
    let ids: Vec<MessageId> = (0..3).map(|n| feeder.feed([n])).collect();
    let mut spout = feeder.spout()();
    spout.open(&exactly_once(0, 1).task_context()).expect("it opens");
    let mut first = start(feeder.spout()(), 0, 1);
    let _ = first.run(2);
    let positions = first.snapshot().expect("it can be rewound");
    spout.committed(&positions).expect("it is of this task");
    assert_eq!((feeder.take_acks(), feeder.is_acked(ids[1]), feeder.is_open(ids[2])), (2, true, true));
    let before = Positions::default();
    assert!(start(feeder.spout()(), 0, 1).restore(&before).is_err_and(|error| error.is_fatal()));
}
