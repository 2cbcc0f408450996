//! Lines that are numbered, and sent again if the other side may not have got them.
//!
//! ```text
//!   17 42 {"Beat":{…}}     line 17 of this side; it has taken line 42 of the other side, and all before it
//!   0 43                   nothing new, but it has taken line 43
//! ```
//!
//! Numbers begin at 1 with each process that meets a master. They go on when a connection is replaced.

use std::collections::VecDeque;

/// Bytes that may be kept until the other side has taken them.
const KEPT_MAX: usize = 32 << 20;
/// So many lines are taken before the other side is told, if this side has nothing else to say.
const UNTOLD_MAX: u64 = 64;

/// Why a line is none of this protocol, or a channel cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResendError {
    /// A line does not begin with two numbers.
    #[error("a line without its numbers")]
    Malformed,
    /// A line is missing.
    #[error("line {found} came after line {last}")]
    Gap {
        /// The number that was expected is one more than this.
        last: u64,
        /// The number that came.
        found: u64,
    },
    /// The other side says that it has taken what was never sent, or needs what is no longer kept.
    #[error("the other side has taken {taken} lines, and lines {from} to {upto} are kept")]
    Foreign {
        /// What the other side has taken.
        taken: u64,
        /// The first line that is kept.
        from: u64,
        /// The last one.
        upto: u64,
    },
    /// More than [`KEPT_MAX`] bytes wait.
    #[error("{KEPT_MAX} bytes wait to be taken")]
    TooMuch,
}

/// Both directions of a channel, as one side sees them.
#[derive(Debug, Default)]
pub struct Resend {
    /// Lines without their ends, not taken by the other side so far. The last one has the number `sent`.
    kept: VecDeque<Vec<u8>>,
    bytes: usize,
    sent: u64,
    /// Lines that were written to the present connection, from the front of `kept`.
    written: usize,
    taken: u64,
    told: u64,
}

impl Resend {
    /// Adds a line to be sent, without its end.
    ///
    /// # Errors
    /// When too much waits.
    pub fn push(&mut self, line: Vec<u8>) -> Result<(), ResendError> {
        if self.bytes + line.len() > KEPT_MAX {
            return Err(ResendError::TooMuch);
        }
        self.bytes += line.len();
        self.kept.push_back(line);
        self.sent += 1;
        Ok(())
    }

    /// How many lines of the other side were taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// There is another connection, and on it the other side says what it has taken.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn connected(&mut self, taken_by_other: u64) -> Result<(), ResendError> {
        self.settle(taken_by_other)?;
        self.written = 0;
        self.told = self.taken;
        Ok(())
    }

    /// Appends what is to be written to the present connection.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        let first = self.sent - self.kept.len() as u64 + 1;
        for (number, line) in (first..).zip(&self.kept).skip(self.written) {
            out.extend_from_slice(format!("{number} {} ", self.taken).as_bytes());
            out.extend_from_slice(line);
            out.push(b'\n');
            self.told = self.taken;
        }
        self.written = self.kept.len();
        if self.taken - self.told >= UNTOLD_MAX {
            self.tell(out);
        }
    }

    /// Appends what was taken, if the other side was not told of it.
    pub fn tell(&mut self, out: &mut Vec<u8>) {
        if self.told < self.taken {
            out.extend_from_slice(format!("0 {}\n", self.taken).as_bytes());
            self.told = self.taken;
        }
    }

    /// The lines that the other side has not taken, as far as this side knows.
    pub fn into_kept(self) -> impl Iterator<Item = Vec<u8>> {
        self.kept.into_iter()
    }

    /// Whether the other side has taken everything.
    pub fn is_settled(&self) -> bool {
        self.kept.is_empty()
    }

    /// Takes a line that has come, without its end. Returns what is in it, if it was not taken before.
    ///
    /// # Errors
    /// When the connection cannot be used any more.
    pub fn take<'l>(&mut self, line: &'l [u8]) -> Result<Option<&'l [u8]>, ResendError> {
        let (number, rest) = number(line)?;
        let (taken_by_other, rest) = match number {
            0 => self::number_at_end(rest)?,
            _ => self::number(rest)?,
        };
        self.settle(taken_by_other)?;
        match number {
            0 => Ok(None),
            number if number <= self.taken => Ok(None),
            number if number == self.taken + 1 => {
                self.taken = number;
                Ok(Some(rest))
            }
            found => Err(ResendError::Gap { last: self.taken, found }),
        }
    }

    /// The other side has taken so many lines: they need not be kept.
    fn settle(&mut self, taken: u64) -> Result<(), ResendError> {
        let before = self.sent - self.kept.len() as u64;
        if taken < before || taken > self.sent {
            return Err(ResendError::Foreign { taken, from: before + 1, upto: self.sent });
        }
        for _ in before..taken {
            let line = self.kept.pop_front().expect("so many are kept");
            self.bytes -= line.len();
            self.written = self.written.saturating_sub(1);
        }
        Ok(())
    }
}

