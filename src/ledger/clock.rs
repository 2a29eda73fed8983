//! What time it is: by the wall clock, which may be set, and by the steady one of the machine, which
//! leases are counted on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Millis;

/// One moment, on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the Unix epoch. It may jump: it is shown, and decides nothing.
    pub wall: Millis,
    /// Since some start that all processes under one [`ClockId`] share. It never steps, and stands
    /// still only while the whole machine does.
    pub steady: Millis,
}

/// Which steady clock it is: two processes with the same one read the same moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockId {
    /// A start of a kernel.
    pub boot: u32,
    /// The time namespace within it.
    pub namespace: u32,
}

impl ClockId {
    /// As one number, as a ledger's file keeps it.
    pub fn number(self) -> i64 {
        i64::from_ne_bytes(((u64::from(self.boot) << 32) | u64::from(self.namespace)).to_ne_bytes())
    }

    /// The one with that number.
    pub fn of(number: i64) -> Self {
        let bits = u64::from_ne_bytes(number.to_ne_bytes());
        Self { boot: (bits >> 32) as u32, namespace: bits as u32 }
    }
}

/// Says what time it is.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Moment;

    /// Which steady clock it is, if that can be told.
    fn id(&self) -> Option<ClockId>;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { wall: millis(wall), steady: steady() }
    }

    fn id(&self) -> Option<ClockId> {
        Some(ClockId { boot: hash(&boot()?), namespace: hash(&namespace()) })
    }
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// The clock that stands still only while the machine sleeps.
#[cfg(target_os = "macos")]
const STEADY: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
#[cfg(not(target_os = "macos"))]
const STEADY: libc::clockid_t = libc::CLOCK_MONOTONIC;

// Not `Instant`: that keeps to itself where it began.
#[allow(unsafe_code)]
fn steady() -> Millis {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is as the call expects it; the clock is one that every system has.
    unsafe { libc::clock_gettime(STEADY, &mut now) };
    Millis::from(now.tv_sec) * 1_000 + Millis::from(now.tv_nsec) / 1_000_000
}

/// What tells this start of the kernel from every other.
#[cfg(not(target_os = "macos"))]
fn boot() -> Option<Vec<u8>> {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    (!id.is_empty()).then_some(id)
}

/// As above.
#[cfg(target_os = "macos")]
#[allow(unsafe_code)]
fn boot() -> Option<Vec<u8>> {
    let mut id = [0u8; 64];
    let mut length = id.len();
    // SAFETY: the name ends with NUL, and no more is written than the length says.
    let failed = unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            id.as_mut_ptr().cast(),
            &mut length,
            std::ptr::null_mut(),
            0,
        )
    };
    (failed == 0 && length > 0).then(|| id[..length].to_vec())
}

/// What tells the time namespace from another of the same kernel; where there are none, all are one.
fn namespace() -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;

    let link = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    link.into_os_string().into_vec()
}

/// A hash that is the same in every release (FNV-1a), and never 0.
fn hash(bytes: &[u8]) -> u32 {
    let hash = bytes
        .iter()
        .fold(0x811C_9DC5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_known_by_its_number() {
        let id = ClockId { boot: u32::MAX, namespace: 7 };
        assert_eq!(ClockId::of(id.number()), id);
        assert_eq!(SystemClock.id(), SystemClock.id());
    }

    #[test]
    fn the_steady_clock_goes_on() {
        let before = SystemClock.now().steady;
        assert!(before > 0 && SystemClock.now().steady >= before);
    }
}
