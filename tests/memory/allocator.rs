//! An allocator that has nothing left for a thread that says so.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hermes_core::memory::Reserving;

/// What is smaller may come from the reserve, which there is always some of here.
pub(crate) const LARGE: usize = 1024;

#[global_allocator]
static ALLOCATOR: Reserving<Failing> = Reserving(Failing);

thread_local! {
    /// How many large allocations this thread gets yet.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The system's allocator, which gives a thread so many large blocks and then none.
#[derive(Debug)]
struct Failing;

impl Failing {
    fn gives(size: usize) -> bool {
        size < LARGE
            || LEFT.with(|left| match left.get() {
                0 => false,
                usize::MAX => true,
                some => {
                    left.set(some - 1);
                    true
                }
            })
    }
}

// SAFETY: the system's own, or nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let gives = Self::gives(layout.size());
        if gives { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let gives = size <= layout.size() || Self::gives(size);
        if gives { unsafe { System.realloc(block, layout, size) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

/// What `step` gives where the thread gets no more than so many large blocks.
pub(crate) fn with_blocks<R>(blocks: usize, step: impl FnOnce() -> R) -> R {
    let before = LEFT.replace(blocks);
    let done = step();
    LEFT.set(before);
    done
}
