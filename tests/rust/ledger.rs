//! The ledger: what every kind of it promises, and what the one in a file promises beyond.

mod acks;
mod clocks;
mod conformance;
mod damage;
mod disk;
mod foreign;
mod fork;
mod in_step;
mod look;
mod memory;
mod several;
mod table;
mod unlinked;

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::Owner;
use hermes_core::ledger::clock::{Clock, ClockId, Moment};
use hermes_core::ledger::sqlite::{self, Machine, SqliteLedger};
use hermes_core::ledger::{
    Claim, Durability, Ledger, Millis, NewDelegation, Notice, Options, Outcome, Retention, Row,
    Which, Write,
};
use hermes_core::state::State;
use hermes_core::sync::signal::Signal;

use self::memory::MemoryLedger;

/// No row is too old, and none one too many.
const KEEPS_ALL: Retention = Retention { age: Duration::MAX, count: usize::MAX };

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        sqlite::set_up();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ledger-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("delegations.db")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A clock that a test sets.
struct Hands {
    wall: AtomicI64,
    steady: AtomicI64,
    id: Option<ClockId>,
}

/// The machine that tests run on, unless they say otherwise.
const HERE: ClockId = ClockId { boot: 1, namespace: 1 };

impl Hands {
    fn new() -> Arc<Self> {
        Self::at(1_000_000)
    }

    fn at(wall: Millis) -> Arc<Self> {
        Self::on(wall, Some(HERE))
    }

    /// The clocks of a machine.
    fn on(wall: Millis, id: Option<ClockId>) -> Arc<Self> {
        Arc::new(Self { wall: wall.into(), steady: 0.into(), id })
    }

    /// Time goes by.
    fn pass(&self, millis: Millis) {
        self.set(millis);
        self.steady.fetch_add(millis, Ordering::SeqCst);
    }

    /// The wall clock is set, or runs while the machine sleeps.
    fn set(&self, millis: Millis) {
        self.wall.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Moment {
        Moment {
            wall: self.wall.load(Ordering::SeqCst),
            steady: self.steady.load(Ordering::SeqCst),
        }
    }

    fn id(&self) -> Option<ClockId> {
        self.id
    }
}

/// A ledger and what it needs.
struct Opened {
    ledger: Arc<dyn Ledger>,
    _folder: Option<Folder>,
}

impl Deref for Opened {
    type Target = dyn Ledger;

    fn deref(&self) -> &Self::Target {
        &*self.ledger
    }
}

fn in_memory(retention: Retention) -> Opened {
    Opened { ledger: MemoryLedger::new(retention), _folder: None }
}

fn in_a_file(retention: Retention) -> Opened {
    let folder = Folder::new();
    let options = Options { retention, ..options(&folder.file()) };
    Opened { ledger: SqliteLedger::new(options), _folder: Some(folder) }
}

const LEASE: Millis = 30_000;

/// A ledger of this file as another process has it.
fn process(path: &Path, clock: &Arc<Hands>) -> Arc<SqliteLedger> {
    let machine = Machine { clock: clock.clone(), shares_writer: false, ..Machine::default() };
    SqliteLedger::on(options(path), machine)
}

/// As little syncing as may be: no test cuts the power.
fn options(path: &Path) -> Options {
    let (durability, retention) = (Durability::Process, KEEPS_ALL);
    Options { path: path.into(), durability, lease: Duration::from_secs(30), retention }
}

fn owner(session_key: &str) -> Owner {
    Owner { session_key: session_key.into(), ..Owner::default() }
}

fn new(id: &str) -> NewDelegation {
    NewDelegation {
        id: id.into(),
        owner: owner("a").into(),
        idempotency_key: None,
        record: format!("{{\"goal\":\"{id}\"}}").into(),
        dispatched_at: 1,
        is_queued: false,
    }
}

fn claim(id: &str, fence: u64) -> Claim {
    Claim { id: id.into(), fence }
}

fn finish(id: &str) -> Write {
    Write::Finish {
        claim: claim(id, 1),
        state: State::Completed,
        event: format!("{{\"summary\":\"{id}\"}}").into(),
        completed_at: 2,
    }
}

/// Writes, and waits until it is written; what is not urgent is flushed.
fn write(ledger: &(impl Ledger + ?Sized), write: Write) -> Result<Outcome, Error> {
    let is_urgent = write.is_urgent();
    let receipt = ledger.submit(write);
    if !is_urgent {
        assert!(ledger.flush(soon()));
    }
    receipt.wait(Some(soon()))
}

fn done(ledger: &(impl Ledger + ?Sized), what: Write) {
    let named = format!("{what:?}");
    assert_eq!(write(ledger, what), Ok(Outcome::Done), "{named}");
}

fn fenced(ledger: &(impl Ledger + ?Sized), what: Write) {
    let named = format!("{what:?}");
    assert_eq!(write(ledger, what), Ok(Outcome::Fenced), "{named}");
}

fn asked(ledger: &(impl Ledger + ?Sized), what: Write) {
    let named = format!("{what:?}");
    assert_eq!(write(ledger, what), Ok(Outcome::Asked), "{named}");
}

fn dispatch(ledger: &(impl Ledger + ?Sized), id: &str) {
    done(ledger, Write::Dispatch(new(id)));
}

/// Longer than anything takes.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn row(ledger: &(impl Ledger + ?Sized), id: &str) -> Row {
    find(ledger, id).unwrap_or_else(|| panic!("{id} is there"))
}

fn find(ledger: &(impl Ledger + ?Sized), id: &str) -> Option<Row> {
    ledger.read(Which::One(id)).unwrap().pop()
}

fn ids(ledger: &(impl Ledger + ?Sized), which: Which<'_>) -> Vec<String> {
    ledger.read(which).unwrap().into_iter().map(|row| (*row.claim.id).to_owned()).collect()
}

fn adopt(ledger: &(impl Ledger + ?Sized), id: &str) -> Option<Row> {
    ledger.adopt(&[id]).unwrap().pop()
}

/// The notices that are there.
fn notices(ledger: &(impl Ledger + ?Sized)) -> Vec<Notice> {
    let signal = Arc::new(Signal::for_this_thread());
    std::iter::from_fn(|| ledger.notice(&signal)).collect()
}

/// The next notice, once there is one.
fn notice(ledger: &(impl Ledger + ?Sized)) -> Notice {
    let signal = Arc::new(Signal::for_this_thread());
    loop {
        match ledger.notice(&signal) {
            Some(notice) => return notice,
            None => assert!(signal.wait_until(Some(soon())), "a notice comes"),
        }
    }
}
