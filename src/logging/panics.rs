//! Panics as records of the log: one each, whoever catches them.
//!
//! The standard hook prints a panic as raw text in the midst of JSON lines, and what catches a panic
//! of user code reports it a second time. So a log may take the hook's place, and code that catches
//! panics to report them does so by this module's [`catch_unwind`]:
//!
//! 1. A panic that nobody here catches becomes one record, with thread, place and message.
//! 2. A panic that is caught becomes no record: whoever catches it reports it, with [`text_of`].
//! 3. `RUST_BACKTRACE` adds the frames, a record each.
//!
//! The hook is the process's own, so only a face installs it: by
//! [`Logging::log_panics`](crate::logging::Logging::log_panics) while a log runs, and by
//! [`leave_to_catchers`] where none does.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo, UnwindSafe};
use std::sync::Once;
use std::thread;

use slog::Logger;

use crate::text::shown;

thread_local! {
    /// How many calls of [`catch_unwind`] this thread is in.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic of this thread was that will be caught.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// As [`std::panic::catch_unwind`], by code that reports what it caught. The hook of the log then
/// writes no record of its own.
///
/// # Errors
/// The payload of a panic; [`text_of`] makes a text of it.
#[inline]
pub fn catch_unwind<R>(call: impl FnOnce() -> R + UnwindSafe) -> thread::Result<R> {
    CATCHING.set(CATCHING.get() + 1);
    let result = panic::catch_unwind(call);
    CATCHING.set(CATCHING.get() - 1);
    result
}

/// Calls user code that may panic.
///
/// # Errors
/// The message of its panic, as [`text_of`] returns it.
#[inline]
pub fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    // What user code left half-done is dropped, or is its own.
    catch_unwind(panic::AssertUnwindSafe(call)).map_err(|payload| text_of(&*payload))
}

/// The message of a payload, and where this thread panicked if that is known. For the payload that
/// [`catch_unwind`] returned last.
pub fn text_of(payload: &(dyn Any + Send)) -> String {
    let message = shown(message_of(payload));
    match PLACE.take() {
        Some(place) => format!("panicked at {place}: {message}"),
        None => format!("panicked: {message}"),
    }
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)")
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// A log in the place of the process's panic hook, until it is dropped.
pub(super) struct PanicHook {
    before: Option<Hook>,
}

impl PanicHook {
    /// Puts a log there.
    pub fn install(logger: Logger) -> PanicHook {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| note(info, &logger)));
        PanicHook { before: Some(before) }
    }
}

impl Drop for PanicHook {
    fn drop(&mut self) {
        // A thread that panics may not change the hook, and the process is about to end.
        if !thread::panicking()
            && let Some(before) = self.before.take()
        {
            panic::set_hook(before);
        }
    }
}

/// Leaves panics that are caught here to whoever catches them, also where no log runs: `validate`
/// builds components, whose panics are diagnostics. What nobody catches, is written as before.
pub fn leave_to_catchers() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match CATCHING.get() {
            0 => before(info),
            _ => PLACE.set(info.location().map(ToString::to_string)),
        }));
    });
}

fn note(info: &PanicHookInfo<'_>, logger: &Logger) {
    let place = info.location().map(ToString::to_string);
    let place_text = place.clone().unwrap_or_else(|| "an unknown place".to_owned());
    if CATCHING.get() == 0 {
        let (thread, message) = (thread::current(), message_of(info.payload()));
        let name = thread.name().unwrap_or("(no name)");
        slog::crit!(logger, "a thread panicked"; "thread" => name, "at" => place_text, "message" => message);
    } else {
        PLACE.set(place);
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        for frame in backtrace.to_string().lines() {
            slog::error!(logger, "backtrace"; "frame" => frame.trim_start());
        }
    }
}
