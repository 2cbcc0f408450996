//! The table of all requests, and what each does.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};
use serde_json::Value;
use slog::{Logger, debug, info};

use crate::cluster::access::{AccessChange, Caller, Right};
use crate::cluster::api::answer::{ApiError, ErrorCode, bytes_of, done, json};
use crate::cluster::api::body;
use crate::cluster::api::calls::Calls;
use crate::cluster::api::gate::{AskedBy, Gate, Needed, check_name};
use crate::cluster::api::guard::OwnNames;
use crate::cluster::api::open_api::document;
use crate::cluster::api::route::{
    BlobFound, Content, DrainedRequest, Health, Route, TopologyList, WantedRequest, schema,
};
use crate::cluster::api::sent_blob::SentBlob;
use crate::cluster::log_pieces::LogQuestion;
use crate::cluster::operations::{
    ClusterInfo, HostInfo, LogLevelRequest, RebalanceRequest, Rebalanced, SavepointRequest, SubmitRequest,
    Submitted, TopologyInfo, TopologyLogs, TopologyStatus, UpgradeRequest, Upgraded,
};
use crate::cluster::topologies::{BlobHash, BlobHashError};
use crate::config::is_daemon_id;
use crate::text::shown;

/// All requests.
const ROUTES: &[Route] = &[
    Route {
        method: "PUT",
        path: "/v1/blobs/{hash}",
        id: "putBlob",
        summary: "Keeps a blob of at most 64 MiB. `hash` is its SHA-256, as 64 hexadecimal digits.",
        needs: Right::Submit,
        body: Some(Content::Bytes),
        answers: &[(204, "It is there.", None)],
        handler: || put(put_blob),
    },
    Route {
        method: "GET",
        path: "/v1/blobs/{hash}",
        id: "hasBlob",
        summary: "Whether a blob is there. Then it is kept for an hour at least, so it need not be put.",
        needs: Right::Submit,
        body: None,
        answers: &[(200, "It is known.", Some(Content::Json(schema::<BlobFound>)))],
        handler: || get(has_blob),
    },
    Route {
        method: "GET",
        path: "/v1/blobs/{hash}/bytes",
        id: "getBlob",
        summary: "A blob, for supervisors that do not see the directory of blobs. Whoever asks checks its hash.",
        needs: Right::ReadBlobs,
        body: None,
        answers: &[(200, "It is here.", Some(Content::Bytes))],
        handler: || get(blob),
    },
    Route {
        method: "POST",
        path: "/v1/topologies",
        id: "submit",
        summary: "Takes a topology, whose source was put as a blob before.",
        needs: Right::Submit,
        body: Some(Content::Json(schema::<SubmitRequest>)),
        answers: &[
            (201, "It was taken.", Some(Content::Json(schema::<Submitted>))),
            (200, "It was only planned.", Some(Content::Json(schema::<Submitted>))),
        ],
        handler: || post(submit),
    },
    Route {
        method: "GET",
        path: "/v1/topologies",
        id: "listTopologies",
        summary: "All topologies that whoever asks may look at, ended ones included.",
        needs: Right::BeUser,
        body: None,
        answers: &[(200, "They are here.", Some(Content::Json(schema::<TopologyList>)))],
        handler: || get(topologies),
    },
    Route {
        method: "GET",
        path: "/v1/topologies/{name}",
        id: "getTopology",
        summary: "One topology.",
        needs: Right::Read,
        body: None,
        answers: &[(200, "It is here.", Some(Content::Json(schema::<TopologyInfo>)))],
        handler: || get(topology),
    },
    Route {
        method: "GET",
        path: "/v1/topologies/{name}/stats",
        id: "getStats",
        summary: "One topology, and what its master has counted, which is asked now.",
        needs: Right::Read,
        body: None,
        answers: &[(
            200,
            "It is here; without counters if the master does not answer.",
            Some(Content::Json(schema::<TopologyStatus>)),
        )],
        handler: || get(stats),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/logs",
        id: "readLogs",
        summary: "Pieces of what the processes of a topology log, which are asked for now. Nothing is changed.",
        needs: Right::Read,
        body: Some(Content::Json(schema::<LogQuestion>)),
        answers: &[(200, "They are here, or why they are not.", Some(Content::Json(schema::<TopologyLogs>)))],
        handler: || post(logs),
    },
    Route {
        method: "PUT",
        path: "/v1/topologies/{name}/wanted",
        id: "putWanted",
        summary: "Has a topology do something. The answer does not wait until it does.",
        needs: Right::Operate,
        body: Some(Content::Json(schema::<WantedRequest>)),
        answers: &[(200, "It will.", Some(Content::Json(schema::<TopologyInfo>)))],
        handler: || put(put_wanted),
    },
    Route {
        method: "PUT",
        path: "/v1/topologies/{name}/log-level",
        id: "putLogLevel",
        summary: "Has the processes of a topology log other records for a while, or takes that back. The answer does not wait until they do.",
        needs: Right::Operate,
        body: Some(Content::Json(schema::<LogLevelRequest>)),
        answers: &[(200, "They will.", Some(Content::Json(schema::<TopologyInfo>)))],
        handler: || put(put_log_level),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/access",
        id: "changeAccess",
        summary: "Changes who may do what with a topology.",
        needs: Right::Own,
        body: Some(Content::Json(schema::<AccessChange>)),
        answers: &[(200, "It is changed.", Some(Content::Json(schema::<TopologyInfo>)))],
        handler: || post(change_access),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/savepoints",
        id: "takeSavepoint",
        summary: "Has a topology take a savepoint. The answer does not wait: `savepoint` of the topology has what came of it.",
        needs: Right::Operate,
        body: Some(Content::Json(schema::<SavepointRequest>)),
        answers: &[(202, "It is wanted.", Some(Content::Json(schema::<TopologyInfo>)))],
        handler: || post(take_savepoint),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/restart",
        id: "restartTopology",
        summary: "Has all workers of a topology begin anew. The answer does not wait until they do.",
        needs: Right::Operate,
        body: None,
        answers: &[(202, "They will.", Some(Content::Json(schema::<TopologyInfo>)))],
        handler: || post(restart),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/rebalance",
        id: "rebalanceTopology",
        summary: "Has a topology run with other workers, parallelism or values, or only plans that.",
        needs: Right::Operate,
        body: Some(Content::Json(schema::<RebalanceRequest>)),
        answers: &[
            (202, "It will.", Some(Content::Json(schema::<Rebalanced>))),
            (200, "It was only planned.", Some(Content::Json(schema::<Rebalanced>))),
        ],
        handler: || post(rebalance),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/upgrade",
        id: "upgradeTopology",
        summary: "Puts another topology in the place of one that runs. The answer does not wait: `upgrade` of the topology has what came of it.",
        needs: Right::Operate,
        body: Some(Content::Json(schema::<UpgradeRequest>)),
        answers: &[
            (202, "It will, or it will be rolled back.", Some(Content::Json(schema::<Upgraded>))),
            (200, "It was only planned.", Some(Content::Json(schema::<Upgraded>))),
        ],
        handler: || post(upgrade),
    },
    Route {
        method: "DELETE",
        path: "/v1/topologies/{name}",
        id: "removeTopology",
        summary: "Removes a topology that has ended from the list.",
        needs: Right::Operate,
        body: None,
        answers: &[(204, "It is gone.", None)],
        handler: || delete(remove),
    },
    Route {
        method: "GET",
        path: "/v1/cluster",
        id: "getCluster",
        summary: "Nimbuses and supervisors.",
        needs: Right::BeUser,
        body: None,
        answers: &[(200, "They are here.", Some(Content::Json(schema::<ClusterInfo>)))],
        handler: || get(cluster),
    },
    Route {
        method: "PUT",
        path: "/v1/supervisors/{id}/drained",
        id: "putDrained",
        summary: "Has a host emptied, or used again. The answer does not wait until it is empty.",
        needs: Right::Admin,
        body: Some(Content::Json(schema::<DrainedRequest>)),
        answers: &[(200, "It will be.", Some(Content::Json(schema::<HostInfo>)))],
        handler: || put(put_drained),
    },
    Route {
        method: "GET",
        path: "/v1/openapi.json",
        id: "getOpenApi",
        summary: "This document.",
        needs: Right::Nothing,
        body: None,
        answers: &[(200, "It is here.", None)],
        handler: || get(async || json(StatusCode::OK, &open_api())),
    },
    Route {
        method: "GET",
        path: "/v1/healthz",
        id: "getHealth",
        summary: "Whether this process answers. Nothing else is asked for that.",
        needs: Right::Nothing,
        body: None,
        answers: &[(200, "It does.", Some(Content::Json(schema::<Health>)))],
        handler: || get(async || json(StatusCode::OK, &Health { status: "ok".to_owned() })),
    },
];

