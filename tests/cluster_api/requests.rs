//! Each request, each error, and the document.

use serde_json::{Value, json};
use squall::cluster::api::open_api;
use squall::cluster::observed::Observed;
use squall::cluster::operations::OperationError;
use squall::cluster::summary::{ComponentSummary, StatsSummary};
use squall::cluster::topologies::{BlobHash, TopologyPhase};

use crate::fake::Fake;
use crate::http::{Answer, ask};

#[test]
fn a_topology_is_submitted_changed_and_removed() {
    let fake = Fake::new();
    let server = fake.serve();
    let ask = |method: &str, path: &str, body: &str| ask(server.address(), method, path, body);
    let hash = BlobHash::of(b"the source");
    let put = ask("PUT", &format!("/v1/blobs/{hash}"), "the source");
    assert_eq!((put.status, put.json()), (204, Value::Null));
    assert_eq!(fake.inside().blobs[&hash], b"the source");
    let found = |hash: &BlobHash| ask("GET", &format!("/v1/blobs/{hash}"), "").json()["is_there"].clone();
    assert_eq!((found(&hash), found(&BlobHash::of(b"another"))), (true.into(), false.into()));

    let read = ask("GET", &format!("/v1/blobs/{hash}/bytes"), "");
    assert_eq!((read.status, &*read.body), (200, &b"the source"[..]));
    let missing = ask("GET", &format!("/v1/blobs/{}/bytes", BlobHash::of(b"another")), "");
    assert_eq!((missing.status, &*missing.code()), (422, "invalid"));

    let planned = ask("POST", "/v1/topologies", &format!(r#"{{"source":"{hash}","dry_run":true}}"#));
    assert_eq!((planned.status, &planned.json()["id"]), (200, &Value::Null));
    assert_eq!(planned.json()["workers"][1], json!({ "worker": 1, "host": "ada", "slot": 2 }));
    let taken = ask("POST", "/v1/topologies", &format!(r#"{{"source":"{hash}","owner":"ada"}}"#));
    assert_eq!((taken.status, taken.json()["name"].as_str()), (201, Some("words")));
    assert_eq!(fake.inside().submitted[1].owner, "ada");

    let all = ask("GET", "/v1/topologies", "");
    assert_eq!((all.status, all.json()["topologies"][0]["name"].as_str()), (200, Some("words")));
    let one = ask("GET", "/v1/topologies/words", "");
    assert_eq!((one.status, one.json()), (200, all.json()["topologies"][0].clone()));
    assert_eq!(one.json()["phase"], "starting");
    let status = ask("GET", "/v1/topologies/words/stats", "").json();
    assert_eq!((&status["phase"], &status["stats"]), (&json!("starting"), &Value::Null));
    assert_eq!(status["stats_missing"], "its master does not answer");
    let mut summary = StatsSummary { emitted: 7, ..StatsSummary::default() };
    summary.components = vec![ComponentSummary { id: "count".to_owned(), ..ComponentSummary::default() }];
    fake.change(|inside| inside.stats = Some(Observed { epoch: 2, summary, ..Observed::default() }));
    let status = ask("GET", "/v1/topologies/words/stats", "").json();
    assert_eq!((&status["stats"]["epoch"], &status["stats"]["emitted"]), (&json!(2), &json!(7)));
    assert_eq!(
        (&status["stats"]["components"][0]["id"], &status["stats_missing"]),
        (&json!("count"), &Value::Null)
    );
    for wanted in ["inactive", "active", "drained", "killed"] {
        let body = format!(r#"{{"wanted":"{wanted}"}}"#);
        let changed = ask("PUT", "/v1/topologies/words/wanted", &body);
        assert_eq!((changed.status, changed.json()["wanted"].as_str()), (200, Some(wanted)));
    }
    assert_eq!(ask("POST", "/v1/topologies/words/restart", "").json()["generation"], 2);
    let rebalanced = ask("POST", "/v1/topologies/words/rebalance", r#"{"overrides":["topology.workers=2"]}"#);
    assert_eq!((rebalanced.status, &rebalanced.json()["generation"]), (202, &json!(3)));
    let planned = ask("POST", "/v1/topologies/words/rebalance", r#"{"dry_run":true}"#);
    assert_eq!((planned.status, &planned.json()["generation"]), (200, &Value::Null));
    let source = BlobHash::of(b"another");
    let upgraded = ask(
        "POST",
        "/v1/topologies/words/upgrade",
        &format!(r#"{{"source":"{source}","timeout_seconds":9}}"#),
    );
    assert_eq!((upgraded.status, &upgraded.json()["generation"]), (202, &json!(4)));
    let upgrade = &ask("GET", "/v1/topologies/words", "").json()["upgrade"];
    assert_eq!((&upgrade["timeout_ms"], &upgrade["outcome"]), (&json!(9000), &json!("pending")));
    let planned =
        ask("POST", "/v1/topologies/words/upgrade", &format!(r#"{{"source":"{source}","dry_run":true}}"#));
    assert_eq!((planned.status, &planned.json()["generation"]), (200, &Value::Null));
    let savepoint = ask("POST", "/v1/topologies/words/savepoints", r#"{"directory":"/s","stops":true}"#);
    let wish = json!({ "number": 1, "directory": "/s", "stops": true });
    assert_eq!((savepoint.status, &savepoint.json()["savepoint_wanted"]), (202, &wish));
    assert_eq!(ask("DELETE", "/v1/topologies/words", "").code(), "conflict");
    fake.has("words", TopologyPhase::Ended);
    assert_eq!(ask("DELETE", "/v1/topologies/words", "").status, 204);
    assert_eq!(ask("DELETE", "/v1/topologies/words", "").code(), "no_topology");
}

#[test]
fn a_host_is_emptied_and_used_again() {
    let fake = Fake::new();
    let server = fake.serve();
    let ask =
        |id: &str, body: &str| ask(server.address(), "PUT", &format!("/v1/supervisors/{id}/drained"), body);
    let drained = ask("ada", r#"{"drained":true}"#);
    assert_eq!((drained.status, &drained.json()["id"]), (200, &json!("ada")));
    assert!(fake.inside().drained && drained.json()["drained_since"].is_string());
    assert_eq!(ask("ada", r#"{"drained":false}"#).json()["drained_since"], Value::Null);
    assert_eq!(ask("bob", r#"{"drained":true}"#).code(), "no_supervisor");
    assert_eq!(ask("..%2Fada", r#"{"drained":true}"#).code(), "invalid");
    assert_eq!(ask("ada", r#"{"drained":true,"more":1}"#).code(), "malformed");
    assert_eq!(ask("ada", "{}").code(), "malformed");
}

#[test]
fn the_rest_answers_too() {
    let fake = Fake::new();
    let server = fake.serve();
    let ask = |path: &str| ask(server.address(), "GET", path, "");
    let cluster = ask("/v1/cluster").json();
    assert_eq!(cluster["supervisors"][0]["resources"]["memory"], 4_u64 << 30);
    assert_eq!(cluster["supervisors"][0]["id"], "ada");
    // Asked for nothing, so that it answers while the operations do not.
    fake.change(|inside| inside.error = Some(OperationError::Unavailable("away".to_owned())));
    assert_eq!(ask("/v1/healthz").json(), json!({ "status": "ok" }));
    let document = ask("/v1/openapi.json");
    assert_eq!(document.json(), open_api());
    let head = document.head.to_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("cache-control: no-store") && head.contains("nosniff"), "{head}");
    assert!(!head.contains("access-control"), "{head}");
}

/// Each error of the operations has a code and a status of its own.
#[test]
fn an_error_of_an_operation_reaches_the_client() {
    let fake = Fake::new();
    let server = fake.serve();
    let check = |error: OperationError, status: u16, code: &str| -> Answer {
        let message = error.to_string();
        fake.change(|inside| inside.error = Some(error));
        let answer = ask(server.address(), "GET", "/v1/topologies/words", "");
        assert_eq!((answer.status, &*answer.code(), answer.message()), (status, code, message));
        answer
    };
    let leads = Some("127.0.0.1:7071".to_owned());
    let elsewhere = check(OperationError::NotLeader { leader: leads }, 421, "not_leader");
    assert_eq!(elsewhere.json()["error"]["leader"], "127.0.0.1:7071");
    let nowhere = check(OperationError::NotLeader { leader: None }, 421, "not_leader");
    assert_eq!(nowhere.json()["error"]["leader"], Value::Null);
    check(OperationError::NoTopology { name: "words".to_owned() }, 404, "no_topology");
    check(OperationError::Conflict("it is ending".to_owned()), 409, "conflict");
    check(OperationError::Invalid("it makes no sense".to_owned()), 422, "invalid");
    check(OperationError::Unavailable("ZooKeeper is away".to_owned()), 503, "unavailable");
}

#[test]
fn a_body_that_is_not_understood_is_refused_with_what_is_wrong() {
    let fake = Fake::new();
    fake.has("words", TopologyPhase::Active);
    let server = fake.serve();
    let check = |method: &str, path: &str, body: &str, expected: &str| {
        let answer = ask(server.address(), method, path, body);
        assert_eq!((answer.status, &*answer.code()), (400, "malformed"), "{body}");
        assert!(answer.message().contains(expected), "{body}: {}", answer.message());
    };
    let source = "a".repeat(64);
    let submit = |body: &str, expected: &str| check("POST", "/v1/topologies", body, expected);
    submit("", "no JSON object");
    submit("{", "EOF");
    submit("\u{0}", "no JSON object");
    submit(&format!(r#"["words","{source}"]"#), "no JSON object");
    submit("{}", "missing field `source`");
    submit(r#"{"source":"../x"}"#, "is no SHA-256");
    submit(&format!(r#"{{"source":"{source}","inactiv":true}}"#), "unknown field `inactiv`");
    submit(&format!(r#"{{"source":"{source}","inactive":"yes"}}"#), "expected a boolean");
    submit(&format!(r#"{{"source":"{source}"}} x"#), "trailing characters");
    let want = |body: &str, expected: &str| check("PUT", "/v1/topologies/words/wanted", body, expected);
    want(r#"{"wanted":"gone"}"#, "unknown variant `gone`");
    want(r#"{"wanted":"killed","now":1}"#, "unknown field `now`");
    // Nested so deeply that a parser which recurses would have no stack left.
    want(&format!(r#"{{"wanted":{}"#, "[".repeat(100_000)), "the body is not what is expected");
    assert_eq!(fake.inside().begun, 0, "nothing of that reaches an operation");
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = Fake::new().serve();
    let check = |method: &str, path: &str, status: u16, code: &str| {
        let answer = ask(server.address(), method, path, "");
        assert_eq!((answer.status, &*answer.code()), (status, code), "{method} {path}");
    };
    check("GET", "/", 404, "no_path");
    check("GET", "/v2/cluster", 404, "no_path");
    check("GET", "/v1/cluster/", 404, "no_path");
    check("GET", "/v1/topologies/words/wanted/x", 404, "no_path");
    check("POST", "/v1/cluster", 405, "no_method");
    check("PATCH", "/v1/topologies/words", 405, "no_method");
    check("GET", "/v1/cluster?verbose=1", 400, "malformed");
    check("GET", "/v1/topologies/words", 404, "no_topology");
}

// ---- The document ----

/// All `$ref`s in a document.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_has_every_request_and_every_type() {
    let document = open_api();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("there are paths");
    let mut requests: Vec<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().expect("methods").keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    requests.sort();
    let expected = [
        "delete /v1/topologies/{name}",
        "get /v1/blobs/{hash}",
        "get /v1/blobs/{hash}/bytes",
        "get /v1/cluster",
        "get /v1/healthz",
        "get /v1/openapi.json",
        "get /v1/topologies",
        "get /v1/topologies/{name}",
        "get /v1/topologies/{name}/stats",
        "post /v1/topologies",
        "post /v1/topologies/{name}/access",
        "post /v1/topologies/{name}/logs",
        "post /v1/topologies/{name}/rebalance",
        "post /v1/topologies/{name}/restart",
        "post /v1/topologies/{name}/savepoints",
        "post /v1/topologies/{name}/upgrade",
        "put /v1/blobs/{hash}",
        "put /v1/supervisors/{id}/drained",
        "put /v1/topologies/{name}/log-level",
        "put /v1/topologies/{name}/wanted",
    ];
    assert_eq!(requests, expected);
    let schemas = document["components"]["schemas"].as_object().expect("there are schemas");
    let mut types: Vec<&str> = schemas.keys().map(String::as_str).collect();
    types.sort_unstable();
    let expected = [
        "AccessChange",
        "BeginFrom",
        "BlobFound",
        "BlobHash",
        "CheckpointSummary",
        "ClusterInfo",
        "ComponentError",
        "ComponentSummary",
        "Cpu",
        "DatedError",
        "DrainedRequest",
        "ErrorBody",
        "ErrorCode",
        "ErrorInfo",
        "Glibc",
        "Health",
        "HostInfo",
        "HostedInfo",
        "LatencySummary",
        "LogAnswer",
        "LogAsked",
        "LogFile",
        "LogFrom",
        "LogLevelInfo",
        "LogLevelRequest",
        "LogPiece",
        "LogPosition",
        "LogQuestion",
        "LogSource",
        "MasterInfo",
        "MoveInfo",
        "NimbusInfo",
        "Observed",
        "Outcome",
        "Platform",
        "ProblemInfo",
        "ProcessSummary",
        "RebalanceRequest",
        "Rebalanced",
        "ReplaySummary",
        "Resources",
        "SavepointAnswer",
        "SavepointRequest",
        "SavepointWish",
        "StopSummary",
        "SubmitRequest",
        "Submitted",
        "SupervisorInfo",
        "TakenSavepoint",
        "TopologyAccess",
        "TopologyBegin",
        "TopologyId",
        "TopologyInfo",
        "TopologyList",
        "TopologyLogs",
        "TopologyPhase",
        "TopologyStatus",
        "Upgrade",
        "UpgradeOutcome",
        "UpgradeRequest",
        "UpgradeVerdict",
        "Upgraded",
        "UserName",
        "Wanted",
        "WantedRequest",
        "WorkerInfo",
        "WorkerObserved",
    ];
    assert_eq!(types, expected);
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("it stays in the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert_eq!(schemas["SubmitRequest"]["required"], json!(["source"]));
    assert_eq!(schemas["SubmitRequest"]["additionalProperties"], false);
}

/// A path that the document has is served, and what is answered is what the document has.
#[test]
fn the_server_does_what_the_document_says() {
    let fake = Fake::new();
    fake.has("words", TopologyPhase::Active);
    let server = fake.serve();
    let document = open_api();
    let schema_of = |name: &str| {
        let mut schema = document["components"]["schemas"][name].clone();
        schema["components"] = document["components"].clone();
        schema
    };
    let check = |path: &str, name: &str| {
        let answer = ask(server.address(), "GET", path, "");
        let validator = jsonschema::validator_for(&schema_of(name)).expect("it is a schema");
        let errors: Vec<String> = validator.iter_errors(&answer.json()).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {errors:?}");
    };
    check("/v1/topologies", "TopologyList");
    check("/v1/topologies/words", "TopologyInfo");
    check("/v1/topologies/nothing", "ErrorBody");
    check("/v1/cluster", "ClusterInfo");
    check("/v1/healthz", "Health");
    let hash = BlobHash::of(b"the source");
    let body = json!({ "source": hash, "inactive": true });
    let validator = jsonschema::validator_for(&schema_of("SubmitRequest")).expect("it is a schema");
    assert!(validator.is_valid(&body));
    assert!(!validator.is_valid(&json!({ "source": "../etc/passwd" })));
    assert!(!validator.is_valid(&json!({ "source": hash, "more": 1 })));
}
