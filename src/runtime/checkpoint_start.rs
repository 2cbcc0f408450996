//! How a topology that is exactly-once begins: where its checkpoints are, and what becomes of those of earlier runs.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use slog::Logger;
use smol_str::SmolStr;

use crate::checkpoint::{
    CheckpointError, CheckpointReader, CheckpointStorage, CheckpointStore, DirectoryStorage, LeftBehind,
    LogStorage, Manifest, RunInDirectory, RunState, TaskEntry, keep_run_in, run_in,
};
use crate::ids::CheckpointId;
use crate::runtime::checkpoint_fit::check_fit;
use crate::runtime::registration_trial::{Trial, unregistered};
use crate::runtime::user_directory::user_directory;
use crate::topology::graph::Topology;
use crate::wal::{Wal, WalError, WalPlace, WalPosition, log_name};

/// What a topology that is `exactly-once` does about the checkpoints of an earlier run.
///
/// # Examples
/// A topology is continued where a run that was killed left it:
/// ```
/// use squall::runtime::{CheckpointBegin, LocalOptions};
///
/// let options = LocalOptions { checkpoints: CheckpointBegin::Resume, ..LocalOptions::default() };
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CheckpointBegin {
    /// It begins at the beginning. If an earlier run has not come to its end, or its sinks have not published
    /// everything, it is not started.
    #[default]
    New,
    /// It goes on from the latest checkpoint. If there is none, it begins at the beginning.
    Resume,
    /// It goes back to this checkpoint, and on from there. Later ones are given up. What sinks have published since is
    /// published once more.
    ResumeFrom(CheckpointId),
    /// It begins at the beginning, and the checkpoints of an earlier run are deleted.
    Discard,
    /// It goes on from a savepoint, which is copied and stays as it is.
    Savepoint {
        /// The directory of the savepoint.
        directory: PathBuf,
        /// Whether checkpoints of an earlier run are deleted. Otherwise it is not started if there are any, and that
        /// run has not come to its end.
        discard: bool,
    },
}

/// Why a topology cannot begin with its checkpoints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointStartError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] CheckpointError),
    /// An earlier run has left checkpoints, and has not come to its end.
    #[error(
        "checkpoint {checkpoint} in {location} is of a run of `{topology}` that has not come to its end: write \
         `--resume` to continue that run, or `--discard-checkpoints` to begin anew without it"
    )]
    Left {
        /// The topology.
        topology: SmolStr,
        /// Its latest checkpoint.
        checkpoint: CheckpointId,
        /// Where it is.
        location: String,
    },
    /// An earlier run has come to its end, and was ended before its sinks had published everything.
    #[error(
        "checkpoint {checkpoint} in {location} is of a run of `{topology}` that has come to its end, and not all of \
         its rows may be published: write `--resume` to publish them, or `--discard-checkpoints` to begin anew without \
         them"
    )]
    Unpublished {
        /// The topology.
        topology: SmolStr,
        /// Its last checkpoint.
        checkpoint: CheckpointId,
        /// Where it is.
        location: String,
    },
    /// The checkpoint is of another form of the topology.
    #[error("checkpoint {checkpoint} in {location} does not fit topology `{topology}`: {}", differences.join("; "))]
    Unfit {
        /// The topology.
        topology: SmolStr,
        /// Its latest checkpoint.
        checkpoint: CheckpointId,
        /// Where it is.
        location: String,
        /// What is different.
        differences: Vec<String>,
    },
    /// The directory of the write-ahead logs cannot be read.
    #[error("cannot look for the write-ahead logs of `{component}`: {source}")]
    Logs {
        /// The spout.
        component: SmolStr,
        /// Why not.
        source: io::Error,
    },
    /// A write-ahead log cannot be used.
    #[error("{0}")]
    Log(String),
    /// There is no directory to keep checkpoints in.
    #[error(
        "checkpoints need a directory, and neither XDG_STATE_HOME nor HOME is set: name one by \
         `[topology.checkpoint] storage`"
    )]
    NoDirectory,
}

/// The checkpoints of a topology, and which start of it this is.
pub struct OpenedCheckpoints {
    /// The store, in which this epoch has begun.
    pub store: CheckpointStore,
    /// The epoch.
    pub epoch: u64,
}

