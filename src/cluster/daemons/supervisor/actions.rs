//! What the core of a supervisor is notified of, and what it wants to be done.

use std::fmt;
use std::time::Duration;

use crate::cluster::daemons::supervisor::child::ChildId;
use crate::cluster::daemons::supervisor::local_record::LocalRecord;
use crate::cluster::daemons::supervisor::readings::{Reading, Write, Written};
use crate::cluster::topologies::{BlobHash, MasterOrder, MasterReport, TopologyId, WorkerOrder};

/// What is in the `order.json` of a child.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Of a master.
    Master(Box<MasterOrder>),
    /// Of a worker.
    Worker(Box<WorkerOrder>),
}

/// What a private directory must have before a process is started in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Preparation {
    /// The order.
    pub order: Order,
    /// The run, from which the secret follows.
    pub run: String,
    /// What the topology is read from. It names the program, too.
    pub source: BlobHash,
}

/// What a private directory has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundChild {
    /// Whether a process has the directory.
    pub is_running: bool,
    /// Its order, if it can be read.
    pub order: Option<Order>,
    /// What its master has reported.
    pub report: Option<MasterReport>,
    /// The time of modification of `alive`.
    pub alive: Option<i64>,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The service was read, and has the data of the cluster.
    Read(Reading),
    /// The service is away, or must not be believed.
    Away,
    /// What was to be written is written.
    Written(TopologyId, Written),
    /// It is not.
    NotWritten(Write, String),
    /// The local record was written, or why not.
    Saved(Result<LocalRecord, String>),
    /// What a private directory has, or why that is not known.
    Found(ChildId, Result<FoundChild, String>),
    /// The process of a child was started, or another one was found that has the directory. Or why not.
    Started(ChildId, Result<(), String>),
    /// An order was written, or why not.
    Ordered(ChildId, Result<(), String>),
    /// The time of modification of `alive`.
    Alive(ChildId, Option<i64>),
    /// What a master reports.
    Reported(TopologyId, MasterReport),
    /// Whether a silent child gets no processor.
    Examined(ChildId, bool),
    /// The process of a child has ended, and no other one has the directory.
    Exited(ChildId, Exit),
    /// The directory of a child was removed, or why not.
    Removed(ChildId, Result<(), String>),
}

/// How a process has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Whether it has done all that it was there for.
    pub is_done: bool,
    /// How, for people.
    pub how: String,
}

/// What is to be done. Each is answered by an event, except those without an outcome.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write the local record. Answer: [`Event::Saved`].
    Save(LocalRecord),
    /// Look into a private directory. Answer: [`Event::Found`].
    Find(ChildId),
    /// Make what the directory must have, and start a process. Answer: [`Event::Started`].
    Start(ChildId, Option<Box<Preparation>>),
    /// Replace the order. Answer: [`Event::Ordered`].
    Order(ChildId, Order),
    /// Kill the process. [`Event::Exited`] follows.
    Kill(ChildId),
    /// Find out whether the process gets a processor. Answer: [`Event::Examined`].
    Examine(ChildId),
    /// Remove the directory. Answer: [`Event::Removed`].
    Remove(ChildId),
    /// Write to the service. Answer: [`Event::Written`] or [`Event::NotWritten`].
    Publish(Write),
    /// Log. No answer.
    Note(Note),
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A process that an earlier supervisor has started was found.
    Adopted(ChildId),
    /// A process was started.
    Started(ChildId),
    /// A process has ended, and is started again after this pause.
    Exited(ChildId, String, Duration),
    /// A process has done all that it was there for.
    Done(ChildId),
    /// A child could not be looked at, started, ordered or removed.
    Failed(&'static str, ChildId, String),
    /// A process gave no sign of life.
    Silent(ChildId, Duration),
    /// A process gave no sign of life because it gets no processor.
    Starved(ChildId),
    /// A child is not assigned any more.
    Leaves(ChildId),
    /// The directory of a child was removed.
    Removed(ChildId),
    /// A topology has ended.
    Over(TopologyId),
    /// What is there of a topology cannot be read.
    Unreadable(TopologyId, String),
    /// The service has older data than it had.
    OlderData(String),
    /// Something was not written to the service.
    NotWritten(TopologyId, String),
    /// The local record was not written.
    NotSaved(String),
}

impl Note {
    /// How important it is.
    pub fn importance(&self) -> Importance {
        match self {
            Note::Adopted(_)
            | Note::Started(_)
            | Note::Done(_)
            | Note::Leaves(_)
            | Note::Removed(_)
            | Note::Over(_) => Importance::Info,
            Note::Exited(..) | Note::Silent(..) | Note::Starved(_) | Note::NotWritten(..) => {
                Importance::Warning
            }
            Note::Failed(..) | Note::Unreadable(..) | Note::OlderData(_) | Note::NotSaved(_) => {
                Importance::Error
            }
        }
    }
}

/// How important a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Something has begun or ended as it should.
    Info,
    /// Something went wrong and is mended.
    Warning,
    /// Somebody has to look at it.
    Error,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Adopted(child) => write!(f, "{child} runs already: it goes on"),
            Note::Started(child) => write!(f, "{child} was started"),
            Note::Exited(child, how, Duration::ZERO) => {
                write!(f, "{child} has ended ({how}): it is started again")
            }
            Note::Exited(child, how, pause) => {
                write!(f, "{child} has ended ({how}): it is started again in {pause:?}")
            }
            Note::Done(child) => write!(f, "{child} has ended and is done"),
            Note::Failed(what, child, why) => write!(f, "cannot {what} {child}: {why}"),
            Note::Silent(child, silence) => {
                write!(f, "{child} gave no sign of life for {silence:.1?}: it is killed")
            }
            Note::Starved(child) => write!(
                f,
                "{child} gave no sign of life because it gets no processor: this host has too much to do"
            ),
            Note::Leaves(child) => write!(f, "{child} does not run here any more"),
            Note::Removed(child) => write!(f, "the directory of {child} was removed"),
            Note::Over(topology) => write!(f, "{topology} has ended"),
            Note::Unreadable(topology, why) => write!(f, "{topology} is left as it is: {why}"),
            Note::OlderData(why) => write!(
                f,
                "the coordination service has older data than it had: {why}. Nothing is changed here. Restore its \
                 latest data"
            ),
            Note::NotWritten(topology, why) => write!(f, "what {topology} reports was not published: {why}"),
            Note::NotSaved(why) => {
                write!(
                    f,
                    "which children there are cannot be written down, so no other ones are started: {why}"
                )
            }
        }
    }
}
