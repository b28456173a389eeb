-- The profile of a registered server: which of several settings files beside each other is meant (dev, prod).
ALTER TABLE servers ADD COLUMN profile TEXT; -- null: by SRT_ENV of whoever attaches
