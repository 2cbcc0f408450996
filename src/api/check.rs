//! How a component checks its settings while its topology is validated.
//!
//! A constructor sees only the settings of its component. A [`Check`] also shows the surroundings of the
//! component: the fields of its inputs, its tick. So a setting that cannot work is an error of
//! `squall validate`, with its place in the file, and not an error at the first tuple.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::findings::{CheckInput, Choice, Claim, Refusal, StateUse};
use crate::config::Delivery;
use crate::tuple::Fields;

/// The surroundings of a component, and what the component refuses and claims. Passed to
/// [`Bolt::check`](crate::api::Bolt::check) and [`Spout::check`](crate::api::Spout::check).
///
/// # Examples
/// A bolt that needs a tick, and refuses a topology without one:
/// ```
/// use squall::prelude::*;
///
/// struct PerTick;
///
/// impl Bolt for PerTick {
///     fn check(&self, check: &mut Check<'_>) {
///         if check.tick().is_none() {
///             check.refuse("emit", "the component needs a `tick`");
///         }
///     }
/// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
/// }
///
/// let topology = |tick: Option<std::time::Duration>| {
///     let mut builder = TopologyBuilder::new("ticks");
///     builder.options(|options| options.tick = tick);
///     builder.spout("lines", squall::testing::Feeder::new(["line"]).spout());
///     builder.bolt("per-tick", || PerTick).shuffle("lines");
///     builder.build()
/// };
/// assert!(topology(Some(std::time::Duration::from_secs(1))).is_ok());
/// assert!(topology(None).unwrap_err().to_string().contains("needs a `tick`"));
/// ```
#[derive(Debug)]
pub struct Check<'a> {
    inputs: &'a [CheckInput],
    tick: Option<Duration>,
    parallelism: usize,
    message_timeout: Option<Duration>,
    is_logged: bool,
    has_event_time: bool,
    delivery: Delivery,
    refusals: Vec<Refusal>,
    claims: Vec<Claim>,
    states: Vec<StateUse>,
}

impl<'a> Check<'a> {
    /// A check of a component with these inputs, this tick and so many tasks.
    ///
    /// # Examples
    /// For a test of a component by itself:
    /// ```
    /// use squall::api::Check;
    /// use std::time::Duration;
    ///
    /// let check = Check::new(&[], Some(Duration::from_secs(1)), 3);
    /// assert_eq!((check.tick(), check.parallelism()), (Some(Duration::from_secs(1)), 3));
    /// ```
    pub fn new(inputs: &'a [CheckInput], tick: Option<Duration>, parallelism: usize) -> Check<'a> {
        Check {
            inputs,
            tick,
            parallelism,
            message_timeout: None,
            is_logged: false,
            has_event_time: true,
            delivery: Delivery::default(),
            refusals: Vec::new(),
            claims: Vec::new(),
            states: Vec::new(),
        }
    }

    /// Sets the topology's `message_timeout`.
    ///
    /// # Examples
    /// ```
    /// use squall::api::Check;
    /// use std::time::Duration;
    ///
    /// let check = Check::new(&[], None, 1).with_message_timeout(Some(Duration::from_secs(30)));
    /// assert_eq!(check.message_timeout(), Some(Duration::from_secs(30)));
    /// ```
    #[must_use]
    pub fn with_message_timeout(mut self, timeout: Option<Duration>) -> Check<'a> {
        self.message_timeout = timeout;
        self
    }

