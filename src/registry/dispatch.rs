//! How a delegation comes to be recorded, and how that is taken back.

use std::sync::Arc;

use super::{DelegationRegistry, Delivery, Keyed, Record, State, Table};
use crate::error::Error;
use crate::event::Owner;
use crate::ledger::receipt::Promise;
use crate::ledger::{Ledger, Millis, NewDelegation, Receipt, Write};

/// What is to be dispatched, but for what the host keeps with it.
#[derive(Default)]
pub struct Request<'a> {
    /// Its id; made if left out: `deleg_` and 64 random bits in hex.
    pub id: Option<&'a str>,
    /// How many may run.
    pub limit: usize,
    /// How many run in another registry under the same limit.
    pub elsewhere: usize,
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
pub enum Dispatched {
    /// It is recorded. It must not run before its row is written.
    New {
        /// Its id.
        id: Arc<str>,
        /// The row that is to be written first, and where.
        row: Option<(Arc<dyn Ledger>, NewDelegation)>,
        /// To be given the answer, for those who dispatch with the same key meanwhile.
        promise: Option<Promise>,
    },
    /// The owner dispatched with this key before.
    Existing {
        /// The id of that delegation.
        id: Arc<str>,
        /// What is to be waited for: without a row there is no such delegation.
        receipt: Option<Receipt>,
    },
}

/// A refused dispatch: the payload comes back with the reason.
#[derive(Debug)]
pub struct Refused<P> {
    /// What was to be recorded.
    pub payload: P,
    /// Why it was not.
    pub error: Error,
}

impl<P> DelegationRegistry<P> {
    /// Takes a permit and records a running delegation, or hands the payload back.
    ///
    /// # Errors
    /// [`Error::AtCapacity`] or [`Error::DuplicateId`], with the payload.
    pub fn dispatch(
        &self,
        id: Option<&str>,
        limit: usize,
        elsewhere: usize,
        owner: Owner,
        payload: P,
    ) -> Result<Arc<str>, Refused<P>> {
        let request = Request { id, limit, elsewhere, owner, ..Request::default() };
        match self.begin_dispatch(request, payload)? {
            Dispatched::New { id, .. } | Dispatched::Existing { id, .. } => Ok(id),
        }
    }

    /// As [`Self::dispatch`], with a ledger, and with what is to be written down first. The payload of a
    /// dispatch that is there already is dropped.
    ///
    /// # Errors
    /// As there.
    pub fn begin_dispatch(
        &self,
        request: Request<'_>,
        payload: P,
    ) -> Result<Dispatched, Refused<P>> {
        let Request { id, limit, elsewhere, owner, idempotency_key, ledger, .. } = request;
        let owner = Arc::new(owner);
        let key = idempotency_key.map(|key| full_key(&owner, key));
        let mut table = self.table.0.lock();
        if let Some(known) = key.as_ref().and_then(|key| table.keys.get(key)) {
            let id = known.clone();
            let receipt = table
                .records
                .get(&id)
                .and_then(|record| record.keyed.as_ref())
                .map(|keyed| keyed.receipt.clone());
            return Ok(Dispatched::Existing { id, receipt });
        }
        if let Some(id) = id.filter(|id| table.records.contains_key(*id)) {
            let error = Error::DuplicateId { id: id.to_owned() };
            return Err(Refused { payload, error });
        }
        let permit = match self.capacity.try_acquire(limit, elsewhere) {
            Ok(permit) => permit,
            Err(error) => {
                table.stats.refused += 1;
                drop(table);
                tracing::info!(target: super::LOG, %error, "dispatch refused");
                return Err(Refused { payload, error });
            }
        };
        let id: Arc<str> = match id {
            Some(id) => id.into(),
            None => table.fresh_id(),
        };
        let session_key = tracing::enabled!(tracing::Level::INFO)
            .then(|| owner.session_key.clone())
            .unwrap_or_default();
        // Whoever comes with the same key before the row is asked for waits for the same answer.
        let (receipt, promise) = key.as_ref().map(|_| Receipt::pending()).unzip();
        let row = ledger.as_ref().map(|ledger| {
            let row = NewDelegation {
                id: id.clone(),
                owner: owner.clone(),
                idempotency_key: idempotency_key.map(Into::into),
                record: request.record,
                dispatched_at: request.dispatched_at,
            };
            (ledger.clone(), row)
        });
        if let Some(key) = &key {
            table.keys.insert(key.clone(), id.clone());
        }
        table.stats.dispatched += 1;
        let keyed = key.zip(receipt).map(|(key, receipt)| Box::new(Keyed { key, receipt }));
        let record = Record {
            ledger,
            keyed,
            permit: Some(permit),
            ..Record::new(id.clone(), State::Running, owner, payload)
        };
        table.insert(record);
        drop(table);
        tracing::info!(target: super::LOG, id = &*id, session_key, "delegation dispatched");
        Ok(Dispatched::New { id, row, promise })
    }

