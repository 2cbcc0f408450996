//! Nimbuses and supervisors on the service in memory, in simulated time: they form a cluster, replace each other, and
//! do nothing when the data of the cluster are lost. With a real ZooKeeper and real processes: tests/zookeeper/daemons.rs.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions, set_permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use slog::{Discard, Logger, o};
use squall::clock::{Clock, Time};
use squall::cluster::coordination::{
    CandidateRecord, ClusterRecord, Coordination as _, MemoryClient, MemoryOptions, MemoryService, NodePath,
    decode_record,
};
use squall::cluster::daemons::belonging::Belonging;
use squall::cluster::daemons::{Nimbus, NimbusState, Supervisor, SupervisorRecord, SupervisorState};
use squall::cluster::topologies::ClusterKey;
use squall::config::HostOptions;
use squall::secrets::{SecretDirectory, SecretName};
use tempfile::TempDir;

const TICK: Duration = Duration::from_millis(250);
/// Longer than a session and the grace time of the election.
const TICKS_TO_REPLACE: usize = 40;

fn path(text: &str) -> NodePath {
    text.parse().expect("a path")
}

/// A daemon that runs, and what it found in its last step.
struct Running<D, S> {
    id: String,
    client: MemoryClient,
    daemon: D,
    state: Option<S>,
}

/// Hosts with disks, daemons on them, and the service by which they coordinate.
struct World {
    clock: Clock,
    service: MemoryService,
    disks: TempDir,
    starts: u64,
    /// The key of the cluster, on hosts whose daemons are started from now on.
    key: ClusterKey,
    nimbuses: Vec<Running<Nimbus, NimbusState>>,
    supervisors: Vec<Running<Supervisor, SupervisorState>>,
    /// Which nimbus led with each epoch.
    epochs: BTreeMap<u64, String>,
}

impl World {
    fn new() -> World {
        let clock = Clock::simulated();
        World {
            service: MemoryService::new(clock.clone(), MemoryOptions::default()),
            disks: tempfile::tempdir().unwrap(),
            starts: 0,
            key: ClusterKey::new(&[1; 32]),
            nimbuses: Vec::new(),
            supervisors: Vec::new(),
            epochs: BTreeMap::new(),
            clock,
        }
    }

    fn disk(&self, host: &str) -> PathBuf {
        let disk = self.disks.path().join(host);
        std::fs::create_dir_all(&disk).unwrap();
        disk
    }

    fn logger() -> Logger {
        Logger::root(Discard, o!())
    }

    /// Starts a nimbus on a host, with what its disk remembers.
    fn start_nimbus(&mut self, host: &str) {
        self.starts += 1;
        let me = CandidateRecord::new(host, self.starts, host);
        let new = ClusterRecord::new(u128::from(self.starts), self.clock.wall_nanos());
        let new = new.of_key(self.key.fingerprint());
        let belonging = Belonging::read(&self.disk(&format!("nimbus-{host}"))).unwrap().of_key(&self.key);
        let id = me.id.clone();
        let daemon = Nimbus::new(belonging, me, new, World::logger()).unwrap();
        self.nimbuses.push(Running { id, client: self.service.client(), daemon, state: None });
    }

    /// Starts a supervisor on a host, with what its disk remembers.
    fn start_supervisor(&mut self, host: &str) {
        self.start_supervisor_as(host, host);
    }

    fn start_supervisor_as(&mut self, id: &str, disk: &str) {
        self.starts += 1;
        let me = SupervisorRecord {
            token: format!("{:016x}", self.starts),
            started_at: self.clock.wall_nanos().to_string(),
            ..SupervisorRecord::new(id, &HostOptions::default())
        };
        let belonging = Belonging::read(&self.disk(&format!("supervisor-{disk}"))).unwrap().of_key(&self.key);
        let daemon = Supervisor::new(belonging, me, World::logger()).unwrap();
        self.supervisors.push(Running {
            id: id.to_owned(),
            client: self.service.client(),
            daemon,
            state: None,
        });
    }

