//! The file: who may read it, what else may be there, and what happens when it cannot be written.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    format!("{}{ending}", path.display()).into()
}

fn journal_mode(path: &Path) -> String {
    let db = Connection::open(path).unwrap();
    db.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap()
}

fn on_a_disk(path: &Path, shared: bool) -> Arc<SqliteLedger> {
    let machine = Machine { shared_disk: Some(shared), shares_writer: false, ..Machine::default() };
    SqliteLedger::on(options(path), machine)
}

#[test]
fn nothing_is_there_before_the_first_use() {
    let folder = Folder::new();
    let ledger = SqliteLedger::new(options(&folder.file()));
    assert_eq!(ledger.health().state, "closed");
    assert!(ledger.flush(soon()) && ledger.release(soon()));
    assert!(folder.names().is_empty());
    dispatch(&*ledger, "d");
    assert_eq!(ledger.health().state, "ok");
    for ending in ["", "-wal", "-shm"] {
        assert_eq!(mode(&beside(&folder.file(), ending)), 0o600, "{ending}");
    }
}

#[test]
fn what_is_closed_in_order_is_one_file() {
    let folder = Folder::new();
    let ledger = SqliteLedger::new(options(&folder.file()));
    dispatch(&*ledger, "d");
    drop(ledger);
    let gone_by = soon();
    while folder.names() != ["delegations.db"] {
        assert!(Instant::now() < gone_by, "{:?}", folder.names());
    }
    assert_eq!(ids(&*SqliteLedger::new(options(&folder.file())), Which::Newest(9)), ["d"]);
}

#[test]
fn a_disk_of_several_machines_gets_a_rollback_journal_and_a_warning() {
    let folder = Folder::new();
    dispatch(&*on_a_disk(&folder.file(), false), "d");
    assert_eq!(journal_mode(&folder.file()), "wal");
    let shared = on_a_disk(&folder.file(), true);
    dispatch(&*shared, "e");
    let Notice::Warning(warning) = notice(&*shared) else { panic!("it warns") };
    assert!(warning.contains("rollback journal"), "{warning}");
    assert_eq!(journal_mode(&folder.file()), "delete");
    assert_eq!(ids(&*shared, Which::Newest(9)), ["d", "e"]);
    let other = on_a_disk(&folder.file(), true);
    dispatch(&*other, "f");
    done(&*shared, finish("e"));
    assert!(!folder.names().iter().any(|name| name.ends_with("-wal")));
}

#[test]
fn a_newer_schema_is_left_as_it_is() {
    let folder = Folder::new();
    drop(SqliteLedger::new(options(&folder.file())));
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    drop(ledger);
    let gone_by = soon();
    while folder.names().len() > 1 {
        assert!(Instant::now() < gone_by);
    }
    let db = Connection::open(folder.file()).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = fs::read(folder.file()).unwrap();

    let ledger = process(&folder.file(), &Hands::new());
    let path = folder.file().display().to_string();
    let newer = Error::LedgerNewer { path, found: 99, known: 4 };
    assert_eq!(write(&*ledger, Write::Dispatch(new("e"))), Err(newer.clone()));
    assert_eq!(ledger.read(Which::Newest(9)), Err(newer.clone()));
    assert_eq!(notice(&*ledger), Notice::Failing(newer));
    drop(ledger);
    assert_eq!(fs::read(folder.file()).unwrap(), before);

    // The newer release has put it right: the next use works.
    let ledger = process(&folder.file(), &Hands::new());
    write(&*ledger, Write::Dispatch(new("e"))).unwrap_err();
    Connection::open(folder.file()).unwrap().pragma_update(None, "user_version", 4).unwrap();
    dispatch(&*ledger, "e");
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["d", "e"]);
}

/// A file as the first release made it, with a row in each state.
fn a_file_of_schema_1(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../../src/ledger/sqlite/sql/0001_delegations.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 0x68636c67;").unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    for (seq, (state, delivery, settled_at)) in (0i64..).zip([
        ("running", "NULL", "NULL"),
        ("completed", "'pending'", "NULL"),
        ("error", "'delivered'", "7"),
        ("completed", "'dropped'", "8"),
        ("completed", "'dead'", "NULL"),
        ("running", "'parked'", "NULL"),
    ]) {
        let ended = if state == "running" { "NULL" } else { "6" };
        let long = "x".repeat(5_000);
        db.execute_batch(&format!(
            "INSERT INTO delegations VALUES ({seq}, 'd{seq}', NULL, 3, '{state}', {delivery}, 2,
                'a', 'o', 'p', 4, 'k{seq}', 5, {ended}, {settled_at}, 0);
            INSERT INTO records VALUES ({seq}, '{{\"goal\":\"{seq}\"}}');"
        ))
        .unwrap();
        if ended != "NULL" {
            let event = "INSERT INTO events VALUES (?1, ?2)";
            db.execute(event, (seq, format!("{{\"summary\":\"{seq}{long}\"}}"))).unwrap();
        }
    }
}

