//! No two files import each other, directly or through other files.
//!
//! Files that import each other can only be read, tested and moved together. [`circles`] finds the
//! strongly connected components of the graph of files. Each component of more than one file is a
//! finding, which shows the shortest circle in it with the line of each import. What counts as an
//! import is decided in [`imports`](super::imports); re-exports do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::imports::{Import, imports};
use crate::source::Source;

/// Files that all need each other.
pub struct Circle {
    /// The shortest path from a file back to itself.
    pub path: Vec<Import>,
    /// All files of the component.
    pub files: BTreeSet<String>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on_path: BTreeSet<&String> = self.path.iter().map(|import| &import.from).collect();
        write!(f, "files import each other in a circle: ")?;
        for Import { from, line, .. } in &self.path {
            write!(f, "{from}:{line} -> ")?;
        }
        write!(f, "{}", self.path[0].from)?;
        let others: Vec<&str> =
            self.files.iter().filter(|file| !on_path.contains(file)).map(String::as_str).collect();
        if !others.is_empty() {
            write!(f, " (these files are part of it: {})", others.join(", "))?;
        }
        write!(f, ". Move what both need to a file that stands before both, and import it from there")
    }
}

/// The files that import each other, grouped.
pub fn circles(sources: &[Source]) -> Vec<Circle> {
    let imports = imports(sources);
    let mut graph = Graph::new();
    for import in &imports {
        graph.entry(&import.from).or_default().push(import);
    }
    let needs: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (*file, needed_by(&graph, file))).collect();
    let mut circles: Vec<Circle> = Vec::new();
    for (file, needed) in &needs {
        let is_grouped = circles.iter().any(|circle| circle.files.contains(*file));
        if needed.contains(file) && !is_grouped {
            let need_it = needed.iter().filter(|other| needs.get(*other).is_some_and(|of| of.contains(file)));
            let files: BTreeSet<String> = need_it.map(|other| (*other).to_owned()).collect();
            let paths = files.iter().filter_map(|file| shortest_path(&graph, file));
            let path = paths.min_by_key(Vec::len).expect("each of the files is needed by itself");
            circles.push(Circle { path, files });
        }
    }
    circles
}

/// What each file imports.
type Graph<'a> = BTreeMap<&'a str, Vec<&'a Import>>;

/// All files that a file needs, through others too. The file is among them if it is in a circle.
fn needed_by<'a>(graph: &Graph<'a>, file: &str) -> BTreeSet<&'a str> {
    let (mut needed, mut next) = (BTreeSet::new(), vec![file]);
    while let Some(file) = next.pop() {
        for import in graph.get(file).into_iter().flatten() {
            if needed.insert(&*import.to) {
                next.push(&import.to);
            }
        }
    }
    needed
}

/// The shortest path from a file back to itself, if there is one.
fn shortest_path(graph: &Graph<'_>, file: &str) -> Option<Vec<Import>> {
    let mut came_by: BTreeMap<&str, &Import> = BTreeMap::new();
    let mut next = VecDeque::from([file]);
    while let Some(from) = next.pop_front() {
        for import in graph.get(from).into_iter().flatten() {
            if !came_by.contains_key(&*import.to) {
                came_by.insert(&import.to, import);
                next.push_back(&import.to);
            }
        }
    }
    let mut path = vec![(*came_by.get(file)?).clone()];
    while path[0].from != file {
        path.insert(0, came_by[&*path[0].from].clone());
    }
    Some(path)
}

// ---- The rule itself ----

/// The circles of a made-up tree. Each file is its path and its text.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    circles(&sources).iter().map(Circle::to_string).collect()
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let (found, expected) = (found(files), expected.to_vec());
    let ways: Vec<&str> = found
        .iter()
        .map(|circle| circle.trim_start_matches("files import each other in a circle: "))
        .collect();
    let ways: Vec<&str> = ways.iter().filter_map(|way| way.split(". Move what both").next()).collect();
    assert_eq!(ways, expected, "{files:#?}");
}

#[test]
fn a_tree_has_no_circle() {
    check(
        &[
            ("lib.rs", "pub mod a;\npub mod b;\npub use b::B;"),
            ("a.rs", "use std::fmt;\nuse crate::b::{B, inner::{C, D as E}};"),
            ("b/mod.rs", "pub mod inner;\nmod item;\npub use item::B;\npub use self::inner::D;"),
            ("b/inner.rs", "use super::item::B;\npub struct C;\npub struct D;"),
            ("b/item.rs", "pub struct B;"),
            ("main.rs", "use squall::a;\nuse crate::main;"),
        ],
        &[],
    );
}

#[test]
fn a_direct_circle_is_shown_with_its_lines() {
    let a = "\n\nuse crate::b::B;\npub struct A;";
    let b = "pub struct B(\n    crate::a::A,\n);";
    check(&[("a.rs", a), ("b.rs", b)], &["a.rs:3 -> b.rs:2 -> a.rs"]);
    let advice = "Move what both need to a file that stands before both";
    assert!(found(&[("a.rs", a), ("b.rs", b)])[0].contains(advice));
}

