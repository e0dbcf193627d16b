CREATE TABLE marks (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    row_sum BIGINT NOT NULL
) ROWS;

CREATE TABLE tenants (
    tenant TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    suspended BIGINT NOT NULL,
    bearer BIGINT NOT NULL,
    next_group BIGINT NOT NULL,
    created BIGINT NOT NULL,
    confirmation TEXT NOT NULL,
    keys_published BIGINT NOT NULL,
    stale_telemetry BIGINT,
    stale_command BIGINT,
    stale_actuation BIGINT,
    row_sum BIGINT NOT NULL
) ROWS;

CREATE TABLE roles (
    tenant TEXT NOT NULL,
    role TEXT NOT NULL,
    class TEXT NOT NULL,
    publish TEXT NOT NULL,
    subscribe TEXT NOT NULL,
    token_seconds BIGINT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, role)
) ROWS;

CREATE TABLE device_groups (
    tenant TEXT NOT NULL,
    device_group TEXT NOT NULL,
    number BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device_group)
) ROWS;

CREATE TABLE claims (
    tenant TEXT NOT NULL,
    code_hash BYTEA NOT NULL,
    role TEXT NOT NULL,
    device_group TEXT NOT NULL,
    device TEXT,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    used_device TEXT,
    used_thumbprint BYTEA,
    used_at BIGINT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, code_hash)
) ROWS;

CREATE TABLE devices (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    role TEXT NOT NULL,
    device_group TEXT NOT NULL,
    public_key BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    enrolled BIGINT NOT NULL,
    claim TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device)
) ROWS;

CREATE INDEX devices_by_group ON devices (tenant, device_group, device);
CREATE INDEX devices_by_role ON devices (tenant, role, device);

CREATE TABLE deleted_devices (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    deleted_at BIGINT NOT NULL,
    free_at BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device)
) ROWS;

CREATE TABLE issued_tokens (
    serial BIGINT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    token_hash BYTEA NOT NULL,
    issued BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    key_id BYTEA NOT NULL,
    nonce BYTEA,
    asked_at BIGINT,
    request_time BIGINT,
    bearer BIGINT,
    answered_until BIGINT,
    token BYTEA,
    scope BYTEA,
    kid BYTEA,
    row_sum BIGINT NOT NULL
) ROWS;
CREATE INDEX issued_tokens_by_expiry ON issued_tokens (expires);
CREATE UNIQUE INDEX issued_tokens_by_request ON issued_tokens (tenant, device, asked_at, nonce);

CREATE TABLE issuer_keys (
    tenant TEXT NOT NULL,
    key_id BYTEA NOT NULL,
    public_key BYTEA NOT NULL,
    state TEXT NOT NULL,
    created BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    since BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, key_id)
) ROWS;
CREATE INDEX issuer_keys_by_state ON issuer_keys (tenant, state);

CREATE TABLE operators (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    roles TEXT NOT NULL,
    tenants TEXT,
    created BIGINT NOT NULL,
    row_sum BIGINT NOT NULL
) ROWS;
CREATE UNIQUE INDEX operators_by_name ON operators (name);

CREATE TABLE moved_devices (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    moved_at BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device)
) ROWS;
CREATE INDEX moved_devices_by_time ON moved_devices (moved_at);

CREATE TABLE revoked_tokens (
    expires BIGINT NOT NULL,
    token_hash BYTEA NOT NULL,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (expires, token_hash)
) ROWS;

CREATE TABLE trust_events (
    number BIGINT NOT NULL PRIMARY KEY,
    signed BYTEA NOT NULL,
    row_sum BIGINT NOT NULL
) ROWS;

CREATE TABLE findings (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    done TEXT NOT NULL,
    found_at BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, subject)
) ROWS;

CREATE TABLE audit_entries (
    number BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    row_sum BIGINT NOT NULL
) ROWS;

CREATE TABLE audit_waiting (
    millis BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (millis, counter)
) ROWS;
