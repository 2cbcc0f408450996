//! The versioned binary format of tuples, in which peers send them and state is stored.
//!
//! A batch has its trees first and its values last, so that a reader knows what it has to allocate
//! before it allocates. Integers are LEB128 varints unless their width is given; those with a width are
//! little endian.
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
//! 1. Every value has only one valid form, the shortest, and map keys ascend. So decoded input encodes
//!    to the same bytes again. Doubles keep their bits, NaN and -0.0 too.
//! 2. Nothing is allocated that the input cannot hold. Each announced value takes at least one byte, and
//!    announced values that are not read yet are subtracted from the rest of the input, so nested counts
//!    do not multiply. In all, decoding allocates less than `ALLOCATION_FACTOR` bytes per byte of input.
//! 3. Lists and maps nest at most `DEPTH_MAX` deep. The writer refuses deeper ones, so that the emit
//!    fails and not the connection.
//! 4. A decoded batch satisfies the rules of [`TupleBatch`]; trailing bytes are an error.
//!
//! The total length is not checked here: frames have a length limit and a checksum of their own.

mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use super::batch::TupleBatch;
use super::value::Value;

pub use format::{ALLOCATION_FACTOR, BATCH_VERSION, CodecError, DEPTH_MAX, VERSION};

/// Appends the batch to `out`. The caller has to bound its length.
///
/// # Errors
/// [`CodecError::Depth`], and [`CodecError::Batch`] when the batch breaks the rules of batches, which is
/// a defect of the caller. `out` is then unchanged.
pub fn encode(batch: &TupleBatch, out: &mut Vec<u8>) -> Result<(), CodecError> {
    or_restored(out, |out| writer::write_batch(batch, out))
}

/// Reads a batch. Texts of up to 23 bytes need no allocation.
///
/// # Errors
/// When `input` is not exactly one output of [`encode`], of this release or an earlier one.
pub fn decode(input: &[u8]) -> Result<TupleBatch, CodecError> {
    reader::read_whole(input, BATCH_VERSION, reader::Reader::batch)
}

/// Appends one value to `out`.
///
/// # Errors
/// [`CodecError::Depth`]. `out` is then unchanged.
pub fn encode_value(value: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
    or_restored(out, |out| {
        out.push(VERSION);
        writer::write_value(value, out, DEPTH_MAX)
    })
}

/// Reads one value.
///
/// # Errors
/// When `input` is not exactly one output of [`encode_value`].
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
