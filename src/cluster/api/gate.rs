//! Who asks, and whether that is allowed: in one place, before anything of a request is read or done.
//!
//! ```text
//!   Authorization ─▶ 401, 429 ── Caller ─▶ the right that the table has for the request
//!                                             └─ of a topology: owner and lists of the one in the path ─▶ 403, or on
//! ```
//!
//! The lists are read in the call before the one that does what was asked for. A topology that ends, is removed and
//! submitted again by somebody else between the two would be taken for the one before it; what ends is not asked for much.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::RequestPartsExt as _;
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use slog::{Logger, warn};

use crate::clock::Clock;
use crate::cluster::access::{Attempt, Attempts, Caller, Right, UserName, UsersFile, bearer_in};
use crate::cluster::api::answer::{ApiError, ErrorCode};
use crate::cluster::api::calls::Calls;
use crate::cluster::topologies::{CLUSTER_NAME_MAX, TopologyId};
use crate::text::shown;

/// The address of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Which user was answered, for the log.
#[derive(Clone, Debug)]
pub(super) struct AskedBy(pub(super) UserName);

/// The users, and what came of attempts to be one.
pub(super) struct Gate {
    /// `None`: there are none, and anybody may do everything.
    users: Option<UsersFile>,
    attempts: Mutex<Attempts>,
    clock: Clock,
    logger: Logger,
}

impl Gate {
    pub(super) fn new(users: Option<UsersFile>, clock: Clock, logger: Logger) -> Gate {
        Gate { users, attempts: Mutex::default(), clock, logger }
    }

    /// Who asks.
    fn caller(&self, headers: &HeaderMap, from: IpAddr) -> Result<Caller, ApiError> {
        let Some(users) = &self.users else { return Ok(Caller::Anybody) };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, other) = (values.next(), values.next());
        let Some(value) = value else {
            return Err(ApiError::new(
                ErrorCode::Unauthorized,
                "this nimbus has users, and nobody has said who asks: a token is needed, in the header `Authorization: \
                 Bearer TOKEN`; commands take it from the file that --token-file or SQUALL_TOKEN_FILE names",
            ));
        };
        let token = bearer_in(value.as_bytes()).ok().filter(|_| other.is_none());
        match token.and_then(|token| users.find(&token)) {
            Some(caller) => Ok(caller),
            None => Err(self.failed(from)),
        }
    }

    fn failed(&self, from: IpAddr) -> ApiError {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.failed(from, self.clock.now());
        match attempt {
            Attempt::Logged => warn!(self.logger, "a token is nobody's"; "from" => %from),
            Attempt::FirstOfTooMany => {
                warn!(self.logger, "many tokens are nobody's: further ones are not logged for a while"; "from" => %from);
            }
            Attempt::TooMany => {}
        }
        match attempt {
            Attempt::Logged => ApiError::new(
                ErrorCode::Unauthorized,
                "the token is nobody's: it was removed, or is that of another cluster; `squall user add` makes a new one",
            ),
            Attempt::FirstOfTooMany | Attempt::TooMany => ApiError::new(
                ErrorCode::TooManyAttempts,
                "the token is nobody's, and there were many such attempts from this address: wait before the next one",
            ),
        }
    }
}

/// What one request of the table needs.
#[derive(Clone)]
pub(super) struct Needed {
    pub(super) gate: Arc<Gate>,
    pub(super) calls: Arc<Calls>,
    pub(super) right: Right,
}

impl Needed {
    /// Serves the request if whoever asks may have that.
    pub(super) async fn serve(self, mut request: Request, next: Next) -> Response {
        let caller = match self.admit(&mut request).await {
            Ok(caller) => caller,
            Err(error) => return error.into_response(),
        };
        let name = caller.name().cloned();
        request.extensions_mut().insert(caller);
        let mut response = next.run(request).await;
        if let Some(name) = name {
            response.extensions_mut().insert(AskedBy(name));
        }
        response
    }

    async fn admit(&self, request: &mut Request) -> Result<Caller, ApiError> {
        if self.right == Right::Nothing {
            return Ok(Caller::Anybody);
        }
        // Who has no address is nobody in particular, as all of them together.
        let from = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
        let caller = self.gate.caller(request.headers(), from)?;
        if caller == Caller::Anybody {
            return Ok(caller);
        }
        // An administrator has all rights, whatever the topology is.
        let mut is_allowed = self.right.is_of(&caller, None);
        if !is_allowed && self.right.is_of_topology() {
            let name = name_in_path(request).await?;
            let info = self.calls.call(move |operations| operations.topology(&name)).await?;
            is_allowed = self.right.is_of(&caller, Some((&info.owner, &info.access)));
        }
        if is_allowed { Ok(caller) } else { Err(self.denied(&caller)) }
    }

    fn denied(&self, caller: &Caller) -> ApiError {
        let may_not = match self.right {
            Right::Nothing | Right::BeUser => "ask for this",
            Right::Submit => "submit topologies: the role `submit` is needed",
            Right::ReadBlobs => "read what topologies are made of: the role `host` is needed",
            Right::Read => {
                "look at this topology: only its owner, its users, its readers and administrators may"
            }
            Right::Operate => {
                "have this topology do anything: only its owner, its users and administrators may"
            }
            Right::Own => "change who may do what with this topology: only its owner and administrators may",
            Right::Admin => "do this: only administrators may",
        };
        ApiError::new(ErrorCode::Denied, format!("{caller} may not {may_not}"))
    }
}

/// The topology in the path.
async fn name_in_path(request: &mut Request) -> Result<String, ApiError> {
    let (mut parts, body) = std::mem::take(request).into_parts();
    let params = parts.extract::<RawPathParams>().await;
    *request = Request::from_parts(parts, body);
    let params = params.map_err(|_| ApiError::new(ErrorCode::Malformed, "the path is no UTF-8"))?;
    let name = params.iter().find(|(key, _)| *key == "name").map(|(_, value)| value.to_owned());
    // A request of the table that needs a right of a topology, and names none, is a defect: nobody may have it.
    let name = name.ok_or_else(|| ApiError::new(ErrorCode::Internal, "the path names no topology"))?;
    check_name(name)
}

/// A name that a topology may have. What no topology can be called reaches no operation.
pub(super) fn check_name(name: String) -> Result<String, ApiError> {
    if TopologyId::new(&name, 0).is_ok() {
        return Ok(name);
    }
    let message = format!(
        "no topology is called `{}`: names have 1 to {CLUSTER_NAME_MAX} letters, digits, `_`, `.` or `-`",
        shown(name)
    );
    Err(ApiError::new(ErrorCode::Invalid, message))
}
