//! The queue against a list that is searched from its front, and against many threads.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hermes_core::queue::Wanted;
use proptest::prelude::*;

use super::config;
use hermes_core::sync::wait::Blocking;

use super::queue::{ANY, Queue, kinds, of, of_kinds, put, to};
use super::queue_steps::{Address, Filter, Step, check};

const NAMES: [&str; 4] = ["", "a", "b", "c"];

/// Longer than what the queue keeps when no event and no taker uses it.
const LONG: usize = 300;

fn step() -> impl Strategy<Value = Step> {
    let short = || prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
    let long = || prop::sample::select(&NAMES[1..]).prop_map(|name| name.repeat(LONG));
    let name = move || prop_oneof![2 => short(), 1 => long()];
    let perhaps = move || prop::option::weighted(0.8, name());
    let address = move || {
        let parts = (perhaps(), perhaps(), prop::option::weighted(0.3, name()));
        parts.prop_map(|(owner, kind, delegation_id)| Address { owner, kind, delegation_id })
    };
    let kinds = prop::option::of(prop::collection::vec(name(), 0..4));
    let filter =
        (prop::option::of(name()), kinds).prop_map(|(owner, kinds)| Filter { owner, kinds });
    prop_oneof![
        8 => address().prop_map(Step::Put),
        4 => address().prop_map(Step::Publish),
        4 => address().prop_map(Step::PutBack),
        6 => filter.clone().prop_map(Step::Take),
        8 => filter.prop_map(Step::Wait),
        8 => any::<usize>().prop_map(Step::Look),
        4 => any::<usize>().prop_map(Step::Leave),
        3 => Just(Step::WaitForRoom),
        2 => any::<usize>().prop_map(Step::LookForRoom),
        2 => any::<usize>().prop_map(Step::LeaveRoom),
        2 => Just(Step::TaskDone),
        2 => (-1_isize..6).prop_map(Step::SetMaxsize),
        1 => Just(Step::Drain),
        1 => Just(Step::Fork),
        1 => prop::bool::weighted(0.3).prop_map(|immediate| Step::Shutdown { immediate }),
    ]
}

proptest! {
    #![proptest_config(config(400))]

    /// Same events, same order, same refusals; and F1: no event waits beside a sleeping taker.
    #[test]
    fn f1_f2_the_queue_does_what_a_searched_list_does(steps in prop::collection::vec(step(), 1..80)) {
        check(steps);
    }
}

/// Producers wait for room, consumers for their own events; in the end each event came once.
#[test]
fn f1_f11_many_threads_lose_and_double_nothing() {
    const EACH: u32 = 400;
    const PRODUCERS: u32 = 4;
    let queue = Arc::new(Queue::new(8));
    let taken = Mutex::new(Vec::new());
    let (x, yz) = (kinds(&["x"]), kinds(&["y", "z"]));
    let filters = [
        ANY,
        of("a"),
        of("b"),
        of_kinds(&x),
        of_kinds(&yz),
        Wanted { types: Some(&yz), ..of("a") },
    ];
    let put = |item: u32| {
        let route = to(NAMES[item as usize % 3], ["x", "y", "z", "w"][item as usize / 3 % 4]);
        let putter = queue.putter();
        while queue.try_put(item, route).is_err() {
            if putter.enter() {
                assert!(putter.signal().wait_until(deadline()), "a put was left waiting");
            }
        }
    };
    let consume = |filter| {
        while let Ok(item) = queue.take(&Blocking, filter, None) {
            taken.lock().unwrap().push(item);
            queue.task_done().unwrap();
        }
    };
    thread::scope(|scope| {
        for filter in filters {
            scope.spawn(move || consume(filter));
        }
        let producers = [(); PRODUCERS as usize];
        let producers: Vec<_> = (0..)
            .zip(producers)
            .map(|(number, ())| {
                scope.spawn(move || (0..EACH).for_each(|item| put(number * EACH + item)))
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        while let Some(all_done) = queue.joiner() {
            assert!(all_done.wait_until(deadline()), "an event was left waiting");
        }
        queue.shutdown(false);
    });
    let mut taken = taken.into_inner().unwrap();
    taken.sort_unstable();
    assert_eq!(taken, (0..PRODUCERS * EACH).collect::<Vec<_>>());
}

/// Takers that give up all the time hand every wake on to those that stay.
#[test]
fn f1_many_threads_that_leave_take_no_wake_with_them() {
    const EVENTS: u32 = 2000;
    let queue = Arc::new(Queue::new(0));
    let (xy, yz) = (kinds(&["x", "y"]), kinds(&["y", "z"]));
    let filters = [of_kinds(&xy), of_kinds(&yz), of("a"), ANY];
    let give_up = |filter| {
        while !queue.is_shutdown() {
            let mut taker = queue.taker(filter).unwrap();
            if let Ok(item) = taker.poll(&Blocking) {
                put(&queue, item, to("a", "y"));
                queue.task_done().unwrap();
            }
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        for filter in filters {
            scope.spawn(move || give_up(filter));
        }
        let stay = scope.spawn(|| {
            for _ in 0..EVENTS {
                queue.take(&Blocking, of("a"), deadline()).expect("an event for it waits");
                queue.task_done().unwrap();
            }
        });
        for item in 0..EVENTS {
            put(&queue, item, to("a", "y"));
        }
        stay.join().unwrap();
        queue.shutdown(false);
    });
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
}

fn deadline() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

/// Far more routes than the queue keeps unused, so that numbers go and come back all the time.
#[test]
fn f2_numbers_that_are_used_again_mix_nobody_up() {
    let mut seed = 1_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let mut steps = Vec::new();
    let mut recent = vec![("a".to_owned(), "x".to_owned()); 4];
    for number in 0..40_000 {
        // Mostly an owner that was there a moment ago, else a new one, of which some are long.
        let at = random(recent.len());
        if random(3) == 0 {
            let name = format!("{}", random(3000));
            let owner = if random(2) == 0 { name.repeat(LONG) } else { name };
            recent[at] = (owner, format!("k{}", random(5)));
        }
        let (owner, kind) = recent[at].clone();
        let address = || Address {
            owner: (number % 7 > 0).then(|| owner.clone()),
            kind: Some(kind.clone()),
            delegation_id: None,
        };
        let filter = || Filter {
            owner: (number % 3 > 0).then(|| owner.clone()),
            kinds: (number % 2 > 0).then(|| vec![kind.clone(), "k0".to_owned()]),
        };
        steps.push(match random(18) {
            0..=3 => Step::Put(address()),
            4 => Step::PutBack(address()),
            5..=7 => Step::Take(filter()),
            8 => Step::Take(Filter { owner: None, kinds: None }),
            9..=12 => Step::Wait(filter()),
            13 => Step::Look(random(100)),
            14..=16 => Step::Leave(random(100)),
            _ if random(200) == 0 => Step::Fork,
            _ if random(50) == 0 => Step::Drain,
            _ => Step::Publish(address()),
        });
    }
    check(steps);
}
