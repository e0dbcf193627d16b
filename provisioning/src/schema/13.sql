CREATE TABLE partner_tokens (
    id TEXT NOT NULL,
    token_hash BYTEA NOT NULL,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    maker TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    used BIGINT,
    used_from TEXT,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (id)
) ROWS;
CREATE INDEX partner_tokens_by_tenant ON partner_tokens (tenant, id);
CREATE INDEX partner_tokens_by_device ON partner_tokens (tenant, device, id);
CREATE INDEX partner_tokens_by_end ON partner_tokens (expires);

CREATE TABLE partner_uses (
    id TEXT NOT NULL,
    day BIGINT NOT NULL,
    introspections BIGINT NOT NULL,
    connects BIGINT NOT NULL,
    published BIGINT NOT NULL,
    published_bytes BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    delivered_bytes BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (id, day)
) ROWS;
CREATE INDEX partner_uses_by_day ON partner_uses (day);

CREATE TABLE claim_imports (
    tenant TEXT NOT NULL,
    import BYTEA NOT NULL,
    salt BYTEA NOT NULL,
    touched BIGINT NOT NULL,
    made TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, import)
) ROWS;
CREATE INDEX claim_imports_by_touch ON claim_imports (touched);
