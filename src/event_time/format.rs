//! Texts and numbers to points in time.
//!
//! * Without a format: RFC 3339 (`2026-11-28T10:00:00Z`, a blank for the `T` too), or a number, the
//!   time since 1970 in a unit that its magnitude shows (see [`Unit::of`]).
//! * `unix`, `unix_ms`, `unix_us`, `unix_ns`: a number in that unit.
//! * Anything else is a format of strftime. It is tried when the settings are read: a time that it
//!   writes must be read back as the same time, to the precision of the format.
//!
//! A time without a zone needs the setting `time_zone`. Where the clocks of that zone skip a time or
//! show it twice, the time fails: which one was meant is not known.

use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;
use jiff::{Unit as Precision, Zoned};

use crate::tuple::{Timestamp, Value};

/// The unit of a number that is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// Nanoseconds of one.
    fn nanos(self) -> i128 {
        match self {
            Unit::Seconds => 1_000_000_000,
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
            Unit::Nanos => 1,
        }
    }

    /// The unit of a number by its magnitude: up to 11 digits are seconds (until the year 5138), up
    /// to 14 milliseconds, up to 17 microseconds, more nanoseconds.
    fn of(whole: u128) -> Unit {
        match whole {
            0..100_000_000_000 => Unit::Seconds,
            100_000_000_000..100_000_000_000_000 => Unit::Millis,
            100_000_000_000_000..100_000_000_000_000_000 => Unit::Micros,
            _ => Unit::Nanos,
        }
    }
}

#[derive(Clone, Debug)]
enum Format {
    /// RFC 3339, or a number whose magnitude shows its unit.
    Standard,
    Unix(Unit),
    Strftime(String),
}

/// How times are read.
#[derive(Clone, Debug)]
pub(crate) struct TimeFormat {
    format: Format,
    /// The zone of times that do not name one.
    zone: Option<TimeZone>,
}

/// Why times cannot be read like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeFormatError {
    /// There is no such zone.
    Zone(String),
    /// The format cannot be read back, or needs a zone.
    Format(String),
}

impl TimeFormat {
    /// Times in a format, in a zone.
    ///
    /// # Errors
    /// When the format cannot be read back, or needs a zone, or there is no such zone.
    pub(crate) fn new(format: Option<&str>, zone: Option<&str>) -> Result<TimeFormat, TimeFormatError> {
        let zone = zone.map(time_zone).transpose().map_err(TimeFormatError::Zone)?;
        let format = match format {
            None => Format::Standard,
            Some("unix") => Format::Unix(Unit::Seconds),
            Some("unix_ms") => Format::Unix(Unit::Millis),
            Some("unix_us") => Format::Unix(Unit::Micros),
            Some("unix_ns") => Format::Unix(Unit::Nanos),
            Some(format) => Format::Strftime(format.to_owned()),
        };
        let times = TimeFormat { format, zone };
        if let Format::Strftime(format) = &times.format {
            times.try_out(format).map_err(TimeFormatError::Format)?;
        }
        Ok(times)
    }

