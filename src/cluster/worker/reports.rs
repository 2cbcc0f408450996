//! Reports of a worker to its parent, and the control thread that writes them.
//!
//! 1. A report does not block its caller: the control thread alone writes to the parent. Only the last
//!    report of a process waits until it is written, for at most [`FLUSH_MAX`].
//! 2. While the parent does not read, little is queued. Of beats and statistics only the newest is
//!    kept, not a queue. Reports of connections and answers are as few as the peers and the questions.
//! 3. The control thread takes no lock of the runtime. So a busy worker still sends its heartbeats.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::cluster::control::{self, Beat, FromWorker, LINE_MAX, WorkerFailure, line_that_fits};
use crate::cluster::link::WorkerLink;
use crate::cluster::stats::{WorkerStats, changes};
use crate::ids::WorkerId;
use crate::net::{Member, Members};
use crate::runtime::StopReason;
use crate::runtime::flow::checkpoint::CheckpointReport;

/// How long the last reports may take to be written before the process ends without them.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Sends reports to the parent. Clones share one control thread.
#[derive(Clone)]
pub struct Reports(Arc<Inner>);

struct Inner {
    sender: Sender<Report>,
    beat: Mutex<Beat>,
    links: Mutex<Links>,
    counted: Mutex<Counted>,
    /// What carries the reports on, if a supervisor has started the worker.
    link: Option<WorkerLink>,
}

/// What the control thread is to write.
pub(super) enum Report {
    Message(Box<FromWorker>),
    /// The beat has changed in a way that the parent waits for: write it now.
    BeatNow,
    /// New statistics wait in `Counted::waiting`.
    Stats,
    /// The control thread drops this sender once everything before it is written. That wakes the
    /// thread that waits for its receiver.
    Flush(Sender<()>),
}

/// The connections by which this worker sends to its peers.
#[derive(Default)]
struct Links {
    /// Since when the connection to a peer is down; `None`: it is up.
    peers: BTreeMap<WorkerId, Option<Time>>,
    /// The members that were set last.
    members: Vec<Member>,
}

