//! What the command line says of itself, and what it does about a wrong one.

use assert_cmd::Command;
use snapbox::{assert_data_eq, file};

/// The program, in an environment of which no variable shows in its output.
fn squall() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    command.env_remove("COLUMNS").env_remove("NO_COLOR");
    command
}

fn stdout_of(args: &[&str]) -> String {
    let output = squall().args(args).assert().success().get_output().clone();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("help is text")
}

/// The exit code is 2, and stderr holds the text.
fn check_usage_error(args: &[&str], expected: &str) {
    let output = squall().args(args).assert().code(2).get_output().clone();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.is_empty(), "{args:?}: data on stdout");
    assert!(stderr.contains(expected), "{args:?}: {stderr}");
}

#[test]
fn each_command_explains_itself() {
    assert_data_eq!(stdout_of(&["--help"]), file!["snapshots/help.txt"]);
    assert_data_eq!(stdout_of(&["run", "--help"]), file!["snapshots/help_run.txt"]);
    assert_data_eq!(stdout_of(&["validate", "--help"]), file!["snapshots/help_validate.txt"]);
    assert_data_eq!(stdout_of(&["graph", "--help"]), file!["snapshots/help_graph.txt"]);
    assert_data_eq!(stdout_of(&["plan", "--help"]), file!["snapshots/help_plan.txt"]);
    assert_data_eq!(stdout_of(&["components", "--help"]), file!["snapshots/help_components.txt"]);
    assert_data_eq!(stdout_of(&["schema", "--help"]), file!["snapshots/help_schema.txt"]);
    assert_data_eq!(stdout_of(&["new", "--help"]), file!["snapshots/help_new.txt"]);
    assert_data_eq!(stdout_of(&["checkpoint", "--help"]), file!["snapshots/help_checkpoint.txt"]);
    assert_data_eq!(
        stdout_of(&["checkpoint", "list", "--help"]),
        file!["snapshots/help_checkpoint_list.txt"]
    );
    assert_data_eq!(
        stdout_of(&["checkpoint", "inspect", "--help"]),
        file!["snapshots/help_checkpoint_inspect.txt"]
    );
    assert_data_eq!(stdout_of(&["ps", "--help"]), file!["snapshots/help_ps.txt"]);
    assert_data_eq!(stdout_of(&["savepoint", "--help"]), file!["snapshots/help_savepoint.txt"]);
    assert_data_eq!(
        stdout_of(&["savepoint", "create", "--help"]),
        file!["snapshots/help_savepoint_create.txt"]
    );
    assert_data_eq!(stdout_of(&["stop", "--help"]), file!["snapshots/help_stop.txt"]);
    assert_data_eq!(stdout_of(&["state", "--help"]), file!["snapshots/help_state.txt"]);
    assert_data_eq!(stdout_of(&["state", "get", "--help"]), file!["snapshots/help_state_get.txt"]);
    assert_data_eq!(stdout_of(&["submit", "--help"]), file!["snapshots/help_submit.txt"]);
    assert_data_eq!(stdout_of(&["list", "--help"]), file!["snapshots/help_list.txt"]);
    assert_data_eq!(stdout_of(&["status", "--help"]), file!["snapshots/help_status.txt"]);
    assert_data_eq!(stdout_of(&["errors", "--help"]), file!["snapshots/help_errors.txt"]);
    assert_data_eq!(stdout_of(&["logs", "--help"]), file!["snapshots/help_logs.txt"]);
    assert_data_eq!(stdout_of(&["access", "--help"]), file!["snapshots/help_access.txt"]);
    assert_data_eq!(stdout_of(&["log-level", "--help"]), file!["snapshots/help_log_level.txt"]);
    assert_data_eq!(stdout_of(&["activate", "--help"]), file!["snapshots/help_activate.txt"]);
    assert_data_eq!(stdout_of(&["deactivate", "--help"]), file!["snapshots/help_deactivate.txt"]);
    assert_data_eq!(stdout_of(&["restart", "--help"]), file!["snapshots/help_restart.txt"]);
    assert_data_eq!(stdout_of(&["rebalance", "--help"]), file!["snapshots/help_rebalance.txt"]);
    assert_data_eq!(stdout_of(&["upgrade", "--help"]), file!["snapshots/help_upgrade.txt"]);
    assert_data_eq!(stdout_of(&["kill", "--help"]), file!["snapshots/help_kill.txt"]);
    assert_data_eq!(stdout_of(&["remove", "--help"]), file!["snapshots/help_remove.txt"]);
    assert_data_eq!(stdout_of(&["dev", "--help"]), file!["snapshots/help_dev.txt"]);
    assert_data_eq!(stdout_of(&["nimbus", "--help"]), file!["snapshots/help_nimbus.txt"]);
    assert_data_eq!(stdout_of(&["supervisor", "--help"]), file!["snapshots/help_supervisor.txt"]);
    assert_data_eq!(
        stdout_of(&["supervisor", "drain", "--help"]),
        file!["snapshots/help_supervisor_drain.txt"]
    );
    assert_data_eq!(
        stdout_of(&["supervisor", "undrain", "--help"]),
        file!["snapshots/help_supervisor_undrain.txt"]
    );
    assert_data_eq!(stdout_of(&["cluster", "--help"]), file!["snapshots/help_cluster.txt"]);
    assert_data_eq!(stdout_of(&["user", "--help"]), file!["snapshots/help_user.txt"]);
    assert_data_eq!(stdout_of(&["user", "add", "--help"]), file!["snapshots/help_user_add.txt"]);
    assert_data_eq!(stdout_of(&["user", "list", "--help"]), file!["snapshots/help_user_list.txt"]);
    assert_data_eq!(stdout_of(&["user", "remove", "--help"]), file!["snapshots/help_user_remove.txt"]);
    assert_data_eq!(stdout_of(&["secret", "--help"]), file!["snapshots/help_secret.txt"]);
    assert_data_eq!(stdout_of(&["secret", "set", "--help"]), file!["snapshots/help_secret_set.txt"]);
    assert_data_eq!(stdout_of(&["secret", "list", "--help"]), file!["snapshots/help_secret_list.txt"]);
    assert_data_eq!(stdout_of(&["secret", "remove", "--help"]), file!["snapshots/help_secret_remove.txt"]);
    assert_data_eq!(stdout_of(&["zk", "--help"]), file!["snapshots/help_zk.txt"]);
    assert_data_eq!(stdout_of(&["zk", "ls", "--help"]), file!["snapshots/help_zk_ls.txt"]);
    assert_data_eq!(stdout_of(&["zk", "get", "--help"]), file!["snapshots/help_zk_get.txt"]);
    assert_data_eq!(stdout_of(&["doctor", "--help"]), file!["snapshots/help_doctor.txt"]);
    assert_data_eq!(stdout_of(&["completions", "--help"]), file!["snapshots/help_completions.txt"]);
}

