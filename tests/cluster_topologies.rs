//! What a leading nimbus does with topologies, on the service in memory and in simulated time: it places them, moves them
//! when hosts are lost, ends them, and leaves nothing behind when it dies between any two calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use slog::{Discard, Logger, o};
use squall::clock::Clock;
use squall::cluster::TopologySource;
use squall::cluster::access::{AccessChange, Caller, Role, TopologyAccess};
use squall::cluster::blobs::BlobStore;
use squall::cluster::coordination::{
    CandidateRecord, ClusterRecord, Coordination, CoordinationError, Lose, MemoryClient, MemoryOptions,
    MemoryService, Node, NodePath, Notify, Session, Version, decode_record, encode_record,
};
use squall::cluster::daemons::belonging::Belonging;
use squall::cluster::daemons::{Leader, LeaderOptions, Nimbus as Candidate, NimbusState, SupervisorRecord};
use squall::cluster::operations::{
    LogLevelRequest, OperationError, Operations, RebalanceRequest, SavepointRequest, SubmitRequest,
    Submitted, TopologyInfo, UpgradeRequest, Upgraded,
};
use squall::cluster::schedule::BlacklistOptions;
use squall::cluster::topologies::{
    AssignmentRecord, BeginFrom, BlobHash, CatalogRecord, SavepointAnswer, SpecRecord, StateRecord,
    TopologyBegin, TopologyId, TopologyNodes, TopologyPhase, UpgradeOutcome, UpgradeVerdict, Wanted,
    topologies_node,
};
use squall::config::HostOptions;
use squall::prelude::{Registry, Secret, Streams, bolt_fn};
use squall::topology::declare::MemorySource;
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything here takes.
const FOREVER: Duration = Duration::from_secs(1 << 20);

fn path(text: &str) -> NodePath {
    text.parse().expect("a path")
}

/// What happens at a call.
enum Event {
    /// The process dies, and the call is not done.
    DiesBefore,
    /// The call is done, and the process dies.
    DiesAfter,
    /// Something else happens first.
    First(Box<dyn FnOnce() + Send>),
}

/// A client to which something happens at one of its calls.
struct Fragile {
    client: MemoryClient,
    calls: AtomicU64,
    event: Mutex<Option<(u64, Event)>>,
}

impl Fragile {
    fn new(client: MemoryClient) -> Fragile {
        Fragile { client, calls: AtomicU64::new(0), event: Mutex::new(None) }
    }

    /// Plans an event for the call with this number, from 0 for the next one.
    fn plan(&self, call: u64, event: Event) {
        *self.event.lock().unwrap() = Some((self.calls.load(Ordering::Relaxed) + call, event));
    }

    /// Whether the event that was planned has not happened.
    fn is_whole(&self) -> bool {
        self.event.lock().unwrap().is_some()
    }

    fn call<T>(
        &self,
        call: impl FnOnce(&MemoryClient) -> Result<T, CoordinationError>,
    ) -> Result<T, CoordinationError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let event = self.event.lock().unwrap().take_if(|(at, _)| *at == number);
        match event.map(|(_, event)| event) {
            None => call(&self.client),
            Some(Event::First(first)) => {
                first();
                call(&self.client)
            }
            Some(Event::DiesBefore) => {
                self.client.die();
                call(&self.client)
            }
            Some(Event::DiesAfter) => {
                let _ = call(&self.client);
                self.client.die();
                Err(CoordinationError::Uncertain("the process is dead".to_owned()))
            }
        }
    }
}

