//! Ready-made spouts and bolts, by the names that topology documents use.
//!
//! Each component is a file: its settings, the component, its registration, its tests. Settings
//! are plain structs, so that a Rust program can build the same components by hand.
//!
//! * spouts: [`lines`], [`mod@generate`];
//! * rows to rows: [`split`], [`count`], [`filter`], [`map`], [`project`], [`parse`], [`sample`],
//!   [`delay`], [`mod@window`];
//! * sinks: [`mod@print`], [`mod@file`], [`mod@postgres`], [`aggregate`], [`null`];
//! * what they share: [`settings`] (sizes, periods, ordered tables), `positions` (fields found once
//!   per source), `replay_buffer` (messages of a spout until they are acked), `expression`, `patterns`,
//!   `json`, [`stream`] and `row_buffer` (descriptors that rows are written to), [`standard`] (which of the
//!   standard streams were closed).
//!
//! `docs/components.md` describes every setting; a test holds it against the schemas.
//!
//! **Output fields are known before the topology starts**, so a component that passes fields on
//! names them in a setting (`keep`, `fields`): it cannot see the fields of its inputs then.

pub mod aggregate;
pub mod count;
pub mod delay;
mod expression;
pub mod file;
pub mod filter;
pub mod generate;
mod json;
pub mod lines;
pub mod map;
pub mod null;
pub mod parse;
mod patterns;
mod positions;
pub mod postgres;
pub mod print;
pub mod project;
mod replay_buffer;
mod row_buffer;
pub mod sample;
pub mod settings;
pub mod split;
pub mod standard;
pub mod stream;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
pub mod window;

use crate::topology::registry::Registry;

impl Registry {
    /// A registry with squall's ready-made components.
    pub fn with_standard() -> Registry {
        let mut registry = Registry::new();
        register(&mut registry);
        registry.without_own()
    }
}

/// Registers all of them.
pub fn register(registry: &mut Registry) {
    lines::register(registry);
    generate::register(registry);
    split::register(registry);
    count::register(registry);
    aggregate::register(registry);
    window::register(registry);
    filter::register(registry);
    map::register(registry);
    project::register(registry);
    parse::register(registry);
    sample::register(registry);
    delay::register(registry);
    print::register(registry);
    file::register(registry);
    postgres::register(registry);
    null::register(registry);
}
