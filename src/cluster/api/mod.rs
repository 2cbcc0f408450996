//! The HTTP API of a nimbus: what [`Operations`](crate::cluster::operations::Operations) does, for `squall submit` and
//! its like, for scripts and for browsers to come.
//!
//! ```text
//!   client ─ TCP ─▶ server: accept, time, end ─▶ guard ─▶ routes ─▶ calls ─▶ Operations, in a blocking thread
//!                                                            └─ body: bounded ── answer: JSON, or an error
//! ```
//!
//! * `limits`: what the server allows. `server`: connections. `guard`: who may ask. `route`, `routes`: the
//!   table of all requests. `body`, `calls`, `answer`: the parts of a request. `open_api`: the document, made from the table.
//!
//! 1. Everything is bounded: connections, the time of each, bodies, calls that wait. What is over a bound is refused
//!    with a text; nothing waits for ever.
//! 2. A connection serves one request. So one deadline for the connection is enough against slow clients, and the end
//!    of the server has nothing to wait for but requests.
//! 3. There are no users and there is no TLS yet. So only loopback is listened on, and a request that a browser sends
//!    for a page of somebody else is refused by its `Host` or `Origin`.
//! 4. A path that the document does not have does not exist, because both are made from one table.

mod answer;
mod body;
mod calls;
mod guard;
mod limits;
mod open_api;
mod route;
mod routes;
mod server;

pub use answer::{ErrorBody, ErrorCode, ErrorInfo};
pub use limits::ApiLimits;
pub use route::{Health, TopologyList, WantedRequest};
pub use routes::open_api;
pub use server::{ApiServer, StartApiError};
