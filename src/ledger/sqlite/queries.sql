-- Every statement on a ledger's file. Each finds its rows by an index; a test says by which.
--
-- Unless said otherwise, ?1 is the delegation's id, ?2 the fence, ?3 the instance that writes,
-- and ?4 the present. An instance lives as long as there is a row of it: a transaction that asks
-- has first deleted those whose lease is over.

-- name: dispatch
-- Begins a row that runs; ?4 … are the owner's fields, the key, the time, a short record, and whether
-- it waits for capacity before.
INSERT INTO delegations (id, fence, holder, state, session_key, origin_ui_session_id,
    parent_session_id, epoch, idempotency_key, dispatched_at, record, queued)
SELECT ?1, ?2, ?3, 'running', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
WHERE NOT EXISTS (SELECT 1 FROM delegations WHERE id = ?1 AND state <> 'running')
ON CONFLICT DO NOTHING;

-- name: long_record
-- Keeps a record (?2) that is too long for its row (?1).
INSERT INTO long_records (seq, record) VALUES (?1, ?2);

-- name: same_key
-- Finds the delegation of an owner with this key; ?1 is the key, then the owner's fields.
SELECT id FROM delegations
WHERE idempotency_key = ?1 AND session_key = ?2 AND origin_ui_session_id = ?3
    AND parent_session_id = ?4 AND idempotency_key IS NOT NULL;

-- name: begin
-- Says of a row that waited for capacity that it begins.
UPDATE delegations SET queued = 0
WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND state = 'running';

-- name: withdraw
-- Takes back a row that never ran.
DELETE FROM delegations WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND state = 'running';

-- name: finish
-- Ends a row: ?4 is when, ?5 how, ?6 a short event. A parked one is nobody's.
UPDATE delegations
SET state = ?5, completed_at = ?4, cancel_requested = 0, event = ?6,
    holder = iif(delivery IS 'parked', NULL, holder), delivery = ifnull(delivery, 'pending')
WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND state = 'running'
RETURNING seq, holder IS NULL;

-- name: finish_late
-- Ends a row that was taken for lost, as `finish` does, under a new fence, whoever holds it; not one
-- that was given up by hand, or is to be.
UPDATE delegations
SET state = ?5, completed_at = ?4, event = ?6, fence = fence + 1, attempts = 0, settled_at = NULL,
    holder = iif(delivery = 'parked', NULL, ?3),
    delivery = iif(delivery = 'parked', 'parked', 'pending')
WHERE id = ?1 AND state <> 'running' AND state = 'lost' AND fence > ?2 AND delivery <> 'dropped'
    AND cancel_requested = 0
RETURNING seq, holder IS NULL, fence;

-- name: long_event
-- Keeps an event (?2) that is too long for its row (?1).
INSERT INTO long_events (seq, event) VALUES (?1, ?2)
ON CONFLICT DO UPDATE SET event = excluded.event;

-- name: attempts
-- Notes how often an event was handed out: ?4.
UPDATE delegations SET attempts = ?4
WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND delivery = 'pending' AND state <> 'running';

-- name: bury
-- Makes an event a dead letter after so many attempts: ?4.
UPDATE delegations SET delivery = 'dead', attempts = ?4, holder = NULL
WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND delivery IN ('pending', 'parked')
    AND state <> 'running';

-- name: settle
-- Says that an event is delivered or dropped (?5), also one parked or buried since it was taken.
UPDATE delegations SET delivery = ?5, settled_at = ?4, holder = NULL,
    cancel_requested = iif(?5 = 'dropped', 0, cancel_requested)
WHERE id = ?1 AND state <> 'running' AND fence = ?2
    AND (holder = ?3 AND delivery IN ('pending', 'parked')
        OR holder IS NULL AND delivery IN ('parked', 'dead'));

-- name: is_delivered
-- Whether an event was delivered under this very claim.
SELECT 1 FROM delegations
WHERE id = ?1 AND state <> 'running' AND fence = ?2 AND delivery = 'delivered';

-- name: reopen
-- Has a delivered event wait again.
UPDATE delegations SET delivery = 'pending', settled_at = NULL, holder = ?3,
    cancel_requested = iif(cancel_requested = 3, 3, 0)
WHERE id = ?1 AND state <> 'running' AND fence = ?2 AND holder IS NULL AND delivery = 'delivered';

-- name: park
-- Parks the waiting event of a claimed row, also one that another has parked. Nobody holds it any more.
UPDATE delegations SET holder = NULL, delivery = 'parked',
    cancel_requested = iif(cancel_requested = 3, 3, 0)
