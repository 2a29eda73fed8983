//! What is at a ledger's path and is none: refused, and untouched (F36). How a new file is made (F41).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;

type About = (u64, u32, u64, (i64, i64), Option<Vec<u8>>);

/// Everything about what is in a folder that a hand could change.
fn seen(folder: &Folder) -> BTreeMap<OsString, About> {
    let entries = fs::read_dir(&folder.0).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let bytes = about.is_file().then(|| fs::read(&path).unwrap());
            let modified = (about.mtime(), about.mtime_nsec());
            let about = (about.ino(), about.mode(), about.nlink(), modified, bytes);
            (path.file_name().unwrap().to_owned(), about)
        })
        .collect()
}

/// Whoever writes, adopts, reads, looks or asks is refused, and nothing is touched. Why.
fn refused(folder: &Folder, path: &Path) -> String {
    let before = seen(folder);
    let ledger = process(path, &Hands::new());
    let asked = [
        ledger.check().unwrap_err(),
        write(&*ledger, Write::Dispatch(new("d"))).unwrap_err(),
        ledger.adopt(&["d"]).unwrap_err(),
        ledger.read(Which::Newest(9)).unwrap_err(),
        process(path, &Hands::new()).look(Which::Newest(9)).unwrap_err(),
    ];
    let why = asked[0].to_string();
    for error in asked {
        assert!(matches!(error, Error::NotALedger { .. }), "{error}");
        assert_eq!(error.to_string(), why);
    }
    drop(ledger);
    assert_eq!(seen(folder), before);
    why
}

/// An SQLite file of another program.
fn foreign(path: &Path, statements: &str) {
    Connection::open(path).unwrap().execute_batch(statements).unwrap();
}

#[test]
fn what_is_no_file_is_named() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("folder")).unwrap();
    let _socket = UnixListener::bind(folder.0.join("socket")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(folder.0.join("pipe")).status();
    let mut kinds = vec![("folder", "it is a folder"), ("socket", "it is a socket")];
    if pipe.is_ok_and(|status| status.success()) {
        assert!(fs::metadata(folder.0.join("pipe")).unwrap().file_type().is_fifo());
        kinds.push(("pipe", "it is a pipe"));
    }
    for (name, why) in kinds {
        assert!(refused(&folder, &folder.0.join(name)).contains(why), "{name}");
        // The same through a link.
        let link = folder.0.join(format!("link-{name}"));
        symlink(name, &link).unwrap();
        assert!(refused(&folder, &link).contains(why), "{name}");
    }
    for device in ["/dev/null", "/dev/zero", "/dev/full"] {
        assert!(refused(&folder, Path::new(device)).contains("it is a device"), "{device}");
    }
}

#[test]
fn another_programs_database_is_left_alone() {
    for (statements, why) in [
        ("CREATE TABLE t (x)", "another program's"),
        // An empty one, too: whoever made it is to fill it.
        ("PRAGMA user_version = 0; VACUUM", "another program's"),
        ("PRAGMA journal_mode = WAL; CREATE TABLE t (x)", "another program's"),
        ("PRAGMA application_id = 7; CREATE TABLE delegations (x)", "another program's"),
        ("PRAGMA page_size = 65536; CREATE TABLE t (x)", "another program's"),
        ("PRAGMA user_version = 99; CREATE TABLE t (x)", "another program's"),
    ] {
        let folder = Folder::new();
        foreign(&folder.file(), statements);
        assert!(refused(&folder, &folder.file()).contains(why), "{statements}");
    }
    let folder = Folder::new();
    foreign(&folder.0.join("state.db"), "PRAGMA application_id = 0x68636c67; CREATE TABLE t (x)");
    assert!(refused(&folder, &folder.0.join("state.db")).contains("the gateway's own file"));
    fs::remove_file(folder.0.join("state.db")).unwrap();
    assert!(refused(&folder, &folder.0.join("state.db")).contains("the gateway's own file"));
}

