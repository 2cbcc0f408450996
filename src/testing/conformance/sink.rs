//! The check of a sink.

use std::collections::BTreeMap;

use crate::api::{Bolt, TaskError};
use crate::config::Delivery;
use crate::testing::conformance::broken::{Broken, BrokenPromises};
use crate::testing::conformance::script::{CHECKPOINTS, ROWS, Script, SinkStep};
use crate::testing::harness::{BoltHarness, HarnessOptions, Snapshot, TestTuple, constructor};
use crate::topology::graph::Constructor;
use crate::topology::registry::Registry;

/// Crashes a sink at every step of its protocol.
///
/// Each *script* writes rows, takes checkpoints and commits them. At one of its steps the instance is dropped, as in a
/// crash; another one begins with the last complete checkpoint, and goes on to the end. Then each row must be visible
/// once. Before that, no row of a checkpoint that is not complete may be visible. There are scripts in which commits come
/// late, come twice, in which the second instance crashes, too, and in which an instance is lost alone: the next one has
/// its state, writes more, and crashes before that is complete. Of a sink that writes at once, see
/// [`dirty`](SinkCheck::dirty).
///
/// An instance is dropped, not killed, so what its `Drop` does happens; a sink should do nothing in it.
///
/// # Examples
/// A sink that appends rows when they are committed forgets that a commit may come again:
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use squall::api::{TwoPhaseBolt, TwoPhaseSink};
/// use squall::prelude::*;
/// use squall::testing::TestTuple;
/// use squall::testing::conformance::SinkCheck;
///
/// struct Appends(Arc<Mutex<Vec<String>>>);
///
/// impl TwoPhaseSink for Appends {
///     type Transaction = Vec<String>;
///
///     fn begin(&mut self) -> Result<Vec<String>, TaskError> {
///         Ok(Vec::new())
///     }
///     fn write(&mut self, rows: &mut Vec<String>, input: Input<'_>) -> Result<(), TaskError> {
///         rows.push(input.str("row")?.to_owned());
///         Ok(())
///     }
///     fn pre_commit(&mut self, _: &mut Vec<String>) -> Result<(), TaskError> {
///         Ok(())
///     }
///     fn commit(&mut self, rows: &Vec<String>) -> Result<(), TaskError> {
///         self.0.lock().unwrap().extend(rows.iter().cloned());
///         Ok(())
///     }
///     fn abort_others(&mut self, _: &[Vec<String>]) -> Result<(), TaskError> {
///         Ok(())
///     }
/// }
///
/// let rows: Arc<Mutex<Vec<String>>> = Arc::default();
/// let (store, reader, emptied) = (rows.clone(), rows.clone(), rows);
/// let check = SinkCheck::new(
///     move || Box::new(TwoPhaseBolt::new(Appends(store.clone()))),
///     |row| TestTuple::new([row]).fields(["row"]),
///     move || reader.lock().unwrap().clone(),
/// );
/// let broken = check.fresh(move || emptied.lock().unwrap().clear()).run().unwrap_err();
/// assert!(broken.to_string().contains("is visible 2 times"), "{broken}");
/// ```
pub struct SinkCheck {
    sink: Box<dyn Fn() -> Result<Box<dyn Bolt>, TaskError>>,
    row: Box<dyn Fn(&str) -> TestTuple>,
    visible: Box<dyn Fn() -> Vec<String>>,
    fresh: Box<dyn Fn()>,
    /// Of a sink that writes at once: the rows that are clean.
    clean: Option<Box<dyn Fn() -> Vec<String>>>,
    options: HarnessOptions,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkReport {
    /// Scripts that were run.
    pub scripts: usize,
    /// Instances that crashed in them.
    pub crashes: usize,
}

/// The last complete checkpoint.
struct Complete {
    number: u64,
    snapshot: Snapshot,
    /// Rows that belong to it and to those before.
    rows: u64,
}

impl SinkCheck {
    /// Of a sink: `sink` makes an instance, `row` the tuple of a row, and `visible` returns the rows that a reader sees,
    /// in any order.
    pub fn new(
        sink: impl Fn() -> Box<dyn Bolt> + 'static,
        row: impl Fn(&str) -> TestTuple + 'static,
        visible: impl Fn() -> Vec<String> + 'static,
    ) -> SinkCheck {
        SinkCheck::fallible(move || Ok(sink()), row, visible)
    }

