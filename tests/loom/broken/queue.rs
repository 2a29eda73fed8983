//! Takers and putters that sleep beside what they wait for, or take what is not there.

use std::collections::VecDeque;
use std::sync::Arc;

use hermes_core::sync::signal::Signal;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::{spawn, tell_apart};

/// A queue of owners' numbers, with those that wait and for whose event; zero takes anybody's.
#[derive(Default)]
struct State {
    events: VecDeque<u8>,
    waiting: Vec<(u8, Arc<Signal>)>,
}

type Queue = Mutex<State>;

impl State {
    fn take(&mut self, wanted: u8) -> Option<u8> {
        let place = self.events.iter().position(|&owner| wanted == 0 || owner == wanted)?;
        self.events.remove(place)
    }

    fn enter(&mut self, wanted: u8) -> Arc<Signal> {
        let signal = Arc::new(Signal::for_this_thread());
        self.waiting.push((wanted, signal.clone()));
        signal
    }

    fn wake(&mut self, owner: u8) {
        let place = self.waiting.iter().position(|&(wanted, _)| wanted == 0 || wanted == owner);
        if let Some(place) = place {
            self.waiting.remove(place).1.set();
        }
    }
}

fn put(queue: &Queue, owner: u8) {
    let mut state = queue.lock().unwrap();
    state.events.push_back(owner);
    state.wake(owner);
}

/// Looks and registers under one lock, as long as it takes.
fn take(queue: &Queue, wanted: u8) -> u8 {
    loop {
        let mut state = queue.lock().unwrap();
        if let Some(owner) = state.take(wanted) {
            return owner;
        }
        let signal = state.enter(wanted);
        drop(state);
        signal.wait_until(None);
    }
}

#[test]
fn f1_a_taker_that_registers_after_its_look_misses_the_wake() {
    tell_apart(|is_right| {
        let queue = Arc::new(Queue::default());
        let taker = spawn(&queue, move |queue| {
            if is_right {
                return take(queue, 0);
            }
            loop {
                let taken = queue.lock().unwrap().take(0);
                if let Some(owner) = taken {
                    return owner;
                }
                // Too late: the put may have come between.
                let signal = queue.lock().unwrap().enter(0);
                signal.wait_until(None);
            }
        });
        put(&queue, 1);
        assert_eq!(taker.join().unwrap(), 1);
    });
}

#[test]
fn f1_a_taker_that_keeps_its_wake_leaves_the_next_one_asleep() {
    tell_apart(|is_right| {
        let queue = Arc::new(Queue::default());
        let patient = spawn(&queue, |queue| take(queue, 0));
        let impatient = spawn(&queue, move |queue| {
            let mut state = queue.lock().unwrap();
            let signal = state.enter(0);
            drop(state);
            // A deadline, at once.
            let mut state = queue.lock().unwrap();
            let before = state.waiting.len();
            state.waiting.retain(|(_, other)| !Arc::ptr_eq(other, &signal));
            if is_right && state.waiting.len() == before {
                state.wake(1);
            }
        });
        put(&queue, 1);
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

#[test]
fn f1_a_wake_for_one_event_spent_on_another_is_lost() {
    tell_apart(|is_right| {
        let queue = Arc::new(Queue::default());
        let owner = spawn(&queue, |queue| take(queue, 1));
        let anybody = spawn(&queue, move |queue| {
            let found = take(queue, 0);
            let mut state = queue.lock().unwrap();
            // It may have been woken for the owner's event, which still waits.
            if is_right && state.events.contains(&1) {
                state.wake(1);
            }
            found
        });
        put(&queue, 1);
        {
            let mut state = queue.lock().unwrap();
            state.events.push_front(2);
            state.wake(2);
        }
        if anybody.join().unwrap() == 1 {
            put(&queue, 1);
        }
        owner.join().unwrap();
    });
}

#[test]
fn f1_one_notice_for_all_filters_wakes_the_wrong_taker() {
    tell_apart(|is_right| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let takers = [1, 2].map(|wanted| {
            spawn(&shared, move |(event, changed)| {
                let mut event = event.lock().unwrap();
                while *event != wanted {
                    event = changed.wait(event).unwrap();
                }
            })
        });
        let [first, second] = takers;
        for (owner, taker) in [(2, second), (1, first)] {
            *shared.0.lock().unwrap() = owner;
            match is_right {
                true => shared.1.notify_all(),
                // Whoever has waited longest, though the event may be for the other.
                false => shared.1.notify_one(),
            }
            taker.join().unwrap();
        }
    });
}

#[test]
fn f4_an_event_put_back_in_silence_is_not_found() {
    tell_apart(|is_right| {
        let queue = Arc::new(Queue::default());
        let patient = spawn(&queue, |queue| take(queue, 0));
        put(&queue, 1);
        let taken = queue.lock().unwrap().take(0);
        if let Some(owner) = taken {
            thread::yield_now();
            let mut state = queue.lock().unwrap();
            state.events.push_front(owner);
            if is_right {
                state.wake(owner);
            }
        }
        assert_eq!(patient.join().unwrap(), 1);
    });
}

#[test]
fn room_that_is_taken_for_granted_is_gone() {
    tell_apart(|is_right| {
        const BOUND: usize = 1;
        let queue = Arc::new(Queue::default());
        queue.lock().unwrap().events.push_back(1);
        let waiting = spawn(&queue, move |queue| {
            let mut state = queue.lock().unwrap();
            while state.events.len() >= BOUND {
                let signal = state.enter(0);
                drop(state);
                signal.wait_until(None);
                state = queue.lock().unwrap();
                if !is_right {
                    // Woken, so there must be room: another put may have been faster.
                    break;
                }
            }
            state.events.push_back(2);
            assert!(state.events.len() <= BOUND);
        });
        let free = |queue: &Queue| {
            let mut state = queue.lock().unwrap();
            let taken = state.events.pop_front();
            state.wake(0);
            taken
        };
        free(&queue);
        {
            let mut state = queue.lock().unwrap();
            if state.events.len() < BOUND {
                state.events.push_back(3);
            }
        }
        free(&queue);
        waiting.join().unwrap();
    });
}
