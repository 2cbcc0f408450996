//! `squall secret`.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::canary::{canary, check_output};
use crate::cases::Place;
use crate::dev_kit::squall;

/// `squall secret` with a text on stdin.
fn secret(place: &Place, args: &[&str], stdin: &str) -> Output {
    let mut command = squall(&[&["secret"], args].concat());
    command.env("XDG_STATE_HOME", place.path("state")).current_dir(place.directory.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // A command that does not read its stdin closes it.
    let _ = child.stdin.take().expect("it is piped").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    check_output(&args.join(" "), &output);
    output
}

#[track_caller]
fn check(place: &Place, args: &[&str], stdin: &str, code: i32) -> (String, String) {
    let output = secret(place, args, stdin);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{errors}");
    (out, errors)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

pub fn secrets_are_set_listed_and_removed() {
    let place = Place::new();
    let own = place.path("state/squall/secrets");
    let (_, errors) = check(&place, &["list"], "", 0);
    assert!(errors.contains("there are no secrets"), "{errors}");
    check(&place, &["set", "orders-db"], &canary(5), 0);
    assert_eq!((mode(&own), mode(&own.join("orders-db"))), (0o700, 0o600));
    assert_eq!(fs::read_to_string(own.join("orders-db")).expect("it is there"), canary(5));
    fs::write(place.path("value"), canary(6)).expect("it is written");
    check(&place, &["set", "pager", "--from-file", "value"], "", 0);
    check(&place, &["set", "orders-db"], &canary(7), 0);
    assert_eq!(fs::read_to_string(own.join("orders-db")).expect("it is there"), canary(7));
    assert_eq!(check(&place, &["list"], "", 0).0, "SECRET     PROBLEM\norders-db  -\npager      -\n");
    fs::set_permissions(own.join("pager"), Permissions::from_mode(0o644)).expect("it is ours");
    let (json, _) = check(&place, &["list", "--json"], "", 0);
    let listed: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(listed[0], serde_json::json!({ "name": "orders-db", "problem": null }));
    let problem = listed[1]["problem"].as_str().expect("it has one");
    assert!(problem.contains("its mode is 644"), "{problem}");
    check(&place, &["remove", "pager"], "", 0);
    let (_, errors) = check(&place, &["remove", "pager"], "", 1);
    assert!(errors.contains("there is no secret `pager`"), "{errors}");
    // Another directory, by the engine's file or by a flag.
    check(&place, &["set", "a", "--config", "squall.toml"], &canary(8), 0);
    check(&place, &["set", "b", "--directory", "secrets"], &canary(8), 0);
    let (listed, _) = check(&place, &["list", "--config", "squall.toml"], "", 0);
    assert_eq!(listed, "SECRET  PROBLEM\na       -\nb       -\n");
}

pub fn names_lead_nowhere_else() {
    let place = Place::new();
    check(&place, &["set", "a"], &canary(9), 0);
    let names = ["../a", "..", ".a", "/tmp/a", "a/b", "", "a\nb", "a b", "%2e%2e%2fa", &"x".repeat(65)];
    for name in names {
        for command in ["set", "remove"] {
            let (_, errors) = check(&place, &[command, "--", name], &canary(9), 2);
            assert!(errors.contains("is not the name of a secret"), "{name:?}: {errors}");
        }
    }
    let squall = fs::read_dir(place.path("state/squall")).expect("it is there");
    assert_eq!(squall.count(), 1, "there is the directory of the secrets, and nothing beside it");
}

pub fn values_that_cannot_be_used_are_refused() {
    let place = Place::new();
    let check_refused = |stdin: &str, expected: &str| {
        let (_, errors) = check(&place, &["set", "a"], stdin, 1);
        assert!(errors.contains(expected), "{errors}");
    };
    check_refused("", "the value is empty");
    check_refused("\n", "the value is empty");
    check_refused(&canary(10).repeat(4000), "the value is longer than 65536 bytes");
    assert!(!place.path("state/squall").exists(), "nothing was made");
    let (_, errors) = check(&place, &["set", "a", "--from-file", "nowhere"], "", 1);
    assert!(errors.contains("cannot read the value from `nowhere`"), "{errors}");
    // Beside a secret that others could have put there, none is written.
    fs::create_dir(place.path("open")).expect("it is made");
    fs::set_permissions(place.path("open"), Permissions::from_mode(0o777)).expect("it is ours");
    let (_, errors) = check(&place, &["set", "a", "--directory", "open"], &canary(10), 1);
    assert!(errors.contains("its mode is 777"), "{errors}");
}
