//! PostgreSQL: the only file that names `tokio-postgres`.

use std::collections::HashMap;
use std::error::Error;
use std::future::{poll_fn, Future};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use futures_util::future::{maybe_done, FutureExt};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{to_sql_checked, IsNull, ToSql, Type};
use tokio_postgres::{Client, Config, Statement as Prepared};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::steps::{self, Step};
use crate::limits::{SQL_ANSWER, SQL_CONNECT, SQL_IDLE_IN_TRANSACTION, SQL_LOCK, SQL_STATEMENT};
use crate::sql::batch::{Batch, Statement};
use crate::sql::kept::is_changed;
use crate::sql::value::{Row, Value};
use crate::store::StoreError;
use crate::tls::{client, Trust};

/// A server, how it is spoken to, and the tables that are wanted there.
pub(in crate::sql) struct Server {
    config: Config,
    tls: MakeRustlsConnect,
    /// Name and version of the schema.
    wants: (&'static str, usize),
    /// Tables whose changes are counted.
    kept: &'static [&'static str],
}

/// Settings of a connection at the server: a process that stands still must not hold the rows of the others; and a plan that
/// was made while a table was small must not read all of it when it is large (plans are kept until statistics change).
fn settings() -> String {
    let [lock, statement, idle] =
        [SQL_LOCK, SQL_STATEMENT, SQL_IDLE_IN_TRANSACTION].map(|span| span.as_millis());
    format!(
        "-c lock_timeout={lock} -c statement_timeout={statement} \
         -c idle_in_transaction_session_timeout={idle} -c default_transaction_isolation=read\\ committed \
         -c enable_seqscan=off"
    )
}

impl Server {
    /// The server of this URL. One on another machine must speak TLS.
    pub(in crate::sql) fn new(
        url: &str,
        trust: &Trust,
        wants: (&'static str, usize),
        kept: &'static [&'static str],
    ) -> Result<Self, StoreError> {
        let refused = |why: String| StoreError::Io(format!("the URL of the database: {why}"));
        let mut config = Config::from_str(url).map_err(|error| refused(error.to_string()))?;
        let is_named_here = config.get_hosts().iter().all(is_here);
        let is_dialled_here = config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        if !(trust.in_clear || is_named_here && is_dialled_here) {
            config.ssl_mode(SslMode::Require);
        }
        config.connect_timeout(SQL_CONNECT).tcp_user_timeout(SQL_ANSWER);
        config.application_name("tessera").options(settings());
        let tls = client::config(trust, None, b"postgresql");
        let tls = tls.map_err(|error| refused(error.to_string()))?;
        Ok(Self { config, tls: MakeRustlsConnect::new(tls), wants, kept })
    }

    /// The name of the schema.
    pub(super) fn name(&self) -> &'static str {
        self.wants.0
    }

    /// Tables whose changes are counted.
    pub(super) fn kept(&self) -> &'static [&'static str] {
        self.kept
    }
}

#[cfg(test)]
impl Server {
    /// Whether it is spoken to over TLS alone.
    pub(in crate::sql) fn needs_tls(&self) -> bool {
        self.config.get_ssl_mode() == SslMode::Require
    }
}

/// Whether the way to it stays on this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// A connection to the server.
pub(super) struct Link {
    client: Client,
    /// Statements that the server has read, and how often each was used. There are some for each table.
    prepared: HashMap<Arc<str>, (Prepared, u64)>,
    wants: (&'static str, usize),
    kept: &'static [&'static str],
}

/// Uses after which a statement is prepared once more. The server keeps its plan, and of a table that was empty then it knew
/// no better than to read all rows of a tenant.
const PLANNED_ANEW: [u64; 4] = [64, 1_024, 16_384, 262_144];

const VERSIONS: &str = "tessera_version";

/// The query for the version of a schema.
pub(super) fn version_of(name: &str) -> Statement {
    Statement {
        table: VERSIONS,
        sql: "SELECT version FROM tessera_version WHERE service = $1".into(),
        values: vec![name.into()],
    }
}

/// The query for the count of changes of the tables whose answers are kept.
pub(super) fn changes_of(name: &str) -> Statement {
    Statement {
        table: VERSIONS,
        sql: "SELECT changes FROM tessera_version WHERE service = $1".into(),
        values: vec![name.into()],
    }
}

/// Why a group of batches was not written.
#[derive(Debug)]
pub(super) enum Failed {
    /// These batches: the others may be written without them.
    Some(Vec<usize>, StoreError),
    /// Transactions waited for each other: each batch alone may be written.
    Deadlock,
    /// All of them.
    All(StoreError),
}

impl Link {
    /// Connects; the task of the connection ends with it. The tables are looked at by the caller.
    pub(super) async fn connect(server: &Server) -> Result<Self, StoreError> {
        let connecting = server.config.connect(server.tls.clone());
        let (client, connection) = within(connecting).await?.map_err(error)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        let (wants, kept) = (server.wants, server.kept);
        let link = Self { client, prepared: HashMap::new(), wants, kept };
        // An answered change is on the disk, also when the settings of the role do not ask for that.
        link.set(
            "SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off'",
        )
        .await?;
        Ok(link)
    }

