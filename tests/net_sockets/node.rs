//! Workers without executors, and what lies between them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slog::{Discard, Logger, o};
use smol_str::SmolStr;
use squall::clock::{Clock, Time};
use squall::config::NetOptions;
use squall::config::net::TlsPaths;
use squall::ids::{Incarnation, LinkId, WorkerId};
use squall::net::{
    Application, Direction, HEADROOM, Identity, LinkCredit, LinkState, Member, Members, NetCounts, NetStatus,
    Outbound, Outbox, PayloadError, PayloadKind, Poller, PollerHandle, Secret, TopologyKey, Wire,
};

/// A peer that was replaced, payloads that were dropped, and credit that was out to it.
type Lost = (WorkerId, u64, Vec<LinkCredit>);

/// What an application has received.
#[derive(Default)]
pub struct Received {
    pub payloads: Vec<(WorkerId, PayloadKind, Bytes)>,
    pub settled: u64,
    pub lost: Vec<Lost>,
    /// Reasons of links that went down.
    pub downs: Vec<String>,
    pub statuses: u64,
    /// Whether upcalls with payloads return.
    pub is_stuck: bool,
}

/// Shared by a test and an application.
#[derive(Clone, Default)]
pub struct Recorder(Arc<(Mutex<Received>, Condvar)>);

impl Recorder {
    pub fn note(&self, note: impl FnOnce(&mut Received)) {
        note(&mut self.received());
        self.0.1.notify_all();
    }

    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.0.0.lock().unwrap()
    }

    /// Waits until the application has received it.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut found: impl FnMut(&mut Received) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut received = self.received();
        loop {
            if let Some(found) = found(&mut received) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not within {DEADLINE:?}");
            received = self.0.1.wait_timeout(received, left).unwrap().0;
        }
    }

    #[track_caller]
    pub fn wait_payloads(&self, count: usize) -> Vec<(WorkerId, PayloadKind, Bytes)> {
        let enough = |received: &mut Received| {
            (received.payloads.len() >= count).then(|| std::mem::take(&mut received.payloads))
        };
        let payloads = self.wait("payloads", enough);
        assert_eq!(payloads.len(), count, "more came than was sent");
        payloads
    }

    #[track_caller]
    pub fn wait_text(&self) -> String {
        String::from_utf8(self.wait_payloads(1)[0].2.to_vec()).unwrap()
    }
}

impl Application for Recorder {
    fn payload(
        &mut self,
        from: WorkerId,
        kind: PayloadKind,
        payload: Bytes,
        _now: Time,
    ) -> Result<(), PayloadError> {
        self.note(|received| received.payloads.push((from, kind, payload)));
        self.wait("somebody lets go", |received| (!received.is_stuck).then_some(()));
        Ok(())
    }

    fn credit(&mut self, _to: WorkerId, _more: LinkCredit) {}

    fn settled(&mut self, _to: WorkerId, frames: u64) {
        self.note(|received| received.settled += frames);
    }

    fn lost(&mut self, to: WorkerId, frames: u64, credits: &[LinkCredit]) {
        self.note(|received| received.lost.push((to, frames, credits.to_vec())));
    }

    fn status(&mut self, _from: WorkerId, _status: &[u8], _now: Time) {
        self.note(|received| received.statuses += 1);
    }

    fn own_status(&mut self, _to: WorkerId, out: &mut Vec<u8>) {
        out.extend_from_slice(b"well");
    }

    fn credits_due(&mut self, _to: WorkerId, _out: &mut Vec<LinkCredit>) {}

    fn credits_changed(&mut self, _to: WorkerId, _out: &mut Vec<LinkCredit>) {}

    fn all_credits(&mut self, _to: WorkerId, _out: &mut Vec<LinkCredit>) {}

    fn link(&mut self, _peer: WorkerId, _direction: Direction, state: LinkState, _now: Time) {
        match state {
            LinkState::Up => {}
            LinkState::Down { why } => self.note(|received| received.downs.push(why)),
        }
    }
}

/// A worker without executors.
pub struct Node {
    pub member: Member,
    pub outbox: Arc<Outbox>,
    pub recorder: Recorder,
    pub poller: PollerHandle,
}

/// How a node is to be.
#[derive(Clone)]
pub struct Plan {
    pub worker: u16,
    pub incarnation: u32,
    pub options: NetOptions,
    pub secret: [u8; 32],
}

/// What has not come true after so long, on however busy a machine, never will.
const DEADLINE: Duration = Duration::from_secs(180);

/// Links of these nodes end when a test ends them, not because the machine is busy.
pub fn plan(worker: u16) -> Plan {
    let options = NetOptions { silence: DEADLINE, link_lost: DEADLINE, ..NetOptions::default() };
    Plan { worker, incarnation: 1, options, secret: [7; 32] }
}

