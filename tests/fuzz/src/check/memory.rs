//! How much memory this thread holds: counted, so that a bound can be checked from
//! outside of the decoders.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: usize, sign: isize) {
    // A thread that ends has no count any more.
    let _ = HELD.try_with(|held| held.set(held.get() + sign * bytes as isize));
}

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Feeds the same bytes again and again; what is held may not grow over `bound`.
pub fn stays_below(bound: usize, bytes: &[u8], mut feed: impl FnMut(&[u8])) {
    const FED: usize = 16 * 1024;
    const AT_ONCE: usize = 512;
    if bytes.is_empty() {
        return;
    }
    let bytes = bytes.repeat(AT_ONCE.div_ceil(bytes.len()));
    let before = HELD.get();
    for _ in 0..FED / bytes.len() {
        feed(&bytes);
        let held = HELD.get() - before;
        assert!(held <= bound as isize, "{held} bytes are held");
    }
}
