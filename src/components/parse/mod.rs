//! `parse`: a line of a log to fields.
//!
//! * `format = "regex"`: the named groups of `pattern` are the fields.
//! * `"common"` and `"combined"`: a web server's access log (Apache's `LogFormat`s of these names,
//!   nginx's `combined`), malformed requests included (`access_log`).
//! * `"json"`: an object per line; `fields` names the keys, `a.b` is the `b` of the `a`.
//!
//! A line that does not match, or a value that is none of its type, fails the tuple, goes to the
//! stream `unmatched` with the reason, or is dropped and counted (`unmatched`), by the setting
//! `unmatched`.

mod access_log;
mod typed;

use regex::{CaptureLocations, Regex};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::api::{Bolt, Check, Input, Outputs, Streams, TaskContext, TaskError};
use crate::components::json::{self, Object};
use crate::components::parse::access_log::AccessLog;
use crate::components::patterns;
use crate::components::positions::Positions;
use crate::components::settings::{Ordered, spend_names};
use crate::event_time::{TimeFormat, TimeFormatError};
use crate::metrics::Counter;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::{Fields, Value};

pub use typed::FieldType;

/// The stream of lines that do not match.
pub const UNMATCHED_STREAM: &str = "unmatched";

/// How a line is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// By the regular expression `pattern`.
    #[default]
    Regex,
    /// As a web server's access log in the common format.
    #[serde(rename = "common")]
    CommonLog,
    /// As a web server's access log in the combined format.
    #[serde(rename = "combined")]
    CombinedLog,
    /// As a JSON object.
    Json,
}

/// What becomes of a line that does not match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// The tuple fails, is replayed, and becomes a dead letter in the end.
    #[default]
    Fail,
    /// It goes to the stream `unmatched`.
    Stream,
    /// It is dropped and counted.
    Drop,
}

/// Settings of [`Parse`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParseSettings {
    /// The field with the text. Default: `"line"`.
    pub field: String,
    /// How a line is read: `"regex"`, `"common"`, `"combined"` or `"json"`. Default: `"regex"`.
    pub format: Format,
    /// With `format = "regex"`: the regular expression; its named groups, `(?<name>…)`, are the
    /// fields. It may match anywhere in the line: `^` and `$` anchor it. Required then.
    pub pattern: Option<String>,
    /// With `format = "json"`: the keys to read, which are the fields. A missing key is null.
    /// Required then.
    pub fields: Vec<String>,
    /// The types of fields: `"string"`, `"i64"`, `"f64"`, `"bool"` or `"timestamp"`. Default:
    /// string; of the web server formats `status` and `size` are i64 and `time` is a timestamp;
    /// of JSON what the value is.
    pub types: Ordered<FieldType>,
    /// How timestamps are written, as strftime does: `"%d/%b/%Y:%H:%M:%S %z"`; or a number since
    /// 1970: `"unix"` (seconds), `"unix_ms"`, `"unix_us"`, `"unix_ns"`. Default: RFC 3339, or a
    /// number whose magnitude shows its unit; with the web server's formats, as they write it.
    pub time_format: Option<String>,
    /// The zone of timestamps that do not name one: `"UTC"`, an offset such as `"+02:00"`, or a name
    /// such as `"Europe/Berlin"`. Default: none, and such a timestamp does not match.
    pub time_zone: Option<String>,
    /// A text that stands for null, whatever the type. Default: none, and `"-"` with the web
    /// server's formats.
    pub null: Option<String>,
    /// Other fields of the input to pass on behind the parsed ones. Default: none.
    pub keep: Vec<String>,
    /// What becomes of a line that does not match: `"fail"`, `"stream"` or `"drop"`. Default:
    /// `"fail"`.
    pub unmatched: Unmatched,
}

impl Default for ParseSettings {
    fn default() -> ParseSettings {
        ParseSettings {
            field: "line".to_owned(),
            format: Format::default(),
            pattern: None,
            fields: Vec::new(),
            types: Ordered::default(),
            time_format: None,
            time_zone: None,
            null: None,
            keep: Vec::new(),
            unmatched: Unmatched::default(),
        }
    }
}

const ACCESS_LOG_TIME: &str = "%d/%b/%Y:%H:%M:%S %z";

