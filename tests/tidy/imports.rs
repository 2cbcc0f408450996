//! Which file imports which, worked out from text.
//!
//! [`imports`] builds the tree of modules from the files and resolves every path in them. A path is an
//! import of
//!
//! 1. the file that defines the item; if the path ends at a module, the file of that module;
//! 2. each file that re-exports the item on the way, by a public `use` or by one that a child module
//!    sees. Whoever imports through a re-export needs both files, and a re-export is how circles come
//!    about unnoticed.
//!
//! A path does not import the modules that it only passes through. `mod x;` is an import of `x` by the
//! file that declares it: the two parts of an `impl` call each other without a path, and this is the
//! only trace of it. So what the parts of a module need from each other does not stand in the file that
//! declares them. `lib.rs` is a file like any other. `main.rs` is left out: it is another crate, and no
//! file can import it.
//!
//! Paths are read in `use` declarations, with nested groups and `as`, and in expressions and types. They
//! begin with `crate`, `self` or `super`, or with the name of a child module, an item or an import of
//! their module. Every other first name is that of another crate. A macro without a path is looked for
//! in the file itself and in the files above; one of `#[macro_export]` in the root.
//!
//! Not seen: method calls, names that come from a glob import (another rule forbids those), items that
//! the call of a macro defines, and paths in the text of an attribute.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// An import of one file by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The file that imports, by its path below `src/`.
    pub from: String,
    /// The file that is imported.
    pub to: String,
    /// Where `from` names something in `to`, counted from 1.
    pub line: usize,
}

/// The imports between these files: for each pair of files the first.
pub fn imports(sources: &[Source]) -> Vec<Import> {
    let mut tree = Tree::default();
    let sources = || sources.iter().filter(|source| !source.is_test && is_library(&source.path));
    for source in sources() {
        tree.modules.entry(module_of(&source.path)).or_default().file = source.path.clone();
    }
    let mut mentions = Vec::new();
    for source in sources() {
        mentions.extend(Reader::new(source, &mut tree).read());
    }
    let mut first: BTreeMap<(String, String), usize> = BTreeMap::new();
    for mention in &mentions {
        let from = tree.file(&mention.module);
        for to in tree.files(mention).into_iter().filter(|to| *to != from) {
            let line = first.entry((from.clone(), to)).or_insert(mention.line);
            *line = mention.line.min(*line);
        }
    }
    first.into_iter().map(|((from, to), line)| Import { from, to, line }).collect()
}

/// The binary is a crate of its own, which no file can import.
fn is_library(path: &str) -> bool {
    path != "main.rs"
}

/// The names of a path, or of a module, from the root of the crate.
type Names = Vec<String>;

fn module_of(path: &str) -> Names {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut names: Names = path.split('/').map(str::to_owned).collect();
    names.pop_if(|last| last == "mod" || last == "lib");
    names
}

/// A path as it stands in a file.
struct Mention {
    /// The module that it stands in.
    module: Names,
    path: Names,
    line: usize,
    /// Whether it is the bare name of a macro, which may stand in a file above.
    is_macro: bool,
}

/// What a module has by name; its children are in the tree.
#[derive(Default)]
struct Module {
    file: String,
    items: BTreeSet<String>,
    macros: BTreeSet<String>,
    /// Its imports by the name they have here, public or not: a child sees private ones.
    uses: BTreeMap<String, Names>,
}

/// Re-exports that were followed: the module, and the name there.
type Taken = BTreeSet<(Names, String)>;

/// All modules of the crate by their names, those in braces too.
#[derive(Default)]
struct Tree {
    modules: BTreeMap<Names, Module>,
    /// The files of `#[macro_export]` macros, which are items of the root.
    exported: BTreeMap<String, String>,
}

impl Tree {
    fn file(&self, module: &[String]) -> String {
        self.modules.get(module).map(|module| module.file.clone()).unwrap_or_default()
    }

