use super::format::tag;
use super::*;
use crate::ids::RootId;
use crate::tuple::{Anchor, Attempt, Timestamp};

fn bytes_of(value: &Value) -> Vec<u8> {
    let mut bytes = vec![];
    encode_value(value, &mut bytes).expect("it is not too deep");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of release 0.1. Every later release must read them; a new format gets a new version.
#[test]
fn golden_values() {
    let check = |value: Value, golden: &str| {
        assert_eq!(hex(&bytes_of(&value)), golden, "{value:?}");
        assert_eq!(decode_value(&bytes_of(&value)), Ok(value));
    };
    check(Value::Null, "0100");
    check(false.into(), "0101");
    check(true.into(), "0102");
    check(0.into(), "0180");
    check(127.into(), "01ff");
    check(128.into(), "01038002");
    check(Value::I64(-1), "010301");
    check(Value::I64(i64::MAX), "0103feffffffffffffffff01");
    check(Value::I64(i64::MIN), "0103ffffffffffffffffff01");
    check(1.5.into(), "0104000000000000f83f");
    check(Value::F64(-0.0), "01040000000000000080");
    check("".into(), "0140");
    check("storm".into(), "014573746f726d");
    check("x".repeat(63).into(), &format!("017f{}", "78".repeat(63)));
    check("x".repeat(64).into(), &format!("010540{}", "78".repeat(64)));
    check(Value::bytes([0, 255]), "01060200ff");
    check(Value::list([]), "010700");
    check(Value::list([1.into(), Value::list([Value::Null])]), "01070281070100");
    check(Value::map([("b", 2.into()), ("a", "x".into())]), "01080201614178016282");
    check(Timestamp(1).into(), "01090100000000000000");
}

fn tracked_batch() -> TupleBatch {
    // The roots of the golden bytes. The codec does not interpret roots.
    let (a, b) = (RootId(0x0001_0000_0200_0003), RootId(0x0004_0000_0500_0006));
    let mut batch = TupleBatch::new(2);
    for (index, root) in [a, a, RootId::NONE, b].into_iter().enumerate() {
        batch.rows.owned().extend(["word".into(), Value::from(index as i64)]);
        batch.len += 1;
        batch.note_anchor(root, index as u8, Attempt::new(100 * index as u32, index == 3));
    }
    batch.runs[0].edge = 0x0102_0304_0506_0708;
    batch.runs[2].edge = 0xff;
    batch.extras = vec![(1, Anchor { root: b, edge: 9, message: 63, attempt: Attempt::new(255, false) })];
    batch
}

#[test]
fn golden_batches() {
    let check = |batch: &TupleBatch, golden: &str| {
        let mut bytes = vec![];
        encode(batch, &mut bytes).expect("it keeps the rules");
        assert_eq!(hex(&bytes), golden.replace(' ', ""));
        assert_eq!(format!("{:?}", decode(&bytes).expect("it was written")), format!("{batch:?}"));
    };
    check(&TupleBatch::new(0), "02 00 00 00");
    let mut words = TupleBatch::new(1);
    words.rows.owned().extend(["to".into(), "be".into()]);
    words.len = 2;
    check(&words, "02 01 02 00 42746f 426265");
    check(
        &tracked_batch(),
        "02 02 04 03 0300000200000100 0807060504030201 02 00 0000000000000000 01 9003 \
         0600000500000400 ff00000000000000 01 d904 00010203 01 01 0600000500000400 0900000000000000 3ffe03 \
         44776f726480 44776f726481 44776f726482 44776f726483",
    );
}

/// Bytes written by release 0.1, whose attempts were one byte. If this test fails, state and frames of that
/// release cannot be read any more.
#[test]
fn batches_of_version_1_are_read() {
    let golden = "01 02 04 03 0300000200000100 0807060504030201 02 00 0000000000000000 01 02 \
                  0600000500000400 ff00000000000000 01 03 00010203 01 01 0600000500000400 0900000000000000 3fff \
                  44776f726480 44776f726481 44776f726482 44776f726483";
    let batch = decode(&from_hex(golden)).expect("it is of version 1");
    let attempts: Vec<_> = batch.runs.iter().map(|run| run.attempt).collect();
    assert_eq!(attempts, [0, 2, 3].map(|replays| Attempt::new(replays, false)));
    assert_eq!(batch.extras[0].1.attempt, Attempt::new(255, false));
    assert_eq!(batch.rows.values().len(), 8);
}

fn from_hex(hex: &str) -> Vec<u8> {
    let hex = hex.replace(' ', "");
    let digits = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn a_batch_knows_its_heap_again() {
    let mut batch = TupleBatch::new(1);
    batch.rows.owned().extend(["x".repeat(100).into(), Value::list([1.into()])]);
    batch.len = 2;
    batch.heap = batch.rows.values().iter().map(Value::heap_size).sum();
    let mut bytes = vec![];
    encode(&batch, &mut bytes).unwrap();
    assert_eq!(decode(&bytes).unwrap().heap, batch.heap);
}

#[test]
fn every_truncation_is_an_error() {
    let mut bytes = vec![];
    encode(&tracked_batch(), &mut bytes).unwrap();
    for end in 0..bytes.len() {
        assert_eq!(decode(&bytes[..end]).map(|_| ()), Err(CodecError::Truncated), "{end}");
    }
    bytes.push(0);
    assert_eq!(decode(&bytes).map(|_| ()), Err(CodecError::Trailing { left: 1 }));
}

fn value_error(hex: &str) -> CodecError {
    decode_value(&from_hex(hex)).expect_err("it is no value")
}

#[test]
fn hostile_values_are_refused() {
    let not_canonical = |what, at| CodecError::NotCanonical { what, at };
    assert_eq!(value_error(""), CodecError::Truncated);
    assert_eq!(value_error("0200"), CodecError::Version { found: 2 });
    assert_eq!(value_error("010a"), CodecError::Tag { tag: 0x0a, at: 1 });
    assert_eq!(value_error("013f"), CodecError::Tag { tag: 0x3f, at: 1 });
    assert_eq!(value_error("0141ff"), CodecError::Text { at: 3 });
    assert_eq!(value_error("01038000"), not_canonical("a number has more bytes than it needs", 4));
    assert_eq!(value_error("0103ffffffffffffffffff02"), not_canonical("a number is beyond 64 bits", 12));
    assert_eq!(value_error("0103ffffffffffffffffffff01"), not_canonical("a number is beyond 64 bits", 12));
    assert_eq!(value_error("010302"), not_canonical("a small integer has the long form", 3));
    assert_eq!(value_error("01050178"), not_canonical("a short text has the long form", 3));
    assert_eq!(value_error("010802016181016182"), not_canonical("a map's keys do not ascend", 8));
    assert_eq!(value_error("010000"), CodecError::Trailing { left: 1 });
    // Lengths and counts of 2^63: nothing must be allocated for them.
    for tag in ["05", "06", "07", "08"] {
        assert_eq!(value_error(&format!("01{tag}80808080808080808001")), CodecError::Truncated);
    }
}

/// Each list announces as many values as the input has bytes left, and its first value is a list.
#[test]
fn nested_promises_do_not_multiply() {
    let mut bytes = vec![VERSION];
    for _ in 0..8 {
        bytes.extend([tag::LIST, 0x80, 0x40]);
    }
    bytes.resize(bytes.len() + 8200, tag::NULL);
    assert_eq!(decode_value(&bytes), Err(CodecError::Truncated), "the second list already");
}

#[test]
fn depth_has_a_bound_on_both_sides() {
    let nest = |depth| (0..depth).fold(Value::Null, |inner, _| Value::list([inner]));
    let deepest = nest(DEPTH_MAX);
    assert_eq!(decode_value(&bytes_of(&deepest)), Ok(deepest));
    let mut out = vec![7];
    assert_eq!(encode_value(&nest(DEPTH_MAX + 1), &mut out), Err(CodecError::Depth));
    assert_eq!(out, [7], "nothing is left behind");
    let mut bytes = vec![VERSION];
    bytes.extend([tag::LIST, 1].repeat(100_000));
    bytes.push(tag::NULL);
    assert_eq!(decode_value(&bytes), Err(CodecError::Depth));
}

#[test]
fn batches_that_break_their_rules_are_neither_written_nor_read() {
    let check = |spoil: fn(&mut TupleBatch), rule| {
        let mut batch = tracked_batch();
        spoil(&mut batch);
        assert_eq!(encode(&batch, &mut vec![]), Err(CodecError::Batch { rule }));
    };
    check(|b| b.len += 1, "a batch has as many values as its tuples need");
    check(|b| b.runs.clear(), "an untracked batch has neither messages nor anchors");
    check(|b| b.runs[0].len += 1, "the runs of a batch are as long as the batch");
    check(|b| (b.runs[0].len, b.runs[1].len) = (3, 0), "a run has a tuple at least");
    check(|b| b.msgs.truncate(3), "a tracked batch has a message for each tuple");
    check(|b| b.msgs[0] = 64, "a block has 64 messages at most");
    check(|b| b.extras[0].0 = 4, "further anchors are of tuples of the batch, in order");
    check(|b| b.runs[0].edge = 0, "an anchor has a spout task and an edge that is not 0");
    check(|b| b.extras[0].1.edge = 0, "an anchor has a spout task and an edge that is not 0");
    check(|b| b.runs[0].root = RootId(1), "an anchor has a spout task and an edge that is not 0");

    let read = |bytes: &[u8]| decode(bytes).expect_err("it is no batch");
    let anchor = [0, 0, 0, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    let with_run = |len, attempt, msg| [&[1, 0, 1, 1], &anchor[..], &[len, attempt, msg, 0]].concat();
    assert!(decode(&with_run(1, 0, 0)).is_ok());
    let long = CodecError::Batch { rule: "the runs of a batch are as long as the batch" };
    assert_eq!(read(&with_run(2, 0, 0)), long);
    assert_eq!(read(&with_run(1, 0, 64)), CodecError::Batch { rule: "a block has 64 messages at most" });
    assert_eq!(
        read(&[1, 0, 0x81, 0x80, 4, 0]),
        CodecError::Batch { rule: "a batch has at most 65536 tuples" }
    );
    assert_eq!(read(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x80, 0x80, 4, 0]), CodecError::Truncated);
}