impl Coordination for Fragile {
    fn create(&self, path: &NodePath, data: &[u8]) -> Result<Version, CoordinationError> {
        self.call(|client| client.create(path, data))
    }
    fn get(&self, path: &NodePath) -> Result<Option<Node>, CoordinationError> {
        self.call(|client| client.get(path))
    }
    fn set(&self, path: &NodePath, data: &[u8], expected: Version) -> Result<Version, CoordinationError> {
        self.call(|client| client.set(path, data, expected))
    }
    fn delete(&self, path: &NodePath, expected: Version) -> Result<(), CoordinationError> {
        self.call(|client| client.delete(path, expected))
    }
    fn children(&self, path: &NodePath) -> Result<Option<Vec<String>>, CoordinationError> {
        self.call(|client| client.children(path))
    }
    fn catch_up(&self) -> Result<(), CoordinationError> {
        self.call(MemoryClient::catch_up)
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

/// A nimbus that leads, as if it had won an election.
#[derive(Clone)]
struct Nimbus {
    epoch: u64,
    client: Arc<Fragile>,
    leader: Arc<Leader>,
    clock: Clock,
}

impl Nimbus {
    /// Makes a step, in which it finds that it leads.
    fn step(&self) -> Duration {
        self.client.client.beat();
        let leads = NimbusState::Leads { epoch: self.epoch, until: self.clock.now().after(FOREVER) };
        self.leader.step(&leads, None)
    }

    /// Another one leads.
    fn steps_down(&self) {
        self.leader.step(&NimbusState::StandsBy { leader: None }, Some("other:7070"));
    }

    fn submit(&self, name: &str, workers: u16) -> Result<Submitted, OperationError> {
        self.leader.submit(&self.request(name, workers), &Caller::Anybody)
    }

    /// Puts the blob of a topology. Returns what submits it.
    fn request(&self, name: &str, workers: u16) -> SubmitRequest {
        let bytes = source(name, workers);
        let hash = BlobHash::of(&bytes);
        self.leader.put_blob(&hash, &bytes).expect("it is put");
        request(hash)
    }

    /// Upgrades `words` to this number of workers.
    fn upgrade(&self, workers: u16) -> Result<Upgraded, OperationError> {
        self.request("words", workers);
        self.leader.upgrade("words", &upgrade_to(&source("words", workers)))
    }

    fn info(&self, name: &str) -> TopologyInfo {
        self.leader.topology(name).expect("it is there")
    }
}

fn request(source: BlobHash) -> SubmitRequest {
    SubmitRequest {
        source,
        owner: "ada".to_owned(),
        access: TopologyAccess::default(),
        inactive: false,
        dry_run: false,
        begin: TopologyBegin::default(),
    }
}

fn source(name: &str, workers: u16) -> Vec<u8> {
    source_with(name, workers, "")
}

/// A topology `words` that takes checkpoints.
fn source_exactly_once() -> Vec<u8> {
    source_with("words", 1, ", delivery = 'exactly-once'")
}

fn source_with(name: &str, workers: u16, more: &str) -> Vec<u8> {
    source_of(name, workers, more, 3)
}

fn source_of(name: &str, workers: u16, more: &str, parallelism: u32) -> Vec<u8> {
    let text = format!(
        "topology = {{ name = '{name}', workers = {workers}{more} }}
         spout.lines = {{ type = 'generate', config.fields.line = 'to be' }}
         bolt.split = {{ type = 'split', parallelism = {parallelism}, inputs = ['lines'] }}"
    );
    let files = MemorySource::new().file("t.toml", text);
    let recorded = TopologySource::record(&files, "t.toml", &registry(), &[]);
    serde_json::to_vec(&recorded.expect("it is valid").0).expect("it is JSON")
}

/// squall's own components, and a bolt with a secret.
fn registry() -> Registry {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[expect(dead_code, reason = "only read")]
    struct LoginSettings {
        password: Secret,
    }

    let mut registry = Registry::with_standard();
    registry.bolt("login", "Logs in.", |_: &LoginSettings| Ok(bolt_fn(Streams::none(), |_, _| Ok(()))));
    registry
}

/// A topology `orders` that needs the secret `db`.
fn source_with_secret(more: &str) -> Vec<u8> {
    let text = format!(
        "topology = {{ name = 'orders', workers = 2 }}
         spout.orders = {{ type = 'generate', config.fields.id = '{{seq}}' }}
         bolt.login = {{ type = 'login', parallelism = 2, inputs = ['orders'], config.password.secret = 'db'{more} }}"
    );
    let files = MemorySource::new().file("t.toml", text);
    let recorded = TopologySource::record(&files, "t.toml", &registry(), &[]);
    serde_json::to_vec(&recorded.expect("it is valid").0).expect("it is JSON")
}

/// Every node with its version and its data.
type Tree = BTreeMap<String, (i32, String)>;

struct World {
    clock: Clock,
    service: MemoryService,
    disk: TempDir,
    hosts: BTreeMap<String, MemoryClient>,
    epochs: u64,
}

impl World {
    fn new(hosts: &[&str]) -> World {
        let clock = Clock::simulated();
        let service = MemoryService::new(clock.clone(), MemoryOptions::default());
        let disk = tempfile::tempdir().unwrap();
        service.client().create(&path("/supervisors"), b"").unwrap();
        let mut world = World { clock, service, disk, hosts: BTreeMap::new(), epochs: 0 };
        hosts.iter().for_each(|host| world.begin_host(host));
        world
    }

    fn blobs(&self) -> BlobStore {
        BlobStore::new(self.disk.path().join("blobs"))
    }

    /// Another nimbus leads from now on. It has made no step yet.
    fn elect(&mut self) -> Nimbus {
        self.epochs += 1;
        let client = Arc::new(Fragile::new(self.service.client()));
        let leader = Leader::new(LeaderOptions {
            coordination: client.clone(),
            clock: self.clock.clone(),
            blobs: self.blobs(),
            registry: registry(),
            supervisor_timeout: TIMEOUT,
            blacklist: BlacklistOptions::default(),
            rng: StdRng::seed_from_u64(self.epochs),
            masters: None,
            logger: Logger::root(Discard, o!()),
        });
        Nimbus { epoch: self.epochs, client, leader: Arc::new(leader), clock: self.clock.clone() }
    }

    /// The same, and it has made a step.
    fn leader(&mut self) -> Nimbus {
        let nimbus = self.elect();
        nimbus.step();
        nimbus
    }

    fn begin_host(&mut self, id: &str) {
        self.begin_host_with(id, &[]);
    }

    /// A host that has these secrets. If it is there already, it has them from now on.
    fn begin_host_with(&mut self, id: &str, secrets: &[&str]) {
        let secrets = secrets.iter().map(|name| name.parse().unwrap()).collect();
        let record = SupervisorRecord { secrets, ..SupervisorRecord::new(id, &HostOptions::default()) };
        let node = path("/supervisors").child(id).unwrap();
        let client = self.hosts.entry(id.to_owned()).or_insert_with(|| self.service.client());
        client.hold(&node, &encode_record(&node, &record).unwrap()).unwrap();
    }

    fn lose_host(&mut self, id: &str) {
        drop(self.hosts.remove(id));
    }

    /// Lets time pass, with a step each second. Returns the trees after the steps.
    fn pass(&self, nimbus: &Nimbus, time: Duration) -> Tree {
        for _ in 0..time.as_secs() {
            self.clock.advance(SECOND);
            self.hosts.values().for_each(MemoryClient::beat);
            self.service.step();
            nimbus.step();
        }
        self.tree()
    }

    fn tree(&self) -> Tree {
        let (client, mut tree) = (self.service.client(), Tree::new());
        let mut left = vec![topologies_node()];
        while let Some(path) = left.pop() {
            let Some(node) = client.get(&path).unwrap() else { continue };
            let children = client.children(&path).unwrap().unwrap_or_default();
            left.extend(children.iter().map(|name| path.child(name).unwrap()));
            tree.insert(path.to_string(), (node.version.0, String::from_utf8(node.data).unwrap()));
        }
        tree
    }

    fn read<R: squall::cluster::coordination::Record>(&self, path: &NodePath) -> Option<R> {
        let node = self.service.client().get(path).unwrap()?;
        Some(decode_record(path, &node.data).unwrap())
    }

    fn catalog(&self) -> CatalogRecord {
        self.read(&topologies_node()).expect("there is a catalog")
    }

    fn assignment(&self, id: &TopologyId) -> Option<AssignmentRecord> {
        self.read(&TopologyNodes::of(id).assignment)
    }

    /// What the supervisor of the master publishes.
    fn report(&self, id: &TopologyId, phase: TopologyPhase) {
        self.publish(id, StateRecord { epoch: 1, generation: 1, phase, ..StateRecord::default() });
    }

    fn publish(&self, id: &TopologyId, state: StateRecord) {
        let client = self.service.client();
        let node = TopologyNodes::of(id).state;
        let data = encode_record(&node, &state).unwrap();
        match client.get(&node).unwrap() {
            None => drop(client.create(&node, &data).unwrap()),
            Some(found) => drop(client.set(&node, &data, found.version).unwrap()),
        }
    }

    /// The topologies that have nodes and are not in the catalog.
    fn garbage(&self) -> BTreeSet<TopologyId> {
        let names = self.service.client().children(&topologies_node()).unwrap().unwrap_or_default();
        let listed = self.catalog().topologies;
        let ids = names.iter().map(|name| name.parse().expect("an id"));
        ids.filter(|id| !listed.values().any(|listed| listed == id)).collect()
    }

    /// What must hold between any two passes of a leader: each topology of the catalog is whole, nothing else is there,
    /// and no number was used twice. `used`: all ids that were ever seen, which this adds to.
    fn check(&self, used: &mut BTreeSet<TopologyId>) {
        let catalog = self.catalog();
        let mut expected = BTreeSet::from(["/topologies".to_owned()]);
        for (name, id) in &catalog.topologies {
            assert_eq!(id.name(), name);
            assert!(id.number() < catalog.next, "{id} of {catalog:?}");
            let nodes = TopologyNodes::of(id);
            let spec: SpecRecord = self.read(&nodes.spec).expect("its spec is there");
            assert_eq!((&spec.id, spec.epoch <= self.epochs), (id, true));
            let state: Option<StateRecord> = self.read(&nodes.state);
            let has_reported = state.as_ref().is_some_and(|state| state.phase == TopologyPhase::Ended);
            let has_ended = has_reported || spec.ended.is_some();
            assert_eq!(self.assignment(id).is_none(), has_ended, "{id} is whole");
            if let Some(assignment) = self.assignment(id) {
                let (is, wanted) = (assignment.generation, spec.generation);
                assert_eq!((is, &assignment.source), (wanted, &spec.source), "{id} is what is wanted");
            }
            expected.extend([nodes.root.to_string(), nodes.spec.to_string()]);
            expected.extend(state.map(|_| nodes.state.to_string()));
            expected.extend(self.assignment(id).map(|_| nodes.assignment.to_string()));
        }
        let found: BTreeSet<String> = self.tree().into_keys().collect();
        assert_eq!(found, expected, "no garbage is left");
        for id in catalog.topologies.values() {
            let same = used.iter().find(|other| other.number() == id.number());
            assert!(same.is_none_or(|other| other == id), "the number of {id} was used before");
            used.insert(id.clone());
        }
    }
}

fn hosts_of(workers: &[squall::cluster::operations::WorkerInfo]) -> Vec<&str> {
    workers.iter().map(|worker| &*worker.host).collect()
}

#[test]
fn a_topology_that_is_submitted_is_placed_at_once() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let submitted = nimbus.submit("words", 2).expect("it is taken");
    assert_eq!(
        (&*submitted.name, hosts_of(&submitted.workers), submitted.short),
        ("words", vec!["a", "b"], None)
    );
    let id = submitted.id.expect("it has an id");
    assert_eq!(id.to_string(), "words-1");
    let info = nimbus.info("words");
    assert_eq!(
        (&info.id, &*info.owner, info.wanted, info.phase),
        (&id, "ada", Wanted::Active, TopologyPhase::Starting)
    );
    assert_eq!(
        (info.workers, info.master.map(|master| master.host)),
        (submitted.workers, Some("a".to_owned()))
    );
    let spec: SpecRecord = world.read(&TopologyNodes::of(&id).spec).expect("it has one");
    assert_eq!((spec.run.len(), spec.epoch, spec.change), (32, 1, 1));
    let tree = world.tree();
    assert_eq!(world.pass(&nimbus, Duration::from_secs(60)), tree, "nothing more is written");
    let used: Vec<u16> = nimbus.leader.cluster().unwrap().supervisors.iter().map(|host| host.used).collect();
    assert_eq!(used, [1, 1]);
}

#[test]
fn a_name_is_had_by_one_topology_until_that_has_ended() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    let first = nimbus.submit("words", 1).unwrap().id.unwrap();
    let refused = nimbus.submit("words", 1).unwrap_err();
    assert!(
        matches!(&refused, OperationError::Conflict(why) if why.contains("`words` already")),
        "{refused}"
    );
    assert!(matches!(nimbus.leader.remove("words"), Err(OperationError::Conflict(_))));
    world.report(&first, TopologyPhase::Ended);
    nimbus.step();
    assert_eq!(world.assignment(&first), None);
    assert_eq!(nimbus.info("words").phase, TopologyPhase::Ended, "it is listed until it is removed");
    let second = nimbus.submit("words", 1).unwrap().id.unwrap();
    assert_eq!((second.number(), nimbus.leader.topologies().unwrap().len()), (2, 1));
    world.check(&mut BTreeSet::from([first]));
    world.report(&second, TopologyPhase::Ended);
    nimbus.leader.remove("words").expect("it has ended");
    assert!(matches!(nimbus.leader.remove("words"), Err(OperationError::NoTopology { .. })));
    assert_eq!(nimbus.submit("words", 1).unwrap().id.unwrap().number(), 3);
    world.check(&mut BTreeSet::from([second]));
}