WHERE id = ?1 AND state <> 'running' AND fence = ?2 AND holder = ?3
    AND delivery IN ('pending', 'parked');

-- name: give_back
-- Leaves the waiting event of a claimed row to whoever takes it; one that another has parked, to nobody.
UPDATE delegations SET holder = NULL
WHERE id = ?1 AND state <> 'running' AND fence = ?2 AND holder = ?3
    AND delivery IN ('pending', 'parked');

-- name: give_up
-- Has a claimed row that runs wait as lost, for whoever may have it.
UPDATE delegations
SET state = 'lost', delivery = ifnull(delivery, 'pending'), completed_at = ?4, holder = NULL,
    fence = fence + 1, cancel_requested = 0
WHERE id = ?1 AND fence = ?2 AND holder = ?3 AND state = 'running';

-- name: park_running
-- Parks what runs for a session key (?1); it stays held by whoever runs it.
UPDATE delegations SET delivery = 'parked'
WHERE state = 'running' AND session_key = ?1 AND delivery IS NULL;

-- name: park_pending
-- Parks the waiting events of a session key (?1). Nobody holds them any more; but one of an instance
-- other than ?2 stays held until that has heard of it, for it may hand it out until then.
UPDATE delegations SET delivery = 'parked',
    cancel_requested = iif(cancel_requested = 3, 3,
        iif(holder IS NOT ?2 AND holder IN (SELECT id FROM instances), 2, 0)),
    holder = iif(holder IS NOT ?2 AND holder IN (SELECT id FROM instances), holder, NULL)
WHERE settled_at IS NULL AND delivery = 'pending' AND session_key = ?1
RETURNING id, holder;

-- name: redeliver
-- Has a settled, dead or parked event wait again, held by nobody.
UPDATE delegations
SET delivery = 'pending', settled_at = NULL, holder = NULL, fence = fence + 1, attempts = 0,
    cancel_requested = 0
WHERE id = ?1 AND state <> 'running' AND delivery IN ('delivered', 'dropped', 'dead', 'parked')
    AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder);

-- name: discard
-- Gives up an event that nobody holds.
UPDATE delegations SET delivery = 'dropped', settled_at = ?4, holder = NULL, fence = fence + 1
WHERE id = ?1 AND state <> 'running' AND settled_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder);

-- name: ask_to_drop
-- Asks whoever holds an event to give it up.
UPDATE delegations SET cancel_requested = 3
WHERE id = ?1 AND state <> 'running' AND settled_at IS NULL
    AND EXISTS (SELECT 1 FROM instances WHERE id = holder)
RETURNING holder;

-- name: drop_as_asked
-- Gives up what its holder was asked to, and let go of; ?1 is the present.
UPDATE delegations
SET delivery = 'dropped', settled_at = ?1, holder = NULL, fence = fence + 1, cancel_requested = 0
WHERE cancel_requested <> 0 AND cancel_requested = 3 AND settled_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder)
RETURNING id, fence - 1;

-- name: cancel
-- Asks whoever runs it to stop.
UPDATE delegations SET cancel_requested = 1
WHERE id = ?1 AND state = 'running' AND EXISTS (SELECT 1 FROM instances WHERE id = holder)
RETURNING holder;

-- name: adopt
-- Takes over a row that nobody holds and whose event waits.
UPDATE delegations SET holder = ?3, fence = fence + 1,
    cancel_requested = iif(cancel_requested = 3, 3, 0)
WHERE id = ?1 AND state <> 'running' AND settled_at IS NULL AND delivery = 'pending'
    AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder)
RETURNING seq, id, fence, state, delivery, attempts, holder, NULL, NULL, session_key,
    origin_ui_session_id, parent_session_id, epoch, idempotency_key, dispatched_at, completed_at,
    settled_at, coalesce(record, (SELECT record FROM long_records AS r WHERE r.seq = delegations.seq),
    '{}'), coalesce(event, (SELECT event FROM long_events AS e WHERE e.seq = delegations.seq)),
    queued;

-- name: exists
-- Whether there is a row of this id.
SELECT 1 FROM delegations WHERE id = ?1 AND state = 'running'
UNION ALL SELECT 1 FROM delegations WHERE id = ?1 AND state <> 'running';

-- name: renew
-- Has an instance (?1) hold what it holds until ?5 on its steady clock (?4), which is ?2 by the wall
-- clock; ?3 is the term.
INSERT INTO instances (id, lease_until, term, clock, steady_until) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET lease_until = excluded.lease_until, term = excluded.term,
    clock = excluded.clock, steady_until = excluded.steady_until;

