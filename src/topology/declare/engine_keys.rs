//! Every key of the engine's file, once, as `keys` has those of topology documents. One file, because it is one table.

use std::path::PathBuf;

use crate::config::{AutoOr, Cpu, EngineOptions, LimitedBy, NimbusTls, TlsPaths, ZooKeeperTls, limits};
use crate::topology::declare::keys::{Key, Shape};
use crate::topology::suggest::shown;

type EngineKey = Key<EngineOptions>;

/// The tables of the file.
pub(crate) static ENGINE: &[EngineKey] = &[
    Key {
        path: "net",
        doc: "The connections between the workers of a topology.",
        default: "see below",
        shape: Shape::Nested(NET),
    },
    Key {
        path: "worker",
        doc: "How worker processes are watched and restarted.",
        default: "see below",
        shape: Shape::Nested(WORKER),
    },
    Key {
        path: "zookeeper",
        doc: "The ensemble by which the processes of a cluster coordinate.",
        default: "see below",
        shape: Shape::Nested(ZOOKEEPER),
    },
    Key {
        path: "cluster",
        doc: "What all daemons of a cluster have alike.",
        default: "see below",
        shape: Shape::Nested(CLUSTER),
    },
    Key { path: "nimbus", doc: "A nimbus of a cluster.", default: "see below", shape: Shape::Nested(NIMBUS) },
    Key {
        path: "supervisor",
        doc: "The supervisor of a host, and what it offers.",
        default: "see below",
        shape: Shape::Nested(SUPERVISOR),
    },
    Key {
        path: "secrets",
        doc: "The values of secrets on this host.",
        default: "see below",
        shape: Shape::Nested(SECRETS),
    },
];

static NET: &[EngineKey] = &[
    Key {
        path: "net.listen",
        doc: "Where a worker accepts connections of its peers; port 0: the system chooses.",
        default: "\"127.0.0.1:0\"",
        shape: Shape::Text("an IP address and a port, as \"127.0.0.1:0\" or \"[::1]:0\"", |o, text| {
            let address = text.parse().map_err(|_| format!("not an address: \"{}\"", shown(text)))?;
            o.net.listen = address;
            Ok(())
        }),
    },
    Key {
        path: "net.insecure",
        doc: "Whether an address that other machines can reach may be bound without `[net.tls]`.",
        default: "false",
        shape: Shape::Switch(|o, v| o.net.insecure = v),
    },
    Key {
        path: "net.frame_max",
        doc: "Bytes of one frame; a tuple and the batch it is sent in must fit.",
        default: "\"16MiB\"",
        shape: Shape::Size(|o, v| o.net.frame_max = bytes(v)),
    },
    Key {
        path: "net.heartbeat",
        doc: "A connection on which nothing was written for so long writes a heartbeat.",
        default: "\"500ms\"",
        shape: Shape::Period(|o, v| o.net.heartbeat = v),
    },
    Key {
        path: "net.silence",
        doc: "A connection on which nothing was received for so long is dead, and dialed again.",
        default: "\"2s\"",
        shape: Shape::Period(|o, v| o.net.silence = v),
    },
    Key {
        path: "net.handshake_timeout",
        doc: "How long making a connection may take, and how long its handshake; up to four times as long with a peer that is alive but late.",
        default: "\"2s\"",
        shape: Shape::Period(|o, v| o.net.handshake_timeout = v),
    },
    Key {
        path: "net.reconnect_min",
        doc: "The first pause before a peer is dialed again is anything up to this; each may be twice the one before.",
        default: "\"10ms\"",
        shape: Shape::Period(|o, v| o.net.reconnect_min = v),
    },
    Key {
        path: "net.reconnect_max",
        doc: "The longest such pause.",
        default: "\"1s\"",
        shape: Shape::Period(|o, v| o.net.reconnect_max = v),
    },
    Key {
        path: "net.link_lost",
        doc: "A peer that could not be reached for so long is reported, and its worker replaced.",
        default: "\"10s\"",
        shape: Shape::Period(|o, v| o.net.link_lost = v),
    },
    Key {
        path: "net.linger",
        doc: "For how long after a write what follows may gather, unless it is much; 0s: not at all.",
        default: "\"400us\"",
        shape: Shape::Period(|o, v| o.net.linger = v),
    },
    Key {
        path: "net.send_buffer",
        doc: "Bytes that the kernel keeps for sending, per connection; auto: as it sees fit.",
        default: "\"auto\"",
        shape: Shape::AutoOrSize(|o, v| o.net.send_buffer = auto_or_bytes(v)),
    },
    Key {
        path: "net.receive_buffer",
        doc: "Bytes that the kernel keeps of what was received, per connection; auto: as it sees fit.",
        default: "\"auto\"",
        shape: Shape::AutoOrSize(|o, v| o.net.receive_buffer = auto_or_bytes(v)),
    },
    Key {
        path: "net.tls",
        doc: "Mutual TLS between workers. Paths are relative to this file.",
        default: "plain TCP, on loopback only",
        shape: Shape::Nested(TLS),
    },
];

