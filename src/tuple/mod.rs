//! Tuples: ordered, named, dynamically typed values, and the batches they travel in.
//!
//! * [`Value`]: one value, 24 bytes wide; short strings inside, long data shared.
//! * [`Text`]: the text of a value.
//! * [`Fields`]: the names of a stream's values.
//! * [`TupleBatch`]: many tuples of one stream, flat, with the anchors that track them.
//! * [`codec`]: the versioned binary form of a batch.
//! * [`IntoValue`], [`FromValue`]: Rust values to values and back; a conversion is exact or fails.
//! * [`hash`]: the stable hash that fields grouping uses.
//! * [`serde`](mod@serde): structs to tuples and back.
//!
//! There is no owned "tuple" object on the hot path: a tuple is a row of a batch. A batch moves to
//! its only reader without a copy and is shared when there are several.

mod batch;
pub mod codec;
mod convert;
mod fields;
pub mod hash;
mod nested;
pub mod serde;
mod text;
mod value;

pub use batch::{Anchor, Attempt, BatchLimits, MessageIndex, Rows, Run, TupleBatch};
pub use convert::{FromValue, IntoValue, ValueError};
pub use fields::Fields;
pub use text::Text;
pub use value::{Map, SharedList, SharedMap, Timestamp, Value, ValueType};
