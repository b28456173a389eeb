-- The audit log as a keyed hash chain: nothing in it can be changed, added or taken away unnoticed without the key, which
-- is not in this file.

-- One row: what the chain is made with.
CREATE TABLE audit_chain (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    database TEXT    NOT NULL,               -- UUID of this log; part of every MAC
    key      TEXT    NOT NULL,               -- name of the key, 16 hexadecimal digits; tells nothing of it
    begun_at INTEGER NOT NULL,
    adopted  INTEGER NOT NULL,               -- entries up to this number were there before and were chained as they were found
    mac      BLOB    NOT NULL                -- of this row
) STRICT;

-- HMAC-SHA256, 32 bytes each. Null only in the moment between this migration and the daemon's first look.
ALTER TABLE audit ADD COLUMN prev BLOB;      -- mac of the entry before; zeros for the first
ALTER TABLE audit ADD COLUMN mac BLOB;       -- of this entry, its number, prev and the log's id

-- Closed runs of entries. A seal stays when its entries are pruned.
CREATE TABLE audit_segments (
    segment   INTEGER NOT NULL PRIMARY KEY,  -- 1, 2, 3, …
    first     INTEGER NOT NULL,              -- number of its first entry
    last      INTEGER NOT NULL,
    "before"  BLOB    NOT NULL,              -- prev of its first entry
    "end"     BLOB    NOT NULL,              -- mac of its last entry
    at        INTEGER NOT NULL,              -- when it was closed
    mac       BLOB    NOT NULL,              -- the seal: of this row and the seal before it
    pruned_at INTEGER                        -- null while its entries are kept
) STRICT;
