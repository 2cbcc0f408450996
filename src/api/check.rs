//! What a component is asked while its topology is validated.
//!
//! A constructor sees the settings of its component alone. A [`Check`] shows what surrounds the
//! component: the fields of its inputs, its tick. So a setting that cannot work is an error of
//! `squall validate`, with its place in the file, and not an error of the first tuple.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use crate::tuple::Fields;

/// One input of the component that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckInput {
    /// The component it comes from.
    pub component: SmolStr,
    /// Its stream.
    pub stream: SmolStr,
    /// The fields of that stream; `None` where they are not known because of another error.
    pub fields: Option<Fields>,
}

/// One thing that a component refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key of the settings that is wrong, so that the error can point at it.
    pub key: Option<String>,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// A name that was written, and the names there are; the error suggests one of them.
    pub choice: Option<Choice>,
}

/// A name that does not exist, among those that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What was written.
    pub written: SmolStr,
    /// What could have been.
    pub names: Fields,
}

/// The resource by which a component claims the standard input of the process.
pub const STANDARD_INPUT: &str = "standard input";

/// A resource of the process that one component alone can use, such as standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The key of the settings that asks for it.
    pub key: String,
    /// What it is, as it stands in an error, as [`STANDARD_INPUT`].
    pub resource: String,
}

/// The surroundings of a component, and what it says to them. Handed to
/// [`Bolt::check`](crate::api::Bolt::check) and [`Spout::check`](crate::api::Spout::check).
#[derive(Debug)]
pub struct Check<'a> {
    inputs: &'a [CheckInput],
    tick: Option<Duration>,
    parallelism: usize,
    message_timeout: Option<Duration>,
    refusals: Vec<Refusal>,
    claims: Vec<Claim>,
}

impl<'a> Check<'a> {
    /// A check of a component with these inputs, this tick and so many tasks.
    pub fn new(inputs: &'a [CheckInput], tick: Option<Duration>, parallelism: usize) -> Check<'a> {
        Check { inputs, tick, parallelism, message_timeout: None, refusals: Vec::new(), claims: Vec::new() }
    }

    /// With the topology's time-out of messages.
    #[must_use]
    pub fn with_message_timeout(mut self, timeout: Option<Duration>) -> Check<'a> {
        self.message_timeout = timeout;
        self
    }

    /// The inputs of the component; none for a spout.
    pub fn inputs(&self) -> &'a [CheckInput] {
        self.inputs
    }

    /// How often `tick` is called, if it is.
    pub fn tick(&self) -> Option<Duration> {
        self.tick
    }

    /// After how long a message that is not acked fails, if messages are tracked and time out.
    pub fn message_timeout(&self) -> Option<Duration> {
        self.message_timeout
    }

    /// The tasks of the component.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// Refuses the topology: this key of the settings cannot work here.
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
    /// let inputs = [CheckInput { component: "parse".into(), stream: "default".into(), fields }];
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

    /// Claims a resource that only one task of the topology can use. Two claims of one resource are
    /// an error of validation.
    pub fn claim(&mut self, key: &str, resource: &str) {
        self.claims.push(Claim { key: key.to_owned(), resource: resource.to_owned() });
    }

    /// What was refused, and what was claimed.
    pub fn into_parts(self) -> (Vec<Refusal>, Vec<Claim>) {
        (self.refusals, self.claims)
    }
}
