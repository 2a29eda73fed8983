//! A shutdown against everything that may be under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::queue::{Mailbox, Return, Selection};
use hermes_core::state::{Stage, State};
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::Blocking;
use loom::sync::atomic::{AtomicBool, Ordering};

use super::{
    ANY, EVENT, Queue, counts, ended, finish, join_all, model, of, put, running, spawn_shared, to,
};

/// One taker: of several, a hash map says who is woken first, and a model must not be random.
#[test]
fn a_shutdown_ends_a_wait() {
    for wanted in [ANY, of("a")] {
        model(move || {
            let queue = Arc::new(Queue::new(0));
            let taker = spawn_shared(&queue, move |queue| queue.take(&Blocking, wanted, None));
            queue.shutdown(false);
            assert_eq!(taker.join().unwrap(), Err(Error::ShutDown));
        });
    }
}

#[test]
fn a_shutdown_leaves_what_waits_to_one_taker() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        put(&queue, 1, "a");
        let takers =
            [(); 2].map(|()| spawn_shared(&queue, |queue| queue.take(&Blocking, ANY, None)));
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
        let put = spawn_shared(&queue, |queue| queue.try_put(1, to("a", "k")).map(drop));
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
        let taker = spawn_shared(&queue, |queue| queue.take(&Blocking, ANY, None));
        put(&queue, 1, "a");
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
            put(&queue, 1, "a");
            let putter =
                spawn_shared(&queue, |queue| queue.put(&Blocking, 2, to("a", "k"), None).map(drop));
            let dropped = queue.shutdown(immediate);
            assert_eq!(putter.join().unwrap(), Err(Error::ShutDown));
            assert_eq!(dropped.len() + queue.len(), 1);
        });
    }
}

#[test]
fn an_immediate_shutdown_ends_a_join() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        put(&queue, 1, "a");
        let joiner = spawn_shared(&queue, |queue| {
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
        put(&queue, 1, "a");
        put(&queue, 2, "a");
        queue.try_take(&Blocking, ANY).unwrap();
        let joiner = spawn_shared(&queue, |queue| {
            while let Some(signal) = queue.joiner() {
                signal.wait_until(None);
            }
            queue.unfinished()
        });
        let worker = spawn_shared(&queue, |queue| queue.task_done());
        assert_eq!(queue.shutdown(true), [2]);
        worker.join().unwrap().unwrap();
        assert_eq!(joiner.join().unwrap(), 0);
    });
}

#[test]
fn f1_an_end_is_published_even_into_a_shutdown() {
    model(|| {
        let registry = running(0, None);
        let taker = spawn_shared(&registry, |registry| registry.queue().take(&Blocking, ANY, None));
        let closer = spawn_shared(&registry, |registry| registry.queue().shutdown(false));
        assert!(finish(&registry, State::Completed).is_some());
        closer.join().unwrap();
        let queue = registry.queue();
        match taker.join().unwrap() {
            Ok(EVENT) => assert!(queue.is_empty()),
            other => {
                assert_eq!(other, Err(Error::ShutDown));
                assert_eq!(queue.try_take(&Blocking, ANY), Ok(EVENT));
            }
        }
    });
}

#[test]
fn f1_an_end_beside_an_immediate_shutdown_is_dropped_or_waits() {
    model(|| {
        let registry = running(1, None);
        let ender =
            spawn_shared(&registry, |registry| finish(registry, State::Completed).is_some());
        let dropped = registry.queue().shutdown(true).len();
        assert!(ender.join().unwrap());
        let expected = [Stage::Waiting, Stage::Dropped][dropped];
        assert_eq!(registry.stage("d"), Some(expected));
        assert_eq!(counts(&registry), (1 - dropped, dropped));
        assert_eq!(registry.queue().len(), 1 - dropped);
    });
}

#[test]
fn f11_an_end_is_delivered_or_dropped_by_an_immediate_shutdown() {
    model(|| {
        let registry = ended(1, None);
        let taker =
            spawn_shared(&registry, |registry| registry.queue().try_take(&Blocking, ANY).is_ok());
        let dropped = registry.queue().shutdown(true);
        let expected = match taker.join().unwrap() {
            true => (vec![], Stage::Delivered),
            false => (vec![EVENT], Stage::Dropped),
        };
        assert_eq!((dropped, registry.stage("d").unwrap()), expected);
        assert_eq!(counts(&registry), (0, 1));
    });
}

/// Whoever has it gives it back before the shutdown, which drops it, or after, and then it waits.
#[test]
fn f4_what_is_given_back_beside_an_immediate_shutdown_is_dropped_or_waits() {
    for delay in [Duration::ZERO, Duration::from_secs(1)] {
        model(move || {
            let registry = ended(1, None);
            let queue = registry.queue().clone();
            let keys = ["a".to_owned()];
            let selection = Selection { session_keys: Some(&keys), ..Selection::default() };
            let mailbox = Mailbox::open(&queue, selection, None).unwrap();
            let leased = mailbox.collect(|&item| item).unwrap();
            let is_back = Arc::new(AtomicBool::new(false));
            let giver = spawn_shared(&is_back, {
                let queue = queue.clone();
                move |is_back| {
                    assert!(queue.give_back(leased.id, Return::Nack, delay), "the lease held");
                    is_back.store(true, Ordering::SeqCst);
                }
            });
            let is_back = is_back.load(Ordering::SeqCst);
            let dropped = queue.shutdown(true);
            giver.join().unwrap();
            assert!(!is_back || dropped == [EVENT]);
            queue.due(Instant::now() + Duration::from_secs(2));
            let stage = match dropped.is_empty() {
                true => Stage::Waiting,
                false => Stage::Dropped,
            };
            assert_eq!(registry.stage("d"), Some(stage));
            assert_eq!(queue.unfinished(), 1 - dropped.len());
            let taken = queue.try_take(&Blocking, ANY);
            assert_eq!(taken.is_ok(), dropped.is_empty());
            assert_eq!(counts(&registry), (0, 1));
        });
    }
}
