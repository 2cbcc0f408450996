//! Runs of this user on this machine, and the commands about them: `ps`, `savepoint` and `stop`.
//!
//! ```text
//!   squall run words.toml ── RunSocket ── /run/user/1000/squall/words-4711.sock ◀── squall savepoint create words
//! ```
//!
//! * `directory`: where the sockets are, and which runs there are. `messages`: what is said over a socket.
//! * `socket`: the side of the run. `ps`, `savepoint`, `stop`: the commands. `checkpoint_now` asks for the state of this
//!   moment, for `state get`.

mod checkpoint_now;
mod directory;
mod messages;
pub(super) mod ps;
pub(super) mod savepoint;
mod socket;
pub(super) mod stop;

pub(super) use checkpoint_now::checkpoint_now;
pub(super) use directory::{Place, checkpoints_at, examine_directory};
pub(super) use socket::{RunSocket, Served};
