//! Windows: what the tuples of a span of time, of a visit, or of a number are together.
//!
//! ```text
//!   WindowBolt ── add, due, early ──▶ Engine ─┬─▶ TimeEngine      slices of TimeWindows (`grid`)
//!       │                                     ├─▶ SessionEngine   spans that grow
//!       │ item, row                           └─▶ RowEngine       slices of numbers
//!       ▼                                           │ MapState by key, a timer by key (`time_source`)
//!   Teller ◀────────── results ─────────────────────┘ Aggregate: empty, add, combine, invert, output
//! ```
//!
//! * `grid` cuts time into slices and says which windows a slice belongs to; `spec` is what windows there are. Both are pure.
//! * `aggregate` is what is made of tuples; `functions` are those that documents name. `exact_sum` and `kept` are what they
//!   keep.
//! * `time_source`: event time, or the clock. `slice_store`: the slices of a key.
//! * `time_engine`, `session_engine`, `row_engine`, behind `engine`: the state of a key, and what its timers do.
//! * `bolt`, `teller`: the bolt around it; `late`: what comes too late.
//! * `windowed`: bolts that see all tuples of a window, over `tuple_engine`, which keeps them (`stored_tuple`) and hands them
//!   out (`tuple_window`).
//!
//! The component of documents is [`components::window`](mod@crate::components).

mod aggregate;
mod bolt;
mod engine;
mod exact_sum;
mod firing;
pub(crate) mod functions;
mod grid;
mod kept;
mod late;
mod row_engine;
mod session_engine;
mod slice_store;
mod spec;
mod stored_tuple;
mod teller;
mod time_engine;
mod time_source;
mod tuple_engine;
mod tuple_window;
mod windowed;

pub use aggregate::Aggregate;
pub(crate) use bolt::Items;
pub use bolt::WindowBolt;
pub use firing::{Extent, Firing};
pub use functions::{Call, Function};
pub use grid::{TimeWindows, Window, WindowError};
pub use late::LATE_STREAM;
pub use spec::{Early, Gap, RowWindows, RowsError, WindowOptions, Windows};
pub use time_source::WindowTime;
pub use tuple_window::{Measure, TupleWindow};
pub use windowed::{Windowed, WindowedBolt};
