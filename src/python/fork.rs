//! `fork`: every core lock is held while the process is copied, and the child starts empty.
//!
//! Here the core departs from `queue.Queue`, whose child inherits the parent's items: an inherited
//! event would be delivered twice, once by each process.
//!
//! The locks are taken by `pthread_atfork`, in the C library's `fork` itself, not by
//! `os.register_at_fork(before=…)`: between that and the fork, and after it, other hooks run Python
//! code (`logging`'s, for one). Another thread then gets the interpreter and waits, with it, for a
//! core lock, while the forking thread holds the lock and waits for the interpreter. Only the disk is
//! waited for before: no thread holds the interpreter while another ends its write.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;

use super::{log, wait};
use crate::ledger::sqlite::fork as writers;
use crate::sync::{Forked, HeldLock, timer};

type Object = Py<PyAny>;

/// A core part that a fork must hold.
trait Part: Send + Sync {
    /// Takes its lock, if it is still there.
    fn lock(&self) -> Option<Box<dyn Held>>;

    fn is_alive(&self) -> bool;
}

/// A part whose lock is taken.
trait Held {
    /// Empties the part; what it held is returned, to be dropped once no lock is held.
    fn reset(&mut self) -> Vec<Object>;
}

impl<C> Part for Weak<C>
where
    C: Forked<Kept = Object> + Send + Sync + 'static,
{
    fn lock(&self) -> Option<Box<dyn Held>> {
        Some(Box::new(Locked(HeldLock::<C::State>::hold(&self.upgrade()?), PhantomData::<C>)))
    }

    fn is_alive(&self) -> bool {
        self.strong_count() > 0
    }
}

struct Locked<C: Forked>(HeldLock<C::State>, PhantomData<C>);

impl<C: Forked<Kept = Object>> Held for Locked<C> {
    fn reset(&mut self) -> Vec<Object> {
        C::reset(self.0.state())
    }
}

/// Every part of the process, in the order of creation.
static PARTS: Mutex<Parts> = Mutex::new(Parts { parts: Vec::new(), sweep_at: 64 });

struct Parts {
    parts: Vec<Box<dyn Part>>,
    sweep_at: usize,
}

/// Everything a fork holds; dropped in this order.
struct AllHeld {
    _held: Vec<Box<dyn Held>>,
    _ledgers: writers::AllLocked,
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
    C: Forked<Kept = Object> + Send + Sync + 'static,
{
    let mut all = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    if all.parts.len() >= all.sweep_at {
        all.parts.retain(|part| part.is_alive());
        all.sweep_at = 64.max(2 * all.parts.len());
    }
    all.parts.push(Box::new(Arc::downgrade(core)));
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
    let ledgers = writers::lock_all();
    let held = all.parts.iter().filter_map(|part| part.lock()).collect();
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

/// Has every ledger stop writing; for `os.register_at_fork(before=…)`. The interpreter is others'
/// while one ends what it is at.
#[pyfunction]
#[pyo3(name = "_before_fork")]
pub(super) fn before_fork(py: Python<'_>) {
    py.detach(writers::prepare);
}

/// Has the ledgers go on; for `os.register_at_fork(after_in_parent=…)`.
#[pyfunction]
#[pyo3(name = "_after_fork_in_parent")]
pub(super) fn after_fork_in_parent() {
    writers::done();
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
    writers::lock_all().reset();
    let all = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    let held = all.parts.iter().filter_map(|part| part.lock());
    held.flat_map(|mut held| held.reset()).collect()
}
