//! Three candidates on the service in memory: never two leaders at once, epochs that only rise, and a leader again after
//! every fault. What the rules of the election are good for is shown by breaking them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use squall::clock::{Clock, Time};
use squall::cluster::coordination::{
    CandidateRecord, Coordination, CoordinationError, Election, ElectionError, Leadership, Lose,
    MemoryClient, MemoryOptions, MemoryService, Node, NodePath, Notify, Session, Version,
};

const TIMEOUT: Duration = Duration::from_secs(6);
/// Covers sessions that are ended early.
const SAFE_GRACE: Duration = Duration::from_secs(4);
/// More of them find no more of what is broken on purpose.
const SEEDS: u64 = 40;
const TICK: Duration = Duration::from_millis(250);

fn nimbus() -> NodePath {
    "/nimbus".parse().expect("a path")
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The leader record is written whatever version it has.
    ClaimWithoutVersion,
    /// A candidate claims as soon as the holder is missing.
    NoGrace,
    /// A leader acts until a step says that it does not lead.
    IgnoresUntil,
    /// What is read may be old.
    NoCatchUp,
    /// A leader does not write the record again after its node was missing.
    NoConfirmation,
}

/// The coordination as a broken candidate uses it.
struct Calls<'c> {
    client: &'c MemoryClient,
    broken: Broken,
    /// What others do before it writes.
    before_set: &'c (dyn Fn() + Sync),
}

