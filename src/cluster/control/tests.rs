//! Messages as bytes.

use std::io::{BufReader, Read};
use std::time::Duration;

use super::*;
use crate::api::{CounterId, CounterValues, Positions};
use crate::checkpoint::TaskName;
use crate::cluster::stats::ComponentCounts;
use crate::components::standard::ClosedStreams;
use crate::ids::CheckpointId;
use crate::metrics::MetricValue;
use crate::runtime::flow::checkpoint::TaskPart;
use crate::state::SnapshotKind;
use crate::topology::TopologyBuilder;
use crate::topology::assignment::place;

/// Hands out a byte at a time, or as many as asked.
struct Pieces(Vec<u8>, usize);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.1).min(self.0.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Ok(len)
    }
}

fn reader(bytes: impl Into<Vec<u8>>, piece: usize) -> BufReader<Pieces> {
    BufReader::new(Pieces(bytes.into(), piece))
}

fn start() -> Start {
    struct Silent;
    impl crate::api::Spout for Silent {
        fn next_tuple(
            &mut self,
            _: &mut crate::api::SpoutOutputs<'_>,
        ) -> Result<crate::api::SpoutStatus, crate::api::TaskError> {
            Ok(crate::api::SpoutStatus::Exhausted)
        }
    }
    let mut builder = TopologyBuilder::new("t");
    builder.spout("s", || Silent).parallelism(3);
    let (_, assignment) = place(&builder.build().unwrap(), 2, None);
    Start {
        version: "1.2.3".to_owned(),
        source: TopologySource::default(),
        assignment,
        worker: WorkerId(1),
        incarnation: Incarnation(7),
        workers: 2,
        run: [0xab; 16],
        secret: Secret::new(std::array::from_fn(|at| at as u8)),
        members: Members::default(),
        net: NetOptions::default(),
        worker_options: WorkerOptions { heartbeat: Duration::from_millis(123), ..WorkerOptions::default() },
        secrets: crate::secrets::SecretDirectory::new("/etc/squall/secrets"),
        log: LogSpec { levels: "warn,count=debug".parse().unwrap(), format: LogFormat::Json, color: true },
        print: PrintStyle::JsonLines,
        checkpoints: Some("/var/lib/t".to_owned()),
        left_behind: LeftBehind::of(
            CheckpointId { epoch: 2, number: 3 },
            [("count".into(), "counts".into()), ("count".into(), "last".into())],
        ),
        stdin: true,
        closed: ClosedStreams { output: true, ..ClosedStreams::default() },
    }
}

#[test]
fn a_start_arrives_as_it_was_sent() {
    let message = ToWorker::Start(Box::new(start()));
    let bytes = line(&message);
    for piece in [1, 7, 1 << 20] {
        assert_eq!(read::<ToWorker>(&mut reader(bytes.clone(), piece)).unwrap(), Some(message.clone()));
    }
    assert!(!format!("{message:?}").contains("[0, 1, 2"), "a secret is not shown");
}

#[test]
fn messages_arrive_in_order_and_the_end_is_the_end() {
    let messages = [
        FromWorker::Listening { address: "[::1]:80".parse().unwrap() },
        FromWorker::Beat(Beat { at_rest: true, live_spouts: u64::MAX, links_up: 3 }),
        FromWorker::Progress {
            wave: 9,
            progress: EndProgress { activity: u64::MAX, ..EndProgress::default() },
        },
        FromWorker::Stats(Box::new(WorkerStats {
            latencies: vec![(1, 2), (3, 4)],
            ..WorkerStats::default()
        })),
        FromWorker::DrainRequested,
        FromWorker::Stopped(StopReason {
            component: "b".into(),
            task: crate::ids::TaskId(4),
            error: "no".to_owned(),
        }),
        FromWorker::Link { peer: WorkerId(3), up: false },
        FromWorker::LinkDown { peer: WorkerId(3), for_ms: 10_000 },
        FromWorker::Fatal("two\nlines, and \u{1b}[31m".to_owned().into()),
        FromWorker::ClosesLate,
        FromWorker::LogRead { question: 7, read: Err("no \"disk\"".to_owned()) },
        FromWorker::Ended { cut_short: true },
    ];
    let mut bytes: Vec<u8> = messages.iter().flat_map(line).collect();
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), messages.len());
    bytes.extend(b"{\"Ended\":{\"cut_sho");
    let mut reader = reader(bytes, 5);
    for message in messages {
        assert_eq!(read(&mut reader).unwrap(), Some(message));
    }
    assert_eq!(read::<FromWorker>(&mut reader).unwrap(), None, "what was cut off is dropped");
}

#[test]
fn what_is_no_message_is_refused() {
    let check = |bytes: &[u8]| {
        let result = read::<FromWorker>(&mut reader(bytes, 1 << 20));
        assert!(matches!(result, Err(ControlError::Malformed(_))), "{bytes:?}: {result:?}");
    };
    check(b"\n");
    check(b"hello\n");
    check(b"{\"Beat\":{}}\n");
    check(b"{\"Nothing\":{}}\n");
    check(&[0xff, b'\n']);
    let mut bad = serde_json::to_value(start()).unwrap();
    bad["run"] = "abc".into();
    assert!(serde_json::from_value::<Start>(bad.clone()).is_err());
    bad["run"] = "zz".repeat(16).into();
    assert!(serde_json::from_value::<Start>(bad).is_err());
}

