//! Files of earlier versions, which are read for ever. A new version of a format gets files of its own.

use std::fs;
use std::path::Path;

use super::id;
use crate::checkpoint::epoch::EpochRecord;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::snapshot::SnapshotWriter;
use crate::checkpoint::snapshot_reader::SnapshotReader;
use crate::checkpoint::{RunState, SnapshotFile, TaskEntry};
use crate::state::{StateDescription, StateKind};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoint/1");

/// The bytes of a file of version 1. If what is written today differs, the version must rise.
#[track_caller]
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let bytes = fs::read(Path::new(FIXTURES).join(name)).expect("it is in the repository");
    assert!(bytes == written, "`{name}` would be written as {:?}", String::from_utf8_lossy(written));
    bytes
}

fn snapshot() -> (Vec<u8>, u32) {
    let mut writer = SnapshotWriter::default();
    let chunks = [writer.chunk(b"storm"), writer.chunk(b""), writer.chunk(b"rain")];
    let (end, crc) = writer.end();
    ([chunks.concat(), end].concat(), crc)
}

#[test]
fn a_snapshot_file_of_version_1_is_read() {
    let (written, crc) = snapshot();
    let bytes = golden("snapshot.bin", &written);
    let file = SnapshotFile { name: "snapshot-2-7-count-0".into(), bytes: bytes.len() as u64, crc32c: crc };
    let mut reader = SnapshotReader::new(&file, &bytes[..], file.bytes).expect("it is as long");
    let mut chunk = Vec::new();
    for expected in ["storm", "", "rain"] {
        assert!(reader.next(&mut chunk).is_ok_and(|more| more));
        assert_eq!(chunk, expected.as_bytes());
    }
    assert!(reader.next(&mut chunk).is_ok_and(|more| !more));
}

#[test]
fn a_manifest_of_version_1_is_read() {
    let (bytes, crc32c) = snapshot();
    let file = SnapshotFile { name: "snapshot-2-7-count-0".into(), bytes: bytes.len() as u64, crc32c };
    let state = |name: &str, kind, rust_type: &str| StateDescription {
        name: name.into(),
        kind,
        rust_type: rust_type.into(),
    };
    let count = TaskEntry {
        component: "count".into(),
        task_index: 0,
        tasks: 1,
        files: vec![file],
        positions: [].into(),
        names_keys: false,
        event_time: Default::default(),
        states: vec![
            state("counts", StateKind::Value, "i64"),
            state("seen", StateKind::Map, "(alloc::string::String, u64)"),
            state("recent", StateKind::List, "u32"),
            state("total", StateKind::Operator, "u64"),
            state("idle", StateKind::Timer, "()"),
        ],
    };
    let lines = TaskEntry {
        component: "lines".into(),
        task_index: 1,
        tasks: 2,
        files: Vec::new(),
        positions: [("words.txt".into(), serde_json::json!({ "byte": 4096, "line": 17 }))].into(),
        states: Vec::new(),
        names_keys: false,
        event_time: Default::default(),
    };
    let manifest = Manifest {
        checkpoint: id(2, 7),
        topology: "words".into(),
        key_groups: 1024,
        taken_at: 1_790_000_000_000_000_001,
        run: RunState::Ended,
        txid: 0,
        tasks: vec![lines, count],
    };
    let bytes = golden("manifest.json", &manifest.encode());
    assert_eq!(Manifest::decode(&bytes), Ok(manifest.clone()));
    let numbered = Manifest { txid: 7, tasks: Vec::new(), ..manifest };
    let bytes = golden("manifest_with_txid.json", &numbered.encode());
    assert_eq!(Manifest::decode(&bytes), Ok(numbered));
}

#[test]
fn an_epoch_of_version_1_is_read() {
    let record = EpochRecord { topology: "words".into(), epoch: 3, since: 3, kept: vec![id(2, 6), id(2, 7)] };
    let bytes = golden("epoch.json", &record.encode());
    assert_eq!(EpochRecord::decode(&bytes), Ok(record));
}
