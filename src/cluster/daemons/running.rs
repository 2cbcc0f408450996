//! How a daemon runs: step after step, when something has changed and when a step asks for the next one, until a signal
//! ends it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::cluster::coordination::{Coordination, NodePath, Notice, Notify};
use crate::cluster::signals;

/// How soon a signal is seen.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// The exit code after a second signal.
const ENDED_AT_ONCE: i32 = 1;

/// Set by the first signal that asks this process to end. The second one ends it at once.
#[derive(Clone, Debug)]
pub struct EndRequest(Arc<AtomicBool>);

impl EndRequest {
    /// Catches the signals that ask a process to end.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn on_signals() -> io::Result<EndRequest> {
        let wanted = Arc::new(AtomicBool::new(false));
        for signal in signals::draining() {
            // In this order: the first signal only sets the flag, the second one finds it set.
            signal_hook::flag::register_conditional_shutdown(signal, ENDED_AT_ONCE, Arc::clone(&wanted))?;
            signal_hook::flag::register(signal, Arc::clone(&wanted))?;
        }
        Ok(EndRequest(wanted))
    }

    /// One that no signal sets: see [`EndRequest::set`].
    pub fn by_hand() -> EndRequest {
        EndRequest(Arc::default())
    }

    /// Requests the end.
    pub fn set(&self) {
        // Relaxed: nothing else is read because of it.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether an end was requested.
    pub fn is_there(&self) -> bool {
        // Relaxed: nothing else is read because of it.
        self.0.load(Ordering::Relaxed)
    }
}

/// Calls `step` when something has changed at or below one of these nodes, and when the time has come that the step
/// before has returned, until the end is requested.
pub fn run(
    coordination: &dyn Coordination,
    watched: &[NodePath],
    end: &EndRequest,
    mut step: impl FnMut() -> Duration,
) {
    let (sender, changes) = channel();
    let notify: Arc<Notify> = Arc::new(move |notice: Notice| _ = sender.send(notice));
    watched.iter().for_each(|node| coordination.watch(node, &notify));
    while !end.is_there() {
        let next = step();
        let mut waited = Duration::ZERO;
        while waited < next && !end.is_there() {
            let look = LOOK_MAX.min(next - waited);
            match changes.recv_timeout(look) {
                // Many changes are one reason to look.
                Ok(_) => {
                    while changes.try_recv().is_ok() {}
                    break;
                }
                Err(RecvTimeoutError::Timeout) => waited += look,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }
}
