//! Values that may be left to the runtime, in the options of a topology and of the engine.

use serde::{Deserialize, Serialize};

/// A number that the runtime may choose itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoOr<T> {
    /// The runtime chooses.
    #[default]
    Auto,
    /// This many.
    Fixed(T),
}
