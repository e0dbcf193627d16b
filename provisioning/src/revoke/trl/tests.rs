use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::sql::{Batch, Database, Record, Row, Schema, Value};
use tessera_runtime::store::{StoreError, StoreOptions};
use tessera_token::claims::Epochs;

use crate::records::IssuedRecord;
use crate::tables::{one, Tables, SCHEMA};

/// A row of a token as the first version wrote it.
struct Former;

impl Record for Former {
    const TABLE: &'static str = "issued_tokens";
    const KEY: &'static [&'static str] = &["serial"];
    const COLUMNS: &'static [&'static str] =
        &["tenant", "device", "token_hash", "issued", "expires", "key_id"];

    fn values(&self) -> Vec<Value> {
        vec!["acme".into(), "d-1".into(), [1; 33].into(), 5_u64.into(), 9_u64.into(), [2; 8].into()]
    }

    fn read(_row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

#[tokio::test]
async fn tokens_of_a_database_of_the_first_version_are_read_and_new_ones_have_their_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let first: &'static [&'static str] = &SCHEMA.steps[..1];
    let open = |schema: Schema| {
        let (options, clock) = (StoreOptions::default(), SystemClock::shared());
        Database::open(folder.path(), schema, &options, clock, &SystemRandom).unwrap().0
    };
    let database = open(Schema { steps: first, ..SCHEMA });
    let mut batch = Batch::new();
    batch.add(&database.table::<Former>(), one(7_u64), &Former);
    database.commit(batch).await.unwrap();
    database.close().await.unwrap();

    let database = open(SCHEMA);
    let tables = Tables::of(&database);
    let old = tables.issued.get(one(7_u64)).await.unwrap().unwrap();
    assert_eq!((old.device.as_str(), old.expires, old.epochs), ("d-1", 9, None));
    let epochs = Epochs { tenant: 1, group_number: 2, group: 3, device: 4 };
    let mut batch = Batch::new();
    batch.expect(&tables.issued, one(7_u64), &old);
    batch.add(&tables.issued, one(8_u64), &IssuedRecord { epochs: Some(epochs), ..old });
    database.commit(batch).await.unwrap();
    let columns = [("tenant", "acme".into()), ("device", "d-1".into())];
    let both = tables.issued.find(&columns, None, 10).await.unwrap();
    let both: Vec<_> = both.into_iter().map(|(_, row)| row.epochs).collect();
    assert_eq!(both, [None, Some(epochs)]);
    assert!(database.faults().unwrap().is_empty());
    database.close().await.unwrap();
}
