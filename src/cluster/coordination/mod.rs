//! What the processes of a cluster agree on: a small tree of nodes that all of them see.
//!
//! ```text
//!   nimbus, supervisors, masters ──▶ Coordination ──┬─▶ zookeeper: a real ensemble
//!                                                   └─▶ memory: the same rules in this process,
//!                                                       for simulations and tests
//! ```
//!
//! * [`NodePath`], [`Node`], [`Version`]: the tree. [`Coordination`]: what can be done with it.
//! * [`Notice`]: what a process is notified of. [`Session`]: whether it is connected, and since when.
//! * `memory`: the implementation in memory. `zookeeper`: the real one. Both pass the tests in
//!   `tests/coordination_kit`.
//! * [`Record`]: what nodes have. [`ClusterRecord`], [`LeaderRecord`], [`CandidateRecord`]: some of them.
//! * [`Election`]: who of several processes leads. [`Mark`]: what a process remembers of its cluster.
//!
//! 1. A node is written as a whole, and only if it still has the version that the writer has read. So one node is
//!    one commit: what must change together stands in one node.
//! 2. A write whose answer was lost is repeated, and what it did is found out by reading. So data must name their
//!    writer: two processes never write equal data to one path.
//! 3. A read may return what was true a moment ago, but never less than this session has written or read.
//!    [`Coordination::catch_up`] ends that moment.
//! 4. Notices are hints: they may come late, twice, or for nothing. What is true is found out by reading. A process
//!    reads everything again at [`Notice::ReadAgain`].
//! 5. A *held* node exists while the process that holds it lives and is connected. It vanishes a session time-out after
//!    the process has died, and may be away for a moment when the connection was lost.
//! 6. A path is not used again for something else: after a deletion versions begin at 0 again, so a writer
//!    that has slept could mistake the new node for the old one.
//!
//! Not here: transactions over several nodes, locks, queues, and nodes that number themselves.

mod cluster;
mod election;
mod error;
mod mark;
mod memory;
mod node;
mod path;
mod presence;
mod record;
mod repeated;
mod service;
pub mod zookeeper;

pub use cluster::{ClusterRecord, join_cluster};
pub use election::{CandidateRecord, Election, ElectionError, LeaderRecord, Leadership, candidates_of};
pub use error::CoordinationError;
pub use mark::{Mark, MarkError, MarkFile, MarkMismatch, check_mark};
pub use memory::{
    KeptClient, KeptError, KeptService, Lose, MemoryClient, MemoryOptions, MemoryService, MemorySnapshot,
};
pub use node::{DATA_MAX, Node, Version};
pub use path::{NodePath, PathError};
pub(crate) use presence::be_present;
pub use record::{Record, RecordAccessError, RecordError, decode_record, encode_record, read_record};
pub use service::{Coordination, Notice, Notify, Session};
