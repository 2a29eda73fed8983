//! A subscriber may use the core: nothing is logged under a lock.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use hermes_core::delegation::{DelegationRegistry, End, Request};
use hermes_core::queue::{CompletionQueue, Wanted};
use hermes_core::state::State;
use hermes_core::sync::wait::Blocking;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Calls back into the very parts that log.
struct CallsBack {
    queue: Arc<CompletionQueue<u32>>,
    registry: Arc<DelegationRegistry<u32, u32>>,
    heard: mpsc::Sender<()>,
}

impl Subscriber for CallsBack {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, _: &Event<'_>) {
        self.queue.len();
        self.registry.stats();
        let _ = self.heard.send(());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Every call that logs, with a subscriber that needs every lock.
#[test]
fn no_lock_is_held_while_logging() {
    let (heard, lines) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let queue = Arc::new(CompletionQueue::new(0));
        let registry = DelegationRegistry::new(queue.clone(), 2);
        let subscriber = CallsBack { queue: queue.clone(), registry: registry.clone(), heard };
        tracing::subscriber::with_default(subscriber, || {
            let dispatch = |id| {
                let request = Request { id: Some(id), limit: 2, ..Request::default() };
                registry.dispatch(&Blocking, request, u32::from(id == "b"))
            };
            let end = || {
                let (state, text) = (State::Completed, "".into());
                End { id: "a", state, event: 7, text, completed_at: 0 }
            };
            dispatch("a").unwrap();
            dispatch("b").unwrap();
            dispatch("c").unwrap_err();
            registry.withdraw(|&payload| payload == 1).unwrap();
            assert!(registry.finish(&Blocking, end(), |_| true, |_| ()).is_some());
            assert!(registry.finish(&Blocking, end(), |_| true, |_| ()).is_none());
            assert_eq!(queue.try_take(&Blocking, Wanted::default()).unwrap(), 7);
            queue.shutdown(true);
        });
    });
    // Two dispatched, one refused, one withdrawn, one ended, one ended late, the queue shut down.
    for _ in 0..7 {
        lines.recv_timeout(Duration::from_secs(60)).expect("a lock is held while logging");
    }
    thread.join().unwrap();
}
