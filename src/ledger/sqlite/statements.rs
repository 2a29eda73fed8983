//! The statements, each of which finds its rows by an index.
//!
//! `?1` is the delegation's id, `?2` the fence, `?3` the instance that writes, `?4` the present, and
//! `?5` the moment by which a lease must have ended to be over; the rest stands with the statement.

/// `?2` is the record.
pub(super) const DISPATCH_RECORD: &str = "INSERT INTO records (seq, record) VALUES (?1, ?2)";

/// `?4` … are the owner's fields, the key and the time.
pub(super) const DISPATCH: &str = "
    INSERT INTO delegations (id, fence, holder, state, session_key, origin_ui_session_id,
        parent_session_id, epoch, idempotency_key, dispatched_at)
    VALUES (?1, ?2, ?3, 'running', ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO NOTHING";

/// `?1` is the key, then the owner's fields.
pub(super) const SAME_KEY: &str = "
    SELECT id FROM delegations
    WHERE idempotency_key = ?1 AND session_key = ?2 AND origin_ui_session_id = ?3
        AND parent_session_id = ?4 AND idempotency_key IS NOT NULL";

pub(super) const WITHDRAW: &str = "
    DELETE FROM delegations
    WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND state = 'running'";

/// `?4` is when it ended, `?5` how. Parked ones are nobody's.
pub(super) const FINISH: &str = "
    UPDATE delegations
    SET state = ?5, completed_at = ?4, cancel_requested = 0,
        holder = iif(delivery IS 'parked', NULL, holder), delivery = ifnull(delivery, 'pending')
    WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND state = 'running'
    RETURNING seq, holder IS NULL";

/// `?2` is the event.
pub(super) const FINISH_EVENT: &str = "
    INSERT INTO events (seq, event) VALUES (?1, ?2)
    ON CONFLICT DO UPDATE SET event = excluded.event";

/// `?4` is how often.
pub(super) const ATTEMPTS: &str = "
    UPDATE delegations SET attempts = ?4
    WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND delivery = 'pending'";

/// `?4` is how often.
pub(super) const BURY: &str = "
    UPDATE delegations SET delivery = 'dead', attempts = ?4, holder = NULL
    WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND delivery = 'pending'";

/// `?5` is `delivered` or `dropped`. Also what was parked or buried under its holder's eyes.
pub(super) const SETTLE: &str = "
    UPDATE delegations SET delivery = ?5, settled_at = ?4, holder = NULL
    WHERE id = ?1 AND fence = ?2 AND (holder = ?3 AND delivery = 'pending'
        OR holder IS NULL AND delivery IN ('parked', 'dead'))";

pub(super) const REOPEN: &str = "
    UPDATE delegations SET delivery = 'pending', settled_at = NULL, holder = ?3
    WHERE id = ?1 AND fence = ?2 AND holder IS NULL AND delivery = 'delivered'";

/// `?1` is the session key. What runs stays held by whoever runs it.
pub(super) const PARK: &str = "
    UPDATE delegations
    SET holder = iif(delivery IS NULL, holder, NULL), delivery = 'parked'
    WHERE seq IN (
        SELECT seq FROM delegations
        WHERE settled_at IS NULL AND delivery IS NULL AND session_key = ?1
        UNION ALL
        SELECT seq FROM delegations
        WHERE settled_at IS NULL AND delivery = 'pending' AND session_key = ?1)
    RETURNING id, state";

pub(super) const REDELIVER: &str = "
    UPDATE delegations
    SET delivery = 'pending', settled_at = NULL, holder = NULL, fence = fence + 1, attempts = 0,
        state = iif(state = 'running', 'lost', state), completed_at = ifnull(completed_at, ?4)
    WHERE id = ?1 AND delivery IN ('delivered', 'dropped', 'dead', 'parked')
        AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder AND lease_until > ?5)";

pub(super) const DISCARD: &str = "
    UPDATE delegations
    SET delivery = 'dropped', settled_at = ?4, holder = NULL, fence = fence + 1,
        state = iif(state = 'running', 'lost', state), completed_at = ifnull(completed_at, ?4)
    WHERE id = ?1 AND settled_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder AND lease_until > ?5)";

/// `?3`, who writes, is told at once.
pub(super) const CANCEL: &str = "
    UPDATE delegations SET cancel_requested = (holder <> ?3)
    WHERE id = ?1 AND state = 'running'
        AND EXISTS (SELECT 1 FROM instances WHERE id = holder AND lease_until > ?5)
    RETURNING holder = ?3";

pub(super) const ADOPT: &str = "
    UPDATE delegations
    SET holder = ?3, fence = fence + 1, delivery = 'pending',
        state = iif(state = 'running', 'lost', state), completed_at = ifnull(completed_at, ?4)
    WHERE id = ?1 AND settled_at IS NULL AND (delivery IS NULL OR delivery = 'pending')
        AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder AND lease_until > ?5)";

pub(super) const EXISTS: &str = "SELECT 1 FROM delegations WHERE id = ?1";

/// `?1` is the instance, `?2` until when, `?3` the term.
pub(super) const RENEW: &str = "
    INSERT INTO instances (id, lease_until, term) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET lease_until = excluded.lease_until, term = excluded.term";

/// `?1` is the instance.
pub(super) const IS_KNOWN: &str = "SELECT 1 FROM instances WHERE id = ?1";

