//! The routed queue: whose each event is, who is woken for it, and what comes out in which order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::{Owner, Route};
use hermes_core::queue::{CompletionQueue, Handle, Putter, Taker, Wanted};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::wait::Blocking;
use hermes_core::sync::{Forked, HeldLock};

pub(super) type Queue = CompletionQueue<u32>;

pub(super) fn to<'a>(session_key: &'a str, kind: &'a str) -> Route<'a> {
    Route { session_key: Some(session_key), kind: Some(kind), ..Route::default() }
}

/// Appends an event.
pub(super) fn put<T: std::fmt::Debug>(queue: &CompletionQueue<T>, item: T, route: Route<'_>) {
    assert!(queue.try_put(item, route).unwrap().is_none(), "no ledger is asked");
}

/// What a registry and a queue share of a delegation of this owner's.
pub(super) fn handle(session_key: &str) -> Arc<Handle> {
    let owner = Owner { session_key: session_key.into(), ..Owner::default() };
    Arc::new(Handle::new("d".into(), Arc::new(owner), None, None, Arc::default()))
}

pub(super) fn of(session_key: &str) -> Wanted<'_> {
    Wanted { session_key: Some(session_key), types: None }
}

pub(super) fn kinds(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub(super) fn of_kinds(types: &[String]) -> Wanted<'_> {
    Wanted { session_key: None, types: Some(types) }
}

pub(super) const ANY: Wanted<'static> = Wanted { session_key: None, types: None };

/// Whether the signal is set; a set is used up by asking.
pub(super) fn woken(signal: &Signal) -> bool {
    signal.wait_until(Some(Instant::now()))
}

/// A take that looked once, found nothing and waits.
fn waiting<'a>(queue: &'a Arc<Queue>, wanted: Wanted<'_>) -> Taker<'a, u32> {
    let mut taker = queue.taker(wanted).unwrap();
    assert_eq!(taker.poll(&Blocking), Err(Error::Empty));
    taker
}

fn waiting_put(queue: &Arc<Queue>) -> Putter<'_, u32> {
    let putter = queue.putter();
    assert!(putter.enter());
    putter
}

fn fill(queue: &Queue, items: impl IntoIterator<Item = u32>) {
    items.into_iter().for_each(|item| put(queue, item, to("a", "completion")));
}

fn long() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

// Order, owners, kinds.

#[test]
fn events_leave_in_the_order_they_came() {
    let queue = Arc::new(Queue::new(0));
    fill(&queue, 0..5);
    assert_eq!((queue.len(), queue.is_empty()), (5, false));
    for item in 0..5 {
        assert_eq!(queue.try_take(&Blocking, ANY), Ok(item));
    }
    assert_eq!(queue.try_take(&Blocking, ANY), Err(Error::Empty));
    assert!(queue.is_empty());
}

#[test]
fn f2_a_filtered_take_moves_nothing_else() {
    let queue = Arc::new(Queue::new(0));
    let routes = [to("a", "x"), to("b", "x"), to("a", "y"), to("b", "z"), to("a", "x")];
    routes.into_iter().zip(0..).for_each(|(route, item)| put(&queue, item, route));
    let (z, yx, q) = (kinds(&["z"]), kinds(&["y", "x"]), kinds(&["q"]));
    assert_eq!(queue.try_take(&Blocking, of("b")), Ok(1));
    assert_eq!(queue.try_take(&Blocking, of_kinds(&z)), Ok(3));
    assert_eq!(queue.try_take(&Blocking, Wanted { types: Some(&z), ..of("a") }), Err(Error::Empty));
    assert_eq!(
        queue.try_take(&Blocking, Wanted { types: Some(&yx), ..of("b") }),
        Err(Error::Empty)
    );
    assert_eq!(queue.try_take(&Blocking, Wanted { types: Some(&yx), ..of("a") }), Ok(0));
    assert_eq!(queue.try_take(&Blocking, of_kinds(&yx)), Ok(2));
    assert_eq!(queue.try_take(&Blocking, of_kinds(&q)), Err(Error::Empty));
    assert_eq!(
        queue.try_take(&Blocking, of_kinds(&[])),
        Err(Error::Empty),
        "no kind is none of them"
    );
    assert_eq!(queue.drain(), [4]);
}

