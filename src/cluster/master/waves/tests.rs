//! Waves by themselves; in a world of workers they are looked at in `core`.

use super::*;

fn at_rest(activity: u64) -> EndProgress {
    EndProgress { at_rest: true, activity, ..EndProgress::default() }
}

fn busy(activity: u64) -> EndProgress {
    EndProgress { at_rest: false, ..at_rest(activity) }
}

/// Asks, and answers as given.
fn wave(waves: &mut ProgressWaves, answers: &[EndProgress]) -> WaveOutcome {
    let wave = waves.ask();
    let mut outcomes: Vec<_> = answers
        .iter()
        .enumerate()
        .filter_map(|(worker, answer)| waves.answer(worker, wave, *answer))
        .collect();
    assert_eq!(outcomes.len(), 1, "a wave is over once, with the last answer");
    outcomes.remove(0)
}

#[test]
fn rest_takes_two_waves_without_change() {
    let mut waves = ProgressWaves::new(2);
    assert!(matches!(wave(&mut waves, &[at_rest(1), busy(1)]), WaveOutcome::Unrest(_)));
    assert!(matches!(wave(&mut waves, &[at_rest(1), at_rest(2)]), WaveOutcome::Perhaps(_)));
    assert!(matches!(wave(&mut waves, &[at_rest(1), at_rest(3)]), WaveOutcome::Perhaps(_)), "one has moved");
    assert!(matches!(wave(&mut waves, &[at_rest(1), at_rest(3)]), WaveOutcome::Rest(_)));
    assert!(matches!(wave(&mut waves, &[at_rest(1), at_rest(3)]), WaveOutcome::Rest(_)), "and still");
    assert!(matches!(wave(&mut waves, &[busy(1), at_rest(3)]), WaveOutcome::Unrest(_)));
    assert!(matches!(wave(&mut waves, &[at_rest(1), at_rest(3)]), WaveOutcome::Perhaps(_)));
}

#[test]
fn activity_that_only_moved_over_is_seen() {
    let mut waves = ProgressWaves::new(2);
    assert!(matches!(wave(&mut waves, &[at_rest(1), at_rest(2)]), WaveOutcome::Perhaps(_)));
    assert!(
        matches!(wave(&mut waves, &[at_rest(2), at_rest(1)]), WaveOutcome::Perhaps(_)),
        "the sum is the same"
    );
}

#[test]
fn answers_to_other_waves_are_ignored() {
    let mut waves = ProgressWaves::new(2);
    let first = waves.ask();
    assert_eq!(waves.answer(0, first, at_rest(1)), None);
    waves.begin_again();
    assert_eq!(waves.answer(1, first, at_rest(1)), None);
    let second = waves.ask();
    assert_ne!(first, second);
    assert_eq!(waves.answer(1, first, at_rest(1)), None);
    assert_eq!(waves.answer(1, second, at_rest(1)), None);
    assert_eq!(waves.answer(1, second, busy(9)), None, "the first answer counts");
    assert!(matches!(waves.answer(0, second, at_rest(1)), Some(WaveOutcome::Perhaps(_))));
    assert_eq!(waves.answer(0, second, at_rest(1)), None);
    waves.begin_again();
    assert!(matches!(wave(&mut waves, &[at_rest(1), at_rest(1)]), WaveOutcome::Perhaps(_)), "all over again");
}
