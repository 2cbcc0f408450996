//! The links of the topology: one for each ordered pair of executors between which tuples may pass.
//!
//! Every worker numbers the links of the whole topology in the same order, because a payload between
//! workers names the link whose credit its batch holds. A worker has a [`Link`] only if it runs the
//! producer or the consumer. A link between workers has a half in each of the two workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::LinkId;
use crate::runtime::assemble::blueprint::Blueprint;
use crate::runtime::assemble::endpoints::Endpoints;
use crate::runtime::flow::charge::Charge;
use crate::runtime::flow::link::{Link, LinkKind};
use crate::runtime::remote::address::Address;
use crate::runtime::remote::ingress::{LinkEnds, PeerWorker};
use crate::topology::plan::{ExecutorId, Part};

/// Producer, consumer, and whether the link closes a cycle. A pair of executors has two links if one
/// input of the consumer closes a cycle and another does not.
type LinkKey = (ExecutorId, ExecutorId, bool);

/// All links of the topology, in the order of their ids.
pub struct Links(BTreeMap<LinkKey, Option<Arc<Link>>>);

impl Links {
    /// Each link has its share of the worker's memory (see `topology::queue_shares`).
    pub fn new(blueprint: &Blueprint, endpoints: &Endpoints, peers: &[Option<PeerWorker>]) -> Links {
        let queue = &blueprint.topology.options().queue;
        let tuples = queue.capacity.max(queue.batch) as usize;
        let max = Charge { tuples, bytes: blueprint.queue_shares.link_bytes };
        let cycles = blueprint.topology.cycle_edges();
        let part = |executor: ExecutorId| blueprint.plan.executors[executor.index()].part;
        let mut links = BTreeMap::new();
        for (id, key) in link_keys(blueprint).into_iter().enumerate() {
            let (id, (from, to, feedback)) = (LinkId(id as u32), key);
            let kind = match (part(from), part(to)) {
                _ if feedback => LinkKind::Feedback,
                (Part::Component(from), Part::Component(to)) if cycles.contains(&(from, to)) => {
                    LinkKind::InCycle
                }
                _ => LinkKind::Acyclic,
            };
            let wakes = blueprint.plan.head_of(from);
            let half = match (endpoints.address(from), endpoints.address(to)) {
                (Address::Here(_), Address::Here(_)) => Some(Link::new(id, wakes, max, kind)),
                (Address::Here(_), Address::There(_)) => Some(Link::to_remote(id, wakes, max, kind)),
                (Address::There(remote), Address::Here(_)) => {
                    let peer = peers[remote.worker.index()].as_ref().expect("it has an executor");
                    Some(Link::from_remote(id, wakes, max, kind, Arc::clone(&peer.returns)))
                }
                (Address::There(_), Address::There(_)) => None,
            };
            links.insert(key, half.map(Arc::new));
        }
        Links(links)
    }

    /// The links of which an executor of this worker is the producer, with their consumers.
    pub fn of_producer(&self, executor: ExecutorId) -> impl Iterator<Item = (ExecutorId, &Arc<Link>)> {
        let from_here = self.0.range((executor, ExecutorId(0), false)..);
        let own = from_here.take_while(move |((from, ..), _)| *from == executor);
        own.filter_map(|((_, to, _), half)| half.as_ref().map(|link| (*to, link)))
    }

    /// The links of which an executor of this worker is the consumer: where each comes from, and whether it closes a cycle.
    pub fn of_consumer(&self, executor: ExecutorId) -> impl Iterator<Item = (ExecutorId, bool, &Arc<Link>)> {
        let own = self.0.iter().filter(move |((_, to, _), _)| *to == executor);
        own.filter_map(|((from, _, feedback), half)| half.as_ref().map(|link| (*from, *feedback, link)))
    }

    /// The links that close a cycle and have an end in this worker.
    pub fn feedback(&self) -> Vec<Arc<Link>> {
        let own = self.0.values().flatten();
        own.filter(|link| link.kind == LinkKind::Feedback).cloned().collect()
    }

    /// The ends of all links, in the order of their ids.
    pub fn ends(&self) -> Vec<LinkEnds> {
        let ends = |((producer, consumer, feedback), half): (&LinkKey, &Option<Arc<Link>>)| LinkEnds {
            producer: *producer,
            consumer: *consumer,
            feedback: *feedback,
            link: half.clone(),
        };
        self.0.iter().map(ends).collect()
    }
}

/// The links of the topology, in the order of their ids.
fn link_keys(blueprint: &Blueprint) -> Vec<LinkKey> {
    let mut keys: Vec<LinkKey> = Vec::new();
    for (target, component) in blueprint.topology.components().iter().enumerate() {
        for input in &component.inputs {
            let source = blueprint.component_index(&input.component);
            for from in blueprint.plan.executors_of(Part::Component(source)) {
                // Dead letters of a bolt never go to the bolt that is chained behind it.
                if blueprint.is_chained(from, target) {
                    continue;
                }
                for to in blueprint.plan.executors_of(Part::Component(target)) {
                    keys.push((from.id, to.id, input.feedback));
                }
            }
        }
    }
    keys.sort();
    keys.dedup();
    keys
}
