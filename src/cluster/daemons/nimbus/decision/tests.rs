//! Decisions about small clusters.

use super::*;
use crate::cluster::access::TopologyAccess;
use crate::cluster::topologies::TopologyBegin;
use crate::config::HostOptions;
use crate::topology::declare::parse_str;
use crate::topology::registry::Registry;

const EPOCH: u64 = 7;

fn topology(name: &str, workers: u16) -> Topology {
    let text = format!(
        "topology = {{ name = '{name}', workers = {workers} }}
         spout.lines = {{ type = 'generate', config.fields.line = 'to be' }}
         bolt.split = {{ type = 'split', parallelism = 3, inputs = ['lines'] }}"
    );
    parse_str(name, &text, &Registry::with_standard()).expect("it is valid")
}

fn hosts(ids: &[&str], slots: u16) -> Vec<Host> {
    let options = HostOptions { slots, ..HostOptions::default() };
    ids.iter().map(|id| Host::new(id, &options)).collect()
}

fn spec(name: &str, number: u64, wanted: Wanted) -> SpecRecord {
    SpecRecord {
        epoch: EPOCH,
        id: TopologyId::new(name, number).expect("a name"),
        change: 1,
        owner: String::new(),
        access: TopologyAccess::default(),
        submitted_at: String::new(),
        source: crate::cluster::topologies::BlobHash::of(name.as_bytes()),
        generation: 1,
        spreads: false,
        run: "0".repeat(32),
        begin: TopologyBegin::default(),
        wanted,
        savepoint: None,
        log: None,
        upgrade: None,
        dropped: Vec::new(),
        ended: None,
    }
}

fn in_phase(phase: TopologyPhase) -> StateRecord {
    StateRecord { epoch: 3, generation: 1, phase, outcome: None, savepoint: None, verdict: None }
}

/// Decides about one topology alone.
fn decide_one(hosts: Vec<Host>, known: Known<'_>) -> Vec<Change> {
    decide(EPOCH, hosts, &[known], "now")
}

/// The only change, which is an assignment.
fn assigned(changes: Vec<Change>) -> AssignmentRecord {
    match <[Change; 1]>::try_from(changes) {
        Ok([Change::Assign(record)]) => record,
        other => panic!("{other:?}"),
    }
}

/// Where `words` runs on these hosts, if it was placed for the first time.
fn first(hosts: Vec<Host>, topology: &Topology) -> AssignmentRecord {
    let spec = spec("words", 1, Wanted::Active);
    assigned(decide_one(hosts, Known::new(&spec, None, Ok(topology))))
}

fn slots(record: &AssignmentRecord) -> Vec<String> {
    let slots = record.placement.iter().flat_map(|placement| &placement.slots);
    slots.map(|(worker, slot)| format!("{}@{slot}", worker.0)).collect()
}

#[test]
fn a_new_topology_is_placed_and_then_nothing_more_is_written() {
    let words = topology("words", 2);
    let record = first(hosts(&["a", "b"], 4), &words);
    assert_eq!(slots(&record), ["0@a:0", "1@b:0"]);
    assert_eq!((record.change, record.master.as_deref(), &record.short), (1, Some("a"), &None));
    let spec = spec("words", 1, Wanted::Active);
    let known = Known::new(&spec, Some(&record), Ok(&words));
    assert_eq!(decide_one(hosts(&["a", "b"], 4), known), []);
    assert_eq!(decide_one(hosts(&["a", "b", "c"], 4), known), [], "a new host moves nothing");
}

#[test]
fn what_was_on_a_lost_host_moves_and_nothing_else_and_the_master_stays() {
    let words = topology("words", 3);
    let before = first(hosts(&["a", "b", "c"], 4), &words);
    let spec = spec("words", 1, Wanted::Active);
    let known = Known::new(&spec, Some(&before), Ok(&words));
    let after = assigned(decide_one(hosts(&["a", "c", "d"], 4), known));
    assert_eq!(slots(&before), ["0@a:0", "1@b:0", "2@c:0"]);
    assert_eq!(slots(&after), ["0@a:0", "1@d:0", "2@c:0"]);
    assert_eq!((after.change, after.master.as_deref()), (before.change + 1, Some("a")));
    // With its host the master is lost, too: it goes to that of the lowest worker.
    let after = assigned(decide_one(hosts(&["b", "c", "d"], 4), known));
    assert_eq!(
        (slots(&after), after.master.as_deref()),
        (vec!["0@d:0".into(), "1@b:0".into(), "2@c:0".into()], Some("d"))
    );
}