/// The flags that a help text lists, one at the start of a line each.
fn flags_in(help: &str) -> Vec<&str> {
    let options = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    options.filter_map(|line| line.split([' ', ',', '[', '=']).find(|word| word.starts_with("--"))).collect()
}

#[test]
fn the_manual_knows_every_flag() {
    let manual = include_str!("../docs/cli.md");
    let section = |title: &str| {
        let begin = manual.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
        let end = manual[begin + 1..].find("\n## ").map_or(manual.len(), |end| begin + 1 + end);
        &manual[begin..end]
    };
    let common = section("For all of them");
    let commands = [
        "run",
        "validate",
        "graph",
        "plan",
        "components",
        "schema",
        "new",
        "checkpoint list",
        "checkpoint inspect",
        "state get",
        "stop",
        "submit",
        "list",
        "status",
        "errors",
        "activate",
        "deactivate",
        "kill",
        "remove",
        "dev",
        "nimbus",
        "supervisor",
        "cluster",
        "user add",
        "user list",
        "user remove",
        "secret set",
        "secret list",
        "secret remove",
        "zk ls",
        "zk get",
        "doctor",
        "completions",
    ];
    for command in commands {
        let help = stdout_of(&command.split(' ').chain(["--help"]).collect::<Vec<_>>());
        assert!(!flags_in(&help).is_empty());
        for flag in flags_in(&help) {
            let known = section(&format!("`{command}`")).contains(flag) || common.contains(flag);
            assert!(known, "docs/cli.md does not describe {flag} of {command}");
        }
    }
}