static TLS: &[EngineKey] = &[
    Key {
        path: "net.tls.certificate",
        doc: "The PEM file with the certificate of this machine's workers, and those between it and the authority's.",
        default: "required",
        shape: Shape::Text(PATH, |o, text| path(&mut tls(o).certificate, text)),
    },
    Key {
        path: "net.tls.key",
        doc: "The PEM file with its private key.",
        default: "required",
        shape: Shape::Text(PATH, |o, text| path(&mut tls(o).key, text)),
    },
    Key {
        path: "net.tls.authority",
        doc: "The PEM file with the certificates of the authorities that peers must be signed by.",
        default: "required",
        shape: Shape::Text(PATH, |o, text| path(&mut tls(o).authority, text)),
    },
    Key {
        path: "net.tls.name",
        doc: "Whom the certificates of all workers are made out to: a DNS name or an address.",
        default: "the address at which each worker is dialed",
        shape: Shape::Text("a DNS name or an address", |o, text| {
            tls(o).name = Some(text.to_owned());
            Ok(())
        }),
    },
];

static WORKER: &[EngineKey] = &[
    Key {
        path: "worker.heartbeat",
        doc: "How often a worker reports to its parent that it is alive.",
        default: "\"500ms\"",
        shape: Shape::Period(|o, v| o.worker.heartbeat = v),
    },
    Key {
        path: "worker.heartbeat_timeout",
        doc: "A worker that sent nothing for so long is killed and replaced.",
        default: "\"2s 500ms\"",
        shape: Shape::Period(|o, v| o.worker.heartbeat_timeout = v),
    },
    Key {
        path: "worker.start_timeout",
        doc: "A worker that is not ready after so long is killed and started again.",
        default: "\"30s\"",
        shape: Shape::Period(|o, v| o.worker.start_timeout = v),
    },
    Key {
        path: "worker.restart_min",
        doc: "A worker that dies is started again at once; if it dies again, after a pause of this, and then of twice the one before.",
        default: "\"50ms\"",
        shape: Shape::Period(|o, v| o.worker.restart_min = v),
    },
    Key {
        path: "worker.restart_max",
        doc: "The longest such pause.",
        default: "\"30s\"",
        shape: Shape::Period(|o, v| o.worker.restart_max = v),
    },
    Key {
        path: "worker.restart_reset",
        doc: "A worker that lived for so long is started again at once when it dies.",
        default: "\"1m\"",
        shape: Shape::Period(|o, v| o.worker.restart_reset = v),
    },
    Key {
        path: "worker.stats_interval",
        doc: "How often a worker sends its counters to its parent.",
        default: "\"250ms\"",
        shape: Shape::Period(|o, v| o.worker.stats_interval = v),
    },
];

