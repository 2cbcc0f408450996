//! State and checkpoints (3.5), and those of Trident's cases that ask for counts that are exact (3.6).
//!
//! Storm's checkpoint spout sends `INITSTATE`, `PREPARE`, `COMMIT` and `ROLLBACK` as tuples, with a transaction id. Here
//! `init_state`, `pre_commit` and `committed` are calls, and a rollback is a restore, after which the next start
//! numbers its checkpoints from 1 in an epoch of its own.
//!
//! Not here:
//! * `StatefulBoltExecutorTest`: `PREPARE` and `COMMIT` before `INITSTATE`. Executors begin halted, so neither exists.
//! * `TransactionalMapTest`, `OpaqueMapTest`, `OpaqueValueTest`, `MemoryMapStateTest.testRemove`, and the examples of the
//!   documentation ({man 3@tx1, …}, {4, prev 1, tx2}): they need transactional and opaque state.
//! * `TridentIntegrationTest`: `testCountAgg`, `testSplitMerge`, `testLocalThenShuffle`, `testResources`, and every
//!   query by DRPC (queries are answered here by what was published); `JoinProcessor`, `CoGroupByKeyProcessor`,
//!   `JoinBoltTest` and `StreamBuilderTest`: there are neither batches of DRPC, nor joins, nor streams yet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::api::{Positions, TwoPhaseBolt, TwoPhaseSink};
use squall::checkpoint::{CheckpointStore, MemoryStorage};
use squall::ids::CheckpointId;
use squall::prelude::*;
use squall::testing::{BoltHarness, HarnessOptions, SimulatedTopology, SimulationOptions, TestTuple};
use squall::topology::TopologyBuilder;
use squall::topology::declare::parse_str;

use crate::kit::{HOUR, lock};

/// Sentences that a test feeds, which a spout can read again.
#[derive(Clone, Default)]
struct Feed {
    sentences: Arc<Mutex<Vec<String>>>,
    has_ended: Arc<AtomicBool>,
}

impl Feed {
    fn feed(&self, sentences: &[&str]) {
        lock(&self.sentences).extend(sentences.iter().map(|sentence| (*sentence).to_owned()));
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
    }

    fn spout(&self) -> impl Fn() -> Sentences + Send + Sync + 'static {
        let feed = self.clone();
        move || Sentences { feed: feed.clone(), next: 0 }
    }
}

struct Sentences {
    feed: Feed,
    next: usize,
}

impl Spout for Sentences {
    fn declare(&self) -> Streams {
        Streams::new(["sentence"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let sentence = lock(&self.feed.sentences).get(self.next).cloned();
        let Some(sentence) = sentence else {
            let has_ended = self.feed.has_ended.load(Ordering::SeqCst);
            return Ok(if has_ended { SpoutStatus::Exhausted } else { SpoutStatus::Idle });
        };
        self.next += 1;
        out.emit([sentence])?;
        Ok(SpoutStatus::IdleFor(Duration::from_millis(1)))
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        positions.set("sentences", &self.next)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.next = positions.get("sentences")?.unwrap_or(0);
        Ok(())
    }
}

/// Words with their counts.
type Counts = Vec<(String, i64)>;

/// Rows that were published, and those that are pre-committed. It outlives every start.
#[derive(Clone, Default)]
struct Shelf {
    prepared: Arc<Mutex<BTreeMap<u64, Counts>>>,
    /// The number of the last transaction.
    last: Arc<Mutex<u64>>,
    rows: Arc<Mutex<Counts>>,
}

impl Shelf {
    fn sink(&self) -> impl Fn() -> TwoPhaseBolt<ShelfSink> + Send + Sync + 'static {
        let shelf = self.clone();
        move || TwoPhaseBolt::new(ShelfSink { shelf: shelf.clone(), open: Vec::new() })
    }

    /// The highest count of each word.
    fn counts(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for (word, count) in lock(&self.rows).iter() {
            let highest: &mut i64 = counts.entry(word.clone()).or_default();
            *highest = (*highest).max(*count);
        }
        counts
    }

    fn count(&self, word: &str) -> i64 {
        self.counts().get(word).copied().unwrap_or(0)
    }
}

struct ShelfSink {
    shelf: Shelf,
    open: Counts,
}

impl TwoPhaseSink for ShelfSink {
    type Transaction = u64;

