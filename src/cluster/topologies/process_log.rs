//! What squall logs in a process that a supervisor has started: a file in its private directory.

use std::io;
use std::path::Path;

use crate::cluster::control::LogSpec;
use crate::cluster::topologies::orders::LOG_FILE;
use crate::config::LogFileOptions;
use crate::logging::{Logging, RotatingFile};

/// Starts to log to the file of a private directory, panics included. The file is renamed before it is longer than `files`
/// allows, by this process, so nothing of it is lost.
///
/// # Errors
/// When the file cannot be opened.
pub fn start_process_log(directory: &Path, spec: &LogSpec, files: LogFileOptions) -> io::Result<Logging> {
    let file = RotatingFile::open(directory.join(LOG_FILE), files.max, files.keep as usize)?;
    let mut logging = Logging::start(spec.levels.clone(), spec.format, false, file);
    logging.log_panics();
    Ok(logging)
}
