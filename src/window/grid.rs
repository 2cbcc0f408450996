//! How event time is cut into slices, and which windows a slice belongs to. Pure.
//!
//! A *slice* is the longest span of time that each window has either whole or not at all: as long as the greatest common
//! divisor of the length of the windows and the distance of their begins. Slices are numbered, and a window is a range of
//! these numbers. So a tuple is counted once, in its slice, however many windows it belongs to.
//!
//! ```text
//!   slices   …│  5 │  6 │  7 │  8 │  9 │…      length = "30s", slide = "20s": slices of 10 s
//!   window 2  └4────5────6┘                     window j has the slices j·2 to j·2+2
//!   window 3            └6────7────8┘
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time as CivilTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span};

use crate::event_time::time_zone;
use crate::tuple::Timestamp;

/// Nanoseconds of a day of 24 hours.
const DAY: i64 = 86_400_000_000_000;

/// A Monday. Weeks, and windows of several days, are counted from here.
const FIRST_DAY: Date = date(1970, 1, 5);

/// When that day begins in UTC, in nanoseconds since 1970.
const FIRST_DAY_BEGIN: i64 = 4 * DAY;

/// Slices of equal length, or of equal numbers of days of a time zone.
#[derive(Clone, Debug)]
enum Grid {
    /// In nanoseconds; slice 0 begins at `origin`.
    Fixed { size: i64, origin: i64 },
    /// Slice 0 begins with the first day. A day begins `offset` after midnight.
    Days { days: i64, offset: i64, zone: TimeZone },
}

impl Grid {
    /// The number of the slice that has a point in time.
    fn slice_of(&self, at: Timestamp) -> Option<i64> {
        match self {
            Grid::Fixed { size, origin } => at.0.checked_sub(*origin).map(|since| since.div_euclid(*size)),
            Grid::Days { days, offset, zone } => {
                let local = zone.to_datetime(jiff::Timestamp::from_nanosecond(at.0.into()).ok()?);
                let shifted = local.checked_sub(SignedDuration::from_nanos(*offset)).ok()?;
                let since = shifted.date().since(FIRST_DAY).ok()?.get_days();
                let slice = i64::from(since).div_euclid(*days);
                // Where clocks are set, the day that the shifted time names may be a neighbour.
                [slice, slice - 1, slice + 1].into_iter().find(|slice| {
                    let (begin, end) = (self.begin_of(*slice), self.begin_of(slice + 1));
                    begin.is_some_and(|begin| begin <= at) && end.is_some_and(|end| at < end)
                })
            }
        }
    }

    /// When a slice begins.
    fn begin_of(&self, slice: i64) -> Option<Timestamp> {
        match self {
            Grid::Fixed { size, origin } => slice.checked_mul(*size)?.checked_add(*origin).map(Timestamp),
            Grid::Days { days, offset, zone } => {
                let days = Span::new().try_days(slice.checked_mul(*days)?).ok()?;
                let midnight = DateTime::from_parts(FIRST_DAY.checked_add(days).ok()?, CivilTime::midnight());
                let begin = midnight.checked_add(SignedDuration::from_nanos(*offset)).ok()?;
                let begin = zone.to_ambiguous_timestamp(begin).compatible().ok()?;
                i64::try_from(begin.as_nanosecond()).ok().map(Timestamp)
            }
        }
    }
}

/// A window: the time from its start to before its end.
///
/// # Examples
/// ```
/// use squall::Timestamp;
/// use squall::window::Window;
///
/// let first_second = Window { start: Timestamp(0), end: Timestamp(1_000_000_000) };
/// assert_eq!(first_second.to_string(), "1970-01-01T00:00:00Z to 1970-01-01T00:00:01Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// When it begins.
    pub start: Timestamp,
    /// When it ends. What happened at this moment belongs to the next window.
    pub end: Timestamp,
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

/// Windows of equal length at equal distances.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use squall::Timestamp;
/// use squall::window::TimeWindows;
///
/// let minute = Duration::from_secs(60);
/// let windows = TimeWindows::sliding(2 * minute, minute)?;
/// let starts: Vec<_> = windows.of(Timestamp(200_000_000_000))?.map(|window| window.start.to_string()).collect();
/// assert_eq!(starts, ["1970-01-01T00:02:00Z", "1970-01-01T00:03:00Z"]);
///
/// let days = TimeWindows::tumbling(24 * 60 * minute)?.in_time_zone("Europe/Berlin")?;
/// let clocks_go_back = Timestamp(1_792_900_000_000_000_000);
/// let long_day = days.of(clocks_go_back)?.next().expect("each moment has a day");
/// assert_eq!(long_day.end.0 - long_day.start.0, 25 * 3600 * 1_000_000_000);
/// # Ok::<(), squall::window::WindowError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TimeWindows {
    grid: Grid,
    /// The length of a window, in slices.
    length: i64,
    /// From the begin of one window to the begin of the next, in slices.
    slide: i64,
    /// The slice of the last tuple. Neighbours are often in one slice.
    last: Slice,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    number: i64,
    start: Timestamp,
    end: Timestamp,
}

