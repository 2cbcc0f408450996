//! Which of the standard streams were closed when the process was started (`squall run … >&-`).
//!
//! Rust's standard library opens closed standard streams as `/dev/null` before it calls `main`, so
//! that a file opened later does not become standard output by accident. A program then reads
//! nothing and writes to nowhere without an error. Afterwards such a stream cannot be distinguished
//! from a `/dev/null` that was given on purpose: Python and Node open theirs for reading and writing, too.
//! So a function that the loader calls before the standard library begins looks at the descriptors.
//!
//! Worker processes inherit the `/dev/null` of their parent. The parent sends each worker
//! [`ClosedStreams`], which names what was closed, and the worker keeps it by [`remember`].
//!
//! The state is global, because the standard streams of a process are.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

/// A bit for each closed stream: 1 for input, 2 for output, 4 for error. Relaxed is enough: it is
/// written before there is a second thread, or before the tasks that read it are started.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// The standard streams that were closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedStreams {
    /// Standard input, descriptor 0.
    pub input: bool,
    /// Standard output, descriptor 1.
    pub output: bool,
    /// Standard error, descriptor 2.
    pub error: bool,
}

/// The standard streams that were closed when this process was started, or, in a worker process,
/// when its parent was.
pub fn closed() -> ClosedStreams {
    let bits = CLOSED.load(Ordering::Relaxed);
    ClosedStreams { input: bits & 1 != 0, output: bits & 2 != 0, error: bits & 4 != 0 }
}

/// Takes what the parent process found over.
pub fn remember(closed: ClosedStreams) {
    let bits = u8::from(closed.input) | u8::from(closed.output) << 1 | u8::from(closed.error) << 2;
    CLOSED.fetch_or(bits, Ordering::Relaxed);
}

ctor::declarative::ctor! {
    /// Called by the loader. It makes system calls and nothing else: the standard library is not
    /// there yet.
    #[ctor(unsafe)]
    fn look_before_main() {
        let is_closed = |fd| rustix::io::fcntl_getfd(fd) == Err(rustix::io::Errno::BADF);
        remember(ClosedStreams {
            input: is_closed(rustix::stdio::stdin()),
            output: is_closed(rustix::stdio::stdout()),
            error: is_closed(rustix::stdio::stderr()),
        });
    }
}
