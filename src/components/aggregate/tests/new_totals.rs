//! The stream of new totals: each is there once, and it has every value that the store got.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::running::{run_to_end, run_with_a_break};
use super::store::{Done, TestStore};
use super::{MODES, WORDS, settings};
use crate::api::{Bolt as _, MapKey};
use crate::checkpoint::MemoryStorage;
use crate::components::aggregate::{Aggregate, AggregateSettings, Function};
use crate::config::StateMode;
use crate::testing::{SimulatedTopology, SimulationOptions};
use crate::topology::declare::parse_str;
use crate::topology::registry::{NoSettings, Registry};
use crate::tuple::{Fields, Value};

/// Words are counted, and so is each new total.
struct Watched<'a> {
    count: u64,
    tasks: u32,
    mode: StateMode,
    store: &'a TestStore,
    /// How often each new total has come.
    seen: &'a TestStore,
    storage: &'a MemoryStorage,
}

impl Watched<'_> {
    fn start(&self, seed: u64) -> SimulatedTopology {
        let Watched { count, tasks, mode, .. } = self;
        let mut registry = Registry::with_standard();
        for (name, store) in [("test", self.store), ("seen", self.seen)] {
            let store = store.clone();
            registry.state_type(name, "The store of the test.", move |_: &NoSettings| Ok(store.clone()));
        }
        let rows: Vec<String> = (0..WORDS).map(|word| format!("{{ word = 'word{word}' }}")).collect();
        let document = format!(
            "[topology]\nname = 'words'\ndelivery = 'exactly-once'\n[topology.checkpoint]\ninterval = '50ms'\n\
             [state.totals]\ntype = 'test'\nmode = '{mode}'\n[state.seen]\ntype = 'seen'\n\
             [spout.words]\ntype = 'generate'\n[spout.words.config]\nrate = 300\ncount = {count}\nrows = [{}]\n\
             [bolt.totals]\ntype = 'aggregate'\nparallelism = {tasks}\n\
             inputs = [{{ from = 'words', fields = ['word'] }}]\n\
             config = {{ state = 'totals', by = ['word'], function = 'count' }}\n\
             [bolt.seen]\ntype = 'aggregate'\ninputs = ['totals']\n\
             config = {{ state = 'seen', by = ['word', 'total'], function = 'count', emit = 'times' }}\n",
            rows.join(", ")
        );
        let topology = parse_str("words.toml", &document, &registry);
        let topology = topology.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        SimulatedTopology::start(topology, SimulationOptions::seeded(seed).checkpoints(self.storage.clone()))
    }

    fn assert_exact(&self, what: &str) {
        let each = (self.count / WORDS).cast_signed();
        assert!(self.store.totals().values().all(|total| *total == each), "{what}");
        let (store, seen) = (self.store.lock(), self.seen.lock());
        let times = |key: &MapKey| seen.entries.get(key).map(|stored| stored.value.clone());
        for (key, total) in &store.values {
            let row = [key.as_slice(), std::slice::from_ref(total)].concat();
            assert_eq!(times(&row), Some(Value::from(1)), "{what}: {row:?}");
        }
        assert_eq!(seen.entries.len(), store.values.len(), "{what}: and no others");
    }
}

/// The process dies at each call of the store in turn, and the run is continued; or the store goes away at that call, and
/// the process lives.
#[test]
fn a_crash_in_any_call_leaves_each_new_total_once() {
    for mode in MODES {
        let calls = {
            let (store, seen, storage) =
                (TestStore::default(), TestStore::default(), MemoryStorage::seeded(1));
            let run = Watched { count: 60, tasks: 2, mode, store: &store, seen: &seen, storage: &storage };
            run_to_end(run.start(1));
            run.assert_exact("nothing happens");
            assert!(store.lock().values.len() > 12 * 2, "each word has several new totals");
            store.lock().calls
        };
        let broken = (1..=calls).flat_map(|at| [Done::Nothing, Done::Everything].map(|done| (at, done)));
        for ((at, done), dies) in broken.flat_map(|at| [(at, true), (at, false)]) {
            let (store, seen, storage) =
                (TestStore::default(), TestStore::default(), MemoryStorage::seeded(1));
            let run = Watched { count: 60, tasks: 2, mode, store: &store, seen: &seen, storage: &storage };
            let stats = run_with_a_break((at, done), dies, &store, &storage, |seed| run.start(seed));
            assert_eq!(stats.failed, 0);
            run.assert_exact(&format!("{mode}, call {at}, {done:?}, dies: {dies}"));
        }
    }
}

/// The process dies anywhere, and keys move to other tasks with what is pending of them.
#[test]
fn another_number_of_tasks_leaves_each_new_total_once() {
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let (store, seen, storage) =
            (TestStore::default(), TestStore::default(), MemoryStorage::seeded(seed));
        let mode = MODES[random.random_range(0..2)];
        let run_of =
            |tasks| Watched { count: 120, tasks, mode, store: &store, seen: &seen, storage: &storage };
        for _ in 0..4 {
            let mut run = run_of(random.random_range(1..=4)).start(random.random_range(0..1000));
            run.run_steps(random.random_range(100..3000));
            drop(run);
            storage.crash();
        }
        let last = run_of(random.random_range(1..=4));
        assert_eq!(run_to_end(last.start(1)).failed, 0);
        last.assert_exact(&format!("seed {seed}"));
    }
}

#[test]
fn the_field_of_the_total_has_a_name_of_its_own() {
    let emit_as = |emit: &str| {
        let settings = AggregateSettings { emit: emit.to_owned(), ..settings(Function::Count, None) };
        Aggregate::new(settings).map(|bolt| bolt.declare())
    };
    let streams = emit_as("n").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(streams.get("default").map(|stream| stream.fields.clone()), Some(Fields::from(["word", "n"])));
    let error = emit_as("word").expect_err("a tuple has one field of a name");
    assert_eq!(error.key.as_deref(), Some("emit"));
    assert!(error.message.contains("`word` is one of `by`, too"), "{}", error.message);
}
