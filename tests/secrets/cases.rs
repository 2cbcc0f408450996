//! One process and worker processes.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::canary::{canary, check_output, check_process, files_with, mark, shows_a_value};
use crate::dev_kit::wait_until;
use crate::program::proof_of;

/// Endless, so that it can be looked at while it runs. `DIR` is the directory of the case.
const ORDERS: &str = r#"
[topology]
name = "orders"

[spout.orders]
type = "generate"
config = { rate = 100, fields = { id = "{seq}" } }

[bolt.login]
type = "login"
parallelism = 2
inputs = ["orders"]
config = { user = "squall", proofs = "DIR/proofs", password = { secret = "orders-db" } }
"#;

/// A directory with a document, and one with secrets.
pub struct Place {
    pub directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().expect("a directory") };
        fs::create_dir(place.path("proofs")).expect("it is made");
        place.write(ORDERS);
        fs::write(place.path("squall.toml"), "secrets.directory = 'secrets'\n").expect("it is written");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, document: &str) {
        let text = document.replace("DIR", self.directory.path().to_str().expect("it is UTF-8"));
        fs::write(self.path("orders.toml"), text).expect("it is written");
    }

    /// Writes a secret by hand.
    pub fn set(&self, name: &str, value: &str) {
        let directory = self.path("secrets");
        fs::create_dir_all(&directory).expect("it is made");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("it is ours");
        fs::write(directory.join(name), value).expect("it is written");
        fs::set_permissions(directory.join(name), Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// The program, with the engine's file of this place.
    pub fn program(&self, args: &[&str]) -> Command {
        let mut command = Command::new("env");
        command.arg("--default-signal").arg(env::current_exe().expect("this program has a file")).args(args);
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", self.path("state")).env("XDG_RUNTIME_DIR", self.path("state"));
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end. It shows no value.
    #[track_caller]
    pub fn output(&self, args: &[&str]) -> Output {
        let output = self.program(args).output().expect("it runs");
        check_output(&args.join(" "), &output);
        output
    }

    /// The text of its stderr, after this exit code.
    #[track_caller]
    pub fn fails(&self, args: &[&str], code: i32) -> String {
        let output = self.output(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        errors
    }

    /// How many tasks have shown that they have this value.
    pub fn proofs(&self, value: &str) -> usize {
        proofs_in(&self.path("proofs"), value)
    }
}

/// How many tasks have shown that they have this value.
pub fn proofs_in(directory: &Path, value: &str) -> usize {
    let proof = proof_of(value);
    let files = fs::read_dir(directory).expect("it is there").flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with(&proof)).count()
}

#[track_caller]
fn check_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}

const RUN: &[&str] = &["run", "orders.toml", "--config", "squall.toml"];
const VALIDATE: &[&str] = &["validate", "orders.toml", "--config", "squall.toml"];

pub fn a_document_names_secrets_only_where_settings_are() {
    let place = Place::new();
    place.set("orders-db", &canary(1));
    let check = |from: &str, to: &str, expected: &[&str]| {
        place.write(&ORDERS.replace(from, to));
        check_has(&place.fails(VALIDATE, 1), expected);
    };
    check(
        "user = \"squall\"",
        "user = { secret = \"orders-db\" }",
        &["orders.toml:13:19", "expected a string", "this setting is no secret"],
    );
    let illegal = "is not the name of a secret: use 1 to 64 letters";
    for name in ["../orders-db", "/etc/passwd", ".orders-db", "", "a/b", "orders db"] {
        check(
            "{ secret = \"orders-db\" }",
            &format!("{{ secret = '{name}' }}"),
            &["orders.toml:13:", illegal],
        );
    }
    check("secret = ", "sekret = ", &["orders.toml:13:", "unknown key `sekret`", "did you mean `secret`?"]);
    check("\"orders-db\" }", "\"orders-db\", of = \"x\" }", &["orders.toml:13:", "unknown key `of`"]);
    check("{ secret = \"orders-db\" }", "{}", &["orders.toml:13:", "`secret` is missing"]);
}

pub fn a_missing_secret_ends_a_run_before_it_begins() {
    let place = Place::new();
    let file = place.path("secrets/orders-db").display().to_string();
    let command = format!("squall secret set orders-db --directory {}", place.path("secrets").display());
    let expected = ["orders.toml:13:", "there is no secret `orders-db`", &file, &command];
    for args in [RUN, VALIDATE, &[RUN, &["--workers", "2"]].concat()] {
        check_has(&place.fails(args, 1), &expected);
    }
    assert_eq!(fs::read_dir(place.path("proofs")).expect("it is there").count(), 0, "nothing was started");
    // Elsewhere there may be one.
    place.fails(&[VALIDATE, &["--skip-secrets"]].concat(), 0);
    place.fails(&["graph", "orders.toml"], 0);
    // Without `[secrets]` it is looked for below the user's state directory.
    let own = place.path("state/squall/secrets/orders-db").display().to_string();
    check_has(&place.fails(&["validate", "orders.toml"], 1), &[&own]);
}

pub fn a_file_that_others_may_read_is_not_used() {
    let place = Place::new();
    place.set("orders-db", &canary(2));
    place.fails(VALIDATE, 0);
    let file = place.path("secrets/orders-db");
    let expected = ["orders.toml:13:", "`orders-db`", &file.display().to_string(), "chmod 600"];
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("it is ours");
    check_has(&place.fails(RUN, 1), &expected);
    check_has(&place.fails(VALIDATE, 1), &expected);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
    fs::set_permissions(place.path("secrets"), Permissions::from_mode(0o777)).expect("it is ours");
    check_has(&place.fails(RUN, 1), &["its mode is 777", "chmod 700"]);
    assert_eq!(place.proofs(&canary(2)), 0);
}

/// A run that is looked at while it runs.
struct Watched {
    place: Place,
    child: Option<Child>,
}

impl Watched {
    fn start(value: &str, more: &[&str]) -> Watched {
        let place = Place::new();
        place.set("orders-db", &format!("{value}\n"));
        let mut command = place.program(&[RUN, more, &["--log", "debug", "--json"]].concat());
        let output = |name: &str| fs::File::create(place.path(name)).expect("it is made");
        command.stdout(output("stdout")).stderr(output("stderr"));
        let child = Some(command.spawn().expect("it starts"));
        Watched { place, child }
    }

    fn child(&self) -> &Child {
        self.child.as_ref().expect("it runs")
    }

    /// The process and its children.
    fn processes(&self) -> Vec<i32> {
        let own = self.child().id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        children.chain([i32::try_from(own).expect("a pid")]).collect()
    }

    /// Waits until all tasks have the value, looks around, ends it, and looks again.
    #[track_caller]
    fn check(mut self, value: &str) {
        wait_until("all tasks have the value", || self.place.proofs(value) == 2);
        self.processes().into_iter().for_each(check_process);
        let mut child = self.child.take().expect("it runs");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it is ours");
        let status = child.wait().expect("it is ours");
        let read = |name: &str| fs::read(self.place.path(name)).expect("it is there");
        let errors = String::from_utf8_lossy(&read("stderr")).into_owned();
        assert!(status.code().is_some(), "{errors}");
        // What the bolt logs is there, so a value would be, too.
        check_has(&errors, &["logged in", "SecretValue(..)", "Secret(orders-db)"]);
        assert!(!shows_a_value(errors.as_bytes()) && !shows_a_value(&read("stdout")), "{errors}");
        let secrets = self.place.path("secrets");
        let found = files_with(self.place.directory.path(), &mark(), &secrets);
        assert_eq!(found, Vec::<PathBuf>::new());
        assert_eq!(files_with(&secrets, &mark(), Path::new("")).len(), 1, "the search finds what is there");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            eprintln!("{}", fs::read_to_string(self.place.path("stderr")).unwrap_or_default());
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn a_run_has_the_value_and_shows_it_nowhere() {
    let value = canary(3);
    Watched::start(&value, &[]).check(&value);
    let place = Place::new();
    place.set("orders-db", &value);
    for format in ["text", "mermaid", "dot"] {
        place.fails(&["graph", "orders.toml", "--format", format], 0);
    }
    place.fails(&[VALIDATE, &["--json"]].concat(), 0);
    place.fails(&["schema"], 0);
    place.fails(&["components", "login"], 0);
    // A mistake in the same table is shown with its line.
    place.write(&ORDERS.replace("user = ", "usr = "));
    place.fails(RUN, 1);
}

pub fn worker_processes_have_the_value_and_show_it_nowhere() {
    let value = canary(4);
    Watched::start(&value, &["--workers", "2"]).check(&value);
}
