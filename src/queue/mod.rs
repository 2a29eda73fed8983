//! The completion queue: a FIFO that knows whose each event is.
//!
//! One lock guards everything ([`State`]). Any thread may hold it; nothing is called, dropped or
//! waited for under it. It orders events, waiters and the count of unfinished work. What takes long
//! under it is what has to see every event: listings, a new epoch of an owner with many events, a
//! shutdown that removes them.
//!
//! A put wakes the one waiter that has waited longest among those the event is for. The wake
//! carries nothing: the woken thread looks again, and whoever looks first takes the event, as with
//! CPython's `queue.Queue`. A woken waiter that leaves without an event (timeout, interrupt) hands
//! its wake on, so none is lost.

mod acking;
mod dead_letter;
mod epoch;
mod handle;
mod list;
mod mailbox;
mod names;
mod put;
mod reservation;
mod routes;
mod schedule;
mod settle;
mod slots;
mod state;
mod take;
mod waiters;

pub use self::acking::{Acking, LeaseId};
pub use self::epoch::Stamp;
pub use self::handle::{Directory, Handle, Tally};
pub use self::mailbox::{Collector, Mailbox, Question, Selection};
pub use self::put::{Putter, Room};
pub use self::reservation::Reservation;
pub use self::schedule::MAX_ATTEMPTS;
pub use self::settle::{Acknowledged, Leased, Return};
pub use self::state::{CompletionQueue, State};
pub use self::take::Taker;
pub use self::waiters::Wanted;
