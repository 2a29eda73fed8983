//! F38: whose lease is over, under clocks that step, machines that sleep and processes that stand
//! still.

use hermes_core::ledger::Holder;
use hermes_core::state::Delivery;
use rusqlite::Connection;

use super::*;

const DAY: Millis = 86_400_000;
/// How far a wall clock steps, either way.
const STEPS: [Millis; 6] = [1_000, LEASE - 1, LEASE + 1, 3_600_000, DAY, 3_650 * DAY];
const OTHER_BOOT: ClockId = ClockId { boot: 2, namespace: 1 };
const OTHER_NAMESPACE: ClockId = ClockId { boot: 1, namespace: 2 };

fn each_step(mut test: impl FnMut(Millis)) {
    for step in STEPS {
        test(step);
        test(-step);
    }
}

/// A ledger as a process of another machine, or of none that is known, has it.
fn elsewhere(path: &Path, clock: &Arc<Hands>, shared_disk: bool) -> Arc<SqliteLedger> {
    let machine =
        Machine { clock: clock.clone(), shares_writer: false, shared_disk: Some(shared_disk) };
    SqliteLedger::on(options(path), machine)
}

fn is_held(ledger: &SqliteLedger, id: &str) -> bool {
    let is_held = matches!(row(ledger, id).holder, Holder::Other { .. });
    is_held && adopt(ledger, id).is_none()
}

/// Before, between and after the starts of two processes: who lives keeps what it has.
#[test]
fn no_step_of_the_wall_clock_takes_from_the_living() {
    each_step(|step| {
        for stepped in 0..3 {
            let folder = Folder::new();
            let (first_clock, second_clock) = (Hands::new(), Hands::new());
            let both = |step| [&first_clock, &second_clock].map(|clock| clock.set(step));
            let first = process(&folder.file(), &first_clock);
            if stepped == 0 {
                both(step);
            }
            dispatch(&*first, "d");
            if stepped == 1 {
                both(step);
            }
            let second = process(&folder.file(), &second_clock);
            assert!(is_held(&second, "d"), "{step}");
            if stepped == 2 {
                both(step);
            }
            for _ in 0..4 {
                assert!(is_held(&second, "d"), "{step}");
                fenced(&*second, Write::Discard("d".into()));
                first_clock.pass(LEASE / 2);
                assert!(first.flush(soon()));
                second_clock.pass(LEASE / 2);
            }
            done(&*first, finish("d"));
            assert!(first.is_surely_ours());
            done(&*first, Write::Ack(claim("d", 1)));
        }
    });
}

/// Each process sees a step of its own.
#[test]
fn no_step_of_one_process_takes_from_another() {
    each_step(|step| {
        let folder = Folder::new();
        let (first_clock, second_clock) = (Hands::new(), Hands::new());
        let first = process(&folder.file(), &first_clock);
        let second = process(&folder.file(), &second_clock);
        dispatch(&*first, "d");
        second_clock.set(step);
        assert!(is_held(&second, "d"), "{step}");
        first_clock.set(-step);
        first_clock.pass(LEASE / 3);
        assert!(first.flush(soon()));
        second_clock.pass(LEASE);
        assert!(is_held(&second, "d"), "{step}");
    });
}

#[test]
fn no_step_of_the_wall_clock_keeps_what_the_dead_left() {
    each_step(|step| {
        let folder = Folder::new();
        let first = process(&folder.file(), &Hands::new());
        dispatch(&*first, "d");
        let later = Hands::at(1_000_000 + step);
        let second = process(&folder.file(), &later);
        later.pass(LEASE - 1);
        assert!(is_held(&second, "d"), "{step}");
        later.set(-step);
        later.pass(2);
        assert!(adopt(&*second, "d").is_some(), "{step}");
    });
}

/// The wall clock runs, the steady one stands, for all.
#[test]
fn a_machine_that_sleeps_costs_nobody_a_lease() {
    let folder = Folder::new();
    let (first_clock, second_clock) = (Hands::new(), Hands::new());
    let first = process(&folder.file(), &first_clock);
    let second = process(&folder.file(), &second_clock);
    dispatch(&*first, "d");
    for _ in 0..3 {
        first_clock.set(10 * DAY);
        second_clock.set(10 * DAY);
        assert!(is_held(&second, "d"));
        assert!(first.is_surely_ours());
        first_clock.pass(LEASE / 3);
        assert!(first.flush(soon()));
        second_clock.pass(LEASE / 3);
    }
}

/// A process that stood still past its lease trusts it no more, before others do.
#[test]
fn a_lease_is_trusted_for_less_than_it_lasts() {
    let folder = Folder::new();
    let (first_clock, second_clock) = (Hands::new(), Hands::new());
    let first = process(&folder.file(), &first_clock);
    let second = process(&folder.file(), &second_clock);
    assert!(!first.is_surely_ours(), "nothing is claimed");
    dispatch(&*first, "d");
    assert!(first.is_surely_ours());
    let trusted = LEASE - LEASE / 10;
    first_clock.pass(trusted - 1);
    assert!(first.is_surely_ours());
    first_clock.pass(1);
    assert!(!first.is_surely_ours());
    second_clock.pass(trusted);
    assert!(is_held(&second, "d"));
    // Nobody took it: it may go on.
    assert!(first.flush(soon()));
    assert!(first.is_surely_ours());
    assert!(first.release(soon()));
    assert!(!first.is_surely_ours());
}

/// A clock on which each look costs time, as where the disk is slow.
struct Slow(Arc<Hands>, Millis);

impl Clock for Slow {
    fn now(&self) -> Moment {
        let now = self.0.now();
        self.0.pass(self.1);
        now
    }

