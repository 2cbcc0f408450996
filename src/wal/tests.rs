use std::io::ErrorKind;

use super::*;
use crate::checkpoint::{CheckpointStorage as _, LogStorage, MemoryStorage};

/// So small that few groups fit into a segment.
const LEN_MAX: u64 = 100;
const NEW: LogId = LogId(0x5a1);

fn open(storage: &MemoryStorage) -> Result<Wal, WalError> {
    Wal::open(Box::new(storage.clone()), NEW, LEN_MAX)
}

fn opened(storage: &MemoryStorage) -> Wal {
    open(storage).unwrap_or_else(|error| panic!("{error}"))
}

/// The text of a record.
fn record(number: u64) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

fn group(begin: u64, len: u64) -> Vec<Vec<u8>> {
    (begin..begin + len).map(record).collect()
}

/// Everything from a record on.
fn read_all(log: &mut Wal, from: u64) -> Vec<Vec<u8>> {
    let (mut at, mut all) = (from, Vec::new());
    loop {
        let records = log.read(at).unwrap_or_else(|error| panic!("{error}"));
        if records.is_empty() {
            return all;
        }
        at += records.len() as u64;
        all.extend(records);
    }
}

fn files(storage: &MemoryStorage) -> Vec<String> {
    let mut files = storage.clone().list().expect("no fault is set");
    files.sort();
    files
}

#[test]
fn records_come_back_from_any_of_them_on() {
    let storage = MemoryStorage::new();
    let mut log = opened(&storage);
    assert_eq!((log.id(), log.begin(), log.next()), (NEW, 0, 0));
    for (begin, len) in [(0, 3), (3, 1), (4, 5), (9, 2)] {
        log.append(&group(begin, len)).unwrap_or_else(|error| panic!("{error}"));
    }
    log.append(&[]).unwrap_or_else(|error| panic!("{error}"));
    assert!(files(&storage).len() > 2, "several segments");
    for from in 0..=11 {
        assert_eq!(read_all(&mut log, from), group(from, 11 - from));
    }
    drop(log);
    let mut again = Wal::open(Box::new(storage), LogId(7), LEN_MAX).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((again.id(), again.next()), (NEW, 11), "it is the same log");
    assert_eq!(read_all(&mut again, 0), group(0, 11));
}

#[test]
fn whole_segments_are_deleted_and_the_last_one_stays() {
    let storage = MemoryStorage::new();
    let mut log = opened(&storage);
    for begin in 0..12 {
        log.append(&group(begin, 1)).unwrap_or_else(|error| panic!("{error}"));
    }
    let before = files(&storage).len();
    log.truncate(5).unwrap_or_else(|error| panic!("{error}"));
    let begin = log.begin();
    assert!(files(&storage).len() < before && (1..=5).contains(&begin), "{begin}");
    assert_eq!(read_all(&mut log, 5), group(5, 7));
    let deleted = log.read(begin - 1).expect_err("it was deleted").to_string();
    assert!(
        deleted.contains(&format!("begins with record {begin}")) && deleted.contains("`retain`"),
        "{deleted}"
    );
    log.truncate(12).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(files(&storage).len(), 1);
    assert_eq!((opened(&storage).next(), read_all(&mut log, 12)), (12, Vec::new()));
    let short = log.read(13).expect_err("it is not there").to_string();
    assert!(short.contains("ends before record 12, and record 13 was asked for"), "{short}");
}

#[test]
fn a_log_can_begin_later_and_can_be_removed() {
    let storage = MemoryStorage::new();
    let mut log = opened(&storage);
    log.append(&group(0, 4)).unwrap_or_else(|error| panic!("{error}"));
    log.append(&group(4, 4)).unwrap_or_else(|error| panic!("{error}"));
    log.set_begin(5).unwrap_or_else(|error| panic!("{error}"));
    log.set_begin(2).unwrap_or_else(|error| panic!("{error}"));
    drop(log);
    let mut log = opened(&storage);
    assert_eq!((log.begin(), log.next()), (5, 8));
    assert!(log.read(4).is_err());
    assert_eq!(read_all(&mut log, 5), group(5, 3));
    assert!(log.set_begin(9).is_err(), "there is no such record");
    Wal::remove(&mut storage.clone()).unwrap_or_else(|error| panic!("{error}"));
    let new = Wal::open(Box::new(storage), LogId(7), LEN_MAX).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((new.id(), new.begin(), new.next()), (LogId(7), 0, 0));
}

