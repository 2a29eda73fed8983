//! What becomes of a write, for whoever waits to know.

use std::sync::Arc;
use std::time::Instant;

use super::Outcome;
use crate::error::Error;
use crate::sync::Lock;
use crate::sync::signal::Signal;
use crate::sync::wait::Wait;

/// What becomes of a write, or of a question.
pub type Answer<T = Outcome> = Result<T, Error>;

#[derive(Debug)]
struct Pending<T> {
    answer: Option<Answer<T>>,
    waiters: Vec<Arc<Signal>>,
}

impl<T> Pending<T> {
    /// Answers; the first answer counts.
    fn answer(&mut self, answer: Answer<T>) {
        if self.answer.is_none() {
            self.answer = Some(answer);
            for waiter in self.waiters.drain(..) {
                waiter.set();
            }
        }
    }
}

/// The other end of a [`Receipt`]: whoever writes answers it. Dropped unanswered, it answers that
/// the write is lost.
#[derive(Debug)]
pub struct Promise<T = Outcome>(Arc<Lock<Pending<T>>>);

impl<T> Promise<T> {
    /// Answers; the first answer counts.
    pub fn answer(&self, answer: Answer<T>) {
        self.0.lock().answer(answer);
    }

    /// In a forked child: answers that the write is lost, unless a thread that is not in the child
    /// had its hand on it.
    pub fn abandon(self) {
        if let Some(mut pending) = self.0.try_lock() {
            pending.answer(Err(Error::LedgerClosed));
        }
        std::mem::forget(self);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.answer(Err(Error::LedgerClosed));
    }
}

/// A write, or a question, under way; a copy waits for the same one.
#[derive(Debug, Clone)]
pub struct Receipt<T = Outcome>(Kind<T>);

#[derive(Debug, Clone)]
enum Kind<T> {
    Done(T),
    // On the heap: events leave the queue with one of these.
    Failed(Box<Error>),
    Pending(Arc<Lock<Pending<T>>>),
}

impl<T: Clone> Receipt<T> {
    /// Of one that is done or has failed.
    pub fn known(answer: Answer<T>) -> Self {
        Self(match answer {
            Ok(done) => Kind::Done(done),
            Err(error) => Kind::Failed(Box::new(error)),
        })
    }

    /// Of one to come, and the end that answers.
    pub fn pending() -> (Self, Promise<T>) {
        let pending = Arc::new(Lock::new(Pending { answer: None, waiters: Vec::new() }));
        (Self(Kind::Pending(pending.clone())), Promise(pending))
    }

    /// The answer, if it is there.
    pub fn answer(&self) -> Option<Answer<T>> {
        match &self.0 {
            Kind::Done(done) => Some(Ok(done.clone())),
            Kind::Failed(error) => Some(Err((**error).clone())),
            Kind::Pending(pending) => pending.lock().answer.clone(),
        }
    }

    /// The answer, if it is there; else `signal` is set when it is.
    pub fn poll(&self, signal: &Arc<Signal>) -> Option<Answer<T>> {
        match &self.0 {
            Kind::Done(_) | Kind::Failed(_) => self.answer(),
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
    pub fn wait(&self, deadline: Option<Instant>) -> Answer<T> {
        let signal = Arc::new(Signal::for_this_thread());
        loop {
            match self.poll(&signal) {
                Some(answer) => return answer,
                None if signal.wait_until(deadline) => {}
                None => return self.poll(&signal).unwrap_or(Err(Error::LedgerSlow)),
            }
        }
    }

    /// The answer, for whoever waits in this way until `deadline`.
    ///
    /// # Errors
    /// What ended the wait; the answer has its own, as in [`Self::wait`].
    pub fn wait_by<W: Wait>(
        &self,
        wait: &W,
        deadline: Option<Instant>,
    ) -> Result<Answer<T>, W::Error> {
        if let Some(answer) = self.answer() {
            return Ok(answer);
        }
        let signal = Arc::new(Signal::for_this_thread());
        loop {
            match self.poll(&signal) {
                Some(answer) => return Ok(answer),
                None if wait.wait(&signal, deadline)? => {}
                None => return Ok(self.answer().unwrap_or(Err(Error::LedgerSlow))),
            }
        }
    }
}
