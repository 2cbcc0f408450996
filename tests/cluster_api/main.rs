//! The HTTP API of a nimbus over real sockets, against operations that are kept in memory: each request, each error,
//! hostile input, limits, and the end. And the commands that use it.

#[path = "../zookeeper/certificates.rs"]
mod certificates;
mod commands;
mod fake;
mod hostile;
mod http;
mod real;
mod requests;
mod server_ends;
mod tls;
mod users;
