//! Tuples into bytes.

use super::format::{BATCH_VERSION, CodecError, DEPTH_MAX, SHORT_STR_LEN, check_rules, tag};
use crate::ids::RootId;
use crate::tuple::batch::{Anchor, Attempt, Run, TupleBatch};
use crate::tuple::value::Value;

pub(super) fn write_batch(batch: &TupleBatch, out: &mut Vec<u8>) -> Result<(), CodecError> {
    check_rules(batch)?;
    out.push(BATCH_VERSION);
    write_varint(u64::from(batch.arity), out);
    write_varint(u64::from(batch.len), out);
    write_varint(batch.runs.len() as u64, out);
    if batch.is_tracked() {
        batch.runs.iter().for_each(|run| write_run(run, out));
        out.extend_from_slice(&batch.msgs);
        write_extras(&batch.extras, out);
    }
    batch.rows.values().iter().try_for_each(|value| write_value(value, out, DEPTH_MAX))
}

fn write_run(run: &Run, out: &mut Vec<u8>) {
    write_root(run.root, run.edge, out);
    write_varint(u64::from(run.len), out);
    write_attempt(run.attempt, out);
}

fn write_attempt(attempt: Attempt, out: &mut Vec<u8>) {
    write_varint(u64::from(attempt.bits()), out);
}

fn write_extras(extras: &[(u32, Anchor)], out: &mut Vec<u8>) {
    write_varint(extras.len() as u64, out);
    let mut last = 0;
    for (tuple, anchor) in extras {
        write_varint(u64::from(tuple - last), out);
        last = *tuple;
        write_root(anchor.root, anchor.edge, out);
        out.push(anchor.message);
        write_attempt(anchor.attempt, out);
    }
}

fn write_root(root: RootId, edge: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&root.0.to_le_bytes());
    if root.is_tracked() {
        out.extend_from_slice(&edge.to_le_bytes());
    }
}

/// Writes a value that may hold `depth` levels of lists and maps.
pub(super) fn write_value(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), CodecError> {
    match value {
        Value::Null => out.push(tag::NULL),
        Value::Bool(false) => out.push(tag::FALSE),
        Value::Bool(true) => out.push(tag::TRUE),
        Value::I64(n @ 0..=127) => out.push(tag::SHORT_I64 | *n as u8),
        Value::I64(n) => {
            out.push(tag::I64);
            write_varint(((n << 1) ^ (n >> 63)) as u64, out);
        }
        Value::F64(x) => write_fixed(tag::F64, x.to_bits().to_le_bytes(), out),
        Value::Timestamp(t) => write_fixed(tag::TIMESTAMP, t.0.to_le_bytes(), out),
        Value::Str(s) if s.len() < SHORT_STR_LEN => {
            out.push(tag::SHORT_STR | s.len() as u8);
            out.extend_from_slice(s.as_bytes());
        }
        Value::Str(s) => {
            out.push(tag::STR);
            write_bytes(s.as_bytes(), out);
        }
        Value::Bytes(b) => {
            out.push(tag::BYTES);
            write_bytes(b, out);
        }
        Value::List(values) => {
            let depth = depth.checked_sub(1).ok_or(CodecError::Depth)?;
            out.push(tag::LIST);
            write_varint(values.len() as u64, out);
            values.iter().try_for_each(|value| write_value(value, out, depth))?;
        }
        Value::Map(map) => {
            let depth = depth.checked_sub(1).ok_or(CodecError::Depth)?;
            out.push(tag::MAP);
            write_varint(map.len() as u64, out);
            for (key, value) in map.iter() {
                write_bytes(key.as_bytes(), out);
                write_value(value, out, depth)?;
            }
        }
    }
    Ok(())
}

fn write_fixed(tag: u8, bytes: [u8; 8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&bytes);
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn write_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
