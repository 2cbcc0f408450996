//! Masters and workers as a supervisor starts them: real processes, which are killed, and go on.

mod host;
mod proxy;

use std::collections::BTreeSet;
use std::fs;

use host::{Host, wait_until};
use proxy::Proxy;
use squall::cluster::topologies::{TopologyPhase, Wanted};
use squall::ids::WorkerId;

/// Numbers to a file, over several workers.
const NUMBERS: &str = r#"
[topology]
name = "numbers"
message_timeout = "180s"
[spout.numbers]
type = "generate"
config = { rate = 2000, count = COUNT, fields = { n = "{seq}" } }
[bolt.same]
type = "map"
parallelism = 3
inputs = ["numbers"]
config.set = { n = "n" }
[bolt.store]
type = "file"
parallelism = 2
inputs = [{ from = "same", fields = ["n"] }]
config = { path = "DIR/out-{task}", format = "text" }
"#;

fn numbers(count: u64) -> String {
    NUMBERS.replace("COUNT", &count.to_string())
}

/// The numbers in the files, and how many lines there are.
fn written(host: &Host) -> (BTreeSet<u64>, usize) {
    let mut lines = Vec::new();
    for entry in fs::read_dir(host.path()).expect("it is there").flatten() {
        if entry.file_name().to_string_lossy().starts_with("out-") {
            let text = fs::read_to_string(entry.path()).expect("it is text");
            // A worker that was killed may have written a part of its last line.
            lines.extend(
                text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse::<u64>().ok()),
            );
        }
    }
    (lines.iter().copied().collect(), lines.len())
}

#[test]
fn a_topology_runs_to_its_end() {
    let mut host = Host::new(&numbers(500), 3);
    host.start_workers();
    host.start_master();
    host.show_master();
    host.wait_for_end();
    assert_eq!(written(&host), ((0..500).collect(), 500));
    let report = host.report().expect("it has reported");
    let outcome = report.state.outcome.expect("it has ended");
    assert_eq!((outcome.failure, outcome.cut_short, outcome.lost), (None, false, 0));
    assert_eq!((outcome.completed, outcome.failed, outcome.restarts), (500, 0, 0));
}

#[test]
fn what_is_wanted_is_done() {
    let mut host = Host::new(&numbers(ENDLESS), 2);
    host.start_master();
    host.show_master();
    host.start_workers();
    wait_until("it is active", || host.phase() == TopologyPhase::Active);
    wait_until("it writes", || written(&host).1 > 10);
    host.want(Wanted::Inactive);
    wait_until("it is inactive", || host.phase() == TopologyPhase::Inactive);
    host.want(Wanted::Active);
    wait_until("it is active again", || host.phase() == TopologyPhase::Active);
    host.want(Wanted::Drained);
    host.wait_for_end();
    let outcome = host.report().and_then(|report| report.state.outcome).expect("it has ended");
    assert!(!outcome.cut_short, "{outcome:?}");
    let (numbers, lines) = written(&host);
    assert_eq!(
        numbers.len() as u64,
        outcome.completed,
        "what was emitted was completed, and stands in the files"
    );
    assert_eq!(lines, numbers.len());
}

#[test]
fn a_topology_that_is_killed_ends_at_once() {
    let mut host = Host::new(&numbers(ENDLESS), 2);
    host.start_master();
    host.show_master();
    host.start_workers();
    wait_until("it is active", || host.phase() == TopologyPhase::Active);
    host.want(Wanted::Killed);
    host.wait_for_end();
}

/// More than any of these tests takes.
const ENDLESS: u64 = 100_000_000;

