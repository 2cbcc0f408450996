//! Sinks that the tests call by hand.

use squall::components::postgres::Postgres;
use squall::prelude::*;
use squall::testing::{BoltHarness, HarnessOptions, Snapshot};

use crate::server::Server;

/// A sink of a new process, or why it does not start.
///
/// `config`: its keys, but for the `url`. `from`: the checkpoint that it goes on with.
pub fn begin(
    server: &Server,
    config: &str,
    options: &HarnessOptions,
    from: Option<&Snapshot>,
) -> Result<BoltHarness, TaskError> {
    let settings = toml::from_str(&format!("url = '{}'\n{config}", server.url()));
    let settings = settings.unwrap_or_else(|error| panic!("{error}"));
    let bolt = Box::new(Postgres::new(settings).unwrap_or_else(|error| panic!("{error}")));
    match from {
        None => BoltHarness::start(bolt, options),
        Some(snapshot) => BoltHarness::restored(bolt, options, snapshot),
    }
}

/// Sinks with exactly-once that write the columns `id` and `item` to the table `t`.
pub struct Sinks {
    /// The key that says how they keep their rows until the commit.
    pub way: &'static str,
    /// The tasks of their component; each sink is the first of them.
    pub parallelism: usize,
}

impl Sinks {
    pub fn options(&self, seed: u64) -> HarnessOptions {
        let (delivery, parallelism) = (Delivery::ExactlyOnce, self.parallelism);
        HarnessOptions { delivery, parallelism, seed, ..HarnessOptions::default() }
    }

    /// See [`begin`].
    pub fn begin(
        &self,
        server: &Server,
        config: &str,
        seed: u64,
        from: Option<&Snapshot>,
    ) -> Result<BoltHarness, TaskError> {
        let config = format!("table = 't'\ncolumns = ['id', 'item']\n{}\n{config}", self.way);
        begin(server, &config, &self.options(seed), from)
    }

    /// A sink of a new process, without a checkpoint.
    pub fn started(&self, server: &Server, config: &str, seed: u64) -> BoltHarness {
        self.begin(server, config, seed, None).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A sink of a new process that goes on with a checkpoint.
    pub fn restored(&self, server: &Server, config: &str, seed: u64, snapshot: &Snapshot) -> BoltHarness {
        self.begin(server, config, seed, Some(snapshot)).unwrap_or_else(|error| panic!("{error}"))
    }
}
