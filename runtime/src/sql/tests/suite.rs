use super::{key, thing, Thing};
use crate::sql::{Batch, Database, Key, Table};
use crate::store::StoreError;

pub(super) async fn put(database: &Database, name: &str, size: u64) {
    let mut batch = Batch::new();
    batch.put(&database.table(), key("t", name), &thing(size));
    database.commit(batch).await.unwrap();
}

pub(super) async fn rows_come_back_by_key_and_in_order(database: &Database) {
    let things: Table<Thing> = database.table();
    // The order is that of bytes.
    for (name, size) in [("b", 2), ("a", 1), ("c", 3), ("B", 0), ("é", 4)] {
        put(database, name, size).await;
    }
    put(database, "b", 22).await;
    let mut other = Batch::new();
    other.put(&things, key("u", "a"), &thing(9));
    database.commit(other).await.unwrap();

    assert_eq!(things.get(key("t", "b")).await.unwrap(), Some(thing(22)));
    assert_eq!(things.get(key("t", "d")).await.unwrap(), None);
    let sizes =
        |rows: Vec<(Key, Thing)>| rows.into_iter().map(|(_, one)| one.size).collect::<Vec<_>>();
    let t = ["t".into()];
    assert_eq!(sizes(things.scan(&t, None, 10).await.unwrap()), [0, 1, 22, 3, 4]);
    assert_eq!(sizes(things.scan(&t, Some(&key("t", "a")), 1).await.unwrap()), [22]);
    assert_eq!(sizes(things.scan(&[], Some(&key("t", "c")), 10).await.unwrap()), [4, 9]);
    assert_eq!(sizes(things.scan(&[], None, 1_000).await.unwrap()).len(), 6);
    assert_eq!(things.count().await.unwrap(), 6);
    let found = things.find(&[("size", 22u64.into())], None, 10).await.unwrap();
    assert_eq!(found, [(key("t", "b"), thing(22))]);
    let of_t = [("tenant", "t".into())];
    assert_eq!(sizes(things.find(&of_t, Some(&key("t", "b")), 10).await.unwrap()), [3, 4]);
    assert_eq!(sizes(things.up_to("size", 3, 10).await.unwrap()), [0, 1, 3]);
    assert_eq!(sizes(things.find_within(&of_t, ("size", 1..=3), 10).await.unwrap()), [1, 3]);
    assert_eq!(sizes(things.find_within(&of_t, ("size", 0..=22), 2).await.unwrap()), [0, 1]);
    let highest = async |columns: &[_], column| things.highest(columns, column).await.unwrap();
    assert_eq!(highest(&of_t, "size").await, Some((key("t", "b"), thing(22))));
    assert_eq!(highest(&[("tenant", "none".into())], "size").await, None);
    assert_eq!(highest(&of_t, "note").await, None, "NULL does not count");
    assert_eq!(sizes(things.up_to("size", u64::MAX, 2).await.unwrap()), [0, 1]);
    let mut batch = Batch::new();
    batch.delete(&things, key("t", "b"));
    batch.delete(&things, key("t", "none"));
    database.commit(batch).await.unwrap();
    assert!(!things.contains(key("t", "b")).await.unwrap());
}

pub(super) async fn a_batch_whose_expectations_do_not_hold_changes_nothing(database: &Database) {
    let things: Table<Thing> = database.table();
    put(database, "a", 1).await;
    let conflict = Err(StoreError::Conflict { table: "things" });
    let mut other = thing(1);
    other.note = Some("changed".to_owned());
    for read in [Some(other), Some(thing(2)), None] {
        let mut batch = Batch::new();
        batch.put(&things, key("t", "b"), &thing(5));
        batch.expect_same(&things, key("t", "a"), read.as_ref());
        batch.put(&things, key("t", "a"), &thing(7));
        assert_eq!(database.commit(batch).await, conflict);
    }
    let mut batch = Batch::new();
    batch.expect_absent(&things, key("t", "c"));
    batch.put(&things, key("t", "b"), &thing(5));
    assert!(matches!(database.commit(batch).await, Err(StoreError::Encode(_))));
    let mut batch = Batch::new();
    batch.put(&things, key("t", "b"), &thing(5));
    batch.insert(&things, key("t", "a"), &thing(6));
    assert_eq!(database.commit(batch).await, conflict);
    assert_eq!(things.count().await.unwrap(), 1);

    let mut batch = Batch::new();
    batch.expect(&things, key("t", "a"), &thing(1));
    batch.insert(&things, key("t", "b"), &thing(5));
    database.commit(batch).await.unwrap();
    assert_eq!(things.count().await.unwrap(), 2);
}

