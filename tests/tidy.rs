//! What no compiler checks, but every reader counts on.
//!
//! * the layers of DESIGN: a module imports only from what stands before it in [`LAYERS`], and the rooms
//!   within one, in [`ROOMS`];
//! * what may be named in one place only, and what nowhere ([`ONLY_IN`], [`NOWHERE`]);
//! * the order of files: no two import each other in a circle ([`circles`]);
//! * the shape of files: a header, a name that says what is in it, a bearable length;
//! * documents whose links lead somewhere, and a word on every dependency.
//!
//! A finding says what to do. Where a rule is wrong, it is changed here, with its reason, and not
//! worked around in the code. The rules look at text (see [`source`]), so they are fast and cannot
//! know types; what they need to see, they see in `use` and in paths.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use circles::{Circle, circles};
use imports::imports;
use source::{Source, code_only};

/// The modules of the crate, by layer. A module may import itself and what stands before it.
/// Layers that are not written yet have their place already.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "ground",
        &[
            "text",
            "files",
            "ids",
            "secrets",
            "clock",
            "logging",
            "metrics",
            "config",
            "tuple",
            "event_time",
            "state",
            "checkpoint",
            "wal",
        ],
    ),
    ("api", &["api"]),
    ("topology", &["topology"]),
    ("runtime", &["runtime"]),
    ("net", &["net"]),
    ("on the api", &["window", "trident", "stream", "components"]),
    ("cluster", &["cluster"]),
    ("faces", &["testing", "ui", "cli", "main"]),
];

/// The rooms of a module that has some: a file of a room imports from that room and from those before
/// it, and from no later one. Files that stand in no room may import from all.
const ROOMS: &[(&str, &[&str])] =
    &[("runtime", &["acking", "flow", "remote", "routing", "executor", "assemble"])];

/// What only some files may name: the word, the files, and what others do instead.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("Instant::now", &["clock.rs"], "take a `Clock`, so that a simulation can run it"),
    ("SystemTime::now", &["clock.rs"], "take a `Clock`; its `wall_nanos` is the date"),
    (
        "flume::",
        &["runtime/flow/inbox.rs", "components/lines/source.rs"],
        "send through `runtime::flow::inbox`",
    ),
    ("mio::", &["net/poller.rs"], "go through `net`"),
    ("unsafe ", &["tuple/text.rs"], "decision 0013 has the one exception; a second needs a measurement, too"),
    ("zookeeper::", &["cluster/coordination/zookeeper/connection.rs"], "go through `cluster::coordination`"),
];

/// What no file may name, and what to do instead.
const NOWHERE: &[(&str, &str)] = &[
    (".unwrap()", "say `expect(\"why it cannot fail\")`, or return the error if input can make it fail"),
    ("todo!(", "finish it, or leave it out"),
    ("unimplemented!(", "finish it, or leave it out"),
    ("dbg!(", "log it, or take it out"),
];

/// What is pure: no file of the module, or of the folder of a module, may name these.
const PURE: &[(&str, &[&str])] = &[
    ("topology", &["std::fs", "std::net", "std::thread", "std::env", "std::process", "crate::clock"]),
    (
        "cluster/schedule",
        &[
            "std::fs",
            "std::net",
            "std::thread",
            "std::env",
            "std::process",
            "std::time::Instant",
            "crate::clock",
            "rand::",
        ],
    ),
];

/// Names that do not say what is in a module.
const VAGUE: &[&str] =
    &["util", "utils", "helper", "helpers", "manager", "common", "misc", "shared", "types", "base"];

/// Lines a file may have, tests not counted, before its header must say why it is one idea.
const LINES_MAX: usize = 500;

/// Something that is not as it should be.
struct Finding {
    place: String,
    line: usize,
    advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place, self.line, self.advice)
    }
}

fn finding(place: &str, line: usize, advice: impl Into<String>) -> Finding {
    Finding { place: place.into(), line, advice: advice.into() }
}

#[track_caller]
fn assert_none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} findings\n{}\n", lines.len(), lines.join("\n"));
}

// ---- The rules for sources ----

