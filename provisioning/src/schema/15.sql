CREATE TABLE claim_counts (
    tenant TEXT NOT NULL,
    open BIGINT NOT NULL,
    counted BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant)
) ROWS;
CREATE INDEX claims_by_open ON claims (tenant, expires, used_at, uses, uses_made)
    WHERE used_at IS NULL AND (uses IS NULL OR uses_made < uses);