/// F17: what is looked at is not closed again, which would drop the locks that another SQLite of the
/// process has on it.
#[test]
fn another_programs_locks_stay() {
    let folder = Folder::new();
    foreign(&folder.file(), "CREATE TABLE t (x)");
    let db = Connection::open(folder.file()).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for _ in 0..3 {
        let ledger = process(&folder.file(), &Hands::new());
        write(&*ledger, Write::Dispatch(new("d"))).unwrap_err();
        ledger.check().unwrap_err();
    }
    // Only another process sees the locks of this one.
    let python =
        "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')";
    let mut other = std::process::Command::new("python3");
    let Ok(output) = other.args(["-c", python]).arg(folder.file()).output() else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("locked"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a file holds: without our number at its place in the header, it is left alone.
    #[test]
    fn any_other_file_is_left_alone(
        begins in prop_oneof![
            Just(b"".to_vec()), Just(b"SQLite format 3\0".to_vec()), Just(b"{\"a\": 1}\n".to_vec()),
            Just("# Notes\u{1f600}\n".as_bytes().to_vec()), Just(b"hclg".to_vec()),
        ],
        rest in proptest::collection::vec(any::<u8>(), 0..9_000),
        zeros in 0usize..5_000,
        log in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..5_000)),
    ) {
        let folder = Folder::new();
        let mut bytes = [begins, vec![0; zeros], rest].concat();
        if bytes.get(68..72) == Some(b"hclg") {
            bytes[68] = 0;
        }
        fs::write(folder.file(), &bytes).unwrap();
        if let Some(log) = log {
            fs::write(format!("{}-wal", folder.file().display()), log).unwrap();
        }
        refused(&folder, &folder.file());
    }
}

#[test]
fn a_path_that_is_too_long_is_said() {
    let folder = Folder::new();
    let mut path = folder.0.clone();
    while path.as_os_str().len() < 490 {
        path = path.join("f".repeat(40));
    }
    fs::create_dir_all(&path).unwrap();
    for path in [path.join("delegations.db"), folder.0.join("n".repeat(300))] {
        let ledger = process(&path, &Hands::new());
        for error in [ledger.check().unwrap_err(), ledger.read(Which::Dead).unwrap_err()] {
            assert!(error.to_string().contains("too long"), "{error}");
        }
    }
    // Up to there each is possible, also with what a recovery makes beside it.
    let room = 483 - folder.0.as_os_str().len() - "/delegations.db".len() - 1;
    let path = folder.0.join("f".repeat(room.min(200)));
    let path = match room.checked_sub(201) {
        Some(rest) if rest > 1 => path.join("f".repeat((rest - 1).min(200))),
        _ => path,
    };
    fs::create_dir_all(&path).unwrap();
    dispatch(&*process(&path.join("delegations.db"), &Hands::new()), "d");
}

/// Two names of one file would have a log each.
#[test]
fn a_file_of_two_names_is_said() {
    let folder = Folder::new();
    let ledger = SqliteLedger::new(options(&folder.file()));
    dispatch(&*ledger, "d");
    let other = folder.0.join("other.db");
    fs::hard_link(folder.file(), &other).unwrap();
    for ledger in [process(&other, &Hands::new()), process(&folder.file(), &Hands::new())] {
        for error in [ledger.check().unwrap_err(), ledger.read(Which::Dead).unwrap_err()] {
            assert!(error.to_string().contains("hard link"), "{error}");
        }
    }
    // Whoever has it open goes on, and within a process so does whoever uses the other name.
    dispatch(&*SqliteLedger::new(options(&other)), "e");
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["d", "e"]);
    assert_eq!(folder.names().iter().filter(|name| name.starts_with("other.db")).count(), 1);
    fs::remove_file(&other).unwrap();
    dispatch(&*process(&folder.file(), &Hands::new()), "f");
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["d", "e", "f"]);
}

