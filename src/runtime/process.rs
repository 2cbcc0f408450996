//! What exists once in each process of a topology: resources that the tasks share, and worker hooks.
//!
//! 1. Resources are built first, in the order in which they were registered. Then hooks start, and after
//!    that tasks are prepared. If one fails, the hooks that have started are shut down, and nothing runs.
//! 2. A key that already has an object keeps it. So the caller that starts the topology, for example a
//!    test, can replace a registered resource.
//! 3. Hooks are shut down once, in reverse order: when the process ends in order, or at the latest when
//!    the worker is dropped.
//! 4. A panic of a factory or a hook is caught and reported as its error.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smol_str::SmolStr;

use crate::api::{TaskError, WorkerContext, WorkerHook};
use crate::logging::panics::{catch_unwind, text_of};
use crate::topology::graph::Topology;

/// Why a process cannot start its topology.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A resource could not be made.
    #[error("resource `{key}` cannot be made: {why}")]
    Resource {
        /// Its key.
        key: String,
        /// The error or panic of its factory.
        why: TaskError,
    },
    /// A worker hook did not start.
    #[error("worker hook `{hook}` cannot start: {why}")]
    Hook {
        /// Its type.
        hook: &'static str,
        /// Its error or panic.
        why: TaskError,
    },
}

impl ProcessError {
    /// Whether no other attempt can succeed: the user code returned [`TaskError::fatal`].
    pub fn is_fatal(&self) -> bool {
        let (ProcessError::Resource { why, .. } | ProcessError::Hook { why, .. }) = self;
        why.is_fatal()
    }
}

struct StartedHook {
    name: &'static str,
    hook: Box<dyn WorkerHook>,
}

/// The resources and hooks of this process.
pub struct Process {
    context: WorkerContext,
    started: Mutex<Vec<StartedHook>>,
}

impl Process {
    /// A process in which nothing was started.
    pub fn new(context: WorkerContext) -> Process {
        Process { context, started: Mutex::default() }
    }

    /// The context that user code gets.
    pub fn context(&self) -> &WorkerContext {
        &self.context
    }

    /// Builds the resources and starts the hooks of a topology.
    ///
    /// # Errors
    /// When one cannot be built or started; then the hooks that have started are shut down.
    pub fn begin(&self, topology: &Topology) -> Result<(), ProcessError> {
        let begun = self.make_resources(topology).and_then(|()| self.start_hooks(topology));
        if begun.is_err() {
            self.end();
        }
        begun
    }

    fn make_resources(&self, topology: &Topology) -> Result<(), ProcessError> {
        for resource in &topology.process.resources {
            let resources = self.context.resources();
            if resources.contains(&resource.key) {
                continue;
            }
            let object = caught(|| (resource.build)(&self.context))
                .map_err(|why| ProcessError::Resource { key: resource.key.to_string(), why })?;
            resources.set_shared(&resource.key, object);
        }
        Ok(())
    }

    fn start_hooks(&self, topology: &Topology) -> Result<(), ProcessError> {
        for spec in &topology.process.hooks {
            let start = || {
                let mut hook = (spec.build)();
                hook.start(&self.context)?;
                Ok(hook)
            };
            let hook = caught(start).map_err(|why| ProcessError::Hook { hook: spec.name, why })?;
            self.lock().push(StartedHook { name: spec.name, hook });
        }
        Ok(())
    }

    /// Shuts down the hooks that have started. A second call does nothing.
    pub fn end(&self) {
        let started = std::mem::take(&mut *self.lock());
        for StartedHook { name, mut hook } in started.into_iter().rev() {
            let end = || {
                hook.shutdown();
                drop(hook);
                Ok(())
            };
            if let Err(why) = caught(end) {
                slog::error!(self.context.logger(), "a worker hook did not shut down"; "hook" => name, "error" => %why);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StartedHook>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Calls user code; a panic becomes an error.
fn caught<T>(call: impl FnOnce() -> Result<T, TaskError>) -> Result<T, TaskError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(TaskError::new(text_of(&*panic))))
}

/// The name of this machine.
pub fn host_name() -> SmolStr {
    SmolStr::new(rustix::system::uname().nodename().to_string_lossy())
}
