//! Any text as a topology document, with what it includes and what is set on a command line. The
//! components are those that squall ships, so that their settings are read too; what that may cost is
//! asserted in steps.

use squall::prelude::Registry;
use squall::topology::declare::{MemorySource, load_within};
use squall::topology::effort::{Effort, STEPS_MAX};

/// Stands between the document, the file `more.toml` that it may include, and each override.
const SEPARATOR: char = '\0';

/// A document becomes a topology, or a list of problems that can be shown.
pub fn topology_toml(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.split(SEPARATOR);
    let source = MemorySource::new()
        .file("main.toml", parts.next().unwrap_or_default())
        .file("more.toml", parts.next().unwrap_or_default())
        .set("NAME", "value")
        .set("NESTED", "${NAME}");
    let overrides: Vec<String> = parts.map(str::to_owned).collect();
    let effort = Effort::of_document();
    let loaded = load_within(&source, "main.toml", &Registry::with_standard(), &overrides, &effort);
    assert!(effort.spent() <= STEPS_MAX, "what settings cost is bounded");
    if let Err(errors) = loaded {
        assert!(!errors.diagnostics().is_empty(), "a refusal says why");
        assert!(!errors.render(false).is_empty());
        assert!(!errors.render(true).is_empty());
    }
}
