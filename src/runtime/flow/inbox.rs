//! Inboxes: how batches and control messages reach an executor.
//!
//! An inbox has two lanes, made of `flume` channels. They carry batches and never single tuples, because
//! a channel operation costs as much as ten tuples. The data lane needs no bound of its own, because
//! credit bounds it (see `link`). Within it, batches of a cycle have a channel of their own, and are taken
//! first. The control lane is bounded by its causes: ack records and outcomes by the number of trees,
//! which credit and `max_spout_pending` limit, and commands by their sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flume::{Receiver, Sender};
use smol_str::SmolStr;

use crate::api::{CounterId, SourceMeta};
use crate::clock::Time;
use crate::event_time::TimeMark;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::link::{Link, LinkKind};
use crate::runtime::flow::message::{Control, DataMessage, Incoming};
use crate::runtime::flow::run_queue::{RunQueue, Urgency};
use crate::topology::plan::ExecutorId;
use crate::tuple::codec;

/// What was taken from the data lane.
pub enum Taken {
    /// A batch, decoded.
    Batch(Incoming),
    /// A barrier, and the link that it came over.
    Barrier(Arc<Link>, Barrier),
    /// How far event time is, and the link that this came over.
    Time(Arc<Link>, TimeMark),
}

/// The reading end of an executor's lanes.
pub struct Inbox {
    /// Batches of the cycle that the executor is part of. Taken before the others, so that batches leave
    /// the cycle before more enter.
    cycle: Receiver<DataMessage>,
    /// All other batches.
    data: Receiver<DataMessage>,
    /// Everything else.
    pub control: Receiver<Control>,
    gauges: Arc<Gauges>,
    /// Barriers that wait in the lanes.
    barriers: Arc<AtomicUsize>,
}

impl Inbox {
    /// Whether a barrier waits.
    pub fn has_barrier(&self) -> bool {
        // Relaxed, here and below: it says that looking is worth while, and whoever sends a barrier wakes the reader.
        self.barriers.load(Ordering::Relaxed) > 0
    }

    /// The next that came from the executor's cycle. From now on it counts as "in hand".
    pub fn take_cycle(&self) -> Option<Taken> {
        self.cycle.try_recv().ok().map(|message| self.take(message))
    }

    /// The next of everything else.
    pub fn take_data(&self) -> Option<Taken> {
        self.data.try_recv().ok().map(|message| self.take(message))
    }

    /// The next of both.
    pub fn take_any(&self) -> Option<Taken> {
        self.take_cycle().or_else(|| self.take_data())
    }

    fn take(&self, message: DataMessage) -> Taken {
        self.gauges.waiting_since.set(message.sent_at().0);
        self.gauges.change(CounterId::QUEUED, -(message.charge().tuples as i64));
        match message {
            DataMessage::Batch(incoming) => Taken::Batch(incoming),
            DataMessage::Encoded { bytes, incoming } => Taken::Batch(self.unpack(&bytes, incoming)),
            DataMessage::Barrier { link, barrier, .. } => {
                self.barriers.fetch_sub(1, Ordering::Relaxed);
                Taken::Barrier(link, barrier)
            }
            DataMessage::Time { link, mark, .. } => Taken::Time(link, mark),
        }
    }

    /// Decodes a batch. If that fails, the batch is left empty: its credit is released, its trees expire.
    fn unpack(&self, bytes: &[u8], mut incoming: Incoming) -> Incoming {
        let arity = incoming.input.batch.arity;
        match codec::decode(bytes) {
            Ok(batch) if batch.arity == arity && batch.len() == incoming.charge.tuples => {
                incoming.input.batch = batch
            }
            Ok(_) => self.refuse(&incoming.input.meta, "its arity or length is not as announced"),
            Err(error) => self.refuse(&incoming.input.meta, &error.to_string()),
        }
        incoming
    }

    #[cold]
    fn refuse(&self, meta: &SourceMeta, why: &str) {
        self.gauges.count(CounterId::ERRORS, 1);
        let (component, task) = (&meta.component, meta.task);
        self.gauges.set_last_error(format!("a batch from `{component}`, task {task}, is refused: {why}"));
    }

    /// Whether no batch waits.
    pub fn has_no_data(&self) -> bool {
        self.data.is_empty() && self.cycle.is_empty()
    }

    /// Notes that no batch is in hand and none was in the lanes when the caller looked.
    pub fn note_empty(&self, now: Time) {
        self.gauges.waiting_since.note_empty(now.0, || self.has_no_data());
    }
}

/// The writing end of an executor's lanes. Cheap to clone.
#[derive(Clone)]
pub struct InboxSender {
    /// Whose inbox it is.
    pub executor: ExecutorId,
    /// The executor that is woken: the head of the chain that the executor is part of.
    head: ExecutorId,
    /// Its component, for messages to people.
    pub component: SmolStr,
    /// What it shows of itself.
    pub gauges: Arc<Gauges>,
    cycle: Sender<DataMessage>,
    data: Sender<DataMessage>,
    control: Sender<Control>,
    barriers: Arc<AtomicUsize>,
    run_queue: Arc<RunQueue>,
}

impl InboxSender {
    /// Sends a batch. If the executor has ended, the batch is dropped: then the worker is ending, too.
    pub fn send_data(&self, message: DataMessage, urgency: Urgency) {
        let sent_at = message.sent_at().0;
        if matches!(message, DataMessage::Barrier { .. }) {
            self.barriers.fetch_add(1, Ordering::Relaxed);
        }
        self.gauges.change(CounterId::QUEUED, message.charge().tuples as i64);
        let lane = match message.link().kind {
            LinkKind::Acyclic => &self.data,
            LinkKind::InCycle | LinkKind::Feedback => &self.cycle,
        };
        self.gauges.waiting_since.put(sent_at, || {
            let _ = lane.send(message);
        });
        self.run_queue.wake(self.head, urgency);
    }

    /// Sends a control message.
    pub fn send_control(&self, control: impl Into<Control>, urgency: Urgency) {
        let _ = self.control.send(control.into());
        self.run_queue.wake(self.head, urgency);
    }

    /// Makes the executor runnable, so that it is stepped.
    pub fn wake(&self, urgency: Urgency) {
        self.run_queue.wake(self.head, urgency);
    }
}

/// The two ends of a new inbox. `head` is the executor that takes from it, for itself or for an executor that
/// is chained behind it.
pub fn inbox(
    executor: ExecutorId,
    head: ExecutorId,
    component: SmolStr,
    run_queue: &Arc<RunQueue>,
) -> (InboxSender, Inbox) {
    let (cycle_in, cycle_out) = flume::unbounded();
    let (data_in, data_out) = flume::unbounded();
    let (control_in, control_out) = flume::unbounded();
    let gauges = Arc::new(Gauges::new());
    let run_queue = Arc::clone(run_queue);
    let barriers = Arc::<AtomicUsize>::default();
    let inbox = Inbox {
        cycle: cycle_out,
        data: data_out,
        control: control_out,
        gauges: Arc::clone(&gauges),
        barriers: Arc::clone(&barriers),
    };
    (
        InboxSender {
            executor,
            head,
            component,
            gauges,
            cycle: cycle_in,
            data: data_in,
            control: control_in,
            barriers,
            run_queue,
        },
        inbox,
    )
}