#[test]
fn a_file_of_an_earlier_schema_is_read_and_brought_up_to_date() {
    let folder = Folder::new();
    a_file_of_schema_1(&folder.file());
    let ledger = process(&folder.file(), &Hands::new());
    let rows = ledger.read(Which::Newest(9)).unwrap();
    let seen = |row: &Row| {
        format!("{} {} {}", row.claim.id, row.state, row.delivery.name().unwrap_or("-"))
    };
    assert_eq!(
        rows.iter().map(seen).collect::<Vec<_>>(),
        [
            "d0 lost -",
            "d1 completed pending",
            "d2 error delivered",
            "d3 completed dropped",
            "d4 completed dead",
            "d5 lost parked"
        ]
    );
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(row.idempotency_key.as_deref(), Some(&*format!("k{number}")));
        assert_eq!(&*row.record, format!("{{\"goal\":\"{number}\"}}"));
        let event = row.event.as_deref();
        assert_eq!(event.is_some(), row.completed_at.is_some());
        assert!(event.is_none_or(|event| event.contains(&format!("{number}xxx"))));
        assert_eq!((row.claim.fence, row.attempts, row.dispatched_at), (3, 2, 5));
    }
    // What was in it is used as what comes later is.
    assert!(adopt(&*ledger, "d0").is_some() && adopt(&*ledger, "d1").is_some());
    done(&*ledger, Write::Ack(claim("d1", 4)));
    done(&*ledger, Write::Redeliver("d4".into()));
    dispatch(&*ledger, "later");
    let known = Error::DuplicateId { id: "d2".into() };
    assert_eq!(write(&*ledger, Write::Dispatch(new("d2"))), Err(known));
    drop(ledger);

    // The tables begin where they begin in a new file: a recovery relies on that.
    let other = folder.0.join("new.db");
    dispatch(&*process(&other, &Hands::new()), "d");
    let roots = |path: &Path| -> Vec<(String, i64)> {
        let db = Connection::open(path).unwrap();
        let mut roots = db.prepare("SELECT name, rootpage FROM sqlite_schema").unwrap();
        let roots = roots.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        roots.map(Result::unwrap).collect()
    };
    assert_eq!(roots(&folder.file()), roots(&other));
}

/// F17: a process with the first release that has the file open finds its statements at an end,
/// looks anew, and refuses what is newer.
#[test]
fn an_earlier_release_that_has_the_file_open_cannot_go_on() {
    let folder = Folder::new();
    a_file_of_schema_1(&folder.file());
    let earlier = Connection::open(folder.file()).unwrap();
    let mut read =
        earlier.prepare("SELECT * FROM delegations LEFT JOIN records USING (seq)").unwrap();
    assert!(read.exists([]).unwrap());
    dispatch(&*process(&folder.file(), &Hands::new()), "d");
    assert!(read.exists([]).unwrap_err().to_string().contains("no such table"));
    assert!(earlier.execute("INSERT INTO records VALUES (99, '')", []).is_err());
}

#[test]
fn a_folder_that_cannot_be_written_is_said() {
    // Not even the superuser makes files here.
    let ledger = process(Path::new("/proc/self/delegations.db"), &Hands::new());
    let refused = write(&*ledger, Write::Dispatch(new("d"))).unwrap_err();
    assert!(matches!(refused, Error::LedgerReadOnly { .. } | Error::LedgerIo { .. }), "{refused}");
    assert_eq!(ledger.health().last_error, refused.to_string());
}

/// F9: what could not be written is kept, said, and written once it can be.
#[test]
fn what_cannot_be_written_is_written_later() {
    let folder = Folder::new();
    let home = folder.0.join("home");
    fs::create_dir(&home).unwrap();
    let path = home.join("delegations.db");
    let ledger = process(&path, &Hands::new());
    dispatch(&*ledger, "d");
    dispatch(&*ledger, "e");
    let away = folder.0.join("away");
    fs::rename(&home, &away).unwrap();

    let error = write(&*ledger, finish("d")).unwrap_err();
    assert!(matches!(error, Error::LedgerIo { .. }), "{error}");
    assert_eq!(write(&*ledger, Write::Dispatch(new("f"))), Err(error.clone()));
    write(&*ledger, Write::Ack(claim("d", 1))).unwrap_err();
    ledger.read(Which::Newest(9)).unwrap_err();
    assert_eq!(notice(&*ledger), Notice::Failing(error));
    let health = ledger.health();
    assert_eq!((health.state, health.waiting, health.failed), ("failing", 2, 3));
    assert!(!ledger.flush(Instant::now()));

    fs::rename(&away, &home).unwrap();
    done(&*ledger, finish("e"));
    assert_eq!(notice(&*ledger), Notice::Recovered);
    assert_eq!((ledger.health().state, ledger.health().waiting), ("ok", 0));
    assert!(ledger.flush(soon()));
    assert!(row(&*ledger, "d").settled_at.is_some());
    assert!(row(&*ledger, "e").event.is_some());
    assert_eq!(find(&*ledger, "f"), None);
}