impl OpenedCheckpoints {
    /// Warns of what comes twice after the topology went back to an earlier checkpoint.
    pub fn warn_of_given_up(&self, logger: &Logger) {
        let given_up: Vec<String> = self.store.given_up().iter().map(CheckpointId::to_string).collect();
        if let (false, Some(latest)) = (given_up.is_empty(), self.store.latest()) {
            slog::warn!(logger, "went back to an earlier checkpoint; later ones were given up, and rows that sinks \
                published since are published again";
                "checkpoint" => latest.checkpoint.to_string(), "given_up" => given_up.join(", "));
        }
    }
}

/// The directory of the checkpoints of a topology: the one that its options name, or one for each topology below the
/// state directory of the user.
pub fn checkpoint_directory(topology: &Topology) -> Result<PathBuf, CheckpointStartError> {
    if let Some(directory) = &topology.options().checkpoint.storage {
        return Ok(directory.clone());
    }
    Ok(user_directory(topology).ok_or(CheckpointStartError::NoDirectory)?.join("checkpoints"))
}

/// The directory of the write-ahead logs of a topology that is exactly-once: the one that its options name, or one beside
/// its checkpoints.
pub fn wal_directory(topology: &Topology) -> Result<PathBuf, CheckpointStartError> {
    if let Some(directory) = &topology.options().checkpoint.wal_storage {
        return Ok(directory.clone());
    }
    let mut name = checkpoint_directory(topology)?.into_os_string();
    name.push("-wal");
    Ok(PathBuf::from(name))
}

/// Opens the directory of the checkpoints of a topology, and begins an epoch in it. `holder` is shown to whoever wants
/// it while this process has it.
pub fn open_directory(
    topology: &Topology,
    begin: CheckpointBegin,
    dropped: &[String],
    holder: &str,
    trial: &Trial,
) -> Result<OpenedCheckpoints, CheckpointStartError> {
    let storage = DirectoryStorage::open(checkpoint_directory(topology)?, holder)?;
    open_storage(topology, begin, dropped, storage, trial)
}

/// What a topology of a cluster leaves behind: when it begins, and when a generation of it does that has another topology.
#[derive(Clone, Copy, Debug, Default)]
pub struct DroppedOfRun<'a> {
    /// When the run begins.
    pub at_begin: &'a [String],
    /// By generation, each when that begins.
    pub by_generation: &'a [(u64, Vec<String>)],
}

/// Opens the directory for a master of a topology of a cluster. `run` names the run of the topology, which all of its
/// masters have in common.
///
/// The first master begins as `begin` says. When that is done, the directory has the name of the run. A master that
/// finds it there takes the directory over: workers of the masters before may live, and it goes on from the latest
/// checkpoint. What `dropped` names is left behind in what was there before the run, or the generation, began, and in
/// nothing later.
///
/// So a first master that dies before it has begun is no reason for the next one to begin in another way.
pub fn open_directory_of_run(
    topology: &Topology,
    run: &str,
    begin: CheckpointBegin,
    dropped: DroppedOfRun<'_>,
    (holder, trial): (&str, &Trial),
) -> Result<OpenedCheckpoints, CheckpointStartError> {
    let directory = checkpoint_directory(topology)?;
    let begun = run_in(&directory)?.filter(|begun| begun.run == run);
    let (opened, mut kept) = match begun.clone() {
        Some(kept) => {
            let storage = DirectoryStorage::take_over(&directory, holder)?;
            let latest = CheckpointReader::open(&directory)?.manifest(None).ok();
            let names = latest.map_or_else(Vec::new, |latest| {
                names_left_behind(dropped, Some(&kept), latest.checkpoint.epoch)
            });
            (open_storage(topology, CheckpointBegin::Resume, &names, storage, trial)?, kept)
        }
        None => {
            let names = names_left_behind(dropped, None, 0);
            let opened = open_directory(topology, begin, &names, holder, trial)?;
            let kept =
                RunInDirectory { run: run.to_owned(), begun: opened.epoch, generations: BTreeMap::new() };
            (opened, kept)
        }
    };
    for (generation, _) in dropped.by_generation {
        kept.generations.entry(*generation).or_insert(opened.epoch);
    }
    kept.generations.retain(|generation, _| dropped.by_generation.iter().any(|(of, _)| of == generation));
    if begun.as_ref() != Some(&kept) {
        keep_run_in(&directory, &kept)?;
    }
    Ok(opened)
}

