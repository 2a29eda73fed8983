//! Puts, takes by filter, room and joins.

use std::sync::Arc;

use hermes_core::error::Error;
use hermes_core::queue::Wanted;
use hermes_core::sync::wait::Blocking;

use super::{ANY, Queue, join_all, model, of, put, spawn_shared, to};

/// Takes one of kind `k`, whoever owns it.
fn take_kind(queue: &Arc<Queue>) -> Result<u8, Error> {
    let wanted = Wanted { session_key: None, types: Some(&["k".to_owned()]) };
    queue.take(&Blocking, wanted, None)
}

/// Puts, and waits for room.
fn put_patiently(queue: &Queue, item: u8) -> Result<(), Error> {
    queue.put(&Blocking, item, to("a", "k"), None).map(drop)
}

fn join(queue: &Arc<Queue>) {
    while let Some(signal) = queue.joiner() {
        signal.wait_until(None);
    }
}

#[test]
fn f1_a_put_wakes_a_waiting_take() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let taker = spawn_shared(&queue, |queue| queue.take(&Blocking, ANY, None));
        put(&queue, 7, "a");
        assert_eq!(taker.join().unwrap(), Ok(7));
    });
}

#[test]
fn f11_two_takers_get_one_event_each() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let takers = [(); 2]
            .map(|()| spawn_shared(&queue, |queue| queue.take(&Blocking, ANY, None).unwrap()));
        put(&queue, 1, "a");
        put(&queue, 2, "b");
        let mut got = join_all(takers);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn f2_an_owner_is_woken_for_its_own_event_only() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let owner = spawn_shared(&queue, |queue| queue.take(&Blocking, of("a"), None));
        put(&queue, 1, "b");
        put(&queue, 2, "a");
        assert_eq!(owner.join().unwrap(), Ok(2));
        assert_eq!(queue.try_take(&Blocking, ANY), Ok(1));
    });
}

#[test]
fn f1_takers_with_different_filters_share_events() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let by_owner = spawn_shared(&queue, |queue| queue.take(&Blocking, of("a"), None));
        let by_kind = spawn_shared(&queue, take_kind);
        put(&queue, 1, "b");
        put(&queue, 2, "a");
        assert_eq!(by_kind.join().unwrap(), Ok(1), "the first of its kind");
        assert_eq!(by_owner.join().unwrap(), Ok(2), "and the other wakes its owner");
    });
}

#[test]
fn f1_a_taker_that_finds_another_event_passes_on_what_it_was_woken_for() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let by_owner = spawn_shared(&queue, |queue| queue.take(&Blocking, of("a"), None));
        let by_kind = spawn_shared(&queue, take_kind);
        put(&queue, 1, "a");
        queue.put_back(2, to("b", "k")).unwrap();
        let expected = match by_kind.join().unwrap() {
            Ok(2) => 1,
            other => {
                assert_eq!(other, Ok(1));
                put(&queue, 3, "a");
                3
            }
        };
        assert_eq!(by_owner.join().unwrap(), Ok(expected));
    });
}

#[test]
fn f4_an_event_put_back_is_found_by_who_waits() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let patient = spawn_shared(&queue, |queue| queue.take(&Blocking, ANY, None));
        let other = spawn_shared(&queue, |queue| {
            if let Ok(item) = queue.try_take(&Blocking, ANY) {
                queue.put_back(item, to("a", "k")).unwrap();
            }
        });
        put(&queue, 1, "a");
        assert_eq!(patient.join().unwrap(), Ok(1));
        other.join().unwrap();
        assert!(queue.is_empty());
    });
}

#[test]
fn f1_a_taker_that_gives_up_hands_its_wake_on() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let patient = spawn_shared(&queue, |queue| queue.take(&Blocking, ANY, None));
        // Registers, may be woken, and leaves without looking again: a Ctrl-C.
        let impatient = spawn_shared(&queue, |queue| queue.taker(ANY).unwrap().poll(&Blocking));
        put(&queue, 1, "a");
        match impatient.join().unwrap() {
            Ok(1) => put(&queue, 2, "a"),
            other => assert_eq!(other, Err(Error::Empty)),
        }
        patient.join().unwrap().unwrap();
    });
}

