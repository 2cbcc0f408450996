//! `hooks`: registered hooks by name, of a topology or of a component.

use toml::de::DeValue;

use crate::topology::declare::section::{Section, place};
use crate::topology::declare::texts::Finding;
use crate::topology::declare::tree::Node;
use crate::topology::graph::HookFactory;
use crate::topology::registry::Registry;
use crate::topology::suggest::{self, shown};

/// The hooks that are named; those that are not registered are reported.
pub(super) fn read(section: &mut Section<'_>, node: &Node<'_>, registry: &Registry) -> Vec<HookFactory> {
    let DeValue::Array(items) = node.get_ref() else {
        section.wrong_type("hooks", node, "an array of names, as [\"audit\"]");
        return Vec::new();
    };
    items.iter().filter_map(|item| hook(section, item, registry)).collect()
}

fn hook(section: &mut Section<'_>, node: &Node<'_>, registry: &Registry) -> Option<HookFactory> {
    let Some(name) = node.get_ref().as_str() else {
        section.wrong_type("hooks", node, "the name of a hook");
        return None;
    };
    let hook = registry.task_hook(name);
    if hook.is_none() {
        let names: Vec<&str> = registry.task_hooks().collect();
        let help = match names.as_slice() {
            [] => Some("none is registered; see `Registry::hook`".to_owned()),
            names => suggest::help(name, names.iter().copied(), "registered"),
        };
        let message = format!("no hook `{}` is registered", shown(name));
        section.report.push(Finding::at(place(node), message).help(help));
    }
    hook
}