/// The document of the API, by OpenAPI 3.1.
pub fn open_api() -> Value {
    document(ROUTES)
}

/// The service of all requests.
pub(super) fn router(calls: Arc<Calls>, gate: Gate, own: OwnNames, logger: Logger) -> Router {
    let gate = Arc::new(gate);
    let own = Arc::new(own);
    let mut router = Router::new();
    for route in ROUTES {
        let needed = Needed { gate: Arc::clone(&gate), calls: Arc::clone(&calls), right: route.needs };
        let check = from_fn(move |request, next| needed.clone().serve(request, next));
        router = router.route(route.path, (route.handler)().route_layer(check));
    }
    router
        .fallback(async |request: Request| {
            let message = format!("there is no path `{}`: see /v1/openapi.json", shown(request.uri().path()));
            ApiError::new(ErrorCode::NoPath, message)
        })
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            let message = format!("`{}` has no method {}: see /v1/openapi.json", shown(path), shown(method));
            ApiError::new(ErrorCode::NoMethod, message)
        })
        .layer(from_fn(move |request, next| guarded(request, next, Arc::clone(&own), logger.clone())))
        .with_state(calls)
}

/// Refuses what may not be asked, and logs the rest: at `info` what may have changed something.
async fn guarded(request: Request, next: Next, own: Arc<OwnNames>, logger: Logger) -> Response {
    let (method, path) = (request.method().clone(), shown(request.uri().path()));
    let response = match check(&request, &own) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let status = response.status().as_u16();
    let user = response.extensions().get::<AskedBy>().map(|by| by.0.to_string()).unwrap_or_default();
    match method {
        Method::GET | Method::HEAD => {
            debug!(logger, "a request"; "method" => %method, "path" => path, "status" => status, "user" => user);
        }
        _ => {
            info!(logger, "a request"; "method" => shown(method), "path" => path, "status" => status, "user" => user);
        }
    }
    response
}

