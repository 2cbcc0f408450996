//! The bytes of a snapshot: records, one after the other.
//!
//! ```text
//!  record   length of what follows (4, little endian) · tag (1) · rest
//!  begin    01 · version (1) · MessagePack of `Begin`: number, number before, states
//!  forget   02 · key                              the key has nothing any more
//!  value    03 · state · key · MessagePack        what a state has for the key
//!  remove   04 · state · key                      the state has nothing for the key any more
//!  dated    06 · state · key · MessagePack        the same as `value`, for a state whose entries expire
//!  end      05 · number of records since the begin, which is not counted
//!  key      n · (length, bytes of `tuple::codec`)*n
//! ```
//!
//! Numbers are LEB128 varints unless their width is given. A state is named by its position in `Begin`; one without
//! keys has the key of 0 values. The value of a timer is its date, in nanoseconds since 1970, and its failures. In
//! `dated`, each value, entry of a map and item of a list is an array of two: the date from which its time to live
//! counts, and what it is.
//!
//! The version is 2 if a state has a time to live, so that a release that does not know `dated` refuses the snapshot by
//! its version. Otherwise it is 1, as before.
//!
//! 1. Records count in their order: a later one replaces what an earlier one wrote. A key that a snapshot
//!    forgets comes before its values, because it may have come again.
//! 2. A delta names the snapshot that it follows, and a snapshot ends with the count of its records. So one that is
//!    missing, cut off or in the wrong place is refused. Whoever keeps the bytes adds a checksum.
//! 3. Reading fails with an error, whatever the input is, and allocates no more than the input has.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::state::encoding::{EncodingError, decode, encode};
use crate::state::error::{NamedState, StateError};
use crate::state::registry::shown_type;
use crate::state::stored::Written;
use crate::text::shown;
use crate::tuple::Value;
use crate::tuple::codec::{decode_value, encode_value};

/// The version of a snapshot without dates.
const VERSION: u8 = 1;

/// The version of a snapshot that may have `dated` records.
const VERSION_WITH_DATES: u8 = 2;

/// Bytes of the length of a record.
const LENGTH_SIZE: usize = 4;

mod tag {
    pub(super) const BEGIN: u8 = 1;
    pub(super) const FORGET: u8 = 2;
    pub(super) const VALUE: u8 = 3;
    pub(super) const REMOVE: u8 = 4;
    pub(super) const END: u8 = 5;
    pub(super) const DATED: u8 = 6;
}

/// How a snapshot begins.
#[derive(Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) number: u32,
    /// The snapshot that a delta follows; `None` if this is a full one.
    pub(super) after: Option<u32>,
    pub(super) states: Vec<StateColumn>,
}

/// A state, as the checkpoint has it.
#[derive(Serialize, Deserialize)]
pub(super) struct StateColumn {
    pub(super) name: String,
    pub(super) kind: String,
    /// The name of its Rust type, for people.
    #[serde(rename = "type")]
    pub(super) of: String,
}

impl StateColumn {
    /// As errors show it.
    pub(super) fn named(&self) -> NamedState {
        NamedState::new(&self.name, &shown_type(&self.kind, &self.of))
    }
}

/// What a record is, apart from its key.
pub(super) enum Record<'r> {
    Begin(Begin),
    Forget,
    Value { state: u64, value: Written<'r> },
    Remove { state: u64 },
    End { records: u64 },
}

pub(super) fn damaged(why: impl Into<Box<str>>) -> StateError {
    StateError::Damaged { why: why.into() }
}

// ---- Writing ----

pub(super) fn write_begin(begin: &Begin, has_dates: bool, out: &mut Vec<u8>) -> Result<(), EncodingError> {
    write(out, |out| {
        out.extend([tag::BEGIN, if has_dates { VERSION_WITH_DATES } else { VERSION }]);
        encode(begin, out)
    })
}

pub(super) fn write_forget(key: &[Value], out: &mut Vec<u8>) -> Result<(), EncodingError> {
    write(out, |out| {
        out.push(tag::FORGET);
        write_key(key, out)
    })
}

/// The same for a key that is given by its bytes.
pub(super) fn write_forget_bytes(key: &[u8], out: &mut Vec<u8>) -> Result<(), EncodingError> {
    write(out, |out| {
        out.push(tag::FORGET);
        out.extend_from_slice(key);
        Ok(())
    })
}

/// The bytes of a key. Equal keys have the same.
pub(super) fn key_bytes(key: &[Value]) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::new();
    match key.iter().any(|value| matches!(value.canonical(), Cow::Owned(_))) {
        true => {
            let canonical: Vec<Value> = key.iter().map(|value| value.canonical().into_owned()).collect();
            write_key(&canonical, &mut bytes)?;
        }
        false => write_key(key, &mut bytes)?,
    }
    Ok(bytes)
}

/// The key that has these bytes replaces what stands in `key`.
pub(super) fn read_key_bytes(bytes: &[u8], key: &mut Vec<Value>) -> Result<(), StateError> {
    read_key(&mut Bytes(bytes), key)
}