    /// A world with these daemons, in which all have found each other.
    fn with(nimbuses: &[&str], supervisors: &[&str]) -> World {
        let mut world = World::new();
        nimbuses.iter().for_each(|host| world.start_nimbus(host));
        supervisors.iter().for_each(|host| world.start_supervisor(host));
        world.ticks(3);
        world
    }

    /// Everybody beats and steps once, and a little time passes.
    fn tick(&mut self) {
        self.service.step();
        for nimbus in &mut self.nimbuses {
            nimbus.client.beat();
            let state = nimbus.daemon.step(&nimbus.client, self.clock.now());
            if let NimbusState::Leads { epoch, .. } = state {
                let leader = self.epochs.entry(epoch).or_insert_with(|| nimbus.id.clone());
                assert_eq!(*leader, nimbus.id, "two nimbuses led with epoch {epoch}");
            }
            nimbus.state = Some(state);
        }
        for supervisor in &mut self.supervisors {
            supervisor.client.beat();
            supervisor.state = Some(supervisor.daemon.step(&supervisor.client));
        }
        self.clock.advance(TICK);
    }

    fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    /// A nimbus dies without a goodbye.
    fn kill_nimbus(&mut self, at: usize) {
        self.nimbuses.remove(at).client.die();
    }

    /// Who leads now, and its epoch.
    fn leaders(&self) -> Vec<(String, u64)> {
        let of = |nimbus: &Running<Nimbus, NimbusState>| match nimbus.state {
            Some(NimbusState::Leads { epoch, .. }) => Some((nimbus.id.clone(), epoch)),
            _ => None,
        };
        self.nimbuses.iter().filter_map(of).collect()
    }

    /// Until when each nimbus may act, of those that may now.
    fn acting(&self) -> Vec<Time> {
        let of = |nimbus: &Running<Nimbus, NimbusState>| match nimbus.state {
            Some(NimbusState::Leads { until, .. }) if until > self.clock.now() => Some(until),
            _ => None,
        };
        self.nimbuses.iter().filter_map(of).collect()
    }

    fn children(&self, of: &str) -> Vec<String> {
        self.service.client().children(&path(of)).unwrap().unwrap_or_default()
    }

    /// Why everybody refuses. Somebody who does not is a failure.
    fn refusals(&self) -> Vec<&str> {
        let nimbuses = self.nimbuses.iter().map(|nimbus| match &nimbus.state {
            Some(NimbusState::Refuses(why)) => &**why,
            other => panic!("{} does not refuse: {other:?}", nimbus.id),
        });
        let supervisors = self.supervisors.iter().map(|supervisor| match &supervisor.state {
            Some(SupervisorState::Refuses(why)) => &**why,
            other => panic!("{} does not refuse: {other:?}", supervisor.id),
        });
        nimbuses.chain(supervisors).collect()
    }
}

#[test]
fn the_first_nimbus_begins_the_cluster_and_supervisors_wait_for_it() {
    let mut world = World::new();
    world.start_supervisor("a");
    world.ticks(3);
    assert_eq!(world.supervisors[0].state, Some(SupervisorState::WaitsForCluster));
    assert_eq!(world.children("/"), [""; 0], "a supervisor begins nothing");
    world.start_nimbus("x");
    world.start_nimbus("y");
    world.ticks(3);
    let (leader, epoch) = world.leaders().pop().expect("one leads");
    assert_eq!((&*leader, epoch), (&*world.nimbuses[0].id, 1));
    assert_eq!(world.nimbuses[1].state, Some(NimbusState::StandsBy { leader: Some(leader) }));
    assert_eq!(world.supervisors[0].state, Some(SupervisorState::Registered));
    assert_eq!(world.children("/supervisors"), ["a"]);
}