/// Why windows cannot be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The length is zero, or more than the years that times can have.
    #[error("a window lasts at least 1ns and at most 36500 days")]
    Length,
    /// The slide is zero, or more than the years that times can have.
    #[error("the slide is at least 1ns and at most 36500 days")]
    Slide,
    /// More slices than a window may have.
    #[error(
        "a window would have {0} parts (the length, by the greatest common divisor of length and slide), and may have {max}: \
         choose a slide that divides the length",
        max = TimeWindows::SLICES_MAX
    )]
    Slices(i64),
    /// A month, for example, which has no fixed length.
    #[error("a window of more than a day has a whole number of days: write for example \"7d\" or \"30d\"")]
    NotWholeDays,
    /// Days of a zone need windows of whole days.
    #[error("a time zone decides when days begin: length and slide have to be whole days, as \"1d\"")]
    NotDays,
    /// There is no such zone.
    #[error("{0}")]
    Zone(String),
    /// A window would end beyond the times that there are.
    #[error("the time {0} is too far from today for a window")]
    OutOfRange(Timestamp),
}

impl TimeWindows {
    /// How many slices a window may have.
    pub const SLICES_MAX: i64 = 10_000;

    /// Windows that follow one another without gaps. Those of whole weeks begin on Mondays, others at multiples of their
    /// length since 1970, in UTC; days are counted from Monday, 1970-01-05.
    ///
    /// # Errors
    /// When the length is zero or too long.
    pub fn tumbling(length: Duration) -> Result<TimeWindows, WindowError> {
        TimeWindows::sliding(length, length)
    }

    /// Windows of a length that begin at each multiple of the slide. They overlap if the slide is shorter than the length. If
    /// it is longer there are gaps, whose tuples belong to no window.
    ///
    /// # Errors
    /// When the length or the slide is zero or too long, or a window has too many slices.
    pub fn sliding(length: Duration, slide: Duration) -> Result<TimeWindows, WindowError> {
        let length = nanos(length).ok_or(WindowError::Length)?;
        let slide = nanos(slide).ok_or(WindowError::Slide)?;
        if [length, slide].iter().any(|span| *span > DAY && span % DAY != 0) {
            return Err(WindowError::NotWholeDays);
        }
        let size = greatest_common_divisor(length, slide);
        if length / size > TimeWindows::SLICES_MAX {
            return Err(WindowError::Slices(length / size));
        }
        let origin = if slide % DAY == 0 { FIRST_DAY_BEGIN } else { 0 };
        Ok(TimeWindows {
            grid: Grid::Fixed { size, origin },
            length: length / size,
            slide: slide / size,
            last: Slice { number: 0, start: Timestamp(0), end: Timestamp(0) },
        })
    }

    /// The same windows, later by so much: `tumbling` of a day with an offset of six hours begins at six.
    #[must_use]
    pub fn later_by(mut self, by: Duration) -> TimeWindows {
        let by = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        match &mut self.grid {
            Grid::Fixed { size, origin } => *origin = origin.saturating_add(by % (*size * self.slide)),
            Grid::Days { days, offset, .. } => *offset = by % (*days * self.slide * DAY),
        }
        self
    }

    /// Windows of whole days as this time zone has them: on the days on which clocks are set, they are an hour longer or
    /// shorter. Weeks begin on Mondays.
    ///
    /// # Errors
    /// When length and slide are not whole days, or there is no such zone.
    pub fn in_time_zone(mut self, name: &str) -> Result<TimeWindows, WindowError> {
        let zone = time_zone(name).map_err(WindowError::Zone)?;
        let Grid::Fixed { size, origin } = self.grid else { return Ok(self) };
        if size % DAY != 0 {
            return Err(WindowError::NotDays);
        }
        let offset = origin - FIRST_DAY_BEGIN;
        self.grid = Grid::Days { days: size / DAY, offset, zone };
        Ok(self)
    }