#[test]
fn a_line_has_a_limit() {
    let long = |len: usize| [vec![b'x'; len], b"\n".to_vec()].concat();
    let check = |bytes: Vec<u8>, too_long| {
        let result = read::<FromWorker>(&mut reader(bytes, 1 << 20));
        assert_eq!(matches!(result, Err(ControlError::TooLong)), too_long, "{result:?}");
    };
    check(long(LINE_MAX), false);
    check(long(LINE_MAX + 1), true);
    check(vec![b'x'; LINE_MAX + 1], true);
    check(vec![b'x'; LINE_MAX], false);
}

#[test]
fn pieces_become_lines() {
    let mut lines = Lines::default();
    let mut taken = Vec::new();
    for piece in ["a", "b\nc\n", "", "\n", "d"] {
        lines.push(piece.as_bytes());
        while let Some(line) = lines.take().unwrap() {
            taken.push(String::from_utf8(line).unwrap());
        }
    }
    assert_eq!(taken, ["ab", "c", ""]);
}

/// A line of 1 MB that several bolts failed made statistics of more than a line may have; the channel
/// counted as broken, and the worker was killed and started again for ever.
#[test]
fn what_is_too_large_goes_without_some_parts_and_says_so() {
    let component = |id: &str| {
        let counters = CounterValues::from([(CounterId::EMITTED, 7)]);
        let mut component = ComponentCounts { id: id.into(), counters, ..ComponentCounts::default() };
        component.last_error = Some("\u{e4}".repeat(3000));
        component.metrics.add(&"lost".into(), &MetricValue::Loss(3));
        (0..100).for_each(|n| component.metrics.add(&format!("n{n:090}").into(), &MetricValue::Counter(1)));
        component
    };
    let stats = WorkerStats {
        total: CounterValues::from([(CounterId::ACKED, 5)]),
        latencies: (0..100).map(|n| (n, 1)).collect(),
        components: vec![component("a"), component("b")],
        ..WorkerStats::default()
    };
    let check = |len_max: usize, kept: &[&str], gone: &[&str], noted: Option<&str>| {
        let (line, missing) = line_that_fits(FromWorker::Stats(Box::new(stats.clone())), len_max);
        let text = String::from_utf8(line.unwrap_or_default()).unwrap();
        assert!(text.len() <= len_max);
        assert!(kept.iter().all(|part| text.contains(part)), "{len_max}: {text}");
        assert!(!gone.iter().any(|part| text.contains(part)), "{len_max}: {text}");
        let ends = missing.as_deref().zip(noted).is_some_and(|(missing, noted)| missing.ends_with(noted));
        assert!(ends || (missing.is_none() && noted.is_none()), "{missing:?}");
    };
    let (error, counter, loss, latency) = ("\u{e4}\u{e4}", "\"n0", "{\"Loss\":3}", "[99,1]");
    let missing = "missing in the summary";
    check(1 << 20, &[error, counter, loss, latency, "\"acked\":5"], &[], None);
    check(
        30 << 10,
        &[error, counter, loss, latency],
        &[],
        Some("ends of error texts are missing in the summary"),
    );
    check(4 << 10, &[loss, latency, "\"acked\":5"], &[error, counter], Some(missing));
    check(500, &[loss, "\"acked\":5"], &[error, counter, latency], Some(missing));
    check(100, &[], &["acked"], Some("they are missing in the summary"));

    let fatal = FromWorker::Fatal("why ".repeat(10_000).into());
    let (line, _) = line_that_fits(fatal, 10_000);
    assert!(line.is_some_and(|line| line.len() < 2000 && line.starts_with(b"{\"Fatal\"")));
}

#[test]
fn a_task_whose_positions_are_too_large_refuses_the_checkpoint() {
    let checkpoint = CheckpointId { epoch: 1, number: 2 };
    let taken = |text: usize| {
        let mut positions = Positions::default();
        positions.set("split", &"x".repeat(text)).expect("it is JSON");
        let (task, kind, states) = (TaskName::new("lines", 3), SnapshotKind::Full, Vec::new());
        let (names_keys, has_in_flight) = (false, false);
        let part = Box::new(TaskPart {
            task,
            kind,
            states,
            positions,
            names_keys,
            has_in_flight,
            event_time: Default::default(),
        });
        FromWorker::Checkpoint(CheckpointReport::Taken { checkpoint, part, file: None })
    };
    let (line, missing) = line_that_fits(taken(10), 1000);
    assert_eq!(parse::<FromWorker>(&line.expect("it fits")).expect("a message"), taken(10));
    assert_eq!(missing, None);
    let (line, missing) = line_that_fits(taken(2000), 1000);
    let refused = parse::<FromWorker>(&line.expect("it fits")).expect("a message");
    let FromWorker::Checkpoint(CheckpointReport::Refused { checkpoint: of, why }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((of, missing), (checkpoint, None));
    assert!(why.contains("positions of lines-3"), "{why}");
    let long = CheckpointReport::Lost { component: "count".into(), why: "y".repeat(5000) };
    let (line, _) = line_that_fits(FromWorker::Checkpoint(long), 2000);
    assert!(line.expect("it fits").len() <= 2000);
}