/// The names of the secrets that a host publishes.
fn published(world: &World, host: &str) -> Vec<String> {
    let node = path("/supervisors").child(host).unwrap();
    let found = world.service.client().get(&node).unwrap().expect("it is registered");
    let record: SupervisorRecord = decode_record(&node, &found.data).unwrap();
    record.secrets.iter().map(ToString::to_string).collect()
}

#[test]
fn a_supervisor_publishes_the_names_of_the_secrets_that_can_be_used() {
    let mut world = World::new();
    world.start_nimbus("x");
    world.ticks(3);
    world.start_supervisor("a");
    let place = world.disk("secrets").join("of-a");
    let secrets = SecretDirectory::new(&place);
    let daemon = world.supervisors.remove(0);
    world.supervisors.push(Running { daemon: daemon.daemon.with_secrets(secrets.clone()), ..daemon });
    world.ticks(3);
    assert_eq!(published(&world, "a"), [""; 0], "there is no directory");
    let name = |text: &str| text.parse::<SecretName>().unwrap();
    secrets.set(&name("orders-db"), b"hush").unwrap();
    secrets.set(&name("pager"), b"hush").unwrap();
    world.ticks(2);
    assert_eq!(published(&world, "a"), ["orders-db", "pager"]);
    set_permissions(place.join("pager"), Permissions::from_mode(0o644)).unwrap();
    world.ticks(2);
    assert_eq!(published(&world, "a"), ["orders-db"], "others may read it");
    // While the directory cannot be used, the host has what it had: its workers may have read it.
    set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
    world.ticks(2);
    assert_eq!(published(&world, "a"), ["orders-db"]);
    set_permissions(&place, Permissions::from_mode(0o700)).unwrap();
    secrets.remove(&name("orders-db")).unwrap();
    for at in 0..1001 {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(place.join(format!("{at:064}"))).unwrap().write_all(b"x").unwrap();
    }
    world.ticks(2);
    let names = published(&world, "a");
    assert_eq!((names.len(), names.last()), (1000, Some(&format!("{:064}", 999))), "the first are published");
}

#[test]
fn a_leader_that_dies_is_replaced_and_nobody_else_notices() {
    let mut world = World::with(&["x", "y"], &["a"]);
    world.kill_nimbus(0);
    for _ in 0..TICKS_TO_REPLACE {
        world.tick();
        assert_eq!(world.supervisors[0].state, Some(SupervisorState::Registered));
    }
    assert_eq!(world.leaders(), [(world.nimbuses[0].id.clone(), 2)]);
}

#[test]
fn a_leader_that_ends_in_order_is_replaced_at_once() {
    let mut world = World::with(&["x", "y"], &[]);
    let mut first = world.nimbuses.remove(0);
    first.daemon.end(&first.client);
    world.tick();
    assert_eq!(world.leaders(), [(world.nimbuses[0].id.clone(), 2)]);
}

#[test]
fn if_the_data_are_wiped_everybody_refuses_and_nothing_is_begun() {
    let mut world = World::with(&["x", "y"], &["a", "b"]);
    world.service.wipe();
    world.ticks(TICKS_TO_REPLACE);
    for why in world.refusals() {
        assert!(why.contains("has lost its data") && why.contains("Restore its data"), "{why}");
    }
    assert_eq!(world.children("/"), [""; 0]);
    // A restart does not make them forget.
    world.nimbuses.clear();
    world.start_nimbus("x");
    world.ticks(3);
    assert!(world.refusals()[0].contains("has lost its data"));
}

#[test]
fn if_older_data_come_back_everybody_refuses_until_the_latest_are_there() {
    let mut world = World::with(&["x", "y"], &["a"]);
    let old = world.service.snapshot();
    world.kill_nimbus(0);
    world.ticks(TICKS_TO_REPLACE);
    assert_eq!(world.leaders().len(), 1);
    let latest = world.service.snapshot();
    world.service.roll_back(&old);
    world.ticks(TICKS_TO_REPLACE);
    for why in world.refusals() {
        assert!(why.contains("epoch 1") && why.contains("epoch 2"), "{why}");
    }
    world.service.roll_back(&latest);
    world.ticks(TICKS_TO_REPLACE);
    assert_eq!(world.leaders().len(), 1);
    assert_eq!(world.supervisors[0].state, Some(SupervisorState::Registered));
}