    fn id(&self) -> Option<ClockId> {
        self.0.id()
    }
}

/// Renewal counts from before the write: what others read never ends after what we trust.
#[test]
fn a_slow_commit_makes_no_lease_longer() {
    let folder = Folder::new();
    let clock = Hands::new();
    let slow = Arc::new(Slow(clock.clone(), 2_000));
    let machine = Machine { clock: slow, shares_writer: false, ..Machine::default() };
    let first = SqliteLedger::on(options(&folder.file()), machine);
    dispatch(&*first, "d");
    let db = Connection::open(folder.file()).unwrap();
    let written: Millis =
        db.query_row("SELECT steady_until FROM instances", [], |row| row.get(0)).unwrap();
    while first.is_surely_ours() {}
    assert!(clock.now().steady <= written);
}

/// No process outlives its kernel: what another start of it held is free at once.
#[test]
fn what_was_held_before_the_machine_started_anew_is_free() {
    let folder = Folder::new();
    let first = process(&folder.file(), &Hands::new());
    dispatch(&*first, "running");
    dispatch(&*first, "pending");
    done(&*first, finish("pending"));
    let second = elsewhere(&folder.file(), &Hands::on(5, Some(OTHER_BOOT)), false);
    assert_eq!(row(&*second, "running").state, State::Lost);
    assert_eq!(second.adopt(&["running", "pending"]).unwrap().len(), 2);
}

/// Where a clock cannot be read, who lives is known by its renewals, for a term from the first look.
#[test]
fn who_counts_on_another_clock_is_dead_when_it_is_silent() {
    for (theirs, ours, shared_disk) in [
        (Some(HERE), Some(OTHER_BOOT), true),
        (Some(HERE), Some(OTHER_NAMESPACE), false),
        (Some(HERE), None, false),
        (None, Some(HERE), false),
        (None, None, false),
    ] {
        let folder = Folder::new();
        let (first_clock, second_clock) = (Hands::on(1_000_000, theirs), Hands::on(-DAY, ours));
        let first = elsewhere(&folder.file(), &first_clock, shared_disk);
        let second = elsewhere(&folder.file(), &second_clock, shared_disk);
        dispatch(&*first, "d");
        for _ in 0..4 {
            assert!(is_held(&second, "d"));
            second_clock.pass(LEASE - 1);
            assert!(is_held(&second, "d"));
            first_clock.pass(LEASE / 3);
            assert!(first.flush(soon()));
        }
        assert!(is_held(&second, "d"));
        second_clock.pass(LEASE);
        assert!(adopt(&*second, "d").is_some(), "{theirs:?} {ours:?}");
    }
}

/// A file from before: an earlier release wrote its lease by the wall clock alone.
#[test]
fn what_an_earlier_release_holds_is_its_own_while_it_renews() {
    let folder = Folder::new();
    let first = process(&folder.file(), &Hands::new());
    dispatch(&*first, "d");
    let db = Connection::open(folder.file()).unwrap();
    let renew = |until: Millis| {
        let renewed = db.execute(
            "UPDATE instances SET lease_until = ?1, clock = NULL, steady_until = NULL
            WHERE id = (SELECT holder FROM delegations)",
            [until],
        );
        assert_eq!(renewed.unwrap(), 1);
    };
    let clock = Hands::at(50);
    let second = process(&folder.file(), &clock);
    for until in [1, 0, 10 * DAY, 60] {
        renew(until);
        assert!(is_held(&second, "d"));
        clock.pass(LEASE - 1);
        assert!(is_held(&second, "d"));
    }
    clock.pass(1);
    assert!(adopt(&*second, "d").is_some());
}

/// What runs for an instance that has left without a word is lost, and found by its key.
#[test]
fn what_an_earlier_release_left_running_is_found_by_its_key() {
    let folder = Folder::new();
    let first = process(&folder.file(), &Hands::new());
    let second = process(&folder.file(), &Hands::new());
    dispatch(&*first, "d");
    assert!(ids(&*second, Which::ElsewhereOf("a")).is_empty());
    assert!(ids(&*second, Which::Free).is_empty());
    Connection::open(folder.file()).unwrap().execute("DELETE FROM instances", []).unwrap();
    for which in [Which::ElsewhereOf("a"), Which::Free] {
        let lost = second.read(which).unwrap().pop().unwrap();
        assert_eq!((&*lost.claim.id, lost.state), ("d", State::Lost));
        assert_eq!((lost.holder, lost.delivery), (Holder::Nobody, Delivery::Pending));
    }
}

/// F11: rows come in the order of the file, whatever the wall clocks of those who wrote them said.
#[test]
fn rows_of_several_owners_come_in_the_order_of_the_file() {
    let folder = Folder::new();
    let at = [5, 3, 9, 1, 7].map(|day| Hands::at(day * DAY));
    for (number, clock) in at.iter().enumerate() {
        let ledger = process(&folder.file(), clock);
        let id = number.to_string();
        let dispatched_at = clock.now().wall;
        done(&*ledger, Write::Dispatch(NewDelegation { dispatched_at, ..new(&id) }));
        done(&*ledger, finish(&id));
        assert!(ledger.release(soon()));
    }
    let last = process(&folder.file(), &Hands::new());
    let order = ["0", "1", "2", "3", "4"];
    for which in [Which::Free, Which::ElsewhereOf("a"), Which::Elsewhere, Which::Newest(9)] {
        assert_eq!(ids(&*last, which), order, "{which:?}");
    }
    let adopted = last.adopt(&["4", "2", "0", "3", "1"]).unwrap();
    let adopted: Vec<_> = adopted.iter().map(|row| &*row.claim.id).collect();
    assert_eq!(adopted, order);
}
