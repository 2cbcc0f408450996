//! The work that must not be lost, and the books that show whether it was.
//!
//! ```text
//!             lines, or generate          ┌▶ ids: file           each line's number
//!   source ──────────────────────▶ map ───┤
//!                                         └▶ split ─▶ count ─▶ tally: file   (word, count so far)
//! ```
//!
//! Line `n` has the words `w(n mod 37)` and `all`. A spout that is started again begins from the
//! first line, so every line can be replayed however often its worker is killed. At the end:
//!
//! 1. every line's number stands in the files of `ids`, at least once. Of an endless source the lines
//!    are those up to the last of each task that arrived: none before it is missing;
//! 2. each word has at least as many rows in the files of `tally` as lines have it: what was counted
//!    again after a loss has another row, what was lost has none;
//! 3. no row holds anything else: what was hit on its way was not taken for something else;
//! 4. no file is unpublished.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines have one of so many words of their own.
const WORDS: u64 = 37;

/// What a ledger is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// `lines` over files, as fast as they are taken.
    Lines,
    /// `generate` at a rate a second.
    Paced(f64),
    /// The same for as long as the schedule needs; then it is drained.
    Endless(f64),
}

impl Source {
    /// Whether it is to be drained.
    pub fn is_endless(self) -> bool {
        matches!(self, Source::Endless(_))
    }
}

/// What is to be done, and where its results are.
#[derive(Clone, Debug)]
pub struct Ledger {
    dir: PathBuf,
    source: Source,
    lines: u64,
    tasks: u16,
    source_tasks: u16,
}

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Lines there were.
    pub lines: u64,
    /// Those of them that arrived.
    pub arrived: u64,
    /// Rows of `ids`.
    pub ids: u64,
    /// Rows of `tally`.
    pub tally: u64,
    /// How many lines at least did not arrive whole: a line is one id, and two words.
    pub incomplete: u64,
    /// What is missing; nothing if all arrived.
    pub lost: Vec<String>,
    /// What else is wrong.
    pub wrong: Vec<String>,
}

impl Ledger {
    /// Writes the input into a directory. Each component has so many tasks, and its source as many or
    /// fewer.
    pub fn new(dir: &Path, source: Source, lines: u64, (tasks, source_tasks): (u16, u16)) -> Ledger {
        let ledger = Ledger { dir: dir.to_owned(), source, lines, tasks, source_tasks };
        fs::create_dir_all(dir.join("in")).expect("the directory can be made");
        if source == Source::Lines {
            let tasks = u64::from(tasks);
            for task in 0..tasks {
                let mut text = String::new();
                for line in (task..lines).step_by(tasks as usize) {
                    writeln!(text, "n{line}").expect("writing to a string cannot fail");
                }
                fs::write(dir.join(format!("in/{task}.txt")), text).expect("it can be written");
            }
        }
        ledger
    }

