//! Events: their kinds, their owner, and where the queue files them.

use std::fmt::Write;
use std::num::NonZeroU32;

use crate::memory::{NoMemory, Room};

/// The kinds of event that the core itself knows, of those that hermes-agent puts on its completion
/// queue (0.17.0: `tools/process_registry.py`, `tools/async_delegation.py`).
pub mod kind {
    /// A background delegation ended.
    pub const ASYNC_DELEGATION: &str = "async_delegation";
    /// A background process ended; also what an event without a type is.
    pub const COMPLETION: &str = "completion";
}

/// Who asked for a delegation: the full address, fixed at dispatch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The gateway's routing key; empty for the single-session CLI.
    pub session_key: Box<str>,
    /// The TUI tab that asked.
    pub origin_ui_session_id: Box<str>,
    /// The asking agent's durable session id.
    pub parent_session_id: Box<str>,
    /// The owner's epoch when it asked; absent where its age does not matter.
    pub epoch: Option<NonZeroU32>,
}

/// Which owners an operation means. An empty field selects nobody by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Matches [`Owner::session_key`].
    pub session_key: Box<str>,
    /// Matches [`Owner::origin_ui_session_id`].
    pub origin_ui_session_id: Box<str>,
    /// Matches [`Owner::parent_session_id`].
    pub parent_session_id: Box<str>,
}

impl Selector {
    fn pairs<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = (&'a str, &'a str)> {
        [
            (&*self.session_key, &*owner.session_key),
            (&*self.origin_ui_session_id, &*owner.origin_ui_session_id),
            (&*self.parent_session_id, &*owner.parent_session_id),
        ]
        .into_iter()
        .filter(|(wanted, _)| !wanted.is_empty())
    }

    /// Whether every given field is the owner's, and one is given.
    pub fn matches_all(&self, owner: &Owner) -> bool {
        let mut pairs = self.pairs(owner).peekable();
        pairs.peek().is_some() && pairs.all(|(wanted, has)| wanted == has)
    }

    /// Whether any given field is the owner's (0.19.0: `interrupt_for_session`).
    pub fn matches_any(&self, owner: &Owner) -> bool {
        self.pairs(owner).any(|(wanted, has)| wanted == has)
    }
}

/// Where the queue files an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Route<'a> {
    /// The session key; empty for an event that is nobody's, absent for a value that is no event.
    pub session_key: Option<&'a str>,
    /// The kind; absent for a value that is not an event.
    pub kind: Option<&'a str>,
    /// The delegation that the event ends.
    pub delegation_id: Option<&'a str>,
    /// The whole address as one text, for those who own by more than a key; absent where nobody does.
    pub full: Option<&'a str>,
}

/// An owner and a kind as one text, for those who own by more than a key; `None` if it is nobody's.
///
/// # Errors
/// [`NoMemory`].
pub fn full_address(kind: &str, owner: &Owner) -> Result<Option<String>, NoMemory> {
    let Owner { session_key, origin_ui_session_id, parent_session_id, .. } = owner;
    let fields = [session_key, origin_ui_session_id, parent_session_id];
    if fields.iter().all(|field| field.is_empty()) {
        return Ok(None);
    }
    let [session_key, origin_ui_session_id, parent_session_id] = fields;
    measured([kind, session_key, origin_ui_session_id, parent_session_id]).map(Some)
}

/// Texts as one. With their lengths: a text may have any separator in it.
///
/// # Errors
/// [`NoMemory`].
pub(crate) fn measured<const N: usize>(texts: [&str; N]) -> Result<String, NoMemory> {
    // A length has no more digits than that.
    let bytes = texts.iter().fold(0_usize, |sum, text| sum.saturating_add(text.len() + 21));
    let mut joined = String::new();
    joined.room_for(bytes)?;
    for text in texts {
        // Writing to a String cannot fail.
        let _ = write!(joined, "{}:{text}", text.len());
    }
    Ok(joined)
}