fn check_source(source: &Source) -> Vec<Finding> {
    let rules = [check_layers, check_words, check_globs, check_shape, check_allows];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

/// Where a module stands: its layer, and its place among all of them.
fn place_of(module: &str) -> Option<(&'static str, usize)> {
    let all = LAYERS.iter().flat_map(|(layer, modules)| modules.iter().map(move |name| (*layer, *name)));
    all.enumerate().find(|(_, (_, name))| *name == module).map(|(place, (layer, _))| (layer, place))
}

fn check_layers(source: &Source) -> Vec<Finding> {
    let module = source.module();
    if module == "lib" {
        return Vec::new();
    }
    let Some((layer, place)) = place_of(module) else {
        let advice = format!("`{module}` has no layer: give it a place in LAYERS, tests/tidy.rs");
        return vec![finding(&source.path, 1, advice)];
    };
    let mut findings = Vec::new();
    for (line, import) in source.imports() {
        let later = place_of(&import).filter(|(_, imported)| *imported > place);
        if let Some((import_layer, _)) = later {
            findings.push(finding(
                &source.path,
                line,
                format!(
                    "`{module}` ({layer}) may not import `{import}` ({import_layer}), which stands after it: \
                     move what both need to an earlier module, or hand it in as an argument"
                ),
            ));
        }
    }
    findings
}

/// The room of a file: its module, and the place of the room among those of the module.
fn room_of(path: &str) -> Option<(&'static str, usize)> {
    ROOMS.iter().find_map(|(module, rooms)| {
        let inside = path.strip_prefix(module)?.strip_prefix('/')?;
        Some((*module, rooms.iter().position(|room| inside.split('/').next() == Some(*room))?))
    })
}

fn check_rooms(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for import in imports(sources) {
        if let (Some((module, from)), Some((to_module, to))) = (room_of(&import.from), room_of(&import.to))
            && module == to_module
            && from < to
        {
            let advice = format!(
                "`{}` stands in a later room of `{module}`: move what both need to an earlier room",
                import.to
            );
            findings.push(finding(&import.from, import.line, advice));
        }
    }
    findings
}

fn check_words(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let inside = |module: &str| {
        let rest = source.path.strip_prefix(module);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    let pure = PURE.iter().filter(|(module, _)| inside(module));
    let pure: Vec<&str> = pure.flat_map(|(_, words)| words.iter().copied()).collect();
    for (line, code) in source.code_lines() {
        for (word, files, instead) in ONLY_IN {
            if names(code, word) && !files.contains(&&*source.path) {
                let advice = format!("`{word}` belongs to {} alone: {instead}", files.join(" and "));
                findings.push(finding(&source.path, line, advice));
            }
        }
        for (word, instead) in NOWHERE.iter().filter(|(word, _)| names(code, word)) {
            findings.push(finding(&source.path, line, format!("`{}`: {instead}", word.trim())));
        }
        for word in pure.iter().filter(|word| names(code, word)) {
            let advice =
                format!("`{}` is pure and may not use `{word}`: take it as an argument", source.module());
            findings.push(finding(&source.path, line, advice));
        }
    }
    findings
}

/// Whether the code names a word, which is not the end of a longer one.
fn names(code: &str, word: &str) -> bool {
    // A crate is named at the begin of a path: behind `::` the same word is a module of this crate.
    let is_crate = word.ends_with("::");
    let begins = |at: usize| {
        !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || (is_crate && c == ':'))
    };
    code.match_indices(word).any(|(at, _)| word.starts_with('.') || begins(at))
}

fn check_globs(source: &Source) -> Vec<Finding> {
    let is_glob = |(_, code): &(usize, &str)| code.contains("::*;") || code.contains("::*}");
    let advice = "name what is imported; globs are for tests and for users of the prelude";
    source.code_lines().filter(is_glob).map(|(line, _)| finding(&source.path, line, advice)).collect()
}

fn check_shape(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |advice: String| findings.push(finding(&source.path, 1, advice));
    let header = source.header();
    if header.is_empty() && !source.is_test {
        add("the file must open with `//!` and say what it is for and why it is so".into());
    }
    let len = source.len_without_tests();
    if len > LINES_MAX && !header.to_lowercase().contains("one file") {
        add(format!(
            "{len} lines without tests: split it, or say in the header why it is one idea (\"One file, …\")"
        ));
    }
    let parts = source.path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    for part in parts.filter(|part| VAGUE.contains(part)) {
        add(format!("`{part}` does not say what is in it: name the file by a noun of streaming"));
    }
    findings
}

fn check_allows(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for word in ["[allow(", "[expect("] {
        for (at, _) in source.code.match_indices(word) {
            let attribute = &source.code[at..];
            let end = attribute.find(")]").unwrap_or(attribute.len());
            if !attribute[..end].contains("reason") {
                let line = source.code[..at].matches('\n').count() + 1;
                let advice = "a lint is silenced with a reason: `#[allow(lint, reason = \"…\")]`";
                findings.push(finding(&source.path, line, advice));
            }
        }
    }
    findings
}

// ---- The rules for all files ----

/// Beginnings of paths that exist on somebody's machine only.
const MACHINE_PATHS: &[&str] = &["/home/", "/root/", "/Users/", "/work/", "/tmp/wt"];

fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut add = |advice: &str| findings.push(finding(path, index + 1, advice));
        if line.contains('\t') {
            add("indent with spaces, not with tabs");
        }
        if line.ends_with(' ') {
            add("take the spaces at the end of the line away");
        }
        if path != "tests/tidy.rs" && MACHINE_PATHS.iter().any(|start| begins_path(line, start)) {
            add("a path of one machine: make it relative to the repository");
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(finding(path, text.lines().count(), "end the file with a newline"));
    }
    findings
}

