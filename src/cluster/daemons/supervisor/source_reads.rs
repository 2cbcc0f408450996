//! What topologies are made of, on its way to the private directories of their processes.

use std::sync::Arc;

use crate::cluster::blobs::ReadBlob;
use crate::cluster::daemons::supervisor::actions::Preparation;
use crate::cluster::daemons::supervisor::background::Background;
use crate::cluster::daemons::supervisor::child::ChildId;
use crate::cluster::daemons::supervisor::wake::Wake;

/// The sources that are being read.
pub(super) struct SourceReads {
    read_blob: ReadBlob,
    reads: Background<ReadSource>,
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
        SourceReads { read_blob, reads: Background::new("squall-source", wake) }
    }

    /// Reads the source that the process of a child needs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn begin(&self, id: &ChildId, preparation: &Preparation) -> Result<(), String> {
        let (id, preparation, read_blob) = (id.clone(), preparation.clone(), Arc::clone(&self.read_blob));
        self.reads.begin(move || {
            let bytes = read_blob(&preparation.source);
            ReadSource { id, preparation, bytes }
        })
    }

    /// What has come since the last call.
    pub fn finished(&self) -> Vec<ReadSource> {
        self.reads.finished()
    }
}
