//! Snapshots in random slices while random calls go on, against copies of a model; and damaged ones.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value as Json, json};

use super::tests::{Model, States, begin_call};
use crate::clock::{Clock, Time};
use crate::state::records::{Record, Records};
use crate::state::{SavedState, SavedStateReader, SnapshotKind, StateError, key_in_json, value_in_json};

type Chunks = Vec<Vec<u8>>;

fn slices(chunks: &Chunks) -> impl Iterator<Item = &[u8]> {
    chunks.iter().map(Vec::as_slice)
}

/// A task, the model of its state, and the snapshots that were taken.
struct Run {
    states: States,
    model: Model,
    calls: u64,
    /// The last complete snapshot and those that it follows.
    chain: Chunks,
    /// The snapshot in progress: its chunks, and the model at its begin.
    begun: Option<(SnapshotKind, Chunks, Model)>,
    /// Whether a delta may come next.
    has_base: bool,
}

impl Run {
    fn new(seed: u64) -> Run {
        let (states, model) = (States::of_seed(seed, Clock::simulated()), Model::default());
        Run { states, model, calls: 0, chain: Vec::new(), begun: None, has_base: false }
    }

    fn call(&mut self, changes: usize, random: &mut StdRng) {
        let mut after = self.model.clone();
        self.calls += 1;
        self.states.state.begin_call(self.calls);
        for _ in 0..changes {
            self.states.change(&mut after, random);
        }
        if random.random_bool(0.3) {
            self.states.state.undo();
        } else {
            self.states.state.commit();
            self.model = after;
        }
    }

    fn advance(&mut self, by: Duration) {
        self.states.clock.advance(by);
        self.model = std::mem::take(&mut self.model).at(self.states.clock.wall_nanos());
    }

