//! Shorthands for the tests of components.

use crate::testing::{BoltHarness, HarnessOptions, SpoutHarness};
use crate::topology::registry::Registry;
use crate::tuple::Value;

/// A prepared bolt of a registered type, from the text of its `config` table.
pub(super) fn bolt(type_name: &str, config: &str) -> BoltHarness {
    bolt_with(type_name, config, &HarnessOptions::default())
}

pub(super) fn bolt_with(type_name: &str, config: &str, options: &HarnessOptions) -> BoltHarness {
    BoltHarness::registered(&Registry::with_standard(), type_name, config, options)
        .unwrap_or_else(|error| panic!("{type_name} with {config}: {error}"))
}

/// An open spout of a registered type.
pub(super) fn spout(type_name: &str, config: &str) -> SpoutHarness {
    spout_with(type_name, config, &HarnessOptions::default())
}

pub(super) fn spout_with(type_name: &str, config: &str, options: &HarnessOptions) -> SpoutHarness {
    SpoutHarness::registered(&Registry::with_standard(), type_name, config, options)
        .unwrap_or_else(|error| panic!("{type_name} with {config}: {error}"))
}

/// Why a bolt cannot be built from these settings.
pub(super) fn refusal(type_name: &str, config: &str) -> String {
    let result =
        BoltHarness::registered(&Registry::with_standard(), type_name, config, &HarnessOptions::default());
    result.err().unwrap_or_else(|| panic!("{type_name} takes {config}")).to_string()
}

/// Each row as its values with a space between.
pub(super) fn texts(rows: &[Vec<Value>]) -> Vec<String> {
    rows.iter().map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).collect()
}