    /// Reads a value: a point in time as it is, a text, or a number.
    ///
    /// # Errors
    /// When it is not a time; the error states the reason.
    pub(crate) fn time_of(&self, value: &Value) -> Result<Timestamp, String> {
        let unit = match self.format {
            Format::Unix(unit) => Some(unit),
            Format::Standard | Format::Strftime(_) => None,
        };
        match value {
            Value::Timestamp(time) => Ok(*time),
            Value::I64(number) => {
                let unit = unit.unwrap_or_else(|| Unit::of(number.unsigned_abs().into()));
                let nanos = i128::from(*number) * unit.nanos();
                i64::try_from(nanos).map(Timestamp).map_err(|_| OUT_OF_RANGE.to_owned())
            }
            Value::Str(text) => self.read(text),
            Value::F64(number) => self.read(&number.to_string()),
            other => Err(format!("is of type {}, and no time", other.value_type())),
        }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// When it is not a time; the error states the reason.
    pub(crate) fn read(&self, text: &str) -> Result<Timestamp, String> {
        match &self.format {
            Format::Unix(unit) => number(text)
                .ok_or("is no number")
                .and_then(|number| number.time(Some(*unit)))
                .map_err(str::to_owned),
            Format::Strftime(format) => self.formatted(format, text).and_then(in_range),
            Format::Standard => match number(text) {
                Some(number) => number.time(None).map_err(str::to_owned),
                None => self.standard(text).and_then(in_range),
            },
        }
    }

    fn standard(&self, text: &str) -> Result<jiff::Timestamp, String> {
        let error = match text.parse::<jiff::Timestamp>() {
            Ok(time) => return Ok(time),
            Err(error) => error,
        };
        // With a date and a time in it, what is missing is the zone.
        match (text.parse::<DateTime>(), &self.zone) {
            (Ok(time), Some(zone)) => unambiguous(zone, time),
            (Ok(_), None) => Err("has no zone; set `time_zone`".to_owned()),
            (Err(_), _) => Err(error.to_string()),
        }
    }

    fn formatted(&self, format: &str, text: &str) -> Result<jiff::Timestamp, String> {
        let parts = strtime::parse(format, text).map_err(|error| error.to_string())?;
        if let Some(time) = parts.timestamp() {
            return with_fraction(time, &parts);
        }
        if parts.iana_time_zone().is_some() {
            return parts.to_zoned().map(|zoned| zoned.timestamp()).map_err(|error| error.to_string());
        }
        match (&self.zone, parts.offset()) {
            (Some(zone), None) => unambiguous(zone, parts.to_datetime().map_err(|error| error.to_string())?),
            (None, None) => match parts.to_datetime() {
                Ok(_) => Err("has no zone; set `time_zone`".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            (_, Some(_)) => parts.to_timestamp().map_err(|error| error.to_string()),
        }
    }

    /// Writes a time by a format and reads it back.
    fn try_out(&self, format: &str) -> Result<(), String> {
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let time = "2026-11-28T22:07:08.123456789".parse::<DateTime>().and_then(|time| time.to_zoned(zone));
        let time = time.expect("it is a time in every zone");
        let written = strtime::format(format, &time).map_err(|error| error.to_string())?;
        let read = self.formatted(format, &written).map_err(|why| format!("\"{written}\" {why}"))?;
        if precisions(&time).any(|time| time.timestamp() == read) {
            return Ok(());
        }
        Err(format!("reads back \"{written}\" as {read}, which is another time: it leaves out a part of it"))
    }
}

/// The time cut to each precision that a format may have.
fn precisions(time: &Zoned) -> impl Iterator<Item = Zoned> {
    let units = [
        Precision::Nanosecond,
        Precision::Microsecond,
        Precision::Millisecond,
        Precision::Second,
        Precision::Minute,
        Precision::Hour,
        Precision::Day,
    ];
    let cut = |unit| time.round(jiff::ZonedRound::new().smallest(unit).mode(jiff::RoundMode::Trunc));
    units.into_iter().filter_map(move |unit| cut(unit).ok()).collect::<Vec<_>>().into_iter()
}

/// `%s` is the whole time to jiff, which leaves the fraction of `%s.%f` out.
fn with_fraction(time: jiff::Timestamp, parts: &BrokenDownTime) -> Result<jiff::Timestamp, String> {
    let nanos = i128::from(parts.subsec_nanosecond().unwrap_or(0));
    let seconds = i128::from(time.as_second());
    // The fraction of -1.5 goes away from 1970, too.
    let signed = if seconds < 0 { -nanos } else { nanos };
    jiff::Timestamp::from_nanosecond(seconds * 1_000_000_000 + signed).map_err(|error| error.to_string())
}

fn unambiguous(zone: &TimeZone, time: DateTime) -> Result<jiff::Timestamp, String> {
    let time = zone.to_ambiguous_timestamp(time).unambiguous();
    time.map_err(|error| format!("is skipped or repeated by the clocks of the zone: {error}"))
}

fn in_range(time: jiff::Timestamp) -> Result<Timestamp, String> {
    i64::try_from(time.as_nanosecond()).map(Timestamp).map_err(|_| OUT_OF_RANGE.to_owned())
}

const OUT_OF_RANGE: &str = "is out of range: timestamps go from the year 1677 to 2262";

pub(crate) fn time_zone(name: &str) -> Result<TimeZone, String> {
    if name.eq_ignore_ascii_case("utc") || name == "Z" {
        return Ok(TimeZone::UTC);
    }
    if name.starts_with(['+', '-']) {
        let offset = strtime::parse("%:z", name).ok().and_then(|parts| parts.offset());
        return offset.map(TimeZone::fixed).ok_or_else(|| format!("`{name}` is no offset, as `+02:00` is"));
    }
    let help = "write \"UTC\", an offset such as \"+02:00\", or a name such as \"Europe/Berlin\"";
    TimeZone::get(name).map_err(|error| format!("{error}; {help}"))
}

/// A decimal number, exactly.
struct Number {
    negative: bool,
    whole: u128,
    /// The digits behind the point as a number of this many digits.
    fraction: (u128, u32),
}

/// A text of digits, with a sign and a point perhaps.
fn number(text: &str) -> Option<Number> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let digits = |text: &str| {
        let is_number =
            !text.is_empty() && text.len() <= 30 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u128>().ok()).flatten()
    };
    let places = u32::try_from(fraction.len()).ok()?;
    Some(Number { negative, whole: digits(whole)?, fraction: (digits(fraction)?, places) })
}

impl Number {
    fn time(&self, unit: Option<Unit>) -> Result<Timestamp, &'static str> {
        let nanos = unit.unwrap_or_else(|| Unit::of(self.whole)).nanos();
        let (fraction, places) = self.fraction;
        let scale = 10_u128.pow(places);
        let parts =
            fraction.checked_mul(nanos.unsigned_abs()).ok_or("has too many digits behind the point")?;
        if !parts.is_multiple_of(scale) {
            return Err("is finer than a nanosecond");
        }
        let whole = self.whole.checked_mul(nanos.unsigned_abs()).ok_or(OUT_OF_RANGE)?;
        let total = whole
            .checked_add(parts / scale)
            .and_then(|total| i128::try_from(total).ok())
            .ok_or(OUT_OF_RANGE)?;
        let signed = if self.negative { -total } else { total };
        i64::try_from(signed).map(Timestamp).map_err(|_| OUT_OF_RANGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Option<&str>, zone: Option<&str>, text: &str) -> Result<String, String> {
        let times = TimeFormat::new(format, zone).map_err(|error| match error {
            TimeFormatError::Zone(why) | TimeFormatError::Format(why) => format!("refused: {why}"),
        })?;
        times.read(text).map(|time| time.to_string())
    }

