//! A damaged file is set aside, and every row that can be read is carried over into a new one.
//!
//! The new file is made beside the damaged one, and gets its name last. Whoever dies on the way
//! leaves the damaged file where it was, or a new one that is whole: the next to open it goes on.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::carry::carry_over;
use super::file::{Identity, Place, identity};
use super::trouble::{Trouble, shown};
use crate::failpoint::{self, Step};
use crate::ledger::{Durability, Millis};

/// Sets the damaged file aside. What its user should know; nothing if another process did it.
pub(super) fn set_aside(
    place: &Place,
    damaged: Identity,
    reason: &str,
    now: Millis,
) -> Result<Option<String>, Trouble> {
    let path = &place.path;
    let of_system = |error: io::Error| Trouble::of_system(&error, path);
    let _alone = lock_folder(path)?;
    if identity(path) != Some(damaged) {
        return Ok(None);
    }
    failpoint::pass(Step::Salvage).map_err(of_system)?;
    let unfinished = beside(path, ".salvage");
    remove(&unfinished).map_err(of_system)?;
    let new = Place {
        path: unfinished.clone(),
        durability: Durability::Full,
        // So that it is one file.
        shared_disk: Some(true),
    };
    let (file, _) = new.open(false)?;
    let carried = carry_over(path, &file.db)?;
    let closed = file.db.close();
    closed.map_err(|(_, error)| Trouble::of(&error, path, None))?;
    let swap = || {
        fs::rename(&unfinished, beside(path, ".salvaged"))?;
        failpoint::pass(Step::Salvaged)?;
        let aside = unused_name(path, now)?;
        fs::rename(path, &aside)?;
        failpoint::pass(Step::SetAside)?;
        put_in_place(path, &aside)?;
        Ok(aside)
    };
    // Until here nobody else could write to the damaged file, if it still can be locked.
    let aside = swap().map_err(of_system)?;
    drop(carried.lock);
    Ok(Some(format!(
        "the ledger {} was damaged ({reason}); it is kept as {}, and {} of its delegations were \
         carried over",
        shown(path),
        shown(&aside),
        carried.rows
    )))
}

/// Ends what another process began: gives the new file its name, or takes away what is left of one.
pub(super) fn finish(path: &Path, now: Millis) -> Result<(), Trouble> {
    let salvaged = beside(path, ".salvaged");
    if !salvaged.exists() {
        return Ok(());
    }
    let _alone = lock_folder(path)?;
    let finish = || match (salvaged.exists(), path.exists()) {
        (true, true) => fs::remove_file(&salvaged),
        (true, false) => put_in_place(path, &unused_name(path, now)?),
        (false, _) => Ok(()),
    };
    finish().map_err(|error| Trouble::of_system(&error, path))
}

/// Sets aside what belongs to the damaged file, and gives the new one its name.
fn put_in_place(path: &Path, aside: &Path) -> io::Result<()> {
    for ending in ["-wal", "-shm", "-journal"] {
        match fs::rename(beside(path, ending), beside(aside, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    failpoint::pass(Step::LogSetAside)?;
    fs::rename(beside(path, ".salvaged"), path)?;
    failpoint::pass(Step::Replaced)?;
    File::open(folder(path))?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    for ending in ["", "-journal"] {
        match fs::remove_file(beside(path, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name of a file that goes with this one.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// A name that says when, and that nothing has.
fn unused_name(path: &Path, now: Millis) -> io::Result<PathBuf> {
    let first = beside(path, &format!(".damaged-{}", utc(now)));
    for number in 2.. {
        let name = if number == 2 { first.clone() } else { beside(&first, &format!("-{number}")) };
        if !name.try_exists()? && !beside(&name, "-wal").try_exists()? {
            return Ok(name);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A moment as `20261126T031500Z`.
fn utc(at: Millis) -> String {
    let seconds = at.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years from March on, so that the leap day is the last of its year; 400 of them repeat.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, january) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + january;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Keeps other processes from setting a file of the same folder aside, until it is dropped.
#[allow(unsafe_code)]
fn lock_folder(path: &Path) -> Result<File, Trouble> {
    use std::os::fd::AsRawFd;

    let folder = File::open(folder(path)).map_err(|error| Trouble::of_system(&error, path))?;
    // SAFETY: the descriptor is open.
    let locked = unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    match (locked, io::Error::last_os_error().kind()) {
        (0, _) => Ok(folder),
        (_, io::ErrorKind::WouldBlock) => Err(Trouble::Busy),
        // Not every disk can; then the names alone must do.
        _ => Ok(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn a_moment_is_named_as_a_calendar_does() {
        assert_eq!(utc(0), "19700101T000000Z");
        assert_eq!(utc(951_782_399_999), "20000228T235959Z");
        assert_eq!(utc(951_782_400_000), "20000229T000000Z");
        assert_eq!(utc(1_795_662_900_000), "20261126T031500Z");
        assert_eq!(utc(4_107_542_400_000), "21000301T000000Z");
    }
}
