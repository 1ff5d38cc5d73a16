//! Counts what a thread allocates while something runs: how often, and bytes live at once, at most.
#![allow(unsafe_code, reason = "an allocator cannot be written without; it hands everything to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: i64) {
    // While a thread ends, its counters may be gone already.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + usize::from(bytes > 0)));
    });
}

// SAFETY: every call goes to the system's allocator with the arguments unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Runs `work`; returns its result and how many bytes this thread held at once for it, at most.
pub(crate) fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// Runs `work`; returns its result and how often this thread asked for (more) memory for it.
pub(crate) fn allocations_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = CALLS.get();
    let result = work();
    (result, CALLS.get() - before)
}

#[test]
fn every_allocation_is_counted() {
    let (boxes, count) = allocations_of(|| [Box::new(1), Box::new(2)]);
    assert_eq!((boxes.len(), count), (2, 2));
    assert_eq!(allocations_of(|| 1 + 1).1, 0);
}

#[test]
fn the_peak_counts_what_lives_at_once() {
    let (_, two_in_turn) = peak_of(|| (0..2).map(|_| vec![1_u8; 10_000].len()).sum::<usize>());
    let (_, two_at_once) = peak_of(|| (vec![1_u8; 10_000], vec![1_u8; 10_000]));
    assert!((10_000..11_000).contains(&two_in_turn), "{two_in_turn}");
    assert!((20_000..21_000).contains(&two_at_once), "{two_at_once}");
}
