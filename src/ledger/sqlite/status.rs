//! How a ledger is, and notices to each of its users.

use std::sync::Arc;

use super::user::{Terms, User};
use crate::error::Error;
use crate::ledger::notices::Notices;
use crate::ledger::{Health, Notice};
use crate::sync::signal::Signal;
use crate::sync::{Guarded, Lock, Locked};

/// What the lock guards.
#[derive(Default)]
pub(super) struct StatusState {
    health: Health,
    subscribers: Vec<Subscriber>,
    next_subscriber: User,
}

struct Subscriber {
    user: User,
    notices: Notices,
    terms: Terms,
}

/// How a ledger is, and who hears of it.
#[derive(Default)]
pub(super) struct Status(Guarded<StatusState>);

impl Locked for Status {
    type State = StatusState;

    fn state(&self) -> &Guarded<StatusState> {
        &self.0
    }
}

impl Status {
    pub(super) fn new(path: String) -> Self {
        let health = Health { path, state: "closed", ..Health::default() };
        Self(Guarded(Lock::new(StatusState { health, ..StatusState::default() })))
    }

    /// A user more, who hears of everything from now on; by what number it asks.
    pub(super) fn subscribe(&self, terms: Terms) -> User {
        let mut state = self.0.0.lock();
        let user = state.next_subscriber;
        state.next_subscriber += 1;
        state.subscribers.push(Subscriber { user, notices: Notices::default(), terms });
        user
    }

    /// A user is gone.
    pub(super) fn unsubscribe(&self, user: User) {
        self.0.0.lock().subscribers.retain(|one| one.user != user);
    }

    /// What a user brought along that is not gone.
    pub(super) fn terms(&self, user: User) -> Option<Terms> {
        let state = self.0.0.lock();
        state.subscribers.iter().find(|one| one.user == user).map(|one| one.terms.clone())
    }

    /// The next notice to a user; else `signal` is set when there is one.
    pub(super) fn next(&self, user: User, signal: &Arc<Signal>) -> Option<Notice> {
        let mut state = self.0.0.lock();
        let mut subscribers = state.subscribers.iter_mut();
        subscribers.find(|one| one.user == user)?.notices.next(signal)
    }

    /// Has one user hear of it.
    pub(super) fn tell(&self, user: User, notice: Notice) {
        let mut state = self.0.0.lock();
        if let Some(one) = state.subscribers.iter_mut().find(|one| one.user == user) {
            one.notices.push(notice);
        }
    }

    pub(super) fn health(&self) -> Health {
        self.0.0.lock().health.clone()
    }

    /// Has every user hear of it.
    pub(super) fn publish(&self, notice: Notice) {
        self.0.0.lock().publish(notice);
    }

    /// Has every user but this one hear of it.
    pub(super) fn publish_to_others(&self, user: User, notice: &Notice) {
        let mut state = self.0.0.lock();
        let others = state.subscribers.iter_mut().filter(|one| one.user != user);
        others.for_each(|one| one.notices.push(notice.clone()));
    }

    /// The file is open.
    pub(super) fn opened(&self) {
        let mut state = self.0.0.lock();
        if state.health.state == "closed" {
            state.health.state = "ok";
        }
    }

    /// So many writes are committed, in one transaction.
    pub(super) fn committed(&self, writes: usize) {
        let mut state = self.0.0.lock();
        state.health.commits += 1;
        state.health.writes += writes as u64;
    }

    /// So many writes failed, for the first time.
    pub(super) fn failed(&self, writes: usize, error: &Error) {
        let mut state = self.0.0.lock();
        state.health.failed += writes as u64;
        state.health.last_error = error.to_string();
        if std::mem::replace(&mut state.health.state, "failing") != "failing" {
            state.publish(Notice::Failing(error.clone()));
        }
    }

    /// Everything is on disk.
    pub(super) fn succeeded(&self) {
        let mut state = self.0.0.lock();
        if std::mem::replace(&mut state.health.state, "ok") == "failing" {
            state.publish(Notice::Recovered);
        }
    }

    /// So many writes wait that have failed before, or are being written.
    pub(super) fn waiting(&self, writes: usize) {
        self.0.0.lock().health.waiting = writes;
    }
}

impl StatusState {
    fn publish(&mut self, notice: Notice) {
        for one in &mut self.subscribers {
            one.notices.push(notice.clone());
        }
    }

    /// Forgets what nobody has heard of yet, as in a forked child.
    pub(super) fn reset(&mut self) {
        self.subscribers.iter_mut().for_each(|one| one.notices.clear());
        self.health = Health {
            path: std::mem::take(&mut self.health.path),
            state: "closed",
            ..Health::default()
        };
    }
}