/// Whether an absolute path in the line begins so; what goes on from another path or a host does not.
fn begins_path(line: &str, start: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "._-/}~".contains(c);
    line.match_indices(start).any(|(at, _)| !line[..at].ends_with(goes_on))
}

// ---- The rules for documents ----

/// Targets of `[text](target)`, with their lines, code left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (line, prose) in prose_lines(text) {
        let mut parts = prose.split("](");
        parts.next();
        let target = |part: &str| part.split([')', ' ']).next().unwrap_or_default().to_owned();
        links.extend(parts.map(|part| (line, target(part))));
    }
    links
}

/// The lines outside of fenced code, without what stands in backticks.
fn prose_lines(text: &str) -> Vec<(usize, String)> {
    let mut in_code = false;
    let mut prose = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push((index + 1, line.split('`').step_by(2).collect::<Vec<_>>().join("` `")));
        }
    }
    prose
}

fn check_links(path: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let here = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (line, target) in links(text) {
        let file = target.split('#').next().unwrap_or_default();
        let elsewhere = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
        if !elsewhere && !exists(&here.join(file)) {
            findings.push(finding(path, line, format!("the link to `{target}` leads nowhere")));
        }
    }
    findings
}

/// Files of the repository that a document names in backticks.
fn check_named_files(path: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let quoted = line.split('`').skip(1).step_by(2);
        let starts = ["src/", "tests/", "docs/", "scripts/", "benches/", "examples/", "topologies/", ".ci/"];
        let files = quoted.filter(|word| starts.iter().any(|start| word.starts_with(start)));
        for file in files.filter(|file| !file.contains(['*', ' ', '{', '<'])) {
            if !exists(Path::new(file)) {
                findings.push(finding(path, index + 1, format!("there is no `{file}`")));
            }
        }
    }
    findings
}

