//! The check of a spout.

use crate::api::{Spout, SpoutStatus, TaskError};
use crate::config::Delivery;
use crate::testing::conformance::broken::{Broken, BrokenPromises};
use crate::testing::harness::{HarnessOptions, SpoutHarness, constructor};
use crate::topology::graph::Constructor;
use crate::topology::registry::Registry;
use crate::tuple::Value;

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoutReport {
    /// Rows of the input.
    pub rows: usize,
    /// Instances that were crashed and followed by another.
    pub crashes: usize,
}

/// A row: its stream and its values.
type Row = (String, Vec<Value>);

/// Whether a spout that goes back to a position emits what it emitted after it.
///
/// `spout` makes an instance. Its input must come to an end, and be the same each time. A first instance emits all of it.
/// Then, for each number of calls of `next_tuple`, one instance is called so often, its position is taken, and it is
/// dropped, as in a crash; another one gets the position, and must emit the rest. Once more `committed` is called with
/// the position before the crash, and once there is no crash: then the instance itself must emit the rest. Calls that emit
/// nothing for now are made again, at most `calls_max` in all.
///
/// # Errors
/// What the spout did not keep, with what was done.
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::testing::conformance::check_spout;
/// use squall::testing::FixedSpout;
///
/// let spout = || -> Box<dyn Spout> {
///     Box::new(FixedSpout::new(["n"], (0..10).map(|n| vec![Value::from(n)])))
/// };
/// let report = check_spout(spout, 1000)?;
/// assert_eq!(report.rows, 10);
/// # Ok::<(), squall::testing::conformance::BrokenPromises>(())
/// ```
pub fn check_spout(
    spout: impl Fn() -> Box<dyn Spout>,
    calls_max: usize,
) -> Result<SpoutReport, BrokenPromises> {
    let broken = |what: String, script: String| BrokenPromises(vec![Broken { what, script }]);
    if !spout().is_rewindable() {
        let what = "`is_rewindable` returns false, so no exactly-once topology may have it".to_owned();
        return Err(broken(what, "a new instance".to_owned()));
    }
    let mut first = begin(&spout).map_err(|what| broken(what, "a new instance".to_owned()))?;
    let whole = emit(&mut first, calls_max).map_err(|what| broken(what, "from the begin".to_owned()))?;
    let calls = whole.calls;
    let mut found = Vec::new();
    for crash_after in 0..=calls {
        for after in [After::Crash, After::CommittedAndCrash, After::Nothing] {
            if let Err(what) = play(&spout, &whole.rows, (crash_after, calls_max), after) {
                let rest = match after {
                    After::Crash => ", CRASH, `restore`",
                    After::CommittedAndCrash => ", `committed`, CRASH, `restore`",
                    After::Nothing => ", more calls",
                };
                let script = format!("{crash_after} calls of `next_tuple`, `snapshot`{rest}");
                found.push(Broken { what, script });
            }
        }
    }
    match found.is_empty() {
        true => Ok(SpoutReport { rows: whole.rows.len(), crashes: 2 * (calls + 1) }),
        false => Err(BrokenPromises(found)),
    }
}

/// The same for a registered spout, with the text of its `config` table.
///
/// # Errors
/// As [`check_spout`], and when there is no such spout.
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::testing::conformance::check_registered_spout;
///
/// let config = "count = 20\nfields = { n = '{seq}' }";
/// let report = check_registered_spout(&Registry::with_standard(), "generate", config, 1000)?;
/// assert_eq!(report.rows, 20);
/// # Ok::<(), squall::testing::conformance::BrokenPromises>(())
/// ```
pub fn check_registered_spout(
    registry: &Registry,
    type_name: &str,
    config: &str,
    calls_max: usize,
) -> Result<SpoutReport, BrokenPromises> {
    let build = || match constructor(registry, type_name, config)? {
        Constructor::Spout(build) => build(),
        Constructor::Bolt(_) => Err(TaskError::new(format!("`{type_name}` is a bolt"))),
    };
    if let Err(error) = build() {
        let what = format!("no instance can be made: {error}");
        return Err(BrokenPromises(vec![Broken { what, script: "a new instance".to_owned() }]));
    }
    // What could be built once can be built again.
    check_spout(|| build().unwrap_or_else(|error| panic!("{error}")), calls_max)
}

/// What comes after the snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Crash,
    CommittedAndCrash,
    Nothing,
}

fn begin(spout: &impl Fn() -> Box<dyn Spout>) -> Result<SpoutHarness, String> {
    let options = HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() };
    SpoutHarness::start(spout(), &options).map_err(|error| format!("it cannot be opened: {error}"))
}

/// What a spout emits until it is exhausted.
struct Emission {
    rows: Vec<Row>,
    calls: usize,
}

fn taken(spout: &mut SpoutHarness) -> Vec<Row> {
    let emitted = spout.take_emitted().into_iter();
    emitted.map(|emitted| (emitted.stream.to_string(), emitted.values)).collect()
}

