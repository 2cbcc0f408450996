//! Why a Rust value and a tuple do not fit each other, and where in them.

use std::fmt::Display;

use crate::tuple::fields::Fields;

/// Why a Rust value and a tuple do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerdeError {
    /// The struct has a member that the stream has no field for.
    #[error("there is no field `{field}` (fields: {fields})")]
    UnknownField {
        /// The member.
        field: String,
        /// The fields of the stream.
        fields: Fields,
    },
    /// The struct has no member for a field of the stream.
    #[error("no value was given for field `{field}`")]
    MissingField {
        /// The field.
        field: String,
    },
    /// A sequence or tuple has more or fewer elements than the stream has fields.
    #[error("{found} values do not make a tuple of {expected} (fields: {fields})")]
    Arity {
        /// Fields of the stream.
        expected: usize,
        /// Elements given.
        found: usize,
        /// The fields of the stream.
        fields: Fields,
    },
    /// A value without field names cannot be a row.
    #[error("a tuple is written from a struct, a map or a sequence, not from {found}")]
    NotARow {
        /// The kind of value that was given.
        found: &'static str,
    },
    /// Something inside has the wrong type or range.
    #[error("{}{reason}", if .path.is_empty() { String::new() } else { format!("`{}`: ", .path) })]
    Mismatch {
        /// The place, as `field.member.3`; empty at the top level.
        path: String,
        /// What was found, and what was expected.
        reason: String,
    },
}

impl SerdeError {
    pub(super) fn mismatch(reason: impl Display) -> SerdeError {
        SerdeError::Mismatch { path: String::new(), reason: reason.to_string() }
    }

    /// Prepends `step` to the place of the error.
    pub(super) fn inside(self, step: impl Display) -> SerdeError {
        match self {
            SerdeError::Mismatch { path, reason } if path.is_empty() => {
                SerdeError::Mismatch { path: step.to_string(), reason }
            }
            SerdeError::Mismatch { path, reason } => {
                SerdeError::Mismatch { path: format!("{step}.{path}"), reason }
            }
            other => other,
        }
    }
}

impl ::serde::ser::Error for SerdeError {
    fn custom<T: Display>(message: T) -> SerdeError {
        SerdeError::mismatch(message)
    }
}

impl ::serde::de::Error for SerdeError {
    fn custom<T: Display>(message: T) -> SerdeError {
        SerdeError::mismatch(message)
    }
}
