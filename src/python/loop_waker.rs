//! How the core wakes an event loop's tasks: through a descriptor that the loop watches.
//!
//! A wake may come from a thread that has no interpreter and holds a core lock. It adds the waiter's
//! number to a list and makes the descriptor readable, no more. The loop then runs Python code of
//! its own, which asks for the numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use self::descriptor::WakeDescriptor;
use super::fork;
use crate::sync::ready_list::ReadyList;
use crate::sync::signal::Signal;

/// What the wakers of one event loop's tasks share.
struct Wakes {
    woken: ReadyList,
    descriptor: WakeDescriptor,
    numbers: AtomicU64,
    forks: u64,
}

impl Wakes {
    /// Whether a fork copied it: its descriptor is the parent's.
    fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }
}

/// What a task's signal calls.
struct Call {
    number: u64,
    wakes: Arc<Wakes>,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.wakes.is_inherited() && self.wakes.woken.push(self.number) {
            self.wakes.descriptor.ring();
        }
    }
}

/// One event loop's way to hear of wakes.
#[pyclass(name = "LoopWaker", module = "hermes_core._core", frozen)]
pub(super) struct PyLoopWaker {
    wakes: Arc<Wakes>,
}

#[pymethods]
impl PyLoopWaker {
    #[new]
    fn new() -> PyResult<Self> {
        let wakes = Wakes {
            woken: ReadyList::default(),
            descriptor: WakeDescriptor::new()?,
            numbers: AtomicU64::new(0),
            forks: fork::count(),
        };
        Ok(Self { wakes: Arc::new(wakes) })
    }

    /// The descriptor that is readable once a waiter was woken.
    fn fileno(&self) -> i32 {
        self.wakes.descriptor.fileno()
    }

    /// The numbers of the waiters woken since the last call; the descriptor is read empty.
    fn ready(&self) -> Vec<u64> {
        if self.wakes.is_inherited() {
            return Vec::new();
        }
        self.wakes.descriptor.silence();
        self.wakes.woken.take_all()
    }

    /// Whether a fork copied it from the parent process, whose loop it wakes.
    #[getter]
    fn is_inherited(&self) -> bool {
        self.wakes.is_inherited()
    }
}

/// One task's place to wait; a call that registers it sets its signal when there is something to see.
#[pyclass(name = "Waiter", module = "hermes_core._core", subclass, frozen)]
pub(super) struct PyWaiter {
    /// What wakes the task.
    pub(super) signal: Arc<Signal>,
    number: u64,
}

#[pymethods]
impl PyWaiter {
    #[new]
    fn new(waker: &PyLoopWaker) -> PyResult<Self> {
        if waker.wakes.is_inherited() {
            return Err(PyRuntimeError::new_err(
                "this event loop was made before the process forked; make a new one in the child",
            ));
        }
        let number = waker.wakes.numbers.fetch_add(1, Ordering::Relaxed);
        let call = Call { number, wakes: waker.wakes.clone() };
        let signal = Arc::new(Signal::for_task(Waker::from(Arc::new(call))));
        Ok(Self { signal, number })
    }

    /// What its event loop's `LoopWaker.ready` calls it.
    #[getter]
    fn number(&self) -> u64 {
        self.number
    }

    /// Clears the signal; whether it was set.
    fn take(&self) -> bool {
        self.signal.take()
    }
}

/// A descriptor that is readable from a ring on until it is silenced.
#[cfg(unix)]
mod descriptor {
    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    pub(super) struct WakeDescriptor {
        heard: UnixStream,
        rung: UnixStream,
    }

    impl WakeDescriptor {
        pub(super) fn new() -> io::Result<Self> {
            let (heard, rung) = UnixStream::pair()?;
            heard.set_nonblocking(true)?;
            rung.set_nonblocking(true)?;
            Ok(Self { heard, rung })
        }

        pub(super) fn fileno(&self) -> i32 {
            self.heard.as_raw_fd()
        }

        /// A full descriptor is readable already, so nothing is lost if this fails.
        pub(super) fn ring(&self) {
            while let Err(error) = (&self.rung).write(&[0])
                && error.kind() == io::ErrorKind::Interrupted
            {}
        }

        pub(super) fn silence(&self) {
            let mut read = [0; 64];
            loop {
                match (&self.heard).read(&mut read) {
                    Ok(count) if count == read.len() => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    _ => return,
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod descriptor {
    use std::io;

    /// No event loop that watches descriptors is known here.
    pub(super) enum WakeDescriptor {}

    impl WakeDescriptor {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::Error::new(io::ErrorKind::Unsupported, "asyncio is served on Unix only"))
        }

        pub(super) fn fileno(&self) -> i32 {
            match *self {}
        }

        pub(super) fn ring(&self) {
            match *self {}
        }

        pub(super) fn silence(&self) {
            match *self {}
        }
    }
}
