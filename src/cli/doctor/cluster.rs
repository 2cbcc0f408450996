//! What the configuration names for a cluster: its key, the certificates and users of its API, and limits of processes.

use std::path::Path;

use crate::cli::daemons::key_file_of;
use crate::cli::doctor::finding::{Finding, MEND};
use crate::clock::Clock;
use crate::cluster::access::UsersFile;
use crate::cluster::api::ApiTls;
use crate::cluster::daemons::Limits;
use crate::cluster::topologies::ClusterKey;
use crate::config::{EngineOptions, NimbusTls, ProcessLimits};
use crate::net::tls::read_certificates;
use crate::text::{shown, with_causes};

/// How many digits of the fingerprint of a key people need to compare two.
const DIGITS_SHOWN: usize = 16;

pub(super) fn examine(engine: &EngineOptions) -> Vec<Finding> {
    let nimbus = &engine.nimbus;
    let users = users(nimbus.users_file.as_deref());
    let findings = [key(engine), tls(nimbus.tls.as_ref()), users, limits(&engine.supervisor.limits)];
    findings.into_iter().flatten().collect()
}

/// Most hosts have none, and need none.
fn limits(options: &ProcessLimits) -> Option<Finding> {
    let check = "limits of processes";
    match Limits::foresee(options) {
        Ok(found) => Some(Finding::ok(check, found?)),
        Err(why) => Some(Finding::error(check, why, "write `by = \"auto\"`")),
    }
}

/// A machine without one has no daemon, or its nimbus will make it.
fn key(engine: &EngineOptions) -> Option<Finding> {
    let check = "key of the cluster";
    let file = key_file_of(engine).ok()?;
    if engine.cluster.key_file.is_none() && !file.exists() {
        return None;
    }
    Some(match ClusterKey::read(&file) {
        Ok(key) => {
            let fingerprint = key.fingerprint();
            Finding::ok(check, format!("{}, fingerprint {}", file.display(), &fingerprint[..DIGITS_SHOWN]))
        }
        Err(error) => {
            let advice =
                "copy the file of a host with a nimbus, which makes it when it begins, and use `chmod 600`";
            Finding::error(check, with_causes(&error), advice)
        }
    })
}

fn tls(paths: Option<&NimbusTls>) -> Option<Finding> {
    let check = "TLS of the API";
    let paths = paths?;
    // With an authority alone, the table is for commands.
    if paths.certificate.is_none() && paths.key.is_none() {
        let authority = paths.authority.as_deref()?;
        return Some(match read_certificates(authority) {
            Ok(_) => Finding::ok(check, format!("{} is an authority for commands", authority.display())),
            Err(why) => {
                let found = format!("nimbus.tls.authority: {}: {why}", authority.display());
                Finding::error(check, found, MEND)
            }
        });
    }
    Some(match ApiTls::load(paths, &Clock::real()) {
        Ok(_) => Finding::ok(check, "the certificate and its key fit each other"),
        Err(error) => Finding::error(check, shown(&error), MEND),
    })
}

fn users(file: Option<&Path>) -> Option<Finding> {
    let check = "users of the API";
    let file = file?;
    let advice = "add users by `squall user add`, and use `chmod 600`";
    Some(match UsersFile::read(file) {
        Ok(users) if users.users.is_empty() => {
            let found = format!("{} has none, so nobody may do anything", file.display());
            Finding::warning(check, found, advice)
        }
        Ok(users) => Finding::ok(check, format!("{} has {}", file.display(), users.users.len())),
        Err(error) => Finding::error(check, with_causes(&error), advice),
    })
}
