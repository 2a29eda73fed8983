//! Notices on their way to whoever acts on them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::Notice;
use crate::sync::signal::Signal;

/// Notices that nobody asked for yet, and who waits for one.
#[derive(Debug, Default)]
pub struct Notices {
    /// What is asked of a holder: each once, and never lost. There are no more than it holds.
    asked: VecDeque<Notice>,
    known: HashSet<Notice>,
    waiting: VecDeque<Notice>,
    waiter: Option<Arc<Signal>>,
}

impl Notices {
    /// More than anybody who reads them lets stand.
    const MOST: usize = 1024;

    /// Adds one; what it repeats is not said twice, and of too many that ask for nothing the oldest
    /// go.
    pub fn push(&mut self, notice: Notice) {
        if notice.is_request() {
            if self.known.insert(notice.clone()) {
                self.asked.push_back(notice);
            }
        } else if self.waiting.back() != Some(&notice) {
            self.waiting.push_back(notice);
        }
        if self.waiting.len() > Self::MOST {
            self.waiting.pop_front();
        }
        if let Some(waiter) = self.waiter.take() {
            waiter.set();
        }
    }

    /// The next one, requests first; if there is none, `signal` is set when there is.
    pub fn next(&mut self, signal: &Arc<Signal>) -> Option<Notice> {
        if let Some(request) = self.asked.pop_front() {
            self.known.remove(&request);
            return Some(request);
        }
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.waiter = Some(signal.clone());
        }
        next
    }

    /// Forgets all, as in a forked child.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn all(notices: &mut Notices) -> Vec<Notice> {
        let signal = Arc::new(Signal::for_this_thread());
        std::iter::from_fn(|| notices.next(&signal)).collect()
    }

    /// F40: as many as there are, however many other notices come meanwhile.
    #[test]
    fn no_request_is_lost() {
        let mut notices = Notices::default();
        let requests: Vec<_> =
            (0..5_000).map(|number: u32| Notice::Cancel(number.to_string().into())).collect();
        for request in &requests {
            notices.push(request.clone());
            notices.push(Notice::Look);
            notices.push(Notice::Recovered);
            notices.push(request.clone());
        }
        let heard = all(&mut notices);
        assert_eq!(heard[..5_000], requests);
        assert!(heard.len() <= 5_000 + Notices::MOST);
        // It may be asked for again.
        notices.push(requests[7].clone());
        assert_eq!(all(&mut notices), [requests[7].clone()]);
    }
}
