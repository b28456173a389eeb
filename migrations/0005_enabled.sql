-- Registered servers that start with the daemon (srtctl enable).
ALTER TABLE servers ADD COLUMN enabled INTEGER NOT NULL DEFAULT 0;