    /// As [`Link::connect`], to tables of the version that is wanted.
    pub(super) async fn open(server: &Server) -> Result<Self, StoreError> {
        let mut link = Self::connect(server).await?;
        let rows = link.rows(&version_of(server.wants.0)).await?;
        let found = rows.into_iter().next().map_or(Ok(0), |mut row| row.number())?;
        let known = server.wants.1;
        match usize::try_from(found).unwrap_or(usize::MAX) {
            found if found == known => Ok(link),
            found => Err(StoreError::Newer { found, known }),
        }
    }

    /// Whether it is of no more use.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Statements without values, one after the other.
    pub(super) async fn set(&self, statements: &str) -> Result<(), StoreError> {
        within(self.client.batch_execute(statements)).await?.map_err(error)
    }

    /// All rows of a query. After an error of which the outcome is unknown the link is of no more use.
    pub(super) async fn rows(&mut self, query: &Statement) -> Result<Vec<Row>, StoreError> {
        let of = |failed| error_of(query.table, &failed);
        let found = within(async {
            let prepared = self.prepare(&query.sql).await.map_err(of)?;
            fits(&prepared, query)?;
            self.client.query(&prepared, &values(query)).await.map_err(of)
        });
        found.await??.iter().map(|row| read(query.table, row)).collect()
    }

    /// Writes a group of batches in one transaction: all steps are sent at once, the server makes nothing of all when one
    /// fails, and then refuses all that follows.
    pub(super) async fn write(&mut self, group: &[&Batch]) -> Result<(), Failed> {
        match tokio::time::timeout(SQL_ANSWER, self.write_now(group)).await {
            Ok(written) => written,
            Err(_) => Err(Failed::All(no_answer())),
        }
    }

    async fn write_now(&mut self, group: &[&Batch]) -> Result<(), Failed> {
        let mut steps = vec![Step::of_all(self.version())];
        steps.extend(steps::of(group));
        if group.iter().any(|batch| is_changed(self.kept, batch)) {
            // Behind all others: no transaction waits for a row while it holds this one.
            steps.push(Step::of_all(self.counted()));
        }
        let mut prepared = Vec::with_capacity(steps.len());
        for Step { batches, statement: step } in &steps {
            let one = self.prepare(&step.sql).await.map_err(|failed| error_of(step.table, &failed));
            // A step that cannot be sent would be missing among those that are.
            let one = one.and_then(|one| fits(&one, step).map(|()| one));
            prepared.push(one.map_err(|error| Failed::of(batches, error))?);
        }
        let client = &self.client;
        // Awaited: without a transaction each step would count at once.
        client.batch_execute("BEGIN").await.map_err(|failed| Failed::All(error(failed)))?;
        let mut asked: Vec<_> = steps
            .iter()
            .zip(&prepared)
            .map(|(Step { statement: step, .. }, prepared)| {
                let run = async move { client.execute(prepared, &values(step)).await.map(drop) };
                Box::pin(maybe_done(run.boxed()))
            })
            .collect();
        asked.push(Box::pin(maybe_done(client.batch_execute("COMMIT").boxed())));
        // A request leaves when it is first polled: in their order, COMMIT last.
        poll_fn(|context| {
            for one in &mut asked {
                // The outcome is looked at below.
                let _ = one.as_mut().poll(context);
            }
            Poll::Ready(())
        })
        .await;
        let mut outcomes = Vec::with_capacity(asked.len());
        for mut one in asked {
            one.as_mut().await;
            outcomes.push(one.as_mut().take_output().unwrap_or(Ok(())));
        }
        for (step, outcome) in steps.iter().zip(&outcomes) {
            if let Err(failed) = outcome {
                return Err(Failed::by(step, failed, self.wants.1));
            }
        }
        match outcomes.pop() {
            Some(Err(failed)) => Err(Failed::All(error(failed))),
            _ => Ok(()),
        }
    }

    /// Counts a change of the tables whose answers are kept.
    fn counted(&self) -> Statement {
        let sql = "UPDATE tessera_version SET changes = changes + 1 WHERE service = $1";
        Statement { table: VERSIONS, sql: sql.into(), values: vec![self.wants.0.into()] }
    }

    /// Raises an error of the server when the tables are not of the version that is wanted: another process has brought
    /// them to a newer one.
    fn version(&self) -> Statement {
        let (name, version) = self.wants;
        let sql = "SELECT 1 / count(*) FROM tessera_version WHERE service = $1 AND version = $2";
        let version = Value::Int(i64::try_from(version).unwrap_or(i64::MAX));
        Statement { table: VERSIONS, sql: sql.into(), values: vec![name.into(), version] }
    }

