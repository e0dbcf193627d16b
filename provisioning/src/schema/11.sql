ALTER TABLE operators ADD COLUMN token_form BIGINT;

CREATE TABLE api_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    token_hash BYTEA NOT NULL,
    account BYTEA NOT NULL,
    maker TEXT NOT NULL,
    purpose TEXT NOT NULL,
    roles TEXT NOT NULL,
    tenants TEXT,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    used BIGINT,
    used_from TEXT,
    row_sum BIGINT NOT NULL
) ROWS;
CREATE INDEX api_tokens_by_account ON api_tokens (account, id);
CREATE INDEX api_tokens_by_expiry ON api_tokens (expires);

ALTER TABLE audit_entries ADD COLUMN how TEXT;
ALTER TABLE audit_entries ADD COLUMN credential TEXT;
ALTER TABLE audit_entries ADD COLUMN network TEXT;
ALTER TABLE audit_entries ADD COLUMN outcome TEXT;
ALTER TABLE audit_entries ADD COLUMN value_before TEXT;
ALTER TABLE audit_entries ADD COLUMN value_after TEXT;
CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant, number);
CREATE INDEX audit_entries_by_subject_alone ON audit_entries (subject, number);
CREATE INDEX audit_entries_by_actor ON audit_entries (actor, number);
CREATE INDEX audit_entries_by_action ON audit_entries (action, number);

ALTER TABLE audit_waiting ADD COLUMN how TEXT;
ALTER TABLE audit_waiting ADD COLUMN credential TEXT;
ALTER TABLE audit_waiting ADD COLUMN network TEXT;
ALTER TABLE audit_waiting ADD COLUMN outcome TEXT;
ALTER TABLE audit_waiting ADD COLUMN value_before TEXT;
ALTER TABLE audit_waiting ADD COLUMN value_after TEXT;
