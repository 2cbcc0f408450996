//! How a nimbus is reached.

use std::io::ErrorKind;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{Agent, Body, Error, Timeout};

use crate::cli::error::CommandError;
use crate::cluster::api::{ErrorBody, ErrorCode, ErrorInfo, TopologyList, WantedRequest};
use crate::cluster::operations::{
    ClusterInfo, RebalanceRequest, Rebalanced, SavepointRequest, SubmitRequest, Submitted, TopologyInfo,
    TopologyStatus,
};
use crate::cluster::topologies::{BlobHash, CLUSTER_NAME_MAX, TopologyId, Wanted};
use crate::text::shown;

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long a request may take, the sending of a large blob and a slow coordination service included.
const REQUEST_TIME: Duration = Duration::from_secs(180);
/// Bytes of the largest answer.
const ANSWER_MAX: u64 = 64 << 20;
/// Bytes of the largest blob that a nimbus takes.
const BLOB_MAX: usize = 64 << 20;
/// How many addresses are tried for one request.
const TRIED_MAX: usize = 16;

/// Where a nimbus is, if nothing else is said.
pub(in crate::cli) const DEFAULT_ADDRESS: &str = "127.0.0.1:7070";

/// Where a nimbus is.
#[derive(clap::Args, Clone, Debug)]
pub(in crate::cli) struct NimbusFlag {
    /// Where a nimbus is reached; several are separated by commas, and the first that answers is asked
    ///
    /// Any nimbus of the cluster will do: one that does not lead names the one that does.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = DEFAULT_ADDRESS,
        value_parser = parse_address,
        env = "SQUALL_NIMBUS",
        hide_env_values = true
    )]
    nimbus: Vec<String>,
}

impl NimbusFlag {
    pub(in crate::cli) fn client(&self) -> NimbusClient {
        NimbusClient::new(self.nimbus.clone())
    }
}

impl NimbusClient {
    /// A client of the nimbuses at these addresses.
    pub(in crate::cli) fn new(addresses: Vec<String>) -> NimbusClient {
        let config = Agent::config_builder()
            // An answer that is an error has a text, and nobody but the leader is followed.
            .http_status_as_error(false)
            .max_redirects(0)
            // Otherwise HTTP_PROXY would send what is meant for this machine to another one.
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIME))
            .timeout_global(Some(REQUEST_TIME))
            // A nimbus ends each connection after its answer.
            .max_idle_connections(0)
            .user_agent(concat!("squall/", env!("CARGO_PKG_VERSION")))
            .build();
        NimbusClient { agent: config.new_agent(), addresses, leader: None }
    }
}

/// An address: a host, or `[::1]`, and a port.
pub(in crate::cli) fn parse_address(text: &str) -> Result<String, String> {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = |host: &str| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
        }
    };
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(text.to_owned()),
        _ => Err("a host and a port are wanted, as in `127.0.0.1:7070` or `[::1]:7070`".to_owned()),
    }
}

/// Why a nimbus did not do what was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// There is no such topology.
    #[error("{0}")]
    Missing(String),
    /// Nobody answers, or nobody leads, or ZooKeeper is away. Asked again later, it may be done.
    #[error("{0}")]
    Unreachable(String),
    /// It does not do it.
    #[error("{0}")]
    Refused(String),
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> CommandError {
        match error {
            ClientError::Missing(text) => CommandError::Missing(text),
            ClientError::Unreachable(text) => CommandError::Unreachable(text),
            ClientError::Refused(text) => CommandError::Refused(text),
        }
    }
}

/// Asks the nimbus that leads.
pub(in crate::cli) struct NimbusClient {
    agent: Agent,
    addresses: Vec<String>,
    /// The address that did what was asked for last.
    leader: Option<String>,
}

/// What is asked for.
struct Asked<'a> {
    method: &'static str,
    path: String,
    body: Option<&'a [u8]>,
    /// Whether it may be asked again if it is not known whether it was done.
    again: bool,
}

impl NimbusClient {
    /// All topologies.
    pub(super) fn topologies(&mut self) -> Result<Vec<TopologyInfo>, ClientError> {
        let list: TopologyList = self.get("/v1/topologies".to_owned())?;
        Ok(list.topologies)
    }

    /// One topology.
    pub(super) fn topology(&mut self, name: &str) -> Result<TopologyInfo, ClientError> {
        self.get(path_of(name)?)
    }

