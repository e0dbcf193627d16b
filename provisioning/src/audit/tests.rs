use tessera_runtime::sql::{Database, Row, Schema, Value};

use super::*;
use crate::tables::{in_folder, number, SCHEMA};

#[tokio::test]
async fn the_chain_continues_across_groups_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let pending = Pending::from(0);
    for round in 0..2 {
        let (database, tables) = in_folder(folder.path());
        let mut batch = Batch::new();
        for n in 0..AUDIT_GROUP + 7 {
            let entry =
                Entry::new(5, &Actor::system("op"), "device.revoke", "t", &format!("{round}-{n}"));
            pending.add(&tables, &mut batch, 5000 + round, &entry);
        }
        database.commit(batch).await.unwrap();
        while let Some(batch) = chain_pending(&tables).await.unwrap() {
            database.commit(batch).await.unwrap();
        }
        database.close().await.unwrap();
    }
    let (_database, tables) = in_folder(folder.path());
    let rows = tables.audit.scan(&[], None, 10_000).await.unwrap();
    assert_eq!(rows.len(), 2 * (AUDIT_GROUP + 7));
    let mut previous = [0; 32];
    for (seq, (key, row)) in (1..).zip(&rows) {
        assert_eq!(number(key, 0), Ok(seq));
        assert_eq!(row.previous, previous);
        assert_eq!(row.hash, hash(seq, &previous, &row.entry));
        previous = row.hash;
    }
    assert_eq!(rows[0].1.entry.subject, "0-0");
    assert_eq!(rows[600].1.entry.subject, "1-93");
}

#[tokio::test]
async fn an_entry_that_waits_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (database, tables) = in_folder(folder.path());
    let now = UnixSeconds::new(1_000);
    assert_eq!(behind(&tables, now).await.unwrap(), Duration::ZERO);
    let mut batch = Batch::new();
    let entry = Entry::new(900, &Actor::system("op"), "device.revoke", "t", "s");
    Pending::from(0).add(&tables, &mut batch, 900_000, &entry);
    database.commit(batch).await.unwrap();
    assert_eq!(behind(&tables, now).await.unwrap(), Duration::from_secs(100));
    assert_eq!(behind(&tables, UnixSeconds::new(800)).await.unwrap(), Duration::ZERO);
    while let Some(batch) = chain_pending(&tables).await.unwrap() {
        database.commit(batch).await.unwrap();
    }
    assert_eq!(behind(&tables, now).await.unwrap(), Duration::ZERO);
}

#[test]
fn a_changed_entry_breaks_the_chain() {
    let entry = Entry::new(5, &Actor::system("op"), "a", "t", "s");
    let forged = Entry { actor: "other".into(), ..entry.clone() };
    assert_ne!(hash(1, &[0; 32], &entry), hash(1, &[0; 32], &forged));
    assert_ne!(hash(1, &[0; 32], &entry), hash(2, &[0; 32], &entry));
}

/// An entry, a waiting one and an account with the columns of the first step of the schema.
struct Former<const TABLE: u8>(Vec<Value>);

macro_rules! former {
    ($number:literal, $table:literal, $key:expr, $columns:expr) => {
        impl Record for Former<$number> {
            const TABLE: &'static str = $table;
            const KEY: &'static [&'static str] = &$key;
            const COLUMNS: &'static [&'static str] = &$columns;

            fn values(&self) -> Vec<Value> {
                self.0.clone()
            }

            fn read(_: &mut Row) -> Result<Self, StoreError> {
                Ok(Self(Vec::new()))
            }
        }
    };
}

former!(
    0,
    "audit_entries",
    ["number"],
    ["at", "actor", "action", "tenant", "subject", "detail", "previous", "hash"]
);
former!(
    1,
    "audit_waiting",
    ["millis", "counter"],
    ["at", "actor", "action", "tenant", "subject", "detail"]
);
former!(2, "operators", ["token_hash"], ["name", "roles", "tenants", "created"]);

