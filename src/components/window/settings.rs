//! The settings of `window`, and what they say of windows and time.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::components::settings::{Ordered, Period};
use crate::config::units::show_duration;
use crate::event_time::{TimeFormat, TimeFormatError};
use crate::topology::registry::SettingError;
use crate::window::{
    Early, Gap, RowWindows, RowsError, TimeWindows, WindowError, WindowOptions, WindowTime, Windows,
};

/// Settings of [`window`](mod@crate::components::window). One of `length`, `session`, `rows` and `all` says which windows there
/// are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowSettings {
    /// What is told of each window: fields, each with a function and what it is applied to, for example
    /// `{ clicks = "count()", bytes = "sum(size)", errors = "count() where status >= 500" }`. Required.
    pub aggregate: Ordered<String>,
    /// The fields of keys; each key has windows of its own. Default: none, so all tuples have the same windows.
    #[serde(default)]
    pub by: Vec<String>,
    /// The field that has the time of a tuple, or a table `{ field = …, format = …, time_zone = … }` as in `event_time`.
    /// Required for windows of event time.
    #[serde(default)]
    pub time: Option<TimeSettings>,
    /// The time that windows follow: `"event"`, that of the tuples, or `"processing"`, that of the clock. Default: `"event"`.
    #[serde(default)]
    pub clock: Clock,
    /// How long a window lasts, as a duration: windows of time.
    #[serde(default)]
    pub length: Option<Period>,
    /// From the begin of a window to the begin of the next, as a duration. Default: `length`, so windows do not overlap.
    #[serde(default)]
    pub slide: Option<Period>,
    /// Whether `slide` may be longer than `length`, so that tuples between windows belong to none. Default: false.
    #[serde(default)]
    pub gaps: bool,
    /// How much later windows begin, as a duration: days with `offset = "6h"` begin at six. Default: 0.
    #[serde(default)]
    pub offset: Option<Period>,
    /// The time zone in which days begin, for windows of whole days: `"Europe/Berlin"`, `"+02:00"`. Default: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// The gap after which a session is over, as a duration, or a table `{ field = … }` with the field that has it.
    #[serde(default)]
    pub session: Option<SessionSettings>,
    /// How many tuples a window has.
    #[serde(default)]
    pub rows: Option<i64>,
    /// After how many tuples the next window ends. Default: `rows`, so windows do not overlap.
    #[serde(default)]
    pub slide_rows: Option<i64>,
    /// With `rows`: how long after its first tuple a window ends at the latest, as a duration. Default: never.
    #[serde(default)]
    pub timeout: Option<Period>,
    /// One window of all tuples. It is told when the input ends, and as `early` says. Default: false.
    #[serde(default)]
    pub all: bool,
    /// How long a window that is over takes late tuples, as a duration; with each it is told again. Default: 0.
    #[serde(default)]
    pub allowed_lateness: Option<Period>,
    /// When windows are told before they are over: `{ every = "10s" }` after the first tuple since the last such result, by the
    /// clock, or `{ rows = 1000 }`, each time so many tuples of the key have come. Default: never.
    #[serde(default)]
    pub early: Option<EarlySettings>,
    /// What a window that is told several times tells: `"accumulate"`, all of its tuples each time, or `"discard"`, those
    /// since the last time. Default: `"accumulate"`.
    #[serde(default)]
    pub mode: Mode,
    /// The field of the start of a window. Default: `"window_start"`.
    #[serde(default)]
    pub start: Option<String>,
    /// The field of the end of a window. Default: `"window_end"`.
    #[serde(default)]
    pub end: Option<String>,
    /// A field that says why a window is told: `early`, `on-time` or `late`. Default: none.
    #[serde(default)]
    pub firing: Option<String>,
}

/// The time that windows follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// That of the tuples.
    #[default]
    Event,
    /// That of the clock.
    Processing,
}

/// What a window tells if it is told several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All of its tuples.
    #[default]
    Accumulate,
    /// The tuples since the last time.
    Discard,
}