/// The owner is who has submitted it, and only who may operate an ended topology may take its name.
#[test]
fn a_topology_is_that_of_the_user_who_submits_it() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    let user =
        |name: &str, role: Role| Caller::User { name: name.parse().unwrap(), roles: BTreeSet::from([role]) };
    let (bob, eve) = (user("bob", Role::Submit), user("eve", Role::Submit));
    let access = TopologyAccess { users: vec!["sam".parse().unwrap()], readers: Vec::new() };
    let request = SubmitRequest { access: access.clone(), ..nimbus.request("words", 1) };
    assert_eq!(request.owner, "ada", "what a request says of its owner does not count");
    let first = nimbus.leader.submit(&request, &bob).unwrap().id.unwrap();
    assert_eq!((&*nimbus.info("words").owner, nimbus.info("words").access), ("bob", access));
    world.report(&first, TopologyPhase::Ended);
    nimbus.step();
    let refused = nimbus.leader.submit(&request, &eve).unwrap_err();
    let why = "has ended and is somebody else's";
    assert!(matches!(&refused, OperationError::Conflict(text) if text.contains(why)), "{refused}");
    let mut last = first;
    let takers = [user("sam", Role::Submit), user("root", Role::Admin), Caller::Anybody];
    for (caller, owner) in takers.iter().zip(["sam", "root", "ada"]) {
        last = nimbus.leader.submit(&request, caller).unwrap().id.unwrap();
        assert_eq!(nimbus.info("words").owner, owner);
        world.report(&last, TopologyPhase::Ended);
        nimbus.step();
    }
    let long = TopologyAccess { users: vec!["sam".parse().unwrap(); 257], readers: Vec::new() };
    let refused = nimbus.leader.submit(&SubmitRequest { access: long, ..request }, &bob).unwrap_err();
    assert!(refused.to_string().contains("at most 256 users"), "{refused}");
    assert_eq!(nimbus.info("words").id, last);
}

/// What is refused names the secret, and the hosts that lack it.
#[track_caller]
fn check_lacks<T: std::fmt::Debug>(asked: Result<T, OperationError>, expected: &str) {
    match asked {
        Err(OperationError::Conflict(why)) => assert!(why.contains(expected), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_topology_runs_on_hosts_that_have_its_secrets() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let bytes = source_with_secret("");
    let hash = BlobHash::of(&bytes);
    nimbus.leader.put_blob(&hash, &bytes).unwrap();
    let submit = |dry_run| {
        let request = SubmitRequest { dry_run, ..request(hash.clone()) };
        nimbus.leader.submit(&request, &Caller::Anybody)
    };
    let tree = world.tree();
    for dry_run in [true, false] {
        check_lacks(
            submit(dry_run),
            "topology `orders` needs: no host has the secret `db`; run `squall secret set db`",
        );
    }
    assert_eq!(world.tree(), tree, "nothing was written");
    // A host that is to be emptied is none.
    world.begin_host_with("b", &["db", "other"]);
    nimbus.leader.drain("b", true).unwrap();
    check_lacks(submit(false), "no host has the secret `db`");
    nimbus.leader.drain("b", false).unwrap();
    let submitted = submit(true).expect("it fits");
    assert_eq!(hosts_of(&submitted.workers), ["b", "b"]);
    let submitted = submit(false).expect("it is taken");
    assert_eq!((hosts_of(&submitted.workers), &submitted.short), (vec!["b", "b"], &None));

    // Without the secret what runs goes on, and is not begun anew.
    let id = submitted.id.expect("it has an id");
    world.report(&id, TopologyPhase::Active);
    world.begin_host_with("b", &[]);
    let tree = world.pass(&nimbus, Duration::from_secs(30));
    assert_eq!(hosts_of(&nimbus.info("orders").workers), ["b", "b"]);
    check_lacks(nimbus.leader.restart("orders"), "no host has the secret `db`");
    let rebalance = RebalanceRequest { overrides: Vec::new(), dry_run: false };
    check_lacks(nimbus.leader.rebalance("orders", &rebalance), "no host has the secret `db`");
    assert_eq!(world.tree(), tree, "nothing was written");
    // It leaves for a host that has it, if it begins anew.
    world.begin_host_with("a", &["db"]);
    world.pass(&nimbus, Duration::from_secs(1));
    assert_eq!(hosts_of(&nimbus.info("orders").workers), ["b", "b"], "it stays as long as it goes on");
    nimbus.leader.restart("orders").expect("a host has the secret");
    assert_eq!(hosts_of(&nimbus.info("orders").workers), ["a", "a"]);
}

#[test]
fn an_upgrade_to_a_topology_with_a_secret_needs_a_host_that_has_it() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let before = source_of("orders", 2, "", 3);
    let hash = BlobHash::of(&before);
    nimbus.leader.put_blob(&hash, &before).unwrap();
    let submitted = nimbus.leader.submit(&request(hash), &Caller::Anybody).expect("it is taken");
    assert_eq!(hosts_of(&submitted.workers), ["a", "b"]);
    world.report(&submitted.id.expect("it has an id"), TopologyPhase::Active);
    let after = source_with_secret("");
    nimbus.leader.put_blob(&BlobHash::of(&after), &after).unwrap();
    let upgrade =
        |dry_run| nimbus.leader.upgrade("orders", &UpgradeRequest { dry_run, ..upgrade_to(&after) });
    let short = upgrade(true).expect("it is planned").short.expect("it is short");
    assert!(short.contains("no host has the secret `db`"), "{short}");
    check_lacks(upgrade(false), "no host has the secret `db`");
    assert_eq!(hosts_of(&nimbus.info("orders").workers), ["a", "b"]);
    world.begin_host_with("b", &["db"]);
    upgrade(false).expect("a host has the secret");
    assert_eq!(hosts_of(&nimbus.info("orders").workers), ["b", "b"]);
}

#[test]
fn what_is_no_topology_is_refused_and_leaves_nothing() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    let tree = world.tree();
    let put = |bytes: &[u8]| {
        let hash = BlobHash::of(bytes);
        nimbus.leader.put_blob(&hash, bytes).expect("it is put");
        request(hash)
    };
    let check =
        |request: &SubmitRequest, expected: &str| match nimbus.leader.submit(request, &Caller::Anybody) {
            Err(OperationError::Invalid(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        };
    check(&request(BlobHash::of(b"nobody has put this")), "there is no blob");
    check(&put(b"[]"), "is no source of a topology");
    let wrong = String::from_utf8(source("words", 1)).unwrap().replace("'split', p", "'splat', p");
    check(&put(wrong.as_bytes()), "t.toml:3");
    check(&put(&source(&"x".repeat(44), 1)), "at most 43 characters");
    let begin = |from| TopologyBegin { from, ..TopologyBegin::default() };
    let resumed = SubmitRequest { begin: begin(BeginFrom::Latest), ..nimbus.request("words", 1) };
    check(&resumed, "takes no checkpoints");
    let savepoint = BeginFrom::Savepoint { directory: "here".to_owned(), discard: false };
    check(&SubmitRequest { begin: begin(savepoint), ..nimbus.request("words", 1) }, "`here` is no absolute");
    check(&SubmitRequest { owner: "a\nb".to_owned(), ..nimbus.request("words", 1) }, "an owner");
    let bytes = source("words", 3);
    let damaged = put(&bytes);
    std::fs::write(world.blobs().directory().join(damaged.source.as_str()), "{}").unwrap();
    check(&damaged, "is damaged");
    let other = nimbus.leader.put_blob(&BlobHash::of(b"a"), b"b");
    assert!(matches!(other, Err(OperationError::Invalid(_))), "{other:?}");
    assert_eq!(world.tree(), tree);
}

#[test]
fn a_dry_run_plans_beside_what_runs_and_writes_nothing() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    nimbus.submit("words", 3).unwrap();
    let tree = world.tree();
    let dry = |name, workers| {
        let request = SubmitRequest { dry_run: true, ..nimbus.request(name, workers) };
        nimbus.leader.submit(&request, &Caller::Anybody)
    };
    let planned = dry("other", 2).unwrap();
    assert_eq!((planned.id, planned.workers.len()), (None, 1), "the host has four slots");
    assert!(planned.short.is_some_and(|short| short.contains("1 slot short")));
    assert!(matches!(dry("words", 1), Err(OperationError::Conflict(_))));
    assert_eq!(world.tree(), tree);
}

#[test]
fn what_was_on_a_lost_host_moves_after_the_timeout_and_nothing_else_does() {
    let mut world = World::new(&["a", "b", "c"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 2).unwrap().id.unwrap();
    let other = nimbus.submit("other", 1).unwrap().id.unwrap();
    assert_eq!(hosts_of(&nimbus.info("words").workers), ["a", "b"]);
    let tree = world.tree();
    // Its supervisor is started again in time.
    world.lose_host("b");
    assert_eq!(world.pass(&nimbus, TIMEOUT - SECOND), tree);
    world.begin_host("b");
    assert_eq!(world.pass(&nimbus, TIMEOUT), tree);
    // This time it is lost.
    let before = world.assignment(&id).unwrap();
    world.lose_host("b");
    assert_eq!(world.pass(&nimbus, TIMEOUT), tree);
    let moved = world.pass(&nimbus, SECOND);
    let changed: Vec<&String> =
        moved.iter().filter(|(path, node)| tree.get(*path) != Some(node)).map(|it| it.0).collect();
    assert_eq!(changed, [&TopologyNodes::of(&id).assignment.to_string()]);
    let after = world.assignment(&id).unwrap();
    assert_eq!(after.change, before.change + 1);
    assert_eq!(
        (after.placement.unwrap().slots[0].1.clone(), after.master),
        (before.placement.unwrap().slots[0].1.clone(), before.master)
    );
    assert!(!hosts_of(&nimbus.info("words").workers).contains(&"b"));
    // It is used again when it is back.
    world.begin_host("b");
    world.pass(&nimbus, SECOND);
    assert!(hosts_of(&nimbus.submit("third", 3).unwrap().workers).contains(&"b"));
    assert!(world.assignment(&other).is_some());
}

#[test]
fn another_leader_gives_a_missing_host_the_whole_timeout() {
    let mut world = World::new(&["a", "b"]);
    let first = world.leader();
    let id = first.submit("words", 1).unwrap().id.unwrap();
    world.lose_host("a");
    world.pass(&first, TIMEOUT - SECOND);
    let second = world.leader();
    let before = world.assignment(&id).unwrap();
    world.pass(&second, TIMEOUT - SECOND);
    assert_eq!(world.assignment(&id).unwrap(), before);
    world.pass(&second, SECOND);
    assert_eq!(world.assignment(&id).unwrap().master.as_deref(), Some("b"));
}

#[test]
fn a_savepoint_is_wanted_once_and_the_next_one_after_the_answer() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    nimbus.submit("plain", 1).expect("it is taken");
    let any = SavepointRequest::default();
    let refused = |name: &str, request: &SavepointRequest| match nimbus.leader.savepoint(name, request) {
        Err(OperationError::Conflict(why) | OperationError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused("plain", &any).contains("exactly-once"));
    let bytes = source_exactly_once();
    nimbus.leader.put_blob(&BlobHash::of(&bytes), &bytes).expect("it is put");
    let id = nimbus.leader.submit(&request(BlobHash::of(&bytes)), &Caller::Anybody).unwrap().id.unwrap();
    let here = |directory: &str, stops| SavepointRequest { directory: Some(directory.to_owned()), stops };
    assert!(refused("words", &here("s", false)).contains("no absolute path"));
    let number = |request: &SavepointRequest| {
        nimbus.leader.savepoint("words", request).expect("it is wanted").savepoint_wanted.unwrap().number
    };
    assert_eq!((number(&any), number(&any)), (1, 1), "the same is not wanted once more");
    assert!(refused("words", &here("/s", true)).contains("another savepoint"));
    let answer = SavepointAnswer { number: 1, taken: None, failure: Some("the disk is full".to_owned()) };
    world.publish(&id, StateRecord { epoch: 1, savepoint: Some(answer.clone()), ..StateRecord::default() });
    assert_eq!(nimbus.info("words").savepoint, Some(answer));
    assert_eq!(number(&here("/s", true)), 2);
    nimbus.leader.want("words", Wanted::Killed).expect("it can be killed");
    assert!(refused("words", &any).contains("is ending"));
    world.report(&id, TopologyPhase::Ended);
    assert!(refused("words", &any).contains("has ended"));
}

#[test]
fn a_host_that_is_drained_stays_empty_whoever_leads_and_whoever_is_its_supervisor() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let words = nimbus.submit("words", 2).unwrap().id.unwrap();
    assert_eq!(hosts_of(&nimbus.info("words").workers), ["a", "b"]);
    assert_eq!(world.assignment(&words).unwrap().master.as_deref(), Some("a"));
    let missing = OperationError::NoSupervisor { id: "nowhere".to_owned() };
    assert_eq!(nimbus.leader.drain("nowhere", true), Err(missing.clone()));
    assert_eq!(nimbus.leader.drain("nowhere", false), Err(missing));
    let host = nimbus.leader.drain("a", true).expect("it is there");
    assert!(host.is_there && host.drained_since.is_some() && host.runs.is_empty(), "{host:?}");
    assert_eq!(hosts_of(&nimbus.info("words").workers), ["b", "b"]);
    assert_eq!(world.assignment(&words).unwrap().master.as_deref(), Some("b"));
    assert_eq!(nimbus.leader.drain("a", true), Ok(host), "it is said once");
    // Another leader, and another supervisor.
    let next = world.leader();
    world.lose_host("a");
    world.pass(&next, 12 * SECOND);
    let cluster = next.leader.cluster().unwrap();
    let ids: Vec<&str> = cluster.missing.iter().map(|host| &*host.id).collect();
    assert_eq!((ids, cluster.missing[0].is_there, cluster.supervisors.len()), (vec!["a"], false, 1));
    world.pass(&next, 2 * TIMEOUT);
    world.begin_host("a");
    world.pass(&next, 2 * SECOND);
    assert_eq!(hosts_of(&next.submit("others", 2).unwrap().workers), ["b", "b"], "nothing new comes there");
    // What has no other place stays where it is, and says why.
    let host = next.leader.drain("b", true).expect("it is there");
    let runs: Vec<(&str, &[u16], bool)> =
        host.runs.iter().map(|it| (&*it.topology, &*it.workers, it.master)).collect();
    assert_eq!(runs, [("others", &[0, 1][..], true), ("words", &[0, 1], true)]);
    assert!(host.runs.iter().all(|it| it.short.as_ref().is_some_and(|why| why.contains("it stays on b"))));
    assert_eq!(hosts_of(&next.info("words").workers), ["b", "b"]);
    // A host is used again, and what must move moves there.
    let host = next.leader.drain("a", false).expect("it is there");
    assert_eq!((host.drained_since, host.runs.len()), (None, 2));
    assert_eq!(hosts_of(&next.info("words").workers), ["a", "a"]);
    assert_eq!(next.info("words").short, None);
}

#[test]
fn a_host_whose_supervisor_goes_away_again_and_again_is_blacklisted_for_a_while() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let blacklisted = |nimbus: &Nimbus| {
        let cluster = nimbus.leader.cluster().unwrap();
        let hosts = cluster.supervisors.into_iter().map(|supervisor| supervisor.host).chain(cluster.missing);
        let out = hosts.filter_map(|host| Some((host.id, host.blacklisted_for?)));
        out.collect::<Vec<_>>()
    };
    for round in 0..3 {
        assert_eq!(blacklisted(&nimbus), [], "round {round}");
        world.lose_host("a");
        world.pass(&nimbus, 12 * SECOND);
        world.begin_host("a");
        world.pass(&nimbus, 12 * SECOND);
    }
    let out = blacklisted(&nimbus);
    assert!(matches!(&out[..], [(host, left)] if host == "a" && (1700..1800).contains(left)), "{out:?}");
    assert_eq!(hosts_of(&nimbus.submit("words", 2).unwrap().workers), ["b", "b"]);
    assert_eq!(hosts_of(&nimbus.submit("others", 2).unwrap().workers), ["b", "b"]);
    let only = nimbus.submit("more", 1).unwrap();
    assert_eq!(hosts_of(&only.workers), ["a"], "rather there than nowhere");
    world.pass(&nimbus, Duration::from_secs(1800));
    assert_eq!(blacklisted(&nimbus), []);
    assert_eq!(hosts_of(&nimbus.submit("again", 1).unwrap().workers), ["a"]);
    // An operator can have it used again earlier, and another leader does not know of it.
    for _ in 0..3 {
        world.lose_host("a");
        world.pass(&nimbus, 12 * SECOND);
        world.begin_host("a");
        world.pass(&nimbus, 12 * SECOND);
    }
    assert_eq!(blacklisted(&nimbus).len(), 1);
    let next = world.leader();
    assert_eq!(blacklisted(&next), []);
    assert_eq!(nimbus.leader.drain("a", false), Err(OperationError::NotLeader { leader: None }));
}