    /// One topology, and what its master has counted.
    pub(super) fn stats(&mut self, name: &str) -> Result<TopologyStatus, ClientError> {
        self.get(format!("{}/stats", path_of(name)?))
    }

    /// Has a topology do something.
    pub(super) fn want(&mut self, name: &str, wanted: Wanted) -> Result<TopologyInfo, ClientError> {
        let path = format!("{}/wanted", path_of(name)?);
        let body = in_json(&WantedRequest { wanted });
        read(&self.ask(&Asked { method: "PUT", path, body: Some(&body), again: true })?)
    }

    /// Has a topology take a savepoint. The same is not wanted twice, so it may be asked again.
    pub(super) fn savepoint(
        &mut self,
        name: &str,
        request: &SavepointRequest,
    ) -> Result<TopologyInfo, ClientError> {
        let path = format!("{}/savepoints", path_of(name)?);
        let body = in_json(request);
        read(&self.ask(&Asked { method: "POST", path, body: Some(&body), again: false })?)
    }

    /// Nimbuses and supervisors.
    pub(in crate::cli) fn cluster(&mut self) -> Result<ClusterInfo, ClientError> {
        self.get("/v1/cluster".to_owned())
    }

    /// Has all workers of a topology begin anew.
    pub(super) fn restart(&mut self, name: &str) -> Result<TopologyInfo, ClientError> {
        let path = format!("{}/restart", path_of(name)?);
        read(&self.ask(&Asked { method: "POST", path, body: None, again: false })?)
    }

    /// Has a topology run in another way.
    pub(super) fn rebalance(
        &mut self,
        name: &str,
        request: &RebalanceRequest,
    ) -> Result<Rebalanced, ClientError> {
        let path = format!("{}/rebalance", path_of(name)?);
        let body = in_json(request);
        read(&self.ask(&Asked { method: "POST", path, body: Some(&body), again: request.dry_run })?)
    }

    /// Removes a topology that has ended.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), ClientError> {
        let path = path_of(name)?;
        self.ask(&Asked { method: "DELETE", path, body: None, again: false }).map(|_| ())
    }

    /// Keeps a blob there.
    pub(super) fn put_blob(&mut self, bytes: &[u8]) -> Result<BlobHash, ClientError> {
        if bytes.len() > BLOB_MAX {
            let why = format!(
                "the topology and what it includes have {} bytes, and a nimbus takes at most {BLOB_MAX}",
                bytes.len()
            );
            return Err(ClientError::Refused(why));
        }
        let hash = BlobHash::of(bytes);
        let path = format!("/v1/blobs/{hash}");
        self.ask(&Asked { method: "PUT", path, body: Some(bytes), again: true })?;
        Ok(hash)
    }

    /// Submits a topology.
    pub(super) fn submit(&mut self, request: &SubmitRequest) -> Result<Submitted, ClientError> {
        let (path, body) = ("/v1/topologies".to_owned(), in_json(request));
        read(&self.ask(&Asked { method: "POST", path, body: Some(&body), again: request.dry_run })?)
    }

    fn get<T: DeserializeOwned>(&mut self, path: String) -> Result<T, ClientError> {
        read(&self.ask(&Asked { method: "GET", path, body: None, again: true })?)
    }

    /// Asks one address after the other, and whom these name as the leader.
    fn ask(&mut self, asked: &Asked<'_>) -> Result<Vec<u8>, ClientError> {
        let mut next: Vec<String> = self.leader.iter().chain(&self.addresses).cloned().collect();
        let mut tried: Vec<(String, String)> = Vec::new();
        let mut stands_by = false;
        while !next.is_empty() && tried.len() < TRIED_MAX {
            let address = next.remove(0);
            if tried.iter().any(|(other, _)| *other == address) {
                continue;
            }
            match self.exchange(&address, asked) {
                Ok(Answer::Done(body)) => {
                    self.leader = Some(address);
                    return Ok(body);
                }
                Ok(Answer::Refused(info)) if info.code == ErrorCode::NotLeader => {
                    stands_by = true;
                    // What it names is an address, or it is not asked.
                    let leader = info.leader.and_then(|leader| parse_address(&leader).ok());
                    let why = match &leader {
                        Some(leader) => format!("stands by, and names {leader} as the leader"),
                        None => "stands by, and knows of no leader".to_owned(),
                    };
                    tried.push((address, why));
                    next.splice(0..0, leader);
                }
                Ok(Answer::Refused(info)) => return Err(error_of(&address, info, asked.again)),
                Err(error) if is_unsent(&error) || asked.again => tried.push((address, why(&error))),
                Err(error) => {
                    return Err(ClientError::Refused(format!(
                        "{address} was asked, and the connection failed before its answer ({}): it is not known \
                         whether it was done, see `squall list`",
                        why(&error)
                    )));
                }
            }
        }
        self.leader = None;
        let tried: Vec<String> = tried.iter().map(|(address, why)| format!("{address}: {why}")).collect();
        let tried = tried.join("; ");
        Err(ClientError::Unreachable(match stands_by {
            true => format!(
                "no nimbus that leads was found ({tried}): ask again in some seconds, see `squall cluster`"
            ),
            false => format!(
                "no nimbus answers ({tried}): start one with `squall nimbus`, or name the address of one by --nimbus or \
                 SQUALL_NIMBUS"
            ),
        }))
    }

    fn exchange(&self, address: &str, asked: &Asked<'_>) -> Result<Answer, Error> {
        let request = Request::builder()
            .method(asked.method)
            .uri(format!("http://{address}{}", asked.path))
            .header("content-type", "application/json");
        let mut response = match asked.body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let body = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec()?;
        Ok(if response.status().is_success() {
            Answer::Done(body)
        } else {
            Answer::Refused(refusal(&response, &body))
        })
    }
}