fn check(request: &Request, own: &OwnNames) -> Result<(), ApiError> {
    own.check(request.uri(), request.headers())?;
    match request.uri().query() {
        None | Some("") => Ok(()),
        Some(query) => {
            let message = format!("no path takes a query, but there is `?{}`", shown(query));
            Err(ApiError::new(ErrorCode::Malformed, message))
        }
    }
}

type Calling = State<Arc<Calls>>;
type Named = Result<Path<String>, PathRejection>;

async fn has_blob(State(calls): Calling, hash: Named) -> Result<Response, ApiError> {
    let hash = blob_hash(hash)?;
    let is_there = calls.call(move |operations| operations.has_blob(&hash)).await?;
    Ok(json(StatusCode::OK, &BlobFound { is_there }))
}

async fn blob(State(calls): Calling, hash: Named) -> Result<Response, ApiError> {
    let hash = blob_hash(hash)?;
    let permit = Arc::clone(&calls.blobs).acquire_owned().await.expect("the semaphore is never closed");
    let bytes = calls.call(move |operations| operations.blob(&hash)).await?;
    Ok(bytes_of(SentBlob::new(bytes, permit)))
}

fn blob_hash(hash: Named) -> Result<BlobHash, ApiError> {
    let hash = part(hash)?.parse();
    hash.map_err(|error: BlobHashError| ApiError::new(ErrorCode::Invalid, error.to_string()))
}

async fn put_blob(State(calls): Calling, hash: Named, body: Body) -> Result<Response, ApiError> {
    let hash = blob_hash(hash)?;
    let _permit = calls.blobs.acquire().await.expect("the semaphore is never closed");
    let bytes = body::read(body, calls.limits.blob_bytes_max, calls.limits.body_time).await?;
    calls.call(move |operations| operations.put_blob(&hash, &bytes)).await?;
    Ok(done())
}

