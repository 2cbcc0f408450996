//! The inputs of an executor that takes batches from an inbox, and the barriers on them.
//!
//! `flow::alignment` decides what may be executed before which barrier, and `flow::overtaking` what is in flight when a
//! barrier goes on, because it overtakes or because links lead back. Here are the links with their ids, the defects that
//! tests plant, and when a barrier overtakes.

use std::time::Duration;

use crate::clock::Time;
use crate::event_time::TimeMark;
use crate::ids::{CheckpointId, LinkId};
use crate::runtime::faults::CheckpointDefect;
use crate::runtime::flow::alignment::{Alignment, Barrier, Parcel};
use crate::runtime::flow::inbox::{Inbox, Taken};
use crate::runtime::flow::link::LinkKind;
use crate::runtime::flow::message::Incoming;
use crate::runtime::flow::overtaking::Overtaking;

/// What came over a link and is no barrier. It keeps its place among the barriers.
pub enum Arrival {
    /// A batch.
    Batch(Incoming),
    /// How far event time is on this link.
    Time(LinkId, TimeMark),
}

/// Records batches of what arrives, unless `forgets`.
fn batches(record: &mut dyn FnMut(&Incoming), forgets: bool) -> impl FnMut(&Arrival) {
    move |arrival| match arrival {
        Arrival::Batch(incoming) if !forgets => record(incoming),
        Arrival::Batch(_) | Arrival::Time(..) => {}
    }
}

/// The links of an executor that takes batches from an inbox, and the barriers on them.
pub struct AlignedInputs {
    alignment: Alignment<Arrival>,
    /// The links, in the order of their ids. The alignment numbers them in this order.
    links: Vec<LinkId>,
    /// The barrier that has come over all links and was not passed on yet.
    pub passing: Option<Barrier>,
    /// Barriers that have arrived, and count as outstanding until they were passed on.
    arrived: i64,
    /// Whether links lead back, so that each barrier leaves something in flight.
    leads_back: bool,
    /// What was taken out of the inbox before its turn. `None`: no barrier overtakes, and no link leads back.
    ahead: Option<Overtaking<Arrival>>,
    /// When a barrier overtakes. `None`: each waits for its turn.
    overtakes: Option<Overtakes>,
    /// The defect that a test has planted.
    defect: Option<PlantedDefect>,
}

/// When a barrier overtakes.
struct Overtakes {
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

    /// Whether nothing is recorded of what is in flight.
    fn forgets(&self) -> bool {
        self.kind == CheckpointDefect::InFlightForgotten
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
        mut links: Vec<(LinkId, LinkKind)>,
        blocks: bool,
        timeout: Option<Duration>,
        defect: Option<CheckpointDefect>,
    ) -> AlignedInputs {
        links.sort_unstable_by_key(|(id, _)| *id);
        let back: Vec<bool> = links.iter().map(|(_, kind)| *kind == LinkKind::Feedback).collect();
        let in_cycle = links.iter().map(|(_, kind)| *kind != LinkKind::Acyclic).collect();
        let defect = defect.map(PlantedDefect::new);
        // A barrier that is passed on early leaves nothing in flight.
        let leads_back = back.contains(&true) && !defect.as_ref().is_some_and(PlantedDefect::is_early);
        AlignedInputs {
            alignment: Alignment::new(back, blocks),
            links: links.into_iter().map(|(id, _)| id).collect(),
            passing: None,
            arrived: 0,
            leads_back,
            ahead: (leads_back || timeout.is_some()).then(|| Overtaking::new(in_cycle)),
            overtakes: timeout.map(|after| Overtakes { after, waiting_since: None }),
            defect,
        }
    }

    /// What comes next that is no barrier, from what was held or from `inbox`. `may_enter`: whether something may be taken
    /// that comes from outside of the cycle. If a barrier has come over all links, it is noted in `passing`, and there is
    /// no batch before it was passed on; but if it waits because the one before is still to come round, there are those
    /// that come round.
    pub fn next(&mut self, inbox: &Inbox, may_enter: impl Fn() -> bool) -> Option<Arrival> {
        loop {
            if self.passing.is_some() && !self.is_open() {
                return None;
            }
            let parcel = match self.alignment.next_released() {
                Some(parcel) => {
                    if let (Some(defect), Parcel::Batch(Arrival::Batch(_))) = (&mut self.defect, &parcel) {
                        defect.hands_out_held();
                    }
                    parcel
                }
                None => {
                    let (place, parcel) = self.next_to_align(inbox, &may_enter)?;
                    if let Some(defect) = self.defect.as_mut().filter(|defect| defect.is_early())
                        && let Parcel::Barrier(barrier) = parcel
                    {
                        self.passing = defect.passes(barrier);
                        self.arrived -= i64::from(self.passing.is_none());
                        continue;
                    }
                    match self.alignment.take(place, parcel) {
                        Some(parcel) => parcel,
                        None => continue,
                    }
                }
            };
            match parcel {
                Parcel::Batch(arrival) => return Some(arrival),
                Parcel::Barrier(barrier) => self.passing = Some(barrier),
            }
        }
    }

