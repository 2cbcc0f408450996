//! Reads the log of a process in threads of their own, so that a slow disk keeps no connection waiting.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::cluster::log_pieces::{LogPiece, LogWish};
use crate::cluster::topologies::read_log;
use crate::text::shown;

/// Pieces that are read at a time, at most. Who asks for more is told to ask again.
const READING_MAX: usize = 4;

/// Reads the files of one private directory.
#[derive(Clone, Debug)]
pub(super) struct LogReader {
    directory: PathBuf,
    reading: Arc<AtomicUsize>,
}

/// Counts itself for as long as it lives.
struct Reading(Arc<AtomicUsize>);

impl Drop for Reading {
    fn drop(&mut self) {
        // Relaxed: a counter, and nothing else follows from it.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LogReader {
    pub(super) fn new(directory: &Path) -> LogReader {
        LogReader { directory: directory.to_owned(), reading: Arc::default() }
    }

    /// Reads a piece, and hands it over in another thread, or in this one if there is none. Does not wait.
    pub(super) fn read(
        &self,
        wish: LogWish,
        done: impl FnOnce(Result<LogPiece, String>) + Clone + Send + 'static,
    ) {
        if self.reading.fetch_add(1, Ordering::Relaxed) >= READING_MAX {
            drop(Reading(Arc::clone(&self.reading)));
            return done(Err(format!("{READING_MAX} pieces of its log are being read already: ask again")));
        }
        let (reading, directory) = (Reading(Arc::clone(&self.reading)), self.directory.clone());
        let refused = done.clone();
        let thread = thread::Builder::new().name("squall-log-read".to_owned()).spawn(move || {
            let piece = read_log(&directory, &wish).map_err(|error| shown(&error));
            drop(reading);
            done(piece);
        });
        if let Err(error) = thread {
            refused(Err(format!("its log cannot be read: {error}")));
        }
    }
}
