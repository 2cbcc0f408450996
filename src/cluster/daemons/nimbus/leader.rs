//! What a nimbus does while it leads: one pass after the other. A pass reads everything, decides, and writes what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rand::rngs::StdRng;
use slog::{Logger, info, warn};
use smol_str::SmolStr;

use crate::clock::{Clock, Time};
use crate::cluster::blobs::BlobStore;
use crate::cluster::coordination::{Coordination, Notice, Notify};
use crate::cluster::daemons::belonging::supervisors_node;
use crate::cluster::daemons::nimbus::answers::Blacklisted;
use crate::cluster::daemons::nimbus::begin::begin;
use crate::cluster::daemons::nimbus::daemon::NimbusState;
use crate::cluster::daemons::nimbus::decision::{Change, Known, decide, used_slots};
use crate::cluster::daemons::nimbus::found::{Found, FoundTopology, read_all};
use crate::cluster::daemons::nimbus::garbage::{delete_unlisted, remove_blobs};
use crate::cluster::daemons::nimbus::hosts::Hosts;
use crate::cluster::daemons::nimbus::problems::HostProblems;
use crate::cluster::daemons::nimbus::raised_levels::take_back_levels;
use crate::cluster::daemons::nimbus::sources::Sources;
use crate::cluster::daemons::nimbus::standing::{Fence, Lead, LeadError, Standing, Stored};
use crate::cluster::daemons::nimbus::trial::{PendingUpgrades, judge};
use crate::cluster::schedule::{BlacklistOptions, Host};
use crate::cluster::topologies::{
    BlobHash, ClusterKey, SpecRecord, TopologyId, UpgradeOutcome, topologies_node,
};
use crate::config::net::TlsPaths;
use crate::text::shown;
use crate::topology::Topology;
use crate::topology::registry::Registry;
use crate::tuple::Timestamp;

/// A pass is made so often, even if no change was reported.
const PASS_PERIOD: Duration = Duration::from_secs(10);
/// How soon a pass is made again that could not be finished.
const PASS_AGAIN: Duration = Duration::from_secs(1);
/// How often blobs are removed.
const SWEEP_PERIOD: Duration = Duration::from_secs(10 * 60);

/// What a leader is made of.
pub struct LeaderOptions {
    /// The service.
    pub coordination: Arc<dyn Coordination>,
    /// The time, and the date for people.
    pub clock: Clock,
    /// What topologies are made of.
    pub blobs: BlobStore,
    /// The components that topologies may use.
    pub registry: Registry,
    /// What runs on a host is placed elsewhere when its supervisor was missing for so long.
    pub supervisor_timeout: Duration,
    /// When a host whose supervisor goes away again and again is blacklisted, and for how long.
    pub blacklist: BlacklistOptions,
    /// Names runs. Nobody else draws the same.
    pub rng: StdRng,
    /// How it asks masters for counters; `None`: it does not.
    pub masters: Option<MasterAccess>,
    /// Where it logs.
    pub logger: Logger,
}

/// What a nimbus needs to ask masters.
#[derive(Clone, Debug)]
pub struct MasterAccess {
    /// The key of the cluster.
    pub key: ClusterKey,
    /// `[net.tls]`. The files are read whenever a master is asked, so they may be replaced.
    pub tls: Option<TlsPaths>,
}

/// A nimbus, as far as it leads. Steps and operators share it.
pub struct Leader {
    pub(super) coordination: Arc<dyn Coordination>,
    pub(super) clock: Clock,
    pub(super) standing: Standing,
    pub(super) logger: Logger,
    pub(super) blobs: BlobStore,
    pub(super) masters: Option<MasterAccess>,
    supervisor_timeout: Duration,
    blacklist: BlacklistOptions,
    /// Until when hosts are blacklisted, as of the last pass, for whoever asks.
    blacklisted: Mutex<BTreeMap<SmolStr, Time>>,
    /// Whoever writes has it.
    work: Mutex<Work>,
    /// Whether something has changed since the last pass began.
    changed: Arc<AtomicBool>,
    /// The watches last as long as this.
    _notify: Arc<Notify>,
}

/// What a leader has while it works. Nothing in it must outlive the process.
pub(super) struct Work {
    /// The epoch that has begun. `None`: the next pass begins with writing everything once.
    pub begun: Option<u64>,
    pub hosts: Hosts,
    pub sources: Sources,
    /// When upgrades are late.
    upgrades: PendingUpgrades,
    pub rng: StdRng,
    next_pass: Time,
    next_sweep: Time,
    /// When levels of logs are to be taken back, as of the last pass.
    levels_end: Option<Time>,
    /// What was logged last that kept a pass from being finished.
    shown: Option<String>,
}

