//! Signals: which ones end a run, and which ones a process leaves as they were.
//!
//! 1. Every signal that asks a process to end, and would end it at once, drains the run: see
//!    `DRAINING`. Not among them are SIGKILL and SIGSTOP, which cannot be caught, and the signals
//!    that report a fault of the program itself.
//! 2. A signal that was ignored when the process was started stays ignored: a shell ignores SIGINT
//!    and SIGQUIT for `squall run … &` in a script, and `nohup` ignores SIGHUP.
//! 3. SIGXFSZ never ends a process: a write beyond the file size limit (`ulimit -f`) is an error
//!    (EFBIG), handled like a full disk.
//! 4. A worker process leaves the signals of (1) to its parent: a terminal and a supervisor send
//!    them to all processes of a group, and a worker that ended by itself would lose its tuples.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::Signal;

/// The signals that drain a run.
const DRAINING: [Signal; 12] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::USR1,
    Signal::USR2,
    Signal::XCPU,
    Signal::IO,
    Signal::POWER,
];

/// The numbers of the signals that drain a run of this process: all except those that were ignored when
/// the process was started. To be called before the process changes which signals are ignored.
pub fn draining() -> Vec<i32> {
    // Without /proc it is unknown what is ignored; then no signal counts as ignored.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored_in(&status);
    DRAINING.iter().map(|signal| signal.as_raw()).filter(|number| ignored >> (number - 1) & 1 == 0).collect()
}

/// Whether this signal means that the processor time of the process is used up. The system sends it
/// again each second, so it never counts as a second signal.
pub fn is_processor_limit(number: i32) -> bool {
    number == Signal::XCPU.as_raw()
}

/// The mask of ignored signals in a text of `/proc/PID/status`: bit 0 is signal 1.
fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// From now on a write beyond the file size limit is an error and does not end the process.
///
/// # Errors
/// When the system refuses a handler.
pub fn survive_file_size_limit() -> io::Result<()> {
    catch(Signal::XFSZ)
}

/// From now on the signals that drain a run do nothing in this process: its parent handles them.
///
/// # Errors
/// When the system refuses a handler.
pub(super) fn leave_to_parent() -> io::Result<()> {
    DRAINING.into_iter().try_for_each(catch)
}

/// Catches a signal and does nothing about it.
fn catch(signal: Signal) -> io::Result<()> {
    signal_hook::flag::register(signal.as_raw(), Arc::new(AtomicBool::new(false))).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_are_read_from_the_status() {
        assert_eq!(ignored_in("Name:\tx\nSigIgn:\t0000000000001006\nSigCgt:\t00"), 0x1006);
        assert_eq!(ignored_in("SigIgn:\tnonsense\n"), 0);
        assert_eq!(ignored_in(""), 0);
    }
}