    async fn prepare(&mut self, sql: &Arc<str>) -> Result<Prepared, tokio_postgres::Error> {
        if let Some((prepared, uses)) = self.prepared.get_mut(sql) {
            *uses += 1;
            if !PLANNED_ANEW.contains(uses) {
                return Ok(prepared.clone());
            }
        }
        let prepared = self.client.prepare(sql).await?;
        let uses = self.prepared.get(sql).map_or(1, |(_, uses)| *uses);
        self.prepared.insert(Arc::clone(sql), (prepared.clone(), uses));
        Ok(prepared)
    }
}

impl Failed {
    /// Of these batches, or of the step that stands for all of them.
    fn of(batches: &[usize], error: StoreError) -> Self {
        match error {
            StoreError::Io(_) => Self::All(error),
            error if batches.is_empty() => Self::All(error),
            error => Self::Some(batches.to_vec(), error),
        }
    }

    fn by(step: &Step<'_>, failed: &tokio_postgres::Error, known: usize) -> Self {
        let (batches, table) = (&step.batches, step.statement.table);
        match (failed.code(), batches.is_empty()) {
            (Some(&SqlState::T_R_DEADLOCK_DETECTED), _) => Self::Deadlock,
            (Some(&SqlState::DIVISION_BY_ZERO), true) => {
                Self::All(StoreError::Newer { found: known + 1, known })
            }
            (Some(_), false) => Self::Some(batches.clone(), error_of(table, failed)),
            _ => Self::All(error_of(table, failed)),
        }
    }
}

/// The values of a statement, as the client takes them.
fn values(statement: &Statement) -> Vec<&(dyn ToSql + Sync)> {
    statement.values.iter().map(|value| value as _).collect()
}

/// Whether the values are those that the statement has places for.
fn fits(prepared: &Prepared, statement: &Statement) -> Result<(), StoreError> {
    let is_of = |(value, ty): (&Value, &Type)| match value {
        Value::Null => true,
        Value::Int(_) => *ty == Type::INT8,
        Value::Text(_) => *ty == Type::TEXT,
        Value::Blob(_) => *ty == Type::BYTEA,
        Value::Unfit => false,
    };
    let (values, places) = (&statement.values, prepared.params());
    match values.len() == places.len() && values.iter().zip(places).all(is_of) {
        true => Ok(()),
        false => Err(StoreError::Encode(format!("values of another type for {}", statement.table))),
    }
}

/// The outcome of something that the server is asked for, within [`SQL_ANSWER`].
async fn within<T>(asked: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(SQL_ANSWER, asked).await.map_err(|_| no_answer())
}

fn no_answer() -> StoreError {
    StoreError::Io(format!("database: no answer within {SQL_ANSWER:?}"))
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, ty) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(number), &Type::INT8) => number.to_sql(ty, out),
            (Self::Text(text), &Type::TEXT) => text.to_sql(ty, out),
            (Self::Blob(bytes), &Type::BYTEA) => bytes.to_sql(ty, out),
            _ => Err(format!("the value is none of type {ty}").into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}

fn read(table: &'static str, row: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let value = |at: usize, column: &tokio_postgres::Column| {
        let value = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(at).map(|number| number.map(Value::Int)),
            Type::INT4 => {
                let number = row.try_get::<_, Option<i32>>(at);
                number.map(|number| number.map(|number| Value::Int(i64::from(number))))
            }
            Type::BYTEA => {
                row.try_get::<_, Option<Vec<u8>>>(at).map(|bytes| bytes.map(Value::Blob))
            }
            _ => row.try_get::<_, Option<String>>(at).map(|text| text.map(Value::Text)),
        };
        let value = value.map_err(|failed| error_of(table, &failed))?;
        Ok(value.unwrap_or(Value::Null))
    };
    let values = row.columns().iter().enumerate().map(|(at, column)| value(at, column));
    Ok(Row::new(table, values.collect::<Result<_, StoreError>>()?))
}

fn error(failed: tokio_postgres::Error) -> StoreError {
    error_of("", &failed)
}

fn error_of(table: &'static str, failed: &tokio_postgres::Error) -> StoreError {
    let why = match failed.as_db_error() {
        Some(told) => format!("{} ({})", told.message(), told.code().code()),
        None => failed.to_string(),
    };
    match failed.code() {
        Some(&SqlState::DIVISION_BY_ZERO) => StoreError::Conflict { table },
        // Class 23: a rule of the table.
        Some(code) if code.code().starts_with("23") => StoreError::Conflict { table },
        Some(
            &SqlState::T_R_SERIALIZATION_FAILURE
            | &SqlState::T_R_DEADLOCK_DETECTED
            | &SqlState::LOCK_NOT_AVAILABLE,
        ) => StoreError::Busy,
        Some(&SqlState::DISK_FULL) => StoreError::Full(why),
        _ => StoreError::Io(format!("database: {why}")),
    }
}
