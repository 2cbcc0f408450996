//! Records that earlier versions have written are read, and this version writes the same bytes.

use std::fmt::Debug;
use std::fs;

use squall::clock::Clock;
use squall::cluster::coordination::{
    CandidateRecord, ClusterRecord, Coordination, LeaderRecord, MemoryOptions, MemoryService, NodePath,
    Record, RecordAccessError, RecordError, Version, decode_record, encode_record, join_cluster, read_record,
};
use squall::cluster::daemons::SupervisorRecord;
use squall::config::HostOptions;

fn path(text: &str) -> NodePath {
    text.parse().expect("a path")
}

/// Reads a golden file, and compares both ways.
#[track_caller]
fn check<R: Record + Debug + PartialEq>(name: &str, expected: &R) {
    let file = format!("{}/tests/fixtures/records/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let bytes = fs::read(file).expect("it is there");
    assert_eq!(decode_record::<R>(&path("/a"), &bytes).as_ref(), Ok(expected), "{name}");
    let written = encode_record(&path("/a"), expected).expect("it is small");
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&bytes).trim_end(), "{name}");
}

fn candidate() -> CandidateRecord {
    CandidateRecord::new("nimbus-1", 0x5f0c_2a6b_9d3e_1874, "10.0.0.5:7070")
}

#[test]
fn records_of_version_1_are_read_and_written() {
    let written_by = candidate().id;
    check("leader-1", &LeaderRecord { epoch: 7, holder: Some(candidate()), written_by: written_by.clone() });
    check("leader-resigned-1", &LeaderRecord { epoch: 7, holder: None, written_by });
    check("candidate-1", &candidate());
    let start_of_2026 = 1_767_225_600_000_000_000;
    let host = HostOptions::default();
    check(
        "supervisor-1",
        &SupervisorRecord {
            id: "host-7".to_owned(),
            rack: host.rack,
            slots: host.slots,
            resources: host.resources,
            token: "5f0c2a6b9d3e1874".to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
        },
    );
    check("cluster-1", &ClusterRecord::new(0x00c0_ffee_5f0c_2a6b_9d3e_1874_0000_0001, start_of_2026));
}

#[test]
fn each_golden_file_is_read_by_a_test() {
    let names =
        fs::read_dir(format!("{}/tests/fixtures/records", env!("CARGO_MANIFEST_DIR"))).expect("it is there");
    assert_eq!(names.count(), 5, "a new one needs a line in the test before");
}

#[test]
fn the_first_process_decides_which_cluster_it_is() {
    let service = MemoryService::new(Clock::simulated(), MemoryOptions::default());
    let (a, b) = (service.client(), service.client());
    let (first, second) = (ClusterRecord::new(1, 0), ClusterRecord::new(2, 0));
    b.catch_up().expect("it is answered");
    b.lag(true);
    assert_eq!(join_cluster(&a, &path("/cluster"), &first), Ok(first.clone()));
    assert_eq!(join_cluster(&b, &path("/cluster"), &second), Ok(first.clone()));
    assert_eq!(join_cluster(&a, &path("/cluster"), &second), Ok(first));
}

#[test]
fn a_record_of_somebody_else_is_an_error_that_names_the_node() {
    let service = MemoryService::new(Clock::simulated(), MemoryOptions::default());
    let a = service.client();
    a.create(&path("/cluster"), b"10.0.0.7").expect("there is none");
    let refused = join_cluster(&a, &path("/cluster"), &ClusterRecord::new(1, 0));
    assert!(
        matches!(&refused, Err(RecordAccessError::Record(RecordError::Foreign { path, .. })) if path.name() == Some("cluster"))
    );
    assert_eq!(read_record::<LeaderRecord>(&a, &path("/leader")), Ok(None));
    a.create(&path("/leader"), br#"{"kind":"leader","version":2,"term":9}"#).expect("there is none");
    let newer = read_record::<LeaderRecord>(&a, &path("/leader")).expect_err("it is newer").to_string();
    assert!(
        newer.contains("node `/leader` has version 2, and this squall reads versions up to 1"),
        "{newer}"
    );
    assert_eq!(a.get(&path("/leader")).map(|node| node.map(|node| node.version)), Ok(Some(Version(0))));
}
