//! Whether a worker is late because it was given no processor.
//!
//! On an overloaded machine a healthy worker may be unable to send its heartbeat in time. To kill it
//! would make the overload worse: its replacement has to start, and everybody else has to replay. So
//! before a worker is replaced for its silence, or killed because it does not close, its parent looks at the threads that should have been heard:
//!
//! * the worker's control thread, which sends the heartbeats and computes nothing;
//! * the worker's main thread, which reads the topology while the worker starts;
//! * the parent's own thread that reads what the worker sends.
//!
//! The kernel shows in `/proc/PID/task/TID/stat` that a thread is runnable (`R`), and in
//! `/proc/PID/task/TID/schedstat` for how long it ran and for how long it was runnable without a
//! processor. A thread that is runnable and has waited for longer than it ran is starved. A thread that
//! is stopped, hangs in a call or computes without end on a free processor is not.

use std::fs;
use std::path::{Path, PathBuf};

/// The name of the thread of a worker that sends its heartbeats. The kernel keeps 15 bytes of a name.
pub const CONTROL_THREAD: &str = "squall-control";

/// Whether a worker cannot be heard because its threads, or the parent's thread `reader`, are starved.
pub fn is_starved(pid: u32, reader: &str) -> bool {
    let theirs = format!("/proc/{pid}/task");
    let main = PathBuf::from(format!("{theirs}/{pid}"));
    let threads = tasks(Path::new(&theirs)).filter(|task| *task == main || is_named(task, CONTROL_THREAD));
    let readers = tasks(Path::new("/proc/self/task")).filter(|task| is_named(task, reader));
    threads.chain(readers).any(|task| is_thread_starved(&task))
}

fn tasks(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_named(task: &Path, name: &str) -> bool {
    let kept = &name.as_bytes()[..name.len().min(15)];
    fs::read(task.join("comm")).is_ok_and(|comm| comm.trim_ascii_end() == kept)
}

fn is_thread_starved(task: &Path) -> bool {
    let read = |file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
    is_runnable(&read("stat")) && has_waited_longer_than_it_ran(&read("schedstat"))
}

/// The state stands behind the name, which is in parentheses and may hold any character.
fn is_runnable(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('R'))
}

/// `EXECUTED WAITED TIMESLICES`, in nanoseconds.
fn has_waited_longer_than_it_ran(schedstat: &str) -> bool {
    let mut numbers = schedstat.split_whitespace().map_while(|number| number.parse::<u64>().ok());
    matches!((numbers.next(), numbers.next()), (Some(ran), Some(waited)) if waited > ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_stands_behind_the_name() {
        let check = |stat, expected| assert_eq!(is_runnable(stat), expected, "{stat}");
        check("17 (squall-control) R 1 17", true);
        check("17 (squall-control) S 1 17", false);
        check("17 (a) R (b) T 1 17", false);
        check("", false);
    }

    #[test]
    fn a_thread_is_starved_when_it_waits_for_longer_than_it_runs() {
        let check = |text, expected| assert_eq!(has_waited_longer_than_it_ran(text), expected, "{text}");
        check("100 101 7\n", true);
        check("101 100 7\n", false);
        check("0 0 0\n", false);
        check("", false);
    }

    #[test]
    fn a_process_that_waits_for_input_is_not_starved() {
        let mut child = std::process::Command::new("cat");
        let child = child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let mut child = child.spawn().expect("`cat` is there");
        // It may still be starting; once it reads, it sleeps.
        let stat = format!("/proc/{}/stat", child.id());
        let sleeps = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
        while !sleeps() {
            std::thread::yield_now();
        }
        assert!(!is_starved(child.id(), "no such thread"));
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }
}
