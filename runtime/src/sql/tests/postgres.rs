use super::{key, suite, thing, Thing, KEPT, NEXT, SCHEMA};
use crate::sql::postgres::testing::{Remote, Server, Transaction};
use crate::sql::{self, Batch, Database, Schema};
use crate::store::StoreError;
use crate::tls::Trust;

async fn connect(url: &str) -> Database {
    connect_to(url, SCHEMA).await
}

async fn connect_to(url: &str, schema: Schema) -> Database {
    Database::connect(url, &Trust::default(), schema).await.unwrap()
}

/// A server and its folder.
struct Served {
    server: Server,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Served {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl std::ops::DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Starts the server, or says that there is none to start.
async fn server() -> Option<Served> {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await?;
    Some(Served { server, _folder: folder })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_postgresql() {
    suite_on(SCHEMA).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_postgresql_with_kept_answers() {
    suite_on(KEPT).await;
}

/// An answer that one process keeps ends with what another one acknowledges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_kept_ends_with_a_change_of_another_process() {
    let Some(server) = server().await else { return };
    let url = server.database("kept").await;
    let (one, other) = tokio::join!(connect_to(&url, KEPT), connect_to(&url, KEPT));
    let read =
        async |database: &Database| database.table::<Thing>().get(key("t", "a")).await.unwrap();
    for number in 1..50 {
        let (writes, reads) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        suite::put(writes, "a", number).await;
        assert_eq!(read(reads).await, Some(thing(number)));
        assert_eq!(read(reads).await, Some(thing(number)));
    }
}

/// A request that asks once is as of its first look, until it writes, finds another one before it, or forgets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_asks_once_sees_its_own_changes_and_those_that_hinder_it() {
    let Some(server) = server().await else { return };
    let url = server.database("once").await;
    let (one, other) = tokio::join!(connect_to(&url, KEPT), connect_to(&url, KEPT));
    let read = async || one.table::<Thing>().get(key("t", "a")).await.unwrap();
    // Another request is another task.
    let put = async |number| {
        let other = other.clone();
        tokio::spawn(async move { suite::put(&other, "a", number).await }).await.unwrap();
    };
    put(1).await;
    sql::at_one_count(async {
        assert_eq!(read().await, Some(thing(1)));
        put(2).await;
        assert_eq!(read().await, Some(thing(1)), "as of the first look");
        sql::forget();
        assert_eq!(read().await, Some(thing(2)));
        put(3).await;
        let mut batch = Batch::new();
        batch.expect(&one.table(), key("t", "a"), &thing(2));
        batch.put(&one.table(), key("t", "a"), &thing(4));
        assert_eq!(one.commit(batch).await, Err(StoreError::Conflict { table: "things" }));
        assert_eq!(read().await, Some(thing(3)));
        suite::put(&one, "a", 5).await;
        assert_eq!(read().await, Some(thing(5)));
    })
    .await;
    assert_eq!(read().await, Some(thing(5)));
    put(6).await;
    assert_eq!(read().await, Some(thing(6)), "without a request each look asks");
}

/// Few batches wait for a row that another transaction holds: all others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_wait_for_a_row_hold_up_no_others() {
    let Some(server) = server().await else { return };
    let url = server.database("held").await;
    let database = connect(&url).await;
    suite::put(&database, "held", 1).await;
    let hold = "SELECT 1 FROM things WHERE name = 'held' FOR UPDATE";
    let mut held = Transaction::begin(&url, hold).await;
    let mut waiting = Vec::new();
    for number in 2..6 {
        let one = database.clone();
        waiting.push(tokio::spawn(async move { suite::put(&one, "held", number).await }));
        // Not in one transaction with it.
        held.hinders(number - 1).await;
        suite::put(&database, "free", 10 + number).await;
        assert!(waiting.iter().all(|one| !one.is_finished()), "{number}");
    }
    drop(held);
    for one in waiting {
        one.await.unwrap();
    }
}

/// Two transactions that demand a row which neither writes do not wait for each other; one that writes it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_only_demanded_is_shared() {
    let Some(server) = server().await else { return };
    let url = server.database("shared").await;
    let database = connect(&url).await;
    suite::put(&database, "owner", 1).await;
    let demand = "SELECT 1 FROM things WHERE name = 'owner' FOR SHARE";
    let mut held = Transaction::begin(&url, demand).await;
    let mut batch = Batch::new();
    batch.expect(&database.table(), key("t", "owner"), &thing(1));
    assert_eq!(database.commit(batch).await, Ok(()));
    let writer = {
        let database = database.clone();
        tokio::spawn(async move { suite::put(&database, "owner", 2).await })
    };
    held.hinders(1).await;
    assert!(!writer.is_finished());
    drop(held);
    writer.await.unwrap();
}

