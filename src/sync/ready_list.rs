//! A list without a lock, that any thread adds to and one takes whole.
//!
//! An event loop runs many tasks on one thread. Whoever wakes one of them, holding a core lock
//! perhaps, leaves the task's number here and writes to the loop's descriptor once for all that are
//! here; the loop reads the descriptor, then takes the numbers. There is no lock, so a process
//! forked in the middle of a wake has a whole list.

use std::ptr;

use crate::sync::atomic::{AtomicPtr, Ordering};

struct Node<V> {
    value: V,
    next: *mut Node<V>,
}

/// What any thread adds and one takes out.
#[derive(Debug)]
pub struct ReadyList<V = u64> {
    // The value added last, each with the one before it.
    last: AtomicPtr<Node<V>>,
}

impl<V> Default for ReadyList<V> {
    fn default() -> Self {
        Self { last: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl<V> ReadyList<V> {
    /// Adds a value; whether it is the only one, so that whoever takes them must be woken.
    pub fn push(&self, value: V) -> bool {
        let mut before = self.last.load(Ordering::Relaxed);
        let node = Box::into_raw(Box::new(Node { value, next: before }));
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

    /// Takes all values out, in the order they came. Whoever is woken reads that first: a value that
    /// comes between the two is taken now, and one that comes later wakes again.
    pub fn take_all(&self) -> Vec<V> {
        let mut node = self.last.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut values = Vec::new();
        while !node.is_null() {
            // SAFETY: made by `Box::into_raw`, and out of the list, so that nobody else has it.
            #[allow(unsafe_code)]
            let taken = unsafe { Box::from_raw(node) };
            values.push(taken.value);
            node = taken.next;
        }
        values.reverse();
        values
    }
}

impl<V> Drop for ReadyList<V> {
    fn drop(&mut self) {
        self.take_all();
    }
}
