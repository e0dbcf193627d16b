ALTER TABLE roles ADD COLUMN refresh_tokens BIGINT;
ALTER TABLE devices ADD COLUMN refresh_from BIGINT;

CREATE TABLE refresh_families (
    family BYTEA NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    scope BYTEA,
    audience TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    created BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    line BIGINT NOT NULL,
    number BIGINT NOT NULL,
    used_line BIGINT,
    used_number BIGINT,
    nonce_hash BYTEA,
    answer BYTEA,
    answer_ends BIGINT,
    live BYTEA NOT NULL,
    row_sum BIGINT NOT NULL
) ROWS;
CREATE INDEX refresh_families_by_device ON refresh_families (tenant, device, family);
CREATE INDEX refresh_families_by_end ON refresh_families (ends);
