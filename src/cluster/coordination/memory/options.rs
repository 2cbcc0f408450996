//! The options of a service in memory, and of its faults.

use std::time::Duration;

/// How a service in memory behaves.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// A session ends after so much silence.
    pub session_timeout: Duration,
    /// What a call that is not answered counts for.
    pub call_timeout: Duration,
    /// What a call that is answered counts for.
    pub latency: Duration,
    /// So often each process is asked to read everything again.
    pub reread_period: Duration,
    /// Whether notices are handed over before the call returns that caused them, or when the process beats.
    pub notices_at_once: bool,
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        MemoryOptions {
            session_timeout: Duration::from_secs(6),
            call_timeout: Duration::from_secs(4),
            latency: Duration::from_millis(1),
            reread_period: Duration::from_secs(10),
            notices_at_once: false,
        }
    }
}

/// What is lost with a connection that carries a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lose {
    /// The request: the write is not done.
    Request,
    /// The answer: the write is done.
    Answer,
    /// The connection, and the request arrives with [`MemoryService::arrive`](super::MemoryService::arrive), unless the session has ended before.
    Late,
}