/// What a run knows of its log.
#[derive(Default)]
struct Model {
    /// Records that were appended: they must be there.
    durable: u64,
    /// Records of a group whose append failed or was interrupted: they are there, all or none.
    pending: u64,
    /// Records before this one may be gone.
    truncated: u64,
}

/// What a process does with a log until something fails. Groups of one to three records, and now and then a truncation.
fn work(log: &mut Wal, model: &mut Model, groups: u64) -> Result<(), WalError> {
    for _ in 0..groups {
        let len = 1 + log.next() % 3;
        let records = group(log.next(), len);
        model.pending = len;
        log.append(&records)?;
        model.durable = log.next();
        model.pending = 0;
        if log.next().is_multiple_of(4) {
            model.truncated = log.next() - 3;
            log.truncate(model.truncated)?;
        }
    }
    Ok(())
}

/// Opens the log and compares it with what must be there.
fn check(storage: &MemoryStorage, model: &mut Model, what: &str) -> Wal {
    let mut log = open(storage).unwrap_or_else(|error| panic!("{what}: {error}"));
    let next = log.next();
    assert!(
        next == model.durable || next == model.durable + model.pending,
        "{what}: the log has {next} records, and {} were appended and {} were being appended",
        model.durable,
        model.pending
    );
    assert!(log.begin() <= model.truncated, "{what}");
    assert_eq!(read_all(&mut log, model.truncated), group(model.truncated, next - model.truncated), "{what}");
    (model.durable, model.pending) = (next, 0);
    log
}

/// How many operations the disk does for a run in which nothing fails.
fn operations() -> u64 {
    let storage = MemoryStorage::new();
    let mut log = opened(&storage);
    work(&mut log, &mut Model::default(), 12).unwrap_or_else(|error| panic!("{error}"));
    storage.operations()
}

/// The disk fails at every operation in turn, and then the process or the whole machine crashes, or neither. The next
/// process finds what was appended. It is crashed, too, while it opens the log.
#[test]
fn a_crash_at_every_operation_of_the_disk_loses_nothing_that_was_appended() {
    let operations = operations();
    assert!(operations > 30, "{operations}");
    let mut reached = 0;
    for seed in 0..20 {
        for at in 1..=operations {
            for machine_crashes in [true, false] {
                let what = format!("seed {seed}, operation {at}, the machine crashes: {machine_crashes}");
                let (storage, mut model) = (MemoryStorage::seeded(seed), Model::default());
                storage.fail_from(at, ErrorKind::Other);
                let worked = open(&storage).and_then(|mut log| work(&mut log, &mut model, 12));
                reached += u64::from(worked.is_err());
                storage.heal();
                if machine_crashes {
                    storage.crash();
                }
                // The next process is interrupted while it opens the log.
                storage.fail_from(1 + at % 7, ErrorKind::Other);
                let interrupted = open(&storage).map(drop);
                storage.heal();
                if interrupted.is_err() {
                    storage.crash();
                }
                let mut log = check(&storage, &mut model, &what);
                work(&mut log, &mut model, 5).unwrap_or_else(|error| panic!("{what}: {error}"));
                drop(log);
                storage.crash();
                check(&storage, &mut model, &what);
            }
        }
    }
    assert!(reached >= 20 * 2 * (operations - 5), "few of the faults were met: {reached}");
}

