//! What is short when a topology does not fit: which resource of which host, and by how much.

use std::fmt;

use serde::Serialize;
use smol_str::SmolStr;

use crate::config::units::show_size;
use crate::config::{Cpu, Resources};

/// How many hosts a shortage names.
pub(super) const HOSTS_NAMED_MAX: usize = 3;

/// What a host does not have enough of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Slots for workers.
    Slots,
    /// Processor time, in thousandths of a core.
    Cpu,
    /// Memory, in bytes.
    Memory,
    /// Hosts, or workers, that run nothing that must be kept apart: `spread` or `exclusive`.
    Apart,
}

/// What one host does not have enough of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostShortage {
    /// The host.
    pub host: SmolStr,
    /// What there is not enough of.
    pub resource: Resource,
    /// How much is needed: thousandths of a core, bytes, or a number.
    pub needed: u64,
    /// How much is free.
    pub free: u64,
}

/// What a topology could not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Lack {
    /// Slots for its workers: it has so many of those that it asks for.
    Workers {
        /// The workers it asks for, as far as it has executors for them.
        asked: usize,
        /// Those that have a slot.
        placed: usize,
    },
    /// Hosts that it could have for itself.
    Hosts {
        /// The hosts it asks for.
        asked: usize,
        /// Those it could have.
        there: usize,
    },
    /// Room for an executor, with what is chained behind it.
    Executor {
        /// The component.
        component: SmolStr,
        /// What it needs, with the acker that its worker may need because of it.
        needs: Resources,
    },
}

/// Why a topology does not run, or with fewer workers than it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shortage {
    /// What it could not get.
    pub lack: Lack,
    /// What the hosts lack that come nearest.
    pub hosts: Vec<HostShortage>,
    /// How many more hosts have too little.
    pub more_hosts: usize,
    /// How many hosts may not be used: they are draining, blacklisted, lack a secret, or belong to an isolated topology.
    pub closed_hosts: usize,
}

/// Why workers stay on hosts that are draining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stays {
    /// These hosts.
    pub hosts: Vec<SmolStr>,
    /// What is short on the others.
    pub shortage: Shortage,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            self.hosts.iter().take(HOSTS_NAMED_MAX).map(SmolStr::as_str).collect::<Vec<_>>().join(", ");
        let more = match self.hosts.len().saturating_sub(HOSTS_NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        write!(
            f,
            "it stays on {named}{more}, although that is to be empty, because there is no room elsewhere: "
        )?;
        write!(f, "{}", self.shortage)
    }
}

impl fmt::Display for HostShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostShortage { host, resource, needed, free } = self;
        let missing = needed.saturating_sub(*free);
        match resource {
            Resource::Slots => write!(f, "{host} lacks a slot"),
            Resource::Cpu => write!(
                f,
                "{host} lacks {} of cpu (needed {}, free {})",
                Cpu(missing),
                Cpu(*needed),
                Cpu(*free)
            ),
            Resource::Memory => write!(
                f,
                "{host} lacks {} of memory (needed {}, free {})",
                show_size(missing),
                show_size(*needed),
                show_size(*free)
            ),
            Resource::Apart => write!(f, "{host} has it, or what it must be kept apart from, already"),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.lack {
            Lack::Workers { asked, placed } => {
                write!(f, "{} short: it asks for {asked} workers and gets {placed}", slots(asked - placed))?;
            }
            Lack::Hosts { asked, there } => {
                write!(f, "it asks for {asked} hosts of its own, and {there} could be given to it")?;
            }
            Lack::Executor { component, needs } => {
                write!(f, "no host has room for an executor of `{component}`, which needs {needs}")?;
            }
        }
        for (at, host) in self.hosts.iter().enumerate() {
            write!(f, "{} {host}", if at == 0 { ":" } else { ";" })?;
        }
        if self.more_hosts > 0 {
            write!(f, "; {} more hosts have too little", self.more_hosts)?;
        }
        if self.closed_hosts > 0 {
            write!(
                f,
                "; {} may not be used (draining, blacklisted, isolated or without its secrets)",
                hosts(self.closed_hosts)
            )?;
        }
        Ok(())
    }
}

fn slots(count: usize) -> String {
    format!("{count} slot{}", if count == 1 { "" } else { "s" })
}

fn hosts(count: usize) -> String {
    format!("{count} host{}", if count == 1 { "" } else { "s" })
}
