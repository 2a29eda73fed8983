//! Other hands at a file in use: its log or all of it removed or replaced (F37).

use rusqlite::{Connection, OpenFlags};

use super::*;

fn beside(path: &Path, ending: &str) -> PathBuf {
    format!("{}{ending}", path.display()).into()
}

/// Something that hands do to a file in use.
type Hand = (&'static str, fn(&Path));

const HANDS: [Hand; 9] = [
    ("the log is removed", |path| remove(path, &["-wal"])),
    ("its index is removed", |path| remove(path, &["-shm"])),
    ("both are removed", |path| remove(path, &["-wal", "-shm"])),
    ("all is removed", |path| remove(path, &["", "-wal", "-shm"])),
    ("the file alone is removed", |path| remove(path, &[""])),
    ("a backup is put over it", |path| {
        let copy = beside(path, ".copy");
        Connection::open(path).unwrap().execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
        fs::rename(copy, path).unwrap();
    }),
    ("a copy of the file alone is put over it", |path| {
        let copy = beside(path, ".copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(copy, path).unwrap();
    }),
    ("an older copy takes the place of all", |path| {
        let copy = beside(path, ".copy");
        fs::copy(path, &copy).unwrap();
        remove(path, &["-wal", "-shm"]);
        fs::rename(copy, path).unwrap();
    }),
    ("the log is copied over", |path| {
        let copy = beside(path, ".copy");
        fs::copy(beside(path, "-wal"), &copy).unwrap();
        fs::rename(copy, beside(path, "-wal")).unwrap();
    }),
];

fn remove(path: &Path, endings: &[&str]) {
    endings.iter().for_each(|ending| fs::remove_file(beside(path, ending)).unwrap());
}

fn long(id: &str) -> Write {
    let event = format!("{{\"summary\":\"{}\"}}", id.repeat(2_000)).into();
    Write::Finish { claim: claim(id, 1), state: State::Completed, event, completed_at: 2 }
}

/// What matters of a row.
type Standing = (String, State, Option<&'static str>, bool, u64, usize);

/// The same of every row, by id.
fn standing(ledger: &dyn Ledger) -> Vec<Standing> {
    let mut rows: Vec<_> = ledger
        .read(Which::Newest(99))
        .unwrap()
        .into_iter()
        .map(|row| {
            let event = row.event.map_or(0, |event| event.len());
            let settled = row.settled_at.is_some();
            let id = (*row.claim.id).to_owned();
            (id, row.state, row.delivery.name(), settled, row.claim.fence, event)
        })
        .collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows
}

/// A row in each state, all of it in the log.
fn fill(ledger: &dyn Ledger) {
    for id in ["a", "b", "c", "d", "e", "f"] {
        dispatch(ledger, id);
    }
    done(ledger, finish("b"));
    done(ledger, long("c"));
    done(ledger, finish("d"));
    done(ledger, Write::Ack(claim("d", 1)));
    done(ledger, finish("e"));
    done(ledger, Write::Bury { claim: claim("e", 1), attempts: 3 });
    done(ledger, finish("f"));
    done(ledger, Write::Park(claim("f", 1)));
}

/// Whatever is written next, what was there before is there after it, under the names of the files.
#[test]
fn everything_is_written_anew_before_the_next_commit() {
    for (what, meddle) in HANDS {
        let folder = Folder::new();
        let clock = Hands::new();
        let ledger = process(&folder.file(), &clock);
        fill(&*ledger);
        let before = standing(&*ledger);
        meddle(&folder.file());
        dispatch(&*ledger, "x");
        let is_said = notices(&*ledger)
            .iter()
            .any(|notice| matches!(notice, Notice::Warning(text) if text.contains("in use")));
        assert!(is_said, "{what}");
        // Another process, which opens what has the names now.
        let other = process(&folder.file(), &clock);
        let mut after = standing(&*other);
        after.retain(|row| row.0 != "x");
        assert_eq!(after, before, "{what}");
        assert!(adopt(&*other, "a").is_none() && adopt(&*other, "b").is_none(), "{what}");
        // What was begun is ended as if nothing had happened.
        done(&*ledger, finish("a"));
        done(&*ledger, Write::Ack(claim("c", 1)));
        done(&*ledger, Write::Redeliver("e".into()));
        assert!(ledger.release(soon()));
        assert!(adopt(&*other, "b").is_some(), "{what}");
        let db = Connection::open(folder.file()).unwrap();
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "{what}");
    }
}

/// Whether this process has anything open in a folder, with or without a name.
fn is_open(folder: &Folder) -> bool {
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return false };
    let mut open = open.filter_map(|open| fs::read_link(open.ok()?.path()).ok());
    open.any(|open| open.starts_with(&folder.0))
}

/// How many rows a file has that nobody has open; nothing is touched.
fn rows_in(path: &Path) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let name = format!("file:{}?immutable=1", path.display());
    let count = Connection::open_with_flags(name, flags)
        .and_then(|db| db.query_row("SELECT count(*) FROM delegations", [], |row| row.get(0)));
    count.unwrap_or(0)
}

