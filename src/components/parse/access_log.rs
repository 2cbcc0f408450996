//! Web servers' access logs as they are: scanners, broken clients, odd users and all.
//!
//! A line is taken apart first by its columns, and its request then by itself. So a request that is
//! none (empty, bytes of a TLS handshake, a path with blanks) costs no other column: host, time,
//! status and size are there, and what of the request cannot be separated stays whole in `path`.
//!
//! 1. Columns are found by a strict pattern, in which a quote inside of quotes is escaped, as Apache
//!    and nginx write it. Only a line that does not fit is tried with the lenient one, in which it
//!    need not be.
//! 2. Behind the columns of the combined format there may be others, which are left out.
//! 3. Texts stay as they are written: `\"` and `\x16` are not decoded.

use std::sync::LazyLock;

use regex::{CaptureLocations, Regex};

/// The fields of the common format, in the order of the line.
const COMMON_FIELDS: [&str; 9] =
    ["host", "ident", "user", "time", "method", "path", "protocol", "status", "size"];
/// What the combined format has behind them.
const COMBINED_FIELDS: [&str; 2] = ["referer", "agent"];

/// The columns of one line, by their groups: host, ident, user, time, request, status, size, and
/// referer and agent of the combined format.
struct Patterns {
    strict: Regex,
    lenient: Regex,
}

impl Patterns {
    fn new(strict: &str, lenient: &str) -> Patterns {
        let regex = |source: &str| Regex::new(source).expect("it is a constant, and tested");
        Patterns { strict: regex(strict), lenient: regex(lenient) }
    }
}

static COMMON: LazyLock<Patterns> = LazyLock::new(|| {
    Patterns::new(
        r#"^(\S+) (\S+) (.*?) \[([^\]]*)\] "((?:[^"\\]|\\.)*)" (\d{3}|-) (\d+|-)$"#,
        r#"^(\S+) (\S+) (.*?) \[([^\]]*)\] "(.*)" (\d{3}|-) (\d+|-)$"#,
    )
});
static COMBINED: LazyLock<Patterns> = LazyLock::new(|| {
    Patterns::new(
        r#"^(\S+) (\S+) (.*?) \[([^\]]*)\] "((?:[^"\\]|\\.)*)" (\d{3}|-) (\d+|-) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"(?: |$)"#,
        r#"^(\S+) (\S+) (.*?) \[([^\]]*)\] "(.*?)" (\d{3}|-) (\d+|-) "(.*?)" "(.*)""#,
    )
});

/// Reads lines of one format.
pub(super) struct AccessLog {
    strict: Regex,
    lenient: Regex,
    places: CaptureLocations,
    is_combined: bool,
}

impl AccessLog {
    /// The combined format, or the common one.
    pub(super) fn new(is_combined: bool) -> AccessLog {
        let patterns: &Patterns = if is_combined { &COMBINED } else { &COMMON };
        // Clones share what was compiled, and have scratch space of their own.
        let (strict, lenient) = (patterns.strict.clone(), patterns.lenient.clone());
        AccessLog { places: strict.capture_locations(), strict, lenient, is_combined }
    }

    /// The names of the fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static str> + use<> {
        let behind = if self.is_combined { COMBINED_FIELDS.as_slice() } else { &[] };
        COMMON_FIELDS.iter().chain(behind).copied()
    }

    /// The texts of the fields in their order; `None` when the line is of another format.
    pub(super) fn read<'t>(&mut self, line: &'t str) -> Option<Vec<Option<&'t str>>> {
        if self.strict.captures_read(&mut self.places, line).is_none() {
            self.lenient.captures_read(&mut self.places, line)?;
        }
        let column = |group: usize| self.places.get(group).map(|(from, to)| &line[from..to]);
        let user = column(3)?;
        // One column more before the brackets is another format, and no user of that name.
        if user.starts_with("- ") {
            return None;
        }
        // Apache writes a user without a name as two quotes.
        let user = if user == "\"\"" { "" } else { user };
        let Request { method, path, protocol } = Request::of(column(5)?);
        let mut texts =
            vec![column(1), column(2), Some(user), column(4), method, path, protocol, column(6), column(7)];
        if self.is_combined {
            texts.extend([column(8), column(9)]);
        }
        Some(texts)
    }
}

/// The parts of a request line.
#[derive(Debug, PartialEq, Eq)]
struct Request<'t> {
    method: Option<&'t str>,
    path: Option<&'t str>,
    protocol: Option<&'t str>,
}

impl<'t> Request<'t> {
    /// Takes a request apart; one that is none is a path as a whole.
    fn of(text: &'t str) -> Request<'t> {
        let whole = Request { method: None, path: (!text.is_empty()).then_some(text), protocol: None };
        let Some((method, rest)) = text.split_once(' ').filter(|(method, _)| is_token(method)) else {
            return whole;
        };
        match rest.rsplit_once(' ') {
            Some((path, protocol)) if protocol.starts_with("HTTP/") && !path.is_empty() => {
                Request { method: Some(method), path: Some(path), protocol: Some(protocol) }
            }
            // HTTP/0.9 names no protocol, and its only method is GET; others are seen in logs too.
            None if !rest.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                Request { method: Some(method), path: Some(rest), protocol: None }
            }
            _ => whole,
        }
    }
}

