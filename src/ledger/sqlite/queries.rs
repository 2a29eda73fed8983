//! The statements of `queries.sql`, by their names there.

/// The file: each statement stands behind a line with its name and a few that say what it does.
const FILE: &str = include_str!("queries.sql");
const NAME: &str = "-- name: ";

macro_rules! queries {
    ($($name:ident)*) => {
        $(pub(super) const $name: &str = named(stringify!($name));)*

        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

queries! {
    DISPATCH LONG_RECORD SAME_KEY BEGIN WITHDRAW FINISH FINISH_LATE LONG_EVENT ATTEMPTS BURY SETTLE
    IS_DELIVERED
    REOPEN PARK GIVE_BACK GIVE_UP PARK_RUNNING PARK_PENDING REDELIVER DISCARD ASK_TO_DROP DROP_AS_ASKED
    CANCEL ADOPT EXISTS
    RENEW INSTANCES IS_KNOWN LEAVE ORPHAN CHANGED CHANGES REQUESTS
    COUNT_SETTLED DELETE_SETTLED DELETE_SETTLED_BEFORE
    ONE NEWEST RUNNING ELSEWHERE FREE ELSEWHERE_OF DEAD
}

/// The statement of a name, found when the core is compiled.
const fn named(name: &str) -> &'static str {
    let file = FILE.as_bytes();
    let mut line = 0;
    while line < file.len() {
        if starts_with(file, line, NAME.as_bytes())
            && starts_with(file, line + NAME.len(), name.as_bytes())
            && file[line + NAME.len() + name.len()] == b'\n'
        {
            let mut start = next_line(file, line);
            while starts_with(file, start, b"--") {
                start = next_line(file, start);
            }
            let mut end = start;
            while file[end] != b';' {
                end += 1;
            }
            let (statement, _) = file.split_at(start).1.split_at(end - start);
            match std::str::from_utf8(statement) {
                Ok(statement) => return statement,
                Err(_) => break,
            }
        }
        line = next_line(file, line);
    }
    panic!("queries.sql has a statement of each name")
}

/// Whether a text is found at a place, whatever its case.
const fn starts_with(file: &[u8], at: usize, text: &[u8]) -> bool {
    let mut index = 0;
    while index < text.len() {
        if at + index >= file.len() || !file[at + index].eq_ignore_ascii_case(&text[index]) {
            return false;
        }
        index += 1;
    }
    true
}

const fn next_line(file: &[u8], mut at: usize) -> usize {
    while at < file.len() && file[at] != b'\n' {
        at += 1;
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::schema::MIGRATIONS;
    use super::*;

    fn plan(db: &Connection, statement: &str) -> Vec<String> {
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let steps = plan.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(Result::unwrap).collect()
    }

    fn schema() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        for step in MIGRATIONS {
            db.execute_batch(step).unwrap();
        }
        db
    }

    #[test]
    fn each_statement_of_the_file_has_a_name_and_is_used() {
        assert_eq!(FILE.matches(NAME).count(), ALL.len());
        let db = schema();
        for (name, statement) in ALL {
            assert!(db.prepare(statement).is_ok(), "{name}: {statement}");
            let described = format!("{NAME}{}\n-- ", name.to_lowercase());
            assert!(FILE.contains(&described), "{name} says what it does");
        }
    }

    /// The cost of a statement does not grow with the rows that it is not about.
    #[test]
    fn each_statement_finds_its_rows_by_an_index() {
        let db = schema();
        for (name, statement) in ALL {
            let steps = plan(&db, statement);
            for step in &steps {
                // All instances are few, the changes are one row; the newest rows are the last of the table.
                let may = step.contains("instances")
                    || step.contains("changes")
                    || step == "SCAN CONSTANT ROW"
                    || *name == "NEWEST" && step == "SCAN d";
                let is_whole = step.starts_with("SCAN") && !step.contains("USING");
                assert!(may || !is_whole, "{name}\n{steps:#?}");
                assert!(!step.contains("TEMP B-TREE"), "{name}\n{steps:#?}");
            }
        }
    }

    #[test]
    fn what_is_asked_often_uses_the_index_that_is_meant_for_it() {
        let db = schema();
        for (statement, indexes) in [
            (DISPATCH, &["ended"][..]),
            (BEGIN, &["running"]),
            (WITHDRAW, &["running"]),
            (FINISH, &["running"]),
            (FINISH_LATE, &["ended"]),
            (ATTEMPTS, &["ended"]),
            (BURY, &["ended"]),
            (SETTLE, &["ended"]),
            (IS_DELIVERED, &["ended"]),
            (REOPEN, &["ended"]),
            (PARK, &["ended"]),
            (GIVE_BACK, &["ended"]),
            (GIVE_UP, &["running"]),
            (ONE, &["running", "ended"]),
            (ADOPT, &["ended"]),
            (ORPHAN, &["running"]),
            (ASK_TO_DROP, &["ended"]),
            (DROP_AS_ASKED, &["requests"]),
            (REQUESTS, &["requests"]),
            (RUNNING, &["running"]),
            (PARK_RUNNING, &["running"]),
            (PARK_PENDING, &["unsettled"]),
            (ELSEWHERE, &["running", "unsettled"]),
            (ELSEWHERE_OF, &["unsettled"]),
            (FREE, &["unsettled"]),
            (DEAD, &["unsettled"]),
        ] {
            let steps = plan(&db, statement).join("\n");
            for index in indexes {
                let used = steps.contains(&format!("INDEX {index}"));
                assert!(used, "{statement}\nuses {index}:\n{steps}");
            }
        }
    }
}
