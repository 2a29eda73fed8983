//! Several instances on one file, as several processes have it.

use std::thread;

use hermes_core::ledger::Holder;
use hermes_core::state::Delivery;
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

    fn both_are_awake(&self) {
        assert!(self.first.flush(soon()) && self.second.flush(soon()));
    }

    /// The first is dead from now on, and its lease over.
    fn first_dies(&self) {
        self.second_clock.pass(LEASE + 1);
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
    fenced(&*two.second, Write::Ack(claim("pending", 1)));
    fenced(&*two.second, Write::Redeliver("pending".into()));
    fenced(&*two.second, Write::Discard("running".into()));
    done(&*two.first, finish("running"));
    done(&*two.first, Write::Ack(claim("pending", 1)));
}

/// F3, F11, F38: what a dead process ran is lost, once; if it comes back, its result is late.
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
    assert!(adopted.completed_at.is_some() && adopted.claim.fence > 1);
    assert_eq!(adopt(&*two.second, "d"), None);
    assert_eq!(adopt(&*two.first, "d"), None);

    fenced(&*two.first, Write::Withdraw(claim("d", 1)));
    fenced(&*two.first, Write::Ack(claim("d", 1)));
    done(&*two.second, Write::Ack(adopted.claim));
    assert_eq!(row(&*two.first, "d").delivery, Delivery::Delivered);
    assert_eq!(row(&*two.first, "d").state, State::Lost);
    // What it says after all is told as what it is: late.
    let late = write(&*two.first, finish("d"));
    assert!(matches!(late, Ok(Outcome::Late { .. })), "{late:?}");
}

/// F11: after a restart, what was delivered does not come back, and the rest does once.
#[test]
fn a_restart_brings_back_what_was_not_delivered() {
    let folder = Folder::new();
    let clock = Hands::new();
    let first = process(&folder.file(), &clock);
    pending(&first, "delivered");
    done(&*first, Write::Ack(claim("delivered", 1)));
    pending(&first, "pending");
    done(&*first, Write::Attempts { claim: claim("pending", 1), attempts: 2 });
    drop(first);

    let later = Hands::at(1_000_000 + LEASE + 1);
    let second = process(&folder.file(), &later);
    assert_eq!(ids(&*second, Which::Elsewhere), ["pending"]);
    let adopted = second.adopt(&["delivered", "pending", "nothing"]).unwrap();
    assert_eq!(adopted.len(), 1);
    assert_eq!((adopted[0].state, adopted[0].attempts), (State::Completed, 2));
    assert_eq!(adopted[0].event.as_deref(), Some("{\"summary\":\"pending\"}"));
    fenced(&*second, Write::Ack(claim("pending", 1)));
    done(&*second, Write::Ack(adopted[0].claim.clone()));
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
    for id in ["queued", "begun"] {
        done(&*two.first, Write::Dispatch(NewDelegation { is_queued: true, ..new(id) }));
    }
    done(&*two.first, Write::Begin(claim("begun", 1)));
    assert!(two.first.release(soon()));
    assert_eq!(row(&*two.second, "running").state, State::Lost);
    // Of what is lost it is known whether it ever began, whoever takes it over.
    for (id, has_begun) in [("queued", false), ("begun", true), ("running", true)] {
        let row = row(&*two.second, id);
        assert_eq!((row.state, row.has_begun), (State::Lost, has_begun), "{id}");
    }
    fenced(&*two.first, Write::Begin(claim("queued", 1)));
    assert!(!adopt(&*two.second, "queued").unwrap().has_begun);
    assert!(adopt(&*two.second, "begun").unwrap().has_begun);
    assert_eq!(row(&*two.second, "pending").holder, Holder::Nobody);
    fenced(&*two.first, Write::Withdraw(claim("running", 1)));
    fenced(&*two.first, Write::Ack(claim("pending", 1)));
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
        // There is no event to wait for: nobody tells who holds nothing. Without a pause the other,
        // who is to leave, may never find the file unlocked.
        thread::sleep(Duration::from_millis(5));
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
fn a_look_comes_when_it_was_asked_for() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    let Holder::Other { until } = row(&*two.second, "d").holder else { panic!("it is held") };
    two.second.look_again(until);
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
    two.second.look_again(until);
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
    fenced(&*two.first, Write::Reopen(claim("d", 1)));
    for _ in 0..4 {
        two.pass(LEASE / 2);
        two.first_is_awake();
        assert_eq!(adopt(&*two.second, "d"), None);
    }
    done(&*two.first, Write::Ack(claim("d", 1)));
}