#[test]
fn a_killed_topology_keeps_its_slots_until_it_has_ended() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 1).unwrap().id.unwrap();
    let before = world.assignment(&id);
    assert_eq!(nimbus.leader.want("words", Wanted::Inactive).unwrap().wanted, Wanted::Inactive);
    assert_eq!(nimbus.leader.want("words", Wanted::Killed).unwrap().wanted, Wanted::Killed);
    let spec: SpecRecord = world.read(&TopologyNodes::of(&id).spec).unwrap();
    assert_eq!((spec.change, spec.wanted), (3, Wanted::Killed));
    assert_eq!(nimbus.leader.want("words", Wanted::Killed).unwrap().wanted, Wanted::Killed);
    assert!(matches!(nimbus.leader.want("words", Wanted::Active), Err(OperationError::Conflict(_))));
    world.report(&id, TopologyPhase::Ending);
    world.pass(&nimbus, Duration::from_secs(100));
    assert_eq!(world.assignment(&id), before);
    world.report(&id, TopologyPhase::Ended);
    nimbus.step();
    assert_eq!(world.assignment(&id), None);
    assert!(matches!(nimbus.leader.want("words", Wanted::Killed), Err(OperationError::Conflict(_))));
    assert!(matches!(nimbus.leader.want("nobody", Wanted::Killed), Err(OperationError::NoTopology { .. })));
}

#[test]
fn a_killed_topology_whose_masters_host_is_gone_ends_after_the_timeout() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 2).unwrap().id.unwrap();
    world.report(&id, TopologyPhase::Active);
    world.lose_host("a");
    nimbus.leader.want("words", Wanted::Killed).unwrap();
    world.pass(&nimbus, TIMEOUT - SECOND);
    assert_eq!(nimbus.info("words").phase, TopologyPhase::Active);
    world.pass(&nimbus, 2 * SECOND);
    let info = nimbus.info("words");
    let failure = info.outcome.and_then(|outcome| outcome.failure).expect("it failed");
    assert!(info.phase == TopologyPhase::Ended && failure.contains("host `a`"), "{failure}");
    world.check(&mut BTreeSet::new());
}

