-- What waits for capacity is a row that runs, and says that it has not begun.

-- A process with an earlier release leaves it empty: it begins what it dispatches at once.
ALTER TABLE delegations ADD COLUMN queued INTEGER NOT NULL DEFAULT 0;   -- 1 until it begins

DROP VIEW rows;
CREATE VIEW rows AS
    SELECT d.seq, d.id, d.fence, d.state, d.delivery, d.attempts, d.holder, i.lease_until, i.term,
        d.session_key, d.origin_ui_session_id, d.parent_session_id, d.epoch, d.idempotency_key,
        d.dispatched_at, d.completed_at, d.settled_at,
        coalesce(d.record, (SELECT record FROM long_records WHERE seq = d.seq), '{}') AS record,
        coalesce(d.event, (SELECT event FROM long_events WHERE seq = d.seq)) AS event,
        d.queued
    FROM delegations AS d LEFT JOIN instances AS i ON i.id = d.holder;
