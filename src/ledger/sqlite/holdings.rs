//! What the instances of this process hold of a file: each user of a writer is one, with a lease and
//! claims of its own.

use std::sync::Arc;
use std::time::Duration;

use super::claims::Claims;
use super::status::Status;
use super::user::{Terms, User};
use crate::ledger::Millis;
use crate::ledger::clock::{Clock, Moment};

/// Which part of a lease its holder does not trust.
const MARGIN: Millis = 10;
/// The longest pause before a renewal that failed is tried again.
const LONGEST_PAUSE: Millis = 5_000;

/// One instance: what it holds, and until when.
pub(super) struct Holding {
    user: User,
    /// What tells it from every other instance.
    pub(super) us: i64,
    terms: Terms,
    pub(super) claims: Claims,
    /// None before there is a lease.
    renew_at: Option<Millis>,
    /// Which of the files that were opened knows its lease.
    leased_in: u64,
    /// Whether it is about to claim something.
    will_claim: bool,
    /// Whether it is to hear of what comes free, also while it holds nothing; and when it last looked.
    interest: Option<Millis>,
    /// Whether the process ends, and has given all up: it gets no lease any more, so that what its
    /// threads still write is free at once.
    is_over: bool,
    /// Whether its user is gone, and that could not be written yet.
    is_leaving: bool,
}

impl Holding {
    /// The term of its lease.
    pub(super) fn lease(&self) -> Millis {
        self.terms.lease
    }

    /// Whether it needs a lease.
    fn holds(&self) -> bool {
        (self.will_claim || !self.claims.is_empty()) && !self.is_leaving && !self.is_over
    }

    fn renews(&self, now: Moment) -> bool {
        self.holds() && self.renew_at.is_none_or(|at| at <= now.steady)
    }

    fn renewed(&mut self, from: Moment, file: u64) {
        let lease = self.terms.lease;
        self.leased_in = file;
        self.renew_at = Some(from.steady.saturating_add(lease / 3));
        self.terms.sure.set(from.steady.saturating_add(lease - lease / MARGIN));
    }

    fn forget_lease(&mut self) {
        self.renew_at = None;
        self.terms.sure.set(Millis::MIN);
    }

    fn become_another(&mut self) {
        self.us = random_id();
        self.claims.clear();
        self.forget_lease();
        (self.will_claim, self.is_leaving, self.is_over) = (false, false, false);
    }

    /// When it is to look at the file of itself, on the steady clock; `others` is when the first of
    /// the others may be dead.
    fn due_at(&self, others: Option<Millis>) -> Option<Millis> {
        let looks_at = self.interest.map(|at| at.saturating_add(self.terms.lease / 3));
        let due_at = match self.claims.is_empty() || self.is_leaving {
            false => self.renew_at.or(Some(Millis::MIN)),
            true => looks_at,
        };
        let others = others.filter(|_| self.interest.is_some());
        due_at.into_iter().chain(others).min()
    }
}

/// The instances of this process on one file.
pub(super) struct Holdings {
    all: Vec<Holding>,
    /// When the first of the instances of other processes may be dead, as far as the last look told.
    others_until: Option<Millis>,
    clock: Arc<dyn Clock>,
    status: Arc<Status>,
}

impl Holdings {
    pub(super) fn new(clock: Arc<dyn Clock>, status: Arc<Status>) -> Self {
        Self { all: Vec::new(), others_until: None, clock, status }
    }

    /// A user's; made if there is none. None of one that is gone.
    pub(super) fn of(&mut self, user: User) -> Option<&mut Holding> {
        let found = self.all.iter().position(|one| one.user == user);
        let place = match found {
            Some(place) => place,
            None => {
                self.all.push(Holding {
                    user,
                    us: random_id(),
                    terms: self.status.terms(user)?,
                    claims: Claims::default(),
                    renew_at: None,
                    leased_in: 0,
                    will_claim: false,
                    interest: None,
                    is_over: false,
                    is_leaving: false,
                });
                self.all.len() - 1
            }
        };
        self.all.get_mut(place)
    }

    /// A user's, which has asked for something before.
    pub(super) fn get(&self, user: User) -> Option<&Holding> {
        self.all.iter().find(|one| one.user == user)
    }

    /// How long what a user holds is surely its own.
    pub(super) fn sure_for(&self, user: User) -> Duration {
        self.get(user).map_or(Duration::ZERO, |one| one.terms.sure.left())
    }

    /// Whether nobody can have taken over what a user holds.
    pub(super) fn is_surely_ours(&self, user: User) -> bool {
        !self.sure_for(user).is_zero()
    }

    /// The user whose instance this is, if it is one of this process.
    pub(super) fn user(&self, us: i64) -> Option<User> {
        self.all.iter().find(|one| one.us == us).map(|one| one.user)
    }

    /// The instances of a user: itself, and those that are another of it.
    pub(super) fn instances_of(&self, user: User) -> Vec<i64> {
        let is_of = |one: &&Holding| one.user == user || one.terms.of == Some(user);
        self.all.iter().filter(is_of).map(|one| one.us).collect()
    }

    /// All of them.
    pub(super) fn users(&self) -> Vec<User> {
        self.all.iter().map(|one| one.user).collect()
    }

    /// An instance that has a lease: a file that does not know it is another.
    pub(super) fn known_as(&self) -> Option<i64> {
        self.all.iter().find(|one| one.renew_at.is_some()).map(|one| one.us)
    }

