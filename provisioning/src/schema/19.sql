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
