//! The counters that the runtime keeps of every executor. [`COUNTERS`] is their only list.
//!
//! ```text
//!   executor ─ adds once a step ─▶ Gauges: one atomic a row
//!                                     │ read
//!                                     ▼
//!   CounterValues: one number a row ─ summed over executors ─ sent to the parent ─ summed over workers
//!                                     │
//!                                     ▼
//!   ComponentStats, TopologyStats ─▶ reporters · summary · exit code
//! ```
//!
//! A new counter is one row here, and the place that counts. Everything in between handles all rows alike,
//! so no counter can be forgotten on the way.
//!
//! 1. A counter is known by its place in the table within a process, and by its name outside of it.
//! 2. Values are signed, because levels fall as well as rise. What people see is at least 0
//!    ([`CounterValues::count`]).
//!
//! Not here: what components register themselves; see [`metrics`](crate::metrics).

use std::fmt;

use crate::api::failure::FailureCause;

/// All counters.
///
/// # Examples
/// ```
/// use squall::api::COUNTERS;
///
/// let emitted = COUNTERS.iter().find(|counter| counter.name == "emitted");
/// assert_eq!(emitted.map(|counter| counter.is_loss), Some(false));
/// ```
pub const COUNTERS: &[CounterInfo] = &[
    CounterInfo::sum("emitted", "Tuples emitted").of_messages().with_own_place(),
    CounterInfo::sum("transferred", "Copies of tuples sent to targets").with_own_place(),
    CounterInfo::sum("executed", "Tuples executed by bolts").with_own_place(),
    CounterInfo::sum("acked", "Tuples or messages acked").of_messages().with_own_place(),
    CounterInfo::sum("failed", "Failures of tuples or messages").of_messages().with_own_place(),
    CounterInfo::sum("errors", "Errors of user code").with_own_place(),
    CounterInfo::sum("restarts", "Tasks built again").with_own_place(),
    CounterInfo::sum("calls_retried", "Calls of bolts made again after an error"),
    CounterInfo::level("queued", "Tuples in inboxes").with_own_place(),
    CounterInfo::nanoseconds("busy", "Time in user code").with_own_place(),
    CounterInfo::nanoseconds("blocked", "Time without credit downstream").with_own_place(),
    CounterInfo::sum("dead_letters", "Tuples sent to dead-letter streams").with_own_place(),
    CounterInfo::sum(
        "failed_unanchored",
        "Lost tuples that belong to no message: failed without an anchor, or refused when emitted",
    )
    .loss()
    .with_own_place(),
    CounterInfo::sum("replayed_failed", "Messages replayed: failed by a bolt").with_own_place(),
    CounterInfo::sum("replayed_panicked", "Messages replayed: a bolt panicked").with_own_place(),
    CounterInfo::sum("replayed_abandoned", "Messages replayed: dropped by a bolt").with_own_place(),
    CounterInfo::sum("replayed_timed_out", "Messages replayed: timed out").with_own_place(),
    CounterInfo::sum("replayed_lost", "Messages replayed: lost with a worker").with_own_place(),
    CounterInfo::level("waiting", "Failed messages that wait for their replay").loss().with_own_place(),
    CounterInfo::level(
        "unreplayed",
        "Messages that failed and were not emitted again, those waiting included",
    )
    .loss()
    .with_own_place(),
    CounterInfo::sum("given_up", "Failures of messages that had used up max_replays").with_own_place(),
    CounterInfo::level("held", "Tuples held by bolts").with_own_place(),
    CounterInfo::level("pending", "Open messages").loss().with_own_place(),
    CounterInfo::event_time("watermark", "How far event time has come").with_own_place(),
];