    /// Sets the topology's `delivery`.
    #[must_use]
    pub(crate) fn with_delivery(mut self, delivery: Delivery) -> Check<'a> {
        self.delivery = delivery;
        self
    }

    /// How tuples are delivered.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::api::Check;
    ///
    /// assert_eq!(Check::new(&[], None, 1).delivery(), Delivery::AtLeastOnce);
    /// ```
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Sets whether a component in front of this one has event time.
    #[must_use]
    pub(crate) fn with_event_time(mut self, has_event_time: bool) -> Check<'a> {
        self.has_event_time = has_event_time;
        self
    }

    /// Whether watermarks come to the component: a spout or bolt in front of it has `event_time`. In a check of the component
    /// by itself they do.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn check(check: &mut Check<'_>) {
    ///     if !check.has_event_time() {
    ///         check.refuse("time", "nothing in front of this bolt has `event_time`");
    ///     }
    /// }
    /// # let mut alone = Check::new(&[], None, 1);
    /// # check(&mut alone);
    /// # assert!(alone.into_parts().0.is_empty());
    /// ```
    pub fn has_event_time(&self) -> bool {
        self.has_event_time
    }

    /// Sets whether the component is a spout behind a write-ahead log.
    #[must_use]
    pub(crate) fn with_wal(mut self, is_logged: bool) -> Check<'a> {
        self.is_logged = is_logged;
        self
    }

    /// Whether the component is a spout behind a write-ahead log (`wal = true`). After a failure, rows that are in the log
    /// come from there, so what the spout reads must not come a second time from its source.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::api::Check;
    ///
    /// assert!(!Check::new(&[], None, 1).is_logged());
    /// ```
    pub fn is_logged(&self) -> bool {
        self.is_logged
    }

    /// The inputs of the component; none for a spout.
    ///
    /// # Examples
    /// A bolt that joins two streams:
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn check(check: &mut Check<'_>) {
    ///     if check.inputs().len() != 2 {
    ///         check.refuse("on", format!("a join has 2 inputs, not {}", check.inputs().len()));
    ///     }
    /// }
    /// # let mut alone = Check::new(&[], None, 1);
    /// # check(&mut alone);
    /// # assert_eq!(alone.into_parts().0[0].message, "a join has 2 inputs, not 0");
    /// ```
    pub fn inputs(&self) -> &'a [CheckInput] {
        self.inputs
    }

    /// The period at which `tick` is called, if it is.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn check(check: &mut Check<'_>) {
    ///     if check.tick().is_none() {
    ///         check.refuse("emit", "\"tick\" needs a `tick` of the component or the topology");
    ///     }
    /// }
    /// # let mut without = Check::new(&[], None, 1);
    /// # check(&mut without);
    /// # assert_eq!(without.into_parts().0.len(), 1);
    /// ```
    pub fn tick(&self) -> Option<Duration> {
        self.tick
    }

    /// The time after which a message that is not acked fails, if messages are tracked and expire.
    ///
    /// # Examples
    /// A bolt that holds tuples for a while:
    /// ```
    /// use squall::prelude::*;
    /// use std::time::Duration;
    ///
    /// fn check(check: &mut Check<'_>, period: Duration) {
    ///     if check.message_timeout().is_some_and(|timeout| timeout <= period) {
    ///         check.refuse("period", "must be shorter than the `message_timeout` of the topology");
    ///     }
    /// }
    /// # let mut short = Check::new(&[], None, 1).with_message_timeout(Some(Duration::from_secs(30)));
    /// # check(&mut short, Duration::from_secs(60));
    /// # assert_eq!(short.into_parts().0.len(), 1);
    /// ```
    pub fn message_timeout(&self) -> Option<Duration> {
        self.message_timeout
    }

    /// The tasks of the component.
    ///
    /// # Examples
    /// A bolt that numbers rows, which only works in one task:
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct Numbered;
    ///
    /// impl Bolt for Numbered {
    ///     fn check(&self, check: &mut Check<'_>) {
    ///         if check.parallelism() > 1 {
    ///             check.refuse("start", "rows are numbered by one task; set `parallelism` to 1");
    ///         }
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    ///
    /// let topology = |tasks| {
    ///     let mut builder = TopologyBuilder::new("rows");
    ///     builder.spout("lines", squall::testing::Feeder::new(["line"]).spout());
    ///     builder.bolt("numbered", || Numbered).parallelism(tasks).shuffle("lines");
    ///     builder.build()
    /// };
    /// assert!(topology(1).is_ok());
    /// assert!(topology(2).unwrap_err().to_string().contains("numbered by one task"));
    /// ```
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// Refuses the topology: this key of the settings cannot work here.
    ///
    /// # Examples
    /// ```
    /// use squall::api::Check;
    ///
    /// let mut check = Check::new(&[], None, 1);
    /// check.refuse("period", "must be shorter than a day");
    /// assert_eq!(check.into_parts().0[0].message, "must be shorter than a day");
    /// ```
    pub fn refuse(&mut self, key: &str, message: impl fmt::Display) {
        let message = message.to_string();
        self.refusals.push(Refusal { key: Some(key.to_owned()), message, choice: None });
    }

    /// Refuses the topology unless every input has this field; the error names the input that does
    /// not have it and suggests a field that it has. `key` is the key of the settings that asks for
    /// the field.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{Check, CheckInput};
    ///
    /// let fields = Some(["status", "path"].into());
    /// let inputs = [CheckInput { component: "parse".into(), stream: "default".into(), fields, key: None }];
    /// let mut check = Check::new(&inputs, None, 1);
    /// check.require_field("keep", "path");
    /// check.require_field("keep", "statuss");
    /// let (refusals, _) = check.into_parts();
    /// assert_eq!(refusals.len(), 1);
    /// assert_eq!(refusals[0].message, "`parse.default` has no field `statuss`");
    /// ```
    pub fn require_field(&mut self, key: &str, field: &str) {
        for input in self.inputs {
            let Some(fields) = input.fields.as_ref().filter(|fields| fields.position(field).is_none()) else {
                continue;
            };
            let stream = format!("{}.{}", input.component, input.stream);
            let message = format!("`{stream}` has no field `{}`", field.escape_debug());
            let choice = Choice { written: field.into(), names: fields.clone() };
            self.refusals.push(Refusal { key: Some(key.to_owned()), message, choice: Some(choice) });
        }
    }

    /// Refuses inputs by whose groupings tuples of one key could come to several tasks. `by` are the fields of keys, and `key`
    /// the setting that has them.
    pub(crate) fn require_grouping(&mut self, key: &str, by: &[SmolStr]) {
        if self.parallelism <= 1 {
            return;
        }
        let is_within = |key: &&Fields| !key.is_empty() && key.iter().all(|name| by.contains(name));
        // Another list of fields, or another order, sends the same key to another task.
        let same = self.inputs.first().and_then(|input| input.key.as_ref()).filter(is_within);
        let apart = self.inputs.iter().find(|input| same.is_none() || input.key.as_ref() != same);
        let Some(input) = apart else { return };
        let fields: Vec<&SmolStr> = same.map_or(by.iter().collect(), |key| key.iter().collect());
        let fields = fields.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let (tasks, from) = (self.parallelism, &input.component);
        self.refuse(
            key,
            format!(
                "a key has to come to one of the {tasks} tasks only: write inputs = [{{ from = \"{from}\", fields = [{fields}] }}]"
            ),
        );
    }

    /// Claims a resource that only one task of the topology can use. Two claims of one resource are
    /// an error of validation.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct Serial {
    ///     device: &'static str,
    /// }
    ///
    /// impl Bolt for Serial {
    ///     fn check(&self, check: &mut Check<'_>) {
    ///         check.claim("device", self.device);
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    ///
    /// let mut builder = TopologyBuilder::new("plotters");
    /// builder.spout("lines", squall::testing::Feeder::new(["line"]).spout());
    /// builder.bolt("one", || Serial { device: "/dev/ttyUSB0" }).shuffle("lines");
    /// builder.bolt("other", || Serial { device: "/dev/ttyUSB0" }).shuffle("lines");
    /// let errors = builder.build().unwrap_err().to_string();
    /// assert!(errors.contains("bolt `other` uses /dev/ttyUSB0, which bolt `one` uses already"), "{errors}");
    /// ```
    pub fn claim(&mut self, key: &str, resource: &str) {
        self.claims.push(Claim { key: key.to_owned(), resource: resource.to_owned() });
    }

    /// Uses the state of this name, a `[state.NAME]` of the topology, with keys of these fields. A state that is not there,
    /// or that another component uses, is an error of validation. `key` is the key of the settings that has the name.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct Totals;
    ///
    /// impl Bolt for Totals {
    ///     fn check(&self, check: &mut Check<'_>) {
    ///         check.use_state("state", "totals", &["word".into()]);
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    ///
    /// let mut builder = TopologyBuilder::new("words");
    /// builder.spout("words", squall::testing::Feeder::new(["word"]).spout());
    /// builder.bolt("totals", || Totals).fields("words", ["word"]);
    /// let errors = builder.build().unwrap_err().to_string();
    /// assert!(errors.contains("bolt `totals` uses the state `totals`, which there is not"), "{errors}");
    /// ```
    pub fn use_state(&mut self, key: &str, name: &str, fields: &[SmolStr]) {
        let (key, name) = (key.to_owned(), name.to_owned());
        self.states.push(StateUse { key, name, fields: fields.to_vec(), in_batches: false });
    }

    /// The same of a state into which batches are put that are checkpoints: without any, only the mode `non-transactional`
    /// is right.
    pub(crate) fn use_state_for_batches(&mut self, key: &str, name: &str, fields: &[SmolStr]) {
        let (key, name) = (key.to_owned(), name.to_owned());
        self.states.push(StateUse { key, name, fields: fields.to_vec(), in_batches: true });
    }

    pub(crate) fn take_states(&mut self) -> Vec<StateUse> {
        std::mem::take(&mut self.states)
    }

    /// What was refused, and what was claimed.
    ///
    /// # Examples
    /// A component is checked without a topology:
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct Numbered;
    ///
    /// impl Bolt for Numbered {
    ///     fn check(&self, check: &mut Check<'_>) {
    ///         if check.parallelism() > 1 {
    ///             check.refuse("start", "rows are numbered by one task");
    ///         }
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    ///
    /// let mut check = Check::new(&[], None, 4);
    /// Numbered.check(&mut check);
    /// let (refusals, claims) = check.into_parts();
    /// assert_eq!((refusals.len(), claims.len()), (1, 0));
    /// ```
    pub fn into_parts(self) -> (Vec<Refusal>, Vec<Claim>) {
        (self.refusals, self.claims)
    }
}