fn emit(spout: &mut SpoutHarness, calls_max: usize) -> Result<Emission, String> {
    let mut rows = Vec::new();
    for calls in 1..=calls_max {
        let status = call(spout)?;
        rows.extend(taken(spout));
        if status == SpoutStatus::Exhausted {
            return Ok(Emission { rows, calls });
        }
    }
    Err(format!("it is not exhausted after {calls_max} calls"))
}

fn call(spout: &mut SpoutHarness) -> Result<SpoutStatus, String> {
    let status = spout.next();
    if let Some(SpoutStatus::IdleFor(pause)) = status {
        spout.clock().advance(pause);
    }
    status
        .ok_or_else(|| format!("`next_tuple` failed: {}", spout.errors().last().cloned().unwrap_or_default()))
}

/// Takes the position of an instance after so many calls, and compares what comes then with the rest of all rows.
fn play(
    spout: &impl Fn() -> Box<dyn Spout>,
    all: &[Row],
    (after, calls_max): (usize, usize),
    then: After,
) -> Result<(), String> {
    let mut first = begin(spout)?;
    let mut rows = Vec::new();
    for _ in 0..after {
        let _ = call(&mut first)?;
        rows.extend(taken(&mut first));
    }
    if !all.starts_with(&rows) {
        return Err("another instance emits other rows, or in another order".to_owned());
    }
    let positions = first.snapshot().map_err(|error| format!("`snapshot` failed: {error}"))?;
    if then == After::CommittedAndCrash {
        first.committed(&positions).map_err(|error| format!("`committed` failed: {error}"))?;
    }
    let mut next = match then {
        After::Nothing => first,
        After::Crash | After::CommittedAndCrash => {
            drop(first);
            let mut next = begin(spout)?;
            next.restore(&positions).map_err(|error| format!("`restore` failed: {error}"))?;
            next
        }
    };
    let rest = emit(&mut next, calls_max)?.rows;
    let expected = &all[rows.len()..];
    if rest == expected {
        return Ok(());
    }
    let differs = rest.iter().zip(expected).position(|(found, wanted)| found != wanted);
    let at = differs.unwrap_or(rest.len().min(expected.len()));
    let shown = |row: Option<&Row>| row.map_or("nothing".to_owned(), |(_, values)| format!("{values:?}"));
    Err(format!(
        "after {} rows, row {} of the rest must be {}, and is {}",
        rows.len(),
        at + 1,
        shown(expected.get(at)),
        shown(rest.get(at))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Positions, SpoutOutputs, TaskError};

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Wrong {
        Nothing,
        OneTooFar,
        ForgetsAfterCommitted,
        DisturbedBySnapshot,
        NotRewindable,
    }

    struct Numbers {
        wrong: Wrong,
        next: u64,
        committed: bool,
    }

    impl Spout for Numbers {
        fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            if self.next >= 7 {
                return Ok(SpoutStatus::Exhausted);
            }
            out.emit([self.next as i64])?;
            self.next += 1;
            Ok(SpoutStatus::Emitted)
        }

        fn declare(&self) -> crate::api::Streams {
            crate::api::Streams::new(["n"])
        }

        fn is_rewindable(&self) -> bool {
            self.wrong != Wrong::NotRewindable
        }

        fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
            let next = match self.wrong {
                Wrong::OneTooFar => self.next + 1,
                Wrong::ForgetsAfterCommitted if self.committed => 0,
                _ => self.next,
            };
            if self.wrong == Wrong::DisturbedBySnapshot {
                self.next += 1;
            }
            positions.set("numbers", &next)
        }

        fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
            self.next = positions.get("numbers")?.unwrap_or(0);
            Ok(())
        }

        fn committed(&mut self, _: &Positions) -> Result<(), TaskError> {
            self.committed = true;
            match self.wrong {
                Wrong::ForgetsAfterCommitted => Err(TaskError::new("gone")),
                _ => Ok(()),
            }
        }
    }

    fn checked(wrong: Wrong) -> Result<SpoutReport, String> {
        let new = move || Box::new(Numbers { wrong, next: 0, committed: false }) as Box<dyn Spout>;
        check_spout(new, 100).map_err(|broken| broken.to_string())
    }

    #[test]
    fn a_spout_that_goes_back_passes() {
        assert_eq!(checked(Wrong::Nothing), Ok(SpoutReport { rows: 7, crashes: 18 }));
    }

    #[test]
    fn each_promise_that_is_broken_is_named() {
        let check = |wrong, what: &str| {
            let broken = checked(wrong).expect_err("it is wrong");
            assert!(broken.contains(what), "{broken}");
        };
        check(Wrong::NotRewindable, "`is_rewindable` returns false");
        check(Wrong::OneTooFar, "after 0 rows, row 1 of the rest must be [0], and is [1]");
        check(Wrong::ForgetsAfterCommitted, "`committed` failed: gone");
        check(Wrong::DisturbedBySnapshot, "row 1 of the rest must be [0], and is [1]");
    }
}
