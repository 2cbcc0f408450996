//! What commands show of a checkpoint: when it was taken, how far its run had come, how large it is.

use std::time::Duration;

use crate::checkpoint::{Manifest, RunState};
use crate::tuple::Timestamp;

/// The date at which a checkpoint was taken, in nanoseconds since 1970, as RFC 3339 in UTC and to the millisecond.
pub(in crate::cli) fn date(taken_at: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(taken_at)) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => Timestamp(taken_at).to_string(),
    }
}

/// How long ago something was. A clock that was set back since makes it negative.
pub(super) fn age_seconds(taken_at: i64, now: i64) -> f64 {
    let milliseconds = (i128::from(now) - i128::from(taken_at)) / 1_000_000;
    milliseconds as f64 / 1e3
}

/// The same for people: `4 s ago`, in the largest unit of which there are at least two.
pub(in crate::cli) fn age(taken_at: i64, now: i64) -> String {
    let Ok(nanos) = u64::try_from(i128::from(now) - i128::from(taken_at)) else {
        return "in the future".to_owned();
    };
    let seconds = Duration::from_nanos(nanos).as_secs();
    let units = [(86_400, "days"), (3_600, "h"), (60, "min")];
    match units.into_iter().find(|(unit, _)| seconds >= 2 * unit) {
        Some((unit, name)) => format!("{} {name} ago", seconds / unit),
        None => format!("{seconds} s ago"),
    }
}

/// How far the run had come.
pub(super) fn run_state(run: RunState) -> &'static str {
    match run {
        RunState::Running => "running",
        RunState::Ended => "ended",
        RunState::Committed => "committed",
    }
}

/// Bytes of all files that a checkpoint names. Of a spout or bolt that keeps nothing there is no file.
pub(super) fn bytes(manifest: &Manifest) -> u64 {
    manifest.tasks.iter().flat_map(|task| &task.files).fold(0, |sum, file| sum.saturating_add(file.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn an_age_has_one_unit() {
        let check = |seconds: i64, expected: &str| assert_eq!(age(7, 7 + seconds * SECOND), expected);
        check(0, "0 s ago");
        check(119, "119 s ago");
        check(120, "2 min ago");
        check(7_199, "119 min ago");
        check(7_200, "2 h ago");
        check(172_799, "47 h ago");
        check(172_800, "2 days ago");
        check(-1, "in the future");
        assert_eq!(age_seconds(0, 1_234_999_999), 1.234);
        assert_eq!(age_seconds(SECOND, 0), -1.0);
        assert!(age_seconds(i64::MIN, i64::MAX) > 0.0);
    }

    #[test]
    fn a_date_is_in_utc() {
        assert_eq!(date(1_790_000_000_120_000_000), "2026-09-21T14:13:20.120Z");
        assert_eq!(date(-1_000_000_000), "1969-12-31T23:59:59.000Z");
        assert!(date(i64::MAX).starts_with("2262-"));
    }
}