/// The same at a clean end, with nothing written in between.
#[test]
fn everything_is_written_anew_at_a_clean_end() {
    for (what, meddle) in HANDS {
        for releases in [true, false] {
            let folder = Folder::new();
            let ledger = process(&folder.file(), &Hands::new());
            fill(&*ledger);
            meddle(&folder.file());
            if releases {
                assert!(ledger.release(soon()), "{what}");
            }
            drop(ledger);
            let gone_by = soon();
            while is_open(&folder)
                || folder.names() != ["delegations.db"]
                // Else it is closed for a moment, to be opened anew.
                || rows_in(&folder.file()) < 6
            {
                assert!(Instant::now() < gone_by, "{what}: {:?}", folder.names());
                std::thread::yield_now();
            }
            let other = process(&folder.file(), &Hands::new());
            let rows: Vec<_> = standing(&*other).into_iter().map(|row| (row.0, row.2)).collect();
            let named = |id: &str, delivery| (id.to_owned(), delivery);
            let expected = [
                named("a", Some("pending")),
                named("b", Some("pending")),
                named("c", Some("pending")),
                named("d", Some("delivered")),
                named("e", Some("dead")),
                named("f", Some("parked")),
            ];
            assert_eq!(rows, expected, "{what}");
            assert!(adopt(&*other, "b").is_some(), "{what}");
        }
    }
}

/// Another process was quicker: what it did since then stays.
#[test]
fn what_moved_on_in_the_new_file_stays() {
    let folder = Folder::new();
    let clock = Hands::new();
    let ledger = process(&folder.file(), &clock);
    for id in ["a", "b", "c"] {
        dispatch(&*ledger, id);
        done(&*ledger, finish(id));
    }
    let copy = beside(&folder.file(), ".copy");
    Connection::open(folder.file()).unwrap().execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    done(&*ledger, Write::Ack(claim("c", 1)));
    remove(&folder.file(), &["-wal", "-shm"]);
    fs::rename(copy, folder.file()).unwrap();
    // The one that has the old file is taken for dead.
    Connection::open(folder.file()).unwrap().execute_batch("DELETE FROM instances").unwrap();
    let other = process(&folder.file(), &clock);
    assert_eq!(adopt(&*other, "a").unwrap().claim.fence, 2);
    assert_eq!(adopt(&*other, "b").unwrap().claim.fence, 2);
    done(&*other, Write::Ack(claim("a", 2)));
    dispatch(&*ledger, "x");
    fenced(&*ledger, Write::Ack(claim("b", 1)));
    let rows: Vec<_> = standing(&*other).into_iter().map(|row| (row.0, row.2, row.4)).collect();
    let named = |id: &str, delivery, fence| (id.to_owned(), delivery, fence);
    assert_eq!(
        rows,
        [
            named("a", Some("delivered"), 2),
            named("b", Some("pending"), 2),
            named("c", Some("delivered"), 1),
            named("x", None, 1)
        ]
    );
}

/// What was not there for long: nobody's row comes back that others have settled and forgotten.
#[test]
fn what_was_last_seen_long_ago_brings_nothing_back() {
    let folder = Folder::new();
    let clock = Hands::new();
    let ledger = process(&folder.file(), &clock);
    fill(&*ledger);
    assert!(ledger.release(soon()));
    clock.pass(3_600_000);
    remove(&folder.file(), &["", "-wal", "-shm"]);
    dispatch(&*process(&folder.file(), &clock), "other");
    dispatch(&*ledger, "x");
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["other", "x"]);
}

