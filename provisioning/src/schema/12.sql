CREATE TABLE webhooks (
    tenant TEXT NOT NULL,
    webhook TEXT NOT NULL,
    url TEXT NOT NULL,
    actions TEXT NOT NULL,
    purpose TEXT NOT NULL,
    state TEXT NOT NULL,
    state_reason TEXT,
    sealed BYTEA NOT NULL,
    sealed_former BYTEA,
    former_until BIGINT,
    begins BIGINT NOT NULL,
    created BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, webhook)
) ROWS;

CREATE TABLE webhook_states (
    tenant TEXT NOT NULL,
    webhook TEXT NOT NULL,
    failing_since BIGINT,
    failed_last BIGINT,
    attempts BIGINT NOT NULL,
    left_out BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, webhook)
) ROWS;

CREATE TABLE webhook_messages (
    tenant TEXT NOT NULL,
    webhook TEXT NOT NULL,
    number BIGINT NOT NULL,
    due BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, webhook, number)
) ROWS;
CREATE INDEX webhook_messages_by_due ON webhook_messages (tenant, webhook, due);

CREATE TABLE webhook_attempts (
    tenant TEXT NOT NULL,
    webhook TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    at BIGINT NOT NULL,
    number BIGINT NOT NULL,
    nth BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    status BIGINT,
    reason TEXT,
    millis BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, webhook, attempt)
) ROWS;