/// F9, with nobody who writes anything more: it is tried again of itself.
#[test]
fn what_cannot_be_written_is_tried_again() {
    let folder = Folder::new();
    let home = folder.0.join("home");
    fs::create_dir(&home).unwrap();
    let machine = Machine { shares_writer: false, ..Machine::default() };
    let ledger = SqliteLedger::on(options(&home.join("delegations.db")), machine);
    dispatch(&*ledger, "d");
    let away = folder.0.join("away");
    fs::rename(&home, &away).unwrap();
    write(&*ledger, finish("d")).unwrap_err();
    assert!(matches!(notice(&*ledger), Notice::Failing(_)));
    fs::rename(&away, &home).unwrap();
    assert_eq!(notice(&*ledger), Notice::Recovered);
    assert!(ledger.flush(soon()));
    assert!(row(&*ledger, "d").event.is_some());
}

/// F9: the file is gone, with the row of what runs: its result is kept all the same.
#[test]
fn a_result_is_kept_though_the_file_was_replaced() {
    let folder = Folder::new();
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    dispatch(&*ledger, "e");
    dispatch(&*ledger, "f");
    done(&*ledger, finish("e"));
    for name in folder.names() {
        fs::remove_file(folder.0.join(name)).unwrap();
    }
    done(&*ledger, finish("d"));
    let kept = row(&*ledger, "d");
    assert_eq!((kept.owner, &*kept.record), (owner("a").into(), "{\"goal\":\"d\"}"));
    assert_eq!(kept.event.as_deref(), Some("{\"summary\":\"d\"}"));
    done(&*ledger, Write::Ack(claim("e", 1)));
    done(&*ledger, Write::Withdraw(claim("f", 1)));
    done(&*ledger, Write::Ack(claim("d", 1)));
    fenced(&*ledger, Write::Ack(claim("nothing", 1)));
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["d", "e"]);
}

/// What another process put in its place is read, with what is held here.
#[test]
fn the_file_in_place_is_read() {
    let folder = Folder::new();
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    for ending in ["", "-wal", "-shm"] {
        fs::rename(beside(&folder.file(), ending), beside(&folder.0.join("aside"), ending))
            .unwrap();
    }
    dispatch(&*process(&folder.file(), &Hands::new()), "e");
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["e", "d"]);
}

#[test]
fn a_row_that_was_deleted_by_hand_is_gone() {
    let folder = Folder::new();
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    let db = Connection::open(folder.file()).unwrap();
    db.execute_batch("DELETE FROM delegations").unwrap();
    fenced(&*ledger, finish("d"));
    assert_eq!(find(&*ledger, "d"), None);
    let texts: i64 =
        db.query_row("SELECT count(*) FROM long_records", [], |row| row.get(0)).unwrap();
    assert_eq!(texts, 0);
}

/// F17: somebody else's lock is waited for.
#[test]
fn a_lock_is_waited_for() {
    let folder = Folder::new();
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    let db = Connection::open(folder.file()).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = ledger.submit(finish("d"));
    // One that is read is not in the way, but comes after what is not written yet.
    let signal = Arc::new(Signal::for_this_thread());
    assert_eq!(receipt.poll(&signal), None);
    db.execute_batch("COMMIT").unwrap();
    assert_eq!(receipt.wait(Some(soon())), Ok(Outcome::Done));
}

/// F17: it is not waited for without end.
#[test]
fn a_lock_that_is_kept_is_an_error() {
    let folder = Folder::new();
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    let db = Connection::open(folder.file()).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = Error::LedgerBusy { path: folder.file().display().to_string() };
    assert_eq!(write(&*ledger, finish("d")), Err(busy));
    db.execute_batch("COMMIT").unwrap();
    done(&*ledger, Write::Ack(claim("d", 1)));
}

/// F17: the log is there for others while it is open, and what they commit is seen.
#[test]
fn several_write_to_one_file_at_once() {
    let folder = Folder::new();
    let ledgers: Vec<_> = (0..4).map(|_| process(&folder.file(), &Hands::new())).collect();
    std::thread::scope(|scope| {
        for (number, ledger) in ledgers.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..100 {
                    let id = format!("{number}-{round}");
                    dispatch(&**ledger, &id);
                    done(&**ledger, finish(&id));
                    if round % 2 == 0 {
                        done(&**ledger, Write::Ack(claim(&id, 1)));
                    }
                }
            });
        }
    });
    assert_eq!(ids(&*ledgers[0], Which::Newest(1_000)).len(), 400);
    assert_eq!(ids(&*ledgers[0], Which::Elsewhere).len(), 150);
    let db = Connection::open(folder.file()).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}
