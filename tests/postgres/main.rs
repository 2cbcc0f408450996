//! The bolt `postgres` against a real server, which each test starts and stops itself.
//!
//! `rows`: what is written, row by row. `runs`: whole topologies, whose processes, workers and server are killed.
//! `prepared`: the same with `prepare = true`, `dirty`: with `dirty = true`. `totals`: totals in a table. `conformance`:
//! the kit for sinks of one's own, on all three ways of the sink. What the sink does when a connection breaks in any of its calls is
//! tested in `src/components/postgres/tests.rs`.
//!
//! `scripts/test-servers.sh` installs the server and runs these tests.

mod conformance;
mod dirty;
mod prepared;
mod rows;
mod runs;
mod server;
mod sinks;
mod totals;
