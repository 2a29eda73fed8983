//! What kind of file system a file is on.

use std::path::Path;

/// Whether the file system of a folder may be used by more machines than this one: memory that
/// SQLite's write-ahead log shares between processes is then not shared by all of them.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn is_shared(folder: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;

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
    let Ok(folder) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else { return false };
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
    use std::os::unix::ffi::OsStrExt;

    let Ok(folder) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else { return false };
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
