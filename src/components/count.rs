//! `count`: how often each combination of some fields occurred.
//!
//! Counts are [state](crate::state) of the task, by key, so the input is grouped by the same fields (`fields`
//! grouping). They stay when the task is built again, and what a call that fails has counted is taken back. They
//! end with the process, unless checkpoints keep them. A tuple is acked when it is counted; after a replay it may be
//! counted twice. With `ttl`, a count is forgotten when its key has not come for so long.
//!
//! If the input is grouped by the fields that are counted, in the same order, its key is looked up once, by the
//! runtime. Otherwise the bolt names the key of each tuple.
//!
//! What is emitted in `tick` and `finish` is not anchored: it stands for many inputs, which are
//! long acked. A row that is refused there, for example because its key is larger than a tuple may be, is
//! reported and counted as a loss (`rows_refused`), and the other rows are emitted.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    Bolt, Check, Input, InputInfo, Outputs, Streams, TaskContext, TaskError, ValueState, Values,
};
use crate::components::positions::Positions;
use crate::components::settings::{Period, spend_names};
use crate::config::units::show_duration;
use crate::metrics::Counter;
use crate::state::Ttl;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::{Fields, Value, ValueError};

/// When [`Count`] emits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Emit {
    /// The new count of a key, each time it changes, anchored to the tuple that changed it.
    #[default]
    Updates,
    /// At each tick (the component's `tick`), the keys whose count changed since the last.
    Tick,
    /// All keys, once, when bounded input has ended.
    Final,
}

/// Settings of [`Count`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountSettings {
    /// The fields whose combinations are counted. Required, at least one.
    pub by: Vec<String>,
    /// When counts are emitted: `"updates"`, `"tick"` or `"final"`. Default: `"updates"`.
    #[serde(default)]
    pub emit: Emit,
    /// With `emit = "tick"` or `"final"`: only so many keys, the highest counts first. Default:
    /// all keys, in no particular order.
    #[serde(default)]
    pub top: Option<usize>,
    /// An integer field that is added up instead of counting 1 for each tuple: bytes, or the
    /// counts of a `count` before this one. Default: none.
    #[serde(default)]
    pub sum: Option<String>,
    /// With `emit = "tick"`: whether every count begins at 0 again after each tick. Default: false.
    #[serde(default)]
    pub reset: bool,
    /// How long a count is kept after it was changed last, as a duration; then the key begins at 0 again, and takes no
    /// memory. With `emit = "tick"` it must be longer than the `tick`, and begins anew when the count is emitted, too.
    /// Default: for ever.
    #[serde(default)]
    pub ttl: Option<Period>,
    /// The field that the count is emitted in. Default: `"count"`.
    #[serde(default = "count_field")]
    pub field: String,
}

fn count_field() -> String {
    "count".to_owned()
}

/// The bolt `count`.
#[derive(Clone, Debug)]
pub struct Count {
    settings: CountSettings,
    /// Of the fields to count by, then of the field to sum.
    positions: Positions,
    counts: ValueState<Entry>,
    /// Whether calls have the fields of `by` as their key already.
    has_key: bool,
    /// With `emit = "tick"`: the keys whose count changed since the last tick. They are marked in `counts`, too.
    changed: Vec<Box<[Value]>>,
    /// Whether `changed` may lack keys that are marked, because the instance is new.
    is_new: bool,
    rows_refused: Counter,
}

/// What is kept for a key.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Entry {
    count: i64,
    /// With `emit = "tick"`: whether it changed since the last tick.
    #[serde(default)]
    changed: bool,
}