#[test]
fn what_ends_parked_is_held_no_longer() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    done(&*two.first, Write::NewEpoch("a".into()));
    assert_eq!(write(&*two.first, finish("d")), Ok(Outcome::Parked));
    let commits = two.first.health().commits;
    two.pass(LEASE);
    two.first_is_awake();
    assert_eq!(two.first.health().commits, commits, "there is nothing to renew a lease for");
}

/// F11: what one process parks is not sent out anew while another may still hand it out.
#[test]
fn what_another_parks_is_its_holder_s_until_that_has_heard_of_it() {
    let two = Two::new();
    pending(&two.first, "d");
    pending(&two.first, "handed out");
    pending(&two.second, "its own");
    done(&*two.second, Write::NewEpoch("a".into()));
    assert_eq!(row(&*two.second, "its own").holder, Holder::Nobody);
    for id in ["d", "handed out"] {
        assert_eq!(row(&*two.first, id).delivery, Delivery::Parked);
        assert_eq!(row(&*two.first, id).holder, Holder::Us);
        assert!(ids(&*two.second, Which::Elsewhere).is_empty());
        fenced(&*two.second, Write::Redeliver(id.into()));
    }
    done(&*two.first, Write::Ack(claim("handed out", 1)));
    assert!(notices(&*two.first).is_empty());

    two.pass(LEASE / 3);
    two.first_is_awake();
    assert_eq!(notice(&*two.first), Notice::Park("d".into()));
    fenced(&*two.second, Write::Redeliver("d".into()));
    done(&*two.first, Write::Park(claim("d", 1)));
    done(&*two.second, Write::Redeliver("d".into()));
    fenced(&*two.first, Write::Ack(claim("d", 1)));
    let adopted = adopt(&*two.first, "d").unwrap();
    assert_eq!((adopted.delivery, adopted.holder), (Delivery::Pending, Holder::Us));
    two.pass(LEASE / 3);
    two.both_are_awake();
    assert!(!notices(&*two.first).iter().any(Notice::is_request));
    assert!(!notices(&*two.second).iter().any(Notice::is_request));
}

/// What was parked under a dead process is nobody's, and asks nothing of who has it next.
#[test]
fn a_request_goes_with_the_claim_that_it_was_made_of() {
    let two = Two::new();
    pending(&two.first, "d");
    done(&*two.second, Write::NewEpoch("a".into()));
    two.first_dies();
    done(&*two.second, Write::Redeliver("d".into()));
    adopt(&*two.second, "d").unwrap();
    two.second_clock.pass(LEASE / 3);
    assert!(two.second.flush(soon()));
    assert!(!notices(&*two.second).iter().any(Notice::is_request));
}

