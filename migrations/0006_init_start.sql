-- When a launch's init_pid started, as pid_start is for its pid: without it the sweep after a crash could not trust that
-- pid. Null for launches from before.
ALTER TABLE launches ADD COLUMN init_start INTEGER;