/// A row of [`COUNTERS`].
///
/// # Examples
/// ```
/// use squall::api::{COUNTERS, CounterInfo};
///
/// /// The comment line of a counter in the text format of Prometheus.
/// fn help(counter: &CounterInfo) -> String {
///     format!("# HELP squall_{} {}", counter.name, counter.help)
/// }
/// assert_eq!(help(&COUNTERS[0]), "# HELP squall_emitted Tuples emitted");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterInfo {
    /// Its name, of lower-case words joined by `_`. No two counters have the same.
    pub name: &'static str,
    /// How it changes, and in which unit it is.
    pub kind: CounterKind,
    /// What it counts, for people.
    pub help: &'static str,
    /// Whether a run that ends with more than 0 of it has not processed everything. Then the exit code of
    /// the run is 1.
    pub is_loss: bool,
    /// Whether the total of a topology counts it only where messages begin, at spouts. A message counts
    /// once there, though its tuples count at each bolt that they pass.
    pub(crate) is_of_messages: bool,
    /// Whether a field of [`ComponentStats`](crate::api::ComponentStats) or
    /// [`TopologyStats`](crate::api::TopologyStats) is made of it, or only the runtime reads it. Each other
    /// counter is shown by its name, and counts in `TopologyStats::losses` if it is a loss.
    pub(crate) has_own_place: bool,
}

impl CounterInfo {
    /// A number that only grows.
    const fn sum(name: &'static str, help: &'static str) -> CounterInfo {
        let kind = CounterKind::Sum;
        CounterInfo { name, kind, help, is_loss: false, is_of_messages: false, has_own_place: false }
    }

    /// A number that is true at the moment.
    const fn level(name: &'static str, help: &'static str) -> CounterInfo {
        CounterInfo { kind: CounterKind::Level, ..CounterInfo::sum(name, help) }
    }

    /// A time that only grows.
    const fn nanoseconds(name: &'static str, help: &'static str) -> CounterInfo {
        CounterInfo { kind: CounterKind::Nanoseconds, ..CounterInfo::sum(name, help) }
    }

    /// A point in event time.
    const fn event_time(name: &'static str, help: &'static str) -> CounterInfo {
        CounterInfo { kind: CounterKind::EventTime, ..CounterInfo::sum(name, help) }
    }

    /// Sets `is_loss`.
    const fn loss(self) -> CounterInfo {
        CounterInfo { is_loss: true, ..self }
    }

    /// Sets `is_of_messages`.
    const fn of_messages(self) -> CounterInfo {
        CounterInfo { is_of_messages: true, ..self }
    }

    /// Sets `has_own_place`.
    const fn with_own_place(self) -> CounterInfo {
        CounterInfo { has_own_place: true, ..self }
    }
}

/// How a counter changes, and in which unit it is.
///
/// # Examples
/// ```
/// use squall::api::{COUNTERS, CounterKind};
///
/// let times = COUNTERS.iter().filter(|counter| counter.kind == CounterKind::Nanoseconds);
/// assert_eq!(times.map(|counter| counter.name).collect::<Vec<_>>(), ["busy", "blocked"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CounterKind {
    /// A number that grows.
    Sum,
    /// A number that is true at the moment, and gone when its process dies.
    Level,
    /// A time that grows, in nanoseconds.
    Nanoseconds,
    /// A point in event time, in nanoseconds since 1970: of several executors the earliest. 0: there is no event time. The
    /// least number: it is not known yet.
    EventTime,
}

/// One of [`COUNTERS`].
///
/// # Examples
/// ```
/// use squall::api::CounterId;
///
/// /// Does not compile if there is no such counter.
/// const RESTARTS: CounterId = CounterId::named("restarts");
/// assert_eq!(RESTARTS.info().help, "Tasks built again");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterId(usize);

