//! `window`: what the tuples of a key are together, in each span of time, visit, or number of tuples.
//!
//! Settings become a [`WindowBolt`] whose aggregate is the functions that they name. A function is applied to a field, or to
//! an expression as in `map`, and counts the tuples for which its `where` is true.

mod arguments;
mod settings;
#[cfg(test)]
mod tests;

use crate::api::Bolt;
use crate::components::settings::spend_names;
use crate::components::window::arguments::ReadArguments;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::window::functions::Calls;
use crate::window::{Call, WindowBolt, Windows};

pub use settings::{
    Clock, EarlySettings, GapField, Mode, SessionSettings, TimeSettings, TimeTable, WindowSettings,
};

/// The bolt `window` with these settings.
///
/// # Errors
/// When they do not go together, or a function or an expression is none.
///
/// # Examples
/// ```
/// use squall::components::window::{WindowSettings, window};
/// use squall::topology::effort::Effort;
///
/// let settings: WindowSettings = toml::from_str("rows = 100\naggregate = { mean = 'avg(celsius)' }")?;
/// let bolt = window(&settings, &Effort::unlimited())?;
/// # use squall::prelude::*;
/// # assert!(bolt.declare().get("default").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn window(settings: &WindowSettings, effort: &Effort) -> Result<impl Bolt + use<>, SettingError> {
    spend_names(effort, "aggregate", settings.by.len() + settings.aggregate.0.len() + 3)?;
    let windows = settings.windows()?;
    let options = settings.options(&windows)?;
    let calls = calls(settings)?;
    let arguments = ReadArguments::compile(&calls, effort)?;
    let functions = calls.iter().map(|(name, call)| (name.clone(), call.function)).collect();
    let is_of_all = matches!(&windows, Windows::Rows(rows) if rows.is_of_all());
    let bounds = [settings.start.as_deref(), settings.end.as_deref()];
    if let (true, Some(_)) = (is_of_all, bounds.iter().flatten().next()) {
        let key = if settings.start.is_some() { "start" } else { "end" };
        return Err(SettingError::at(key, "does not go with `all`: that window has no start and no end"));
    }
    let [start, end] = [bounds[0].unwrap_or("window_start"), bounds[1].unwrap_or("window_end")];
    let bounds = (!is_of_all).then_some([start, end]);
    check_names(settings, bounds)?;
    let names: Vec<String> = settings.aggregate.keys().map(str::to_owned).collect();
    let version =
        settings.aggregate.0.iter().map(|(name, call)| format!("{name} = {call}")).collect::<Vec<_>>();
    let bolt = WindowBolt::of_items(windows, Calls::new(functions), Box::new(arguments))
        .by(&settings.by)
        .options(options)
        .row(names, |values| values)
        .bounds(bounds)
        .firing(settings.firing.as_deref())
        .version(&version.join(", "));
    match &settings.time {
        None => Ok(bolt),
        Some(time) => {
            let (field, format) = time.read()?;
            Ok(bolt.at_with_format(field, format))
        }
    }
}

fn calls(settings: &WindowSettings) -> Result<Vec<(String, Call)>, SettingError> {
    if settings.aggregate.0.is_empty() {
        let why = "name at least one field to make, for example { clicks = \"count()\" }";
        return Err(SettingError::at("aggregate", why));
    }
    let calls = settings.aggregate.0.iter().map(|(name, text)| {
        let call = Call::parse(text).map_err(|why| SettingError::at(&format!("aggregate.{name}"), why))?;
        Ok((name.clone(), call))
    });
    calls.collect()
}

/// Refuses a field that would be emitted twice.
fn check_names(settings: &WindowSettings, bounds: Option<[&str; 2]>) -> Result<(), SettingError> {
    let by = settings.by.iter().map(|name| ("by".to_owned(), name.as_str()));
    let bounds = bounds.into_iter().flat_map(|[start, end]| [("start", start), ("end", end)]);
    let bounds = bounds.map(|(key, name)| (key.to_owned(), name));
    let firing = settings.firing.iter().map(|name| ("firing".to_owned(), name.as_str()));
    let made = settings.aggregate.keys().map(|name| (format!("aggregate.{name}"), name));
    let mut known = std::collections::HashMap::new();
    for (key, name) in by.chain(bounds).chain(firing).chain(made) {
        if let Some(first) = known.insert(name, key.clone()) {
            let why = format!("the field `{name}` would be emitted twice: it stands in `{first}`, too");
            return Err(SettingError::at(&key, why));
        }
    }
    Ok(())
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within(
            "window",
            "Counts, adds up and compares in windows of time, sessions, or numbers of tuples.",
            |settings: &WindowSettings, effort| window(settings, effort),
        )
        .output(
            "default: the fields of `by`, then `window_start` and `window_end`, then those of `aggregate`",
        )
        .output("late: tuples whose windows were over: `source`, `stream`, `time`, `watermark`, `values`")
        .example(
            r#"
[bolt.clicks]
type = "window"
inputs = [{ from = "parse", fields = ["path"] }]
config = { by = ["path"], time = "time", length = "1m", slide = "10s", aggregate = { clicks = "count()" } }
"#,
        );
}
