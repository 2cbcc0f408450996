//! The client of a nimbus: what is asked, of whom, and what its answers are.

use std::io::ErrorKind;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, Error, Timeout};

use crate::cli::error::CommandError;
use crate::cluster::access::{AccessChange, Token};
use crate::cluster::api::{
    BlobFound, DrainedRequest, ErrorBody, ErrorCode, ErrorInfo, TopologyList, WantedRequest,
};
use crate::cluster::log_pieces::LogQuestion;
use crate::cluster::operations::{
    ClusterInfo, HostInfo, LogLevelRequest, RebalanceRequest, Rebalanced, SavepointRequest, SubmitRequest,
    Submitted, TopologyInfo, TopologyLogs, TopologyStatus, UpgradeRequest, Upgraded,
};
use crate::cluster::topologies::{BlobHash, CLUSTER_NAME_MAX, TopologyId, Wanted};
use crate::config::Endpoint;
use crate::config::is_daemon_id;
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

impl NimbusClient {
    /// A client of the nimbuses at these addresses. `tls`: whom it trusts; needed if one of them is asked over TLS.
    /// `token`: who asks. `named_by`: where all this is set.
    pub(super) fn new(
        endpoints: Vec<Endpoint>,
        tls: Option<TlsConfig>,
        token: Option<Token>,
        named_by: NamedBy,
    ) -> NimbusClient {
        let has_authority = tls.is_some();
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
            .tls_config(tls.unwrap_or_default())
            .build();
        NimbusClient { agent: config.new_agent(), has_authority, token, named_by, endpoints, leader: None }
    }
}

/// Why a nimbus did not do what was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// There is no such topology or supervisor.
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

/// What is set to reach a nimbus, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedBy {
    /// What names its address.
    pub(super) address: &'static str,
    /// What names the authority that has signed it.
    pub(super) authority: &'static str,
}

/// Asks the nimbus that leads.
pub(in crate::cli) struct NimbusClient {
    agent: Agent,
    /// Whether it is known which certificates are trusted.
    has_authority: bool,
    token: Option<Token>,
    named_by: NamedBy,
    endpoints: Vec<Endpoint>,
    /// The one that did what was asked for last.
    leader: Option<Endpoint>,
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

    /// Pieces of what the processes of a topology log.
    pub(super) fn logs(&mut self, name: &str, question: &LogQuestion) -> Result<TopologyLogs, ClientError> {
        let path = format!("{}/logs", path_of(name)?);
        let body = in_json(question);
        read(&self.ask(&Asked { method: "POST", path, body: Some(&body), again: true })?)
    }

    /// Has the processes of a topology log other records for a while.
    pub(super) fn log_level(
        &mut self,
        name: &str,
        request: &LogLevelRequest,
    ) -> Result<TopologyInfo, ClientError> {
        let path = format!("{}/log-level", path_of(name)?);
        let body = in_json(request);
        read(&self.ask(&Asked { method: "PUT", path, body: Some(&body), again: true })?)
    }

