//! What waits for the writer of a ledger, and how it is woken.
//!
//! The lock is held for a push or a take, never while anything is written. What is not urgent does
//! not wake the writer: it is taken along with the next that is, and a later one about the same takes
//! its place, so that there are never more of them than there is to write about.

use std::collections::{LinkedList, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;

use crate::memory::Room;
use crate::sync::signal::Signal;
use crate::sync::{Guarded, Lock, Locked};

/// When a job is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When<'a> {
    /// Soon, after what is still to be done about this, if that is said.
    Soon(Option<&'a str>),
    /// Soon, after all that came before.
    Last,
    /// Along with others, at the latest before the next job about the same.
    Along(&'a Arc<str>),
}

/// What can wait for a writer.
pub trait Job: Sized {
    /// When it is to be done.
    fn when(&self) -> When<'_>;

    /// Takes the place of an earlier one about the same that goes along, too. That one back, if it is
    /// to be done all the same, before this.
    fn replace(&self, earlier: Self) -> Option<Self>;
}

/// Jobs in the order in which they came. They are kept in pieces: an end is written down however many
/// others wait and however little memory there is, so a job must not have a large table grow. A
/// piece comes from the reserve, if need be.
#[derive(Debug)]
pub struct Pieces<J> {
    pieces: LinkedList<VecDeque<J>>,
    len: usize,
}

impl<J> Default for Pieces<J> {
    fn default() -> Self {
        Self { pieces: LinkedList::new(), len: 0 }
    }
}

impl<J> Pieces<J> {
    /// How many jobs are in one.
    const PIECE: usize = 8;

    fn push(&mut self, job: J) {
        match self.pieces.back_mut().filter(|last| last.len() < Self::PIECE) {
            Some(last) => last.push_back(job),
            None => {
                let mut piece = VecDeque::with_capacity(Self::PIECE);
                piece.push_back(job);
                self.pieces.push_back(piece);
            }
        }
        self.len += 1;
    }

    fn pop(&mut self) -> Option<J> {
        let first = self.pieces.front_mut()?;
        let job = first.pop_front()?;
        self.len -= 1;
        // The last one stays, for what comes next.
        if first.is_empty() && self.len > 0 {
            self.pieces.pop_front();
        }
        Some(job)
    }
}

impl<J> Iterator for Pieces<J> {
    type Item = J;

    fn next(&mut self) -> Option<J> {
        self.pop()
    }
}

/// What the write_queue's lock guards.
#[derive(Debug)]
pub struct Waiting<J> {
    jobs: Pieces<J>,
    /// What goes along, by what it is about.
    along: HashMap<Arc<str>, J, foldhash::fast::RandomState>,
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
pub struct WriteQueue<J>(Guarded<Waiting<J>>);

impl<J: 'static> Locked for WriteQueue<J> {
    type State = Waiting<J>;

    fn state(&self) -> &Guarded<Waiting<J>> {
        &self.0
    }
}

impl<J> Default for WriteQueue<J> {
    fn default() -> Self {
        let (jobs, along) = (Pieces::default(), HashMap::default());
        let waiting = Waiting { jobs, along, writer: Writer::None, users: 0 };
        Self(Guarded(Lock::new(waiting)))
    }
}

impl<J: Job> WriteQueue<J> {
    /// Adds a job. Whether the caller has to start a writer.
    #[must_use]
    pub fn put(&self, job: J) -> bool {
        let mut waiting = self.0.0.lock();
        if !waiting.push(job) {
            return false;
        }
        match &waiting.writer {
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
                waiting.push(job);
                Ok(())
            }
            Writer::Starting | Writer::None => Err(job),
        }
    }

    /// Has a job that goes along wait again, unless there is a later one.
    pub fn put_back(&self, job: J) {
        let mut waiting = self.0.0.lock();
        if let When::Along(about) = job.when() {
            let about = about.clone();
            match waiting.along.room_for(1) {
                Ok(()) => drop(waiting.along.entry(about).or_insert(job)),
                Err(_) => waiting.jobs.push(job),
            }
        }
    }

    /// Takes at most `most` jobs, the oldest first. Whether there are more.
    pub fn take(&self, most: usize, into: &mut VecDeque<J>) -> bool {
        let mut waiting = self.0.0.lock();
        if waiting.users == 0 {
            // There will be no next one to go along with.
            waiting.hurry();
        }
        into.extend(waiting.jobs.by_ref().take(most));
        waiting.jobs.len > 0
    }

    /// Takes at most `most` of those that go along.
    pub fn take_along(&self, most: usize, into: &mut VecDeque<J>) {
        let mut waiting = self.0.0.lock();
        if waiting.along.len() <= most {
            into.extend(waiting.along.drain().map(|(_, job)| job));
        } else {
            let mut left = most;
            let some = waiting.along.extract_if(|_, _| {
                let is_one = left > 0;
                left = left.saturating_sub(1);
                is_one
            });
            into.extend(some.map(|(_, job)| job));
        }
    }
}

impl<J> WriteQueue<J> {
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
    pub fn not_come(&self) -> Pieces<J> {
        let mut waiting = self.0.0.lock();
        waiting.writer = Writer::None;
        std::mem::take(&mut waiting.jobs)
    }

    /// Waits for an urgent job, the last user's leaving, or `deadline`.
    ///
    /// Whatever comes after the writer's last [`Self::take`] ends the wait: its signal stays set.
    pub fn wait(&self, signal: &Signal, deadline: Option<Instant>) {
        signal.wait_until(deadline);
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        let waiting = self.0.0.lock();
        waiting.jobs.len + waiting.along.len()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing was ever to be done.
    pub fn is_unused(&self) -> bool {
        let waiting = self.0.0.lock();
        waiting.is_empty() && matches!(waiting.writer, Writer::None)
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
        waiting.users == 0 && waiting.is_empty()
    }
}

impl<J> Waiting<J> {
    /// Begins anew, as in a forked child, which has no writer. What waited.
    pub fn reset(&mut self) -> Pieces<J> {
        self.writer = Writer::None;
        self.hurry();
        std::mem::take(&mut self.jobs)
    }

    fn is_empty(&self) -> bool {
        self.jobs.len == 0 && self.along.is_empty()
    }

    /// Has all that goes along done next.
    fn hurry(&mut self) {
        self.along.drain().for_each(|(_, job)| self.jobs.push(job));
    }
}

impl<J: Job> Waiting<J> {
    /// Adds a job. Whether it is to be done soon.
    fn push(&mut self, job: J) -> bool {
        match job.when() {
            When::Along(about) => {
                let about = about.clone();
                let earlier = self.along.remove(&about);
                let earlier = earlier.and_then(|earlier| job.replace(earlier));
                earlier.into_iter().for_each(|earlier| self.jobs.push(earlier));
                if self.along.room_for(1).is_ok() {
                    self.along.insert(about, job);
                    return false;
                }
            }
            When::Soon(Some(about)) if !self.along.is_empty() => {
                if let Some(before) = self.along.remove(about) {
                    self.jobs.push(before);
                }
            }
            When::Soon(_) => {}
            When::Last => self.hurry(),
        }
        self.jobs.push(job);
        true
    }
}