#[test]
fn f1_a_deadline_that_ends_as_the_event_comes_loses_nothing() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let patient = spawn_shared(&queue, |queue| queue.take(&Blocking, ANY, None));
        let hurried = spawn_shared(&queue, |queue| {
            queue.take(&Blocking, ANY, Some(std::time::Instant::now()))
        });
        put(&queue, 1, "a");
        match hurried.join().unwrap() {
            Ok(1) => put(&queue, 2, "a"),
            other => assert_eq!(other, Err(Error::Empty)),
        }
        patient.join().unwrap().unwrap();
        assert!(queue.is_empty());
    });
}

#[test]
fn room_lets_a_waiting_put_in() {
    model(|| {
        let queue = Arc::new(Queue::new(1));
        put(&queue, 1, "a");
        let putter = spawn_shared(&queue, |queue| put_patiently(queue, 2));
        assert_eq!(queue.take(&Blocking, ANY, None), Ok(1));
        assert_eq!(queue.take(&Blocking, ANY, None), Ok(2));
        putter.join().unwrap().unwrap();
    });
}

#[test]
fn a_putter_that_gives_up_hands_the_room_on() {
    model(|| {
        let queue = Arc::new(Queue::new(1));
        put(&queue, 1, "a");
        let patient = spawn_shared(&queue, |queue| put_patiently(queue, 2));
        let impatient = spawn_shared(&queue, |queue| queue.putter().enter());
        assert_eq!(queue.try_take(&Blocking, ANY), Ok(1));
        patient.join().unwrap().unwrap();
        impatient.join().unwrap();
        assert_eq!(queue.try_take(&Blocking, ANY), Ok(2));
    });
}

#[test]
fn a_put_that_comes_between_keeps_the_bound_and_the_waiting_one_waiting() {
    model(|| {
        let queue = Arc::new(Queue::new(1));
        put(&queue, 1, "a");
        let patient = spawn_shared(&queue, |queue| put_patiently(queue, 2));
        let quick = spawn_shared(&queue, |queue| queue.try_put(3, to("a", "k")).is_ok());
        assert_eq!(queue.try_take(&Blocking, ANY), Ok(1));
        let is_in = quick.join().unwrap();
        assert!(queue.len() <= 1);
        if is_in {
            queue.take(&Blocking, ANY, None).unwrap();
        }
        patient.join().unwrap().unwrap();
        assert_eq!(queue.len(), 1);
    });
}

#[test]
fn a_wider_bound_lets_every_waiting_put_in() {
    model(|| {
        let queue = Arc::new(Queue::new(1));
        put(&queue, 1, "a");
        let puts = [2, 3].map(|item| spawn_shared(&queue, move |queue| put_patiently(queue, item)));
        queue.set_maxsize(3);
        assert_eq!(join_all(puts), [Ok(()), Ok(())]);
        assert_eq!(queue.len(), 3);
    });
}

#[test]
fn a_join_ends_with_the_last_task() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        put(&queue, 1, "a");
        put(&queue, 2, "a");
        let joiner = spawn_shared(&queue, |queue| {
            join(queue);
            queue.unfinished()
        });
        let worker = spawn_shared(&queue, |queue| {
            queue.try_take(&Blocking, ANY).unwrap();
            queue.task_done()
        });
        queue.try_take(&Blocking, ANY).unwrap();
        queue.task_done().unwrap();
        worker.join().unwrap().unwrap();
        assert_eq!(joiner.join().unwrap(), 0);
        assert_eq!(queue.task_done(), Err(Error::TooManyDone));
    });
}

#[test]
fn every_joiner_is_woken() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        put(&queue, 1, "a");
        let joiners = [(); 2].map(|()| spawn_shared(&queue, join));
        queue.try_take(&Blocking, ANY).unwrap();
        queue.task_done().unwrap();
        join_all(joiners);
    });
}
