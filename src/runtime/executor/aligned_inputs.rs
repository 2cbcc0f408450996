//! The inputs of an executor that takes batches from an inbox, and the barriers on them.
//!
//! `flow::alignment` decides what may be executed before which barrier, and `flow::overtaking` what happens if barriers
//! do not come soon. Here are the links with their ids, the defects that tests plant, and when a barrier overtakes.

use std::time::Duration;

use crate::clock::Time;
use crate::ids::{CheckpointId, LinkId};
use crate::runtime::faults::CheckpointDefect;
use crate::runtime::flow::alignment::{Alignment, Barrier, Parcel};
use crate::runtime::flow::inbox::{Inbox, Taken};
use crate::runtime::flow::message::Incoming;
use crate::runtime::flow::overtaking::Overtaking;

/// The links of an executor that takes batches from an inbox, and the barriers on them.
pub struct AlignedInputs {
    alignment: Alignment<Incoming>,
    /// The links, in the order of their ids. The alignment numbers them in this order.
    links: Vec<LinkId>,
    /// The barrier that has come over all links and was not passed on yet.
    pub passing: Option<Barrier>,
    /// Barriers that have arrived, and count as outstanding until they were passed on.
    arrived: i64,
    /// Where barriers overtake. `None`: each waits for its turn.
    overtakes: Option<Overtakes>,
    /// The defect that a test has planted.
    defect: Option<PlantedDefect>,
}

/// When a barrier overtakes, and what was taken out of the inbox because of that.
struct Overtakes {
    overtaking: Overtaking<Incoming>,
    /// `alignment_timeout`.
    after: Duration,
    /// Since when a barrier waits, as far as it was seen.
    waiting_since: Option<Time>,
}

/// A defect that a test has planted in an alignment.
struct PlantedDefect {
    kind: CheckpointDefect,
    /// The checkpoint whose barrier was passed on last.
    passed: CheckpointId,
    /// Barriers that came after the one that was passed on, and still count as outstanding.
    ignored: i64,
    /// Whether a batch that was held has been chosen to be skipped.
    has_chosen: bool,
    /// Whether the batch that was handed out last is to be skipped.
    skips: bool,
}

impl PlantedDefect {
    fn new(kind: CheckpointDefect) -> PlantedDefect {
        PlantedDefect { kind, passed: CheckpointId::default(), ignored: 0, has_chosen: false, skips: false }
    }

    /// Whether nothing is aligned: the first barrier of a checkpoint is passed on, and the others are ignored.
    fn is_early(&self) -> bool {
        self.kind == CheckpointDefect::BarrierEarly
    }

    /// A barrier has arrived. Returns it if it is passed on at once.
    fn passes(&mut self, barrier: Barrier) -> Option<Barrier> {
        let is_first = std::mem::replace(&mut self.passed, barrier.checkpoint) != barrier.checkpoint;
        self.ignored += i64::from(!is_first);
        is_first.then_some(barrier)
    }

    /// A batch that was held is handed out.
    fn hands_out_held(&mut self) {
        let chooses = self.kind == CheckpointDefect::HeldBatchSkipped && !self.has_chosen;
        self.has_chosen |= chooses;
        self.skips = chooses;
    }
}

impl AlignedInputs {
    /// Of an executor to which these links lead. `blocks`: see `flow::alignment`. `timeout`: how long a barrier waits
    /// before it overtakes; `None`: for its turn.
    pub fn new(
        mut links: Vec<LinkId>,
        blocks: bool,
        timeout: Option<Duration>,
        defect: Option<CheckpointDefect>,
    ) -> AlignedInputs {
        links.sort_unstable();
        let overtakes = |after| Overtakes { overtaking: Overtaking::default(), after, waiting_since: None };
        AlignedInputs {
            overtakes: timeout.map(overtakes),
            alignment: Alignment::new(links.len(), blocks),
            links,
            passing: None,
            arrived: 0,
            defect: defect.map(PlantedDefect::new),
        }
    }

    /// The next batch that may be executed, from what was held or from `inbox`. If a barrier has come over all links,
    /// it is noted in `passing`, and there is no batch before it was passed on.
    pub fn next(&mut self, mut inbox: impl FnMut() -> Option<Taken>) -> Option<Incoming> {
        loop {
            if self.passing.is_some() {
                return None;
            }
            let parcel = match self.alignment.next_released() {
                Some(parcel) => {
                    if let (Some(defect), Parcel::Batch(_)) = (&mut self.defect, &parcel) {
                        defect.hands_out_held();
                    }
                    parcel
                }
                None => {
                    let ahead = self.overtakes.as_mut().and_then(|overtakes| overtakes.overtaking.pop());
                    let (position, parcel) = match ahead {
                        Some(ahead) => ahead,
                        // What comes now is to be recorded first: see `take_ahead`.
                        None if self.is_open() => return None,
                        None => match inbox()? {
                            Taken::Barrier(_, barrier)
                                if let Some(defect) =
                                    self.defect.as_mut().filter(|defect| defect.is_early()) =>
                            {
                                self.passing = defect.passes(barrier);
                                self.arrived += i64::from(self.passing.is_some());
                                continue;
                            }
                            taken => self.placed(taken),
                        },
                    };
                    match self.alignment.take(position, parcel) {
                        Some(parcel) => parcel,
                        None => continue,
                    }
                }
            };
            match parcel {
                Parcel::Batch(incoming) => return Some(incoming),
                Parcel::Barrier(barrier) => self.passing = Some(barrier),
            }
        }
    }

