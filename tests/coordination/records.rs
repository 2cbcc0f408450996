//! Records that earlier versions have written are read, and this version writes the same bytes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;

use squall::clock::Clock;
use squall::cluster::access::TopologyAccess;
use squall::cluster::coordination::{
    CandidateRecord, ClusterRecord, Coordination, LeaderRecord, MemoryOptions, MemoryService, NodePath,
    Record, RecordAccessError, RecordError, Version, decode_record, encode_record, join_cluster, read_record,
};
use squall::cluster::daemons::{DrainedRecord, ProblemsRecord, ProcessProblem, SupervisorRecord};
use squall::cluster::platform::{Glibc, Platform};
use squall::cluster::topologies::{
    AssignmentRecord, BeginFrom, BlobHash, CatalogRecord, ClusterKey, DroppedState, LogLevels, MasterRecord,
    Outcome, SavepointAnswer, SavepointWish, SpecRecord, StateRecord, TakenSavepoint, TopologyBegin,
    TopologyId, TopologyPhase, Upgrade, UpgradeOutcome, UpgradeVerdict, Wanted,
};
use squall::config::{HostOptions, Resources};
use squall::ids::WorkerId;

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
    let supervisor = SupervisorRecord {
        id: "host-7".to_owned(),
        rack: host.rack,
        slots: host.slots,
        resources: host.resources,
        platform: Platform {
            arch: "x86_64".to_owned(),
            glibc: Some(Glibc { major: 2, minor: 36 }),
            protocol: 1,
        },
        secrets: BTreeSet::new(),
        token: "5f0c2a6b9d3e1874".to_owned(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
    };
    check("supervisor-1", &supervisor);
    let secrets = ["orders-db", "pager"].map(|name| name.parse().expect("a name")).into();
    check("supervisor-secrets-1", &SupervisorRecord { secrets, ..supervisor });
    let hosts = [("host-7".to_owned(), "2026-01-01T00:00:00Z".to_owned())].into();
    check("drained-1", &DrainedRecord { epoch: 7, hosts });
    let problem = |process: &str, problem: &str| ProcessProblem {
        topology: TopologyId::new("words", 17).expect("an id"),
        process: process.parse().expect("a role"),
        problem: problem.to_owned(),
        since: "2026-01-01T00:00:00Z".to_owned(),
    };
    check(
        "problems-1",
        &ProblemsRecord {
            supervisor: "host-7".to_owned(),
            token: "5f0c2a6b9d3e1874".to_owned(),
            problems: vec![
                problem("worker-2", "cannot be started: the disk is full"),
                problem("master", "ends again and again"),
            ],
            left_out: 3,
        },
    );
    let cluster = ClusterRecord::new(0x00c0_ffee_5f0c_2a6b_9d3e_1874_0000_0001, start_of_2026);
    let key = ClusterKey::new(&[7; 32]);
    check("cluster-1", &cluster.of_key(key.fingerprint()));
}

