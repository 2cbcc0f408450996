//! `squall new DIR`: a Cargo project with bolts of its own, a topology and tests.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::files::with_remedy;
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall new greetings
  squall new greetings --squall-git https://git.example.org/squall
  cd greetings && cargo test
  cargo run --release -- run topology.toml";

/// Names of crates and modules that a project must not have: its crate would hide them or be confused
/// with them.
const NAMES_TAKEN: [&str; 8] = ["alloc", "core", "proc_macro", "schemars", "serde", "squall", "std", "test"];

/// The files of a project: the path and the template of each.
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

    /// Depend on squall in this directory; by default on the sources that this program was built from
    #[arg(long, value_name = "PATH", group = "squall")]
    squall_path: Option<PathBuf>,

    /// Depend on squall in the Git repository of this address
    #[arg(long, value_name = "URL", group = "squall")]
    squall_git: Option<String>,

    /// Depend on this version of squall, from the registry that Cargo uses
    #[arg(long, value_name = "VERSION", group = "squall")]
    squall_version: Option<String>,
}

pub(super) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let name = package_name(args)?;
    let squall = dependency(args, Path::new(env!("CARGO_MANIFEST_DIR")))?;
    refuse_unless_empty(&args.dir)?;
    for (path, template) in FILES {
        write(&args.dir.join(path), &filled(template, &name, &squall))?;
    }
    let dir = shown(args.dir.display());
    terminal::write_message(&format!(
        "`{name}` is in {dir}\n\n  cd {dir}\n  cargo test\n  cargo run --release -- run topology.toml"
    ));
    Ok(CommandOutcome::Done)
}

/// A file of the project: a template with the name of the package and its dependency on squall.
fn filled(template: &str, name: &str, squall: &str) -> String {
    template
        .replace("{{name}}", name)
        .replace("{{crate}}", &name.replace('-', "_"))
        .replace("{{squall}}", squall)
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

/// The right side of `squall = …` in the manifest. Without a flag it is the squall that this program
/// was built from, whose sources were in `built_from`, so that the project builds without changes.
fn dependency(args: &Args, built_from: &Path) -> Result<String, CommandError> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    match (&args.squall_path, &args.squall_git, &args.squall_version) {
        (Some(path), _, _) => {
            let found =
                Sources::of(path).map_err(CommandError::io(format!("find squall in {}", path.display())))?;
            found.map(|sources| sources.dependency()).ok_or_else(|| {
                let message = format!("{} is not squall: there is no `Cargo.toml` of it", path.display());
                CommandError::Refused(message)
            })
        }
        (None, Some(url), _) => Ok(format!("{{ git = {} }}", quoted(url))),
        (None, None, Some(version)) => Ok(quoted(version)),
        (None, None, None) => match Sources::of(built_from) {
            Ok(Some(sources)) => Ok(sources.dependency()),
            Ok(None) | Err(_) => Err(CommandError::Refused(format!(
                "the sources of squall that this program was built from are gone from {}: state where the project \
                 finds squall, by --squall-path DIR, --squall-git URL or --squall-version {OWN_VERSION}",
                built_from.display()
            ))),
        },
    }
}

/// The version of squall in this program.
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sources of squall.
struct Sources {
    dir: PathBuf,
    /// Whether Cargo got them from a registry, so that other machines can get them, too.
    published: bool,
}

impl Sources {
    /// The sources in a directory, if they are squall's.
    fn of(dir: &Path) -> io::Result<Option<Sources>> {
        let dir = dir.canonicalize()?;
        let Ok(manifest) = fs::read_to_string(dir.join("Cargo.toml")) else { return Ok(None) };
        let manifest: Option<toml::Table> = manifest.parse().ok();
        let name = manifest.as_ref().and_then(|table| table.get("package")?.get("name")?.as_str());
        // Cargo writes this file into every package that it uploads.
        let published = dir.join(".cargo_vcs_info.json").exists();
        Ok((name == Some("squall")).then_some(Sources { dir, published }))
    }

    fn dependency(&self) -> String {
        match self.published {
            true => toml::Value::from(OWN_VERSION).to_string(),
            false => format!("{{ path = {} }}", toml::Value::from(self.dir.to_string_lossy().into_owned())),
        }
    }
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
    let explain = |error| with_remedy(error, parent, "name another directory");
    fs::create_dir_all(parent)
        .map_err(explain)
        .map_err(CommandError::io(format!("make {}", parent.display())))?;
    fs::write(path, text).map_err(explain).map_err(CommandError::io(format!("write {}", path.display())))
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

    /// A directory with the manifest of a package.
    fn sources(package: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Cargo.toml"), format!("[package]\nname = \"{package}\"\n")).unwrap();
        dir
    }

    fn args() -> Args {
        let dir = PathBuf::from("greetings");
        Args { dir, name: None, squall_path: None, squall_git: None, squall_version: None }
    }

    #[test]
    fn a_project_depends_on_what_was_asked_for() {
        let (squall, other) = (sources("squall"), sources("other"));
        let path = format!("{{ path = {:?} }}", squall.path().canonicalize().unwrap());
        let check = |args: Args, expected: &str| {
            assert_eq!(dependency(&args, other.path()).unwrap_or_else(|error| error.to_string()), expected);
        };
        check(Args { squall_path: Some(squall.path().to_owned()), ..args() }, &path);
        check(Args { squall_git: Some("https://a.b/c".to_owned()), ..args() }, "{ git = \"https://a.b/c\" }");
        check(Args { squall_version: Some("0.1".to_owned()), ..args() }, "\"0.1\"");
        let wrong = Args { squall_path: Some(other.path().to_owned()), ..args() };
        check(wrong, &format!("{} is not squall: there is no `Cargo.toml` of it", other.path().display()));
        let absent = Args { squall_path: Some(PathBuf::from("/no/such/checkout")), ..args() };
        check(absent, "cannot find squall in /no/such/checkout");
    }

    /// Without a flag a project depended on a version that was never published, and did not build.
    #[test]
    fn without_a_flag_a_project_depends_on_what_this_program_was_built_from() {
        let squall = sources("squall");
        let here = squall.path().canonicalize().unwrap();
        assert_eq!(dependency(&args(), squall.path()).unwrap(), format!("{{ path = {here:?} }}"));
        fs::write(squall.path().join(".cargo_vcs_info.json"), "{}").unwrap();
        assert_eq!(dependency(&args(), squall.path()).unwrap(), format!("\"{OWN_VERSION}\""));
        drop(squall);
        let error = dependency(&args(), &here).unwrap_err().to_string();
        assert!(error.contains("--squall-path DIR, --squall-git URL or --squall-version"), "{error}");
    }

    #[test]
    fn every_template_is_filled_in() {
        let known = ["name", "crate", "squall"];
        let mut seen = Vec::new();
        for (path, template) in FILES {
            for part in template.split("{{").skip(1) {
                let key = part.split("}}").next().unwrap();
                assert!(known.contains(&key), "{path} holds {{{{{key}}}}}");
                seen.push(key);
            }
            let filled = filled(template, "my-words", "\"0.1\"");
            assert!(!filled.contains("{{"), "{path} is not filled in:\n{filled}");
        }
        assert!(known.iter().all(|key| seen.contains(key)), "only {seen:?} stand in the templates");
        assert_eq!(
            filled("{{name}} {{crate}} {{squall}}", "my-words", "\"0.1\""),
            "my-words my_words \"0.1\""
        );
    }
}