#[test]
fn a_generation_that_spreads_moves_workers_and_those_that_stay_go_on() {
    let words = topology("words", 3);
    let before = first(hosts(&["a"], 4), &words);
    assert_eq!(slots(&before), ["0@a:0", "1@a:1", "2@a:2"]);
    let version = |record: &AssignmentRecord| record.placement.as_ref().map(|it| it.assignment.version);
    let next = |spec: SpecRecord, topology| {
        let known = Known::new(&spec, Some(&before), Ok(topology));
        assigned(decide_one(hosts(&["a", "b", "c"], 4), known))
    };
    let spec = spec("words", 1, Wanted::Active);
    let spread = next(SpecRecord { generation: 2, spreads: true, ..spec.clone() }, &words);
    assert_eq!(slots(&spread), ["0@a:0", "1@c:0", "2@b:0"]);
    assert_eq!(
        (version(&spread), spread.generation, spread.change),
        (version(&before), 2, before.change + 1)
    );
    let hosts = ["a", "c", "b"].map(str::to_owned);
    assert_eq!(spread.hosts(), (0..).map(WorkerId).zip(hosts).collect::<Vec<_>>());
    assert_eq!(spread.master.as_deref(), Some("a"));
    // A restart is no spread, and what is made of something else begins anew.
    let restarted = next(SpecRecord { generation: 2, ..spec.clone() }, &words);
    assert_eq!((slots(&restarted), version(&restarted)), (slots(&before), Some(2)));
    // A restart that was not placed yet is not lost.
    let both = next(SpecRecord { generation: 3, spreads: true, ..spec.clone() }, &words);
    assert_eq!((slots(&both), version(&both)), (slots(&spread), Some(2)));
    let source = crate::cluster::topologies::BlobHash::of(b"other");
    let other = next(SpecRecord { generation: 2, spreads: true, source, ..spec.clone() }, &words);
    assert_eq!((slots(&other), version(&other)), (slots(&spread), Some(2)));
    // The resource-aware strategy places executors anew.
    let mut packed = words.clone();
    packed.options.scheduling.strategy = SchedulingStrategy::ResourceAware;
    let packed = next(SpecRecord { generation: 2, spreads: true, ..spec }, &packed);
    assert_eq!(version(&packed), Some(2));
    assert_eq!(packed.needs.len(), packed.placement.map_or(0, |placement| placement.slots.len()));
}

#[test]
fn without_room_it_says_why_once_and_later_numbers_go_on_rising() {
    let words = topology("words", 2);
    let before = first(hosts(&["a"], 4), &words);
    let spec = spec("words", 1, Wanted::Active);
    let known = |assignment| Known::new(&spec, Some(assignment), Ok(&words));
    let nowhere = assigned(decide_one(Vec::new(), known(&before)));
    assert_eq!((&nowhere.placement, &nowhere.master, nowhere.change), (&None, &None, 2));
    assert!(
        nowhere.short.as_deref().is_some_and(|short| short.contains("asks for 2 workers")),
        "{nowhere:?}"
    );
    assert_eq!(decide_one(Vec::new(), known(&nowhere)), []);
    let again = assigned(decide_one(hosts(&["a"], 4), known(&nowhere)));
    let version =
        |record: &AssignmentRecord| record.placement.as_ref().map(|placement| placement.assignment.version);
    assert_eq!((version(&before), version(&again), again.change), (Some(1), Some(3), 3));
}

#[test]
fn without_room_it_says_which_hosts_lack_a_secret() {
    let mut words = topology("words", 2);
    words.secrets.insert("db".parse().expect("a name"));
    let mut with_secret = hosts(&["a", "b"], 1);
    with_secret[0].secrets = Some(["db".parse().expect("a name")].into());
    with_secret[1].secrets = Some(Default::default());
    let record = first(with_secret.clone(), &words);
    assert_eq!(slots(&record), ["0@a:0"]);
    let short = record.short.as_deref().unwrap_or_default();
    assert!(short.ends_with("; b does not have the secret `db`"), "{short}");
    let spec = spec("words", 1, Wanted::Active);
    let known = Known::new(&spec, Some(&record), Ok(&words));
    assert_eq!(decide_one(with_secret, known), []);
}

