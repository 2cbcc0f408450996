//! How another topology is put in the place of one that runs ([decision
//! 0038](../../../../docs/decisions/0038-upgrades.md)).
//!
//! One write begins it: the next generation of the spec, with the new source and the one before. What comes of it is
//! decided by `trial`, from what the master of that generation reports.

use slog::info;

use crate::cluster::daemons::nimbus::change::{
    check_same, no_upgrade_is_pending, plan, running, workers_now, write_spec,
};
use crate::cluster::daemons::nimbus::leader::Leader;
use crate::cluster::operations::{OperationError, UpgradeRequest, Upgraded};
use crate::cluster::topologies::{DroppedState, SpecRecord, Upgrade, UpgradeOutcome};
use crate::topology::Topology;
use crate::topology::graph::Component;

/// Seconds that an upgrade may take at most until it is up.
const TIMEOUT_MAX: u64 = 24 * 60 * 60;
/// Of so many upgrades it is known what they have left behind.
const DROPPED_MAX: usize = 64;

/// Puts another topology in the place of one that runs, or plans that. Nothing is written if it does not fit.
pub(super) fn upgrade(
    leader: &Leader,
    name: &str,
    request: &UpgradeRequest,
) -> Result<Upgraded, OperationError> {
    leader.work_on(|work, fence| {
        let found = running(leader, fence, name)?;
        let spec = &found.spec.record;
        no_upgrade_is_pending(name, spec)?;
        let refused = |error| leader.refused_source(error);
        let before = work.sources.load(&spec.source).map_err(refused)?;
        let after = work.sources.take(&request.source).map_err(refused)?;
        check_same(&before, &after)?;
        check_request(name, spec, request, &after)?;
        let next = next_spec(spec, request);
        let planned = plan(leader, work, fence, &next, &after)?;
        let planned = Upgraded {
            id: planned.id,
            generation: None,
            workers: planned.workers,
            moves: planned.moves,
            changes: differences(&before, &after),
            short: planned.short,
        };
        if request.dry_run {
            return Ok(planned);
        }
        if let Some(short) = planned.short {
            return Err(OperationError::Conflict(format!(
                "the new topology `{name}` does not fit, and the one before runs on: {short}"
            )));
        }
        let generation = Some(next.generation);
        write_spec(leader, work, fence, (name, &found), next)?;
        info!(leader.logger, "a topology is upgraded"; "id" => %found.id, "generation" => generation);
        Ok(Upgraded { generation, workers: workers_now(leader, fence, &found)?, ..planned })
    })
}

fn check_request(
    name: &str,
    spec: &SpecRecord,
    request: &UpgradeRequest,
    after: &Topology,
) -> Result<(), OperationError> {
    let invalid = |why: String| Err(OperationError::Invalid(why));
    match () {
        () if spec.source == request.source => Err(OperationError::Conflict(format!(
            "topology `{name}` runs exactly this already: to begin it anew, use `squall restart {name}`"
        ))),
        () if !(1..=TIMEOUT_MAX).contains(&request.timeout_seconds) => {
            invalid(format!("an upgrade may take 1 to {TIMEOUT_MAX} seconds until it is up"))
        }
        () if !request.allow_dropped_state.is_empty() && !after.options().delivery.is_exactly_once() => {
            invalid(format!(
                "topology `{name}` takes no checkpoints, so it has no state that could be dropped: only a topology \
                 with `delivery = \"exactly-once\"` takes them"
            ))
        }
        () => Ok(()),
    }
}

fn next_spec(spec: &SpecRecord, request: &UpgradeRequest) -> SpecRecord {
    let generation = spec.generation + 1;
    let mut dropped = spec.dropped.clone();
    if !request.allow_dropped_state.is_empty() {
        dropped.push(DroppedState { generation, names: request.allow_dropped_state.clone() });
        let too_many = dropped.len().saturating_sub(DROPPED_MAX);
        dropped.drain(..too_many);
    }
    let upgrade = Upgrade {
        generation,
        before: spec.source.clone(),
        timeout_ms: request.timeout_seconds * 1000,
        outcome: UpgradeOutcome::Pending,
    };
    SpecRecord {
        source: request.source.clone(),
        generation,
        spreads: false,
        upgrade: Some(upgrade),
        dropped,
        ..spec.clone()
    }
}

/// What of the graph is another one, each as a line for people. Values of components are not compared.
fn differences(before: &Topology, after: &Topology) -> Vec<String> {
    let kind = |component: &Component| if component.is_spout() { "spout" } else { "bolt" };
    let mut lines = Vec::new();
    for old in before.components() {
        match after.component(&old.id) {
            None => lines.push(format!("{} `{}` is gone", kind(old), old.id)),
            Some(new) => {
                let what = format!("{} `{}`", kind(new), new.id);
                if (kind(old), &old.type_name) != (kind(new), &new.type_name) {
                    lines.push(format!("{what} is a {} now, and was a {}", new.type_name, old.type_name));
                }
                let (from, to) = (old.options.parallelism, new.options.parallelism);
                if from != to {
                    lines.push(format!("{what} has parallelism {to}, and had {from}"));
                }
                if format!("{:?}", old.inputs) != format!("{:?}", new.inputs) {
                    lines.push(format!("{what} has other inputs"));
                }
            }
        }
    }
    let added = after.components().iter().filter(|new| before.component(&new.id).is_none());
    lines.extend(added.map(|new| format!("{} `{}` is new", kind(new), new.id)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::declare::parse_str;
    use crate::topology::registry::Registry;

    #[test]
    fn what_changes_is_shown() {
        let parsed = |more: &str| {
            let text = format!(
                "topology.name = 'words'
                 spout.lines = {{ type = 'generate', config.fields.line = 'to be' }}
                 {more}"
            );
            parse_str("words", &text, &Registry::with_standard()).expect("it is valid")
        };
        let before = parsed(
            "bolt.split = { type = 'split', inputs = ['lines'] }
             bolt.count = { type = 'count', inputs = [{ from = 'split', fields = ['word'] }], config.by = ['word'] }",
        );
        let after = parsed(
            "bolt.split = { type = 'split', parallelism = 3, inputs = ['lines'] }
             bolt.out = { type = 'null', inputs = ['split'] }",
        );
        let expected =
            ["bolt `split` has parallelism 3, and had 1", "bolt `count` is gone", "bolt `out` is new"];
        let mut found = differences(&before, &after);
        found.sort_by_key(|line| expected.iter().position(|known| known == line));
        assert_eq!(found, expected);
        assert_eq!(differences(&before, &before), Vec::<String>::new());
    }
}
