-- Sessions outlive their launch and their daemon: a shim goes on with one by its token.
ALTER TABLE sessions ADD COLUMN token_hash TEXT; -- SHA-256 of the token, lower-case hexadecimal; null: it ends with its launch
CREATE INDEX sessions_open ON sessions (opened_at) WHERE closed_at IS NULL;

-- What kind of end a launch had: exited, signal, out-of-memory, timed-out, no-answer, disk-full, stopped, replaced,
-- refused, lost. Null before this column.
ALTER TABLE launches ADD COLUMN exit_kind TEXT;
