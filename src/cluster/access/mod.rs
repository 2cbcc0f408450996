//! Who may do what with a cluster: users, their tokens, and the access lists of topologies.
//!
//! ```text
//!   Authorization: Bearer squall_… ─▶ Token ─ SHA-256 ─▶ Users ◀─ UsersFile, read again when it changes
//!                                                          │
//!                                                          ▼
//!                       Caller ── may ── Right ── of a topology: owner, users, readers
//! ```
//!
//! * `token`: a token, its hash, and the header that carries it. `user`: a user, roles, and who asks. `right`: what a
//!   request needs, and who has it. Pure.
//! * `users`: the users of a file, and who has a token. `users_file`: the file itself. `attempts`: how many attempts that
//!   fail are answered and logged.
//!
//! 1. Who asks follows from the token alone, never from what a request says of itself.
//! 2. A token is 256 random bits, so it cannot be guessed, and a hash that is quick to compute is enough: a slow one, such
//!    as argon2, protects what people make up. It stands in no file of a nimbus, in no log and in no error.
//! 3. Empty means nobody: a file without users lets nobody in, and a topology without users and readers is its owner's and
//!    the administrators' alone.
//! 4. A file that cannot be read changes nothing: the users before it stay, and the log has the reason.

mod attempts;
mod right;
mod token;
mod user;
mod users;
mod users_file;

pub use attempts::{Attempt, Attempts};
pub use right::{AccessChange, Right, TopologyAccess};
pub use token::{Token, TokenError, TokenHash, bearer_in};
pub use user::{Caller, Role, UserEntry, UserName, UserNameError};
pub use users::Users;
pub use users_file::{UsersFile, UsersFileError};