enum Reader {
    Regex {
        regex: Regex,
        /// The group of each field.
        groups: Vec<usize>,
        places: CaptureLocations,
    },
    AccessLog(AccessLog),
    Json {
        keys: Vec<String>,
    },
}

/// The bolt `parse`.
pub struct Parse {
    settings: ParseSettings,
    reader: Reader,
    /// The parsed fields; those of `keep` follow them in the row.
    fields: Fields,
    types: Vec<Option<FieldType>>,
    times: TimeFormat,
    positions: Positions,
    unmatched: Counter,
}

impl Parse {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When a setting is missing, does not go with the format, or is malformed.
    pub fn new(mut settings: ParseSettings, effort: &Effort) -> Result<Parse, SettingError> {
        spend_names(effort, "keep", settings.keep.len())?;
        spend_names(effort, "fields", settings.fields.len())?;
        spend_names(effort, "types", settings.types.0.len())?;
        let is_access_log = matches!(settings.format, Format::CommonLog | Format::CombinedLog);
        if settings.format != Format::Regex && settings.pattern.is_some() {
            return Err(SettingError::at("pattern", "goes with format = \"regex\" only"));
        }
        if settings.format != Format::Json && !settings.fields.is_empty() {
            return Err(SettingError::at("fields", "goes with format = \"json\" only"));
        }
        if is_access_log {
            settings.null.get_or_insert_with(|| "-".to_owned());
        }
        let reader = reader(&settings, effort)?;
        let fields = reader.fields();
        let types = field_types(&settings, &fields, is_access_log)?;
        let times = times(&settings, &types, is_access_log)?;
        let positions = Positions::of(std::iter::once(&settings.field).chain(&settings.keep));
        Ok(Parse { settings, reader, fields, types, times, positions, unmatched: Counter::default() })
    }

    /// The values of the parsed fields.
    fn read(&mut self, text: &str) -> Result<Vec<Value>, String> {
        let null = self.settings.null.as_deref();
        let named = |field: usize, why: String| {
            format!("field `{}`: {why}", self.fields.iter().nth(field).map_or("", |f| f))
        };
        let typed = |field: usize, found: Option<&str>| {
            let Some(found) = found.filter(|found| Some(*found) != null) else { return Ok(Value::Null) };
            let wanted = self.types[field].unwrap_or_default();
            wanted.read(found, &self.times).map_err(|why| named(field, why))
        };
        match &mut self.reader {
            Reader::Regex { regex, groups, places } => {
                regex.captures_read(places, text).ok_or(NO_MATCH)?;
                let found = |group: &usize| places.get(*group).map(|(from, to)| &text[from..to]);
                groups.iter().enumerate().map(|(field, group)| typed(field, found(group))).collect()
            }
            Reader::AccessLog(log) => {
                let texts = log.read(text).ok_or(NO_MATCH)?;
                texts.into_iter().enumerate().map(|(field, found)| typed(field, found)).collect()
            }
            Reader::Json { keys } => {
                let object = Object::read(text).map_err(not_an_object)?;
                let is_null_text = |json: &RawValue| {
                    null.is_some()
                        && json.get().starts_with('"')
                        && json::text_of(json).ok().as_deref() == null
                };
                let value = |(field, key): (usize, &String)| {
                    let Some(json) = object.lookup(key) else { return Ok(Value::Null) };
                    let value = match self.types[field] {
                        _ if is_null_text(json) => Ok(Value::Null),
                        Some(wanted) => wanted.read_json(json, &self.times),
                        None => json::to_value(json),
                    };
                    value.map_err(|why| named(field, why))
                };
                keys.iter().enumerate().map(value).collect()
            }
        }
    }
}

/// Why a line is none of the format.
const NO_MATCH: &str = "the line does not match";

fn not_an_object(error: serde_json::Error) -> String {
    match error.classify() {
        Category::Data => "the line is no JSON object".to_owned(),
        _ => format!("the line is no JSON: {error}"),
    }
}

impl Reader {
    fn fields(&self) -> Fields {
        match self {
            Reader::Json { keys } => keys.iter().collect(),
            Reader::AccessLog(log) => log.fields().collect(),
            Reader::Regex { regex, .. } => regex.capture_names().flatten().collect(),
        }
    }
}

