ALTER TABLE device_groups ADD COLUMN announced_until BIGINT;
ALTER TABLE device_groups ADD COLUMN announced_at BIGINT;
ALTER TABLE device_groups ADD COLUMN announced_by TEXT;
ALTER TABLE device_groups ADD COLUMN announced_reason TEXT;
