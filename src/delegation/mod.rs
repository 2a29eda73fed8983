//! Delegations: their records, and the only ways a record may change.
//!
//! One lock guards the table of a registry. Dispatch takes the permit and inserts the record under
//! one hold of it; the transition to a terminal state gives the permit back under another. A second
//! end of the same delegation changes nothing and is counted.
//!
//! Whoever waits for capacity stands in a line beside the table: whatever frees a place gives it to
//! the next in the same hold of the lock, and is told that a worker has to run it.
//!
//! Where a delegation has a ledger, it is written down beside: what starts before it runs, what
//! ended before its event can be seen. The lock is free meanwhile.

pub mod capacity;
mod dispatch;
mod finish;
mod ids;
mod line;
mod record;
mod registry;
mod restore;

pub use self::dispatch::{Begun, Dispatched, Dispatching, PATIENCE, Refused, Request};
pub use self::finish::{End, Finished};
pub use self::record::Record;
pub use self::registry::{DelegationRegistry, LiveWork, Stats, Table};
pub use self::restore::{NotPut, Restored, Why};