#[test]
fn records_of_topologies_of_version_1_are_read_and_written() {
    let id = TopologyId::new("words", 17).expect("an id");
    let topologies = [("words".to_owned(), id.clone())].into();
    check("catalog-1", &CatalogRecord { epoch: 7, next: 18, topologies });
    let spec = SpecRecord {
        epoch: 7,
        id: id.clone(),
        change: 2,
        owner: "ada".to_owned(),
        access: TopologyAccess {
            users: vec!["bob".parse().expect("a name")],
            readers: vec!["eve".parse().expect("a name")],
        },
        submitted_at: "2026-01-01T00:00:00Z".to_owned(),
        source: BlobHash::of(b"source"),
        generation: 3,
        spreads: true,
        run: "00c0ffee5f0c2a6b9d3e187400000001".to_owned(),
        begin: TopologyBegin {
            from: BeginFrom::Savepoint { directory: "/savepoints/words".to_owned(), discard: true },
            allow_dropped_state: vec!["count.total".to_owned()],
        },
        wanted: Wanted::Inactive,
        savepoint: Some(SavepointWish {
            number: 2,
            directory: Some("/savepoints/2".to_owned()),
            stops: true,
        }),
        log: Some(LogLevels { levels: "count=debug".to_owned(), until: 1_767_225_600_000 }),
        upgrade: Some(Upgrade {
            generation: 2,
            before: BlobHash::of(b"before"),
            timeout_ms: 60_000,
            outcome: UpgradeOutcome::RolledBack("it was not up after 60 s".to_owned()),
        }),
        dropped: vec![DroppedState { generation: 1, names: vec!["count".to_owned()] }],
        ended: None,
    };
    check("spec-1", &spec);
    let upgrade = |outcome| {
        let upgrade = spec.upgrade.clone().expect("it has one");
        SpecRecord { upgrade: Some(Upgrade { outcome, ..upgrade }), dropped: Vec::new(), ..spec.clone() }
    };
    check("spec-pending-1", &upgrade(UpgradeOutcome::Pending));
    check("spec-accepted-1", &upgrade(UpgradeOutcome::Accepted));
    let failure = Some("it was killed, and host `host-7`, where its master ran, is gone".to_owned());
    let ended_at = "2026-01-01T00:00:00Z".to_owned();
    let ended = Outcome { failure, cut_short: true, ended_at, ..Outcome::default() };
    check("spec-ended-1", &SpecRecord { wanted: Wanted::Killed, ended: Some(ended), ..spec });
    let placement = r#"{
        "assignment": { "version": 3, "workers": 2, "threads": 1, "shape": [1, 2, 1], "worker_of": [0, 1, 0, 0] },
        "slots": [[0, { "host": "host-7", "number": 0 }], [1, { "host": "host-8", "number": 2 }]]
    }"#;
    let assignment = AssignmentRecord {
        epoch: 7,
        id,
        change: 4,
        source: BlobHash::of(b"source"),
        generation: 3,
        is_upgrade: true,
        placement: Some(serde_json::from_str(placement).expect("a placement")),
        needs: Vec::new(),
        master: Some("host-7".to_owned()),
        short: None,
    };
    check("assignment-1", &assignment);
    let needs =
        vec![(WorkerId(0), Resources::new(0.3, 384 << 20)), (WorkerId(1), Resources::new(1.5, 1 << 30))];
    check("assignment-needs-1", &AssignmentRecord { needs, ..assignment.clone() });
    let none = AssignmentRecord {
        placement: None,
        master: None,
        short: Some("no host has room".to_owned()),
        ..assignment
    };
    check("assignment-none-1", &none);
    let master = MasterRecord {
        epoch: 3,
        supervisor: "host-7".to_owned(),
        token: "5f0c2a6b9d3e1874".to_owned(),
        address: Some(([10, 0, 0, 7], 40_123).into()),
    };
    check("master-1", &master);
    let taken = TakenSavepoint { checkpoint: "3-8".to_owned(), directory: "/savepoints/2".to_owned() };
    let answer = SavepointAnswer { number: 2, taken: Some(taken), failure: None };
    check(
        "state-1",
        &StateRecord {
            epoch: 3,
            generation: 3,
            phase: TopologyPhase::Active,
            outcome: None,
            savepoint: Some(answer),
            verdict: Some(UpgradeVerdict::Up),
        },
    );
    let tries =
        |verdict| StateRecord { epoch: 3, generation: 3, verdict: Some(verdict), ..StateRecord::default() };
    check("state-waits-1", &tries(UpgradeVerdict::Waits("worker 1 is not up".to_owned())));
    check("state-refused-1", &tries(UpgradeVerdict::Refused("there is no file".to_owned())));
    let outcome = Outcome {
        failure: Some("worker 1 did not start".to_owned()),
        cut_short: true,
        completed: 5,
        failed: 1,
        lost: 2,
        restarts: 3,
        ended_at: "2026-01-01T00:00:00Z".to_owned(),
    };
    check(
        "state-ended-1",
        &StateRecord {
            epoch: 3,
            generation: 3,
            phase: TopologyPhase::Ended,
            outcome: Some(outcome),
            savepoint: None,
            verdict: None,
        },
    );
}

#[test]
fn each_golden_file_is_read_by_a_test() {
    let names =
        fs::read_dir(format!("{}/tests/fixtures/records", env!("CARGO_MANIFEST_DIR"))).expect("it is there");
    assert_eq!(names.count(), 21, "a new one needs a line in the tests before");
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
