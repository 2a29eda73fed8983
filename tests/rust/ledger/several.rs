//! Several instances on one file, as several processes have it.

use hermes_core::ledger::Holder;
use hermes_core::registry::Delivery;
use rusqlite::Connection;

use super::*;

/// One file, two processes, each with a clock of its own.
struct Two {
    folder: Folder,
    first_clock: Arc<Hands>,
    second_clock: Arc<Hands>,
    first: Arc<SqliteLedger>,
    second: Arc<SqliteLedger>,
}

impl Two {
    fn new() -> Self {
        let folder = Folder::new();
        let (first_clock, second_clock) = (Hands::new(), Hands::new());
        let first = process(&folder.file(), &first_clock);
        let second = process(&folder.file(), &second_clock);
        Self { folder, first_clock, second_clock, first, second }
    }

    /// Time goes by for both.
    fn pass(&self, millis: Millis) {
        self.first_clock.pass(millis);
        self.second_clock.pass(millis);
    }

    /// Has the first do what is due.
    fn first_is_awake(&self) {
        assert!(self.first.flush(soon()));
    }

    /// The first is dead from now on, and its lease over.
    fn first_dies(&self) {
        self.second_clock.pass(LEASE + 1);
        // Time that passed alike on both clocks of a machine is no reason for grace.
    }
}

fn pending(ledger: &SqliteLedger, id: &str) {
    dispatch(ledger, id);
    done(ledger, finish(id));
}

#[test]
fn what_another_instance_holds_is_left_alone() {
    let two = Two::new();
    dispatch(&*two.first, "running");
    pending(&two.first, "pending");
    assert_eq!(ids(&*two.second, Which::Elsewhere), ["running", "pending"]);
    let until = 1_000_000 + LEASE;
    for id in ["running", "pending"] {
        assert_eq!(row(&*two.second, id).holder, Holder::Other { until });
        assert_eq!(adopt(&*two.second, id), None);
    }
    assert_eq!(row(&*two.second, "running").state, State::Running);
    assert_eq!(ids(&*two.second, Which::Running), ["running"]);
    fenced(&*two.second, finish("running"));
    fenced(&*two.second, Write::Ack(hold("pending", 1)));
    fenced(&*two.second, Write::Redeliver("pending".into()));
    fenced(&*two.second, Write::Discard("pending".into()));
    fenced(&*two.second, Write::Discard("running".into()));
    done(&*two.first, finish("running"));
    done(&*two.first, Write::Ack(hold("pending", 1)));
}

/// F3, F11: what a dead process ran is lost, once, and it cannot come back and say otherwise.
#[test]
fn what_a_dead_process_ran_is_lost_once() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    two.first_dies();
    let lost = row(&*two.second, "d");
    assert_eq!((lost.state, lost.delivery), (State::Lost, Delivery::NotYet));
    assert_eq!((lost.holder, &*lost.record), (Holder::Nobody, "{\"goal\":\"d\"}"));
    assert!(ids(&*two.second, Which::Running).is_empty());
    assert_eq!(ids(&*two.second, Which::Elsewhere), ["d"]);

    let adopted = adopt(&*two.second, "d").unwrap();
    assert_eq!((adopted.state, adopted.delivery), (State::Lost, Delivery::Pending));
    assert_eq!((adopted.holder, adopted.event), (Holder::Us, None));
    assert!(adopted.completed_at.is_some() && adopted.hold.fence > 1);
    assert_eq!(adopt(&*two.second, "d"), None);
    assert_eq!(adopt(&*two.first, "d"), None);

    fenced(&*two.first, finish("d"));
    fenced(&*two.first, Write::Withdraw(hold("d", 1)));
    done(&*two.second, Write::Ack(adopted.hold));
    assert_eq!(row(&*two.first, "d").delivery, Delivery::Delivered);
    assert_eq!(row(&*two.first, "d").state, State::Lost);
}

/// F11: after a restart, what was delivered does not come back, and the rest does once.
#[test]
fn a_restart_brings_back_what_was_not_delivered() {
    let folder = Folder::new();
    let clock = Hands::new();
    let first = process(&folder.file(), &clock);
    pending(&first, "delivered");
    done(&*first, Write::Ack(hold("delivered", 1)));
    pending(&first, "pending");
    done(&*first, Write::Attempts { hold: hold("pending", 1), attempts: 2 });
    drop(first);

    let later = Hands::at(1_000_000 + LEASE + 1);
    let second = process(&folder.file(), &later);
    assert_eq!(ids(&*second, Which::Elsewhere), ["pending"]);
    let adopted = second.adopt(&["delivered", "pending", "nothing"]).unwrap();
    assert_eq!(adopted.len(), 1);
    assert_eq!((adopted[0].state, adopted[0].attempts), (State::Completed, 2));
    assert_eq!(adopted[0].event.as_deref(), Some("{\"summary\":\"pending\"}"));
    fenced(&*second, Write::Ack(hold("pending", 1)));
    done(&*second, Write::Ack(adopted[0].hold.clone()));
    assert!(ids(&*second, Which::Elsewhere).is_empty());
}

