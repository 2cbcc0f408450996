//! Templates of values: text with placeholders.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use smol_str::SmolStr;
use std::fmt::Write as _;
use std::ops::Range;

use crate::tuple::{Timestamp, Value};

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Seq,
    RandomInt(Range<i64>),
    RandomFloat(Range<f64>),
    Choice(Vec<SmolStr>),
    Uuid,
    Now,
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template(Vec<Part>);

const KNOWN: &str =
    "known are {seq}, {random:0..100}, {choice:a|b|c}, {uuid} and {now}; a brace itself is {{ or }}";

impl Template {
    pub(super) fn parse(source: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
            } else if brace == "{" {
                let (inside, after) =
                    rest.split_once('}').ok_or_else(|| format!("`{source}`: a {{ is not closed"))?;
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::parse(inside)?);
                rest = after;
            } else {
                return Err(format!("`{source}`: a }} without {{; write }}}} for the sign itself"));
            }
        }
        text.push_str(rest);
        if !text.is_empty() || parts.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Template(parts))
    }

    /// Whether it asks for the time.
    pub(super) fn is_timed(&self) -> bool {
        self.0.contains(&Part::Now)
    }

    /// A value: of the placeholder's own type if there is nothing else, otherwise text.
    pub(super) fn make(&self, seq: u64, now: i64, rng: &mut StdRng) -> Value {
        if let [part] = self.0.as_slice() {
            return part.make(seq, now, rng);
        }
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                other => {
                    write!(text, "{}", other.make(seq, now, rng)).expect("writing to a string cannot fail")
                }
            }
        }
        Value::from(text)
    }
}

impl Part {
    fn parse(inside: &str) -> Result<Part, String> {
        let (name, argument) = inside.split_once(':').unwrap_or((inside, ""));
        match (name, argument) {
            ("seq", "") => Ok(Part::Seq),
            ("uuid", "") => Ok(Part::Uuid),
            ("now", "") => Ok(Part::Now),
            ("choice", words) if !words.is_empty() => Ok(Part::Choice(words.split('|').map(SmolStr::new).collect())),
            ("random", range) => Part::parse_range(range).ok_or_else(|| {
                format!("`{{{inside}}}`: expected a range that is not empty, for example {{random:0..100}} or {{random:0.0..1.0}}")
            }),
            _ => Err(format!("`{{{inside}}}` is no placeholder; {KNOWN}")),
        }
    }

    fn parse_range(range: &str) -> Option<Part> {
        let (from, to) = range.split_once("..")?;
        if let (Ok(from), Ok(to)) = (from.parse::<i64>(), to.parse::<i64>()) {
            return (from < to).then_some(Part::RandomInt(from..to));
        }
        let (from, to) = (from.parse::<f64>().ok()?, to.parse::<f64>().ok()?);
        (from < to && (to - from).is_finite()).then_some(Part::RandomFloat(from..to))
    }

    fn make(&self, seq: u64, now: i64, rng: &mut StdRng) -> Value {
        match self {
            Part::Text(text) => Value::str(text),
            Part::Seq => Value::I64(seq as i64),
            Part::RandomInt(range) => Value::I64(rng.random_range(range.clone())),
            Part::RandomFloat(range) => Value::F64(rng.random_range(range.clone())),
            Part::Choice(words) => Value::from(&words[rng.random_range(0..words.len())]),
            Part::Uuid => Value::from(uuid(rng)),
            Part::Now => Value::Timestamp(Timestamp(now)),
        }
    }
}

/// A random UUID (version 4, RFC 9562).
fn uuid(rng: &mut StdRng) -> String {
    let (high, low) = (rng.next_u64(), rng.next_u64());
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xffff);
    let (d, e) = (low >> 48, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use regex::Regex;

    use super::*;

    fn make(source: &str) -> Value {
        let template = Template::parse(source).expect("it is a template");
        template.make(7, 1_000_000_000, &mut StdRng::seed_from_u64(1))
    }

    #[test]
    fn a_lone_placeholder_has_its_own_type_and_a_mixture_is_text() {
        let check = |source: &str, expected: Value| assert_eq!(make(source), expected, "{source}");
        check("{seq}", 7.into());
        check("user-{seq}", "user-7".into());
        check("{seq}{seq}", "77".into());
        check("", "".into());
        check("plain", "plain".into());
        check("{{seq}}", "{seq}".into());
        check("a{{{seq}}}", "a{7}".into());
        check("{random:5..6}", 5.into());
        check("{random:-5..-4}", (-5).into());
        check("{choice:only}", "only".into());
        check("{now}", Timestamp(1_000_000_000).into());
        check("at {now}", "at 1970-01-01T00:00:01Z".into());
    }

    #[test]
    fn random_values_stay_in_their_range() {
        let mut rng = StdRng::seed_from_u64(3);
        let (ints, floats) = (Template::parse("{random:0..10}"), Template::parse("{random:0.5..0.75}"));
        let (ints, floats) = (ints.expect("a range"), floats.expect("a range"));
        for _ in 0..1000 {
            assert!((0..10).contains(&ints.make(0, 0, &mut rng).as_i64().expect("an integer")));
            assert!((0.5..0.75).contains(&floats.make(0, 0, &mut rng).as_f64().expect("a number")));
        }
    }

    #[test]
    fn a_uuid_is_of_version_4() {
        let uuid = make("{uuid}");
        let form = Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$");
        assert!(form.expect("it is a pattern").is_match(uuid.as_str().expect("it is text")), "{uuid}");
    }

    #[test]
    fn what_is_no_template_is_explained() {
        for (source, why) in [
            ("{sequence}", "known are"),
            ("{random:9..1}", "expected a range"),
            ("{random}", "expected a range"),
            ("{choice:}", "known are"),
            ("{seq", "not closed"),
            ("a}", "without {"),
        ] {
            let error = Template::parse(source).expect_err(source);
            assert!(error.contains(why), "{source}: {error}");
        }
    }
}
