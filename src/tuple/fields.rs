//! The names of a stream's values, in order.

use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

/// An ordered list of field names, shared by everything that mentions the stream.
///
/// # Examples
/// ```
/// use squall::Fields;
/// let fields = Fields::from(["word", "count"]);
/// assert_eq!(fields.position("count"), Some(1));
/// assert_eq!(fields.to_string(), "word, count");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fields(Arc<[SmolStr]>);

impl Fields {
    /// No fields: the tuples of the stream are empty and only serve as signals.
    pub fn none() -> Fields {
        Fields::default()
    }

    /// The number of fields: the arity of the stream's tuples.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The index of a field, from 0.
    pub fn position(&self, name: &str) -> Option<usize> {
        // A linear scan: streams have a handful of fields, and names differ in their first bytes.
        self.0.iter().position(|field| field == name)
    }

    /// The names in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SmolStr> {
        self.0.iter()
    }

    /// The name at a position.
    pub fn get(&self, index: usize) -> Option<&SmolStr> {
        self.0.get(index)
    }
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for Fields {
    fn from(names: [S; N]) -> Fields {
        names.iter().map(AsRef::as_ref).collect()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Fields {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Fields {
        Fields(names.into_iter().map(|name| SmolStr::new(name.as_ref())).collect())
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
