//! The place that is kept for the event of a delegation, from its dispatch on: an end finds it,
//! however little memory there is by then.

use std::sync::Arc;
// Counted up under the queue's lock, where it is compared; that it is counted down is seen later.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::event::{Owner, full_address, kind};
use crate::memory::{self, NoMemory, SMALL};

/// A place in a queue. It is given up with the delegation, if no event takes it.
#[derive(Debug)]
pub struct Reservation {
    reserved: Arc<AtomicUsize>,
    is_used: AtomicBool,
    long: Option<Box<Long>>,
}

/// What the event is to be filed under, where that is too long to be taken from the reserve.
#[derive(Debug)]
pub(super) struct Long {
    pub(super) session_key: Arc<str>,
    pub(super) full: Option<Arc<str>>,
}

impl Reservation {
    /// One place more that is reserved, for an event of this owner.
    pub(super) fn new(reserved: &Arc<AtomicUsize>, owner: &Owner) -> Result<Self, NoMemory> {
        let Owner { session_key, origin_ui_session_id, parent_session_id, .. } = owner;
        let length = session_key.len() + origin_ui_session_id.len() + parent_session_id.len();
        let long = if length > SMALL { Some(Box::new(Long::of(owner)?)) } else { None };
        reserved.fetch_add(1, Ordering::Relaxed);
        Ok(Self { reserved: reserved.clone(), is_used: AtomicBool::new(false), long })
    }

    /// Its event is in its place.
    pub(super) fn take_up(&self) {
        if !self.is_used.swap(true, Ordering::Relaxed) {
            self.reserved.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn long(&self) -> Option<&Long> {
        self.long.as_deref()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.take_up();
    }
}

impl Long {
    fn of(owner: &Owner) -> Result<Self, NoMemory> {
        let full = full_address(kind::ASYNC_DELEGATION, owner)?;
        let full = full.map(|full| memory::shared(&full)).transpose()?;
        Ok(Self { session_key: memory::shared(&owner.session_key)?, full })
    }
}
