//! What is read from the engine's file, and the messages about mistakes in it.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{AutoOr, LimitedBy, ProcessLimits};

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let errors = parse_engine("squall.toml", text).unwrap_err();
    let found: Vec<String> = errors.diagnostics().iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(parse_engine("squall.toml", "").unwrap(), EngineOptions::default());
    assert_eq!(parse_engine("squall.toml", "[net]\n[worker]\n").unwrap(), EngineOptions::default());
}

#[test]
fn what_is_written_holds() {
    let text = "
        net.listen = '[::]:7000'
        net.frame_max = '32MiB'
        net.send_buffer = '1MiB'
        net.receive_buffer = 'auto'
        net.tls = { certificate = 'tls/worker.pem', key = '/etc/key.pem', authority = 'ca.pem' }
        worker.heartbeat_timeout = '10s'
    ";
    let source = MemorySource::new().file("etc/squall.toml", text);
    let options = load_engine(&source, "etc/squall.toml").unwrap();
    assert_eq!(options.net.listen.to_string(), "[::]:7000");
    assert_eq!(options.net.frame_max, 32 << 20);
    assert_eq!(options.net.send_buffer, AutoOr::Fixed(1 << 20));
    assert_eq!(options.worker.heartbeat_timeout, Duration::from_secs(10));
    let tls = options.net.tls.unwrap();
    assert_eq!(tls.certificate, Path::new("etc/tls/worker.pem"));
    assert_eq!(tls.key, Path::new("/etc/key.pem"));
    assert_eq!(tls.authority, Path::new("etc/ca.pem"));
}

#[test]
fn the_ensemble_is_read() {
    let text = "
        [zookeeper]
        servers = ['zoo1:2181', '[::1]:2182']
        root = '/squall/test'
        session_timeout = '10s'
        user = 'squall'
        password_file = 'secret'
        [zookeeper.tls]
        authority = 'ca.pem'
        certificate = 'own.pem'
        key = '/etc/own.key'
    ";
    let options = load_engine(&MemorySource::new().file("etc/squall.toml", text), "etc/squall.toml").unwrap();
    let ensemble = options.zookeeper;
    assert_eq!(ensemble.servers, ["zoo1:2181", "[::1]:2182"]);
    assert_eq!((&*ensemble.root, ensemble.session_timeout), ("/squall/test", Duration::from_secs(10)));
    assert_eq!(ensemble.password_file.as_deref(), Some(Path::new("etc/secret")));
    let tls = ensemble.tls.unwrap();
    assert_eq!(tls.authority, Path::new("etc/ca.pem"));
    let own = (tls.certificate.as_deref(), tls.key.as_deref());
    assert_eq!(own, (Some(Path::new("etc/own.pem")), Some(Path::new("/etc/own.key"))));
}

