//! Calls into user code around a task: building an instance, its hooks, and its end.
//!
//! User code may panic anywhere. Every call here catches the panic, reports it with the component and
//! the task, and continues. If a hook panics, the other hooks are still called. If an instance panics
//! while it is dropped, the process does not end.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::{CounterId, TaskError, TaskHook};
use crate::clock::Time;
use crate::config::ErrorOptions;
use crate::logging::panics::{catch_unwind, guarded, text_of};
use crate::runtime::errors::ErrorReporter;
use crate::runtime::executor::step::ExecutorHandles;

/// When a broken task is built again. The pause doubles each time, from `restart_min` to `restart_max`. It
/// starts again at `restart_min` if the last instance lived longer than `restart_max`. A task that failed
/// for good is not built again.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// Not before this.
    pub due: Time,
    pause: Duration,
    /// Since when there is an instance.
    lives_since: Option<Time>,
    /// Whether the task was built since everything last began.
    built: bool,
    /// Whether the task was ever built.
    is_open: bool,
}

impl Restart {
    /// Of a task that was not built yet.
    pub fn new() -> Restart {
        Restart { due: Time::ZERO, pause: Duration::ZERO, lives_since: None, built: false, is_open: false }
    }

    /// The task cannot be built, now or later: the run ends without it.
    pub fn give_up(&mut self) {
        self.due = Time::NEVER;
    }

    /// Whether the task is never built again.
    pub fn is_over(&self) -> bool {
        self.due == Time::NEVER
    }

    /// The task broke (or could not be built).
    pub fn broke(&mut self, now: Time, options: &ErrorOptions) {
        if self.is_over() {
            return;
        }
        if self.lives_since.take().is_some_and(|since| now.since(since) > options.restart_max) {
            self.pause = Duration::ZERO;
        }
        self.pause = (self.pause * 2).clamp(options.restart_min, options.restart_max);
        self.due = now.after(self.pause);
    }

    /// Everything begins anew, so the task is built as at its start.
    pub fn begin_anew(&mut self) {
        if !self.is_over() {
            *self = Restart { is_open: self.is_open, ..Restart::new() };
        }
    }

    /// The task is built again without a pause.
    pub fn at_once(&mut self, now: Time) {
        if !self.is_over() {
            (self.due, self.pause) = (now, Duration::ZERO);
        }
    }

    /// Notes that the task was built; returns whether it had been built before.
    fn built(&mut self, now: Time) -> bool {
        self.lives_since = Some(now);
        std::mem::replace(&mut self.built, true)
    }

    /// Builds an instance if that is due. `None` if it is not due, or if user code returned an error,
    /// which was reported.
    ///
    /// # Errors
    /// The text of a panic of user code. The caller must then call `break_down` of the task.
    pub fn build<T>(
        &mut self,
        build: impl FnOnce() -> Result<T, TaskError>,
        errors: &ErrorReporter,
        handles: &ExecutorHandles,
        now: Time,
    ) -> Result<Option<T>, String> {
        if self.due > now {
            return Ok(None);
        }
        match catch_unwind(AssertUnwindSafe(build)) {
            Ok(Ok(instance)) => {
                if !std::mem::replace(&mut self.is_open, true) {
                    // Relaxed: whoever reads it a little later waits a little longer.
                    errors.lifecycle.unopened.fetch_sub(1, Ordering::Relaxed);
                }
                if self.built(now) {
                    handles.address.gauges.count(CounterId::RESTARTS, 1);
                }
                Ok(Some(instance))
            }
            Ok(Err(error)) => {
                errors.report(&error, now);
                if error.is_fatal() {
                    self.give_up();
                }
                self.broke(now, &handles.errors);
                Ok(None)
            }
            Err(panic) => Err(text_of(&*panic)),
        }
    }
}

/// Drops an instance that broke. If it panics once more, that is reported, too.
pub fn drop_broken<T>(broken: T, errors: &ErrorReporter, now: Time) {
    if catch_unwind(AssertUnwindSafe(|| drop(broken))).is_err() {
        errors.report_text("panicked again while it was dropped", now);
    }
}

/// Calls each hook of a task. A panic of a hook is reported, and the other hooks are still called.
pub fn call_hooks(
    hooks: &mut [Box<dyn TaskHook>],
    errors: &ErrorReporter,
    now: Time,
    mut call: impl FnMut(&mut dyn TaskHook),
) {
    for hook in hooks {
        if let Err(panic) = guarded(|| call(&mut **hook)) {
            errors.report_text(&format!("hook {panic}"), now);
        }
    }
}

/// Drops what is left of a task: an instance that was not closed, and its hooks. Panics are reported.
pub fn drop_left<T>(
    instance: Option<T>,
    hooks: &mut Vec<Box<dyn TaskHook>>,
    errors: &ErrorReporter,
    now: Time,
) {
    if let Err(panic) = guarded(|| drop(instance)) {
        errors.report_text(&format!("dropped, it {panic}"), now);
    }
    for hook in hooks.drain(..) {
        if let Err(panic) = guarded(|| drop(hook)) {
            errors.report_text(&format!("hook, dropped, {panic}"), now);
        }
    }
}

/// The end of an instance: its last call, and its drop. Panics of either are reported.
pub fn end_instance<T: ?Sized>(
    mut instance: Box<T>,
    errors: &ErrorReporter,
    now: Time,
    last: impl FnOnce(&mut T),
) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| last(&mut instance))) {
        errors.report_text(&text_of(&*panic), now);
    }
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(instance))) {
        errors.report_text(&format!("dropped, it {}", text_of(&*panic)), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_slow_down_and_recover() {
        let options = ErrorOptions::default();
        let at = |ms: u64| Time(ms * 1_000_000);
        let mut restart = Restart::new();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            restart.broke(at(0), &options);
            pauses.push(restart.due.since(at(0)).as_millis());
        }
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 30_000);
        assert!(!restart.built(at(0)));
        restart.broke(at(40_000), &options);
        assert_eq!(restart.due, at(40_100), "it was well for longer than the longest pause");
        restart.give_up();
        restart.broke(at(50_000), &options);
        assert!(restart.is_over(), "a test that breaks it does not bring it back");
    }

    /// The time since the start, or since the end of the last instance, is no life of an instance.
    #[test]
    fn a_task_that_cannot_be_built_is_tried_less_and_less_often() {
        let options = ErrorOptions::default();
        for once_built in [false, true] {
            let mut restart = Restart::new();
            if once_built {
                restart.built(Time::ZERO);
            }
            let mut pauses = Vec::new();
            for _ in 0..20 {
                let now = restart.due;
                restart.broke(now, &options);
                pauses.push(restart.due.since(now));
            }
            assert!(pauses.is_sorted() && pauses[19] == options.restart_max, "{pauses:?}");
        }
    }
}
