//! The hosts of a cluster, for planning without one: a file with a table for each host.
//!
//! ```toml
//! [defaults]                  # of all hosts
//! slots = 4
//! memory = "16GiB"
//!
//! [host.db]
//! rack = "r1"
//! cpu = 8
//!
//! [host.node]                 # node-1 to node-20
//! count = 20
//! ```
//!
//! It is read as topology documents are: every mistake is reported at once, with its place.

use std::collections::HashSet;

use toml::de::DeTable;

use crate::config::{Cpu, HostOptions, limits};
use crate::topology::declare::document::{self, Document};
use crate::topology::declare::keys::{Key, Shape};
use crate::topology::declare::section::{Section, place};
use crate::topology::declare::source::Source;
use crate::topology::declare::texts::{Finding, Report};
use crate::topology::declare::tree::{Node, Shelf, in_order};
use crate::topology::diagnostic::TopologyErrors;
use crate::topology::suggest::shown;

static DEFAULTS: &[Key<HostOptions>] = &[
    Key {
        path: "rack",
        doc: "The rack that the host is in.",
        default: "\"default-rack\"",
        shape: Shape::Text("the name of a rack", |o, v| {
            o.rack = v.to_owned();
            if v.is_empty() { Err("a rack has a name".to_owned()) } else { Ok(()) }
        }),
    },
    Key {
        path: "slots",
        doc: "How many workers the host may run.",
        default: "4",
        shape: Shape::Count(0, limits::HOST_SLOTS_MAX as u32, |o, v| {
            o.slots = u16::try_from(v).unwrap_or(u16::MAX);
        }),
    },
    Key {
        path: "cpu",
        doc: "Its cores.",
        default: "4",
        shape: Shape::Decimal(limits::HOST_CORES_MAX, |o, v| o.resources.cpu = Cpu::cores(v)),
    },
    Key {
        path: "memory",
        doc: "Its memory, for workers.",
        default: "\"4GiB\"",
        shape: Shape::Size(|o, v| o.resources.memory = v),
    },
];

static COUNT: Key<HostOptions> = Key {
    path: "count",
    doc: "So many hosts like this one, with numbers behind the id.",
    default: "one host",
    shape: Shape::Count(1, limits::HOSTS_MAX, |o, v| o.count = Some(v)),
};

/// Reads the hosts of a cluster from a file, each with its id.
///
/// # Errors
/// Everything that is wrong, at once, with places.
///
/// # Examples
/// ```
/// use squall::topology::declare::{MemorySource, load_hosts};
///
/// let text = "[defaults]\nslots = 2\n[host.node]\ncount = 2\n[host.db]\nslots = 8\ncpu = 16";
/// let hosts = load_hosts(&MemorySource::new().file("hosts.toml", text), "hosts.toml")?;
/// let ids: Vec<_> = hosts.iter().map(|(id, host)| (id.as_str(), host.slots)).collect();
/// assert_eq!(ids, [("node-1", 2), ("node-2", 2), ("db", 8)]);
///
/// let source = MemorySource::new().file("hosts.toml", "[host.a]\nslot = 4");
/// let errors = load_hosts(&source, "hosts.toml").unwrap_err();
/// assert_eq!(
///     errors.diagnostics()[0].to_string(),
///     "hosts.toml:2:1: unknown key `slot` of host `a` (did you mean `slots`?)"
/// );
/// # Ok::<(), squall::topology::TopologyErrors>(())
/// ```
pub fn load_hosts(source: &dyn Source, path: &str) -> Result<Vec<(String, HostOptions)>, TopologyErrors> {
    let shelf = Shelf::new(document::room(&[]));
    let Document { root, texts, mut report, .. } = document::read(source, path, &[], &shelf, None);
    let mut hosts = Vec::new();
    if report.is_empty() {
        hosts = read(&root, &mut report);
    }
    if report.is_empty() { Ok(hosts) } else { Err(report.into_errors(&texts)) }
}

fn read(root: &DeTable<'_>, report: &mut Report) -> Vec<(String, HostOptions)> {
    let mut section = Section { report, of: String::new() };
    let (mut defaults, mut tables) = (HostOptions::default(), Vec::new());
    for (name, _, node) in section.known("", root, &["defaults", "host"]) {
        match name {
            "defaults" => options("`[defaults]`", &[], node, &mut defaults, section.report),
            _ => tables = section.table("host", node).map(in_order).unwrap_or_default(),
        }
    }
    let (mut hosts, mut ids) = (Vec::new(), HashSet::new());
    for (key, node) in tables {
        let id = key.get_ref();
        if let Some(wrong) = wrong_id(id) {
            section.report.push(Finding::at(key.span(), wrong));
            continue;
        }
        let mut host = HostOptions { count: None, ..defaults.clone() };
        options(&format!("host `{id}`"), &[&COUNT], node, &mut host, section.report);
        let count = host.count.unwrap_or(1).min(limits::HOSTS_MAX);
        for number in 1..=count {
            let id = if host.count.is_some() { format!("{id}-{number}") } else { id.to_string() };
            if !ids.insert(id.clone()) {
                section.report.push(Finding::at(key.span(), format!("there are two hosts `{id}`")));
                break;
            }
            hosts.push((id, HostOptions { count: None, ..host.clone() }));
        }
        if hosts.len() > limits::HOSTS_MAX as usize {
            let message = format!("more than {} hosts", limits::HOSTS_MAX);
            section.report.push(Finding::at(key.span(), message));
            break;
        }
    }
    if hosts.is_empty() && section.report.is_empty() {
        let help = "add a table for each host, as `[host.node-1]`".to_owned();
        section.report.push(Finding::at(0..0, "there is no host").help(Some(help)));
    }
    hosts
}

