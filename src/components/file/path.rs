//! Names of part files: a template with the task, the time and a number.
//!
//! `{task}` is the task's index, `{seq}` a number that makes the name new, and strftime's `%Y` and
//! so on the time the file was begun, in UTC. Where the template lacks what makes names differ, it
//! is added: `-TASK` when the component has several tasks, `-N` when the name is taken, both
//! before the extension.

use std::path::{Path, PathBuf};

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use regex::{Captures, Regex};

/// What an unpublished file ends with whose rows are acked.
pub(super) const IN_PROGRESS: &str = ".inprogress";
/// What an unpublished file ends with exactly once. Another ending, because these rows may belong to no checkpoint,
/// and rows of the others are acked: neither may be taken for the other when `delivery` was changed.
pub(super) const PENDING: &str = ".pending";
const _: () = assert!(PENDING.len() <= IN_PROGRESS.len(), "names are checked with the longer one");

/// Bytes of a name and of a path, as of Linux: `NAME_MAX`, and `PATH_MAX` without its end.
const NAME_LEN_MAX: usize = 255;
const PATH_LEN_MAX: usize = 4095;

/// Stand for parts of a name that are not known, while a pattern is made.
const ANY_TIME: &str = "\u{1}";
const ANY_SEQ: &str = "\u{2}";
const ANY_SUFFIX: &str = "\u{3}";

/// A template for one task.
#[derive(Clone, Debug)]
pub(super) struct PathTemplate {
    /// With `{task}` filled in.
    source: String,
    has_seq: bool,
    /// What names end with until they are published.
    pub(super) unpublished: &'static str,
}

impl PathTemplate {
    /// Checks a template.
    pub(super) fn check(source: &str) -> Result<(), String> {
        if source.is_empty() || source.ends_with('/') {
            return Err(format!("`{source}` names no file"));
        }
        if source.contains('\0') {
            return Err("a path cannot have a NUL character; take it out".to_owned());
        }
        let unknown = Regex::new(r"\{(?<inside>[^}]*)\}").expect("the pattern is a constant");
        let mut placeholders = unknown.captures_iter(source).map(|found| found["inside"].to_owned());
        if let Some(unknown) = placeholders.find(|inside| inside != "task" && inside != "seq") {
            return Err(format!(
                "`{{{unknown}}}` is no placeholder; known are {{task}} and {{seq}}, and strftime's %Y-%m-%d"
            ));
        }
        let example = at_time(source, 0)?.replace("{task}", "0").replace("{seq}", "0");
        check_lengths(&example)
    }

    /// The path of a stream that the template may lead to: what has neither a number nor a time.
    pub(super) fn of_stream(source: &str, task: usize) -> Option<String> {
        let is_constant = !source.contains("{seq}") && !source.contains('%');
        is_constant.then(|| source.replace("{task}", &task.to_string()))
    }

    /// The template of one task. It must have been checked.
    pub(super) fn for_task(source: &str, task: usize, tasks: usize) -> PathTemplate {
        let source = if tasks > 1 && !source.contains("{task}") {
            with_suffix(source, "-{task}")
        } else {
            source.to_owned()
        };
        let has_seq = source.contains("{seq}");
        let source = source.replace("{task}", &task.to_string());
        PathTemplate { source, has_seq, unpublished: IN_PROGRESS }
    }

    /// The same names, with another ending until they are published.
    pub(super) fn ending_in(self, unpublished: &'static str) -> PathTemplate {
        PathTemplate { unpublished, ..self }
    }

    /// The name at a time, with its number still open: the same text, the same file may go on.
    pub(super) fn at(&self, wall_nanos: i64) -> Result<String, String> {
        at_time(&self.source, wall_nanos)
    }

    /// The `n`-th name, from 0, that [`PathTemplate::at`] stands for.
    pub(super) fn numbered(&self, base: &str, n: u64) -> PathBuf {
        match n {
            _ if self.has_seq => base.replace("{seq}", &n.to_string()).into(),
            0 => base.into(),
            _ => with_suffix(base, &format!("-{n}")).into(),
        }
    }

    /// Unpublished files that a task of this template left behind.
    pub(super) fn leftovers(&self) -> Vec<PathBuf> {
        let name = specifiers().replace_all(&self.source, |found: &Captures<'_>| match &found[0] {
            "%%" => "%",
            _ => ANY_TIME,
        });
        let name = name.replace("{seq}", ANY_SEQ);
        let name = if self.has_seq { name } else { with_suffix(&name, ANY_SUFFIX) };
        let name = format!("{}{}", name.trim_start_matches("./"), self.unpublished);
        let glob = glob::Pattern::escape(&name).replace([ANY_TIME, ANY_SEQ, ANY_SUFFIX].map(one_char), "*");
        let exact = regex::escape(&name)
            .replace(ANY_TIME, ".+?")
            .replace(ANY_SEQ, r"\d+")
            .replace(ANY_SUFFIX, r"(?:-\d+)?");
        let exact = Regex::new(&format!("^{exact}$")).expect("an escaped text is a pattern");
        // A directory that is not there yet has nothing left in it.
        let found = glob::glob(&glob).into_iter().flatten().filter_map(Result::ok);
        found.filter(|path| exact.is_match(&path.to_string_lossy())).collect()
    }
}