    /// Of a sink whose instances may fail to be made.
    pub fn fallible(
        sink: impl Fn() -> Result<Box<dyn Bolt>, TaskError> + 'static,
        row: impl Fn(&str) -> TestTuple + 'static,
        visible: impl Fn() -> Vec<String> + 'static,
    ) -> SinkCheck {
        SinkCheck {
            sink: Box::new(sink),
            row: Box::new(row),
            visible: Box::new(visible),
            fresh: Box::new(|| {}),
            clean: None,
            options: HarnessOptions { delivery: Delivery::ExactlyOnce, ..HarnessOptions::default() },
        }
    }

    /// Of a registered bolt, with the text of its `config` table.
    pub fn registered(
        registry: Registry,
        type_name: &str,
        config: &str,
        row: impl Fn(&str) -> TestTuple + 'static,
        visible: impl Fn() -> Vec<String> + 'static,
    ) -> SinkCheck {
        let (type_name, config) = (type_name.to_owned(), config.to_owned());
        let new = move || match constructor(&registry, &type_name, &config)? {
            Constructor::Bolt(build) => build(),
            Constructor::Spout(_) => Err(TaskError::new(format!("`{type_name}` is a spout"))),
        };
        SinkCheck::fallible(new, row, visible)
    }

    /// Called before each script: empties what the sink writes to. Without it, rows of earlier scripts must not be
    /// visible.
    #[must_use]
    pub fn fresh(mut self, fresh: impl Fn() + 'static) -> SinkCheck {
        self.fresh = Box::new(fresh);
        self
    }

    /// Of a sink that writes at once and takes rows back ([`JournaledSink`](crate::api::JournaledSink)): `clean` returns
    /// those of the visible rows that a reader knows to stay. Then rows must be visible when they are written and flushed,
    /// those that belong to no complete checkpoint must be gone when the next instance has begun, and only rows of complete
    /// checkpoints may be clean.
    ///
    /// # Examples
    /// A sink that does not take rows back:
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// use squall::api::{JournaledBolt, JournaledSink};
    /// use squall::prelude::*;
    /// use squall::testing::TestTuple;
    /// use squall::testing::conformance::SinkCheck;
    ///
    /// /// Rows, and how many of them are clean.
    /// type Table = Arc<Mutex<(Vec<String>, usize)>>;
    ///
    /// struct Appends(Table);
    ///
    /// impl JournaledSink for Appends {
    ///     type Mark = usize;
    ///
    ///     fn write(&mut self, input: Input<'_>) -> Result<(), TaskError> {
    ///         self.0.lock().unwrap().0.push(input.str("row")?.to_owned());
    ///         Ok(())
    ///     }
    ///     fn mark(&mut self) -> Result<usize, TaskError> {
    ///         Ok(self.0.lock().unwrap().0.len())
    ///     }
    ///     fn clean(&mut self, mark: &usize) -> Result<(), TaskError> {
    ///         self.0.lock().unwrap().1 = *mark;
    ///         Ok(())
    ///     }
    ///     fn undo(&mut self, _: Option<&usize>, _: &[usize]) -> Result<(), TaskError> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let table = Table::default();
    /// let (written, read, cleaned, emptied) = (table.clone(), table.clone(), table.clone(), table);
    /// let check = SinkCheck::new(
    ///     move || Box::new(JournaledBolt::new(Appends(written.clone()))),
    ///     |row| TestTuple::new([row]).fields(["row"]),
    ///     move || read.lock().unwrap().0.clone(),
    /// );
    /// let check = check.dirty(move || {
    ///     let table = cleaned.lock().unwrap();
    ///     table.0[..table.1].to_vec()
    /// });
    /// let broken = check.fresh(move || *emptied.lock().unwrap() = Default::default()).run().unwrap_err();
    /// assert!(broken.to_string().contains("is visible after a crash"), "{broken}");
    /// ```
    #[must_use]
    pub fn dirty(mut self, clean: impl Fn() -> Vec<String> + 'static) -> SinkCheck {
        self.clean = Some(Box::new(clean));
        self
    }