/// The number at the beginning of a line, and what comes after the blank.
fn number(line: &[u8]) -> Result<(u64, &[u8]), ResendError> {
    let blank = line.iter().position(|byte| *byte == b' ').ok_or(ResendError::Malformed)?;
    let (number, _) = number_at_end(&line[..blank])?;
    Ok((number, &line[blank + 1..]))
}

fn number_at_end(digits: &[u8]) -> Result<(u64, &[u8]), ResendError> {
    let text = std::str::from_utf8(digits).map_err(|_| ResendError::Malformed)?;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().ok() } else { None };
    Ok((number.ok_or(ResendError::Malformed)?, &[]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(lines: &[u8]) -> Vec<&str> {
        std::str::from_utf8(lines).expect("text").lines().collect()
    }

    #[test]
    fn lines_are_numbered_and_name_what_was_taken() {
        let mut side = Resend::default();
        side.push(b"a".to_vec()).expect("there is room");
        assert_eq!(side.take(b"1 0 x"), Ok(Some(&b"x"[..])));
        side.push(b"b".to_vec()).expect("there is room");
        let mut out = Vec::new();
        side.write(&mut out);
        assert_eq!(texts(&out), ["1 1 a", "2 1 b"]);
        assert_eq!(side.take(b"2 1 y"), Ok(Some(&b"y"[..])));
        out.clear();
        side.write(&mut out);
        side.tell(&mut out);
        side.tell(&mut out);
        assert_eq!(texts(&out), ["0 2"]);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let mut side = Resend::default();
        side.push(b"a".to_vec()).expect("there is room");
        for line in [&b""[..], b"1", b"1 x", b"x 1 {}", b"-1 0 {}", b"1 +0 {}", b"\xff 0 {}", b"0 1 "] {
            assert_eq!(side.take(line), Err(ResendError::Malformed), "{line:?}");
        }
        assert_eq!(side.take(b"2 0 x"), Err(ResendError::Gap { last: 0, found: 2 }));
        assert_eq!(side.take(b"0 2"), Err(ResendError::Foreign { taken: 2, from: 1, upto: 1 }));
        assert_eq!(side.take(b"0 1"), Ok(None));
        assert_eq!(side.take(b"0 0"), Err(ResendError::Foreign { taken: 0, from: 2, upto: 1 }));
        assert_eq!(side.push(vec![0; KEPT_MAX + 1]), Err(ResendError::TooMuch));
    }

    proptest! {
        /// Connections break after any line, in both directions, and lines on their way are lost.
        #[test]
        fn every_line_is_taken_once_and_in_order(steps in prop::collection::vec(0..6_u8, 1..200)) {
            let mut sides = [Resend::default(), Resend::default()];
            let mut on_way: [VecDeque<Vec<u8>>; 2] = Default::default();
            let (mut pushed, mut got) = ([0_u32; 2], [0_u32; 2]);
            let reconnect = |sides: &mut [Resend; 2], on_way: &mut [VecDeque<Vec<u8>>; 2]| {
                on_way.iter_mut().for_each(VecDeque::clear);
                let taken = [sides[0].taken(), sides[1].taken()];
                sides[0].connected(taken[1]).expect("it can be");
                sides[1].connected(taken[0]).expect("it can be");
            };
            let send = |sides: &mut [Resend; 2], on_way: &mut [VecDeque<Vec<u8>>; 2], at: usize| {
                let mut out = Vec::new();
                sides[at].write(&mut out);
                sides[at].tell(&mut out);
                on_way[at].extend(texts(&out).into_iter().map(|line| line.as_bytes().to_vec()));
            };
            let deliver = |sides: &mut [Resend; 2], on_way: &mut [VecDeque<Vec<u8>>; 2], got: &mut [u32; 2], at: usize| {
                let Some(line) = on_way[at].pop_front() else { return false };
                if let Some(text) = sides[1 - at].take(&line).expect("it can be") {
                    got[at] += 1;
                    assert_eq!(text, got[at].to_string().as_bytes());
                }
                true
            };
            for step in steps {
                let at = usize::from(step & 1);
                match step / 2 {
                    0 => {
                        pushed[at] += 1;
                        sides[at].push(pushed[at].to_string().into_bytes()).expect("there is room");
                        send(&mut sides, &mut on_way, at);
                    }
                    1 => _ = deliver(&mut sides, &mut on_way, &mut got, at),
                    _ => reconnect(&mut sides, &mut on_way),
                }
            }
            reconnect(&mut sides, &mut on_way);
            for at in [0, 1] {
                send(&mut sides, &mut on_way, at);
                while deliver(&mut sides, &mut on_way, &mut got, at) {}
            }
            prop_assert_eq!(pushed, got);
        }
    }
}
