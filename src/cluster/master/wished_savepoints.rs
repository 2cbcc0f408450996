//! Savepoints that somebody wants of a topology of a cluster.
//!
//! 1. A wish with a higher number than the last answer is taken up, one at a time, in a thread of its own, because the
//!    master has to report meanwhile.
//! 2. A master that finds a wish which is not answered takes it up, even if a master before it has: the directory has a
//!    file by which what that one has left there is known.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use slog::{Logger, info, warn};

use crate::checkpoint::make_room_for_savepoint;
use crate::cluster::master::events::Event;
use crate::cluster::master::run::Shared;
use crate::cluster::topologies::{SavepointAnswer, SavepointWish, SpecRecord, TakenSavepoint};
use crate::runtime::SavepointError;
use crate::runtime::checkpoint_start::checkpoint_directory;
use crate::text::shown;
use crate::topology::Topology;

/// See the module.
pub(super) struct WishedSavepoints {
    shared: Arc<Shared>,
    wishes: Sender<Event>,
    logger: Logger,
    /// Names the run.
    run: String,
    /// Where savepoints go that have no directory, and what their names begin with.
    beside: Option<PathBuf>,
    answer: Option<SavepointAnswer>,
    under_way: Option<JoinHandle<SavepointAnswer>>,
}

impl WishedSavepoints {
    /// `answered`: what masters have answered so far, as far as it is known.
    pub(super) fn new(
        topology: &Topology,
        spec: &SpecRecord,
        answered: Option<SavepointAnswer>,
        (shared, wishes): (Arc<Shared>, Sender<Event>),
        logger: Logger,
    ) -> WishedSavepoints {
        let checkpoints =
            topology.options().delivery.is_exactly_once().then(|| checkpoint_directory(topology).ok());
        let beside = checkpoints.flatten().and_then(|directory| {
            let directory = std::path::absolute(directory).ok()?;
            Some(directory.parent()?.join("savepoints").join(spec.id.to_string()))
        });
        WishedSavepoints {
            shared,
            wishes,
            logger,
            run: spec.run.clone(),
            beside,
            answer: answered,
            under_way: None,
        }
    }

    /// The last answer.
    pub(super) fn answer(&self) -> Option<&SavepointAnswer> {
        self.answer.as_ref()
    }

    /// Takes note of what has come of the savepoint that is under way, and takes up the next one.
    ///
    /// # Errors
    /// When there is no thread for it. It may be tried again.
    pub(super) fn follow(&mut self, wish: Option<&SavepointWish>) -> std::io::Result<()> {
        if self.under_way.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish();
        }
        let answered = self.answer.as_ref().map_or(0, |answer| answer.number);
        if let Some(wish) = wish.filter(|wish| wish.number > answered)
            && self.under_way.is_none()
        {
            info!(self.logger, "taking a savepoint"; "number" => wish.number, "stop" => wish.stops);
            self.under_way = Some(self.begin(wish.clone())?);
        }
        Ok(())
    }

    /// Waits for the savepoint that is under way. The run has ended, so that is soon.
    pub(super) fn finish(&mut self) {
        let Some(thread) = self.under_way.take() else { return };
        let Ok(answer) = thread.join() else { return };
        match (&answer.taken, &answer.failure) {
            (Some(taken), _) => {
                info!(self.logger, "the savepoint is there"; "checkpoint" => &taken.checkpoint,
                "directory" => shown(&taken.directory))
            }
            (None, why) => {
                warn!(self.logger, "there is no savepoint: {}", shown(why.as_deref().unwrap_or_default()));
            }
        }
        self.answer = Some(answer);
    }

    fn begin(&self, wish: SavepointWish) -> std::io::Result<JoinHandle<SavepointAnswer>> {
        let (shared, wishes) = (Arc::clone(&self.shared), self.wishes.clone());
        let beside = self.beside.clone();
        let mark = format!("{} {}\n", self.run, wish.number);
        thread::Builder::new().name("squall-savept".to_owned()).spawn(move || {
            let number = wish.number;
            match take(&shared, &wishes, wish, beside, &mark) {
                Ok(taken) => SavepointAnswer { number, taken: Some(taken), failure: None },
                Err(why) => SavepointAnswer { number, taken: None, failure: Some(why) },
            }
        })
    }
}

fn take(
    shared: &Shared,
    wishes: &Sender<Event>,
    wish: SavepointWish,
    beside: Option<PathBuf>,
    mark: &str,
) -> Result<TakenSavepoint, String> {
    let Some(beside) = beside else { return Err(SavepointError::NoCheckpoints.to_string()) };
    let directory = wish.directory.map_or_else(
        || {
            let mut path = beside.into_os_string();
            path.push(format!("-{}", wish.number));
            PathBuf::from(path)
        },
        PathBuf::from,
    );
    make_room_for_savepoint(&directory, mark).map_err(shown)?;
    let stops = wish.stops;
    // After the end nobody takes it, which is seen.
    let ask = |directory| _ = wishes.send(Event::Savepoint { directory, stops });
    let savepoint = shared
        .savepoints
        .ask(directory, ask, || shared.wait(Duration::ZERO))
        .map_err(|error| error.to_string())?;
    let directory = savepoint.directory.into_os_string().into_string();
    let directory =
        directory.map_err(|path| format!("the directory `{}` is not UTF-8", shown(path.display())))?;
    Ok(TakenSavepoint { checkpoint: savepoint.checkpoint.to_string(), directory })
}