/// What a state has for a key; `None` if it has nothing any more.
pub(super) fn write_value(
    state: u32,
    key: &[Value],
    value: Option<Written<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), EncodingError> {
    write(out, |out| {
        let (tag, bytes) = match value {
            Some(Written::Plain(bytes)) => (tag::VALUE, bytes),
            Some(Written::Dated(bytes)) => (tag::DATED, bytes),
            None => (tag::REMOVE, &[][..]),
        };
        out.push(tag);
        write_varint(u64::from(state), out);
        write_key(key, out)?;
        out.extend_from_slice(bytes);
        Ok(())
    })
}

pub(super) fn write_end(records: u64, out: &mut Vec<u8>) -> Result<(), EncodingError> {
    write(out, |out| {
        out.push(tag::END);
        write_varint(records, out);
        Ok(())
    })
}

fn write(
    out: &mut Vec<u8>,
    rest: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodingError>,
) -> Result<(), EncodingError> {
    let start = out.len();
    out.extend([0; LENGTH_SIZE]);
    rest(out)?;
    let length = u32::try_from(out.len() - start - LENGTH_SIZE)
        .map_err(|_| EncodingError::new("it takes 4 GiB or more".to_owned()))?;
    out[start..start + LENGTH_SIZE].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn write_key(key: &[Value], out: &mut Vec<u8>) -> Result<(), EncodingError> {
    write_varint(key.len() as u64, out);
    for value in key {
        // Most values are short, so their length takes one byte.
        let at = out.len();
        out.push(0);
        encode_value(value, out).map_err(|error| EncodingError::new(error.to_string()))?;
        let length = out.len() - at - 1;
        if length < 0x80 {
            out[at] = length as u8;
        } else {
            let mut varint = Vec::new();
            write_varint(length as u64, &mut varint);
            out.splice(at..=at, varint);
        }
    }
    Ok(())
}

pub(super) fn write_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

// ---- Reading ----

/// The records of a chunk.
pub(super) struct Records<'c> {
    left: Bytes<'c>,
}

impl<'c> Records<'c> {
    pub(super) fn new(chunk: &'c [u8]) -> Records<'c> {
        Records { left: Bytes(chunk) }
    }

    /// The next record. Its key, if it has one, replaces what stands in `key`.
    pub(super) fn next(&mut self, key: &mut Vec<Value>) -> Result<Option<Record<'c>>, StateError> {
        Ok(self.next_with_bytes(key)?.map(|(record, _)| record))
    }

    /// The same with all bytes of the record, as they stand in the chunk.
    pub(super) fn next_with_bytes(
        &mut self,
        key: &mut Vec<Value>,
    ) -> Result<Option<(Record<'c>, &'c [u8])>, StateError> {
        let all = self.left.0;
        if all.is_empty() {
            return Ok(None);
        }
        let record = self.left.record().ok_or_else(|| damaged("a record is cut off"))?;
        Ok(Some((read(Bytes(record), key)?, &all[..LENGTH_SIZE + record.len()])))
    }
}

fn read<'r>(mut rest: Bytes<'r>, key: &mut Vec<Value>) -> Result<Record<'r>, StateError> {
    let short = || damaged("a record ends too early");
    let record = match rest.byte().ok_or_else(short)? {
        tag::BEGIN => return read_begin(rest).map(Record::Begin),
        tag::FORGET => {
            read_key(&mut rest, key)?;
            Record::Forget
        }
        tag @ (tag::VALUE | tag::DATED) => {
            let state = rest.varint().ok_or_else(short)?;
            read_key(&mut rest, key)?;
            let written = if tag == tag::VALUE { Written::Plain } else { Written::Dated };
            return Ok(Record::Value { state, value: written(rest.0) });
        }
        tag::REMOVE => {
            let state = rest.varint().ok_or_else(short)?;
            read_key(&mut rest, key)?;
            Record::Remove { state }
        }
        tag::END => Record::End { records: rest.varint().ok_or_else(short)? },
        other => return Err(damaged(format!("no record begins with {other:#04x}"))),
    };
    if rest.0.is_empty() { Ok(record) } else { Err(damaged("a record is too long")) }
}

fn read_begin(mut rest: Bytes<'_>) -> Result<Begin, StateError> {
    match rest.byte() {
        Some(VERSION | VERSION_WITH_DATES) => decode(rest.0).map_err(|error| damaged(shown(error))),
        Some(version) => Err(StateError::Version { version }),
        None => Err(damaged("a record ends too early")),
    }
}

fn read_key(rest: &mut Bytes<'_>, key: &mut Vec<Value>) -> Result<(), StateError> {
    let short = || damaged("a key ends too early");
    key.clear();
    for _ in 0..rest.varint().ok_or_else(short)? {
        let length = rest.varint().ok_or_else(short)?;
        let value = usize::try_from(length).ok().and_then(|length| rest.take(length)).ok_or_else(short)?;
        key.push(decode_value(value).map_err(|error| damaged(format!("a key cannot be read: {error}")))?);
    }
    Ok(())
}

/// A number at the begin of bytes, and what follows it.
pub(super) fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut left = Bytes(bytes);
    left.varint().map(|number| (number, left.0))
}

/// Bytes that are not read yet. What it cannot read is `None`.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, left) = self.0.split_at_checked(length)?;
        self.0 = left;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn record(&mut self) -> Option<&'b [u8]> {
        let length = self.take(LENGTH_SIZE)?.try_into().map(u32::from_le_bytes).ok()?;
        self.take(length as usize)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }
}