    fn begin(&mut self) -> Result<u64, TaskError> {
        let mut last = lock(&self.shelf.last);
        *last += 1;
        Ok(*last)
    }

    fn write(&mut self, _: &mut u64, input: Input<'_>) -> Result<(), TaskError> {
        self.open.push((input.str("word")?.to_owned(), input.i64("count")?));
        Ok(())
    }

    fn pre_commit(&mut self, transaction: &mut u64) -> Result<(), TaskError> {
        lock(&self.shelf.prepared).insert(*transaction, std::mem::take(&mut self.open));
        Ok(())
    }

    fn commit(&mut self, transaction: &u64) -> Result<(), TaskError> {
        let rows = lock(&self.shelf.prepared).remove(transaction);
        lock(&self.shelf.rows).extend(rows.unwrap_or_default());
        Ok(())
    }

    fn abort_others(&mut self, keep: &[u64]) -> Result<(), TaskError> {
        lock(&self.shelf.prepared).retain(|transaction, _| keep.contains(transaction));
        Ok(())
    }
}

fn builder() -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("storm");
    builder.options(|options| {
        options.delivery = Delivery::ExactlyOnce;
        options.checkpoint.interval = Duration::from_millis(20);
    });
    builder
}

fn start(builder: TopologyBuilder, storage: &MemoryStorage) -> SimulatedTopology {
    let topology = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
    SimulatedTopology::start(topology, SimulationOptions::seeded(1).checkpoints(storage.clone()))
}

fn latest(storage: &MemoryStorage) -> Option<CheckpointId> {
    let store = CheckpointStore::open(Box::new(storage.clone()), "storm", 1);
    store.ok().and_then(|store| store.latest().map(|manifest| manifest.checkpoint))
}

fn kill(running: SimulatedTopology, storage: &MemoryStorage) {
    drop(running);
    storage.crash();
}

/// What a bolt was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    InitState { total: i64 },
    Execute,
    PreCommit(CheckpointId),
    Committed(CheckpointId),
}

/// Counts, and notes its calls. Fails the first of those that it is asked to.
struct Noting {
    calls: Arc<Mutex<Vec<Call>>>,
    fails: Option<&'static str>,
    failed: Arc<AtomicBool>,
    total: OperatorState<i64>,
}

impl Noting {
    fn fails(&self, what: &str) -> Result<(), TaskError> {
        if self.fails == Some(what) && !self.failed.swap(true, Ordering::SeqCst) {
            return Err(TaskError::new("it fails once"));
        }
        Ok(())
    }

    fn note(&self, call: Call) {
        lock(&self.calls).push(call);
    }
}

impl Bolt for Noting {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.total = context.operator_state("total")?;
        Ok(())
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.note(Call::InitState { total: self.total.items(out)?.len() as i64 });
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.note(Call::Execute);
        Ok(self.total.push(out, 1)?)
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.note(Call::PreCommit(checkpoint));
        self.fails("pre_commit")
    }

    fn committed(&mut self, checkpoint: CheckpointId, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.note(Call::Committed(checkpoint));
        self.fails("committed")
    }
}

/// A spout that never ends, and a bolt that notes its calls.
fn noting(fails: Option<&'static str>) -> (Arc<Mutex<Vec<Call>>>, impl Fn() -> TopologyBuilder) {
    let (feed, calls) = (Feed::default(), Arc::new(Mutex::new(Vec::new())));
    feed.feed(&["a"; 4000]);
    let (noted, failed) = (Arc::clone(&calls), Arc::new(AtomicBool::new(false)));
    let build = move || {
        let mut builder = builder();
        builder.spout("sentences", feed.spout());
        let (calls, failed) = (Arc::clone(&noted), Arc::clone(&failed));
        let bolt = move || Noting {
            calls: Arc::clone(&calls),
            fails,
            failed: Arc::clone(&failed),
            total: OperatorState::default(),
        };
        builder.bolt("notes", bolt).shuffle("sentences");
        builder
    };
    (calls, build)
}