/// The names under `[dependencies]` of a manifest, and those that a document has a table row for.
fn check_dependencies(manifest: &str, document: &str) -> Vec<Finding> {
    let table: toml::Table = manifest.parse().expect("cargo reads it too");
    let declared: BTreeSet<&str> = ["dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|section| table.get(*section)?.as_table())
        .flat_map(|section| section.keys().map(String::as_str))
        .collect();
    let explained: BTreeSet<&str> = document
        .split("## Dependencies")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let missing = declared.difference(&explained).map(|name| {
        finding("Cargo.toml", 1, format!("say in ARCHITECTURE.md, Dependencies, why `{name}` is there"))
    });
    let stale = explained.difference(&declared).map(|name| {
        finding("ARCHITECTURE.md", 1, format!("`{name}` is no dependency any more: take its row out"))
    });
    missing.chain(stale).collect()
}

// ---- The repository ----

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Directories that are built, not written.
const BUILT: &[&str] = &["target", ".git", "out", "artifacts", "coverage", "corpus"];

/// All files below a directory, by their paths in the repository.
fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries.map(|entry| entry.expect("a directory can be read to its end")) {
        let (path, name) = (entry.path(), entry.file_name());
        if BUILT.iter().any(|built| name == *built) {
            continue;
        }
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The written files with one of these endings (the empty one: a name without a dot), and their text.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    files_below(root(), &mut files);
    files.sort();
    let ending =
        |path: &Path| path.extension().map_or("", |ending| ending.to_str().unwrap_or("?")).to_owned();
    let wanted = files.into_iter().filter(|path| endings.contains(&&*ending(path)));
    wanted
        .map(|path| {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let below = path.strip_prefix(root()).expect("it was found below the root");
            (below.to_str().expect("names are ASCII").replace('\\', "/"), text)
        })
        .collect()
}

fn sources() -> Vec<Source> {
    let in_src = |(path, text): (String, String)| Some(Source::new(path.strip_prefix("src/")?, &text));
    let mut sources: Vec<Source> = texts(&["rs"]).into_iter().filter_map(in_src).collect();
    let tests: BTreeSet<String> = sources
        .iter()
        .flat_map(|source| source.test_modules.iter().flat_map(|module| source.files_of(module)))
        .collect();
    for source in sources.iter_mut().filter(|source| tests.contains(&source.path)) {
        source.is_test = true;
        source.code.clear();
    }
    sources
}

fn exists(path: &Path) -> bool {
    root().join(path).exists()
}

#[test]
fn sources_are_tidy() {
    let sources = sources();
    assert!(sources.len() > 50, "the sources are not where they are looked for");
    assert_none(&sources.iter().flat_map(check_source).collect::<Vec<_>>());
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let at = |circle: &Circle| finding(&circle.path[0].from, circle.path[0].line, circle.to_string());
    assert_none(&circles(&sources()).iter().map(at).collect::<Vec<_>>());
}

#[test]
fn rooms_import_from_rooms_before_them() {
    assert_none(&check_rooms(&sources()));
}

#[test]
fn an_import_from_a_later_room_is_caught() {
    let check = |path: &str, code: &str, expected: usize| {
        let mut files = vec![
            ("lib.rs", "pub mod runtime;"),
            ("runtime/mod.rs", "pub mod acking;\npub mod executor;\npub mod flow;\npub mod worker;"),
            ("runtime/acking/mod.rs", "pub mod acker;"),
            ("runtime/acking/acker.rs", "pub struct Acker;"),
            ("runtime/executor/mod.rs", "pub mod bolt;\npub mod step;"),
            ("runtime/executor/step.rs", "pub struct Step;"),
            ("runtime/flow/mod.rs", "pub mod link;"),
        ];
        files.push((path, code));
        let sources: Vec<Source> = files.iter().map(|(path, code)| Source::new(path, code)).collect();
        let found = check_rooms(&sources);
        assert_eq!(found.len(), expected, "{path}: {code}");
    };
    check("runtime/flow/link.rs", "use crate::runtime::executor::step::Step;", 1);
    check("runtime/flow/link.rs", "use crate::runtime::acking::acker::Acker;", 0);
    check("runtime/executor/bolt.rs", "use crate::runtime::executor::step::Step;", 0);
    check("runtime/worker.rs", "use crate::runtime::executor::step::Step;", 0);
}

#[test]
fn texts_are_tidy() {
    let texts = texts(&["rs", "toml", "md", "sh", "java", "xml", "yml", "in", ""]);
    assert!(texts.len() > 100, "the texts are not where they are looked for");
    assert_none(&texts.iter().flat_map(|(path, text)| check_text(path, text)).collect::<Vec<_>>());
}

#[test]
fn documents_lead_to_files_that_exist() {
    let mut findings = Vec::new();
    let documents = texts(&["md"]);
    assert!(documents.iter().any(|(path, _)| path == "ARCHITECTURE.md"));
    assert!(documents.iter().any(|(path, _)| path.starts_with("docs/decisions/")));
    for (path, text) in documents {
        findings.extend(check_links(&path, &text, exists));
        if ["ARCHITECTURE.md", "CONTRIBUTING.md"].contains(&&*path) || path.starts_with("docs/decisions/") {
            findings.extend(check_named_files(&path, &text, exists));
        }
    }
    assert_none(&findings);
}

#[test]
fn dependencies_are_explained() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("it is in the repository");
    assert_none(&check_dependencies(&read("Cargo.toml"), &read("ARCHITECTURE.md")));
}

