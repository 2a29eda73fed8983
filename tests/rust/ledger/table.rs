//! Each write on a row in each state: what it answers, and what the row is then.

use hermes_core::state::{Delivery, State};

use super::*;

type Reach = fn(&dyn Ledger);

/// How a row comes to stand where it does.
const STATES: [(&str, Reach); 9] = [
    ("queued", |ledger| {
        done(ledger, Write::Dispatch(NewDelegation { is_queued: true, ..new("d") }))
    }),
    ("running", |ledger| dispatch(ledger, "d")),
    ("pending", pending),
    ("delivered", |ledger| {
        pending(ledger);
        done(ledger, Write::Ack(claim("d", 1)));
    }),
    ("dropped", |ledger| {
        pending(ledger);
        done(ledger, Write::Drop(claim("d", 1)));
    }),
    ("dead", |ledger| {
        pending(ledger);
        done(ledger, Write::Bury { claim: claim("d", 1), attempts: 2 });
    }),
    ("parked", |ledger| {
        pending(ledger);
        done(ledger, Write::NewEpoch("a".into()));
    }),
    ("running, parked", |ledger| {
        dispatch(ledger, "d");
        done(ledger, Write::NewEpoch("a".into()));
    }),
    // Redelivered, not adopted yet: nobody's, under another fence.
    ("pending, free", |ledger| {
        pending(ledger);
        done(ledger, Write::Drop(claim("d", 1)));
        done(ledger, Write::Redeliver("d".into()));
    }),
];

fn pending(ledger: &dyn Ledger) {
    dispatch(ledger, "d");
    done(ledger, finish("d"));
}

fn writes() -> [(&'static str, Write); 12] {
    let held = || claim("d", 1);
    [
        ("begin", Write::Begin(held())),
        ("withdraw", Write::Withdraw(held())),
        ("finish", finish("d")),
        ("attempts", Write::Attempts { claim: held(), attempts: 1 }),
        ("ack", Write::Ack(held())),
        ("reopen", Write::Reopen(held())),
        ("bury", Write::Bury { claim: held(), attempts: 1 }),
        ("drop", Write::Drop(held())),
        ("new epoch", Write::NewEpoch("a".into())),
        ("redeliver", Write::Redeliver("d".into())),
        ("discard", Write::Discard("d".into())),
        ("cancel", Write::Cancel("d".into())),
    ]
}

/// What becomes of a row by each write that changes it; each other write on it is fenced.
fn expected(state: &str, write: &str) -> Option<&'static str> {
    Some(match (state, write) {
        ("queued" | "running" | "running, parked", "withdraw") => "gone",
        ("queued" | "running", "finish") => "completed pending us",
        ("queued", "new epoch") => "queued parked us",
        ("queued", "cancel") => "queued - us",
        ("queued", "begin") | ("running", "begin" | "cancel") => "running - us",
        ("running", "new epoch") | ("running, parked", "begin" | "cancel") => "running parked us",
        ("running, parked", "finish") => "completed parked nobody",

        ("pending", "attempts") => "completed pending us",
        ("pending", "bury") => "completed dead nobody",
        ("pending" | "parked" | "dead", "ack") => "completed delivered nobody",
        ("pending" | "parked" | "dead", "drop") => "completed dropped nobody",
        ("pending" | "pending, free", "new epoch") => "completed parked nobody",

        // Under the same claim it is the same ack.
        ("delivered", "ack") => "completed delivered nobody",
        ("delivered", "reopen") => "completed pending us",
        ("delivered" | "dropped" | "dead" | "parked", "redeliver") => "completed pending nobody",
        ("dead" | "parked" | "pending, free", "discard") => "completed dropped nobody",
        _ => return None,
    })
}

fn shown(ledger: &dyn Ledger) -> String {
    let Some(row) = find(ledger, "d") else { return "gone".into() };
    let holder = format!("{:?}", row.holder).to_lowercase();
    let settled = matches!(row.delivery, Delivery::Delivered | Delivery::Dropped);
    assert_eq!(row.settled_at.is_some(), settled);
    assert_eq!(row.completed_at.is_some(), row.state.is_terminal());
    assert!(row.has_begun || row.state != State::Running);
    format!("{} {} {holder}", row.state, row.delivery.name().unwrap_or("-"))
}

fn try_all(open: fn(Retention) -> Opened) {
    for (state, reach) in STATES {
        for (name, what) in writes() {
            let ledger = open(KEEPS_ALL);
            reach(&*ledger);
            let before = shown(&*ledger);
            let outcome = write(&*ledger, what).unwrap();
            let after = shown(&*ledger);
            match expected(state, name) {
                // Its holder is to do it.
                None if (state, name) == ("pending", "discard") => {
                    assert_eq!((outcome, &*after), (Outcome::Asked, &*before));
                }
                Some(expected) => {
                    let is_parked = (state, name) == ("running, parked", "finish");
                    let done = if is_parked { Outcome::Parked } else { Outcome::Done };
                    assert_eq!((outcome, &*after), (done, expected), "{name} on {state}");
                }
                // There is always an epoch to begin.
                None if name == "new epoch" => {
                    assert_eq!((outcome, after), (Outcome::Done, before), "{name} on {state}");
                }
                None => {
                    assert_eq!((outcome, after), (Outcome::Fenced, before), "{name} on {state}");
                }
            }
        }
        let ledger = open(KEEPS_ALL);
        reach(&*ledger);
        let adopted = adopt(&*ledger, "d").is_some();
        assert_eq!(adopted, state == "pending, free", "adopt on {state}");
    }
}

#[test]
fn each_write_does_what_it_says_in_memory() {
    try_all(in_memory);
}

#[test]
fn each_write_does_what_it_says_in_a_file() {
    try_all(in_a_file);
}
