//! Topologies of a cluster: `submit`, `list`, `status`, `errors`, `logs`, `log-level`, `activate`, `deactivate`,
//! `restart`, `rebalance`, `upgrade`, `kill` and `remove`; and `stop` and `savepoint`, as far as they concern a cluster.
//!
//! * `reach`: how a nimbus is reached. `client`: what it is asked, and what its answers are. `waiting`: how a command waits until what it has asked
//!   for is true. `shown`: topologies as people see them. `counters`: what they count. `program`: the program that runs
//!   them.
//!
//! 1. A command follows the leader: a nimbus that stands by names it. Nothing that may have been done is asked twice.
//! 2. What was asked for is a wish. A command waits until the topology is as wished, and shows each change on stderr.
//! 3. A topology is watched by its id: if another one gets its name, waiting ends.

pub(super) mod access;
pub(super) mod activate;
pub(super) mod client;
mod counters;
pub(super) mod deactivate;
pub(super) mod errors;
pub(super) mod kill;
pub(super) mod list;
pub(super) mod log_level;
pub(super) mod logs;
mod program;
pub(super) mod reach;
pub(super) mod rebalance;
pub(super) mod remove;
pub(super) mod restart;
pub(super) mod savepoint;
mod shown;
pub(super) mod status;
pub(super) mod stop;
pub(super) mod submit;
pub(super) mod upgrade;
mod waiting;

pub(super) use reach::NimbusFlag;
pub(super) use waiting::WaitFlags;
