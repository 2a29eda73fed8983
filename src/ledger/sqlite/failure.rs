//! What SQLite and the system say, in the words of the core.

use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use crate::error::Error;
use crate::failpoint::{self, Step};
use crate::memory::NoMemory;

/// Why a step did not succeed, and so what is to be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Somebody else has the lock: wait a little, try again.
    Busy,
    /// The path names another file by now, or none: open that.
    Moved,
    /// The file is damaged: set it aside.
    Damaged(String),
    /// The caller is to know; keep the connection.
    Refused(Error),
    /// The caller is to know; open the file anew at the next use.
    Failed(Error),
}

impl Failure {
    /// What an error of SQLite means for the ledger in this file.
    pub(super) fn of(
        error: &rusqlite::Error,
        path: &Path,
        connection: Option<&Connection>,
    ) -> Self {
        let Some(failure) = error.sqlite_error() else {
            // A value is of a type that it was not written with.
            return Self::Damaged(error.to_string());
        };
        let (path, reason) = (shown(path), reason(error));
        let errno = connection.map_or(0, system_errno);
        match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::FileLockingProtocolFailed => Self::Busy,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged(reason),
            ErrorCode::OutOfMemory => Self::Refused(Error::NoMemory),
            ErrorCode::DiskFull => Self::Refused(Error::LedgerFull { path, reason }),
            ErrorCode::SystemIoFailure
                if matches!(errno, libc::ENOSPC | libc::EFBIG | libc::EDQUOT) =>
            {
                let reason = io::Error::from_raw_os_error(errno).to_string();
                Self::Failed(Error::LedgerFull { path, reason })
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
                Self::Failed(Error::LedgerReadOnly { path, reason })
            }
            ErrorCode::CannotOpen if matches!(errno, libc::EACCES | libc::EROFS | libc::EPERM) => {
                let reason = io::Error::from_raw_os_error(errno).to_string();
                Self::Failed(Error::LedgerReadOnly { path, reason })
            }
            _ => Self::Failed(Error::LedgerIo { path, reason }),
        }
    }

    /// What a caller is told who does not wait or try again.
    pub(super) fn into_error(self, path: &Path) -> Error {
        let path = shown(path);
        match self {
            Self::Busy => Error::LedgerBusy { path },
            Self::Refused(error) | Self::Failed(error) => error,
            Self::Damaged(reason) => Error::LedgerDamaged { path, reason },
            Self::Moved => Error::LedgerIo { path, reason: "it was replaced meanwhile".into() },
        }
    }

    /// What an error of the system means for the ledger in this file.
    pub(super) fn of_system(error: &io::Error, path: &Path) -> Self {
        let (path, reason) = (shown(path), error.to_string());
        Self::Failed(match error.raw_os_error() {
            Some(libc::EACCES | libc::EROFS | libc::EPERM) => {
                Error::LedgerReadOnly { path, reason }
            }
            Some(libc::ENOSPC | libc::EFBIG | libc::EDQUOT) => Error::LedgerFull { path, reason },
            _ => Error::LedgerIo { path, reason },
        })
    }
}

/// Whether an error is one of this write alone: another write may well succeed.
pub(super) fn is_its_own(error: &rusqlite::Error) -> bool {
    match error.sqlite_error() {
        Some(failure) => matches!(
            failure.code,
            ErrorCode::TooBig
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::ParameterOutOfRange
        ),
        None => false,
    }
}

/// An error for which there is no better word.
pub(super) fn io_error(path: &Path, reason: String) -> Error {
    Error::LedgerIo { path: shown(path), reason }
}

/// A path as it is shown.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// That there is no memory for what SQLite gives, as SQLite says it.
pub(super) fn no_memory(_: NoMemory) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_NOMEM), None)
}

/// Passes a step that a test may make fail, as SQLite fails.
pub(super) fn pass(step: Step) -> rusqlite::Result<()> {
    failpoint::pass(step).map_err(|error| {
        let failure = ffi::Error::new(ffi::SQLITE_IOERR);
        rusqlite::Error::SqliteFailure(failure, Some(error.to_string()))
    })
}

fn reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(reason)) => reason.clone(),
        rusqlite::Error::SqliteFailure(failure, None) => failure.to_string(),
        _ => error.to_string(),
    }
}

/// The system's last error on a connection; 0 if there was none.
#[allow(unsafe_code)]
fn system_errno(connection: &Connection) -> i32 {
    // SAFETY: the handle is the open connection's, and is not kept.
    unsafe { ffi::sqlite3_system_errno(connection.handle()) }
}
