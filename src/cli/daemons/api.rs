//! With what the API of a nimbus is started.

use std::net::SocketAddr;

use slog::{Logger, warn};

use crate::cli::error::CommandError;
use crate::clock::Clock;
use crate::cluster::access::UsersFile;
use crate::cluster::api::{ApiLimits, ApiOptions, ApiTls};
use crate::config::NimbusOptions;

/// The options of the API, as `[nimbus]` has them, at this address. Files that it names are read.
pub(in crate::cli) fn api_options(
    nimbus: &NimbusOptions,
    listen: SocketAddr,
    clock: &Clock,
    logger: &Logger,
) -> Result<ApiOptions, CommandError> {
    // An authority alone is there for commands that read the same file.
    let tls = nimbus.tls.as_ref().filter(|tls| tls.certificate.is_some());
    let tls = tls.map(|paths| ApiTls::load(paths, clock)).transpose();
    let tls = tls.map_err(|error| CommandError::Refused(error.to_string()))?;
    let users = nimbus.users_file.as_deref().map(|file| UsersFile::open(file, logger)).transpose();
    let users = users.map_err(|error| {
        CommandError::Refused(format!("nimbus.users_file: {error}; `squall user add` makes the file"))
    })?;
    if (NimbusOptions { listen, ..nimbus.clone() }).is_exposed() {
        warn!(logger, "INSECURE: whoever reaches the API may do everything or read what others do, because `insecure` is set \
            and there are no users or no TLS"; "listen" => %listen);
    }
    Ok(ApiOptions {
        listen,
        limits: ApiLimits::default(),
        names: nimbus.names.clone(),
        tls,
        users,
        clock: clock.clone(),
    })
}