    /// The windows that a moment belongs to, the earliest first. None, if it is in a gap.
    ///
    /// # Errors
    /// When one would begin or end beyond the times that there are.
    pub fn of(&self, at: Timestamp) -> Result<impl Iterator<Item = Window> + '_, WindowError> {
        let out_of_range = WindowError::OutOfRange(at);
        let slice = self.grid.slice_of(at).ok_or(out_of_range.clone())?;
        let windows = self.windows_of(slice);
        if !windows.is_empty()
            && [*windows.start(), *windows.end()].into_iter().any(|it| self.span(it).is_none())
        {
            return Err(out_of_range);
        }
        Ok(windows.filter_map(|window| self.span(window)))
    }

    /// Whether each moment belongs to one window at most.
    pub(crate) fn is_tumbling(&self) -> bool {
        self.length <= self.slide
    }

    /// How many slices a window has.
    pub(crate) fn slices(&self) -> i64 {
        self.length
    }

    /// How many slices end in so long, about.
    pub(crate) fn slices_in(&self, span: Duration) -> i64 {
        let size = match &self.grid {
            Grid::Fixed { size, .. } => *size,
            Grid::Days { days, .. } => days.saturating_mul(DAY),
        };
        i64::try_from(span.as_nanos()).unwrap_or(i64::MAX) / size
    }

    /// The slice of a moment.
    ///
    /// # Errors
    /// When a window that has it would begin or end beyond the times that there are.
    #[inline]
    pub(crate) fn slice_of(&mut self, at: Timestamp) -> Result<i64, WindowError> {
        if self.last.start <= at && at < self.last.end {
            return Ok(self.last.number);
        }
        self.find_slice(at).ok_or(WindowError::OutOfRange(at))
    }

    #[inline(never)]
    fn find_slice(&mut self, at: Timestamp) -> Option<i64> {
        let number = self.grid.slice_of(at)?;
        // All windows that have the slice can be told from one another.
        self.grid.begin_of(number.checked_sub(self.length)?)?;
        self.grid.begin_of(number.checked_add(self.length)?.checked_add(1)?)?;
        self.last =
            Slice { number, start: self.grid.begin_of(number)?, end: self.grid.begin_of(number + 1)? };
        Some(number)
    }

    /// The numbers of the windows that have a slice; an empty range, if it is in a gap.
    #[inline]
    pub(crate) fn windows_of(&self, slice: i64) -> RangeInclusive<i64> {
        (slice - self.length).div_euclid(self.slide) + 1..=slice.div_euclid(self.slide)
    }

    /// The first slice of a window, and the one behind its last.
    #[inline]
    pub(crate) fn slices_of(&self, window: i64) -> (i64, i64) {
        (window * self.slide, window * self.slide + self.length)
    }

    /// From when to when a window goes.
    pub(crate) fn span(&self, window: i64) -> Option<Window> {
        let (first, behind) =
            (window.checked_mul(self.slide)?, window.checked_mul(self.slide)?.checked_add(self.length)?);
        Some(Window { start: self.grid.begin_of(first)?, end: self.grid.begin_of(behind)? })
    }

    /// When a window ends; the end of time, if that is beyond the times that there are.
    pub(crate) fn end_of(&self, window: i64) -> Timestamp {
        let behind = window.checked_mul(self.slide).and_then(|first| first.checked_add(self.length));
        behind.and_then(|behind| self.grid.begin_of(behind)).unwrap_or(Timestamp(i64::MAX))
    }

    /// The last window that has ended at this moment or before.
    pub(crate) fn last_ended(&self, at: Timestamp) -> Option<i64> {
        self.grid.slice_of(at).map(|slice| (slice - self.length).div_euclid(self.slide))
    }
}

fn nanos(span: Duration) -> Option<i64> {
    let nanos = i64::try_from(span.as_nanos()).ok()?;
    (nanos > 0 && nanos <= 36_500 * DAY).then_some(nanos)
}

