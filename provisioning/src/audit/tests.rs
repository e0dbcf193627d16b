use super::*;
use crate::tables::{in_folder, number};

#[tokio::test]
async fn the_chain_continues_across_groups_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let pending = Pending::from(0);
    for round in 0..2 {
        let (database, tables) = in_folder(folder.path());
        let mut batch = Batch::new();
        for n in 0..AUDIT_GROUP + 7 {
            let entry =
                Entry::new(5, &Actor("op".into()), "device.revoke", "t", &format!("{round}-{n}"));
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
    let entry = Entry::new(900, &Actor("op".into()), "device.revoke", "t", "s");
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
    let entry = Entry::new(5, &Actor("op".into()), "a", "t", "s");
    let forged = Entry { actor: "other".into(), ..entry.clone() };
    assert_ne!(hash(1, &[0; 32], &entry), hash(1, &[0; 32], &forged));
    assert_ne!(hash(1, &[0; 32], &entry), hash(2, &[0; 32], &entry));
}