impl CounterId {
    /// Tuples emitted.
    pub const EMITTED: CounterId = CounterId::named("emitted");
    /// Copies sent to targets.
    pub const TRANSFERRED: CounterId = CounterId::named("transferred");
    /// Tuples executed.
    pub const EXECUTED: CounterId = CounterId::named("executed");
    /// Tuples or messages acked.
    pub const ACKED: CounterId = CounterId::named("acked");
    /// Failures of tuples or messages.
    pub const FAILED: CounterId = CounterId::named("failed");
    /// Errors of user code.
    pub const ERRORS: CounterId = CounterId::named("errors");
    /// Tasks built again.
    pub const RESTARTS: CounterId = CounterId::named("restarts");
    /// Calls of bolts made again after an error.
    pub const CALLS_RETRIED: CounterId = CounterId::named("calls_retried");
    /// Tuples in inboxes. Producers add to it.
    pub const QUEUED: CounterId = CounterId::named("queued");
    /// Nanoseconds in user code.
    pub const BUSY: CounterId = CounterId::named("busy");
    /// Nanoseconds without credit downstream.
    pub const BLOCKED: CounterId = CounterId::named("blocked");
    /// Tuples sent to dead-letter streams.
    pub const DEAD_LETTERS: CounterId = CounterId::named("dead_letters");
    /// Lost tuples that belong to no message.
    pub const FAILED_UNANCHORED: CounterId = CounterId::named("failed_unanchored");
    /// Failed messages that wait for their replay.
    pub const WAITING: CounterId = CounterId::named("waiting");
    /// Messages that failed and were not emitted again, those waiting included.
    pub const UNREPLAYED: CounterId = CounterId::named("unreplayed");
    /// Failures of messages that had used up `max_replays`.
    pub const GIVEN_UP: CounterId = CounterId::named("given_up");
    /// Tuples held by bolts. The coordinator reads it to decide which executors get `Finish` at the end.
    pub const HELD: CounterId = CounterId::named("held");
    /// Open messages. The coordinator reads it to decide whether the topology can end.
    pub const PENDING: CounterId = CounterId::named("pending");
    /// How far event time has come.
    pub const WATERMARK: CounterId = CounterId::named("watermark");

    /// The counter of messages that were replayed because of this cause.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{CounterId, FailureCause};
    /// assert_eq!(CounterId::replayed(FailureCause::TimedOut).info().name, "replayed_timed_out");
    /// ```
    pub const fn replayed(cause: FailureCause) -> CounterId {
        const FAILED: CounterId = CounterId::named("replayed_failed");
        const PANICKED: CounterId = CounterId::named("replayed_panicked");
        const ABANDONED: CounterId = CounterId::named("replayed_abandoned");
        const TIMED_OUT: CounterId = CounterId::named("replayed_timed_out");
        const LOST: CounterId = CounterId::named("replayed_lost");
        match cause {
            FailureCause::Failed => FAILED,
            FailureCause::Panicked => PANICKED,
            FailureCause::Abandoned => ABANDONED,
            FailureCause::TimedOut => TIMED_OUT,
            FailureCause::Lost => LOST,
        }
    }

    /// The counter of this name. For constants: outside of one, it searches the table at each call.
    ///
    /// # Panics
    /// When there is none.
    ///
    /// # Examples
    /// ```
    /// use squall::api::CounterId;
    /// const EMITTED: CounterId = CounterId::named("emitted");
    /// assert_eq!(EMITTED, CounterId::EMITTED);
    /// ```
    pub const fn named(name: &str) -> CounterId {
        CounterId::find(name).expect("COUNTERS has a counter of this name")
    }

    /// The counter of this name, if there is one.
    ///
    /// # Examples
    /// ```
    /// use squall::api::CounterId;
    /// assert_eq!(CounterId::find("acked"), Some(CounterId::ACKED));
    /// assert_eq!(CounterId::find("nothing"), None);
    /// ```
    pub const fn find(name: &str) -> Option<CounterId> {
        let mut index = 0;
        while index < COUNTERS.len() {
            if is_same(COUNTERS[index].name, name) {
                return Some(CounterId(index));
            }
            index += 1;
        }
        None
    }

    /// All counters, in the order of the table.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{COUNTERS, CounterId};
    /// assert_eq!(CounterId::all().count(), COUNTERS.len());
    /// ```
    pub fn all() -> impl Iterator<Item = CounterId> {
        (0..COUNTERS.len()).map(CounterId)
    }

    /// Its row.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{CounterId, CounterKind};
    /// assert_eq!(CounterId::QUEUED.info().kind, CounterKind::Level);
    /// ```
    pub const fn info(self) -> &'static CounterInfo {
        &COUNTERS[self.0]
    }

    /// Its place in [`COUNTERS`].
    ///
    /// # Examples
    /// ```
    /// use squall::api::{COUNTERS, CounterId};
    /// assert_eq!(COUNTERS[CounterId::ACKED.index()].name, "acked");
    /// ```
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Whether two names are the same. `==` of texts cannot be used in constants.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

