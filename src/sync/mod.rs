//! What threads meet at: the core's lock, signals, and what is built of the two.

pub mod handoff;
mod lock;
pub mod ready_list;
pub mod signal;
pub mod timer;
pub mod wait;

pub(crate) use self::lock::atomic;
pub use self::lock::{Forked, Guarded, HeldLock, Lock, Locked};
