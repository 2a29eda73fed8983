//! Jobs and their workers: no job lost, no worker too many.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hermes_core::sync::handoff::{Handoff, Next, NotStarted, Worker as Numbers};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::{Forked, HeldLock};

fn long() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn now() -> Instant {
    Instant::now()
}

/// What a test names the workers it asks for, where it need not tell them apart.
const START: u64 = 0;

/// A worker that was not asked for, and what it calls its successor.
const BUSY: Numbers = Numbers { number: 1_000_000, successor: 1_000_001 };

/// The worker that was asked for as `number`.
fn asked(number: u64) -> Numbers {
    Numbers { number, successor: number + 1 }
}

fn lone<T>(job: T) -> Option<Next<T>> {
    Some(Next { job, needs_worker: false })
}

fn first<T>(job: T) -> Option<Next<T>> {
    Some(Next { job, needs_worker: true })
}

fn submit(handoff: &Handoff<u32>, jobs: &[u32]) {
    for &job in jobs {
        handoff.submit(job, START);
    }
}

/// Workers that can be told one by one when to take, each from its own thread.
struct Worker {
    orders: mpsc::Sender<()>,
    jobs: mpsc::Receiver<Option<Next<u32>>>,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    fn new(handoff: &Arc<Handoff<u32>>) -> Self {
        let (orders, ordered) = mpsc::channel::<()>();
        let (done, jobs) = mpsc::channel();
        let handoff = handoff.clone();
        let thread = thread::spawn(move || {
            while ordered.recv().is_ok() {
                done.send(handoff.take(BUSY, long())).unwrap();
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

    fn next(&self) -> Option<Next<u32>> {
        self.jobs.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    fn job(&self) -> Option<u32> {
        self.next().map(|next| next.job)
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
                handoff.forget(START);
            }
            needs_worker
        })
        .unwrap()
}

#[test]
fn a_burst_asks_for_one_worker_and_each_worker_for_the_next() {
    let handoff = Handoff::default();
    let submitted = [10, 11, 12].map(|job| handoff.submit(job, START));
    assert_eq!(submitted, [true, false, false], "one worker is on its way to them");
    assert_eq!(handoff.take(asked(START), now()), first(10), "first in, first out");
    assert_eq!(handoff.take(asked(1), now()), first(11));
    assert_eq!(handoff.take(asked(2), now()), lone(12), "nothing waits for another");
    assert_eq!(handoff.take(asked(2), now()), None);
    assert!(handoff.submit(13, START), "nobody is on the way any more");
}

#[test]
fn a_worker_that_is_free_before_its_successor_comes_goes_on() {
    let handoff = Handoff::default();
    submit(&handoff, &[1, 2, 3, 4]);
    assert_eq!(handoff.take(asked(START), now()), first(1));
    assert_eq!(handoff.take(asked(START), now()), lone(2), "the successor is on its way");
    assert_eq!(handoff.take(asked(START), now()), lone(3));
    assert_eq!(handoff.take(asked(1), now()), lone(4));
}

#[test]
fn a_worker_asked_for_serves_whichever_job_is_first() {
    let handoff = Handoff::default();
    assert!(handoff.submit(1, START));
    assert_eq!(handoff.take(BUSY, now()), lone(1), "a worker that was busy is free again");
    assert!(!handoff.submit(2, START), "the one asked for has no other job");
    assert_eq!(handoff.take(asked(START), now()), lone(2));
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
fn a_woken_worker_wakes_the_next_idle_one_before_it_asks_for_a_new_one() {
    let handoff = Handoff::default();
    let signals = [(); 2].map(|()| Arc::new(Signal::for_this_thread()));
    let [one, other] = &signals;
    assert!(handoff.poll(BUSY, one).is_none() && handoff.poll(BUSY, other).is_none());
    assert_eq!([1, 2, 3].map(|job| handoff.submit(job, START)), [false; 3]);
    assert!(!one.wait_until(Some(now())), "one at a time");
    assert!(other.wait_until(Some(now())) && handoff.stays(other, true));
    assert_eq!(handoff.poll(BUSY, other), lone(1));
    assert!(one.wait_until(Some(now())) && handoff.stays(one, true));
    assert_eq!(handoff.poll(BUSY, one), first(2), "nobody is idle any more");
    assert_eq!(handoff.take(asked(BUSY.successor), now()), lone(3));
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
        handoff.forget(START);
    }
    assert!(handoff.submit(2, START), "more starts than reservations do not underflow");
}

#[test]
fn f33_a_job_whose_worker_cannot_start_comes_back() {
    let handoff = Handoff::default();
    assert!(handoff.submit("job", START));
    let back = handoff.not_started(START, |&job| job == "job");
    assert_eq!(back, NotStarted { own: Some("job"), orphans: vec![] });
    assert_eq!(handoff.take(BUSY, now()), None);
    assert!(handoff.submit("next", START), "the failed start is not counted on");
}

#[test]
fn f33_a_job_that_another_worker_took_does_not_come_back() {
    let handoff = Handoff::default();
    assert!(handoff.submit("job", START));
    assert_eq!(handoff.take(BUSY, now()), lone("job"), "a worker that was busy is free again");
    let back = handoff.not_started(START, |&job| job == "job");
    assert_eq!(back, NotStarted { own: None, orphans: vec![] });
    assert!(handoff.submit("next", START));
}

#[test]
fn f33_a_job_that_counted_on_anothers_worker_comes_back_with_it() {
    let handoff = Handoff::default();
    assert!(handoff.submit("a", START));
    assert_eq!(handoff.take(BUSY, now()), lone("a"), "a worker that was busy is free again");
    assert!(!handoff.submit("b", START), "the worker on its way is for it");
    let back = handoff.not_started(START, |&job| job == "a");
    assert_eq!(back, NotStarted { own: None, orphans: vec!["b"] });
}

#[test]
fn f33_a_start_that_was_given_up_too_late_takes_no_job_away() {
    let handoff = Handoff::default();
    assert!(handoff.submit("a", 1));
    assert!(!handoff.submit("b", 2));
    assert!(handoff.is_awaited(1));
    assert_eq!(handoff.take(asked(1), now()), first("a"));
    assert!(!handoff.is_awaited(1), "it runs; its starter was interrupted only then");
    let back = handoff.not_started(1, |&job| job == "a");
    assert_eq!(back, NotStarted { own: None, orphans: vec![] });
    assert_eq!(handoff.take(asked(2), now()), lone("b"));
    assert!(!handoff.forget(1));
}

#[test]
fn f33_a_job_with_another_worker_on_its_way_is_no_orphan() {
    let handoff = Handoff::default();
    assert!(handoff.submit("a", 1));
    assert!(handoff.reserve(2, 3));
    assert!(!handoff.submit("b", 2));
    let back = handoff.not_started(1, |&job| job == "a");
    assert_eq!(back, NotStarted { own: None, orphans: vec![] });
    assert_eq!(handoff.take(asked(3), now()), first("a"));
    assert_eq!(handoff.take(asked(4), now()), lone("b"));
}

#[test]
fn f33_jobs_behind_a_successor_that_cannot_start_come_back_or_wait_for_the_busy() {
    let handoff = Handoff::default();
    submit(&handoff, &[1, 2, 3]);
    assert_eq!(handoff.take(asked(START), now()), first(1));
    assert!(handoff.is_awaited(1));
    assert!(handoff.forget(1));
    assert_eq!(handoff.take(asked(START), now()), first(2), "asked again, as nobody is coming");
    let back = handoff.not_started(1, |_| false);
    assert_eq!(back, NotStarted { own: None, orphans: vec![3] });
}

#[test]
fn f33_an_idle_worker_sees_to_the_jobs_behind_a_start_that_failed() {
    for gives_up in [false, true] {
        let handoff = Handoff::default();
        let signal = Arc::new(Signal::for_this_thread());
        assert!(handoff.submit("a", 1));
        assert_eq!(handoff.take(BUSY, now()), lone("a"), "a worker that was busy is free again");
        assert_eq!(handoff.poll(BUSY, &signal), None);
        assert!(!handoff.submit("b", 2), "it counts on the worker on its way");
        if gives_up {
            let back = handoff.not_started(1, |&job| job == "a");
            assert_eq!(back, NotStarted { own: None, orphans: vec![] });
        } else {
            assert!(handoff.forget(1));
        }
        assert!(signal.wait_until(Some(now())) && handoff.stays(&signal, true));
        assert_eq!(handoff.poll(BUSY, &signal), lone("b"));
    }
}

#[test]
fn a_deadline_tells_the_worker_to_go() {
    let handoff = Arc::new(Handoff::<u32>::default());
    assert_eq!(handoff.take(BUSY, now() + Duration::from_millis(1)), None);
    assert_eq!(idle(&handoff), 0, "it is not counted as idle any more");
    assert!(handoff.submit(1, START));
    assert_eq!(
        handoff.take(asked(START), now()),
        lone(1),
        "a job that waits is taken at any deadline"
    );
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
    assert_eq!(Handoff::reset(held.state()), [2, 3]);
    drop(held);
    assert!(handoff.submit(4, START));
    assert_eq!(handoff.take(asked(START), now()), lone(4));
    worker.end();
}

/// Workers as the host runs them: started when asked for, gone when idle.
#[derive(Default)]
struct Pool {
    handoff: Handoff<usize>,
    numbers: AtomicU64,
    alive: AtomicUsize,
    unfinished: AtomicUsize,
    done: Mutex<Vec<usize>>,
}

impl Pool {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    fn submit<'scope>(&'scope self, job: usize, scope: &'scope thread::Scope<'scope, '_>) {
        self.unfinished.fetch_add(1, Ordering::SeqCst);
        let number = self.number();
        if self.handoff.submit(job, number) {
            self.start(number, scope);
        }
    }

    fn start<'scope>(&'scope self, number: u64, scope: &'scope thread::Scope<'scope, '_>) {
        self.alive.fetch_add(1, Ordering::SeqCst);
        scope.spawn(move || {
            let mut numbers = Numbers { number, successor: self.number() };
            // Some workers wait for the next job, some go at once.
            let until = || now() + Duration::from_micros(200);
            while let Some(next) = self.handoff.take(numbers, until()) {
                if next.needs_worker {
                    self.start(numbers.successor, scope);
                    numbers.successor = self.number();
                }
                self.done.lock().unwrap().push(next.job);
                self.unfinished.fetch_sub(1, Ordering::SeqCst);
            }
            self.alive.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

#[test]
fn f33_many_threads_lose_no_job() {
    const SUBMITTERS: usize = 4;
    const JOBS: usize = 500;
    let pool = Pool::default();
    let barrier = Barrier::new(SUBMITTERS);
    thread::scope(|scope| {
        for submitter in 0..SUBMITTERS {
            let (pool, barrier) = (&pool, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for job in 0..JOBS {
                    pool.submit(submitter * JOBS + job, scope);
                    // Few jobs at a time, so that workers come, idle and go all along.
                    while pool.unfinished.load(Ordering::SeqCst) >= SUBMITTERS {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(pool.alive.into_inner(), 0);
    let mut done = pool.done.into_inner().unwrap();
    done.sort_unstable();
    assert_eq!(done, (0..SUBMITTERS * JOBS).collect::<Vec<_>>());
}

/// Those that are idle go at once; a job that comes then gets a worker of its own.
#[test]
fn workers_that_are_retired_go_and_take_nothing() {
    let handoff = Arc::new(Handoff::default());
    let workers: Vec<_> = (0..3).map(|_| Worker::new(&handoff)).collect();
    workers.iter().for_each(|worker| worker.wait(&handoff));
    handoff.retire();
    assert!(handoff.submit(7, 5), "nobody is idle any more");
    for worker in workers {
        assert_eq!(worker.next(), None);
        worker.end();
    }
    assert_eq!(handoff.take(asked(5), now()), lone(7));
    handoff.retire();
}
