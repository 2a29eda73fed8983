//! `fork`: every core lock is held while the process is copied, and the child starts empty.
//!
//! Here the core departs from `queue.Queue`, whose child inherits the parent's items: an inherited
//! event would be delivered twice, once by each process.
//!
//! The locks are taken by `pthread_atfork`, in the C library's `fork` itself, not by
//! `os.register_at_fork(before=…)`: between that and the fork, and after it, other hooks run Python
//! code (`logging`'s, for one). Another thread then gets the interpreter and waits, with it, for a
//! core lock, while the forking thread holds the lock and waits for the interpreter.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;

use super::queue::Core as Queue;
use super::registry::Core as Registry;
use super::{log, wait};
use crate::handoff::{Handoff, Jobs};
use crate::ledger::memory::{MemoryLedger, Rows};
use crate::ledger::sqlite;
use crate::queue::State;
use crate::registry::Table;
use crate::sync::HeldLock;
use crate::timer;

type Object = Py<PyAny>;

/// A core part that a fork must hold.
pub(super) enum Part {
    Queue(Weak<Queue>),
    Registry(Weak<Registry>),
    Handoff(Weak<Handoff<Object>>),
    Memory(Weak<MemoryLedger>),
}

enum Held {
    Queue(HeldLock<State<Object>>),
    Registry(HeldLock<Table<Object>>),
    Handoff(HeldLock<Jobs<Object>>),
    Memory(HeldLock<Rows>),
}

impl From<&Arc<Queue>> for Part {
    fn from(core: &Arc<Queue>) -> Self {
        Self::Queue(Arc::downgrade(core))
    }
}

impl From<&Arc<Registry>> for Part {
    fn from(core: &Arc<Registry>) -> Self {
        Self::Registry(Arc::downgrade(core))
    }
}

impl From<&Arc<Handoff<Object>>> for Part {
    fn from(core: &Arc<Handoff<Object>>) -> Self {
        Self::Handoff(Arc::downgrade(core))
    }
}

impl From<&Arc<MemoryLedger>> for Part {
    fn from(ledger: &Arc<MemoryLedger>) -> Self {
        Self::Memory(Arc::downgrade(ledger))
    }
}

impl Part {
    fn is_alive(&self) -> bool {
        match self {
            Self::Queue(core) => core.strong_count() > 0,
            Self::Registry(core) => core.strong_count() > 0,
            Self::Handoff(core) => core.strong_count() > 0,
            Self::Memory(ledger) => ledger.strong_count() > 0,
        }
    }

    fn hold(&self) -> Option<Held> {
        Some(match self {
            Self::Queue(core) => Held::Queue(HeldLock::hold(&core.upgrade()?)),
            Self::Registry(core) => Held::Registry(HeldLock::hold(&core.upgrade()?)),
            Self::Handoff(core) => Held::Handoff(HeldLock::hold(&core.upgrade()?)),
            Self::Memory(ledger) => Held::Memory(HeldLock::hold(&ledger.upgrade()?)),
        })
    }
}

impl Held {
    /// Empties the part; what it held is returned, to be dropped once no lock is held.
    fn reset(&mut self) -> Vec<Object> {
        match self {
            Self::Queue(held) => held.state().reset(),
            Self::Registry(held) => held.state().clear(),
            Self::Handoff(held) => held.state().reset(),
            Self::Memory(held) => {
                held.state().clear();
                Vec::new()
            }
        }
    }
}

/// Every part of the process, in the order of creation.
static PARTS: Mutex<Parts> = Mutex::new(Parts { parts: Vec::new(), sweep_at: 64 });

struct Parts {
    parts: Vec<Part>,
    sweep_at: usize,
}

/// Everything a fork holds; dropped in this order.
struct AllHeld {
    _held: Vec<Held>,
    _ledgers: sqlite::AllHeld,
    _lines: log::Lines,
    _calls: timer::Calls,
    _all: MutexGuard<'static, Parts>,
}

/// How often this process was forked from another since the module was loaded.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// A number that a fork changes in the child: what was made under another is the parent's.
pub(super) fn count() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

thread_local! {
    // Taken before a fork and given back after it, both on the forking thread.
    static HELD: RefCell<Option<AllHeld>> = const { RefCell::new(None) };
}

/// Makes forks hold a part from now on.
pub(super) fn register<C>(core: &Arc<C>)
where
    for<'a> Part: From<&'a Arc<C>>,
{
    let mut all = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    if all.parts.len() >= all.sweep_at {
        all.parts.retain(Part::is_alive);
        all.sweep_at = 64.max(2 * all.parts.len());
    }
    all.parts.push(core.into());
}

/// Makes every fork of the process, also one that Python knows nothing of, hold the core's locks.
#[cfg(unix)]
pub(super) fn install() -> std::io::Result<()> {
    use std::ffi::c_int;
    use std::sync::OnceLock;

    type Handler = extern "C" fn();

    // SAFETY: the C library's, with this signature; the handlers are functions without state.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        safe fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
    }

    static INSTALLED: OnceLock<c_int> = OnceLock::new();
    match INSTALLED.get_or_init(|| pthread_atfork(take_locks, give_locks_back, begin_child)) {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(*error)),
    }
}

/// Takes every core lock. Nobody who has one waits for the interpreter, which the caller may hold.
#[cfg(unix)]
extern "C" fn take_locks() {
    let all = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    // Whoever writes to a ledger's file has the lock of the file, and takes others for a moment.
    let ledgers = sqlite::hold();
    let held = all.parts.iter().filter_map(Part::hold).collect();
    HELD.set(Some(AllHeld {
        _held: held,
        _ledgers: ledgers,
        _lines: log::hold(),
        _calls: timer::hold(),
        _all: all,
    }));
}

/// Gives every core lock back.
#[cfg(unix)]
extern "C" fn give_locks_back() {
    drop(HELD.take());
}

/// Counts the fork and gives every core lock back, in the child.
#[cfg(unix)]
extern "C" fn begin_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    give_locks_back();
}

/// Empties every part; for `os.register_at_fork(after_in_child=…)`.
///
/// Returns what the parts held, so that it is dropped where no Rust frame stands beneath.
#[pyfunction]
#[pyo3(name = "_after_fork_in_child")]
pub(super) fn after_fork_in_child() -> Vec<Object> {
    wait::become_main_thread();
    log::reset(&mut log::hold());
    timer::reset(&mut timer::hold());
    sqlite::hold().reset();
    let all = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    let held = all.parts.iter().filter_map(Part::hold);
    held.flat_map(|mut held| held.reset()).collect()
}