/// The field that has the time, and how it is read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected the name of a field, or a table { field = …, format = …, time_zone = … }"
)]
pub enum TimeSettings {
    /// Its name.
    Field(String),
    /// Its name, format and zone.
    Table(TimeTable),
}

/// A field with times, their format, and their zone.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeTable {
    /// Its name.
    pub field: String,
    /// How a text or a number is read, as in `event_time`.
    #[serde(default)]
    pub format: Option<String>,
    /// The zone of times that name none.
    #[serde(default)]
    pub time_zone: Option<String>,
}

/// The gap that ends a session.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a duration, as \"30m\", or a table { field = … }")]
pub enum SessionSettings {
    /// Always the same.
    Gap(Period),
    /// That of each tuple.
    Field(GapField),
}

/// A field with gaps.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GapField {
    /// Its name. It has a text with a unit, or a number of seconds.
    pub field: String,
}

/// When windows are told early.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlySettings {
    /// So long after the first tuple since the last result.
    #[serde(default)]
    pub every: Option<Period>,
    /// After so many tuples of the key.
    #[serde(default)]
    pub rows: Option<u64>,
}

impl WindowSettings {
    /// The windows.
    ///
    /// # Errors
    /// When they cannot be so, or two kinds are asked for.
    pub(super) fn windows(&self) -> Result<Windows, SettingError> {
        let kinds = [
            ("length", self.length.is_some()),
            ("session", self.session.is_some()),
            ("rows", self.rows.is_some()),
            ("all", self.all),
        ];
        let mut given = kinds.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key);
        let kind = given.next().ok_or_else(|| {
            let help = "write one of length = \"1m\", session = \"30m\", rows = 100, all = true";
            SettingError::new(format!("it is not said which windows there are: {help}"))
        })?;
        if let Some(other) = given.next() {
            return Err(SettingError::at(other, format!("does not go with `{kind}`: choose one of both")));
        }
        let belongs = [
            ("slide", "length", self.slide.is_some()),
            ("gaps", "length", self.gaps),
            ("offset", "length", self.offset.is_some()),
            ("time_zone", "length", self.time_zone.is_some()),
            ("slide_rows", "rows", self.slide_rows.is_some()),
            ("timeout", "rows", self.timeout.is_some()),
        ];
        if let Some((key, wanted, _)) =
            belongs.iter().find(|(_, wanted, is_given)| *is_given && *wanted != kind)
        {
            return Err(SettingError::at(key, format!("goes with `{wanted}` only, and not with `{kind}`")));
        }
        match (&self.length, &self.session, self.rows) {
            (Some(Period(length)), ..) => self.time_windows(*length).map(Windows::Time),
            (_, Some(session), _) => session.gap().map(Windows::Session),
            (_, _, Some(rows)) => self.row_windows(rows).map(Windows::Rows),
            _ => Ok(Windows::Rows(RowWindows::all())),
        }
    }

    fn time_windows(&self, length: std::time::Duration) -> Result<TimeWindows, SettingError> {
        let slide = self.slide.map_or(length, |Period(slide)| slide);
        let windows = TimeWindows::sliding(length, slide).map_err(|error| {
            let key = match &error {
                WindowError::Slide | WindowError::Slices(_) => "slide",
                WindowError::NotWholeDays
                    if self.slide.is_some() && length.as_secs().is_multiple_of(86_400) =>
                {
                    "slide"
                }
                _ => "length",
            };
            SettingError::at(key, error)
        })?;
        if slide > length && !self.gaps {
            let (slide, length) = (show_duration(slide), show_duration(length));
            return Err(SettingError::at(
                "slide",
                format!(
                    "is longer than `length`, {slide} and {length}: tuples between windows would belong to none. Write gaps = true \
                     if that is meant"
                ),
            ));
        }
        let windows = match &self.time_zone {
            None => windows,
            Some(zone) => windows.in_time_zone(zone).map_err(|error| SettingError::at("time_zone", error))?,
        };
        match self.offset {
            None => Ok(windows),
            Some(Period(offset)) if offset < slide => Ok(windows.later_by(offset)),
            Some(_) => {
                Err(SettingError::at("offset", "is less than the distance of windows, which is the `slide`"))
            }
        }
    }

    fn row_windows(&self, rows: i64) -> Result<RowWindows, SettingError> {
        let windows = RowWindows::sliding(rows, self.slide_rows.unwrap_or(rows)).map_err(|error| {
            let key = if error == RowsError::Length { "rows" } else { "slide_rows" };
            SettingError::at(key, error)
        })?;
        match self.timeout {
            None => Ok(windows),
            Some(Period(timeout)) if timeout.is_zero() => {
                Err(SettingError::at("timeout", "must be more than 0"))
            }
            Some(Period(timeout)) => {
                windows.with_timeout(timeout).map_err(|error| SettingError::at("timeout", error))
            }
        }
    }

    /// When windows end.
    ///
    /// # Errors
    /// When settings do not go together.
    pub(super) fn options(&self, windows: &Windows) -> Result<WindowOptions, SettingError> {
        let time = match self.clock {
            Clock::Event => WindowTime::Event,
            Clock::Processing => WindowTime::Processing,
        };
        if time == WindowTime::Processing && self.time.is_some() {
            return Err(SettingError::at("time", "goes with clock = \"event\" only: leave out one of both"));
        }
        if windows.follow_time() && time == WindowTime::Event && self.time.is_none() {
            let why = "windows of event time need the field that has the time of a tuple: write time = \"FIELD\", or \
                       clock = \"processing\" for windows by the clock";
            return Err(SettingError::new(why));
        }
        let is_late = windows.can_be_late() && time == WindowTime::Event;
        if self.allowed_lateness.is_some() && !is_late {
            let why = "goes with windows of event time only: elsewhere no tuple is late";
            return Err(SettingError::at("allowed_lateness", why));
        }
        if self.mode == Mode::Discard && windows.share_tuples() {
            return Err(SettingError::at(
                "mode",
                "\"discard\" goes with windows that do not overlap, and not with sessions: they share their tuples",
            ));
        }
        Ok(WindowOptions {
            time,
            allowed_lateness: self
                .allowed_lateness
                .map_or_else(Default::default, |Period(lateness)| lateness),
            early: self.early.as_ref().map_or(Ok(Early::default()), EarlySettings::early)?,
            discard: self.mode == Mode::Discard,
        })
    }
}

