//! The result of one read from a socket or one write to it, with TLS or without.

/// Bytes that are read from a socket at once.
pub(crate) const READ_MAX: usize = 128 << 10;

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Received {
    /// The read filled the room it had; there may be more to read.
    More,
    /// The read emptied the socket. An event will report when there is more.
    Drained,
    /// The peer has closed the connection.
    Ended,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Sent {
    /// How many bytes of the chunks were taken.
    pub bytes: usize,
    /// The socket takes no more for now. An event will report when it does.
    pub is_blocked: bool,
}
