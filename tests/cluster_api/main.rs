//! The HTTP API of a nimbus over real sockets, against operations that are kept in memory: each request, each error,
//! hostile input, limits, and the end.

mod fake;
mod hostile;
mod http;
mod requests;
mod server_ends;