    /// The task goes on in another process, with what the chain has.
    fn move_to_another_process(&mut self, seed: u64) {
        let mut states = States::of_seed(seed + 2, self.states.clock.clone());
        states.state.restore(slices(&self.chain)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        (self.states, self.has_base) = (states, false);
    }

    fn begin(&mut self, full: bool) {
        let kind = self.states.state.begin_snapshot(full);
        let expected = if full || !self.has_base { SnapshotKind::Full } else { SnapshotKind::Delta };
        assert_eq!(kind, expected);
        self.has_base = false;
        self.begun = Some((kind, Vec::new(), self.model.clone()));
    }

    /// Writes a chunk of the snapshot in progress. If that completes it, returns the model at its begin.
    fn write(&mut self, budget: usize) -> Option<Model> {
        let (_, chunks, _) = self.begun.as_mut()?;
        let mut chunk = Vec::new();
        let is_complete = self.states.state.write_snapshot(budget, &mut chunk).expect("it can be written");
        chunks.push(chunk);
        if !is_complete {
            return None;
        }
        let (kind, chunks, model) = self.begun.take()?;
        self.has_base = true;
        if kind == SnapshotKind::Full {
            self.chain.clear();
        }
        self.chain.extend(chunks);
        Some(model)
    }

    fn write_all(&mut self) -> Model {
        loop {
            if let Some(model) = self.write(1 << 20) {
                return model;
            }
        }
    }

    /// A restore, now or some time later, has what the snapshot has, without what has expired since.
    fn check_chain(&self, expected: &Model, seed: u64) {
        let clock = Clock::simulated();
        clock.advance(self.states.clock.now().since(Time::ZERO));
        clock.advance(Duration::from_millis(seed % 4 * 700));
        let expected = &expected.clone().at(clock.wall_nanos());
        // The same time to live, and maybe another backend.
        let mut restored = States::of_seed(seed + 4, clock);
        restored.state.restore(slices(&self.chain)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(restored.kept(), *expected, "seed {seed}");
        assert_eq!(restored.state.key_count(), expected.keys().len(), "seed {seed}: unused places");
        let saved = saved(&self.chain).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let expected = expected.in_json();
        assert_eq!(without_surplus(saved, &expected), expected, "seed {seed}");
    }
}

/// Without what is saved in states with a time to live and not expected: it may have expired, which nobody knows who
/// does not know the time to live.
fn without_surplus(
    mut saved: BTreeMap<String, Json>,
    expected: &BTreeMap<String, Json>,
) -> BTreeMap<String, Json> {
    saved.retain(|line, value| {
        let is_brief = line.starts_with("[\"brief-");
        match (value, expected.get(line).filter(|_| is_brief)) {
            (Json::Object(entries), Some(Json::Object(expected))) => {
                entries.retain(|key, _| expected.contains_key(key));
            }
            (Json::Array(items), Some(Json::Array(expected))) => {
                items.drain(..items.len().saturating_sub(expected.len()));
            }
            _ => {}
        }
        !is_brief || expected.contains_key(line)
    });
    saved
}

/// What is read without knowing the types, as JSON, by state and key.
fn saved(chunks: &Chunks) -> Result<BTreeMap<String, Json>, StateError> {
    let mut reader = SavedStateReader::default();
    slices(chunks).try_for_each(|chunk| reader.read(chunk))?;
    let mut lines = BTreeMap::new();
    for SavedState { name, kind, values } in reader.finish()? {
        for (key, value) in &values {
            let value = value_in_json(kind, value.written()).unwrap_or_else(|error| json!(error.to_string()));
            lines.insert(json!([name, key_in_json(key)]).to_string(), value);
        }
    }
    Ok(lines)
}

#[test]
fn what_is_restored_is_what_was_kept_when_the_snapshot_began() {
    let (mut complete, mut deltas) = (0, 0);
    for seed in 0..400 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut run = Run::new(seed);
        let (changes, budget) = (random.random_range(1..8), random.random_range(20..200));
        for _ in 0..150 {
            match random.random_range(0..100) {
                // A snapshot that is not complete is seldom given up.
                0..15 if run.begun.is_none() || random.random_bool(0.05) => {
                    run.begin(random.random_bool(0.15));
                }
                15..60 => {
                    let is_delta = run.begun.as_ref().is_some_and(|(kind, ..)| *kind == SnapshotKind::Delta);
                    if let Some(model) = run.write(random.random_range(0..budget)) {
                        run.check_chain(&model, seed);
                        complete += 1;
                        deltas += u32::from(is_delta);
                    }
                    continue; // Nothing that is kept has changed.
                }
                60 => run.advance(Duration::from_millis(700)),
                62..66 => run.states.state.remove_expired(run.states.clock.now()),
                61 if random.random_bool(0.3) => {
                    run.states.state.clear();
                    (run.model, run.begun, run.has_base) = (Model::default(), None, false);
                }
                _ => run.call(changes, random),
            }
            assert_eq!(run.states.kept(), run.model, "seed {seed}");
        }
    }
    assert!(complete > 800 && deltas > 400, "{complete} complete, {deltas} deltas");
}

/// Whether they have places of their own or those of keys that went before.
#[test]
fn nothing_is_kept_for_keys_that_came_and_went_between_two_snapshots() {
    let mut run = Run::new(0);
    let change = |run: &mut Run, key: i64, value| {
        run.calls += 1;
        begin_call(&mut run.states.state, run.calls, key);
        run.states.write_plain(value);
        run.states.state.commit();
    };
    for key in 0..100 {
        change(&mut run, key, Some(1));
    }
    (0..100).filter(|key| key % 2 == 0).for_each(|key| change(&mut run, key, None));
    let mut sizes = Vec::new();
    for keys in [0..0, 0..0, 200..500, 500..550, 0..0] {
        for key in keys.clone() {
            change(&mut run, key, Some(2));
        }
        keys.for_each(|key| change(&mut run, key, None));
        run.begin(false);
        let written = run.chain.len();
        run.write_all();
        sizes.push(run.chain[written..].iter().map(Vec::len).sum::<usize>());
    }
    assert_eq!(sizes[1..], [sizes[1]; 4], "the deltas say nothing");
}

#[test]
fn a_rewound_state_goes_on_and_is_saved_again() {
    for seed in 0..50 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut run = Run::new(seed);
        (0..30).for_each(|_| run.call(4, random));
        run.begin(true);
        let model = run.write_all();
        (0..30).for_each(|_| run.call(4, random));
        run.begin(false);
        run.write(40);
        run.states.state.restore(slices(&run.chain)).expect("it is whole");
        (run.model, run.begun, run.has_base) = (model, None, false);
        assert_eq!(run.states.kept(), run.model, "seed {seed}");
        run.advance(Duration::from_millis(900));
        (0..30).for_each(|_| run.call(4, random));
        run.begin(false);
        let model = run.write_all();
        run.check_chain(&model, seed);
    }
}

