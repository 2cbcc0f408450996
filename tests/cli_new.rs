//! `squall new`: what it writes, what it refuses, and that the project's own test passes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;

fn new(args: &[&str]) -> Assert {
    Command::new(env!("CARGO_BIN_EXE_squall")).arg("new").args(args).assert()
}

fn checkout() -> &'static str {
    env!("CARGO_MANIFEST_DIR")
}

fn files_in(dir: &Path) -> Vec<String> {
    let mut dirs = vec![dir.to_owned()];
    let mut files = Vec::new();
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(entry.path()),
                false => files.push(entry.path().strip_prefix(dir).unwrap().to_string_lossy().into_owned()),
            }
        }
    }
    files.sort_unstable();
    files
}

#[test]
fn a_project_depends_on_the_squall_it_was_made_by_or_another() {
    let dir = tempfile::tempdir().unwrap();
    let check = |args: &[&str], name: &str, expected: &str| {
        let target = dir.path().join(name);
        let assert = new(&[&[target.to_str().unwrap()], args].concat()).success();
        assert!(assert.get_output().stdout.is_empty(), "talk goes to stderr");
        let manifest = fs::read_to_string(target.join("Cargo.toml")).unwrap();
        assert!(manifest.contains(expected), "{manifest}");
    };
    let here = format!("squall = {{ path = \"{}\" }}", checkout());
    check(&[], "greetings", "name = \"greetings\"");
    check(&["--name", "other"], "named", "name = \"other\"");
    check(&[], "as-it-is", &here);
    check(&["--squall-path", checkout()], "local", &here);
    check(
        &["--squall-git", "https://git.example.org/squall"],
        "git",
        "squall = { git = \"https://git.example.org/squall\" }",
    );
    check(&["--squall-version", "0.1"], "published", "squall = \"0.1\"");
    new(&[dir.path().join("two").to_str().unwrap(), "--squall-git", "x", "--squall-version", "1"]).code(2);
}

#[test]
fn what_is_there_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("diary.txt"), "dear diary").unwrap();
    let assert = new(&[dir.path().to_str().unwrap(), "--name", "greetings"]).code(1);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.starts_with("error: ") && stderr.ends_with("is not empty\n"), "{stderr}");
    assert_eq!(files_in(dir.path()), ["diary.txt"]);
}

#[test]
fn a_name_that_cargo_would_refuse_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, expected: &str| {
        let target = dir.path().join(name);
        let assert = new(&[target.to_str().unwrap()]).code(1);
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(stderr.contains(expected), "{stderr}");
        assert!(!target.exists());
    };
    check("2nd", "it has to begin with a letter; give it another name with --name");
    check("a b", "it may hold letters, digits, `-` and `_` only");
    check("serde", "the name is taken");
}

/// Builds a project against this checkout, without a network, and runs its tests and its program. Only squall and the
/// project itself are compiled: it shares the target directory, the profile and the features of this checkout.
#[test]
fn the_tests_of_a_new_project_pass() {
    let target_dir = target_dir();
    let project = target_dir.join("new-project/greetings");
    if project.exists() {
        fs::remove_dir_all(&project).unwrap();
    }
    let path = project.to_str().unwrap();
    new(&[path]).success();
    // The versions that this checkout was tested with; they are the ones at hand offline.
    fs::copy(Path::new(checkout()).join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    build_as_tests_of_squall_are_built(&project.join("Cargo.toml"));

    let cargo = |args: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&project).env("CARGO_TARGET_DIR", &target_dir);
        command.env("CARGO_NET_OFFLINE", "true").env_remove("RUSTFLAGS").args(args);
        // Cargo describes the package of a test in the environment. Build scripts of dependencies look at
        // these variables, so with them `ring` and all that depends on it would be compiled once more here,
        // and again in the next build of this checkout.
        for (name, _) in std::env::vars_os().filter(|(name, _)| describes_a_package(name)) {
            command.env_remove(name);
        }
        command.assert().success().get_output().clone()
    };
    let tests = String::from_utf8(cargo(&["test"]).stdout).unwrap();
    assert!(tests.contains("a_loud_word_is_in_capitals ... ok"), "{tests}");
    assert!(tests.contains("each_word_has_a_count_of_its_own ... ok"), "{tests}");
    assert!(tests.contains("every_word_is_shouted_and_counted ... ok"), "{tests}");

    let run = String::from_utf8(cargo(&["run", "--", "run", "topology.toml", "--json"]).stdout).unwrap();
    assert_eq!(run.matches(r#"{"word":"GOOD!","count":3}"#).count(), 1, "{run}");
    let components = String::from_utf8(cargo(&["run", "--", "components", "shout"]).stdout).unwrap();
    assert!(components.starts_with("shout (bolt): Makes words loud."), "{components}");
}

/// Whether Cargo sets a variable for the program that it runs, and not a user for Cargo.
fn describes_a_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_CFG_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
        || name == "CARGO_PRIMARY_PACKAGE"
        || name == "OUT_DIR"
}

/// Adds squall's dev-dependencies and its profile to a manifest. The dependencies enable features of packages
/// that squall depends on too, and Cargo compiles a package again, and all that depend on it, for other
/// features or another profile. The project cannot use them by mistake: it has them under other names.
fn build_as_tests_of_squall_are_built(manifest: &Path) {
    let squall: toml::Table =
        fs::read_to_string(Path::new(checkout()).join("Cargo.toml")).unwrap().parse().unwrap();
    let mut project: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let dependencies = project["dependencies"].as_table_mut().unwrap();
    for (package, dependency) in squall["dev-dependencies"].as_table().unwrap() {
        let mut renamed = match dependency {
            toml::Value::Table(table) => table.clone(),
            version => toml::Table::from_iter([("version".to_owned(), version.clone())]),
        };
        renamed.insert("package".to_owned(), package.as_str().into());
        dependencies.insert(format!("tests-of-squall-{package}"), renamed.into());
    }
    let profile = ("dev".to_owned(), squall["profile"]["dev"].clone());
    project.insert("profile".to_owned(), toml::Table::from_iter([profile]).into());
    fs::write(manifest, project.to_string()).unwrap();
}

/// `target`, or wherever the target directory of this build lies.
fn target_dir() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("it is the directory tmp of the target directory").to_owned()
}
