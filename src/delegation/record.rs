//! What a registry knows of one delegation.

use std::sync::Arc;

use super::capacity::Permit;
use crate::event::Owner;
use crate::ledger::Receipt;
use crate::queue::Handle;
use crate::state::{Delivery, State};
use crate::sync::signal::Signal;

/// What is known of one delegation.
pub struct Record<P> {
    /// Where it stands.
    pub state: State,
    /// What the host keeps with it.
    pub payload: P,
    pub(super) handle: Arc<Handle>,
    pub(super) seq: u64,
    pub(super) permit: Option<Permit>,
    pub(super) place: Place,
    pub(super) keyed: Option<Box<Keyed>>,
    pub(super) begun: bool,
    pub(super) waiters: Vec<Arc<Signal>>,
}

/// Where one stands that waits for capacity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// It does not, or is about to end.
    #[default]
    Nowhere,
    /// It comes into the line once its row is written, for so many permits.
    Coming(u32),
    /// In the line.
    Line,
}

/// What a delegation has that was dispatched with a key.
pub(super) struct Keyed {
    /// Its entry among the keys.
    pub(super) key: Arc<str>,
    /// What becomes of its row.
    pub(super) receipt: Receipt,
}

impl<P> Record<P> {
    pub(super) fn new(handle: Arc<Handle>, state: State, payload: P) -> Self {
        Self {
            state,
            payload,
            handle,
            seq: 0,
            permit: None,
            place: Place::Nowhere,
            keyed: None,
            begun: false,
            waiters: Vec::new(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &Arc<str> {
        self.handle.id()
    }

    /// Who asked for it.
    pub fn owner(&self) -> &Owner {
        self.handle.owner()
    }

    /// Where its event stands.
    pub fn delivery(&self) -> Delivery {
        self.handle.stage().into()
    }

    pub(super) fn wake_waiters(&mut self) {
        for waiter in self.waiters.drain(..) {
            waiter.set();
        }
    }

    /// Wakes whoever waits for its end: the record goes, and nothing else would. Not under a lock: it
    /// may be the last to name its ledger, which takes locks as it goes.
    pub(super) fn let_go(mut self) -> P {
        self.wake_waiters();
        self.payload
    }
}
