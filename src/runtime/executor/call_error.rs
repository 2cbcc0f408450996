//! Why a call of a bolt failed.

use std::any::Any;

use crate::api::{FailureCause, TaskError};
use crate::logging::panics::text_of;
use crate::text::shown;

/// Why a call failed, or a tuple that was held.
pub struct CallError {
    pub why: String,
    pub cause: FailureCause,
    /// Whether no other call can succeed.
    pub is_fatal: bool,
}

impl CallError {
    /// User code returned an error.
    pub fn returned(error: &TaskError) -> CallError {
        CallError { why: shown(error), cause: FailureCause::Failed, is_fatal: error.is_fatal() }
    }

    /// User code panicked.
    pub fn panicked(panic: &(dyn Any + Send)) -> CallError {
        CallError { why: text_of(panic), cause: FailureCause::Panicked, is_fatal: false }
    }
}
