//! Elections on a real ZooKeeper: what happens to a leader that is cut off, whose node is deleted, or whose server has
//! lost its data. The rules themselves are tested on the service in memory, with every fault.

use squall::cluster::coordination::{
    CandidateRecord, Coordination as _, Election, ElectionError, Leadership, NodePath,
};

use crate::clients::{Client, SHORT, new_root, options, path, shared};
use crate::proxy::Proxy;
use crate::server::Servers;
use crate::wait_until;
use crate::witness::Witness;

/// A process that can lead.
struct Candidate {
    client: Client,
    me: CandidateRecord,
    election: Election,
}

impl Candidate {
    fn new(name: &str, client: Client) -> Candidate {
        let me = CandidateRecord::new(name, 1, "127.0.0.1:1");
        let election = Election::new(nimbus(), me.clone(), SHORT * 2 / 3, 0).expect("it is a name");
        Candidate { client, me, election }
    }

    fn step(&mut self) -> Result<Leadership, ElectionError> {
        let now = self.client.clock.now();
        self.election.step(&*self.client, now)
    }

    /// The epoch with which it leads now.
    fn epoch(&mut self) -> Option<u64> {
        match self.step() {
            Ok(Leadership::Leader { epoch, until }) if self.client.clock.now() < until => Some(epoch),
            _ => None,
        }
    }
}

fn nimbus() -> NodePath {
    path("/nimbus")
}

#[test]
fn a_leader_that_is_cut_off_stops_before_another_begins() {
    let servers = shared();
    let (mut proxy, root) = (Proxy::to(servers[0].address()), new_root());
    let mut first = Candidate::new("first", Client::open(&options(&[proxy.address()], &root)));
    let mut second = Candidate::new("second", Client::open(&options(&servers.addresses(), &root)));
    let mut until = None;
    wait_until("the first leads", || match first.step() {
        Ok(Leadership::Leader { epoch: 1, until: good }) => until.replace(good).is_none(),
        other => panic!("nobody else is there: {other:?}"),
    });
    assert_eq!(second.step(), Ok(Leadership::Follower { leader: Some(first.me.clone()) }));
    proxy.freeze();
    wait_until("the second leads", || second.epoch() == Some(2));
    assert!(Some(first.client.clock.now()) > until, "the first does not act any more");
    proxy.heal();
    assert_eq!(first.step(), Ok(Leadership::Follower { leader: Some(second.me.clone()) }));
    second.election.resign(&*second.client).unwrap();
    wait_until("the first leads again", || first.epoch() == Some(3));
}

#[test]
fn a_leader_whose_connection_was_cut_goes_on_with_its_epoch() {
    let servers = shared();
    let proxy = Proxy::to(servers[0].address());
    let mut leader = Candidate::new("leader", Client::of(&[proxy.address()]));
    for _ in 0..5 {
        wait_until("it leads", || leader.epoch() == Some(1));
        proxy.cut_in_use();
    }
    wait_until("it leads", || leader.epoch() == Some(1));
}

#[test]
fn a_leader_whose_node_somebody_deletes_goes_on() {
    let servers = shared();
    let root = new_root();
    let mut first = Candidate::new("first", Client::open(&options(&servers.addresses(), &root)));
    let mut second = Candidate::new("second", Client::open(&options(&servers.addresses(), &root)));
    assert_eq!((first.epoch(), second.epoch()), (Some(1), None));
    let node = format!("/nimbus/candidates/{}", first.me.id);
    Witness::at(servers[0].address()).delete(&first.client.absolute(&node)).unwrap();
    assert_eq!(first.epoch(), Some(1));
    assert_eq!(second.step(), Ok(Leadership::Follower { leader: Some(first.me.clone()) }));
    first.client.catch_up().unwrap();
    assert!(first.client.get(&path(&node)).unwrap().is_some_and(|node| node.is_held));
}

#[test]
fn nobody_leads_when_the_server_has_lost_its_data() {
    let mut servers = Servers::alone();
    let mut leader = Candidate::new("leader", Client::of(&servers.addresses()));
    wait_until("it leads", || leader.epoch() == Some(1));
    servers.kill_all();
    servers.wipe_all();
    servers.restart_all();
    let lost = ElectionError::RolledBack { path: nimbus(), seen: 1, found: 0 };
    assert_eq!(leader.step(), Err(lost));
}
