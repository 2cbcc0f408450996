//! What a check has found.

use serde_json::{Value, json};

use crate::text::shown;

/// What to do about a file of TLS.
pub(super) const MEND: &str = "mend the file that it names";

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    /// It works, but not for everything or not for long.
    Warning,
    Error,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: String,
    pub(super) state: State,
    pub(super) found: String,
    /// What to do about it.
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { check: check.into(), state: State::Ok, found: found.into(), advice: None }
    }

    pub(super) fn warning(
        check: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let advice = Some(advice.into());
        Finding { check: check.into(), state: State::Warning, found: found.into(), advice }
    }

    pub(super) fn error(
        check: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { state: State::Error, ..Finding::warning(check, found, advice) }
    }

    pub(super) fn in_json(&self) -> Value {
        json!({
            "check": self.check,
            "state": self.state.name(),
            "found": self.found,
            "advice": self.advice,
        })
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Error => "error",
        }
    }
}

/// A line for each finding, and one below it for what to do.
pub(super) fn for_people(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, state, found, advice } in findings {
        let state = state.name();
        text.push_str(&format!("{state:<7}  {check:width$}  {}\n", shown(found)));
        if let Some(advice) = advice {
            text.push_str(&format!("{:9}{:width$}  {}\n", "", "", shown(advice)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_what_to_do_another() {
        let findings = [
            Finding::ok("open files", "1024"),
            Finding::error("state directory", "it is read-only", "set XDG_STATE_HOME"),
        ];
        let expected = "\
ok       open files       1024
error    state directory  it is read-only
                          set XDG_STATE_HOME
";
        assert_eq!(for_people(&findings), expected);
        let expected = json!({
            "check": "state directory", "state": "error", "found": "it is read-only", "advice": "set XDG_STATE_HOME",
        });
        assert_eq!(findings[1].in_json(), expected);
        assert_eq!(findings[0].in_json()["advice"], Value::Null);
    }
}