    /// Takes back a dispatch that no worker has begun, as if it had not been: the caller is told
    /// "rejected", so no end is published. The record is the one that `is_it` knows, for a dispatch
    /// that was interrupted may not have learnt its id. `None` if there is none such.
    pub fn withdraw(&self, is_it: impl FnMut(&Record<P>) -> bool) -> Option<P> {
        let record = self.take_back(is_it)?;
        if let Some(home) = record.home() {
            home.submit(Write::Withdraw);
        }
        Some(record.let_go())
    }

    /// As [`Self::withdraw`], where the ledger has said that it has no such row: one of that id is
    /// another's.
    pub fn withdraw_unwritten(&self, is_it: impl FnMut(&Record<P>) -> bool) -> Option<P> {
        Some(self.take_back(is_it)?.let_go())
    }

    fn take_back(&self, mut is_it: impl FnMut(&Record<P>) -> bool) -> Option<Box<Record<P>>> {
        let mut table = self.table.0.lock();
        let id = table
            .records
            .values()
            .find(|record| !record.begun && !record.state.is_terminal() && is_it(record))
            .map(|record| record.id.clone())?;
        let record = table.remove(&id)?;
        table.stats.dispatched -= 1;
        drop(table);
        tracing::info!(target: super::LOG, id = &*id, "delegation withdrawn before it began");
        Some(record)
    }
}

impl<P> Record<P> {
    pub(super) fn new(id: Arc<str>, state: State, owner: Arc<Owner>, payload: P) -> Self {
        Self {
            id,
            state,
            delivery: Delivery::NotYet,
            owner,
            payload,
            ledger: None,
            fence: NewDelegation::FENCE,
            seq: 0,
            permit: None,
            keyed: None,
            begun: false,
            published: false,
            in_queue: 0,
            waiters: Vec::new(),
        }
    }
}

impl<P> Table<P> {
    /// Adds a record, as the newest.
    pub(super) fn insert(&mut self, record: Record<P>) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.records.insert(record.id.clone(), Box::new(Record { seq, ..record }));
    }

    fn fresh_id(&self) -> Arc<str> {
        loop {
            let bits = getrandom::u64().expect("the operating system gives random bits");
            let id = format!("deleg_{bits:016x}");
            if !self.records.contains_key(id.as_str()) {
                return id.into();
            }
        }
    }
}

/// An owner's key as one text; with lengths, for a text may have any separator in it.
fn full_key(owner: &Owner, key: &str) -> Box<str> {
    let Owner { session_key, origin_ui_session_id, parent_session_id, .. } = owner;
    let parts = [session_key, origin_ui_session_id, parent_session_id].map(String::as_str);
    let measured = |part: &str| format!("{}:{part}", part.len());
    parts.into_iter().chain([key]).map(measured).collect::<String>().into()
}