#[test]
fn a_topology_without_a_place_says_why_and_can_be_killed() {
    let mut world = World::new(&[]);
    let nimbus = world.leader();
    let submitted = nimbus.submit("words", 2).unwrap();
    assert_eq!(submitted.workers, []);
    assert!(submitted.short.is_some_and(|short| short.contains("asks for 2 workers")));
    world.begin_host("a");
    nimbus.step();
    assert_eq!(hosts_of(&nimbus.info("words").workers), ["a", "a"]);
    world.lose_host("a");
    world.pass(&nimbus, TIMEOUT + SECOND);
    assert_eq!(nimbus.info("words").workers, []);
    assert_eq!(nimbus.leader.want("words", Wanted::Killed).unwrap().phase, TopologyPhase::Ended);
    world.check(&mut BTreeSet::new());
}

#[test]
fn a_blob_that_is_lost_stops_nothing_and_disturbs_no_other_topology() {
    let mut world = World::new(&["a", "b"]);
    let first = world.leader();
    let id = first.submit("words", 1).unwrap().id.unwrap();
    let before = world.assignment(&id).unwrap();
    let hash = BlobHash::of(&source("words", 1));
    world.blobs().remove(&hash).unwrap();
    let second = world.leader();
    let after = world.assignment(&id).unwrap();
    assert_eq!(
        (&after.placement, &after.master, after.change),
        (&before.placement, &before.master, before.change)
    );
    assert!(second.info("words").short.is_some_and(|short| short.contains("there is no blob")));
    let other = second.submit("other", 4).unwrap();
    let slot = &before.placement.as_ref().unwrap().slots[0].1;
    assert!(other.workers.iter().all(|worker| (&*worker.host, worker.slot) != (&*slot.host, slot.number)));
    second.leader.put_blob(&hash, &source("words", 1)).unwrap();
    world.pass(&second, Duration::from_secs(10));
    assert_eq!(second.info("words").short, None);
}

#[test]
fn blobs_are_removed_by_the_leader_when_nothing_refers_to_them_for_an_hour() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    nimbus.submit("words", 1).unwrap();
    let unused = nimbus.request("unused", 1).source;
    let (hour, now) =
        (Duration::from_secs(3600), std::fs::metadata(world.disk.path()).unwrap().modified().unwrap());
    for blob in world.blobs().list().unwrap() {
        let file = std::fs::File::options().write(true).open(world.blobs().directory().join(blob.as_str()));
        file.unwrap().set_modified(now - hour - hour).unwrap();
    }
    nimbus.steps_down();
    world.clock.advance(Duration::from_secs(700));
    assert_eq!(world.blobs().list().unwrap().len(), 2);
    nimbus.step();
    let left = world.blobs().list().unwrap();
    assert!(left.len() == 1 && left[0] != unused, "{left:?}");
}

#[test]
fn a_nimbus_that_does_not_lead_does_nothing_and_says_who_leads() {
    let mut world = World::new(&["a"]);
    let nimbus = world.elect();
    let unknown = OperationError::NotLeader { leader: None };
    assert_eq!(nimbus.leader.topologies().unwrap_err(), unknown);
    nimbus.step();
    let request = nimbus.request("words", 1);
    nimbus.steps_down();
    let other = OperationError::NotLeader { leader: Some("other:7070".to_owned()) };
    let tree = world.tree();
    assert_eq!(nimbus.leader.submit(&request, &Caller::Anybody).unwrap_err(), other);
    assert_eq!(nimbus.leader.want("words", Wanted::Killed).unwrap_err(), other);
    assert_eq!(nimbus.leader.remove("words").unwrap_err(), other);
    assert_eq!(nimbus.leader.topology("words").unwrap_err(), other);
    assert_eq!(nimbus.leader.cluster().unwrap_err(), other);
    assert_eq!(nimbus.leader.put_blob(&BlobHash::of(b""), b"").unwrap_err(), other);
    // Its time is over, and no step has found out yet.
    let leads = NimbusState::Leads { epoch: 1, until: world.clock.now().after(SECOND) };
    nimbus.leader.step(&leads, None);
    world.clock.advance(SECOND);
    assert_eq!(nimbus.leader.submit(&request, &Caller::Anybody).unwrap_err(), unknown);
    nimbus.leader.step(&leads, None);
    assert_eq!(world.tree(), tree);
}

/// As `squall nimbus` runs them: each takes part in the election, and leads or says who does.
#[test]
fn nimbuses_elect_one_and_the_next_one_goes_on() {
    let mut world = World::new(&["a"]);
    let mut nimbuses: Vec<(Candidate, Nimbus)> = ["x", "y"]
        .map(|name| {
            let disk = world.disk.path().join(name);
            std::fs::create_dir(&disk).unwrap();
            let nimbus = world.elect();
            let me = CandidateRecord::new(name, nimbus.epoch, format!("{name}:7070"));
            let new = ClusterRecord::new(u128::from(nimbus.epoch), 0);
            let belonging = Belonging::read(&disk).unwrap();
            (Candidate::new(belonging, me, new, Logger::root(Discard, o!())).unwrap(), nimbus)
        })
        .into();
    let steps = |world: &World, nimbuses: &mut [(Candidate, Nimbus)], count: usize| {
        for _ in 0..count {
            world.clock.advance(SECOND / 4);
            world.hosts.values().for_each(MemoryClient::beat);
            world.service.step();
            for (candidate, nimbus) in nimbuses.iter_mut() {
                nimbus.client.client.beat();
                let state = candidate.step(&*nimbus.client, world.clock.now());
                nimbus.leader.step(&state, candidate.leader_address());
            }
        }
    };
    steps(&world, &mut nimbuses, 4);
    let submitted = nimbuses[0].1.submit("words", 1).expect("it leads");
    let stands_by = |address: &str| OperationError::NotLeader { leader: Some(address.to_owned()) };
    assert_eq!(nimbuses[1].1.leader.topologies().unwrap_err(), stands_by("x:7070"));
    let before = world.assignment(submitted.id.as_ref().unwrap()).unwrap();
    // Its process is stopped. The clock ends its lead, and the other one is elected.
    let stopped = nimbuses.remove(0);
    steps(&world, &mut nimbuses, 5 * 4);
    assert_eq!(stopped.1.leader.topologies().unwrap_err(), OperationError::NotLeader { leader: None });
    steps(&world, &mut nimbuses, 5 * 4);
    let info = nimbuses[0].1.info("words");
    assert_eq!(Some(info.id), submitted.id);
    assert_eq!(
        world.assignment(submitted.id.as_ref().unwrap()),
        Some(AssignmentRecord { epoch: 2, ..before })
    );
    // It goes on, and finds out.
    nimbuses.insert(0, (stopped.0, stopped.1.clone()));
    steps(&world, &mut nimbuses, 1);
    assert_eq!(stopped.1.leader.want("words", Wanted::Killed).unwrap_err(), stands_by("y:7070"));
}

/// Something an operator does, in a world that is made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Submit,
    Replace,
    Kill,
    KillUnplaced,
    Remove,
    Savepoint,
    Restart,
    Rebalance,
    Drain,
    Undrain,
    LogLevel,
    Upgrade,
    /// Not of an operator: a step finds that the master of an upgrade reports that it is up.
    SeeUp,
    /// The same, and that it refuses it.
    SeeRefused,
    /// Not of an operator: a step finds that a topology has ended.
    SeeTheEnd,
    /// Nor this: it finds that the time of changed levels is over.
    SeeLevelsOver,
    /// Nor this: it finds that a host is gone.
    SeeHostLost,
}

const DEEDS: [Deed; 17] = [
    Deed::Submit,
    Deed::Replace,
    Deed::Kill,
    Deed::KillUnplaced,
    Deed::Remove,
    Deed::Savepoint,
    Deed::Restart,
    Deed::Rebalance,
    Deed::Drain,
    Deed::Undrain,
    Deed::LogLevel,
    Deed::Upgrade,
    Deed::SeeUp,
    Deed::SeeRefused,
    Deed::SeeTheEnd,
    Deed::SeeLevelsOver,
    Deed::SeeHostLost,
];

