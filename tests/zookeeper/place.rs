//! Addresses of the loopback interface that nobody else uses.
//!
//! Every address of 127.0.0.0/8 is the machine's own. Each server and each proxy of the tests takes an address of its
//! own, so that all of them listen on the port that their kind always has. A server that is started again finds its
//! port free: connections that go out have ports of 127.0.0.1, and other servers other addresses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The port at which ZooKeeper serves its clients.
pub const CLIENT_PORT: u16 = 2181;
/// The port at which ZooKeeper serves clients over TLS.
pub const TLS_PORT: u16 = 2281;

/// How many addresses a test process may use.
const ADDRESSES: u32 = 1 << 12;
/// How many test processes have addresses of their own.
const PROCESSES: u32 = 1 << 11;
/// 127.128.0.0, where the addresses begin: far from those that people use.
const FIRST: u32 = 0x7f80_0000;

/// An address that this process has not used before, and at which nothing listens.
pub fn new_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let of_process = FIRST + (std::process::id() % PROCESSES) * ADDRESSES;
    loop {
        // Relaxed: only the number itself matters.
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(next < ADDRESSES - 1, "this process has used all its addresses");
        let address = Ipv4Addr::from(of_process + next);
        // Java cannot bind an address that ends so: "Cannot assign requested address".
        if address.octets()[3] == u8::MAX {
            continue;
        }
        // Another process with the same remainder may be at work.
        if [CLIENT_PORT, TLS_PORT].into_iter().all(|port| TcpListener::bind((address, port)).is_ok()) {
            return address;
        }
    }
}
