//! Decoding hostile bytes holds memory in proportion to the input, whatever the input promises.
//!
//! An allocator counts what this thread holds; the peak during a decode must stay below
//! `ALLOCATION_FACTOR` times the input. A test of its own, for it takes the process's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::tuple::codec::{ALLOCATION_FACTOR, VERSION, decode, decode_value};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed to the system's allocator unchanged; the counters are plain cells of
// this thread that allocate nothing and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get().wrapping_add(layout.size());
        HELD.set(held);
        PEAK.set(PEAK.get().max(held));
        // SAFETY: the caller's promises are those of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: the pointer came from `System::alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that were held at once, beyond those before.
fn peak_of<T>(call: impl FnOnce() -> T) -> usize {
    HELD.set(0);
    PEAK.set(0);
    drop(call());
    PEAK.get()
}

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
