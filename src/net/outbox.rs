//! The payloads of executors for other workers, until the poller takes them.
//!
//! An executor must not wait for a peer or for the poller, nor make a system call for each batch. So
//! there is a queue for each peer. Its lock is held while one item or one vector is moved. A working
//! poller is not woken; [`queues`] explains why no item is left behind.
//!
//! 1. What one executor pushes to one peer is taken in the order of the pushes.
//! 2. The outbox neither refuses nor drops; credit bounds how many tuples and bytes it holds.
//! 3. When a peer is replaced, the poller first takes what is queued for it, and the mesh drops that and
//!    reports it as lost. Only then do executors see the new membership. So what is pushed by an
//!    executor that has seen the new incarnation goes to that incarnation.

mod queues;
mod sync;

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::outbound::{LinkCredit, Outbound, PayloadKind};
use crate::clock::Time;
use crate::ids::WorkerId;
use crate::runtime::flow::outlet::Outlet;
use queues::{Queues, Wake};

/// Ends the poller's wait. Called from any thread, at most once for each wait.
pub type WakePoller = Arc<dyn Fn() + Send + Sync>;

/// A queue for each peer. Shared by the executors of a worker and its poller.
pub struct Outbox {
    queues: Queues<Outbound>,
    /// Set once, when the poller is bound. What was pushed before is taken in its first round.
    wake: OnceLock<WakePoller>,
}

impl Outbox {
    /// An outbox for this number of workers, including this worker itself.
    pub fn new(workers: usize) -> Outbox {
        Outbox { queues: Queues::new(workers), wake: OnceLock::new() }
    }

    /// Queues a payload to a worker. Waits neither for that worker nor for the poller.
    ///
    /// # Panics
    /// When there is no such worker, which is a defect of the plan.
    pub fn push(&self, to: WorkerId, message: Outbound) {
        let (bytes, sent_at) = (message.bytes.len() as u64, message.sent_at.0);
        self.wake_if(self.queues.push(to.index(), message, bytes, sent_at));
    }

    /// Bytes that the poller has not taken yet.
    pub fn queued_bytes(&self, to: WorkerId) -> u64 {
        self.queues.bytes(to.index())
    }

    /// When the oldest payload that the poller has not taken yet was sent.
    pub fn oldest(&self, to: WorkerId) -> Option<Time> {
        self.queues.oldest(to.index()).map(Time)
    }

    /// Makes the poller begin a round at once, for something that is not in this outbox: credit to
    /// return, for which a producer may wait, or a command.
    pub fn wake_poller(&self) {
        self.wake_if(self.queues.announce(true));
    }

    /// Sets how the poller is woken. A second call fails.
    pub(crate) fn connect(&self, wake: WakePoller) -> Result<(), AlreadyConnected> {
        self.wake.set(wake).map_err(|_| AlreadyConnected)
    }

    /// See [`Queues::look`].
    pub(crate) fn look(&self) -> bool {
        self.queues.look()
    }

    /// See [`Queues::is_urgent`].
    pub(crate) fn is_urgent(&self) -> bool {
        self.queues.is_urgent()
    }

    /// See [`Queues::linger`].
    pub(crate) fn linger(&self) -> bool {
        self.queues.linger()
    }

    /// See [`Queues::fall_asleep`].
    pub(crate) fn fall_asleep(&self) -> bool {
        self.queues.fall_asleep()
    }

    /// Passes all that is queued to `send`, peer after peer. `taken` is an empty buffer to reuse.
    pub(crate) fn take_all(&self, taken: &mut Vec<Outbound>, mut send: impl FnMut(WorkerId, Outbound)) {
        for peer in 0..self.queues.len() {
            let to = WorkerId(u16::try_from(peer).expect("workers are numbered by 16 bits"));
            self.queues.take(peer, taken);
            taken.drain(..).for_each(|message| send(to, message));
        }
    }

    fn wake_if(&self, wake: Wake) {
        // `wake` is set before the poller can sleep or linger.
        if let (Wake::Needed, Some(wake)) = (wake, self.wake.get()) {
            wake();
        }
    }
}

/// The outlet to one worker, which executors use.
struct PeerOutlet {
    outbox: Arc<Outbox>,
    to: WorkerId,
    payload_max: usize,
}