    /// What the sink sees of its surroundings.
    #[must_use]
    pub fn options(mut self, options: HarnessOptions) -> SinkCheck {
        self.options = options;
        self
    }

    /// Runs all scripts.
    ///
    /// # Errors
    /// What the sink did not keep, with the script that shows it.
    pub fn run(&self) -> Result<SinkReport, BrokenPromises> {
        let mut report = SinkReport { scripts: 0, crashes: 0 };
        let mut broken = Vec::new();
        for (late, twice) in [(false, false), (true, false), (false, true), (true, true)] {
            let whole = Script { late, twice, crash_after: None, crash_again: false, alone_first: false };
            let steps = whole.steps();
            let crashes = (1..=steps.len()).flat_map(|after| {
                let once = Script { crash_after: Some(after), ..whole };
                [Some(once), Some(Script { crash_again: true, ..once }), once.alone(&steps)]
            });
            for script in std::iter::once(whole).chain(crashes.flatten()) {
                report.scripts += 1;
                report.crashes += usize::from(script.crash_after.is_some())
                    + usize::from(script.crash_again || script.alone_first);
                (self.fresh)();
                if let Err(what) = self.play(script) {
                    broken.push(Broken { what, script: script.to_string() });
                }
            }
        }
        if broken.is_empty() { Ok(report) } else { Err(BrokenPromises(broken)) }
    }

    fn begin(&self, from: Option<&Complete>) -> Result<BoltHarness, String> {
        match from {
            Some(complete) => self.restored(&complete.snapshot),
            None => BoltHarness::start(self.instance()?, &self.options).map_err(cannot_begin),
        }
    }

    fn restored(&self, from: &Snapshot) -> Result<BoltHarness, String> {
        BoltHarness::restored(self.instance()?, &self.options, from).map_err(cannot_begin)
    }

    fn instance(&self) -> Result<Box<dyn Bolt>, String> {
        (self.sink)().map_err(|error| format!("no instance can be made: {error}"))
    }

    /// Plays a script.
    fn play(&self, script: Script) -> Result<(), String> {
        let steps = script.steps();
        let mut playing = Playing { check: self, complete: None, begun: 0, written: 0, taken: None };
        let mut sink = self.begin(None)?;
        for (at, step) in steps.iter().enumerate() {
            playing.step(*step, &mut sink)?;
            if script.crash_after != Some(at + 1) {
                continue;
            }
            if script.alone_first {
                let kept = sink.kept();
                drop(sink);
                let mut next = self.restored(&kept)?;
                for step in [SinkStep::Write; ROWS as usize].into_iter().chain([SinkStep::PreCommit]) {
                    playing.step(step, &mut next)?;
                }
                sink = next;
            }
            drop(sink);
            playing.written = playing.complete.as_ref().map_or(0, |complete| complete.rows);
            if script.crash_again {
                drop(self.begin(playing.complete.as_ref())?);
                playing.check_visible(true)?;
            }
            let next = self.begin(playing.complete.as_ref())?;
            return playing.finish(next, script.late);
        }
        playing.check_end()
    }
}

fn cannot_begin(error: TaskError) -> String {
    format!("an instance cannot begin: {error}")
}

/// A script that is being played.
struct Playing<'c> {
    check: &'c SinkCheck,
    complete: Option<Complete>,
    /// The last checkpoint that was begun. No number is used again.
    begun: u64,
    written: u64,
    /// What was taken of the checkpoint that was begun, and is not complete.
    taken: Option<Complete>,
}

