//! A value that nobody else has, and where it is looked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::program::proof_of;

/// A value. It ends in a number, so that each case has others.
pub fn canary(number: u32) -> String {
    format!("hush-{}-{number}", mark())
}

/// What is in each value, and in nothing else. It is worked out, because a program that is sent to a cluster has all of
/// its constants.
pub fn mark() -> String {
    proof_of("the mark of each value").split_off(40)
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Whether a command, or a file, shows any value.
pub fn shows_a_value(bytes: &[u8]) -> bool {
    has(bytes, mark().as_bytes())
}

#[track_caller]
pub fn check_output(what: &str, output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(!shows_a_value(&text), "{what} shows a value:\n{}", String::from_utf8_lossy(&text));
}

/// The files below a directory that have a text, but those below `except`.
pub fn files_with(directory: &Path, text: &str, except: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if path == except {
            continue;
        }
        if kind.is_dir() {
            found.extend(files_with(&path, text, except));
        } else if kind.is_file() && fs::read(&path).is_ok_and(|bytes| has(&bytes, text.as_bytes())) {
            found.push(path);
        }
    }
    found
}

/// Looks into the arguments and variables of a process.
#[track_caller]
pub fn check_process(pid: i32) {
    for file in ["cmdline", "environ"] {
        // It may have ended meanwhile.
        let Ok(bytes) = fs::read(format!("/proc/{pid}/{file}")) else { continue };
        assert!(!shows_a_value(&bytes), "{file} of {pid}: {}", String::from_utf8_lossy(&bytes));
    }
}
