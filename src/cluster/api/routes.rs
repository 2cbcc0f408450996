//! The table of all requests, and what each does.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use serde_json::Value;
use slog::{Logger, debug, info};

use crate::cluster::api::answer::{ApiError, ErrorCode, done, json};
use crate::cluster::api::calls::Calls;
use crate::cluster::api::open_api::document;
use crate::cluster::api::route::{Content, Health, Route, TopologyList, WantedRequest, schema};
use crate::cluster::api::{body, guard};
use crate::cluster::operations::{
    ClusterInfo, RebalanceRequest, Rebalanced, SavepointRequest, SubmitRequest, Submitted, TopologyInfo,
    TopologyStatus,
};
use crate::cluster::topologies::{BlobHash, BlobHashError, CLUSTER_NAME_MAX, TopologyId};
use crate::text::shown;

/// All requests.
const ROUTES: &[Route] = &[
    Route {
        method: "PUT",
        path: "/v1/blobs/{hash}",
        id: "putBlob",
        summary: "Keeps a blob of at most 64 MiB. `hash` is its SHA-256, as 64 hexadecimal digits.",
        body: Some(Content::Bytes),
        answers: &[(204, "It is there.", None)],
        handler: || put(put_blob),
    },
    Route {
        method: "POST",
        path: "/v1/topologies",
        id: "submit",
        summary: "Takes a topology, whose source was put as a blob before.",
        body: Some(Content::Json(schema::<SubmitRequest>)),
        answers: &[
            (201, "It was taken.", Some(schema::<Submitted>)),
            (200, "It was only planned.", Some(schema::<Submitted>)),
        ],
        handler: || post(submit),
    },
    Route {
        method: "GET",
        path: "/v1/topologies",
        id: "listTopologies",
        summary: "All topologies, ended ones included.",
        body: None,
        answers: &[(200, "They are here.", Some(schema::<TopologyList>))],
        handler: || get(topologies),
    },
    Route {
        method: "GET",
        path: "/v1/topologies/{name}",
        id: "getTopology",
        summary: "One topology.",
        body: None,
        answers: &[(200, "It is here.", Some(schema::<TopologyInfo>))],
        handler: || get(topology),
    },
    Route {
        method: "GET",
        path: "/v1/topologies/{name}/stats",
        id: "getStats",
        summary: "One topology, and what its master has counted, which is asked now.",
        body: None,
        answers: &[(
            200,
            "It is here; without counters if the master does not answer.",
            Some(schema::<TopologyStatus>),
        )],
        handler: || get(stats),
    },
    Route {
        method: "PUT",
        path: "/v1/topologies/{name}/wanted",
        id: "putWanted",
        summary: "Has a topology do something. The answer does not wait until it does.",
        body: Some(Content::Json(schema::<WantedRequest>)),
        answers: &[(200, "It will.", Some(schema::<TopologyInfo>))],
        handler: || put(put_wanted),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/savepoints",
        id: "takeSavepoint",
        summary: "Has a topology take a savepoint. The answer does not wait: `savepoint` of the topology has what came of it.",
        body: Some(Content::Json(schema::<SavepointRequest>)),
        answers: &[(202, "It is wanted.", Some(schema::<TopologyInfo>))],
        handler: || post(take_savepoint),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/restart",
        id: "restartTopology",
        summary: "Has all workers of a topology begin anew. The answer does not wait until they do.",
        body: None,
        answers: &[(202, "They will.", Some(schema::<TopologyInfo>))],
        handler: || post(restart),
    },
    Route {
        method: "POST",
        path: "/v1/topologies/{name}/rebalance",
        id: "rebalanceTopology",
        summary: "Has a topology run with other workers, parallelism or values, or only plans that.",
        body: Some(Content::Json(schema::<RebalanceRequest>)),
        answers: &[
            (202, "It will.", Some(schema::<Rebalanced>)),
            (200, "It was only planned.", Some(schema::<Rebalanced>)),
        ],
        handler: || post(rebalance),
    },
    Route {
        method: "DELETE",
        path: "/v1/topologies/{name}",
        id: "removeTopology",
        summary: "Removes a topology that has ended from the list.",
        body: None,
        answers: &[(204, "It is gone.", None)],
        handler: || delete(remove),
    },
    Route {
        method: "GET",
        path: "/v1/cluster",
        id: "getCluster",
        summary: "Nimbuses and supervisors.",
        body: None,
        answers: &[(200, "They are here.", Some(schema::<ClusterInfo>))],
        handler: || get(cluster),
    },
    Route {
        method: "GET",
        path: "/v1/openapi.json",
        id: "getOpenApi",
        summary: "This document.",
        body: None,
        answers: &[(200, "It is here.", None)],
        handler: || get(async || json(StatusCode::OK, &open_api())),
    },
    Route {
        method: "GET",
        path: "/v1/healthz",
        id: "getHealth",
        summary: "Whether this process answers. Nothing else is asked for that.",
        body: None,
        answers: &[(200, "It does.", Some(schema::<Health>))],
        handler: || get(async || json(StatusCode::OK, &Health { status: "ok".to_owned() })),
    },
];

