//! Whose file is at a path, as its header says: looked at before anything is written or renamed.
//!
//! Closing any descriptor of a file drops every lock that this process has on it, also those of
//! another SQLite. So a header is read through a descriptor that stays open: for good where the
//! file is not ours, else until no connection of ours has the file open.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::check_is_writable;
use super::failure::{Failure, shown};
use super::paths::{Identity, LONGEST, beside, folder, identity_of, remove_unfinished};
use super::schema::{APPLICATION, KNOWN};
use crate::error::Error;

/// What an SQLite file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The bytes of a header.
const LENGTH: usize = 100;

/// A file whose header was read, or that a connection of ours has open.
#[derive(Default)]
struct Known {
    /// Descriptors that must not be closed yet.
    descriptors: Vec<File>,
    /// How many connections of ours have it open.
    connections: usize,
}

/// Every one of the process.
#[derive(Default)]
pub(super) struct Headers(Option<HashMap<Identity, Known>>);

static HEADERS: Mutex<Headers> = Mutex::new(Headers(None));

/// Holds them; `fork` does so, too.
pub(super) fn lock() -> MutexGuard<'static, Headers> {
    HEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Headers {
    fn of(&mut self, identity: Identity) -> &mut Known {
        self.0.get_or_insert_default().entry(identity).or_default()
    }

    /// Closes what may be closed.
    fn let_go(&mut self, identity: Identity) {
        let known = self.0.get_or_insert_default();
        if known.get(&identity).is_some_and(|known| known.connections == 0) {
            known.remove(&identity);
        }
    }
}

/// Keeps the descriptors of a file open as long as a connection of ours has it.
#[derive(Debug)]
pub(super) struct InUse(Identity);

impl InUse {
    /// Before the connection is opened.
    pub(super) fn new(identity: Identity) -> Self {
        lock().of(identity).connections += 1;
        Self(identity)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut headers = lock();
        headers.of(self.0).connections -= 1;
        headers.let_go(self.0);
    }
}

/// Whether a path can be a ledger's.
///
/// # Errors
/// It is too long: SQLite would say of it only that it cannot be opened.
pub(super) fn check_length(path: &Path) -> Result<(), Failure> {
    let length = path.as_os_str().len();
    if length <= LONGEST {
        return Ok(());
    }
    let reason = format!("its path is too long, {length} bytes; {LONGEST} are possible");
    Err(unusable(path, reason))
}

/// Looks at what is there, and touches nothing. Which ledger, if there is a file.
///
/// # Errors
/// There is something that is not a ledger, or that cannot be used as one.
pub(super) fn look_at(path: &Path) -> Result<Option<Identity>, Failure> {
    let refused = |reason: &str| Err(not_a_ledger(path, reason));
    if path.file_name().is_some_and(|name| name == "state.db") {
        // Two SQLites in one process drop each other's locks, and the gateway opens this one.
        return refused("it is the gateway's own file");
    }
    let about = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        about => about.map_err(|error| Failure::of_system(&error, path))?,
    };
    let kind = about.file_type();
    if !kind.is_file() {
        return refused(match kind {
            kind if kind.is_dir() => "it is a folder",
            kind if kind.is_fifo() => "it is a pipe",
            kind if kind.is_socket() => "it is a socket",
            _ => "it is a device",
        });
    }
    if about.len() == 0 {
        return refused("it is an empty file");
    }
    let (identity, header) =
        read(path, &about).map_err(|error| Failure::of_system(&error, path))?;
    let Some(application) = field(&header, 68) else {
        return refused("it does not begin as one does");
    };
    if application != APPLICATION {
        if !header.starts_with(MAGIC) {
            return refused("it does not begin as one does");
        }
        // What an earlier release did last before it was killed may be in the log alone.
        if application != 0 || !is_in_log(path) {
            return refused("it is another program's");
        }
    }
    let found = field(&header, 60).unwrap_or(0);
    if header.starts_with(MAGIC) && found > KNOWN {
        return Err(Failure::Failed(Error::LedgerNewer { path: shown(path), found, known: KNOWN }));
    }
    if about.nlink() > 1 {
        remove_unfinished(path, Some(identity));
        let names = fs::metadata(path).map_or(1, |about| about.nlink());
        if names > 1 {
            let reason = format!(
                "the file has {names} names (hard links), and each would have a log of its own; \
                 remove the others, or make them symbolic links"
            );
            return Err(unusable(path, reason));
        }
    }
    Ok(Some(identity))
}