#[test]
fn the_daemons_are_read() {
    let text = "
        cluster = { blobs = 'b', key_file = 'k' }
        nimbus.id = 'n1'
        nimbus.directory = 'n'
        nimbus.supervisor_timeout = '1m'
        nimbus.blacklist = { tolerance_count = 0, tolerance_time = '2m', resume_time = '1h' }
        [supervisor]
        id = 'host-7'
        rack = 'r2'
        slots = 16
        cpu = 31.5
        memory = '64GiB'
        log_max = '1MiB'
        log_keep = 2
        blobs_from = ['https://nimbus-1:7070']
        token_file = 'token'
        limits = { by = 'control-groups', memory_extra = '1GiB', threads_max = 100, group = '/topologies' }
    ";
    let options = load_engine(&MemorySource::new().file("etc/squall.toml", text), "etc/squall.toml").unwrap();
    let (by, group) = (LimitedBy::ControlGroups, Some("/topologies".to_owned()));
    let limits = ProcessLimits { by, memory_extra: 1 << 30, threads_max: 100, group };
    assert_eq!(options.supervisor.limits, limits);
    assert_eq!(options.nimbus.id.as_deref(), Some("n1"));
    assert_eq!(options.nimbus.directory.as_deref(), Some(Path::new("etc/n")));
    assert_eq!(options.nimbus.supervisor_timeout, Duration::from_secs(60));
    let blacklist = options.nimbus.blacklist;
    assert_eq!(
        (blacklist.tolerance_count, blacklist.tolerance_time, blacklist.resume_time),
        (0, Duration::from_secs(120), Duration::from_secs(3600))
    );
    assert_eq!(options.cluster.blobs.as_deref(), Some(Path::new("etc/b")));
    assert_eq!(options.cluster.key_file.as_deref(), Some(Path::new("etc/k")));
    assert_eq!(options.supervisor.blobs_from, ["https://nimbus-1:7070"]);
    assert_eq!(options.supervisor.token_file.as_deref(), Some(Path::new("etc/token")));
    assert_eq!((options.supervisor.log_files.max, options.supervisor.log_files.keep), (1 << 20, 2));
    let host = &options.supervisor.host;
    assert_eq!((options.supervisor.id.as_deref(), &*host.rack, host.slots), (Some("host-7"), "r2", 16));
    assert_eq!(host.resources.to_string(), "31.5 cores and 64GiB");
    check(
        "nimbus.id = 'a b'\nsupervisor = { id = '..', slots = 0 }",
        &[
            "squall.toml:1:13: `nimbus.id`: \"a b\" is not a name (use 1 to 40 letters, digits, `_`, `.` or `-`)",
            "squall.toml:2:21: `supervisor.id`: \"..\" is not a name (use 1 to 40 letters, digits, `_`, `.` or `-`)",
            "squall.toml:2:35: `supervisor.slots` must be from 1 to 1024, not 0 (it is how many workers the host may run)",
        ],
    );
    check(
        "[supervisor.limits]\nby = 'cgroup'\nmemory_extra = '1MiB'\nthreads_max = 1\ngroup = '../squall'",
        &[
            "squall.toml:2:6: `supervisor.limits.by` must be \"nothing\", \"auto\", \"control-groups\" or \"rlimit\", not \"cgroup\"",
            "squall.toml:3:16: `supervisor.limits.memory_extra` must be from 64MiB to 1048576GiB (it is what a process needs beyond what its tasks are counted with)",
            "squall.toml:4:15: `supervisor.limits.threads_max` must be from 64 to 4194304, not 1 (it is how many threads and processes a worker may have)",
            "squall.toml:5:9: `supervisor.limits.group`: \"../squall\" is not a control group (write its path below the mount point, as in `/squall`)",
        ],
    );
    check(
        "supervisor.blobs_from = ['nimbus-1:7070', 'nimbus-2']",
        &[
            "squall.toml:1:25: `supervisor.blobs_from`: \"nimbus-2\" is not the address of a nimbus (a host and a port are wanted, as in `127.0.0.1:7070`, `[::1]:7070` or `https://nimbus-1:7070`)",
        ],
    );
}

#[test]
fn mistakes_about_the_ensemble_are_reported_with_their_places() {
    check(
        "[zookeeper]
servers = ['zoo1:2181', 'zoo2']
session_timeout = '10ms'
user = 'squall'
[zookeeper.tls]
certificate = 'own.pem'
",
        &[
            "squall.toml:2:11: `zookeeper.servers`: \"zoo2\" is not a host and a port (write it as \
             \"zoo1.example.org:2181\" or \"[::1]:2181\")",
            "squall.toml:3:19: `zookeeper.session_timeout` must be at least 1s, not 10ms",
            "squall.toml:4:8: `zookeeper.user` has no `password_file` (name a file with the password, which \
             nobody else may read)",
            "squall.toml:5:12: `[zookeeper.tls]` has no `authority` (for example `authority = \
             \"tls/authority.pem\"`: whom the members must be signed by)",
            "squall.toml:6:15: `zookeeper.tls.certificate` has no `key` (name the file of its private key)",
        ],
    );
    check(
        "zookeeper.root = 'squall'",
        &[
            "squall.toml:1:18: `zookeeper.root`: \"squall\" is not the path of a node (it begins with `/`, and its \
           names have letters, digits, `_`, `.` and `-`, as \"/squall\")",
        ],
    );
}

