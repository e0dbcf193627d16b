CREATE TABLE verifiers (
    share TEXT NOT NULL,
    account TEXT NOT NULL,
    verifier TEXT NOT NULL,
    reader BYTEA NOT NULL,
    kind TEXT,
    tenants TEXT,
    event BIGINT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (share, account, verifier, reader)
) ROWS;

ALTER TABLE issued_tokens ADD COLUMN epoch_tenant BIGINT;
ALTER TABLE issued_tokens ADD COLUMN group_number BIGINT;
ALTER TABLE issued_tokens ADD COLUMN epoch_group BIGINT;
ALTER TABLE issued_tokens ADD COLUMN epoch_device BIGINT;

CREATE TABLE trl_tokens (
    tenant TEXT NOT NULL,
    token_hash BYTEA NOT NULL,
    device TEXT NOT NULL,
    serial BIGINT,
    expires BIGINT,
    added BIGINT NOT NULL,
    removed BIGINT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, token_hash)
) ROWS;
CREATE INDEX trl_tokens_by_device ON trl_tokens (tenant, device, token_hash);
CREATE INDEX trl_tokens_by_added ON trl_tokens (tenant, added, token_hash);
CREATE INDEX trl_tokens_by_removed ON trl_tokens (tenant, removed, token_hash);
CREATE INDEX trl_tokens_by_expiry ON trl_tokens (expires);

CREATE TABLE trl_updates (
    tenant TEXT NOT NULL,
    number BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, number)
) ROWS;

CREATE TABLE trl_tenants (
    tenant TEXT NOT NULL PRIMARY KEY,
    listed BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    incomplete_until BIGINT NOT NULL,
    row_sum BIGINT NOT NULL
) ROWS;
