//! Who was woken, on the way to the one thread that goes on for them all.
//!
//! An event loop runs many tasks on one thread. Whoever wakes one of them, holding a core lock
//! perhaps, leaves the task's number here and rings once for all that are here; the loop reads the
//! bell, then takes the numbers. There is no lock, so a process forked in the middle of a wake has
//! a whole list.

use std::ptr;

use crate::sync::atomic::{AtomicPtr, Ordering};

struct Node {
    number: u64,
    next: *mut Node,
}

/// Numbers that any thread adds and one takes out.
#[derive(Debug)]
pub struct WokenList {
    // The number added last, each with the one before it.
    last: AtomicPtr<Node>,
}

impl Default for WokenList {
    fn default() -> Self {
        Self { last: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl WokenList {
    /// Adds a number; whether it is the only one, so that the bell must be rung.
    pub fn push(&self, number: u64) -> bool {
        let mut before = self.last.load(Ordering::Relaxed);
        let node = Box::into_raw(Box::new(Node { number, next: before }));
        loop {
            let put = self.last.compare_exchange(before, node, Ordering::AcqRel, Ordering::Relaxed);
            match put {
                Ok(_) => return before.is_null(),
                Err(other) => before = other,
            }
            // SAFETY: not in the list yet, so it is this thread's alone.
            #[allow(unsafe_code)]
            unsafe {
                (*node).next = before;
            }
        }
    }

    /// Takes all numbers out, in the order they came. The bell is read before: a number that comes
    /// between the two is taken now, and one that comes later rings.
    pub fn take_all(&self) -> Vec<u64> {
        let mut node = self.last.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut numbers = Vec::new();
        while !node.is_null() {
            // SAFETY: made by `Box::into_raw`, and out of the list, so that nobody else has it.
            #[allow(unsafe_code)]
            let taken = unsafe { Box::from_raw(node) };
            numbers.push(taken.number);
            node = taken.next;
        }
        numbers.reverse();
        numbers
    }
}

impl Drop for WokenList {
    fn drop(&mut self) {
        self.take_all();
    }
}
