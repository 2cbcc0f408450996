//! The commands, the API and the operations of a real nimbus together, on the service in memory.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use slog::{Discard, Logger, o};
use squall::clock::Clock;
use squall::cluster::api::{ApiOptions, ApiServer};
use squall::cluster::blobs::BlobStore;
use squall::cluster::coordination::{
    Coordination as _, MemoryClient, MemoryOptions, MemoryService, NodePath, Record, decode_record,
    encode_record,
};
use squall::cluster::daemons::{Leader, LeaderOptions, MasterAccess, NimbusState, SupervisorRecord};
use squall::cluster::schedule::BlacklistOptions;
use squall::cluster::topologies::{
    AssignmentRecord, ClusterKey, MasterRecord, Outcome, SpecRecord, StateRecord, TopologyId, TopologyNodes,
    TopologyPhase, Wanted,
};
use squall::config::HostOptions;
use squall::prelude::Registry;
use tempfile::TempDir;

use crate::commands::Place;

/// A nimbus that leads, and hosts that have nobody on them: what they would report, a test writes.
struct World {
    clock: Clock,
    service: MemoryService,
    client: Arc<MemoryClient>,
    hosts: Vec<MemoryClient>,
    leader: Arc<Leader>,
    server: ApiServer,
    _disk: TempDir,
}

impl World {
    fn new() -> World {
        let clock = Clock::simulated();
        let service = MemoryService::new(clock.clone(), MemoryOptions::default());
        let disk = tempfile::tempdir().expect("a directory");
        let supervisors: NodePath = "/supervisors".parse().expect("a path");
        service.client().create(&supervisors, b"").expect("it is made");
        let client = Arc::new(service.client());
        let logger = Logger::root(Discard, o!());
        let leader = Arc::new(Leader::new(LeaderOptions {
            coordination: client.clone(),
            clock: clock.clone(),
            blobs: BlobStore::new(disk.path().join("blobs")),
            registry: Registry::with_standard(),
            supervisor_timeout: Duration::from_secs(30),
            blacklist: BlacklistOptions::default(),
            rng: StdRng::seed_from_u64(1),
            masters: Some(MasterAccess { key: ClusterKey::new(&[1; 32]), tls: None }),
            logger: logger.clone(),
        }));
        let any = ([127, 0, 0, 1], 0).into();
        let server = ApiServer::start(ApiOptions::on(any), leader.clone(), &logger).expect("it starts");
        World { clock, service, client, hosts: Vec::new(), leader, server, _disk: disk }
    }

    /// A host with four slots.
    fn begin_host(&mut self, id: &str) {
        let started_at = "2026-11-30T08:00:00Z".to_owned();
        let record = SupervisorRecord { started_at, ..SupervisorRecord::new(id, &HostOptions::default()) };
        let node = format!("/supervisors/{id}").parse().expect("a path");
        let client = self.service.client();
        client.hold(&node, &encode_record(&node, &record).expect("it is short")).expect("it is made");
        self.hosts.push(client);
    }

    /// A step of the daemon, which finds that it leads.
    fn step(&self) {
        self.client.beat();
        let until = self.clock.now().after(Duration::from_secs(1 << 20));
        self.leader.step(&NimbusState::Leads { epoch: 1, until }, None);
    }

    fn read<R: Record>(&self, path: &NodePath) -> R {
        let node = self.client.get(path).expect("it answers").expect("it is there");
        decode_record(path, &node.data).expect("it is such a record")
    }

    /// What the supervisor of the master publishes.
    fn report(&self, id: &TopologyId, phase: TopologyPhase, outcome: Option<Outcome>) {
        let node = TopologyNodes::of(id).state;
        let data = encode_record(
            &node,
            &StateRecord { epoch: 1, generation: 1, phase, outcome, savepoint: None, verdict: None },
        )
        .expect("it is short");
        match self.client.get(&node).expect("it answers") {
            None => drop(self.client.create(&node, &data).expect("it is made")),
            Some(found) => drop(self.client.set(&node, &data, found.version).expect("it is written")),
        }
        self.step();
    }
}

