//! Where named fields stand in the tuples of a source, looked up once per source, not per tuple.
//!
//! The cache holds the fields of the last tuple's source. Two batches of one source share their
//! [`Fields`], so the check per tuple is a compare of two pointers; a bolt with several inputs
//! looks names up again whenever the source changes, which is once per batch.

use smol_str::SmolStr;

use crate::api::{Check, Input, TaskError};
use crate::tuple::{Fields, Value};

/// The positions of some fields.
#[derive(Clone, Debug)]
pub(super) struct Positions {
    names: Vec<SmolStr>,
    /// Whose positions are cached.
    source: Option<Fields>,
    found: Vec<usize>,
}

impl Positions {
    pub(super) fn of<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Positions {
        let names = names.into_iter().map(SmolStr::new).collect();
        Positions { names, source: None, found: Vec::new() }
    }

    /// Refuses names that an input does not have. `key` is the setting that they came from.
    pub(super) fn check(&self, key: &str, check: &mut Check<'_>) {
        self.names.iter().for_each(|name| check.require_field(key, name));
    }

    /// The positions in a tuple like this one, in the order of the names.
    ///
    /// # Errors
    /// When its stream does not have all of them.
    #[inline]
    pub(super) fn resolve(&mut self, input: &Input<'_>) -> Result<&[usize], TaskError> {
        if self.source.as_ref() != Some(input.fields()) {
            self.find(input)?;
        }
        Ok(&self.found)
    }

    /// The values at these positions: 24 bytes each, and a count up where data is shared.
    ///
    /// # Errors
    /// When the stream does not have all of them.
    pub(super) fn values(&mut self, input: &Input<'_>) -> Result<Vec<Value>, TaskError> {
        self.resolve(input)?;
        Ok(self.found.iter().map(|position| input.values()[*position].clone()).collect())
    }

    #[cold]
    fn find(&mut self, input: &Input<'_>) -> Result<(), TaskError> {
        self.source = None;
        self.found.clear();
        for name in &self.names {
            match input.fields().position(name) {
                Some(position) => self.found.push(position),
                // The input's own accessor words the error.
                None => return input.field(name).map(|_| ()),
            }
        }
        self.source = Some(input.fields().clone());
        Ok(())
    }
}