impl Coordination for Calls<'_> {
    fn create(&self, path: &NodePath, data: &[u8]) -> Result<Version, CoordinationError> {
        self.client.create(path, data)
    }

    fn get(&self, path: &NodePath) -> Result<Option<Node>, CoordinationError> {
        self.client.get(path)
    }

    fn set(&self, path: &NodePath, data: &[u8], expected: Version) -> Result<Version, CoordinationError> {
        (self.before_set)();
        match self.broken {
            Broken::ClaimWithoutVersion => {
                self.client.catch_up()?;
                let node = self.client.get(path)?.ok_or_else(|| CoordinationError::Missing(path.clone()))?;
                self.client.set(path, data, node.version)
            }
            Broken::NoConfirmation => {
                let is_same = self.client.get(path)?.is_some_and(|node| node.data == data);
                if is_same { Ok(expected) } else { self.client.set(path, data, expected) }
            }
            _ => self.client.set(path, data, expected),
        }
    }

    fn delete(&self, path: &NodePath, expected: Version) -> Result<(), CoordinationError> {
        self.client.delete(path, expected)
    }

    fn children(&self, path: &NodePath) -> Result<Option<Vec<String>>, CoordinationError> {
        self.client.children(path)
    }

    fn catch_up(&self) -> Result<(), CoordinationError> {
        // A call that is answered, and moves nothing.
        if self.broken == Broken::NoCatchUp {
            self.client.get(&nimbus()).map(|_| ())
        } else {
            self.client.catch_up()
        }
    }

    fn hold(&self, path: &NodePath, data: &[u8]) -> Result<(), CoordinationError> {
        self.client.hold(path, data)
    }

    fn release(&self, path: &NodePath) -> Result<(), CoordinationError> {
        self.client.release(path)
    }

    fn watch(&self, path: &NodePath, notify: &Arc<Notify>) {
        self.client.watch(path, notify);
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

/// A process that wants to lead.
struct Candidate {
    id: String,
    client: MemoryClient,
    election: Election,
    leadership: Leadership,
    /// It does nothing, as a process that was stopped.
    is_frozen: bool,
    /// Its threads do nothing, but the one of the coordination lives.
    is_stuck: bool,
}

struct Nimbuses {
    clock: Clock,
    service: MemoryService,
    candidates: Vec<Candidate>,
    broken: Broken,
    grace: Duration,
    born: u64,
    /// Who acted with each epoch.
    epochs: BTreeMap<u64, String>,
}

impl Nimbuses {
    fn new(count: usize, grace: Duration, broken: Broken) -> Nimbuses {
        let clock = Clock::simulated();
        let service = MemoryService::new(clock.clone(), MemoryOptions::default());
        let grace = if broken == Broken::NoGrace { Duration::ZERO } else { grace };
        let mut nimbuses = Nimbuses {
            clock,
            service,
            candidates: Vec::new(),
            broken,
            grace,
            born: 0,
            epochs: BTreeMap::new(),
        };
        for _ in 0..count {
            let candidate = nimbuses.start();
            nimbuses.candidates.push(candidate);
        }
        nimbuses
    }

    fn start(&mut self) -> Candidate {
        self.born += 1;
        let me = CandidateRecord::new("nimbus", self.born, "127.0.0.1:7070");
        let id = me.id.clone();
        let election = Election::new(nimbus(), me, self.grace, 0).expect("it is a name");
        let leadership = Leadership::Follower { leader: None };
        Candidate {
            id,
            client: self.service.client(),
            election,
            leadership,
            is_frozen: false,
            is_stuck: false,
        }
    }

    fn step(&mut self, at: usize) -> Result<(), ElectionError> {
        let (now, broken) = (self.clock.now(), self.broken);
        let candidate = &mut self.candidates[at];
        let calls = Calls { client: &candidate.client, broken, before_set: &|| {} };
        candidate.leadership = candidate.election.step(&calls, now)?;
        Ok(())
    }

    /// Lets a tick pass, and all that live do what they do.
    fn tick(&mut self) -> Result<(), String> {
        self.clock.advance(TICK);
        self.service.step();
        for at in 0..self.candidates.len() {
            if self.candidates[at].is_frozen {
                continue;
            }
            self.candidates[at].client.beat();
            if !self.candidates[at].is_stuck {
                match self.step(at) {
                    Ok(()) => {}
                    Err(ElectionError::Coordination(error)) if error.is_passing() => {}
                    Err(error) => return Err(format!("{}: {error}", self.candidates[at].id)),
                }
            }
            self.check()?;
        }
        Ok(())
    }

    /// Who acts as a leader at this moment.
    fn acting(&self) -> Vec<(&str, u64)> {
        let (now, ignores) = (self.clock.now(), self.broken == Broken::IgnoresUntil);
        let acting = self.candidates.iter().filter_map(|candidate| match candidate.leadership {
            Leadership::Leader { epoch, until } if now < until || ignores => Some((&*candidate.id, epoch)),
            _ => None,
        });
        acting.collect()
    }

    fn check(&mut self) -> Result<(), String> {
        let acting: Vec<(String, u64)> =
            self.acting().into_iter().map(|(id, epoch)| (id.to_owned(), epoch)).collect();
        if acting.len() > 1 {
            return Err(format!("two leaders at {:?}: {acting:?}", self.clock.now()));
        }
        for (id, epoch) in acting {
            let highest = self.epochs.keys().next_back().copied().unwrap_or(0);
            let owner = self.epochs.entry(epoch).or_insert_with(|| id.clone());
            if *owner != id || epoch < highest {
                return Err(format!("{id} leads with epoch {epoch} after {highest}, which is {owner}'s"));
            }
        }
        Ok(())
    }

    fn run(&mut self, ticks: usize) -> Result<(), String> {
        (0..ticks).try_for_each(|_| self.tick())
    }

    fn heal(&mut self) {
        self.service.set_away(false);
        self.service.set_full(false);
        self.service.arrive();
        for candidate in &mut self.candidates {
            candidate.client.heal();
            candidate.client.lag(false);
            (candidate.is_frozen, candidate.is_stuck) = (false, false);
        }
    }

    fn leader(&self) -> Option<(&str, u64)> {
        match *self.acting() {
            [leader] => Some(leader),
            _ => None,
        }
    }

    /// Does something to a candidate, or to the service. `forced`: sessions may be ended before their time-out.
    fn fault(&mut self, random: &mut StdRng, forced: bool) {
        let at = random.random_range(0..self.candidates.len());
        let candidate = &mut self.candidates[at];
        match random.random_range(0..20) {
            0..3 => candidate.client.cut(),
            3..6 => candidate.client.heal(),
            6 => candidate.is_frozen = true,
            7 => candidate.is_stuck = true,
            8..10 => (candidate.is_frozen, candidate.is_stuck) = (false, false),
            10 if forced => candidate.client.expire(),
            11 if forced => {
                // Somebody deletes a candidate node. Nobody has to answer for that.
                let node = nimbus().child("candidates").and_then(|nodes| nodes.child(&candidate.id));
                let _ = self.service.client().delete(&node.expect("a name"), Version(0));
            }
            10..14 => {
                let lose = [Lose::Request, Lose::Answer, Lose::Late][random.random_range(0..3)];
                candidate.client.lose_next(lose, random.random_bool(0.4));
            }
            14 => candidate.client.lag(random.random_bool(0.7)),
            15 => self.service.set_away(random.random_bool(0.3)),
            16 => self.service.set_full(random.random_bool(0.3)),
            17 => self.service.arrive(),
            18 => {
                candidate.client.die();
                self.candidates[at] = self.start();
            }
            _ => {
                // It stops to act, and then gives up the leadership.
                candidate.leadership = Leadership::Follower { leader: None };
                let calls = Calls { client: &candidate.client, broken: self.broken, before_set: &|| {} };
                // It may fail; the next step makes it a candidate again.
                let _ = candidate.election.resign(&calls);
            }
        }
    }
}

/// Runs a seed. `forced`: sessions may be ended before their time-out. Returns what went wrong.
fn run(seed: u64, grace: Duration, forced: bool, broken: Broken) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut nimbuses = Nimbuses::new(3, grace, broken);
    for _ in 0..6 {
        for _ in 0..60 {
            if random.random_bool(0.2) {
                nimbuses.fault(&mut random, forced);
            }
            nimbuses.tick()?;
        }
        nimbuses.heal();
        // Longer than a session and the grace time.
        nimbuses.run(60)?;
        if nimbuses.leader().is_none() {
            return Err(format!("nobody leads after healing: {:?}", nimbuses.acting()));
        }
    }
    Ok(())
}