fn reader(settings: &ParseSettings, effort: &Effort) -> Result<Reader, SettingError> {
    let pattern = match (settings.format, &settings.pattern) {
        (Format::Json, _) if settings.fields.is_empty() => {
            return Err(SettingError::at("fields", "name the keys to read, for example fields = [\"user\"]"));
        }
        (Format::Json, _) => return Ok(Reader::Json { keys: settings.fields.clone() }),
        (Format::Regex, None) => {
            return Err(SettingError::at(
                "pattern",
                "write a regular expression with named groups, or a `format`",
            ));
        }
        (Format::Regex, Some(pattern)) => pattern,
        (Format::CommonLog, _) => return Ok(Reader::AccessLog(AccessLog::new(false))),
        (Format::CombinedLog, _) => return Ok(Reader::AccessLog(AccessLog::new(true))),
    };
    let regex = patterns::compile(pattern, effort).map_err(|why| SettingError::at("pattern", why))?;
    spend_names(effort, "pattern", regex.captures_len())?;
    let names = regex.capture_names().enumerate();
    let groups: Vec<usize> = names.filter(|(_, name)| name.is_some()).map(|(group, _)| group).collect();
    if groups.is_empty() {
        return Err(SettingError::at("pattern", "has no named group; write (?<name>…) around each field"));
    }
    let places = regex.capture_locations();
    Ok(Reader::Regex { regex, groups, places })
}

fn times(
    settings: &ParseSettings,
    types: &[Option<FieldType>],
    is_access_log: bool,
) -> Result<TimeFormat, SettingError> {
    let has_times = types.contains(&Some(FieldType::Timestamp));
    let given = [("time_format", &settings.time_format), ("time_zone", &settings.time_zone)];
    match given.iter().find(|(_, given)| given.is_some()) {
        Some((key, _)) if !has_times => {
            Err(SettingError::at(key, "goes with a field of type \"timestamp\" only; give one by `types`"))
        }
        _ => {
            let format = settings.time_format.as_deref().or(is_access_log.then_some(ACCESS_LOG_TIME));
            TimeFormat::new(format, settings.time_zone.as_deref()).map_err(|error| match error {
                TimeFormatError::Zone(why) => SettingError::at("time_zone", why),
                TimeFormatError::Format(why) => SettingError::at("time_format", why),
            })
        }
    }
}

fn field_types(
    settings: &ParseSettings,
    fields: &Fields,
    is_access_log: bool,
) -> Result<Vec<Option<FieldType>>, SettingError> {
    if let Some(unknown) = settings.types.keys().find(|field| fields.position(field).is_none()) {
        return Err(SettingError::at(
            &format!("types.{unknown}"),
            format!("there is no field `{unknown}` (fields: {fields})"),
        ));
    }
    let given =
        |field: &str| settings.types.0.iter().find(|(name, _)| name == field).map(|(_, given)| *given);
    let of_access_log = |field: &str| match field {
        "status" | "size" if is_access_log => Some(FieldType::I64),
        "time" if is_access_log => Some(FieldType::Timestamp),
        _ => None,
    };
    Ok(fields.iter().map(|field| given(field).or_else(|| of_access_log(field))).collect())
}