/// Refuses names that no file system has room for.
fn check_lengths(path: &str) -> Result<(), String> {
    if path.len() > PATH_LEN_MAX {
        return Err(format!("the path has {} bytes; a path has at most {PATH_LEN_MAX}", path.len()));
    }
    let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
    let longest = NAME_LEN_MAX - IN_PROGRESS.len();
    if name.len() > longest {
        return Err(format!(
            "the name of the file has {} bytes; at most {longest} leave room for `{IN_PROGRESS}`",
            name.len()
        ));
    }
    match directories.split('/').find(|directory| directory.len() > NAME_LEN_MAX) {
        Some(long) => Err(format!(
            "the name of a directory has {} bytes; a name has at most {NAME_LEN_MAX}",
            long.len()
        )),
        None => Ok(()),
    }
}

fn one_char(text: &str) -> char {
    text.chars().next().expect("the stand-ins are one character long")
}

/// strftime's specifiers, and `%%` for the sign itself.
fn specifiers() -> Regex {
    Regex::new(r"%%|%[-_0^#:]*[0-9]*[A-Za-z]").expect("the pattern is a constant")
}

fn at_time(source: &str, wall_nanos: i64) -> Result<String, String> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(wall_nanos)).map_err(|error| error.to_string())?;
    strtime::format(source, &time.to_zoned(TimeZone::UTC)).map_err(|error| format!("`{source}`: {error}"))
}

/// A name with something before its extension.
pub(super) fn with_suffix(name: &str, suffix: &str) -> String {
    let extension = Path::new(name).extension().map_or(0, |extension| extension.len() + 1);
    let (stem, extension) = name.split_at(name.len() - extension);
    format!("{stem}{suffix}{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_task_time_and_number() {
        let check = |template: &str, tasks: usize, n: u64, expected: &str| {
            assert_eq!(PathTemplate::check(template), Ok(()));
            let template = PathTemplate::for_task(template, 1, tasks);
            let base = template.at(1_767_225_600_000_000_000).expect("it was checked");
            assert_eq!(template.numbered(&base, n), PathBuf::from(expected));
        };
        check("out/words.csv", 1, 0, "out/words.csv");
        check("out/words.csv", 1, 3, "out/words-3.csv");
        check("out/words.csv", 2, 3, "out/words-1-3.csv");
        check("out.d/words", 2, 0, "out.d/words-1");
        check("w-{task}-{seq}.csv", 2, 3, "w-1-3.csv");
        check("%Y/%m-%d/w.csv", 1, 0, "2026/01-01/w.csv");
        check("50%%.txt", 1, 0, "50%.txt");
    }

    #[test]
    fn what_names_no_file_is_explained() {
        let check = |template: &str, why: &str| {
            let error = PathTemplate::check(template).expect_err(template);
            assert!(error.contains(why), "{template}: {error}");
        };
        check("", "names no file");
        check("out/", "names no file");
        check("{tsk}.csv", "known are {task} and {seq}");
        check("%!.csv", "%!");
        check("a\0b.csv", "NUL");
        check(&"x".repeat(245), "at most 244 leave room for `.inprogress`");
        check(&format!("{}/x.csv", "d".repeat(256)), "a name has at most 255");
        check(&format!("{}x.csv", "d/".repeat(2100)), "a path has at most 4095");
        assert_eq!(PathTemplate::check(&"x".repeat(244)), Ok(()));
    }

    #[test]
    fn leftovers_are_the_tasks_own() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let names =
            ["w-1.csv", "w-1-2.csv", "w-11.csv", "w-1-2-3.csv", "w-1.csv.txt", "w-2.csv", "x-w-1.csv"];
        for name in names {
            std::fs::write(dir.path().join(format!("{name}{IN_PROGRESS}")), "x").expect("it can be written");
        }
        let found = |template: &str| {
            let template = PathTemplate::for_task(&dir.path().join(template).to_string_lossy(), 1, 2);
            let found = template.leftovers().into_iter();
            let found =
                found.map(|path| path.file_name().expect("it has a name").to_string_lossy().into_owned());
            found.collect::<Vec<_>>()
        };
        assert_eq!(found("w.csv"), ["w-1-2.csv.inprogress", "w-1.csv.inprogress"]);
        assert_eq!(found("w-{task}-{seq}.csv"), ["w-1-2.csv.inprogress"]);
        assert_eq!(found("w-%Y-{task}.csv").len(), 0);
        assert_eq!(found("none/w.csv").len(), 0);
    }
}