impl Count {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When `by` is empty, a setting does not go with `emit`, or `ttl` is out of range.
    pub fn new(settings: CountSettings, effort: &Effort) -> Result<Count, SettingError> {
        spend_names(effort, "by", settings.by.len())?;
        if settings.by.is_empty() {
            return Err(SettingError::at("by", "name at least one field, for example by = [\"word\"]"));
        }
        if settings.top == Some(0) {
            return Err(SettingError::at("top", "must be at least 1"));
        }
        if settings.top.is_some() && settings.emit == Emit::Updates {
            return Err(SettingError::at("top", "goes with emit = \"tick\" or \"final\" only"));
        }
        if settings.reset && settings.emit != Emit::Tick {
            return Err(SettingError::at("reset", "goes with emit = \"tick\" only"));
        }
        if ttl_of(&settings).is_some_and(|ttl| !ttl.is_valid()) {
            return Err(SettingError::at("ttl", "must be more than 0 and at most 36500d"));
        }
        let positions = Positions::of(settings.by.iter().chain(&settings.sum));
        Ok(Count {
            settings,
            positions,
            counts: ValueState::default(),
            has_key: false,
            changed: Vec::new(),
            is_new: true,
            rows_refused: Counter::default(),
        })
    }

    fn emit_row(&self, out: &mut Outputs<'_>, key: &[Value], count: i64) {
        if let Err(error) = out.emit(Counted { key, count }) {
            out.report_error(error);
            self.rows_refused.add(1);
        }
    }

    fn emit_all(&self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.counts.for_each(out, |out, key, entry| {
            self.emit_row(out, key, entry.count);
            Ok(())
        })
    }

    /// Emits the highest counts, highest first; equal counts in the order of their keys.
    fn emit_highest(&self, out: &mut Outputs<'_>, top: usize) -> Result<(), TaskError> {
        let mut highest = Highest::new(top);
        self.counts.for_each(out, |_, key, entry| {
            highest.add(key, entry.count);
            Ok(())
        })?;
        highest.finish().iter().for_each(|(key, count)| self.emit_row(out, key, *count));
        Ok(())
    }

    /// Removes the marks of what changed since the last tick, and returns these keys with their counts.
    fn take_changed(&mut self, out: &mut Outputs<'_>) -> Result<Vec<Found>, TaskError> {
        let mut keys = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.is_new) {
            keys.clear();
            self.counts.for_each(out, |_, key, entry| {
                keys.extend(entry.changed.then(|| key.into()));
                Ok(())
            })?;
        }
        let mut changed = Vec::new();
        for key in keys {
            out.set_key(&*key)?;
            // What a call that failed has noted is not marked.
            if let Some(entry) = self.counts.get(out)?.copied().filter(|entry| entry.changed) {
                self.counts.set(out, Entry { changed: false, ..entry })?;
                changed.push((key, entry.count));
            }
        }
        Ok(changed)
    }

    fn emit_changed(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let changed = self.take_changed(out)?;
        match self.settings.top {
            None => changed.iter().for_each(|(key, count)| self.emit_row(out, key, *count)),
            Some(_) if changed.is_empty() => {}
            Some(top) => self.emit_highest(out, top)?,
        }
        if self.settings.reset {
            let counts = self.counts;
            counts.for_each(out, |out, _, _| Ok(counts.clear(out)?))?;
        }
        Ok(())
    }
}

impl Bolt for Count {
    fn declare(&self) -> Streams {
        Streams::new(self.settings.by.iter().chain([&self.settings.field]).collect::<Fields>())
    }

