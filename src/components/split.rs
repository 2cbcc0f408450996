//! `split`: one text in, one tuple per piece out.
//!
//! By default pieces stand between whitespace, and the split costs no allocation: a piece of up to
//! 23 bytes lies inside its value. With `pattern` a regular expression matches what stands between.
//! Empty pieces are never emitted.

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{Bolt, Check, Input, Outputs, Streams, TaskError, Values};
use crate::components::patterns;
use crate::components::positions::Positions;
use crate::components::settings::spend_names;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::{Fields, Value, ValueError};

/// Settings of [`Split`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSettings {
    /// The field with the text. Default: `"line"`.
    pub field: String,
    /// A regular expression for what separates the pieces, for example `'\W+'`. Default:
    /// whitespace.
    pub pattern: Option<String>,
    /// The field that a piece is emitted in. Default: `"word"`.
    pub emit: String,
    /// Whether pieces are made lower case. Default: false.
    pub lowercase: bool,
    /// Other fields of the input to pass on behind the piece, by name. Default: none.
    pub keep: Vec<String>,
}

impl Default for SplitSettings {
    fn default() -> SplitSettings {
        let (field, emit) = ("line".to_owned(), "word".to_owned());
        SplitSettings { field, pattern: None, emit, lowercase: false, keep: Vec::new() }
    }
}

/// The bolt `split`.
#[derive(Clone, Debug)]
pub struct Split {
    settings: SplitSettings,
    pattern: Option<Regex>,
    /// Of the text, then of the fields to keep.
    positions: Positions,
}

impl Split {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When `pattern` is no regular expression.
    pub fn new(settings: SplitSettings, effort: &Effort) -> Result<Split, SettingError> {
        spend_names(effort, "keep", settings.keep.len())?;
        let pattern =
            settings.pattern.as_deref().map(|pattern| patterns::compile(pattern, effort)).transpose();
        let pattern = pattern.map_err(|error| SettingError::at("pattern", error))?;
        let positions = Positions::of(std::iter::once(&settings.field).chain(&settings.keep));
        Ok(Split { settings, pattern, positions })
    }
}

impl Bolt for Split {
    fn declare(&self) -> Streams {
        Streams::new(std::iter::once(&self.settings.emit).chain(&self.settings.keep).collect::<Fields>())
    }

    fn check(&self, check: &mut Check<'_>) {
        check.require_field("field", &self.settings.field);
        self.settings.keep.iter().for_each(|field| check.require_field("keep", field));
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let positions = self.positions.resolve(&input)?;
        let values = input.values();
        let Some(text) = values[positions[0]].as_str() else {
            // The input's own accessor words the error.
            return input.str(&self.settings.field).map(|_| ());
        };
        let lowercase = self.settings.lowercase;
        let kept: Vec<Value> = positions[1..].iter().map(|at| values[*at].clone()).collect();
        let emit = |piece: &str| out.emit(Piece { piece, lowercase, kept: &kept });
        match &self.pattern {
            Some(pattern) => pattern.split(text).filter(|piece| !piece.is_empty()).try_for_each(emit)?,
            None if text.is_ascii() => split_ascii(text).try_for_each(emit)?,
            None => text.split_whitespace().try_for_each(emit)?,
        }
        Ok(())
    }
}

/// A row: the piece, then the kept fields.
struct Piece<'a> {
    piece: &'a str,
    lowercase: bool,
    kept: &'a [Value],
}

impl Values for Piece<'_> {
    #[inline]
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        let is_lowercase = |piece: &str| piece.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
        if self.lowercase && !is_lowercase(self.piece) {
            [self.piece.to_lowercase()].push_into(row)?;
        } else {
            [self.piece].push_into(row)?;
        }
        self.kept.push_into(row)
    }
}

/// `split_whitespace` for text that is known to be ASCII: no decoding of characters.
fn split_ascii(text: &str) -> impl Iterator<Item = &str> {
    let is_space = |byte: u8| byte == b' ' || (b'\t'..=b'\r').contains(&byte);
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.bytes().position(|byte| !is_space(byte))?;
        let tail = &rest[start..];
        let end = tail.bytes().position(is_space).unwrap_or(tail.len());
        rest = &tail[end..];
        Some(&tail[..end])
    })
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within(
            "split",
            "Splits a text into pieces, by default into words.",
            |settings: &SplitSettings, effort| Split::new(settings.clone(), effort),
        )
        .output("default: the field `emit` (`word`), then the fields of `keep`")
        .example(
            r#"
[bolt.split]
type = "split"
parallelism = 2
inputs = ["lines"]
config = { field = "line", pattern = "[^\\w']+", lowercase = true }
"#,
        );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::test_support::{bolt, texts};
    use crate::testing::TestTuple;

    fn check(config: &str, line: &str, expected: &[&str]) {
        let mut split = bolt("split", config);
        split.execute(TestTuple::new([line]).fields(["line"]));
        assert_eq!(texts(&split.take_rows("default")), expected, "{config} on {line:?}");
        assert_eq!(split.acked(), [0]);
    }

    #[test]
    fn pieces_stand_between_separators() {
        check("", "to be or not to be", &["to", "be", "or", "not", "to", "be"]);
        check("", "  a\t\x0bb\r\n c ", &["a", "b", "c"]);
        check("", "", &[]);
        check("", " \t ", &[]);
        check("", "schön\u{2003}weiß", &["schön", "weiß"]);
        check("pattern = ','", "a,b,,c", &["a", "b", "c"]);
        check(r"pattern = '\W+'", "We, the People!", &["We", "the", "People"]);
        check("lowercase = true", "The THE thE", &["the", "the", "the"]);
        check("lowercase = true", "ÄRGER İ", &["ärger", "i\u{307}"]);
    }

    #[test]
    fn ascii_splits_as_unicode_does() {
        for byte in 0..128_u8 {
            let text = format!("a{}b", char::from(byte));
            assert_eq!(
                split_ascii(&text).collect::<Vec<_>>(),
                text.split_whitespace().collect::<Vec<_>>(),
                "{byte}"
            );
        }
    }

    #[test]
    fn other_fields_are_passed_on() {
        let mut split = bolt("split", "keep = ['file']");
        split.execute(TestTuple::new(("f.txt", "a b")).fields(["file", "line"]));
        assert_eq!(texts(&split.take_rows("default")), ["a f.txt", "b f.txt"]);
    }

    #[test]
    fn each_source_has_its_own_places() {
        let mut split = bolt("split", "keep = ['n']");
        for _ in 0..2 {
            split.execute(TestTuple::new(("a", 1)).fields(["line", "n"]).from("x", "default"));
            split.execute(TestTuple::new((2, "-", "b")).fields(["n", "z", "line"]).from("y", "default"));
        }
        assert_eq!(texts(&split.take_rows("default")), ["a 1", "b 2", "a 1", "b 2"]);
    }

    #[test]
    fn what_is_no_text_fails() {
        let mut split = bolt("split", "");
        split.execute(TestTuple::new([7]).fields(["line"]));
        split.execute(TestTuple::new(["a"]).fields(["text"]));
        split.execute(TestTuple::new(["a"]).fields(["line"]));
        assert_eq!(split.failed().len(), 2);
        assert_eq!(split.acked(), [2]);
        assert!(split.errors()[0].contains("is i64, not a string"), "{:?}", split.errors());
        assert!(split.errors()[1].contains("has no field `line`"), "{:?}", split.errors());
    }
}