enum Answer {
    Done(Vec<u8>),
    Refused(ErrorInfo),
}

/// What an answer that is an error is about. A code that is not known is that of another version of squall.
fn refusal(response: &Response<Body>, body: &[u8]) -> ErrorInfo {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(body) {
        return body.error;
    }
    let text = serde_json::from_slice::<Value>(body).ok();
    let text = text.as_ref().and_then(|body| body["error"]["message"].as_str());
    let status = response.status();
    let message = match text {
        Some(text) => text.to_owned(),
        None => format!("the answer is {status}, without a text of squall: is this a nimbus?"),
    };
    ErrorInfo { code: ErrorCode::Internal, message, leader: None }
}

fn error_of(address: &str, info: ErrorInfo, again: bool) -> ClientError {
    match info.code {
        ErrorCode::NoTopology => ClientError::Missing(info.message),
        ErrorCode::Unavailable | ErrorCode::Busy | ErrorCode::NotLeader => {
            ClientError::Unreachable(format!("{address} cannot do it now: {}", info.message))
        }
        // What may be asked again is asked again by a command that waits.
        ErrorCode::Unfinished if again => ClientError::Unreachable(format!("{address}: {}", info.message)),
        ErrorCode::Internal => ClientError::Refused(format!("{address}: {}", info.message)),
        _ => ClientError::Refused(info.message),
    }
}

/// The path of a topology. What cannot be the name of one is the name of none.
fn path_of(name: &str) -> Result<String, ClientError> {
    match TopologyId::new(name, 0) {
        Ok(_) => Ok(format!("/v1/topologies/{name}")),
        Err(_) => Err(ClientError::Missing(format!(
            "no topology of a cluster is called `{}`: names have 1 to {CLUSTER_NAME_MAX} letters, digits, `_`, `.` or `-`",
            shown(name)
        ))),
    }
}

fn in_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("requests have text keys only, so they are JSON")
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| {
        ClientError::Refused(format!(
            "the answer is not what this squall understands ({error}): is that a nimbus, and of which version?"
        ))
    })
}

/// Whether nothing of a request can have reached a nimbus.
fn is_unsent(error: &Error) -> bool {
    match error {
        Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::AddrNotAvailable
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
        ),
        Error::Timeout(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        Error::HostNotFound | Error::ConnectionFailed | Error::BadUri(_) | Error::Http(_) => true,
        _ => false,
    }
}

fn why(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::HostNotFound => "there is no such host".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in ["127.0.0.1:7070", "[::1]:7070", "localhost:1", "nimbus-1.example.org:7070"] {
            assert_eq!(parse_address(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            "localhost",
            ":7070",
            "localhost:",
            "localhost:0",
            "localhost:70700",
            "http://localhost:7070",
            "a/b:1",
            "user@localhost:7070",
            "::1:7070",
            "[::1:7070",
            "a b:1",
        ] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        assert_eq!(path_of("a.b-1").ok(), Some("/v1/topologies/a.b-1".to_owned()));
        for name in ["", "..", "a/b", "a?b", "a b", "é"] {
            assert!(matches!(path_of(name), Err(ClientError::Missing(_))), "{name}");
        }
    }
}
