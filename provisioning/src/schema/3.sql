ALTER TABLE roles ADD COLUMN revision BIGINT;
ALTER TABLE roles ADD COLUMN ending BIGINT;
ALTER TABLE roles ADD COLUMN leaving BIGINT;
CREATE INDEX roles_by_ending ON roles (ending);
CREATE INDEX roles_by_leaving ON roles (leaving);

ALTER TABLE devices ADD COLUMN attributes TEXT;
ALTER TABLE claims ADD COLUMN attributes TEXT;
CREATE INDEX claims_by_role ON claims (tenant, role, code_hash);

CREATE TABLE device_attributes (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    device TEXT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (tenant, name, value, device)
) ROWS;
