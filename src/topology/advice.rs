//! What is valid in a topology, and yet hardly what was meant.
//!
//! Validation refuses what cannot work. Advice is separate: `squall validate` shows it, `squall run` logs
//! it, and neither fails because of it.

use crate::config::AfterRetries;
use crate::ids::DEAD_LETTER_STREAM;
use crate::topology::graph::{Component, Topology};

impl Topology {
    /// What is hardly meant as it stands, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.components.iter().filter_map(|component| self.dead_letter_warning(component)).collect()
    }

    /// A limit of a bolt's own whose letters go nowhere, or a taker of letters that never come.
    fn dead_letter_warning(&self, bolt: &Component) -> Option<String> {
        let letters_at_once = bolt.options.on_error.is_some_and(|it| it.then == AfterRetries::DeadLetter);
        if letters_at_once || bolt.is_spout() || bolt.streams.get(DEAD_LETTER_STREAM).is_some() {
            return None;
        }
        let id = &bolt.id;
        let takes = |taker: &&Component| {
            taker.inputs.iter().any(|i| i.component == *id && i.stream == DEAD_LETTER_STREAM)
        };
        let taker = self.components.iter().find(takes);
        match (taker, bolt.options.max_replays, bolt.options.max_replays.or(self.options.max_replays)) {
            (None, Some(max), _) if max < u32::MAX => Some(format!(
                "bolt `{id}` sets `max_replays`, but no bolt takes `{id}.{DEAD_LETTER_STREAM}`: what it fails \
                 after {max} replays is given up and counts as failed"
            )),
            (Some(taker), _, Some(u32::MAX)) => Some(format!(
                "bolt `{}` takes the dead letters of bolt `{id}`, whose `max_replays` is off: what is replayed \
                 without a limit never becomes one",
                taker.id
            )),
            _ => None,
        }
    }
}
