CREATE TABLE device_uses (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    role TEXT NOT NULL,
    lines TEXT NOT NULL,
    touched BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device)
) ROWS;
CREATE INDEX device_uses_by_time ON device_uses (touched);
CREATE TABLE role_uses (
    tenant TEXT NOT NULL,
    role TEXT NOT NULL,
    usage TEXT NOT NULL,
    topic TEXT NOT NULL,
    devices BIGINT NOT NULL,
    count BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, role, usage, topic)
) ROWS;
CREATE INDEX role_uses_by_time ON role_uses (last);
CREATE TABLE role_watches (
    tenant TEXT NOT NULL,
    role TEXT NOT NULL,
    since BIGINT NOT NULL,
    devices BIGINT NOT NULL,
    touched BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, role)
) ROWS;
CREATE INDEX role_watches_by_time ON role_watches (touched);
CREATE TABLE rule_counts (
    tenant TEXT NOT NULL,
    rule TEXT NOT NULL,
    verifier TEXT NOT NULL,
    line TEXT NOT NULL,
    version BIGINT NOT NULL,
    asked BIGINT NOT NULL,
    matched BIGINT NOT NULL,
    broke BIGINT NOT NULL,
    asked_before BIGINT NOT NULL,
    matched_before BIGINT NOT NULL,
    broke_before BIGINT NOT NULL,
    suspended BIGINT NOT NULL,
    code TEXT,
    touched BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, rule, verifier)
) ROWS;
CREATE INDEX rule_counts_by_time ON rule_counts (touched);