    fn check(&self, check: &mut Check<'_>) {
        self.settings.by.iter().for_each(|field| check.require_field("by", field));
        if let Some(field) = &self.settings.sum {
            check.require_field("sum", field);
        }
        if self.settings.emit == Emit::Tick && check.tick().is_none() {
            check.refuse(
                "emit",
                "the component needs a `tick`, at which counts are emitted: for example tick = \"5s\"",
            );
        }
        if let (Some(Period(ttl)), Emit::Tick, Some(tick)) =
            (self.settings.ttl, self.settings.emit, check.tick())
            && ttl <= tick
        {
            let tick = show_duration(tick);
            check.refuse(
                "ttl",
                format!("must be longer than the `tick` ({tick}), or counts expire before they are emitted"),
            );
        }
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.rows_refused = context.loss_counter("rows_refused");
        self.counts = match ttl_of(&self.settings) {
            None => context.value_state("counts")?,
            Some(ttl) => context.expiring(ttl).value_state("counts")?,
        };
        let inputs = context.inputs();
        let is_keyed = |input: &InputInfo| input.key.iter().eq(self.settings.by.iter().map(String::as_str));
        self.has_key = !inputs.is_empty() && inputs.iter().all(is_keyed);
        if !self.has_key {
            context.name_keys();
        }
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let positions = self.positions.resolve(&input)?;
        let values = input.values();
        let by = &positions[..self.settings.by.len()];
        let add = match &self.settings.sum {
            None => 1,
            // The input's own accessor words the error.
            Some(field) => match values[positions[by.len()]].as_i64() {
                Some(n) => n,
                None => input.i64(field)?,
            },
        };
        if !self.has_key {
            out.set_key_of(values, by);
        }
        let marks = self.settings.emit == Emit::Tick;
        let (count, is_marked) = self.counts.update(out, |entry| {
            entry.count = entry.count.checked_add(add).ok_or_else(|| overflow(entry.count, add))?;
            let is_marked = marks && !std::mem::replace(&mut entry.changed, marks);
            Ok::<_, TaskError>((entry.count, is_marked))
        })??;
        if is_marked {
            self.changed.push(out.key().into());
        }
        if self.settings.emit == Emit::Updates {
            match by {
                [at] => out.emit(Counted { key: std::slice::from_ref(&values[*at]), count })?,
                by => {
                    let key: Vec<Value> = by.iter().map(|at| values[*at].clone()).collect();
                    out.emit(Counted { key: &key, count })?;
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.settings.emit != Emit::Tick {
            return Ok(());
        }
        let result = self.emit_changed(out);
        // If the call fails, its keys are marked again.
        self.is_new = result.is_err();
        result
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        match (self.settings.emit, self.settings.top) {
            (Emit::Updates, _) => Ok(()),
            (Emit::Tick, _) => self.tick(out),
            (Emit::Final, Some(top)) => self.emit_highest(out, top),
            (Emit::Final, None) => self.emit_all(out),
        }
    }
}

fn ttl_of(settings: &CountSettings) -> Option<Ttl> {
    settings.ttl.map(|Period(period)| Ttl::after_write(period))
}

/// A key and its count.
type Found = (Box<[Value]>, i64);

/// A row: the key's values, then the count.
struct Counted<'a> {
    key: &'a [Value],
    count: i64,
}

impl Values for Counted<'_> {
    #[inline]
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        row.extend_from_slice(self.key);
        row.push(Value::I64(self.count));
        Ok(())
    }
}

/// The keys with the highest counts among those that were added.
struct Highest {
    top: usize,
    /// Up to twice `top`.
    found: Vec<Found>,
    /// A count below it cannot be among the highest.
    least: i64,
}

impl Highest {
    fn new(top: usize) -> Highest {
        Highest { top, found: Vec::new(), least: i64::MIN }
    }

    fn add(&mut self, key: &[Value], count: i64) {
        if count < self.least {
            return;
        }
        self.found.push((key.into(), count));
        if self.found.len() >= self.top.saturating_mul(2).max(64) && self.found.len() > self.top {
            self.found.select_nth_unstable_by(self.top - 1, rank);
            self.least = self.found[self.top - 1].1;
            self.found.truncate(self.top);
        }
    }

    /// Highest first.
    fn finish(mut self) -> Vec<Found> {
        self.found.sort_unstable_by(rank);
        self.found.truncate(self.top);
        self.found
    }
}

fn rank(a: &Found, b: &Found) -> Ordering {
    b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0))
}

