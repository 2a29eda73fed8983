//! Jobs that nobody comes for.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::tell_apart;

/// Jobs that wait, workers on their way, and jobs that a worker has come for. No job ever ends.
#[derive(Default)]
struct Pool {
    jobs: Mutex<(usize, usize)>,
    begun: AtomicUsize,
}

impl Pool {
    /// Whether a worker must be started for the new job.
    fn submit(&self) -> bool {
        let mut jobs = self.jobs.lock().unwrap();
        jobs.0 += 1;
        let needs_worker = jobs.1 == 0;
        jobs.1 += usize::from(needs_worker);
        needs_worker
    }

    /// A worker comes for a job; whether another must be started for those behind it.
    fn take(&self) -> bool {
        let mut jobs = self.jobs.lock().unwrap();
        jobs.1 -= 1;
        if jobs.0 == 0 {
            return false;
        }
        jobs.0 -= 1;
        self.begun.fetch_add(1, Ordering::SeqCst);
        let needs_worker = jobs.0 > 0 && jobs.1 == 0;
        jobs.1 += usize::from(needs_worker);
        needs_worker
    }
}

fn start(pool: &Arc<Pool>, calls_the_next: bool) {
    let pool = pool.clone();
    thread::spawn(move || while pool.take() && calls_the_next {}).join().unwrap();
}

#[test]
fn f33_a_worker_that_does_not_call_the_next_leaves_a_job_behind_its_own() {
    tell_apart(|is_right| {
        let pool = Arc::new(Pool::default());
        let submitters = [(); 2].map(|()| {
            let pool = pool.clone();
            thread::spawn(move || {
                if pool.submit() {
                    start(&pool, is_right);
                }
            })
        });
        for submitter in submitters {
            submitter.join().unwrap();
        }
        assert_eq!(pool.begun.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn f33_a_worker_counted_on_after_it_has_looked_is_not_coming() {
    tell_apart(|is_right| {
        // One worker, on its way out: it has found no job, and says so.
        let shared = Arc::new((Mutex::new((0, true)), AtomicUsize::new(0)));
        let worker = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (jobs, begun) = &*shared;
                let mut state = jobs.lock().unwrap();
                if state.0 > 0 {
                    begun.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if !is_right {
                    // A job may come between the look and the leave.
                    drop(state);
                    state = jobs.lock().unwrap();
                }
                state.1 = false;
            })
        };
        let (jobs, begun) = &*shared;
        let must_start = {
            let mut state = jobs.lock().unwrap();
            state.0 += 1;
            !state.1
        };
        if must_start {
            begun.fetch_add(1, Ordering::SeqCst);
        }
        worker.join().unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    });
}