/// Statistics, sent and waiting.
#[derive(Default)]
struct Counted {
    /// The statistics as they were last sent.
    sent: WorkerStats,
    /// The statistics to be sent. Set by the thread of statistics, where newer ones replace older
    /// ones; taken by the control thread.
    waiting: Option<WorkerStats>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reports {
    pub(super) fn new(sender: Sender<Report>, link: Option<WorkerLink>) -> Reports {
        let (beat, links, counted) = (Mutex::default(), Mutex::default(), Mutex::default());
        Reports(Arc::new(Inner { sender, beat, links, counted, link }))
    }

    /// Sets whether the worker is at rest, and how many of its spouts may still emit. To be called
    /// whenever the worker comes to rest, or that number changes from or to 0: then a beat is sent at
    /// once. Cheap enough to be called more often.
    pub fn progress(&self, at_rest: bool, live_spouts: u64) {
        let is_news = {
            let mut beat = lock(&self.0.beat);
            let is_news = (at_rest && !beat.at_rest) || (live_spouts == 0) != (beat.live_spouts == 0);
            (beat.at_rest, beat.live_spouts) = (at_rest, live_spouts);
            is_news
        };
        if is_news {
            self.push(Report::BeatNow);
        }
    }

    /// A component asks for an orderly end of the topology.
    pub fn drain_requested(&self) {
        self.message(FromWorker::DrainRequested);
    }

    /// A component cannot go on.
    pub fn stopped(&self, reason: StopReason) {
        self.message(FromWorker::Stopped(reason));
    }

    /// Something has happened to a checkpoint.
    pub fn checkpoint(&self, report: CheckpointReport) {
        self.message(FromWorker::Checkpoint(report));
    }

    /// Executors need more time to close, because their threads got no processor.
    pub fn closes_late(&self) {
        self.message(FromWorker::ClosesLate);
    }

    /// The connection by which this worker sends to a peer came up or went down. A connection that goes
    /// down is reported only if it was up.
    pub fn link(&self, peer: WorkerId, up: bool, now: Time) {
        let has_changed = {
            let mut links = lock(&self.0.links);
            let before = links.peers.get(&peer).copied();
            let since = before.flatten().unwrap_or(now);
            links.peers.insert(peer, if up { None } else { Some(since) });
            let up_now = links.peers.values().filter(|down| down.is_none()).count();
            lock(&self.0.beat).links_up = u16::try_from(up_now).unwrap_or(u16::MAX);
            up || before == Some(None)
        };
        if has_changed {
            self.message(FromWorker::Link { peer, up });
        }
    }

    /// Reports why the worker cannot go on, and waits until that is written. The process must end then.
    pub fn fatal(&self, failure: WorkerFailure) {
        self.message(FromWorker::Fatal(failure));
        self.flush();
    }

    pub(super) fn message(&self, message: FromWorker) {
        self.push(Report::Message(Box::new(message)));
    }

    fn push(&self, report: Report) {
        // The control thread ends only when the parent is gone; then nobody needs the report.
        let _ = self.0.sender.send(report);
    }

    /// Waits until everything before this was written, at most for [`FLUSH_MAX`].
    pub(super) fn flush(&self) {
        let (done, wait) = channel();
        self.push(Report::Flush(done));
        let _ = wait.recv_timeout(FLUSH_MAX);
        if let Some(link) = &self.0.link {
            link.flush(FLUSH_MAX);
        }
    }

    /// Sets the counters to be sent. Nothing is sent if they have not changed since the last time.
    pub(super) fn stats(&self, stats: WorkerStats) {
        let is_first = {
            let mut counted = lock(&self.0.counted);
            if counted.waiting.is_none() && counted.sent == stats {
                return;
            }
            counted.waiting.replace(stats).is_none()
        };
        if is_first {
            self.push(Report::Stats);
        }
    }

    /// Takes the counters to be sent, as a message. Of the latencies it holds only what has changed.
    fn take_stats(&self) -> Option<FromWorker> {
        let mut counted = lock(&self.0.counted);
        let stats = counted.waiting.take()?;
        let latencies = changes(&counted.sent.latencies, &stats.latencies);
        let message = WorkerStats { latencies, ..stats.clone() };
        counted.sent = stats;
        Some(FromWorker::Stats(Box::new(message)))
    }

    /// Sets the members. If a peer has a new incarnation or a new address, the time for which its
    /// connection is down begins again.
    pub(super) fn members(&self, own: WorkerId, members: &Members, now: Time) {
        let mut links = lock(&self.0.links);
        for member in members.members.iter().filter(|member| member.worker != own) {
            let is_new = !links.members.contains(member);
            let link = links.peers.entry(member.worker).or_insert(Some(now));
            if let (true, Some(since)) = (is_new, link) {
                *since = now;
            }
        }
        links.members.clone_from(&members.members);
    }

    /// Reports each peer that listens and to which the connection has been down for `longer` at least.
    pub(super) fn report_links(&self, longer: Duration, now: Time) {
        let links = lock(&self.0.links);
        for member in links.members.iter().filter(|member| member.address.is_some()) {
            let down = links.peers.get(&member.worker).copied().flatten().map(|since| now.since(since));
            if let Some(time) = down.filter(|time| *time >= longer) {
                let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                self.message(FromWorker::LinkDown { peer: member.worker, for_ms });
            }
        }
    }
}

/// The control thread: sends a beat every `heartbeat`, and the reports of other threads. Returns
/// `false` when the parent is gone, `true` when all senders of reports are dropped.
pub(super) fn send_reports(
    mut channel: UnixStream,
    receiver: &Receiver<Report>,
    reports: &Reports,
    heartbeat: Duration,
) -> bool {
    let clock = Clock::real();
    let mut next_beat = clock.now();
    // Statistics that are too large are likely to be too large at the next interval, too. That is
    // reported once.
    let mut reported_too_large = false;
    loop {
        let message = match receiver.recv_timeout(next_beat.since(clock.now())) {
            Ok(Report::Message(message)) => Some(*message),
            Ok(Report::Stats) => reports.take_stats(),
            Ok(Report::Flush(done)) => {
                drop(done);
                None
            }
            Ok(Report::BeatNow) | Err(RecvTimeoutError::Timeout) => {
                next_beat = clock.now().after(heartbeat);
                Some(FromWorker::Beat(*lock(&reports.0.beat)))
            }
            Err(RecvTimeoutError::Disconnected) => return true,
        };
        let (line, missing) = message.map_or((None, None), |message| line_that_fits(message, LINE_MAX));
        // The filter runs, and sets the flag, only if something is missing.
        let news = missing.filter(|_| !std::mem::replace(&mut reported_too_large, true));
        let news = news.map(|what| control::line(&FromWorker::TooLarge { what }));
        let mut lines = line.into_iter().chain(news);
        if lines.any(|line| channel.write_all(&line).is_err()) {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CounterId, CounterValues};
    use crate::ids::Incarnation;

    fn reports() -> (Reports, Receiver<Report>) {
        let (sender, receiver) = channel();
        (Reports::new(sender, None), receiver)
    }

    fn sent(reports: &Reports, receiver: &Receiver<Report>) -> Vec<FromWorker> {
        let message = |report| match report {
            Report::Message(message) => Some(*message),
            Report::Stats => reports.take_stats(),
            Report::BeatNow => Some(FromWorker::Beat(*lock(&reports.0.beat))),
            Report::Flush(_) => None,
        };
        receiver.try_iter().filter_map(message).collect()
    }

    fn beat(at_rest: bool, live_spouts: u64) -> FromWorker {
        FromWorker::Beat(Beat { at_rest, live_spouts, links_up: 0 })
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    fn members(of: &[(u16, u32, bool)]) -> Members {
        let member = |(worker, incarnation, listens): &(u16, u32, bool)| Member {
            worker: WorkerId(*worker),
            incarnation: Incarnation(*incarnation),
            address: listens.then(|| ([127, 0, 0, 1], 80).into()),
        };
        Members { version: 1, members: of.iter().map(member).collect() }
    }

    #[test]
    fn a_beat_is_early_when_the_parent_waits_for_it() {
        let (reports, receiver) = reports();
        let check = |at_rest, live_spouts, expected: &[FromWorker]| {
            reports.progress(at_rest, live_spouts);
            assert_eq!(sent(&reports, &receiver), expected);
        };
        check(false, 2, &[beat(false, 2)]);
        check(false, 1, &[]);
        check(false, 0, &[beat(false, 0)]);
        check(true, 0, &[beat(true, 0)]);
        check(true, 0, &[]);
        check(false, 0, &[]);
        check(true, 0, &[beat(true, 0)]);
        check(false, 1, &[beat(false, 1)]);
    }

    #[test]
    fn statistics_are_sent_when_they_change_and_never_pile_up() {
        let (reports, receiver) = reports();
        let stats = |emitted, latencies: &[(u64, u64)]| WorkerStats {
            total: CounterValues::from([(CounterId::EMITTED, emitted)]),
            latencies: latencies.to_vec(),
            ..WorkerStats::default()
        };
        let expect = |expected: &[WorkerStats]| {
            let expected: Vec<_> =
                expected.iter().map(|stats| FromWorker::Stats(Box::new(stats.clone()))).collect();
            assert_eq!(sent(&reports, &receiver), expected);
        };
        reports.stats(stats(0, &[]));
        expect(&[]);
        reports.stats(stats(1, &[(5, 1)]));
        reports.stats(stats(2, &[(5, 1), (7, 1)]));
        expect(&[stats(2, &[(5, 1), (7, 1)])]);
        reports.stats(stats(2, &[(5, 1), (7, 1)]));
        expect(&[]);
        reports.stats(stats(3, &[(5, 1), (7, 2)]));
        expect(&[stats(3, &[(7, 2)])]);
    }

    #[test]
    fn links_are_reported_when_they_change() {
        let (reports, receiver) = reports();
        let check = |up, expected: &[bool]| {
            reports.link(WorkerId(1), up, at(1));
            let expected: Vec<_> =
                expected.iter().map(|up| FromWorker::Link { peer: WorkerId(1), up: *up }).collect();
            assert_eq!(sent(&reports, &receiver), expected);
            assert_eq!(lock(&reports.0.beat).links_up, u16::from(up));
        };
        check(false, &[]);
        check(true, &[true]);
        check(false, &[false]);
        check(false, &[]);
        check(true, &[true]);
    }

    #[test]
    fn a_peer_that_cannot_be_reached_for_long_is_reported() {
        let (reports, receiver) = reports();
        let (own, longer) = (WorkerId(0), Duration::from_secs(10));
        let check = |seconds, expected: &[(u16, u64)]| {
            reports.report_links(longer, at(seconds));
            let report =
                |(peer, for_ms): &(u16, u64)| FromWorker::LinkDown { peer: WorkerId(*peer), for_ms: *for_ms };
            let expected: Vec<_> = expected.iter().map(report).collect();
            let sent = sent(&reports, &receiver).into_iter();
            assert_eq!(
                sent.filter(|message| !matches!(message, FromWorker::Link { .. })).collect::<Vec<_>>(),
                expected
            );
        };
        reports.members(own, &members(&[(0, 1, true), (1, 1, false), (2, 1, true)]), at(0));
        check(11, &[(2, 11_000)]);
        reports.members(own, &members(&[(0, 1, true), (1, 1, true), (2, 1, true)]), at(15));
        check(16, &[(2, 16_000)]);
        reports.link(WorkerId(2), true, at(20));
        check(24, &[]);
        check(25, &[(1, 10_000)]);
        reports.link(WorkerId(1), true, at(26));
        reports.link(WorkerId(1), false, at(30));
        reports.link(WorkerId(1), false, at(35));
        check(41, &[(1, 11_000)]);
        reports.members(own, &members(&[(0, 1, true), (1, 2, true), (2, 1, true)]), at(42));
        check(51, &[]);
        check(52, &[(1, 10_000)]);
    }

    #[test]
    fn beats_come_whatever_else_happens() {
        let (own, parent) = UnixStream::pair().unwrap();
        let (reports, receiver) = reports();
        let sender = reports.clone();
        std::thread::spawn(move || send_reports(own, &receiver, &sender, Duration::from_millis(1)));
        // The runtime is stuck with everything locked but what the control thread needs.
        let _links = lock(&reports.0.links);
        let _counted = lock(&reports.0.counted);
        let mut parent = std::io::BufReader::new(parent);
        for _ in 0..5 {
            let message = crate::cluster::control::read::<FromWorker>(&mut parent).unwrap();
            assert!(matches!(message, Some(FromWorker::Beat(_))), "{message:?}");
        }
    }
}
