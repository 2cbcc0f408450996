//! Answers: JSON with a status, and one shape for all errors.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::api::sent_blob::SentBlob;
use crate::cluster::operations::OperationError;

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorInfo,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorInfo {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// With `not_leader`: where the API of the nimbus that leads is reached; null if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// Which kind of error it is. Each has one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// 400: the body, the path or the query is not what is expected.
    Malformed,
    /// 401: there are users, and the request has no token, or one that is nobody's.
    Unauthorized,
    /// 403: the user may not do this.
    Denied,
    /// 403: the request comes from a page in a browser, or names another host.
    Forbidden,
    /// 404: there is no such path.
    NoPath,
    /// 404: there is no such topology.
    NoTopology,
    /// 404: there is no such supervisor.
    NoSupervisor,
    /// 405: the path has no such method.
    NoMethod,
    /// 408: the body did not come in time.
    TooSlow,
    /// 409: what is asked for does not fit what is there.
    Conflict,
    /// 413: the body is too large.
    TooLarge,
    /// 421: this nimbus does not lead.
    NotLeader,
    /// 422: what is asked for makes no sense, or is not allowed.
    Invalid,
    /// 429: too many requests from this address had tokens that are nobody's.
    TooManyAttempts,
    /// 500: a defect of squall.
    Internal,
    /// 503: it cannot be done now. It was not done, and may be asked for again.
    Unavailable,
    /// 503: too many calls are waiting. It was not done, and may be asked for again.
    Busy,
    /// 504: the call takes too long. It may be done later.
    Unfinished,
}

impl ErrorCode {
    /// The status of an answer with this code.
    pub fn status(self) -> StatusCode {
        match self {
            ErrorCode::Malformed => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::Denied | ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::NoPath | ErrorCode::NoTopology | ErrorCode::NoSupervisor => StatusCode::NOT_FOUND,
            ErrorCode::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::TooSlow => StatusCode::REQUEST_TIMEOUT,
            ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::NotLeader => StatusCode::MISDIRECTED_REQUEST,
            ErrorCode::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Unavailable | ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Unfinished => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// An error as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError(ErrorInfo);

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError(ErrorInfo { code, message: message.into(), leader: None })
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> ApiError {
        let message = error.to_string();
        let (code, leader) = match error {
            OperationError::NotLeader { leader } => (ErrorCode::NotLeader, leader),
            OperationError::NoTopology { .. } => (ErrorCode::NoTopology, None),
            OperationError::NoSupervisor { .. } => (ErrorCode::NoSupervisor, None),
            OperationError::Conflict(_) => (ErrorCode::Conflict, None),
            OperationError::Invalid(_) => (ErrorCode::Invalid, None),
            OperationError::Unavailable(_) => (ErrorCode::Unavailable, None),
        };
        ApiError(ErrorInfo { code, message, leader })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.0.code;
        let mut response = json(code.status(), &ErrorBody { error: self.0 });
        let more = match code {
            ErrorCode::Unauthorized => Some((header::WWW_AUTHENTICATE, "Bearer realm=\"squall\"")),
            ErrorCode::TooManyAttempts => Some((header::RETRY_AFTER, "6")),
            _ => None,
        };
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A result as JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let text = serde_json::to_vec(value).expect("answers have text keys only, so they are JSON");
    let mut response = answer(Body::from(text), "application/json");
    *response.status_mut() = status;
    response
}

/// Bytes that nobody but who asked for them interprets.
pub(super) fn bytes_of(body: SentBlob) -> Response {
    answer(Body::new(body), "application/octet-stream")
}

fn answer(body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // What is there changes at any time, and a browser must take it for nothing else.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// It was done, and there is nothing to say about it.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