/// F11: of two that want it, one gets it.
#[test]
fn one_of_many_adopts() {
    let two = Two::new();
    for number in 0..20 {
        pending(&two.first, &number.to_string());
    }
    assert!(two.first.release(soon()));
    let names: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let third = process(&two.folder.file(), &Hands::new());
    let adopted: usize = std::thread::scope(|scope| {
        let all = [&two.first, &two.second, &third].map(|ledger| {
            let names = &names;
            scope.spawn(move || ledger.adopt(names).unwrap().len())
        });
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(adopted, 20);
}

#[test]
fn who_leaves_in_order_gives_up_what_it_holds_at_once() {
    let two = Two::new();
    dispatch(&*two.first, "running");
    pending(&two.first, "pending");
    assert!(two.first.release(soon()));
    assert_eq!(row(&*two.second, "running").state, State::Lost);
    assert_eq!(row(&*two.second, "pending").holder, Holder::Nobody);
    fenced(&*two.first, finish("running"));
    fenced(&*two.first, Write::Ack(hold("pending", 1)));
    assert!(adopt(&*two.second, "running").is_some());
    assert!(adopt(&*two.second, "pending").is_some());
    // It may go on, as another.
    dispatch(&*two.first, "next");
    done(&*two.first, finish("next"));
}

#[test]
fn who_is_dropped_gives_up_what_it_holds() {
    let Two { folder, first, second, .. } = Two::new();
    pending(&first, "d");
    let signal = Arc::new(Signal::for_this_thread());
    assert_eq!(second.notice(&signal), None);
    drop(first);
    let gone_by = soon();
    while adopt(&*second, "d").is_none() {
        assert!(Instant::now() < gone_by);
    }
    drop(folder);
}

#[test]
fn who_lives_renews() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    for _ in 0..10 {
        two.pass(LEASE / 2);
        two.first_is_awake();
        assert!(matches!(row(&*two.second, "d").holder, Holder::Other { .. }));
        assert_eq!(adopt(&*two.second, "d"), None);
    }
    done(&*two.first, finish("d"));
}

#[test]
fn after_a_sleep_others_get_a_term_to_renew() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    row(&*two.second, "d");
    // The machine sleeps: the wall clock runs, the steady one does not.
    two.first_clock.set(100 * LEASE);
    two.second_clock.set(100 * LEASE);
    let now = two.second_clock.now().wall;
    assert_eq!(row(&*two.second, "d").holder, Holder::Other { until: now + LEASE });
    assert_eq!(adopt(&*two.second, "d"), None);
    fenced(&*two.second, Write::Discard("d".into()));
    two.first_clock.pass(LEASE / 3);
    two.first_is_awake();
    two.second_clock.pass(LEASE);
    assert!(matches!(row(&*two.second, "d").holder, Holder::Other { .. }));
    // The term is over, and so is the lease.
    two.second_clock.pass(LEASE);
    assert!(adopt(&*two.second, "d").is_some());
}

#[test]
fn a_clock_that_was_set_back_locks_nothing_for_long() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    two.second_clock.set(-900_000);
    let now = two.second_clock.now().wall;
    assert_eq!(row(&*two.second, "d").holder, Holder::Other { until: now + LEASE });
    // Whoever looks when it was told to makes of it what can be a lease.
    two.second.look_after(now + LEASE);
    two.second_clock.pass(LEASE);
    row(&*two.second, "d");
    assert_eq!(notice(&*two.second), Notice::Look);
    two.second_clock.pass(LEASE + 1);
    assert!(adopt(&*two.second, "d").is_some());
}

#[test]
fn a_clock_that_was_set_back_does_not_end_what_lives() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    two.first_clock.set(-900_000);
    two.second_clock.set(-900_000);
    for _ in 0..10 {
        two.pass(LEASE / 2);
        two.first_is_awake();
        assert_eq!(adopt(&*two.second, "d"), None);
    }
    done(&*two.first, finish("d"));
}

#[test]
fn a_look_comes_when_it_was_asked_for() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    let Holder::Other { until } = row(&*two.second, "d").holder else { panic!("it is held") };
    two.second.look_after(until);
    row(&*two.second, "d");
    assert!(notices(&*two.second).is_empty());
    two.second_clock.pass(LEASE);
    row(&*two.second, "d");
    assert_eq!(notice(&*two.second), Notice::Look);
    assert_eq!(row(&*two.second, "d").state, State::Lost);
    row(&*two.second, "d");
    assert!(notices(&*two.second).is_empty());
}

#[test]
fn a_look_that_finds_the_file_locked_comes_later() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    let Holder::Other { until } = row(&*two.second, "d").holder else { panic!("it is held") };
    two.second.look_after(until);
    row(&*two.second, "d");
    let other = Connection::open(two.folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    two.second_clock.pass(LEASE);
    // What is read is answered before what is due is done: the second answer comes after the try.
    row(&*two.second, "d");
    row(&*two.second, "d");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(notice(&*two.second), Notice::Look);
}