#[test]
fn a_topology_lives_from_its_submission_to_its_removal() {
    let (place, mut world) = (Place::new(), World::new());
    let address = [world.server.address()];
    // Until the first step nobody leads.
    place.squall(&address, &["list"], 4).says("no nimbus that leads was found");
    world.step();
    place.squall(&address, &["list"], 0).says("there are no topologies in this cluster");

    // There is no host: it is taken, and waits for room.
    let args = [
        "submit",
        "words.toml",
        "--timeout",
        "1ms",
        "--set",
        "topology.workers=2",
        "--set",
        "spout.n.parallelism=2",
    ];
    place.squall(&address, &[&args[..], &["--dry-run"]].concat(), 1).says("short:");
    let submitted = place.squall(&address, &args, 1);
    submitted.says("words does not fit");
    let id: TopologyId = submitted.stdout.trim().parse().expect("an id");
    place.squall(&address, &args, 1).says("`words`");
    world.begin_host("ada");
    world.step();
    let status = place.squall(&address, &["status", "words", "-o", "json"], 0).json();
    assert_eq!((&status["phase"], &status["short"]), (&json!("starting"), &json!(null)), "{status}");
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2), "{status}");
    assert_eq!(status["owner"], "ada");
    let nodes = TopologyNodes::of(&id);
    assert!(world.read::<AssignmentRecord>(&nodes.assignment).has_master_on("ada"));

    world.report(&id, TopologyPhase::Active, None);
    place.squall(&address, &["activate", "words"], 0).says("words is active: 2 workers on 1 host");
    place.squall(&address, &["deactivate", "words", "--no-wait"], 0);
    assert_eq!(world.read::<SpecRecord>(&nodes.spec).wanted, Wanted::Inactive);
    world.report(&id, TopologyPhase::Inactive, None);
    place.squall(&address, &["deactivate", "words"], 0).says("words is inactive");
    place.squall(&address, &["remove", "words"], 1).says("has not ended");

    place.squall(&address, &["stop", "words", "--timeout", "1ms"], 1).says("not done after 1ms");
    assert_eq!(world.read::<SpecRecord>(&nodes.spec).wanted, Wanted::Drained);
    place.squall(&address, &["activate", "words"], 1);
    let outcome = Outcome { completed: 7, ended_at: "2026-11-30T10:00:00Z".to_owned(), ..Outcome::default() };
    world.report(&id, TopologyPhase::Ended, Some(outcome));
    let status = place.squall(&address, &["status", "words"], 0);
    assert!(status.stdout.contains("completed  7"), "{}", status.stdout);
    place.squall(&address, &["remove", "words"], 0);
    place.squall(&address, &["status", "words"], 3);
    // A name that is free again belongs to another topology.
    let again = place.squall(&address, &["submit", "words.toml", "--no-wait"], 0);
    assert_ne!(again.stdout.trim(), id.to_string());
}

/// What the cluster knows is shown in any case.
#[test]
fn a_master_that_does_not_answer_is_no_error() {
    let (place, mut world) = (Place::new(), World::new());
    let address = [world.server.address()];
    world.step();
    world.begin_host("ada");
    world.step();
    let check = |expected: &str| {
        let status = place.squall(&address, &["status", "words", "-o", "json"], 0).json();
        let why = status["stats_missing"].as_str().unwrap_or_default();
        assert!(status["stats"].is_null() && why.contains(expected), "{status}");
        assert_eq!((&status["name"], &status["owner"]), (&json!("words"), &json!("ada")), "{status}");
        let shown = place.squall(&address, &["status", "words"], 0);
        assert!(shown.stdout.contains(&format!("\ncounters   none: {why}\n")), "{}", shown.stdout);
        place.squall(&address, &["errors", "words"], 1).says(why);
    };
    let submitted = place.squall(&address, &["submit", "words.toml", "--no-wait"], 0);
    let id: TopologyId = submitted.stdout.trim().parse().expect("an id");
    check("its master does not listen yet");
    // It has listened here.
    let nobody =
        TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("an address");
    let node = TopologyNodes::of(&id).master;
    let (supervisor, token) = ("ada".to_owned(), String::new());
    let record = MasterRecord { epoch: 1, supervisor, token, address: Some(nobody) };
    world.client.create(&node, &encode_record(&node, &record).expect("it is short")).expect("it is made");
    check(&format!("its master at {nobody} does not answer this nimbus: Connection refused"));
    world.report(&id, TopologyPhase::Ended, Some(Outcome::default()));
    check("it has ended");
    place.squall(&address, &["status", "nothing"], 3);
    place.squall(&address, &["errors", "nothing"], 3);
}
