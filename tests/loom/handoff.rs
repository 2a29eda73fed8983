//! A job that is handed off to a worker.

use std::sync::Arc;

use hermes_core::handoff::Handoff;
use loom::thread;

use super::model;

#[test]
fn a_job_always_finds_a_worker() {
    model(|| {
        let handoff = Arc::new(Handoff::default());
        let now = std::time::Instant::now();
        let worker = {
            let handoff = handoff.clone();
            // One idle worker, which may be on its way out when the job comes.
            thread::spawn(move || handoff.take(now))
        };
        let taken = match handoff.submit(7, 0) {
            true => {
                handoff.started(0);
                handoff.take(now)
            }
            false => None,
        };
        assert_eq!(worker.join().unwrap().or(taken), Some(7));
    });
}