    /// The document of the topology. Messages time out after a few seconds, so that one that times
    /// out for no reason is seen.
    pub fn document(&self) -> String {
        let dir = self.dir.display();
        let (tasks, source_tasks) = (self.tasks, self.source_tasks);
        let spout = match self.source {
            Source::Lines => format!(r#"type = "lines", config = {{ path = "{dir}/in/*.txt" }}"#),
            Source::Paced(rate) | Source::Endless(rate) => format!(
                r#"type = "generate", config = {{ rate = {rate:?}, count = {}, fields = {{ line = "n{{seq}}" }} }}"#,
                self.lines
            ),
        };
        format!(
            r#"
topology = {{ name = "ledger", message_timeout = "5s" }}
spout.source = {{ parallelism = {source_tasks}, {spout} }}

[bolt.read]
type = "map"
parallelism = {tasks}
inputs = ["source"]
config.set.id = 'parse_int(line.sub_string(1))'
config.set.words = '"all w" + parse_int(line.sub_string(1)) % {WORDS}'

[bolt.ids]
type = "file"
parallelism = {tasks}
inputs = ["read"]
config = {{ path = "{dir}/out/ids-{{task}}-{{seq}}.txt", fields = ["id"] }}

[bolt.split]
type = "split"
parallelism = {tasks}
inputs = ["read"]
config = {{ field = "words" }}

[bolt.count]
type = "count"
parallelism = {tasks}
inputs = [{{ from = "split", fields = ["word"] }}]
config = {{ by = ["word"] }}

[bolt.tally]
type = "file"
parallelism = {tasks}
inputs = ["count"]
config = {{ path = "{dir}/out/tally-{{task}}-{{seq}}.txt" }}
"#
        )
    }

    /// Bytes in the files of the sinks so far.
    pub fn written(&self) -> u64 {
        let entries = fs::read_dir(self.dir.join("out")).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// The lines that have arrived so far, while files still grow and are renamed.
    fn arrived(&self) -> Vec<bool> {
        let mut seen = vec![false; usize::try_from(self.lines).expect("lines fit memory")];
        let entries = fs::read_dir(self.dir.join("out")).into_iter().flatten().filter_map(Result::ok);
        let of_ids = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("ids-"));
        for text in of_ids.filter_map(|entry| fs::read_to_string(entry.path()).ok()) {
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            for row in text[..whole].lines() {
                note_id(row, &mut seen);
            }
        }
        seen
    }

    /// The lines that an endless source must have made by now.
    pub fn made(&self) -> Vec<usize> {
        self.lines(&self.arrived())
    }

    /// Whether all of these lines have arrived. A spout that is started again begins from its first
    /// line: what its last life took with it comes when it is there again.
    pub fn has_all(&self, lines: &[usize]) -> bool {
        let arrived = self.arrived();
        lines.iter().all(|line| arrived[*line])
    }

    /// Reads the files of the sinks, which must be closed.
    pub fn read(&self) -> Books {
        let mut books = Books::default();
        let mut seen = vec![false; usize::try_from(self.lines).expect("lines fit memory")];
        let mut rows_of: BTreeMap<String, u64> = BTreeMap::new();
        let entries = fs::read_dir(self.dir.join("out")).into_iter().flatten().filter_map(Result::ok);
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if name.ends_with(".inprogress") {
                books.wrong.push(format!("{name} is not published"));
            }
            let text = fs::read(&path).expect("a file of a sink can be read");
            let text = String::from_utf8_lossy(&text);
            if !text.is_empty() && !text.ends_with('\n') {
                books.wrong.push(format!("{name}: its last row is torn"));
            }
            for row in text.lines() {
                let known = if name.starts_with("ids-") {
                    books.ids += 1;
                    note_id(row, &mut seen)
                } else {
                    books.tally += 1;
                    note_word(row, &mut rows_of)
                };
                if !known {
                    books.wrong.push(format!("{name}: `{row}` was never written by anybody"));
                }
            }
        }
        let lines = self.lines(&seen);
        books.lines = lines.len() as u64;
        books.arrived = lines.iter().filter(|line| seen[**line]).count() as u64;
        let known = occurrences(&lines);
        let strange = rows_of.keys().filter(|word| !known.contains_key(*word));
        books.wrong.extend(strange.map(|word| format!("nobody wrote the word `{word}`")));
        books.wrong.truncate(20);
        books.lost.extend(missing(&lines, &seen));
        let few = too_few(&known, &rows_of);
        // Each line has the word `all`, and one of the others.
        let (all, others): (Vec<_>, Vec<_>) = few.iter().partition(|(word, ..)| *word == "all");
        let lacking =
            |few: &[&(&str, u64, u64)]| few.iter().map(|(_, rows, expected)| expected - rows).sum::<u64>();
        books.incomplete = (books.lines - books.arrived).max(lacking(&all)).max(lacking(&others));
        let shown = |(word, rows, expected)| format!("`{word}` has {rows} rows, less than {expected}");
        books.lost.extend(few.into_iter().take(3).map(shown));
        books
    }

    /// The lines there were: all, or those that an endless source must have made, in the order in
    /// which each of its tasks makes them.
    fn lines(&self, seen: &[bool]) -> Vec<usize> {
        if !self.source.is_endless() {
            return (0..seen.len()).collect();
        }
        let tasks = usize::from(self.source_tasks);
        let of_task = |task| {
            let last = (task..seen.len()).step_by(tasks).rfind(|line| seen[*line]);
            last.map(|last| (task..=last).step_by(tasks)).into_iter().flatten()
        };
        let mut lines: Vec<usize> = (0..tasks).flat_map(of_task).collect();
        lines.sort_unstable();
        lines
    }
}

/// How many of these lines have each word.
fn occurrences(lines: &[usize]) -> BTreeMap<String, u64> {
    let words = (0..WORDS).map(|number| format!("w{number}")).chain(["all".to_owned()]);
    let mut occurrences: BTreeMap<String, u64> = words.map(|word| (word, 0)).collect();
    for line in lines {
        for word in ["all".to_owned(), format!("w{}", *line as u64 % WORDS)] {
            *occurrences.entry(word).or_default() += 1;
        }
    }
    occurrences
}

/// The words that have fewer rows than lines have them: how many rows, and how many there are to be.
fn too_few<'a>(
    occurrences: &'a BTreeMap<String, u64>,
    rows_of: &BTreeMap<String, u64>,
) -> Vec<(&'a str, u64, u64)> {
    let rows = |word| rows_of.get(word).copied().unwrap_or(0);
    let few = occurrences.iter().filter(|(word, expected)| rows(*word) < **expected);
    few.map(|(word, expected)| (word.as_str(), rows(word), *expected)).collect()
}

fn note_id(row: &str, seen: &mut [bool]) -> bool {
    let place = row.parse().ok().and_then(|id: usize| seen.get_mut(id));
    place.map(|place| *place = true).is_some()
}

