//! squall's coordination against a real ZooKeeper, which the tests start and stop themselves.
//!
//! `contract`: the contract that all implementations keep. `sessions`: sessions that end and connections that break.
//! `members`: members of an ensemble that die and freeze. `data`: data that are lost, old or large, and disks that are
//! full. `rights`: users and roots. `encrypted`: TLS. `election`: leaders. `commands`: `squall zk` and `squall doctor`.
//! `daemons`: nimbuses and supervisors. `defects`: what the crate `zookeeper` does wrong, and squall does not.
//!
//! The kit: `server` (ZooKeeper alone and as an ensemble, killed, frozen, wiped), `disk` (a file system that is full),
//! `certificates`, `proxy` (connections that break), `clients` (of squall), `load` (what must be true of many writes),
//! `witness` (a client of the tests' own, which shares no code with squall), `processes`, `place` (addresses). `kit`:
//! that all of this does what it says.
//!
//! `scripts/test-servers.sh` installs the server and runs these tests.

mod certificates;
mod clients;
mod commands;
mod contract;
#[path = "../coordination_kit/mod.rs"]
mod coordination_kit;
mod daemons;
mod data;
mod defects;
mod disk;
mod election;
mod encrypted;
mod kit;
mod load;
mod members;
mod place;
mod processes;
mod proxy;
mod rights;
mod server;
mod sessions;
mod topologies;
mod witness;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything here may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the condition holds.
#[track_caller]
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(comes_true(holds), "in vain waited for: {what}");
}

/// Whether the condition holds before it counts as stuck.
fn comes_true(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}
