//! A shutdown against everything that may be under way.

use std::sync::Arc;

use hermes_core::error::Error;
use hermes_core::queue::CompletionQueue;

use super::{ANY, join_all, model, of, spawn, to};

type Queue = CompletionQueue<u8>;

/// One taker: of several, a hash map says who is woken first, and a model must not be random.
#[test]
fn a_shutdown_ends_a_wait() {
    for wanted in [ANY, of("a")] {
        model(move || {
            let queue = Arc::new(Queue::new(0));
            let taker = spawn(&queue, move |queue| queue.take(wanted, None));
            queue.shutdown(false);
            assert_eq!(taker.join().unwrap(), Err(Error::ShutDown));
        });
    }
}

#[test]
fn a_shutdown_leaves_what_waits_to_one_taker() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        queue.publish(1, to("a", "k"), None);
        let takers = [(); 2].map(|()| spawn(&queue, |queue| queue.take(ANY, None)));
        assert_eq!(queue.shutdown(false), [0; 0]);
        let mut got = join_all(takers);
        got.sort_by_key(Result::is_err);
        assert_eq!(got, [Ok(1), Err(Error::ShutDown)]);
    });
}

#[test]
fn f4_an_immediate_shutdown_hands_back_every_put_that_succeeded() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let put = spawn(&queue, |queue| queue.try_put(1, to("a", "k")));
        let dropped = queue.shutdown(true);
        match put.join().unwrap() {
            Ok(()) => assert_eq!(dropped, [1]),
            Err(refused) => {
                assert_eq!(refused, (1, Error::ShutDown));
                assert_eq!(dropped, [0; 0]);
            }
        }
        assert_eq!((queue.len(), queue.unfinished()), (0, 0));
        assert!(queue.joiner().is_none());
    });
}

#[test]
fn f11_an_immediate_shutdown_and_a_take_do_not_both_get_the_event() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let taker = spawn(&queue, |queue| queue.take(ANY, None));
        queue.publish(1, to("a", "k"), None);
        let dropped = queue.shutdown(true);
        match taker.join().unwrap() {
            Ok(1) => assert_eq!((dropped, queue.unfinished()), (vec![], 1)),
            other => {
                assert_eq!(other, Err(Error::ShutDown));
                assert_eq!((dropped, queue.unfinished()), (vec![1], 0));
            }
        }
    });
}

#[test]
fn a_shutdown_ends_a_blocked_put() {
    for immediate in [false, true] {
        model(move || {
            let queue = Arc::new(Queue::new(1));
            queue.try_put(1, to("a", "k")).unwrap();
            let putter = spawn(&queue, |queue| {
                let mut putter = queue.putter();
                loop {
                    match queue.try_put(2, to("a", "k")) {
                        Err((_, Error::Full { .. })) if putter.enter() => {
                            putter.signal().wait_until(None);
                        }
                        Err((_, Error::Full { .. })) => {}
                        ended => return ended,
                    }
                }
            });
            let dropped = queue.shutdown(immediate);
            assert_eq!(putter.join().unwrap(), Err((2, Error::ShutDown)));
            assert_eq!(dropped.len() + queue.len(), 1);
        });
    }
}

#[test]
fn an_immediate_shutdown_ends_a_join() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        queue.try_put(1, to("a", "k")).unwrap();
        let joiner = spawn(&queue, |queue| {
            while let Some(signal) = queue.joiner() {
                signal.wait_until(None);
            }
        });
        assert_eq!(queue.shutdown(true), [1]);
        joiner.join().unwrap();
    });
}

/// With work under way, the join ends by whichever is last: the shutdown or the worker.
#[test]
fn a_join_outlives_a_shutdown_until_the_work_is_done() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        queue.try_put(1, to("a", "k")).unwrap();
        queue.try_put(2, to("a", "k")).unwrap();
        queue.try_take(ANY).unwrap();
        let joiner = spawn(&queue, |queue| {
            while let Some(signal) = queue.joiner() {
                signal.wait_until(None);
            }
            queue.unfinished()
        });
        let worker = spawn(&queue, |queue| queue.task_done());
        assert_eq!(queue.shutdown(true), [2]);
        worker.join().unwrap().unwrap();
        assert_eq!(joiner.join().unwrap(), 0);
    });
}

#[test]
fn f1_an_end_is_published_even_into_a_shutdown() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let taker = spawn(&queue, |queue| queue.take(ANY, None));
        let closer = spawn(&queue, |queue| queue.shutdown(false));
        queue.publish(1, to("a", "k"), None);
        closer.join().unwrap();
        match taker.join().unwrap() {
            Ok(1) => assert!(queue.is_empty()),
            other => {
                assert_eq!(other, Err(Error::ShutDown));
                assert_eq!(queue.try_take(ANY), Ok(1));
            }
        }
    });
}