/// What is left behind in a checkpoint of this epoch.
fn names_left_behind(dropped: DroppedOfRun<'_>, begun: Option<&RunInDirectory>, epoch: u64) -> Vec<String> {
    let is_older = |since: Option<u64>| since.is_none_or(|since| epoch < since);
    let at_begin = dropped.at_begin.iter().filter(|_| is_older(begun.map(|begun| begun.begun)));
    let since = |generation| begun.and_then(|begun| begun.generations.get(generation).copied());
    let later = dropped.by_generation.iter().filter(|(generation, _)| is_older(since(generation)));
    let mut names: Vec<String> = at_begin.chain(later.flat_map(|(_, names)| names)).cloned().collect();
    names.sort();
    names.dedup();
    names
}

fn open_storage(
    topology: &Topology,
    begin: CheckpointBegin,
    dropped: &[String],
    storage: DirectoryStorage,
    trial: &Trial,
) -> Result<OpenedCheckpoints, CheckpointStartError> {
    let logs = WalPlace::Directory(wal_directory(topology)?);
    open(topology, begin, dropped, Box::new(storage), &logs, Some(trial))
}

/// Opens a storage with the checkpoints of a topology, and begins an epoch in it. What `dropped` names is left behind:
/// components that the topology does not have any more, and states of those that it has, as [`check_fit`] reads them.
///
/// With a `trial`, it is found out which states the topology registers before a checkpoint is given up or deleted.
pub fn open(
    topology: &Topology,
    begin: CheckpointBegin,
    dropped: &[String],
    storage: Box<dyn CheckpointStorage>,
    logs: &WalPlace,
    trial: Option<&Trial>,
) -> Result<OpenedCheckpoints, CheckpointStartError> {
    let location = storage.location();
    let retain = topology.options().checkpoint.retain as usize;
    let mut store = match begin {
        CheckpointBegin::ResumeFrom(checkpoint) => {
            CheckpointStore::open_at(storage, topology.name(), retain, checkpoint)?
        }
        _ => CheckpointStore::open(storage, topology.name(), retain)?,
    };
    let mut left_behind = LeftBehind::default();
    let gives_up = matches!(begin, CheckpointBegin::ResumeFrom(_) | CheckpointBegin::Savepoint { .. });
    let fit = |manifest: &Manifest, location: &str| {
        let left_behind = check_fit(topology, manifest, dropped).and_then(|left_behind| {
            let tried = trial.filter(|_| gives_up);
            let differences = tried.map(|trial| unregistered(topology, manifest, &left_behind, trial));
            match differences.filter(|differences| !differences.is_empty()) {
                Some(differences) => Err(differences),
                None => Ok(left_behind),
            }
        });
        left_behind.map_err(|differences| CheckpointStartError::Unfit {
            topology: topology.name().into(),
            checkpoint: manifest.checkpoint,
            location: location.to_owned(),
            differences,
        })
    };
    let left = store.latest();
    match (&begin, left) {
        (CheckpointBegin::Resume | CheckpointBegin::ResumeFrom(_), Some(left)) => {
            left_behind = fit(left, &location)?;
        }
        (CheckpointBegin::New | CheckpointBegin::Savepoint { discard: false, .. }, Some(left))
            if left.run != RunState::Committed =>
        {
            let (topology, checkpoint) = (topology.name().into(), left.checkpoint);
            return Err(match left.run {
                RunState::Ended => CheckpointStartError::Unpublished { topology, checkpoint, location },
                RunState::Running | RunState::Committed => {
                    CheckpointStartError::Left { topology, checkpoint, location }
                }
            });
        }
        (CheckpointBegin::Savepoint { directory, .. }, left) => {
            // Nothing is deleted before it is known that the savepoint can be used.
            let savepoint = CheckpointReader::open(directory)?;
            let manifest = savepoint.manifest(None)?;
            left_behind = fit(&manifest, savepoint.location())?;
            savepoint.check_files(&manifest)?;
            if left.is_some() {
                store.clear()?;
            }
            store.import(directory)?;
        }
        // The logs first: if that is interrupted, the next start is told once more what to do.
        (CheckpointBegin::New, Some(left)) => {
            begin_logs_after(topology, left, logs)?;
            store.clear()?;
        }
        (CheckpointBegin::Discard, left) => {
            let has_left = left.is_some();
            remove_logs(topology, logs)?;
            if has_left {
                store.clear()?;
            }
        }
        (_, None) => {}
    }
    let epoch = store.begin_epoch()?;
    Ok(OpenedCheckpoints { store: store.leaving_behind(left_behind), epoch })
}