/// A rule of the table that one batch of a group breaks takes nothing from the others.
pub(super) async fn batches_that_wait_together_are_answered_apart(database: &Database) {
    let things: Table<Thing> = database.table();
    let each = (0..200u64).map(|number| {
        let (database, things) = (database.clone(), things.clone());
        tokio::spawn(async move {
            let mut batch = Batch::new();
            batch.put(&things, key("t", &format!("before-{number}")), &thing(1_000 + number));
            // Every tenth has the body of another one.
            let body = if number % 10 == 0 { 1 } else { number };
            batch.put(&things, key("t", &number.to_string()), &thing(body));
            (number, database.commit(batch).await)
        })
    });
    let mut refused = Vec::new();
    for one in each.collect::<Vec<_>>() {
        let (number, outcome) = one.await.unwrap();
        if outcome.is_err() {
            assert_eq!(outcome, Err(StoreError::Conflict { table: "things" }));
            refused.push(number);
        }
    }
    // One of those with body 1 is the first.
    assert_eq!(refused.len(), 20, "{refused:?}");
    for number in 0..200 {
        let before = things.contains(key("t", &format!("before-{number}"))).await.unwrap();
        assert_eq!(before, !refused.contains(&number), "{number}");
    }
}

/// Of two that both saw no row, one adds it.
pub(super) async fn one_of_many_adds_a_row(databases: [&Database; 2]) {
    for round in 0..20u64 {
        let each = (0..4usize).map(|number| {
            let database = databases[number % 2].clone();
            tokio::spawn(async move {
                let name = key("t", &format!("one-{round}"));
                let mut batch = Batch::new();
                batch.expect_same::<Thing>(&database.table(), name.clone(), None);
                batch.put(&database.table(), name, &thing(1_000 + 4 * round + number as u64));
                database.commit(batch).await
            })
        });
        let mut added = 0;
        for one in each.collect::<Vec<_>>() {
            match one.await.unwrap() {
                Ok(()) => added += 1,
                Err(error) => assert_eq!(error, StoreError::Conflict { table: "things" }),
            }
        }
        assert_eq!(added, 1, "round {round}");
    }
}

/// A number that each change reads and writes one higher: no change is lost in a race.
pub(super) async fn changes_that_rest_on_what_was_read_lose_nothing(databases: [&Database; 2]) {
    put(databases[0], "count", 0).await;
    let each = (0..20usize).map(|number| {
        let database = databases[number % 2].clone();
        tokio::spawn(async move {
            let things: Table<Thing> = database.table();
            let mut done = 0;
            while done < 10 {
                let read = things.get(key("t", "count")).await.unwrap().unwrap();
                let mut batch = Batch::new();
                batch.expect(&things, key("t", "count"), &read);
                let size = read.size + 1;
                batch.put(&things, key("t", "count"), &Thing { size, ..read });
                match database.commit(batch).await {
                    Ok(()) => done += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for one in each.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    let count = databases[1].table::<Thing>().get(key("t", "count")).await.unwrap();
    assert_eq!(count.map(|one| one.size), Some(200));
}

pub(super) async fn numbers_and_values_that_no_column_holds_are_refused(database: &Database) {
    let things: Table<Thing> = database.table();
    let mut batch = Batch::new();
    batch.put(&things, key("t", "a"), &thing(u64::MAX));
    assert_eq!(database.commit(batch).await, Err(StoreError::TooLarge("number")));
    let mut batch = Batch::new();
    let body = vec![0; crate::limits::STORE_VALUE_BYTES + 1];
    batch.put(&things, key("t", "a"), &Thing { body, ..thing(1) });
    assert_eq!(database.commit(batch).await, Err(StoreError::TooLarge("value")));
    assert!(database.is_healthy());
    assert_eq!(things.count().await.unwrap(), 0);
}

pub(super) async fn a_closed_database_says_so(database: &Database) {
    put(database, "a", 1).await;
    database.close().await.unwrap();
    let things: Table<Thing> = database.table();
    assert_eq!(things.get(key("t", "a")).await, Err(StoreError::Closed));
    let mut batch = Batch::new();
    batch.put(&things, key("t", "b"), &thing(2));
    assert_eq!(database.commit(batch).await, Err(StoreError::Closed));
    assert!(!database.is_healthy());
}
