//! What one read from a socket, or one write to it, came to, whether plain or through TLS.

/// Bytes that are read from a socket at once.
pub(super) const READ_MAX: usize = 128 << 10;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Received {
    /// All that was asked for; there may be more.
    More,
    /// All there was. The socket will say when there is more.
    Drained,
    /// The peer has closed.
    Ended,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct Sent {
    /// Bytes of the chunks that were taken.
    pub bytes: usize,
    /// The socket takes no more for now. It will say when it does.
    pub is_blocked: bool,
}