impl Playing<'_> {
    fn step(&mut self, step: SinkStep, sink: &mut BoltHarness) -> Result<(), String> {
        let errors = sink.errors().len();
        match step {
            SinkStep::Write => {
                let row = (self.check.row)(&row(self.written));
                sink.execute(row);
                if self.check.clean.is_some() {
                    sink.flush();
                }
                self.written += 1;
            }
            SinkStep::PreCommit => {
                self.begun += 1;
                let snapshot = sink.checkpoint(self.begun);
                self.taken = Some(Complete { number: self.begun, snapshot, rows: self.written });
            }
            SinkStep::Complete => self.complete = self.taken.take(),
            SinkStep::Commit => {
                if let Some(complete) = &self.complete {
                    sink.committed(complete.number);
                }
            }
        }
        if let Some(error) = sink.errors().get(errors) {
            return Err(format!("a call failed: {error}"));
        }
        self.check_visible(false)
    }

    /// After a crash: commits what it began with, and writes the rest. `late`: commits that only after the next
    /// pre-commit, as when the store was away.
    fn finish(&mut self, mut sink: BoltHarness, late: bool) -> Result<(), String> {
        self.taken = None;
        self.check_visible(true)?;
        let mut is_committed = !late || self.written == CHECKPOINTS * ROWS;
        if is_committed {
            self.step(SinkStep::Commit, &mut sink)?;
        }
        while self.written < CHECKPOINTS * ROWS {
            for _ in 0..ROWS {
                self.step(SinkStep::Write, &mut sink)?;
            }
            self.step(SinkStep::PreCommit, &mut sink)?;
            if !std::mem::replace(&mut is_committed, true) {
                self.step(SinkStep::Commit, &mut sink)?;
            }
            self.step(SinkStep::Complete, &mut sink)?;
            self.step(SinkStep::Commit, &mut sink)?;
        }
        self.check_end()
    }

    /// Nothing is visible that belongs to no complete checkpoint. Of a sink that writes at once: nothing of that is clean,
    /// and each row that was written is visible once, and no other. `has_begun`: another instance has just begun.
    fn check_visible(&self, has_begun: bool) -> Result<(), String> {
        let complete = self.complete.as_ref().map_or(0, |complete| complete.rows);
        let later = complete..CHECKPOINTS * ROWS;
        let Some(clean) = &self.check.clean else {
            let visible = counts(&*self.check.visible);
            return match later.map(row).find(|row| visible.contains_key(row)) {
                Some(row) => Err(format!("`{row}` is visible before its checkpoint is complete")),
                None => Ok(()),
            };
        };
        let clean = counts(&**clean);
        if let Some(row) = later.map(row).find(|row| clean.contains_key(row)) {
            return Err(format!("`{row}` is clean before its checkpoint is complete"));
        }
        let visible = counts(&*self.check.visible);
        for number in 0..CHECKPOINTS * ROWS {
            let row = row(number);
            match (visible.get(&row), number < self.written) {
                (Some(1), true) | (None, false) => {}
                (Some(times), true) => return Err(format!("`{row}` is visible {times} times")),
                (None, true) if number < complete => return Err(format!("`{row}` is lost")),
                (None, true) => return Err(format!("`{row}` was written, and is not visible")),
                (Some(_), false) if has_begun => {
                    return Err(format!("`{row}` is visible after a crash, and belongs to no checkpoint"));
                }
                (Some(_), false) => return Err(format!("`{row}` is visible, and was not written again")),
            }
        }
        Ok(())
    }

    /// Each row is visible once, and clean if the sink writes at once.
    fn check_end(&self) -> Result<(), String> {
        check_all(&*self.check.visible, "visible")?;
        self.check.clean.as_ref().map_or(Ok(()), |clean| check_all(&**clean, "clean"))
    }
}