impl SessionSettings {
    fn gap(&self) -> Result<Gap, SettingError> {
        match self {
            SessionSettings::Gap(Period(gap)) if gap.is_zero() => Err(SettingError::at(
                "session",
                "the gap must be more than 0, or each tuple would be a session",
            )),
            SessionSettings::Gap(Period(gap)) => Ok(Gap::Fixed(*gap)),
            SessionSettings::Field(GapField { field }) => Ok(Gap::Field(field.clone())),
        }
    }
}

impl EarlySettings {
    fn early(&self) -> Result<Early, SettingError> {
        let every = self.every.map(|Period(every)| every);
        if every.is_some_and(|every| every.is_zero()) {
            return Err(SettingError::at("early.every", "must be more than 0"));
        }
        if self.rows == Some(0) {
            return Err(SettingError::at("early.rows", "must be at least 1"));
        }
        if every.is_none() && self.rows.is_none() {
            return Err(SettingError::at(
                "early",
                "says nothing: write { every = \"10s\" } or { rows = 1000 }",
            ));
        }
        Ok(Early { every, rows: self.rows })
    }
}

impl TimeSettings {
    /// The field, and how it is read.
    ///
    /// # Errors
    /// When the format or the zone is none.
    pub(super) fn read(&self) -> Result<(&str, TimeFormat), SettingError> {
        let (field, format, zone) = match self {
            TimeSettings::Field(field) => (field, None, None),
            TimeSettings::Table(TimeTable { field, format, time_zone }) => {
                (field, format.as_deref(), time_zone.as_deref())
            }
        };
        let format = TimeFormat::new(format, zone).map_err(|error| match error {
            TimeFormatError::Zone(why) => SettingError::at("time.time_zone", why),
            TimeFormatError::Format(why) => SettingError::at("time.format", why),
        })?;
        Ok((field, format))
    }
}
