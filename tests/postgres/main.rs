//! The bolt `postgres` against a real server, which each test starts and stops itself.
//!
//! `rows`: what is written, row by row. `runs`: whole topologies, whose processes, workers and server are killed.
//! `totals`: totals in a table, in the same ways. What
//! the sink does when a connection breaks in any of its calls is tested in `src/components/postgres/tests.rs`.
//!
//! `scripts/test-servers.sh` installs the server and runs these tests.

mod rows;
mod runs;
mod server;
mod totals;
