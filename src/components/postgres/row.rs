//! What is written of a tuple: for each parameter of the statement a field, or a text made of fields.

use std::fmt::Write as _;

use crate::api::{Check, Input, TaskError};
use crate::components::positions::Positions;
use crate::tuple::Value;

/// Where a parameter comes from. Fields are numbers of names in [`RowTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// The value of a field, with its type.
    Field(usize),
    Text(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Plain(String),
    Field(usize),
}

/// Makes rows of tuples.
#[derive(Clone, Debug)]
pub(super) struct RowTemplate {
    /// For each parameter the key of the settings that it comes from, and its source.
    sources: Vec<(String, Source)>,
    names: Vec<String>,
    positions: Positions,
}

impl RowTemplate {
    /// Of sources as they are written, each with the key of the settings that it stands at.
    ///
    /// # Errors
    /// The key of the first that is no template, and why.
    pub(super) fn new<'a>(
        written: impl IntoIterator<Item = (String, &'a str)>,
    ) -> Result<RowTemplate, (String, String)> {
        let (mut sources, mut names) = (Vec::new(), Vec::new());
        for (key, text) in written {
            let source = parse(text, &mut names).map_err(|why| (key.clone(), why))?;
            sources.push((key, source));
        }
        let positions = Positions::of(&names);
        Ok(RowTemplate { sources, names, positions })
    }

    /// Refuses fields that an input does not have.
    pub(super) fn check(&self, check: &mut Check<'_>) {
        for (key, source) in &self.sources {
            let require =
                |check: &mut Check<'_>, field: &usize| check.require_field(key, &self.names[*field]);
            match source {
                Source::Field(field) => require(check, field),
                Source::Text(parts) => parts.iter().for_each(|part| {
                    if let Part::Field(field) = part {
                        require(check, field);
                    }
                }),
            }
        }
    }

    /// The row of a tuple.
    ///
    /// # Errors
    /// When its stream does not have all fields.
    pub(super) fn row(&mut self, input: &Input<'_>) -> Result<Vec<Value>, TaskError> {
        let positions = self.positions.resolve(input)?;
        let value = |field: &usize| &input.values()[positions[*field]];
        let made = self.sources.iter().map(|(_, source)| match source {
            Source::Field(field) => value(field).clone(),
            Source::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Plain(plain) => text.push_str(plain),
                        Part::Field(field) => {
                            write!(text, "{}", value(field)).expect("writing to a string cannot fail");
                        }
                    }
                }
                Value::from(text)
            }
        });
        Ok(made.collect())
    }
}

/// A field by its name, or a text with fields in braces.
fn parse(text: &str, names: &mut Vec<String>) -> Result<Source, String> {
    let mut number = |name: &str| match names.iter().position(|known| known == name) {
        Some(at) => at,
        None => {
            names.push(name.to_owned());
            names.len() - 1
        }
    };
    if text.is_empty() {
        return Err("expected the name of a field, or a text with `{field}` in it".to_owned());
    }
    if !text.contains(['{', '}']) {
        return Ok(Source::Field(number(text)));
    }
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
        } else if brace == "{" {
            let (name, after) =
                rest.split_once('}').ok_or_else(|| format!("`{text}`: a {{ is not closed"))?;
            if name.is_empty() {
                return Err(format!("`{text}`: {{}} names no field"));
            }
            if !plain.is_empty() {
                parts.push(Part::Plain(std::mem::take(&mut plain)));
            }
            parts.push(Part::Field(number(name)));
            rest = after;
        } else {
            return Err(format!("`{text}`: a }} without {{; write }}}} for the sign itself"));
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Plain(plain));
    }
    Ok(match parts.as_slice() {
        [Part::Field(field)] => Source::Field(*field),
        _ => Source::Text(parts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_a_field_or_a_text_with_fields() {
        let check = |text: &str, expected: Source, fields: &[&str]| {
            let mut names = Vec::new();
            assert_eq!(parse(text, &mut names), Ok(expected), "{text}");
            assert_eq!(names, fields, "{text}");
        };
        check("id", Source::Field(0), &["id"]);
        check("{id}", Source::Field(0), &["id"]);
        let dash = || Part::Plain("-".to_owned());
        check("{a}-{b}", Source::Text(vec![Part::Field(0), dash(), Part::Field(1)]), &["a", "b"]);
        check("{a}{a}", Source::Text(vec![Part::Field(0), Part::Field(0)]), &["a"]);
        check("{{a}}", Source::Text(vec![Part::Plain("{a}".to_owned())]), &[]);
    }

    #[test]
    fn what_is_no_template_is_explained() {
        for (text, why) in
            [("", "expected the name"), ("{a", "not closed"), ("a}", "without {"), ("{}", "no field")]
        {
            let error = parse(text, &mut Vec::new()).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