#[test]
fn an_ended_topology_leaves_its_slots_at_once() {
    let (words, others) = (topology("words", 1), topology("others", 1));
    let before = first(hosts(&["a"], 1), &words);
    let (ended, waits) = (spec("words", 1, Wanted::Active), spec("others", 2, Wanted::Active));
    let state = in_phase(TopologyPhase::Ended);
    let changes = decide(
        EPOCH,
        hosts(&["a"], 1),
        &[
            Known { state: Some(&state), ..Known::new(&ended, Some(&before), Err("it has ended")) },
            Known::new(&waits, None, Ok(&others)),
        ],
        "now",
    );
    let [Change::Unassign(id), Change::Assign(record)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((id, slots(record)), (&ended.id, vec!["0@a:0".to_owned()]));
}

#[test]
fn a_killed_topology_keeps_its_place_until_its_master_has_reported_the_end() {
    let (words, others) = (topology("words", 1), topology("others", 1));
    let before = first(hosts(&["a"], 1), &words);
    let (killed, waits) = (spec("words", 1, Wanted::Killed), spec("others", 2, Wanted::Active));
    let state = in_phase(TopologyPhase::Ending);
    for topology in [Ok(&words), Err("its blob is gone")] {
        let changes = decide(
            EPOCH,
            hosts(&["a"], 1),
            &[
                Known { state: Some(&state), ..Known::new(&killed, Some(&before), topology) },
                Known::new(&waits, None, Ok(&others)),
            ],
            "now",
        );
        let record = assigned(changes);
        assert_eq!((&record.id, &record.placement), (&waits.id, &None));
    }
}

#[test]
fn what_is_to_end_without_a_master_has_ended() {
    let words = topology("words", 1);
    let before = first(hosts(&["a"], 1), &words);
    let short = Some("there was no room".to_owned());
    let nowhere = AssignmentRecord { placement: None, master: None, short, ..before.clone() };
    let active = in_phase(TopologyPhase::Active);
    let on =
        |host: &'static str, wanted, assignment: Option<&AssignmentRecord>, state: Option<&StateRecord>| {
            let spec = spec("words", 1, wanted);
            let master_problem = Some("cannot be started: the disk is full").filter(|_| host == "a");
            let known = Known { spec: &spec, assignment, state, topology: Ok(&words), master_problem };
            let changes = decide_one(hosts(&[host], 1), known);
            let [Change::End(id, outcome), rest @ ..] = &changes[..] else { panic!("{changes:?}") };
            let unassigned = assignment.map(|_| Change::Unassign(id.clone()));
            assert_eq!(rest, unassigned.as_slice());
            assert_eq!(outcome.ended_at, "now");
            // Written, and nothing more is decided from it.
            let spec = SpecRecord { ended: Some(outcome.clone()), ..spec.clone() };
            assert_eq!(decide_one(hosts(&[host], 1), Known { spec: &spec, ..known }), rest);
            (outcome.cut_short, outcome.failure.clone())
        };
    let check = |wanted, assignment, state| on("b", wanted, assignment, state);
    assert_eq!(check(Wanted::Killed, Some(&nowhere), None), (false, None));
    assert_eq!(check(Wanted::Killed, None, Some(&active)), (true, None));
    let (.., failure) = check(Wanted::Drained, Some(&nowhere), Some(&active));
    assert!(failure.is_some_and(|why| why.contains("ran nowhere: there was no room")));
    // The host of its master is gone, so nobody reports the end.
    let (.., failure) = check(Wanted::Killed, Some(&before), Some(&active));
    assert!(failure.is_some_and(|why| why.contains("host `a`")));
    // Its host is there, and it cannot be started.
    let (.., failure) = on("a", Wanted::Killed, Some(&before), None);
    assert_eq!(
        failure.as_deref(),
        Some("it was killed, and its master on host `a` cannot be started: the disk is full")
    );
}

#[test]
fn a_drained_topology_gets_another_host_to_end_on() {
    let words = topology("words", 1);
    let before = first(hosts(&["a"], 1), &words);
    let spec = spec("words", 1, Wanted::Drained);
    let known = Known::new(&spec, Some(&before), Ok(&words));
    assert_eq!(slots(&assigned(decide_one(hosts(&["b"], 1), known))), ["0@b:0"]);
}

