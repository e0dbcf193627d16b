ALTER TABLE claims ADD COLUMN uses BIGINT;
ALTER TABLE claims ADD COLUMN uses_made BIGINT;
ALTER TABLE claims ADD COLUMN pattern TEXT;

CREATE TABLE claim_uses (
    tenant TEXT NOT NULL,
    code_hash BYTEA NOT NULL,
    device TEXT NOT NULL,
    thumbprint BYTEA NOT NULL,
    used_at BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, code_hash, device)
) ROWS;

CREATE TABLE group_ways (
    tenant TEXT NOT NULL,
    device_group TEXT NOT NULL,
    ways TEXT NOT NULL,
    approval BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device_group)
) ROWS;

CREATE INDEX group_ways_by_approval ON group_ways (tenant, approval, device_group);

CREATE TABLE listed_keys (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    thumbprint BYTEA NOT NULL,
    role TEXT NOT NULL,
    device_group TEXT NOT NULL,
    created BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    used_at BIGINT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device)
) ROWS;

CREATE INDEX listed_keys_by_role ON listed_keys (tenant, role, device);

CREATE TABLE group_keys (
    tenant TEXT NOT NULL,
    group_key TEXT NOT NULL,
    role TEXT NOT NULL,
    device_group TEXT NOT NULL,
    sealed_primary BYTEA NOT NULL,
    sealed_secondary BYTEA,
    created BIGINT NOT NULL,
    rotated BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, group_key)
) ROWS;

CREATE TABLE listed_ids (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    group_key TEXT NOT NULL,
    created BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    used_thumbprint BYTEA,
    used_at BIGINT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device)
) ROWS;

CREATE INDEX listed_ids_by_group_key ON listed_ids (tenant, group_key, device);

CREATE TABLE authorities (
    tenant TEXT NOT NULL,
    authority TEXT NOT NULL,
    certificate BYTEA NOT NULL,
    role TEXT NOT NULL,
    device_group TEXT NOT NULL,
    id_from TEXT NOT NULL,
    created BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, authority)
) ROWS;

CREATE TABLE denied_certificates (
    tenant TEXT NOT NULL,
    certificate TEXT NOT NULL,
    created BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, certificate)
) ROWS;

CREATE TABLE approvals (
    tenant TEXT NOT NULL,
    approval TEXT NOT NULL,
    device TEXT NOT NULL,
    thumbprint BYTEA NOT NULL,
    state TEXT NOT NULL,
    role TEXT,
    device_group TEXT,
    asked BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    source TEXT NOT NULL,
    decided_by TEXT,
    decided_at BIGINT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, approval)
) ROWS;

CREATE INDEX approvals_by_expiry ON approvals (expires);

CREATE TABLE approval_counts (
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    requests BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, source)
) ROWS;