static ZOOKEEPER: &[EngineKey] = &[
    Key {
        path: "zookeeper.servers",
        doc: "The members of the ensemble, each a host and a port.",
        default: "[\"127.0.0.1:2181\"]",
        shape: Shape::Names(|o, v| o.zookeeper.servers = v),
    },
    Key {
        path: "zookeeper.root",
        doc: "The node below which all nodes of this cluster are.",
        default: "\"/squall\"",
        shape: Shape::Text("the path of a node, as \"/squall\"", |o, text| {
            o.zookeeper.root = text.to_owned();
            Ok(())
        }),
    },
    Key {
        path: "zookeeper.session_timeout",
        doc: "After so much silence of a process, ZooKeeper deletes what it holds.",
        default: "\"6s\"",
        shape: Shape::Period(|o, v| o.zookeeper.session_timeout = v),
    },
    Key {
        path: "zookeeper.connect_timeout",
        doc: "How long connecting to a member may take, and how long its first answer.",
        default: "\"2s\"",
        shape: Shape::Period(|o, v| o.zookeeper.connect_timeout = v),
    },
    Key {
        path: "zookeeper.read_again",
        doc: "How often everything is read again, whether or not a change was reported.",
        default: "\"10s\"",
        shape: Shape::Period(|o, v| o.zookeeper.read_again = v),
    },
    Key {
        path: "zookeeper.user",
        doc: "The name for digest authentication; nodes are made for this user alone.",
        default: "nobody logs in",
        shape: Shape::Text("a name", |o, text| {
            o.zookeeper.user = Some(text.to_owned());
            Ok(())
        }),
    },
    Key {
        path: "zookeeper.password_file",
        doc: "The file with the password of `user`, which nobody else may read.",
        default: "none",
        shape: Shape::Text("the path of a file", |o, text| {
            path(o.zookeeper.password_file.get_or_insert_default(), text)
        }),
    },
    Key {
        path: "zookeeper.insecure",
        doc: "Whether a server on another machine may be used without a user and `[zookeeper.tls]`.",
        default: "false",
        shape: Shape::Switch(|o, v| o.zookeeper.insecure = v),
    },
    Key {
        path: "zookeeper.tls",
        doc: "TLS to the members of the ensemble. Paths are relative to this file.",
        default: "plain TCP",
        shape: Shape::Nested(ZOOKEEPER_TLS),
    },
];

static ZOOKEEPER_TLS: &[EngineKey] = &[
    Key {
        path: "zookeeper.tls.authority",
        doc: "The PEM file with the certificates of the authorities that members must be signed by.",
        default: "required",
        shape: Shape::Text(PATH, |o, text| path(&mut zookeeper_tls(o).authority, text)),
    },
    Key {
        path: "zookeeper.tls.certificate",
        doc: "The PEM file with the certificate that this process presents, if members ask for one.",
        default: "none",
        shape: Shape::Text(PATH, |o, text| path(zookeeper_tls(o).certificate.get_or_insert_default(), text)),
    },
    Key {
        path: "zookeeper.tls.key",
        doc: "The PEM file with its private key.",
        default: "none",
        shape: Shape::Text(PATH, |o, text| path(zookeeper_tls(o).key.get_or_insert_default(), text)),
    },
];

static CLUSTER: &[EngineKey] = &[
    Key {
        path: "cluster.blobs",
        doc: "The directory with what topologies are made of. All nimbuses and supervisors see it.",
        default: "`squall/blobs` in the user's state directory",
        shape: Shape::Text("the path of a directory", |o, text| {
            path(o.cluster.blobs.get_or_insert_default(), text)
        }),
    },
    Key {
        path: "cluster.key_file",
        doc: "The file with the key that all hosts of the cluster have, which nobody else may read.",
        default: "`squall/cluster.key` in the user's state directory",
        shape: Shape::Text("the path of a file", |o, text| {
            path(o.cluster.key_file.get_or_insert_default(), text)
        }),
    },
];

static NIMBUS: &[EngineKey] = &[
    Key {
        path: "nimbus.id",
        doc: "How this nimbus is called.",
        default: "the name of the host",
        shape: Shape::Text("a name", |o, text| {
            o.nimbus.id = Some(text.to_owned());
            Ok(())
        }),
    },
    Key {
        path: "nimbus.directory",
        doc: "Where it remembers which cluster it belongs to.",
        default: "`squall/nimbus-<id>` in the user's state directory",
        shape: Shape::Text("the path of a directory", |o, text| {
            path(o.nimbus.directory.get_or_insert_default(), text)
        }),
    },
    Key {
        path: "nimbus.supervisor_timeout",
        doc: "What runs on a host is placed elsewhere when its supervisor was missing for so long.",
        default: "\"30s\"",
        shape: Shape::Period(|o, v| o.nimbus.supervisor_timeout = v),
    },
    Key {
        path: "nimbus.blacklist",
        doc: "When a host whose supervisor goes away again and again gets no new workers for a while.",
        default: "see below",
        shape: Shape::Nested(BLACKLIST),
    },
    Key {
        path: "nimbus.listen",
        doc: "Where its API is reached; port 0: the system chooses.",
        default: "\"127.0.0.1:7070\"",
        shape: Shape::Text("an IP address and a port, as \"127.0.0.1:7070\"", |o, text| {
            let address = text.parse().map_err(|_| format!("not an address: \"{}\"", shown(text)))?;
            o.nimbus.listen = address;
            Ok(())
        }),
    },
    Key {
        path: "nimbus.names",
        doc: "The host names and addresses by which clients ask for its API; the first is where others send them.",
        default: "the address of `listen`",
        shape: Shape::Names(|o, v| o.nimbus.names = v),
    },
    Key {
        path: "nimbus.users_file",
        doc: "The users of the API, as `squall user` writes them, which nobody else may read.",
        default: "there are no users, and anybody may do everything",
        shape: Shape::Text("the path of a file", |o, text| {
            path(o.nimbus.users_file.get_or_insert_default(), text)
        }),
    },
    Key {
        path: "nimbus.insecure",
        doc: "Whether an address that other machines can reach may be listened on without TLS and users.",
        default: "false",
        shape: Shape::Switch(|o, v| o.nimbus.insecure = v),
    },
    Key {
        path: "nimbus.tls",
        doc: "TLS for the API, and for the commands that use it. Paths are relative to this file.",
        default: "plain HTTP",
        shape: Shape::Nested(NIMBUS_TLS),
    },
];

