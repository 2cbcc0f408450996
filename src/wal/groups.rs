//! The bytes of a segment: a head, and groups of records.
//!
//! ```text
//!  head    magic "squallWL" · version(4) · crc(4)
//!  group   magic "SqGr" · len(4) · first record(8) · records(4) · crc of this · crc of the body · body(len)
//!  body    (len(4) · bytes) for each record
//! ```
//!
//! Integers are little endian. Every checksum includes the number of the log.

use std::ops::Range;

use memchr::memmem;

use crate::wal::position::LogId;

const HEAD_MAGIC: &[u8; 8] = b"squallWL";
const GROUP_MAGIC: &[u8; 4] = b"SqGr";
pub(super) const HEAD_LEN: usize = 16;
pub(super) const GROUP_HEAD_LEN: usize = 28;
pub(super) const VERSION: u32 = 1;

/// What is wrong in a segment, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Damaged { offset: usize, flaw: &'static str },
    Newer { version: u32 },
}

/// A group in the bytes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its first record.
    pub(super) begin: u64,
    records: u32,
    pub(super) body: Range<usize>,
}

impl Group {
    /// Its records.
    pub(super) fn records<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let mut rest = &bytes[self.body.clone()];
        std::iter::from_fn(move || {
            let (len, after) = rest.split_at_checked(4)?;
            let (record, after) = after.split_at_checked(word(len) as usize)?;
            rest = after;
            Some(record)
        })
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("it has four bytes"))
}

fn crc(log: LogId, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&log.0.to_le_bytes()), bytes)
}

/// What a segment begins with.
pub(super) fn head(log: LogId) -> Vec<u8> {
    let mut bytes = HEAD_MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(crc(log, &bytes).to_le_bytes());
    bytes
}

/// Appends a group. `None` if it is too long for one: `out` is unchanged then.
pub(super) fn encode(log: LogId, begin: u64, records: &[Vec<u8>], out: &mut Vec<u8>) -> Option<()> {
    let len: usize = records.iter().map(|record| record.len() + 4).sum();
    let (len, count) = (u32::try_from(len).ok()?, u32::try_from(records.len()).ok()?);
    let start = out.len();
    out.extend(GROUP_MAGIC);
    out.extend(len.to_le_bytes());
    out.extend(begin.to_le_bytes());
    out.extend(count.to_le_bytes());
    let head_crc = crc(log, &out[start..]);
    out.extend(head_crc.to_le_bytes());
    out.extend([0; 4]);
    let body = out.len();
    for record in records {
        out.extend((record.len() as u32).to_le_bytes());
        out.extend(record);
    }
    let body_crc = crc(log, &out[body..]);
    out[body - 4..body].copy_from_slice(&body_crc.to_le_bytes());
    Some(())
}

/// The group at this offset, and where the next one is.
fn parse(bytes: &[u8], at: usize, log: LogId) -> Result<(Group, usize), &'static str> {
    let head = bytes.get(at..at + GROUP_HEAD_LEN).ok_or("a group of records is cut short")?;
    if head[..4] != *GROUP_MAGIC || crc(log, &head[..20]) != word(&head[20..24]) {
        return Err("no group of records begins here");
    }
    let start = at + GROUP_HEAD_LEN;
    let body = start..start + word(&head[4..8]) as usize;
    let content = bytes.get(body.clone()).ok_or("a group of records is cut short")?;
    if crc(log, content) != word(&head[24..28]) {
        return Err("the checksum of a group of records is wrong");
    }
    let begin = u64::from_le_bytes(head[8..16].try_into().expect("it has eight bytes"));
    let end = body.end;
    Ok((Group { begin, records: word(&head[16..20]), body }, end))
}

/// Whether there is a whole group somewhere from this offset on.
fn has_group(bytes: &[u8], from: usize, log: LogId) -> bool {
    let rest = bytes.get(from..).unwrap_or_default();
    memmem::find_iter(rest, GROUP_MAGIC).any(|at| parse(bytes, from + at, log).is_ok())
}

fn check_head(bytes: &[u8], log: LogId) -> Result<(), Flaw> {
    let damaged = Flaw::Damaged { offset: 0, flaw: "it does not begin as a segment does" };
    let Some(head) = bytes.get(..HEAD_LEN).filter(|head| head[..8] == *HEAD_MAGIC) else {
        return Err(damaged);
    };
    if crc(log, &head[..12]) != word(&head[12..]) {
        return Err(damaged);
    }
    match word(&head[8..12]) {
        version if version > VERSION => Err(Flaw::Newer { version }),
        _ => Ok(()),
    }
}

/// The groups of a segment that begins with record `begin`. `end`: the record that it has to reach, because the next
/// segment begins with it, or because it was appended. `None`: nobody knows, and a damaged group is cut off if no other
/// one comes after it.
pub(super) fn read(bytes: &[u8], log: LogId, begin: u64, end: Option<u64>) -> Result<Vec<Group>, Flaw> {
    let mut groups = Vec::new();
    if end == Some(begin) {
        return Ok(groups);
    }
    let is_torn = |offset: usize| end.is_none() && !has_group(bytes, offset + 1, log);
    // The head is written together with the first group, so either of them may be torn.
    let is_only_group =
        || end.is_none() && parse(bytes, HEAD_LEN, log).is_ok_and(|(_, after)| !has_group(bytes, after, log));
    match check_head(bytes, log) {
        Ok(()) => {}
        Err(Flaw::Damaged { .. }) if is_torn(0) => return Ok(groups),
        Err(Flaw::Damaged { .. }) if is_only_group() => {}
        Err(flaw) => return Err(flaw),
    }
    let (mut at, mut next) = (HEAD_LEN, begin);
    loop {
        if end == Some(next) || (end.is_none() && at == bytes.len()) {
            return Ok(groups);
        }
        let group = parse(bytes, at, log).and_then(|(group, after)| {
            let follows = group.begin == next && group.records > 0;
            let fits = end.is_none_or(|end| next + u64::from(group.records) <= end);
            if follows && fits {
                Ok((group, after))
            } else {
                Err("its records are not those that must come here")
            }
        });
        match group {
            Ok((group, after)) => {
                next += u64::from(group.records);
                at = after;
                groups.push(group);
            }
            Err(_) if is_torn(at) => return Ok(groups),
            Err(flaw) => return Err(Flaw::Damaged { offset: at, flaw }),
        }
    }
}