    /// Changes who may do what with a topology. Twice is as once, so it may be asked again.
    pub(super) fn change_access(
        &mut self,
        name: &str,
        change: &AccessChange,
    ) -> Result<TopologyInfo, ClientError> {
        let path = format!("{}/access", path_of(name)?);
        let body = in_json(change);
        read(&self.ask(&Asked { method: "POST", path, body: Some(&body), again: true })?)
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

    /// Has a host emptied, or used again.
    pub(in crate::cli) fn drain(&mut self, host: &str, drained: bool) -> Result<HostInfo, ClientError> {
        if !is_daemon_id(host) {
            return Err(ClientError::Missing(format!(
                "no supervisor is called `{}`: ids have 1 to 40 letters, digits, `_`, `.` or `-`",
                shown(host)
            )));
        }
        let (path, body) = (format!("/v1/supervisors/{host}/drained"), in_json(&DrainedRequest { drained }));
        read(&self.ask(&Asked { method: "PUT", path, body: Some(&body), again: true })?)
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

    /// Puts another topology in the place of one that runs, or plans that.
    pub(super) fn upgrade(&mut self, name: &str, request: &UpgradeRequest) -> Result<Upgraded, ClientError> {
        let path = format!("{}/upgrade", path_of(name)?);
        let body = in_json(request);
        read(&self.ask(&Asked { method: "POST", path, body: Some(&body), again: request.dry_run })?)
    }

    /// Removes a topology that has ended.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), ClientError> {
        let path = path_of(name)?;
        self.ask(&Asked { method: "DELETE", path, body: None, again: false }).map(|_| ())
    }

    /// Whether a blob is there.
    pub(super) fn has_blob(&mut self, hash: &BlobHash) -> Result<bool, ClientError> {
        let found: BlobFound = self.get(format!("/v1/blobs/{hash}"))?;
        Ok(found.is_there)
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

    /// A blob.
    pub(super) fn blob(&mut self, hash: &BlobHash) -> Result<Vec<u8>, ClientError> {
        let path = format!("/v1/blobs/{hash}/bytes");
        let bytes = self.ask(&Asked { method: "GET", path, body: None, again: true })?;
        match BlobHash::of(&bytes) {
            found if found == *hash => Ok(bytes),
            found => Err(ClientError::Refused(format!(
                "the blob `{hash}` came damaged: its {} bytes have the hash `{found}`",
                bytes.len()
            ))),
        }
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
        let mut next: Vec<Endpoint> = self.leader.iter().chain(&self.endpoints).cloned().collect();
        let mut tried: Vec<(Endpoint, String)> = Vec::new();
        let mut stands_by = false;
        while !next.is_empty() && tried.len() < TRIED_MAX {
            let endpoint = next.remove(0);
            if tried.iter().any(|(other, _)| *other == endpoint) {
                continue;
            }
            if self.token.is_some() && !endpoint.is_encrypted() && !endpoint.is_near() {
                let why =
                    "is on another machine and has no TLS, so no token is sent to it: ask for `https://`";
                tried.push((endpoint, why.to_owned()));
                continue;
            }
            match self.exchange(&endpoint, asked) {
                Ok(Answer::Done(body)) => {
                    self.leader = Some(endpoint);
                    return Ok(body);
                }
                Ok(Answer::Refused(info)) if info.code == ErrorCode::NotLeader => {
                    stands_by = true;
                    // What it names is an address, or it is not asked.
                    let leader = info.leader.and_then(|leader| leader.parse::<Endpoint>().ok());
                    let (leader, why) = self.follow(&endpoint, leader);
                    tried.push((endpoint, why));
                    next.splice(0..0, leader);
                }
                Ok(Answer::Refused(info)) => return Err(error_of(&endpoint, info, asked.again)),
                Err(error) if is_unsent(&error) || asked.again => tried.push((endpoint, why(&error))),
                Err(error) => {
                    return Err(ClientError::Refused(format!(
                        "{endpoint} was asked, and the connection failed before its answer ({}): it is not known \
                         whether it was done, see `squall list`",
                        why(&error)
                    )));
                }
            }
        }
        self.leader = None;
        let tried: Vec<String> = tried.iter().map(|(endpoint, why)| format!("{endpoint}: {why}")).collect();
        let tried = tried.join("; ");
        Err(ClientError::Unreachable(match stands_by {
            true => format!(
                "no nimbus that leads was found ({tried}): ask again in some seconds, see `squall cluster`"
            ),
            false => format!(
                "no nimbus answers ({tried}): start one with `squall nimbus`, or name the address of one by {}",
                self.named_by.address
            ),
        }))
    }

    /// Whether the leader is asked that a nimbus which stands by has named, and the words for that.
    fn follow(&self, from: &Endpoint, leader: Option<Endpoint>) -> (Option<Endpoint>, String) {
        match leader {
            None => (None, "stands by, and knows of no leader".to_owned()),
            // What was encrypted until now stays encrypted, whatever somebody says.
            Some(leader) if from.is_encrypted() && !leader.is_encrypted() => (
                None,
                format!("stands by, and names {leader} as the leader, which has no TLS and is not asked"),
            ),
            Some(leader) if leader.is_encrypted() && !self.has_authority => {
                let why = format!(
                    "stands by, and names {leader} as the leader, for which {} is needed",
                    self.named_by.authority
                );
                (None, why)
            }
            Some(leader) => {
                let why = format!("stands by, and names {leader} as the leader");
                (Some(leader), why)
            }
        }
    }

    fn exchange(&self, endpoint: &Endpoint, asked: &Asked<'_>) -> Result<Answer, Error> {
        let mut request = Request::builder()
            .method(asked.method)
            .uri(endpoint.uri(&asked.path))
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
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

fn error_of(endpoint: &Endpoint, info: ErrorInfo, again: bool) -> ClientError {
    match info.code {
        ErrorCode::NoTopology | ErrorCode::NoSupervisor => ClientError::Missing(info.message),
        ErrorCode::Unavailable | ErrorCode::Busy | ErrorCode::NotLeader => {
            ClientError::Unreachable(format!("{endpoint} cannot do it now: {}", info.message))
        }
        // What may be asked again is asked again by a command that waits.
        ErrorCode::Unfinished if again => ClientError::Unreachable(format!("{endpoint}: {}", info.message)),
        ErrorCode::Internal => ClientError::Refused(format!("{endpoint}: {}", info.message)),
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
    if let Some(error) = error_of_tls(error) {
        // These end the handshake, before which nothing of a request is sent.
        return matches!(
            error,
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidMessage(_)
                | rustls::Error::PeerIncompatible(_)
                | rustls::Error::NoApplicationProtocol
        );
    }
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

/// The error of TLS in an error.
fn error_of_tls(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn why(error: &Error) -> String {
    use rustls::CertificateError as Bad;
    match (error_of_tls(error), error) {
        (Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature)), _) => {
            return "its certificate is not signed by the authority of --nimbus-authority".to_owned();
        }
        (
            Some(rustls::Error::InvalidCertificate(
                Bad::NotValidForName | Bad::NotValidForNameContext { .. },
            )),
            _,
        ) => {
            return "its certificate is made out to another host: ask for it by a name in its certificate"
                .to_owned();
        }
        (Some(rustls::Error::InvalidMessage(_)), _) => return "it does not speak TLS".to_owned(),
        _ => {}
    }
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
    fn a_name_leads_nowhere_else() {
        assert_eq!(path_of("a.b-1").ok(), Some("/v1/topologies/a.b-1".to_owned()));
        for name in ["", "..", "a/b", "a?b", "a b", "é"] {
            assert!(matches!(path_of(name), Err(ClientError::Missing(_))), "{name}");
        }
    }
}
