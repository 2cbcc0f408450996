//! The HTTP API of a nimbus: what [`Operations`](crate::cluster::operations::Operations) does, for `squall submit` and
//! its like, for scripts and for browsers to come.
//!
//! ```text
//!   client ─ TCP, TLS ─▶ server: accept, time, end ─▶ guard ─▶ gate ─▶ routes ─▶ calls ─▶ Operations, in a blocking thread
//!                                                            └─ body: bounded ── answer: JSON, or an error
//! ```
//!
//! * `options`, `limits`: what the server is started with, and allows. `server`: connections; `tls`, `handshakes`: their
//!   encryption. `guard`: pages in browsers. `gate`: who asks, and may they. `route`, `routes`: the
//!   table of all requests. `body`, `calls`, `answer`: the parts of a request. `open_api`: the document, made from the table.
//!
//! 1. Everything is bounded: connections, the time of each, bodies, calls that wait. What is over a bound is refused
//!    with a text; nothing waits for ever.
//! 2. A connection serves one request. So one deadline for the connection is enough against slow clients, and the end
//!    of the server has nothing to wait for but requests.
//! 3. Each request of the table has the right that it needs, and `gate` looks at it before anything of the request is read
//!    or done. Without users anybody may do everything; then only loopback is listened on. A request that a browser sends
//!    for a page of somebody else is refused by its `Host` or `Origin`.
//! 4. A path that the document does not have does not exist, because both are made from one table.

mod answer;
mod body;
mod calls;
mod gate;
mod guard;
mod handshakes;
mod limits;
mod open_api;
mod options;
mod route;
mod routes;
mod sent_blob;
mod server;
mod tls;

pub use answer::{ErrorBody, ErrorCode, ErrorInfo};
pub use limits::ApiLimits;
pub use options::ApiOptions;
pub use route::{BlobFound, DrainedRequest, Health, TopologyList, WantedRequest};
pub use routes::open_api;
pub use server::{ApiServer, StartApiError};
pub use tls::{ApiTls, ApiTlsError};
