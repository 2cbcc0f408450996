//! A Rust file as the rules of `tidy` look at it: its code without comments, texts and tests.
//!
//! [`code_only`] blanks what is not code, character by character, so that lines and columns stay
//! where they were; a rule may then look for a word without finding it in a sentence. It knows
//! nothing of Rust beyond where comments and literals begin and end, and which item a `cfg(test)`
//! stands before.

/// A file of `src/`.
pub struct Source {
    /// Its path below `src/`, with `/` between the parts.
    pub path: String,
    /// All of it.
    pub text: String,
    /// What is compiled into the library: no comments, no contents of literals, no tests.
    pub code: String,
    /// Files that are modules of tests: `#[cfg(test)] mod tests;` names them.
    pub test_modules: Vec<String>,
    /// Whether all of it is test code, since a `mod` in another file says so.
    pub is_test: bool,
}

impl Source {
    /// Takes a file in.
    pub fn new(path: &str, text: &str) -> Source {
        let (code, test_modules) = without_tests(&code_only(text));
        Source { path: path.into(), text: text.into(), code, test_modules, is_test: false }
    }

    /// The module below the root of the crate that it belongs to: `runtime` for
    /// `runtime/executor/mod.rs`, `clock` for `clock.rs`.
    pub fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or(&self.path);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The files that a `mod name;` in this one may mean.
    pub fn files_of(&self, module: &str) -> [String; 2] {
        let (dir, name) = self.path.rsplit_once('/').map_or(("", &*self.path), |(dir, name)| (dir, name));
        let own = if ["mod.rs", "lib.rs", "main.rs"].contains(&name) { "" } else { &name[..name.len() - 3] };
        let base: Vec<&str> = [dir, own, module].into_iter().filter(|part| !part.is_empty()).collect();
        let base = base.join("/");
        [format!("{base}.rs"), format!("{base}/mod.rs")]
    }

    /// The lines of `code`, counted from 1.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The comment that the file opens with.
    pub fn header(&self) -> String {
        self.text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
    }

    /// Lines, comments included, that are not tests.
    pub fn len_without_tests(&self) -> usize {
        let tests = self.text.lines().position(|line| line == "#[cfg(test)]");
        let in_tests = |at: &usize| self.text.lines().nth(at + 1).is_some_and(|next| next.ends_with('{'));
        tests.filter(in_tests).unwrap_or_else(|| self.text.lines().count())
    }

    /// The modules of the crate that the code names, each with its line: `crate::a`,
    /// `crate::{a, b::c}`, and `super::a` where `super` is the root.
    pub fn imports(&self) -> Vec<(usize, String)> {
        let super_is_root = !self.path.contains('/') || self.path == format!("{}/mod.rs", self.module());
        let mut imports = Vec::new();
        for (root, counts) in [("crate::", true), ("super::", super_is_root)] {
            let starts = self.code.match_indices(root).filter(|_| counts);
            for (at, _) in starts.filter(|(at, _)| !ends_in_word(&self.code[..*at])) {
                let line = self.code[..at].matches('\n').count() + 1;
                let names = first_names(&self.code[at + root.len()..]);
                imports.extend(names.into_iter().map(|name| (line, name)));
            }
        }
        imports
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_in_word(text: &str) -> bool {
    text.ends_with(is_word) || text.ends_with("::")
}

/// The name that a path goes on with, or all of them if it goes on with a group.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The text with comments and the contents of literals blanked.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => end_of_line(&chars, at),
            ('/', Some('*')) => end_of_block(&chars, at),
            ('"', _) => end_of_text(&chars, at + 1),
            ('r', Some('"' | '#')) if starts_literal(&chars, at) => end_of_raw(&chars, at),
            ('\'', _) => end_of_char(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            let blank = |c: &char| if *c == '\n' { '\n' } else { ' ' };
            out.extend(chars[at..end].iter().map(blank));
            at = end;
        }
    }
    out
}

/// Whether an `r` begins a literal and does not end a name; `br` is a prefix too.
fn starts_literal(chars: &[char], at: usize) -> bool {
    let before = if at > 0 && chars[at - 1] == 'b' { at - 1 } else { at };
    before == 0 || !is_word(chars[before - 1])
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |line| at + line)
}

fn end_of_block(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_text(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of a raw text; `at` itself if it is a raw name (`r#type`).
fn end_of_raw(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let closes = |end: &usize| chars[*end] == '"' && chars[end + 1..].iter().take(hashes).all(|c| *c == '#');
    (open + 1..chars.len() - hashes).find(closes).map_or(chars.len(), |end| end + 1 + hashes)
}

/// The end of a character; `at` itself if it is a lifetime.
fn end_of_char(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let close = chars[at + 3..].iter().position(|c| *c == '\'');
            close.map_or(chars.len(), |close| at + 4 + close)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Blanks every item that stands behind `#[cfg(test)]`; names the modules among them that are
/// files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut out, mut modules) = (code.to_owned(), Vec::new());
    while let Some(start) = out.find("#[cfg(test)]") {
        let item = start + out[start..].find(']').map_or(0, |end| end + 1);
        let end = end_of_item(&out, item);
        let text = &out[item..end];
        if let Some(name) = text.trim().strip_suffix(';').and_then(|text| text.split("mod ").nth(1)) {
            modules.push(name.trim().to_owned());
        }
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    (out, modules)
}

fn end_of_item(code: &str, start: usize) -> usize {
    // A field or a variant ends with a comma; within an item there may be commas.
    let bare = code[start..].trim_start().trim_start_matches("pub ");
    let is_item = ["fn ", "mod ", "use ", "impl", "struct ", "enum ", "const ", "static ", "type ", "trait "]
        .iter()
        .any(|keyword| bare.starts_with(keyword))
        || bare.starts_with("pub(")
        || bare.starts_with('#');
    let (mut braces, mut others) = (0, 0);
    for (at, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        let separates = c == ';' || (c == ',' && !is_item);
        let ends = (c == '}' && braces == 0) || (separates && braces == 0 && others == 0);
        if ends || braces < 0 {
            return start + at + c.len_utf8();
        }
    }
    code.len()
}
