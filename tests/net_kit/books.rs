//! What a worker's application keeps beside its mesh, to hold the mesh against.

use std::collections::BTreeMap;

use bytes::Bytes;
use squall::clock::Time;
use squall::ids::{Incarnation, LinkId, WorkerId};
use squall::net::{
    Application, Direction, Endpoint, HEADROOM, LinkCredit, LinkState, Members, Outbound, PayloadError,
    PayloadKind,
};

/// Links that tuples take credit of.
const LINKS: u64 = 3;

type Totals = BTreeMap<LinkId, (u64, u64)>;

/// What went to the present incarnation of a peer.
#[derive(Default)]
struct Sent {
    /// Payloads of the control lane, and of the data lane.
    lanes: [u64; 2],
    settled: u64,
    credit: Totals,
    returned: Totals,
}

/// What came from the present incarnation of a peer.
#[derive(Default)]
struct Taken {
    lanes: [u64; 2],
    /// Credit of payloads that are still being worked on.
    owed: Totals,
    given_back: Totals,
    /// Links whose total changed since the mesh asked.
    dirty: Vec<LinkId>,
}

pub struct Books {
    pub own: Endpoint,
    incarnations: BTreeMap<WorkerId, Incarnation>,
    sent: BTreeMap<WorkerId, Sent>,
    taken: BTreeMap<WorkerId, Taken>,
    pub links: BTreeMap<(WorkerId, Direction), LinkState>,
    pub downs: Vec<(WorkerId, Direction, String)>,
    pub statuses: BTreeMap<WorkerId, (u64, Time)>,
    pub incarnations_lost: u64,
    /// Payloads are refused while this is so.
    pub refuses: bool,
}

fn lane(kind: PayloadKind) -> usize {
    usize::from(kind == PayloadKind::Data)
}

/// The credit that a payload of tuples takes.
fn credit_of(index: u64) -> LinkCredit {
    LinkCredit { link: LinkId((index % LINKS) as u32), tuples: 1 + index % 5, bytes: 100 + index % 7 }
}

fn add(totals: &mut Totals, more: LinkCredit) {
    let total = totals.entry(more.link).or_default();
    *total = (total.0 + more.tuples, total.1 + more.bytes);
}

fn total_of(link: LinkId, (tuples, bytes): (u64, u64)) -> LinkCredit {
    LinkCredit { link, tuples, bytes }
}

impl Books {
    pub fn new(own: Endpoint) -> Books {
        Books {
            own,
            incarnations: BTreeMap::new(),
            sent: BTreeMap::new(),
            taken: BTreeMap::new(),
            links: BTreeMap::new(),
            downs: Vec::new(),
            statuses: BTreeMap::new(),
            incarnations_lost: 0,
            refuses: false,
        }
    }

    /// The members are about to be set. The books of an incarnation that ended are closed by `lost`, which
    /// must come.
    pub fn members_set(&mut self, members: &Members) {
        for member in &members.members {
            let known = self.incarnations.entry(member.worker).or_insert(member.incarnation);
            *known = (*known).max(member.incarnation);
        }
    }

    /// Makes the next payload to a peer: who sends it to whom, and which of its lane it is.
    pub fn write(&mut self, to: WorkerId, kind: PayloadKind, padding: usize, now: Time) -> Outbound {
        let sent = self.sent.entry(to).or_default();
        let index = sent.lanes[lane(kind)];
        sent.lanes[lane(kind)] += 1;
        let mut bytes = vec![0xee; HEADROOM];
        bytes.extend_from_slice(&self.own.worker.0.to_le_bytes());
        bytes.extend_from_slice(&self.own.incarnation.0.to_le_bytes());
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.resize(bytes.len() + padding, index as u8);
        let credit = (kind == PayloadKind::Data).then(|| credit_of(index));
        if let Some(credit) = credit {
            add(&mut sent.credit, credit);
        }
        Outbound::new(kind, bytes, credit, now)
    }

    /// Gives back what is owed to all peers.
    pub fn give_back_all(&mut self) {
        for taken in self.taken.values_mut() {
            for (link, (tuples, bytes)) in std::mem::take(&mut taken.owed) {
                add(&mut taken.given_back, LinkCredit { link, tuples, bytes });
                taken.dirty.push(link);
            }
        }
    }

    /// Gives credit back to a peer that never asked for it.
    pub fn give(&mut self, peer: WorkerId, credit: LinkCredit) {
        let taken = self.taken.entry(peer).or_default();
        add(&mut taken.given_back, credit);
        taken.dirty.push(credit.link);
    }

    pub fn is_settled(&self) -> bool {
        self.sent.values().all(|sent| sent.settled == sent.lanes.iter().sum::<u64>())
    }

    pub fn is_credit_back(&self) -> bool {
        self.sent.values().all(|sent| sent.returned == sent.credit)
    }