/// Closes a descriptor of a file of ours as soon as that drops no lock.
pub(super) fn keep(identity: Identity, file: File) {
    let mut headers = lock();
    headers.of(identity).descriptors.push(file);
    headers.let_go(identity);
}

/// Whether what is at a path can be used as a ledger, or made to be one: what is seen without
/// opening it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let of_system = |error: io::Error| Failure::of_system(&error, path);
    check_length(path)?;
    if look_at(path)?.is_some() {
        check_is_writable(path).map_err(of_system)?;
    }
    // The log and a new file have their names there.
    let folder = folder(path);
    if !fs::metadata(folder).map_err(of_system)?.is_dir() {
        return Err(of_system(io::ErrorKind::NotADirectory.into()));
    }
    check_is_writable(folder).map_err(of_system)
}

/// Whether a file says that it is a ledger, damaged or not.
pub(super) fn is_ledger(path: &Path) -> bool {
    matches!(look_at(path), Ok(Some(_)))
}

fn not_a_ledger(path: &Path, reason: &str) -> Failure {
    Failure::Failed(Error::NotALedger { path: shown(path), reason: reason.into() })
}

fn unusable(path: &Path, reason: String) -> Failure {
    Failure::Failed(Error::LedgerIo { path: shown(path), reason })
}

/// The header of a file, as far as there is one.
fn read(path: &Path, about: &Metadata) -> io::Result<(Identity, Vec<u8>)> {
    let kept = lock().of(identity_of(about)).descriptors.pop();
    let file = match kept {
        Some(file) => file,
        None => File::open(path)?,
    };
    let identity = file.metadata().map(|about| identity_of(&about));
    let mut header = vec![0; LENGTH];
    let mut length = 0;
    let read = loop {
        match file.read_at(&mut header[length..], length as u64) {
            Ok(0) => break Ok(()),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    header.truncate(length);
    let is_ours = field(&header, 68) == Some(APPLICATION);
    let identity = identity.unwrap_or_else(|_| identity_of(about));
    let mut headers = lock();
    headers.of(identity).descriptors.push(file);
    if is_ours {
        headers.let_go(identity);
    }
    drop(headers);
    read.map(|()| (identity, header))
}

/// A number of the header.
fn field(header: &[u8], at: usize) -> Option<i64> {
    let bytes = header.get(at..at + 4)?;
    Some(i64::from(u32::from_be_bytes(bytes.try_into().ok()?)))
}

/// Whether the log beside a file has a first page that says that it is a ledger. A log has no locks
/// that could be dropped.
fn is_in_log(path: &Path) -> bool {
    const HEAD: u64 = 32;
    const FRAME: u64 = 24;
    let Ok(log) = File::open(beside(path, "-wal")) else { return false };
    let mut head = [0; HEAD as usize];
    if log.read_exact_at(&mut head, 0).is_err() {
        return false;
    }
    let Some(page) = field(&head, 8).and_then(|size| u64::try_from(size).ok()) else {
        return false;
    };
    let mut frame = [0; FRAME as usize + LENGTH];
    let mut at = HEAD;
    while log.read_exact_at(&mut frame, at).is_ok() {
        let is_first = field(&frame, 0) == Some(1);
        if is_first && field(&frame[FRAME as usize..], 68) == Some(APPLICATION) {
            return true;
        }
        at += FRAME + page;
    }
    false
}
