-- What servers have said of their tools, and what of it is accepted (mcp.pinTools).
CREATE TABLE tools (
    server          TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    said_digest     TEXT    NOT NULL,        -- SHA-256 of the definition in one spelling, lower-case hexadecimal
    said_text       TEXT,                    -- that definition; null where it is too long to keep
    said_at         INTEGER NOT NULL,        -- when the server first said so
    accepted_digest TEXT,                    -- null: tools of this server were never pinned
    accepted_text   TEXT,
    accepted_at     INTEGER,
    PRIMARY KEY (server, name)
) STRICT;