/// The logs of a topology, opened one after the other.
fn for_each_log(
    topology: &Topology,
    logs: &WalPlace,
    mut call: impl FnMut(&str, Box<dyn LogStorage>) -> Result<(), WalError>,
) -> Result<(), CheckpointStartError> {
    let logged = topology.components().iter().filter(|component| component.options.wal);
    for component in logged {
        let there = logs
            .logs_of(&component.id)
            .map_err(|source| CheckpointStartError::Logs { component: component.id.clone(), source })?;
        for log in there {
            let storage = logs.open(&log)?;
            call(&log, storage).map_err(|error| CheckpointStartError::Log(error.to_string()))?;
        }
    }
    Ok(())
}

/// A new run begins with what the run before had read, and not emitted when it came to its end.
fn begin_logs_after(
    topology: &Topology,
    ended: &Manifest,
    logs: &WalPlace,
) -> Result<(), CheckpointStartError> {
    for_each_log(topology, logs, |log, mut storage| {
        let of_log = |entry: &&TaskEntry| log_name(&entry.component, entry.task_index as usize) == log;
        let entry = ended.tasks.iter().find(of_log);
        let position = entry.and_then(|entry| entry.positions.values().find_map(WalPosition::of_json));
        let Some(position) = position else { return Ok(()) };
        if !Wal::is_there(&mut *storage, position.log)? {
            return Ok(());
        }
        Wal::open(storage, position.log, logs.segment_len_max())?.set_begin(position.next)
    })
}

