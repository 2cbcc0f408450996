//! Secrets: values that stand in no document, no store of a cluster, no log and no error.
//!
//! ```text
//!   document: url = { secret = "orders-db" } ─▶ Secret (a name) ─▶ topology, blobs, ZooKeeper: the name alone
//!   host:     <directory>/orders-db (0600)   ─▶ SecretDirectory::value_of, where a component is opened ─▶ SecretValue
//! ```
//!
//! * `name`: what a secret is called. `setting`: what a component has in its settings. `value`: the text itself.
//! * `directory`: the files of a host, one for each secret. `error`: why one cannot be read.
//!
//! 1. A value leaves its file in one place, [`SecretDirectory::value_of`]. What has it cannot be printed by accident:
//!    [`SecretValue`] and [`Secret`] do not implement `Display` or `Serialize`, and their `Debug` shows no text.
//! 2. A file is read only if nobody but its owner can read it and nobody but the owner of the directory can replace it.
//! 3. A name is one part of a path, so no name leads out of the directory.
//! 4. A value is read each time that it is needed, and kept by nobody here. So a value that is replaced is used from the
//!    next opening or reconnect on.
//!
//! Values are not encrypted on the disk of their host: whoever can read files as this user can read them.

mod directory;
mod error;
mod name;
mod setting;
mod value;

pub use directory::{SECRET_BYTES_MAX, SecretDirectory};
pub use error::SecretError;
pub use name::{NotASecretName, SecretName};
pub use setting::{SECRET_MARK, Secret};
pub use value::SecretValue;
