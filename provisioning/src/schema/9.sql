CREATE TABLE push_turns (
    broker TEXT NOT NULL,
    process BYTEA NOT NULL,
    beat BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (broker)
) ROWS;
