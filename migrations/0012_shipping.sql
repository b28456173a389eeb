-- How far the audit log has been shipped to each collector (audit.otlp.endpoint).
CREATE TABLE shipping (
    endpoint TEXT    NOT NULL PRIMARY KEY,
    instance TEXT    NOT NULL,               -- UUID: with it and seq a collector knows an entry that it gets twice
    shipped  INTEGER NOT NULL,               -- every entry up to this number was taken, or is counted in one of the next two
    rejected INTEGER NOT NULL,               -- entries that the collector would not take
    missed   INTEGER NOT NULL                -- entries that were pruned before they could be shipped
) STRICT;
