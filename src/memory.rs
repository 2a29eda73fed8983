//! What keeps the lack of memory from ending the process.
//!
//! An allocation that fails ends a Rust program. So a reserve is kept, which costs address space
//! only. When the system has no more, it is given back: what is under way ends whole, and each
//! operation that would begin is refused until there is a reserve again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Bytes of the reserve: more than one operation takes, but for a text that is larger. Above the
/// size up to which the C library changes how it allocates once such a block is freed.
const RESERVE: usize = 33 << 20;

/// The reserve, if there is one.
static KEPT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Whether it was given back, and not replaced since.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

/// The system's allocator, with a reserve.
#[derive(Debug)]
pub struct Reserving;

// SAFETY: each function is the system's own, called a second time at most, where the first gave
// nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Reserving {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let found = unsafe { System.alloc(layout) };
        if found.is_null() && give_back() { unsafe { System.alloc(layout) } } else { found }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let found = unsafe { System.alloc_zeroed(layout) };
        if found.is_null() && give_back() { unsafe { System.alloc_zeroed(layout) } } else { found }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let found = unsafe { System.realloc(block, layout, size) };
        if found.is_null() && give_back() {
            unsafe { System.realloc(block, layout, size) }
        } else {
            found
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

/// Takes the reserve, if there is none; whether there is one now.
#[allow(unsafe_code)]
pub fn keep_reserve() -> bool {
    if !KEPT.load(Ordering::Relaxed).is_null() {
        return true;
    }
    // SAFETY: the layout is not empty; what is not kept is given back at once.
    unsafe {
        let block = System.alloc(layout());
        if block.is_null() {
            return false;
        }
        let (order, null) = (Ordering::AcqRel, ptr::null_mut());
        if KEPT.compare_exchange(null, block, order, Ordering::Relaxed).is_err() {
            System.dealloc(block, layout());
        }
    }
    IS_SHORT.store(false, Ordering::Relaxed);
    true
}

/// Whether memory has run out, and there is no new reserve to be had: an operation that would begin
/// is to be refused.
#[inline]
pub fn is_short() -> bool {
    IS_SHORT.load(Ordering::Relaxed) && !keep_reserve()
}

/// Whether `bytes` can be had in one piece, beside the reserve.
#[must_use]
pub fn has_room_for(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    bytes < RESERVE / 32 || room.try_reserve_exact(bytes).is_ok() && !is_short()
}

fn layout() -> Layout {
    Layout::new::<[u8; RESERVE]>()
}

#[cold]
#[allow(unsafe_code)]
fn give_back() -> bool {
    let block = KEPT.swap(ptr::null_mut(), Ordering::AcqRel);
    if block.is_null() {
        return false;
    }
    IS_SHORT.store(true, Ordering::Relaxed);
    // SAFETY: it was allocated with this layout, and whoever swaps it out is the only one to have it.
    unsafe { System.dealloc(block, layout()) };
    true
}