/// Reads the keys of a host, or of `[defaults]`.
fn options(
    what: &str,
    more: &[&'static Key<HostOptions>],
    node: &Node<'_>,
    host: &mut HostOptions,
    report: &mut Report,
) {
    let mut section = Section { report, of: format!(" of {what}") };
    let Some(table) = node.get_ref().as_table() else {
        return section.report.push(Finding::at(place(node), format!("{what} must be a table")));
    };
    let keys: Vec<&'static Key<HostOptions>> = DEFAULTS.iter().chain(more.iter().copied()).collect();
    let names: Vec<&'static str> = keys.iter().map(|key| key.name()).collect();
    for (name, _, value) in section.known("", table, &names) {
        let key = keys.iter().find(|key| key.name() == name).expect("it is a known name");
        let before = section.report.count();
        section.read(key, value, host);
        let read = section.report.count() == before;
        if let Some(bound) = out_of_bounds(name, host).filter(|_| read) {
            let message = format!("`{name}` of {what} must be {bound}");
            section.report.push(Finding::at(place(value), message));
        }
    }
}

/// What a value that could be read must be, if it is not.
fn out_of_bounds(name: &str, host: &HostOptions) -> Option<String> {
    let most = |value: u64, max: u64| (value > max).then(|| format!("at most {max}"));
    match name {
        "slots" => most(host.slots.into(), limits::HOST_SLOTS_MAX.into()),
        "count" => match host.count {
            Some(0) => Some("at least 1".to_owned()),
            Some(count) => most(count.into(), limits::HOSTS_MAX.into()),
            None => None,
        },
        "memory" => (host.resources.memory > limits::HOST_MEMORY_MAX).then(|| "at most 1024TiB".to_owned()),
        _ => None,
    }
}

/// What is wrong with the id of a host. Ids are names of machines, so that they can be shown and compared as they are.
fn wrong_id(id: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match id.len() {
        0 => Some("a host has an id, as `[host.node-1]`".to_owned()),
        1..=253 if id.chars().all(legal) => None,
        1..=253 => {
            Some(format!("the id `{}` of a host may have letters, digits, `.`, `_` and `-`", shown(id)))
        }
        _ => Some("the id of a host has at most 253 characters".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::declare::MemorySource;

    fn check(text: &str, expected: &[&str]) {
        let errors = load_hosts(&MemorySource::new().file("h", text), "h").unwrap_err();
        let lines: Vec<String> = errors.diagnostics().iter().map(ToString::to_string).collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn mistakes_have_places_and_advice() {
        check("", &["h:1:1: there is no host (add a table for each host, as `[host.node-1]`)"]);
        check("[hosts.a]", &["h:1:2: unknown key `hosts` (did you mean `host`?)"]);
        check("[host.'a b']", &["h:1:7: the id `a b` of a host may have letters, digits, `.`, `_` and `-`"]);
        check(
            "[host.a]\nmemory = 4",
            &["h:2:10: `memory` of host `a` has no unit: it must be a size, as \"64MiB\""],
        );
        check("[host.a]\nslots = 2000", &["h:2:9: `slots` of host `a` must be at most 1024"]);
        check("[host.a]\ncpu = -1", &["h:2:7: `cpu` of host `a` must be between 0 and 4096"]);
        check("[host.a]\ncpu = nan", &["h:2:7: `cpu` of host `a` must be between 0 and 4096"]);
        check("[host.a]\ncount = 0", &["h:2:9: `count` of host `a` must be at least 1"]);
        check(
            "[host.a]\nrack = ''",
            &["h:2:8: `rack` of host `a`: a rack has a name (it is the name of a rack)"],
        );
        check(
            "[defaults]\ncount = 2\n[host.a]",
            &["h:2:1: unknown key `count` of `[defaults]` (keys: rack, slots, cpu, memory)"],
        );
        check("[host.a-1]\n[host.a]\ncount = 2", &["h:2:7: there are two hosts `a-1`"]);
    }

    #[test]
    fn a_host_has_what_the_defaults_have_and_what_it_says_itself() {
        let text = "[host.a]\ncpu = 0.5\n[defaults]\nmemory = '1GiB'\nrack = 'r'\nslots = 0";
        let hosts = load_hosts(&MemorySource::new().file("h", text), "h").unwrap();
        let (id, host) = &hosts[0];
        assert_eq!((id.as_str(), host.rack.as_str(), host.slots), ("a", "r", 0));
        assert_eq!((host.resources.cpu, host.resources.memory), (Cpu(500), 1 << 30));
    }
}
