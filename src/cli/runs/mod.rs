//! Runs of this user on this machine, and the commands about them: `ps`, `savepoint` and `stop`.
//!
//! ```text
//!   squall run words.toml ── RunSocket ── /run/user/1000/squall/words-4711.sock ◀── squall savepoint create words
//! ```
//!
//! * `directory`: where the sockets are, and which runs there are. `messages`: what is said over a socket.
//! * `socket`: the side of the run. `ps`, `savepoint`, `stop`: the commands.

mod directory;
mod messages;
pub(super) mod ps;
pub(super) mod savepoint;
mod socket;
pub(super) mod stop;

pub(super) use directory::checkpoints_at;
pub(super) use socket::{RunSocket, Served};
