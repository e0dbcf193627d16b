ALTER TABLE issuer_keys ADD COLUMN module_token TEXT;
ALTER TABLE issuer_keys ADD COLUMN module_object BYTEA;