/// The document of the API, by OpenAPI 3.1.
pub fn open_api() -> Value {
    document(ROUTES)
}

/// The service of all requests. `own` is the address that is listened on.
pub(super) fn router(calls: Arc<Calls>, own: IpAddr, logger: Logger) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
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
        .layer(from_fn(move |request, next| guarded(request, next, own, logger.clone())))
        .with_state(calls)
}

/// Refuses what may not be asked, and logs the rest: at `info` what may have changed something.
async fn guarded(request: Request, next: Next, own: IpAddr, logger: Logger) -> Response {
    let (method, path) = (request.method().clone(), shown(request.uri().path()));
    let response = match check(&request, own) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let status = response.status().as_u16();
    match method {
        Method::GET | Method::HEAD => {
            debug!(logger, "a request"; "method" => %method, "path" => path, "status" => status);
        }
        _ => info!(logger, "a request"; "method" => shown(method), "path" => path, "status" => status),
    }
    response
}

fn check(request: &Request, own: IpAddr) -> Result<(), ApiError> {
    guard::check(request.uri(), request.headers(), own)?;
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

async fn put_blob(State(calls): Calling, hash: Named, body: Body) -> Result<Response, ApiError> {
    let hash: BlobHash = part(hash)?
        .parse()
        .map_err(|error: BlobHashError| ApiError::new(ErrorCode::Invalid, error.to_string()))?;
    let _permit = calls.blobs.acquire().await.expect("the semaphore is never closed");
    let bytes = body::read(body, calls.limits.blob_bytes_max, calls.limits.body_time).await?;
    calls.call(move |operations| operations.put_blob(&hash, &bytes)).await?;
    Ok(done())
}

async fn submit(State(calls): Calling, body: Body) -> Result<Response, ApiError> {
    let request: SubmitRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let status = if request.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    let submitted = calls.call(move |operations| operations.submit(&request)).await?;
    Ok(json(status, &submitted))
}

async fn topologies(State(calls): Calling) -> Result<Response, ApiError> {
    let topologies = calls.call(|operations| operations.topologies()).await?;
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

async fn put_wanted(State(calls): Calling, name: Named, body: Body) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    let request: WantedRequest =
        body::read_json(body, calls.limits.json_bytes_max, calls.limits.body_time).await?;
    let topology = calls.call(move |operations| operations.want(&name, request.wanted)).await?;
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

async fn remove(State(calls): Calling, name: Named) -> Result<Response, ApiError> {
    let name = topology_name(name)?;
    calls.call(move |operations| operations.remove(&name)).await?;
    Ok(done())
}

async fn cluster(State(calls): Calling) -> Result<Response, ApiError> {
    let cluster = calls.call(|operations| operations.cluster()).await?;
    Ok(json(StatusCode::OK, &cluster))
}

/// The part of a path, decoded.
fn part(part: Named) -> Result<String, ApiError> {
    let Path(text) = part.map_err(|_| ApiError::new(ErrorCode::Malformed, "the path is no UTF-8"))?;
    Ok(text)
}

/// The name in a path. What no topology can be called reaches no operation.
fn topology_name(name: Named) -> Result<String, ApiError> {
    let name = part(name)?;
    if TopologyId::new(&name, 0).is_ok() {
        return Ok(name);
    }
    let message = format!(
        "no topology is called `{}`: names have 1 to {CLUSTER_NAME_MAX} letters, digits, `_`, `.` or `-`",
        shown(name)
    );
    Err(ApiError::new(ErrorCode::Invalid, message))
}
