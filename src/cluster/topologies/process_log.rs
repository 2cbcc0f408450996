//! What squall logs in a process that a supervisor has started: a file in its private directory.

use std::io;
use std::path::Path;

use crate::cluster::control::LogSpec;
use crate::cluster::topologies::orders::LOG_FILE;
use crate::logging::{Logging, RotatingFile};

/// From so many bytes on the file is renamed.
const SIZE_MAX: u64 = 10 << 20;
/// So many renamed files are kept.
const KEEP: usize = 5;

/// Starts to log to the file of a private directory, panics included.
///
/// # Errors
/// When the file cannot be opened.
pub fn start_process_log(directory: &Path, spec: &LogSpec) -> io::Result<Logging> {
    let file = RotatingFile::open(directory.join(LOG_FILE), SIZE_MAX, KEEP)?;
    let mut logging = Logging::start(spec.levels.clone(), spec.format, false, file);
    logging.log_panics();
    Ok(logging)
}