impl Plan {
    pub fn again(mut self) -> Plan {
        self.incarnation += 1;
        self
    }

    pub fn listen(mut self, address: SocketAddr) -> Plan {
        self.options.listen = address;
        self
    }

    pub fn wire(&self, outbox: &Arc<Outbox>) -> Wire {
        let identity = Identity {
            topology: TopologyKey { name: SmolStr::new("words"), run: [3; 16] },
            assignment: 1,
            schema: 5,
            worker: WorkerId(self.worker),
            incarnation: Incarnation(self.incarnation),
        };
        Wire {
            identity,
            secret: Secret::new(self.secret),
            options: self.options.clone(),
            seed: u64::from(self.worker),
            outbox: Arc::clone(outbox),
            clock: Clock::real(),
            log: Logger::root(Discard, o!()),
        }
    }

    #[track_caller]
    pub fn start(self) -> Node {
        let (outbox, recorder) = (Arc::new(Outbox::new(4)), Recorder::default());
        let (poller, address) = Poller::bind(self.wire(&outbox), Box::new(recorder.clone())).unwrap();
        let (worker, incarnation) = (WorkerId(self.worker), Incarnation(self.incarnation));
        Node { member: Member { worker, incarnation, address: Some(address) }, outbox, recorder, poller }
    }
}

impl Node {
    pub fn send(&self, to: u16, payload: &[u8]) {
        self.send_kind(to, PayloadKind::Data, payload);
    }

    pub fn send_kind(&self, to: u16, kind: PayloadKind, payload: &[u8]) {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend_from_slice(payload);
        let credit = LinkCredit { link: LinkId(1), tuples: 1, bytes: 10 };
        self.outbox.push(WorkerId(to), Outbound::new(kind, bytes, Some(credit), Time::ZERO));
    }

    pub fn counts(&self) -> NetCounts {
        self.poller.counts()
    }

    pub fn stop(self) -> Member {
        self.poller.stop("the test says so").unwrap();
        self.member
    }
}

/// Tells all of them about these.
pub fn introduce(version: u64, nodes: &[&Node], members: &[Member]) {
    for node in nodes {
        node.poller.set_members(Members { version, members: members.to_vec() });
    }
}

pub fn pair(first: Plan, second: Plan) -> (Node, Node) {
    let (first, second) = (first.start(), second.start());
    introduce(1, &[&first, &second], &[first.member, second.member]);
    (first, second)
}

/// Bytes without a pattern.
pub fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// An address where nobody listens, nor will but for the caller: other tests are at 127.0.0.1.
pub fn vacant() -> SocketAddr {
    TcpListener::bind("127.8.0.1:0").unwrap().local_addr().unwrap()
}

/// A way between two workers that is cut now and then.
pub struct Way {
    pub address: SocketAddr,
    pub open: Arc<Mutex<Vec<TcpStream>>>,
    /// While somebody holds it, nothing is passed on that is not on its way already.
    pub gate: Arc<Mutex<()>>,
}

impl Way {
    pub fn to(target: SocketAddr) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (ends, gate) = (Arc::clone(&open), Arc::<Mutex<()>>::default());
        let passing = Arc::clone(&gate);
        // The threads end with the test's process.
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(target) else { continue };
                let both = [near.try_clone(), far.try_clone()].map(Result::unwrap);
                ends.lock().unwrap().extend(both);
                for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)]
                {
                    let passing = Arc::clone(&passing);
                    thread::spawn(move || {
                        // It ends with either side, or when the way is cut.
                        let mut piece = vec![0; 64 << 10];
                        while let Ok(len @ 1..) = from.read(&mut piece) {
                            let passes = passing.lock().unwrap();
                            if to.write_all(&piece[..len]).is_err() {
                                break;
                            }
                            drop(passes);
                        }
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Way { address, open, gate }
    }

    pub fn cut(&self) {
        for end in self.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// Waits until the poller says so.
#[track_caller]
pub fn wait_status(node: &Node, is_so: impl Fn(&NetStatus) -> bool) {
    let end = Instant::now() + DEADLINE;
    loop {
        let status = node.poller.status().expect("the poller runs");
        if is_so(&status) {
            return;
        }
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {status:?}");
        thread::yield_now();
    }
}

/// Files of workers that trust each other.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    pub fn new() -> Certificates {
        let dir = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("authority.pem", authority.pem());
        write("worker.pem", certificate.pem());
        write("worker.key", key.serialize_pem());
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(dir.path().join("worker.key"), private).unwrap();
        Certificates(dir)
    }

    pub fn paths(&self) -> TlsPaths {
        let path = |name: &str| self.0.path().join(name);
        TlsPaths {
            certificate: path("worker.pem"),
            key: path("worker.key"),
            authority: path("authority.pem"),
            name: None,
        }
    }
}