-- name: instances
-- Reads what each instance wrote of its lease.
SELECT id, lease_until, term, clock, steady_until FROM instances;

-- name: is_known
-- Whether the file knows an instance (?1).
SELECT 1 FROM instances WHERE id = ?1;

-- name: leave
-- Gives up all that an instance (?1) holds.
DELETE FROM instances WHERE id = ?1;

-- name: orphan
-- Has what runs for nobody any more wait as lost, for whoever may have it; ?1 is the present.
UPDATE delegations
SET state = 'lost', delivery = ifnull(delivery, 'pending'), completed_at = ifnull(completed_at, ?1),
    holder = NULL, fence = fence + 1, cancel_requested = 0
WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM instances WHERE id = holder);

-- name: changed
-- Counts that a row has come free, or that its holder is asked for something.
UPDATE changes SET count = count + 1 RETURNING count;

-- name: changes
-- How often that was counted.
SELECT count FROM changes;

-- name: requests
-- Gives an instance (?1) the requests that it has not heard of yet: to stop what runs, and to park what
-- has ended; and those to drop what has ended, until it has.
UPDATE delegations SET cancel_requested = iif(cancel_requested = 3, 3, 0)
WHERE cancel_requested <> 0 AND holder = ?1
RETURNING id, fence, state = 'running', cancel_requested = 3;

-- name: count_settled
-- Counts what retention may delete.
SELECT count(*) FROM delegations WHERE settled_at IS NOT NULL;

-- name: delete_settled
-- Deletes so many (?1) of the settled rows, the oldest first.
DELETE FROM delegations WHERE seq IN (
    SELECT seq FROM delegations WHERE settled_at IS NOT NULL ORDER BY settled_at LIMIT ?1);

-- name: delete_settled_before
-- The same of those that were settled before ?2.
DELETE FROM delegations WHERE seq IN (
    SELECT seq FROM delegations WHERE settled_at IS NOT NULL AND settled_at < ?2
    ORDER BY settled_at LIMIT ?1);

-- name: one
-- Reads one row.
SELECT * FROM rows WHERE id = ?1 AND state = 'running'
UNION ALL SELECT * FROM rows WHERE id = ?1 AND state <> 'running';

-- name: newest
-- Reads so many (?1) of the newest rows.
SELECT * FROM rows ORDER BY seq DESC LIMIT ?1;

-- name: running
-- Reads what runs, or waits for capacity.
SELECT * FROM rows WHERE seq IN (SELECT seq FROM delegations WHERE state = 'running') ORDER BY seq;

-- name: elsewhere
-- Reads what this instance (?1) may adopt now or later.
SELECT * FROM rows
WHERE seq IN (
        SELECT seq FROM delegations WHERE state = 'running' AND delivery IS NULL
        UNION ALL SELECT seq FROM delegations WHERE settled_at IS NULL AND delivery = 'pending')
    AND holder IS NOT ?1
ORDER BY seq;

-- name: free
-- Reads what may be adopted now, without the texts.
SELECT d.seq, d.id, d.fence, d.state, d.delivery, d.attempts, NULL, NULL, NULL, d.session_key,
    d.origin_ui_session_id, d.parent_session_id, d.epoch, d.idempotency_key, d.dispatched_at,
    d.completed_at, d.settled_at, '' AS record, NULL AS event, d.queued
FROM delegations AS d
WHERE d.seq IN (SELECT seq FROM delegations WHERE settled_at IS NULL AND delivery = 'pending')
    AND d.state <> 'running' AND NOT EXISTS (SELECT 1 FROM instances WHERE id = d.holder)
ORDER BY d.seq;

-- name: dead
-- Reads dead letters.
SELECT * FROM rows
WHERE seq IN (SELECT seq FROM delegations WHERE settled_at IS NULL AND delivery = 'dead')
ORDER BY seq;

-- name: elsewhere_of
-- Reads the waiting events of a session key (?2) that this instance (?1) does not hold, without the
-- texts.
SELECT d.seq, d.id, d.fence, d.state, d.delivery, d.attempts, d.holder, i.lease_until, i.term,
    d.session_key, d.origin_ui_session_id, d.parent_session_id, d.epoch, d.idempotency_key,
    d.dispatched_at, d.completed_at, d.settled_at, '' AS record, NULL AS event, d.queued
FROM delegations AS d LEFT JOIN instances AS i ON i.id = d.holder
WHERE d.seq IN (
        SELECT seq FROM delegations
        WHERE settled_at IS NULL AND delivery = 'pending' AND session_key = ?2)
    AND d.holder IS NOT ?1
ORDER BY d.seq;
