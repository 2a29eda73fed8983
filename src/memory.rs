//! What keeps the lack of memory from ending the process.
//!
//! An allocation that fails ends a Rust program. So whatever grows with what a caller brings, a
//! table or a text, asks for its memory first, before anything is changed ([`Room`], [`copy`],
//! [`shared`]): where there is none, the operation is refused, [`Error::NoMemory`]. An end, an ack
//! and a return are never refused: what they need of that kind is kept ready for them.
//!
//! The rest is small and bounded: some hundred bytes an operation, for what is boxed one by one. For
//! that a reserve is kept, which costs address space only. When the system has no more, it is given
//! back: what is under way ends whole, and each operation that would begin is refused until there
//! is a reserve again. It is enough for a hundred thousand such pieces, and what asks first never
//! takes from it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::error::Error;

/// There is no memory for it. As small as can be, for those whom every event passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

impl From<NoMemory> for Error {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// Bytes of the reserve. Above the size up to which the C library changes how it allocates once such
/// a block is freed.
const RESERVE: usize = 33 << 20;

/// A text of no more bytes may be taken from the reserve.
pub(crate) const SMALL: usize = 512;

/// The reserve, if there is one.
static KEPT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Whether it was given back, and not replaced since.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether the allocation under way may fail: it takes nothing from the reserve.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };

    /// Whether what is asked for now is for an end, and so may be taken from the reserve.
    static IS_END: Cell<bool> = const { Cell::new(false) };

    /// A block for the one allocation of that layout that this thread is about to make.
    static SET_ASIDE: Cell<Option<(*mut u8, Layout)>> = const { Cell::new(None) };
}

/// An allocator, the system's mostly, with a reserve.
#[derive(Debug)]
pub struct Reserving<A = System>(pub A);

