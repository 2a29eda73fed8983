//! What the writer is asked to do.

use super::rows::Question;
use super::user::User;
use super::writes::claim_of;
use crate::error::Error;
use crate::ledger::receipt::Promise;
use crate::ledger::write_queue::{self, When};
use crate::ledger::{Millis, Outcome, Row, Write};

/// Something for the writer to do, asked by one of its users.
#[derive(Debug)]
pub(super) enum Job {
    /// Writes.
    Write(User, Write, Promise),
    /// Takes rows over.
    Adopt(User, Vec<Box<str>>, Promise<Vec<Row>>),
    /// Gives up all that is claimed.
    Release(User, Promise<()>),
    /// Gives up all that anybody of this process has claimed.
    ReleaseAll(Promise<()>),
    /// The same as `Release`, by a user that is gone.
    Leave(User),
    /// Reads.
    Read(User, Question, Promise<Vec<Row>>),
    /// Reads what is not opened for it.
    Peek(User, Question, Promise<Vec<Row>>),
    /// Answers once everything before it is on disk.
    Flush(Promise<()>),
    /// Looks again then.
    Look(Millis),
    /// Looks now and then from now on, or does not any more.
    Interest(User, bool),
}

impl Job {
    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Write(..) | Self::Adopt(..)) || self.is_release()
    }

    /// Whether what its user asks after it is another instance's.
    pub(super) fn is_release(&self) -> bool {
        matches!(self, Self::Release(..) | Self::ReleaseAll(_) | Self::Leave(_))
    }

    /// Whose job it is, if it is one user's.
    pub(super) fn user(&self) -> Option<User> {
        match self {
            Self::Write(user, ..)
            | Self::Adopt(user, ..)
            | Self::Release(user, _)
            | Self::Leave(user)
            | Self::Read(user, ..)
            | Self::Peek(user, ..)
            | Self::Interest(user, _) => Some(*user),
            Self::ReleaseAll(_) | Self::Flush(_) | Self::Look(_) => None,
        }
    }

    /// Whether it may leave something claimed.
    pub(super) fn claims(&self) -> bool {
        matches!(self, Self::Adopt(..) | Self::Write(_, Write::Dispatch(_) | Write::Reopen(_), _))
    }

    /// Whether it may do something to what is another's, and so has to know who lives.
    pub(super) fn asks_who_lives(&self) -> bool {
        match self {
            Self::Adopt(..) => true,
            Self::Write(_, write, _) => write.asks_who_lives(),
            _ => false,
        }
    }

    /// Whether nobody may hold an event after it that is not delivered.
    pub(super) fn lets_go(&self) -> bool {
        match self {
            Self::Write(_, write, _) => write.lets_go(),
            job => job.is_release(),
        }
    }

    /// Says to whoever waits that it was not done, and will not be.
    pub(super) fn refuse(&self, error: Error) {
        match self {
            Self::Write(_, Write::Ack(_), promise) => promise.answer(Ok(Outcome::Unwritten)),
            Self::Write(_, _, promise) => promise.answer(Err(error)),
            Self::Adopt(_, _, promise) | Self::Read(_, _, promise) | Self::Peek(_, _, promise) => {
                promise.answer(Err(error));
            }
            Self::Release(_, promise) | Self::ReleaseAll(promise) | Self::Flush(promise) => {
                promise.answer(Err(error));
            }
            Self::Leave(_) | Self::Look(_) | Self::Interest(..) => {}
        }
    }

    /// The same, in a forked child.
    pub(super) fn abandon(self) {
        match self {
            Self::Write(_, _, promise) => promise.abandon(),
            Self::Adopt(_, _, promise) | Self::Read(_, _, promise) | Self::Peek(_, _, promise) => {
                promise.abandon();
            }
            Self::Release(_, promise) | Self::ReleaseAll(promise) | Self::Flush(promise) => {
                promise.abandon();
            }
            Self::Leave(_) | Self::Look(_) | Self::Interest(..) => {}
        }
    }
}

impl write_queue::Job for Job {
    fn when(&self) -> When<'_> {
        match self {
            Self::Write(_, write, _) if !write.is_urgent() => {
                claim_of(write).map_or(When::Last, |claim| When::Along(&claim.id))
            }
            // It is about all rows of a key.
            Self::Write(_, Write::NewEpoch(_), _) => When::Last,
            Self::Write(_, Write::Redeliver(id) | Write::Discard(id) | Write::Cancel(id), _) => {
                When::Soon(Some(id))
            }
            Self::Write(_, write, _) => When::Soon(claim_of(write).map(|claim| &*claim.id)),
            Self::Look(_) | Self::Interest(..) => When::Soon(None),
            _ => When::Last,
        }
    }

    fn replace(&self, earlier: Self) -> Option<Self> {
        match earlier {
            // A later count, or the end of the counting.
            Self::Write(_, Write::Attempts { .. }, promise) => {
                promise.answer(Ok(Outcome::Done));
                None
            }
            earlier => Some(earlier),
        }
    }
}
