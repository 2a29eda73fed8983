//! What kind of file system a file is on, and how it gets its name there.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::failure::Failure;
use super::paths::folder;

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Gives a new file its name, for good if it `syncs`. If something has that name, that stays, and the
/// new one, too.
pub(super) fn put_in_place(new: &Path, path: &Path, syncs: bool) -> io::Result<()> {
    match rename_to_nothing(new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        put => put?,
    }
    if syncs { std::fs::File::open(folder(path))?.sync_all() } else { Ok(()) }
}

/// Renames a file, if nothing has its new name.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<()> {
    let (old, new) = (c_string(from)?, c_string(to)?);
    // SAFETY: both paths end with NUL. By its number, since not every C library has the function.
    let renamed = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            old.as_ptr(),
            libc::AT_FDCWD,
            new.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if renamed == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Not every file system can.
        Some(libc::EINVAL | libc::ENOSYS) => std::fs::hard_link(from, to),
        _ => Err(error),
    }
}

/// Gives a file another name, if nothing has that; its old one goes afterwards.
#[cfg(not(target_os = "linux"))]
fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)
}

/// Says why something at a path cannot be written, if it is so.
#[allow(unsafe_code)]
pub(super) fn check_is_writable(path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: the path ends with NUL.
    let answer =
        unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the file system of a folder may be used by more machines than this one: memory that
/// SQLite's write-ahead log shares between processes is then not shared by all of them.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn is_shared(folder: &Path) -> bool {
    // The magic numbers of statfs(2): NFS, SMB, SMB2, CIFS, NCP, 9p, FUSE (also virtiofs), Ceph,
    // AFS (two), Coda, GFS2, OCFS2, Lustre, BeeGFS, GPFS, VirtualBox and VMware folders.
    const SHARED: [u32; 18] = [
        0x6969,
        0x517B,
        0xFE53_4D42,
        0xFF53_4D42,
        0x564C,
        0x0102_1997,
        0x6573_5546,
        0x00C3_6400,
        0x5346_414F,
        0x6B41_4653,
        0x7375_7245,
        0x0116_1970,
        0x7461_636F,
        0x0BD0_0BD0,
        0x1983_0326,
        0x4750_4653,
        0x786F_4256,
        0xBACB_ACBC,
    ];
    let Ok(folder) = c_string(folder) else { return false };
    let mut about = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with NUL, and the structure is as long as the call expects; all zeros
    // is one of its values.
    let about = unsafe {
        if libc::statfs(folder.as_ptr(), about.as_mut_ptr()) != 0 {
            return false;
        }
        about.assume_init()
    };
    // As wide as the platform has it; the numbers have 32 bits.
    SHARED.contains(&(about.f_type as u32))
}

/// As on Linux.
#[cfg(target_os = "macos")]
#[allow(unsafe_code)]
pub(super) fn is_shared(folder: &Path) -> bool {
    let Ok(folder) = c_string(folder) else { return false };
    let mut about = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: as on Linux.
    let about = unsafe {
        if libc::statfs(folder.as_ptr(), about.as_mut_ptr()) != 0 {
            return false;
        }
        about.assume_init()
    };
    about.f_flags & libc::MNT_LOCAL as u32 == 0
}

/// Not known: taken for one of this machine alone.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(super) fn is_shared(_: &Path) -> bool {
    false
}

/// Keeps other processes from making a file in the same folder, or setting one aside, until it is
/// dropped.
#[allow(unsafe_code)]
pub(super) fn lock_folder(path: &Path) -> Result<File, Failure> {
    use std::os::fd::AsRawFd;

    let folder = File::open(folder(path)).map_err(|error| Failure::of_system(&error, path))?;
    // SAFETY: the descriptor is open.
    let locked = unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    match (locked, io::Error::last_os_error().kind()) {
        (0, _) => Ok(folder),
        (_, io::ErrorKind::WouldBlock) => Err(Failure::Busy),
        // Not every disk can; then the names alone must do.
        _ => Ok(folder),
    }
}
