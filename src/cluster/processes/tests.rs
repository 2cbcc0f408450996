//! Real children: `sh` in the place of workers.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::*;

/// A condition of a real process that has not come true after this long never will.
const DEADLINE: Duration = Duration::from_secs(180);

/// A child, and what it reports.
struct Child {
    process: Process,
    events: Receiver<(Instant, ProcessEvent)>,
    stderr: Receiver<String>,
    stdout: Receiver<String>,
}

fn shell(script: &str) -> Child {
    start(Executable::At("sh".into(), vec!["-c".into(), script.into()])).expect("there is a shell")
}

fn start(executable: Executable) -> io::Result<Child> {
    let (event, events) = channel();
    let (err, stderr) = channel();
    let (out, stdout) = channel();
    let line = |to: std::sync::mpsc::Sender<String>| move |line: &str| drop(to.send(line.to_owned()));
    let outputs = WorkerStreams { stdout: Some(Box::new(line(out))), stderr: Box::new(line(err)) };
    let process = Process::start(&executable, "test", outputs, move |happened| {
        let _ = event.send((Instant::now(), happened));
    })?;
    Ok(Child { process, events, stderr, stdout })
}

impl Child {
    fn next(&self) -> ProcessEvent {
        self.events.recv_timeout(DEADLINE).expect("something happens").1
    }

