//! Damaged files: what can be read is recovered, the rest is kept aside, and work goes on.

use std::collections::BTreeSet;

use rusqlite::{Connection, OpenFlags};

use super::*;

const ROWS: usize = 150;

/// Where a file says whose it is. Without that it is not a ledger, and left alone.
const OURS: std::ops::Range<usize> = 68..72;

/// A file that was closed in order, with rows in every state.
fn a_file() -> Vec<u8> {
    let folder = Folder::new();
    let ledger = process(&folder.file(), &Hands::new());
    for number in 0..ROWS {
        let id = format!("deleg_{number:03}");
        let record = format!("{{\"goal\":\"{}\"}}", "g".repeat(number * 7 % 300)).into();
        done(&*ledger, Write::Dispatch(NewDelegation { record, ..new(&id) }));
        if number % 5 > 0 {
            done(&*ledger, finish(&id));
        }
        if number % 5 > 1 {
            done(&*ledger, Write::Ack(claim(&id, 1)));
        }
    }
    drop(ledger);
    let gone_by = soon();
    while folder.names().len() > 1 {
        assert!(Instant::now() < gone_by);
    }
    fs::read(folder.file()).unwrap()
}

fn aside(folder: &Folder) -> Option<PathBuf> {
    let names = folder.names().into_iter();
    let mut aside = names.filter(|name| name.contains(".damaged-") && !name.ends_with("-wal"));
    aside.next().map(|name| folder.0.join(name))
}

/// The rows that SQLite reads of a file, one by one.
fn readable(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Ok(db) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
        return found;
    };
    for number in 0..ROWS {
        let id = format!("deleg_{number:03}");
        for (column, value) in [("id", id.clone()), ("seq", (number + 1).to_string())] {
            let row = format!("SELECT * FROM delegations WHERE {column} = '{value}'");
            let read = db.query_row(&row, [], |row| {
                // Of the types of a row: what is overwritten with zeros is not.
                let id = row.get_ref(1)?.as_str()?.to_owned();
                row.get::<_, i64>(3)?;
                row.get::<_, i64>(12)?;
                for text in [4, 7, 8, 9] {
                    row.get_ref(text)?.as_bytes()?;
                }
                Ok(id)
            });
            if read.is_ok_and(|read| read == id) {
                found.insert(id.clone());
            }
        }
    }
    found
}

/// Opens a damaged file, works with it, and says what is there. Whether it was set aside.
fn open_damaged(bytes: &[u8]) -> (BTreeSet<String>, Option<BTreeSet<String>>) {
    let folder = Folder::new();
    fs::write(folder.file(), bytes).unwrap();
    let ledger = process(&folder.file(), &Hands::at(9_000_000));
    dispatch(&*ledger, "after");
    done(&*ledger, finish("after"));
    // Damage that is found by reading alone is found here.
    let there: BTreeSet<_> = ids(&*ledger, Which::Newest(usize::MAX)).into_iter().collect();
    ids(&*ledger, Which::Elsewhere);
    let there: BTreeSet<_> = match ids(&*ledger, Which::Newest(usize::MAX)) {
        again if again.len() == there.len() => there,
        again => again.into_iter().collect(),
    };
    assert!(there.contains("after"));
    let aside = aside(&folder);
    let warned = notices(&*ledger).iter().any(|notice| {
        let name = aside.as_ref().map(|aside| aside.file_name().unwrap().to_string_lossy());
        matches!((notice, name), (Notice::Warning(text), Some(name)) if text.contains(&*name))
    });
    assert_eq!(warned, aside.is_some());
    drop(ledger);
    (there, aside.map(|aside| readable(&aside)))
}

/// F3, F17: wherever a page is torn, no readable row is lost, and what is recovered is whole.
#[test]
fn no_readable_row_is_lost_wherever_a_file_is_damaged() {
    let whole = a_file();
    assert!(whole.len() > 12 * 4096, "{}", whole.len());
    let mut set_aside = 0;
    for page in 0..whole.len() / 4096 {
        for (offset, length) in [(0, 16), (0, 4096), (2_000, 2_096), (4_000, 64)] {
            for filling in [0x00, 0x5a] {
                let mut bytes = whole.clone();
                bytes[page * 4096 + offset..][..length].fill(filling);
                bytes[OURS].copy_from_slice(&whole[OURS]);
                let (there, readable) = open_damaged(&bytes);
                let at = format!("page {page}, {offset}, {length}, {filling:#x}");
                if let Some(readable) = readable {
                    set_aside += 1;
                    let lost: Vec<_> = readable.difference(&there).collect();
                    assert!(lost.is_empty(), "{at}: {lost:?}");
                }
            }
        }
    }
    assert!(set_aside > 50, "{set_aside}");
}