impl Outlet for PeerOutlet {
    fn send(&self, kind: PayloadKind, bytes: Vec<u8>, credit: Option<LinkCredit>, now: Time) {
        self.outbox.push(self.to, Outbound::new(kind, bytes, credit, now));
    }

    fn wake_poller(&self) {
        self.outbox.wake_poller();
    }

    fn payload_max(&self) -> usize {
        self.payload_max
    }
}

/// An outlet to a worker. Payloads of more than `payload_max` bytes must not be sent.
pub fn outlet(outbox: &Arc<Outbox>, to: WorkerId, payload_max: usize) -> Arc<dyn Outlet> {
    Arc::new(PeerOutlet { outbox: Arc::clone(outbox), to, payload_max })
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("peers", &self.queues.len()).finish_non_exhaustive()
    }
}

/// An outbox has one poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlreadyConnected;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::{HEADROOM, PayloadKind};
    use super::*;

    fn message(text: &str, sent_at: u64) -> Outbound {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend_from_slice(text.as_bytes());
        Outbound::new(PayloadKind::Data, bytes, None, Time(sent_at))
    }

    fn take(outbox: &Outbox) -> Vec<(u16, String)> {
        let mut found = Vec::new();
        outbox.take_all(&mut Vec::new(), |to, message| {
            found.push((to.0, String::from_utf8(message.payload().to_vec()).unwrap()));
        });
        found
    }

    #[test]
    fn what_is_pushed_is_taken_once_in_order() {
        let outbox = Outbox::new(3);
        for (to, text) in [(2, "a"), (1, "b"), (2, "c")] {
            outbox.push(WorkerId(to), message(text, 0));
        }
        assert!(outbox.look());
        let expected = [(1, "b"), (2, "a"), (2, "c")].map(|(to, text)| (to, text.to_owned()));
        assert_eq!(take(&outbox), expected);
        assert_eq!(take(&outbox), []);
        assert!(!outbox.look());
    }

    #[test]
    fn gauges_show_what_waits() {
        let (outbox, to) = (Outbox::new(2), WorkerId(1));
        assert_eq!((outbox.queued_bytes(to), outbox.oldest(to)), (0, None));
        outbox.push(to, message("one", 7));
        outbox.push(to, message("two", 9));
        assert_eq!(outbox.queued_bytes(to), 2 * (HEADROOM as u64 + 3));
        assert_eq!(outbox.oldest(to), Some(Time(7)));
        take(&outbox);
        assert_eq!((outbox.queued_bytes(to), outbox.oldest(to)), (0, None));
    }

    #[test]
    fn a_lingering_poller_is_woken_for_much_and_for_commands() {
        let (outbox, wakes) = (Outbox::new(2), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&wakes);
        let wake = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        outbox.connect(wake).unwrap();
        let check = |expected| assert_eq!(wakes.load(Ordering::Relaxed), expected);
        let half = "x".repeat(queues::MUCH as usize / 2);

        assert!(outbox.linger());
        outbox.push(WorkerId(0), message(&half, 0));
        outbox.push(WorkerId(1), message(&half, 0));
        assert!(outbox.linger(), "it may go on");
        check(0);
        outbox.push(WorkerId(1), message(&half, 0));
        check(1);
        assert!(outbox.is_urgent() && !outbox.linger());
        outbox.push(WorkerId(1), message(&half, 0));
        outbox.wake_poller();
        check(1);
        assert!(outbox.look());
        assert!(!outbox.is_urgent() && outbox.linger());
        outbox.wake_poller();
        check(2);
    }

    #[test]
    fn only_a_sleeping_poller_is_woken_and_only_once() {
        let (outbox, wakes) = (Outbox::new(2), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&wakes);
        let wake = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        assert_eq!(outbox.connect(Arc::new(wake.clone())), Ok(()));
        assert_eq!(outbox.connect(Arc::new(wake)), Err(AlreadyConnected));
        let check = |expected| assert_eq!(wakes.load(Ordering::Relaxed), expected);

        outbox.push(WorkerId(1), message("at work", 0));
        check(0);
        assert!(!outbox.fall_asleep(), "something was pushed since the last look");
        assert!(outbox.look());
        assert!(outbox.fall_asleep());
        check(0);
        outbox.push(WorkerId(1), message("first", 0));
        outbox.push(WorkerId(0), message("second", 0));
        check(1);
        assert!(outbox.look());
        assert!(outbox.fall_asleep());
        outbox.wake_poller();
        check(2);
    }
}
