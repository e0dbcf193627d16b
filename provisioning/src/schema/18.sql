CREATE TABLE rules (
    tenant TEXT NOT NULL,
    rule TEXT NOT NULL,
    body BYTEA NOT NULL,
    ends BIGINT NOT NULL,
    tried_since BIGINT,
    changed BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    next_body BYTEA,
    next_by TEXT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, rule)
) ROWS;
CREATE INDEX rules_by_end ON rules (ends);
CREATE TABLE rule_tests (
    tenant TEXT NOT NULL,
    substance BYTEA NOT NULL,
    tested BIGINT NOT NULL,
    devices BIGINT NOT NULL,
    matched BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, substance)
) ROWS;
CREATE INDEX rule_tests_by_time ON rule_tests (tested);
CREATE TABLE restraints (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    step TEXT NOT NULL,
    begins BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    alert TEXT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device)
) ROWS;
CREATE INDEX restraints_by_end ON restraints (ends);
CREATE TABLE answer_policies (
    tenant TEXT NOT NULL,
    device_group TEXT NOT NULL,
    low TEXT NOT NULL,
    moderate TEXT NOT NULL,
    high TEXT NOT NULL,
    seconds BIGINT NOT NULL,
    devices_an_hour BIGINT NOT NULL,
    shadow BIGINT NOT NULL,
    counted_hour BIGINT NOT NULL,
    counted BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, device_group)
) ROWS;
