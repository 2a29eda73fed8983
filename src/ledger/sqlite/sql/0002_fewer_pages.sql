-- A dispatch writes two pages: the row with its small texts, and one entry of one index.

CREATE TABLE rebuilt (
    seq                  INTEGER PRIMARY KEY,           -- the order of dispatch
    id                   TEXT NOT NULL,                 -- unique, see the indexes
    holder               INTEGER,                       -- an instance; free if that is gone
    fence                INTEGER NOT NULL,              -- grows when the row changes hands
    state                TEXT NOT NULL,
    delivery             TEXT,                          -- of its event; none while it runs
    attempts             INTEGER NOT NULL DEFAULT 0,
    session_key          TEXT NOT NULL,
    origin_ui_session_id TEXT NOT NULL,
    parent_session_id    TEXT NOT NULL,
    epoch                INTEGER,
    idempotency_key      TEXT,
    dispatched_at        INTEGER NOT NULL,
    completed_at         INTEGER,
    settled_at           INTEGER,                       -- when it was delivered or dropped
    cancel_requested     INTEGER NOT NULL DEFAULT 0,    -- its holder has not heard of it yet
    record               TEXT,                          -- the task as JSON, unless it is long
    event                TEXT                           -- its completion event, unless it is long
) STRICT;

INSERT INTO rebuilt SELECT *, NULL, NULL FROM delegations;
DROP TABLE delegations;
ALTER TABLE rebuilt RENAME TO delegations;
-- A process with an earlier release that has the file open finds them no more, and so looks anew.
ALTER TABLE records RENAME TO long_records;
ALTER TABLE events RENAME TO long_events;

-- One row per id: one that runs is found here, and no other index has an entry of it.
CREATE UNIQUE INDEX running ON delegations (id) WHERE state = 'running';
CREATE UNIQUE INDEX ended ON delegations (id) WHERE state <> 'running';
-- What has an event that is still to be delivered, or that waits to be asked for.
CREATE INDEX unsettled ON delegations (delivery, session_key)
    WHERE settled_at IS NULL AND delivery IS NOT NULL;
-- What retention may delete, the oldest first.
CREATE INDEX settled ON delegations (settled_at) WHERE settled_at IS NOT NULL;
-- One delegation per owner and key.
CREATE UNIQUE INDEX idempotent
    ON delegations (idempotency_key, session_key, origin_ui_session_id, parent_session_id)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX cancels ON delegations (holder) WHERE cancel_requested = 1;

CREATE TRIGGER texts_go_along AFTER DELETE ON delegations BEGIN
    DELETE FROM long_records WHERE seq = old.seq;
    DELETE FROM long_events WHERE seq = old.seq;
END;

-- Rows as they are read.
CREATE VIEW rows AS
    SELECT d.seq, d.id, d.fence, d.state, d.delivery, d.attempts, d.holder, i.lease_until, i.term,
        d.session_key, d.origin_ui_session_id, d.parent_session_id, d.epoch, d.idempotency_key,
        d.dispatched_at, d.completed_at, d.settled_at,
        coalesce(d.record, (SELECT record FROM long_records WHERE seq = d.seq), '{}') AS record,
        coalesce(d.event, (SELECT event FROM long_events WHERE seq = d.seq)) AS event
    FROM delegations AS d LEFT JOIN instances AS i ON i.id = d.holder;