static NIMBUS_TLS: &[EngineKey] = &[
    Key {
        path: "nimbus.tls.certificate",
        doc: "The PEM file with the certificate of this nimbus, and those between it and the authority's.",
        default: "none; a nimbus needs it",
        shape: Shape::Text(PATH, |o, text| path(nimbus_tls(o).certificate.get_or_insert_default(), text)),
    },
    Key {
        path: "nimbus.tls.key",
        doc: "The PEM file with its private key, which nobody else may read.",
        default: "none; a nimbus needs it",
        shape: Shape::Text(PATH, |o, text| path(nimbus_tls(o).key.get_or_insert_default(), text)),
    },
    Key {
        path: "nimbus.tls.authority",
        doc: "The PEM file with the certificates of the authorities that a nimbus must be signed by.",
        default: "none; commands need it",
        shape: Shape::Text(PATH, |o, text| path(nimbus_tls(o).authority.get_or_insert_default(), text)),
    },
];

static BLACKLIST: &[EngineKey] = &[
    Key {
        path: "nimbus.blacklist.tolerance_count",
        doc: "So many times are too many; 0: never.",
        default: "3",
        shape: Shape::Count(0, limits::TOLERANCE_COUNT_MAX, |o, v| o.nimbus.blacklist.tolerance_count = v),
    },
    Key {
        path: "nimbus.blacklist.tolerance_time",
        doc: "The time within which they count.",
        default: "\"5m\"",
        shape: Shape::Period(|o, v| o.nimbus.blacklist.tolerance_time = v),
    },
    Key {
        path: "nimbus.blacklist.resume_time",
        doc: "The host gets new workers again after this time.",
        default: "\"30m\"",
        shape: Shape::Period(|o, v| o.nimbus.blacklist.resume_time = v),
    },
];

