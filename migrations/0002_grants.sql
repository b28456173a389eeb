-- Connections that a person approved, remembered: what network.ask asks about is not asked again while a grant holds.
-- A grant is never deleted: it ends.
CREATE TABLE grants (
    id           INTEGER PRIMARY KEY,        -- given out by the daemon, 1, 2, 3, …
    server       TEXT    NOT NULL,
    host         TEXT    NOT NULL,           -- a name or an address, in the form in which hosts are compared
    port         INTEGER NOT NULL,
    scope        TEXT    NOT NULL,           -- session, time, always
    launch       TEXT,                       -- UUID; of scope session only
    uid          INTEGER NOT NULL,           -- who approved it
    user         TEXT,                       -- their name, where there is one
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,                    -- of scope time only
    last_used_at INTEGER,
    ended_at     INTEGER,                    -- null while it holds
    end_reason   TEXT
) STRICT;

CREATE INDEX grants_that_hold ON grants (server) WHERE ended_at IS NULL;
