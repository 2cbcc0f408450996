//! Decodes tuples from untrusted bytes.

use std::sync::Arc;

use smol_str::SmolStr;

use super::format::{CodecError, DEPTH_MAX, SHORT_STR_LEN, VERSION, check_rules, tag};
use crate::config::limits::BATCH_MAX;
use crate::ids::RootId;
use crate::tuple::batch::{Anchor, Attempt, Rows, Run, TupleBatch};
use crate::tuple::convert::push_text;
use crate::tuple::value::{Map, Timestamp, Value};

/// The bytes of the shortest run and of the shortest further anchor.
const RUN_BYTES_MIN: usize = 10;
const EXTRA_BYTES_MIN: usize = 19;

/// The rest of the input, and the limits that are left.
pub(super) struct Reader<'a> {
    left: &'a [u8],
    /// Length of the whole input.
    len: usize,
    /// Values that lists, maps and the batch have announced and not yet read. Each takes at least a byte.
    promised: usize,
    /// Levels of lists and maps that may still open.
    depth: usize,
    /// The version of the input.
    version: u8,
}

/// Reads a version, which is the current one or an older one, and what follows it up to the end.
pub(super) fn read_whole<'a, T>(
    input: &'a [u8],
    version: u8,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    let mut reader = Reader { left: input, len: input.len(), promised: 0, depth: DEPTH_MAX, version };
    reader.version = reader.byte()?;
    if reader.version < VERSION || reader.version > version {
        return Err(CodecError::Version { found: reader.version });
    }
    let thing = read(&mut reader)?;
    match reader.left.len() {
        0 => Ok(thing),
        left => Err(CodecError::Trailing { left }),
    }
}

impl<'a> Reader<'a> {
    pub(super) fn batch(&mut self) -> Result<TupleBatch, CodecError> {
        let arity = self.u32()?;
        let len = self.u32()?;
        if len > BATCH_MAX {
            return Err(CodecError::Batch { rule: "a batch has at most 65536 tuples" });
        }
        let (runs, msgs, extras) = self.trees(len as usize)?;
        let (values, heap) = self.rows(u64::from(arity) * u64::from(len))?;
        let batch = TupleBatch { arity, len, rows: Rows::Owned(values), runs, msgs, extras, heap };
        check_rules(&batch)?;
        Ok(batch)
    }

    /// The batch's values, and the bytes they hold outside themselves.
    fn rows(&mut self, count: u64) -> Result<(Vec<Value>, usize), CodecError> {
        let count = self.promise(count)?;
        let mut values = Vec::with_capacity(count);
        let mut heap = 0;
        for _ in 0..count {
            self.promised -= 1;
            self.push_value(&mut values)?;
            heap += values.last().map_or(0, Value::heap_size);
        }
        Ok((values, heap))
    }

    /// Appends a value to a row. Short text is written straight to where it stays: see `tuple::text`.
    #[inline]
    fn push_value(&mut self, row: &mut Vec<Value>) -> Result<(), CodecError> {
        match self.short_text()? {
            Some(text) => push_text(row, |pushed| pushed.set(text)),
            None => row.push(self.value()?),
        }
        Ok(())
    }