/// The file cannot be made anew for a while: nothing is lost by that.
#[test]
fn what_cannot_be_written_anew_at_once_is_later() {
    let folder = Folder::new();
    let home = folder.0.join("home");
    fs::create_dir(&home).unwrap();
    let path = home.join("delegations.db");
    let ledger = process(&path, &Hands::new());
    fill(&*ledger);
    fs::remove_dir_all(&home).unwrap();
    write(&*ledger, Write::Dispatch(new("x"))).unwrap_err();
    ledger.read(Which::Newest(9)).unwrap_err();
    fs::create_dir(&home).unwrap();
    dispatch(&*ledger, "y");
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["a", "b", "c", "d", "e", "f", "y"]);
    // Somebody else's lock is waited for.
    remove(&path, &["-wal", "-shm"]);
    let db = Connection::open(&path).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = ledger.submit(Write::Dispatch(new("z")));
    let signal = Arc::new(Signal::for_this_thread());
    assert_eq!(receipt.poll(&signal), None);
    db.execute_batch("COMMIT").unwrap();
    assert_eq!(receipt.wait(Some(soon())), Ok(Outcome::Done));
    assert_eq!(ids(&*process(&path, &Hands::new()), Which::Newest(9)).len(), 8);
}

/// Hands at work all the time, and between any two steps.
#[test]
fn nothing_is_lost_however_often_it_happens() {
    let folder = Folder::new();
    let clock = Hands::new();
    let ledger = process(&folder.file(), &clock);
    for round in 0..40 {
        let (_, meddle) = HANDS[round % HANDS.len()];
        let id = format!("{round:02}");
        dispatch(&*ledger, &id);
        if round % 3 > 0 {
            meddle(&folder.file());
        }
        done(&*ledger, finish(&id));
        if round % 5 > 0 {
            meddle(&folder.file());
        }
        if round % 2 > 0 {
            done(&*ledger, Write::Ack(claim(&id, 1)));
        }
    }
    let rows = standing(&*process(&folder.file(), &clock));
    assert_eq!(rows.len(), 40);
    for (round, row) in rows.iter().enumerate() {
        let delivery = if round % 2 > 0 { "delivered" } else { "pending" };
        assert_eq!((&*row.0, row.2), (&*format!("{round:02}"), Some(delivery)));
    }
}

/// Everything that the log has is copied into the file, as far as nobody reads it.
fn checkpoint(path: &Path) {
    let copied: i64 = Connection::open(path)
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(copied, 0);
}

/// Settled and deleted in the log alone: the file without it has it as it was before.
#[test]
fn what_the_log_had_deleted_does_not_come_again() {
    for endings in [&["-wal"][..], &["-wal", "-shm"]] {
        let folder = Folder::new();
        let clock = Hands::new();
        let ledger = process(&folder.file(), &clock);
        dispatch(&*ledger, "a");
        done(&*ledger, finish("a"));
        dispatch(&*ledger, "runs");
        checkpoint(&folder.file());
        done(&*ledger, Write::Ack(claim("a", 1)));
        done(&*ledger, finish("runs"));
        done(&*ledger, Write::Ack(claim("runs", 1)));
        done(&*ledger, Write::Dispatch(NewDelegation { dispatched_at: 2, ..new("b") }));
        // As retention does.
        forget(&folder.file(), &["a", "runs"]);
        remove(&folder.file(), endings);
        dispatch(&*ledger, "x");
        assert_eq!(ids(&*ledger, Which::Newest(9)), ["b", "x"], "{endings:?}");
        let other = process(&folder.file(), &clock);
        assert_eq!(ids(&*other, Which::Newest(9)), ["b", "x"], "{endings:?}");
    }
}

/// The same of an older copy: what was settled and deleted since is in it as it was.
#[test]
fn what_was_deleted_since_a_copy_does_not_come_again() {
    for keeps_log in [true, false] {
        let folder = Folder::new();
        let clock = Hands::new();
        let ledger = process(&folder.file(), &clock);
        for id in ["a", "b", "runs"] {
            dispatch(&*ledger, id);
        }
        done(&*ledger, finish("a"));
        done(&*ledger, finish("b"));
        checkpoint(&folder.file());
        let copy = beside(&folder.file(), ".copy");
        fs::copy(folder.file(), &copy).unwrap();
        done(&*ledger, finish("runs"));
        for id in ["a", "runs"] {
            done(&*ledger, Write::Ack(claim(id, 1)));
        }
        done(&*ledger, Write::Dispatch(NewDelegation { dispatched_at: 2, ..new("c") }));
        forget(&folder.file(), &["a", "runs"]);
        checkpoint(&folder.file());
        if !keeps_log {
            remove(&folder.file(), &["-wal", "-shm"]);
        }
        fs::rename(copy, folder.file()).unwrap();
        dispatch(&*ledger, "x");
        assert_eq!(ids(&*ledger, Which::Newest(9)), ["b", "c", "x"]);
        assert_eq!(ids(&*process(&folder.file(), &clock), Which::Newest(9)), ["b", "c", "x"]);
        done(&*ledger, Write::Ack(claim("b", 1)));
    }
}

