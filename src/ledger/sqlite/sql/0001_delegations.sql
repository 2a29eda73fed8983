-- Whoever holds rows, and until when it need not be asked whether it lives.
CREATE TABLE instances (
    id          INTEGER PRIMARY KEY,    -- random
    lease_until INTEGER NOT NULL,       -- milliseconds since the epoch, as all times here
    term        INTEGER NOT NULL        -- how long a lease of it is
) STRICT;

-- One row per delegation. Its texts are elsewhere, so that what changes often stays small.
CREATE TABLE delegations (
    seq                  INTEGER PRIMARY KEY,           -- the order of dispatch
    id                   TEXT NOT NULL UNIQUE,
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
    cancel_requested     INTEGER NOT NULL DEFAULT 0     -- its holder has not heard of it yet
) STRICT;

-- What is still to be done.
CREATE INDEX unsettled ON delegations (delivery, session_key) WHERE settled_at IS NULL;
-- What retention may delete, the oldest first.
CREATE INDEX settled ON delegations (settled_at) WHERE settled_at IS NOT NULL;
-- One delegation per owner and key.
CREATE UNIQUE INDEX idempotent
    ON delegations (idempotency_key, session_key, origin_ui_session_id, parent_session_id)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX cancels ON delegations (holder) WHERE cancel_requested = 1;

-- The task as JSON.
CREATE TABLE records (
    seq    INTEGER PRIMARY KEY,
    record TEXT NOT NULL
) STRICT;

-- The completion event as JSON; none for one that was lost.
CREATE TABLE events (
    seq   INTEGER PRIMARY KEY,
    event TEXT NOT NULL
) STRICT;

CREATE TRIGGER texts_go_along AFTER DELETE ON delegations BEGIN
    DELETE FROM records WHERE seq = old.seq;
    DELETE FROM events WHERE seq = old.seq;
END;
