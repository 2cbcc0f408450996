//! Durations and sizes as text with units: `"500ms"`, `"2m 30s"`, `"64MiB"`.
//!
//! A number without a unit is refused: a reader could not see whether it means seconds or
//! milliseconds, bytes or tuples.

use std::time::Duration;

/// Reads a duration: numbers with units from `ns` to `d`, added up.
///
/// # Errors
/// A sentence that describes what is expected.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use squall::config::units::parse_duration;
/// assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
/// assert!(parse_duration("30").unwrap_err().contains("no unit"));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = "expected for example \"500ms\", \"30s\" or \"2m\"";
    if is_number(text) {
        return Err(format!("duration \"{}\" has no unit: {expected}", text.trim()));
    }
    humantime::parse_duration(text).map_err(|_| format!("not a duration: \"{}\" ({expected})", text))
}

/// Reads two durations, the shorter first: `"200ms..10s"`.
///
/// # Errors
/// A sentence that describes what is expected.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use squall::config::units::parse_range;
/// assert_eq!(parse_range("200ms..10s"), Ok((Duration::from_millis(200), Duration::from_secs(10))));
/// assert_eq!(parse_range("10s").unwrap_err(), "\"10s\" is not two durations with `..` between them");
/// ```
pub fn parse_range(text: &str) -> Result<(Duration, Duration), String> {
    let Some((min, max)) = text.split_once("..") else {
        return Err(format!("\"{text}\" is not two durations with `..` between them"));
    };
    Ok((parse_duration(min.trim())?, parse_duration(max.trim())?))
}

/// Reads a size in bytes: one number with a unit, `B`, `KiB`, `MiB`, `GiB` (1024) or `kB`, `MB`,
/// `GB` (1000).
///
/// # Errors
/// A sentence that describes what is expected.
///
/// # Examples
/// ```
/// use squall::config::units::parse_size;
/// assert_eq!(parse_size("64MiB"), Ok(64 << 20));
/// assert!(parse_size("64").unwrap_err().contains("no unit"));
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    let expected = "expected for example \"512KiB\" or \"64MiB\"";
    if is_number(text) {
        return Err(format!("size \"{}\" has no unit: {expected}", text.trim()));
    }
    let size: Result<bytesize::ByteSize, _> = text.trim().parse();
    // The parser saturates a size that does not fit.
    match size.map(|size| size.as_u64()) {
        Ok(bytes) if bytes < u64::MAX => Ok(bytes),
        _ => Err(format!("not a size: \"{}\" ({expected})", text)),
    }
}

/// A duration as text, as [`parse_duration`] reads it.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use squall::config::units::show_duration;
/// assert_eq!(show_duration(Duration::from_millis(2500)), "2s 500ms");
/// assert_eq!(show_duration(Duration::from_secs(30 * 24 * 60 * 60)), "30d");
/// ```
pub fn show_duration(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    // Whole days as days: `humantime` would write months.
    match (duration.as_secs() / DAY, duration.as_secs() % DAY) {
        (days @ 1.., 0) if duration.subsec_nanos() == 0 => format!("{days}d"),
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// A size as text, without rounding, as [`parse_size`] reads it.
///
/// # Examples
/// ```
/// use squall::config::units::show_size;
/// assert_eq!(show_size(64 << 20), "64MiB");
/// assert_eq!(show_size(1000), "1000B");
/// ```
pub fn show_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.iter().find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits);
    whole.map_or_else(|| format!("{bytes}B"), |(bits, unit)| format!("{}{unit}", bytes >> bits))
}

fn is_number(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b"._+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let good = |text: &str, expected| assert_eq!(parse_duration(text), Ok(expected), "{text}");
        good("500ms", Duration::from_millis(500));
        good("0s", Duration::ZERO);
        good("2m", Duration::from_secs(120));
        good("1h 30m", Duration::from_secs(5400));
        let bad = |text: &str, expected: &str| {
            let message = parse_duration(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        };
        bad("30", "duration \"30\" has no unit");
        bad("1.5", "has no unit");
        bad("30 parsecs", "not a duration: \"30 parsecs\" (expected for example");
        bad("", "not a duration");
        bad("-1s", "not a duration");
        bad("99999999999999999999999s", "not a duration");
        bad("9223372036854775807years", "not a duration");
    }

    #[test]
    fn sizes() {
        let good = |text: &str, expected| assert_eq!(parse_size(text), Ok(expected), "{text}");
        good("1B", 1);
        good("64MiB", 64 << 20);
        good("2 GB", 2_000_000_000);
        good("1.5KiB", 1536);
        let bad = |text: &str, expected: &str| {
            let message = parse_size(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        };
        bad("64", "size \"64\" has no unit");
        bad("64 furlongs", "not a size");
        bad("", "not a size");
        bad("MiB", "not a size");
        bad("-1MiB", "not a size");
        bad("99999999999999999999EiB", "not a size");
    }

    #[test]
    fn what_is_shown_reads_back() {
        let sizes = [0, 1, 1023, 1024, 1025, 1 << 20, 3 << 20, (1 << 20) + 1024, 16 << 30, u64::MAX - 1];
        for size in sizes {
            assert_eq!(parse_size(&show_size(size)), Ok(size), "{}", show_size(size));
        }
        for millis in [0, 1, 999, 1000, 2500, 60_000, 3_600_000, 86_400_000, 90_061_001, 2_592_000_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
    }
}