#[test]
fn help_is_a_command_too() {
    assert_eq!(stdout_of(&["help", "run"]), stdout_of(&["run", "--help"]));
}

#[test]
fn the_version_is_the_crates() {
    assert_eq!(stdout_of(&["--version"]), concat!("squall ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    check_usage_error(&[], "Usage: squall");
    check_usage_error(&["valdate"], "a similar subcommand exists: 'validate'");
    check_usage_error(&["run"], "<FILE>");
    check_usage_error(&["run", "x.toml", "--four", "3s"], "unexpected argument '--four'");
    check_usage_error(&["run", "x.toml", "--for", "30"], "invalid value '30' for '--for <DURATION>'");
    check_usage_error(&["run", "x.toml", "--log", "loud"], "`loud` is no log level");
    check_usage_error(&["run", "x.toml", "--log-format", "xml"], "[possible values: terminal, json]");
    check_usage_error(&["graph", "x.toml", "--format", "png"], "[possible values: text, mermaid, dot]");
    check_usage_error(&["completions", "cmd"], "[possible values: bash, elvish, fish, powershell, zsh]");
    check_usage_error(&["components", "--color", "pink"], "[possible values: auto, always, never]");
}

#[test]
fn the_environment_stands_in_for_flags() {
    let check = |name: &str, value: &str, expected: &str| {
        let output = squall().args(["run", "x.toml"]).env(name, value).assert().code(2).get_output().clone();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expected), "{name}={value}: {stderr}");
    };
    check("SQUALL_FOR", "soon", "'--for <DURATION>'");
    check("SQUALL_LOG", "loud", "`loud` is no log level");
    check("SQUALL_LOG_FORMAT", "xml", "'--log-format <FORMAT>'");
    check("SQUALL_COLOR", "pink", "'--color <WHEN>'");
}

#[test]
fn shells_get_their_completions() {
    let check = |shell: &str, expected: &[&str]| {
        let script = stdout_of(&["completions", shell]);
        for part in expected {
            assert!(script.contains(part), "{shell}: no {part:?}");
        }
        for hidden in [",worker)", "Be a worker", "-a \"worker"] {
            assert!(!script.contains(hidden), "{shell}: {hidden:?}");
        }
    };
    check("bash", &["_squall()", "--log-format", "complete -F _squall"]);
    check("zsh", &["#compdef squall", "--set", "Run a topology, in this process or in several"]);
    check("fish", &["complete -c squall", "validate", "-l json"]);
    check("elvish", &["edit:completion", "squall"]);
    check("powershell", &["Register-ArgumentCompleter", "squall"]);
}

#[test]
fn colours_are_asked_for_or_absent() {
    let check = |args: &[&str], no_color: &str, expected: bool| {
        let output = squall().args(args).env("NO_COLOR", no_color).assert().success().get_output().clone();
        assert_eq!(output.stdout.contains(&0x1b), expected, "{args:?} NO_COLOR={no_color:?}");
    };
    check(&["components"], "", false);
    check(&["components", "--color", "always"], "", true);
    check(&["components", "--color", "always"], "1", true);
    check(&["--color", "never", "components"], "", false);
}