async fn suite_on(schema: Schema) {
    let Some(server) = server().await else { return };
    let fresh = async |name: &str| connect_to(&server.database(name).await, schema).await;
    let connect = async |url: &str| connect_to(url, schema).await;
    suite::rows_come_back_by_key_and_in_order(&fresh("a").await).await;
    suite::a_batch_whose_expectations_do_not_hold_changes_nothing(&fresh("b").await).await;
    suite::batches_that_wait_together_are_answered_apart(&fresh("c").await).await;
    suite::numbers_and_values_that_no_column_holds_are_refused(&fresh("d").await).await;
    suite::a_closed_database_says_so(&fresh("e").await).await;
    let url = server.database("f").await;
    let both = tokio::join!(connect(&url), connect(&url));
    suite::changes_that_rest_on_what_was_read_lose_nothing([&both.0, &both.1]).await;
    suite::one_of_many_adds_a_row([&both.0, &both.1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_make_the_tables_once() {
    let Some(server) = server().await else { return };
    let url = server.database("many").await;
    let each = (0..6).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { connect(&url).await })
    });
    for one in each.collect::<Vec<_>>() {
        suite::put(&one.await.unwrap(), "a", 1).await;
    }
    let newer = Database::connect(&url, &Trust::default(), NEXT).await.unwrap();
    assert!(newer.table::<Thing>().contains(key("t", "a")).await.unwrap());
    let older = Database::connect(&url, &Trust::default(), SCHEMA).await.err();
    assert_eq!(older, Some(StoreError::Newer { found: 2, known: 1 }));
}

/// A process that was there before the tables became newer writes nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_an_older_version_writes_nothing_more() {
    let Some(server) = server().await else { return };
    let url = server.database("older").await;
    let old = connect(&url).await;
    suite::put(&old, "a", 1).await;
    let newer = Database::connect(&url, &Trust::default(), NEXT).await.unwrap();
    let mut batch = Batch::new();
    batch.put(&old.table(), key("t", "a"), &thing(2));
    let refused = old.commit(batch).await;
    assert_eq!(refused, Err(StoreError::Newer { found: 2, known: 1 }));
    assert!(!old.is_healthy());
    let kept = newer.table::<Thing>().get(key("t", "a")).await.unwrap();
    assert_eq!(kept, Some(thing(1)));
}

/// While the server is away every call has an error, and none hangs; what was answered before is there after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_the_server() {
    let Some(mut server) = server().await else { return };
    let database = connect(&server.database("killed").await).await;
    let mut answered = 0;
    for round in 0..3u64 {
        let writer = {
            let database = database.clone();
            tokio::spawn(async move {
                let mut done = Vec::new();
                for number in 0.. {
                    let size = round * 1_000_000 + number;
                    let mut batch = Batch::new();
                    batch.insert(&database.table(), key("t", &size.to_string()), &thing(size));
                    match database.commit(batch).await {
                        Ok(()) => done.push(size),
                        Err(_) => return done,
                    }
                }
                done
            })
        };
        while database.table::<Thing>().count().await.unwrap() < answered + 20 {
            tokio::task::yield_now().await;
        }
        server.kill();
        let done = writer.await.unwrap();
        assert!(database.table::<Thing>().count().await.is_err());
        assert!(!database.is_healthy());
        server.go_on().await;
        for size in &done {
            let found = database.table::<Thing>().get(key("t", &size.to_string())).await;
            assert_eq!(found.unwrap(), Some(thing(*size)), "round {round}");
        }
        // Without a call: a process that is not ready gets none.
        while !database.is_healthy() {
            tokio::task::yield_now().await;
        }
        answered = database.table::<Thing>().count().await.unwrap();
    }
}

/// A server on another machine is not spoken to in plaintext.
#[tokio::test]
async fn another_machine_is_spoken_to_over_tls_alone() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut first = [0; 8];
        tokio::io::AsyncReadExt::read_exact(&mut socket, &mut first).await.unwrap();
        // "No TLS here."
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"N").await.unwrap();
        first
    });
    let url = format!("host=db.example hostaddr=127.0.0.1 port={port} user=u sslmode=disable");
    let refused = Database::connect(&url, &Trust::default(), SCHEMA).await.err().unwrap();
    assert!(matches!(&refused, StoreError::Io(why) if why.contains("TLS")), "{refused}");
    // The name says nothing of the machine that is dialled.
    for url in ["host=localhost hostaddr=192.0.2.1", "hostaddr=192.0.2.1"] {
        let url = format!("{url} user=u sslmode=disable");
        assert!(Remote::new(&url, &Trust::default(), ("", 0), &[]).unwrap().needs_tls(), "{url}");
    }
    // SSLRequest of the protocol, section 55.7.
    assert_eq!(asked.await.unwrap(), [0, 0, 0, 8, 4, 210, 22, 47]);
}

/// A server that stands still holds its callers up, and loses nothing when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stood_still_goes_on() {
    let Some(server) = server().await else { return };
    let database = connect(&server.database("frozen").await).await;
    suite::put(&database, "before", 1).await;
    server.freeze();
    let waiting = (0..20u64).map(|number| {
        let database = database.clone();
        tokio::spawn(async move { suite::put(&database, &number.to_string(), 10 + number).await })
    });
    let waiting: Vec<_> = waiting.collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.iter().all(|one| !one.is_finished()));
    server.thaw();
    for one in waiting {
        one.await.unwrap();
    }
    assert_eq!(database.table::<Thing>().count().await.unwrap(), 21);
    database.close().await.unwrap();
}
