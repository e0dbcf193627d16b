//! Rows that a former version wrote, before a later step of the schema added columns.

use tessera_runtime::sql::{Batch, Database, Record, Row, Schema, Value};
use tessera_runtime::store::{StoreError, StoreOptions};

use super::*;
use crate::tables::{in_folder, pair};

const FIRST: Schema =
    Schema { name: "provisioning", steps: &[include_str!("../../schema/1.sql")], kept: &[] };

/// A device or a role with the columns of the first step.
struct Old<const DEVICE: bool>;

impl Record for Old<true> {
    const TABLE: &'static str = "devices";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] =
        &["role", "device_group", "public_key", "epoch", "revoked", "enrolled", "claim"];

    fn values(&self) -> Vec<Value> {
        let (one, zero) = (Value::Int(1), Value::Int(0));
        vec!["r".into(), "g".into(), vec![1; 32].into(), one.clone(), zero, one, "c".into()]
    }

    fn read(_: &mut Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

impl Record for Old<false> {
    const TABLE: &'static str = "roles";
    const KEY: &'static [&'static str] = &["tenant", "role"];
    const COLUMNS: &'static [&'static str] = &["class", "publish", "subscribe", "token_seconds"];

    fn values(&self) -> Vec<Value> {
        vec!["device".into(), "[]".into(), "[]".into(), Value::Null]
    }

    fn read(_: &mut Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

#[tokio::test]
async fn rows_of_the_first_step_are_read_and_replaced_after_later_steps() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    let clock = ManualClock::at(NOW);
    let (database, _) = Database::open(dir.path(), FIRST, &options, clock, &SystemRandom).unwrap();
    let mut batch = Batch::new();
    batch.put(&database.table::<Old<true>>(), pair("t", "d"), &Old);
    batch.put(&database.table::<Old<false>>(), pair("t", "r"), &Old);
    database.commit(batch).await.unwrap();
    database.close().await.unwrap();
    let (database, tables) = in_folder(dir.path());
    let device = tables.devices.get(pair("t", "d")).await.unwrap().unwrap();
    let role = tables.roles.get(pair("t", "r")).await.unwrap().unwrap();
    assert_eq!((device.refresh_from, role.refresh_tokens), (None, false));
    let (mut device_after, mut role_after) = (device.clone(), role.clone());
    (device_after.refresh_from, role_after.refresh_tokens) = (Some(3), true);
    let mut batch = Batch::new();
    batch.expect(&tables.devices, pair("t", "d"), &device);
    batch.put(&tables.devices, pair("t", "d"), &device_after);
    batch.expect(&tables.roles, pair("t", "r"), &role);
    batch.put(&tables.roles, pair("t", "r"), &role_after);
    database.commit(batch).await.unwrap();
    assert_eq!(tables.devices.get(pair("t", "d")).await.unwrap(), Some(device_after));
    assert_eq!(tables.roles.get(pair("t", "r")).await.unwrap(), Some(role_after));
    database.close().await.unwrap();
}