#[test]
fn a_put_of_what_waits_lets_go_of_nothing() {
    let two = Two::new();
    pending(&two.first, "d");
    fenced(&*two.first, Write::Reopen(hold("d", 1)));
    for _ in 0..4 {
        two.pass(LEASE / 2);
        two.first_is_awake();
        assert_eq!(adopt(&*two.second, "d"), None);
    }
    done(&*two.first, Write::Ack(hold("d", 1)));
}

#[test]
fn what_ends_parked_is_held_no_longer() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    done(&*two.first, Write::NewEpoch("a".into()));
    done(&*two.first, finish("d"));
    let commits = two.first.health().commits;
    two.pass(LEASE);
    two.first_is_awake();
    assert_eq!(two.first.health().commits, commits, "there is nothing to renew a lease for");
}

#[test]
fn a_look_comes_of_itself() {
    let folder = Folder::new();
    let machine = Machine { shares_writer: false, ..Machine::default() };
    let ledger = SqliteLedger::on(options(&folder.file()), machine);
    dispatch(&*ledger, "d");
    ledger.look_after(0);
    assert_eq!(notice(&*ledger), Notice::Look);
}

#[test]
fn whoever_runs_it_hears_with_its_renewal_that_it_is_to_stop() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    done(&*two.second, Write::Cancel("d".into()));
    two.first_is_awake();
    assert!(notices(&*two.first).is_empty());
    two.pass(LEASE / 3);
    two.first_is_awake();
    assert_eq!(notice(&*two.first), Notice::Cancel("d".into()));
    assert!(notices(&*two.second).is_empty());
    two.pass(LEASE / 3);
    two.first_is_awake();
    assert!(notices(&*two.first).is_empty());
    two.first_dies();
    fenced(&*two.second, Write::Cancel("d".into()));
}

#[test]
fn who_holds_something_hears_of_what_others_give_up() {
    let two = Two::new();
    dispatch(&*two.first, "ours");
    pending(&two.second, "theirs");
    done(&*two.second, Write::Bury { hold: hold("theirs", 1), attempts: 1 });
    two.pass(LEASE / 3);
    two.first_is_awake();
    assert!(notices(&*two.first).is_empty());
    done(&*two.second, Write::Redeliver("theirs".into()));
    two.pass(LEASE / 3);
    two.first_is_awake();
    assert_eq!(notice(&*two.first), Notice::Look);
    two.pass(LEASE / 3);
    two.first_is_awake();
    // Once is enough.
    assert!(notices(&*two.first).is_empty());
}

/// A parked delegation of a dead process can be sent out by hand, and is not lost twice.
#[test]
fn what_was_parked_while_it_ran_is_lost_and_stays_parked() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    done(&*two.first, Write::NewEpoch("a".into()));
    fenced(&*two.second, Write::Redeliver("d".into()));
    two.first_dies();
    let parked = row(&*two.second, "d");
    assert_eq!((parked.state, parked.delivery), (State::Lost, Delivery::Parked));
    assert!(ids(&*two.second, Which::Elsewhere).is_empty());
    assert_eq!(adopt(&*two.second, "d"), None);
    done(&*two.second, Write::Redeliver("d".into()));
    let adopted = adopt(&*two.second, "d").unwrap();
    assert_eq!((adopted.state, adopted.delivery), (State::Lost, Delivery::Pending));
}

#[test]
fn what_was_lost_can_be_given_up_by_hand() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    two.first_dies();
    fenced(&*two.second, Write::Redeliver("d".into()));
    done(&*two.second, Write::Discard("d".into()));
    let dropped = row(&*two.second, "d");
    assert_eq!((dropped.state, dropped.delivery), (State::Lost, Delivery::Dropped));
    fenced(&*two.first, finish("d"));
}

/// F18: what one home has, another does not see.
#[test]
fn two_files_know_nothing_of_each_other() {
    let (one, other) = (Folder::new(), Folder::new());
    let (one, other) = (
        (SqliteLedger::new(options(&one.file())), one),
        (SqliteLedger::new(options(&other.file())), other),
    );
    pending(&one.0, "d");
    assert_eq!(find(&*other.0, "d"), None);
    assert!(ids(&*other.0, Which::Elsewhere).is_empty());
    done(&*other.0, Write::NewEpoch("a".into()));
    fenced(&*other.0, Write::Discard("d".into()));
    assert_eq!(row(&*one.0, "d").delivery, Delivery::Pending);
}

#[test]
fn two_ledgers_of_a_file_in_one_process_are_one_instance() {
    let folder = Folder::new();
    let first = SqliteLedger::new(options(&folder.file()));
    let link = folder.0.join("link.db");
    dispatch(&*first, "d");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    let second = SqliteLedger::new(options(&link));
    assert_eq!(row(&*second, "d").holder, Holder::Us);
    done(&*second, Write::Cancel("d".into()));
    for ledger in [&first, &second] {
        assert_eq!(notice(&**ledger), Notice::Cancel("d".into()));
    }
    drop(first);
    done(&*second, finish("d"));
    assert_eq!(row(&*second, "d").holder, Holder::Us);
}