#[test]
fn variables_are_put_into_strings() {
    let source = MemorySource::new().file("a", "net.listen = '127.0.0.1:${PORT}'").set("PORT", "7000");
    assert_eq!(load_engine(&source, "a").unwrap().net.listen.port(), 7000);
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    check(
        "[net]
listen = 'localhost:0'
frame_max = 16
heartbeat = '500'
insecure = 'yes'
send_buffer = true
bind = ''
[net.tls]
certificate = 3
key = ''
[worker]
restart_min = '1m'
heartbeat_timeout = '31d'
restart_maximum = '1s'
[workers]
",
        &[
            "squall.toml:2:10: `net.listen`: not an address: \"localhost:0\" (it is an IP address and a port, \
             as \"127.0.0.1:0\" or \"[::1]:0\")",
            "squall.toml:3:13: `net.frame_max` has no unit: it must be a size, as \"64MiB\"",
            "squall.toml:4:13: `net.heartbeat`: duration \"500\" has no unit: expected for example \"500ms\", \
             \"30s\" or \"2m\"",
            "squall.toml:5:12: `net.insecure` must be `true` or `false`, not a string",
            "squall.toml:6:15: `net.send_buffer` must be a size, as \"64MiB\", or \"auto\", not a boolean",
            "squall.toml:7:1: unknown key `net.bind` (did you mean `listen`?)",
            "squall.toml:8:6: `[net.tls]` has no `authority` (for example `authority = \
             \"tls/authority.pem\"`; all three files are needed)",
            "squall.toml:9:15: `net.tls.certificate` must be the path of a PEM file, not an integer",
            "squall.toml:10:7: `net.tls.key`: a path is not empty (it is the path of a PEM file)",
            "squall.toml:12:15: `worker.restart_max` is 30s, less than `worker.restart_min` (1m) (set it to \
             1m or more, or `worker.restart_min` to less)",
            "squall.toml:13:21: `worker.heartbeat_timeout` must be at most 30d, not 31d",
            "squall.toml:14:1: unknown key `worker.restart_maximum` (did you mean `restart_max`?)",
            "squall.toml:15:2: unknown key `workers` (did you mean `worker`?)",
        ],
    );
}

#[test]
fn an_address_that_others_can_reach_is_refused_without_tls() {
    let errors =
        parse_engine("squall.toml", "[net]\nlisten = '0.0.0.0:7000'\ninsecure = false\n").unwrap_err();
    assert_eq!(
        errors.render(false),
        "\
error: `net.listen` is 0.0.0.0:7000, which other machines can reach, but there is no `[net.tls]`: tuples would cross the network readable and unprotected against change
 --> squall.toml:2:10
  |
2 | listen = '0.0.0.0:7000'
  |          ^^^^^^^^^^^^^^
  |
 ::: squall.toml:3:12
  |
3 | insecure = false
  |            ----- `net.insecure` is set here
  |
  = help: configure `[net.tls]`, or listen on 127.0.0.1; `insecure = true` in `[net]` allows it, for a network that you trust"
    );
    assert!(parse_engine("a", "[net]\nlisten = '0.0.0.0:7000'\ninsecure = true\n").unwrap().net.insecure);
}

#[test]
fn mistakes_that_only_follow_from_others_are_not_reported() {
    check(
        "[net]\nlisten = '0.0.0.0:1'\ninsecure = 'yes'\n",
        &["squall.toml:3:12: `net.insecure` must be `true` or `false`, not a string"],
    );
    check("net = 3", &["squall.toml:1:7: `net` must be a table, not an integer"]);
    check(
        "[net]\nsilence = '1s'\nheartbeat = ",
        &["squall.toml:3:13: string values must be quoted, expected literal string"],
    );
}

#[test]
fn a_topology_document_is_one_mistake() {
    check(
        "[topology]\nname = 'a'\n[spout.a]\ntype = 'b'\n",
        &[
            "squall.toml:1:2: `[topology]` belongs in a topology document, not in the engine's file (the \
             engine's file has the tables `[net]`, `[worker]`, `[zookeeper]`, `[cluster]`, `[nimbus]`, `[supervisor]` and `[secrets]`)",
            "squall.toml:3:2: `[spout]` belongs in a topology document, not in the engine's file (the \
             engine's file has the tables `[net]`, `[worker]`, `[zookeeper]`, `[cluster]`, `[nimbus]`, `[supervisor]` and `[secrets]`)",
        ],
    );
}

#[test]
fn hostile_files_are_refused_soon() {
    let first = |text: &str| parse_engine("a", text).unwrap_err().diagnostics()[0].message.clone();
    assert!(first(&"[".repeat(1 << 20)).contains("nests too deeply"));
    assert!(first(&" ".repeat(5 << 20)).contains("the document has more than"));
    assert!(first(&"a\n".repeat(1 << 16)).contains("this is no TOML"));
    let unknown = (0..100_000).map(|at| format!("x{at} = 1\n")).collect::<String>();
    assert_eq!(parse_engine("a", &unknown).unwrap_err().omitted(), 99_900);
}

/// The file that is shipped, and the page about it: every key, with the default that it has.
mod shipped {
    use super::*;

    const FILE: &str = include_str!("../../../../config/squall.toml");
    const PAGE: &str = include_str!("../../../../docs/configuration.md");

    /// All keys that are no tables, and the tables they are in.
    fn keys() -> Vec<(&'static str, &'static Key<EngineOptions>)> {
        let mut tables = vec![("", ENGINE)];
        let mut keys = Vec::new();
        while let Some((table, inside)) = tables.pop() {
            for key in inside {
                match key.shape {
                    Shape::Nested(inner) => tables.push((key.path, inner)),
                    _ => keys.push((table, key)),
                }
            }
        }
        let of = |name: &str| keys.iter().filter(|(table, _)| *table == name).count();
        let seen = of("net") > 5 && of("net.tls") > 2 && of("worker") > 5 && of("zookeeper.tls") > 2;
        assert!(seen, "not all tables were looked into");
        keys
    }

