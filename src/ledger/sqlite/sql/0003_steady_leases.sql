-- A lease counts on the steady clock of the machine, and what comes free or is asked for is counted.

-- A process with an earlier release leaves both empty; `lease_until` is for it, and to be shown.
ALTER TABLE instances ADD COLUMN clock INTEGER;         -- which steady clock it counts on
ALTER TABLE instances ADD COLUMN steady_until INTEGER;  -- when its lease ends, by that

-- Grows whenever a row has come free, or its holder is asked for something. It begins anywhere, so
-- that a copy of the file is known by it.
CREATE TABLE changes (count INTEGER NOT NULL) STRICT;
INSERT INTO changes VALUES (random() >> 1);

-- What a holder has not heard of yet: 1 to stop it, 2 to park its event; 3 to drop its event, heard of or
-- not.
DROP INDEX cancels;
CREATE INDEX requests ON delegations (holder) WHERE cancel_requested <> 0;