    /// How many payloads of each lane went to the present incarnation of each peer.
    pub fn sent(&self) -> impl Iterator<Item = (WorkerId, [u64; 2])> {
        self.sent.iter().map(|(peer, sent)| (*peer, sent.lanes))
    }

    pub fn taken_from(&self, peer: WorkerId) -> [u64; 2] {
        self.taken.get(&peer).map_or([0; 2], |taken| taken.lanes)
    }

    pub fn check_books(&self) {
        for sent in self.sent.values() {
            assert!(sent.settled <= sent.lanes.iter().sum(), "no more is settled than was sent");
            for (link, (tuples, bytes)) in &sent.returned {
                let out = sent.credit.get(link).copied().unwrap_or_default();
                assert!(*tuples <= out.0 && *bytes <= out.1, "no more comes back than was sent");
            }
        }
    }
}

impl Application for Books {
    fn payload(
        &mut self,
        from: WorkerId,
        kind: PayloadKind,
        payload: Bytes,
        _now: Time,
    ) -> Result<(), PayloadError> {
        if self.refuses {
            return Err(PayloadError("refused by the test".into()));
        }
        let worker = u16::from_le_bytes(payload[0..2].try_into().unwrap());
        let incarnation = u32::from_le_bytes(payload[2..6].try_into().unwrap());
        let index = u64::from_le_bytes(payload[6..14].try_into().unwrap());
        assert_eq!(WorkerId(worker), from);
        assert_eq!(
            Some(&Incarnation(incarnation)),
            self.incarnations.get(&from),
            "only the present incarnation is heard"
        );
        assert!(payload[14..].iter().all(|byte| *byte == index as u8));
        let taken = self.taken.entry(from).or_default();
        assert_eq!(index, taken.lanes[lane(kind)], "each payload of a lane once, and in order");
        taken.lanes[lane(kind)] += 1;
        if kind == PayloadKind::Data {
            add(&mut taken.owed, credit_of(index));
        }
        Ok(())
    }

    fn credit(&mut self, to: WorkerId, more: LinkCredit) {
        let sent = self.sent.entry(to).or_default();
        add(&mut sent.returned, more);
        self.check_books();
    }

    fn settled(&mut self, to: WorkerId, frames: u64) {
        assert!(frames > 0);
        self.sent.entry(to).or_default().settled += frames;
        self.check_books();
    }

    fn lost(&mut self, to: WorkerId, frames: u64, credits: &[LinkCredit]) {
        let sent = self.sent.remove(&to).unwrap_or_default();
        self.taken.remove(&to);
        self.incarnations_lost += 1;
        assert_eq!(sent.settled + frames, sent.lanes.iter().sum::<u64>(), "settled or lost, all of it");
        let returned = |link| sent.returned.get(&link).copied().unwrap_or_default();
        let out = |(link, (tuples, bytes)): (&LinkId, &(u64, u64))| LinkCredit {
            link: *link,
            tuples: tuples - returned(*link).0,
            bytes: bytes - returned(*link).1,
        };
        let out: Vec<_> = sent.credit.iter().map(out).filter(|credit| !credit.is_zero()).collect();
        assert_eq!(credits, out, "all credit that was out, in the order of links");
    }

    fn status(&mut self, from: WorkerId, status: &[u8], now: Time) {
        let (incarnation, at) = status.split_first_chunk::<4>().unwrap();
        assert_eq!(Some(&Incarnation(u32::from_le_bytes(*incarnation))), self.incarnations.get(&from));
        self.statuses.insert(from, (u64::from_le_bytes(at.try_into().unwrap()), now));
    }

    fn own_status(&mut self, _to: WorkerId, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.own.incarnation.0.to_le_bytes());
        out.extend_from_slice(&(self.statuses.len() as u64).to_le_bytes());
    }

    fn credits_changed(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        self.credits_due(to, out);
    }

    fn credits_due(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        let Some(taken) = self.taken.get_mut(&to) else { return };
        let Taken { dirty, given_back, .. } = taken;
        out.extend(dirty.drain(..).map(|link| total_of(link, given_back[&link])));
    }

    fn all_credits(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>) {
        let Some(taken) = self.taken.get(&to) else { return };
        out.extend(taken.given_back.iter().map(|(link, total)| total_of(*link, *total)));
    }

    fn link(&mut self, peer: WorkerId, direction: Direction, state: LinkState, _now: Time) {
        let before = self.links.insert((peer, direction), state.clone());
        let was_up = before == Some(LinkState::Up);
        match state {
            LinkState::Up => assert!(!was_up, "a link comes up once"),
            LinkState::Down { why } => {
                assert!(was_up, "only a link that is up goes down");
                self.downs.push((peer, direction, why));
            }
        }
    }
}