    #[track_caller]
    fn check(format: &str, zone: &str, text: &str, expected: &str) {
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        let (format, zone) = (format.to_owned().leak(), zone.to_owned().leak());
        match read(given(format), given(zone), text) {
            Ok(time) => assert_eq!(time, expected, "{format} {zone} {text}"),
            Err(why) => {
                assert!(why.contains(expected) && !expected.is_empty(), "{format} {zone} {text}: {why}")
            }
        }
    }

    #[test]
    fn without_a_format_texts_are_rfc_3339_and_numbers_are_since_1970() {
        check("", "", "2026-11-28T10:00:00Z", "2026-11-28T10:00:00Z");
        check("", "", "2026-11-28 12:00:00.5+02:00", "2026-11-28T10:00:00.5Z");
        check("", "", "2026-11-28T10:00:00", "has no zone; set `time_zone`");
        check("", "+02:00", "2026-11-28T10:00:00", "2026-11-28T08:00:00Z");
        check("", "", "2500-01-01T00:00:00Z", "is out of range: timestamps go from the year 1677 to 2262");
        check("", "", "1764324000", "2025-11-28T10:00:00Z");
        check("", "", "1764324000.123", "2025-11-28T10:00:00.123Z");
        check("", "", "1764324000123", "2025-11-28T10:00:00.123Z");
        check("", "", "1764324000123456", "2025-11-28T10:00:00.123456Z");
        check("", "", "1764324000123456789", "2025-11-28T10:00:00.123456789Z");
        check("", "", "-1.5", "1969-12-31T23:59:58.5Z");
        check("", "", "0.0000000001", "finer than a nanosecond");
        check("", "", "99999999999999999999", "out of range");
        check("", "", "yesterday", "failed to parse");
    }

    #[test]
    fn a_unit_can_be_given() {
        check("unix", "", "1764324000.5", "2025-11-28T10:00:00.5Z");
        check("unix_ms", "", "500", "1970-01-01T00:00:00.5Z");
        check("unix_us", "", "-1", "1969-12-31T23:59:59.999999Z");
        check("unix_ns", "", "7", "1970-01-01T00:00:00.000000007Z");
        check("unix_ms", "", "2026-11-28", "is no number");
        check("unix", "", "9300000000", "out of range");
    }

    #[test]
    fn formats_keep_fractions_and_take_a_zone() {
        check("%s.%f", "", "1764324000.123", "2025-11-28T10:00:00.123Z");
        check("%s", "", "-1", "1969-12-31T23:59:59Z");
        check("%d/%b/%Y:%H:%M:%S %z", "", "10/Oct/2000:13:55:36 -0700", "2000-10-10T20:55:36Z");
        check("%Y-%m-%d %H:%M:%S", "UTC", "2026-11-28 10:00:00", "2026-11-28T10:00:00Z");
        check("%Y-%m-%d", "+01:00", "2026-11-28", "2026-11-27T23:00:00Z");
        check("%Y-%m-%d %H:%M:%S%.f", "UTC", "2026-11-28 10:00:00.25", "2026-11-28T10:00:00.25Z");
        check("%Y-%m-%d %H:%M:%S", "UTC", "2026-11-28", "expected");
    }

    #[test]
    fn a_format_that_cannot_work_is_refused() {
        check("%Y-%m-%d %!", "", "", "refused");
        check("%Y-%m-%d %H:%M:%S", "", "", "has no zone; set `time_zone`");
        check("%b %d %H:%M:%S", "UTC", "", "refused");
        check("%Y-%m-%d %I:%M", "UTC", "", "which is another time");
        check("", "Mars/Olympus", "", "refused");
        check("", "+99:99", "", "is no offset");
    }
}