#[test]
fn there_is_one_leader_whatever_happens() {
    for seed in 0..SEEDS {
        let result = run(seed, SAFE_GRACE, true, Broken::Nothing);
        assert_eq!(result, Ok(()), "seed {seed}");
    }
}

#[test]
fn a_short_grace_suffices_when_sessions_end_by_their_timeout() {
    for seed in 0..SEEDS {
        let result = run(seed, Duration::from_millis(500), false, Broken::Nothing);
        assert_eq!(result, Ok(()), "seed {seed}");
    }
}

/// Breaks a rule, and runs seeds until that is noticed.
#[track_caller]
fn assert_noticed(broken: Broken) {
    let noticed = (0..SEEDS).find_map(|seed| run(seed, SAFE_GRACE, true, broken).err());
    assert!(noticed.is_some(), "{broken:?} is not noticed");
}

#[test]
fn a_claim_without_grace_is_noticed() {
    assert_noticed(Broken::NoGrace);
}

#[test]
fn a_leader_that_ignores_until_is_noticed() {
    assert_noticed(Broken::IgnoresUntil);
}

// ---- Stories ----

#[test]
fn the_first_that_steps_leads_and_the_others_know_it() {
    let mut nimbuses = Nimbuses::new(3, SAFE_GRACE, Broken::Nothing);
    nimbuses.run(1).expect("nothing is wrong");
    let first = nimbuses.candidates[0].id.clone();
    assert_eq!(nimbuses.leader(), Some((&*first, 1)));
    for candidate in &nimbuses.candidates[1..] {
        let Leadership::Follower { leader: Some(leader) } = &candidate.leadership else {
            panic!("it follows")
        };
        assert_eq!((&*leader.id, &*leader.address), (&*first, "127.0.0.1:7070"));
    }
}

