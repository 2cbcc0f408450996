//! What a key of a document is: where it is written, what may be written, and where its value goes.

use std::time::Duration;

use crate::config::AutoOr;

/// One key of a table whose values end up in an `O`.
pub(crate) struct Key<O: 'static> {
    /// Where it is written, from the table that the list is of: `queue.batch`.
    pub path: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// What holds when it is not written, for people.
    pub default: &'static str,
    /// What may be written.
    pub shape: Shape<O>,
}

/// What may be written for a key, and where it goes.
pub(crate) enum Shape<O: 'static> {
    /// `true` or `false`.
    Switch(fn(&mut O, bool)),
    /// A whole number. The bounds are checked by `validate`.
    Count(u32, u32, fn(&mut O, u32)),
    /// A whole number or `"off"`.
    CountOrOff(u32, u32, fn(&mut O, Option<u32>)),
    /// A whole number or `"auto"`.
    AutoOrCount(u32, u32, fn(&mut O, AutoOr<u32>)),
    /// A duration.
    Period(fn(&mut O, Duration)),
    /// A duration or `"off"`.
    PeriodOrOff(fn(&mut O, Option<Duration>)),
    /// A number of bytes.
    Size(fn(&mut O, u64)),
    /// A number of bytes or `"auto"`.
    AutoOrSize(fn(&mut O, AutoOr<u64>)),
    /// A string that stands for something: what is expected, and how it is read.
    Text(&'static str, fn(&mut O, &str) -> Result<(), String>),
    /// One of these words.
    OneOf(&'static [&'static str], fn(&mut O, &str)),
    /// A number from 0 up to this one.
    Decimal(f64, fn(&mut O, f64)),
    /// An array of names.
    Names(fn(&mut O, Vec<String>)),
    /// An array of arrays of names.
    Groups(fn(&mut O, Vec<Vec<String>>)),
    /// A table of free values.
    Free(fn(&mut O, toml::Table)),
    /// A table of keys.
    Nested(&'static [Key<O>]),
    /// Read by code of its own.
    Special,
}

impl<O> Key<O> {
    /// The key itself, without the tables it is in.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}