static SUPERVISOR: &[EngineKey] = &[
    Key {
        path: "supervisor.id",
        doc: "How this host is called in the cluster.",
        default: "the name of the host",
        shape: Shape::Text("a name", |o, text| {
            o.supervisor.id = Some(text.to_owned());
            Ok(())
        }),
    },
    Key {
        path: "supervisor.directory",
        doc: "Where it remembers its cluster and its processes, and where these have their directories.",
        default: "`squall/supervisor-<id>` in the user's state directory",
        shape: Shape::Text("the path of a directory", |o, text| {
            path(o.supervisor.directory.get_or_insert_default(), text)
        }),
    },
    Key {
        path: "supervisor.rack",
        doc: "The rack that the host is in.",
        default: "\"default-rack\"",
        shape: Shape::Text("the name of a rack", |o, text| {
            o.supervisor.host.rack = text.to_owned();
            if text.is_empty() { Err("a rack has a name".to_owned()) } else { Ok(()) }
        }),
    },
    Key {
        path: "supervisor.slots",
        doc: "How many workers the host may run.",
        default: "4",
        shape: Shape::Count(1, limits::HOST_SLOTS_MAX as u32, |o, v| {
            o.supervisor.host.slots = u16::try_from(v).unwrap_or(u16::MAX);
        }),
    },
    Key {
        path: "supervisor.cpu",
        doc: "Cores that topologies may use.",
        default: "4",
        shape: Shape::Decimal(limits::HOST_CORES_MAX, |o, v| o.supervisor.host.resources.cpu = Cpu::cores(v)),
    },
    Key {
        path: "supervisor.memory",
        doc: "Memory that topologies may use.",
        default: "\"4GiB\"",
        shape: Shape::Size(|o, v| o.supervisor.host.resources.memory = v),
    },
    Key {
        path: "supervisor.blobs_from",
        doc: "The nimbuses that are asked for what topologies are made of; if there are none, it is read from `cluster.blobs`.",
        default: "[]",
        shape: Shape::Names(|o, v| o.supervisor.blobs_from = v),
    },
    Key {
        path: "supervisor.token_file",
        doc: "The file with the token by which these are asked, which nobody else may read.",
        default: "no token",
        shape: Shape::Text("the path of a file", |o, text| {
            o.supervisor.token_file = Some(text.into());
            Ok(())
        }),
    },
    Key {
        path: "supervisor.log_max",
        doc: "From which size on the files `worker.log` and `output` of a process are begun anew.",
        default: "\"10MiB\"",
        shape: Shape::Size(|o, v| o.supervisor.log_files.max = v),
    },
    Key {
        path: "supervisor.log_keep",
        doc: "How many earlier files are kept of each of them.",
        default: "5",
        shape: Shape::Count(0, limits::LOG_FILES_MAX, |o, v| o.supervisor.log_files.keep = v),
    },
    Key {
        path: "supervisor.limits",
        doc: "What the processes of this host may use.",
        default: "see below",
        shape: Shape::Nested(LIMITS),
    },
];

static LIMITS: &[EngineKey] = &[
    Key {
        path: "supervisor.limits.by",
        doc: "What keeps processes within their limits.",
        default: "\"nothing\"",
        shape: Shape::OneOf(LimitedBy::NAMES, |o, v| o.supervisor.limits.by = LimitedBy::named(v)),
    },
    Key {
        path: "supervisor.limits.memory_extra",
        doc: "Memory that a process may have beyond what its tasks are counted with; all that a master may have.",
        default: "\"256MiB\"",
        shape: Shape::Size(|o, v| o.supervisor.limits.memory_extra = v),
    },
    Key {
        path: "supervisor.limits.threads_max",
        doc: "Threads and processes that a worker or master may have, with what it has started; control groups only.",
        default: "4096",
        shape: Shape::Count(limits::GROUP_THREADS_MIN, limits::GROUP_THREADS_MAX, |o, v| {
            o.supervisor.limits.threads_max = v;
        }),
    },
    Key {
        path: "supervisor.limits.group",
        doc: "The control group below which those of processes are made.",
        default: "that of the supervisor",
        shape: Shape::Text("the path of a control group, as \"/squall\"", |o, text| {
            o.supervisor.limits.group = Some(text.to_owned());
            Ok(())
        }),
    },
];

static SECRETS: &[EngineKey] = &[Key {
    path: "secrets.directory",
    doc: "The directory with a file for each secret, which nobody else may write to.",
    default: "`squall/secrets` in the user's state directory",
    shape: Shape::Text("the path of a directory", |o, text| {
        path(o.secrets.directory.get_or_insert_default(), text)
    }),
}];

const PATH: &str = "the path of a PEM file";

/// A size that memory cannot have is out of bounds anyhow.
fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

fn auto_or_bytes(size: AutoOr<u64>) -> AutoOr<usize> {
    match size {
        AutoOr::Auto => AutoOr::Auto,
        AutoOr::Fixed(size) => AutoOr::Fixed(bytes(size)),
    }
}

fn tls(options: &mut EngineOptions) -> &mut TlsPaths {
    options.net.tls.get_or_insert_default()
}

fn zookeeper_tls(options: &mut EngineOptions) -> &mut ZooKeeperTls {
    options.zookeeper.tls.get_or_insert_default()
}

fn nimbus_tls(options: &mut EngineOptions) -> &mut NimbusTls {
    options.nimbus.tls.get_or_insert_default()
}

fn path(into: &mut PathBuf, text: &str) -> Result<(), String> {
    *into = PathBuf::from(text);
    if text.is_empty() { Err("a path is not empty".to_owned()) } else { Ok(()) }
}