    /// Whether a key has a value if it is left out.
    fn has_default(key: &Key<EngineOptions>) -> bool {
        key.default.parse::<toml::Value>().is_ok()
    }

    /// The file with the settings that are commented out: `#key = value`, without a space.
    fn uncommented() -> String {
        let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
        let line = |line: &str| if is_setting(line) { line[1..].to_owned() } else { line.to_owned() };
        FILE.lines().map(|text| line(text) + "\n").collect()
    }

    #[test]
    fn the_file_is_the_defaults() {
        assert_eq!(parse_engine("config/squall.toml", FILE).unwrap(), EngineOptions::default());
    }

    #[test]
    fn what_is_commented_out_is_right_too() {
        let mut options = parse_engine("config/squall.toml", &uncommented()).unwrap();
        let tls = options.net.tls.take().expect("its table is among them");
        assert_eq!(tls.authority, Path::new("config/tls/authority.pem"));
        let tls = options.zookeeper.tls.take().expect("its table is among them, too");
        assert_eq!(tls.key.as_deref(), Some(Path::new("config/tls/squall.key")));
        assert_eq!(options.zookeeper.user.take().as_deref(), Some("squall"));
        let password = options.zookeeper.password_file.take();
        assert_eq!(password.as_deref(), Some(Path::new("config/zookeeper.password")));
        assert_eq!(options.cluster.blobs.take().as_deref(), Some(Path::new("config/state/blobs")));
        assert_eq!(options.cluster.key_file.take().as_deref(), Some(Path::new("config/state/cluster.key")));
        assert_eq!(options.nimbus.id.take().as_deref(), Some("nimbus-1"));
        assert_eq!(options.nimbus.directory.take().as_deref(), Some(Path::new("config/state/nimbus")));
        assert_eq!(std::mem::take(&mut options.nimbus.names), ["nimbus-1.example.org"]);
        let users = options.nimbus.users_file.take();
        assert_eq!(users.as_deref(), Some(Path::new("config/users.toml")));
        let tls = options.nimbus.tls.take().expect("its table is there, too");
        assert_eq!(tls.key.as_deref(), Some(Path::new("config/tls/nimbus.key")));
        assert_eq!(options.supervisor.id.take().as_deref(), Some("host-1"));
        assert_eq!(
            options.supervisor.directory.take().as_deref(),
            Some(Path::new("config/state/supervisor"))
        );
        assert_eq!(options.supervisor.limits.group.take().as_deref(), Some("/squall"));
        let token = options.supervisor.token_file.take();
        assert_eq!(token.as_deref(), Some(Path::new("config/supervisor.token")));
        let secrets = options.secrets.directory.take();
        assert_eq!(secrets.as_deref(), Some(Path::new("config/state/secrets")));
        assert_eq!(options, EngineOptions::default());
    }

    #[test]
    fn no_key_is_missing_and_each_has_its_default() {
        let file: toml::Table = uncommented().parse().unwrap();
        for (table, key) in keys() {
            let inside = table.split('.').fold(&file, |at, step| at[step].as_table().unwrap());
            let written = inside.get(key.name()).unwrap_or_else(|| panic!("`{}` is missing", key.path));
            if has_default(key) {
                assert_eq!(written.to_string(), key.default, "{}", key.path);
            }
        }
    }

    #[test]
    fn the_page_has_every_key_with_its_default() {
        for (table, key) in keys() {
            let row = format!("| `{}` | ", key.name());
            let section = PAGE.split(&format!("`[{table}]`\n")).nth(1).unwrap_or_else(|| panic!("{table}"));
            let section = section.split("\n## ").next().unwrap();
            let line = section.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("`{}` has no row", key.path));
            if has_default(key) {
                assert!(line.contains(&format!("| `{}` | ", key.default)), "{line}");
            }
        }
    }

    #[test]
    fn the_page_shows_the_messages() {
        let check = |text: &str| {
            let message = parse_engine("squall.toml", text).unwrap_err().render(false);
            assert!(PAGE.contains(&format!("```text\n{message}\n```")), "{message}");
        };
        check("[net]\nlisten = \"192.0.2.10:7000\"\n");
        check("[net]\nheartbeat = \"2s\"\nsilence = \"3s\"\n");
        check("[net]\nhartbeat = \"1s\"\n");
    }
}