// SAFETY: each function is the other allocator's own, called a second time at most, where the first
// gave nothing; a block that was set aside is that allocator's too, and of the layout asked for.
#[allow(unsafe_code)]
unsafe impl<A: GlobalAlloc> GlobalAlloc for Reserving<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let found = unsafe { self.0.alloc(layout) };
        if !found.is_null() {
            return found;
        }
        match set_aside(layout) {
            Some(block) => block,
            None if give_back() => unsafe { self.0.alloc(layout) },
            None => found,
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let found = unsafe { self.0.alloc_zeroed(layout) };
        if found.is_null() && give_back() { unsafe { self.0.alloc_zeroed(layout) } } else { found }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let found = unsafe { self.0.realloc(block, layout, size) };
        if found.is_null() && give_back() {
            unsafe { self.0.realloc(block, layout, size) }
        } else {
            found
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { self.0.dealloc(block, layout) }
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

/// Has a step ask for memory that there may be none of.
///
/// # Errors
/// [`NoMemory`] where the step fails.
#[cold]
pub fn ask<R, E>(step: impl FnOnce() -> Result<R, E>) -> Result<R, NoMemory> {
    MAY_FAIL.set(!IS_END.get());
    let found = step();
    MAY_FAIL.set(false);
    found.map_err(|_| NoMemory)
}

/// Has an end do what asks for memory, with that of the reserve where there is no other. What is
/// large was made ready for it before.
#[cold]
pub fn surely<R>(mut step: impl FnMut() -> Result<R, NoMemory>) -> R {
    IS_END.set(true);
    let done = step();
    IS_END.set(false);
    // As where any small allocation fails, and the reserve is used up.
    done.unwrap_or_else(|_| std::alloc::handle_alloc_error(layout()))
}

/// A collection that can be asked for room.
pub trait Room {
    /// Has room for so many more, so that to add them takes no memory.
    ///
    /// # Errors
    /// [`NoMemory`]; nothing is changed.
    fn room_for(&mut self, more: usize) -> Result<(), NoMemory>;
}

macro_rules! room {
    ($($collection:ty { $($generics:tt)* })*) => {$(
        impl<$($generics)*> Room for $collection {
            #[inline]
            fn room_for(&mut self, more: usize) -> Result<(), NoMemory> {
                match self.capacity() - self.len() >= more {
                    true => Ok(()),
                    false => ask(|| self.try_reserve(more)),
                }
            }
        }
    )*};
}

room! {
    Vec<T> { T }
    VecDeque<T> { T }
    String { }
    HashMap<K, V, S> { K: Eq + Hash, V, S: BuildHasher }
    HashSet<K, S> { K: Eq + Hash, S: BuildHasher }
    hashbrown::HashMap<K, V, S> { K: Eq + Hash, V, S: BuildHasher }
}

/// What an iterator gives, whose length is known, in a list.
///
/// # Errors
/// [`NoMemory`].
pub fn list<T>(items: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>, NoMemory> {
    let mut list = Vec::new();
    if items.len() > 0 {
        ask(|| list.try_reserve_exact(items.len()))?;
    }
    list.extend(items);
    Ok(list)
}

/// A copy of a text; of a short one always, for which there is the reserve.
///
/// # Errors
/// [`NoMemory`].
pub fn copy(text: &str) -> Result<Box<str>, NoMemory> {
    if text.len() <= SMALL {
        return Ok(text.into());
    }
    joined([text]).map(String::into_boxed_str)
}

/// Texts, one after the other.
///
/// # Errors
/// [`NoMemory`].
pub fn joined<const N: usize>(texts: [&str; N]) -> Result<String, NoMemory> {
    let mut joined = String::new();
    let bytes = texts.iter().fold(0_usize, |sum, text| sum.saturating_add(text.len()));
    if bytes > 0 {
        ask(|| joined.try_reserve_exact(bytes))?;
    }
    texts.into_iter().for_each(|text| joined.push_str(text));
    Ok(joined)
}

/// A copy of a text that is shared. The library can make one only so that it cannot fail: the block
/// for it is set aside first, and is what it gets should there be no other.
///
/// # Errors
/// [`NoMemory`].
#[allow(unsafe_code)]
pub fn shared(text: &str) -> Result<Arc<str>, NoMemory> {
    if text.len() <= SMALL {
        return Ok(text.into());
    }
    // Two counts, then the text.
    let counts = Layout::new::<[usize; 2]>();
    let Ok((layout, _)) = counts.extend(Layout::for_value(text)) else {
        return Err(NoMemory);
    };
    let layout = layout.pad_to_align();
    // SAFETY: the layout is not empty.
    let block = ask(|| match unsafe { std::alloc::alloc(layout) } {
        block if block.is_null() => Err(()),
        block => Ok(block),
    })?;
    SET_ASIDE.set(Some((block, layout)));
    let shared = text.into();
    if let Some((block, layout)) = SET_ASIDE.take() {
        // SAFETY: allocated above with this layout, and nobody took it.
        unsafe { std::alloc::dealloc(block, layout) };
    }
    Ok(shared)
}

/// Whether `bytes` can be had in one piece, beside the reserve.
#[must_use]
pub fn has_room_for(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    bytes < RESERVE / 32 || ask(|| room.try_reserve_exact(bytes)).is_ok() && !is_short()
}

fn layout() -> Layout {
    Layout::new::<[u8; RESERVE]>()
}

/// The block that was set aside for this allocation, if one was.
#[cold]
fn set_aside(layout: Layout) -> Option<*mut u8> {
    let (block, of) = SET_ASIDE.get()?;
    (of == layout).then(|| SET_ASIDE.set(None)).map(|()| block)
}

#[cold]
#[allow(unsafe_code)]
fn give_back() -> bool {
    if MAY_FAIL.get() {
        return false;
    }
    let block = KEPT.swap(ptr::null_mut(), Ordering::AcqRel);
    if block.is_null() {
        return false;
    }
    IS_SHORT.store(true, Ordering::Relaxed);
    // SAFETY: it was allocated with this layout, and whoever swaps it out is the only one to have it.
    unsafe { System.dealloc(block, layout()) };
    true
}