#[test]
fn a_leader_that_dies_is_followed_after_its_session_and_the_grace() {
    let mut nimbuses = Nimbuses::new(2, Duration::from_millis(500), Broken::Nothing);
    nimbuses.run(4).expect("nothing is wrong");
    nimbuses.candidates[0].client.die();
    nimbuses.candidates[0].is_frozen = true;
    let died = nimbuses.clock.now();
    while nimbuses.leader().is_none_or(|(_, epoch)| epoch == 1) {
        nimbuses.tick().expect("nothing is wrong");
    }
    let took = nimbuses.clock.now().since(died);
    assert!(took <= TIMEOUT + Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_leader_whose_session_was_lost_for_a_moment_goes_on() {
    let mut nimbuses = Nimbuses::new(3, SAFE_GRACE, Broken::Nothing);
    nimbuses.run(2).expect("nothing is wrong");
    let first = nimbuses.candidates[0].id.clone();
    for _ in 0..5 {
        nimbuses.candidates[0].client.expire();
        nimbuses.run(10).expect("nothing is wrong");
        nimbuses.candidates[0].client.cut();
        nimbuses.run(10).expect("nothing is wrong");
        nimbuses.candidates[0].client.heal();
        nimbuses.run(10).expect("nothing is wrong");
        assert_eq!(nimbuses.leader(), Some((&*first, 1)));
    }
}

#[test]
fn a_leader_that_resigns_is_followed_at_once() {
    let mut nimbuses = Nimbuses::new(3, SAFE_GRACE, Broken::Nothing);
    nimbuses.run(2).expect("nothing is wrong");
    let mut first = nimbuses.candidates.remove(0);
    first.election.resign(&first.client).expect("the service answers");
    assert_eq!(
        first
            .client
            .children(&"/nimbus/candidates".parse().expect("a path"))
            .map(|ids| ids.map(|ids| ids.len())),
        Ok(Some(2))
    );
    nimbuses.run(1).expect("nothing is wrong");
    assert_eq!(nimbuses.leader().map(|(_, epoch)| epoch), Some(2));
    // Who does not lead takes nothing from who does.
    let mut follower = nimbuses.candidates.remove(1);
    follower.election.resign(&follower.client).expect("the service answers");
    nimbuses.run(1).expect("nothing is wrong");
    assert_eq!(nimbuses.leader().map(|(_, epoch)| epoch), Some(2));
}

#[test]
fn a_claim_whose_answer_was_lost_counts() {
    let mut nimbuses = Nimbuses::new(1, SAFE_GRACE, Broken::Nothing);
    let client = &nimbuses.candidates[0].client;
    // Making the record, its parent of candidates, the node that fails before it, the node, the claim.
    for _ in 0..3 {
        client.lose_next(Lose::Answer, false);
    }
    client.lose_next(Lose::Answer, true);
    let lost = nimbuses.step(0);
    assert!(matches!(lost, Err(ElectionError::Coordination(error)) if error.is_passing()));
    nimbuses.candidates[0].client.heal();
    nimbuses.run(1).expect("nothing is wrong");
    assert_eq!(nimbuses.leader().map(|(_, epoch)| epoch), Some(1));
}

#[test]
fn data_that_were_wiped_or_rolled_back_are_an_error_and_nobody_leads() {
    let mut nimbuses = Nimbuses::new(2, SAFE_GRACE, Broken::Nothing);
    nimbuses.run(1).expect("nothing is wrong");
    let early = nimbuses.service.snapshot();
    let mut first = nimbuses.candidates.remove(0);
    first.election.resign(&first.client).expect("the service answers");
    nimbuses.run(1).expect("nothing is wrong");
    nimbuses.service.roll_back(&early);
    let found = nimbuses.step(0);
    assert_eq!(found, Err(ElectionError::RolledBack { path: nimbus(), seen: 2, found: 1 }));
    nimbuses.service.wipe();
    let found = nimbuses.step(0);
    assert_eq!(found, Err(ElectionError::RolledBack { path: nimbus(), seen: 2, found: 0 }));
    // A process that starts then knows it from its disk.
    let me = CandidateRecord::new("nimbus", 99, "");
    let mut third = Election::new(nimbus(), me, SAFE_GRACE, 2).expect("it is a name");
    let client = nimbuses.service.client();
    assert!(third.step(&client, Time::ZERO).is_err_and(|error| error.to_string().contains("rolled back")));
    assert_eq!(client.get(&nimbus()), Ok(None), "nothing was written");
}

#[test]
fn what_somebody_else_has_written_is_not_claimed() {
    for data in [
        &b"10.0.0.7"[..],
        br#"{"kind":"leader","version":2,"term":1}"#,
        br#"{"kind":"leader","version":1,"epoch":1,"holder":{"id":"a/b","address":""},"written_by":"x"}"#,
        br#"{"kind":"leader","version":1,"epoch":18446744073709551615,"holder":null,"written_by":"x"}"#,
    ] {
        let mut nimbuses = Nimbuses::new(1, Duration::ZERO, Broken::Nothing);
        let client = nimbuses.service.client();
        client.create(&nimbus(), data).expect("there is none");
        for _ in 0..3 {
            assert!(matches!(nimbuses.step(0), Err(ElectionError::Record(_))));
        }
        assert!(client.get(&nimbus()).is_ok_and(|node| node.is_some_and(|node| node.data == data)));
    }
}

/// Two candidates read that nobody leads, and both claim. Returns who leads then.
fn claim_at_once(broken: Broken) -> Vec<(String, u64)> {
    let mut nimbuses = Nimbuses::new(2, SAFE_GRACE, Broken::Nothing);
    let mut slow = nimbuses.candidates.remove(1);
    let now = nimbuses.clock.now();
    slow.client.catch_up().expect("the service answers");
    let fast = Mutex::new(&mut nimbuses.candidates[0]);
    let step = || {
        let mut fast = fast.lock().expect("nothing panics with it");
        let fast = &mut **fast;
        fast.leadership = fast.election.step(&fast.client, now).expect("the service answers");
    };
    let calls = Calls { client: &slow.client, broken, before_set: &step };
    slow.leadership = slow.election.step(&calls, now).expect("the service answers");
    nimbuses.candidates.push(slow);
    nimbuses.acting().into_iter().map(|(id, epoch)| (id.to_owned(), epoch)).collect()
}

#[test]
fn of_two_that_claim_at_once_one_leads() {
    assert_eq!(claim_at_once(Broken::Nothing).len(), 1);
    let both = claim_at_once(Broken::ClaimWithoutVersion);
    assert_eq!(both.iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>(), [1, 1], "two leaders of one epoch");
}

/// Somebody deletes the node of a leader that reads what was true earlier. Returns what went wrong.
fn delete_the_node_of_a_leader_that_lags(broken: Broken) -> Result<(), String> {
    let mut nimbuses = Nimbuses::new(2, SAFE_GRACE, broken);
    nimbuses.run(4).expect("nothing is wrong");
    let leader = &nimbuses.candidates[0];
    leader.client.lag(true);
    let node = format!("/nimbus/candidates/{}", leader.id).parse().expect("a path");
    nimbuses.service.client().delete(&node, Version(0)).expect("it is there");
    nimbuses.run(100)
}

#[test]
fn a_leader_does_not_rely_on_what_was_true_earlier() {
    assert_eq!(delete_the_node_of_a_leader_that_lags(Broken::Nothing), Ok(()));
    let noticed = delete_the_node_of_a_leader_that_lags(Broken::NoCatchUp);
    assert!(noticed.is_err_and(|error| error.contains("two leaders")));
}

/// A candidate looks twice, and both times the leader has just lost its session; in between the leader was there.
fn look_only_when_the_leader_is_away(broken: Broken) -> Result<(), String> {
    let mut nimbuses = Nimbuses::new(2, SAFE_GRACE, broken);
    nimbuses.run(4).expect("nothing is wrong");
    for _ in 0..2 {
        nimbuses.candidates[0].client.expire();
        nimbuses.step(1).expect("the service answers");
        nimbuses.check()?;
        nimbuses.candidates[1].is_stuck = true;
        nimbuses.run(20)?;
    }
    Ok(())
}

#[test]
fn a_leader_that_was_missing_shows_that_it_is_there() {
    assert_eq!(look_only_when_the_leader_is_away(Broken::Nothing), Ok(()));
    let noticed = look_only_when_the_leader_is_away(Broken::NoConfirmation);
    assert!(noticed.is_err_and(|error| error.contains("two leaders")));
}

#[test]
fn an_id_that_is_no_name_is_refused() {
    for name in ["a b", "", &"x".repeat(60)] {
        let me = CandidateRecord { id: name.to_owned(), address: String::new() };
        let made = Election::new(nimbus(), me, SAFE_GRACE, 0);
        assert_eq!(made.is_err(), name.len() < 60, "{name}");
    }
}