fn run_until(running: &mut SimulatedTopology, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if holds() {
            return;
        }
        running.run_steps(1);
    }
    panic!("it does not come to that");
}

/// Without the executions.
fn protocol(calls: &Mutex<Vec<Call>>) -> Vec<Call> {
    lock(calls).iter().copied().filter(|call| *call != Call::Execute).collect()
}

fn id(epoch: u64, number: u64) -> CheckpointId {
    CheckpointId { epoch, number }
}

/// `CheckpointSpoutTest.testInitState` and `testPrepare`, and `StatefulBoltExecutorTest.testHandleTupleBeforeInit`:
/// first the state is there, once, before any tuple; then each checkpoint is prepared, and committed after that. If it
/// fails, a bolt counts before it has what it counted.
#[test]
fn state_is_initialised_first_and_each_checkpoint_is_prepared_and_committed() {
    let (calls, build) = noting(None);
    let mut running = start(build(), &MemoryStorage::new());
    run_until(&mut running, || lock(&calls).contains(&Call::Committed(id(1, 3))));
    let numbers = (1..=3).flat_map(|n| [Call::PreCommit(id(1, n)), Call::Committed(id(1, n))]);
    let expected: Vec<Call> = Some(Call::InitState { total: 0 }).into_iter().chain(numbers).collect();
    assert_eq!(protocol(&calls), expected);
    assert_eq!(lock(&calls)[0], Call::InitState { total: 0 }, "before any tuple");
    assert!(lock(&calls).contains(&Call::Execute));
}

/// `CheckpointSpoutTest.testPrepareWithFail`: a commit that fails is made again, with its number. If it fails, rows
/// of a complete checkpoint are never published.
#[test]
fn a_commit_that_fails_is_made_again() {
    let (calls, build) = noting(Some("committed"));
    let mut builder = build();
    // Longer than the pause after a commit that failed: a later checkpoint would be committed in its place.
    builder.options(|options| options.checkpoint.interval = Duration::from_secs(1));
    let mut running = start(builder, &MemoryStorage::new());
    run_until(&mut running, || lock(&calls).contains(&Call::PreCommit(id(1, 2))));
    let expected = [
        Call::InitState { total: 0 },
        Call::PreCommit(id(1, 1)),
        Call::Committed(id(1, 1)),
        Call::Committed(id(1, 1)),
        Call::PreCommit(id(1, 2)),
    ];
    assert_eq!(protocol(&calls), expected);
}

/// `CheckpointSpoutTest.testRecoveryPreparing` with Storm's number: it dies while 100 is prepared. What came after 99 is
/// rolled back, 99 is committed again, and another is prepared. If it fails, half a checkpoint counts.
#[test]
fn a_start_that_died_while_it_prepared_100_goes_on_from_99() {
    let (storage, (calls, build)) = (MemoryStorage::new(), noting(None));
    let mut running = start(build(), &storage);
    run_until(&mut running, || lock(&calls).contains(&Call::PreCommit(id(1, 100))));
    assert_eq!(latest(&storage), Some(id(1, 99)));
    let executed = |calls: &[Call]| calls.iter().filter(|call| **call == Call::Execute).count() as i64;
    let at_99 = {
        let calls = lock(&calls);
        let prepared = calls.iter().position(|call| *call == Call::PreCommit(id(1, 99)));
        executed(&calls[..prepared.expect("it was prepared")])
    };
    kill(running, &storage);
    lock(&calls).clear();
    let mut running = start(build(), &storage);
    run_until(&mut running, || lock(&calls).contains(&Call::Committed(id(2, 1))));
    let expected = [
        Call::InitState { total: at_99 },
        Call::Committed(id(1, 99)),
        Call::PreCommit(id(2, 1)),
        Call::Committed(id(2, 1)),
    ];
    assert_eq!(protocol(&calls), expected);
}

