//! What an acknowledgement is worth: it counts if it is written, or if the row is surely ours.

use hermes_core::ledger::{Holder, Receipt};
use hermes_core::state::Delivery;
use rusqlite::Connection;

use super::*;

/// A ledger with the event of `d`, and somebody else's connection to its file.
fn pending(folder: &Folder, clock: &Arc<Hands>) -> (Arc<SqliteLedger>, Connection) {
    let ledger = process(&folder.file(), clock);
    dispatch(&*ledger, "d");
    done(&*ledger, finish("d"));
    (ledger, Connection::open(folder.file()).unwrap())
}

/// Has it acknowledged while somebody else is writing, for longer than others are waited for.
fn ack_behind_a_lock(ledger: &SqliteLedger, other: &Connection) -> Receipt {
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = ledger.submit(Write::Ack(claim("d", 1)));
    assert!(matches!(notice(ledger), Notice::Failing(Error::LedgerBusy { .. })));
    receipt
}

#[test]
fn f38_a_lock_is_waited_for_as_long_as_the_row_is_surely_ours() {
    let folder = Folder::new();
    let clock = Hands::new();
    let (ledger, other) = pending(&folder, &clock);
    let receipt = ack_behind_a_lock(&ledger, &other);
    // Nothing else is in the way of whoever reads.
    assert_eq!(row(&*ledger, "d").delivery, Delivery::Pending);
    assert_eq!(receipt.answer(), None);
    other.execute_batch("COMMIT").unwrap();
    // It is tried again by now.
    clock.pass(LEASE / 4);
    assert!(ledger.flush(soon()));
    assert_eq!(receipt.wait(Some(soon())), Ok(Outcome::Done));
    assert_eq!(row(&*ledger, "d").delivery, Delivery::Delivered);
}

/// F38: a process that stood still past its lease acknowledges nothing of itself.
#[test]
fn f38_what_is_not_written_when_the_lease_is_over_is_never_written() {
    let folder = Folder::new();
    let clock = Hands::new();
    let (ledger, other) = pending(&folder, &clock);
    let receipt = ack_behind_a_lock(&ledger, &other);
    clock.pass(LEASE);
    assert_eq!(ledger.read(Which::Dead), Ok(vec![]));
    assert_eq!(receipt.wait(Some(soon())), Ok(Outcome::Unwritten));
    other.execute_batch("COMMIT").unwrap();
    assert!(ledger.flush(soon()));
    assert_eq!(row(&*ledger, "d").delivery, Delivery::Pending);
    // It is still ours, for nobody has taken it over.
    done(&*ledger, Write::Ack(claim("d", 1)));
}

/// F38: nor where the disk fails.
#[test]
fn f38_a_disk_that_fails_acknowledges_nothing_once_the_lease_is_over() {
    let folder = Folder::new();
    let home = folder.0.join("home");
    fs::create_dir(&home).unwrap();
    let clock = Hands::new();
    let ledger = process(&home.join("delegations.db"), &clock);
    for id in ["d", "e"] {
        dispatch(&*ledger, id);
        done(&*ledger, finish(id));
    }
    let away = folder.0.join("away");
    fs::rename(&home, &away).unwrap();
    write(&*ledger, Write::Ack(claim("d", 1))).unwrap_err();
    clock.pass(LEASE);
    assert_eq!(write(&*ledger, Write::Ack(claim("e", 1))), Ok(Outcome::Unwritten));
    fs::rename(&away, &home).unwrap();
    done(&*ledger, Write::NewEpoch("somebody else".into()));
    // What was surely ours is written now; the other waits for its next acknowledgement.
    assert_eq!(row(&*ledger, "d").delivery, Delivery::Delivered);
    assert_eq!(row(&*ledger, "e").delivery, Delivery::Pending);
    done(&*ledger, Write::Ack(claim("e", 1)));
}

/// F11: what failed as it was committed may be on disk, and is acknowledged once more.
#[test]
fn f11_an_ack_under_the_same_claim_is_the_same_ack() {
    let folder = Folder::new();
    let (ledger, _) = pending(&folder, &Hands::new());
    done(&*ledger, Write::Ack(claim("d", 1)));
    done(&*ledger, Write::Ack(claim("d", 1)));
    done(&*ledger, Write::Redeliver("d".into()));
    fenced(&*ledger, Write::Ack(claim("d", 1)));
}

/// F38: a process that stood still past its lease brings the result of what was taken for lost.
#[test]
fn f38_a_late_end_is_written_marked_and_ours_under_a_new_fence() {
    let folder = Folder::new();
    let (clock, other_clock) = (Hands::new(), Hands::new());
    let ledger = process(&folder.file(), &clock);
    for id in ["told", "delivered", "waits", "dropped", "parked"] {
        dispatch(&*ledger, id);
    }
    other_clock.pass(LEASE + 1);
    let other = process(&folder.file(), &other_clock);
    for id in ["told", "delivered", "dropped", "parked"] {
        assert_eq!(adopt(&*other, id).map(|row| row.state), Some(State::Lost));
    }
    done(&*other, Write::Ack(claim("delivered", 3)));
    done(&*other, Write::Drop(claim("dropped", 3)));
    done(&*other, Write::Park(claim("parked", 3)));
    for (id, fence) in [("told", 4), ("delivered", 4), ("waits", 3)] {
        assert_eq!(
            write(&*ledger, finish(id)),
            Ok(Outcome::Late { fence, is_parked: false }),
            "{id}"
        );
        let late = row(&*ledger, id);
        assert_eq!((late.state, late.delivery), (State::Completed, Delivery::Pending));
        assert_eq!((late.holder, late.attempts, late.settled_at), (Holder::Us, 0, None));
        let event = format!("{{\"summary\":\"{id}\",\"late\":true}}");
        assert_eq!(late.event.as_deref(), Some(&*event));
        // Who told of it as lost holds it no more.
        fenced(&*other, Write::Ack(claim(id, fence - 1)));
        done(&*ledger, Write::Ack(claim(id, fence)));
    }
    assert_eq!(write(&*ledger, finish("parked")), Ok(Outcome::Late { fence: 4, is_parked: true }));
    assert_eq!(row(&*ledger, "parked").delivery, Delivery::Parked);
    fenced(&*ledger, finish("dropped"));
    // There is one end.
    fenced(&*ledger, finish("told"));
}