#[test]
fn f2_what_is_nobodys_matches_no_session_key() {
    let queue = Arc::new(Queue::new(0));
    put(&queue, 0, to("", "completion"));
    put(&queue, 1, Route::default());
    let mut mailbox = waiting(&queue, of("a"));
    assert_eq!(queue.try_take(&Blocking, of("a")), Err(Error::Empty));
    assert!(!woken(mailbox.signal()));
    assert_eq!(mailbox.poll(&Blocking), Err(Error::Empty));
    assert_eq!(queue.try_take(&Blocking, of("")), Ok(0), "the empty key asks for just these");
    assert_eq!(
        queue.try_take(&Blocking, of("")),
        Err(Error::Empty),
        "a value that is no event has no key"
    );
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(1));
}

#[test]
fn an_event_put_back_is_the_first_again() {
    let queue = Arc::new(Queue::new(1));
    fill(&queue, [0]);
    queue.publish(1, &handle("b"), 0, false);
    assert_eq!(queue.try_take(&Blocking, of("b")), Ok(1));
    queue.shutdown(false);
    queue.put_back(1, to("b", "completion")).unwrap();
    assert_eq!(queue.unfinished(), 2, "it was never counted as dealt with");
    assert_eq!(queue.drain(), [1, 0], "whatever the bound, also after a shutdown");
}

#[test]
fn names_and_bursts_that_come_and_go_leave_the_lists_whole() {
    let queue = Arc::new(Queue::new(0));
    let names: Vec<_> = (0..5000).map(|number| format!("session {number}")).collect();
    let mut kept = waiting(&queue, of("kept"));
    // One by one, so that numbers are reused; then all at once, so that the slots grow and go.
    for (name, item) in names.iter().zip(0..) {
        put(&queue, item, to(name, name));
        assert_eq!(queue.try_take(&Blocking, of(name)), Ok(item));
    }
    names.iter().zip(0..).for_each(|(name, item)| put(&queue, item, to(name, "burst")));
    for (name, item) in names.iter().zip(0..5000).rev() {
        assert_eq!(queue.try_take(&Blocking, of(name)), Ok(item));
        assert_eq!(queue.try_take(&Blocking, of(name)), Err(Error::Empty));
    }
    put(&queue, 7, to("kept", "late"));
    assert!(woken(kept.signal()), "a name that is waited for keeps its number");
    assert_eq!(kept.poll(&Blocking), Ok(7));
    assert!(queue.is_empty());
}

// Waking.

#[test]
fn f15_an_event_wakes_the_one_who_has_waited_longest_for_it_and_nobody_else() {
    let queue = Arc::new(Queue::new(0));
    let (x, xy) = (kinds(&["x"]), kinds(&["x", "y", "x"]));
    let takers = [
        waiting(&queue, of("other")),
        waiting(&queue, Wanted { types: Some(&x), ..of("a") }),
        waiting(&queue, of("a")),
        waiting(&queue, of_kinds(&xy)),
        waiting(&queue, ANY),
    ];
    let routes = [to("a", "z"), to("b", "y"), to("a", "x"), to("", "z"), to("a", "x")];
    for (route, expected) in routes.into_iter().zip([2, 3, 1, 4, usize::MAX]) {
        put(&queue, 0, route);
        for (index, taker) in takers.iter().enumerate() {
            assert_eq!(woken(taker.signal()), index == expected, "{route:?} {index}");
        }
    }
}

#[test]
fn f1_a_wake_is_handed_on_when_its_taker_leaves() {
    let queue = Arc::new(Queue::new(0));
    let xy = kinds(&["x", "y"]);
    let first = waiting(&queue, Wanted { types: Some(&xy), ..of("a") });
    let stranger = waiting(&queue, of("b"));
    let second = waiting(&queue, of_kinds(&xy));
    let mut third = waiting(&queue, of("a"));
    put(&queue, 1, to("a", "y"));
    drop(first);
    assert!(woken(second.signal()) && !woken(third.signal()));
    drop(second);
    assert!(woken(third.signal()) && !woken(stranger.signal()));
    assert_eq!(third.poll(&Blocking), Ok(1));
}

