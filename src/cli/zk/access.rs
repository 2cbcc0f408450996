//! Which ensemble a command looks at, and the nodes that it finds there.

use std::time::Duration;

use slog::{Discard, Logger, o};

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::load;
use crate::clock::Clock;
use crate::cluster::coordination::zookeeper::ZooKeeperClient;
use crate::cluster::coordination::{Coordination, CoordinationError, Node, NodePath, PathError};
use crate::config::ZooKeeperOptions;
use crate::config::units::parse_duration;

/// Which ensemble, and how long to wait for it.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Access {
    /// The engine's file, `squall.toml`: its table `[zookeeper]` names the ensemble
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG", hide_env_values = true)]
    config: Option<String>,

    /// The members of the ensemble, instead of those in the file, as in `zoo1:2181,zoo2:2181`
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    servers: Option<Vec<String>>,

    /// The node below which all nodes of the cluster are, instead of that in the file
    #[arg(long, value_name = "NODE")]
    root: Option<String>,

    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
}

/// The path of a node on the command line.
pub(in crate::cli) fn parse_path(text: &str) -> Result<NodePath, String> {
    text.parse().map_err(|error: PathError| error.to_string())
}

/// An ensemble that is looked at.
pub(in crate::cli) struct Ensemble {
    client: ZooKeeperClient,
    options: ZooKeeperOptions,
}

impl Access {
    /// Whether the command line, or the environment, says anything about the ensemble.
    pub(in crate::cli) fn is_named(&self) -> bool {
        self.config.is_some() || self.servers.is_some() || self.root.is_some()
    }

    /// Begins to connect. `None`: the file has mistakes, which were reported.
    pub(in crate::cli) fn open(&self, context: &Context) -> Result<Option<Ensemble>, CommandError> {
        let Some(engine) = load::engine(self.config.as_deref(), context) else { return Ok(None) };
        let mut options = engine.zookeeper;
        if let Some(servers) = &self.servers {
            options.servers.clone_from(servers);
        }
        if let Some(root) = &self.root {
            options.root.clone_from(root);
        }
        let logger = Logger::root(Discard, o!());
        let seed = u64::from(std::process::id());
        let client = ZooKeeperClient::open_for_reading(&options, &Clock::real(), &logger, seed)
            .map_err(|error| CommandError::Refused(error.to_string()))?;
        Ok(Some(Ensemble { client: client.with_call_timeout(self.timeout), options }))
    }
}

impl Ensemble {
    /// The node.
    pub(in crate::cli) fn get(&self, path: &NodePath) -> Result<Node, CommandError> {
        let node = self.client.get(path).map_err(refused)?;
        node.ok_or_else(|| self.missing(path))
    }

    /// The names of the nodes directly below.
    pub(in crate::cli) fn children(&self, path: &NodePath) -> Result<Vec<String>, CommandError> {
        let children = self.client.children(path).map_err(refused)?;
        children.ok_or_else(|| self.missing(path))
    }

    /// The node, if it is still there.
    pub(in crate::cli) fn find(&self, path: &NodePath) -> Result<Option<Node>, CommandError> {
        self.client.get(path).map_err(refused)
    }

    fn missing(&self, path: &NodePath) -> CommandError {
        let (root, servers) = (&self.options.root, self.options.servers.join(","));
        CommandError::Refused(match path.parent() {
            Some(_) => format!("there is no node `{path}` below `{root}` in the ensemble {servers}"),
            None => {
                format!("there is no node `{root}` in the ensemble {servers}: no cluster was started there")
            }
        })
    }
}

fn refused(error: CoordinationError) -> CommandError {
    CommandError::Refused(error.to_string())
}