impl Deed {
    /// A world in which it can be done, its leader, and the topologies that are there.
    fn prepare(self) -> (World, Nimbus, BTreeSet<TopologyId>) {
        let mut world = World::new(if self == Deed::KillUnplaced { &[] } else { &["a", "b"] });
        let nimbus = world.leader();
        let other = nimbus.submit("other", 1).unwrap().id.unwrap();
        let mut used = BTreeSet::from([other]);
        nimbus.request("words", 1);
        if self != Deed::Submit {
            let bytes = if self == Deed::Savepoint { source_exactly_once() } else { source("words", 1) };
            let hash = BlobHash::of(&bytes);
            nimbus.leader.put_blob(&hash, &bytes).expect("it is put");
            let words = nimbus.leader.submit(&request(hash), &Caller::Anybody).unwrap().id.unwrap();
            if matches!(self, Deed::Replace | Deed::Remove | Deed::SeeTheEnd) {
                world.report(&words, TopologyPhase::Ended);
            }
            if self == Deed::Upgrade {
                nimbus.request("words", 2);
            }
            if matches!(self, Deed::SeeUp | Deed::SeeRefused) {
                nimbus.upgrade(2).expect("it is taken");
                let refused = || UpgradeVerdict::Refused("it does not fit".to_owned());
                let verdict = if self == Deed::SeeUp { UpgradeVerdict::Up } else { refused() };
                world.publish(&words, tries(2, verdict));
            }
            used.insert(words);
        }
        match self {
            Deed::Replace | Deed::Remove => drop(nimbus.step()),
            Deed::Undrain => drop(nimbus.leader.drain("a", true).expect("it is there")),
            Deed::SeeLevelsOver => {
                nimbus.leader.log_level("words", &debug(60)).expect("it runs");
                world.pass(&nimbus, 59 * SECOND);
                world.clock.advance(SECOND);
                world.hosts.values().for_each(MemoryClient::beat);
                nimbus.client.client.beat();
            }
            Deed::SeeHostLost => {
                world.lose_host("a");
                world.pass(&nimbus, TIMEOUT);
                world.clock.advance(SECOND);
                world.hosts.values().for_each(MemoryClient::beat);
                nimbus.client.client.beat();
            }
            _ => {}
        }
        nimbus.client.client.beat();
        (world, nimbus, used)
    }

    /// Whether no operator has to do it.
    fn is_seen(self) -> bool {
        matches!(
            self,
            Deed::SeeTheEnd | Deed::SeeHostLost | Deed::SeeLevelsOver | Deed::SeeUp | Deed::SeeRefused
        )
    }

    fn run(self, nimbus: &Nimbus) -> Result<(), OperationError> {
        match self {
            Deed::Submit | Deed::Replace => {
                nimbus.leader.submit(&request(BlobHash::of(&source("words", 1))), &Caller::Anybody).map(drop)
            }
            Deed::Kill | Deed::KillUnplaced => nimbus.leader.want("words", Wanted::Killed).map(drop),
            Deed::Remove => nimbus.leader.remove("words"),
            Deed::Restart => nimbus.leader.restart("words").map(drop),
            Deed::Rebalance => nimbus.leader.rebalance("words", &two_workers()).map(drop),
            Deed::Savepoint => nimbus.leader.savepoint("words", &SavepointRequest::default()).map(drop),
            Deed::Drain => nimbus.leader.drain("a", true).map(drop),
            Deed::Undrain => nimbus.leader.drain("a", false).map(drop),
            Deed::LogLevel => nimbus.leader.log_level("words", &debug(100_000)).map(drop),
            Deed::Upgrade => nimbus.leader.upgrade("words", &upgrade_to(&source("words", 2))).map(drop),
            Deed::SeeTheEnd | Deed::SeeLevelsOver | Deed::SeeHostLost | Deed::SeeUp | Deed::SeeRefused => {
                nimbus.step();
                Ok(())
            }
        }
    }

    /// Whether it was done, after another leader has settled.
    fn is_done(self, nimbus: &Nimbus) -> bool {
        let found = nimbus.leader.topology("words").ok();
        let host = || nimbus.leader.cluster().unwrap().supervisors.swap_remove(0).host;
        match self {
            Deed::Submit => found.is_some(),
            Deed::Replace => found.is_some_and(|info| info.id.number() > 2),
            Deed::Kill => found.is_some_and(|info| info.wanted == Wanted::Killed),
            Deed::KillUnplaced => found.is_some_and(|info| info.phase == TopologyPhase::Ended),
            Deed::Remove => found.is_none(),
            Deed::Restart => found.is_some_and(|info| info.generation >= 2),
            Deed::Rebalance => found.is_some_and(|info| info.generation >= 2 && info.workers.len() == 2),
            Deed::Savepoint => found.is_some_and(|info| info.savepoint_wanted.is_some()),
            Deed::Drain => host().drained_since.is_some() && host().runs.is_empty(),
            Deed::Undrain => host().drained_since.is_none(),
            Deed::LogLevel => found.is_some_and(|info| info.log.is_some()),
            Deed::SeeLevelsOver => found.is_some_and(|info| info.log.is_none()),
            Deed::Upgrade => {
                found.is_some_and(|info| (info.generation, info.workers.len()) == (2, 2) && is_pending(&info))
            }
            Deed::SeeUp => found.is_some_and(|info| {
                (info.generation, info.workers.len()) == (2, 2)
                    && outcome_of(&info) == UpgradeOutcome::Accepted
            }),
            Deed::SeeRefused => found.is_some_and(|info| {
                let back = UpgradeOutcome::RolledBack("it does not fit".to_owned());
                (info.generation, info.workers.len()) == (3, 1) && outcome_of(&info) == back
            }),
            Deed::SeeTheEnd => found.is_some_and(|info| info.workers.is_empty()),
            Deed::SeeHostLost => found.is_some_and(|info| hosts_of(&info.workers) == ["b"]),
        }
    }
}

/// After whatever has happened, another leader settles everything, and the deed can be done again if it was not done.
fn settle(deed: Deed, world: &mut World, used: &mut BTreeSet<TopologyId>, was_answered: bool) {
    let garbage = world.garbage();
    let next = world.leader();
    next.step();
    world.check(used);
    let tree = world.tree();
    next.step();
    assert_eq!(world.pass(&next, Duration::from_secs(11)), tree, "another step writes nothing");
    let is_seen = deed.is_seen();
    if is_seen {
        world.pass(&next, TIMEOUT);
    }
    assert!(deed.is_done(&next) || !(was_answered || is_seen), "what was answered is done");
    if !deed.is_done(&next) {
        deed.run(&next).expect("it is done by the other");
        assert!(deed.is_done(&next));
    }
    next.step();
    world.check(used);
    assert!(next.leader.topology("other").is_ok(), "the other topology is there");
    let is_new = |id: &TopologyId| !garbage.contains(id);
    assert!(world.catalog().topologies.values().all(is_new), "what was begun once is not begun again");
}

#[test]
fn a_leader_may_die_at_any_call_of_anything_that_it_does() {
    for deed in DEEDS {
        for dies_after in [false, true] {
            let mut calls = 0;
            loop {
                let (mut world, nimbus, mut used) = deed.prepare();
                let event = if dies_after { Event::DiesAfter } else { Event::DiesBefore };
                nimbus.client.plan(calls, event);
                let answer = deed.run(&nimbus);
                if nimbus.client.is_whole() {
                    assert_eq!(answer, Ok(()), "{deed:?}");
                    break;
                }
                let at = format!("{deed:?} at call {calls}, after it: {dies_after}");
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    settle(deed, &mut world, &mut used, answer.is_ok());
                }));
                assert!(outcome.is_ok(), "{at}");
                calls += 1;
            }
            assert!(calls > 5, "{deed:?}: there are calls to die at");
        }
    }
}

fn debug(seconds: u64) -> LogLevelRequest {
    LogLevelRequest { levels: Some("split=debug".to_owned()), seconds }
}

#[test]
fn levels_are_changed_for_a_while_whoever_leads_meanwhile() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 1).unwrap().id.unwrap();
    let wish = |world: &World| world.read::<SpecRecord>(&TopologyNodes::of(&id).spec).unwrap().log;
    let refused = |levels: &str, seconds, expected: &str| {
        let request = LogLevelRequest { levels: Some(levels.to_owned()), seconds };
        match nimbus.leader.log_level("words", &request) {
            Err(OperationError::Invalid(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    };
    refused("splat=debug", 60, "has no component `splat`: it has ");
    refused("loud", 60, "`loud` is no log level");
    refused("", 60, "is empty");
    refused("debug", 0, "`seconds` must be from 1");
    assert_eq!(wish(&world), None);
    let before = world.assignment(&id).unwrap();
    let info = nimbus.leader.log_level("words", &debug(60)).expect("it runs");
    assert_eq!(info.log.as_ref().map(|log| &*log.levels), Some("split=debug"));
    assert_eq!(world.assignment(&id).unwrap(), before, "nothing begins anew");
    world.pass(&nimbus, 30 * SECOND);
    let next = world.leader();
    world.pass(&next, 29 * SECOND);
    assert_eq!(next.info("words").log, info.log);
    world.pass(&next, 2 * SECOND);
    assert_eq!((next.info("words").log, wish(&world)), (None, None), "at once, not with the next pass");
    // It is taken back by an operator, and what is wanted last counts.
    next.leader.log_level("words", &debug(60)).expect("it runs");
    next.leader
        .log_level("words", &LogLevelRequest { levels: Some("debug".to_owned()), seconds: 60 })
        .unwrap();
    assert_eq!(wish(&world).map(|log| log.levels), Some("debug".to_owned()));
    next.leader.restart("words").expect("it runs");
    assert!(wish(&world).is_some(), "a restart changes nothing of it");
    next.leader.log_level("words", &LogLevelRequest { levels: None, seconds: 1 }).unwrap();
    assert_eq!(wish(&world), None);
    world.report(&id, TopologyPhase::Ended);
    next.step();
    assert!(matches!(next.leader.log_level("words", &debug(60)), Err(OperationError::Conflict(_))));
}

#[test]
fn who_may_do_what_with_a_topology_changes_and_nothing_else_of_it() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 1).unwrap().id.unwrap();
    let name = |name: &str| name.parse().expect("a name");
    let before = world.assignment(&id).unwrap();
    let change = AccessChange { users: vec![name("bob")], readers: vec![name("eve")], ..Default::default() };
    let info = nimbus.leader.change_access("words", &change).expect("it is there");
    assert_eq!(info.access, TopologyAccess { users: vec![name("bob")], readers: vec![name("eve")] });
    assert_eq!(world.assignment(&id).unwrap(), before, "nothing begins anew");
    let next = world.leader();
    let twice = AccessChange { revoke: vec![name("bob")], ..change.clone() };
    match next.leader.change_access("words", &twice) {
        Err(OperationError::Invalid(why)) => assert!(why.contains("`bob` is named twice"), "{why}"),
        other => panic!("{other:?}"),
    }
    let many = (0..300).map(|number| name(&format!("user-{number}"))).collect();
    let many = AccessChange { readers: many, ..Default::default() };
    assert!(matches!(next.leader.change_access("words", &many), Err(OperationError::Invalid(_))));
    assert_eq!(next.info("words").access, info.access);
    // What has ended has a log and counters, so it can be looked at.
    world.report(&id, TopologyPhase::Ended);
    next.step();
    let nobody = AccessChange { revoke: vec![name("bob"), name("eve")], ..Default::default() };
    let info = next.leader.change_access("words", &nobody).expect("it is there");
    assert_eq!(info.access, TopologyAccess::default());
    assert!(matches!(next.leader.change_access("others", &nobody), Err(OperationError::NoTopology { .. })));
}