#[test]
fn links_are_followed_also_to_what_is_not_there_yet() {
    let folder = Folder::new();
    for (number, (link, target)) in [
        ("absolute.db", folder.0.join("volume/a.db")),
        ("relative.db", "volume/b.db".into()),
        ("twice.db", "relative-2.db".into()),
        ("late.db", "later/c.db".into()),
    ]
    .into_iter()
    .enumerate()
    {
        symlink(target, folder.0.join(link)).unwrap();
        if number == 0 {
            fs::create_dir(folder.0.join("volume")).unwrap();
            symlink("./volume/d.db", folder.0.join("relative-2.db")).unwrap();
        }
        let path = folder.0.join(link);
        let ledger = process(&path, &Hands::new());
        if link == "late.db" {
            // The folder that it leads to is made later.
            ledger.check().unwrap_err();
            write(&*ledger, Write::Dispatch(new("d"))).unwrap_err();
            fs::create_dir(folder.0.join("later")).unwrap();
        }
        ledger.check().unwrap();
        dispatch(&*ledger, "d");
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert!(fs::metadata(&path).unwrap().len() > 0);
        dispatch(&*process(&path, &Hands::new()), "e");
        assert_eq!(ids(&*ledger, Which::Newest(9)), ["d", "e"]);
    }
    symlink("round.db", folder.0.join("round.db")).unwrap();
    let ledger = process(&folder.0.join("round.db"), &Hands::new());
    assert!(matches!(ledger.check(), Err(Error::LedgerIo { .. })));
}

/// F41: whoever comes second uses what the first one made, and nobody sees it half made.
#[test]
fn several_that_start_on_a_new_file_at_once_all_start() {
    for _ in 0..20 {
        let folder = Folder::new();
        let ledgers: Vec<_> = (0..4).map(|_| process(&folder.file(), &Hands::new())).collect();
        let ready = std::sync::Barrier::new(ledgers.len());
        std::thread::scope(|scope| {
            for (number, ledger) in ledgers.iter().enumerate() {
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    dispatch(&**ledger, &number.to_string());
                });
            }
        });
        assert_eq!(ids(&*ledgers[0], Which::Newest(9)).len(), 4);
        drop(ledgers);
        assert!(!folder.names().iter().any(|name| name.contains(".new-")), "{:?}", folder.names());
    }
}

/// What a crash left of a file that was being made goes with the next one that is; what is being
/// made stays.
#[test]
fn what_was_left_of_a_making_goes() {
    let folder = Folder::new();
    let old = std::time::SystemTime::now() - Duration::from_secs(3_600);
    for name in ["delegations.db.new-00000001", "delegations.db.new-00000001-wal", "other.new-1"] {
        fs::write(folder.0.join(name), "half").unwrap();
        fs::File::open(folder.0.join(name)).unwrap().set_modified(old).unwrap();
    }
    fs::write(folder.0.join("delegations.db.new-00000002"), "being made").unwrap();
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    let left: Vec<_> = folder.names().into_iter().filter(|name| name.contains("new-")).collect();
    assert_eq!(left, ["delegations.db.new-00000002", "other.new-1"]);
}

/// A crash between the two names of a new file leaves one too many, which the next one to open it
/// takes away.
#[test]
fn a_new_files_first_name_goes() {
    let folder = Folder::new();
    dispatch(&*process(&folder.file(), &Hands::new()), "d");
    fs::hard_link(folder.file(), folder.0.join("delegations.db.new-0000002a")).unwrap();
    assert_eq!(ids(&*process(&folder.file(), &Hands::new()), Which::Newest(9)), ["d"]);
    assert!(!folder.names().iter().any(|name| name.contains(".new-")));
}

/// An earlier release made its file in place, and its number may be in the log alone.
#[test]
fn a_file_whose_number_is_in_its_log_alone_is_a_ledger() {
    let folder = Folder::new();
    let db = Connection::open(folder.0.join("made.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;").unwrap();
    db.execute_batch(include_str!("../../../src/ledger/sqlite/sql/0001_delegations.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 0x68636c67;").unwrap();
    for ending in ["", "-wal"] {
        let from = format!("{}{ending}", folder.0.join("made.db").display());
        fs::copy(from, format!("{}{ending}", folder.file().display())).unwrap();
    }
    assert_ne!(fs::read(folder.file()).unwrap()[68..72], *b"hclg");
    let ledger = process(&folder.file(), &Hands::new());
    ledger.check().unwrap();
    dispatch(&*ledger, "d");
}

/// A file beside the ledger that has the name of a recovered one is used if it is one.
#[test]
fn a_recovered_ledger_is_none_by_its_name_alone() {
    let folder = Folder::new();
    let beside = folder.0.join("delegations.db.salvaged");
    fs::write(&beside, "my notes").unwrap();
    dispatch(&*process(&folder.file(), &Hands::new()), "d");
    assert_eq!(fs::read(&beside).unwrap(), b"my notes");
    assert!(folder.file().as_os_str().as_bytes().len() > 1);
}