    /// Whether a user may have a lease on disk, or any, if none is named.
    pub(super) fn has_lease(&self, user: Option<User>) -> bool {
        let mut all = self.all.iter().filter(|one| user.is_none_or(|user| one.user == user));
        all.any(|one| one.renew_at.is_some() || !one.claims.is_empty())
    }

    /// A row is nobody's any more, whoever held it.
    pub(super) fn let_go(&mut self, id: &str) {
        self.all.iter_mut().for_each(|one| one.claims.let_go(id));
    }

    /// A user is about to claim something.
    pub(super) fn will_claim(&mut self, user: User) {
        if let Some(one) = self.of(user) {
            one.will_claim = true;
        }
    }

    /// Leases that another file than this one knows are none.
    pub(super) fn in_file(&mut self, file: u64) {
        for one in self.all.iter_mut().filter(|one| one.leased_in != file) {
            one.forget_lease();
        }
    }

    /// Whether a lease is to be renewed: a third of it is over.
    pub(super) fn renews(&self, now: Moment) -> bool {
        self.all.iter().any(|one| one.renews(now))
    }

    /// Those whose lease is to be renewed.
    pub(super) fn due(&self, now: Moment) -> impl Iterator<Item = (User, &Holding)> {
        self.all.iter().filter(move |one| one.renews(now)).map(|one| (one.user, one))
    }

    /// Those that were due are renewed in a file, counted from that moment: before it was written.
    pub(super) fn renewed(&mut self, from: Moment, file: u64) {
        self.all.iter_mut().filter(|one| one.renews(from)).for_each(|one| one.renewed(from, file));
    }

    /// A transaction is over, whatever became of it.
    pub(super) fn over(&mut self) {
        self.all.iter_mut().for_each(|one| one.will_claim = false);
    }

    /// Leases could not be renewed: soon again.
    pub(super) fn put_renewal_off(&mut self) {
        let now = self.clock.now();
        for one in self.all.iter_mut().filter(|one| one.holds() || one.renew_at.is_some()) {
            let soon = one.terms.lease.min(LONGEST_PAUSE) / 3;
            one.renew_at = Some(now.steady.saturating_add(soon));
        }
    }

    /// When one of them is to look at the file of itself, on the steady clock.
    pub(super) fn due_at(&self) -> Option<Millis> {
        self.all.iter().filter_map(|one| one.due_at(self.others_until)).min()
    }

    /// Whether one is to look for what has come free.
    pub(super) fn looks(&self, now: Moment) -> bool {
        let is_due =
            |one: &Holding| one.due_at(self.others_until).is_some_and(|at| at <= now.steady);
        self.all.iter().any(|one| one.interest.is_some() && is_due(one))
    }

    /// Until when the first of these leases lasts that is another process's, by a look at that moment.
    pub(super) fn others_last(&mut self, leases: impl Iterator<Item = (i64, Millis)>, now: Moment) {
        let others = leases.filter(|&(id, _)| self.user(id).is_none());
        let first = others.map(|(_, left)| left).min();
        self.others_until = first.map(|left| now.steady.saturating_add(left));
    }

    /// They look; what that finds is noted by [`Self::others_last`].
    pub(super) fn looked(&mut self, now: Moment) {
        self.others_until = None;
        let all = self.all.iter_mut();
        all.filter_map(|one| one.interest.as_mut()).for_each(|at| *at = now.steady);
    }

    /// A user wants to hear of what comes free, or does not any more.
    pub(super) fn set_interest(&mut self, user: User, has: bool) {
        let now = self.clock.now().steady;
        if let Some(one) = self.of(user) {
            one.interest = has.then(|| one.interest.unwrap_or(now));
        }
    }

    /// Begins anew as another instance, which has claimed nothing.
    pub(super) fn become_another(&mut self, user: User) {
        if let Some(one) = self.of(user) {
            one.become_another();
        }
    }

    /// The same for all, as in a forked child, where nobody looks for anything yet.
    pub(super) fn become_others(&mut self) {
        for one in &mut self.all {
            one.become_another();
            one.interest = None;
        }
    }

    /// The process ends: all is given up, and nothing is held any more.
    pub(super) fn end(&mut self) {
        self.become_others();
        self.all.iter_mut().for_each(|one| one.is_over = true);
    }

    /// Whether that has come for a user.
    pub(super) fn is_over(&self, user: User) -> bool {
        self.all.iter().any(|one| one.user == user && one.is_over)
    }

    /// A user is gone, and has given up what it held.
    pub(super) fn remove(&mut self, user: User) {
        if let Some(place) = self.all.iter().position(|one| one.user == user) {
            self.all.swap_remove(place).forget_lease();
        }
        self.status.unsubscribe(user);
    }

    /// A user is gone; what it held is to be given up once what it has left is written.
    pub(super) fn leave_later(&mut self, user: User) {
        if let Some(one) = self.of(user) {
            one.is_leaving = true;
        }
    }

    /// Those that are still to give up what they held.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Holding> {
        self.all.iter().filter(|one| one.is_leaving)
    }

    /// Whether there are any.
    pub(super) fn has_leaving(&self) -> bool {
        self.leaving().next().is_some()
    }

    /// Those have given it up.
    pub(super) fn left(&mut self) {
        let gone: Vec<_> = self.leaving().map(|one| one.user).collect();
        gone.into_iter().for_each(|user| self.remove(user));
    }
}

/// What tells an instance from every other.
fn random_id() -> i64 {
    let bits = getrandom::u64().expect("the operating system gives random bits");
    i64::from_ne_bytes(bits.to_ne_bytes())
}
