//! The core of a supervisor: what it decides about the processes of its host. No I/O: events and the time come in, actions
//! come out.
//!
//! 1. What is assigned is known from the last reading that could be believed. Between readings, and while the service is
//!    away, the core goes on with that: children that end are started again, and nothing is ended.
//! 2. A child has one process at a time: another one is started only after the exit of the one before was seen, and after
//!    somebody has looked whether a process of an earlier supervisor has the directory.
//! 3. A child is started only if the local record on the disk has it.
//! 4. What is not assigned any more is ended. Its directory, with what it has printed and logged, stays until the
//!    topology is removed from the catalog.
//! 5. Each process of a master begins with a write of the next epoch, so none begins while the service is away.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::daemons::supervisor::actions::{Action, Event, Note};
use crate::cluster::daemons::supervisor::child::ChildId;
use crate::cluster::daemons::supervisor::local_record::LocalRecord;
use crate::cluster::daemons::supervisor::process::Child;
use crate::cluster::daemons::supervisor::readings::{Reading, Write, Written};
use crate::cluster::daemons::supervisor::settings::HostSettings;
use crate::cluster::daemons::supervisor::topology::{Circumstances, HostedTopology};
use crate::cluster::topologies::TopologyId;

/// If nothing was decided for so long, this process did not run, and nobody is called silent for that time.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// From an attempt that has failed to the next one.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct SupervisorCore {
    settings: HostSettings,
    topologies: BTreeMap<TopologyId, HostedTopology>,
    catalog_next: u64,
    /// Whether the service has the data of the cluster, as far as is known.
    is_believed: bool,
    /// What the disk has.
    saved: LocalRecord,
    is_saving: bool,
    save_at: Time,
    /// Why it is not written, since the last attempt.
    unsaved: Option<String>,
    /// What was noted last of things that may come again and again.
    noted: BTreeMap<String, String>,
    notes: Vec<Note>,
    decided_at: Time,
}

impl SupervisorCore {
    /// Begins with what the local record has.
    pub fn new(settings: HostSettings, saved: LocalRecord, now: Time) -> SupervisorCore {
        let topologies =
            saved.topologies.iter().map(|(id, known)| (id.clone(), HostedTopology::known(known))).collect();
        SupervisorCore {
            settings,
            topologies,
            catalog_next: saved.catalog_next,
            is_believed: false,
            saved,
            is_saving: false,
            save_at: now,
            unsaved: None,
            noted: BTreeMap::new(),
            notes: Vec::new(),
            decided_at: now,
        }
    }