#[test]
fn a_taker_that_leaves_unwoken_or_served_wakes_nobody() {
    let queue = Arc::new(Queue::new(0));
    let unwoken = waiting(&queue, ANY);
    let mut served = waiting(&queue, of("a"));
    let last = waiting(&queue, ANY);
    drop(unwoken);
    put(&queue, 1, to("a", "x"));
    assert_eq!(served.poll(&Blocking), Ok(1));
    drop(served);
    assert!(!woken(last.signal()));
}

#[test]
fn a_wake_whose_event_was_taken_by_another_is_no_event() {
    let queue = Arc::new(Queue::new(0));
    let mut taker = waiting(&queue, ANY);
    put(&queue, 1, to("a", "x"));
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(1));
    assert!(woken(taker.signal()));
    assert_eq!(taker.poll(&Blocking), Err(Error::Empty));
    put(&queue, 2, to("a", "x"));
    assert!(woken(taker.signal()), "it waits again, in its old place");
    assert_eq!(taker.poll(&Blocking), Ok(2));
}

/// The second taker was woken for `y` and takes `x`, which is before it: the wake for `y` must go
/// on to the third, as nobody else is told of it.
#[test]
fn f1_a_taker_that_takes_another_event_than_it_was_woken_for_hands_its_wake_on() {
    let queue = Arc::new(Queue::new(0));
    let (x, y) = (kinds(&["x"]), kinds(&["y"]));
    let mut of_x = waiting(&queue, of_kinds(&x));
    let mut of_any = waiting(&queue, ANY);
    let mut of_y = waiting(&queue, of_kinds(&y));
    put(&queue, 0, to("a", "x"));
    put(&queue, 1, to("a", "y"));
    assert!(woken(of_x.signal()) && woken(of_any.signal()) && !woken(of_y.signal()));
    assert_eq!(of_any.poll(&Blocking), Ok(0));
    assert_eq!(of_x.poll(&Blocking), Err(Error::Empty));
    assert!(woken(of_y.signal()), "its event waits");
    assert_eq!(of_y.poll(&Blocking), Ok(1));
}

#[test]
fn a_take_waits_for_its_event_until_its_deadline_or_the_shutdown() {
    let queue = Arc::new(Queue::new(0));
    fill(&queue, [0]);
    assert_eq!(queue.take(&Blocking, of("b"), Some(Instant::now())), Err(Error::Empty));
    assert_eq!(
        queue.take(&Blocking, of("a"), Some(Instant::now())),
        Ok(0),
        "looks before it waits"
    );
    thread::scope(|scope| {
        let taken = scope.spawn(|| queue.take(&Blocking, of("b"), long()));
        fill(&queue, [1]);
        put(&queue, 2, to("b", "x"));
        assert_eq!(taken.join().unwrap(), Ok(2));
        let ended = scope.spawn(|| queue.take(&Blocking, of("b"), long()));
        queue.shutdown(false);
        assert_eq!(ended.join().unwrap(), Err(Error::ShutDown));
    });
    assert_eq!(queue.take(&Blocking, ANY, None), Ok(1), "what waits is still taken");
    assert_eq!(queue.take(&Blocking, ANY, None), Err(Error::ShutDown));
}

// The bound.

#[test]
fn a_full_queue_refuses_and_hands_the_event_back() {
    let queue = Arc::new(Queue::new(2));
    fill(&queue, 0..2);
    assert!(queue.is_full());
    let refused = queue.try_put(9, to("a", "x"));
    assert_eq!(refused.map(drop), Err((9, Error::Full { maxsize: 2 })));
    queue.publish(2, &handle("a"), 0, false);
    assert_eq!((queue.len(), queue.maxsize()), (3, 2), "an end is told whatever the bound");
    queue.set_maxsize(4);
    fill(&queue, [3]);
    assert!(queue.is_full());
    for unbounded in [0, -1, isize::MIN] {
        queue.set_maxsize(unbounded);
        assert!(!queue.is_full());
    }
    assert_eq!(queue.drain(), [0, 1, 2, 3]);
}

