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

use self::bell::Bell;
use super::fork;
use crate::wake::Signal;
use crate::woken::WokenList;

/// What the wakers of one event loop's tasks share.
struct Inbox {
    woken: WokenList,
    bell: Bell,
    numbers: AtomicU64,
    forks: u64,
}

impl Inbox {
    /// Whether a fork copied it: its bell is the parent's.
    fn is_inherited(&self) -> bool {
        self.forks != fork::count()
    }
}

/// What a task's signal calls.
struct Call {
    number: u64,
    inbox: Arc<Inbox>,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.inbox.is_inherited() && self.inbox.woken.push(self.number) {
            self.inbox.bell.ring();
        }
    }
}

/// One event loop's way to hear of wakes.
#[pyclass(name = "LoopWaker", module = "hermes_core._core", frozen)]
pub(super) struct PyLoopWaker {
    inbox: Arc<Inbox>,
}

#[pymethods]
impl PyLoopWaker {
    #[new]
    fn new() -> PyResult<Self> {
        let inbox = Inbox {
            woken: WokenList::default(),
            bell: Bell::new()?,
            numbers: AtomicU64::new(0),
            forks: fork::count(),
        };
        Ok(Self { inbox: Arc::new(inbox) })
    }

    /// The descriptor that is readable once a waiter was woken.
    fn fileno(&self) -> i32 {
        self.inbox.bell.fileno()
    }

    /// The numbers of the waiters woken since the last call; the descriptor is read empty.
    fn ready(&self) -> Vec<u64> {
        if self.inbox.is_inherited() {
            return Vec::new();
        }
        self.inbox.bell.silence();
        self.inbox.woken.take_all()
    }

    /// Whether a fork copied it from the parent process, whose loop it wakes.
    #[getter]
    fn is_inherited(&self) -> bool {
        self.inbox.is_inherited()
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
        if waker.inbox.is_inherited() {
            return Err(PyRuntimeError::new_err(
                "this event loop was made before the process forked; make a new one in the child",
            ));
        }
        let number = waker.inbox.numbers.fetch_add(1, Ordering::Relaxed);
        let call = Call { number, inbox: waker.inbox.clone() };
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
mod bell {
    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    pub(super) struct Bell {
        heard: UnixStream,
        rung: UnixStream,
    }

    impl Bell {
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
mod bell {
    use std::io;

    /// No event loop that watches descriptors is known here.
    pub(super) enum Bell {}

    impl Bell {
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