#[test]
fn a_blob_that_cannot_be_used_stops_nothing_and_disturbs_nobody() {
    let (words, others) = (topology("words", 1), topology("others", 1));
    let before = first(hosts(&["a"], 2), &words);
    let (lost, fine) = (spec("words", 1, Wanted::Active), spec("others", 2, Wanted::Active));
    let never = spec("never", 3, Wanted::Active);
    let known = |spec, assignment, topology| Known::new(spec, assignment, topology);
    let changes = decide(
        EPOCH,
        hosts(&["a"], 2),
        &[
            known(&lost, Some(&before), Err("its blob is gone")),
            known(&fine, None, Ok(&others)),
            known(&never, None, Err("its blob is gone")),
        ],
        "now",
    );
    let [Change::Assign(stays), Change::Assign(nowhere), Change::Assign(placed)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(
        (&stays.placement, &stays.master, stays.change),
        (&before.placement, &before.master, before.change)
    );
    assert_eq!(stays.short.as_deref(), Some("its blob is gone"));
    assert_eq!((&nowhere.placement, nowhere.short.as_deref()), (&None, Some("its blob is gone")));
    assert_eq!(slots(placed), ["0@a:1"], "it does not get the slot of the other");
    let again = decide_one(hosts(&["a"], 2), known(&lost, Some(stays), Err("its blob is gone")));
    assert_eq!(again, []);
}

/// These hosts, of which some are to be empty.
fn draining(ids: &[&str], slots: u16, empty: &[&str]) -> Vec<Host> {
    let mut hosts = hosts(ids, slots);
    for host in hosts.iter_mut().filter(|host| empty.contains(&&*host.id)) {
        host.state = HostState::Draining;
    }
    hosts
}

#[test]
fn what_is_on_a_host_that_is_to_be_empty_moves_and_the_master_with_it() {
    let words = topology("words", 3);
    let before = first(hosts(&["a", "b", "c"], 4), &words);
    let spec = spec("words", 1, Wanted::Active);
    let known = |assignment| Known::new(&spec, assignment, Ok(&words));
    let after = assigned(decide_one(draining(&["a", "b", "c", "d"], 4, &["a"]), known(Some(&before))));
    assert_eq!(slots(&after), ["0@d:0", "1@b:0", "2@c:0"], "only what is there moves");
    assert_eq!((after.master.as_deref(), &after.short), (Some("d"), &None));
    let version = |record: &AssignmentRecord| record.placement.as_ref().unwrap().assignment.version;
    assert_eq!(version(&after), version(&before), "the other workers do not begin anew");
    let again = draining(&["a", "b", "c", "d"], 4, &["a"]);
    assert_eq!(decide_one(again, known(Some(&after))), []);
    assert_eq!(decide_one(hosts(&["a", "b", "c", "d"], 4), known(Some(&after))), [], "nothing moves back");
    // Of several hosts that are to be empty, the master goes to none.
    let after = assigned(decide_one(draining(&["a", "b", "c", "d"], 4, &["a", "d"]), known(Some(&before))));
    assert!(!["a", "d"].contains(&after.master.as_deref().unwrap()), "{after:?}");
}

#[test]
fn what_has_no_other_place_stays_on_a_host_that_is_to_be_empty_and_says_why() {
    let (words, others) = (topology("words", 2), topology("others", 1));
    let before = first(hosts(&["a"], 4), &words);
    let (spec, new) = (spec("words", 1, Wanted::Active), spec("others", 2, Wanted::Active));
    let known = |assignment| Known::new(&spec, assignment, Ok(&words));
    let stays = assigned(decide_one(draining(&["a"], 4, &["a"]), known(Some(&before))));
    assert_eq!((&stays.placement, &stays.master), (&before.placement, &before.master));
    assert_eq!(stays.change, before.change, "its processes notice nothing");
    let short = stays.short.as_deref().expect("it says why");
    assert!(
        short.starts_with("it stays on a, although that is to be empty, because there is no room"),
        "{short}"
    );
    assert!(short.contains("2 slots short"), "{short}");
    assert_eq!(decide_one(draining(&["a"], 4, &["a"]), known(Some(&stays))), [], "it is said once");
    // Nothing new comes there, even if that is the only host.
    let fresh = Known::new(&new, None, Ok(&others));
    let nowhere = assigned(decide(EPOCH, draining(&["a"], 4, &["a"]), &[known(Some(&stays)), fresh], "now"));
    assert_eq!((&nowhere.id, &nowhere.placement), (&new.id, &None));
    // As soon as there is room, it moves, and the reason is gone.
    let moved = assigned(decide_one(draining(&["a", "b"], 4, &["a"]), known(Some(&stays))));
    assert_eq!((slots(&moved), &moved.short), (vec!["0@b:0".to_owned(), "1@b:1".to_owned()], &None));
    // It is used again before that.
    let used = assigned(decide_one(hosts(&["a"], 4), known(Some(&stays))));
    assert_eq!((&used.placement, &used.short), (&before.placement, &None));
}
