//! Where a spout stands in its input.

use std::collections::BTreeMap;

use ::serde::de::DeserializeOwned;
use ::serde::{Deserialize, Serialize};

use crate::api::error::TaskError;

/// Where a spout stands in its input: a position for each *split*, which is a part of the input that can be read
/// for itself, as a file or a partition. A position is any serde type, for example an offset.
///
/// Written by [`Spout::snapshot`](crate::api::Spout::snapshot), and read by
/// [`Spout::restore`](crate::api::Spout::restore).
///
/// # Examples
/// ```
/// use squall::api::Positions;
///
/// let mut positions = Positions::default();
/// positions.set("orders.csv", &4096_u64)?;
/// assert_eq!(positions.get::<u64>("orders.csv")?, Some(4096));
/// assert_eq!(positions.get::<u64>("refunds.csv")?, None);
/// assert!(positions.get::<String>("orders.csv").unwrap_err().to_string().contains("orders.csv"));
/// # Ok::<(), squall::prelude::TaskError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Positions(BTreeMap<String, serde_json::Value>);

impl Positions {
    /// Sets the position in a split.
    ///
    /// # Errors
    /// When the position cannot be written as JSON.
    pub fn set<T: Serialize>(&mut self, split: &str, position: &T) -> Result<(), TaskError> {
        let position = serde_json::to_value(position)
            .map_err(|error| TaskError::new(format!("the position in `{split}` cannot be kept: {error}")))?;
        self.0.insert(split.to_owned(), position);
        Ok(())
    }

    /// The position in a split, if there is one.
    ///
    /// # Errors
    /// When the position is of another type.
    pub fn get<T: DeserializeOwned>(&self, split: &str) -> Result<Option<T>, TaskError> {
        let position = self.0.get(split).map(|position| serde_json::from_value(position.clone()));
        position
            .transpose()
            .map_err(|error| TaskError::fatal(format!("the position in `{split}` does not fit: {error}")))
    }

    /// The names of all splits that have a position.
    ///
    /// # Examples
    /// ```
    /// # let mut positions = squall::api::Positions::default();
    /// positions.set("b", &1)?;
    /// positions.set("a", &2)?;
    /// assert_eq!(positions.splits().collect::<Vec<_>>(), ["a", "b"]);
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn splits(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Adds the positions of another task.
    pub(crate) fn extend(&mut self, other: BTreeMap<String, serde_json::Value>) {
        self.0.extend(other);
    }

    /// As they stand in a manifest.
    pub(crate) fn into_json(self) -> BTreeMap<String, serde_json::Value> {
        self.0
    }
}
