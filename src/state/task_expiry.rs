//! What has expired in the state of a task: when it is removed.

use crate::clock::Time;
use crate::state::task_state::TaskState;

impl TaskState {
    /// Removes some of what has expired, a bounded amount. Between calls only.
    #[inline]
    pub(crate) fn remove_expired(&mut self, now: Time) {
        if !self.expiring.is_empty() {
            for state in &self.expiring {
                let counts_event_time = self.states[*state as usize].is_in_event_time();
                let now = if counts_event_time { self.event_now } else { now };
                self.columns[*state as usize].remove_expired(now, &mut self.checked);
            }
            self.free_places();
            let ttls = self.states.iter().filter_map(|state| state.ttl).map(|ttl| ttl.period());
            if let Some(shortest) = ttls.min()
                && let Some((spill, mut parts)) = self.spill_parts()
            {
                spill.sweep(shortest, &mut parts);
            }
        }
    }

    /// When `remove_expired` is to be called if nothing else happens; [`Time::NEVER`] if nothing expires.
    pub(crate) fn next_removal(&self) -> Time {
        // Event time goes on with a watermark, and so with a step.
        let in_processing_time = |state: &&u32| !self.states[**state as usize].is_in_event_time();
        let expiring = self.expiring.iter().filter(in_processing_time);
        let removals = expiring.map(|state| self.columns[*state as usize].next_removal());
        let sweep = self.spill.as_ref().map_or(Time::NEVER, |spill| spill.next_sweep());
        removals.min().map_or(Time::NEVER, |removal| removal.min(sweep))
    }
}