#[test]
fn another_cluster_is_not_joined() {
    let mut world = World::with(&["x"], &["a"]);
    world.service.wipe();
    world.nimbuses.clear();
    world.epochs.clear();
    world.start_nimbus("without-a-memory");
    world.ticks(3);
    assert_eq!(world.leaders().len(), 1, "it begins a cluster of its own");
    let Some(SupervisorState::Refuses(why)) = &world.supervisors[0].state else {
        panic!("{:?}", world.supervisors[0].state);
    };
    assert!(why.contains("and this process belongs to cluster"), "{why}");
}

/// What a supervisor starts with another key is let in by nobody, and a nimbus with another key reaches no master. So
/// neither takes part, and the log says why, before anything is placed there.
#[test]
fn a_daemon_with_another_key_takes_no_part() {
    let mut world = World::with(&["x"], &["a"]);
    world.key = ClusterKey::new(&[2; 32]);
    world.start_nimbus("y");
    world.start_supervisor("b");
    world.kill_nimbus(0);
    world.ticks(TICKS_TO_REPLACE);
    assert_eq!(world.children("/supervisors"), ["a"]);
    assert_eq!(world.leaders(), [], "it does not lead, even if nobody else does");
    world.supervisors.remove(0);
    for why in world.refusals() {
        assert!(why.starts_with("the key of this host is not that of the cluster"), "{why}");
        assert!(why.contains("copy the file `cluster.key_file`"), "{why}");
    }
    world.key = ClusterKey::new(&[1; 32]);
    world.start_nimbus("z");
    world.ticks(TICKS_TO_REPLACE);
    assert_eq!(world.leaders().len(), 1);
}

#[test]
fn while_the_service_is_away_everybody_waits_and_then_goes_on() {
    let mut world = World::with(&["x", "y"], &["a"]);
    let before = world.leaders();
    world.service.set_away(true);
    world.ticks(2400);
    assert!(world.nimbuses.iter().all(|nimbus| matches!(nimbus.state, Some(NimbusState::Waits(_)))));
    assert!(matches!(world.supervisors[0].state, Some(SupervisorState::Waits(_))));
    assert_eq!(world.acting(), [], "nobody acts without a sign of life");
    world.service.set_away(false);
    world.ticks(TICKS_TO_REPLACE);
    assert_eq!(world.leaders(), before);
    assert_eq!(world.supervisors[0].state, Some(SupervisorState::Registered));
}

#[test]
fn an_id_is_had_by_one_supervisor() {
    let mut world = World::with(&["x"], &["a"]);
    world.start_supervisor_as("a", "another disk");
    world.ticks(3);
    let states: Vec<_> = world.supervisors.iter().filter_map(|supervisor| supervisor.state.clone()).collect();
    assert_eq!(states, [SupervisorState::Registered, SupervisorState::IdIsTaken]);
    // A supervisor that was killed, and is started again before its session has ended.
    world.supervisors.remove(0).client.die();
    world.ticks(TICKS_TO_REPLACE);
    assert_eq!(world.supervisors[0].state, Some(SupervisorState::Registered));
}

#[test]
fn a_supervisor_that_ends_in_order_is_gone_at_once() {
    let mut world = World::with(&["x"], &["a", "b"]);
    let mut first = world.supervisors.remove(0);
    first.daemon.end(&first.client);
    assert_eq!(world.children("/supervisors"), ["b"]);
}