pub(super) fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        Timestamp(time.as_nanosecond() as i64)
    }

    fn of(windows: &TimeWindows, at: Timestamp) -> Vec<(i64, i64)> {
        let windows = windows.of(at).unwrap_or_else(|error| panic!("{error}"));
        windows.map(|window| (window.start.0 / SECOND, window.end.0 / SECOND)).collect()
    }

    #[test]
    fn each_moment_has_its_windows() {
        let sliding =
            |length, slide| TimeWindows::sliding(seconds(length), seconds(slide)).expect("they are");
        let check = |length, slide, at: i64, expected: &[(i64, i64)]| {
            assert_eq!(
                of(&sliding(length, slide), Timestamp(at * SECOND)),
                expected,
                "{length} by {slide} at {at}"
            );
        };
        check(60, 60, 0, &[(0, 60)]);
        check(60, 60, 59, &[(0, 60)]);
        check(60, 60, 60, &[(60, 120)]);
        check(60, 60, -1, &[(-60, 0)]);
        check(20, 10, 25, &[(10, 30), (20, 40)]);
        check(30, 20, 25, &[(0, 30), (20, 50)]);
        check(30, 20, 35, &[(20, 50)]);
        // With gaps.
        check(10, 30, 9, &[(0, 10)]);
        check(10, 30, 10, &[]);
        check(10, 30, 30, &[(30, 40)]);
    }

    /// Each moment is in the windows whose span has it, and in no other; and a window that ends is found by its end.
    #[test]
    fn slices_and_spans_agree() {
        for (length, slide, offset) in [(6, 6, 0), (6, 2, 1), (6, 4, 3), (2, 5, 4), (7, 3, 2), (1, 1, 0)] {
            let windows = TimeWindows::sliding(seconds(length), seconds(slide)).expect("they are");
            let windows = windows.later_by(seconds(offset));
            for at in -40..40 {
                let moment = Timestamp(at * SECOND + 1);
                let expected: Vec<_> = (-60..60)
                    .map(|n| n * slide as i64 + offset as i64)
                    .filter(|start| *start <= at && at < start + length as i64)
                    .map(|start| (start, start + length as i64))
                    .collect();
                assert_eq!(of(&windows, moment), expected, "{length} by {slide}, later by {offset}, at {at}");
                let mut own = windows.clone();
                let slice = own.slice_of(moment).expect("it is near");
                assert_eq!(own.slice_of(moment), Ok(slice), "it is known now");
                for window in windows.windows_of(slice) {
                    let (first, behind) = windows.slices_of(window);
                    assert!((first..behind).contains(&slice));
                    let end = windows.end_of(window);
                    assert_eq!(windows.last_ended(end), Some(window));
                    assert_eq!(windows.last_ended(Timestamp(end.0 - 1)), Some(window - 1));
                }
            }
        }
    }

    #[test]
    fn days_of_a_zone_follow_its_clocks() {
        let day = TimeWindows::tumbling(seconds(86_400)).and_then(|days| days.in_time_zone("Europe/Berlin"));
        let day = day.expect("a zone");
        let hours = |moment: &str| {
            let window = day.of(at(moment)).expect("it is near").next().expect("each moment has a day");
            (window.start.to_string(), (window.end.0 - window.start.0) / (3600 * SECOND))
        };
        assert_eq!(hours("2026-03-29T21:59:59Z"), ("2026-03-28T23:00:00Z".to_owned(), 23));
        assert_eq!(hours("2026-03-29T22:00:00Z"), ("2026-03-29T22:00:00Z".to_owned(), 24));
        assert_eq!(hours("2026-10-25T12:00:00Z"), ("2026-10-24T22:00:00Z".to_owned(), 25));
        let six = day.clone().later_by(seconds(6 * 3600));
        let window = six.of(at("2026-10-25T04:59:59Z")).expect("it is near").next().expect("it has a day");
        assert_eq!((window.start, window.end), (at("2026-10-24T04:00:00Z"), at("2026-10-25T05:00:00Z")));
        // Every hour of two years is in the day whose span has it.
        let mut days = day;
        for hour in 0..2 * 365 * 24 {
            let moment = Timestamp(at("2026-01-01T00:00:00Z").0 + hour * 3600 * SECOND);
            let slice = days.slice_of(moment).expect("it is near");
            let span = days.span(*days.windows_of(slice).start()).expect("it is near");
            assert!(span.start <= moment && moment < span.end, "{moment} in {span}");
        }
    }

    #[test]
    fn weeks_begin_on_mondays() {
        let week = TimeWindows::tumbling(seconds(7 * 86_400)).expect("a week");
        let begins = |windows: &TimeWindows| {
            let window = windows.of(at("2026-12-01T10:00:00Z")).expect("it is near").next();
            window.expect("each moment has a week").start
        };
        assert_eq!(begins(&week), at("2026-11-30T00:00:00Z"));
        let zoned = week.clone().in_time_zone("+02:00").expect("an offset");
        assert_eq!(begins(&zoned), at("2026-11-29T22:00:00Z"));
        let sundays = week.later_by(seconds(6 * 86_400));
        assert_eq!(begins(&sundays), at("2026-11-29T00:00:00Z"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refusal =
            |length, slide| TimeWindows::sliding(length, slide).expect_err("it cannot be").to_string();
        assert!(refusal(Duration::ZERO, seconds(1)).contains("at least 1ns"));
        assert!(refusal(seconds(1), Duration::ZERO).contains("the slide"));
        assert!(refusal(seconds(86_400), Duration::from_millis(1)).contains("86400000 parts"));
        assert!(refusal(seconds(2_630_016), seconds(2_630_016)).contains("whole number of days"));
        let hour = TimeWindows::tumbling(seconds(3600)).expect("an hour");
        assert_eq!(hour.clone().in_time_zone("UTC").expect_err("an hour is no day"), WindowError::NotDays);
        assert!(TimeWindows::tumbling(seconds(86_400)).expect("a day").in_time_zone("Mars/Olympus").is_err());
        assert!(hour.of(Timestamp(i64::MAX)).is_err() && hour.clone().slice_of(Timestamp(i64::MIN)).is_err());
    }
}