fn upgrade_to(bytes: &[u8]) -> UpgradeRequest {
    let source = BlobHash::of(bytes);
    UpgradeRequest { source, timeout_seconds: 60, allow_dropped_state: Vec::new(), dry_run: false }
}

/// What the master of a generation reports that is on trial.
fn tries(generation: u64, verdict: UpgradeVerdict) -> StateRecord {
    StateRecord { epoch: generation, generation, verdict: Some(verdict), ..StateRecord::default() }
}

fn outcome_of(info: &TopologyInfo) -> UpgradeOutcome {
    info.upgrade.clone().expect("it was upgraded").outcome
}

fn is_pending(info: &TopologyInfo) -> bool {
    outcome_of(info) == UpgradeOutcome::Pending
}

fn two_workers() -> RebalanceRequest {
    RebalanceRequest { overrides: vec!["topology.workers=2".to_owned()], dry_run: false }
}

#[test]
fn a_restart_starts_all_anew_where_they_are() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 2).unwrap().id.unwrap();
    let before = world.assignment(&id).unwrap();
    assert_eq!(nimbus.leader.restart("words").expect("it runs").generation, 2);
    let after = world.assignment(&id).unwrap();
    let (old, new) = (before.placement.unwrap(), after.placement.unwrap());
    assert_eq!((new.slots, after.master, after.source), (old.slots, before.master, before.source));
    assert!(new.assignment.version > old.assignment.version, "workers of the assignment before are refused");
    assert_eq!((before.generation, after.generation), (1, 2));
    let tree = world.tree();
    assert_eq!(world.pass(&nimbus, Duration::from_secs(11)), tree, "it is done once");
    nimbus.leader.want("words", Wanted::Drained).expect("it runs");
    assert!(matches!(nimbus.leader.restart("words"), Err(OperationError::Conflict(_))));
}

#[test]
fn a_rebalance_moves_no_more_than_it_must_and_is_refused_if_it_does_not_fit() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 2).unwrap().id.unwrap();
    let before = world.assignment(&id).unwrap();
    let tree = world.tree();
    let set = |overrides: &[&str], dry_run| {
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        nimbus.leader.rebalance("words", &RebalanceRequest { overrides, dry_run })
    };
    let planned = set(&["topology.workers=3"], true).expect("it is planned");
    assert_eq!((planned.generation, planned.workers.len(), planned.short), (None, 3, None));
    assert!(planned.moves.iter().all(|it| it.from != it.to) && !planned.moves.is_empty());
    let short =
        set(&["topology.workers=40", "bolt.split.parallelism=40"], true).expect("it is planned").short;
    assert!(short.is_some(), "two hosts have no 40 slots");
    match set(&["topology.workers=40", "bolt.split.parallelism=40"], false) {
        Err(OperationError::Conflict(why)) => assert!(why.contains(&short.unwrap()), "{why}"),
        other => panic!("{other:?}"),
    }
    for (wrong, expected) in [
        ("bolt.splat.parallelism=2", "there is no bolt `splat`"),
        ("topology.name=other", "the name of a topology that runs"),
        ("topology.delivery=exactly-once", "`topology.delivery` of a topology that runs"),
    ] {
        match set(&[wrong], false) {
            Err(OperationError::Invalid(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.tree(), tree, "nothing was written");
    let done = set(&["topology.workers=3"], false).expect("there is room");
    assert_eq!((done.generation, done.workers), (Some(2), planned.workers));
    let after = world.assignment(&id).unwrap();
    let (old, new) = (before.placement.unwrap(), after.placement.unwrap());
    assert!(old.slots.iter().all(|slot| new.slots.contains(slot)), "workers stay in their slots");
    assert_ne!(after.source, before.source);
    // What was changed before stays changed.
    set(&["bolt.split.parallelism=5"], false).expect("there is room");
    assert_eq!(nimbus.info("words").workers.len(), 3);
    let tree = world.tree();
    assert_eq!(world.pass(&nimbus, Duration::from_secs(11)), tree, "it is done once");
}

#[test]
fn an_upgrade_is_planned_and_refused_if_it_does_not_fit_or_changes_too_much() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 2).unwrap().id.unwrap();
    let tree = world.tree();
    let ask = |bytes: &[u8], dry_run| {
        nimbus.leader.put_blob(&BlobHash::of(bytes), bytes).expect("it is put");
        nimbus.leader.upgrade("words", &UpgradeRequest { dry_run, ..upgrade_to(bytes) })
    };
    let planned = ask(&source("words", 3), true).expect("it is planned");
    assert_eq!((planned.generation, planned.workers.len(), planned.short), (None, 3, None));
    let many = source_of("words", 40, "", 40);
    assert!(ask(&many, true).expect("it is planned").short.is_some(), "two hosts have no 40 slots");
    let refused = |bytes: &[u8]| match ask(bytes, false) {
        Err(OperationError::Conflict(why) | OperationError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&many).contains("the one before runs on"));
    assert!(refused(&source("other", 1)).contains("the name of a topology that runs"));
    assert!(refused(&source_exactly_once()).contains("`topology.delivery`"));
    assert!(refused(&source("words", 2)).contains("runs exactly this already"));
    let unknown = UpgradeRequest { source: BlobHash::of(b"none"), ..upgrade_to(b"") };
    assert!(nimbus.leader.upgrade("words", &unknown).is_err());
    let dropped =
        UpgradeRequest { allow_dropped_state: vec!["a".to_owned()], ..upgrade_to(&source("words", 3)) };
    assert!(matches!(nimbus.leader.upgrade("words", &dropped), Err(OperationError::Invalid(_))));
    assert_eq!(world.tree(), tree, "nothing was written");
    let before = world.assignment(&id).unwrap();
    assert_eq!(nimbus.upgrade(3).expect("there is room").generation, Some(2));
    let after = world.assignment(&id).unwrap();
    let (old, new) = (before.placement.unwrap(), after.placement.unwrap());
    assert!(old.slots.iter().all(|slot| new.slots.contains(slot)), "workers stay in their slots");
    assert_eq!((before.is_upgrade, after.is_upgrade, after.generation), (false, true, 2));
    assert!(new.assignment.version > old.assignment.version);
}

#[test]
fn an_upgrade_that_is_up_is_accepted_and_stays_whatever_its_master_says_later() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 1).unwrap().id.unwrap();
    nimbus.upgrade(2).expect("it is taken");
    // What the master before still says is not about the new one.
    world.publish(&id, tries(1, UpgradeVerdict::Up));
    world.pass(&nimbus, 30 * SECOND);
    assert!(is_pending(&nimbus.info("words")));
    world.publish(&id, tries(2, UpgradeVerdict::Up));
    nimbus.step();
    let accepted = nimbus.info("words");
    assert_eq!((outcome_of(&accepted), accepted.generation), (UpgradeOutcome::Accepted, 2));
    world.publish(&id, tries(2, UpgradeVerdict::Refused("it fell over".to_owned())));
    world.pass(&nimbus, 100 * SECOND);
    let later = nimbus.info("words");
    assert_eq!((later.upgrade, later.generation), (accepted.upgrade, 2));
    // The next generation is no upgrade, and the next upgrade goes back to this one.
    nimbus.leader.restart("words").expect("it runs");
    assert!(!world.assignment(&id).unwrap().is_upgrade);
    nimbus.upgrade(3).expect("it is taken");
    world.publish(&id, tries(4, UpgradeVerdict::Refused("it does not fit".to_owned())));
    nimbus.step();
    let back = nimbus.info("words");
    assert_eq!((back.generation, back.workers.len()), (5, 2));
}