#[test]
fn a_nimbus_whose_disk_cannot_be_written_leaves_the_leadership_to_others() {
    let mut world = World::with(&["x", "y", "z"], &[]);
    let disk = world.disk("nimbus-y");
    std::fs::remove_dir_all(&disk).unwrap();
    world.kill_nimbus(0);
    world.ticks(2 * TICKS_TO_REPLACE);
    let Some(NimbusState::Refuses(why)) = &world.nimbuses[0].state else {
        panic!("{:?}", world.nimbuses[0].state);
    };
    assert!(why.contains("cannot write"), "{why}");
    let leads = world.leaders().pop().expect("the third leads");
    assert_eq!(leads.0, world.nimbuses[1].id);
    // Once its disk is there again, it takes part.
    std::fs::create_dir_all(&disk).unwrap();
    world.ticks(3);
    assert_eq!(world.nimbuses[0].state, Some(NimbusState::StandsBy { leader: Some(leads.0) }));
}

/// Daemons die, are started again, lose their connections and their service; then everything heals.
fn storm(seed: u64) {
    const HOSTS: [&str; 3] = ["x", "y", "z"];
    const OTHERS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::with(&HOSTS, &OTHERS);
    let mut away_for = 0;
    for _ in 0..400 {
        match rng.random_range(0..24) {
            0 if world.nimbuses.len() > 1 => {
                let at = rng.random_range(0..world.nimbuses.len());
                world.kill_nimbus(at);
            }
            1 if world.nimbuses.len() < 3 => world.start_nimbus(HOSTS[rng.random_range(0..3)]),
            2 => {
                let at = rng.random_range(0..world.nimbuses.len());
                world.nimbuses[at].client.cut();
            }
            3 => world.nimbuses.iter().for_each(|nimbus| nimbus.client.heal()),
            4 => {
                let at = rng.random_range(0..world.supervisors.len());
                let supervisor = world.supervisors.remove(at);
                supervisor.client.die();
                world.start_supervisor(&supervisor.id);
            }
            5 => {
                let at = rng.random_range(0..world.supervisors.len());
                world.supervisors[at].client.cut();
            }
            6 => world.supervisors.iter().for_each(|supervisor| supervisor.client.heal()),
            7 => {
                away_for = rng.random_range(1..60);
                world.service.set_away(true);
            }
            8 => {
                let at = rng.random_range(0..world.nimbuses.len());
                let mut nimbus = world.nimbuses.remove(at);
                nimbus.daemon.end(&nimbus.client);
                let host = nimbus.id.split('-').next().expect("the host comes first").to_owned();
                world.start_nimbus(&host);
            }
            _ => {}
        }
        if away_for > 0 {
            away_for -= 1;
            world.service.set_away(away_for > 0);
        }
        world.tick();
        assert!(world.acting().len() <= 1, "seed {seed}: two leaders at {:?}", world.clock.now());
    }
    world.service.set_away(false);
    world.nimbuses.iter().for_each(|nimbus| nimbus.client.heal());
    world.supervisors.iter().for_each(|supervisor| supervisor.client.heal());
    world.ticks(2 * TICKS_TO_REPLACE);
    assert_eq!(world.leaders().len(), 1, "seed {seed}: one leads");
    let registered = world.supervisors.iter().all(|one| one.state == Some(SupervisorState::Registered));
    assert!(registered, "seed {seed}: all hosts are there");
    assert_eq!(world.children("/supervisors"), OTHERS, "seed {seed}");
    let mut living: Vec<String> = world.nimbuses.iter().map(|nimbus| nimbus.id.clone()).collect();
    living.sort_unstable();
    assert_eq!(world.children("/nimbus/candidates"), living, "seed {seed}: nothing is left of the dead");
}

/// `SQUALL_SEEDS` (20): how many seeds; `SQUALL_SEED` (0): the first one.
#[test]
fn storms_pass_and_leave_one_leader_and_every_host() {
    let from_environment = |name, default| match std::env::var(name) {
        Ok(number) => number.parse().expect("a number"),
        Err(_) => default,
    };
    let first: u64 = from_environment("SQUALL_SEED", 0);
    (first..first + from_environment("SQUALL_SEEDS", 20)).for_each(storm);
}
