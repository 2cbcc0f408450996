//! A connection to a real server, by the crate `tokio-postgres`.
//!
//! 1. No error shows the URL, of which a password may be a part, nor what a library says about it.
//! 2. Everything that waits has a limit, which the server keeps (`statement_timeout`,
//!    `idle_in_transaction_session_timeout`), or the kernel: a server that was cut off is given up when it has not
//!    acknowledged data for `statement_timeout`. A server that is stopped while its kernel lives is given up by `blocking`,
//!    when it has not answered for `statement_timeout` and `connect_timeout` together.
//! 3. Parameters are sent as text: see `values`.
//!
//! `connector` makes a `connection`; `prepares` is what it does with prepared transactions, `journal` how it takes writes
//! back, by the statements of a `journaled_table`. `tables` has the tables of squall's own, and `errors` what an error
//! means for the rows.

mod blocking;
mod connection;
mod connector;
mod errors;
mod journal;
mod journaled_table;
mod prepares;
mod tables;

pub(super) use blocking::Client;
pub(super) use connection::AsText;
pub(super) use connector::{Connector, Reach, server_in};
pub(super) use tables::TABLES_LOCK;
