//! Whether a worker is late because it was given no processor.
//!
//! On an overloaded machine a healthy worker may be unable to send its heartbeat in time. Killing it
//! would make the overload worse: its replacement has to start, and other workers have to replay. So
//! before the parent replaces a silent worker, or kills one that does not close, it examines the threads
//! that take part in sending and reading heartbeats:
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

use crate::runtime::starvation::ThreadTimes;

/// The name of the thread of a worker that sends its heartbeats. The kernel keeps 15 bytes of a name.
pub const CONTROL_THREAD: &str = "squall-control";

/// Whether no message of a worker arrives because a thread of the worker, or the parent's thread
/// `reader`, is starved.
pub fn is_starved(pid: u32, reader: &str) -> bool {
    is_starved_in(Path::new("/proc"), pid, reader)
}

/// The same, with another directory as `/proc`.
fn is_starved_in(proc: &Path, pid: u32, reader: &str) -> bool {
    let theirs = proc.join(format!("{pid}/task"));
    let main = theirs.join(pid.to_string());
    let threads = tasks(&theirs).filter(|task| *task == main || is_named(task, CONTROL_THREAD));
    let readers = tasks(&proc.join("self/task")).filter(|task| is_named(task, reader));
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
    let times = ThreadTimes::of(&read("schedstat"), &read("stat"));
    times.is_runnable && times.waited > times.ran
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a busy machine it cannot be known which thread of a real process is starved, so this one has a
    /// `/proc` of its own.
    #[test]
    fn only_the_threads_of_the_control_channel_are_examined() {
        let check_with = |starved: &str, other: (&str, &str), expected| {
            let proc = tempfile::tempdir().expect("a directory");
            for (task, name) in
                [("7/task/7", "squall"), ("7/task/8", CONTROL_THREAD), ("7/task/9", "squall-driver-0")]
                    .into_iter()
                    .chain([("self/task/1", "squall-watch-w0"), ("self/task/2", "squall-watch-w1")])
            {
                let task_dir = proc.path().join(task);
                fs::create_dir_all(&task_dir).expect("it can be made");
                let (state, times) = if task == starved { ("R", "1 9 1\n") } else { other };
                fs::write(task_dir.join("comm"), format!("{name}\n")).expect("it can be written");
                fs::write(task_dir.join("stat"), format!("8 ({name}) {state} 1 7"))
                    .expect("it can be written");
                fs::write(task_dir.join("schedstat"), times).expect("it can be written");
            }
            assert_eq!(is_starved_in(proc.path(), 7, "squall-watch-w0"), expected, "{starved}");
        };
        check_with("none", ("R", "9 1 1\n"), false);
        check_with("none", ("S", "1 9 1\n"), false);
        let check = |starved, expected| check_with(starved, ("S", "9 1 1\n"), expected);
        check("none", false);
        check("7/task/7", true);
        check("7/task/8", true);
        check("7/task/9", false);
        check("self/task/1", true);
        check("self/task/2", false);
    }

    #[test]
    fn a_process_that_waits_for_input_is_not_starved() {
        let mut child = std::process::Command::new("cat");
        let child = child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let mut child = child.spawn().expect("`cat` is there");
        // It may still be starting; once it reads, it sleeps.
        let stat = format!("/proc/{}/stat", child.id());
        let sleeps = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(180);
        while !sleeps() {
            assert!(std::time::Instant::now() < deadline, "it does not come to sleep");
            std::thread::yield_now();
        }
        assert!(!is_starved(child.id(), "no such thread"));
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }
}