/// A value of each of [`COUNTERS`]. Of an executor, or a sum over executors.
///
/// It is written as a map from names to values, without the values that are 0. So a message does not grow
/// with the table. A reader ignores names that it does not know, as it ignores unknown fields of other
/// messages.
///
/// # Examples
/// ```
/// use squall::api::{CounterId, CounterValues};
///
/// let mut sum = CounterValues::from([(CounterId::EMITTED, 2)]);
/// sum.add(&CounterValues::from([(CounterId::EMITTED, 3), (CounterId::ACKED, 1)]));
/// assert_eq!((sum.get(CounterId::EMITTED), sum.get(CounterId::ACKED)), (5, 1));
/// assert_eq!(sum.iter().map(|(_, value)| value).sum::<i64>(), 6);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CounterValues([i64; COUNTERS.len()]);

impl CounterValues {
    /// What `value` returns for each counter.
    pub(crate) fn of(value: impl FnMut(CounterId) -> i64) -> CounterValues {
        let mut value = value;
        CounterValues(std::array::from_fn(|index| value(CounterId(index))))
    }

    /// The value of a counter.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{CounterId, CounterValues};
    /// assert_eq!(CounterValues::from([(CounterId::QUEUED, -1)]).get(CounterId::QUEUED), -1);
    /// ```
    pub fn get(&self, counter: CounterId) -> i64 {
        self.0[counter.0]
    }

    /// The value of a counter, at least 0.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{CounterId, CounterValues};
    /// assert_eq!(CounterValues::from([(CounterId::QUEUED, -1)]).count(CounterId::QUEUED), 0);
    /// ```
    pub fn count(&self, counter: CounterId) -> u64 {
        u64::try_from(self.get(counter)).unwrap_or(0)
    }

    /// Sets the value of a counter.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{CounterId, CounterValues};
    /// let mut values = CounterValues::default();
    /// values.set(CounterId::PENDING, 7);
    /// assert_eq!(values.get(CounterId::PENDING), 7);
    /// ```
    pub fn set(&mut self, counter: CounterId, value: i64) {
        self.0[counter.0] = value;
    }

    /// Adds to the value of a counter.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{CounterId, CounterValues};
    /// let mut values = CounterValues::from([(CounterId::PENDING, 7)]);
    /// values.change(CounterId::PENDING, -2);
    /// assert_eq!(values.get(CounterId::PENDING), 5);
    /// ```
    pub fn change(&mut self, counter: CounterId, by: i64) {
        self.set(counter, self.get(counter).saturating_add(by));
    }

    /// Adds all values of another executor, component or worker.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{CounterId, CounterValues};
    /// let mut sum = CounterValues::from([(CounterId::ERRORS, 1)]);
    /// sum.add(&CounterValues::from([(CounterId::ERRORS, 2)]));
    /// assert_eq!(sum.get(CounterId::ERRORS), 3);
    /// ```
    pub fn add(&mut self, other: &CounterValues) {
        *self = CounterValues::of(|counter| self.together(counter, other));
    }

    /// What a counter is of this and another executor together.
    fn together(&self, counter: CounterId, other: &CounterValues) -> i64 {
        match (counter.info().kind, self.get(counter), other.get(counter)) {
            (CounterKind::EventTime, 0, time) | (CounterKind::EventTime, time, 0) => time,
            (CounterKind::EventTime, one, other) => one.min(other),
            (CounterKind::Sum | CounterKind::Level | CounterKind::Nanoseconds, one, other) => {
                one.saturating_add(other)
            }
        }
    }

    /// All counters with their values, in the order of the table.
    ///
    /// # Examples
    /// ```
    /// use squall::api::CounterValues;
    ///
    /// /// All counters in the text format of Prometheus.
    /// fn exposed(values: &CounterValues) -> String {
    ///     values.iter().map(|(counter, value)| format!("squall_{} {value}\n", counter.name)).collect()
    /// }
    /// assert!(exposed(&CounterValues::default()).starts_with("squall_emitted 0\n"));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&'static CounterInfo, i64)> + Clone {
        COUNTERS.iter().zip(self.0)
    }

    /// The counters for which no field of the statistics stands. They are shown by their names.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (&'static CounterInfo, i64)> {
        self.iter().filter(|(counter, _)| !counter.has_own_place)
    }

    /// Adds the values of a component to the total of its topology.
    pub(crate) fn add_component(&mut self, is_spout: bool, of: &CounterValues) {
        let counts = |counter: &CounterId| is_spout || !counter.info().is_of_messages;
        CounterId::all().filter(counts).for_each(|counter| self.set(counter, self.together(counter, of)));
    }

    /// Sets to 0 what is only true while its process runs.
    pub(crate) fn forget_levels(&mut self) {
        let is_level = |counter: &CounterId| match counter.info().kind {
            CounterKind::Level | CounterKind::EventTime => true,
            CounterKind::Sum | CounterKind::Nanoseconds => false,
        };
        CounterId::all().filter(is_level).for_each(|counter| self.set(counter, 0));
    }
}