/// Nothing of the run before is read any more.
fn remove_logs(topology: &Topology, logs: &WalPlace) -> Result<(), CheckpointStartError> {
    for_each_log(topology, logs, |_, mut storage| Wal::remove(&mut *storage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Spout, SpoutOutputs, SpoutStatus, Streams, TaskError};
    use crate::checkpoint::{MemoryStorage, TaskEntry};
    use crate::config::Delivery;
    use crate::testing::{Capture, FixedSpout};
    use crate::topology::TopologyBuilder;
    use crate::tuple::Value;
    use crate::wal::{LogId, SEGMENT_LEN_MAX};

    fn topology(sinks: u32) -> Topology {
        let mut builder = TopologyBuilder::new("words");
        builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
        builder.bolt("sink", Capture::new().bolt()).parallelism(sinks).shuffle("words");
        builder.build().unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn no_logs() -> WalPlace {
        WalPlace::Memory(MemoryStorage::new())
    }

    /// Publishes the checkpoint of a run of the topology `words`.
    fn publish(store: &mut CheckpointStore, checkpoint: CheckpointId, run: RunState, tasks: Vec<TaskEntry>) {
        let (topology, key_groups, taken_at, txid) = ("words".into(), 1024, 0, 0);
        let manifest = Manifest { checkpoint, topology, key_groups, taken_at, run, txid, tasks };
        store.publish(manifest).unwrap_or_else(|error| panic!("{error}"));
    }

    /// A storage in which a run of one sink left a checkpoint.
    fn left(run: RunState) -> MemoryStorage {
        let storage = MemoryStorage::new();
        let store = CheckpointStore::open(Box::new(storage.clone()), "words", 3);
        let mut store = store.unwrap_or_else(|error| panic!("{error}"));
        let epoch = store.begin_epoch().unwrap_or_else(|error| panic!("{error}"));
        let entry = |component: &str| TaskEntry {
            component: component.into(),
            task_index: 0,
            tasks: 1,
            files: Vec::new(),
            positions: [].into(),
            states: Vec::new(),
            names_keys: false,
            event_time: Default::default(),
        };
        let tasks = vec![entry("sink"), entry("words")];
        let checkpoint = CheckpointId { epoch, number: 1 };
        publish(&mut store, checkpoint, run, tasks);
        storage
    }

    fn begun(run: RunState, begin: CheckpointBegin, sinks: u32) -> Result<Option<CheckpointId>, String> {
        let setup = open(&topology(sinks), begin, &[], Box::new(left(run)), &no_logs(), None)
            .map_err(|error| error.to_string())?;
        Ok(setup.store.latest().map(|manifest| manifest.checkpoint))
    }

    #[test]
    fn what_an_earlier_run_left_is_never_overwritten_unasked() {
        let first = Some(CheckpointId { epoch: 1, number: 1 });
        let refused = |run, expected: &str| {
            let error = begun(run, CheckpointBegin::New, 1).expect_err("it is refused");
            assert!(error.contains(expected) && error.contains("--resume"), "{error}");
        };
        refused(RunState::Running, "has not come to its end");
        refused(RunState::Ended, "not all of its rows may be published");
        assert_eq!(begun(RunState::Committed, CheckpointBegin::New, 1), Ok(None));
        for run in [RunState::Running, RunState::Ended, RunState::Committed] {
            assert_eq!(begun(run, CheckpointBegin::Resume, 1), Ok(first));
            assert_eq!(begun(run, CheckpointBegin::Discard, 1), Ok(None));
        }
    }

    #[test]
    fn an_earlier_checkpoint_is_gone_back_to() {
        let storage = left(RunState::Running);
        let checkpoint = CheckpointId { epoch: 1, number: 1 };
        let mut store = CheckpointStore::open(Box::new(storage.clone()), "words", 3).expect("it opens");
        let epoch = store.begin_epoch().expect("it begins");
        let first = store.latest().expect("it was left").clone();
        let later = CheckpointId { epoch, number: 7 };
        store.publish(Manifest { checkpoint: later, ..first }).expect("it is published");
        drop(store);

        let back = |to, sinks| {
            open(
                &topology(sinks),
                CheckpointBegin::ResumeFrom(to),
                &[],
                Box::new(storage.clone()),
                &no_logs(),
                None,
            )
            .map_err(|error| error.to_string())
        };
        let error = back(CheckpointId { epoch: 1, number: 2 }, 1).map(|_| ()).expect_err("it is not there");
        assert!(
            error.contains("there is no checkpoint 1-2") && error.contains("1-1, 2-7 are there"),
            "{error}"
        );
        let opened = back(checkpoint, 2).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(opened.store.latest().map(|manifest| manifest.checkpoint), Some(checkpoint));
        assert_eq!(opened.store.given_up(), [later]);
    }

    /// The first master of a cluster died before it had begun with a savepoint, and the next one began with nothing. And a
    /// later master left behind once more what had been written since.
    #[test]
    fn the_first_master_begins_and_the_others_go_on() {
        let place = tempfile::tempdir().expect("a directory");
        let mut builder = TopologyBuilder::new("words");
        builder.options(|options| {
            options.delivery = Delivery::ExactlyOnce;
            options.checkpoint.storage = Some(place.path().join("checkpoints"));
        });
        builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
        builder.bolt("sink", Capture::new().bolt()).shuffle("words");
        let topology = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
        let trial = Trial { resources: crate::api::WorkerResources::default(), workers: 1 };
        let upgraded = |run: &str, begin, dropped: &[&str], by_generation: &[(u64, Vec<String>)]| {
            let at_begin: Vec<String> = dropped.iter().map(|text| (*text).to_owned()).collect();
            let dropped = DroppedOfRun { at_begin: &at_begin, by_generation };
            open_directory_of_run(&topology, run, begin, dropped, ("a test", &trial))
                .map_err(|error| error.to_string())
        };
        let master = |run: &str, begin, dropped: &[&str]| upgraded(run, begin, dropped, &[]);
        let entry = |component: &str| TaskEntry {
            component: component.into(),
            task_index: 0,
            tasks: 1,
            files: Vec::new(),
            positions: if component == "gone" { [("0".to_owned(), 7.into())].into() } else { [].into() },
            states: Vec::new(),
            names_keys: false,
            event_time: Default::default(),
        };
        let take = |opened: &mut OpenedCheckpoints, components: &[&str]| {
            let checkpoint = CheckpointId { epoch: opened.epoch, number: 1 };
            let tasks = components.iter().map(|component| entry(component)).collect();
            publish(&mut opened.store, checkpoint, RunState::Running, tasks);
            checkpoint
        };
        let latest = |opened: &OpenedCheckpoints| opened.store.latest().map(|latest| latest.checkpoint);

        // Whatever its number is, a master that finds nothing of its run begins as it was wanted.
        let mut opened = master("a", CheckpointBegin::New, &[]).expect("it begins");
        let of_a = take(&mut opened, &["gone", "sink", "words"]);
        drop(opened);
        let refused = master("b", CheckpointBegin::New, &[]).map(|_| ()).expect_err("it is another run");
        assert!(refused.contains("--resume") && refused.contains("--discard-checkpoints"), "{refused}");
        let refused = master("b", CheckpointBegin::Resume, &[]).map(|_| ()).expect_err("a component is gone");
        assert!(refused.contains("--allow-dropped-state gone"), "{refused}");
        let opened = master("b", CheckpointBegin::Resume, &["gone"]).expect("it is allowed");
        assert_eq!(latest(&opened), Some(of_a));
        drop(opened);
        // The next master of the same run, before and after the first checkpoint of the run.
        let mut opened = master("b", CheckpointBegin::Discard, &["gone"]).expect("it goes on");
        assert_eq!(latest(&opened), Some(of_a), "nothing is discarded");
        let of_b = take(&mut opened, &["sink", "words"]);
        drop(opened);
        let opened = master("b", CheckpointBegin::Discard, &["gone"]).expect("it goes on");
        assert_eq!(latest(&opened), Some(of_b));
        drop(opened);
        let mut opened = master("c", CheckpointBegin::Discard, &[]).expect("it begins anew");
        assert_eq!(latest(&opened), None);
        // Another topology in its place, which does not have a component any more: in what was there before it.
        let of_c = take(&mut opened, &["gone", "sink", "words"]);
        drop(opened);
        let resume = CheckpointBegin::Resume;
        let refused = master("c", resume.clone(), &[]).map(|_| ()).expect_err("a component is gone");
        assert!(refused.contains("--allow-dropped-state gone"), "{refused}");
        let third = [(3, vec!["gone".to_owned()])];
        for at in ["the first master of the generation", "the next one, which has no other checkpoint"] {
            let opened = upgraded("c", resume.clone(), &[], &third).expect(at);
            assert_eq!(latest(&opened), Some(of_c), "{at}");
        }
        let mut opened = upgraded("c", resume.clone(), &[], &third).expect("it is allowed");
        let later = take(&mut opened, &["sink", "words"]);
        drop(opened);
        // What was left behind once is not looked for later.
        let opened = upgraded("c", resume, &[], &third).expect("it goes on");
        assert_eq!(latest(&opened), Some(later));
    }

    /// It cannot go back.
    struct Ended;

    impl Spout for Ended {
        fn declare(&self) -> Streams {
            Streams::new(["word"])
        }
        fn next_tuple(&mut self, _: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            Ok(SpoutStatus::Exhausted)
        }
    }

    /// A log of ten records of the spout, in a storage in which a run left a checkpoint that stands at the seventh.
    fn left_with_log(run: RunState) -> (Topology, MemoryStorage, WalPlace) {
        let mut builder = TopologyBuilder::new("words");
        builder.options(|options| options.delivery = Delivery::ExactlyOnce);
        builder.spout("words", || Ended).wal();
        builder.bolt("sink", Capture::new().bolt()).shuffle("words");
        let topology = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
        let (storage, id) = (MemoryStorage::new(), LogId(5));
        let log = Wal::open(Box::new(storage.log("words-0")), id, SEGMENT_LEN_MAX);
        let mut log = log.unwrap_or_else(|error| panic!("{error}"));
        for _ in 0..10 {
            log.append(&[b"rain".to_vec()]).unwrap_or_else(|error| panic!("{error}"));
        }
        let mut store = CheckpointStore::open(Box::new(storage.clone()), "words", 3).expect("it opens");
        let epoch = store.begin_epoch().expect("no fault is set");
        let position = serde_json::to_value(WalPosition { log: id, next: 7 }).expect("it is JSON");
        let entry = TaskEntry {
            component: "words".into(),
            task_index: 0,
            tasks: 1,
            files: Vec::new(),
            positions: [("task 0 of 1".to_owned(), position)].into(),
            states: Vec::new(),
            names_keys: false,
            event_time: Default::default(),
        };
        let checkpoint = CheckpointId { epoch, number: 1 };
        publish(&mut store, checkpoint, run, vec![entry]);
        let place = WalPlace::Memory(storage.clone());
        (topology, storage, place)
    }

    /// The records that a task would begin with, without a checkpoint.
    #[test]
    fn a_new_run_begins_with_what_the_one_before_has_not_emitted() {
        let left_in_log = |run, begin: CheckpointBegin| {
            let (topology, storage, place) = left_with_log(run);
            open(&topology, begin, &[], Box::new(storage.clone()), &place, None)
                .unwrap_or_else(|error| panic!("{error}"));
            let log = Wal::open(Box::new(storage.log("words-0")), LogId(6), SEGMENT_LEN_MAX);
            let log = log.unwrap_or_else(|error| panic!("{error}"));
            (log.begin(), log.next())
        };
        assert_eq!(left_in_log(RunState::Committed, CheckpointBegin::New), (7, 10));
        assert_eq!(left_in_log(RunState::Running, CheckpointBegin::Resume), (0, 10));
        for run in [RunState::Running, RunState::Ended, RunState::Committed] {
            assert_eq!(left_in_log(run, CheckpointBegin::Discard), (0, 0), "{run:?}");
        }
    }
}
