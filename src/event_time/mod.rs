//! Event time: when something happened, as opposed to when it is processed.
//!
//! A *watermark* says how far event time has come at a place of the topology: with the watermark 10:05, no tuple is
//! expected there any more whose time lies before 10:05. One that comes all the same is *late*.
//!
//! ```text
//!   spout: greatest time seen, less `max_out_of_order` ─┐ SourceTimes: the least of its splits
//!                                                       ▼
//!   bolt: the least of all its inputs ◀── marks ── SentTimes: it never goes back
//!         InputTimes                   in the data lane, behind the batches of their link
//! ```
//!
//! Here is what decides about watermarks: all of it is pure. `runtime::executor::event_times` has the marks travel.

mod format;
mod inputs;
mod mark;
mod sent;
mod source;

pub(crate) use format::{TimeFormat, TimeFormatError, time_zone};
pub(crate) use inputs::{Advance, InputTimes};
pub use mark::TimeMark;
pub(crate) use mark::{END_OF_TIME, NO_WATERMARK};
pub(crate) use sent::SentTimes;
pub(crate) use source::SourceTimes;