#[tokio::test]
async fn entries_of_earlier_versions_keep_their_hashes_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let open = |schema: Schema| {
        let clock = tessera_runtime::clock::SystemClock::shared();
        let random = tessera_runtime::random::SystemRandom;
        let options = tessera_runtime::store::StoreOptions::default();
        Database::open(folder.path(), schema, &options, clock, &random).unwrap().0
    };
    let entry = |subject: &str| Entry {
        more: None,
        ..Entry::new(5, &Actor::system("op"), "device.revoke", "t", subject)
    };
    let columns = |entry: &Entry| -> Vec<Value> { entry.values().into_iter().take(6).collect() };
    // SHA-256 of the CBOR of version 1, made by another program.
    let first = hash(1, &[0; 32], &entry("d"));
    let known = "47cc9d00b4737faa99d8ec36e250794cc2143a8983e42113a0239291d9013b19";
    assert_eq!(tessera_token::encoding::hex::encode(first), known);
    let steps: &'static [&'static str] = &SCHEMA.steps[..1];
    let database = open(Schema { steps, ..SCHEMA });
    let mut batch = Batch::new();
    let mut row = columns(&entry("d"));
    row.extend([[0; 32].into(), first.into()]);
    batch.put(&database.table::<Former<0>>(), one(1_u64), &Former(row));
    let waiting = Former(columns(&entry("e")));
    batch.put(&database.table::<Former<1>>(), vec![5000_u64.into(), 1_u64.into()], &waiting);
    let account: Vec<Value> = vec!["ann".into(), "[\"viewer\"]".into(), Value::Null, 5_u64.into()];
    batch.put(&database.table::<Former<2>>(), one([7; 32]), &Former(account));
    let tables = Tables::of(&database);
    tables.marks.put(&mut batch, HEAD, &Head { seq: 1, hash: first });
    database.commit(batch).await.unwrap();
    database.close().await.unwrap();

    let database = open(SCHEMA);
    let tables = Tables::of(&database);
    let account = tables.operators.get(one([7; 32])).await.unwrap().unwrap();
    assert!(account.is_old_form);
    let mut batch = Batch::new();
    batch.expect(&tables.operators, one([7; 32]), &account);
    let new = Entry::new(9, &Actor::system("op"), "device.revoke", "t", "f");
    Pending::from(0).add(&tables, &mut batch, 9000, &new);
    database.commit(batch).await.unwrap();
    while let Some(batch) = chain_pending(&tables).await.unwrap() {
        database.commit(batch).await.unwrap();
    }
    let rows = tables.audit.scan(&[], None, 9).await.unwrap();
    let forms: Vec<bool> = rows.iter().map(|(_, row)| row.entry.more.is_some()).collect();
    assert_eq!(forms, [false, false, true]);
    let mut previous = [0; 32];
    for (seq, (_, row)) in (1..).zip(&rows) {
        assert_eq!(row.previous, previous);
        assert_eq!(row.hash, hash(seq, &previous, &row.entry));
        previous = row.hash;
    }
    // Neither form passes for the other.
    let stripped = Entry { more: None, ..rows[2].1.entry.clone() };
    assert_ne!(hash(3, &rows[2].1.previous, &stripped), rows[2].1.hash);
    database.close().await.unwrap();
}

#[test]
fn every_part_of_an_entry_counts() {
    let entry = Entry::new(5, &Actor::system("op"), "a", "t", "s");
    let first = hash(1, &[0; 32], &entry);
    for part in 0..6 {
        let mut forged = entry.clone();
        let More { origin, outcome, before, after } = forged.more.as_mut().unwrap();
        match part {
            0 => origin.how = How::Device,
            1 => origin.credential = "x".into(),
            2 => origin.network = "x".into(),
            3 => *outcome = "x".into(),
            4 => *before = "x".into(),
            _ => *after = "x".into(),
        }
        assert_ne!(hash(1, &[0; 32], &forged), first, "{part}");
    }
}