/// The document repeats the table of [`LAYERS`] for people; here is what keeps the two alike.
#[test]
fn the_architecture_shows_these_layers() {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is in the repository");
    for (layer, modules) in LAYERS {
        let row = document.lines().find(|line| line.contains(&format!("| {layer} |")));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for the layer `{layer}`"));
        let named: Vec<&str> =
            row.split('|').nth(3).map_or(Vec::new(), |cell| cell.split('`').skip(1).step_by(2).collect());
        assert_eq!(named, *modules, "the modules of `{layer}` in ARCHITECTURE.md");
    }
}

#[test]
fn the_licence_is_the_one_the_manifest_names() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("it is in the repository");
    let (licence, manifest) = (read("LICENSE"), read("Cargo.toml"));
    assert!(licence.contains("Apache License") && licence.contains("Version 2.0"));
    assert!(manifest.contains("license = \"Apache-2.0\""));
}

// ---- The rules themselves ----

/// What is found in a sample, as one text.
fn found(path: &str, text: &str) -> String {
    let findings = check_source(&Source::new(path, text));
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bad_source_is_caught() {
    let check = |path: &str, code: &str, expected: &str| {
        let found = found(path, &format!("//! A sample.\n{code}\n"));
        assert!(found.contains(expected), "{path}: {code}: found {found:?} instead of {expected:?}");
    };
    check(
        "topology/a.rs",
        "use crate::components::count;",
        "a.rs:2: `topology` (topology) may not import `components`",
    );
    check("ids.rs", "fn f() { crate::clock::now() }", "may not import `clock`");
    check("api/mod.rs", "use super::runtime::X;", "may not import `runtime`");
    check("clock.rs", "use crate::{ids::TaskId, tuple::{Value, Fields}};", "may not import `tuple`");
    check("components/a.rs", "use crate::cli::run;", "may not import `cli`");
    check("novelty/mod.rs", "", "`novelty` has no layer");
    check("runtime/a.rs", "let t = std::time::Instant::now();", "clock.rs alone");
    check("clock.rs", "use mio::Poll;", "net/poller.rs alone");
    check("cluster/a.rs", "use zookeeper::Acl;", "coordination/zookeeper/connection.rs alone");
    check("topology/a.rs", "use std::fs;", "is pure");
    check("api/a.rs", "x.unwrap()", "say `expect");
    check("api/a.rs", "unsafe { f() }", "tuple/text.rs alone");
    check("api/a.rs", "todo!()", "finish it");
    check("api/a.rs", "dbg!(x)", "log it");
    check("api/a.rs", "pub use crate::ids::*;", "name what is imported");
    check("runtime/util.rs", "", "`util` does not say");
    check("runtime/helpers/a.rs", "", "`helpers` does not say");
    check("api/a.rs", &"\n".repeat(500), "502 lines without tests");
    check("api/a.rs", "#[allow(dead_code)]\nfn f() {}", "silenced with a reason");
    assert!(found("api/a.rs", "fn f() {}\n").contains("must open with"));
}

#[test]
fn a_good_source_is_not() {
    let check = |path: &str, code: &str| {
        let found = found(path, &format!("//! A sample. One file, since it is one.\n{code}\n"));
        assert_eq!(found, "", "{path}: {code}");
    };
    check("components/a.rs", "use crate::topology::registry::Registry;\nuse super::cli::X;");
    check("tuple/a.rs", "use super::value::Value;\nuse crate::config::limits;");
    check("lib.rs", "pub mod cli;\npub use crate::runtime::A;");
    check("clock.rs", "let t = Instant::now();");
    check("api/a.rs", "// x.unwrap() and crate::cli\n/* todo!() /* dbg!() */ unsafe */");
    check("api/a.rs", "let s = \"crate::cli \\\" x.unwrap()\"; let r = r#\"unsafe \"{\" \"#; let c = '\"';");
    check("api/a.rs", "fn f<'a>(x: &'a str) -> char { '\\'' }");
    check("api/a.rs", "x.unwrap_or(3); not_unsafe (); my_dbg!(x)");
    check("api/a.rs", "#[allow(dead_code, reason = \"a sample\")]\nfn f() {}");
    check(
        "api/a.rs",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n    fn g() { x.unwrap(); crate::cli::f() }\n}",
    );
    check(
        "api/a.rs",
        "#[cfg(test)]\npub fn f<A, B>(a: [u8; 3]) {\n    a.unwrap()\n}\nstruct S {\n    #[cfg(test)]\n    x: u8,\n    y: u8,\n}",
    );
    check("api/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", "\n".repeat(600)));
}

