//! What strangers and peers promise costs nothing: a mesh holds what came, and a little more.
//!
//! An allocator counts what this thread holds. A test of its own, for it takes the process's
//! allocator.

use bytes::BytesMut;
use squall::net::frame::{FrameKind, HEADER, seal, unsequenced};
use squall::net::handshake::{Dialing, HANDSHAKE_BYTES_MAX};
use squall::net::{Action, UNPROVEN_MAX};

#[path = "net_kit/mod.rs"]
mod kit;

#[path = "memory_kit/mod.rs"]
mod memory_kit;

use kit::raw::Raw;
use memory_kit::peak_of;

/// The header of a frame of tuples with so many bytes.
fn header(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + length];
    seal(&mut bytes, FrameKind::Data, 1, 0);
    bytes.truncate(HEADER);
    bytes.shrink_to_fit();
    bytes
}

#[test]
fn a_promised_length_is_not_allocated() {
    for length in [1 << 10, 16 << 20, (16 << 20) + 1, 1 << 30] {
        let mut raw = Raw::new();
        let (conn, _) = raw.link_to_mesh();
        let mut input = BytesMut::from(&header(length)[..]);
        let peak = peak_of(|| raw.mesh.received(conn, &mut input, raw.now, &mut raw.books));
        assert!(peak < 4096, "{peak} bytes for a frame that says {length}");
        let missing = raw.mesh.missing_bytes(conn, &input);
        assert_eq!(missing, (length <= 16 << 20).then_some(length), "the reader may reserve what is allowed");
    }
}

#[test]
fn a_crowd_of_strangers_costs_little() {
    let mut raw = Raw::new();
    let (_, hello) = Dialing::new(&raw.identity, raw.target(), [1; 32]);
    let peak = peak_of(|| {
        for _ in 0..10 * UNPROVEN_MAX {
            if let Some(conn) = raw.mesh.accepted(raw.now) {
                raw.give(conn, &hello);
                let long = unsequenced(FrameKind::Proof, |out| out.resize(HANDSHAKE_BYTES_MAX - 200, 0));
                raw.give(conn, &long[..long.len() - 1]);
            }
            // As the poller does it: whoever was crowded out is closed at once.
            for action in raw.mesh.actions() {
                if let Action::Close { conn, .. } = action {
                    raw.mesh.closed(conn, "closed", raw.now, &mut raw.books);
                }
            }
        }
    });
    assert!(peak < UNPROVEN_MAX * 2048, "{peak} bytes for {UNPROVEN_MAX} of them");
    assert!(raw.mesh.counts().crowded_out > 0, "they were no crowd");
}

#[test]
fn a_payload_is_taken_out_of_the_input_without_a_copy() {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    let mut peer = kit::Books::new(raw.identity.endpoint());
    let message = peer.write(squall::ids::WorkerId(0), squall::net::PayloadKind::Data, 1 << 20, raw.now);
    let mut input = BytesMut::from(&kit::raw::sequenced(FrameKind::Data, 1, message.payload())[..]);
    let peak = peak_of(|| raw.mesh.received(conn, &mut input, raw.now, &mut raw.books));
    assert!(peak < 4096, "{peak} bytes to take a MiB that is there");
    assert_eq!(raw.books.taken_from(squall::ids::WorkerId(1)), [0, 1]);
}