/// Ends the topology in order. Nothing of what was emitted is missing.
fn drain(host: &mut Host) {
    // A spout whose process was killed has begun again, and what it had open is written when it has come so far.
    let last = *written(host).0.last().expect("something was written");
    wait_until("what was open is written", || {
        host.start_again_what_died();
        let (numbers, _) = written(host);
        (0..last).all(|number| numbers.contains(&number))
    });
    host.want(Wanted::Drained);
    host.wait_for_end();
    let (numbers, _) = written(host);
    let last = *numbers.last().expect("something was written");
    let missing: Vec<u64> = (0..last).filter(|number| !numbers.contains(number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Waits until more is written.
#[track_caller]
fn wait_for_more(host: &Host, what: &str) {
    let before = written(host).1;
    wait_until(what, || written(host).1 > before + 100);
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_nothing_is_lost() {
    let mut host = Host::new(&numbers(ENDLESS), 3);
    host.start_master();
    host.show_master();
    host.start_workers();
    for worker in host.workers.clone() {
        wait_for_more(&host, "it writes");
        host.kill_worker(worker);
        host.start_worker(worker);
    }
    wait_for_more(&host, "it writes with all workers replaced");
    drain(&mut host);
    let outcome = host.report().and_then(|report| report.state.outcome).expect("it has ended");
    assert_eq!((outcome.restarts, outcome.failure), (3, None));
}

/// No worker notices: nothing is emitted twice.
#[test]
fn a_master_that_is_killed_is_replaced_and_adopts_the_workers() {
    let mut host = Host::new(&numbers(ENDLESS), 3);
    host.start_master();
    host.show_master();
    host.start_workers();
    for _ in 0..3 {
        wait_until("it is active", || host.phase() == TopologyPhase::Active);
        wait_for_more(&host, "it writes");
        host.kill_master();
        wait_for_more(&host, "it writes without a master");
        host.start_master();
        host.show_master();
    }
    wait_until("it is active", || host.phase() == TopologyPhase::Active);
    drain(&mut host);
    let (numbers, lines) = written(&host);
    assert_eq!(lines, numbers.len(), "each once, because nothing was replayed");
    let outcome = host.report().and_then(|report| report.state.outcome).expect("it has ended");
    assert_eq!((outcome.restarts, outcome.failure, outcome.cut_short), (0, None, false));
    assert_eq!((outcome.completed, outcome.lost), (lines as u64, 0));
}

#[test]
fn a_worker_that_dies_while_there_is_no_master_is_replaced_by_the_next_master() {
    let mut host = Host::new(&numbers(ENDLESS), 3);
    host.start_master();
    host.show_master();
    host.start_workers();
    wait_for_more(&host, "it writes");
    host.kill_master();
    host.kill_worker(WorkerId(1));
    host.start_worker(WorkerId(1));
    host.start_master();
    host.show_master();
    wait_until("it is active", || host.phase() == TopologyPhase::Active);
    wait_for_more(&host, "it writes with the worker replaced");
    drain(&mut host);
    let outcome = host.report().and_then(|report| report.state.outcome).expect("it has ended");
    assert_eq!(outcome.failure, None);
}

#[test]
fn everything_is_killed_at_once_and_begins_again() {
    let mut host = Host::new(&numbers(ENDLESS), 2);
    host.start_master();
    host.show_master();
    host.start_workers();
    wait_for_more(&host, "it writes");
    host.kill_master();
    host.workers.clone().into_iter().for_each(|worker| host.kill_worker(worker));
    host.start_workers();
    host.start_master();
    host.show_master();
    wait_until("it is active", || host.phase() == TopologyPhase::Active);
    wait_for_more(&host, "it writes again");
    drain(&mut host);
}

/// Counts of numbers, exactly once.
const COUNTS: &str = r#"
[topology]
name = "counts"
delivery = "exactly-once"
message_timeout = "180s"
[topology.checkpoint]
interval = "100ms"
storage = "DIR/checkpoints"
[spout.numbers]
type = "generate"
config = { rate = 2000, count = 100_000_000, fields = { n = "{seq}" } }
[bolt.count]
type = "count"
parallelism = 2
inputs = [{ from = "numbers", fields = ["n"] }]
config = { by = ["n"], emit = "updates" }
[bolt.store]
type = "file"
inputs = ["count"]
config = { path = "DIR/out-{seq}", format = "text", fields = ["n", "count"] }
"#;

/// The rows in files whose checkpoint is complete.
fn committed(host: &Host) -> Vec<String> {
    let files = fs::read_dir(host.path()).expect("it is there").flatten();
    let names = files.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().expect("it has a name").to_string_lossy();
        name.starts_with("out-") && !name.contains(".pending")
    });
    let texts = names.map(|path| fs::read_to_string(path).unwrap_or_default());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn counts_stay_exact_whatever_is_killed() {
    let mut host = Host::new(COUNTS, 2);
    let more = |host: &Host, what: &str| {
        let before = committed(host).len();
        wait_until(what, || committed(host).len() > before + 100);
    };
    host.start_master();
    host.show_master();
    host.start_workers();
    for worker in host.workers.clone() {
        more(&host, "rows are committed");
        host.kill_master();
        host.start_master();
        host.show_master();
        more(&host, "rows are committed by the next master");
        host.kill_worker(worker);
        host.start_worker(worker);
    }
    more(&host, "rows are committed in the end");
    host.want(Wanted::Drained);
    host.wait_for_end();
    let outcome = host.report().and_then(|report| report.state.outcome).expect("it has ended");
    assert_eq!((outcome.failure, outcome.cut_short), (None, false));
    let mut rows = committed(&host);
    let count = rows.len();
    rows.sort_by_key(|row| row.split('\t').next().and_then(|number| number.parse::<u64>().ok()));
    let expected: Vec<String> = (0..count).map(|number| format!("{number}\t1")).collect();
    assert!(
        rows == expected,
        "each number once, with the count 1: {:?}",
        rows.iter().take(20).collect::<Vec<_>>()
    );
}

/// The control channels of all workers are cut again and again. Nobody is taken for dead, and no line of them is lost:
/// otherwise the end would not come, or not all that was completed would be known.
#[test]
fn control_channels_are_cut_and_nobody_notices() {
    let mut host = Host::new(&numbers(ENDLESS), 3);
    host.start_master();
    wait_until("the master listens", || host.report().is_some());
    let master = host.report().and_then(|report| report.address).expect("it listens");
    let proxy = Proxy::new(master);
    host.show_master_at(proxy.address);
    host.start_workers();
    let mut cuts = 0;
    while cuts < 60 {
        wait_for_more(&host, "it writes");
        cuts += proxy.cut();
    }
    host.want(Wanted::Inactive);
    while host.phase() != TopologyPhase::Inactive {
        proxy.cut();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    host.want(Wanted::Active);
    wait_until("it is active again", || host.phase() == TopologyPhase::Active);
    wait_for_more(&host, "it writes in the end");
    drain(&mut host);
    let (numbers, lines) = written(&host);
    assert_eq!(lines, numbers.len(), "each once, because nothing was replayed");
    let outcome = host.report().and_then(|report| report.state.outcome).expect("it has ended");
    assert_eq!((outcome.restarts, outcome.lost, outcome.failure), (0, 0, None));
    assert_eq!(outcome.completed, lines as u64);
}

#[test]
fn a_topology_that_cannot_begin_reports_why() {
    let mut host = Host::new(&numbers(10), 2);
    host.break_source();
    host.start_master();
    wait_until("it has ended", || host.phase() == TopologyPhase::Ended);
    let outcome = host.report().and_then(|report| report.state.outcome).expect("it has ended");
    assert!(outcome.failure.is_some_and(|why| why.contains("expected")), "the error of the reader");
}

#[test]
fn a_second_process_for_a_directory_ends_at_once() {
    let mut host = Host::new(&numbers(ENDLESS), 1);
    host.start_master();
    host.show_master();
    host.start_workers();
    wait_until("it is active", || host.phase() == TopologyPhase::Active);
    let mut second = host.start_process("worker", "worker-0");
    assert_eq!(second.wait().expect("it is ours").code(), Some(1));
    assert_eq!(host.phase(), TopologyPhase::Active);
}