fn note_word(row: &str, rows_of: &mut BTreeMap<String, u64>) -> bool {
    let Some((word, count)) = row.split_once('\t') else { return false };
    match rows_of.get_mut(word) {
        Some(rows) => *rows += 1,
        None => drop(rows_of.insert(word.to_owned(), 1)),
    }
    count.parse::<u64>().is_ok_and(|count| count > 0)
}

fn missing(lines: &[usize], seen: &[bool]) -> Option<String> {
    let missing: Vec<usize> = lines.iter().copied().filter(|line| !seen[*line]).collect();
    let first = &missing[..missing.len().min(10)];
    (!missing.is_empty())
        .then(|| format!("LOST: {} of {} lines, the first {first:?}", missing.len(), lines.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(files: &[(&str, &str)]) -> Books {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(dir.path(), Source::Lines, 3, (2, 2));
        assert_eq!(fs::read_to_string(dir.path().join("in/0.txt")).unwrap(), "n0\nn2\n");
        read(dir.path(), &ledger, files)
    }

    fn read(dir: &Path, ledger: &Ledger, files: &[(&str, &str)]) -> Books {
        fs::create_dir(dir.join("out")).unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.join("out").join(name), text).unwrap());
        ledger.read()
    }

    const IDS: (&str, &str) = ("ids-0-0.txt", "0\n2\n2\n1\n");
    const TALLY: (&str, &str) = ("tally-0-0.txt", "all\t1\nw0\t1\nall\t2\nw2\t1\nw1\t1\nw1\t2\nall\t1\n");

    #[test]
    fn all_is_well_when_everything_is_there_at_least_once() {
        assert_eq!(
            books(&[IDS, TALLY]),
            Books { lines: 3, arrived: 3, ids: 4, tally: 7, ..Books::default() }
        );
    }

    #[test]
    fn of_an_endless_source_no_line_is_missing_before_the_last_of_its_task() {
        let check = |ids: &str, tally: &str, lines: u64, wrong: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            let ledger = Ledger::new(dir.path(), Source::Endless(1.0), 100, (2, 2));
            let files = [("ids-0-0.txt", ids), ("tally-0-0.txt", tally)];
            let books = read(dir.path(), &ledger, &files);
            assert_eq!(
                (books.lines, books.lost),
                (lines, wrong.iter().map(|line| (*line).to_owned()).collect())
            );
        };
        let tally = "all\t1\nall\t2\nall\t3\nw0\t1\nw1\t1\nw2\t1\n";
        check("", "", 0, &[]);
        check("0\n2\n1\n", tally, 3, &[]);
        check("2\n1\n", tally, 3, &["LOST: 1 of 3 lines, the first [0]"]);
        check("0\n2\n1\n", &tally[..tally.len() - 5], 3, &["`w2` has 0 rows, less than 1"]);
        check("0\n3\n1\n", &format!("{tally}w3\t1\n"), 3, &[]);
    }

    #[test]
    fn whatever_is_wrong_is_seen() {
        let check = |files: &[(&str, &str)], what: &str| {
            let books = books(files);
            let wrong = [books.lost, books.wrong].concat();
            assert!(wrong.iter().any(|wrong| wrong.contains(what)), "{what}: {wrong:?}");
        };
        check(&[("ids-0-0.txt", "0\n2\n"), TALLY], "LOST: 1 of 3 lines, the first [1]");
        check(&[IDS], "`all` has 0 rows, less than 3");
        check(&[IDS, ("tally-0-0.txt", "all\t1\nall\t2\n")], "`w0` has 0 rows");
        check(&[IDS, TALLY, ("ids-1-0.txt", "3\n")], "`3` was never written");
        check(&[IDS, TALLY, ("ids-1-0.txt", "x\n")], "`x` was never written");
        check(&[IDS, TALLY, ("ids-1-0.txt", "1")], "torn");
        check(&[IDS, TALLY, ("tally-1-0.txt", "w40\t1\n")], "nobody wrote the word `w40`");
        check(&[IDS, TALLY, ("tally-1-0.txt", "w1\t0\n")], "never written");
        check(&[IDS, TALLY, ("ids-1-0.txt.inprogress", "1\n")], "not published");
    }

    #[test]
    fn a_line_of_which_only_a_part_arrived_is_incomplete() {
        let incomplete =
            |ids: &str, tally: &str| books(&[("ids-0-0.txt", ids), ("tally-0-0.txt", tally)]).incomplete;
        let (ids, tally) = (IDS.1, TALLY.1);
        assert_eq!(incomplete(ids, tally), 0);
        assert_eq!(incomplete("0\n2\n", tally), 1);
        assert_eq!(incomplete(ids, "all\t1\nall\t2\nall\t3\nw0\t1\n"), 2);
        assert_eq!(incomplete("0\n2\n", "w0\t1\nw1\t1\nw2\t1\n"), 3, "no row of `all`");
        assert_eq!(incomplete("", ""), 3);
    }
}
