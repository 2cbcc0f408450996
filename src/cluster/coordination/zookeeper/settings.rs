//! What a client was opened with, read and checked.

use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::zookeeper::tls::Tls;
use crate::config::ZooKeeperOptions;

/// What the keeper was configured with.
pub(super) struct Settings {
    pub options: ZooKeeperOptions,
    pub root: NodePath,
    pub tls: Option<Tls>,
    pub password: Option<Vec<u8>>,
    /// For the choice of the first member, and for pauses.
    pub seed: u64,
    /// Makes nothing by itself: neither the root nor the node for catching up.
    pub only_reads: bool,
}
