//! Events whose stage, row and record do not go together.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};

use super::{spawn, tell_apart};

#[test]
fn f31_a_stage_that_is_written_beside_the_queue_says_what_was_written_last() {
    tell_apart(|is_right| {
        // Whether the event is in the queue, and whether its stage says that it waits.
        let shared = Arc::new((Mutex::new(true), Mutex::new(true)));
        let change = move |(in_queue, waits): &(Mutex<bool>, Mutex<bool>), from: bool| {
            let mut in_queue = in_queue.lock().unwrap();
            if *in_queue != from {
                return;
            }
            *in_queue = !from;
            if !is_right {
                drop(in_queue);
            }
            *waits.lock().unwrap() = !from;
        };
        let taker = spawn(&shared, move |shared| change(shared, true));
        change(&shared, false);
        taker.join().unwrap();
        assert_eq!(*shared.0.lock().unwrap(), *shared.1.lock().unwrap());
    });
}

/// Whether the event has left, whether it is listed among those that have, and whether its record is
/// gone; beside it, how many stand in that list.
type Listed = (Mutex<(bool, bool, bool)>, Mutex<usize>);

fn prune((record, list): &Listed, marks: bool) {
    if std::mem::take(&mut *list.lock().unwrap()) == 0 {
        return;
    }
    let mut record = record.lock().unwrap();
    match record.0 {
        true => record.2 = true,
        // Passed over: it is to be listed again when it leaves.
        false => record.1 &= !marks,
    }
}

#[test]
fn f8_an_entry_that_is_passed_over_without_a_mark_is_kept_for_ever() {
    tell_apart(|is_right| {
        let shared = Arc::new((Mutex::new((true, true, false)), Mutex::new(1)));
        let pruner = spawn(&shared, move |shared| prune(shared, is_right));
        let (record, list) = &*shared;
        // It comes back, unless its record is gone, and leaves again.
        let comes_back = {
            let mut record = record.lock().unwrap();
            record.0 = record.2;
            !record.2
        };
        if comes_back {
            let mut record = record.lock().unwrap();
            record.0 = true;
            let is_new = !std::mem::replace(&mut record.1, true);
            drop(record);
            *list.lock().unwrap() += usize::from(is_new);
        }
        pruner.join().unwrap();
        prune(&shared, is_right);
        assert!(shared.0.lock().unwrap().2, "nobody looks at it any more");
    });
}

#[test]
fn f12_a_return_that_is_written_after_the_event_waits_undoes_a_take() {
    tell_apart(|is_right| {
        // Whether the event waits, and whether its row says so.
        let shared = Arc::new((Mutex::new(false), Mutex::new(false)));
        let taker = spawn(&shared, |(waits, row)| {
            if std::mem::take(&mut *waits.lock().unwrap()) {
                *row.lock().unwrap() = false;
            }
        });
        let (waits, row) = &*shared;
        if is_right {
            *row.lock().unwrap() = true;
        }
        *waits.lock().unwrap() = true;
        if !is_right {
            *row.lock().unwrap() = true;
        }
        taker.join().unwrap();
        assert_eq!(*waits.lock().unwrap(), *row.lock().unwrap());
    });
}

#[test]
fn f12_an_ack_that_does_not_pin_its_event_delivers_it_twice() {
    tell_apart(|is_right| {
        // The event's lease, which the timer may end, and whether it is written that it was delivered.
        let shared = Arc::new((Mutex::new(true), Mutex::new(false)));
        let timer = spawn(&shared, |(leased, _)| std::mem::take(&mut *leased.lock().unwrap()));
        let (leased, row) = &*shared;
        let holds = match is_right {
            true => std::mem::take(&mut *leased.lock().unwrap()),
            false => *leased.lock().unwrap(),
        };
        if holds {
            *row.lock().unwrap() = true;
        }
        let waits_again = timer.join().unwrap();
        assert_ne!(*row.lock().unwrap(), waits_again);
    });
}

#[test]
fn f12_an_event_on_its_way_out_that_is_given_another_claim_is_lost() {
    tell_apart(|is_right| {
        const CLAIM: u8 = 2;
        // The events: under which claim, and whether it is on its way out. Only an ack under the
        // claim of now is accepted.
        let events = Arc::new(Mutex::new(vec![(1, false)]));
        let acker = spawn(&events, |events| {
            let claim = {
                let event = &mut events.lock().unwrap()[0];
                event.1 = true;
                event.0
            };
            events.lock().unwrap().remove(0);
            claim == CLAIM
        });
        {
            let mut events = events.lock().unwrap();
            match events.first_mut() {
                Some(event) if !(is_right && event.1) => event.0 = CLAIM,
                _ => events.push((CLAIM, false)),
            }
        }
        let is_delivered = acker.join().unwrap();
        assert_eq!(usize::from(is_delivered) + events.lock().unwrap().len(), 1);
    });
}

#[test]
fn f14_an_epoch_that_is_asked_for_outside_the_lock_lets_an_old_event_wait() {
    tell_apart(|is_right| {
        // The epoch, and how many events of the first one wait.
        let shared = Arc::new((Mutex::new(1), Mutex::new(0)));
        let ender = spawn(&shared, move |(epoch, waiting)| {
            let asked = (!is_right).then(|| *epoch.lock().unwrap());
            let mut waiting = waiting.lock().unwrap();
            let epoch = asked.unwrap_or_else(|| *epoch.lock().unwrap());
            *waiting += usize::from(epoch == 1);
        });
        {
            let mut waiting = shared.1.lock().unwrap();
            *shared.0.lock().unwrap() = 2;
            *waiting = 0;
        }
        ender.join().unwrap();
        assert_eq!(*shared.1.lock().unwrap(), 0);
    });
}

#[test]
fn f32_who_is_told_of_a_key_as_soon_as_it_is_known_may_find_no_row() {
    tell_apart(|is_right| {
        // Whether the key is known, whether the row is written, and who is told of that.
        let shared = Arc::new((Mutex::new(false), Mutex::new(false), Condvar::new()));
        let second = spawn(&shared, move |(key, row, written)| {
            if !*key.lock().unwrap() {
                return;
            }
            let mut row = row.lock().unwrap();
            while is_right && !*row {
                row = written.wait(row).unwrap();
            }
            assert!(*row);
        });
        let (key, row, written) = &*shared;
        *key.lock().unwrap() = true;
        *row.lock().unwrap() = true;
        written.notify_all();
        second.join().unwrap();
    });
}
