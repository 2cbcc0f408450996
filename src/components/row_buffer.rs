//! Rows that wait to be written to a stream or a file, and what becomes of each.
//!
//! ```text
//!   text:  row 1 | row 2 | row 3 | row 4
//!          written ────────────┤ error
//!          ack     ack     keep    fail
//! ```
//!
//! 1. A row is acked when all of it was written, and fails when nothing of it was.
//! 2. A row that was written in part is *torn*: what is left of it is written before anything else,
//!    so nothing stands between its parts, and it is acked then. So an error neither tears a row for
//!    good nor repeats it.
//! 3. Errors of writing are reported, not returned from `execute` or `tick`: a call that returns an error takes
//!    back what it acked, and rows that are written would come again.
//! 4. Each attempt to write fails a row at most once.

use std::mem;

use crate::api::{HeldTuple, Outputs};
use crate::components::stream::Unwritten;

/// Rows that wait, with their text.
#[derive(Debug, Default)]
pub(super) struct RowBuffer {
    /// The rows as they are written.
    pub(super) text: String,
    /// Where each row ends in `text`.
    ends: Vec<usize>,
    rows: Vec<HeldTuple>,
    torn: Option<Torn>,
}

/// A row of which a part was written.
#[derive(Debug)]
struct Torn {
    /// `None` once it was failed at the end of input; its rest is still due.
    row: Option<HeldTuple>,
    rest: Vec<u8>,
}

impl RowBuffer {
    /// Holds a row. Its text is appended to `text` before or after, and ended by
    /// [`RowBuffer::end_row`].
    pub(super) fn hold(&mut self, row: HeldTuple) {
        self.rows.push(row);
    }

    /// The text of the next row is complete.
    pub(super) fn end_row(&mut self) {
        self.ends.push(self.text.len());
    }

    /// Sets the text of all held rows at once, with where each ends.
    pub(super) fn set_text(&mut self, text: String, ends: Vec<usize>) {
        (self.text, self.ends) = (text, ends);
    }

    /// Puts a text before the first row; it becomes a part of that row.
    pub(super) fn put_before(&mut self, text: &str) {
        self.text.insert_str(0, text);
        self.ends.iter_mut().for_each(|end| *end += text.len());
    }

    /// The rows that are held, without a torn one.
    pub(super) fn rows(&self) -> &[HeldTuple] {
        &self.rows
    }

    /// Whether nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.torn.is_none()
    }

    /// Writes everything by `write`, which reports how much it wrote, and acks what was written. After an
    /// error it returns how many of the held rows were begun; the others wait for the caller to decide:
    /// [`RowBuffer::fail_unwritten`], [`RowBuffer::fail_all`] or [`RowBuffer::ack_unread`].
    pub(super) fn write(
        &mut self,
        out: &mut Outputs<'_>,
        mut write: impl FnMut(&[u8]) -> Result<(), Unwritten>,
    ) -> Result<(), (usize, std::io::Error)> {
        if let Some(torn) = &mut self.torn {
            match write(&torn.rest) {
                Ok(()) => {
                    let row = self.torn.take().and_then(|torn| torn.row);
                    row.into_iter().for_each(|row| out.ack(row));
                }
                Err(Unwritten { written, error }) => {
                    torn.rest.drain(..written);
                    // It waits longer than its message may; its replay would repeat it.
                    torn.row.iter().for_each(|row| out.reset_timeout(row));
                    return Err((0, error));
                }
            }
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        debug_assert_eq!(self.rows.len(), self.ends.len(), "each row has a text");
        let (written, result) = match write(self.text.as_bytes()) {
            Ok(()) => (self.text.len(), Ok(())),
            Err(Unwritten { written, error }) => (written, Err(error)),
        };
        let (text, ends) = (mem::take(&mut self.text), mem::take(&mut self.ends));
        let (mut start, mut begun) = (0, 0);
        for (row, end) in self.clear().into_iter().zip(ends) {
            if end <= written {
                out.ack(row);
            } else if start < written {
                let rest = text.as_bytes()[written..end].to_vec();
                self.torn = Some(Torn { row: Some(row), rest });
            } else {
                self.rows.push(row);
            }
            begun += usize::from(start < written);
            start = end;
        }
        result.map_err(|error| (begun, error))
    }

    /// Fails the rows of which nothing was written.
    pub(super) fn fail_unwritten(&mut self, out: &mut Outputs<'_>) {
        self.clear().into_iter().for_each(|row| out.fail(row));
    }

    /// Fails a torn row that cannot be completed now, at the end of input. Should it be possible
    /// later, its rest is still written first.
    pub(super) fn fail_torn(&mut self, out: &mut Outputs<'_>) {
        let row = self.torn.as_mut().and_then(|torn| torn.row.take());
        row.into_iter().for_each(|row| out.fail(row));
    }

    /// Fails all rows and forgets the rest of a torn one, because a new reader begins with a whole
    /// row.
    pub(super) fn fail_all(&mut self, out: &mut Outputs<'_>) {
        self.fail_torn(out);
        self.torn = None;
        self.fail_unwritten(out);
    }

    /// Acks everything without writing it, because nobody reads it any more. Returns how many rows.
    pub(super) fn ack_unread(&mut self, out: &mut Outputs<'_>) -> u64 {
        let torn = self.torn.take().and_then(|torn| torn.row);
        let rows: Vec<HeldTuple> = torn.into_iter().chain(self.clear()).collect();
        let unread = rows.len() as u64;
        rows.into_iter().for_each(|row| out.ack(row));
        unread
    }

    fn clear(&mut self) -> Vec<HeldTuple> {
        self.text.clear();
        self.ends.clear();
        mem::take(&mut self.rows)
    }
}
