//! Sinks that the tests call by hand.

use squall::components::postgres::Postgres;
use squall::prelude::*;
use squall::testing::{BoltHarness, HarnessOptions, Snapshot};

use crate::server::Server;

/// A sink that writes the columns `id` and `item` to the table `t`, and what it goes on with.
pub fn begin_sink(
    server: &Server,
    config: &str,
    options: &HarnessOptions,
    from: Option<&Snapshot>,
) -> Result<BoltHarness, TaskError> {
    let config = format!("url = '{}'\ntable = 't'\ncolumns = ['id', 'item']\n{config}", server.url());
    let settings = toml::from_str(&config).unwrap_or_else(|error| panic!("{error}"));
    let bolt = Box::new(Postgres::new(settings).unwrap_or_else(|error| panic!("{error}")));
    match from {
        None => BoltHarness::start(bolt, options),
        Some(snapshot) => BoltHarness::restored(bolt, options, snapshot),
    }
}
