//! The processes of workers as supervisors start them, on any host: see `link`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cluster::control::{FromWorker, Start, ToWorker, line, parse};
use crate::cluster::link::{Known, LINKS_THREAD, LinkEvent, MasterLinks, Observers, Welcome};
use crate::cluster::master::events::Event;
use crate::cluster::master::shell::Processes;
use crate::cluster::master::worker_record::Exit;
use crate::cluster::processor::is_starved;
use crate::ids::WorkerId;
use crate::net::tls::Tls;
use crate::net::{Endpoint, Members};

/// Processes that have connected.
pub(super) struct LinkedProcesses {
    /// The `Start` message as all workers get it.
    start: Start,
    links: MasterLinks,
    happenings: Sender<Event>,
    /// Those that wait for their start.
    fresh: BTreeMap<WorkerId, u64>,
    /// Those that run an incarnation.
    running: BTreeMap<Endpoint, u64>,
    /// The same, for the thread that reads what they send.
    by_process: Arc<Mutex<BTreeMap<u64, Endpoint>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LinkedProcesses {
    /// Listens for them.
    ///
    /// # Errors
    /// When the address cannot be bound, or the system refuses a thread.
    pub(super) fn listen(
        start: Start,
        listen: SocketAddr,
        tls: Option<Tls>,
        known: Known,
        (epoch, seed): (u64, u64),
        directory: &Path,
        happenings: Sender<Event>,
    ) -> io::Result<LinkedProcesses> {
        let by_process: Arc<Mutex<BTreeMap<u64, Endpoint>>> = Arc::default();
        let (whose, events) = (Arc::clone(&by_process), happenings.clone());
        let links = MasterLinks::listen(listen, tls, known, (epoch, seed), directory, move |event| {
            let of = |process| lock(&whose).get(&process).copied();
            let event = match event {
                LinkEvent::Arrived(arrival) => Some(Event::Arrived(arrival)),
                LinkEvent::Line(process, line) => of(process).map(|who| match parse::<FromWorker>(&line) {
                    Ok(message) => Event::Message(who, message),
                    Err(error) => Event::Broken(who, error.to_string()),
                }),
                LinkEvent::Broken(process, why) => of(process).map(|who| Event::Broken(who, why)),
                LinkEvent::Closed(process) => of(process).map(Event::Closed),
            };
            // After the end of the run nobody takes it.
            event.into_iter().for_each(|event| _ = events.send(event));
        })?;
        let (fresh, running) = (BTreeMap::new(), BTreeMap::new());
        Ok(LinkedProcesses { start, links, happenings, fresh, running, by_process })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.links.address()
    }

    /// Those who ask how the topology goes.
    pub(super) fn observers(&self) -> Observers {
        self.links.observers()
    }

    fn runs(&mut self, who: Endpoint, process: u64) {
        // What an earlier incarnation ran on is not listened to any more.
        let former: Vec<Endpoint> =
            self.running.keys().filter(|other| other.worker == who.worker).copied().collect();
        former.into_iter().for_each(|former| self.forget(former));
        self.running.insert(who, process);
        lock(&self.by_process).insert(process, who);
    }

    fn forget(&mut self, who: Endpoint) {
        if let Some(process) = self.running.remove(&who) {
            lock(&self.by_process).remove(&process);
            self.links.fence(process);
        }
    }
}

impl Processes for LinkedProcesses {
    fn start(&mut self, who: Endpoint, members: Members) -> io::Result<Option<u32>> {
        let process =
            self.fresh.remove(&who.worker).ok_or_else(|| io::Error::other("its process has gone"))?;
        self.runs(who, process);
        let start = Start { worker: who.worker, incarnation: who.incarnation, members, ..self.start.clone() };
        self.links.send(process, line(&ToWorker::Start(Box::new(start))));
        Ok(self.links.pid_here(process))
    }

    fn send(&self, who: Endpoint, message: ToWorker) {
        if let Some(process) = self.running.get(&who) {
            self.links.send(*process, line(&message));
        }
    }

    fn is_starved(&self, who: Endpoint) -> bool {
        let pid = self.running.get(&who).and_then(|process| self.links.pid_here(*process));
        pid.is_some_and(|pid| is_starved(pid, LINKS_THREAD))
    }

    fn kill(&mut self, who: Endpoint) {
        self.forget(who);
        let _ = self.happenings.send(Event::Exited(who, Exit::Fenced));
    }

    fn welcome(&mut self, who: Endpoint, process: u64, welcome: Welcome) {
        match welcome {
            Welcome::Fresh => {
                let before = self.fresh.insert(who.worker, process).filter(|before| *before != process);
                before.into_iter().for_each(|before| self.links.fence(before));
            }
            Welcome::Adopted => self.runs(who, process),
            Welcome::Again { .. } | Welcome::Fenced(_) => {}
        }
        self.links.welcome(process, welcome);
    }

    fn pid(&self, who: Endpoint) -> Option<u32> {
        self.running.get(&who).and_then(|process| self.links.pid_here(*process))
    }

    /// What they write goes to files of their hosts.
    fn finish(&mut self) {}
}
