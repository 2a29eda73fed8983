//! Jobs and their workers: no job lost, no worker too many.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hermes_core::handoff::{Handoff, NotStarted};
use hermes_core::sync::HeldLock;

fn long() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn now() -> Instant {
    Instant::now()
}

/// What a test names the workers it asks for, where it need not tell them apart.
const START: u64 = 0;

fn submit(handoff: &Handoff<u32>, jobs: &[u32]) {
    for &job in jobs {
        handoff.submit(job, START);
    }
}

/// Workers that can be told one by one when to take, each from its own thread.
struct Worker {
    orders: mpsc::Sender<()>,
    jobs: mpsc::Receiver<Option<u32>>,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    fn new(handoff: &Arc<Handoff<u32>>) -> Self {
        let (orders, ordered) = mpsc::channel::<()>();
        let (done, jobs) = mpsc::channel();
        let handoff = handoff.clone();
        let thread = thread::spawn(move || {
            while ordered.recv().is_ok() {
                done.send(handoff.take(long())).unwrap();
            }
        });
        Self { orders, jobs, thread }
    }

    /// Has it wait for a job, and returns once it does.
    fn wait(&self, handoff: &Arc<Handoff<u32>>) {
        let idle = idle(handoff);
        self.orders.send(()).unwrap();
        while self::idle(handoff) == idle {
            thread::yield_now();
        }
    }

