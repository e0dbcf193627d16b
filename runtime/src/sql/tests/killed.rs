//! A process that writes is killed, again and again.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::sqlite::open;
use super::{key, thing, Thing};
use crate::sql::Batch;

const KILLS: u64 = 8;
const FOLDER: &str = "TESSERA_SQL_FOLDER";
const ROUND: &str = "TESSERA_SQL_ROUND";

/// The rows of a batch: both or none.
fn pair(number: u64) -> [(String, u64); 2] {
    [(format!("{number}-a"), 2 * number), (format!("{number}-b"), 2 * number + 1)]
}

/// Writes until it is killed. Prints each number whose batch was answered.
async fn write(folder: &Path, round: u64) {
    let database = open(folder);
    let each = (0..16u64).map(|writer| {
        let database = database.clone();
        tokio::spawn(async move {
            for step in 0u64.. {
                let number = (round * 1_000_000) + writer * 50_000 + step;
                let mut batch = Batch::new();
                for (name, size) in pair(number) {
                    batch.insert(&database.table(), key("t", &name), &thing(size));
                }
                database.commit(batch).await.unwrap();
                writeln!(std::io::stdout().lock(), "{number}").unwrap();
            }
        })
    });
    for one in each.collect::<Vec<_>>() {
        one.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_kill() {
    if let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) {
        return write(Path::new(&folder), round.parse().unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut answered = BTreeSet::new();
    for round in 0..KILLS {
        let mut writer = Command::new(std::env::current_exe().unwrap());
        writer.args(["--exact", "sql::tests::killed::what_was_answered_outlives_a_kill"]);
        writer.arg("--nocapture").env(FOLDER, folder.path()).env(ROUND, round.to_string());
        let mut writer = writer.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        // The moment differs from round to round.
        let most = 100 + usize::try_from(round).unwrap() * 37;
        let numbers = |line: Result<String, std::io::Error>| line.unwrap().parse::<u64>().ok();
        answered.extend(lines.by_ref().filter_map(numbers).take(most));
        writer.kill().unwrap();
        // The lines that it wrote before it was killed; the last one may be cut.
        let mut rest: Vec<u64> = lines.filter_map(numbers).collect();
        rest.pop();
        answered.extend(rest);
        writer.wait().unwrap();

        let database = open(folder.path());
        let things = database.table::<Thing>();
        for number in &answered {
            for (name, size) in pair(*number) {
                assert_eq!(things.get(key("t", &name)).await.unwrap(), Some(thing(size)));
            }
        }
        assert_eq!(things.count().await.unwrap() % 2, 0, "half of a batch");
        assert_eq!(database.faults().unwrap(), Vec::<String>::new());
        database.close().await.unwrap();
    }
    assert!(answered.len() > 1_000, "{}", answered.len());
}
