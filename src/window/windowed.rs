//! Bolts that see all tuples of a window, as Storm's `BaseWindowedBolt`.

use smol_str::SmolStr;

use crate::api::{
    Bolt, Check, EventTimer, Input, InputInfo, OperatorState, Outputs, Streams, TaskContext, TaskError, Timer,
};
use crate::clock::Clock;
use crate::event_time::TimeFormat;
use crate::metrics::Counter;
use crate::tuple::{Timestamp, Value};
use crate::window::firing::Added;
use crate::window::late::{LATE_FIELDS, LATE_STREAM, Late};
use crate::window::stored_tuple::Sources;
use crate::window::time_source::WindowTime;
use crate::window::tuple_engine::TupleEngine;
use crate::window::tuple_window::{Measure, TupleWindow};

/// A bolt that is called with the tuples of a window, instead of with each tuple. [`Windowed`] makes a bolt of it.
///
/// # Examples
/// The mean of the last three readings, each time one has come:
/// ```
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
/// use squall::window::{Measure, TupleWindow, Windowed, WindowedBolt, WindowTime};
///
/// struct Mean;
///
/// impl WindowedBolt for Mean {
///     fn declare(&self) -> Streams {
///         Streams::new(["mean"])
///     }
///
///     fn execute(&mut self, window: &TupleWindow, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let readings = window.all().map(|tuple| tuple.f64("celsius")).collect::<Result<Vec<_>, _>>()?;
///         Ok(out.emit([readings.iter().sum::<f64>() / readings.len() as f64])?)
///     }
/// }
///
/// let bolt = Windowed::new(Mean, Measure::Rows(3), Measure::Rows(1)).time(WindowTime::Processing);
/// let mut bolt = BoltHarness::start(Box::new(bolt), &HarnessOptions::default())?;
/// bolt.execute_all([1.0, 2.0, 6.0, 10.0].map(|celsius| TestTuple::new([celsius]).fields(["celsius"])));
/// let means: Vec<_> = bolt.take_rows("default").iter().map(|row| row[0].as_f64()).collect();
/// assert_eq!(means, [Some(1.0), Some(1.5), Some(3.0), Some(6.0)]);
/// # Ok::<(), TaskError>(())
/// ```
pub trait WindowedBolt: Send {
    /// The streams that the bolt emits to; by default none. [`Windowed`] adds the stream [`late`](LATE_STREAM).
    fn declare(&self) -> Streams {
        Streams::none()
    }

