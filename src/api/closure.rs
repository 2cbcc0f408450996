//! Bolts that are one function.

use std::fmt;

use crate::api::bolt::Bolt;
use crate::api::error::TaskError;
use crate::api::input::Input;
use crate::api::outputs::Outputs;
use crate::api::streams::Streams;

/// A bolt that is one function. Made by [`bolt_fn`].
///
/// # Examples
/// ```
/// use squall::api::{Bolt, bolt_fn};
/// use squall::prelude::*;
///
/// /// A bolt of a library that hides its type.
/// fn drop_all() -> impl Bolt {
///     bolt_fn(Streams::none(), |_, _| Ok(()))
/// }
/// # assert_eq!(drop_all().declare(), Streams::none());
/// ```
#[derive(Clone)]
pub struct FnBolt<F> {
    streams: Streams,
    execute: F,
}

/// A bolt that emits to these streams and processes each tuple by this function. Variables captured by
/// the function are the state of the task; they are lost with the task, as the state of any bolt.
///
/// In a topology in Rust [`TopologyBuilder::bolt_fn`](crate::topology::TopologyBuilder::bolt_fn) is
/// shorter; a registry needs this function.
///
/// # Examples
/// ```
/// use squall::api::bolt_fn;
/// use squall::prelude::*;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     /// What is put behind each word.
///     mark: String,
/// }
///
/// let mut registry = Registry::with_standard();
/// registry.bolt("shout", "Makes words loud.", |settings: &Settings| {
///     let mark = settings.mark.clone();
///     Ok(bolt_fn(Streams::new(["word"]), move |input, out| {
///         out.emit([input.str("word")?.to_uppercase() + &mark])?;
///         Ok(())
///     }))
/// });
/// ```
pub fn bolt_fn<F>(streams: Streams, execute: F) -> FnBolt<F>
where
    F: FnMut(Input<'_>, &mut Outputs<'_>) -> Result<(), TaskError> + Send,
{
    FnBolt { streams, execute }
}

impl<F> Bolt for FnBolt<F>
where
    F: FnMut(Input<'_>, &mut Outputs<'_>) -> Result<(), TaskError> + Send,
{
    fn declare(&self) -> Streams {
        self.streams.clone()
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        (self.execute)(input, out)
    }
}

impl<F> fmt::Debug for FnBolt<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnBolt").field("streams", &self.streams).finish_non_exhaustive()
    }
}
