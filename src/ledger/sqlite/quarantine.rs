//! A damaged file is set aside, and every row that can be read goes into a new one. That it is
//! damaged, `failure.rs` says.
//!
//! The new file is made beside the damaged one, and gets its name last. Whoever dies on the way
//! leaves the damaged file where it was, or a new one that is whole: the next to open it goes on.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::disk::lock_folder;
use super::failure::{Failure, shown};
use super::file::Place;
use super::header::is_ledger;
use super::paths::{Identity, RECOVERED, UNFINISHED, beside, folder, identity, unused_name};
use super::recover::recover_rows;
use crate::failpoint::{self, Step};
use crate::ledger::{Durability, Millis};

/// Sets the damaged file aside. What its user should know; nothing if another process did it.
pub(super) fn set_aside(
    place: &Place,
    damaged: Identity,
    reason: &str,
    now: Millis,
) -> Result<Option<String>, Failure> {
    let path = &place.path;
    let of_system = |error: io::Error| Failure::of_system(&error, path);
    let _alone = lock_folder(path)?;
    if identity(path) != Some(damaged) {
        return Ok(None);
    }
    failpoint::pass(Step::Quarantine).map_err(of_system)?;
    let unfinished = beside(path, UNFINISHED);
    remove(&unfinished).map_err(of_system)?;
    let new = Place {
        path: unfinished.clone(),
        durability: Durability::Full,
        // So that it is one file.
        shared_disk: Some(true),
    };
    new.make_alone()?;
    let (file, _) = new.open(false)?;
    let recovered = recover_rows(path, &file.db)?;
    let closed = file.db.close();
    closed.map_err(|(_, error)| Failure::of(&error, path, None))?;
    let swap = || {
        fs::rename(&unfinished, beside(path, RECOVERED))?;
        failpoint::pass(Step::Recovered)?;
        let aside = unused_name(path, now)?;
        fs::rename(path, &aside)?;
        failpoint::pass(Step::SetAside)?;
        put_in_place(path, &aside)?;
        Ok(aside)
    };
    // Until here nobody else could write to the damaged file, if it still can be locked.
    let aside = swap().map_err(of_system)?;
    drop(recovered.lock);
    Ok(Some(format!(
        "the ledger {} was damaged ({reason}); it is kept as {}, and {} of its delegations were \
         recovered",
        shown(path),
        shown(&aside),
        recovered.rows
    )))
}

/// Ends what another process began: gives the new file its name, or takes away what is left of one.
pub(super) fn finish(path: &Path, now: Millis) -> Result<(), Failure> {
    let salvaged = beside(path, RECOVERED);
    if !is_ledger(&salvaged) {
        return Ok(());
    }
    let _alone = lock_folder(path)?;
    let finish = || match (salvaged.exists(), path.exists()) {
        (true, true) => fs::remove_file(&salvaged),
        (true, false) => put_in_place(path, &unused_name(path, now)?),
        (false, _) => Ok(()),
    };
    finish().map_err(|error| Failure::of_system(&error, path))
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
    fs::rename(beside(path, RECOVERED), path)?;
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