/// `?1` is the instance.
pub(super) const LEAVE: &str = "DELETE FROM instances WHERE id = ?1";

/// `?1` is the present. A lease that ends later than it can have been given was given under
/// another clock.
pub(super) const CLAMP: &str = "
    UPDATE instances SET lease_until = ?1 + term WHERE lease_until > ?1 + term";

/// `?1` is the present. Who is gone is as good as over.
pub(super) const BURY_INSTANCES: &str = "
    DELETE FROM instances WHERE lease_until < ?1 - 10 * term - 86400000";

/// `?1` is the instance. What it has not heard of yet.
pub(super) const CANCELS: &str = "
    UPDATE delegations SET cancel_requested = 0
    WHERE cancel_requested = 1 AND holder = ?1
    RETURNING id";

/// `?1` is the moment by which a lease must have ended to be over. Tells one set of rows that may
/// be adopted from another.
pub(super) const FREE: &str = "
    SELECT count(*), ifnull(sum(seq + fence), 0) FROM delegations
    WHERE settled_at IS NULL AND (delivery = 'pending' OR delivery IS NULL)
        AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder AND lease_until > ?1)";

pub(super) const COUNT_SETTLED: &str =
    "SELECT count(*) FROM delegations WHERE settled_at IS NOT NULL";

/// `?1` is how many.
pub(super) const DELETE_SETTLED: &str = "
    DELETE FROM delegations WHERE seq IN (
        SELECT seq FROM delegations WHERE settled_at IS NOT NULL ORDER BY settled_at LIMIT ?1)";

/// `?1` is how many, `?2` the moment before which they were settled.
pub(super) const DELETE_SETTLED_BEFORE: &str = "
    DELETE FROM delegations WHERE seq IN (
        SELECT seq FROM delegations WHERE settled_at IS NOT NULL AND settled_at < ?2
        ORDER BY settled_at LIMIT ?1)";

/// What every reading of rows begins with; `?5` as above.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT d.id, d.fence, d.state, d.delivery, d.attempts, d.holder, i.lease_until,
                i.term, d.session_key, d.origin_ui_session_id, d.parent_session_id, d.epoch,
                d.idempotency_key, d.dispatched_at, d.completed_at, d.settled_at,
                ifnull(r.record, '{}'), e.event
            FROM delegations AS d
            LEFT JOIN instances AS i ON i.id = d.holder AND i.lease_until > ?5
            LEFT JOIN records AS r ON r.seq = d.seq
            LEFT JOIN events AS e ON e.seq = d.seq
            ",
            $which
        )
    };
}

pub(super) const ONE: &str = select!("WHERE d.id = ?1");

/// `?1` is how many.
pub(super) const NEWEST: &str = select!("ORDER BY d.seq DESC LIMIT ?1");

pub(super) const RUNNING: &str = select!(
    "WHERE d.seq IN (
        SELECT seq FROM delegations WHERE settled_at IS NULL AND delivery IS NULL
        UNION ALL
        SELECT seq FROM delegations
        WHERE settled_at IS NULL AND delivery = 'parked' AND state = 'running')
    ORDER BY d.seq"
);

/// `?3` is who asks.
pub(super) const ELSEWHERE: &str = select!(
    "WHERE d.seq IN (
        SELECT seq FROM delegations WHERE settled_at IS NULL AND delivery IS NULL
        UNION ALL
        SELECT seq FROM delegations WHERE settled_at IS NULL AND delivery = 'pending')
        AND d.holder IS NOT ?3
    ORDER BY d.seq"
);

pub(super) const DEAD: &str = select!(
    "WHERE d.seq IN (SELECT seq FROM delegations WHERE settled_at IS NULL AND delivery = 'dead')
    ORDER BY d.seq"
);

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    const ALL: [&str; 31] = [
        DISPATCH_RECORD,
        DISPATCH,
        SAME_KEY,
        WITHDRAW,
        FINISH,
        FINISH_EVENT,
        ATTEMPTS,
        BURY,
        SETTLE,
        REOPEN,
        PARK,
        REDELIVER,
        DISCARD,
        CANCEL,
        ADOPT,
        EXISTS,
        RENEW,
        IS_KNOWN,
        LEAVE,
        CANCELS,
        FREE,
        COUNT_SETTLED,
        DELETE_SETTLED,
        DELETE_SETTLED_BEFORE,
        ONE,
        NEWEST,
        RUNNING,
        ELSEWHERE,
        DEAD,
        CLAMP,
        BURY_INSTANCES,
    ];

    /// The cost of a statement does not grow with the rows that it is not about.
    #[test]
    fn each_statement_finds_its_rows_by_an_index() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../sql/0001_delegations.sql")).unwrap();
        for statement in ALL {
            let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
            let steps = plan.raw_query().mapped(|row| row.get::<_, String>(3));
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            for step in &steps {
                // All instances are few; the newest rows are the last of the table.
                let may = step.contains("instances") || statement == NEWEST && step == "SCAN d";
                let is_whole = step.starts_with("SCAN") && !step.contains("USING");
                assert!(may || !is_whole, "{statement}\n{steps:#?}");
                let is_sorted = step.contains("TEMP B-TREE");
                assert!(!is_sorted, "{statement}\n{steps:#?}");
            }
        }
    }
}
