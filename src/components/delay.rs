//! `delay`: passes each tuple on after a while.
//!
//! By default nothing waits: a tuple is held, and passed on (anchored, then acked) by the first
//! call that comes after its time, which is the component's `tick` when little arrives. So the
//! component needs a `tick`, and its period is the precision. With `sleep = true` the task itself
//! sleeps, one tuple after the other: for showing what a slow bolt does to the rest. Such a
//! component is declared `blocking` in the topology.
//!
//! Bounded by `capacity`: when so many are held the oldest goes on early and is counted
//! (`released_early`). At the end of bounded input what is held goes on at once.

use std::collections::VecDeque;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{Bolt, Check, HeldTuple, Input, Outputs, Streams, TaskContext, TaskError};
use crate::clock::{Clock, Time};
use crate::components::positions::Positions;
use crate::components::settings::{Period, spend_names};
use crate::config::units;
use crate::ids::DEFAULT_STREAM;
use crate::metrics::Counter;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::{Fields, Value};

/// Settings of [`Delay`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelaySettings {
    /// How long, as a duration; shorter than the topology's `message_timeout`. Required.
    pub period: Period,
    /// The fields that are passed on. Required.
    pub fields: Vec<String>,
    /// Whether the task sleeps for each tuple instead of holding it; set `blocking = true` on the
    /// component too. Default: false.
    #[serde(default)]
    pub sleep: bool,
    /// How many tuples each task holds. Default: 65536.
    #[serde(default = "capacity")]
    pub capacity: usize,
}

fn capacity() -> usize {
    1 << 16
}

struct Waiting {
    due: Time,
    row: Vec<Value>,
    held: HeldTuple,
}

/// The bolt `delay`.
pub struct Delay {
    settings: DelaySettings,
    fields: Fields,
    positions: Positions,
    clock: Clock,
    /// By due time, which is the order they came in.
    waiting: VecDeque<Waiting>,
    released_early: Counter,
}

impl Delay {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When `capacity` is 0.
    pub fn new(settings: DelaySettings, effort: &Effort) -> Result<Delay, SettingError> {
        spend_names(effort, "fields", settings.fields.len())?;
        if settings.capacity == 0 {
            return Err(SettingError::at("capacity", "must be at least 1"));
        }
        let (fields, positions) = (settings.fields.iter().collect(), Positions::of(&settings.fields));
        let (clock, released_early) = (Clock::simulated(), Counter::default());
        Ok(Delay { settings, fields, positions, clock, waiting: VecDeque::new(), released_early })
    }

    fn release_due(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let now = self.clock.now();
        while self.waiting.front().is_some_and(|waiting| waiting.due <= now) {
            self.release_first(out);
        }
        Ok(())
    }

    /// Passes the first tuple on. One that is refused fails, and the others are not concerned.
    fn release_first(&mut self, out: &mut Outputs<'_>) {
        let Some(Waiting { row, held, .. }) = self.waiting.pop_front() else { return };
        match out.emit_anchored(DEFAULT_STREAM, &[&held], row) {
            Ok(()) => out.ack(held),
            Err(error) => {
                out.report_error(error);
                out.fail(held);
            }
        }
    }

    fn sleep(&self, period: Duration) {
        // A simulated clock is moved by the simulation, not by those who live in it.
        if !self.clock.is_simulated() {
            std::thread::sleep(period);
        }
    }
}

impl Bolt for Delay {
    fn declare(&self) -> Streams {
        Streams::new(self.fields.clone())
    }

    fn check(&self, check: &mut Check<'_>) {
        self.positions.check("fields", check);
        // A task that sleeps needs no tick, and the clock of its messages stands still meanwhile.
        if self.settings.sleep {
            return;
        }
        if check.tick().is_none() {
            let why =
                "the component needs a `tick`, at which it passes tuples on: for example tick = \"100ms\"";
            check.refuse("period", why);
        }
        let period = self.settings.period.0;
        if let Some(timeout) = check.message_timeout().filter(|timeout| *timeout <= period) {
            let timeout = units::show_duration(timeout);
            let why = format!(
                "must be shorter than the `message_timeout` of the topology, {timeout}: every message would be \
                 replayed"
            );
            check.refuse("period", why);
        }
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.clock = context.clock().clone();
        self.released_early = context.counter("released_early");
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let row = self.positions.values(&input)?;
        if self.settings.sleep {
            self.sleep(self.settings.period.0);
            out.emit(row)?;
            return Ok(());
        }
        let due = self.clock.now().after(self.settings.period.0);
        self.waiting.push_back(Waiting { due, row, held: out.hold(input) });
        if self.waiting.len() > self.settings.capacity {
            self.released_early.add(1);
            self.release_first(out);
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.release_due(out)
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.release_due(out)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        while !self.waiting.is_empty() {
            self.release_first(out);
        }
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within("delay", "Passes each tuple on after a while.", |settings: &DelaySettings, effort| {
            Delay::new(settings.clone(), effort)
        })
        .output("default: the fields of `fields`")
        .example(
            r#"
[bolt.later]
type = "delay"
tick = "100ms"
inputs = ["orders"]
config = { period = "5s", fields = ["id", "user"] }
"#,
        );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::test_support::{bolt, refusal, texts};
    use crate::testing::TestTuple;

    fn number(n: i64) -> TestTuple {
        TestTuple::new([n]).fields(["n"])
    }

    #[test]
    fn a_tuple_waits_for_its_time_and_stays_anchored() {
        let mut delay = bolt("delay", "period = '5s'\nfields = ['n']");
        delay.execute(number(1));
        delay.flush();
        delay.clock().advance(Duration::from_secs(3));
        delay.execute(number(2));
        delay.tick();
        assert_eq!((delay.take_emitted().len(), delay.acked().len()), (0, 0));
        delay.clock().advance(Duration::from_secs(2));
        delay.tick();
        let emitted = delay.take_emitted();
        assert_eq!((emitted.len(), emitted[0].anchors.as_slice(), delay.acked()), (1, &[0][..], &[0][..]));
        delay.finish();
        assert_eq!(texts(&delay.take_rows("default")), ["2"]);
        assert_eq!(delay.acked(), [0, 1]);
    }

    #[test]
    fn a_full_bolt_lets_the_oldest_go_early() {
        let mut delay = bolt("delay", "period = '5s'\nfields = ['n']\ncapacity = 2");
        delay.execute_all((0..5).map(number));
        assert_eq!(texts(&delay.take_rows("default")), ["0", "1", "2"]);
        assert_eq!(delay.counter("released_early"), 3);
    }

    #[test]
    fn sleeping_passes_on_in_the_same_call() {
        let mut delay = bolt("delay", "period = '1h'\nfields = ['n']\nsleep = true");
        delay.execute(number(1));
        assert_eq!((delay.take_emitted().len(), delay.acked().len()), (1, 1));
    }

    #[test]
    fn wrong_settings_are_refused() {
        assert!(refusal("delay", "period = '5'\nfields = []").contains("no unit"));
        assert!(refusal("delay", "period = '5s'\nfields = []\ncapacity = 0").contains("at least 1"));
    }
}