/// `CheckpointSpoutTest.testRecoveryCommitting` with Storm's number: 100 is complete, and it dies before the commit. The
/// next start commits 100. If it fails, what a complete checkpoint has is never published.
#[test]
fn a_start_that_died_before_it_committed_100_commits_it() {
    let (storage, (calls, build)) = (MemoryStorage::new(), noting(None));
    let mut running = start(build(), &storage);
    run_until(&mut running, || latest(&storage) == Some(id(1, 100)));
    assert!(!lock(&calls).contains(&Call::Committed(id(1, 100))));
    kill(running, &storage);
    lock(&calls).clear();
    let mut running = start(build(), &storage);
    run_until(&mut running, || lock(&calls).contains(&Call::PreCommit(id(2, 1))));
    let [Call::InitState { .. }, rest @ ..] = &protocol(&calls)[..] else { panic!("no state at first") };
    assert_eq!(rest, [Call::Committed(id(1, 100)), Call::PreCommit(id(2, 1))]);
}

/// `CheckpointSpoutTest.testPrepareWithFail`, of the other phase: the prepare of transaction 1 fails. Storm rolls back
/// and prepares 1 again. Here 1 is given up, nothing is rolled back, and 2 is prepared. If it fails, a checkpoint that
/// was not prepared is committed.
#[test]
fn a_prepare_that_fails_is_followed_by_another() {
    let (calls, build) = noting(Some("pre_commit"));
    let mut running = start(build(), &MemoryStorage::new());
    run_until(&mut running, || lock(&calls).contains(&Call::Committed(id(1, 2))));
    let expected = [
        Call::InitState { total: 0 },
        Call::PreCommit(id(1, 1)),
        Call::PreCommit(id(1, 2)),
        Call::Committed(id(1, 2)),
    ];
    assert_eq!(protocol(&calls), expected);
}

/// Holds letters under their names.
#[derive(Default)]
struct Letters(ValueState<i64>);

