//! Cuts a stream of bytes into lines, in bounded memory.
//!
//! ```text
//!   | emitted | line | rest: no newline yet | space |
//!             start  next                   end
//! ```
//!
//! 1. The buffer never grows beyond the longest line allowed and one read.
//! 2. A longer line is cut: its first `max` bytes are the line, the rest up to the newline is
//!    counted and dropped as it comes.
//! 3. The end of a line, `\n` or `\r\n`, does not count towards its length.

use std::ops::Range;

use memchr::memchr;

/// Bytes asked for in one read.
pub(super) const READ_SIZE: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    /// The line that [`LineBuffer::advance`] found, without its end.
    line: Range<usize>,
    /// How much of that line was dropped.
    line_cut: u64,
    /// Where the next line begins.
    next: usize,
    /// Up to where there is no newline after `next`.
    scanned: usize,
    end: usize,
    /// What was dropped of the next line so far, and whether the last byte of it was `\r`.
    cut: u64,
    cut_ends_in_cr: bool,
    /// The last byte is a newline that the input does not have.
    is_ended: bool,
    line_len_max: usize,
}

impl LineBuffer {
    pub(super) fn new(line_len_max: usize) -> LineBuffer {
        LineBuffer {
            bytes: Vec::new(),
            line: 0..0,
            line_cut: 0,
            next: 0,
            scanned: 0,
            end: 0,
            cut: 0,
            cut_ends_in_cr: false,
            is_ended: false,
            line_len_max,
        }
    }

    /// Goes to the next complete line, if there is one; [`LineBuffer::line`] is that line then.
    #[inline]
    pub(super) fn advance(&mut self) -> bool {
        let Some(offset) = memchr(b'\n', &self.bytes[self.scanned..self.end]) else {
            self.scanned = self.end;
            self.drop_overlong();
            return false;
        };
        let newline = self.scanned + offset;
        let kept = &self.bytes[self.next..newline];
        // What was dropped stood right behind the bytes that are kept of an overlong line.
        let last_was_dropped = self.cut > 0 && kept.len() == self.kept_len_max();
        let ends_in_cr = if last_was_dropped { self.cut_ends_in_cr } else { kept.last() == Some(&b'\r') };
        let whole = kept.len() as u64 + self.cut - u64::from(ends_in_cr);
        let len = whole.min(self.line_len_max as u64);
        self.line = self.next..self.next + len as usize;
        self.line_cut = whole - len;
        self.cut = 0;
        self.next = newline + 1;
        self.scanned = self.next;
        true
    }

    /// The line and how many of its bytes were cut off.
    #[inline]
    pub(super) fn line(&self) -> (&[u8], u64) {
        (&self.bytes[self.line.clone()], self.line_cut)
    }

    /// Complete lines that are not taken yet, and the length of what stands behind them without a
    /// newline; `None` when some of that was dropped.
    pub(super) fn rest(&self) -> (u64, Option<u64>) {
        let rest = &self.bytes[self.next..self.end];
        let lines = memchr::memchr_iter(b'\n', rest).count() as u64;
        let partial = rest.len() - memchr::memrchr(b'\n', rest).map_or(0, |newline| newline + 1);
        (lines, (self.cut == 0).then_some(partial as u64))
    }

    /// Bytes that were read and stand behind the line in hand, those that were dropped included.
    pub(super) fn unread(&self) -> u64 {
        let kept = (self.end - self.next) as u64;
        self.cut + kept - u64::from(self.is_ended && kept > 0)
    }

    /// Forgets what stands without a newline behind the complete lines.
    pub(super) fn drop_partial(&mut self) {
        let rest = &self.bytes[self.next..self.end];
        self.end = self.next + memchr::memrchr(b'\n', rest).map_or(0, |newline| newline + 1);
        self.scanned = self.scanned.min(self.end);
        self.cut = 0;
    }

    /// Gives back the memory that what is left does not need. The line in hand is over.
    pub(super) fn shrink(&mut self) {
        self.bytes.truncate(self.end);
        self.bytes.drain(..self.next);
        self.bytes.shrink_to_fit();
        (self.scanned, self.end) = (self.scanned - self.next, self.end - self.next);
        (self.line, self.next) = (0..0, 0);
    }

