//! Lines on their way to the writer.
//!
//! The data path must not wait for whoever reads the log, so lines pass through a bounded channel to
//! a thread that writes them. What does not fit is dropped and counted.
//!
//! Where no thread can be had, as under a limit of processes, lines are written at once by whoever
//! logs: a log that may wait is better than a program that cannot report why it does not start.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Lines that wait for the log's thread; more are dropped and counted.
pub const RECORDS_WAITING_MAX: usize = 4096;

/// The writer, which belongs to the log's thread if there is one.
type Writer = Arc<Mutex<dyn Write + Send>>;

/// The body of the log's thread.
pub(super) type Body = Box<dyn FnOnce() + Send>;

/// Where lines go.
pub(super) enum Lines {
    /// To the log's thread.
    Queued {
        sender: SyncSender<Entry>,
        /// Lines that did not fit and were not yet reported. A count alone, so relaxed.
        lost: AtomicU64,
    },
    /// To the writer.
    Direct(Writer),
}

/// What the log's thread takes.
pub(super) enum Entry {
    Line(String),
    /// Nothing more is written.
    End,
}

impl Lines {
    /// Starts the log's thread; without one, why not.
    pub fn start(
        writer: impl Write + Send + 'static,
        spawn: impl FnOnce(Body) -> io::Result<JoinHandle<()>>,
    ) -> (Lines, io::Result<JoinHandle<()>>) {
        let writer: Writer = Arc::new(Mutex::new(writer));
        let (sender, receiver) = sync_channel(RECORDS_WAITING_MAX);
        let body = {
            let writer = Arc::clone(&writer);
            Box::new(move || write_all(&receiver, &writer))
        };
        let thread = spawn(body);
        let lines = match &thread {
            Ok(_) => Lines::Queued { sender, lost: AtomicU64::new(0) },
            Err(_) => Lines::Direct(writer),
        };
        (lines, thread)
    }

    /// Writes a line, or has it written. `report` makes the line that states how many before it were lost.
    pub fn push(&self, line: String, report: impl FnOnce(u64) -> String) {
        match self {
            Lines::Direct(writer) => write(writer, &line),
            Lines::Queued { sender, lost } => {
                let before = lost.swap(0, Ordering::Relaxed);
                let pushed = |line| u64::from(sender.try_send(Entry::Line(line)).is_err());
                if before > 0 && pushed(report(before)) > 0 {
                    lost.fetch_add(before + 1, Ordering::Relaxed);
                    return;
                }
                lost.fetch_add(pushed(line), Ordering::Relaxed);
            }
        }
    }

    /// Has everything written that waits. What comes later is lost.
    pub fn end(&self, report: impl FnOnce(u64) -> String) {
        let Lines::Queued { sender, lost } = self else { return };
        let before = lost.swap(0, Ordering::Relaxed);
        // An error means that the thread has ended, and then nobody writes anything.
        if before > 0 {
            let _ = sender.send(Entry::Line(report(before)));
        }
        let _ = sender.send(Entry::End);
    }
}

/// A thread for the log.
pub(super) fn spawn(body: Body) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("squall-log".to_owned()).spawn(body)
}

fn write_all(receiver: &Receiver<Entry>, writer: &Writer) {
    while let Ok(Entry::Line(line)) = receiver.recv() {
        write(writer, &line);
    }
}

/// A log that cannot be written is no reason to stop: whoever closed it knows.
fn write(writer: &Writer, line: &str) {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writer.write_all(line.as_bytes()).and_then(|()| writer.flush());
}
