//! squall's own link between two workers, with one thread in the place of the executors on each side
//! and one credit between them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use slog::{Discard, Logger, o};
use squall::clock::{Clock, Time};
use squall::config::NetOptions;
use squall::ids::{Incarnation, LinkId, WorkerId};
use squall::net::{
    Application, Direction, HEADROOM, Identity, LinkCredit, LinkState, Member, Members, Outbound, Outbox,
    PayloadError, PayloadKind, Poller, PollerHandle, Secret, TopologyKey, Wire,
};
use squall::tuple::codec;

use super::figures::Intervals;
use super::{Failure, Options, Sender, batch_of, work_on};

const SENDER: WorkerId = WorkerId(0);
const RECEIVER: WorkerId = WorkerId(1);
const LINK: LinkId = LinkId(0);

/// What is shared with the poller, on either side.
struct Shared {
    outbox: Arc<Outbox>,
    /// Tuples that may be sent. The sender waits for more.
    credit: Mutex<u64>,
    more: Condvar,
    /// Tuples that were received and worked on, and whether that is news.
    returned: AtomicU64,
    is_noted: AtomicBool,
}

struct Side {
    shared: Arc<Shared>,
    received: SyncSender<Bytes>,
}

impl Side {
    fn returned(&self) -> LinkCredit {
        LinkCredit { link: LINK, tuples: self.shared.returned.load(Ordering::Acquire), bytes: 0 }
    }
}

impl Application for Side {
    fn payload(
        &mut self,
        _from: WorkerId,
        _kind: PayloadKind,
        payload: Bytes,
        _now: Time,
    ) -> Result<(), PayloadError> {
        // The credit bounds what is in the channel, so this never waits.
        self.received.send(payload).map_err(|_| PayloadError("the measurement is over".into()))
    }

    fn credit(&mut self, _to: WorkerId, more: LinkCredit) {
        *self.shared.credit.lock().expect("nobody panics with it") += more.tuples;
        self.shared.more.notify_one();
    }

    fn settled(&mut self, _to: WorkerId, _frames: u64) {}

    fn lost(&mut self, _to: WorkerId, _frames: u64, _credits: &[LinkCredit]) {}

    fn status(&mut self, _from: WorkerId, _status: &[u8], _now: Time) {}

    fn own_status(&mut self, _to: WorkerId, _out: &mut Vec<u8>) {}

    fn credits_changed(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        self.all_credits(to, out);
    }

    fn credits_due(&mut self, _to: WorkerId, out: &mut Vec<LinkCredit>) {
        if self.shared.is_noted.swap(false, Ordering::AcqRel) {
            out.push(self.returned());
        }
    }

    fn all_credits(&mut self, _to: WorkerId, out: &mut Vec<LinkCredit>) {
        out.push(self.returned());
    }

    fn link(&mut self, _peer: WorkerId, _direction: Direction, _state: LinkState, _now: Time) {}
}

fn start(
    worker: WorkerId,
    receiver: Option<SocketAddr>,
    credit: u64,
    received: SyncSender<Bytes>,
) -> Result<(PollerHandle, Arc<Shared>), Failure> {
    let outbox = Arc::new(Outbox::new(2));
    let shared = Arc::new(Shared {
        outbox: Arc::clone(&outbox),
        credit: Mutex::new(credit),
        more: Condvar::new(),
        returned: AtomicU64::new(0),
        is_noted: AtomicBool::new(false),
    });
    let identity = Identity {
        topology: TopologyKey { name: "bench".into(), run: [0; 16] },
        assignment: 1,
        schema: 1,
        worker,
        incarnation: Incarnation(1),
    };
    let wire = Wire {
        identity,
        secret: Secret::new([1; 32]),
        options: NetOptions::default(),
        seed: 1,
        outbox,
        clock: Clock::real(),
        log: Logger::root(Discard, o!()),
    };
    let (poller, address) = Poller::bind(wire, Box::new(Side { shared: Arc::clone(&shared), received }))?;
    let member = |worker, address| Member { worker, incarnation: Incarnation(1), address };
    let members = vec![member(SENDER, None), member(RECEIVER, Some(receiver.unwrap_or(address)))];
    poller.set_members(Members { version: 1, members });
    Ok((poller, shared))
}

pub fn send(options: &Options, to: SocketAddr) -> Result<(), Failure> {
    let (_poller, shared) = start(SENDER, Some(to), options.in_flight, sync_channel(1).0)?;
    let batch = batch_of(options);
    let mut ready = vec![0; HEADROOM];
    codec::encode(&batch, &mut ready)?;
    let tuples = u64::from(batch.len);
    loop {
        let credit = shared.credit.lock().expect("nobody panics with it");
        *shared.more.wait_while(credit, |credit| *credit < tuples).expect("nobody panics with it") -= tuples;
        let bytes = if options.is_ready() {
            ready.clone()
        } else {
            let mut bytes = Vec::with_capacity(ready.len());
            bytes.resize(HEADROOM, 0);
            codec::encode(&batch, &mut bytes)?;
            bytes
        };
        let credit = LinkCredit { link: LINK, tuples: batch.len.into(), bytes: bytes.len() as u64 };
        shared.outbox.push(RECEIVER, Outbound::new(PayloadKind::Data, bytes, Some(credit), Time::ZERO));
    }
}

pub fn receive(options: &Options) -> Result<(), Failure> {
    let (received, payloads) = sync_channel(options.in_flight as usize);
    let (poller, shared) = start(RECEIVER, None, 0, received)?;
    let sender = Sender::start(poller.address())?;
    let mut intervals = Intervals::new(options, sender.0.id());
    while !intervals.is_done() {
        let payload = payloads.recv()?;
        let tuples = work_on(&payload, options)?;
        intervals.count(tuples, payload.len() as u64);
        shared.returned.fetch_add(tuples, Ordering::AcqRel);
        if !shared.is_noted.swap(true, Ordering::AcqRel) {
            shared.outbox.wake_poller();
        }
    }
    println!("{}", intervals.report(options));
    if std::env::var_os("SQUALL_BENCH_STATS").is_some() {
        eprintln!("{:#?}", poller.status());
    }
    Ok(())
}