impl Default for CounterValues {
    fn default() -> CounterValues {
        CounterValues([0; COUNTERS.len()])
    }
}

impl<const N: usize> From<[(CounterId, i64); N]> for CounterValues {
    fn from(values: [(CounterId, i64); N]) -> CounterValues {
        let mut all = CounterValues::default();
        values.into_iter().for_each(|(counter, value)| all.change(counter, value));
        all
    }
}

impl fmt::Debug for CounterValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.iter().filter(|(_, value)| *value != 0);
        f.debug_map().entries(used.map(|(counter, value)| (counter.name, value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values 1, 2, 3 and so on.
    fn numbered() -> CounterValues {
        CounterValues::of(|counter| counter.index() as i64 + 1)
    }

    #[test]
    fn each_name_is_of_one_counter() {
        for counter in CounterId::all() {
            let CounterInfo { name, help, .. } = *counter.info();
            assert_eq!(CounterId::find(name), Some(counter), "a second counter `{name}`");
            let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(name.split('_').all(is_word), "{name}");
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
        }
        assert_eq!(CounterId::find("emit"), None);
        assert_eq!(CounterId::find("emitted_again"), None);
    }

    #[test]
    fn values_are_written_by_name() {
        let check = |values: CounterValues, expected: &str| {
            let text = serde_json::to_string(&values).unwrap();
            assert_eq!(text, expected);
            assert_eq!(serde_json::from_str::<CounterValues>(&text).unwrap(), values);
        };
        check(CounterValues::default(), "{}");
        check(
            CounterValues::from([(CounterId::QUEUED, -1), (CounterId::EMITTED, 5)]),
            r#"{"emitted":5,"queued":-1}"#,
        );
        let text = serde_json::to_string(&numbered()).unwrap();
        assert_eq!(serde_json::from_str::<CounterValues>(&text).unwrap(), numbered());
    }

    #[test]
    fn an_unknown_counter_is_ignored_and_nonsense_is_refused() {
        let read = |text: &str| serde_json::from_str::<CounterValues>(text);
        let emitted = CounterValues::from([(CounterId::EMITTED, 5)]);
        assert_eq!(read(r#"{"of_tomorrow":{"a":[1]},"emitted":5}"#).unwrap(), emitted);
        for nonsense in
            [r#"{"emitted":1,"emitted":2}"#, r#"{"emitted":"5"}"#, r#"{"emitted":0.5}"#, "[5]", "5"]
        {
            assert!(read(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn event_time_is_that_of_the_earliest() {
        let of = |time| CounterValues::from([(CounterId::WATERMARK, time)]);
        let mut all = CounterValues::default();
        for (time, expected) in
            [(0, 0), (7, 7), (9, 7), (0, 7), (i64::MAX, 7), (-3, -3), (i64::MIN, i64::MIN)]
        {
            all.add(&of(time));
            assert_eq!(all.get(CounterId::WATERMARK), expected);
        }
        all.forget_levels();
        assert_eq!(all.get(CounterId::WATERMARK), 0, "whoever is dead holds nobody back");
    }

    #[test]
    fn a_message_counts_where_it_begins() {
        let mut total = CounterValues::default();
        total.add_component(true, &numbered());
        total.add_component(false, &numbered());
        for counter in CounterId::all() {
            let once = counter.info().is_of_messages || counter.info().kind == CounterKind::EventTime;
            let times = if once { 1 } else { 2 };
            assert_eq!(total.get(counter), times * numbered().get(counter), "{}", counter.info().name);
        }
    }
}
