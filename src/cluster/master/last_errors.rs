//! The last error of each component in one worker, and when the master learned of it.
//!
//! Workers report the text of the last error and how many errors there were. An error is a new one if either differs
//! from the report before. What an adopted worker has in its first report happened before this master began: its time is
//! not known.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::api::CounterId;
use crate::clock::Time;
use crate::cluster::stats::ComponentCounts;

/// Bytes of an error that are kept.
const TEXT_MAX: usize = 1 << 10;

/// An error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// What a worker reported.
    pub error: String,
    /// When the master learned of it; `None`: an earlier master did.
    pub at: Option<Time>,
    /// How many errors there were; `None`: in an incarnation before.
    count: Option<i64>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct LastErrors {
    by_component: BTreeMap<SmolStr, LastError>,
    /// Whether the next report may have what happened before this master began.
    is_adopted: bool,
}

impl LastErrors {
    /// A worker that ran already is taken over.
    pub fn adopt(&mut self) {
        self.is_adopted = true;
    }

    /// Takes what a worker reports of its components.
    pub fn report(&mut self, components: &[ComponentCounts], now: Time) {
        let at = Some(now).filter(|_| !std::mem::take(&mut self.is_adopted));
        for counts in components {
            let Some(error) = &counts.last_error else { continue };
            let count = Some(counts.counters.get(CounterId::ERRORS));
            let error = &error[..error.floor_char_boundary(TEXT_MAX)];
            let known = self.by_component.get(&counts.id);
            if known.is_none_or(|known| known.error != error || known.count != count) {
                let error = LastError { error: error.to_owned(), at, count };
                self.by_component.insert(counts.id.clone(), error);
            }
        }
    }

    /// The worker is started again: it counts from 0.
    pub fn begin_again(&mut self) {
        self.is_adopted = false;
        self.by_component.values_mut().for_each(|error| error.count = None);
    }

    /// By component.
    pub fn iter(&self) -> impl Iterator<Item = (&SmolStr, &LastError)> {
        self.by_component.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::CounterValues;

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    fn counts(error: Option<&str>, errors: i64) -> Vec<ComponentCounts> {
        let counters = CounterValues::from([(CounterId::ERRORS, errors)]);
        let last_error = error.map(str::to_owned);
        vec![ComponentCounts { id: "a".into(), counters, last_error, ..ComponentCounts::default() }]
    }

    #[track_caller]
    fn check(errors: &LastErrors, error: &str, time: Option<u64>) {
        let known: Vec<_> = errors.iter().map(|(id, last)| (&**id, &*last.error, last.at)).collect();
        assert_eq!(known, [("a", error, time.map(at))]);
    }

    #[test]
    fn an_error_has_the_time_of_the_report_in_which_it_was_new() {
        let mut errors = LastErrors::default();
        errors.report(&counts(None, 0), at(1));
        assert_eq!(errors.iter().count(), 0);
        errors.report(&counts(Some("no"), 1), at(2));
        errors.report(&counts(Some("no"), 1), at(3));
        check(&errors, "no", Some(2));
        errors.report(&counts(Some("no"), 2), at(4));
        check(&errors, "no", Some(4));
        errors.report(&counts(Some("never"), 2), at(5));
        check(&errors, "never", Some(5));
        errors.begin_again();
        errors.report(&counts(None, 0), at(6));
        check(&errors, "never", Some(5));
        errors.report(&counts(Some("never"), 2), at(7));
        check(&errors, "never", Some(7));
    }

    #[test]
    fn what_an_adopted_worker_had_before_has_no_time() {
        let mut errors = LastErrors::default();
        errors.adopt();
        errors.report(&counts(Some("no"), 1), at(2));
        check(&errors, "no", None);
        errors.report(&counts(Some("no"), 1), at(3));
        check(&errors, "no", None);
        errors.report(&counts(Some("no"), 2), at(4));
        check(&errors, "no", Some(4));
    }

    #[test]
    fn a_long_error_is_cut() {
        let mut errors = LastErrors::default();
        let long = "\u{e4}".repeat(5000);
        errors.report(&counts(Some(&long), 1), at(1));
        errors.report(&counts(Some(&long), 1), at(2));
        check(&errors, &"\u{e4}".repeat(512), Some(1));
    }
}
