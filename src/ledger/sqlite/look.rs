//! Reads a file that nobody here has open, and changes nothing: not the file, not its log, not the
//! names in its folder. What is wrong with it is said, and left to whoever writes.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::failure::Failure;
use super::file::{check, set_up_sqlite};
use super::header::{self, InUse};
use super::paths::{Identity, RECOVERED, beside};
use super::schema::{KNOWN, migrate, version};

/// How often it is tried to read a file as it is between two writes of others.
const TRIES: usize = 3;

/// Reads what is there; none if there is no file. `checks` looks for damage, as far as that is cheap.
pub(super) fn look<R>(
    path: &Path,
    checks: bool,
    mut read: impl FnMut(&Connection) -> rusqlite::Result<R>,
) -> Result<Option<R>, Failure> {
    let recovered = beside(path, RECOVERED);
    let (path, identity) = match header::look_at(path)? {
        Some(identity) => (path, identity),
        // What a damaged one was recovered into, and whose maker died, has no other name yet.
        None if recovered.exists() => match header::look_at(&recovered)? {
            Some(identity) => (&*recovered, identity),
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    set_up_sqlite();
    let _in_use = InUse::new(identity);
    let mut looked = |db: &Connection| {
        if checks && let Err(damage) = check(db)? {
            return Ok(Err(Failure::Damaged(damage)));
        }
        read(db).map(Ok)
    };
    let failure = |error: rusqlite::Error| Failure::of(&error, path, None);
    for _ in 0..TRIES {
        let before = Stamp::of(path);
        if before.has_more() {
            break;
        }
        // All of it is in the file; so no lock is needed, unless somebody begins to write.
        let found = open(path, "immutable=1").and_then(|db| through(&db, path, &mut looked));
        if Stamp::of(path) == before {
            return found.map_err(failure)?.map(Some);
        }
    }
    // Others have it open, or died with it: its log is read, by their index of it or by one of ours.
    let found = open(path, "readonly_shm=1").and_then(|db| through(&db, path, &mut looked));
    match found {
        Err(error) if needs_writing(&error) => {}
        found => return found.map_err(failure)?.map(Some),
    }
    // What died with it is to be undone or done first: in a copy.
    let copy = Copy::new().map_err(|error| Failure::of_system(&error, path))?;
    copy.files(path, identity).map_err(|error| Failure::of_system(&error, path))?;
    copy.read(&mut looked).map_err(failure)?.map(Some)
}

/// What changes when somebody writes.
#[derive(PartialEq, Eq)]
struct Stamp([Option<About>; 3]);

/// The disk, the number, the bytes and the last change of a file.
type About = (u64, u64, u64, i64, i64);

impl Stamp {
    fn of(path: &Path) -> Self {
        let of = |about: Metadata| {
            (about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec())
        };
        Self(["", "-wal", "-journal"].map(|ending| fs::metadata(beside(path, ending)).ok().map(of)))
    }

    /// Whether there is something that is not in the file.
    fn has_more(&self) -> bool {
        self.0[1..].iter().flatten().any(|about| about.2 > 0)
    }
}

/// Whether a file could not be read without changing something.
fn needs_writing(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}

fn open(path: &Path, how: &str) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri = format!("{uri}?{how}");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    set_up(Connection::open_with_flags(uri, flags)?)
}

fn set_up(db: Connection) -> rusqlite::Result<Connection> {
    db.busy_timeout(Duration::ZERO)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(db)
}

type Looked<'a, R> = &'a mut dyn FnMut(&Connection) -> rusqlite::Result<Result<R, Failure>>;

/// Reads, in a copy of the present schema if the file has an earlier one.
fn through<R>(
    db: &Connection,
    path: &Path,
    looked: Looked<'_, R>,
) -> rusqlite::Result<Result<R, Failure>> {
    if version(db)?.schema >= KNOWN {
        return looked(db);
    }
    let copy = match Copy::new() {
        Ok(copy) => copy,
        Err(error) => return Ok(Err(Failure::of_system(&error, path))),
    };
    db.execute("VACUUM INTO ?1", [copy.file().to_string_lossy()])?;
    copy.read(looked)
}

/// A copy in a folder of its own, for its user alone; it goes when it was read.
struct Copy(PathBuf);

impl Copy {
    fn new() -> io::Result<Self> {
        let number = getrandom::u64().expect("the operating system gives random bits");
        let folder = std::env::temp_dir().join(format!("hermes-core-{number:016x}"));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    fn file(&self) -> PathBuf {
        self.0.join("copy.db")
    }

    fn files(&self, path: &Path, identity: Identity) -> io::Result<()> {
        let mut file = fs::File::open(path)?;
        let copied =
            fs::File::create_new(self.file()).and_then(|mut to| io::copy(&mut file, &mut to));
        header::keep(identity, file);
        copied?;
        for ending in ["-wal", "-journal"] {
            match fs::copy(beside(path, ending), beside(&self.file(), ending)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn read<R>(&self, looked: Looked<'_, R>) -> rusqlite::Result<Result<R, Failure>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = set_up(Connection::open_with_flags(self.file(), flags)?)?;
        if version(&db)?.schema < KNOWN {
            migrate(&mut db)?;
        }
        looked(&db)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