/// Calls read what the model has, whether the task was moved or not (see `States::use_brief`).
#[test]
fn a_restore_at_any_time_changes_no_answer() {
    for seed in 0..80 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut run = Run::new(seed);
        for _ in 0..120 {
            match random.random_range(0..10) {
                0 => {
                    run.begin(random.random_bool(0.3));
                    run.write_all();
                    if random.random_bool(0.5) {
                        run.move_to_another_process(seed);
                    }
                }
                1 | 2 => run.advance(Duration::from_millis(random.random_range(0..1_500))),
                3 => run.states.state.remove_expired(run.states.clock.now()),
                _ => run.call(5, random),
            }
            assert_eq!(run.states.kept(), run.model, "seed {seed}");
        }
    }
}

/// A chain of a full snapshot and two deltas.
fn chain(random: &mut StdRng) -> Chunks {
    let mut run = Run::new(0);
    for _ in 0..3 {
        (0..10).for_each(|_| run.call(6, random));
        run.begin(false);
        while run.write(100).is_none() {}
    }
    run.chain
}

#[test]
fn damaged_snapshots_are_errors() {
    let mut refused = 0;
    for seed in 0..400 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut chunks = chain(random);
        let at = random.random_range(0..chunks.len());
        let chunk = &mut chunks[at];
        let byte = random.random_range(0..chunk.len());
        let mut must_fail = true;
        match random.random_range(0..7) {
            0 => {
                chunk[byte] ^= 1 << random.random_range(0..8);
                must_fail = false; // Another value may be as good. That is what checksums are for.
            }
            1 => {
                chunk[byte] = random.random_range(0..=255);
                must_fail = false;
            }
            2 => chunk.truncate(byte),
            3 => drop(chunks.remove(at)),
            4 => chunks.truncate(at),
            5 => {
                let chunk = chunk.clone();
                chunks.insert(at, chunk);
            }
            _ => *chunk = (0..byte).map(|_| random.random_range(0..=255)).collect(),
        }
        // Whole snapshots at the end may be missing: the rest is an older checkpoint.
        must_fail &= !ends_with_a_snapshot(&chunks);
        let mut restored = States::new();
        let saved = saved(&chunks);
        assert!(!must_fail || saved.is_err(), "seed {seed}");
        match restored.state.restore(slices(&chunks)) {
            Ok(()) => assert!(!must_fail && saved.is_ok(), "seed {seed}"),
            Err(_) => {
                refused += 1;
                assert_eq!(restored.kept(), Model::default(), "seed {seed}: nothing is left");
            }
        }
    }
    assert!(refused > 250, "{refused} were refused");
}

/// Whether the chunks are a whole number of snapshots, each of which has all its records.
fn ends_with_a_snapshot(chunks: &Chunks) -> bool {
    let (mut key, mut left, mut last) = (Vec::new(), None, None);
    for chunk in chunks {
        let mut records = Records::new(chunk);
        while let Ok(Some(record)) = records.next(&mut key) {
            match (record, left) {
                (Record::Begin(begin), None) if begin.after == last => {
                    (left, last) = (Some(0), Some(begin.number));
                }
                (Record::End { records }, Some(read)) if records == read => left = None,
                (Record::Forget | Record::Value { .. } | Record::Remove { .. }, Some(read)) => {
                    left = Some(read + 1);
                }
                _ => return false,
            }
        }
    }
    left.is_none() && last.is_some()
}

#[test]
fn random_bytes_are_errors() {
    for seed in 0..2_000 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut bytes: Vec<u8> =
            (0..random.random_range(1..60)).map(|_| random.random_range(0..=255)).collect();
        let length = bytes.len() as u32;
        bytes.splice(0..0, length.to_le_bytes());
        bytes[4] = random.random_range(0..7);
        assert!(States::new().state.restore([&*bytes]).is_err(), "seed {seed}");
        assert!(saved(&vec![bytes]).is_err(), "seed {seed}");
    }
}
