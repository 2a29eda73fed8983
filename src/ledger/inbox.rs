//! What waits for the writer of a ledger, and how it is woken.
//!
//! The lock is held for a push or a take, never while anything is written. What is not urgent does
//! not wake the writer: it is taken along with the next that is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Guarded, Lock, Locked};
use crate::wake::Signal;

/// What the inbox's lock guards.
#[derive(Debug)]
pub struct Waiting<J> {
    jobs: VecDeque<J>,
    writer: Writer,
    users: usize,
}

#[derive(Debug)]
enum Writer {
    /// There is no thread.
    None,
    /// One was asked for; it has not come yet.
    Starting,
    /// There is one, to be woken by this.
    There(Arc<Signal>),
}

/// Jobs on their way to the one writer.
#[derive(Debug)]
pub struct Inbox<J>(Guarded<Waiting<J>>);

impl<J: 'static> Locked for Inbox<J> {
    type State = Waiting<J>;

    fn state(&self) -> &Guarded<Waiting<J>> {
        &self.0
    }
}

impl<J> Default for Inbox<J> {
    fn default() -> Self {
        let waiting = Waiting { jobs: VecDeque::new(), writer: Writer::None, users: 0 };
        Self(Guarded(Lock::new(waiting)))
    }
}

impl<J> Inbox<J> {
    /// Adds a job. Whether the caller has to start a writer.
    #[must_use]
    pub fn put(&self, job: J, urgent: bool) -> bool {
        let mut waiting = self.0.0.lock();
        waiting.jobs.push_back(job);
        match &waiting.writer {
            _ if !urgent => false,
            Writer::There(signal) => {
                signal.set();
                false
            }
            Writer::Starting => false,
            Writer::None => {
                waiting.writer = Writer::Starting;
                true
            }
        }
    }

    /// Adds a job and wakes nobody, if there is a writer; the caller sees to it that the job is
    /// done, by itself or by [`Self::wake`].
    ///
    /// # Errors
    /// The job, where there is none.
    pub fn put_quietly(&self, job: J) -> Result<(), J> {
        let mut waiting = self.0.0.lock();
        match &waiting.writer {
            Writer::There(_) => {
                waiting.jobs.push_back(job);
                Ok(())
            }
            Writer::Starting | Writer::None => Err(job),
        }
    }

    /// Wakes the writer.
    pub fn wake(&self) {
        if let Writer::There(signal) = &self.0.0.lock().writer {
            signal.set();
        }
    }

    /// The writer that was asked for is here, and is woken by `signal`.
    pub fn come(&self, signal: &Arc<Signal>) {
        self.0.0.lock().writer = Writer::There(signal.clone());
    }

    /// The writer that was asked for could not be started: the next job asks again. What waits.
    pub fn not_come(&self) -> VecDeque<J> {
        let mut waiting = self.0.0.lock();
        waiting.writer = Writer::None;
        std::mem::take(&mut waiting.jobs)
    }

    /// Takes at most `most` jobs, the oldest first. Whether there are more.
    pub fn take(&self, most: usize, into: &mut VecDeque<J>) -> bool {
        let mut waiting = self.0.0.lock();
        let count = waiting.jobs.len().min(most);
        into.extend(waiting.jobs.drain(..count));
        !waiting.jobs.is_empty()
    }

    /// Waits for an urgent job, the last user's leaving, or `deadline`.
    ///
    /// Whatever comes after the writer's last [`Self::take`] ends the wait: its signal stays set.
    pub fn wait(&self, signal: &Signal, deadline: Option<Instant>) {
        signal.wait_until(deadline);
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.0.0.lock().jobs.len()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing was ever to be done.
    pub fn is_unused(&self) -> bool {
        let waiting = self.0.0.lock();
        waiting.jobs.is_empty() && matches!(waiting.writer, Writer::None)
    }

    /// Counts a user in, unless the writer is on its way out.
    pub fn enter(&self) -> bool {
        let mut waiting = self.0.0.lock();
        if waiting.users == 0 && !matches!(waiting.writer, Writer::None) {
            return false;
        }
        waiting.users += 1;
        true
    }

    /// Counts a user out; the last one has the writer end.
    pub fn leave(&self) {
        let mut waiting = self.0.0.lock();
        waiting.users -= 1;
        if let (0, Writer::There(signal)) = (waiting.users, &waiting.writer) {
            signal.set();
        }
    }

    /// Whether nobody is there to put a job any more, and none waits.
    pub fn is_over(&self) -> bool {
        let waiting = self.0.0.lock();
        waiting.users == 0 && waiting.jobs.is_empty()
    }
}

impl<J> Waiting<J> {
    /// Begins anew, as in a forked child, which has no writer. What waited.
    pub fn reset(&mut self) -> VecDeque<J> {
        self.writer = Writer::None;
        std::mem::take(&mut self.jobs)
    }
}
