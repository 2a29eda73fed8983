//! No memory is an error, and nothing is changed: each operation is run with no large block to be
//! had, then with one, with two and so on, until it succeeds. An operation that does not ask first
//! ends this process.

// The binding has an allocator of its own.
#![cfg(not(any(loom, feature = "python")))]

mod allocator;
mod queue;
mod registry;

use std::fmt::Debug;

use hermes_core::error::Error;

/// Runs `step` on less memory than it needs, then on a little more, until it has enough; what is to
/// be `seen` must be the same after each refusal. What it gives, and how often it was refused.
fn until_enough<S, V: PartialEq + Debug, R>(
    shared: &S,
    seen: impl Fn(&S) -> V,
    mut step: impl FnMut(&S) -> Result<R, Error>,
) -> (R, usize) {
    let before = seen(shared);
    for blocks in 0..1000 {
        match allocator::with_blocks(blocks, || step(shared)) {
            Ok(done) => return (done, blocks),
            Err(error) => assert_eq!(error, Error::NoMemory, "with {blocks} blocks"),
        }
        assert_eq!(seen(shared), before, "after a refusal with {blocks} blocks");
    }
    panic!("refused with a thousand blocks");
}

/// A text that is too long to come from the reserve.
fn long(name: &str) -> String {
    name.repeat(2 * allocator::LARGE)
}