/// Whether a text is what RFC 9110 calls a token, as methods are.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combined(line: &str) -> Option<String> {
        let texts = AccessLog::new(true).read(line)?;
        Some(texts.into_iter().map(|text| text.unwrap_or("null")).collect::<Vec<_>>().join("|"))
    }

    /// A line with this request, and what its method, path and protocol are.
    #[track_caller]
    fn request(request: &str, expected: &str) {
        let line = format!(r#"192.0.2.7 - - [t] "{request}" 400 0 "-" "-""#);
        assert_eq!(combined(&line), Some(format!("192.0.2.7|-|-|t|{expected}|400|0|-|-")), "{request}");
    }

    #[test]
    fn requests_that_are_none_cost_no_other_column() {
        request("GET / HTTP/1.1", "GET|/|HTTP/1.1");
        request("", "null|null|null");
        request("-", "null|-|null");
        request(r"\x16\x03\x01\x02\x00\x01", r"null|\x16\x03\x01\x02\x00\x01|null");
        request(
            r"\x03\x00\x00/*\xE0 Cookie: mstshash=Admin",
            r"null|\x03\x00\x00/*\xE0 Cookie: mstshash=Admin|null",
        );
        request("GET /a b.html?q=x y HTTP/1.0", "GET|/a b.html?q=x y|HTTP/1.0");
        request("GET  HTTP/1.1", "null|GET  HTTP/1.1|null");
        request("GET /old", "GET|/old|null");
        request("hello there", "null|hello there|null");
        request("hello there you", "null|hello there you|null");
        request("GET", "null|GET|null");
        request("get /lower HTTP/1.1", "get|/lower|HTTP/1.1");
        request("M-SEARCH * HTTP/1.1", "M-SEARCH|*|HTTP/1.1");
        request("VERSION-CONTROL /svn HTTP/1.1", "VERSION-CONTROL|/svn|HTTP/1.1");
        request("PRI * HTTP/2.0", "PRI|*|HTTP/2.0");
        request("CONNECT [2001:db8::1]:443 HTTP/1.1", "CONNECT|[2001:db8::1]:443|HTTP/1.1");
        request(r"GET /\x22quoted\x22 HTTP/1.1", r"GET|/\x22quoted\x22|HTTP/1.1");
        request(r#"GET /\"quoted\" HTTP/1.1"#, r#"GET|/\"quoted\"|HTTP/1.1"#);
        request(r"GET /back\\ HTTP/1.1", r"GET|/back\\|HTTP/1.1");
        request(r#"GET /raw"quote HTTP/1.1"#, r#"GET|/raw"quote|HTTP/1.1"#);
    }

    #[test]
    fn hosts_and_users_are_of_all_kinds() {
        let check = |head: &str, expected: &str| {
            let line = format!(r#"{head} [t] "GET / HTTP/1.1" 200 5 "-" "-""#);
            let found = combined(&line).unwrap_or_default();
            assert_eq!(found.split("|t|").next(), Some(expected), "{head}");
        };
        check("2001:db8::1%eth0 - -", "2001:db8::1%eth0|-|-");
        check("unix: - -", "unix:|-|-");
        check("crawler.example.org ident ada", "crawler.example.org|ident|ada");
        check("192.0.2.7 - Ada King Lovelace", "192.0.2.7|-|Ada King Lovelace");
        check("192.0.2.7 - \"\"", "192.0.2.7|-|");
        check("192.0.2.7 - EXAMPLE\\\\ada", "192.0.2.7|-|EXAMPLE\\\\ada");
        check("192.0.2.7 - [ada] x", "192.0.2.7|-|[ada] x");
        // A column more, as `vhost_combined` has it.
        check("www.example.org:443 192.0.2.7 - -", "");
    }

    #[test]
    fn what_stands_behind_is_left_out_and_quotes_are_kept() {
        let check = |tail: &str, expected: &str| {
            let line = format!(r#"192.0.2.7 - - [t] "GET / HTTP/1.1" 200 5 {tail}"#);
            let found = combined(&line);
            assert_eq!(
                found.as_deref().and_then(|found| found.split("|200|5|").nth(1)),
                Some(expected),
                "{tail}"
            );
        };
        check(r#""-" "Alba 10\" tablet \\ x""#, r#"-|Alba 10\" tablet \\ x"#);
        check(r#""https://e.org/?a=\"b\"" "x" "10.0.0.1" 0.012 0.010"#, r#"https://e.org/?a=\"b\"|x"#);
        check(r#""-" "Mozilla "quoted" x""#, r#"-|Mozilla "quoted" x"#);
        check(r#""" """#, "|");
        assert_eq!(combined(r#"192.0.2.7 - - [t] "GET / HTTP/1.1" 200 5"#), None);
        assert_eq!(combined("no log at all"), None);
    }
}
