//! The bolt that has windows.

use std::time::Duration;

use smol_str::SmolStr;

use crate::api::{
    Bolt, Check, EventTimer, Input, InputInfo, OperatorState, Outputs, Streams, TaskContext, TaskError,
    Timer, ValueState,
};
use crate::clock::Clock;
use crate::config::units;
use crate::event_time::{TimeFormat, TimeFormatError};
use crate::metrics::Counter;
use crate::tuple::{Fields, Timestamp, Value};
use crate::window::aggregate::Aggregate;
use crate::window::engine::Engine;
use crate::window::firing::{Added, Arrival};
use crate::window::late::{LATE_FIELDS, LATE_STREAM, Late};
use crate::window::spec::{Gap, WindowOptions, Windows};
use crate::window::teller::Teller;
use crate::window::time_source::WindowTime;

/// Makes items of tuples.
pub(crate) trait Items<A: Aggregate>: Send {
    /// Of a tuple, and when it happened.
    fn item(&mut self, input: &Input<'_>, at: Timestamp) -> Result<A::Item, TaskError>;

    /// Refuses what cannot work, as [`Bolt::check`] does.
    fn check(&self, _check: &mut Check<'_>) {}
}

impl<A: Aggregate, F> Items<A> for F
where
    F: FnMut(&Input<'_>, Timestamp) -> Result<A::Item, TaskError> + Send,
{
    fn item(&mut self, input: &Input<'_>, at: Timestamp) -> Result<A::Item, TaskError> {
        self(input, at)
    }
}

/// A bolt that puts the tuples of each key into windows, and tells of each window what its tuples are together.
///
/// It emits the key, the start and the end of the window, and the result. Tuples whose windows are all over go to the stream
/// [`late`](LATE_STREAM). In documents it is the type `window`, with functions such as `sum(bytes)`.
///
/// # Examples
/// The longest word of each minute, by the time in the tuple:
/// ```
/// use std::time::Duration;
///
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
/// use squall::window::{Aggregate, TimeWindows, WindowBolt, Windows};
///
/// struct Longest;
///
/// impl Aggregate for Longest {
///     type Item = String;
///     type State = String;
///     type Output = String;
///
///     fn empty(&self) -> String {
///         String::new()
///     }
///     fn add(&self, longest: &mut String, word: &String) -> Result<(), TaskError> {
///         self.combine(longest, word)
///     }
///     fn combine(&self, longest: &mut String, other: &String) -> Result<(), TaskError> {
///         if (other.len(), other.as_str()) > (longest.len(), longest.as_str()) {
///             longest.clone_from(other);
///         }
///         Ok(())
///     }
///     fn output(&self, longest: &String) -> String {
///         longest.clone()
///     }
/// }
///
/// let minutes = Windows::Time(TimeWindows::tumbling(Duration::from_secs(60)).expect("a minute is no problem"));
/// let bolt = WindowBolt::new(minutes, Longest, |input, _| Ok(input.str("word")?.to_owned()))
///     .by(["author"])
///     .at("time")
///     .row(["longest"], |longest| Ok(vec![longest.into()]));
///
/// let mut bolt = BoltHarness::start(Box::new(bolt), &HarnessOptions::default())?;
/// let tuple = |second: i64, word: &str| {
///     TestTuple::new(("ann", Timestamp(second * 1_000_000_000), word)).fields(["author", "time", "word"])
/// };
/// bolt.execute_all([tuple(1, "rain"), tuple(61, "a"), tuple(59, "storm")]);
/// bolt.advance_watermark(Timestamp(60_000_000_000));
/// let rows = bolt.take_rows("default");
/// assert_eq!(rows, [["ann".into(), Timestamp(0).into(), Timestamp(60_000_000_000).into(), Value::from("storm")]]);
/// # Ok::<(), TaskError>(())
/// ```
pub struct WindowBolt<A: Aggregate> {
    windows: Windows,
    options: WindowOptions,
    by: Vec<SmolStr>,
    time: Option<(SmolStr, TimeFormat)>,
    fields: Vec<String>,
    bounds: Option<[String; 2]>,
    firing: Option<String>,
    /// What the aggregate is, as far as its state depends on it.
    version: String,
    items: Box<dyn Items<A>>,
    teller: Teller<A>,
    places: Places,
    /// When the last tuple came that has no time.
    last_came: i64,
    task: Option<Task<A>>,
}

/// Where the fields that the bolt reads are in the tuples of the last source.
#[derive(Default)]
struct Places {
    source: Option<Fields>,
    by: Vec<usize>,
    time: Option<usize>,
    gap: Option<usize>,
}

/// What a prepared instance has.
struct Task<A: Aggregate> {
    engine: Engine<A>,
    /// Whether calls have the fields of `by` as their key already.
    has_key: bool,
    early: Option<Timer>,
    /// How many tuples of the key have come since its last result.
    since: Option<ValueState<u64>>,
    /// What the state is of: windows, functions and fields.
    signature: OperatorState<String>,
    clock: Clock,
    late: Late,
    in_gaps: Counter,
}

impl<A: Aggregate> WindowBolt<A> {
    /// Windows of tuples, of each of which `item` makes an item. Event time needs [`at`](WindowBolt::at), too.
    pub fn new(
        windows: Windows,
        aggregate: A,
        item: impl FnMut(&Input<'_>, Timestamp) -> Result<A::Item, TaskError> + Send + 'static,
    ) -> WindowBolt<A> {
        WindowBolt::of_items(windows, aggregate, Box::new(item))
    }

    pub(crate) fn of_items(windows: Windows, aggregate: A, items: Box<dyn Items<A>>) -> WindowBolt<A> {
        WindowBolt {
            windows,
            options: WindowOptions::default(),
            by: Vec::new(),
            time: None,
            fields: Vec::new(),
            bounds: Some(["window_start", "window_end"].map(str::to_owned)),
            firing: None,
            version: String::new(),
            items,
            teller: Teller::new(aggregate),
            places: Places::default(),
            last_came: i64::MIN,
            task: None,
        }
    }

    /// Sets the fields of keys: each key has its own windows. Without any, all tuples have the same windows.
    #[must_use]
    pub fn by<S: AsRef<str>>(mut self, fields: impl IntoIterator<Item = S>) -> WindowBolt<A> {
        self.by = fields.into_iter().map(SmolStr::new).collect();
        self
    }

    /// Sets the field that has the time: a timestamp, RFC 3339, or a number since 1970 whose magnitude shows its unit.
    #[must_use]
    pub fn at(self, field: &str) -> WindowBolt<A> {
        let Ok(format) = TimeFormat::new(None, None) else { return self };
        self.at_with_format(field, format)
    }

    pub(crate) fn at_with_format(mut self, field: &str, format: TimeFormat) -> WindowBolt<A> {
        self.time = Some((field.into(), format));
        self
    }

    /// Sets the field that has the time, with its format and the zone of times that name none, as `event_time` has them.
    ///
    /// # Errors
    /// When the format or the zone is none.
    pub fn at_in(
        self,
        field: &str,
        format: Option<&str>,
        zone: Option<&str>,
    ) -> Result<WindowBolt<A>, TaskError> {
        let format = TimeFormat::new(format, zone).map_err(|error| match error {
            TimeFormatError::Zone(why) | TimeFormatError::Format(why) => TaskError::fatal(why),
        })?;
        Ok(self.at_with_format(field, format))
    }

    /// Sets when windows end, and what becomes of what comes later.
    #[must_use]
    pub fn options(mut self, options: WindowOptions) -> WindowBolt<A> {
        self.options = options;
        self
    }

    /// Sets the fields of a result, and how it becomes values.
    #[must_use]
    pub fn row<S: AsRef<str>>(
        mut self,
        fields: impl IntoIterator<Item = S>,
        row: impl FnMut(A::Output) -> Result<Vec<Value>, TaskError> + Send + 'static,
    ) -> WindowBolt<A> {
        self.fields = fields.into_iter().map(|field| field.as_ref().to_owned()).collect();
        self.teller.row = Box::new(row);
        self
    }

    /// Names the fields of the start and the end of a window, which are `window_start` and `window_end` by default. `None`: they are
    /// not emitted.
    #[must_use]
    pub fn bounds(mut self, fields: Option<[&str; 2]>) -> WindowBolt<A> {
        self.bounds = fields.map(|fields| fields.map(str::to_owned));
        self
    }

    /// Names a field that says why a result is told: `early`, `on-time` or `late`. By default there is none.
    #[must_use]
    pub fn firing(mut self, field: Option<&str>) -> WindowBolt<A> {
        self.firing = field.map(str::to_owned);
        self
    }

    /// Says what the state of the aggregate is. A run that goes on with state of another version is refused.
    #[must_use]
    pub fn version(mut self, version: &str) -> WindowBolt<A> {
        version.clone_into(&mut self.version);
        self
    }

    /// What state is kept by. If it is another one, the state cannot be used.
    fn signature(&self) -> String {
        format!("{:?}; by {:?}; {:?}; {}", self.windows, self.by, self.options.time, self.version)
    }

    fn has_late(&self) -> bool {
        self.options.time == WindowTime::Event && self.windows.can_be_late()
    }

    /// Whether a tuple has to have a time of its own.
    fn needs_time(&self) -> bool {
        self.options.time == WindowTime::Event && self.windows.follow_time()
    }

    fn gap_field(&self) -> Option<&str> {
        match &self.windows {
            Windows::Session(Gap::Field(field)) => Some(field),
            _ => None,
        }
    }

    /// Looks up where the fields are in the tuples of a source.
    #[cold]
    fn find_places(&mut self, input: &Input<'_>) -> Result<(), TaskError> {
        let place = |name: &str| match input.fields().position(name) {
            Some(place) => Ok(place),
            // The input's own accessor words the error.
            None => input.field(name).map(|_| 0),
        };
        self.places = Places {
            source: None,
            by: self.by.iter().map(|name| place(name)).collect::<Result<_, _>>()?,
            time: self.time.as_ref().map(|(name, _)| place(name)).transpose()?,
            gap: self.gap_field().map(place).transpose()?,
        };
        self.places.source = Some(input.fields().clone());
        Ok(())
    }

    /// When a tuple happened; without a field for that, when it came. No two come at the same time, so that they keep their
    /// order.
    #[inline]
    fn time_of(&mut self, values: &[Value]) -> Result<Timestamp, TaskError> {
        match (&self.time, self.places.time) {
            (Some((field, format)), Some(place)) => {
                let value = &values[place];
                format
                    .time_of(value)
                    .map_err(|why| TaskError::new(format!("the time in `{field}`, {value}, {why}")))
            }
            _ => {
                let now = self.task.as_ref().map_or(0, |task| task.clock.wall_nanos());
                self.last_came = now.max(self.last_came.saturating_add(1));
                Ok(Timestamp(self.last_came))
            }
        }
    }

    /// The gap that ends the session of a tuple.
    fn gap_of(&self, values: &[Value]) -> Result<Duration, TaskError> {
        let (field, place) = match (&self.windows, self.places.gap) {
            (Windows::Session(Gap::Fixed(gap)), _) => return Ok(*gap),
            (Windows::Session(Gap::Field(field)), Some(place)) => (field, place),
            _ => return Ok(Duration::ZERO),
        };
        let gap = match &values[place] {
            Value::I64(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
            Value::F64(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Value::Str(text) => units::parse_duration(text).ok(),
            _ => None,
        };
        gap.filter(|gap| !gap.is_zero()).ok_or_else(|| {
            let value = &values[place];
            TaskError::new(format!(
                "the gap in `{field}`, {value}, is no span of time: it is a text with a unit, as \"30m\", or a number of seconds, \
                 and more than 0"
            ))
        })
    }
}

impl<A: Aggregate> Bolt for WindowBolt<A> {
    fn declare(&self) -> Streams {
        let bounds = self.bounds.iter().flatten().map(String::as_str);
        let by = self.by.iter().map(SmolStr::as_str);
        let own = self.firing.iter().chain(&self.fields).map(String::as_str);
        let streams = Streams::new(by.chain(bounds).chain(own).collect::<Fields>());
        if self.has_late() { streams.stream(LATE_STREAM, LATE_FIELDS) } else { streams }
    }

    fn check(&self, check: &mut Check<'_>) {
        self.items.check(check);
        self.by.iter().for_each(|field| check.require_field("by", field));
        if let Some((field, _)) = &self.time {
            check.require_field("time", field);
        }
        if let Some(field) = self.gap_field() {
            check.require_field("session", field);
        }
        if self.by.is_empty() && check.parallelism() > 1 {
            let why = format!(
                "name the fields of keys: without any, each of the {} tasks would have windows of its own, of a part of the \
                 tuples. For windows of all tuples, set `parallelism` to 1",
                check.parallelism()
            );
            check.refuse("by", why);
        } else {
            check.require_grouping("by", &self.by);
        }
        let (windows, options) = (&self.windows, &self.options);
        if self.needs_time() && self.time.is_none() {
            check.refuse("time", "windows of event time need the field that has the time of a tuple");
        }
        if options.time == WindowTime::Processing && self.time.is_some() {
            check.refuse("time", "goes with event time only");
        }
        if options.discard && windows.share_tuples() {
            check.refuse(
                "mode",
                "results can be discarded where windows do not share tuples, and not in sessions",
            );
        }
        if matches!(windows, Windows::Session(Gap::Fixed(Duration::ZERO))) {
            check.refuse("session", "the gap must be more than 0");
        }
        if self.needs_time() && !check.has_event_time() {
            check.refuse(
                "time",
                "nothing in front of this bolt has `event_time`, so its windows would not end before the input does: give the \
                 component that emits the field an `event_time = { field = … }`, or write clock = \"processing\"",
            );
        }
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let inputs = context.inputs();
        let is_keyed = |input: &InputInfo| !self.by.is_empty() && input.key.iter().eq(self.by.iter());
        let has_key = !inputs.is_empty() && inputs.iter().all(is_keyed);
        if !has_key {
            context.name_keys();
        }
        let early = self.options.early;
        let engine = Engine::register(&self.teller.aggregate, &self.windows, &self.options, context)?;
        self.teller.prepare(context, (!self.by.is_empty(), self.bounds.is_some(), self.firing.is_some()));
        self.task = Some(Task {
            engine,
            has_key,
            early: early.every.map(|_| context.timer("early")).transpose()?,
            since: early.rows.map(|_| context.value_state("since")).transpose()?,
            signature: context.operator_state_for_all("windows")?,
            clock: context.clock().clone(),
            late: Late::register(context),
            in_gaps: context.counter("in_gaps"),
        });
        Ok(())
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let own = self.signature();
        let Some(task) = &self.task else { return Ok(()) };
        if let Some(other) = task.signature.items(out)?.iter().find(|other| **other != own) {
            return Err(TaskError::fatal(format!(
                "its state is that of other windows, so it cannot be used: {other}. Now it is: {own}. Give the bolt another \
                 id to begin anew, or set the windows as they were"
            )));
        }
        Ok(task.signature.set(out, vec![own])?)
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.places.source.as_ref() != Some(input.fields()) {
            self.find_places(&input)?;
        }
        let values = input.values();
        let (at, gap) = (self.time_of(values)?, self.gap_of(values)?);
        if !self.task.as_ref().is_some_and(|task| task.has_key) {
            match self.by.is_empty() {
                true => out.set_key([Value::Null]).map_err(|error| TaskError::new(error.to_string()))?,
                false => out.set_key_of(values, &self.places.by),
            }
        }
        let item = self.items.item(&input, at)?;
        let WindowBolt { teller, task: Some(task), options, .. } = self else { return Ok(()) };
        let arrival = Arrival { at, item: &item };
        match task.engine.add(arrival, gap, out, teller)? {
            Added::InGap => task.in_gaps.add(1),
            Added::Late => task.late.put_aside(&input, at, out)?,
            Added::Counted => {
                if let (Some(timer), Some(every)) = (task.early, options.early.every)
                    && !timer.is_set(out)?
                {
                    timer.set(out, every)?;
                }
                if let (Some(since), Some(rows)) = (task.since, options.early.rows) {
                    let since_last = since.update(out, |since| {
                        *since += 1;
                        *since
                    })?;
                    if since_last >= rows {
                        since.clear(out)?;
                        task.engine.early(out, teller)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn event_timer(&mut self, _: EventTimer, at: Timestamp, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let WindowBolt { teller, task: Some(task), .. } = self else { return Ok(()) };
        task.engine.due(at, out, teller)?;
        task.forget_empty(out)
    }

    fn timer(&mut self, timer: Timer, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let WindowBolt { teller, task: Some(task), .. } = self else { return Ok(()) };
        if task.early == Some(timer) {
            return task.engine.early(out, teller);
        }
        task.engine.due_by_clock(out, teller)?;
        task.forget_empty(out)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let WindowBolt { teller, task: Some(task), .. } = self else { return Ok(()) };
        task.engine.finish(out, teller)
    }
}

impl<A: Aggregate> Task<A> {
    /// Of a key without windows, nothing is kept.
    fn forget_empty(&self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        match self.since {
            Some(since) if self.engine.is_empty(out)? => Ok(since.clear(out)?),
            _ => Ok(()),
        }
    }
}
