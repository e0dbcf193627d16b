CREATE TABLE sealed_seeds (
    name TEXT NOT NULL PRIMARY KEY,
    sealed BYTEA NOT NULL,
    row_sum BIGINT NOT NULL
) ROWS;

CREATE TABLE used_nonces (
    nonce BYTEA NOT NULL PRIMARY KEY,
    made BIGINT NOT NULL,
    row_sum BIGINT NOT NULL
) ROWS;
CREATE INDEX used_nonces_by_time ON used_nonces (made);