    fn job(&self) -> Option<u32> {
        self.jobs.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    fn end(self) {
        drop(self.orders);
        self.thread.join().unwrap();
    }
}

/// How many workers are idle or on their way, by what `reserve` would ask for.
fn idle(handoff: &Arc<Handoff<u32>>) -> usize {
    // Each unneeded reservation is given back at once.
    (0..)
        .find(|&wanted| {
            let needs_worker = handoff.reserve(wanted + 1, START);
            if needs_worker {
                handoff.started(START);
            }
            needs_worker
        })
        .unwrap()
}

#[test]
fn each_job_without_an_idle_worker_asks_for_one() {
    let handoff = Handoff::default();
    let submitted = [10, 11, 12].map(|job| handoff.submit(job, START));
    assert_eq!(submitted, [true; 3]);
    for job in [10, 11, 12] {
        handoff.started(START);
        assert_eq!(handoff.take(now()), Some(job), "first in, first out");
    }
    assert_eq!(handoff.take(now()), None);
}

#[test]
fn a_worker_asked_for_serves_whichever_job_is_first() {
    let handoff = Handoff::default();
    assert!(handoff.submit(1, START));
    assert_eq!(handoff.take(now()), Some(1), "a worker that was busy is free again");
    assert!(!handoff.submit(2, START), "the one asked for has no other job");
    assert!(handoff.submit(3, START));
}

#[test]
fn an_idle_worker_takes_the_job_and_none_is_started() {
    let handoff = Arc::new(Handoff::default());
    let worker = Worker::new(&handoff);
    for job in 0..100 {
        worker.wait(&handoff);
        assert!(!handoff.submit(job, START));
        assert_eq!(worker.job(), Some(job));
    }
    worker.end();
}

#[test]
fn two_jobs_and_one_idle_worker_ask_for_one_more() {
    let handoff = Arc::new(Handoff::default());
    let worker = Worker::new(&handoff);
    worker.wait(&handoff);
    let needs = [1, 2].map(|job| handoff.submit(job, START));
    assert_eq!(needs, [false, true]);
    let first = worker.job().unwrap();
    handoff.started(START);
    let second = handoff.take(now()).unwrap();
    assert_eq!(BTreeSet::from([first, second]), BTreeSet::from([1, 2]));
    worker.end();
}

#[test]
fn the_worker_that_worked_last_works_next() {
    let handoff = Arc::new(Handoff::default());
    let workers = [(); 3].map(|()| Worker::new(&handoff));
    workers.iter().for_each(|worker| worker.wait(&handoff));
    for job in 0..20 {
        handoff.submit(job, START);
        assert_eq!(workers[2].job(), Some(job));
        workers[2].wait(&handoff);
    }
    for worker in workers.iter().rev() {
        handoff.submit(7, START);
        assert_eq!(worker.job(), Some(7));
    }
    workers.into_iter().for_each(Worker::end);
}

#[test]
fn reserve_asks_until_enough_are_ready_and_counts_waiting_jobs() {
    let handoff = Handoff::default();
    assert!(!handoff.reserve(0, START));
    assert!(handoff.reserve(2, START) && handoff.reserve(2, START) && !handoff.reserve(2, START));
    assert!(!handoff.submit(1, START), "one of the reserved takes it");
    assert!(handoff.reserve(2, START), "which leaves one, and two are wanted");
    for _ in 0..5 {
        handoff.started(START);
    }
    assert!(handoff.submit(2, START), "more starts than reservations do not underflow");
}

#[test]
fn f33_a_job_whose_worker_cannot_start_comes_back() {
    let handoff = Handoff::default();
    assert!(handoff.submit("job", START));
    let back = handoff.not_started(START, |&job| job == "job");
    assert_eq!(back, NotStarted { own: Some("job"), orphans: vec![] });
    assert_eq!(handoff.take(now()), None);
    assert!(handoff.submit("next", START), "the failed start is not counted on");
}

#[test]
fn f33_a_job_that_another_worker_took_does_not_come_back() {
    let handoff = Handoff::default();
    assert!(handoff.submit("job", START));
    assert_eq!(handoff.take(now()), Some("job"), "a worker that was busy is free again");
    let back = handoff.not_started(START, |&job| job == "job");
    assert_eq!(back, NotStarted { own: None, orphans: vec![] });
    assert!(handoff.submit("next", START));
}

#[test]
fn f33_a_job_that_counted_on_anothers_worker_comes_back_with_it() {
    let handoff = Handoff::default();
    assert!(handoff.submit("a", START));
    assert_eq!(handoff.take(now()), Some("a"), "a worker that was busy is free again");
    assert!(!handoff.submit("b", START), "the worker on its way is for it");
    let back = handoff.not_started(START, |&job| job == "a");
    assert_eq!(back, NotStarted { own: None, orphans: vec!["b"] });
}

#[test]
fn f33_a_start_that_was_given_up_too_late_takes_no_job_away() {
    let handoff = Handoff::default();
    assert!(handoff.submit("a", 1));
    assert!(handoff.submit("b", 2));
    assert!(handoff.started(1), "it runs; its starter was interrupted only then");
    let back = handoff.not_started(1, |&job| job == "a");
    assert_eq!(back, NotStarted { own: None, orphans: vec![] });
    assert_eq!([handoff.take(now()), handoff.take(now())], [Some("a"), Some("b")]);
    assert!(!handoff.started(1));
}

#[test]
fn f33_a_job_with_a_worker_on_its_way_is_no_orphan() {
    let handoff = Handoff::default();
    assert!(handoff.submit("a", 1));
    assert!(handoff.submit("b", 2));
    let back = handoff.not_started(1, |&job| job == "a");
    assert_eq!(back, NotStarted { own: Some("a"), orphans: vec![] });
    assert_eq!(handoff.take(now()), Some("b"));
}

#[test]
fn a_deadline_tells_the_worker_to_go() {
    let handoff = Arc::new(Handoff::<u32>::default());
    assert_eq!(handoff.take(now() + Duration::from_millis(1)), None);
    assert_eq!(idle(&handoff), 0, "it is not counted as idle any more");
    assert!(handoff.submit(1, START));
    assert_eq!(handoff.take(now()), Some(1), "a job that waits is taken at any deadline");
}

#[test]
fn every_waiting_job_is_shown_unless_the_lock_is_held() {
    let handoff = Arc::new(Handoff::default());
    submit(&handoff, &[1, 2]);
    let shown = || {
        let mut jobs = Vec::new();
        let mut show = |job: &u32| {
            jobs.push(*job);
            Ok::<_, ()>(())
        };
        handoff.try_visit(&mut show).unwrap();
        jobs
    };
    assert_eq!(shown(), [1, 2]);
    assert_eq!(handoff.try_visit(|_| Err("stop")), Err("stop"));
    let held = HeldLock::hold(&handoff);
    assert_eq!(shown(), [0; 0]);
    drop(held);
    assert_eq!(shown(), [1, 2]);
}

#[test]
fn f11_a_forked_child_starts_without_jobs_and_workers() {
    let handoff = Arc::new(Handoff::default());
    let worker = Worker::new(&handoff);
    worker.wait(&handoff);
    submit(&handoff, &[1, 2, 3]);
    assert_eq!(worker.job(), Some(1));
    let mut held = HeldLock::hold(&handoff);
    assert_eq!(held.state().reset(), [2, 3]);
    drop(held);
    assert!(handoff.submit(4, START));
    assert_eq!(handoff.take(now()), Some(4));
    worker.end();
}

/// Workers as the host runs them: started when asked for, gone when idle.
#[test]
fn f33_many_threads_lose_no_job() {
    const SUBMITTERS: usize = 4;
    const JOBS: usize = 500;
    let handoff = Handoff::default();
    let done = Mutex::new(Vec::new());
    let alive = AtomicUsize::new(0);
    let unfinished = AtomicUsize::new(0);
    let barrier = Barrier::new(SUBMITTERS);
    let work = || {
        handoff.started(START);
        // Some workers wait for the next job, some go at once.
        while let Some(job) = handoff.take(now() + Duration::from_micros(200)) {
            done.lock().unwrap().push(job);
            unfinished.fetch_sub(1, Ordering::SeqCst);
        }
        alive.fetch_sub(1, Ordering::SeqCst);
    };
    thread::scope(|scope| {
        for submitter in 0..SUBMITTERS {
            let (handoff, unfinished, alive, barrier) = (&handoff, &unfinished, &alive, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for job in 0..JOBS {
                    unfinished.fetch_add(1, Ordering::SeqCst);
                    if handoff.submit(submitter * JOBS + job, START) {
                        alive.fetch_add(1, Ordering::SeqCst);
                        scope.spawn(work);
                    }
                    // Few jobs at a time, so that workers come, idle and go all along.
                    while unfinished.load(Ordering::SeqCst) >= SUBMITTERS {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(alive.into_inner(), 0);
    let mut done = done.into_inner().unwrap();
    done.sort_unstable();
    assert_eq!(done, (0..SUBMITTERS * JOBS).collect::<Vec<_>>());
}
