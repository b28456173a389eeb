-- What the audit log is asked about, so that each answer is found by an index among millions of entries.
--
-- What is looked for is computed from the row by the database itself, so that it cannot disagree with it: no other column
-- is written.

-- The host that an entry is about: "api.example.com" of "api.example.com:443", "::1" of "[::1]:80".
ALTER TABLE audit ADD COLUMN host TEXT GENERATED ALWAYS AS (
    CASE WHEN kind IN ('allow', 'deny', 'would-deny', 'close', 'ask', 'approve', 'reject', 'expire', 'revoke')
              AND substr(subject, 1, 1) <> '/'
              AND instr(detail, '"front_end":"mcp"') = 0
              AND instr(detail, '"front_end":"file"') = 0
         THEN nullif(lower(rtrim(
                  CASE WHEN substr(subject, 1, 1) = '[' THEN substr(subject, 2, instr(subject, ']') - 2)
                       WHEN instr(subject, ':') > 0 THEN substr(subject, 1, instr(subject, ':') - 1)
                       ELSE subject END, '.')), '')
    END) VIRTUAL;

-- The path that an entry is about.
ALTER TABLE audit ADD COLUMN path TEXT GENERATED ALWAYS AS (
    CASE WHEN kind IN ('deny', 'would-deny', 'apply', 'discard', 'policy') AND substr(subject, 1, 1) = '/'
         THEN subject
    END) VIRTUAL;

-- When something began of which the entry was written a minute later or more: few entries, and all that a time some
-- while before them has to be compared with.
ALTER TABLE audit ADD COLUMN begun INTEGER GENERATED ALWAYS AS (
    CASE WHEN kind IN ('call', 'allow', 'would-deny', 'close') AND json_valid(detail)
              AND json_extract(detail, '$.duration_ms') >= 60000
         THEN at - 1000 * json_extract(detail, '$.duration_ms')
    END) VIRTUAL;

-- Each index ends in seq by itself (it is the row id).
CREATE INDEX audit_by_server_kind ON audit (server, kind);
CREATE INDEX audit_by_host ON audit (host, server, kind) WHERE host IS NOT NULL;
CREATE INDEX audit_by_path ON audit (path, server, kind) WHERE path IS NOT NULL;
-- What went on in a server at a time.
CREATE INDEX audit_by_server_time ON audit (server, at);
CREATE INDEX audit_by_begin ON audit (server, begun) WHERE begun IS NOT NULL;

-- From a time to a number: entries are numbered as they are written, which is almost, but not quite, as they happened,
-- and a clock may be set back. In place of an index on the time, which says no number.
CREATE TABLE audit_hours (
    hour  INTEGER PRIMARY KEY,               -- since 1970
    first INTEGER NOT NULL,                  -- the lowest number of its entries
    last  INTEGER NOT NULL                   -- the highest
) STRICT;
INSERT INTO audit_hours SELECT at / 3600000000, MIN(seq), MAX(seq) FROM audit GROUP BY 1;
CREATE TRIGGER audit_into_hours AFTER INSERT ON audit BEGIN
    INSERT INTO audit_hours VALUES (new.at / 3600000000, new.seq, new.seq)
    ON CONFLICT (hour) DO UPDATE SET first = min(first, new.seq), last = max(last, new.seq);
END;
DROP INDEX audit_by_time;

-- Which launches were given a variable, by its name. Values are nowhere.
CREATE TABLE audit_variables (
    name TEXT    NOT NULL,
    seq  INTEGER NOT NULL,                   -- of the start entry
    PRIMARY KEY (name, seq)
) STRICT;
CREATE TRIGGER audit_into_variables AFTER INSERT ON audit WHEN new.kind = 'start' AND json_valid(new.detail) BEGIN
    INSERT OR IGNORE INTO audit_variables
    SELECT value, new.seq FROM json_each(new.detail, '$.variables') WHERE type = 'text';
END;
CREATE TRIGGER audit_out_of_variables AFTER DELETE ON audit WHEN old.kind = 'start' AND json_valid(old.detail) BEGIN
    DELETE FROM audit_variables
    WHERE seq = old.seq AND name IN (SELECT value FROM json_each(old.detail, '$.variables') WHERE type = 'text');
END;
