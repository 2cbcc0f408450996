//! `squall new DIR`: a Cargo project with a bolt of its own, a topology and a test.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::cli::error::{CommandError, Outcome};
use crate::cli::terminal;

const EXAMPLES: &str = "\
Examples:
  squall new greetings
  cd greetings && cargo test
  cargo run --release -- run topology.toml";

/// Crates and modules that the project's own crate would hide or be mistaken for.
const NAMES_TAKEN: [&str; 8] = ["alloc", "core", "proc_macro", "schemars", "serde", "squall", "std", "test"];

/// The files of a project: where each goes, and what it holds.
///
/// `{{name}}` stands for the package, `{{crate}}` for the crate (the package with `_` for `-`), and
/// `{{squall}}` for the right side of the dependency.
const FILES: [(&str, &str); 8] = [
    (".gitignore", "/target\n"),
    ("Cargo.toml", include_str!("project/Cargo.toml.in")),
    ("README.md", include_str!("project/README.md.in")),
    ("data/greetings.txt", include_str!("project/greetings.txt.in")),
    ("src/lib.rs", include_str!("project/lib.rs.in")),
    ("src/main.rs", include_str!("project/main.rs.in")),
    ("tests/topology.rs", include_str!("project/test.rs.in")),
    ("topology.toml", include_str!("project/topology.toml.in")),
];

/// Start a Cargo project with a bolt of your own, a topology and a test
///
/// The program it builds has all of squall's commands, and its own bolt among the components.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where to put the project: a directory that is empty or does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The package's name; by default the directory's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Depend on a checkout of squall in this directory instead of a published version
    #[arg(long, value_name = "PATH")]
    squall_path: Option<PathBuf>,
}

pub(super) fn execute(args: &Args) -> Result<Outcome, CommandError> {
    let name = package_name(args)?;
    let squall = dependency(args.squall_path.as_deref())?;
    refuse_unless_empty(&args.dir)?;
    for (path, template) in FILES {
        let text = template
            .replace("{{name}}", &name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{squall}}", &squall);
        write(&args.dir.join(path), &text)?;
    }
    let dir = args.dir.display();
    terminal::say(&format!(
        "`{name}` is in {dir}\n\n  cd {dir}\n  cargo test\n  cargo run --release -- run topology.toml"
    ));
    Ok(Outcome::Done)
}

fn package_name(args: &Args) -> Result<String, CommandError> {
    let from_dir = || args.dir.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = args.name.clone().or_else(from_dir);
    let name = name.ok_or_else(|| {
        CommandError::Refused(format!(
            "{} has no name to call the package by; give one with --name",
            args.dir.display()
        ))
    })?;
    match what_is_wrong_with(&name) {
        None => Ok(name),
        Some(reason) => Err(CommandError::Refused(format!(
            "a package cannot be called `{name}`: {reason}; give it another name with --name"
        ))),
    }
}

fn what_is_wrong_with(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match name {
        _ if !name.starts_with(|c: char| c.is_ascii_alphabetic()) => Some("it has to begin with a letter"),
        _ if !name.chars().all(legal) => Some("it may hold letters, digits, `-` and `_` only"),
        _ if name.len() > 64 => Some("it is longer than 64 letters"),
        _ if NAMES_TAKEN.contains(&name.replace('-', "_").as_str()) => Some("the name is taken"),
        _ => None,
    }
}

/// The right side of `squall = …` in the manifest.
fn dependency(squall_path: Option<&Path>) -> Result<String, CommandError> {
    let Some(path) = squall_path else {
        return Ok(toml::Value::from(env!("CARGO_PKG_VERSION")).to_string());
    };
    let action = format!("find squall in {}", path.display());
    let absolute = path.canonicalize().map_err(CommandError::io(action))?;
    Ok(format!("{{ path = {} }}", toml::Value::from(absolute.to_string_lossy().into_owned())))
}

fn refuse_unless_empty(dir: &Path) -> Result<(), CommandError> {
    let occupied = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(CommandError::io(format!("look into {}", dir.display()))(error)),
    };
    match occupied {
        true => Err(CommandError::Refused(format!("{} is not empty", dir.display()))),
        false => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let parent = path.parent().expect("a file of the project is in its directory");
    fs::create_dir_all(parent).map_err(CommandError::io(format!("make {}", parent.display())))?;
    fs::write(path, text).map_err(CommandError::io(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_a_name_that_cargo_takes() {
        let check = |name: &str, good: bool| {
            assert_eq!(what_is_wrong_with(name).is_none(), good, "{name}");
        };
        check("greetings", true);
        check("my-topology_2", true);
        check("", false);
        check("2nd", false);
        check("-x", false);
        check("a b", false);
        check("größe", false);
        check("proc-macro", false);
        check("squall", false);
        check(&"x".repeat(65), false);
    }

    #[test]
    fn without_a_path_the_project_depends_on_this_version() {
        assert_eq!(dependency(None).unwrap(), format!("\"{}\"", env!("CARGO_PKG_VERSION")));
        let error = dependency(Some(Path::new("/no/such/checkout"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot find squall in /no/such/checkout");
    }

    #[test]
    fn every_template_is_filled_in() {
        for (path, template) in FILES {
            let known = ["name", "crate", "squall"];
            for part in template.split("{{").skip(1) {
                let key = part.split("}}").next().unwrap();
                assert!(known.contains(&key), "{path} holds {{{{{key}}}}}");
            }
        }
    }
}
