-- The first schema. Migrations are append-only: change a table in a new file, never here.
--
-- Every time is an integer: microseconds since 1970-01-01T00:00:00Z.

-- Servers that somebody registered (srtctl add), and those known from a shim's command line.
CREATE TABLE servers (
    name       TEXT    NOT NULL PRIMARY KEY,
    command    TEXT    NOT NULL,             -- JSON array of strings
    cwd        TEXT,                         -- null: that of whoever attaches
    settings   TEXT,                         -- null: found by the daemon's rules
    env        TEXT    NOT NULL,             -- JSON array of {name, value}; value null: from whoever attaches
    registered INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- One row for each settings text that was ever in force. The id is the generation number.
CREATE TABLE policy_generations (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT    NOT NULL,            -- path of the settings file, or "built-in"
    digest      TEXT    NOT NULL,            -- SHA-256 of the text, lower-case hexadecimal
    text        TEXT    NOT NULL,
    compiled_at INTEGER NOT NULL,
    UNIQUE (source, digest)
) STRICT;

-- Attempts to run a server. No reference to servers: a launch is history and outlives the registration.
CREATE TABLE launches (
    id          TEXT    NOT NULL PRIMARY KEY, -- UUID
    server      TEXT    NOT NULL,
    generation  INTEGER NOT NULL REFERENCES policy_generations (id),
    restart     INTEGER NOT NULL,             -- 1 where the supervisor replaced a launch that ended
    temp_dir    TEXT,
    started_at  INTEGER NOT NULL,
    pid         INTEGER,                      -- of the server on the host; null until it runs
    pid_start   INTEGER,                      -- clock ticks since boot, so that a pid used again is not taken for ours
    init_pid    INTEGER,                      -- of the first process in the launch's pid namespace
    boot_id     TEXT,                         -- the boot that the process ids belong to
    ended_at    INTEGER,
    exit_code   INTEGER,
    exit_signal INTEGER,
    exit_reason TEXT
) STRICT;

CREATE INDEX launches_by_server ON launches (server, started_at);
CREATE INDEX launches_unfinished ON launches (started_at) WHERE ended_at IS NULL;

-- Conversations. A session keeps its id when its server is launched anew.
CREATE TABLE sessions (
    id         TEXT    NOT NULL PRIMARY KEY, -- UUID
    launch     TEXT    NOT NULL REFERENCES launches (id),
    server     TEXT    NOT NULL,
    client_pid INTEGER,
    opened_at  INTEGER NOT NULL,
    closed_at  INTEGER
) STRICT;

CREATE INDEX sessions_by_launch ON sessions (launch);

-- What happened. The daemon's writer gives out seq itself (1, 2, 3, …, without gaps) rather than SQLite, so that
-- an entry's number is known before it is inserted.
CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    server  TEXT,
    launch  TEXT,                            -- UUID
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL                 -- JSON object
) STRICT;

-- Each index ends in seq by itself (it is the row id), which is the order every query wants.
CREATE INDEX audit_by_server ON audit (server);
CREATE INDEX audit_by_kind ON audit (kind);
CREATE INDEX audit_by_time ON audit (at);

-- What servers wrote to stderr and what the daemon and the proxies said of them; pruned to the newest lines.
CREATE TABLE logs (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    server TEXT    NOT NULL,
    stream TEXT    NOT NULL,                 -- stderr, daemon, egress
    launch TEXT,                             -- UUID
    line   TEXT    NOT NULL
) STRICT;

CREATE INDEX logs_by_server ON logs (server);