#[test]
fn waiting_puts_are_woken_one_per_event_taken_in_the_order_they_came() {
    let queue = Arc::new(Queue::new(2));
    assert!(!queue.putter().enter(), "there is room");
    fill(&queue, 0..2);
    let puts = [(); 3].map(|()| waiting_put(&queue));
    let state = || puts.each_ref().map(|put| woken(put.signal()));
    queue.try_take(&Blocking, of("a")).unwrap();
    assert_eq!(state(), [true, false, false]);
    queue.try_take(&Blocking, ANY).unwrap();
    assert_eq!(state(), [false, true, false]);
    drop(puts);
}

#[test]
fn a_room_not_used_is_handed_on() {
    let queue = Arc::new(Queue::new(1));
    fill(&queue, [0]);
    let mut puts: Vec<_> = [(); 3].map(|()| waiting_put(&queue)).into();
    assert!(puts[0].enter(), "twice is once");
    let last = puts.pop().unwrap();
    queue.try_take(&Blocking, ANY).unwrap();
    puts.into_iter().for_each(drop);
    assert!(woken(last.signal()));
    fill(&queue, [1]);
    let next = waiting_put(&queue);
    drop(last);
    assert!(!woken(next.signal()), "there is none to hand on");
}

#[test]
fn every_waiting_put_looks_again_when_all_may_go_on() {
    let changes: [fn(&Queue); 4] = [
        |queue| queue.set_maxsize(5),
        |queue| drop(queue.shutdown(false)),
        |queue| drop(queue.shutdown(true)),
        |queue| drop(queue.drain()),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let queue = Arc::new(Queue::new(1));
        fill(&queue, [0]);
        let puts = [(); 2].map(|()| waiting_put(&queue));
        change(&queue);
        assert_eq!(puts.each_ref().map(|put| woken(put.signal())), [true; 2], "change {index}");
        assert!(puts.iter().all(|put| !put.enter()), "change {index}");
    }
}

// The ends.

#[test]
fn f1_a_shutdown_refuses_puts_and_still_tells_ends() {
    let queue = Arc::new(Queue::new(0));
    fill(&queue, [0]);
    assert_eq!(queue.shutdown(false), [0; 0]);
    assert!(queue.is_shutdown());
    assert_eq!(queue.try_put(1, to("a", "x")).map(drop), Err((1, Error::ShutDown)));
    queue.publish(2, &handle("a"), 0, false);
    assert_eq!(
        [queue.try_take(&Blocking, ANY), queue.try_take(&Blocking, of("a"))],
        [Ok(0), Ok(2)]
    );
    assert_eq!(queue.try_take(&Blocking, of("unknown")), Err(Error::ShutDown));
}

#[test]
fn an_immediate_shutdown_returns_what_waits_and_counts_it_as_done() {
    let queue = Arc::new(Queue::new(0));
    fill(&queue, 0..3);
    queue.try_take(&Blocking, ANY).unwrap();
    let (taker, joiner) = (waiting(&queue, of("b")), queue.joiner().unwrap());
    assert_eq!(queue.shutdown(true), [1, 2]);
    assert!(woken(taker.signal()) && woken(&joiner));
    assert_eq!(queue.unfinished(), 1, "one is out");
    queue.task_done().unwrap();
    assert!(queue.joiner().is_none());
}

#[test]
fn join_waits_until_each_event_is_counted_as_done() {
    let queue = Arc::new(Queue::new(0));
    assert!(queue.joiner().is_none());
    assert_eq!(queue.task_done(), Err(Error::TooManyDone));
    fill(&queue, 0..3);
    let joiners = [(); 2].map(|()| queue.joiner().unwrap());
    for item in 0..3 {
        assert!(joiners.iter().all(|joiner| !woken(joiner)));
        assert_eq!(queue.try_take(&Blocking, ANY), Ok(item));
        queue.task_done().unwrap();
    }
    assert!(joiners.iter().all(|joiner| woken(joiner)));
    assert_eq!((queue.unfinished(), queue.task_done()), (0, Err(Error::TooManyDone)));
}