/// What somebody dispatched to the copy is his, also where he called before it was put there.
#[test]
fn what_a_newcomer_dispatched_to_a_copy_stays() {
    let folder = Folder::new();
    let clock = Hands::new();
    let ledger = process(&folder.file(), &clock);
    dispatch(&*ledger, "a");
    checkpoint(&folder.file());
    let copy = beside(&folder.file(), ".copy");
    fs::copy(folder.file(), &copy).unwrap();
    for id in ["b", "c"] {
        done(&*ledger, Write::Dispatch(NewDelegation { dispatched_at: 9, ..new(id) }));
    }
    remove(&folder.file(), &["-wal", "-shm"]);
    fs::rename(copy, folder.file()).unwrap();
    clock.pass(1);
    let newcomer = process(&folder.file(), &clock);
    dispatch(&*newcomer, "theirs");
    dispatch(&*ledger, "x");
    let mut there = ids(&*ledger, Which::Newest(9));
    there.sort();
    assert_eq!(there, ["a", "b", "c", "theirs", "x"]);
    done(&*newcomer, finish("theirs"));
    done(&*ledger, finish("b"));
}

/// What another ledger has stays: it knows nobody who had the old one.
#[test]
fn what_a_ledger_has_that_is_put_in_the_place_of_another_stays() {
    let (folder, other) = (Folder::new(), Folder::new());
    let clock = Hands::new();
    let theirs = process(&other.file(), &clock);
    dispatch(&*theirs, "theirs");
    assert!(theirs.release(soon()));
    let copy = beside(&folder.file(), ".copy");
    Connection::open(other.file()).unwrap().execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    let ledger = process(&folder.file(), &clock);
    for id in ["a", "b"] {
        done(&*ledger, Write::Dispatch(NewDelegation { dispatched_at: 9, ..new(id) }));
    }
    fs::rename(copy, folder.file()).unwrap();
    dispatch(&*ledger, "x");
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["theirs", "a", "b", "x"]);
}

/// The hands that leave no file which one SQLite would have under two logs: there is one here, for
/// all that stand for processes.
fn in_one_process() -> impl Iterator<Item = Hand> {
    HANDS.into_iter().filter(|(what, _)| {
        [
            "all is removed",
            "a backup is put over it",
            "a copy of the file alone is put over it",
            "an older copy takes the place of all",
        ]
        .contains(what)
    })
}

/// Has a ledger in use forget settled rows.
fn forget(path: &Path, ids: &[&str]) {
    let db = Connection::open(path).unwrap();
    for id in ids {
        let forgotten = "DELETE FROM delegations WHERE id = ?1 AND settled_at IS NOT NULL";
        assert_eq!(db.execute(forgotten, [id]).unwrap(), 1);
    }
}

/// Two had the file open. One writes it anew, and settles and forgets something there; the other
/// still has it as it was, and dispatches.
#[test]
fn what_was_settled_in_the_new_file_does_not_come_again_with_another_that_had_the_old() {
    for (what, meddle) in in_one_process() {
        let folder = Folder::new();
        let clock = Hands::new();
        let (one, other) = (process(&folder.file(), &clock), process(&folder.file(), &clock));
        for (ledger, id) in [(&one, "a"), (&one, "runs"), (&other, "b")] {
            dispatch(&**ledger, id);
        }
        done(&*one, finish("a"));
        done(&*other, finish("b"));
        meddle(&folder.file());
        done(&*one, Write::Ack(claim("a", 1)));
        done(&*one, finish("runs"));
        done(&*one, Write::Ack(claim("runs", 1)));
        forget(&folder.file(), &["a", "runs"]);
        dispatch(&*one, "x");
        dispatch(&*other, "y");
        assert_eq!(ids(&*other, Which::Newest(9)), ["b", "x", "y"], "{what}");
        assert_eq!(ids(&*one, Which::Newest(9)), ["b", "x", "y"], "{what}");
        // Each still has what it had.
        assert!(adopt(&*one, "b").is_none(), "{what}");
        done(&*other, Write::Ack(claim("b", 1)));
    }
}

