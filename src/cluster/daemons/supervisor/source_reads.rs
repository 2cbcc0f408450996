//! What topologies are made of, on its way to the private directories of their processes.
//!
//! Reading it may take long, from another host or a file system that does not answer, so threads of their own do that.
//! Nobody waits for them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::cluster::blobs::ReadBlob;
use crate::cluster::daemons::supervisor::actions::Preparation;
use crate::cluster::daemons::supervisor::child::ChildId;
use crate::cluster::daemons::supervisor::wake::Wake;

/// The sources that are being read.
pub(super) struct SourceReads {
    read_blob: ReadBlob,
    answers: Receiver<ReadSource>,
    answer: Sender<ReadSource>,
    wake: Arc<Wake>,
}

/// What has come of a read.
pub(super) struct ReadSource {
    pub id: ChildId,
    /// What it was read for.
    pub preparation: Preparation,
    pub bytes: Result<Vec<u8>, String>,
}

impl SourceReads {
    /// None yet. `wake` is used when one has come.
    pub fn new(read_blob: ReadBlob, wake: Arc<Wake>) -> SourceReads {
        let (answer, answers) = channel();
        SourceReads { read_blob, answers, answer, wake }
    }

    /// Reads the source that the process of a child needs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn begin(&self, id: &ChildId, preparation: &Preparation) -> Result<(), String> {
        let (id, preparation, read_blob) = (id.clone(), preparation.clone(), Arc::clone(&self.read_blob));
        let (answer, wake) = (self.answer.clone(), Arc::clone(&self.wake));
        let read = move || {
            let bytes = read_blob(&preparation.source);
            // An error means that the supervisor has ended.
            let _ = answer.send(ReadSource { id, preparation, bytes });
            wake.wake();
        };
        let started = thread::Builder::new().name("squall-source".to_owned()).spawn(read);
        started.map(|_| ()).map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// What has come since the last call.
    pub fn finished(&self) -> Vec<ReadSource> {
        self.answers.try_iter().collect()
    }
}
