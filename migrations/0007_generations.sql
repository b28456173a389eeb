-- Every document of a generation, in the order in which they count: JSON array of {layer, path, text}. Null:
-- `source` and `text` are the only one, a server's own, and there is none where source is "built-in".
ALTER TABLE policy_generations ADD COLUMN documents TEXT;

-- Which generation came to be in force, when and why: for a server, in a working directory, with a settings file that was
-- named (null: found by the daemon's rules).
CREATE TABLE policy_history (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    server     TEXT    NOT NULL,
    cwd        TEXT    NOT NULL,              -- '' where it is not known
    settings   TEXT,
    generation INTEGER NOT NULL REFERENCES policy_generations (id),
    at         INTEGER NOT NULL,
    reason     TEXT    NOT NULL
) STRICT;

CREATE INDEX policy_history_by_server ON policy_history (server, id);

-- What launches before this table ran by.
INSERT INTO policy_history (server, cwd, settings, generation, at, reason)
SELECT launches.server, '', NULL, generation, MIN(started_at), 'first launch by it'
FROM launches JOIN servers ON servers.name = launches.server AND launches.started_at >= servers.created_at
GROUP BY launches.server, generation ORDER BY MIN(started_at);

-- The rule that decided; computed by the database, so that it cannot disagree with the row.
ALTER TABLE audit ADD COLUMN rule TEXT GENERATED ALWAYS AS (
    CASE WHEN json_valid(detail) THEN json_extract(detail, '$.rule') END) VIRTUAL;
-- When which rule last decided something.
CREATE INDEX audit_by_rule ON audit (server, rule, at) WHERE rule IS NOT NULL;
