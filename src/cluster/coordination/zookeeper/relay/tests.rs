//! A relay between a socket of this process, or of another, and a member that the test plays.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use super::*;

const SOON: Duration = Duration::from_secs(60);

struct World {
    relay: Relay,
    member: TcpStream,
    events: Receiver<RelayEvent>,
}

fn world() -> World {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dialed = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (member, _) = listener.accept().unwrap();
    member.set_read_timeout(Some(SOON)).unwrap();
    let (sender, events) = channel();
    let report = move |event| _ = sender.send(event);
    let relay = Relay::start(dialed, Transport::Plain, SOON, &Clock::real(), report).unwrap();
    World { relay, member, events }
}

fn dial(relay: &Relay) -> TcpStream {
    let client = TcpStream::connect(relay.address().unwrap()).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client
}

/// The first answer of a member: a time-out of 4 s, session 77.
fn answer() -> Vec<u8> {
    let mut bytes = 36_i32.to_be_bytes().to_vec();
    bytes.extend(0_i32.to_be_bytes());
    bytes.extend(4000_i32.to_be_bytes());
    bytes.extend(77_i64.to_be_bytes());
    bytes.extend([1; 20]);
    bytes
}

#[test]
fn bytes_pass_in_both_directions_and_the_session_is_reported() {
    let World { relay, mut member, events } = world();
    let mut client = dial(&relay);
    client.write_all(b"hello").unwrap();
    let mut got = [0; 5];
    member.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    let answer = answer();
    // In pieces, as a network may deliver it.
    for piece in answer.chunks(3) {
        member.write_all(piece).unwrap();
        let mut got = vec![0; piece.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, piece);
    }
    let greeted = Greeting { timeout: Duration::from_secs(4), session: 77 };
    assert_eq!(events.recv_timeout(SOON), Ok(RelayEvent::Greeted(greeted)));
    drop(member);
    assert_eq!(client.read(&mut got).unwrap(), 0, "the client sees the end");
    assert_eq!(events.recv_timeout(SOON), Ok(RelayEvent::Ended("it closed the connection".to_owned())));
}

#[test]
fn a_member_that_reads_nothing_stops_the_client_and_loses_nothing() {
    let World { relay, mut member, .. } = world();
    let mut client = dial(&relay);
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || {
        client.write_all(&sent).unwrap();
        client
    });
    let mut got = vec![0; bytes.len()];
    member.read_exact(&mut got).unwrap();
    assert!(got == bytes);
    drop(writer.join().unwrap());
    assert_eq!(member.read(&mut got).unwrap(), 0, "the member sees the end");
}

#[test]
fn what_is_cut_ends_both_connections_and_dialing_again_waits() {
    let World { relay, mut member, events } = world();
    let mut client = dial(&relay);
    client.write_all(b"x").unwrap();
    member.read_exact(&mut [0]).unwrap();
    let (listener, address) = (relay.listener(), relay.address().unwrap());
    drop(relay);
    assert_eq!(events.recv_timeout(SOON), Ok(RelayEvent::Ended("it was cut".to_owned())));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(member.read(&mut [0]).unwrap(), 0);
    assert!(TcpStream::connect(address).is_ok(), "the listener is still open");
    drop(listener);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_connection_of_another_process_is_refused() {
    let World { relay, mut member, .. } = world();
    let address = relay.address().unwrap();
    // Another process connects first. Its connection is closed.
    let script = format!("exec 3<>/dev/tcp/{}/{}; cat <&3", address.ip(), address.port());
    let stranger = Command::new("bash").arg("-c").arg(script).output().unwrap();
    assert!(stranger.stdout.is_empty());
    let mut client = dial(&relay);
    client.write_all(b"own").unwrap();
    let mut got = [0; 3];
    member.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"own");
}

#[test]
fn a_socket_is_found_in_the_table_of_the_kernel() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 20
   1: 0100007F:0035 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20";
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert_eq!(inode_of(table, at(8080), at(53)), Some(4711));
    assert_eq!(inode_of(table, at(53), at(8080)), Some(4712));
    assert_eq!(inode_of(table, at(53), at(53)), None);
}
