//! Puts and takes, and what the ledger is told of them.
//!
//! A take without a lease is a delivery acknowledged at once: it is written down before the taker
//! gets the event. A put of an event that was taken undoes that. Both forms are here: the one that
//! waits for the disk, and the one that hands out the receipt for the caller to wait for.

use std::sync::Arc;
use std::time::Instant;

use super::fifo::Taken;
use super::lane::End;
use super::observer::{Observers, home_of, notify, notify_returned};
use super::{CompletionQueue, Taker, Wanted};
use crate::error::Error;
use crate::event::Route;
use crate::ledger::{Home, Outcome, Receipt, Write};

/// An event that has left, and where that is to be written down first, if it is.
#[derive(Debug)]
pub struct Departed<T> {
    /// The event.
    pub item: T,
    /// Where [`Write::Ack`] is to be written before the event is used.
    pub home: Option<Arc<Home>>,
}

impl<T> Departed<T> {
    /// Writes it down. `None` if the event was another process's by then, which delivers it. Where
    /// the write fails the event counts all the same: the ledger tries again.
    pub fn settled(self) -> Option<T> {
        let is_ours = self.home.is_none_or(|home| is_acked(&home));
        is_ours.then_some(self.item)
    }
}

/// Writes down that an event was delivered; false if it had become another process's.
pub fn is_acked(home: &Home) -> bool {
    let is_ours = home.write(Write::Ack) != Ok(Outcome::Fenced);
    if !is_ours {
        home.look_again();
    }
    is_ours
}

#[inline]
pub(super) fn departed<T>(taken: Taken<T>, observers: Observers) -> Departed<T> {
    let Taken { item, delegation_id, home } = taken;
    if let (Some(observers), Some(id)) = (observers, &delegation_id) {
        notify(Some(&observers), |observer| observer.taken(id));
    }
    Departed { item, home }
}

impl<T> CompletionQueue<T> {
    /// Appends an event if there is room. Waits for the ledger, if the event had been taken.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::ShutDown`], with the event handed back.
    pub fn try_put(&self, item: T, route: Route<'_>) -> Result<(), (T, Error)> {
        if let Some(receipt) = self.begin_put(item, route)? {
            // Failed or not, it is the ledger's business from here.
            let _ = receipt.wait(None);
        }
        Ok(())
    }

