use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::sql::{Batch, Record, Row};
use tessera_runtime::store::StoreOptions;

use super::*;
use crate::records::Counted;

/// A claim as the first version of the schema has it.
struct First;

impl Record for First {
    const TABLE: &'static str = "claims";
    const KEY: &'static [&'static str] = &["tenant", "code_hash"];
    const COLUMNS: &'static [&'static str] = &[
        "role",
        "device_group",
        "device",
        "created",
        "expires",
        "made_by",
        "used_device",
        "used_thumbprint",
        "used_at",
    ];

    fn values(&self) -> Vec<Value> {
        let texts = ["sensor", "default"].map(Value::from);
        let rest = [Value::Null, 1_u64.into(), 2_u64.into(), "ann".into()];
        let used = ["pump-1".into(), [7; 32].into(), 3_u64.into()];
        texts.into_iter().chain(rest).chain(used).collect()
    }

    fn read(_row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

/// A row of before has a right sum with the columns that a later step added, and says what it said.
#[tokio::test]
async fn claims_of_the_first_version_are_read_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let open = |schema| {
        let (options, clock) = (StoreOptions::default(), SystemClock::shared());
        Database::open(folder.path(), schema, &options, clock, &SystemRandom).unwrap().0
    };
    let first = Schema { steps: &SCHEMA.steps[..1], kept: &[], ..SCHEMA };
    let (database, key) = (open(first), pair("acme", [9; 32]));
    let mut batch = Batch::new();
    batch.insert(&database.table(), key.clone(), &First);
    database.commit(batch).await.unwrap();
    database.close().await.unwrap();
    drop(database);

    let database = open(SCHEMA);
    assert_eq!(database.faults().unwrap(), Vec::<String>::new());
    let tables = Tables::of(&database);
    let old = tables.claims.get(key.clone()).await.unwrap().unwrap();
    assert_eq!((old.counted, old.pattern.as_deref()), (None, None));
    assert_eq!(old.used.as_ref().map(|used| used.device.as_str()), Some("pump-1"));
    assert!(!old.is_unused());
    let counted = Some(Counted { uses: 5, made: 2 });
    let new = ClaimRecord { used: None, counted, pattern: Some("a-*".into()), ..old.clone() };
    let mut batch = Batch::new();
    batch.expect(&tables.claims, key.clone(), &old);
    batch.put(&tables.claims, key.clone(), &new);
    database.commit(batch).await.unwrap();
    assert_eq!(tables.claims.get(key).await.unwrap(), Some(new));
}