impl Bolt for Parse {
    fn declare(&self) -> Streams {
        let kept = self.settings.keep.iter().map(String::as_str);
        let streams =
            Streams::new(self.fields.iter().map(|field| field.as_str()).chain(kept).collect::<Fields>());
        match self.settings.unmatched {
            Unmatched::Stream => streams.stream(UNMATCHED_STREAM, [self.settings.field.as_str(), "error"]),
            Unmatched::Fail | Unmatched::Drop => streams,
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.require_field("field", &self.settings.field);
        self.settings.keep.iter().for_each(|field| check.require_field("keep", field));
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.unmatched = context.counter("unmatched");
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let mut kept = self.positions.values(&input)?;
        let line = kept.remove(0);
        let Some(text) = line.as_str() else {
            // The input's own accessor words the error.
            return input.str(&self.settings.field).map(|_| ());
        };
        let error = match self.read(text) {
            Ok(mut row) => {
                row.append(&mut kept);
                out.emit(row)?;
                return Ok(());
            }
            Err(error) => error,
        };
        self.unmatched.add(1);
        match self.settings.unmatched {
            Unmatched::Fail => return Err(TaskError::new(error)),
            Unmatched::Stream => out.emit_to(UNMATCHED_STREAM, (line, error))?,
            Unmatched::Drop => {}
        }
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within(
            "parse",
            "Takes a line of a log apart: by a pattern, as a web server's log, as JSON.",
            |settings: &ParseSettings, effort| Parse::new(settings.clone(), effort),
        )
        .output(
            "default: the named groups of `pattern`, or host, ident, user, time, method, path, \
             protocol, status, size (and referer, agent), or `fields`; then the fields of `keep`. \
             unmatched: `field`, error",
        )
        .example(
            r#"
[bolt.parse]
type = "parse"
inputs = ["lines"]
config = { format = "combined", unmatched = "stream" }
"#,
        );
}

#[cfg(test)]
mod tests {
    use crate::components::test_support::{bolt, refusal, texts};
    use crate::testing::TestTuple;

    fn line(text: &str) -> TestTuple {
        TestTuple::new([text]).fields(["line"])
    }

    /// The only row a line becomes, or the error.
    fn check(config: &str, text: &str, expected: &str) {
        let mut parse = bolt("parse", config);
        parse.execute(line(text));
        let rows = texts(&parse.take_rows("default"));
        let found = rows.first().or(parse.errors().first()).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{config} on {text}");
    }

    #[test]
    fn named_groups_become_typed_fields() {
        let level = r"pattern = '^(?<level>[A-Z]+) (?:took (?<ms>\d+) ms )?(?<what>.*)$'";
        check(level, "INFO took 12 ms done", "INFO 12 done");
        check(level, "INFO started", "INFO null started");
        check(&format!("{level}\ntypes = {{ ms = 'i64' }}"), "W took 07 ms x", "W 7 x");
        check(level, "info: no", "the line does not match");
        check("pattern = '(?<n>[a-z]+)'\ntypes = { n = 'i64' }", "seven", r#"field `n`: "seven" is no i64"#);
        check("pattern = '(?<n>.+)'\nnull = '?'", "?", "null");
        check(
            "pattern = '(?<t>.+)'\ntypes = { t = 'timestamp' }\ntime_format = '%Y-%m-%d %H:%M %z'",
            "2026-01-02 03:04 +0000",
            "2026-01-02T03:04:00Z",
        );
    }

    #[test]
    fn web_server_logs_are_known() {
        let combined = r#"203.0.113.7 - ada [10/Oct/2000:13:55:36 -0700] "GET /a?b=\"c\" HTTP/1.1" 200 2326 "http://x/y" "Mozilla/5.0 (X; \"Y\")""#;
        let parsed = r#"203.0.113.7 null ada 2000-10-10T20:55:36Z GET /a?b=\"c\" HTTP/1.1 200 2326 http://x/y Mozilla/5.0 (X; \"Y\")"#;
        check("format = 'combined'", combined, parsed);
        let common = r#"::1 - - [10/Oct/2000:13:55:36 +0000] "HEAD / HTTP/1.0" 304 -"#;
        check("format = 'common'", common, "::1 null null 2000-10-10T13:55:36Z HEAD / HTTP/1.0 304 null");
        check("format = 'combined'", common, "the line does not match");
        check("format = 'common'", combined, "the line does not match");
        check(
            "format = 'common'",
            &common.replace("10/Oct", "40/Oct"),
            r#"field `time`: "40/Oct/2000:13:55:36 +0000" is no timestamp: strptime parsing failed: %d failed: failed to parse day number: parameter 'day' is not in the required range of 1..=31"#,
        );
    }

    /// Half of the lines of a log from the open net do not have a well-formed request; each has a host,
    /// a time, a status and a size all the same.
    #[test]
    fn a_malformed_request_costs_no_other_field() {
        let check_request = |request: &str, expected: &str| {
            let line = format!(r#"192.0.2.7 - - [28/Nov/2026:10:00:03 +0000] "{request}" 400 157 "-" "-""#);
            let row = format!("192.0.2.7 null null 2026-11-28T10:00:03Z {expected} 400 157 null null");
            check("format = 'combined'", &line, &row);
        };
        check_request("", "null null null");
        check_request("-", "null null null");
        check_request(r"\x16\x03\x01", r"null \x16\x03\x01 null");
        check_request("GET /a b HTTP/1.1", "GET /a b HTTP/1.1");
    }

    #[test]
    fn an_integer_of_json_is_exact_or_does_not_match() {
        let json = "format = 'json'\nfields = ['id']";
        check(json, r#"{"id": 9223372036854775807, "other": 18446744073709551615}"#, "9223372036854775807");
        let misfit = "field `id`: the number 18446744073709551615 does not fit an i64";
        check(json, r#"{"id": 18446744073709551615}"#, misfit);
        let exact = format!("{json}\ntypes = {{ id = 'string' }}");
        check(&exact, r#"{"id": 18446744073709551615}"#, "18446744073709551615");
        check(&exact, r#"{"id": 1e2}"#, "1e2");
    }

    #[test]
    fn json_keys_become_fields() {
        let json = "format = 'json'\nfields = ['user.name', 'n', 'gone']";
        check(json, r#"{"n": 7, "user": {"name": "Ada"}}"#, "Ada 7 null");
        check(json, r#"{"user.name": "flat", "n": [1]}"#, "flat [1] null");
        check(json, "[1]", "the line is no JSON object");
        check("format = 'json'\nfields = ['n']\ntypes = { n = 'f64' }", r#"{"n": 7}"#, "7");
        check(
            "format = 'json'\nfields = ['n']\ntypes = { n = 'i64' }",
            r#"{"n": true}"#,
            "field `n`: true is of type bool",
        );
        let mut parse = bolt("parse", json);
        parse.execute(line("{"));
        assert!(parse.errors()[0].contains("line 1 column 1"), "{:?}", parse.errors());
    }

    #[test]
    fn what_does_not_match_fails_goes_aside_or_is_dropped() {
        let run = |unmatched: &str| {
            let mut parse = bolt("parse", &format!("pattern = '^(?<n>\\d+)$'\nunmatched = '{unmatched}'"));
            parse.execute_all([line("7"), line("x")]);
            assert_eq!(parse.counter("unmatched"), 1);
            (texts(&parse.take_rows("unmatched")), parse.acked().len(), parse.failed().len())
        };
        assert_eq!(run("fail"), (vec![], 1, 1));
        assert_eq!(run("stream"), (vec!["x the line does not match".to_owned()], 2, 0));
        assert_eq!(run("drop"), (vec![], 2, 0));
    }

    #[test]
    fn other_fields_are_passed_on() {
        let mut parse = bolt("parse", "pattern = '(?<n>\\d+)'\nkeep = ['file']");
        parse.execute(TestTuple::new(("a.log", "n 7")).fields(["file", "line"]));
        assert_eq!(texts(&parse.take_rows("default")), ["7 a.log"]);
    }

    #[test]
    fn wrong_settings_are_refused() {
        for (config, why) in [
            ("", "named groups"),
            ("pattern = '('", "regex parse error"),
            ("pattern = '(x)'", "no named group"),
            ("pattern = '(?<a>x)'\ntypes = { b = 'i64' }", "no field `b` (fields: a)"),
            ("pattern = '(?<a>x)'\ntypes = { a = 'int' }", "unknown variant `int`"),
            ("format = 'json'", "name the keys"),
            ("format = 'common'\npattern = 'x'", "goes with format = \"regex\""),
            ("format = 'common'\nfields = ['x']", "goes with format = \"json\""),
            ("pattern = '(?<a>x)'\ntime_format = '%F %T %z'", "goes with a field of type \"timestamp\" only"),
            ("pattern = '(?<a>x)'\ntime_zone = 'UTC'", "goes with a field of type \"timestamp\" only"),
            ("pattern = '(?<a>x)'\ntypes = { a = 'timestamp' }\ntime_format = '%F %!'", "directive `!`"),
            ("pattern = '(?<a>x)'\ntypes = { a = 'timestamp' }\ntime_format = '%F %T'", "set `time_zone`"),
            ("pattern = '(?<a>x)'\ntypes = { a = 'timestamp' }\ntime_zone = 'Mars'", "Mars"),
        ] {
            let refusal = refusal("parse", config);
            assert!(refusal.contains(why), "{config}: {refusal}");
        }
    }
}
