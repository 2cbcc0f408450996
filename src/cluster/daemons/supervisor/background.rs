//! What may take long, in threads of their own: reading from another host, or from a file system that does not answer.
//! Nobody waits for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::cluster::daemons::supervisor::wake::Wake;

/// Work of one kind, and what has come of it.
pub(super) struct Background<T> {
    /// The name of its threads.
    name: &'static str,
    results: Receiver<T>,
    result: Sender<T>,
    wake: Arc<Wake>,
}

impl<T: Send + 'static> Background<T> {
    /// None yet. `wake` is used when something is done.
    pub fn new(name: &'static str, wake: Arc<Wake>) -> Background<T> {
        let (result, results) = channel();
        Background { name, results, result, wake }
    }

    /// Begins some work.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn begin(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<(), String> {
        let (result, wake) = (self.result.clone(), Arc::clone(&self.wake));
        let run = move || {
            // An error means that the supervisor has ended.
            let _ = result.send(work());
            wake.wake();
        };
        let started = thread::Builder::new().name(self.name.to_owned()).spawn(run);
        started.map(|_| ()).map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// What was done since the last call.
    pub fn finished(&self) -> Vec<T> {
        self.results.try_iter().collect()
    }
}