/// A file cut short, at any length.
#[test]
fn a_file_that_was_cut_short_is_recovered_as_far_as_it_goes() {
    let whole = a_file();
    for length in
        [72, 99, 100, 512, 4095, 4096, 4097, 3 * 4096, whole.len() - 4096, whole.len() - 1]
    {
        let (there, readable) = open_damaged(&whole[..length]);
        if let Some(readable) = readable {
            assert!(readable.is_subset(&there), "{length}");
        }
    }
}

/// The first page alone says where everything is: with another in its place, all is found.
#[test]
fn without_its_first_page_a_file_is_recovered_whole() {
    let whole = a_file();
    for filling in [0x00, 0xff] {
        let mut bytes = whole.clone();
        bytes[..4096].fill(filling);
        bytes[OURS].copy_from_slice(&whole[OURS]);
        let (there, readable) = open_damaged(&bytes);
        assert!(readable.is_some());
        assert_eq!(there.len(), ROWS + 1);
    }
}

/// F11: what was recovered stands where it stood.
#[test]
fn what_is_recovered_stands_where_it_stood() {
    let folder = Folder::new();
    let mut bytes = a_file();
    bytes[..68].fill(0);
    fs::write(folder.file(), &bytes).unwrap();
    let ledger = process(&folder.file(), &Hands::at(9_000_000));
    let rows = ledger.read(Which::Newest(usize::MAX)).unwrap();
    let named: Vec<_> = (0..ROWS).map(|number| format!("deleg_{number:03}")).collect();
    assert_eq!(rows.iter().map(|row| &*row.claim.id).collect::<Vec<_>>(), named);
    for (number, row) in rows.iter().enumerate() {
        let delivery = match number % 5 {
            // What ran was lost when its process ended.
            0 | 1 => Some("pending"),
            _ => Some("delivered"),
        };
        assert_eq!(row.delivery.name(), delivery);
        assert_eq!(row.event.is_some(), number % 5 > 0);
        assert!(row.record.starts_with("{\"goal\""));
    }
    fenced(&*ledger, Write::Drop(claim("deleg_002", 1)));
}

/// A file that is damaged while it is open is set aside, and what runs is not lost.
#[test]
fn damage_under_way_is_noticed_and_no_result_lost() {
    let folder = Folder::new();
    let machine = Machine { shared_disk: Some(true), shares_writer: false, ..Machine::default() };
    let ledger = SqliteLedger::on(options(&folder.file()), machine);
    for number in 0..50 {
        dispatch(&*ledger, &number.to_string());
    }
    notices(&*ledger);
    // Another process writes rubbish over all pages, and over the counter that says that they
    // changed.
    let length = fs::metadata(folder.file()).unwrap().len() as usize;
    let file = fs::OpenOptions::new().write(true).open(folder.file()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0x5a; length], 0).unwrap();
    done(&*ledger, finish("7"));
    let Notice::Warning(warning) = notice(&*ledger) else { panic!("it warns") };
    assert!(warning.contains("damaged"), "{warning}");
    assert!(aside(&folder).is_some());
    let kept = row(&*ledger, "7");
    assert_eq!((kept.owner, kept.event.is_some()), (owner("a").into(), true));
}

/// Whoever died while a new file was made or put in place is succeeded by the next.
#[test]
fn a_setting_aside_that_was_cut_short_is_ended_by_the_next() {
    let whole = a_file();
    let cut_short: [(&[&str], usize); 3] = [
        // Made, not in place: the damaged one is gone.
        (&["delegations.db.salvaged"], ROWS),
        // The same; the old log has still the name of the new one's.
        (&["delegations.db.salvaged", "delegations.db-wal"], ROWS),
        // Half made: nothing but the damaged one counts, and that is gone.
        (&["delegations.db.salvage"], 0),
    ];
    for (names, expected) in cut_short {
        let folder = Folder::new();
        for name in names {
            fs::write(folder.0.join(name), &whole).unwrap();
        }
        let ledger = process(&folder.file(), &Hands::at(9_000_000));
        assert_eq!(ids(&*ledger, Which::Newest(usize::MAX)).len(), expected, "{names:?}");
    }
    // Made, but the one in place is whole: that counts.
    let folder = Folder::new();
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    drop(ledger);
    fs::write(folder.0.join("delegations.db.salvaged"), &whole).unwrap();
    let ledger = process(&folder.file(), &Hands::new());
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["d"]);
    assert!(!folder.names().contains(&"delegations.db.salvaged".into()));
}
