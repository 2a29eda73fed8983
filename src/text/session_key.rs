//! Where an event belongs: the parts of a session key, and what makes two notices the same.

use crate::text::fields::Key;

/// The parts of a session key, `agent:main:{platform}:{chat_type}:{chat_id}[:{extra}…]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionKey<'a> {
    /// The messaging platform, such as `telegram`.
    pub platform: &'a [u8],
    /// The kind of chat: `dm`, `group`, `channel`, `thread`.
    pub chat_type: &'a [u8],
    /// The chat on the platform.
    pub chat_id: &'a [u8],
    /// The thread in the chat; only for chat types where the sixth part means a thread. Elsewhere
    /// it may be a user's id, and replying to that would go astray.
    pub thread_id: Option<&'a [u8]>,
}

/// Splits a session key as the gateway's `_parse_session_key` (`gateway/run.py`) does; `None` for a
/// key of another form.
///
/// Takes bytes, so that a key with lone surrogates (as WTF-8) splits like any other.
#[must_use]
pub fn parse_session_key(key: &[u8]) -> Option<SessionKey<'_>> {
    let mut parts = key.split(|&byte| byte == b':');
    if parts.next()? != b"agent" || parts.next()? != b"main" {
        return None;
    }
    let platform = parts.next()?;
    let chat_type = parts.next()?;
    let chat_id = parts.next()?;
    let has_thread = chat_type == b"dm" || chat_type == b"thread";
    let thread_id = parts.next().filter(|_| has_thread);
    Some(SessionKey { platform, chat_type, chat_id, thread_id })
}

/// What stands in a deduplication key for a field that the event lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The empty text.
    Empty,
    /// The number 0.
    Zero,
    /// The kind `completion`, which an event without a type has.
    Completion,
}

const SESSION: (Key, Absent) = (Key::SessionId, Absent::Empty);
const TYPE: (Key, Absent) = (Key::Type, Absent::Completion);
const COMMAND: (Key, Absent) = (Key::Command, Absent::Empty);
const SUPPRESSED: (Key, Absent) = (Key::Suppressed, Absent::Zero);

/// The fields whose values, in this order, identify a notice of kind `kind`: two events with equal
/// values are the same notice. As the TUI gateway's `_notification_event_dedup_key`.
///
/// A completion is announced once per process; a process may match patterns many times, so there
/// the content counts too; a delegation has no process, so its own id counts.
#[must_use]
pub fn identity(kind: &str) -> &'static [(Key, Absent)] {
    const MATCH: [(Key, Absent); 7] = [
        SESSION,
        TYPE,
        COMMAND,
        (Key::Pattern, Absent::Empty),
        (Key::Output, Absent::Empty),
        SUPPRESSED,
        (Key::MessageId, Absent::Empty),
    ];
    const STATE: [(Key, Absent); 5] =
        [SESSION, TYPE, COMMAND, (Key::Message, Absent::Empty), SUPPRESSED];
    const DELEGATION: [(Key, Absent); 2] = [(Key::DelegationId, Absent::Empty), TYPE];
    const PROCESS: [(Key, Absent); 2] = [SESSION, TYPE];
    match kind {
        "watch_match" => &MATCH,
        "watch_disabled" => &STATE,
        "async_delegation" => &DELEGATION,
        _ if kind.starts_with("watch_overflow_") => &STATE,
        _ => &PROCESS,
    }
}
