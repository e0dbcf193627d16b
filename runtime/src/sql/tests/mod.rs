//! One suite for both databases, and what each has of its own.

mod killed;
mod postgres;
mod sqlite;
mod suite;

use crate::sql::{Key, Record, Row, Schema, Value};
use crate::store::StoreError;

const SCHEMA: Schema = Schema {
    name: "test",
    steps: &["CREATE TABLE things (tenant TEXT NOT NULL, name TEXT NOT NULL, size BIGINT NOT NULL,
              note TEXT, body BYTEA NOT NULL, row_sum BIGINT NOT NULL,
              PRIMARY KEY (tenant, name)) ROWS;
              CREATE UNIQUE INDEX things_by_body ON things (body);"],
    kept: &[],
};

/// The same, whose answers are kept.
const KEPT: Schema = Schema { kept: &["things"], ..SCHEMA };

/// The same with a column more.
const NEXT: Schema = Schema {
    name: "test",
    steps: &[SCHEMA.steps[0], "ALTER TABLE things ADD COLUMN colour TEXT;"],
    kept: &[],
};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Thing {
    size: u64,
    note: Option<String>,
    body: Vec<u8>,
}

impl Record for Thing {
    const TABLE: &'static str = "things";
    const KEY: &'static [&'static str] = &["tenant", "name"];
    const COLUMNS: &'static [&'static str] = &["size", "note", "body"];

    fn values(&self) -> Vec<Value> {
        vec![self.size.into(), self.note.clone().into(), self.body.clone().into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { size: row.number()?, note: row.maybe_text()?, body: row.blob()? })
    }
}

fn thing(size: u64) -> Thing {
    Thing { size, note: None, body: size.to_be_bytes().to_vec() }
}

fn key(tenant: &str, name: &str) -> Key {
    vec![tenant.into(), name.into()]
}
