//! What user code has started: processes that are in the group of a worker or master, and must not outlive it. They would
//! go on reading and writing what the next process of the worker reads and writes, too.
//!
//! 1. A group has the number of the process that a supervisor has started in it. While that process has ended and nobody
//!    has waited for it, the kernel gives its number to no other process and no other group. So the group is killed before
//!    the supervisor waits, and the signal reaches no stranger.
//! 2. Only the parent can do that. The group of a process that an earlier supervisor has started is left alone: its number
//!    may be that of another group by the time its end is seen.
//! 3. A process that has made a group or a session of its own (`setsid`, a daemon) is not reached. Where processes have
//!    control groups (`limits`), it is ended all the same.

use std::io;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Waits for the end of a process that was started in a group of its own, and kills what it has left in that group.
///
/// # Errors
/// When it cannot be waited for.
pub(super) fn wait_with_group(child: &mut Child) -> io::Result<ExitStatus> {
    let number = Pid::from_child(child);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    // If somebody has waited for it already, its number is not its own any more.
    if rustix::io::retry_on_intr(|| waitid(WaitId::Pid(number), options)).is_ok() {
        // An error means that nothing is left.
        let _ = kill_process_group(number, Signal::KILL);
    }
    child.wait()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// A sub-process of a worker that had ended held its port, and no later process of the worker could begin.
    #[test]
    fn what_a_process_has_started_ends_with_it() {
        let mut command = Command::new("/bin/sh");
        // Whoever has the pipe open lives. The group ends with the shell, and not after the time of the sleep.
        command.args(["-c", "sleep 600 & echo started; exit 3"]).process_group(0);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("there is a shell");
        let mut output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it can be read");
        assert_eq!(line, "started\n");
        let status = wait_with_group(&mut child).expect("it is ours");
        assert_eq!(status.code(), Some(3), "how it has ended is known");
        // This ends when nobody has the pipe open any more.
        assert_eq!(output.read_to_string(&mut line).expect("it can be read"), 0);
        assert!(wait_with_group(&mut child).is_ok(), "it is not signalled again");
    }
}
