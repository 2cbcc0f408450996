//! How much memory a call holds at once: an allocator that counts what each thread holds, and what all hold together.
//!
//! It is the allocator of the whole process, so whoever uses it is a test of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The same of all threads together, since the process began.
static ALL_HELD: AtomicUsize = AtomicUsize::new(0);
static ALL_PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed to the system's allocator unchanged; the counters are plain cells of
// this thread that allocate nothing and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get().wrapping_add(layout.size());
        HELD.set(held);
        PEAK.set(PEAK.get().max(held));
        let held = ALL_HELD.fetch_add(layout.size(), Ordering::Relaxed).wrapping_add(layout.size());
        ALL_PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // What was held before the call may be freed in it.
        HELD.set(HELD.get().saturating_sub(layout.size()));
        ALL_HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `System::alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that were held at once, beyond those before.
pub fn peak_of<T>(call: impl FnOnce() -> T) -> usize {
    assert!(measured(|| black_box(vec![1_u8; 4096])) >= 4096, "the allocator does not count");
    measured(call)
}

/// Bytes that are held after this call, beyond those before, with what it returned.
pub fn held_after<T>(call: impl FnOnce() -> T) -> (usize, T) {
    HELD.set(0);
    let result = call();
    (HELD.get(), result)
}

/// Bytes that all threads held at once while this was called, with those that they held before.
pub fn peak_of_all_threads<T>(call: impl FnOnce() -> T) -> (usize, T) {
    ALL_PEAK.store(ALL_HELD.load(Ordering::Relaxed), Ordering::Relaxed);
    let result = call();
    (ALL_PEAK.load(Ordering::Relaxed), result)
}

fn measured<T>(call: impl FnOnce() -> T) -> usize {
    HELD.set(0);
    PEAK.set(0);
    drop(call());
    PEAK.get()
}
