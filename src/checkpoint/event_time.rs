//! How far event time had come in a task when a checkpoint was taken.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::tuple::Timestamp;

/// How far event time had come in a task when a checkpoint was taken. Empty where the topology has no event time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTimeEntry {
    /// Of a bolt: its watermark. `None`: it had none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Timestamp>,
    /// Of a component with `event_time`: the greatest time that it had emitted, by split. A task that names no splits has
    /// one without a name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latest: BTreeMap<SmolStr, Timestamp>,
}

impl EventTimeEntry {
    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        *self == EventTimeEntry::default()
    }

    /// The same for a component, of which this is another task: each of its tasks begins with the least watermark, and
    /// with the splits of all. So it does not matter which task has which split, or how many there are now.
    pub(crate) fn add(&mut self, other: &EventTimeEntry) {
        self.watermark = self.watermark.min(other.watermark);
        for (split, latest) in &other.latest {
            let known = self.latest.entry(split.clone()).or_insert(*latest);
            *known = (*known).min(*latest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_as_far_as_its_least_task() {
        let entry = |watermark: Option<i64>, latest: &[(&str, i64)]| EventTimeEntry {
            watermark: watermark.map(Timestamp),
            latest: latest.iter().map(|(split, at)| (SmolStr::new(split), Timestamp(*at))).collect(),
        };
        let mut all = entry(Some(7), &[("a", 3), ("", 5)]);
        all.add(&entry(Some(4), &[("b", 9), ("", 6)]));
        assert_eq!(all, entry(Some(4), &[("a", 3), ("b", 9), ("", 5)]));
        all.add(&entry(None, &[]));
        assert_eq!(all.watermark, None);
        assert_eq!(serde_json::to_string(&EventTimeEntry::default()).expect("it is JSON"), "{}");
        let text = serde_json::to_string(&all).expect("it is JSON");
        assert_eq!(serde_json::from_str::<EventTimeEntry>(&text).expect("it was written"), all);
    }
}
