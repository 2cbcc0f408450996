//! Decoding hostile bytes holds memory in proportion to the input, whatever the input promises.
//!
//! An allocator counts what this thread holds; the peak during a decode must stay below
//! `ALLOCATION_FACTOR` times the input. A test of its own, for it takes the process's allocator.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::tuple::codec::{ALLOCATION_FACTOR, VERSION, decode, decode_value};

#[path = "memory_kit/mod.rs"]
mod memory_kit;

use memory_kit::peak_of;

fn check(bytes: &[u8]) {
    for peak in [peak_of(|| decode(bytes)), peak_of(|| decode_value(bytes))] {
        let allowed = ALLOCATION_FACTOR * bytes.len();
        assert!(peak <= allowed, "{peak} bytes held for {} of input: {bytes:02x?}", bytes.len());
    }
}

#[test]
fn promises_cost_nothing() {
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    for tag in [5, 6, 7, 8] {
        check(&[&[VERSION, tag][..], &huge].concat());
    }
    check(&[&[VERSION, 1, 1][..], &huge].concat());
    check(&[VERSION, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x80, 0x80, 4, 0]);
}

#[test]
fn the_dearest_values_stay_within_the_factor() {
    let check = |bytes: &[u8]| {
        assert!(decode_value(bytes).is_ok(), "refused, so that it costs nothing: {bytes:02x?}");
        check(bytes);
    };
    let list_of =
        |count: u8, element: &[u8]| [&[VERSION, 7, count][..], &element.repeat(count.into())].concat();
    check(&list_of(100, &[7, 0]));
    check(&list_of(100, &[8, 0]));
    check(&list_of(100, &[8, 1, 0, 0]));
    check(&list_of(100, &[7, 1, 8, 1, 0, 0]));
    check(&list_of(100, &[6, 0]));
    check(&[&[VERSION, 7, 1][..], &[7, 1].repeat(62), &[0]].concat());
}

/// Bytes that begin many lists and maps, most of them with promises too large.
#[test]
fn random_nests_stay_within_the_factor() {
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..100_000 {
        let len = rng.random_range(2..200);
        let mut bytes: Vec<u8> =
            (0..len).map(|_| [0, 1, 2, 7, 8, 7, 8, 0x40, 0x41, 20][rng.random_range(0..10)]).collect();
        bytes[0] = VERSION;
        check(&bytes);
    }
}
