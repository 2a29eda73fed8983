//! `fork`: every writer stops between two rounds, its file closed, while the process is copied.
//!
//! A round may wait for the disk, so whoever forks from a language with a lock of its own announces
//! it first ([`prepare`]), with that lock given up: no writer begins a round from then on, and each
//! has ended its last. [`lock_all`], in the fork itself, then finds every lock free.

use std::sync::{MutexGuard, Weak};

use super::fork_flag;
use super::header::{self, Headers};
use super::jobs::Job;
use super::status::StatusState;
use super::writer::{Writer, go_on, writers};
use super::writer_state::WriterState;
use crate::ledger::write_queue::Waiting;
use crate::sync::HeldLock;

/// Stops every writer, until [`done`] is called on this thread. It waits for the rounds under way,
/// for the disk then, and is called with nothing held that another thread may wait for.
pub fn prepare() {
    if !fork_flag::raise() {
        return;
    }
    let alive: Vec<_> = writers().iter().filter_map(Weak::upgrade).collect();
    for writer in alive {
        writer.lock.0.0.lock().close_for_fork();
    }
}

/// Lets the writers go on: the fork that this thread prepared is over.
pub fn done() {
    go_on();
}

struct Held {
    state: HeldLock<WriterState>,
    waiting: HeldLock<Waiting<Job>>,
    status: HeldLock<StatusState>,
}

/// Every ledger of the process, held while it is copied: its file closed, its locks taken.
pub struct AllLocked {
    held: Vec<Held>,
    _headers: MutexGuard<'static, Headers>,
    _all: MutexGuard<'static, Vec<Weak<Writer>>>,
}

/// Holds every ledger, for `fork`: what SQLite has open must not be in a child.
pub fn lock_all() -> AllLocked {
    let all = writers();
    let alive = all.iter().filter_map(Weak::upgrade);
    let held = alive
        .map(|writer| {
            // Who writes has its file's lock, then takes the others for a moment.
            let mut state = HeldLock::hold(&writer.lock);
            state.state().close_for_fork();
            let waiting = HeldLock::hold(&writer.write_queue);
            Held { state, waiting, status: HeldLock::hold(&writer.status) }
        })
        .collect();
    AllLocked { held, _headers: header::lock(), _all: all }
}

impl AllLocked {
    /// Begins anew in the child: other instances, which hold nothing and have no threads.
    pub fn reset(&mut self) {
        fork_flag::reset();
        for held in &mut self.held {
            held.state.state().reset();
            held.waiting.state().reset().for_each(Job::abandon);
            held.status.state().reset();
        }
    }
}
