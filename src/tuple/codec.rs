//! The versioned binary form of tuples: what peers send each other and what state is kept in.
//!
//! A batch holds its trees first and its values last, so that a reader knows what it is to allocate
//! before it allocates. Integers are LEB128 varints unless their width is given; widths are little
//! endian.
//!
//! ```text
//!  batch   version=2 · arity · len · runs n · run*n · message(1)*len · extras m · extra*m · value*(len*arity)
//!          (messages and extras only if n > 0)
//!  run     root(8) · edge(8, if root is not 0) · len · attempt
//!  extra   tuples since the last extra's · root(8) · edge(8) · message(1) · attempt
//!  attempt twice the number of replays, and one more if it is the last
//!  single  version=1 · value
//!  value   00 null · 01 false · 02 true · 03 integer (zigzag) · 04 double(8) · 05 text: len, UTF-8
//!          06 bytes: len, bytes · 07 list: n, value*n · 08 map: n, (len, UTF-8, value)*n
//!          09 timestamp(8) · 40..7f text of 0..63 bytes · 80..ff the integers 0..127
//! ```
//!
//! Batches of version 1 are read, too: their attempts are one byte, the number of replays.
//!
//! The bytes may come from anyone, so:
//!
//! 1. Every value has one form, the shortest, and map keys ascend: what decodes, encodes to the
//!    same bytes. Doubles keep their bits, NaN and -0.0 too.
//! 2. Nothing is allocated for what the input cannot hold. Each promised value takes a byte at
//!    least, and promises not yet kept are subtracted from what is left, so nested promises do not
//!    multiply. In all, decoding holds less than `ALLOCATION_FACTOR` bytes per byte of input.
//! 3. Lists and maps nest at most `DEPTH_MAX` deep; the writer refuses what is deeper, so that an
//!    emit fails and not a link.
//! 4. What decodes keeps the rules of [`TupleBatch`]; trailing bytes are an error.
//!
//! The length of the whole is not its concern: frames have a cap and a checksum of their own.

mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use super::batch::TupleBatch;
use super::value::Value;

pub use format::{ALLOCATION_FACTOR, BATCH_VERSION, CodecError, DEPTH_MAX, VERSION};

/// Appends the batch to `out`. Its length is the caller's to bound.
///
/// # Errors
/// [`CodecError::Depth`], and [`CodecError::Batch`] when the batch breaks its own rules, which is a
/// defect of the caller's. `out` is then as it was.
pub fn encode(batch: &TupleBatch, out: &mut Vec<u8>) -> Result<(), CodecError> {
    or_restored(out, |out| writer::write_batch(batch, out))
}

/// Reads a batch. Texts of up to 23 bytes are read without an allocation of their own.
///
/// # Errors
/// When `input` is anything but what [`encode`] wrote, whole.
pub fn decode(input: &[u8]) -> Result<TupleBatch, CodecError> {
    reader::read_whole(input, BATCH_VERSION, reader::Reader::batch)
}

/// Appends one value to `out`.
///
/// # Errors
/// [`CodecError::Depth`]. `out` is then as it was.
pub fn encode_value(value: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
    or_restored(out, |out| {
        out.push(VERSION);
        writer::write_value(value, out, DEPTH_MAX)
    })
}

/// Reads one value.
///
/// # Errors
/// When `input` is anything but what [`encode_value`] wrote, whole.
pub fn decode_value(input: &[u8]) -> Result<Value, CodecError> {
    reader::read_whole(input, VERSION, reader::Reader::value)
}

fn or_restored(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let len = out.len();
    write(out).inspect_err(|_| out.truncate(len))
}
