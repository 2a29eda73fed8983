//! How a delegation comes to be recorded, and how that is taken back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::capacity::Capacity;
use super::line::Waiting;
use super::record::{Keyed, Place, Record};
use super::registry::{DelegationRegistry, LOG, Table};
use crate::error::Error;
use crate::event::{Owner, measured};
use crate::ledger::receipt::{Answer, Promise};
use crate::ledger::{Claim, Ledger, Millis, NewDelegation, Outcome, Receipt, RowHandle, Write};
use crate::memory::{self, NoMemory};
use crate::queue::{Handle, Stamp};
use crate::state::State;
use crate::sync::wait::Wait;

/// How long a dispatch waits for its row.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be dispatched, but for what the host keeps with it.
#[derive(Default)]
pub struct Request<'a> {
    /// Its id; made if left out: `deleg_` and 64 random bits in hex.
    pub id: Option<&'a str>,
    /// How many permits there are.
    pub limit: usize,
    /// How many are taken in another registry under the same limit.
    pub elsewhere: usize,
    /// How many it takes; one if it says none.
    pub permits: u32,
    /// Where so many or more wait for capacity it is refused, as it is if it is not to wait at all; nor
    /// does anybody wait for what runs elsewhere, whose end is not heard of here.
    pub max_queued: Option<usize>,
    /// Who asks for it.
    pub owner: Owner,
    /// What tells it from others of the owner: the same key is the same delegation.
    pub idempotency_key: Option<&'a str>,
    /// Where it is written down; nowhere if left out.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// The task, for the ledger.
    pub record: Box<str>,
    /// When this is, for the ledger.
    pub dispatched_at: Millis,
}

/// What a dispatch gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dispatched {
    /// It is recorded and written down, and may run: its id.
    New(Arc<str>),
    /// It is recorded and written down, and waits for capacity, or did: its id.
    Queued(Arc<str>),
    /// The owner dispatched with this key before: the id of that delegation.
    Existing(Arc<str>),
}

/// A refused dispatch: the payload comes back with the reason.
#[derive(Debug)]
pub struct Refused<P, E> {
    /// What was to be recorded; it is gone where another thread has cleared the registry meanwhile.
    pub payload: Option<P>,
    /// Why it was not.
    pub error: E,
}

/// A dispatch whose answer hangs on a row that is being written.
#[derive(Debug)]
pub struct Dispatching<P> {
    row: Row<P>,
    receipt: Receipt,
}

#[derive(Debug)]
enum Row<P> {
    /// Its own.
    Own {
        handle: Arc<Handle>,
        // To be given the answer, for those who dispatch with the same key meanwhile.
        promise: Option<Promise>,
        is_queued: bool,
    },
    /// That of the owner's delegation with the same key.
    Others { id: Arc<str>, payload: P },
}

impl<P> Dispatching<P> {
    /// The id of the delegation.
    pub fn id(&self) -> &Arc<str> {
        match &self.row {
            Row::Own { handle, .. } => handle.id(),
            Row::Others { id, .. } => id,
        }
    }

    /// Whether it is the one that was to be dispatched, and not the owner's with the same key.
    pub fn is_own(&self) -> bool {
        matches!(self.row, Row::Own { .. })
    }

    /// Whether it waits for capacity.
    pub fn is_queued(&self) -> bool {
        matches!(self.row, Row::Own { is_queued: true, .. })
    }

    /// What becomes of the row.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// What a dispatch gives at once.
#[derive(Debug)]
pub enum Begun<P> {
    /// There is nothing to wait for.
    Done(Dispatched),
    /// It is recorded, and must not run before its row is written.
    Writing(Dispatching<P>),
}

/// A dispatch that is recorded.
struct Recorded {
    handle: Arc<Handle>,
    row: Option<(Arc<dyn Ledger>, NewDelegation)>,
    promise: Option<Promise>,
    is_queued: bool,
}

impl<P, T> DelegationRegistry<P, T> {
    /// Takes a permit and records a running delegation, or one that waits for a permit; then has its
    /// row written: it must not run before.
    ///
    /// # Errors
    /// [`Error::AtCapacity`], [`Error::TooManyPermits`], [`Error::DuplicateId`], [`Error::NoMemory`], or
    /// what kept the row from being written; what ended the wait for it. Each with the payload.
    pub fn dispatch<W: Wait>(
        &self,
        wait: &W,
        request: Request<'_>,
        payload: P,
    ) -> Result<Dispatched, Refused<P, W::Error>> {
        let write = |ledger: &dyn Ledger, row| wait.block(|| ledger.write(row));
        let refused = |refused: Refused<P, Error>| Refused {
            payload: refused.payload,
            error: wait.error(refused.error),
        };
        let dispatching = match self.begin_dispatch(request, payload, write).map_err(refused)? {
            Begun::Done(dispatched) => return Ok(dispatched),
            Begun::Writing(dispatching) => dispatching,
        };
        match dispatching.receipt.wait_by(wait, Instant::now().checked_add(PATIENCE)) {
            Ok(answer) => self.end_dispatch(dispatching, answer).map_err(refused),
            Err(error) => {
                let withdrawn = self.end_dispatch(dispatching, Err(Error::Withdrawn));
                Err(Refused { payload: withdrawn.err().and_then(|refused| refused.payload), error })
            }
        }
    }