#[test]
fn code_behind_a_test_is_still_looked_at() {
    let text = "//! A sample.\n#[cfg(test)]\nuse crate::cli::A;\nfn f() { x.unwrap() }\n";
    assert!(found("api/a.rs", text).contains("a.rs:4"));
}

#[test]
fn test_modules_in_files_of_their_own_are_found() {
    let files = |path: &str| {
        let source = Source::new(path, "#[cfg(test)]\nmod tests;\n");
        source.test_modules.iter().flat_map(|module| source.files_of(module)).collect::<Vec<_>>()
    };
    assert_eq!(files("tuple/codec.rs"), ["tuple/codec/tests.rs", "tuple/codec/tests/mod.rs"]);
    assert_eq!(files("components/mod.rs"), ["components/tests.rs", "components/tests/mod.rs"]);
    assert_eq!(files("lib.rs"), ["tests.rs", "tests/mod.rs"]);
}

#[test]
fn blanking_keeps_lines_and_columns() {
    let text = "a /* x\ny */ b // c\n\"d\ne\" f r##\"g\"# \"## h\n";
    let code = code_only(text);
    assert_eq!(
        code.lines().map(str::len).collect::<Vec<_>>(),
        text.lines().map(str::len).collect::<Vec<_>>()
    );
    assert_eq!(code.split_whitespace().collect::<String>(), "abfh");
}

#[test]
fn bad_texts_and_documents_are_caught() {
    let joined =
        |findings: Vec<Finding>| findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(joined(check_text("a.md", "tidy /proc/1 https://host/home/a\n")), "");
    assert!(joined(check_text("a.md", "\tx\n")).contains("not with tabs"));
    assert!(joined(check_text("a.md", "x \n")).contains("at the end of the line"));
    assert!(joined(check_text("a.md", "x")).contains("newline"));
    assert!(joined(check_text("a.md", "see /home/me/x\n")).contains("one machine"));

    let exists = |path: &Path| path == Path::new("docs/there.md") || path == Path::new("src/there.rs");
    let check = |text: &str| joined(check_links("docs/a.md", text, exists));
    assert_eq!(
        check("[a](there.md#part) [b](https://example.invalid) [c](#here) `[d](x)`\n```\n[e](y)\n```\n"),
        ""
    );
    assert_eq!(check("x\n[a](gone.md)\n"), "docs/a.md:2: the link to `gone.md` leads nowhere");
    let named = |text: &str| joined(check_named_files("a.md", text, exists));
    assert_eq!(named("`src/there.rs` `src/**` `other`\n"), "");
    assert_eq!(named("`src/gone.rs`\n"), "a.md:1: there is no `src/gone.rs`");

    let document = "## Dependencies\n| `a` | why |\n| `gone` | why |\n## End\n| `b` | no |\n";
    let findings = joined(check_dependencies("[dependencies]\na = \"1\"\nb = \"1\"\n", document));
    assert!(
        findings.contains("why `b` is there") && findings.contains("`gone` is no dependency"),
        "{findings}"
    );
    assert_eq!(findings.lines().count(), 2);
}
