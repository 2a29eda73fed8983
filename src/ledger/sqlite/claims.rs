//! The rows that an instance has claimed, and what is known of them should the file lose them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::writes::Memory;
use crate::ledger::NewDelegation;

#[derive(Debug)]
struct Known {
    /// Which of the files that were opened it was last written to.
    file: u64,
    /// What it was dispatched as, while it runs.
    task: Option<NewDelegation>,
}

/// The rows that this instance has claimed. A tree: it grows in small pieces, which the reserve has,
/// and what is written is noted however little memory there is.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<Arc<str>, Known>);

impl Claims {
    /// A row is ours, and in this file.
    pub(super) fn keep(&mut self, id: Arc<str>, file: u64, task: Option<NewDelegation>) {
        self.0.insert(id, Known { file, task });
    }

    /// What waited for capacity begins.
    pub(super) fn begin(&mut self, id: &str) {
        if let Some(task) = self.0.get_mut(id).and_then(|known| known.task.as_mut()) {
            task.is_queued = false;
        }
    }

    /// A row is not ours any more.
    pub(super) fn let_go(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// No row is ours any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of a claimed row that the open file may have lost: it has all that was in the
    /// files since that one.
    pub(super) fn memory(&self, id: &str, carried_since: u64) -> Memory<'_> {
        match self.0.get(id) {
            Some(known) if known.file < carried_since => Memory::OtherFile(known.task.as_ref()),
            _ => Memory::SameFile,
        }
    }
}