#[test]
fn an_upgrade_that_is_not_up_in_time_is_rolled_back_and_the_next_leader_gives_it_the_whole_time() {
    let mut world = World::new(&["a", "b"]);
    let first = world.leader();
    let id = first.submit("words", 1).unwrap().id.unwrap();
    let before = world.assignment(&id).unwrap();
    first.upgrade(2).expect("it is taken");
    world.pass(&first, 50 * SECOND);
    let second = world.leader();
    world.publish(&id, tries(2, UpgradeVerdict::Waits("worker 1 is not up".to_owned())));
    world.pass(&second, 59 * SECOND);
    assert!(is_pending(&second.info("words")), "another leader begins the time anew");
    assert_eq!(second.info("words").verdict, Some(UpgradeVerdict::Waits("worker 1 is not up".to_owned())));
    world.pass(&second, 2 * SECOND);
    let info = second.info("words");
    let why = UpgradeOutcome::RolledBack("it was not up after 60 s: worker 1 is not up".to_owned());
    assert_eq!((outcome_of(&info), info.generation, info.workers.len()), (why, 3, 1));
    let after = world.assignment(&id).unwrap();
    assert_eq!((&after.source, after.is_upgrade, after.generation), (&before.source, false, 3));
    // Too late.
    world.publish(&id, tries(2, UpgradeVerdict::Up));
    let tree = world.tree();
    assert_eq!(world.pass(&second, 11 * SECOND), tree, "it is decided once");
}

#[test]
fn while_an_upgrade_is_pending_it_can_be_ended_and_nothing_else() {
    for wanted in [Wanted::Killed, Wanted::Drained, Wanted::Inactive] {
        let mut world = World::new(&["a", "b"]);
        let nimbus = world.leader();
        nimbus.submit("words", 1).unwrap();
        nimbus.upgrade(2).expect("it is taken");
        let refusals = [
            nimbus.upgrade(3).map(drop),
            nimbus.leader.restart("words").map(drop),
            nimbus.leader.rebalance("words", &two_workers()).map(drop),
            nimbus.leader.savepoint("words", &SavepointRequest::default()).map(drop),
        ];
        for refused in refusals {
            match refused {
                Err(OperationError::Conflict(why)) => assert!(why.contains("is being upgraded"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        let info = nimbus.leader.want("words", wanted).expect("it can be wanted");
        let (generation, workers) = (info.generation, info.workers.len());
        match wanted {
            // It ends, whatever it is.
            Wanted::Killed => assert_eq!((generation, workers, is_pending(&info)), (2, 2, true)),
            // What is not up does not end in order, so the one before does.
            Wanted::Drained => {
                let why = "it was stopped before the new one was up".to_owned();
                assert_eq!((generation, workers), (3, 1));
                assert_eq!(outcome_of(&info), UpgradeOutcome::RolledBack(why));
            }
            _ => assert_eq!((generation, workers, is_pending(&info)), (2, 2, true)),
        }
    }
}

#[test]
fn one_that_is_up_and_stopped_before_that_is_seen_is_not_rolled_back() {
    let mut world = World::new(&["a", "b"]);
    let nimbus = world.leader();
    let bytes = source_exactly_once();
    nimbus.leader.put_blob(&BlobHash::of(&bytes), &bytes).expect("it is put");
    let id = nimbus.leader.submit(&request(BlobHash::of(&bytes)), &Caller::Anybody).unwrap().id.unwrap();
    let bytes = source_with("words", 2, ", delivery = 'exactly-once'");
    nimbus.leader.put_blob(&BlobHash::of(&bytes), &bytes).expect("it is put");
    let allow_dropped_state = vec!["gone".to_owned()];
    let asked = UpgradeRequest { allow_dropped_state, ..upgrade_to(&bytes) };
    nimbus.leader.upgrade("words", &asked).expect("it is taken");
    world.publish(&id, tries(2, UpgradeVerdict::Up));
    let stop = SavepointRequest { directory: None, stops: true };
    let info = nimbus.leader.savepoint("words", &stop).expect("it can be stopped");
    assert_eq!((outcome_of(&info), info.generation), (UpgradeOutcome::Accepted, 2));
    assert!(info.savepoint_wanted.is_some_and(|wish| wish.stops));
    let spec: SpecRecord = world.read(&TopologyNodes::of(&id).spec).unwrap();
    assert_eq!(spec.dropped.iter().map(|dropped| dropped.generation).collect::<Vec<_>>(), [2]);
}

#[test]
fn the_blob_before_is_kept_while_it_may_be_needed() {
    let mut world = World::new(&["a"]);
    let nimbus = world.leader();
    let id = nimbus.submit("words", 1).unwrap().id.unwrap();
    let before = BlobHash::of(&source("words", 1));
    nimbus.request("words", 2);
    let day = UpgradeRequest { timeout_seconds: 24 * 3600, ..upgrade_to(&source("words", 2)) };
    nimbus.leader.upgrade("words", &day).expect("it is taken");
    let sweep = || {
        let (hours, now) =
            (Duration::from_secs(7200), std::fs::metadata(world.disk.path()).unwrap().modified().unwrap());
        for blob in world.blobs().list().unwrap() {
            let file =
                std::fs::File::options().write(true).open(world.blobs().directory().join(blob.as_str()));
            file.unwrap().set_modified(now - hours).unwrap();
        }
        nimbus.client.client.beat();
        world.clock.advance(Duration::from_secs(700));
        world.hosts.values().for_each(MemoryClient::beat);
        nimbus.step();
        world.blobs().list().unwrap().contains(&before)
    };
    assert!(sweep(), "it may be rolled back");
    world.publish(&id, tries(2, UpgradeVerdict::Up));
    sweep();
    assert!(!sweep(), "it was accepted");
}

/// What may be there before another leader begins.
const OLD_IDS: [&str; 3] = ["words-2", "words-3", "other-1"];

/// Between any two calls of a leader, another one begins to lead and does what it does first. The old one does not know.
#[test]
fn what_an_old_leader_still_does_changes_nothing_after_another_one_has_begun() {
    for deed in DEEDS {
        let mut calls = 0;
        loop {
            let (mut world, old, mut used) = deed.prepare();
            let new = world.elect();
            let (second, tree) = (new.clone(), Arc::new(Mutex::new(None)));
            let (service, then) = (world.service.clone(), Arc::clone(&tree));
            let begin = move || {
                second.step();
                second.submit("third", 1).expect("it is taken");
                let client = service.client();
                let assignments = OLD_IDS.map(|id| {
                    let id: TopologyId = id.parse().unwrap();
                    let nodes = TopologyNodes::of(&id);
                    let version = |path| client.get(path).unwrap().map(|node| node.version);
                    let written = [&nodes.spec, &nodes.assignment, &nodes.state].map(version);
                    (written, client.get(&topologies_node()).unwrap())
                });
                *then.lock().unwrap() = Some(assignments);
            };
            old.client.plan(calls, Event::First(Box::new(begin)));
            let answer = deed.run(&old);
            if old.client.is_whole() {
                break;
            }
            let at = format!("{deed:?} at call {calls}");
            let client = world.service.client();
            let begun = tree.lock().unwrap().take().expect("it has begun");
            for (id, (written, catalog)) in OLD_IDS.iter().zip(begun) {
                let nodes = TopologyNodes::of(&id.parse().unwrap());
                let version = |path| client.get(path).unwrap().map(|node| node.version);
                let listed = world.catalog().topologies.values().any(|listed| listed.to_string() == *id);
                if listed {
                    let now = [&nodes.spec, &nodes.assignment, &nodes.state].map(version);
                    assert_eq!(now, written, "{at}: {id}");
                }
                assert_eq!(client.get(&topologies_node()).unwrap(), catalog, "{at}");
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                new.step();
                world.check(&mut used);
                assert!(
                    deed.is_done(&new) || answer.is_err() || deed == Deed::SeeHostLost,
                    "what was answered is done"
                );
                assert!(new.leader.topology("third").is_ok(), "what the new leader has taken is there");
                settle(deed, &mut world, &mut used, false);
            }));
            assert!(outcome.is_ok(), "{at}");
            calls += 1;
        }
        assert!(calls > 5, "{deed:?}: there are calls to begin at");
    }
}

/// A write is on its way when the connection is lost, and arrives after the leader has made its next pass. It had deleted
/// what was not in the catalog, and then the late write put a topology without nodes into the catalog.
#[test]
fn a_write_that_arrives_late_leaves_everything_whole() {
    for deed in DEEDS {
        let mut calls = 0;
        loop {
            let (mut world, nimbus, mut used) = deed.prepare();
            let client = Arc::clone(&nimbus.client);
            let lose = move || client.client.lose_next(Lose::Late, true);
            nimbus.client.plan(calls, Event::First(Box::new(lose)));
            let answer = deed.run(&nimbus);
            if nimbus.client.is_whole() {
                break;
            }
            let at = format!("{deed:?} at call {calls}");
            nimbus.client.client.heal();
            world.pass(&nimbus, 2 * SECOND);
            world.service.arrive();
            world.pass(&nimbus, 2 * SECOND);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                world.check(&mut used);
                settle(deed, &mut world, &mut used, answer.is_ok());
            }));
            assert!(outcome.is_ok(), "{at}");
            calls += 1;
        }
        assert!(calls > 5, "{deed:?}: there are calls to lose");
    }
}
