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
        let LevelChanges { all, components } = text.parse()?;
        Ok(Levels { default: all.unwrap_or(FilterLevel::Info), components })
    }
}

/// What is to be written instead: by everything, or by some components.
///
/// # Examples
/// ```
/// use squall::logging::{LevelChanges, Levels};
///
/// let levels: Levels = "warn,print=off".parse().unwrap();
/// let changes: LevelChanges = "count=debug".parse().unwrap();
/// assert_eq!(levels.with(&changes).to_string(), "warn,print=off,count=debug");
/// let changes: LevelChanges = "debug".parse().unwrap();
/// assert_eq!(levels.with(&changes).to_string(), "debug");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelChanges {
    /// That of everything, if it changes; also of components that had another one.
    all: Option<FilterLevel>,
    components: Vec<(String, FilterLevel)>,
}

impl LevelChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.components.is_empty()
    }

    /// The components that are named.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.components.iter().map(|(id, _)| &**id)
    }
}

impl Levels {
    /// These levels, with changes.
    pub fn with(&self, changes: &LevelChanges) -> Levels {
        let mut levels = changes.all.map_or_else(|| self.clone(), Levels::all);
        for (id, level) in &changes.components {
            levels.components.retain(|(other, _)| other != id);
            levels.components.push((id.clone(), *level));
        }
        levels
    }
}

impl FromStr for LevelChanges {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<LevelChanges, LevelsError> {
        let mut changes = LevelChanges::default();
        let components = &mut changes.components;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=').map(|(id, level)| (id.trim(), level)) {
                None if changes.all.is_some() => return Err(LevelsError::Twice("everything".to_owned())),
                None => changes.all = Some(parse_level(part)?),
                Some(("", _)) => return Err(LevelsError::NoComponent(part.to_owned())),
                Some((id, _)) if components.iter().any(|(other, _)| other == id) => {
                    return Err(LevelsError::Twice(format!("component `{id}`")));
                }
                Some((id, level)) => components.push((id.to_owned(), parse_level(level)?)),
            }
        }
        Ok(changes)
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
    fn changes_replace_what_they_name_and_leave_the_rest() {
        let check = |levels: &str, changes: &str, expected: &str| {
            let (levels, changes): (Levels, LevelChanges) =
                (levels.parse().unwrap(), changes.parse().unwrap());
            assert_eq!(levels.with(&changes).to_string(), expected, "{levels} with {changes:?}");
        };
        check("info,count=warn", "", "info,count=warn");
        check("info,count=warn", "count=trace", "info,count=trace");
        check(
            "info,count=warn,print=off",
            "count=debug,split=error",
            "info,print=off,count=debug,split=error",
        );
        check("info,count=warn", "debug", "debug");
        check("info,count=warn", "debug,count=warn", "debug,count=warn");
        assert!("".parse::<LevelChanges>().unwrap().is_empty());
        assert!("loud".parse::<LevelChanges>().is_err());
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