    /// The children that may have a process.
    pub fn running(&self) -> impl Iterator<Item = ChildId> + '_ {
        self.children().filter(|(_, child)| child.is_running()).map(|(id, _)| id)
    }

    /// What keeps children from running as they should, as it goes on from the name of each.
    pub fn problems(&self) -> Vec<(ChildId, String)> {
        let wanted = self.children().filter(|(id, child)| {
            let is_over = self.topologies.get(&id.topology).is_none_or(|topology| topology.is_over);
            !is_over && !child.known.is_leaving
        });
        let problem = |(id, child): (ChildId, &Child)| {
            if let Some(problem) = child.problem() {
                return Some((id, problem.to_owned()));
            }
            let is_saved = self.saved.child(&id).is_some_and(|saved| !saved.is_leaving);
            let why = self.unsaved.as_ref().filter(|_| !is_saved)?;
            let problem =
                format!("is not started, because its supervisor cannot write down that it is there: {why}");
            Some((id, problem))
        };
        wanted.filter_map(problem).collect()
    }

    /// When something is due, if nothing happens before.
    pub fn next_due(&self, now: Time) -> Option<Time> {
        let due = self.children().filter_map(|(_, child)| child.waits_until());
        due.filter(|at| *at > now).min()
    }

    fn children(&self) -> impl Iterator<Item = (ChildId, &Child)> + '_ {
        self.topologies.iter().flat_map(|(id, topology)| {
            let of = move |role| ChildId { topology: id.clone(), role };
            topology.children.iter().map(move |(role, child)| (of(*role), child))
        })
    }

    fn child(&mut self, id: &ChildId) -> Option<&mut Child> {
        self.topologies.get_mut(&id.topology)?.children.get_mut(&id.role)
    }

    /// Something has happened.
    pub fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::Read(reading) => self.read(reading),
            Event::Away => self.is_believed = false,
            Event::Written(id, written) => self.written(&id, written),
            Event::NotWritten(write, why) => self.not_written(&write, why, now),
            Event::Saved(outcome) => self.was_saved(outcome, now),
            Event::Found(id, outcome) => {
                let Some(topology) = self.topologies.get_mut(&id.topology) else { return };
                match outcome {
                    Ok(found) => self.notes.extend(topology.found_child(&id, found, now)),
                    Err(why) => {
                        if let Some(child) = topology.children.get_mut(&id.role) {
                            child.was_not_found(&why, now.after(AGAIN));
                        }
                        self.note_once(&id, Note::Failed("look at", id.clone(), why));
                    }
                }
            }
            Event::Started(id, outcome) => self.started(id, outcome, now),
            Event::Ordered(id, outcome) => {
                if let Err(why) = outcome {
                    if let Some(child) = self.child(&id) {
                        child.forget_order(now.after(AGAIN));
                    }
                    self.note_once(&id, Note::Failed("write the order of", id.clone(), why));
                }
            }
            Event::Alive(id, stamp) => {
                let options = self.settings.worker.clone();
                if let Some(child) = self.child(&id) {
                    child.alive(stamp, &options, now);
                }
            }
            Event::Reported(id, report) => {
                if let Some(topology) = self.topologies.get_mut(&id)
                    && topology.reported(report)
                {
                    self.notes.push(Note::Over(id));
                }
            }
            Event::Examined(id, is_starved) => {
                let options = self.settings.worker.clone();
                let note = self.child(&id).and_then(|child| child.examined(&id, is_starved, &options, now));
                self.notes.extend(note);
            }
            Event::Exited(id, exit) => {
                let options = self.settings.worker.clone();
                if let Some(topology) = self.topologies.get_mut(&id.topology) {
                    self.notes.extend(topology.exited(&id, &exit, &options, now));
                }
            }
            Event::Removed(id, outcome) => self.removed(&id, outcome, now),
        }
    }

    /// What is to be done now. To be called until it returns nothing, and again from time to time.
    pub fn decide(&mut self, now: Time) -> Vec<Action> {
        self.forgive(now);
        let mut actions = Vec::new();
        let current = self.record();
        if current != self.saved && !self.is_saving && now >= self.save_at {
            self.is_saving = true;
            actions.push(Action::Save(current));
        }
        let circumstances = Circumstances {
            settings: &self.settings,
            is_believed: self.is_believed,
            saved: &self.saved,
            now,
        };
        for (id, topology) in &mut self.topologies {
            topology.decide(id, &circumstances, &mut actions);
        }
        actions.extend(self.notes.drain(..).map(Action::Note));
        actions
    }

    /// What the disk should have.
    fn record(&self) -> LocalRecord {
        let topologies = self.topologies.iter().filter(|(_, topology)| !topology.children.is_empty());
        let topologies = topologies.map(|(id, topology)| (id.clone(), topology.to_known())).collect();
        LocalRecord { catalog_next: self.catalog_next, topologies }
    }

    /// If this process did not run for a while, the others get that time.
    fn forgive(&mut self, now: Time) {
        let gap = now.since(self.decided_at);
        self.decided_at = now;
        if gap > PAUSE_MAX {
            let children = self.topologies.values_mut().flat_map(|topology| topology.children.values_mut());
            children.for_each(|child| child.gets_more_time(gap));
        }
    }

    fn read(&mut self, reading: Reading) {
        if let Err(why) = self.check_age(&reading) {
            self.is_believed = false;
            self.note_once(&"reading", Note::OlderData(why));
            return;
        }
        self.noted.remove("reading");
        self.is_believed = true;
        self.catalog_next = reading.catalog_next;
        for (id, topology) in &mut self.topologies {
            topology.is_listed = reading.listed.contains(id);
            if !reading.topologies.contains_key(id) {
                self.notes.extend(topology.assign(id, None, &self.settings.id));
            }
        }
        for (id, found) in reading.topologies {
            match found {
                Err(why) => self.note_once(&id, Note::Unreadable(id.clone(), why)),
                Ok(found) => {
                    let topology = self.topologies.entry(id.clone()).or_default();
                    topology.is_listed = true;
                    let notes = topology.assign(&id, Some(found), &self.settings.id);
                    self.notes.extend(notes);
                    self.noted.remove(&id.to_string());
                }
            }
        }
        self.topologies.retain(|_, topology| !topology.children.is_empty());
    }

    /// Whether something in a reading is older than what was there before.
    fn check_age(&self, reading: &Reading) -> Result<(), String> {
        let (seen, found) = (self.catalog_next, reading.catalog_next);
        if found < seen {
            return Err(format!("the next topology would get number {found}, and had number {seen} before"));
        }
        for (id, found) in &reading.topologies {
            let (Ok(found), Some(topology)) = (found, self.topologies.get(id)) else { continue };
            let (seen, found) = (topology.change(), found.assignment.change);
            if found < seen {
                return Err(format!(
                    "the assignment of {id} is change {found}, and was change {seen} before"
                ));
            }
        }
        Ok(())
    }

    fn written(&mut self, id: &TopologyId, written: Written) {
        self.noted.remove(&format!("write {id}"));
        if let Some(topology) = self.topologies.get_mut(id) {
            topology.written(written);
        }
    }

    fn not_written(&mut self, write: &Write, why: String, now: Time) {
        let id = write.topology().clone();
        if let Some(topology) = self.topologies.get_mut(&id) {
            topology.not_written(write, now.after(AGAIN));
        }
        self.note_once(&format!("write {id}"), Note::NotWritten(id.clone(), why));
    }

    fn was_saved(&mut self, outcome: Result<LocalRecord, String>, now: Time) {
        self.is_saving = false;
        match outcome {
            Ok(record) => {
                self.saved = record;
                self.unsaved = None;
                self.noted.remove("record");
            }
            Err(why) => {
                self.save_at = now.after(AGAIN);
                self.unsaved = Some(why.clone());
                self.note_once(&"record", Note::NotSaved(why));
            }
        }
    }

    fn started(&mut self, id: ChildId, outcome: Result<(), String>, now: Time) {
        let options = self.settings.worker.clone();
        let Some(child) = self.child(&id) else { return };
        child.was_started(&outcome, &options, now);
        match outcome {
            Ok(()) => {
                self.noted.remove(&id.to_string());
                self.notes.push(Note::Started(id));
            }
            Err(why) => self.note_once(&id, Note::Failed("start", id.clone(), why)),
        }
    }

    fn removed(&mut self, id: &ChildId, outcome: Result<(), String>, now: Time) {
        let Some(topology) = self.topologies.get_mut(&id.topology) else { return };
        match outcome {
            Ok(()) => {
                topology.removed(id.role);
                if topology.children.is_empty() {
                    self.topologies.remove(&id.topology);
                }
                self.noted.remove(&id.to_string());
                self.notes.push(Note::Removed(id.clone()));
            }
            Err(why) => {
                if let Some(child) = topology.children.get_mut(&id.role) {
                    child.look_again(now.after(AGAIN));
                }
                self.note_once(id, Note::Failed("remove the directory of", id.clone(), why));
            }
        }
    }

    /// Notes something unless it is what was noted last about the same thing.
    fn note_once(&mut self, about: &impl ToString, note: Note) {
        let text = note.to_string();
        if self.noted.insert(about.to_string(), text.clone()).as_ref() != Some(&text) {
            self.notes.push(note);
        }
    }
}

#[cfg(test)]
mod tests;
