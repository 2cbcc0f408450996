//! A write-ahead log: records of input that cannot be read again, durable before they count as read.
//!
//! ```text
//!   segment-00000007-00000000000000000400-…   records 400 to 899, nothing is appended any more
//!   segment-00000008-00000000000000000900-…   records 900 to 1299: the last group is torn, and cut off
//!   segment-00000009-00000000000000001300-…   is appended to
//!   begin                                     optional: records before this one do not count
//! ```
//!
//! 1. Records are appended in *groups*. A group is durable when [`Wal::append`] returns, or the call has failed and
//!    nothing of it counts.
//! 2. A segment is a file of bounded size. A process appends to files that it began itself, and to none on which a write
//!    or a sync has failed.
//! 3. A segment begins with the record that its name says. What earlier segments have from that record on does not count:
//!    it was torn, or it was appended again. A segment without a whole group counts as if it were not there.
//! 4. A process that opens a log appends the last group once more. All groups before it were synced when they were
//!    appended; of the last one nobody knows, because a file may show what a failed sync has not written.
//! 5. A group that is damaged is cut off only where it can be the last one that was written. Elsewhere it is an error that
//!    names the file and the offset. Checksums include the number of the log, which no record knows, so a record cannot
//!    pass for a group.
//! 6. Whole segments are deleted, the oldest first, and the last one never.
//!
//! The storage is passed in. Nothing here has a thread or a clock; calls may wait for the disk.
//!
//! Not here: what is in a record, and who reads it (`runtime::executor::logged_spout`).

mod begin;
mod error;
mod groups;
mod log;
mod names;
mod place;
mod position;
#[cfg(test)]
mod tests;

pub(crate) use error::WalError;
#[cfg(test)]
pub(crate) use log::SEGMENT_LEN_MAX;
pub(crate) use log::Wal;
pub(crate) use place::{WalPlace, log_name};
pub(crate) use position::{LogId, WalPosition};
