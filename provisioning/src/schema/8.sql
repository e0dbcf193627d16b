-- Answers to requests with an Idempotency-Key, kept for a day. The answers themselves are sealed to a key that comes from the
-- Idempotency-Key, which is not stored.
CREATE TABLE kept_requests (
    scope BYTEA NOT NULL,
    account TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    expires BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (scope)
) ROWS;
CREATE INDEX kept_requests_by_expiry ON kept_requests (expires);
CREATE INDEX kept_requests_by_account ON kept_requests (account, expires);

CREATE TABLE kept_answers (
    scope BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (scope)
) ROWS;
