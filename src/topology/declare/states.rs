//! `[state.NAME]`: a store outside of squall.

use smol_str::SmolStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::config::StateMode;
use crate::topology::declare::named_secrets::named_secrets;
use crate::topology::declare::section::{Section, place};
use crate::topology::declare::settings::SettingsMistakes;
use crate::topology::declare::sites::Sites;
use crate::topology::declare::texts::{Finding, Report, Span};
use crate::topology::declare::tree::{Key, Node};
use crate::topology::draft::DraftState;
use crate::topology::registry::{Registry, StateType};
use crate::topology::suggest::{self, shown};
use crate::topology::validate::Site;

/// Reads the state that will stand at position `at`.
pub(super) fn read<'t>(
    (key, node): (&Key<'t>, &Node<'t>),
    at: usize,
    registry: &Registry,
    sites: &mut Sites<'t>,
    report: &mut Report,
) -> DraftState {
    sites.set(Site::State(at), key.span());
    let name = SmolStr::new(key.get_ref());
    let of = format!(" of state `{}`", shown(&name));
    let mut state = DraftState {
        name,
        type_name: SmolStr::default(),
        mode: StateMode::default(),
        factory: None,
        store: None,
    };
    let Some(table) = node.get_ref().as_table() else { return state };
    let mut section = Section { report, of };
    if let Some(mode) = table.get("mode").and_then(|node| mode(&mut section, node)) {
        state.mode = mode;
    }
    let Some(known) = state_type(&mut section, (key, table), registry) else { return state };
    state.type_name = SmolStr::new(&known.name);
    let settings: DeTable<'t> = table
        .iter()
        .filter(|(key, _)| !OWN_KEYS.contains(&key.get_ref().as_ref()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let settings = Spanned::new(node.span(), DeValue::Table(settings));
    match known.build(ValueDeserializer::from(settings.clone())) {
        Ok(built) => {
            sites.add_secrets(named_secrets(&settings, |generator| known.schema(generator)));
            (state.factory, state.store) = (Some(built.factory), Some(built.store));
        }
        Err(error) => {
            let mistakes = SettingsMistakes {
                what: &format!("type `{}`", known.name),
                schema: &|generator| known.schema(generator),
                subject: section.of.trim_start_matches(" of "),
                key: key.span(),
                node: &settings,
            };
            mistakes.report(error, section.report);
        }
    }
    state
}

/// The keys that all types have.
const OWN_KEYS: &[&str] = &["type", "mode"];

fn mode(section: &mut Section<'_>, node: &Node<'_>) -> Option<StateMode> {
    let written = section.text("mode", node)?;
    let mode = StateMode::named(written);
    if mode.is_none() {
        let message = format!("there is no mode `{}`{}", shown(written), section.of);
        let help = suggest::help(written, StateMode::NAMES.iter().copied(), "modes");
        section.report.push(Finding::at(place(node), message).help(help));
    }
    mode
}

fn state_type<'r>(
    section: &mut Section<'_>,
    (key, table): (&Key<'_>, &DeTable<'_>),
    registry: &'r Registry,
) -> Option<&'r StateType> {
    let names: Vec<&str> = registry.states().map(|known| known.name.as_str()).collect();
    let Some(node) = table.get("type") else {
        let message = format!("{} has no `type`", section.of.trim_start_matches(" of "));
        let help = (!names.is_empty()).then(|| format!("types: {}", suggest::list(names)));
        section.report.push(Finding::at(key.span(), message).help(help).absence());
        return None;
    };
    let written = section.text("type", node)?;
    let known = registry.state(written);
    match known.map(|known| known.missing_feature) {
        None => {
            let message = format!("no type `{}` of states is known", shown(written));
            let help = suggest::help(written, names, "types");
            let finding = Finding::at(place(node), message).label(Some("unknown type".to_owned()));
            section.report.push(finding.help(help));
        }
        Some(Some(feature)) => section.report.push(not_compiled_in(written, place(node), feature)),
        Some(None) => {}
    }
    known
}

/// The type of a state or a component is known, so its settings are checked all the same.
pub(super) fn not_compiled_in(name: &str, span: Span, feature: &str) -> Finding {
    let message = format!("the type `{name}` is not compiled in: it needs the Cargo feature `{feature}`");
    let help = format!("build squall by `cargo build --release --features {feature}`");
    Finding::at(span, message).label(Some("not compiled in".to_owned())).help(Some(help))
}