    fn files(&self, mention: &Mention) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        if mention.is_macro {
            files.extend(self.file_of_macro(&mention.module, &mention.path[0]));
        } else if let Some((start, rest)) = self.start(&mention.module, &mention.path) {
            self.follow(start, rest, &mut Taken::new(), &mut files);
        }
        files.retain(|file| !file.is_empty());
        files
    }

    /// The module where a path begins, and the rest of the path. `None` for other crates.
    fn start<'a>(&self, module: &[String], path: &'a [String]) -> Option<(Names, &'a [String])> {
        match path.first()?.as_str() {
            "crate" => return Some((Names::new(), &path[1..])),
            "self" | "super" => {}
            name => return self.has(module, name).then(|| (module.to_vec(), path)),
        }
        let steps = path.iter().take_while(|name| *name == "self" || *name == "super");
        let (ups, count) = steps.fold((0, 0), |(ups, n), name| (ups + usize::from(name == "super"), n + 1));
        Some((module[..module.len().checked_sub(ups)?].to_vec(), &path[count..]))
    }

    /// Whether a module has a child, an item or an import of this name.
    fn has(&self, module: &[String], name: &str) -> bool {
        self.child(module, name).is_some() || self.has_item(module, name)
    }

    fn has_item(&self, module: &[String], name: &str) -> bool {
        // `use serde::{self, Serialize}` imports another crate by its own name.
        let is_own = |module: &Module| {
            let import = module.uses.get(name).filter(|path| path[0] != name);
            import.is_some() || module.items.contains(name)
        };
        self.modules.get(module).is_some_and(is_own)
    }

    fn child(&self, module: &[String], name: &str) -> Option<Names> {
        let child = [module, &[name.to_owned()]].concat();
        self.modules.contains_key(&child).then_some(child)
    }

    /// Follows a path from a module, and collects the files that it imports. `taken` has the re-exports
    /// that were followed already, so that two modules that re-export each other end the walk.
    fn follow(&self, mut at: Names, mut path: &[String], taken: &mut Taken, files: &mut BTreeSet<String>) {
        while let [name, rest @ ..] = path {
            let child = self.child(&at, name);
            // A last name may be a module and a function at once, as in `pub use load::load`.
            if child.is_none() || (rest.is_empty() && self.has_item(&at, name)) {
                self.take_item(&at, name, rest, taken, files);
            }
            let Some(child) = child else { return };
            (at, path) = (child, rest);
        }
        files.insert(self.file(&at));
    }

    /// Collects the file of an item and, if the module only re-exports it, follows that path, too.
    fn take_item(
        &self,
        at: &Names,
        name: &String,
        rest: &[String],
        taken: &mut Taken,
        files: &mut BTreeSet<String>,
    ) {
        let exported = self.exported.get(name).filter(|_| at.is_empty());
        files.insert(exported.cloned().unwrap_or_else(|| self.file(at)));
        let Some(module) = self.modules.get(at).filter(|module| !module.items.contains(name)) else { return };
        let import = module.uses.get(name).filter(|_| taken.insert((at.clone(), name.clone())));
        let on: Names = import.into_iter().flatten().chain(rest).cloned().collect();
        if let Some((start, rest)) = import.and_then(|_| self.start(at, &on)) {
            self.follow(start, rest, taken, files);
        }
    }

    /// Where a macro without a path is defined: here, or in a file above.
    fn file_of_macro(&self, module: &[String], name: &String) -> Option<String> {
        let above = (0..=module.len()).rev().map(|len| &module[..len]);
        let defines = |module: &&Module| module.macros.contains(name);
        above.filter_map(|module| self.modules.get(module)).find(defines).map(|module| module.file.clone())
    }
}

/// What stands before the name of a new item.
const DEFINES: &[&str] = &["fn", "struct", "enum", "union", "trait", "type", "const", "static"];

/// A name, a `::`, or a single other character.
struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (line, mut rest) in code.lines().enumerate() {
        while let Some(first) = rest.trim_start().chars().next() {
            rest = rest.trim_start();
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let len = if rest.starts_with("::") { 2 } else { word.max(first.len_utf8()) };
            tokens.push(Token { text: &rest[..len], line: line + 1 });
            rest = &rest[len..];
        }
    }
    tokens
}

