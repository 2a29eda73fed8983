//! The names of a ledger's file and of what lies beside it.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ledger::Millis;

/// What tells a file from another of the same name.
pub(super) type Identity = (u64, u64);

/// What tells the file at a path from another, without opening it: closing it again would drop the
/// locks that SQLite has on it.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|about| identity_of(&about))
}

/// The same of one that is looked at already.
pub(super) fn identity_of(about: &Metadata) -> Identity {
    (about.dev(), about.ino())
}

/// The ending of a new file that gets its rows from a damaged one.
pub(super) const UNFINISHED: &str = ".salvage";
/// The ending of one that has them all and is about to take the damaged one's place. Every release
/// knows this one.
pub(super) const RECOVERED: &str = ".salvaged";

/// The ending of a new file that is being made; a random number follows.
const NEW: &str = ".new-";
/// The bytes of a path that SQLite can open, with the longest ending that it or we give it.
pub(super) const LONGEST: usize = 512 - "-journal".len() - ".salvage-copy".len();
/// A new file is made in much less time; one that is older was left by a crash.
const MAKING: Duration = Duration::from_secs(60);

/// The one path of a file that may be named in many ways, also before it is there: links are
/// followed, to where the file will be.
pub(super) fn canonical(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let mut absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    // As many as the system follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&absolute) else { break };
        absolute = folder(&absolute).join(target);
    }
    match (absolute.parent().and_then(|folder| folder.canonicalize().ok()), absolute.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => absolute,
    }
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name of a file that goes with this one.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// A name for a new file while it is made.
pub(super) fn new_name(path: &Path) -> PathBuf {
    let number = getrandom::u32().expect("the operating system gives random bits");
    beside(path, &format!("{NEW}{number:08x}"))
}

/// Removes what a crash left of new files that were being made for this one; and, where the file
/// has got that identity already, its other name.
pub(super) fn remove_unfinished(path: &Path, made: Option<Identity>) {
    let (Some(name), Ok(entries)) = (path.file_name(), fs::read_dir(folder(path))) else { return };
    let mut begins = OsString::from(name);
    begins.push(NEW);
    for entry in entries.filter_map(Result::ok) {
        if !entry.file_name().as_bytes().starts_with(begins.as_bytes()) {
            continue;
        }
        let other = entry.path();
        let modified = entry.metadata().and_then(|about| about.modified());
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > MAKING));
        if is_old || made.is_some() && identity(&other) == made {
            let _ = fs::remove_file(other);
        }
    }
}

/// A name that says when, and that nothing has.
pub(super) fn unused_name(path: &Path, now: Millis) -> io::Result<PathBuf> {
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
