//! Named steps at which a test has the process killed, or an error returned.
//!
//! Only with the feature `failpoints`: else a step is nothing. The environment variable
//! `HERMES_CORE_FAILPOINT` says at which step what is to happen: `commit=kill`, or
//! `commit@3=error` for its third time alone.

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident $name:literal,)*) => {
        /// A step that may be made to fail.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step {
            $($(#[$doc])* $step,)*
        }

        impl Step {
            /// Every step.
            pub const ALL: &[Self] = &[$(Self::$step,)*];

            /// The name that the environment variable knows it by.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// The file is about to be made.
    Create "create",
    /// The file is about to be opened.
    Open "open",
    /// The schema is about to be brought up to date.
    Migrate "migrate",
    /// The schema is up to date, its transaction not committed yet.
    Migrated "migrated",
    /// A transaction is about to begin.
    Begin "begin",
    /// It has begun.
    Begun "begun",
    /// A lease is about to be renewed.
    Renew "renew",
    /// A dispatch is about to be written.
    Dispatch "dispatch",
    /// That what was queued begins is about to be written.
    BeginRow "begin_row",
    /// A withdrawal is about to be written.
    Withdraw "withdraw",
    /// An end is about to be written.
    Finish "finish",
    /// An end is written, its event is not.
    FinishEvent "finish_event",
    /// A count of attempts is about to be written.
    Attempts "attempts",
    /// A delivery is about to be written.
    Ack "ack",
    /// An event's return is about to be written.
    Reopen "reopen",
    /// A dead letter is about to be written.
    Bury "bury",
    /// A drop is about to be written.
    Drop "drop",
    /// A new epoch is about to be written.
    NewEpoch "new_epoch",
    /// A redelivery that a person asked for is about to be written.
    Redeliver "redeliver",
    /// A drop that a person asked for is about to be written.
    Discard "discard",
    /// A request to stop is about to be written.
    Cancel "cancel",
    /// A row is about to be adopted.
    Adopt "adopt",
    /// Everything claimed is about to be given up.
    Release "release",
    /// Old rows are about to be deleted.
    Retain "retain",
    /// A transaction is about to be committed.
    Commit "commit",
    /// It is committed, nobody knows yet.
    Committed "committed",
    /// Everybody who waited for it has its answer.
    Answered "answered",
    /// Rows are about to be read.
    Read "read",
    /// The write-ahead log is about to be copied into the file.
    Checkpoint "checkpoint",
    /// A damaged file's rows are about to be recovered.
    Quarantine "quarantine",
    /// They are in a new file beside it.
    Recovered "recovered",
    /// The damaged file has its other name; there is none in its place.
    SetAside "set_aside",
    /// The same, and its log has its other name.
    LogSetAside "log_set_aside",
    /// The new file is in its place.
    Replaced "replaced",
}

/// Passes a step.
///
/// # Errors
/// Only with the feature `failpoints`, if the step is to fail.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_: Step) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub use self::armed::pass;

#[cfg(feature = "failpoints")]
mod armed {
    use std::io;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Step;

    struct Failpoint {
        step: String,
        nth: Option<u64>,
        kills: bool,
    }

    static FAILPOINT: LazyLock<Option<Failpoint>> = LazyLock::new(|| {
        let text = std::env::var("HERMES_CORE_FAILPOINT").ok().filter(|text| !text.is_empty())?;
        Some(parse(&text).unwrap_or_else(|| panic!("no such fail point: {text}")))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);

    fn parse(text: &str) -> Option<Failpoint> {
        let (what, action) = text.split_once('=')?;
        let (step, nth) = match what.split_once('@') {
            Some((step, nth)) => (step, Some(nth.parse().ok()?)),
            None => (what, None),
        };
        let is_known = Step::ALL.iter().any(|known| known.name() == step);
        let kills = match action {
            "kill" => true,
            "error" => false,
            _ => return None,
        };
        is_known.then(|| Failpoint { step: step.to_owned(), nth, kills })
    }

    /// Passes a step, if it is not to fail.
    ///
    /// # Errors
    /// If it is.
    pub fn pass(step: Step) -> io::Result<()> {
        let Some(failpoint) = &*FAILPOINT else { return Ok(()) };
        if failpoint.step != step.name() {
            return Ok(());
        }
        let time = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        if failpoint.nth.is_some_and(|nth| nth != time) {
            return Ok(());
        }
        if failpoint.kills {
            kill_this_process();
        }
        Err(io::Error::other(format!("the step {} is to fail", step.name())))
    }

    #[allow(unsafe_code)]
    fn kill_this_process() {
        // SAFETY: it takes no pointers, and the process is this one.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}