/// Reads one file: adds what its modules have to the tree, and collects the paths in it.
struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    file: &'a str,
    /// The module that is being read, and the depth in braces at which it and each above it began.
    module: Names,
    begun: Vec<usize>,
    depth: usize,
    tree: &'a mut Tree,
    mentions: Vec<Mention>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Source, tree: &'a mut Tree) -> Reader<'a> {
        let (tokens, module) = (tokens(&source.code), module_of(&source.path));
        let (file, mentions) = (&*source.path, Vec::new());
        Reader { tokens, at: 0, file, module, begun: vec![0], depth: 0, tree, mentions }
    }

    fn read(mut self) -> Vec<Mention> {
        while self.at < self.tokens.len() {
            self.at = self.read_one();
        }
        self.mentions
    }

    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn here(&mut self) -> &mut Module {
        self.tree.modules.entry(self.module.clone()).or_default()
    }

    fn mention(&mut self, path: Names, line: usize, is_macro: bool) {
        self.mentions.push(Mention { module: self.module.clone(), path, line, is_macro });
    }

    /// Reads what begins at the next token, and returns where to go on.
    fn read_one(&mut self) -> usize {
        let at = self.at;
        match (self.text(at), self.text(at + 1), self.text(at + 2)) {
            ("{", ..) => self.depth += 1,
            ("}", ..) => self.close(),
            ("mod", name, ";") => {
                self.mention(vec!["self".into(), name.into()], self.tokens[at].line, false);
                return at + 3;
            }
            ("mod", name, "{") => {
                self.open(name);
                return at + 3;
            }
            ("use", next, _) if next != "<" => return self.read_use(),
            ("pub", "(", "in") => return at + 3 + self.path_at(at + 3).len() * 2,
            ("macro_rules", "!", name) => {
                self.define_macro(name.to_owned());
                return at + 3;
            }
            (word, name, _) if DEFINES.contains(&word) => {
                // Not so in `&'static Value` and `*const Value`.
                let is_type = at > 0 && ["'", "*"].contains(&self.text(at - 1));
                if self.is_outside() && !is_type {
                    self.here().items.insert(name.to_owned());
                }
            }
            _ if self.tokens[at].is_name() => return self.read_path(),
            _ => {}
        }
        at + 1
    }

    /// Whether the place is in no item but modules.
    fn is_outside(&self) -> bool {
        self.begun.last() == Some(&self.depth)
    }

    fn open(&mut self, name: &str) {
        self.module.push(name.to_owned());
        self.depth += 1;
        self.begun.push(self.depth);
        self.here().file = self.file.to_owned();
    }

    fn close(&mut self) {
        if self.is_outside() && self.begun.len() > 1 {
            self.begun.pop();
            self.module.pop();
        }
        self.depth = self.depth.saturating_sub(1);
    }

    fn define_macro(&mut self, name: String) {
        // Of what stands before it, attributes end with `]`, and the item before ends with `}` or `;`.
        let before = self.tokens[..self.at].iter().rev().map(|token| token.text);
        if before.take_while(|text| !["}", ";"].contains(text)).any(|text| text == "macro_export") {
            self.tree.exported.insert(name.clone(), self.file.to_owned());
        }
        let here = self.here();
        here.items.insert(name.clone());
        here.macros.insert(name);
    }

    /// The names of the path that begins at a token, without `::<`.
    fn path_at(&self, start: usize) -> Names {
        let mut at = start;
        while self.text(at + 1) == "::" && self.tokens.get(at + 2).is_some_and(Token::is_name) {
            at += 2;
        }
        (start..=at).step_by(2).map(|at| self.text(at).to_owned()).collect()
    }

    fn read_path(&mut self) -> usize {
        let (at, line) = (self.at, self.tokens[self.at].line);
        let path = self.path_at(at);
        let end = at + path.len() * 2 - 1;
        let goes_on = at > 0 && ["::", "."].contains(&self.text(at - 1));
        let calls = self.text(end) == "!" && ["(", "[", "{"].contains(&self.text(end + 1));
        if !goes_on && (path.len() > 1 || calls) {
            let is_macro = path.len() == 1 && !self.here().uses.contains_key(&path[0]);
            self.mention(path, line, is_macro);
        }
        end
    }

    fn read_use(&mut self) -> usize {
        let mut leaves = Vec::new();
        let mut end = self.read_tree(self.at + 1, &Names::new(), &mut leaves);
        while !["", ";"].contains(&self.text(end)) {
            end += 1;
        }
        let is_outside = self.is_outside();
        for Leaf { path, name, line } in leaves {
            let uses = &mut self.here().uses;
            if is_outside {
                uses.insert(name, path.clone());
            } else {
                uses.entry(name).or_insert_with(|| path.clone());
            }
            self.mention(path, line, false);
        }
        end + 1
    }

    /// Reads one path of a `use` with the group at its end, and returns where to go on.
    fn read_tree(&self, mut at: usize, before: &Names, leaves: &mut Vec<Leaf>) -> usize {
        let (mut path, mut line, mut is_glob) = (before.clone(), 0, false);
        loop {
            match self.text(at) {
                "{" => {
                    at += 1;
                    while !["", "}"].contains(&self.text(at)) {
                        at = self.read_tree(at, &path, leaves);
                        at += usize::from(self.text(at) == ",");
                    }
                    return at + 1;
                }
                "" | "," | "}" | ";" | "as" => break,
                "::" => {}
                "*" => (is_glob, line) = (true, self.tokens[at].line),
                name => {
                    path.push(name.to_owned());
                    line = self.tokens[at].line;
                }
            }
            at += 1;
        }
        path.pop_if(|last| last == "self" && !before.is_empty());
        let mut name = path.last().filter(|_| !is_glob).cloned().unwrap_or("_".into());
        if self.text(at) == "as" {
            name = self.text(at + 1).to_owned();
            at += 2;
        }
        leaves.push(Leaf { path, name, line });
        at
    }
}

/// One import of a `use`.
struct Leaf {
    path: Names,
    /// The name that it has in the module; `_` if it has none there.
    name: String,
    line: usize,
}
