//! One file's writer in this process: its inbox, its desk, its thread.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use super::Machine;
use super::batch::RETENTION_EVERY;
use super::desk::{Desk, Job, Next, Papers, random_id};
use super::file::Place;
use super::told::{Telling, Told};
use super::trouble::{io_error, shown};
use crate::ledger::Options;
use crate::ledger::clock::{Drift, millis};
use crate::ledger::inbox::{Inbox, Waiting};
use crate::sync::{Guarded, HeldLock, Lock};
use crate::wake::Signal;

/// One file's writer.
pub(super) struct Store {
    pub(super) path: PathBuf,
    shares_writer: bool,
    pub(super) inbox: Arc<Inbox<Job>>,
    pub(super) told: Arc<Told>,
    desk: Arc<Desk>,
}

/// Every one of the process.
static STORES: Mutex<Vec<Weak<Store>>> = Mutex::new(Vec::new());

fn stores() -> MutexGuard<'static, Vec<Weak<Store>>> {
    STORES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// The one of this file, made if there is none; the caller is counted in.
    pub(super) fn of(options: Options, machine: Machine) -> Arc<Self> {
        let path = one_path(&options.path);
        let mut stores = stores();
        stores.retain(|store| store.strong_count() > 0);
        if machine.shares_writer {
            let mut same = stores.iter().filter_map(Weak::upgrade);
            let store =
                same.find(|store| store.shares_writer && store.path == path && store.inbox.enter());
            if let Some(store) = store {
                return store;
            }
        }
        let store = Arc::new(Self::new(path, options, machine));
        store.inbox.enter();
        stores.push(Arc::downgrade(&store));
        store
    }

    fn new(path: PathBuf, options: Options, machine: Machine) -> Self {
        let inbox = Arc::new(Inbox::default());
        let told = Arc::new(Told::new(shown(&path)));
        let shared_disk = machine.shared_disk;
        let papers = Papers {
            place: Place { path: path.clone(), durability: options.durability, shared_disk },
            // A lease that is over at once could not be renewed in time.
            lease: millis(options.lease).max(30),
            retention: options.retention,
            clock: machine.clock,
            inbox: inbox.clone(),
            told: told.clone(),
            drift: Drift::default(),
            file: None,
            files: 0,
            us: random_id(),
            renew_at: None,
            held: HashMap::new(),
            queue: VecDeque::new(),
            backlog: VecDeque::new(),
            retry: None,
            busy_since: None,
            flushes: Vec::new(),
            look_at: None,
            free: (0, 0),
            settled: None,
            uncounted: 0,
            unretained: RETENTION_EVERY,
            wakes_at: None,
            may_be_committed: false,
            log_pages: 0,
            is_noted: false,
            is_checked: false,
        };
        let desk = Arc::new(Desk(Guarded(Lock::new(papers))));
        Self { path, shares_writer: machine.shares_writer, inbox, told, desk }
    }

    /// Has a job done, by a writer that is started if there is none.
    pub(super) fn put(self: &Arc<Self>, job: Job) {
        let urgent = job.is_urgent();
        if !self.inbox.put(job, urgent) {
            return;
        }
        let store = self.clone();
        let named = thread::Builder::new().name("hermes-core-ledger".into());
        if let Err(error) = named.spawn(move || store.run()) {
            let error = io_error(&self.path, format!("no thread for it: {error}"));
            self.told.failed(0, &error);
            for job in self.inbox.not_come() {
                job.refuse(error.clone());
            }
        }
    }

    /// Has a job done by the calling thread, which is to wait for it, unless somebody is at the desk:
    /// then by the writer, with all that came meanwhile. To wake another thread and to be woken again
    /// takes longer than a small write does.
    pub(super) fn put_and_help(self: &Arc<Self>, job: Job) {
        if let Err(job) = self.inbox.put_quietly(job) {
            return self.put(job);
        }
        let is_done = self.desk.0.0.try_lock().is_some_and(|mut papers| {
            let next = papers.round();
            // The writer must not sleep longer than there is now reason to.
            matches!(next, Next::Wait(left) if !papers.is_sooner(left))
        });
        if !is_done {
            self.inbox.wake();
        }
    }

    fn run(&self) {
        let signal = Arc::new(Signal::for_this_thread());
        self.inbox.come(&signal);
        loop {
            let mut papers = self.desk.0.0.lock();
            let next = papers.round();
            if let Next::Wait(left) = next {
                papers.will_wake(left);
            }
            drop(papers);
            match next {
                Next::Again => {}
                // With no lock held: a fork goes first.
                Next::Pause(pause) => thread::sleep(pause),
                Next::Wait(_) if self.inbox.is_over() => break,
                Next::Wait(left) => {
                    let deadline = left.and_then(|left| Instant::now().checked_add(left));
                    self.inbox.wait(&signal, deadline);
                }
            }
        }
        self.desk.0.0.lock().close();
    }
}

/// The one path of a file that may be named in many ways, also before it is there.
fn one_path(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    match (absolute.parent().and_then(|folder| folder.canonicalize().ok()), absolute.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => absolute,
    }
}

struct Held {
    papers: HeldLock<Papers>,
    waiting: HeldLock<Waiting<Job>>,
    telling: HeldLock<Telling>,
}

/// Every ledger of the process, held while it is copied: its file closed, its locks taken.
pub struct AllHeld {
    held: Vec<Held>,
    _all: MutexGuard<'static, Vec<Weak<Store>>>,
}

/// Holds every ledger, for `fork`: what SQLite has open must not be in a child.
pub fn hold() -> AllHeld {
    let all = stores();
    let alive = all.iter().filter_map(Weak::upgrade);
    let held = alive
        .map(|store| {
            // Who writes has its file's lock, then takes the others for a moment.
            let mut papers = HeldLock::hold(&store.desk);
            papers.state().close_for_fork();
            let waiting = HeldLock::hold(&store.inbox);
            Held { papers, waiting, telling: HeldLock::hold(&store.told) }
        })
        .collect();
    AllHeld { held, _all: all }
}

impl AllHeld {
    /// Begins anew in the child: other instances, which hold nothing and have no threads.
    pub fn reset(&mut self) {
        for held in &mut self.held {
            held.papers.state().reset();
            held.waiting.state().reset().into_iter().for_each(Job::abandon);
            held.telling.state().reset();
        }
    }
}