#[test]
fn a_look_comes_of_itself() {
    let folder = Folder::new();
    let machine = Machine { shares_writer: false, ..Machine::default() };
    let ledger = SqliteLedger::on(options(&folder.file()), machine);
    dispatch(&*ledger, "d");
    ledger.look_again(0);
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

/// F40: whoever holds an event hears with its renewal that it is to be dropped, until it is.
#[test]
fn whoever_holds_it_hears_with_its_renewal_that_it_is_to_be_dropped() {
    let two = Two::new();
    pending(&two.first, "d");
    asked(&*two.second, Write::Discard("d".into()));
    two.first_is_awake();
    assert!(notices(&*two.first).is_empty());
    for _ in 0..2 {
        two.pass(LEASE / 3);
        two.first_is_awake();
        assert_eq!(notice(&*two.first), Notice::Drop(claim("d", 1)));
        assert!(matches!(row(&*two.second, "d").holder, Holder::Other { .. }));
    }
    done(&*two.first, Write::Drop(claim("d", 1)));
    assert_eq!(row(&*two.second, "d").delivery, Delivery::Dropped);
    two.pass(LEASE / 3);
    two.both_are_awake();
    assert!(notices(&*two.first).is_empty() && notices(&*two.second).is_empty());
}

/// F40: whichever of the two is asked first, what is to be parked and dropped is dropped.
#[test]
fn what_is_parked_and_dropped_by_others_is_dropped() {
    let epoch = || Write::NewEpoch("a".into());
    let discard = || Write::Discard("d".into());
    for is_parked_first in [true, false] {
        let two = Two::new();
        pending(&two.first, "d");
        if is_parked_first {
            done(&*two.second, epoch());
        }
        asked(&*two.second, discard());
        done(&*two.second, epoch());
        assert!(matches!(row(&*two.second, "d").holder, Holder::Other { .. }));
        two.pass(LEASE / 3);
        two.first_is_awake();
        assert_eq!(notices(&*two.first), [Notice::Drop(claim("d", 1))]);
        done(&*two.first, Write::Park(claim("d", 1)));
        assert_eq!(row(&*two.second, "d").delivery, Delivery::Dropped);
    }
}

/// F40: what its holder has no time to drop any more is dropped all the same, and comes to nobody.
#[test]
fn what_its_holder_was_asked_to_drop_does_not_outlive_its_hold() {
    type Leave = fn(&Two);
    let ways: [(&str, Leave); 4] = [
        ("released", |two| assert!(two.first.release(soon()))),
        ("left", |two| two.first.leave()),
        ("killed", |two| two.first_dies()),
        ("of an earlier release", |two| {
            let db = Connection::open(two.folder.file()).unwrap();
            db.execute("DELETE FROM instances", []).unwrap();
        }),
    ];
    for (how, leave) in ways {
        let two = Two::new();
        pending(&two.first, "d");
        pending(&two.first, "e");
        asked(&*two.second, Write::Discard("d".into()));
        leave(&two);
        assert!(two.first.flush(soon()));
        assert_eq!(two.second.adopt(&["d", "e"]).unwrap().len(), 1, "{how}");
        let dropped = row(&*two.second, "d");
        assert_eq!(
            (dropped.delivery, dropped.holder),
            (Delivery::Dropped, Holder::Nobody),
            "{how}"
        );
        assert_eq!(row(&*two.second, "e").holder, Holder::Us, "{how}");
        fenced(&*two.first, Write::Ack(claim("d", 1)));
        done(&*two.second, Write::Redeliver("d".into()));
        assert!(adopt(&*two.second, "d").is_some(), "{how}");
    }
}

/// A result that comes late is not told where its task, told as lost, is to be dropped by hand.
#[test]
fn a_late_result_of_what_is_to_be_dropped_is_discarded() {
    let two = Two::new();
    dispatch(&*two.first, "d");
    two.first_dies();
    let lost = adopt(&*two.second, "d").unwrap();
    asked(&*two.first, Write::Discard("d".into()));
    fenced(&*two.first, finish("d"));
    done(&*two.second, Write::Drop(lost.claim));
}

#[test]
fn who_holds_something_hears_of_what_others_give_up() {
    let two = Two::new();
    dispatch(&*two.first, "ours");
    dispatch(&*two.second, "theirs too");
    pending(&two.second, "theirs");
    done(&*two.second, Write::Bury { claim: claim("theirs", 1), attempts: 1 });
    two.pass(LEASE / 3);
    two.both_are_awake();
    assert!(notices(&*two.first).is_empty());
    done(&*two.second, Write::Redeliver("theirs".into()));
    two.pass(LEASE / 3);
    two.both_are_awake();
    assert_eq!(notice(&*two.first), Notice::Look);
    two.pass(LEASE / 3);
    two.both_are_awake();
    // Once is enough.
    assert!(notices(&*two.first).is_empty());
}

/// F40: each of very many requests at once is heard.
#[test]
fn every_request_to_stop_is_heard() {
    let two = Two::new();
    let names: Vec<_> = (0..3_000).map(|number| number.to_string()).collect();
    let receipts: Vec<_> =
        names.iter().map(|id| two.first.submit(Write::Dispatch(new(id)))).collect();
    assert!(receipts.iter().all(|receipt| receipt.wait(Some(soon())) == Ok(Outcome::Done)));
    for id in &names {
        two.second.submit(Write::Cancel((**id).into()));
    }
    assert!(two.second.flush(soon()));
    two.pass(LEASE / 3);
    two.first_is_awake();
    let heard = notices(&*two.first).into_iter().filter(Notice::is_request).count();
    assert_eq!(heard, names.len());
}

/// F44: what is counted of an event waits once, and is written before what follows from it.
#[test]
fn an_event_that_is_handed_out_very_often_fills_no_memory() {
    let two = Two::new();
    pending(&two.first, "d");
    pending(&two.first, "e");
    for attempts in 1..=10_000 {
        two.first.submit(Write::Attempts { claim: claim("d", 1), attempts });
        assert!(two.first.health().waiting <= 2);
    }
    done(&*two.first, Write::Ack(claim("d", 1)));
    two.first.submit(Write::Attempts { claim: claim("e", 1), attempts: 7 });
    two.first.submit(Write::Bury { claim: claim("e", 1), attempts: 8 });
    done(&*two.first, Write::Redeliver("e".into()));
    let (d, e) = (row(&*two.first, "d"), row(&*two.first, "e"));
    assert_eq!((d.attempts, d.delivery), (10_000, Delivery::Delivered));
    assert_eq!((e.attempts, e.delivery, e.claim.fence), (0, Delivery::Pending, 2));
}

/// A parked delegation of a dead process can be sent out when asked, and is not lost twice.
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
fn what_was_lost_can_be_given_up_when_asked() {
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

/// F40: two ledgers of a file share its writer, and hold nothing of each other's.
#[test]
fn two_ledgers_of_a_file_in_one_process_are_two_instances() {
    let folder = Folder::new();
    let first = SqliteLedger::new(options(&folder.file()));
    let link = folder.0.join("link.db");
    dispatch(&*first, "d");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    let second = SqliteLedger::new(options(&link));
    assert_eq!(row(&*first, "d").holder, Holder::Us);
    assert!(matches!(row(&*second, "d").holder, Holder::Other { .. }));
    assert!(first.is_surely_ours() && !second.is_surely_ours());
    fenced(&*second, finish("d"));
    assert_eq!(adopt(&*second, "d"), None);
    // A request is heard by whom it concerns, at once.
    done(&*second, Write::Cancel("d".into()));
    assert_eq!(notice(&*first), Notice::Cancel("d".into()));
    assert!(notices(&*first).is_empty() && notices(&*second).is_empty());
    done(&*first, finish("d"));
    asked(&*second, Write::Discard("d".into()));
    assert_eq!(notices(&*first), [Notice::Drop(claim("d", 1))]);
    assert!(notices(&*second).is_empty());
    dispatch(&*first, "e");
    done(&*first, finish("e"));
    done(&*second, Write::NewEpoch("a".into()));
    assert_eq!(notices(&*first), [Notice::Drop(claim("d", 1)), Notice::Park("e".into())]);
    assert!(notices(&*second).is_empty());
}

/// F40: what a ledger held that is dropped is free at once, and the others of the process hear of it.
#[test]
fn a_ledger_that_is_dropped_leaves_what_it_held_to_the_others() {
    let folder = Folder::new();
    let look = SqliteLedger::new(options(&folder.file()));
    let first = SqliteLedger::new(options(&folder.file()));
    dispatch(&*first, "running");
    pending(&first, "pending");
    first.submit(Write::Attempts { claim: claim("pending", 1), attempts: 2 });
    dispatch(&*look, "its own");
    drop(first);
    assert_eq!(notice(&*look), Notice::Look);
    assert_eq!(ids(&*look, Which::Free), ["running", "pending"]);
    let adopted = look.adopt(&["pending", "running"]).unwrap();
    assert_eq!((adopted[0].state, adopted[1].attempts), (State::Lost, 2));
    done(&*look, finish("its own"));
}

#[test]
fn a_ledger_that_leaves_goes_on_as_another() {
    let folder = Folder::new();
    let first = SqliteLedger::new(options(&folder.file()));
    let second = first.another().unwrap();
    pending(&first, "d");
    dispatch(&*second, "e");
    first.leave();
    assert_eq!(adopt(&*second, "d").unwrap().claim.fence, 2);
    fenced(&*first, Write::Ack(claim("d", 1)));
    dispatch(&*first, "f");
    assert_eq!(row(&*first, "f").holder, Holder::Us);
    drop(first);
    done(&*second, finish("e"));
    done(&*second, Write::Ack(claim("d", 2)));
}

/// F40: instances of one ledger hold nothing of each other's; as the ledger reads it, all is held here.
#[test]
fn another_instance_holds_its_own() {
    let folder = Folder::new();
    let ledger = SqliteLedger::new(options(&folder.file()));
    let first = ledger.another().unwrap();
    let second = first.another().unwrap();
    pending(&ledger, "nobody's registry");
    for (one, id) in [(&first, "first"), (&second, "second")] {
        dispatch(&**one, id);
        done(&**one, finish(id));
        dispatch(&**one, &format!("{id} runs"));
    }
    assert_eq!(row(&*first, "first").holder, Holder::Us);
    assert!(matches!(row(&*first, "second").holder, Holder::Other { .. }));
    assert_eq!(ids(&*first, Which::Elsewhere), ["nobody's registry", "second", "second runs"]);
    assert_eq!(ids(&*first, Which::ElsewhereOf("a")), ["nobody's registry", "second"]);
    for id in ["nobody's registry", "first", "first runs", "second", "second runs"] {
        assert_eq!(row(&*ledger, id).holder, Holder::Us, "{id}");
    }
    assert!(ids(&*ledger, Which::Elsewhere).is_empty());
    assert!(ids(&*ledger, Which::ElsewhereOf("a")).is_empty());
    assert_eq!(adopt(&*ledger, "first"), None);
    fenced(&*second, Write::Ack(claim("first", 1)));
    // A request is heard by whom it concerns, and by nobody else.
    for one in [&*ledger as &dyn Ledger, &*first, &*second] {
        notices(one);
    }
    asked(&*ledger, Write::Discard("first".into()));
    done(&*ledger, Write::Cancel("second runs".into()));
    assert_eq!(notices(&*first), [Notice::Drop(claim("first", 1))]);
    assert_eq!(notices(&*second), [Notice::Cancel("second runs".into())]);
    assert!(notices(&*ledger).is_empty());
    // What one lets go of, the others of the process hear of.
    done(&*first, Write::GiveBack(claim("first runs", 1)));
    assert!(notices(&*first).is_empty());
    assert_eq!(notices(&*second), [Notice::Look]);
    assert_eq!(adopt(&*second, "first runs").unwrap().state, State::Lost);
    drop(first);
    assert!(second.flush(soon()));
    assert_eq!(notices(&*second), [Notice::Drop(claim("first", 1)), Notice::Look]);
    assert_eq!(row(&*ledger, "first").delivery, Delivery::Dropped);
    assert_eq!(row(&*ledger, "second runs").state, State::Running);
    done(&*second, Write::Ack(claim("second", 1)));
}

/// F40: who holds nothing, and wants something, hears of what another process leaves.
#[test]
fn who_waits_hears_of_what_others_leave() {
    type Leave = fn(&Two);
    let ways: [(&str, Leave); 4] = [
        ("released", |two| assert!(two.first.release(soon()))),
        ("killed", |two| two.second_clock.pass(LEASE)),
        ("redelivered", |two| {
            done(&*two.first, Write::Ack(claim("d", 1)));
            done(&*two.first, Write::Redeliver("d".into()));
        }),
        ("of an earlier release", |two| {
            let db = Connection::open(two.folder.file()).unwrap();
            db.execute("DELETE FROM instances", []).unwrap();
        }),
    ];
    for (how, leave) in ways {
        let two = Two::new();
        dispatch(&*two.first, "r");
        pending(&two.first, "d");
        two.second.set_interest(true);
        assert!(ids(&*two.second, Which::Free).is_empty());
        two.second_clock.pass(LEASE / 3);
        assert!(two.second.flush(soon()));
        assert!(notices(&*two.second).is_empty(), "{how}");
        leave(&two);
        two.second_clock.pass(LEASE / 3);
        assert!(two.second.flush(soon()));
        assert_eq!(notice(&*two.second), Notice::Look, "{how}");
        assert!(ids(&*two.second, Which::Free).contains(&"d".to_owned()), "{how}");
    }
}

/// F38: whoever waits hears of a crash when the lease is over, however long its own is.
#[test]
fn who_waits_hears_when_the_lease_of_the_dead_is_over() {
    for holds in [false, true] {
        let two = Two::new();
        pending(&two.first, "d");
        let machine =
            Machine { clock: two.second_clock.clone(), shares_writer: false, ..Machine::default() };
        let path = two.folder.file();
        let lease = Duration::from_secs(3600);
        let third = SqliteLedger::on(Options { lease, ..options(&path) }, machine);
        if holds {
            dispatch(&*third, "e");
        }
        third.set_interest(true);
        for _ in 0..3 {
            assert!(ids(&*third, Which::Free).is_empty());
            assert!(third.flush(soon()));
            two.second_clock.pass(LEASE - 1);
            two.first_clock.pass(LEASE - 1);
            two.first_is_awake();
            assert!(third.flush(soon()));
            assert!(notices(&*third).is_empty(), "it lives");
        }
        two.second_clock.pass(LEASE);
        assert!(third.flush(soon()));
        assert_eq!(notice(&*third), Notice::Look);
        assert_eq!(ids(&*third, Which::Free), ["d"]);
    }
}

/// An idle process that wants nothing is not woken, and one that waits writes nothing.
#[test]
fn who_waits_writes_nothing_and_who_wants_nothing_looks_at_nothing() {
    let two = Two::new();
    pending(&two.first, "d");
    two.second.set_interest(true);
    row(&*two.second, "d");
    let commits = two.second.health().commits;
    for _ in 0..5 {
        two.second_clock.pass(LEASE / 3);
        assert!(two.second.flush(soon()));
    }
    assert_eq!(two.second.health().commits, commits);
    two.second.set_interest(false);
    assert!(two.first.release(soon()));
    notices(&*two.second);
    two.second_clock.pass(LEASE);
    assert!(two.second.flush(soon()));
    assert!(notices(&*two.second).is_empty());
}
