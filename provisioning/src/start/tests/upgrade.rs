//! Databases of the first step of the schema, opened by this version.

use tessera_runtime::sql::{Batch, Database, Record, Row, Schema, Value};
use tessera_runtime::store::{StoreError, StoreOptions};

use super::*;
use crate::records::{DeviceRecord, GroupRecord, Suspension};
use crate::tables::{pair, Tables, SCHEMA};

/// The columns of the first step.
struct FormerDevice(Vec<u8>);

impl Record for FormerDevice {
    const TABLE: &'static str = "devices";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] =
        &["role", "device_group", "public_key", "epoch", "revoked", "enrolled", "claim"];

    fn values(&self) -> Vec<Value> {
        let texts = ["sensor".into(), "default".into(), self.0.as_slice().into()];
        texts.into_iter().chain([3u64.into(), false.into(), 9u64.into(), "c".into()]).collect()
    }

    fn read(_: &mut Row) -> Result<Self, StoreError> {
        Ok(Self(Vec::new()))
    }
}

struct FormerGroup;

impl Record for FormerGroup {
    const TABLE: &'static str = "device_groups";
    const KEY: &'static [&'static str] = &["tenant", "device_group"];
    const COLUMNS: &'static [&'static str] = &["number", "epoch", "created"];

    fn values(&self) -> Vec<Value> {
        vec![7u64.into(), 2u64.into(), 5u64.into()]
    }

    fn read(_: &mut Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

struct FormerKey;

impl Record for FormerKey {
    const TABLE: &'static str = "issuer_keys";
    const KEY: &'static [&'static str] = &["tenant", "key_id"];
    const COLUMNS: &'static [&'static str] =
        &["public_key", "state", "created", "not_before", "not_after", "since"];

    fn values(&self) -> Vec<Value> {
        let numbers = [5u64, 6, 7, 8].map(Value::from);
        [vec![1; 32].into(), "active".into()].into_iter().chain(numbers).collect()
    }

    fn read(_: &mut Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

#[tokio::test]
async fn a_key_of_the_first_step_counts_its_age_from_its_date() {
    let dir = tempfile::tempdir().unwrap();
    let first = Schema { steps: SCHEMA.steps.get(..1).unwrap(), ..SCHEMA };
    let database = open(dir.path(), first);
    let mut batch = Batch::new();
    batch.put(&database.table(), pair("t", vec![2; 8]), &FormerKey);
    database.commit(batch).await.unwrap();
    database.close().await.unwrap();
    let database = open(dir.path(), SCHEMA);
    let keys = Tables::of(&database).keys;
    let key = keys.get(pair("t", vec![2; 8])).await.unwrap().unwrap();
    assert_eq!((key.lived, key.from(), key.not_after), (None, 8, 7));
    let counted = key.clone().counted_from(9);
    let mut batch = Batch::new();
    batch.expect(&keys, pair("t", vec![2; 8]), &key);
    batch.put(&keys, pair("t", vec![2; 8]), &counted);
    database.commit(batch).await.unwrap();
    assert_eq!(keys.get(pair("t", vec![2; 8])).await.unwrap(), Some(counted));
    assert_eq!(database.faults().unwrap(), Vec::<String>::new());
    database.close().await.unwrap();
}

fn open(folder: &Path, schema: Schema) -> Database {
    let clock = tessera_runtime::clock::SystemClock::shared();
    Database::open(folder, schema, &StoreOptions::default(), clock, &SystemRandom).unwrap().0
}

#[test]
fn rows_of_the_first_step_are_read_and_written_as_before() {
    actix_rt::System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let first = Schema { steps: SCHEMA.steps.get(..1).unwrap(), ..SCHEMA };
        let database = open(dir.path(), first);
        let mut batch = Batch::new();
        batch.put(&database.table(), pair("t", "d"), &FormerDevice(vec![1; 32]));
        batch.put(&database.table(), pair("t", "g"), &FormerGroup);
        database.commit(batch).await.unwrap();
        database.close().await.unwrap();

        let database = open(dir.path(), SCHEMA);
        let tables = Tables::of(&database);
        let device = tables.devices.get(pair("t", "d")).await.unwrap().unwrap();
        assert_eq!((device.epoch, &device.suspended, device.thumbprint), (3, &None, None));
        let group = tables.groups.get(pair("t", "g")).await.unwrap().unwrap();
        assert_eq!((group.number, &group.suspended, group.reenrol), (7, &None, None));
        // The row that was read is the one that is expected, and a change of it has the new columns.
        let suspended = Some(Suspension { at: 4, by: "ann".to_owned(), reason: None });
        let changed = DeviceRecord { suspended: suspended.clone(), ..device.clone() };
        let of_group = GroupRecord { suspended, ..group.clone() };
        let mut batch = Batch::new();
        batch.expect(&tables.devices, pair("t", "d"), &device);
        batch.put(&tables.devices, pair("t", "d"), &changed);
        batch.expect(&tables.groups, pair("t", "g"), &group);
        batch.put(&tables.groups, pair("t", "g"), &of_group);
        database.commit(batch).await.unwrap();
        assert_eq!(tables.devices.get(pair("t", "d")).await.unwrap(), Some(changed));
        assert_eq!(tables.groups.get(pair("t", "g")).await.unwrap(), Some(of_group));
        assert_eq!(database.faults().unwrap(), Vec::<String>::new());
        database.close().await.unwrap();
    });
}

#[test]
fn devices_of_a_former_version_are_found_by_their_keys() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let public = |seed: u8| SecretKey::from_seed(&[seed; 32]).public();
        let mut batch = Batch::new();
        // Two have one key, which a former version allowed.
        for (name, seed) in [("a", 1), ("b", 2), ("c", 1)] {
            let former = FormerDevice(public(seed).as_bytes().to_vec());
            batch.put(&service.database.table(), pair("default", name), &former);
        }
        service.tables.marks.delete(&mut batch, "device_keys_named");
        service.database.commit(batch).await.unwrap();
        chained(&service).await;
        let service = rig.start(|_| {}).await.unwrap();
        let mut named = Vec::new();
        for name in ["a", "b", "c"] {
            let record = service.tables.devices.get(pair("default", name)).await.unwrap().unwrap();
            named.push(record.thumbprint);
        }
        let of = |seed| Some(*public(seed).thumbprint().as_bytes());
        assert_eq!(named, [of(1), of(2), None]);
        let (tenant, device) = (default_tenant(), DeviceId::parse("d").unwrap());
        for seed in [1, 2, 3] {
            let key = public(seed);
            let outcome =
                crate::registry::device_keys::check(&service, &tenant, &device, &key).await;
            let refused = outcome.err().map(|refused| refused.code);
            let expected = (seed < 3).then_some(RefusalCode::AlreadyExists);
            assert_eq!(refused, expected, "{seed}");
        }
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}
