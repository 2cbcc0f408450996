//! Replays each file of the fuzz corpus through the body of its fuzz target, on a stable compiler.
//!
//! The corpus holds a few inputs that reach far, and every input that ever crashed a target.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod bodies;

fn replay(target: &str, body: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).expect("each target has a corpus") {
        let path = entry.expect("the corpus can be listed").path();
        println!("{}", path.display());
        body(&fs::read(&path).expect("a corpus file can be read"));
        replayed += 1;
    }
    assert!(replayed > 0, "an empty corpus proves nothing: {}", corpus.display());
}

#[test]
fn api_request() {
    replay("api_request", bodies::api_request);
}

#[test]
fn tuple_codec() {
    replay("tuple_codec", bodies::tuple_codec);
}

#[test]
fn value_serde() {
    replay("value_serde", bodies::value_serde);
}

#[test]
fn acker_ops() {
    replay("acker_ops", bodies::acker_ops);
}

#[test]
fn topology_toml() {
    replay("topology_toml", bodies::topology_toml);
}

#[test]
fn frame_decode() {
    replay("frame_decode", bodies::frame_decode);
}

#[test]
fn handshake() {
    replay("handshake", bodies::handshake);
}

#[test]
fn resume() {
    replay("resume", bodies::resume);
}

#[test]
fn session() {
    replay("session", bodies::session);
}
