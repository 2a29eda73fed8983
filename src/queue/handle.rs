//! A delegation as the registry and the queue share it: whose it is, where it is written down, and
//! the one place that says where its event stands.
//!
//! ```text
//!   registry's record ──┐
//!                       ├──> Handle { id, owner, row, stage }
//!   queue's slot ───────┘
//! ```
//!
//! The stage is written under the queue's lock, but for two compare-and-swaps: [`Handle::reopen`], before
//! an event that has left is put again, and [`Handle::detach_if_left`], before its record goes. It is
//! read without a lock.

use std::fmt;
use std::sync::{Arc, Weak};
// A number that the queue's lock guards.
use std::sync::atomic::AtomicU32 as Number;

use super::epoch::Stamp;
use super::reservation::Reservation;
use crate::event::Owner;
use crate::ledger::RowHandle;
use crate::state::Stage;
use crate::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use crate::sync::ready_list::ReadyList;

/// It runs.
const RUNNING: u32 = 0;
/// It has ended, and its event is not put yet; above the stages, which are numbered from 1.
const ENDED: u32 = Stage::ALL.len() as u32 + 1;
const STAGE: u32 = 0xF;
/// Its record is gone, and so it is counted no more.
const DETACHED: u32 = 0x10;
/// It is in the list of those whose event has left.
const LISTED: u32 = 0x20;
/// Its row could not be written.
const UNWRITTEN: u32 = 0x40;
/// Its owner has begun a new epoch, as the ledger says.
const STALE: u32 = 0x80;
/// Its event is to be dropped, should its consumer give it back.
const DROPS: u32 = 0x100;

/// How many delegations of a registry stand where, and which of them retention may drop.
#[derive(Default)]
pub struct Tally {
    counts: [AtomicUsize; ENDED as usize + 1],
    left: ReadyList<Weak<Handle>>,
}

impl Tally {
    /// How many events stand at this stage.
    pub fn at(&self, stage: Stage) -> usize {
        self.counts[code(stage) as usize].load(Ordering::Relaxed)
    }

    /// How many delegations have ended, and their event is not put yet.
    pub fn ended(&self) -> usize {
        self.counts[ENDED as usize].load(Ordering::Relaxed)
    }

    /// Those whose event has left the queue since the last call, the oldest first.
    pub fn take_left(&self) -> Vec<Weak<Handle>> {
        self.left.take_all()
    }

    fn moved(&self, before: u32, next: u32) {
        // One that runs is counted by its permit.
        for (code, change) in [(before & STAGE, usize::MAX), (next & STAGE, 1)] {
            if code != RUNNING {
                self.counts[code as usize].fetch_add(change, Ordering::Relaxed);
            }
        }
    }
}

fn code(stage: Stage) -> u32 {
    stage as u32 + 1
}

fn stage(word: u32) -> Option<Stage> {
    let place = (word & STAGE).checked_sub(1)?;
    Stage::ALL.get(place as usize).copied()
}

fn has_left(word: u32) -> bool {
    stage(word).is_some_and(Stage::has_left)
}

/// What a registry and a queue share of one delegation.
pub struct Handle {
    id: Arc<str>,
    owner: Arc<Owner>,
    epoch: Option<Stamp>,
    row: Option<RowHandle>,
    tally: Arc<Tally>,
    // The place for its event; none where one was restored, or another claim of it has it.
    place: Option<Reservation>,
    word: AtomicU32,
    // Where its event is while the queue keeps it.
    slot: Number,
}

impl Handle {
    /// One that runs.
    pub fn new(
        id: Arc<str>,
        owner: Arc<Owner>,
        epoch: Option<Stamp>,
        row: Option<RowHandle>,
        tally: Arc<Tally>,
    ) -> Self {
        let (word, slot) = (AtomicU32::new(RUNNING), Number::new(0));
        Self { id, owner, epoch, row, tally, place: None, word, slot }
    }

    /// With a place for its event.
    pub fn with_place(self, place: Reservation) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The place for its event.
    pub(super) fn place(&self) -> Option<&Reservation> {
        self.place.as_ref()
    }

    /// The same delegation, which has ended, under another claim.
    pub fn ended_under(&self, row: RowHandle) -> Arc<Self> {
        let (id, owner, tally) = (self.id.clone(), self.owner.clone(), self.tally.clone());
        let next = Self::new(id, owner, self.epoch.clone(), Some(row), tally);
        next.end();
        Arc::new(next)
    }

