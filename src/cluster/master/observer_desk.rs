//! Where those are answered who ask a master how its topology goes: one answer is for all who ask within a while.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::link::Observers;
use crate::cluster::master::run::Shared;
use crate::cluster::observed::answer_line;

/// An answer is used so long for all who ask.
const ANSWER_AGE_MAX: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct ObserverDesk {
    observers: Observers,
    epoch: u64,
    /// The last answer, and when it was made.
    last: Option<(Time, Arc<[u8]>)>,
}

impl ObserverDesk {
    /// Nobody was answered yet. `epoch`: that of the master.
    pub fn new(observers: Observers, epoch: u64) -> ObserverDesk {
        ObserverDesk { observers, epoch, last: None }
    }

    /// Answers all who have asked. The counters are added up only if somebody has, and if the last answer is old.
    pub fn answer(&mut self, shared: &Shared) {
        let (epoch, last, now) = (self.epoch, &mut self.last, shared.clock.now());
        self.observers.answer(|| match last {
            Some((at, line)) if now.since(*at) < ANSWER_AGE_MAX => Arc::clone(line),
            _ => {
                let line = answer_line(shared.observed(epoch));
                *last = Some((now, Arc::clone(&line)));
                line
            }
        });
    }
}