impl Leader {
    /// A nimbus that does not lead yet.
    pub fn new(options: LeaderOptions) -> Leader {
        let changed = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&changed);
        // Relaxed, here and where it is read: who sees it reads everything from the service.
        let notify: Arc<Notify> = Arc::new(move |_: Notice| flag.store(true, Ordering::Relaxed));
        for node in [topologies_node(), supervisors_node()] {
            options.coordination.watch(&node, &notify);
        }
        Leader {
            coordination: options.coordination,
            clock: options.clock,
            standing: Standing::default(),
            logger: options.logger,
            blobs: options.blobs.clone(),
            masters: options.masters,
            supervisor_timeout: options.supervisor_timeout,
            blacklist: options.blacklist,
            blacklisted: Mutex::default(),
            work: Mutex::new(Work {
                begun: None,
                hosts: Hosts::new(options.blacklist),
                sources: Sources::new(options.blobs, options.registry),
                upgrades: PendingUpgrades::default(),
                rng: options.rng,
                next_pass: Time::ZERO,
                next_sweep: Time::ZERO,
                levels_end: None,
                shown: None,
            }),
            changed,
            _notify: notify,
        }
    }

    /// Takes note of what the nimbus is, and makes a pass if it leads and there is a reason. `leader`: where the API of
    /// the nimbus that leads is reached. Returns when the next step is due, if nothing changes before.
    pub fn step(&self, state: &NimbusState, leader: Option<&str>) -> Duration {
        let lead = match state {
            NimbusState::Leads { epoch, until } => Some(Lead { epoch: *epoch, until: *until }),
            // What was known holds until its time is over.
            NimbusState::Waits(_) => return PASS_PERIOD,
            NimbusState::StandsBy { .. } | NimbusState::Refuses(_) => None,
        };
        self.standing.set(lead, leader.map(str::to_owned));
        let Some(fence) = self.fence() else { return PASS_PERIOD };
        // Whoever has the work makes a pass at its end. The election must not wait for it.
        let mut work = match self.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return PASS_AGAIN,
        };
        let now = self.clock.now();
        let is_new = work.begun != Some(fence.epoch);
        if self.changed.swap(false, Ordering::Relaxed) || is_new || now >= work.next_pass {
            self.pass(&mut work, &fence);
        }
        work.next_pass.since(now)
    }

    /// No more operations are taken, and nothing more is written.
    pub fn end(&self) {
        self.standing.set(None, None);
        // Waits until what is under way is done.
        drop(self.work());
    }

    /// The fence of the epoch that this nimbus leads with now.
    pub(super) fn fence(&self) -> Option<Fence<'_>> {
        let lead = self.standing.lead(self.clock.now())?;
        let coordination = &*self.coordination;
        Some(Fence { coordination, clock: &self.clock, standing: &self.standing, epoch: lead.epoch })
    }

    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the next step make a pass.
    pub(super) fn look_again(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// The time, for people.
    pub(super) fn date(&self) -> String {
        Timestamp(self.clock.wall_nanos()).to_string()
    }

    /// Makes a pass, and logs what keeps it from being finished.
    pub(super) fn pass(&self, work: &mut Work, fence: &Fence<'_>) {
        let now = self.clock.now();
        let done = self.try_pass(work, fence);
        let again = if done.is_ok() { PASS_PERIOD } else { PASS_AGAIN };
        let host_gone = work.hosts.next_change(self.supervisor_timeout, now);
        // If a pass could not be finished, one that is late stays late.
        let late = work.upgrades.next_change().map(|at| at.max(now.after(PASS_AGAIN)));
        let due = host_gone.into_iter().chain(work.levels_end).chain(late).chain([now.after(again)]);
        work.next_pass = due.min().unwrap_or(now);
        let why = done.err().filter(|error| !error.is_race()).map(|error| error.to_string());
        if let Some(why) = why.as_ref().filter(|why| work.shown.as_ref() != Some(why)) {
            warn!(self.logger, "topologies could not be looked after; this is tried again"; "why" => why);
        }
        work.shown = why;
    }

    fn try_pass(&self, work: &mut Work, fence: &Fence<'_>) -> Result<(), LeadError> {
        self.begin_epoch(work, fence)?;
        let Some(mut found) = read_all(fence)? else {
            work.begun = None;
            return Ok(());
        };
        for id in delete_unlisted(fence, &found.catalog.record)? {
            info!(self.logger, "what is left of a topology was deleted"; "id" => %id);
        }
        let levels_end = take_back_levels(fence, &found.topologies, &self.logger)?;
        work.levels_end = levels_end.map(|left| self.clock.now().after(left));
        self.judge_upgrades(work, fence, &mut found.topologies)?;
        let hosts = self.look_at_hosts(work, &found);
        let loaded: Vec<Result<Arc<Topology>, String>> =
            found.topologies.iter().map(|topology| load(&mut work.sources, topology)).collect();
        let absent = HostProblems::of_absent_masters(fence, &found.topologies)?;
        let mut known: Vec<Known<'_>> =
            found.topologies.iter().zip(&loaded).map(|(found, loaded)| known(found, loaded)).collect();
        for known in &mut known {
            known.master_problem = absent.get(&known.spec.id).map(String::as_str);
        }
        for change in decide(fence.epoch, hosts, &known, &self.date()) {
            self.write(fence, &found, change)?;
        }
        let specs = found.topologies.iter().map(|topology| &topology.spec.record.source);
        // A master that begins again reads what is assigned, even if something else is wanted already.
        let assigned = found.topologies.iter().filter_map(|topology| topology.assignment.as_ref());
        let assigned = assigned.map(|stored| &stored.record.source);
        // And one that is upgraded may be rolled back.
        let specs_now = found.topologies.iter().map(|topology| &topology.spec.record);
        let before = specs_now.filter_map(|spec| spec.pending_upgrade()).map(|upgrade| &upgrade.before);
        let referred: BTreeSet<BlobHash> = specs.chain(assigned).chain(before).cloned().collect();
        work.sources.retain(&referred);
        let now = self.clock.now();
        // A topology whose spec could not be read may have any blob, and one whose source cannot be read any program.
        if now >= work.next_sweep
            && found.topologies.len() == found.catalog.record.topologies.len()
            && let Ok(parts) = work.sources.parts_of(&referred)
        {
            work.next_sweep = now.after(SWEEP_PERIOD);
            let removed = remove_blobs(fence, &work.sources.blobs, &parts)?;
            if removed > 0 {
                info!(self.logger, "blobs that nothing refers to were removed"; "count" => removed);
            }
        }
        Ok(())
    }

    /// Writes what has come of upgrades, before anything is placed.
    fn judge_upgrades(
        &self,
        work: &mut Work,
        fence: &Fence<'_>,
        topologies: &mut [FoundTopology],
    ) -> Result<(), LeadError> {
        let now = self.clock.now();
        let running = || topologies.iter().filter(|topology| !topology.has_ended());
        work.upgrades.see(running().map(|topology| &topology.spec.record), now);
        for topology in topologies.iter_mut().filter(|topology| !topology.has_ended()) {
            let Stored { record: spec, version } = &topology.spec;
            let state = topology.state.as_ref().map(|stored| &stored.record);
            let seconds = spec.pending_upgrade().map_or(0, |upgrade| upgrade.timeout_ms / 1000);
            let late = work.upgrades.is_late(spec, now).then(|| format!("it was not up after {seconds} s"));
            let late = match late {
                Some(why) => Some(why + &HostProblems::read(fence)?.reason_for(&topology.id)),
                None => None,
            };
            let Some(next) = judge(spec, state, late.as_deref()) else { continue };
            let record = SpecRecord { epoch: fence.epoch, change: spec.change + 1, ..next };
            let version = fence.set(&topology.nodes.spec, &record, *version)?;
            let outcome = record.upgrade.as_ref().map(|upgrade| &upgrade.outcome);
            match outcome {
                Some(UpgradeOutcome::RolledBack(why)) => {
                    warn!(self.logger, "an upgrade is rolled back"; "id" => %topology.id, "why" => shown(why));
                }
                _ => info!(self.logger, "an upgrade is accepted"; "id" => %topology.id),
            }
            topology.spec = Stored { record, version };
        }
        let running = topologies.iter().filter(|topology| !topology.has_ended());
        work.upgrades.see(running.map(|topology| &topology.spec.record), now);
        Ok(())
    }

    /// Catches up, and writes everything once if this epoch has not begun.
    pub(super) fn begin_epoch(&self, work: &mut Work, fence: &Fence<'_>) -> Result<(), LeadError> {
        fence.check()?;
        self.coordination.catch_up()?;
        if work.begun != Some(fence.epoch) {
            begin(fence)?;
            work.hosts = Hosts::new(self.blacklist);
            work.upgrades = PendingUpgrades::default();
            work.begun = Some(fence.epoch);
        }
        Ok(())
    }

    /// The hosts to place on.
    pub(super) fn look_at_hosts(&self, work: &mut Work, found: &Found) -> Vec<Host> {
        let now = self.clock.now();
        let assignments = found.topologies.iter().filter_map(|topology| topology.assignment.as_ref());
        let used = used_slots(assignments.map(|stored| &stored.record));
        work.hosts.see(&found.supervisors, &used, now);
        work.hosts.forget(&used, self.supervisor_timeout, now);
        self.show_blacklisted(work.hosts.blacklisted(now), now);
        let is_drained = |host: &str| found.drained.hosts.contains_key(host);
        work.hosts.view(&used, is_drained, self.supervisor_timeout, now)
    }

    /// Takes note of which hosts are blacklisted, and logs what has changed.
    fn show_blacklisted(&self, blacklisted: BTreeMap<SmolStr, Time>, now: Time) {
        let mut shown = self.blacklisted.lock().unwrap_or_else(PoisonError::into_inner);
        for (host, until) in &blacklisted {
            if shown.get(host) != Some(until) {
                let time = humantime::format_duration(Duration::from_secs(until.since(now).as_secs()));
                warn!(self.logger, "the supervisor of a host goes away too often: it gets new workers only if there is \
                    no other place"; "host" => %host, "for" => %time);
            }
        }
        for host in shown.keys().filter(|host| !blacklisted.contains_key(*host)) {
            info!(self.logger, "a host is not blacklisted any more"; "host" => %host);
        }
        *shown = blacklisted;
    }

    /// How long hosts are blacklisted from now on.
    pub(super) fn blacklisted(&self) -> Blacklisted {
        let now = self.clock.now();
        let shown = self.blacklisted.lock().unwrap_or_else(PoisonError::into_inner);
        let left = shown.iter().map(|(host, until)| (host.clone(), until.since(now)));
        left.filter(|(_, left)| !left.is_zero()).collect()
    }

    /// Whether there is such a host: its supervisor is there or was, or something should run there.
    pub(super) fn knows_host(
        &self,
        work: &mut Work,
        fence: &Fence<'_>,
        host: &str,
    ) -> Result<bool, LeadError> {
        if let Some(found) = read_all(fence)? {
            self.look_at_hosts(work, &found);
        }
        Ok(work.hosts.knows(host))
    }

    fn write(&self, fence: &Fence<'_>, found: &Found, change: Change) -> Result<(), LeadError> {
        let of = |id: &TopologyId| {
            found
                .topologies
                .iter()
                .find(|topology| topology.id == *id)
                .expect("changes are of what was found")
        };
        match change {
            Change::End(id, outcome) => {
                let topology = of(&id);
                let failure = outcome.failure.clone().unwrap_or_default();
                let (epoch, before) = (fence.epoch, &topology.spec.record);
                let spec =
                    SpecRecord { epoch, change: before.change + 1, ended: Some(outcome), ..before.clone() };
                fence.set(&topology.nodes.spec, &spec, topology.spec.version)?;
                info!(self.logger, "a topology has ended without its master"; "id" => %id, "why" => failure);
            }
            Change::Unassign(id) => {
                let topology = of(&id);
                if let Some(assignment) = &topology.assignment {
                    fence.delete(&topology.nodes.assignment, assignment.version)?;
                    info!(self.logger, "a topology has ended"; "id" => %id);
                }
            }
            Change::Assign(record) => {
                let topology = of(&record.id);
                match &topology.assignment {
                    Some(before) => drop(fence.set(&topology.nodes.assignment, &record, before.version)?),
                    None => drop(fence.create(&topology.nodes.assignment, &record)?),
                }
                let workers = record.placement.as_ref().map_or(0, |placement| placement.slots.len());
                match record.short {
                    None => info!(self.logger, "a topology is placed"; "id" => %record.id,
                        "change" => record.change, "workers" => workers, "master" => record.master),
                    Some(short) => warn!(self.logger, "a topology is short"; "id" => %record.id,
                        "change" => record.change, "workers" => workers, "why" => short),
                }
            }
        }
        Ok(())
    }
}

/// The topology of a spec, or why there is none.
pub(super) fn load(sources: &mut Sources, found: &FoundTopology) -> Result<Arc<Topology>, String> {
    if found.has_ended() {
        return Err("it has ended".to_owned());
    }
    let topology = sources.load(&found.spec.record.source).map_err(|error| error.to_string())?;
    match topology.name() == found.id.name() {
        true => Ok(topology),
        false => Err(format!("its blob is of a topology that is called `{}`", topology.name())),
    }
}

/// What was read about a topology, for a decision.
pub(super) fn known<'a>(found: &'a FoundTopology, loaded: &'a Result<Arc<Topology>, String>) -> Known<'a> {
    let assignment = found.assignment.as_ref().map(|stored| &stored.record);
    let topology = loaded.as_deref().map_err(String::as_str);
    let state = found.state.as_ref().map(|stored| &stored.record);
    Known { state, ..Known::new(&found.spec.record, assignment, topology) }
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("standing", &self.standing).finish_non_exhaustive()
    }
}
