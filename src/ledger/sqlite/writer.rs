//! One file's writer in this process: its queue, its lock, its thread.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use super::failure::{io_error, shown};
use super::file::Place;
use super::fork_flag;
use super::holdings::Holdings;
use super::instance::Instance;
use super::jobs::Job;
use super::machine::Machine;
use super::open_file::OpenFile;
use super::paths::{self, identity};
use super::retention::Retained;
use super::schedule::Schedule;
use super::status::Status;
use super::user::{Sure, Terms, User};
use super::writer_state::{Next, WriterLock};
use crate::ledger::clock::Clock;
use crate::ledger::write_queue::WriteQueue;
use crate::ledger::{Millis, Options};
use crate::sync::signal::Signal;

/// One file's writer.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    shares_writer: bool,
    pub(super) write_queue: Arc<WriteQueue<Job>>,
    pub(super) status: Arc<Status>,
    clock: Arc<dyn Clock>,
    pub(super) lock: Arc<WriterLock>,
}

/// Every one of the process.
static WRITERS: Mutex<Vec<Weak<Writer>>> = Mutex::new(Vec::new());

pub(super) fn writers() -> MutexGuard<'static, Vec<Weak<Writer>>> {
    WRITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the writers go on, if they stopped for a fork by this thread.
pub(super) fn go_on() {
    if fork_flag::lower() {
        let alive: Vec<_> = writers().iter().filter_map(Weak::upgrade).collect();
        alive.iter().for_each(|writer| writer.write_queue.wake());
    }
}

/// The same, for a thread that needs a writer: what runs before a fork, say a finalizer, may use a
/// ledger. The fork then waits for the disk, if need be.
fn call_off_fork() {
    if fork_flag::is_near() {
        go_on();
    }
}

/// The path by which the process has a file already, if it has it by another: a folder may be
/// mounted twice, a file may have two names.
fn known_name(path: PathBuf) -> PathBuf {
    let known: Vec<_> = writers().iter().filter_map(Weak::upgrade).collect();
    if known.iter().any(|writer| writer.path == path) {
        return path;
    }
    let Some(file) = identity(&path) else { return path };
    let same = known.iter().find(|writer| identity(&writer.path) == Some(file));
    same.map_or(path, |writer| writer.path.clone())
}

impl Writer {
    /// The one of this file, made if there is none; the caller is counted in.
    pub(super) fn of(options: Options, machine: Machine) -> Arc<Self> {
        let path = known_name(paths::canonical(&options.path));
        let mut writers = writers();
        writers.retain(|writer| writer.strong_count() > 0);
        if machine.shares_writer {
            let mut same = writers.iter().filter_map(Weak::upgrade);
            let writer = same.find(|writer| {
                writer.shares_writer && writer.path == path && writer.write_queue.enter()
            });
            if let Some(writer) = writer {
                return writer;
            }
        }
        let writer = Arc::new(Self::new(path, options, machine));
        writer.write_queue.enter();
        writers.push(Arc::downgrade(&writer));
        writer
    }

    fn new(path: PathBuf, options: Options, machine: Machine) -> Self {
        let write_queue = Arc::new(WriteQueue::default());
        let status = Arc::new(Status::new(shown(&path)));
        let Options { durability, retention, .. } = options;
        let Machine { clock, shared_disk, shares_writer } = machine;
        let place = Place { path: path.clone(), durability, shared_disk };
        let schedule = Schedule::new(clock.clone());
        let holdings = Holdings::new(clock.clone(), status.clone());
        let instance = Instance::new(schedule, holdings, Retained::new(retention), status.clone());
        let file = OpenFile::new(place, clock.clone(), status.clone());
        let lock = WriterLock::new(file, instance, status.clone(), write_queue.clone());
        Self { path, shares_writer, write_queue, status, clock, lock: Arc::new(lock) }
    }

    /// One user more, with a lease of so long, an instance of another one perhaps: its number, and until
    /// when what it holds is surely its own.
    pub(super) fn user(&self, lease: Millis, of: Option<User>) -> (User, Arc<Sure>) {
        let sure = Sure::new(self.clock.clone());
        // A lease that is over at once could not be renewed in time.
        let terms = Terms { lease: lease.max(30), of, sure: sure.clone() };
        (self.status.subscribe(terms), sure)
    }

    /// Has a job done, by a writer that is started if there is none.
    pub(super) fn put(self: &Arc<Self>, job: Job) {
        call_off_fork();
        if !self.write_queue.put(job) {
            return;
        }
        let writer = self.clone();
        let named = thread::Builder::new().name("hermes-core-ledger".into());
        if let Err(error) = named.spawn(move || writer.run()) {
            let error = io_error(&self.path, format!("no thread for it: {error}"));
            self.status.failed(0, &error);
            for job in self.write_queue.not_come() {
                job.refuse(error.clone());
                if let Job::Leave(user) = job {
                    self.status.unsubscribe(user);
                }
            }
        }
    }

    /// Has a job done by the calling thread, which is to wait for it, unless somebody is at the lock:
    /// then by the writer, with all that came meanwhile. To wake another thread and to be woken again
    /// takes longer than a small write does.
    pub(super) fn put_and_help(self: &Arc<Self>, job: Job) {
        call_off_fork();
        if let Err(job) = self.write_queue.put_quietly(job) {
            return self.put(job);
        }
        let is_done = self.lock.0.0.try_lock().is_some_and(|mut state| {
            if fork_flag::is_near() {
                return false;
            }
            let next = state.round();
            // The writer must not sleep longer than there is now reason to.
            matches!(next, Next::Wait(left) if !state.instance.schedule.is_sooner(left))
        });
        if !is_done {
            self.write_queue.wake();
        }
    }

    fn run(&self) {
        let signal = Arc::new(Signal::for_this_thread());
        self.write_queue.come(&signal);
        let mut goes_on_at = None;
        loop {
            let mut state = self.lock.0.0.lock();
            // Under the lock: whoever prepares a fork takes it once, after having said so.
            if fork_flag::is_near() {
                let at = *goes_on_at.get_or_insert_with(|| Instant::now() + fork_flag::PATIENCE);
                if Instant::now() < at {
                    drop(state);
                    self.write_queue.wait(&signal, Some(at));
                    continue;
                }
            } else {
                goes_on_at = None;
            }
            let next = state.round();
            if let Next::Wait(left) = next {
                if self.write_queue.is_over() {
                    return state.close();
                }
                state.instance.schedule.will_wake(left);
            }
            drop(state);
            match next {
                Next::Again => {}
                // With no lock held: a fork goes first.
                Next::Pause(pause) => thread::sleep(pause),
                Next::Wait(left) => {
                    let deadline = left.and_then(|left| Instant::now().checked_add(left));
                    self.write_queue.wait(&signal, deadline);
                }
            }
        }
    }
}