    /// As [`Self::dispatch`], by somebody who does not wait for the row here, which `write` has
    /// written. It ends by [`Self::end_dispatch`] or [`Self::keep_dispatch`].
    ///
    /// # Errors
    /// As there, but for those of the row.
    pub fn begin_dispatch(
        &self,
        request: Request<'_>,
        payload: P,
        write: impl FnOnce(&dyn Ledger, Write) -> Receipt,
    ) -> Result<Begun<P>, Refused<P, Error>> {
        let recorded = match self.record(request, payload) {
            Ok(Ok(recorded)) => recorded,
            Ok(Err((id, receipt, payload))) => {
                return Ok(Begun::Writing(Dispatching {
                    row: Row::Others { id, payload },
                    receipt,
                }));
            }
            Err((payload, error)) => return Err(Refused { payload: Some(payload), error }),
        };
        let Recorded { handle, row, promise, is_queued } = recorded;
        let Some((ledger, row)) = row else {
            return Ok(Begun::Done(Dispatched::own(&handle, is_queued)));
        };
        let receipt = write(&*ledger, Write::Dispatch(row));
        Ok(Begun::Writing(Dispatching { row: Row::Own { handle, promise, is_queued }, receipt }))
    }

    /// What a dispatch gives whose row is written, or is not.
    ///
    /// # Errors
    /// Those of the answer, with the payload: it is taken back.
    pub fn end_dispatch(
        &self,
        dispatching: Dispatching<P>,
        answer: Answer,
    ) -> Result<Dispatched, Refused<P, Error>> {
        let (handle, promise, is_queued) = match dispatching.row {
            Row::Own { handle, promise, is_queued } => (handle, promise, is_queued),
            Row::Others { id, payload } => {
                return match answer {
                    Ok(Outcome::Exists(id)) => Ok(Dispatched::Existing((*id).into())),
                    Ok(_) => Ok(Dispatched::Existing(id)),
                    Err(error) => Err(Refused { payload: Some(payload), error }),
                };
            }
        };
        let mut payload = None;
        if !matches!(answer, Ok(Outcome::Done)) {
            // One of that id or key is another's.
            let is_anothers =
                matches!(answer, Ok(Outcome::Exists(_)) | Err(Error::DuplicateId { .. }));
            payload = self.take_back(&handle, !is_anothers);
        } else if is_queued {
            self.line_up(&handle);
        }
        promise.inspect(|promise| promise.answer(answer.clone()));
        match answer {
            Ok(Outcome::Exists(id)) => Ok(Dispatched::Existing((*id).into())),
            Ok(_) => Ok(Dispatched::own(&handle, is_queued)),
            Err(error) => Err(Refused { payload, error }),
        }
    }

    /// As [`Self::end_dispatch`], for a delegation that somebody has been told of already: if its row
    /// could not be written it stays, to end without one.
    ///
    /// # Errors
    /// Those of the answer.
    pub fn keep_dispatch(
        &self,
        dispatching: Dispatching<P>,
        answer: Answer,
    ) -> Result<Dispatched, Refused<P, Error>> {
        match (&answer, &dispatching.row) {
            (Err(error), Row::Own { handle, promise, .. }) => {
                if let Some(row) =
                    handle.row().filter(|_| !matches!(error, Error::DuplicateId { .. }))
                {
                    row.submit(Write::Withdraw);
                }
                handle.leave_unwritten();
                self.forget_key(handle);
                promise.iter().for_each(|promise| promise.answer(answer.clone()));
                Err(Refused { payload: None, error: error.clone() })
            }
            _ => self.end_dispatch(dispatching, answer),
        }
    }

