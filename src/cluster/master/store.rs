//! Publishes the checkpoints of a topology in several workers, in a thread of its own, because it waits for a disk.

use std::sync::mpsc::{Receiver, Sender};

use slog::{Logger, warn};

use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::clock::Clock;
use crate::cluster::master::events::{Event, StoreJob};
use crate::runtime::flow::checkpoint::StorageError;
use crate::text::shown;

/// The store of the checkpoints of a topology whose tasks are in several workers.
pub struct MasterStore {
    store: CheckpointStore,
    logger: Logger,
    /// Whether a later master has the store.
    is_fenced: bool,
}

impl MasterStore {
    /// An epoch has begun in the store.
    pub fn new(store: CheckpointStore, logger: Logger) -> MasterStore {
        MasterStore { store: store.with_workers(), logger, is_fenced: false }
    }

    /// Does a job. Returns what comes of it, if the core has to know. `wall_nanos` is the time.
    pub fn carry_out(&mut self, job: StoreJob, wall_nanos: i64) -> Option<Event> {
        match job {
            StoreJob::Load => {
                let latest = self.store.settle().map(|latest| latest.cloned().map(Box::new));
                Some(Event::Loaded(latest.map_err(|error| self.failed(error))))
            }
            StoreJob::Publish(mut manifest) => {
                let checkpoint = manifest.checkpoint;
                manifest.taken_at = wall_nanos;
                let result = self.store.publish(*manifest);
                if let Some(error) = self.store.take_deletion_error() {
                    warn!(self.logger, "files of old checkpoints are left: {}", shown(&error));
                }
                Some(Event::Published(checkpoint, result.map_err(|error| self.failed(error))))
            }
            StoreJob::Export(checkpoint, directory) => {
                let exported = self.store.export(checkpoint, &directory);
                Some(Event::Exported(checkpoint, exported.map_err(|error| shown(&error))))
            }
            StoreJob::Discard(checkpoint) => {
                self.store.discard(checkpoint);
                None
            }
        }
    }

    fn failed(&mut self, error: CheckpointError) -> StorageError {
        self.is_fenced |= matches!(error, CheckpointError::Fenced { .. });
        error.into()
    }

    /// Does jobs until nobody sends any more. Then the storage is given up, so that another process may have it.
    pub(super) fn run(mut self, jobs: &Receiver<StoreJob>, events: &Sender<Event>, clock: &Clock) {
        for job in jobs {
            let event = self.carry_out(job, clock.wall_nanos());
            let fenced = self.is_fenced.then_some(Event::Fenced);
            for event in fenced.into_iter().chain(event) {
                // After the end nobody takes it.
                let _ = events.send(event);
            }
        }
    }
}