#[cold]
fn overflow(count: i64, add: i64) -> TaskError {
    TaskError::new(format!("the count would not fit an i64: {count} + {add}"))
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within(
            "count",
            "Counts how often each value of some fields occurs.",
            |settings: &CountSettings, effort| Count::new(settings.clone(), effort),
        )
        .output("default: the fields of `by`, then the count (`count`)")
        .example(
            r#"
[bolt.count]
type = "count"
parallelism = 2
inputs = [{ from = "split", fields = ["word"] }]
config = { by = ["word"], emit = "final", top = 20 }
"#,
        );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::components::test_support::{bolt, refusal, texts};
    use crate::testing::{BoltHarness, TestTuple};

    fn feed(count: &mut BoltHarness, words: &str) {
        count.execute_all(words.split(' ').map(|word| TestTuple::new([word]).fields(["word"])));
    }

    #[test]
    fn each_update_is_emitted_and_anchored() {
        let mut count = bolt("count", "by = ['word']");
        feed(&mut count, "a b a");
        let emitted = count.take_emitted();
        assert_eq!(emitted.iter().map(|e| e.anchors[0]).collect::<Vec<_>>(), [0, 1, 2]);
        let rows: Vec<_> = emitted.into_iter().map(|e| e.values).collect();
        assert_eq!(texts(&rows), ["a 1", "b 1", "a 2"]);
        count.finish();
        assert!(count.take_emitted().is_empty());
    }

    #[test]
    fn the_highest_come_at_the_end_by_rank() {
        let mut count = bolt("count", "by = ['word']\nemit = 'final'\ntop = 3");
        feed(&mut count, "d b c a b c a b x y z");
        assert!(count.take_emitted().is_empty());
        assert_eq!(count.acked().len(), 11);
        count.finish();
        assert_eq!(texts(&count.take_rows("default")), ["b 3", "a 2", "c 2"]);
    }

    #[test]
    fn without_top_all_come_at_the_end() {
        let mut count = bolt("count", "by = ['word']\nemit = 'final'\nfield = 'n'");
        feed(&mut count, "d b d");
        count.finish();
        let mut rows = texts(&count.take_rows("default"));
        rows.sort();
        assert_eq!(rows, ["b 1", "d 2"]);
        assert_eq!(count.streams().get("default").map(|s| s.fields.to_string()).as_deref(), Some("word, n"));
    }

    #[test]
    fn a_tick_brings_what_changed_since_the_last() {
        let mut count = bolt("count", "by = ['word']\nemit = 'tick'");
        feed(&mut count, "a b a");
        count.tick();
        assert_eq!(texts(&count.take_rows("default")), ["a 2", "b 1"]);
        feed(&mut count, "b");
        count.tick();
        assert_eq!(texts(&count.take_rows("default")), ["b 2"]);
        count.tick();
        assert!(count.take_emitted().is_empty());
        feed(&mut count, "c");
        count.finish();
        assert_eq!(texts(&count.take_rows("default")), ["c 1"], "finish brings what no tick did");
    }

    #[test]
    fn a_tick_may_begin_anew_or_rank() {
        let mut count = bolt("count", "by = ['word']\nemit = 'tick'\nreset = true");
        feed(&mut count, "a a");
        count.tick();
        feed(&mut count, "a");
        count.tick();
        assert_eq!(texts(&count.take_rows("default")), ["a 2", "a 1"]);
        let mut top = bolt("count", "by = ['word']\nemit = 'tick'\ntop = 1");
        feed(&mut top, "a a b");
        top.tick();
        feed(&mut top, "b");
        top.tick();
        top.tick();
        assert_eq!(texts(&top.take_rows("default")), ["a 2", "a 2"], "nothing new, nothing emitted");
    }

    #[test]
    fn several_fields_make_one_key_and_a_field_can_be_summed() {
        let mut count = bolt("count", "by = ['host', 'status']\nsum = 'bytes'");
        for (host, status, bytes) in [("a", 200, 10), ("a", 404, 1), ("a", 200, 5)] {
            count.execute(TestTuple::new((host, status, bytes)).fields(["host", "status", "bytes"]));
        }
        count.execute(TestTuple::new(("a", 200, "x")).fields(["host", "status", "bytes"]));
        assert_eq!(texts(&count.take_rows("default")), ["a 200 10", "a 404 1", "a 200 15"]);
        assert_eq!(count.failed().len(), 1);
    }

    /// A sum that stayed at its maximum went on from there, wrongly, after the next subtraction.
    #[test]
    fn a_sum_that_does_not_fit_fails_and_changes_nothing() {
        let mut count = bolt("count", "by = ['k']\nsum = 'v'");
        for v in [i64::MAX, 1, -5] {
            count.execute(TestTuple::new(("a", v)).fields(["k", "v"]));
        }
        count.execute(TestTuple::new(("a", 1.5)).fields(["k", "v"]));
        let expected = [format!("a {}", i64::MAX), format!("a {}", i64::MAX - 5)];
        assert_eq!(texts(&count.take_rows("default")), expected);
        assert_eq!(count.errors()[0], format!("the count would not fit an i64: {} + 1", i64::MAX));
        assert_eq!(count.errors()[1], "field `v` of stream `component.default` is f64, not an i64");
        assert_eq!(count.failed().len(), 2);
    }

    /// Feeds three keys, one of which makes a row that is larger than a tuple may be.
    fn feed_one_too_large(count: &mut BoltHarness) {
        let large = "x".repeat(20 << 20);
        count.execute_all(["a", &large, "b"].map(|word| TestTuple::new([word]).fields(["word"])));
    }

    /// The first refused row ended `finish`, and with it the rows of all keys after it, in no particular
    /// order.
    #[test]
    fn a_refused_row_is_counted_and_all_others_are_emitted() {
        for config in ["emit = 'final'", "emit = 'final'\ntop = 3", "emit = 'tick'"] {
            let mut count = bolt("count", &format!("by = ['word']\n{config}"));
            feed_one_too_large(&mut count);
            count.finish();
            let mut rows = texts(&count.take_rows("default"));
            rows.sort();
            assert!(rows == ["a 1", "b 1"], "{config}: {} rows", rows.len());
            assert_eq!((count.counter("rows_refused"), count.errors().len()), (1, 1), "{config}");
            assert!(count.errors()[0].contains("emitted a tuple of"), "{}", count.errors()[0]);
        }
    }

    #[test]
    fn a_count_is_forgotten_when_its_key_does_not_come() {
        let minutes = |count: &BoltHarness, n: u64| count.clock().advance(Duration::from_secs(60 * n));
        let mut count = bolt("count", "by = ['word']\nttl = '1h'");
        feed(&mut count, "a b");
        minutes(&count, 59);
        feed(&mut count, "a");
        minutes(&count, 1);
        feed(&mut count, "a b");
        minutes(&count, 60);
        feed(&mut count, "a");
        assert_eq!(texts(&count.take_rows("default")), ["a 1", "b 1", "a 2", "a 3", "b 1", "a 1"]);
        for config in ["emit = 'final'", "emit = 'final'\ntop = 5", "emit = 'tick'"] {
            let mut count = bolt("count", &format!("by = ['word']\nttl = '1h'\n{config}"));
            feed(&mut count, "a b b");
            minutes(&count, 40);
            feed(&mut count, "b");
            minutes(&count, 20);
            count.finish();
            assert_eq!(texts(&count.take_rows("default")), ["b 3"], "{config}");
        }
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        for (config, why) in [
            ("by = []", "at least one field"),
            ("by = ['w']\ntop = 3", "goes with emit = \"tick\" or \"final\" only"),
            ("by = ['w']\nemit = 'final'\ntop = 0", "at least 1"),
            ("by = ['w']\nreset = true", "goes with emit = \"tick\" only"),
            ("by = ['w']\nttl = '0s'", "more than 0 and at most 36500d"),
            ("by = ['w']\nttl = 5", "expected a string"),
            ("", "missing field `by`"),
            ("by = ['w']\nspeed = 1", "unknown field `speed`"),
        ] {
            let refusal = refusal("count", config);
            assert!(refusal.contains(why), "{config}: {refusal}");
        }
    }
}