#[test]
fn a_circle_of_many_shows_the_shortest_path_and_names_the_rest() {
    check(
        &[
            ("a.rs", "use crate::b::B;\npub struct A;"),
            ("b.rs", "use crate::c::C;\npub struct B;"),
            ("c.rs", "use crate::a::A;\nuse crate::d::D;\npub struct C;"),
            ("d.rs", "use crate::c::C;\npub struct D;"),
            ("e.rs", "use crate::a::A;"),
        ],
        &["c.rs:2 -> d.rs:1 -> c.rs (these files are part of it: a.rs, b.rs)"],
    );
}

#[test]
fn a_re_export_brings_the_circle_back() {
    let child = "use crate::m::Other;\npub struct Item;";
    for facade in [
        "mod child;\nmod other;\npub use self::child::Item;\npub use other::Other;",
        "mod child;\nmod other;\npub(crate) use other::Other;",
    ] {
        let files = [("m/mod.rs", facade), ("m/child.rs", child), ("m/other.rs", "pub struct Other;")];
        check(&files, &["m/child.rs:1 -> m/mod.rs:1 -> m/child.rs"]);
    }
    // It counts as an import of both files, so the one that defines the item may close the circle, too.
    check(
        &[
            ("m/mod.rs", "pub use crate::far::Far as Near;"),
            ("far.rs", "use crate::user::user;\npub struct Far;"),
            ("user.rs", "use crate::m::Near;\npub fn user() {}"),
        ],
        &["far.rs:1 -> user.rs:1 -> far.rs (these files are part of it: m/mod.rs)"],
    );
}

#[test]
fn a_child_may_not_import_what_its_parent_defines() {
    let child = "impl super::Whole {}";
    check(
        &[("m.rs", "mod child;\npub struct Whole;"), ("m/child.rs", child)],
        &["m.rs:1 -> m/child.rs:1 -> m.rs"],
    );
    check(
        &[
            ("m.rs", "mod child;\nmod whole;\npub use whole::Whole;"),
            ("m/child.rs", "impl super::whole::Whole {}"),
            ("m/whole.rs", "pub struct Whole;"),
        ],
        &[],
    );
}

#[test]
fn a_nested_group_hides_nothing() {
    let a = "use crate::{\n    c::{self, C},\n    m::{inner::{B as Renamed, Z}, Y},\n};\npub struct A;";
    check(
        &[
            ("a.rs", a),
            ("c.rs", "pub struct C;"),
            ("m/inner.rs", "use crate::a::A;\npub struct B;"),
            ("m/mod.rs", "pub struct Y;"),
        ],
        &["a.rs:3 -> m/inner.rs:1 -> a.rs"],
    );
}

#[test]
fn super_and_self_are_followed() {
    check(
        &[
            ("m/mod.rs", ""),
            ("m/a.rs", "use super::b::B;\npub struct A;"),
            ("m/b.rs", "use super::super::m::a;\npub struct B(a::A);"),
        ],
        &["m/a.rs:1 -> m/b.rs:1 -> m/a.rs"],
    );
    check(
        &[("m/a.rs", "use self::below::B;\npub struct A;"), ("m/a/below.rs", "use super::A;\npub struct B;")],
        &["m/a.rs:1 -> m/a/below.rs:1 -> m/a.rs"],
    );
}

#[test]
fn paths_in_code_are_imports_too() {
    check(
        &[
            ("a.rs", "use crate::b;\npub fn a() { b::c::run() }"),
            ("b/mod.rs", "pub mod c;"),
            ("b/c.rs", "pub fn run() { let _: fn() = || <u8 as crate::a::T>::f(); }"),
        ],
        &["a.rs:2 -> b/c.rs:1 -> a.rs (these files are part of it: b/mod.rs)"],
    );
    // In a part of a file, `super` is the file.
    check(
        &[
            ("a.rs", "mod part {\n    use super::super::b::B;\n}\npub struct A;"),
            ("b.rs", "use crate::a::A;\npub struct B;"),
        ],
        &["a.rs:2 -> b.rs:1 -> a.rs"],
    );
}

#[test]
fn macros_are_found_in_files_above_and_in_the_root() {
    check(
        &[
            ("m.rs", "macro_rules! told { () => {} }\nmod child;"),
            ("m/child.rs", "told!();\nprintln!();"),
            ("a.rs", "#[macro_export]\nmacro_rules! shown { () => {} }\nuse crate::b::B;"),
            ("b.rs", "fn f() {\n    crate::shown!()\n}\npub struct B;"),
        ],
        &["a.rs:3 -> b.rs:2 -> a.rs", "m.rs:2 -> m/child.rs:1 -> m.rs"],
    );
}

#[test]
fn what_is_no_import_makes_no_circle() {
    check(
        &[
            ("m/mod.rs", "pub mod a;\npub mod b;\npub mod serde;"),
            // Who may see it is no import, nor is a module that a path passes through.
            ("m/a.rs", "pub(in crate::m) struct A;\npub(super) struct C;\nuse crate::m::b::B;"),
            ("m/b.rs", "pub struct B;\n// use super::a::A;\nconst TEXT: &str = \"crate::m::a::A\";"),
            // Another crate may have the name of a module elsewhere.
            ("m/serde.rs", "use serde::a::A;\nuse ::b::B;\nfn f() -> impl Iterator + use<'static> {}"),
        ],
        &[],
    );
    let tests = "#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::a::A;\n}\npub struct B;";
    check(&[("a.rs", "use crate::b::B;\npub struct A;"), ("b.rs", tests)], &[]);
}