    fn line(&self) -> String {
        match self.next() {
            ProcessEvent::Line(line) => String::from_utf8(line).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn exit(&self) -> ExitStatus {
        match self.next() {
            ProcessEvent::Exited(status) => status,
            other => panic!("{other:?}"),
        }
    }

    fn is_silent(&self) -> bool {
        self.events.recv_timeout(DEADLINE).is_err()
    }
}

#[test]
fn words_go_both_ways_and_the_exit_comes_last() {
    let child = shell("read line; echo \"heard $line\" >&0; echo bye >&0; exit 7");
    child.process.send(b"hello\n");
    assert_eq!(child.line(), "heard hello");
    assert_eq!(child.line(), "bye");
    assert_eq!(child.exit().code(), Some(7));
    assert!(child.is_silent(), "the watcher is gone, and with it whoever could report more");
}

#[test]
fn many_lines_before_the_end_are_all_received() {
    let child = shell("i=0; while [ $i -lt 5000 ]; do echo \"line $i\" >&0; i=$((i+1)); done; exit 0");
    (0..5000).for_each(|number| assert_eq!(child.line(), format!("line {number}")));
    assert_eq!(child.exit().code(), Some(0));
}

#[test]
fn a_death_has_a_name_and_is_known_at_once() {
    // One is known at once; a loaded machine may delay any of them, but not each of so many.
    let mut delays = (0..500).map(|_| {
        let child = shell("echo up >&0; exec sleep 1000");
        assert_eq!(child.line(), "up");
        let killed = Instant::now();
        child.process.kill();
        let (at, exited) = child.events.recv_timeout(DEADLINE).unwrap();
        assert!(matches!(exited, ProcessEvent::Exited(status) if status.signal() == Some(9)), "{exited:?}");
        at - killed
    });
    assert!(delays.any(|delay| delay < Duration::from_millis(50)), "no death was known within 50 ms");
}

#[test]
fn killing_the_dead_hurts_nobody() {
    let child = shell("exit 0");
    assert_eq!(child.exit().code(), Some(0));
    child.process.kill();
    child.process.send(b"hello\n");
    assert!(child.is_silent(), "its exit is the last event");
    // A pid may be given to another process at once; the descriptor of a process never is.
    let gone = pidfd_send_signal(&child.process.pidfd, Signal::KILL);
    assert_eq!(gone, Err(Errno::SRCH), "the signal reaches nobody");
}

#[test]
fn what_it_writes_is_passed_on_by_lines() {
    let child = shell("echo one >&2; printf 'two\\r\\nthree' >&2; echo rows; printf more");
    assert_eq!(child.exit().code(), Some(0));
    child.process.wait_for_outputs(DEADLINE);
    assert_eq!(child.stderr.try_iter().collect::<Vec<_>>(), ["one", "two", "three"]);
    assert_eq!(child.stdout.try_iter().collect::<Vec<_>>(), ["rows", "more"]);
}

#[test]
fn a_line_without_end_is_passed_on_in_parts() {
    let child = shell("head -c 300000 /dev/zero | tr '\\0' x >&2");
    assert_eq!(child.exit().code(), Some(0));
    child.process.wait_for_outputs(DEADLINE);
    let parts: Vec<usize> = child.stderr.try_iter().map(|part| part.len()).collect();
    assert!(parts.len() > 1 && parts.iter().sum::<usize>() == 300_000, "{parts:?}");
}

#[test]
fn a_grandchild_that_keeps_the_pipes_does_not_keep_anybody_waiting() {
    let child = shell("echo $$ >&2; sleep 60 & echo $! >&2; exit 3");
    assert_eq!(child.exit().code(), Some(3));
    child.process.wait_for_outputs(DEADLINE);
    let lines: Vec<String> = child.stderr.try_iter().collect();
    assert_eq!(lines.len(), 2);
    let grandchild: i32 = lines[1].parse().unwrap();
    let alive = rustix::process::kill_process(Pid::from_raw(grandchild).unwrap(), Signal::KILL);
    assert!(alive.is_ok(), "it held the pipes all the time");
}

#[test]
fn a_channel_that_is_closed_by_a_living_process_is_broken() {
    let child = shell("exec <&-; exec sleep 1000");
    assert!(matches!(child.next(), ProcessEvent::Broken(_)));
    child.process.kill();
    assert_eq!(child.exit().signal(), Some(9));
}

#[test]
fn a_line_without_end_on_the_channel_is_broken() {
    let child = shell("head -c 20000000 /dev/zero >&0; exec sleep 1000");
    match child.next() {
        ProcessEvent::Broken(why) => assert!(why.contains("more than"), "{why}"),
        other => panic!("{other:?}"),
    }
    child.process.kill();
    assert_eq!(child.exit().signal(), Some(9));
}

#[test]
fn who_reads_nothing_is_broken_and_keeps_nobody_waiting() {
    let child = shell("exec sleep 1000");
    let line = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        child.process.send(&line);
    }
    match child.next() {
        ProcessEvent::Broken(why) => assert!(why.contains("does not read"), "{why}"),
        other => panic!("{other:?}"),
    }
    child.process.kill();
    assert_eq!(child.exit().signal(), Some(9));
}

#[test]
fn more_than_the_socket_takes_arrives_all_the_same() {
    let child = shell("exec 3>&0; head -c 8000001 | wc -c >&3");
    let mut line = vec![b'x'; 8_000_000];
    line.push(b'\n');
    child.process.send(&line);
    assert_eq!(child.line().trim(), "8000001");
    assert_eq!(child.exit().code(), Some(0));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let error = start(Executable::At("/no/such/program".into(), Vec::new())).err().expect("it is not there");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_descriptor_goes_along_with_the_first_byte() {
    let (parent, worker) = UnixStream::pair().unwrap();
    parent.set_nonblocking(true).unwrap();
    let outbox = ControlOutput::new(parent).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"rows").unwrap();
    outbox.push(b"start\n", Some(OwnedFd::from(file.try_clone().unwrap())));
    outbox.push(b"more\n", None);
    outbox.write().unwrap();
    assert!(outbox.is_empty() && outbox.lock().stdin.is_none());

    let taken =
        crate::cluster::worker::origin::take_stdin(&worker).unwrap().expect("a descriptor came along");
    let same = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).unwrap();
    assert_eq!(same(&taken), same(&OwnedFd::from(file)));
    let mut words = [0; 32];
    let len = (&worker).read(&mut words).unwrap();
    assert_eq!(&words[..len], b"start\nmore\n", "all bytes are still there");
}