    /// Lets another delegation have the key of this one.
    fn forget_key(&self, handle: &Arc<Handle>) {
        let mut table = self.table.0.lock();
        let keyed = table.record_of(handle).and_then(|record| record.keyed.take());
        if let Some(keyed) = &keyed {
            table.keys.remove(&keyed.key);
        }
        drop(table);
    }

    /// Records it, or says which one of the owner's with its key is there already, and what becomes
    /// of that one's row.
    #[allow(clippy::type_complexity)]
    fn record(
        &self,
        request: Request<'_>,
        payload: P,
    ) -> Result<Result<Recorded, (Arc<str>, Receipt, P)>, (P, Error)> {
        let Request { id, limit, elsewhere, permits, max_queued, owner, .. } = request;
        let Request { idempotency_key, ledger, .. } = request;
        let prepared = self.queue.reserve(&owner).and_then(|(stamp, place)| {
            let key = idempotency_key.map(|key| full_key(&owner, key)).transpose()?;
            let id = id.map(memory::shared).transpose()?;
            Ok((stamp, place, key, id, idempotency_key.map(memory::copy).transpose()?))
        });
        let (stamp, place, key, own_id, idempotency_key) = match prepared {
            Ok(prepared) => prepared,
            Err(NoMemory) => return Err((payload, Error::NoMemory)),
        };
        let owner = Arc::new(Owner { epoch: stamp.as_ref().map(Stamp::number), ..owner });
        let mut table = self.table.0.lock();
        if let Some(known) = key.as_ref().and_then(|key| table.keys.get(key)) {
            let known = table.records.get(known);
            let keyed = known.and_then(|record| Some((record, record.keyed.as_ref()?)));
            if let Some((record, keyed)) = keyed {
                return Ok(Err((record.id().clone(), keyed.receipt.clone(), payload)));
            }
        }
        if let Some(id) = id.filter(|id| table.records.contains_key(*id)) {
            let duplicate = |id: Box<str>| Error::DuplicateId { id: id.into() };
            return Err((payload, memory::copy(id).map_or_else(Error::from, duplicate)));
        }
        if let Err(error) = table.room_for(key.is_some()) {
            return Err((payload, error.into()));
        }
        if permits as usize > limit.max(1) {
            return Err((payload, Error::TooManyPermits { permits, limit }));
        }
        // Nobody passes those who wait.
        let free = match table.line.is_empty() {
            true => self.capacity.try_acquire(limit, elsewhere, permits),
            false => self.capacity.try_acquire(0, elsewhere, permits),
        };
        let waiting = table.line.len();
        let permit = match free {
            Ok(permit) => Some(permit),
            Err(_) if elsewhere == 0 && max_queued.is_some_and(|most| waiting < most) => None,
            Err(error) => {
                let error = match error {
                    Error::AtCapacity { running, .. } => {
                        Error::AtCapacity { limit, running, queued: waiting }
                    }
                    error => error,
                };
                table.stats.refused += 1;
                drop(table);
                tracing::info!(target: LOG, %error, "dispatch refused");
                return Err((payload, error));
            }
        };
        if permit.is_none()
            && let Err(error) = table.line.room_for_one(&owner.session_key)
        {
            return Err((payload, error.into()));
        }
        let id = match own_id {
            Some(id) => id,
            None => loop {
                let id = table.ids.new_id();
                if !table.records.contains_key(&id) {
                    break id;
                }
            },
        };
        let row = ledger.as_ref().map(|ledger| {
            let claim = Claim { id: id.clone(), fence: NewDelegation::FENCE };
            RowHandle::new(ledger.clone(), claim)
        });
        let row_of_it = ledger.map(|ledger| {
            let row = NewDelegation {
                id: id.clone(),
                owner: owner.clone(),
                idempotency_key,
                record: request.record,
                dispatched_at: request.dispatched_at,
                is_queued: permit.is_none(),
            };
            (ledger, row)
        });
        let tally = table.tally.clone();
        let handle = Handle::new(id, owner.clone(), stamp, row, tally).with_place(place);
        let handle = Arc::new(handle);
        let is_queued = permit.is_none();
        let state = if is_queued { State::Queued } else { State::Running };
        let mut record = Record::new(handle.clone(), state, payload);
        record.permit = permit;
        if is_queued {
            record.place = Place::Coming(permits);
            table.line.limit = limit;
            table.line.expect();
        }
        let mut promise = None;
        if let Some(key) = key {
            // Whoever comes with the same key meanwhile waits for the same answer.
            let receipt = match row_of_it {
                Some(_) => {
                    let (receipt, other_end) = Receipt::pending();
                    promise = Some(other_end);
                    receipt
                }
                None => Receipt::known(Ok(Outcome::Done)),
            };
            table.keys.insert(key.clone(), handle.id().clone());
            record.keyed = Some(Box::new(Keyed { key, receipt }));
        }
        table.stats.dispatched += 1;
        table.insert(record);
        if is_queued && row_of_it.is_none() {
            table.line_up(&self.capacity, &handle);
        }
        drop(table);
        let session_key = &*owner.session_key;
        let id = &**handle.id();
        match is_queued {
            true => tracing::info!(target: LOG, id, session_key, "delegation queued"),
            false => tracing::info!(target: LOG, id, session_key, "delegation dispatched"),
        }
        Ok(Ok(Recorded { handle, row: row_of_it, promise, is_queued }))
    }

