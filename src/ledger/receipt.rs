//! What becomes of a write, for whoever waits to know.

use std::sync::Arc;
use std::time::Instant;

use super::Outcome;
use crate::error::Error;
use crate::sync::Lock;
use crate::wake::Signal;

/// What becomes of a write.
pub type Answer = Result<Outcome, Error>;

#[derive(Debug, Default)]
struct Pending {
    answer: Option<Answer>,
    waiters: Vec<Arc<Signal>>,
}

/// The other end of a [`Receipt`]: whoever writes answers it. Dropped unanswered, as in a forked
/// child, it answers that the write is lost.
#[derive(Debug)]
pub struct Promise(Arc<Lock<Pending>>);

impl Promise {
    /// Answers; the first answer counts.
    pub fn answer(&self, answer: Answer) {
        let mut pending = self.0.lock();
        if pending.answer.is_some() {
            return;
        }
        pending.answer = Some(answer);
        for waiter in pending.waiters.drain(..) {
            waiter.set();
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.answer(Err(Error::LedgerClosed));
    }
}

/// A write under way; a copy waits for the same write.
#[derive(Debug, Clone)]
pub struct Receipt(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Known(Answer),
    Pending(Arc<Lock<Pending>>),
}

impl Receipt {
    /// Of a write that is done or has failed.
    pub fn known(answer: Answer) -> Self {
        Self(Kind::Known(answer))
    }

    /// Of a write to come, and the end that answers.
    pub fn pending() -> (Self, Promise) {
        let pending = Arc::new(Lock::new(Pending::default()));
        (Self(Kind::Pending(pending.clone())), Promise(pending))
    }

    /// The answer, if it is there.
    pub fn answer(&self) -> Option<Answer> {
        match &self.0 {
            Kind::Known(answer) => Some(answer.clone()),
            Kind::Pending(pending) => pending.lock().answer.clone(),
        }
    }

    /// The answer, if it is there; else `signal` is set when it is.
    pub fn poll(&self, signal: &Arc<Signal>) -> Option<Answer> {
        match &self.0 {
            Kind::Known(answer) => Some(answer.clone()),
            Kind::Pending(pending) => {
                let mut pending = pending.lock();
                if pending.answer.is_none() {
                    pending.waiters.push(signal.clone());
                }
                pending.answer.clone()
            }
        }
    }

    /// The answer, waiting for it until `deadline`; `None` waits without end.
    ///
    /// # Errors
    /// Those of the write; [`Error::LedgerSlow`] when the time is over: it may still be written.
    pub fn wait(&self, deadline: Option<Instant>) -> Answer {
        let signal = Arc::new(Signal::for_this_thread());
        loop {
            match self.poll(&signal) {
                Some(answer) => return answer,
                None if signal.wait_until(deadline) => {}
                None => return self.poll(&signal).unwrap_or(Err(Error::LedgerSlow)),
            }
        }
    }
}
