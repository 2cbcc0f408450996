//! `event_time` of components: the field that has the time, and how it is read.

use std::time::Duration;

use smol_str::SmolStr;

use crate::config::EventTimeOptions;
use crate::event_time::{TimeFormat, TimeFormatError};
use crate::topology::draft::Draft;
use crate::topology::suggest;
use crate::topology::validate::numbers::lasting;
use crate::topology::validate::problem::{Problem, Site, named};

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let components = draft.components.iter().enumerate();
    let with_time = components.filter_map(|(at, it)| Some((at, it.options.event_time.as_ref()?)));
    with_time.flat_map(|(at, options)| of_component(draft, at, options)).collect()
}

fn of_component(draft: &Draft, at: usize, options: &EventTimeOptions) -> Vec<Problem> {
    let what = |key: &str| format!("event_time.{key} of {}", named(draft, at));
    let least = Duration::from_millis(1);
    let periods = [
        lasting(site(at), &what("max_out_of_order"), options.max_out_of_order, Duration::ZERO),
        options.idle_after.and_then(|period| lasting(site(at), &what("idle_after"), period, least)),
    ];
    let how = [field(draft, at, options), format(draft, at, options)];
    how.into_iter().chain(periods).flatten().collect()
}

fn site(at: usize) -> Site {
    Site::Key(at, "event_time")
}

/// The field must be there, in a stream at least.
fn field(draft: &Draft, at: usize, options: &EventTimeOptions) -> Option<Problem> {
    if options.field.is_empty() {
        let message = format!("`event_time` of {} has no `field`", named(draft, at));
        return Some(
            Problem::new(site(at), message)
                .help("name the field that has the time: `field = \"…\"`".to_owned()),
        );
    }
    let streams = draft.components[at].streams()?;
    let fields: Vec<&SmolStr> = streams.iter().flat_map(|stream| stream.fields.iter()).collect();
    if fields.iter().any(|field| ***field == *options.field) {
        return None;
    }
    let shown = suggest::shown(&options.field);
    let message = format!("{} emits no field `{shown}`, which `event_time` names", named(draft, at));
    let help = match fields.is_empty() {
        true => Some("it emits nothing, so it has no event time to give: leave out `event_time`".to_owned()),
        false => suggest::help(&options.field, fields.iter().map(|field| field.as_str()), "fields"),
    };
    Some(Problem::new(site(at), message).help(help))
}

fn format(draft: &Draft, at: usize, options: &EventTimeOptions) -> Option<Problem> {
    let error = TimeFormat::new(options.format.as_deref(), options.time_zone.as_deref()).err()?;
    let (key, why) = match error {
        TimeFormatError::Format(why) => ("format", why),
        TimeFormatError::Zone(why) => ("time_zone", why),
    };
    Some(Problem::new(site(at), format!("`event_time.{key}` of {}: {why}", named(draft, at))))
}