    /// The next value, if it is a short text; otherwise nothing is read.
    #[inline]
    fn short_text(&mut self) -> Result<Option<&'a str>, CodecError> {
        let Some(tag @ tag::SHORT_STR..=tag::SHORT_STR_LAST) = self.left.first().copied() else {
            return Ok(None);
        };
        self.byte()?;
        self.text(usize::from(tag - tag::SHORT_STR)).map(Some)
    }

    #[allow(clippy::type_complexity, reason = "the three parts of a batch, in its own order")]
    fn trees(&mut self, len: usize) -> Result<(Vec<Run>, Vec<u8>, Vec<(u32, Anchor)>), CodecError> {
        let count = self.count(RUN_BYTES_MIN)?;
        if count == 0 {
            return Ok((vec![], vec![], vec![]));
        }
        let runs = (0..count).map(|_| self.run()).collect::<Result<_, _>>()?;
        let msgs = self.take(len)?.to_vec();
        let count = self.count(EXTRA_BYTES_MIN)?;
        let mut last = 0;
        let extras = (0..count).map(|_| self.extra(&mut last)).collect::<Result<_, _>>()?;
        Ok((runs, msgs, extras))
    }

    fn run(&mut self) -> Result<Run, CodecError> {
        let root = RootId(u64::from_le_bytes(self.array()?));
        let edge = if root.is_tracked() { u64::from_le_bytes(self.array()?) } else { 0 };
        Ok(Run { root, edge, len: self.u32()?, attempt: self.attempt()? })
    }

    fn extra(&mut self, last: &mut u32) -> Result<(u32, Anchor), CodecError> {
        // On an overflow the number is beyond the length of the batch, which `check_rules` refuses.
        *last = last.saturating_add(self.u32()?);
        let root = RootId(u64::from_le_bytes(self.array()?));
        let edge = u64::from_le_bytes(self.array()?);
        Ok((*last, Anchor { root, edge, message: self.byte()?, attempt: self.attempt()? }))
    }

    fn attempt(&mut self) -> Result<Attempt, CodecError> {
        match self.version {
            1 => Ok(Attempt::new(u32::from(self.byte()?), false)),
            _ => Ok(Attempt::from_bits(self.u32()?)),
        }
    }

    #[inline]
    pub(super) fn value(&mut self) -> Result<Value, CodecError> {
        if let Some(text) = self.short_text()? {
            return Ok(Value::Str(text.into()));
        }
        match self.byte()? {
            tag @ tag::SHORT_I64.. => Ok(Value::I64(i64::from(tag - tag::SHORT_I64))),
            tag => self.long_value(tag),
        }
    }

    fn long_value(&mut self, tag: u8) -> Result<Value, CodecError> {
        Ok(match tag {
            tag::NULL => Value::Null,
            tag::FALSE => Value::Bool(false),
            tag::TRUE => Value::Bool(true),
            tag::I64 => Value::I64(self.integer()?),
            tag::F64 => Value::F64(f64::from_bits(u64::from_le_bytes(self.array()?))),
            tag::STR => Value::Str(self.long_text()?.into()),
            tag::BYTES => {
                let len = self.count(1)?;
                Value::Bytes(Arc::from(self.take(len)?))
            }
            tag::LIST => self.nested(Reader::list)?,
            tag::MAP => self.nested(Reader::map)?,
            tag::TIMESTAMP => Value::Timestamp(Timestamp(i64::from_le_bytes(self.array()?))),
            tag => return Err(CodecError::Tag { tag, at: self.at() - 1 }),
        })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, CodecError>) -> Result<Value, CodecError> {
        self.depth = self.depth.checked_sub(1).ok_or(CodecError::Depth)?;
        let value = read(self)?;
        self.depth += 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, CodecError> {
        let count = self.varint()?;
        let (values, _) = self.rows(count)?;
        Ok(Value::List(values.into()))
    }

    fn map(&mut self) -> Result<Value, CodecError> {
        let count = self.varint()?;
        let mut map = Map::new();
        for _ in 0..self.promise(count)? {
            self.promised -= 1;
            let len = self.count(1)?;
            let key = self.text(len)?;
            if map.last_key_value().is_some_and(|(last, _)| last.as_str() >= key) {
                return self.not_canonical("a map's keys do not ascend");
            }
            let key = SmolStr::new(key);
            map.insert(key, self.value()?);
        }
        Ok(Value::Map(map.into()))
    }

    fn integer(&mut self) -> Result<i64, CodecError> {
        let zigzag = self.varint()?;
        let n = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        if (0..=127).contains(&n) {
            return self.not_canonical("a small integer has the long form");
        }
        Ok(n)
    }

    fn long_text(&mut self) -> Result<&'a str, CodecError> {
        let len = self.count(1)?;
        if len < SHORT_STR_LEN {
            return self.not_canonical("a short text has the long form");
        }
        self.text(len)
    }

    #[inline]
    fn text(&mut self, len: usize) -> Result<&'a str, CodecError> {
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| CodecError::Text { at: self.at() })
    }

    /// Notes that so many values follow, if the rest of the input can hold them.
    fn promise(&mut self, count: u64) -> Result<usize, CodecError> {
        let room = self.left.len().saturating_sub(self.promised);
        let count =
            usize::try_from(count).ok().filter(|&count| count <= room).ok_or(CodecError::Truncated)?;
        self.promised += count;
        Ok(count)
    }

    /// Reads a count of items of at least `bytes_min` bytes each, if the rest of the input can hold them.
    fn count(&mut self, bytes_min: usize) -> Result<usize, CodecError> {
        let count = usize::try_from(self.varint()?).map_err(|_| CodecError::Truncated)?;
        if count > self.left.len() / bytes_min { Err(CodecError::Truncated) } else { Ok(count) }
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        let n = self.varint()?;
        u32::try_from(n).or_else(|_| self.not_canonical("a number is beyond 32 bits"))
    }

    fn varint(&mut self) -> Result<u64, CodecError> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return self.not_canonical("a number is beyond 64 bits");
            }
            n |= bits << shift;
            if byte < 0x80 {
                let is_shortest = byte != 0 || shift == 0;
                return if is_shortest {
                    Ok(n)
                } else {
                    self.not_canonical("a number has more bytes than it needs")
                };
            }
        }
        self.not_canonical("a number is beyond 64 bits")
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, CodecError> {
        let (&byte, left) = self.left.split_first().ok_or(CodecError::Truncated)?;
        self.left = left;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (bytes, left) = self.left.split_first_chunk().ok_or(CodecError::Truncated)?;
        self.left = left;
        Ok(*bytes)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (bytes, left) = self.left.split_at_checked(len).ok_or(CodecError::Truncated)?;
        self.left = left;
        Ok(bytes)
    }

    fn at(&self) -> usize {
        self.len - self.left.len()
    }

    #[cold]
    fn not_canonical<T>(&self, what: &'static str) -> Result<T, CodecError> {
        Err(CodecError::NotCanonical { what, at: self.at() })
    }
}
