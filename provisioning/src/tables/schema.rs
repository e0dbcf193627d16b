//! The tables of provisioning. A step that was released is never changed: a new one is added behind it.

use tessera_runtime::sql::Schema;

/// Every table. Numbers of seconds are UNIX time; lists of texts are JSON arrays.
pub(crate) const SCHEMA: Schema = Schema { name: "provisioning", steps: &[FIRST] };

const FIRST: &str = "
CREATE TABLE marks (
  name TEXT NOT NULL, value BYTEA NOT NULL,
  PRIMARY KEY (name)
) ROWS;

CREATE TABLE tenants (
  tenant TEXT NOT NULL, epoch BIGINT NOT NULL, suspended BIGINT NOT NULL, bearer BIGINT NOT NULL,
  next_group BIGINT NOT NULL, created BIGINT NOT NULL, confirmation TEXT NOT NULL, keys_published BIGINT NOT NULL,
  stale_telemetry BIGINT, stale_command BIGINT, stale_actuation BIGINT,
  PRIMARY KEY (tenant)
) ROWS;

CREATE TABLE roles (
  tenant TEXT NOT NULL, role TEXT NOT NULL, class TEXT NOT NULL, publish TEXT NOT NULL, subscribe TEXT NOT NULL,
  token_seconds BIGINT,
  PRIMARY KEY (tenant, role)
) ROWS;

CREATE TABLE device_groups (
  tenant TEXT NOT NULL, device_group TEXT NOT NULL, number BIGINT NOT NULL, epoch BIGINT NOT NULL,
  created BIGINT NOT NULL,
  PRIMARY KEY (tenant, device_group)
) ROWS;

CREATE TABLE claims (
  tenant TEXT NOT NULL, code_hash BYTEA NOT NULL, role TEXT NOT NULL, device_group TEXT NOT NULL, device TEXT,
  created BIGINT NOT NULL, expires BIGINT NOT NULL, made_by TEXT NOT NULL,
  used_by TEXT, used_key BYTEA, used_at BIGINT,
  PRIMARY KEY (tenant, code_hash)
) ROWS;
CREATE INDEX claims_by_expiry ON claims (expires);

CREATE TABLE devices (
  tenant TEXT NOT NULL, device TEXT NOT NULL, role TEXT NOT NULL, device_group TEXT NOT NULL, public_key BYTEA NOT NULL,
  epoch BIGINT NOT NULL, revoked BIGINT NOT NULL, enrolled BIGINT NOT NULL, claim TEXT NOT NULL,
  PRIMARY KEY (tenant, device)
) ROWS;
CREATE INDEX devices_by_group ON devices (tenant, device_group, device);
CREATE INDEX devices_by_role ON devices (tenant, role, device);

CREATE TABLE refreshes (
  tenant TEXT NOT NULL, device TEXT NOT NULL, answers BYTEA NOT NULL,
  PRIMARY KEY (tenant, device)
) ROWS;

CREATE TABLE issued (
  tenant TEXT NOT NULL, token_hash BYTEA NOT NULL, device TEXT NOT NULL, serial BIGINT NOT NULL,
  issued BIGINT NOT NULL, expires BIGINT NOT NULL, key_id BYTEA NOT NULL,
  PRIMARY KEY (tenant, token_hash)
) ROWS;
CREATE INDEX issued_by_expiry ON issued (expires);

CREATE TABLE issuer_keys (
  tenant TEXT NOT NULL, key_id BYTEA NOT NULL, public_key BYTEA NOT NULL, state TEXT NOT NULL,
  created BIGINT NOT NULL, not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, since BIGINT NOT NULL,
  PRIMARY KEY (tenant, key_id)
) ROWS;

CREATE TABLE operators (
  token_hash BYTEA NOT NULL, name TEXT NOT NULL, roles TEXT NOT NULL, tenants TEXT, created BIGINT NOT NULL,
  PRIMARY KEY (token_hash)
) ROWS;
CREATE UNIQUE INDEX operators_by_name ON operators (name);

CREATE TABLE moved_devices (
  tenant TEXT NOT NULL, device TEXT NOT NULL, epoch BIGINT NOT NULL, moved_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, device)
) ROWS;
CREATE INDEX moved_devices_by_time ON moved_devices (moved_at);

CREATE TABLE revoked_tokens (
  expires BIGINT NOT NULL, token_hash BYTEA NOT NULL, tenant TEXT NOT NULL, device TEXT NOT NULL,
  PRIMARY KEY (expires, token_hash)
) ROWS;

CREATE TABLE trust_events (
  number BIGINT NOT NULL, event BYTEA NOT NULL,
  PRIMARY KEY (number)
) ROWS;

CREATE TABLE findings (
  tenant TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, epoch BIGINT NOT NULL, done TEXT NOT NULL,
  found_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, kind, subject)
) ROWS;

CREATE TABLE audit (
  number BIGINT NOT NULL, done_at BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, tenant TEXT NOT NULL,
  subject TEXT NOT NULL, detail TEXT NOT NULL, previous BYTEA NOT NULL, hash BYTEA NOT NULL,
  PRIMARY KEY (number)
) ROWS;
CREATE INDEX audit_by_time ON audit (done_at, number);
CREATE INDEX audit_by_actor ON audit (actor, number);
CREATE INDEX audit_by_action ON audit (action, number);
CREATE INDEX audit_by_subject ON audit (tenant, subject, number);

CREATE TABLE audit_pending (
  made_at BIGINT NOT NULL, counter BIGINT NOT NULL, done_at BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
  tenant TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,
  PRIMARY KEY (made_at, counter)
) ROWS;
";