    /// As [`Bolt::check`].
    fn check(&self, _check: &mut Check<'_>) {}

    /// As [`Bolt::prepare`]. Names of states that begin with `window-` are those of [`Windowed`]. Timers of the bolt's own are
    /// not called.
    ///
    /// # Errors
    /// As [`Bolt::prepare`].
    fn prepare(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// Called with the tuples of a window, when it has some. What it emits is not anchored. After the end of the input, an
    /// error is reported, and counted as a loss (`windows_lost`).
    ///
    /// # Errors
    /// An error takes back what the call did. It is made again as the component's
    /// [`on_error`](crate::config::OnError) says.
    fn execute(&mut self, window: &TupleWindow, out: &mut Outputs<'_>) -> Result<(), TaskError>;

    /// As [`Bolt::cleanup`].
    fn cleanup(&mut self) {}
}

/// The windows of a [`WindowedBolt`]. Length and slide are each a number of tuples or a span of time, as in Storm:
///
/// | length | slide | a window |
/// |---|---|---|
/// | time | time | ends at each multiple of the slide since 1970, and has what happened in the length before |
/// | rows | time | ends at each multiple of the slide before which a tuple has come, and has the last so many |
/// | time | rows | ends with each so-manyth tuple, and has what happened in the length before, that tuple included |
/// | rows | rows | ends with each so-manyth tuple, and has the last so many |
///
/// In event time, tuples are taken in the order of their times, when the watermark is behind them; so windows of so many
/// tuples are the same in whatever order they come, but for tuples of the same moment. By the clock, they are taken as they come.
///
/// Each key has windows of its own. All tuples are state, so they are kept in memory until they leave their last window:
/// for sums and the like, [`WindowBolt`](crate::window::WindowBolt) needs less.
pub struct Windowed<B> {
    bolt: B,
    length: Measure,
    slide: Measure,
    time: WindowTime,
    by: Vec<SmolStr>,
    field: Option<(SmolStr, TimeFormat)>,
    task: Option<Task>,
}

struct Task {
    engine: TupleEngine,
    has_key: bool,
    clock: Clock,
    last_came: i64,
    late: Late,
    windows: Counter,
    windows_lost: Counter,
    /// The streams whose tuples are kept, with their fields.
    inputs: String,
    in_gaps: Counter,
    signature: OperatorState<String>,
}

impl<B: WindowedBolt> Windowed<B> {
    /// Windows of event time for a bolt. They need [`at`](Windowed::at), too.
    pub fn new(bolt: B, length: Measure, slide: Measure) -> Windowed<B> {
        Windowed { bolt, length, slide, time: WindowTime::Event, by: Vec::new(), field: None, task: None }
    }

    /// Sets the fields of keys. Without any, all tuples of a task have the same windows.
    #[must_use]
    pub fn by<S: AsRef<str>>(mut self, fields: impl IntoIterator<Item = S>) -> Windowed<B> {
        self.by = fields.into_iter().map(SmolStr::new).collect();
        self
    }

    /// Sets the field that has the time: a timestamp, RFC 3339, or a number since 1970 whose magnitude shows its unit.
    #[must_use]
    pub fn at(mut self, field: &str) -> Windowed<B> {
        self.field = TimeFormat::new(None, None).ok().map(|format| (field.into(), format));
        self
    }

    /// Sets the time that windows follow.
    #[must_use]
    pub fn time(mut self, time: WindowTime) -> Windowed<B> {
        self.time = time;
        self
    }

    fn signature(&self) -> String {
        format!("{:?} by {:?}; by {:?}; {:?}", self.length, self.slide, self.by, self.time)
    }

    /// When a tuple happened; by the clock, when it came. No two come at the same time.
    fn time_of(&mut self, input: &Input<'_>) -> Result<Timestamp, TaskError> {
        if let (WindowTime::Event, Some((field, format))) = (self.time, &self.field) {
            let value = input.field(field)?;
            return format
                .time_of(value)
                .map_err(|why| TaskError::new(format!("the time in `{field}`, {value}, {why}")));
        }
        let Some(task) = &mut self.task else { return Ok(Timestamp(0)) };
        task.last_came = task.clock.wall_nanos().max(task.last_came.saturating_add(1));
        Ok(Timestamp(task.last_came))
    }
}

impl<B: WindowedBolt> Bolt for Windowed<B> {
    fn declare(&self) -> Streams {
        let streams = self.bolt.declare();
        match self.time {
            WindowTime::Event => streams.stream(LATE_STREAM, LATE_FIELDS),
            WindowTime::Processing => streams,
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        self.bolt.check(check);
        self.by.iter().for_each(|field| check.require_field("by", field));
        if !self.by.is_empty() {
            check.require_grouping("by", &self.by);
        }
        for (what, measure) in [("length", self.length), ("slide", self.slide)] {
            let is_nothing = match measure {
                Measure::Rows(rows) => rows == 0,
                Measure::Time(span) => span.is_zero() || i64::try_from(span.as_nanos()).is_err(),
            };
            if is_nothing {
                check.refuse(what, "has to be more than 0 and at most 292 years");
            }
        }
        match (self.time, &self.field) {
            (WindowTime::Processing, _) => {}
            (WindowTime::Event, None) => {
                check.refuse("at", "windows of event time need a field that has the time: `at`")
            }
            (WindowTime::Event, Some((field, _))) => {
                check.require_field("at", field);
                if !check.has_event_time() {
                    check.refuse(
                        "at",
                        "nothing in front of this bolt has `event_time`, so its windows would not end",
                    );
                }
            }
        }
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let inputs = context.inputs();
        let is_keyed = |input: &InputInfo| !self.by.is_empty() && input.key.iter().eq(self.by.iter());
        let has_key = !inputs.is_empty() && inputs.iter().all(is_keyed);
        if !has_key {
            context.name_keys();
        }
        self.task = Some(Task {
            engine: TupleEngine::register((self.length, self.slide), self.time, context)?,
            has_key,
            clock: context.clock().clone(),
            last_came: i64::MIN,
            late: Late::register(context),
            windows: context.counter("windows"),
            windows_lost: context.loss_counter("windows_lost"),
            inputs: Sources::shown(context),
            in_gaps: context.counter("in_gaps"),
            signature: context.operator_state_for_all("window-signature")?,
        });
        self.bolt.prepare(context)
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let Some(task) = &self.task else { return Ok(()) };
        let own = format!("{}; {}", self.signature(), task.inputs);
        if let Some(other) = task.signature.items(out)?.iter().find(|other| **other != own) {
            return Err(TaskError::fatal(format!(
                "its state is that of other windows, so it cannot be used: {other}. Now it is: {own}"
            )));
        }
        Ok(task.signature.set(out, vec![own])?)
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let at = self.time_of(&input)?;
        if !self.task.as_ref().is_some_and(|task| task.has_key) {
            let mut key = Vec::with_capacity(1);
            for field in &self.by {
                key.push(input.field(field)?.clone());
            }
            if key.is_empty() {
                key.push(Value::Null);
            }
            out.set_key(key).map_err(|error| TaskError::new(error.to_string()))?;
        }
        let Windowed { bolt, task: Some(task), .. } = self else { return Ok(()) };
        let windows = &task.windows;
        let mut call = |window: &TupleWindow, out: &mut Outputs<'_>| {
            windows.add(1);
            bolt.execute(window, out)
        };
        match task.engine.add(at, &input, out, &mut call)? {
            Added::Counted => {}
            Added::Late => task.late.put_aside(&input, at, out)?,
            Added::InGap => task.in_gaps.add(1),
        }
        Ok(())
    }

    fn event_timer(
        &mut self,
        timer: EventTimer,
        at: Timestamp,
        out: &mut Outputs<'_>,
    ) -> Result<(), TaskError> {
        let Windowed { bolt, task: Some(task), .. } = self else { return Ok(()) };
        if !task.engine.source().is_event_timer(timer) {
            return Ok(());
        }
        let windows = &task.windows;
        task.engine.due(at, out, &mut |window, out| {
            windows.add(1);
            bolt.execute(window, out)
        })
    }

    fn timer(&mut self, timer: Timer, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let Windowed { bolt, task: Some(task), .. } = self else { return Ok(()) };
        if !task.engine.source().is_timer(timer) {
            return Ok(());
        }
        let windows = &task.windows;
        task.engine.due_by_clock(out, &mut |window, out| {
            windows.add(1);
            bolt.execute(window, out)
        })
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let Windowed { bolt, task: Some(task), .. } = self else { return Ok(()) };
        let Task { engine, windows, windows_lost, .. } = task;
        engine.finish(out, &mut |window, out| {
            windows.add(1);
            // The windows of other keys are told all the same.
            if let Err(error) = bolt.execute(window, out) {
                out.report_error(error);
                windows_lost.add(1);
            }
            Ok(())
        })
    }

    fn cleanup(&mut self) {
        self.bolt.cleanup();
    }
}