    /// As [`Self::try_put`], with what is to be waited for.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn begin_put(&self, item: T, route: Route<'_>) -> Result<Option<Receipt>, (T, Error)> {
        match route.delegation_id {
            None => self.put_at(item, route, None).map(|()| None),
            Some(_) => self.put_again(item, route),
        }
    }

    #[inline(never)]
    fn put_again(&self, item: T, route: Route<'_>) -> Result<Option<Receipt>, (T, Error)> {
        let Some((home, receipt)) = self.reopen(route) else {
            return self.put_at(item, route, None).map(|()| None);
        };
        let put = self.put_at(item, route, Some(home.clone()));
        if put.is_err() {
            // Whoever has it keeps it.
            home.submit(Write::Ack);
        }
        put.map(|()| Some(receipt))
    }

    #[inline]
    fn put_at(&self, item: T, route: Route<'_>, home: Option<Arc<Home>>) -> Result<(), (T, Error)> {
        let mut state = self.state.0.lock();
        if state.shutdown {
            return Err((item, Error::ShutDown));
        }
        if state.is_full() {
            let maxsize = state.maxsize.unsigned_abs();
            return Err((item, Error::Full { maxsize }));
        }
        let observers = state.add(item, route, End::Back, home);
        state.unfinished += 1;
        drop(state);
        notify_returned(route, observers);
        Ok(())
    }

    /// Undoes a take: the event is the first again, whatever the bound, also after a shutdown.
    pub fn put_back(&self, item: T, route: Route<'_>) {
        if let Some(receipt) = self.begin_put_back(item, route) {
            let _ = receipt.wait(None);
        }
    }

    /// As [`Self::put_back`], with what is to be waited for.
    pub fn begin_put_back(&self, item: T, route: Route<'_>) -> Option<Receipt> {
        let (home, receipt) = self.reopen(route).unzip();
        let observers = self.state.0.lock().add(item, route, End::Front, home);
        notify_returned(route, observers);
        receipt
    }

    /// Has the event of a delegation of ours wait on disk again. First, so that whoever takes it
    /// writes after.
    fn reopen(&self, route: Route<'_>) -> Option<(Arc<Home>, Receipt)> {
        let id = route.delegation_id?;
        let observers = self.state.0.lock().observers.clone();
        let home = home_of(observers.as_deref(), id)?;
        let receipt = home.submit(Write::Reopen);
        Some((home, receipt))
    }

    /// Appends an event whatever the bound, also after a shutdown: an end must be told. What it
    /// ends is written down already, at its home.
    pub fn publish(&self, item: T, route: Route<'_>, home: Option<Arc<Home>>) {
        let mut state = self.state.0.lock();
        state.add(item, route, End::Back, home);
        state.unfinished += 1;
    }

    /// As [`Self::publish`], for what an earlier process left or is to be delivered again, after so
    /// many attempts. If it `is_exclusive`, only those get it who ask for its owner's, by a key or
    /// by its whole address.
    pub fn restore(
        &self,
        item: T,
        route: Route<'_>,
        home: Arc<Home>,
        attempts: u32,
        is_exclusive: bool,
    ) {
        let mut state = self.state.0.lock();
        state.add_again(item, route, home, attempts, is_exclusive);
        state.unfinished += 1;
    }

    /// Has what becomes of a delegation's event written down at `home` from now on. `false` if it is
    /// not here, or on its way out.
    pub fn rehome(&self, delegation_id: &str, home: &Arc<Home>) -> bool {
        let mut state = self.state.0.lock();
        let Some(index) = state.slot_of(delegation_id) else { return false };
        let before = state.events.home(index).cloned();
        state.events.set_home(index, Some(home.clone()));
        drop(state);
        // It may be the last to name its ledger, which takes locks as it goes.
        drop(before);
        true
    }

    /// Removes the first event wanted, if one waits. Waits for the ledger that says so.
    ///
    /// # Errors
    /// [`Error::Empty`], or [`Error::ShutDown`] once the queue is shut down.
    pub fn try_take(&self, wanted: Wanted<'_>) -> Result<T, Error> {
        loop {
            let departed = self.begin_take(wanted)?;
            if departed.home.is_none() {
                return Ok(departed.item);
            }
            if let Some(item) = departed.settled() {
                return Ok(item);
            }
        }
    }

    /// As [`Self::try_take`], with what is to be written down first.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn begin_take(&self, wanted: Wanted<'_>) -> Result<Departed<T>, Error> {
        let mut state = self.state.0.lock();
        match state.events.first_wanted(wanted) {
            Some(index) => {
                let (taken, observers) = state.take(index);
                drop(state);
                Ok(departed(taken, observers))
            }
            None if state.shutdown => Err(Error::ShutDown),
            None => Err(Error::Empty),
        }
    }

    /// Removes the first event wanted, waiting until `deadline` for one; `None` waits without end.
    ///
    /// # Errors
    /// [`Error::Empty`] when the time is over, [`Error::ShutDown`] once the queue is shut down.
    pub fn take(&self, wanted: Wanted<'_>, deadline: Option<Instant>) -> Result<T, Error> {
        let mut taker = self.taker(wanted);
        loop {
            match taker.poll() {
                Err(Error::Empty) if taker.signal().wait_until(deadline) => {}
                Err(Error::Empty) => return taker.poll(),
                taken => return taken,
            }
        }
    }
}

impl<T> Taker<'_, T> {
    /// Takes the first event wanted, or registers to be woken for one. Waits for the ledger that
    /// says so.
    ///
    /// # Errors
    /// [`Error::Empty`] while none waits, [`Error::ShutDown`] once the queue is shut down.
    pub fn poll(&mut self) -> Result<T, Error> {
        loop {
            if let Some(item) = self.begin()?.settled() {
                return Ok(item);
            }
        }
    }
}