    /// What comes next, with the place of its link: of the cycle first, and what was taken ahead before what is in the
    /// inbox. As long as something is recorded (see `take_ahead`), nothing is taken from the inbox.
    fn next_to_align(
        &mut self,
        inbox: &Inbox,
        may_enter: &impl Fn() -> bool,
    ) -> Option<(usize, Parcel<Arrival>)> {
        if let Some(next) = self.ahead.as_mut().and_then(Overtaking::pop_cycle) {
            return Some(next);
        }
        let is_open = self.is_open();
        if !is_open && let Some(taken) = inbox.take_cycle() {
            return Some(self.placed(taken));
        }
        if !may_enter() {
            return None;
        }
        match self.ahead.as_mut().and_then(Overtaking::pop_data) {
            None if !is_open => inbox.take_data().map(|taken| self.placed(taken)),
            next => next,
        }
    }

    /// Whether nothing waits that was taken out of the inbox before its turn.
    pub fn has_none_ahead(&self) -> bool {
        self.ahead.as_ref().is_none_or(Overtaking::is_empty)
    }

    /// What was taken, with the place of its link.
    fn placed(&mut self, taken: Taken) -> (usize, Parcel<Arrival>) {
        let (link, parcel) = match taken {
            Taken::Batch(incoming) => (incoming.link.id, Parcel::Batch(Arrival::Batch(incoming))),
            Taken::Time(link, mark) => (link.id, Parcel::Batch(Arrival::Time(link.id, mark))),
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

    /// Whether something may be in flight when a barrier is passed on that has come over all links.
    pub fn leads_back(&self) -> bool {
        self.leads_back
    }

    /// The barrier was passed on, and nothing is in flight. Returns how many barriers that count as outstanding it was made
    /// of. Others may have arrived of a later checkpoint, and are held.
    pub fn passed(&mut self) -> i64 {
        self.forget_passing();
        let is_early = self.defect.as_ref().is_some_and(PlantedDefect::is_early);
        let parts = if is_early { self.arrived } else { self.alignment.passed() as i64 };
        self.arrived -= parts;
        parts
    }

    fn forget_passing(&mut self) {
        self.passing = None;
        if let Some(overtakes) = &mut self.overtakes {
            overtakes.waiting_since = None;
        }
    }

    /// Forgets all barriers. Returns what was held, and how many barriers count as outstanding.
    pub fn clear(&mut self) -> (Vec<Arrival>, i64) {
        self.forget_passing();
        let arrival = |parcel| match parcel {
            Parcel::Batch(arrival) => Some(arrival),
            Parcel::Barrier(_) => None,
        };
        let mut arrivals: Vec<Arrival> = self.alignment.clear().into_iter().filter_map(arrival).collect();
        if let Some(ahead) = &mut self.ahead {
            arrivals.extend(ahead.clear().filter_map(arrival));
        }
        (arrivals, std::mem::take(&mut self.arrived))
    }
}

/// Barriers that go on while something is in flight.
impl AlignedInputs {
    /// When a barrier is to overtake that waits now.
    pub fn overtakes_at(&self) -> Time {
        let at = |overtakes: &Overtakes| Some(overtakes.waiting_since?.after(overtakes.after));
        self.overtakes.as_ref().and_then(at).unwrap_or(Time::NEVER)
    }

    /// Looks whether a barrier waits. Returns whether one is to overtake now.
    pub fn look(&mut self, inbox: &Inbox, now: Time) -> bool {
        let (Some(overtakes), Some(ahead)) = (&mut self.overtakes, &self.ahead) else { return false };
        if ahead.is_open() || self.passing.is_some() {
            return false;
        }
        if overtakes.waiting_since.is_none() {
            let waits = self.alignment.aligning().is_some() || ahead.has_barrier() || inbox.has_barrier();
            overtakes.waiting_since = waits.then_some(now);
        }
        self.overtakes_at() <= now
    }

    /// The barrier that is to overtake. Everything is taken out of the inbox for that. The last one never does: what waits
    /// in front of it must be executed before it, because no later checkpoint would have what comes of it.
    pub fn next_to_overtake(&mut self, inbox: &Inbox) -> Option<Barrier> {
        self.take_ahead(inbox, &mut |_| {});
        let next = self.ahead.as_ref()?.next_barrier(&self.alignment);
        let found = next.filter(|barrier| !barrier.last);
        if let (None, Some(overtakes)) = (found, &mut self.overtakes) {
            overtakes.waiting_since = None;
        }
        found
    }

    /// The barrier goes on, and what is in flight is recorded. Returns how many barriers that count as outstanding it was
    /// made of so far.
    pub fn goes_on(&mut self, record: &mut dyn FnMut(&Incoming)) -> i64 {
        self.forget_passing();
        let forgets = self.forgets();
        let Some(ahead) = &mut self.ahead else { return 0 };
        let parts = ahead.begin(&mut self.alignment, &mut batches(record, forgets)) as i64;
        self.arrived -= parts;
        parts
    }

    /// Whether a barrier has gone on, and is still to come over a link.
    pub fn is_open(&self) -> bool {
        self.ahead.as_ref().is_some_and(Overtaking::is_open)
    }

    fn forgets(&self) -> bool {
        self.defect.as_ref().is_some_and(PlantedDefect::forgets)
    }

    /// Takes everything out of the inbox. What is in flight is recorded. Returns how many barriers came that had gone on and
    /// count as outstanding.
    pub fn take_ahead(&mut self, inbox: &Inbox, record: &mut dyn FnMut(&Incoming)) -> i64 {
        let mut parts = 0;
        let forgets = self.forgets();
        let mut record = batches(record, forgets);
        while let Some(taken) = inbox.take_any() {
            let (place, parcel) = self.placed(taken);
            let Some(ahead) = &mut self.ahead else { continue };
            parts += i64::from(ahead.take_in(place, parcel, &mut record));
        }
        self.arrived -= parts;
        parts
    }
}
