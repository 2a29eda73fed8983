//! The same ideas done wrong: loom must find each, or the models prove nothing. Each stands beside
//! the right way, in which loom must find nothing, so that it is the fault that is found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{join_all, model, spawn};

mod capacity;
mod delivery;
mod handoff;
mod mailbox;
mod queue;
mod registry;
mod shutdown;
mod wake;
mod write_queue;

/// Asserts that loom finds a fault in `idea(false)` and none in `idea(true)`.
fn tell_apart(idea: fn(is_right: bool)) {
    model(move || idea(true));
    let wrong = catch_unwind(AssertUnwindSafe(|| model(move || idea(false))));
    assert!(wrong.is_err(), "loom does not find the fault");
}