    /// Its row is written: it comes into the line.
    fn line_up(&self, handle: &Arc<Handle>) {
        self.table.0.lock().line_up(&self.capacity, handle);
    }

    /// A worker is about to begin one that has waited: has that written down. False if another process
    /// took it for lost, and so has said that it never began.
    ///
    /// # Errors
    /// What kept it from being written.
    pub fn begin_row<W: Wait>(&self, wait: &W, id: &str) -> Result<bool, Error> {
        let handle = self.handle(id);
        let Some(row) = handle.as_ref().and_then(|handle| handle.row()) else { return Ok(true) };
        let answer = wait.block(|| row.write(Write::Begin));
        answer.map(|outcome| outcome == Outcome::Done)
    }

    /// Takes back a dispatch that no worker has begun, as if it had not been: the caller is told
    /// "rejected", so no end is published. The payload is the one that `is_it` knows, for a dispatch
    /// that was interrupted may not have learnt its id. `None` if there is none such.
    pub fn withdraw(&self, mut is_it: impl FnMut(&P) -> bool) -> Option<P> {
        let table = self.table.0.lock();
        let found = table.records.values().find(|record| record.is_new() && is_it(&record.payload));
        let handle = found.map(|record| record.handle.clone());
        drop(table);
        self.take_back(&handle?, true)
    }

    /// Takes a dispatch back that no worker has begun; its row too, if it has one of its own.
    fn take_back(&self, handle: &Arc<Handle>, has_row: bool) -> Option<P> {
        let mut table = self.table.0.lock();
        table.record_of(handle).filter(|record| record.is_new())?;
        let mut record = table.remove(handle)?;
        table.stats.dispatched -= 1;
        record.permit = None;
        table.make_room(&self.capacity, handle, record.place);
        drop(table);
        if let Some(row) = handle.row().filter(|_| has_row) {
            row.submit(Write::Withdraw);
        }
        let id = &**handle.id();
        tracing::info!(target: LOG, id, "delegation withdrawn before it began");
        Some(record.let_go())
    }
}

impl Dispatched {
    fn own(handle: &Handle, is_queued: bool) -> Self {
        match is_queued {
            true => Self::Queued(handle.id().clone()),
            false => Self::New(handle.id().clone()),
        }
    }
}

impl<P> Table<P> {
    /// Puts one into the line that is accepted, and takes its turn if that has come.
    fn line_up(&mut self, capacity: &Capacity, handle: &Arc<Handle>) {
        let Some(record) = self.record_of(handle) else { return };
        let Place::Coming(permits) = record.place else { return };
        record.place = Place::Line;
        self.line.expect_no_more();
        self.line.push(Waiting { handle: handle.clone(), permits });
        self.fill(capacity);
    }
}

impl<P> Record<P> {
    /// Whether no worker has begun it.
    fn is_new(&self) -> bool {
        !self.begun && !self.state.is_terminal()
    }
}

/// An owner's key as one text.
fn full_key(owner: &Owner, key: &str) -> Result<Arc<str>, NoMemory> {
    let Owner { session_key, origin_ui_session_id, parent_session_id, .. } = owner;
    memory::shared(&measured([session_key, origin_ui_session_id, parent_session_id, key])?)
}
