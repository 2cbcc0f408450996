//! Which records are written.

use std::fmt;
use std::str::FromStr;

use slog::{FilterLevel, Level};

/// Which records are written: a level for all, and one for each component that has its own.
///
/// # Examples
/// ```
/// use squall::logging::Levels;
///
/// let levels: Levels = "warn,count=debug,print=off".parse().unwrap();
/// assert_eq!(levels.to_string(), "warn,count=debug,print=off");
/// assert!("loud".parse::<Levels>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    default: FilterLevel,
    /// Few, so a list; at most one for each component.
    components: Vec<(String, FilterLevel)>,
}

impl Default for Levels {
    fn default() -> Levels {
        Levels::all(FilterLevel::Info)
    }
}

impl Levels {
    /// The same level for everything.
    pub fn all(level: FilterLevel) -> Levels {
        Levels { default: level, components: Vec::new() }
    }

    /// The level of a component, or of what belongs to none.
    pub fn level_of(&self, component: Option<&str>) -> FilterLevel {
        let own = self.components.iter().find(|(id, _)| Some(id.as_str()) == component);
        own.map_or(self.default, |&(_, level)| level)
    }

    /// Whether no component has a level of its own.
    pub(super) fn is_for_all(&self) -> bool {
        self.components.is_empty()
    }

    /// Whether no component could be concerned by a record of that level.
    pub(super) fn none_accepts(&self, level: Level) -> bool {
        !self.default.accepts(level) && !self.components.iter().any(|(_, own)| own.accepts(level))
    }
}

/// Why a text is no [`Levels`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LevelsError {
    /// Not one of the levels.
    #[error("`{0}` is no log level (off, critical, error, warn, info, debug, trace)")]
    UnknownLevel(String),
    /// An `=` with nothing before it.
    #[error("`{0}` names no component before the `=`")]
    NoComponent(String),
    /// Two levels for the same thing.
    #[error("two levels for {0}")]
    Twice(String),
}

impl FromStr for Levels {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<Levels, LevelsError> {
        let mut default = None;
        let mut components: Vec<(String, FilterLevel)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None if default.is_some() => return Err(LevelsError::Twice("everything".to_owned())),
                None => default = Some(parse_level(part)?),
                Some(("", _)) => return Err(LevelsError::NoComponent(part.to_owned())),
                Some((id, _)) if components.iter().any(|(other, _)| other == id) => {
                    return Err(LevelsError::Twice(format!("component `{id}`")));
                }
                Some((id, level)) => components.push((id.to_owned(), parse_level(level)?)),
            }
        }
        Ok(Levels { default: default.unwrap_or(FilterLevel::Info), components })
    }
}

fn parse_level(name: &str) -> Result<FilterLevel, LevelsError> {
    name.trim().parse().map_err(|()| LevelsError::UnknownLevel(name.trim().to_owned()))
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self.default))?;
        self.components.iter().try_for_each(|(id, level)| write!(f, ",{id}={}", name_of(*level)))
    }
}

fn name_of(level: FilterLevel) -> &'static str {
    match level {
        FilterLevel::Off => "off",
        FilterLevel::Critical => "critical",
        FilterLevel::Error => "error",
        FilterLevel::Warning => "warn",
        FilterLevel::Info => "info",
        FilterLevel::Debug => "debug",
        FilterLevel::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_names_levels_for_all_and_for_components() {
        let check = |text: &str, component: Option<&str>, expected: FilterLevel| {
            assert_eq!(text.parse::<Levels>().unwrap().level_of(component), expected, "{text}");
        };
        check("", None, FilterLevel::Info);
        check("WARN", Some("count"), FilterLevel::Warning);
        check("count=debug", None, FilterLevel::Info);
        check("count=debug", Some("count"), FilterLevel::Debug);
        check(" error , count = off", Some("split"), FilterLevel::Error);
    }

    #[test]
    fn a_wrong_spec_says_what_is_wrong() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Levels>().unwrap_err().to_string(), expected);
        };
        check("loud", "`loud` is no log level (off, critical, error, warn, info, debug, trace)");
        check("count=", "`` is no log level (off, critical, error, warn, info, debug, trace)");
        check("=info", "`=info` names no component before the `=`");
        check("info,debug", "two levels for everything");
        check("a=info,a=debug", "two levels for component `a`");
    }
}
