ALTER TABLE devices ADD COLUMN suspended_at BIGINT;
ALTER TABLE devices ADD COLUMN suspended_by TEXT;
ALTER TABLE devices ADD COLUMN suspended_reason TEXT;

ALTER TABLE device_groups ADD COLUMN suspended_at BIGINT;
ALTER TABLE device_groups ADD COLUMN suspended_by TEXT;
ALTER TABLE device_groups ADD COLUMN suspended_reason TEXT;
ALTER TABLE device_groups ADD COLUMN reenrol TEXT;

ALTER TABLE devices ADD COLUMN thumbprint BYTEA;
CREATE UNIQUE INDEX devices_by_key ON devices (tenant, thumbprint);
CREATE INDEX issuer_keys_by_id ON issuer_keys (key_id);
CREATE INDEX audit_entries_by_subject ON audit_entries (tenant, subject, number);

CREATE TABLE rekey_requests (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    thumbprint BYTEA NOT NULL,
    public_key BYTEA NOT NULL,
    asked BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device, thumbprint)
) ROWS;
CREATE INDEX rekey_requests_by_expiry ON rekey_requests (expires);