async fn submit(
    State(calls): Calling,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, ApiError> {
    let request: SubmitRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let status = if request.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    let submitted = calls.call(move |operations| operations.submit(&request, &caller)).await?;
    Ok(json(status, &submitted))
}

async fn topologies(
    State(calls): Calling,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let mut topologies = calls.call(|operations| operations.topologies()).await?;
    topologies.retain(|info| Right::Read.is_of(&caller, Some((&info.owner, &info.access))));
    Ok(json(StatusCode::OK, &TopologyList { topologies }))
}

async fn topology(State(calls): Calling, name: Named) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let topology = calls.call(move |operations| operations.topology(&name)).await?;
    Ok(json(StatusCode::OK, &topology))
}

async fn stats(State(calls): Calling, name: Named) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let status = calls.ask_master(move |operations| operations.stats(&name)).await?;
    Ok(json(StatusCode::OK, &status))
}

async fn logs(State(calls): Calling, name: Named, body: Body) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let question: LogQuestion =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let logs = calls.ask_master(move |operations| operations.logs(&name, &question)).await?;
    Ok(json(StatusCode::OK, &logs))
}

async fn put_wanted(State(calls): Calling, name: Named, body: Body) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let request: WantedRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let topology = calls.call(move |operations| operations.want(&name, request.wanted)).await?;
    Ok(json(StatusCode::OK, &topology))
}

async fn put_log_level(State(calls): Calling, name: Named, body: Body) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let request: LogLevelRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let topology = calls.call(move |operations| operations.log_level(&name, &request)).await?;
    Ok(json(StatusCode::OK, &topology))
}

async fn change_access(State(calls): Calling, name: Named, body: Body) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let change: AccessChange =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let topology = calls.call(move |operations| operations.change_access(&name, &change)).await?;
    Ok(json(StatusCode::OK, &topology))
}

async fn take_savepoint(State(calls): Calling, name: Named, body: Body) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let request: SavepointRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let topology = calls.call(move |operations| operations.savepoint(&name, &request)).await?;
    Ok(json(StatusCode::ACCEPTED, &topology))
}

async fn restart(State(calls): Calling, name: Named) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let topology = calls.call(move |operations| operations.restart(&name)).await?;
    Ok(json(StatusCode::ACCEPTED, &topology))
}

async fn rebalance(State(calls): Calling, name: Named, body: Body) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let request: RebalanceRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let status = if request.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let rebalanced = calls.call(move |operations| operations.rebalance(&name, &request)).await?;
    Ok(json(status, &rebalanced))
}

async fn upgrade(State(calls): Calling, name: Named, body: Body) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let request: UpgradeRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let status = if request.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let upgraded = calls.call(move |operations| operations.upgrade(&name, &request)).await?;
    Ok(json(status, &upgraded))
}

async fn remove(State(calls): Calling, name: Named) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    calls.call(move |operations| operations.remove(&name)).await?;
    Ok(done())
}

async fn cluster(State(calls): Calling) -> Result<Response, ApiError> {
    let cluster = calls.call(|operations| operations.cluster()).await?;
    Ok(json(StatusCode::OK, &cluster))
}

async fn put_drained(State(calls): Calling, id: Named, body: Body) -> Result<Response, ApiError> {
    let id = supervisor_id(id)?;
    let request: DrainedRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let host = calls.call(move |operations| operations.drain(&id, request.drained)).await?;
    Ok(json(StatusCode::OK, &host))
}

/// The part of a path, decoded.
fn part(part: Named) -> Result<String, ApiError> {
    let Path(text) = part.map_err(|_| ApiError::new(ErrorCode::Malformed, "the path is no UTF-8"))?;
    Ok(text)
}

/// The name in a path.
fn topology_name(name: Named) -> Result<String, ApiError> {
    check_name(part(name)?)
}

/// The same for the id of a supervisor.
fn supervisor_id(id: Named) -> Result<String, ApiError> {
    let id = part(id)?;
    if is_daemon_id(&id) {
        return Ok(id);
    }
    let message =
        format!("no supervisor is called `{}`: ids have 1 to 40 letters, digits, `_`, `.` or `-`", shown(id));
    Err(ApiError::new(ErrorCode::Invalid, message))
}
