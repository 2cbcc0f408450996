//! A request that is served, as a row of the table, and the bodies that only the API has.

use std::sync::Arc;

use axum::routing::MethodRouter;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::cluster::access::Right;
use crate::cluster::api::calls::Calls;
use crate::cluster::operations::TopologyInfo;
use crate::cluster::topologies::Wanted;

/// All topologies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopologyList {
    /// By name.
    pub topologies: Vec<TopologyInfo>,
}

/// What a topology is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedRequest {
    /// What it is to do.
    pub wanted: Wanted,
}

/// Whether there is a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobFound {
    /// Whether it is there.
    pub is_there: bool,
}

/// Whether a host is to be empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainedRequest {
    /// Whether it is.
    pub drained: bool,
}

/// The server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
}

/// A request that is served.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Names the request, for programs that are made from the document.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// What whoever asks must be allowed to.
    pub(super) needs: Right,
    pub(super) body: Option<Content>,
    /// The statuses of success, and what comes with them.
    pub(super) answers: &'static [(u16, &'static str, Option<Content>)],
    /// What serves it.
    pub(super) handler: fn() -> MethodRouter<Arc<Calls>>,
}

/// The schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a body is.
pub(super) enum Content {
    Bytes,
    Json(SchemaOf),
}

/// The schema of a type, as a part of the document.
pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