    /// The delegation's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Who asked for it.
    pub fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// Where it is written down, if it is.
    pub fn row(&self) -> Option<&RowHandle> {
        self.row.as_ref().filter(|_| self.word.load(Ordering::Relaxed) & UNWRITTEN == 0)
    }

    /// Its row could not be written: from now on it has none.
    pub fn leave_unwritten(&self) {
        let _ = self.change(|word| Some(word | UNWRITTEN));
    }

    /// Its event is to be dropped, which a consumer has: under the queue's lock.
    pub(super) fn drop_when_back(&self) {
        let _ = self.change(|word| Some(word | DROPS));
    }

    /// Whether that was said: under the queue's lock.
    pub(super) fn drops_when_back(&self) -> bool {
        self.word.load(Ordering::Relaxed) & DROPS != 0
    }

    /// Where its event stands; none before it was put.
    pub fn stage(&self) -> Option<Stage> {
        stage(self.word.load(Ordering::Acquire))
    }

    /// Whether its owner has begun a new epoch since it was dispatched, here or elsewhere.
    pub(super) fn is_stale(&self) -> bool {
        self.word.load(Ordering::Acquire) & STALE != 0
            || self.epoch.as_ref().is_some_and(Stamp::is_stale)
    }

    /// Its event is parked as it is put, or comes back: its owner has begun a new epoch elsewhere.
    pub fn park(&self) {
        let _ = self.change(|word| Some(word | STALE));
    }

    pub(super) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    pub(super) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// The delegation has ended, and its event is yet to be put.
    pub fn end(&self) {
        let before = self.change(|word| Some((word & !STAGE) | ENDED));
        debug_assert_eq!(before.map(|word| word & STAGE), Ok(RUNNING));
    }

    /// Moves the event to another stage. The one place where that happens.
    pub(super) fn enter(self: &Arc<Self>, next: Stage) {
        let listed = if next.has_left() { LISTED } else { 0 };
        let before = self.change(|word| Some((word & !STAGE) | code(next) | listed));
        let before = before.unwrap_or_default();
        debug_assert!(
            stage(before).is_none_or(|stage| stage == next || stage.may_become(next)),
            "{:?} may not become {next:?}",
            stage(before)
        );
        if listed != 0 && before & LISTED == 0 {
            self.tally.left.push(Arc::downgrade(self));
        }
    }

    /// The event is given up, which the queue never had.
    pub fn give_up(self: &Arc<Self>) {
        self.place.iter().for_each(Reservation::take_up);
        self.enter(Stage::Dropped);
    }

    /// Has an event that has left wait again, before it is put; the stage it had. `None` if it has
    /// not left, or its record is gone.
    pub(super) fn reopen(&self) -> Option<Stage> {
        let reopened = |word| (word & !STAGE) | code(Stage::Waiting);
        let may = |word: u32| has_left(word) && word & DETACHED == 0;
        self.change(|word| may(word).then(|| reopened(word))).ok().and_then(stage)
    }

    /// Its record goes if its event has left; whether it did. If not, it is listed anew when it has.
    pub fn detach_if_left(&self) -> bool {
        let next = |word| if has_left(word) { word | DETACHED } else { word & !LISTED };
        let change = self.change(|word| (word & DETACHED == 0).then(|| next(word)));
        change.is_ok_and(has_left)
    }

    /// Its record goes, wherever its event stands.
    pub fn detach(&self) {
        let _ = self.change(|word| Some(word | DETACHED));
    }

    /// Whether its record is gone, or stands for another claim of it.
    pub(super) fn is_detached(&self) -> bool {
        self.word.load(Ordering::Acquire) & DETACHED != 0
    }

    fn change(&self, mut next: impl FnMut(u32) -> Option<u32>) -> Result<u32, u32> {
        let mut after = 0;
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            after = next(word)?;
            Some(after)
        })?;
        match (before & DETACHED, after & DETACHED) {
            (0, 0) => self.tally.moved(before, after),
            (0, _) => self.tally.moved(before, RUNNING),
            _ => {}
        }
        Ok(before)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, stage) = (&self.id, self.stage());
        f.debug_struct("Handle").field("id", id).field("stage", &stage).finish_non_exhaustive()
    }
}

/// Who knows the delegations whose events are put: a registry.
///
/// Called with no core lock held.
pub trait Directory: Send + Sync {
    /// The handle of that id, if its event was put before.
    fn find(&self, id: &str) -> Option<Arc<Handle>>;
}