/// What one settles before it sees that the log is gone is not taken back by the other's view.
#[test]
fn an_acknowledgement_holds_whoever_writes_the_file_anew() {
    for acks_first in [true, false] {
        for (what, meddle) in in_one_process() {
            let folder = Folder::new();
            let clock = Hands::new();
            let (one, other) = (process(&folder.file(), &clock), process(&folder.file(), &clock));
            for id in ["a", "b"] {
                dispatch(&*one, id);
                done(&*one, finish(id));
            }
            dispatch(&*other, "c");
            done(&*one, Write::Ack(claim("a", 1)));
            meddle(&folder.file());
            if acks_first {
                done(&*one, Write::Ack(claim("b", 1)));
                dispatch(&*other, "x");
            } else {
                dispatch(&*other, "x");
                done(&*one, Write::Ack(claim("b", 1)));
            }
            for ledger in [&one, &other] {
                let rows = standing(&**ledger);
                let delivered =
                    |id| rows.iter().any(|row| row.0 == id && row.2 == Some("delivered"));
                assert!(delivered("a") && delivered("b"), "{what}: {rows:?}");
                assert_eq!(rows.len(), 4, "{what}: {rows:?}");
                assert!(adopt(&**ledger, "b").is_none(), "{what}");
            }
        }
    }
}

/// An older copy knows an older lease of one that lives: what it holds stays its own.
#[test]
fn a_lease_that_was_renewed_since_a_copy_holds() {
    let folder = Folder::new();
    let clock = Hands::new();
    let (one, other) = (process(&folder.file(), &clock), process(&folder.file(), &clock));
    dispatch(&*one, "a");
    done(&*one, finish("a"));
    dispatch(&*other, "b");
    let copy = beside(&folder.file(), ".copy");
    Connection::open(folder.file()).unwrap().execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    // The lease that the copy has is nearly over; that of the log is new.
    clock.pass(LEASE * 9 / 10);
    dispatch(&*one, "c");
    dispatch(&*other, "d");
    remove(&folder.file(), &["-wal", "-shm"]);
    fs::rename(copy, folder.file()).unwrap();
    clock.pass(LEASE / 5);
    dispatch(&*other, "x");
    assert!(adopt(&*other, "a").is_none());
    done(&*one, Write::Ack(claim("a", 1)));
    done(&*one, finish("c"));
    let rows = standing(&*other);
    assert!(rows.iter().all(|row| row.1 != State::Lost), "{rows:?}");
}

/// Everything was carried over, and another has settled and forgotten what this one let its lease end
/// on: that it is gone then says nothing else.
#[test]
fn what_another_has_settled_since_is_not_acknowledged_again() {
    for (what, meddle) in in_one_process() {
        for writes_first in [true, false] {
            let folder = Folder::new();
            let (clock, later) = (Hands::new(), Hands::new());
            let (one, other) = (process(&folder.file(), &clock), process(&folder.file(), &later));
            for id in ["a", "b", "runs"] {
                dispatch(&*one, id);
            }
            done(&*one, finish("a"));
            done(&*one, finish("b"));
            dispatch(&*other, "c");
            meddle(&folder.file());
            if writes_first {
                done(&*one, Write::Ack(claim("b", 1)));
            }
            later.pass(LEASE + 1);
            for id in ["a", "runs"] {
                let adopted = adopt(&*other, id).unwrap();
                done(&*other, Write::Ack(adopted.claim));
            }
            forget(&folder.file(), &["a", "runs"]);
            fenced(&*one, Write::Ack(claim("a", 1)));
            fenced(&*one, finish("runs"));
            assert!(find(&*one, "a").is_none() && find(&*one, "runs").is_none(), "{what}");
        }
    }
}

/// Who still writes to a file that has lost its names is waited for: it is in what is kept.
#[test]
fn what_is_being_written_as_the_names_go_is_carried_over() {
    for (what, meddle) in in_one_process() {
        let folder = Folder::new();
        let ledger = process(&folder.file(), &Hands::new());
        for (id, dispatched_at) in [("a", 1), ("b", 2)] {
            done(&*ledger, Write::Dispatch(NewDelegation { dispatched_at, ..new(id) }));
            done(&*ledger, finish(id));
        }
        let writer = Connection::open(folder.file()).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        meddle(&folder.file());
        let receipt = ledger.submit(Write::Dispatch(new("x")));
        let in_a_while = Instant::now() + std::time::Duration::from_millis(500);
        assert_eq!(receipt.wait(Some(in_a_while)), Err(Error::LedgerSlow), "{what}");
        writer.execute_batch("DELETE FROM delegations WHERE id = 'a'; COMMIT").unwrap();
        assert_eq!(receipt.wait(Some(soon())), Ok(Outcome::Done), "{what}");
        assert_eq!(ids(&*ledger, Which::Newest(9)), ["b", "x"], "{what}");
    }
}
