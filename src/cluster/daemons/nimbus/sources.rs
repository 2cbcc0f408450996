//! Topologies from their blobs, each read and validated once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::blobs::{BlobError, BlobStore};
use crate::cluster::program::{ProgramFile, ProgramSum};
use crate::cluster::source::TopologySource;
use crate::cluster::topologies::BlobHash;
use crate::text::shown;
use crate::topology::Topology;
use crate::topology::registry::Registry;

/// Why there is no topology.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The blob cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The blob is no valid topology.
    #[error("{0}")]
    Invalid(String),
}

/// Topologies by their blobs.
pub(super) struct Sources {
    pub blobs: BlobStore,
    registry: Registry,
    /// What was read. A blob with a hash does not change, so neither does what is wrong with it.
    read: BTreeMap<BlobHash, Result<Read, String>>,
}

/// What a blob has.
struct Read {
    topology: Arc<Topology>,
    /// The program that it names.
    program: Option<ProgramFile>,
}

impl Sources {
    pub fn new(blobs: BlobStore, registry: Registry) -> Sources {
        Sources { blobs, registry, read: BTreeMap::new() }
    }

    /// The topology of a blob.
    pub fn load(&mut self, hash: &BlobHash) -> Result<Arc<Topology>, SourceError> {
        Ok(Arc::clone(&self.read(hash, BlobStore::get)?.topology))
    }

    /// The topology of a blob that is to run: with the program that it names, if there is one. All its blobs count as new.
    pub fn take(&mut self, hash: &BlobHash) -> Result<Arc<Topology>, SourceError> {
        let is_known = self.read.contains_key(hash);
        let Read { topology, program } = self.read(hash, BlobStore::keep)?;
        let (topology, program) = (Arc::clone(topology), program.clone());
        if is_known {
            self.blobs.keep(hash)?;
        }
        if let Some(file) = &program {
            let mut sum = ProgramSum::default();
            for piece in file.pieces() {
                sum.add(&self.blobs.keep(piece)?);
            }
            sum.check(file).map_err(|error| SourceError::Invalid(error.to_string()))?;
        }
        Ok(topology)
    }

    /// All blobs that the topologies of these blobs consist of.
    pub fn parts_of(&mut self, sources: &BTreeSet<BlobHash>) -> Result<BTreeSet<BlobHash>, SourceError> {
        let mut parts = sources.clone();
        for hash in sources {
            let program = &self.read(hash, BlobStore::get)?.program;
            parts.extend(program.iter().flat_map(ProgramFile::pieces).cloned());
        }
        Ok(parts)
    }

    /// What a blob has, which is read in this way if it was not read before.
    fn read(
        &mut self,
        hash: &BlobHash,
        get: impl Fn(&BlobStore, &BlobHash) -> Result<Vec<u8>, BlobError>,
    ) -> Result<&Read, SourceError> {
        if !self.read.contains_key(hash) {
            // A blob that is not there may come yet.
            let bytes = get(&self.blobs, hash)?;
            self.read.insert(hash.clone(), read(&bytes, &self.registry));
        }
        self.read[hash].as_ref().map_err(|why| SourceError::Invalid(why.clone()))
    }

    /// The topology of a blob with more overrides, and its source.
    pub fn with_overrides(
        &self,
        hash: &BlobHash,
        more: &[String],
    ) -> Result<(Vec<u8>, Topology), SourceError> {
        let bytes = self.blobs.get(hash)?;
        let source = parse(&bytes).map_err(SourceError::Invalid)?;
        if let Some(program) = source.program() {
            return Err(SourceError::Invalid(format!(
                "its components are in the program `{0}`, which nimbus does not run, so it cannot find out what the \
                 values change: use `{0} upgrade` with the same document and `--set`",
                program.file.name()
            )));
        }
        let changed = source.with_overrides(&self.registry, more);
        let (source, topology) = changed.map_err(|errors| SourceError::Invalid(errors.render(false)))?;
        let bytes = serde_json::to_vec(&source).expect("a source has text keys only, so it is JSON");
        Ok((bytes, topology))
    }

    /// Forgets all but these.
    pub fn retain(&mut self, used: &BTreeSet<BlobHash>) {
        self.read.retain(|hash, _| used.contains(hash));
    }
}

fn read(bytes: &[u8], registry: &Registry) -> Result<Read, String> {
    let source = parse(bytes)?;
    let topology = source.load_to_place(registry).map_err(|errors| errors.render(false))?;
    Ok(Read { topology: Arc::new(topology), program: source.program().map(|program| program.file.clone()) })
}

fn parse(bytes: &[u8]) -> Result<TopologySource, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("this blob is no source of a topology: {}", shown(error)))
}
