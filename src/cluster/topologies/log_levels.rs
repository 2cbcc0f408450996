//! That somebody wants the processes of a topology to log other records for a while.

use serde::{Deserialize, Serialize};

use crate::cluster::control::LogSpec;

/// A wish about what is logged. The nimbus that leads takes it back when its time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevels {
    /// [`LevelChanges`](crate::logging::LevelChanges) as text: `debug`, `count=debug,split=trace`.
    pub levels: String,
    /// Until when, in milliseconds since 1970 by the clock of the nimbus that leads.
    pub until: u64,
}

impl LogLevels {
    /// What a process logs whose host would have it log this. What is not understood, because another squall has written
    /// it, changes nothing.
    pub fn of(wish: Option<&LogLevels>, log: &LogSpec) -> LogSpec {
        let changes = wish.and_then(|wish| wish.levels.parse().ok()).unwrap_or_default();
        LogSpec { levels: log.levels.with(&changes), ..log.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_changes_the_levels_of_a_host_and_nothing_else() {
        let host = LogSpec { levels: "warn".parse().expect("levels"), color: true, ..LogSpec::default() };
        let check = |levels: Option<&str>, expected: &str| {
            let wish = levels.map(|levels| LogLevels { levels: levels.to_owned(), until: 0 });
            let log = LogLevels::of(wish.as_ref(), &host);
            assert_eq!((&*log.levels.to_string(), log.color), (expected, true));
        };
        check(None, "warn");
        check(Some("count=debug"), "warn,count=debug");
        check(Some("shout"), "warn");
    }
}