/// One operation fails, and the process goes on: what was not appended is appended again.
#[test]
fn a_failed_write_or_sync_is_made_again_by_the_same_process() {
    for seed in 0..20 {
        for at in 1..=operations() {
            let what = format!("seed {seed}, operation {at}");
            let (storage, mut model) = (MemoryStorage::seeded(seed), Model::default());
            let mut log = opened(&storage);
            storage.fail_operation(at, ErrorKind::StorageFull);
            let worked = work(&mut log, &mut model, 12);
            storage.heal();
            if let Err(error) = worked {
                assert!(error.is_transient(), "{what}: {error}");
                // The same records, in the same order: nobody counts them twice.
                model.pending = 0;
                assert_eq!(log.next(), model.durable, "{what}");
                work(&mut log, &mut model, 12).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            assert_eq!(
                read_all(&mut log, model.truncated),
                group(model.truncated, log.next() - model.truncated),
                "{what}"
            );
            drop(log);
            storage.crash();
            check(&storage, &mut model, &what);
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_and_leaves_no_litter() {
    for room in 0..400 {
        let (storage, mut model) = (MemoryStorage::seeded(room), Model::default());
        let mut log = opened(&storage);
        storage.fill_after(room);
        let full = work(&mut log, &mut model, 20).expect_err("there is little room");
        assert!(full.to_string().ends_with("free some space there"), "{full}");
        let before = files(&storage).len();
        assert!(log.append(&group(log.next(), 1)).is_err());
        assert!(files(&storage).len() <= before, "what could not be written is removed");
        storage.heal();
        model.pending = 0;
        work(&mut log, &mut model, 5).unwrap_or_else(|error| panic!("{error}"));
        drop(log);
        storage.crash();
        check(&storage, &mut model, &format!("room {room}"));
    }
}

/// A log of several segments, the last with several groups.
fn some_log() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut log = Wal::open(Box::new(storage.clone()), NEW, 250).unwrap_or_else(|error| panic!("{error}"));
    for begin in 0..18 {
        log.append(&group(begin, 1)).unwrap_or_else(|error| panic!("{error}"));
    }
    storage
}

/// The bytes of a file.
fn bytes(storage: &MemoryStorage, file: &str) -> Vec<u8> {
    storage.clone().read(file, u64::MAX).expect("it is there")
}

/// Reads everything, or says why not.
fn readable(storage: &MemoryStorage) -> Result<u64, WalError> {
    let mut log = Wal::open(Box::new(storage.clone()), NEW, 400)?;
    let mut at = log.begin();
    while at < log.next() {
        at += log.read(at)?.len() as u64;
    }
    Ok(at)
}

/// A torn group is the last one of the last segment, and cut off. Damage anywhere else is an error that names the file
/// and the offset of the group, and nothing is deleted or given out.
#[test]
fn a_flipped_bit_is_an_error_that_names_the_file_and_the_offset() {
    let names = files(&some_log());
    assert!(names.len() >= 3, "{names:?}");
    let last = names.last().expect("there are some");
    for file in &names {
        let content = bytes(&some_log(), file);
        let offsets = group_offsets(file, &content);
        let last_group = *offsets.last().expect("each segment has groups");
        for at in 0..content.len() {
            let storage = some_log();
            storage.tamper(file, |bytes| bytes[at] ^= 1 << (at % 8));
            let read = readable(&storage);
            if file == last && at >= last_group {
                let records = read.unwrap_or_else(|error| panic!("{file}, byte {at}: {error}"));
                assert_eq!(records, 17, "the last group is cut off");
                continue;
            }
            let group_at = offsets.iter().copied().rfind(|offset| *offset <= at).unwrap_or(0);
            match read.expect_err("something is wrong") {
                WalError::Damaged { file: named, offset, .. } => {
                    assert_eq!((&named, offset), (file, group_at), "byte {at}");
                }
                other => panic!("{file}, byte {at}: {other}"),
            }
        }
    }
}

/// Where the groups of a segment begin.
fn group_offsets(file: &str, content: &[u8]) -> Vec<usize> {
    let groups = groups::read(content, NEW, begin_of(file), None).expect("it is whole");
    groups.iter().map(|group| group.body.start - groups::GROUP_HEAD_LEN).collect()
}

fn begin_of(file: &str) -> u64 {
    names::SegmentName::of(file).expect("it is a segment").begin
}

#[test]
fn a_cut_is_the_end_of_the_last_segment_and_an_error_in_any_other() {
    let names = files(&some_log());
    let (first, last) = (&names[0], names.last().expect("there are some"));
    for cut in 0..bytes(&some_log(), last).len() {
        let storage = some_log();
        storage.tamper(last, |bytes| bytes.truncate(cut));
        let records = readable(&storage).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert!((begin_of(last)..18).contains(&records), "cut at {cut}: {records}");
        let storage = some_log();
        storage.tamper(first, |bytes| bytes.truncate(cut.min(bytes.len() - 1)));
        let error = readable(&storage).expect_err("records are missing").to_string();
        assert!(
            error.contains(&format!("file `{first}`")) && error.contains("--discard-checkpoints"),
            "{error}"
        );
    }
}

#[test]
fn files_of_another_log_and_of_a_newer_squall_are_refused() {
    let storage = some_log();
    let foreign = MemoryStorage::new();
    drop(Wal::open(Box::new(foreign.clone()), LogId(7), 400));
    let file = files(&foreign).remove(0);
    let content = bytes(&foreign, &file);
    storage.clone().publish(&file, &content).expect("no fault is set");
    let mixed = readable(&storage).expect_err("two logs are in it").to_string();
    assert!(mixed.contains("files of two write-ahead logs"), "{mixed}");

    let storage = some_log();
    let last = files(&storage).pop().expect("there are some");
    storage.tamper(&last, |bytes| {
        let mut head = bytes[..8].to_vec();
        head.extend(2_u32.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&NEW.0.to_le_bytes()), &head);
        head.extend(crc.to_le_bytes());
        bytes[..groups::HEAD_LEN].copy_from_slice(&head);
    });
    let newer = readable(&storage).expect_err("nobody knows what is in it").to_string();
    assert!(newer.contains("its format is version 2, and this squall reads up to 1"), "{newer}");
}

/// A hostile sender knows the format, and sends a record that has a group in it. It does not know the number of the log.
#[test]
fn a_record_cannot_pass_for_a_group() {
    let storage = MemoryStorage::new();
    let mut log = Wal::open(Box::new(storage.clone()), NEW, 1000).unwrap_or_else(|error| panic!("{error}"));
    let mut forged = Vec::new();
    groups::encode(LogId(7), 1, &group(1, 1), &mut forged).expect("it is short");
    log.append(&group(0, 1)).unwrap_or_else(|error| panic!("{error}"));
    log.append(&[forged]).unwrap_or_else(|error| panic!("{error}"));
    drop(log);
    let file = files(&storage).remove(0);
    let torn = group_offsets(&file, &bytes(&storage, &file))[1];
    storage.tamper(&file, |bytes| bytes[torn] ^= 1);
    let records = readable(&storage).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(records, 1, "the second group is cut off");
}

/// The bytes of version 1. If this fails, logs of released versions cannot be read any more.
#[test]
fn the_format_stays_as_it_is() {
    let storage = MemoryStorage::new();
    let mut log = opened(&storage);
    log.append(&[b"storm".to_vec(), b"rain".to_vec()]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(files(&storage), ["segment-00000000-00000000000000000000-00000000000005a1"]);
    let hex: String = bytes(&storage, &files(&storage)[0]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "737175616c6c574c0100000099a1483f5371477211000000000000000000000002000000d159c2a42817cf440500000073746f726d040000007261696e"
    );
}

/// A real directory keeps the same promises as long as nothing crashes.
#[test]
fn a_directory_keeps_a_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = WalPlace::Directory(dir.path().join("logs"));
    let storage = |place: &WalPlace| -> Box<dyn LogStorage> {
        place.open(&log_name("words", 0)).unwrap_or_else(|error| panic!("{error}"))
    };
    let mut log = Wal::open(storage(&place), NEW, LEN_MAX).unwrap_or_else(|error| panic!("{error}"));
    for begin in 0..9 {
        log.append(&group(begin, 1)).unwrap_or_else(|error| panic!("{error}"));
    }
    let held = place.open("words-0").err().map(|error| error.to_string()).unwrap_or_default();
    assert!(held.contains("is in use by process"), "{held}");
    drop(log);
    let mut log = Wal::open(storage(&place), NEW, LEN_MAX).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read_all(&mut log, 0), group(0, 9));
    log.truncate(9).unwrap_or_else(|error| panic!("{error}"));
    drop(log);
    let mut log = Wal::open(storage(&place), NEW, LEN_MAX).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((log.next(), read_all(&mut log, 9)), (9, Vec::new()));
}
