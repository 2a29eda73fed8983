//! Notices on their way to whoever acts on them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Notice;
use crate::wake::Signal;

/// Notices that nobody asked for yet, and who waits for one.
#[derive(Debug, Default)]
pub struct Notices {
    waiting: VecDeque<Notice>,
    reader: Option<Arc<Signal>>,
}

impl Notices {
    /// More than anybody who reads them lets stand.
    const MOST: usize = 1024;

    /// Adds one; what it repeats is not told twice, and of too many the oldest go.
    pub fn push(&mut self, notice: Notice) {
        if self.waiting.back() != Some(&notice) {
            self.waiting.push_back(notice);
        }
        if self.waiting.len() > Self::MOST {
            self.waiting.pop_front();
        }
        if let Some(reader) = self.reader.take() {
            reader.set();
        }
    }

    /// The next one; if there is none, `signal` is set when there is.
    pub fn next(&mut self, signal: &Arc<Signal>) -> Option<Notice> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.reader = Some(signal.clone());
        }
        next
    }

    /// Forgets all, as in a forked child.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
