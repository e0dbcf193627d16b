//! The store of the services of these tests: SQLite in their folders, or PostgreSQL when TESSERA_TEST_DATABASE says so.
//! `tests/run` runs them on both.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tessera_provisioning::DatabaseSettings;
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::testing::Server;
use tessera_runtime::tls::Trust;
use tokio::sync::{Mutex, OnceCell};

/// The server of this process, and the URL of the database of each folder.
static SERVER: OnceCell<Option<Server>> = OnceCell::const_new();
static URLS: OnceLock<Mutex<HashMap<PathBuf, String>>> = OnceLock::new();
static COPIES: OnceLock<Mutex<HashMap<PathBuf, String>>> = OnceLock::new();

/// Whether the tests run on PostgreSQL.
pub fn is_chosen() -> bool {
    std::env::var("TESSERA_TEST_DATABASE").is_ok_and(|name| name == "postgres")
}

/// Whether a test of files in the data folder has nothing to look at; then it says so.
pub fn has_no_files() -> bool {
    if is_chosen() {
        println!("LEFT OUT: a test of the files of SQLite");
    }
    is_chosen()
}

/// The database of a data folder, when the tests run on PostgreSQL.
pub async fn of(folder: &Path) -> Option<DatabaseSettings> {
    if !is_chosen() {
        return None;
    }
    Some(settings(url_of(folder).await.expect("PostgreSQL is installed")))
}

/// A database of its own under this name; `None` where PostgreSQL is not installed.
pub async fn url_of(folder: &Path) -> Option<String> {
    let server = SERVER.get_or_init(start).await.as_ref()?;
    let mut urls = URLS.get_or_init(Mutex::default).lock().await;
    if let Some(url) = urls.get(folder) {
        return Some(url.clone());
    }
    let url = server.database(&format!("d{}", urls.len())).await;
    urls.insert(folder.to_owned(), url.clone());
    Some(url)
}

pub fn settings(url: String) -> DatabaseSettings {
    DatabaseSettings { url: Secret::new(url), trust: Trust::default(), key_file: None }
}

/// Copies the database of a folder whose service does not run. It is named by [`of`] from [`bring_back`] on.
pub async fn copy(folder: &Path) {
    let (server, from) = (server().await, url_of(folder).await.unwrap());
    let copy = server.copy(&from, &format!("{}_copy", name_of(&from))).await;
    COPIES.get_or_init(Mutex::default).lock().await.insert(folder.to_owned(), copy);
}

/// Puts a copy of the copy in the place of the database.
pub async fn bring_back(folder: &Path) {
    let copy = COPIES.get_or_init(Mutex::default).lock().await.get(folder).cloned().unwrap();
    let now = url_of(folder).await.unwrap();
    let back = server().await.copy(&copy, &format!("{}_b", name_of(&now))).await;
    URLS.get_or_init(Mutex::default).lock().await.insert(folder.to_owned(), back);
}

async fn server() -> &'static Server {
    SERVER.get_or_init(start).await.as_ref().expect("PostgreSQL is installed")
}

fn name_of(url: &str) -> &str {
    url.rsplit('=').next().unwrap()
}

/// Statics are not dropped: a shell waits for the end of this process, ends the server and removes its folder.
async fn start() -> Option<Server> {
    let folder = std::env::temp_dir().join(format!("tessera-postgres-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let server = Server::start(&folder).await;
    let wait = "while kill -0 $1 2>/dev/null; do sleep 1; done
        kill -QUIT $(head -n 1 $2/data/postmaster.pid); sleep 1; rm -rf $2";
    let mut shell = Command::new("sh");
    shell.args(["-c", wait, "sh", &std::process::id().to_string()]).arg(&folder);
    let quiet = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[allow(clippy::zombie_processes, reason = "it outlives this process")]
    quiet.spawn().unwrap();
    server
}
