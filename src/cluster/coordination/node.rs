//! A node, as it is read and written.

/// Bytes that a node may have. ZooKeeper drops the connection of a client that sends more than 1 MiB in a request.
pub const DATA_MAX: usize = 1_000_000;

/// How often the data of a node were set: 0 when it was created, one more with each `Coordination::set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub i32);

/// A node, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What was written to it.
    pub data: Vec<u8>,
    /// How often that was.
    pub version: Version,
    /// Whether it vanishes with the process that made it: see `Coordination::hold`.
    pub is_held: bool,
}
