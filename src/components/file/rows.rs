//! Rows as text, CSV (RFC 4180) or JSON lines.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::components::json;
use crate::tuple::{Fields, Value};

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The values with a separator between them, as they are shown.
    Text,
    /// CSV as of RFC 4180, with `\n` for line ends.
    Csv,
    /// A JSON object per line.
    Jsonl,
}

impl Format {
    /// The format that the extension of a path stands for.
    pub(super) fn of_path(path: &str) -> Format {
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Format::Csv,
            Some("jsonl" | "ndjson" | "json") => Format::Jsonl,
            _ => Format::Text,
        }
    }
}

/// Appends a row with its line end.
pub(super) fn write_row<'a>(
    text: &mut String,
    format: Format,
    separator: &str,
    fields: &'a Fields,
    row: impl Iterator<Item = &'a Value>,
) {
    match format {
        Format::Text => row.enumerate().for_each(|(index, value)| {
            let gap = if index > 0 { separator } else { "" };
            write!(text, "{gap}{value}").expect("writing to a string cannot fail");
        }),
        Format::Csv => write_csv_row(text, row),
        Format::Jsonl => json::write_entries(text, fields.iter().zip(row)),
    }
    text.push('\n');
}

/// Appends a CSV header.
pub(super) fn write_header(text: &mut String, fields: &Fields) {
    let names: Vec<Value> = fields.iter().map(Value::from).collect();
    write_csv_row(text, names.iter());
    text.push('\n');
}

/// Appends a CSV row without its line end. A single empty value is quoted: readers of CSV skip empty
/// lines.
fn write_csv_row<'a>(text: &mut String, row: impl Iterator<Item = &'a Value>) {
    let start = text.len();
    row.enumerate().for_each(|(index, value)| write_csv(text, index, value));
    if text.len() == start {
        text.push_str("\"\"");
    }
}

/// Appends a CSV value; null is an empty one.
fn write_csv(text: &mut String, index: usize, value: &Value) {
    if index > 0 {
        text.push(',');
    }
    if value.is_null() {
        return;
    }
    let start = text.len();
    write!(text, "{value}").expect("writing to a string cannot fail");
    if text[start..].contains(['"', ',', '\n', '\r']) {
        let quoted = text[start..].replace('"', "\"\"");
        text.truncate(start);
        write!(text, "\"{quoted}\"").expect("writing to a string cannot fail");
    }
}

/// How many bytes of a file are whole rows, fed piece by piece: a crash may have torn the last.
#[derive(Debug)]
pub(super) struct WholeRows {
    format: Format,
    seen: u64,
    whole: u64,
    in_quotes: bool,
}

impl WholeRows {
    pub(super) fn new(format: Format) -> WholeRows {
        WholeRows { format, seen: 0, whole: 0, in_quotes: false }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.seen += 1;
            match byte {
                b'"' if self.format == Format::Csv => self.in_quotes = !self.in_quotes,
                b'\n' if !self.in_quotes => self.whole = self.seen,
                _ => {}
            }
        }
    }

    /// Up to where the rows are whole.
    pub(super) fn len(&self) -> u64 {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, expected: &str) {
        let row = ["a \"b\", c".into(), Value::from(7), Value::Null, "x\ny".into()];
        let mut text = String::new();
        write_row(&mut text, format, " | ", &["s", "n", "z", "m"].into(), row.iter());
        assert_eq!(text, expected);
    }

    #[test]
    fn rows_have_three_forms() {
        check(Format::Text, "a \"b\", c | 7 | null | x\ny\n");
        check(Format::Csv, "\"a \"\"b\"\", c\",7,,\"x\ny\"\n");
        check(Format::Jsonl, "{\"s\":\"a \\\"b\\\", c\",\"n\":7,\"z\":null,\"m\":\"x\\ny\"}\n");
    }

    /// A row of one empty value was an empty line, which every reader of CSV skips.
    #[test]
    fn every_csv_row_reads_back() {
        for row in [vec![Value::Null], vec!["".into()], vec![Value::Null, "".into()], vec![" ".into()]] {
            let fields: Fields = row.iter().enumerate().map(|(at, _)| format!("f{at}")).collect();
            let mut text = String::new();
            write_header(&mut text, &fields);
            write_row(&mut text, Format::Csv, "", &fields, row.iter());
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let read: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("it is CSV")).collect();
            assert_eq!((read.len(), read[0].len()), (1, row.len()), "{text:?}");
        }
    }

    #[test]
    fn a_torn_row_is_noticed() {
        let check = |format: Format, text: &str, whole: u64| {
            let mut rows = WholeRows::new(format);
            text.as_bytes().chunks(2).for_each(|piece| rows.feed(piece));
            assert_eq!(rows.len(), whole, "{text:?}");
        };
        check(Format::Text, "a\nb\nc", 4);
        check(Format::Text, "", 0);
        check(Format::Jsonl, "{\"a\":1}\n{\"a", 8);
        check(Format::Csv, "a,\"x\ny\"\nb,\"x\n", 8);
        check(Format::Csv, "a,\"say \"\"hi\"\"\"\nb", 15);
    }
}