    /// What was taken, with the place of its link.
    fn placed(&mut self, taken: Taken) -> (usize, Parcel<Incoming>) {
        let (link, parcel) = match taken {
            Taken::Batch(incoming) => (incoming.link.id, Parcel::Batch(incoming)),
            Taken::Barrier(link, barrier) => {
                self.arrived += 1;
                (link.id, Parcel::Barrier(barrier))
            }
        };
        let place = self.links.binary_search(&link);
        (place.expect("only links of the executor lead to its inbox"), parcel)
    }

    /// What a defect does that a test has planted: how many barriers were ignored, which count as outstanding, and
    /// whether the batch that was handed out last is to be skipped.
    pub fn take_defect(&mut self) -> (i64, bool) {
        let take = |defect: &mut PlantedDefect| {
            (std::mem::take(&mut defect.ignored), std::mem::take(&mut defect.skips))
        };
        self.defect.as_mut().map_or((0, false), take)
    }

    /// The barrier was passed on. Returns how many barriers that count as outstanding it was made of. Others may have
    /// arrived of a later checkpoint, and are held.
    pub fn passed(&mut self) -> i64 {
        self.passing = None;
        if let Some(overtakes) = &mut self.overtakes {
            overtakes.waiting_since = None;
        }
        let parts = self.arrived.min(self.links.len() as i64);
        self.arrived -= parts;
        parts
    }

    /// Forgets all barriers. Returns the batches that were held, and how many barriers count as outstanding.
    pub fn clear(&mut self) -> (Vec<Incoming>, i64) {
        let batch = |parcel| match parcel {
            Parcel::Batch(incoming) => Some(incoming),
            Parcel::Barrier(_) => None,
        };
        let mut batches: Vec<Incoming> = self.alignment.clear().into_iter().filter_map(batch).collect();
        if let Some(overtakes) = &mut self.overtakes {
            batches.extend(overtakes.overtaking.clear().filter_map(batch));
            overtakes.waiting_since = None;
        }
        self.passing = None;
        (batches, std::mem::take(&mut self.arrived))
    }
}

/// Barriers that overtake.
impl AlignedInputs {
    /// When a barrier is to overtake that waits now.
    pub fn overtakes_at(&self) -> Time {
        let at = |overtakes: &Overtakes| Some(overtakes.waiting_since?.after(overtakes.after));
        self.overtakes.as_ref().and_then(at).unwrap_or(Time::NEVER)
    }

    /// Looks whether a barrier waits. Returns whether one is to overtake now.
    pub fn look(&mut self, inbox: &Inbox, now: Time) -> bool {
        let Some(overtakes) = &mut self.overtakes else { return false };
        if overtakes.overtaking.is_open() || self.passing.is_some() {
            return false;
        }
        if overtakes.waiting_since.is_none() {
            let waits = self.alignment.aligning().is_some()
                || overtakes.overtaking.has_barrier()
                || inbox.has_barrier();
            overtakes.waiting_since = waits.then_some(now);
        }
        self.overtakes_at() <= now
    }

    /// The barrier that is to overtake. Everything is taken out of the inbox for that. The last one never does: what waits
    /// in front of it must be executed before it, because no later checkpoint would have what comes of it.
    pub fn next_to_overtake(&mut self, inbox: &Inbox) -> Option<Barrier> {
        self.take_ahead(inbox, &mut |_| {});
        let overtakes = self.overtakes.as_mut()?;
        let found = overtakes.overtaking.next_barrier(&self.alignment).filter(|barrier| !barrier.last);
        if found.is_none() {
            overtakes.waiting_since = None;
        }
        found
    }

    /// The barrier overtakes. What is in flight is recorded. Returns how many barriers that count as outstanding it was
    /// made of so far.
    pub fn overtake(&mut self, record: &mut dyn FnMut(&Incoming)) -> i64 {
        let Some(overtakes) = &mut self.overtakes else { return 0 };
        overtakes.waiting_since = None;
        let parts = overtakes.overtaking.begin(&mut self.alignment, record) as i64;
        self.arrived -= parts;
        parts
    }

    /// Whether a barrier has overtaken, and is still to come over a link.
    pub fn is_open(&self) -> bool {
        self.overtakes.as_ref().is_some_and(|overtakes| overtakes.overtaking.is_open())
    }

    /// Takes everything out of the inbox. What is in flight is recorded. Returns how many barriers came that had overtaken
    /// and count as outstanding.
    pub fn take_ahead(&mut self, inbox: &Inbox, record: &mut dyn FnMut(&Incoming)) -> i64 {
        let mut parts = 0;
        while let Some(taken) = inbox.take_data() {
            let (place, parcel) = self.placed(taken);
            let Some(overtakes) = &mut self.overtakes else { continue };
            parts += i64::from(overtakes.overtaking.take_in(place, parcel, record));
        }
        self.arrived -= parts;
        parts
    }
}