/// Each row must be there once. `what`: what rows are that are there.
fn check_all(rows: &dyn Fn() -> Vec<String>, what: &str) -> Result<(), String> {
    let mut counts = counts(rows);
    for row in (0..CHECKPOINTS * ROWS).map(row) {
        match counts.remove(&row) {
            Some(1) => {}
            Some(times) => return Err(format!("`{row}` is {what} {times} times")),
            None if what == "clean" => return Err(format!("`{row}` is never clean")),
            None => return Err(format!("`{row}` is lost")),
        }
    }
    match counts.first_key_value() {
        Some((row, _)) => Err(format!("`{row}` is {what}, and nobody wrote it")),
        None => Ok(()),
    }
}

fn counts(rows: &dyn Fn() -> Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    rows().into_iter().for_each(|row| *counts.entry(row).or_default() += 1);
    counts
}

/// The text of a row.
fn row(number: u64) -> String {
    format!("row-{number}")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;
    use crate::api::{Input, JournaledBolt, JournaledSink, TwoPhaseBolt, TwoPhaseSink};

    /// What the sink does wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Wrong {
        Nothing,
        KeepsPreparedInMemory,
        CommitsTwice,
        ShowsAtOnce,
        ShowsAtPreCommit,
        AbortsWhatIsKept,
        UsesNumbersAgain,
        /// That is right, if the last transaction is among those that are kept.
        CountsOnFromKept,
    }

    #[derive(Default)]
    struct Store {
        prepared: BTreeMap<u64, Vec<String>>,
        committed: BTreeMap<u64, Vec<String>>,
        visible: Vec<String>,
    }

    struct Sink {
        store: Arc<Mutex<Store>>,
        wrong: Wrong,
        next: u64,
        open: Vec<String>,
        memory: BTreeMap<u64, Vec<String>>,
    }

    impl Sink {
        fn store(&self) -> std::sync::MutexGuard<'_, Store> {
            self.store.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl TwoPhaseSink for Sink {
        type Transaction = u64;

        fn begin(&mut self) -> Result<u64, TaskError> {
            self.next += 1;
            Ok(self.next)
        }

        fn write(&mut self, _: &mut u64, input: Input<'_>) -> Result<(), TaskError> {
            let row = input.str("row")?.to_owned();
            match self.wrong {
                Wrong::ShowsAtOnce => self.store().visible.push(row),
                _ => self.open.push(row),
            }
            Ok(())
        }

        fn pre_commit(&mut self, number: &mut u64) -> Result<(), TaskError> {
            let rows = std::mem::take(&mut self.open);
            match self.wrong {
                Wrong::KeepsPreparedInMemory => _ = self.memory.insert(*number, rows),
                Wrong::ShowsAtPreCommit => self.store().visible.extend(rows),
                _ => _ = self.store().prepared.insert(*number, rows),
            }
            Ok(())
        }

        fn commit(&mut self, number: &u64) -> Result<(), TaskError> {
            let from_memory = self.memory.remove(number);
            let wrong = self.wrong;
            let mut store = self.store();
            let rows = match wrong {
                Wrong::CommitsTwice => store.prepared.get(number).cloned(),
                _ => store.prepared.remove(number),
            };
            if let Some(rows) = rows.or(from_memory) {
                store.committed.insert(*number, rows.clone());
                store.visible.extend(rows);
            }
            Ok(())
        }

        fn abort_others(&mut self, keep: &[u64]) -> Result<(), TaskError> {
            self.next = match self.wrong {
                Wrong::UsesNumbersAgain => 0,
                Wrong::CountsOnFromKept => keep.iter().copied().max().unwrap_or(0),
                _ => {
                    let committed = self.store().committed.last_key_value().map_or(0, |(number, _)| *number);
                    keep.iter().copied().max().unwrap_or(0).max(committed)
                }
            };
            let wrong = self.wrong;
            self.store().prepared.retain(|number, _| {
                let is_kept = keep.contains(number);
                is_kept && wrong != Wrong::AbortsWhatIsKept
            });
            Ok(())
        }
    }

    fn checked(wrong: Wrong) -> Result<SinkReport, String> {
        let store: Arc<Mutex<Store>> = Arc::default();
        let (writes, reads, empties) = (Arc::clone(&store), Arc::clone(&store), store);
        let new = move || {
            let store = Arc::clone(&writes);
            let sink = Sink { store, wrong, next: 0, open: Vec::new(), memory: BTreeMap::new() };
            Box::new(TwoPhaseBolt::new(sink)) as Box<dyn Bolt>
        };
        let visible = move || reads.lock().unwrap_or_else(PoisonError::into_inner).visible.clone();
        let check = SinkCheck::new(new, |row| TestTuple::new([row]).fields(["row"]), visible);
        let fresh = move || *empties.lock().unwrap_or_else(PoisonError::into_inner) = Store::default();
        check.fresh(fresh).run().map_err(|broken| broken.to_string())
    }

    #[test]
    fn a_sink_that_keeps_its_promises_passes() {
        for sink in [Wrong::Nothing, Wrong::CountsOnFromKept] {
            let report = checked(sink).unwrap_or_else(|broken| panic!("{broken}"));
            assert_eq!(
                report,
                SinkReport {
                    scripts: 4 + 2 * (15 + 15 + 18 + 18) + 4,
                    crashes: 3 * (15 + 15 + 18 + 18) + 2 * 4
                }
            );
        }
    }

    #[test]
    fn each_promise_that_is_broken_is_named_with_a_script() {
        let check = |wrong, what: &str| {
            let broken = checked(wrong).expect_err("it is wrong");
            assert!(broken.contains(what) && broken.contains("CRASH"), "{wrong:?}: {broken}");
        };
        check(Wrong::KeepsPreparedInMemory, "is lost");
        check(Wrong::CommitsTwice, "is visible 2 times");
        check(Wrong::ShowsAtOnce, "`row-0` is visible before its checkpoint is complete");
        check(Wrong::ShowsAtPreCommit, "`row-0` is visible before its checkpoint is complete");
        check(Wrong::AbortsWhatIsKept, "is lost");
        check(Wrong::UsesNumbersAgain, "is visible before its checkpoint is complete");
    }

    /// What is wrong with a sink that writes at once.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum WrongAtOnce {
        Nothing,
        TakesNothingBack,
        TakesTooMuchBack,
        ForgetsItsMarkInACrash,
        CleansAtTheMark,
        NeverCleans,
        WritesAtTheMark,
        AddsWhatIsClean,
        CutsToWhatIsClean,
    }

    /// Rows, and those of them that are clean.
    #[derive(Default)]
    struct Table {
        rows: Vec<String>,
        clean: Vec<String>,
    }

    struct AtOnce {
        table: Arc<Mutex<Table>>,
        wrong: WrongAtOnce,
        buffered: Vec<String>,
        marked: u64,
    }

    impl AtOnce {
        fn table(&self) -> std::sync::MutexGuard<'_, Table> {
            self.table.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl JournaledSink for AtOnce {
        type Mark = u64;

        fn write(&mut self, input: Input<'_>) -> Result<(), TaskError> {
            let row = input.str("row")?.to_owned();
            match self.wrong {
                WrongAtOnce::WritesAtTheMark => self.buffered.push(row),
                _ => self.table().rows.push(row),
            }
            Ok(())
        }

        fn mark(&mut self) -> Result<u64, TaskError> {
            let buffered = std::mem::take(&mut self.buffered);
            self.table().rows.extend(buffered);
            let mark = self.table().rows.len() as u64;
            self.marked = mark;
            match self.wrong {
                WrongAtOnce::CleansAtTheMark => self.clean(&mark)?,
                WrongAtOnce::ForgetsItsMarkInACrash => return Ok(0),
                _ => {}
            }
            Ok(mark)
        }

        fn clean(&mut self, mark: &u64) -> Result<(), TaskError> {
            let mark = match self.wrong {
                WrongAtOnce::ForgetsItsMarkInACrash => self.marked,
                WrongAtOnce::NeverCleans => return Ok(()),
                _ => *mark,
            };
            let wrong = self.wrong;
            let mut table = self.table();
            let clean = table.rows[..(mark as usize).min(table.rows.len())].to_vec();
            match wrong {
                WrongAtOnce::AddsWhatIsClean => {
                    let known = table.clean.len();
                    let from = if known == clean.len() { 0 } else { known };
                    table.clean.extend(clean.into_iter().skip(from));
                }
                _ => table.clean = clean,
            }
            Ok(())
        }

        fn undo(&mut self, mark: Option<&u64>, _: &[u64]) -> Result<(), TaskError> {
            let (wrong, mark) = (self.wrong, mark.copied().unwrap_or(0) as usize);
            let mut table = self.table();
            let len = match wrong {
                WrongAtOnce::TakesNothingBack => return Ok(()),
                WrongAtOnce::TakesTooMuchBack => mark.saturating_sub(1),
                WrongAtOnce::CutsToWhatIsClean => table.clean.len(),
                _ => mark,
            };
            table.rows.truncate(len);
            Ok(())
        }
    }

    fn checked_at_once(wrong: WrongAtOnce) -> Result<SinkReport, String> {
        let table: Arc<Mutex<Table>> = Arc::default();
        let (writes, reads, cleans, empties) =
            (Arc::clone(&table), Arc::clone(&table), Arc::clone(&table), table);
        let new = move || {
            let sink = AtOnce { table: Arc::clone(&writes), wrong, buffered: Vec::new(), marked: 0 };
            Box::new(JournaledBolt::new(sink)) as Box<dyn Bolt>
        };
        let visible = move || reads.lock().unwrap_or_else(PoisonError::into_inner).rows.clone();
        let clean = move || cleans.lock().unwrap_or_else(PoisonError::into_inner).clean.clone();
        let check = SinkCheck::new(new, |row| TestTuple::new([row]).fields(["row"]), visible).dirty(clean);
        let fresh = move || *empties.lock().unwrap_or_else(PoisonError::into_inner) = Table::default();
        check.fresh(fresh).run().map_err(|broken| broken.to_string())
    }

    #[test]
    fn a_sink_that_writes_at_once_and_takes_back_passes() {
        let report = checked_at_once(WrongAtOnce::Nothing).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(report.crashes > 100, "{report:?}");
    }

    #[test]
    fn what_a_sink_that_writes_at_once_breaks_is_named() {
        let check = |wrong, what: &str| {
            let broken = checked_at_once(wrong).expect_err("it is wrong");
            assert!(broken.contains(what), "{wrong:?}: {broken}");
        };
        check(
            WrongAtOnce::TakesNothingBack,
            "`row-0` is visible after a crash, and belongs to no checkpoint",
        );
        check(WrongAtOnce::TakesTooMuchBack, "is lost");
        check(WrongAtOnce::ForgetsItsMarkInACrash, "is lost");
        check(WrongAtOnce::CleansAtTheMark, "`row-0` is clean before its checkpoint is complete");
        check(WrongAtOnce::NeverCleans, "`row-0` is never clean");
        check(WrongAtOnce::WritesAtTheMark, "`row-0` was written, and is not visible");
        check(WrongAtOnce::AddsWhatIsClean, "`row-0` is clean 3 times");
        check(WrongAtOnce::CutsToWhatIsClean, "is lost");
    }
}
