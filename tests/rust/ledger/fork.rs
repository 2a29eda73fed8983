//! A process that is copied: the copy is another instance, and neither has anything of the other's.

use hermes_core::ledger::Holder;
use hermes_core::ledger::sqlite::fork;

use super::*;

/// Runs `child` in a copy of this process, as the binding copies it; whether it ended well.
#[allow(unsafe_code)]
fn in_a_copy(child: impl FnOnce()) -> bool {
    let mut held = fork::lock_all();
    // SAFETY: the child uses what the core says can be used there, and ends without unwinding.
    match unsafe { libc::fork() } {
        0 => {
            held.reset();
            drop(held);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            unsafe { libc::_exit(ended.is_err().into()) }
        }
        pid => {
            drop(held);
            let mut status = -1;
            unsafe { libc::waitpid(pid, &mut status, 0) };
            status == 0
        }
    }
}

/// F17: no descriptor of a ledger's file is open in a copy, nor in this process while it is made.
fn open_files(name: &str) -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let names = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    names.filter(|file| file.to_string_lossy().contains(name)).count()
}

/// F3, F11, F17: the copy is another instance; what it is not given is never its own.
#[test]
fn a_copy_is_another_instance() {
    let folder = Folder::new();
    let ledger = SqliteLedger::new(options(&folder.file()));
    dispatch(&*ledger, "running");
    dispatch(&*ledger, "pending");
    done(&*ledger, finish("pending"));
    let name = folder.0.file_name().unwrap().to_string_lossy().into_owned();
    assert!(open_files(&name) > 0);
    let late = ledger.submit(Write::Attempts { claim: claim("pending", 1), attempts: 1 });
    let well = in_a_copy(|| {
        assert_eq!(open_files(&name), 0);
        assert_eq!(late.wait(Some(soon())), Err(Error::LedgerClosed));
        assert_eq!(ledger.health().state, "closed");
        assert!(matches!(row(&*ledger, "running").holder, Holder::Other { .. }));
        fenced(&*ledger, finish("running"));
        fenced(&*ledger, Write::Ack(claim("pending", 1)));
        assert!(ledger.adopt(&["running", "pending"]).unwrap().is_empty());
        dispatch(&*ledger, "child's");
        assert!(ledger.release(soon()));
    });
    assert!(well);
    assert_eq!(row(&*ledger, "running").holder, Holder::Us);
    assert_eq!(late.wait(Some(soon())), Ok(Outcome::Done));
    assert_eq!(row(&*ledger, "pending").attempts, 1);
    done(&*ledger, finish("running"));
    assert_eq!(ids(&*ledger, Which::Elsewhere), ["child's"]);
    assert_eq!(row(&*ledger, "child's").state, State::Lost);
}

/// F17: copies made while others write wait for no one, and drop no lock.
#[test]
fn copies_are_made_while_others_write() {
    let folder = Folder::new();
    let ledger = SqliteLedger::new(options(&folder.file()));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let ledger = &ledger;
            scope.spawn(move || {
                for number in 0..150 {
                    let id = format!("{thread}-{number}");
                    dispatch(&**ledger, &id);
                    done(&**ledger, finish(&id));
                }
            });
        }
        for number in 0..10 {
            assert!(in_a_copy(|| dispatch(&*ledger, &format!("child-{number}"))));
        }
    });
    assert_eq!(ids(&*ledger, Which::Newest(1_000)).len(), 310);
    let db = rusqlite::Connection::open(folder.file()).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// F39: what is prepared begins no round until it is over; who needs one himself calls it off.
#[test]
fn writers_stop_for_a_copy_that_is_near() {
    let folder = Folder::new();
    let ledger = SqliteLedger::new(options(&folder.file()));
    dispatch(&*ledger, "before");
    let name = folder.0.file_name().unwrap().to_string_lossy().into_owned();
    fork::prepare();
    assert_eq!(open_files(&name), 0);
    let receipt = std::thread::scope(|scope| {
        let submit = || ledger.submit(finish("before"));
        scope.spawn(submit).join().unwrap()
    });
    assert!(in_a_copy(|| dispatch(&*ledger, "child's")));
    fork::done();
    assert_eq!(receipt.wait(Some(soon())), Ok(Outcome::Done));
    // Twice, and never done: the thread that prepared it uses the ledger.
    fork::prepare();
    fork::prepare();
    dispatch(&*ledger, "after");
    assert!(in_a_copy(|| dispatch(&*ledger, "another child's")));
    fork::done();
    done(&*ledger, finish("after"));
}

/// F40: at the end of a process, what any of its ledgers holds is free at once. In a copy: the other
/// tests of this process hold something, too.
#[test]
fn all_that_a_process_holds_is_given_up_at_once() {
    let folders = [Folder::new(), Folder::new()];
    assert!(in_a_copy(|| {
        let ledgers: Vec<_> = folders
            .iter()
            .flat_map(|folder| [(); 2].map(|()| SqliteLedger::new(options(&folder.file()))))
            .collect();
        for (number, ledger) in ledgers.iter().enumerate() {
            dispatch(&**ledger, &number.to_string());
            done(&**ledger, finish(&number.to_string()));
        }
        assert!(sqlite::release_all(soon()));
        for (number, ledger) in ledgers.iter().enumerate() {
            assert_eq!(row(&**ledger, &number.to_string()).holder, Holder::Nobody);
        }
    }));
}