impl Bolt for Letters {
    fn declare(&self) -> Streams {
        Streams::new(["value"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = context.value_state("letters")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        match input.str("do")? {
            "put" => self.0.set(out, input.i64("value")?)?,
            "delete" => self.0.clear(out)?,
            _ => {
                let value = self.0.get(out)?.copied();
                out.emit([value.map_or(Value::Null, Value::from)])?;
            }
        }
        Ok(())
    }
}

/// `InMemoryKeyValueStateTest.testPrepareCommitRollback` and the rest of it, with its letters and numbers. If it fails, a
/// rollback leaves what it should take back, or takes back what was committed.
#[test]
fn a_rollback_leaves_what_was_committed() {
    let options = HarnessOptions { key: Fields::from(["letter"]), ..HarnessOptions::default() };
    let command = |what: &str, letter: &str, value: i64| {
        TestTuple::new((what, letter, value)).fields(["do", "letter", "value"])
    };
    let read = |state: &mut BoltHarness| -> Vec<Option<i64>> {
        state.execute_all(["a", "b", "c"].map(|letter| command("get", letter, 0)));
        state.take_rows("default").iter().map(|row| row[0].as_i64()).collect()
    };
    let begin = || BoltHarness::start(Box::new(Letters::default()), &options).expect("it can begin");
    let restore = |from| {
        BoltHarness::restored(Box::new(Letters::default()), &options, from).expect("it can be restored")
    };
    let mut state = begin();
    state.execute_all([command("put", "a", 1), command("put", "b", 2)]);
    let _prepared = state.checkpoint(1);
    state.execute(command("put", "c", 3));
    assert_eq!(read(&mut state), [Some(1), Some(2), Some(3)]);
    // Nothing was committed, so a rollback begins with nothing.
    let mut state = begin();
    assert_eq!(read(&mut state), [None, None, None]);
    state.execute_all([command("put", "a", 1), command("put", "b", 2)]);
    let first = state.checkpoint(1);
    state.committed(1);
    state.execute(command("put", "c", 3));
    assert_eq!(read(&mut state), [Some(1), Some(2), Some(3)]);
    let mut state = restore(&first);
    assert_eq!(read(&mut state), [Some(1), Some(2), None]);
    state.execute(command("delete", "b", 0));
    assert_eq!(read(&mut state), [Some(1), None, None]);
    let second = state.checkpoint(2);
    state.committed(2);
    assert_eq!(read(&mut state), [Some(1), None, None]);
    state.execute(command("put", "b", 2));
    assert_eq!(read(&mut state), [Some(1), Some(2), None]);
    let _prepared = state.checkpoint(3);
    let mut state = restore(&second);
    assert_eq!(read(&mut state), [Some(1), None, None]);
}

/// Emits how often each word has come. Names the key only if the words were not grouped.
#[derive(Default)]
struct WordCount(ValueState<i64>);

impl Bolt for WordCount {
    fn declare(&self) -> Streams {
        Streams::new(["word", "count"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let word = input.str("word")?.to_owned();
        if out.key().is_empty() {
            out.set_key([word.as_str()])?;
        }
        let count = self.0.update(out, |count| {
            *count += 1;
            *count
        })?;
        Ok(out.emit((word, count))?)
    }
}

/// `TridentIntegrationTest.testWordCount`: sentences, their words, a count by word in so many tasks, and what it publishes.
fn word_count(feed: &Feed, shelf: &Shelf, [splits, counts]: [u32; 2]) -> TopologyBuilder {
    let mut builder = builder();
    builder.spout("sentences", feed.spout());
    let split = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
        let words: Vec<String> = input.str("sentence")?.split(' ').map(str::to_owned).collect();
        words.into_iter().try_for_each(|word| Ok(out.emit([word])?))
    };
    let split = builder.bolt_fn("split", Streams::new(["word"]), split).parallelism(splits);
    split.shuffle("sentences");
    builder.bolt("count", WordCount::default).parallelism(counts).fields("split", ["word"]);
    builder.bolt("sink", shelf.sink()).shuffle("count");
    builder
}

/// `MemoryMapStateTest` and the feed of `testWordCount`: hello 1, said 1, the 2, man 1, and after "the foo" the 3 and foo 1
/// more. Each feed meets another start, which was killed before. If it fails, a count is not what it was.
#[test]
fn counts_of_words_go_on_after_each_kill() {
    let (feed, shelf, storage) = (Feed::default(), Shelf::default(), MemoryStorage::new());
    let next = |sentences: &[&str], expected: &[(&str, i64)]| {
        feed.feed(sentences);
        let mut running = start(word_count(&feed, &shelf, [2, 3]), &storage);
        running.advance(Duration::from_millis(200));
        let expected: BTreeMap<String, i64> =
            expected.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        assert_eq!(shelf.counts(), expected);
        kill(running, &storage);
    };
    next(&["hello the man said", "the"], &[("hello", 1), ("man", 1), ("said", 1), ("the", 2)]);
    next(&["the foo"], &[("foo", 1), ("hello", 1), ("man", 1), ("said", 1), ("the", 3)]);
}

/// `testWordCountCommitter`: the 2, hello 1; then the 4, man 2, and "man where you the" adds up to 8; then, with a repartition
/// and with many transactions of nothing in between, the 6 and the 7. If it fails, an empty checkpoint stalls the run, or
/// its commit is left out.
#[test]
fn empty_checkpoints_and_a_repartition_neither_stall_nor_lose() {
    let (feed, shelf, storage) = (Feed::default(), Shelf::default(), MemoryStorage::new());
    let mut running = start(word_count(&feed, &shelf, [2, 6]), &storage);
    let completed = |running: &SimulatedTopology| running.stats().checkpoints.map_or(0, |it| it.completed);
    let idle = |running: &mut SimulatedTopology| {
        let before = completed(running);
        running.advance(Duration::from_secs(2));
        assert!(completed(running) > before + 50, "checkpoints of nothing go on");
    };
    idle(&mut running);
    feed.feed(&["hello the man said", "the"]);
    idle(&mut running);
    assert_eq!((shelf.count("the"), shelf.count("hello")), (2, 1));
    feed.feed(&["the man on the moon", "where are you"]);
    idle(&mut running);
    assert_eq!((shelf.count("the"), shelf.count("man")), (4, 2));
    assert_eq!(["man", "where", "you", "the"].map(|word| shelf.count(word)).iter().sum::<i64>(), 8);
    kill(running, &storage);
    feed.feed(&["the the"]);
    let mut running = start(word_count(&feed, &shelf, [3, 2]), &storage);
    idle(&mut running);
    assert_eq!(shelf.count("the"), 6);
    feed.feed(&["the"]);
    idle(&mut running);
    assert_eq!(shelf.count("the"), 7);
    feed.end();
    let stats = running.run_to_end(HOUR).expect("it ends");
    assert!(!stats.cut_short && stats.failed_unanchored == 0);
    let rows = lock(&shelf.rows).iter().filter(|(word, _)| word == "the").count();
    assert_eq!(rows, 7, "each count was published once");
}

/// `testMultipleGroupingsSameStream`: one stream by two groupings to two counts gives (the, 1) twice. If it fails, one of
/// two subscriptions loses its checkpoint or its rows.
#[test]
fn two_groupings_of_one_stream_count_each_for_itself() {
    let (feed, shelf) = (Feed::default(), Shelf::default());
    feed.feed(&["the"]);
    feed.end();
    let mut builder = word_count(&feed, &shelf, [1, 2]);
    builder.bolt("other", WordCount::default).parallelism(2).shuffle("split");
    let second = shelf.clone();
    let other = move || {
        let mut shelf = second.clone();
        // A task of another sink has transactions of its own.
        shelf.prepared = Arc::default();
        TwoPhaseBolt::new(ShelfSink { shelf, open: Vec::new() })
    };
    builder.bolt("other-sink", other).shuffle("other");
    let stats = start(builder, &MemoryStorage::new()).run_to_end(HOUR).expect("it ends");
    assert!(!stats.cut_short);
    assert_eq!(*lock(&shelf.rows), [("the".to_owned(), 1), ("the".to_owned(), 1)]);
}

/// `TridentIntegrationTest`'s checks of projections: `each`, `groupBy`, `project`, `partitionBy` and `aggregate` of a field
/// that is not there. If it fails, a misspelt field is found when the first tuple comes.
#[test]
fn fields_that_are_not_there_are_refused() {
    let check = |bolt: &str| {
        let document = format!(
            "[topology]\nname = 't'\ndelivery = 'exactly-once'\n\
             [spout.words]\ntype = 'generate'\nconfig = {{ count = 1, rows = [{{ word = 'the' }}] }}\n\
             [bolt.x]\n{bolt}\n"
        );
        let errors = parse_str("t", &document, &Registry::with_standard()).err();
        let errors = errors.unwrap_or_else(|| panic!("it is taken: {bolt}")).render(false);
        assert!(errors.contains("has no field `foo`"), "{bolt}: {errors}");
    };
    check("type = 'split'\ninputs = ['words']\nconfig = { field = 'foo' }");
    check("type = 'count'\ninputs = [{ from = 'words', fields = ['word'] }]\nconfig = { by = ['foo'] }");
    check("type = 'project'\ninputs = ['words']\nconfig = { fields = ['foo'] }");
    check("type = 'null'\ninputs = [{ from = 'words', fields = ['foo'] }]");
    check("type = 'count'\ninputs = [{ from = 'words', fields = ['foo'] }]\nconfig = { by = ['word'] }");
}