    /// Where to read to: always [`READ_SIZE`] bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.next > 0 && self.bytes.len() - self.end < READ_SIZE {
            self.bytes.copy_within(self.next..self.end, 0);
            (self.scanned, self.end) = (self.scanned - self.next, self.end - self.next);
            (self.line, self.next) = (0..0, 0);
        }
        if self.bytes.len() - self.end < READ_SIZE {
            self.bytes.resize(self.end + READ_SIZE, 0);
        }
        &mut self.bytes[self.end..self.end + READ_SIZE]
    }

    /// So many bytes were read to [`LineBuffer::space`].
    pub(super) fn filled(&mut self, len: usize) {
        self.end += len;
        self.is_ended = false;
    }

    /// Nothing more comes: ends a last line that has no newline. Returns whether any line is left.
    pub(super) fn finish(&mut self) -> bool {
        let left = self.end > self.next;
        if left && self.bytes[self.end - 1] != b'\n' {
            self.space()[0] = b'\n';
            self.filled(1);
            self.is_ended = true;
        }
        left
    }

    /// One byte more than a line, for the `\r` of its end.
    fn kept_len_max(&self) -> usize {
        self.line_len_max.saturating_add(1)
    }

    fn drop_overlong(&mut self) {
        let end_max = self.next.saturating_add(self.kept_len_max());
        if self.end > end_max {
            self.cut += (self.end - end_max) as u64;
            self.cut_ends_in_cr = self.bytes[self.end - 1] == b'\r';
            self.end = end_max;
            self.scanned = end_max;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a text that is read in pieces of `step` bytes, with what was cut of each.
    fn lines(text: &[u8], step: usize, max: usize) -> Vec<(String, u64)> {
        let mut buffer = LineBuffer::new(max);
        let mut lines = Vec::new();
        let mut drain = |buffer: &mut LineBuffer| {
            while buffer.advance() {
                let (line, cut) = buffer.line();
                lines.push((String::from_utf8_lossy(line).into_owned(), cut));
            }
            assert!(buffer.bytes.len() <= max + 2 * READ_SIZE, "the buffer is bounded");
        };
        for piece in text.chunks(step) {
            buffer.space()[..piece.len()].copy_from_slice(piece);
            buffer.filled(piece.len());
            drain(&mut buffer);
        }
        buffer.finish();
        drain(&mut buffer);
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_are_read() {
        let check = |text: &str, expected: &[&str]| {
            for step in [1, 2, 3, 7, 1000] {
                let expected: Vec<_> = expected.iter().map(|line| ((*line).to_owned(), 0)).collect();
                assert_eq!(lines(text.as_bytes(), step, 100), expected, "{text:?} by {step}");
            }
        };
        check("", &[]);
        check("a", &["a"]);
        check("a\n", &["a"]);
        check("a\n\nb\r\nc", &["a", "", "b", "c"]);
        check("\r\n", &[""]);
        check("a\rb\n", &["a\rb"]);
    }

    #[test]
    fn the_end_of_a_line_does_not_count_towards_its_length() {
        let text = b"0123456789\r\nabcdefghij\nxxxxxxxxxxx\r\nyyyyyyyyyyy\nzzzzzzzzzz\rz\nq";
        let expected = [
            ("0123456789", 0),
            ("abcdefghij", 0),
            ("xxxxxxxxxx", 1),
            ("yyyyyyyyyy", 1),
            ("zzzzzzzzzz", 2),
            ("q", 0),
        ];
        let expected: Vec<_> = expected.iter().map(|(line, cut)| ((*line).to_owned(), *cut)).collect();
        for step in [1, 2, 3, 5, 11, 12, 13, 1000] {
            assert_eq!(lines(text, step, 10), expected, "by {step}");
        }
        let dropped = "x".repeat(200_000) + "\r\n";
        for step in [1000, 199_999, READ_SIZE] {
            let step = step.min(READ_SIZE);
            assert_eq!(lines(dropped.as_bytes(), step, 10), [("x".repeat(10), 199_990)], "by {step}");
        }
    }

    #[test]
    fn what_is_left_can_be_counted_dropped_and_packed() {
        let mut buffer = LineBuffer::new(100);
        let text = b"one\ntwo\nthree";
        buffer.space()[..text.len()].copy_from_slice(text);
        buffer.filled(text.len());
        assert!(buffer.advance());
        assert_eq!(buffer.rest(), (1, Some(5)));
        buffer.shrink();
        assert_eq!((buffer.bytes.len(), buffer.rest()), (9, (1, Some(5))));
        buffer.drop_partial();
        assert_eq!(buffer.rest(), (1, Some(0)));
        assert!(buffer.advance());
        assert_eq!(buffer.line(), (&b"two"[..], 0));
        assert!(!buffer.advance() && !buffer.finish());
    }

    #[test]
    fn what_is_unread_is_where_the_next_line_begins() {
        let text = b"one\r\nabcdefghijklmnop\n\nlast";
        for step in [1, 2, 3, 7, 100] {
            let (mut buffer, mut read, mut begins) = (LineBuffer::new(5), 0, vec![0]);
            let mut drain = |buffer: &mut LineBuffer, read: u64| {
                while buffer.advance() {
                    begins.push(read - buffer.unread());
                }
                assert!(begins.last() == Some(&(read - buffer.unread())), "a part of a line is no line");
            };
            for piece in text.chunks(step) {
                buffer.space()[..piece.len()].copy_from_slice(piece);
                buffer.filled(piece.len());
                read += piece.len() as u64;
                drain(&mut buffer, read);
            }
            assert!(buffer.finish());
            assert_eq!(read - buffer.unread(), 23, "the newline that was added was not read");
            drain(&mut buffer, read);
            assert_eq!(begins, [0, 5, 22, 23, 27], "by {step}");
        }
    }

    #[test]
    fn long_lines_are_cut_and_their_rest_is_counted() {
        let long = "x".repeat(300_000) + "\nshort\n" + &"y".repeat(11) + "\nend";
        for step in [1000, READ_SIZE] {
            let lines = lines(long.as_bytes(), step, 10);
            assert_eq!(lines[0], ("x".repeat(10), 299_990), "by {step}");
            assert_eq!(lines[1], ("short".to_owned(), 0));
            assert_eq!(lines[2], ("y".repeat(10), 1));
            assert_eq!(lines[3], ("end".to_owned(), 0));
        }
    }
}