// Forks.

#[test]
fn while_the_lock_is_held_others_wait() {
    let queue = Arc::new(Queue::new(0));
    fill(&queue, [0]);
    let (called, calls) = mpsc::channel();
    let returned = AtomicBool::new(false);
    thread::scope(|scope| {
        let held = HeldLock::hold(&queue);
        scope.spawn(|| {
            called.send(()).unwrap();
            fill(&queue, [1]);
            returned.store(true, Ordering::SeqCst);
        });
        calls.recv().unwrap();
        assert_eq!(queue.try_visit(|_| Err("shown")), Ok(()), "the collector does not wait");
        assert!(!returned.load(Ordering::SeqCst));
        drop(held);
    });
    assert_eq!(queue.drain(), [0, 1]);
}

#[test]
fn a_held_lock_keeps_its_queue() {
    let queue = Arc::new(Queue::new(0));
    fill(&queue, [0]);
    let alive = Arc::downgrade(&queue);
    let mut held = HeldLock::hold(&queue);
    drop(queue);
    assert_eq!(Queue::reset(held.state()), [0]);
    drop(held);
    assert!(alive.upgrade().is_none());
}

#[test]
fn f11_a_forked_child_starts_with_an_empty_queue_that_works() {
    let queue = Arc::new(Queue::new(1));
    fill(&queue, [0]);
    assert_eq!(Queue::reset(HeldLock::hold(&queue).state()), [0]);
    assert_eq!((queue.len(), queue.unfinished(), queue.maxsize()), (0, 0, 1));
    fill(&queue, [1]);
    let put = waiting_put(&queue);
    assert_eq!(queue.try_take(&Blocking, of("a")), Ok(1));
    assert!(woken(put.signal()));
}

/// The forking thread's own calls go on in the child, as a signal handler may fork.
#[test]
fn f11_calls_of_the_forking_thread_itself_go_on_in_the_child() {
    let queue = Arc::new(Queue::new(1));
    let mut old = waiting(&queue, of("a"));
    fill(&queue, [0]);
    let (room, joiner) = (waiting_put(&queue), queue.joiner().unwrap());
    Queue::reset(HeldLock::hold(&queue).state());
    assert!(woken(old.signal()) && woken(room.signal()) && woken(&joiner), "they look again");
    assert_eq!(old.poll(&Blocking), Err(Error::Empty));
    // And are not mixed up with later ones.
    let mut new = waiting(&queue, of("a"));
    queue.publish(1, &handle("a"), 0, false);
    queue.publish(2, &handle("a"), 0, false);
    assert!(woken(old.signal()) && woken(new.signal()));
    assert_eq!([old.poll(&Blocking), new.poll(&Blocking)], [Ok(1), Ok(2)]);
}

/// F2: a name goes with its last use, and a wake that is handed on is a use.
#[test]
fn f2_a_wake_handed_on_keeps_its_owners_number() {
    let queue = Arc::new(Queue::new(0));
    // So long that its number goes with its last event.
    let long = "k".repeat(300);
    put(&queue, 0, to("", ""));
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(0));
    let leaves = waiting(&queue, ANY);
    let looks = waiting(&queue, ANY);
    let stays = waiting(&queue, ANY);
    put(&queue, 1, to(&long, "completion"));
    assert_eq!(
        queue.try_take(&Blocking, ANY),
        Ok(1),
        "somebody else is quicker than the one woken"
    );
    drop(leaves);
    assert!(woken(looks.signal()));
    drop(looks);
    assert!(woken(stays.signal()));
    drop(stays);
    for (item, owner) in (10..).zip(["", "a", "b", "c"]) {
        put(&queue, item, to(owner, "completion"));
    }
    for (item, owner) in (10..).zip(["", "a", "b", "c"]) {
        assert_eq!(queue.try_take(&Blocking, of(owner)), Ok(item), "{owner:?} gets its own");
    }
}
