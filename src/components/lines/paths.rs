//! Paths and patterns to files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::api::TaskError;

/// The path that means standard input.
pub(super) const STDIN: &str = "-";

/// Whether a text can be a pattern; says what is wrong with it.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("is empty".to_owned());
    }
    glob::Pattern::new(pattern).map(|_| ()).map_err(|error| format!("`{pattern}`: {error}"))
}

/// The files of all patterns, each once, in the order of the patterns and by name within one.
///
/// # Errors
/// When a path does not exist or a pattern matches no file.
pub(super) fn expand(patterns: &[String]) -> Result<Vec<PathBuf>, TaskError> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for pattern in patterns {
        let matching = expand_one(pattern)?;
        if matching.is_empty() {
            return Err(TaskError::new(format!("no file matches `{pattern}`")));
        }
        files.extend(matching.into_iter().filter(|path| seen.insert(path.clone())));
    }
    Ok(files)
}

/// The same, with nothing where there is nothing yet.
pub(super) fn expand_existing(patterns: &[String]) -> Vec<PathBuf> {
    patterns.iter().filter_map(|pattern| expand_one(pattern).ok()).flatten().collect()
}

fn expand_one(pattern: &str) -> Result<Vec<PathBuf>, TaskError> {
    let path = Path::new(pattern);
    if pattern == STDIN || path.exists() {
        return if path.is_dir() {
            Err(TaskError::new(format!(
                "`{pattern}` is a directory; write `{pattern}/*` for the files in it"
            )))
        } else {
            Ok(vec![path.to_owned()])
        };
    }
    if !pattern.contains(['*', '?', '[']) {
        return Err(TaskError::new(format!("there is no file `{pattern}`")));
    }
    // Directories that cannot be read are skipped, as a shell does.
    let matching = glob::glob(pattern)?.filter_map(Result::ok).filter(|path| !path.is_dir());
    Ok(matching.collect())
}
