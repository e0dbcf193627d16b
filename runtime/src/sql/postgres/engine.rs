//! PostgreSQL: the only file that names `tokio-postgres`.

use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::future::join_all;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{to_sql_checked, IsNull, ToSql, Type};
use tokio_postgres::{Client, Config, Statement as Prepared};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::limits::SQL_CONNECT;
use crate::sql::batch::{Batch, Expect, Statement};
use crate::sql::value::{Row, Value};
use crate::store::StoreError;
use crate::tls::{client, Trust};

/// A server, and how it is spoken to.
pub(super) struct Server {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Server {
    /// The server of this URL. One on another machine must speak TLS.
    pub(super) fn new(url: &str, trust: &Trust) -> Result<Self, StoreError> {
        let refused = |why: String| StoreError::Io(format!("the URL of the database: {why}"));
        let mut config = Config::from_str(url).map_err(|error| refused(error.to_string()))?;
        if !trust.in_clear && !config.get_hosts().iter().all(is_here) {
            config.ssl_mode(SslMode::Require);
        }
        config.connect_timeout(SQL_CONNECT).application_name("tessera");
        let tls = client::config(trust, None, b"postgresql")
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { config, tls: MakeRustlsConnect::new(tls) })
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
    /// Statements that the server has read. There are some for each table.
    prepared: HashMap<Arc<str>, Prepared>,
}

/// Why a group of batches was not written.
#[derive(Debug)]
pub(super) enum Failed {
    /// This batch: the others may be written without it.
    One(usize, StoreError),
    /// Transactions waited for each other: each batch alone may be written.
    Deadlock,
    /// All of them.
    All(StoreError),
}

impl Link {
    /// Connects; the task of the connection ends with it.
    pub(super) async fn connect(server: &Server) -> Result<Self, StoreError> {
        let (client, connection) =
            server.config.connect(server.tls.clone()).await.map_err(error)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        Ok(Self { client, prepared: HashMap::new() })
    }

    /// Whether it is of no more use.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Statements without values, one after the other.
    pub(super) async fn set(&self, statements: &str) -> Result<(), StoreError> {
        self.client.batch_execute(statements).await.map_err(error)
    }

    /// All rows of a query.
    pub(super) async fn rows(&mut self, query: &Statement) -> Result<Vec<Row>, StoreError> {
        let prepared =
            self.prepare(&query.sql).await.map_err(|failed| error_of(query.table, &failed))?;
        let values: Vec<&(dyn ToSql + Sync)> =
            query.values.iter().map(|value| value as _).collect();
        let found = self.client.query(&prepared, &values).await;
        let found = found.map_err(|failed| error_of(query.table, &failed))?;
        found.iter().map(|row| read(query.table, row)).collect()
    }

    /// Writes a group of batches in one transaction, sent at once: the server makes nothing of all when one fails, and then
    /// refuses all that follows.
    pub(super) async fn write(&mut self, group: &[&Batch]) -> Result<(), Failed> {
        let mut steps = Vec::new();
        for (number, batch) in group.iter().enumerate() {
            for expect in &batch.expects {
                steps.push((number, demand(expect)));
            }
            steps.extend(batch.writes.iter().map(|write| (number, write.clone())));
        }
        let mut prepared = Vec::with_capacity(steps.len());
        for (number, step) in &steps {
            let one = self.prepare(&step.sql).await;
            prepared
                .push(one.map_err(|failed| Failed::One(*number, error_of(step.table, &failed)))?);
        }
        let client = &self.client;
        // Requests leave in the order in which they are first polled, and this polls from the first to the last.
        let begin = client.batch_execute("BEGIN");
        let all = join_all(steps.iter().zip(&prepared).map(|((_, step), prepared)| async move {
            let values: Vec<&(dyn ToSql + Sync)> =
                step.values.iter().map(|value| value as _).collect();
            client.execute(prepared, &values).await
        }));
        let (begun, done, committed) =
            tokio::join!(biased; begin, all, client.batch_execute("COMMIT"));
        begun.map_err(|failed| Failed::All(error(failed)))?;
        for ((number, step), done) in steps.iter().zip(done) {
            if let Err(failed) = done {
                return Err(Failed::of(*number, step.table, &failed));
            }
        }
        committed.map_err(|failed| Failed::All(error(failed)))
    }

    async fn prepare(&mut self, sql: &Arc<str>) -> Result<Prepared, tokio_postgres::Error> {
        if let Some(prepared) = self.prepared.get(sql) {
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(sql).await?;
        self.prepared.insert(Arc::clone(sql), prepared.clone());
        Ok(prepared)
    }
}

/// Raises an error of the server when it does not hold. The row that it finds is locked until the end of the transaction.
fn demand(expect: &Expect) -> Statement {
    let Statement { table, sql, values } = expect.query.clone();
    let count = if expect.finds { "count(*)" } else { "(1 - count(*))" };
    let sql = format!("SELECT 1 / {count} FROM ({sql} FOR UPDATE) AS found").into();
    Statement { table, sql, values }
}

impl Failed {
    fn of(number: usize, table: &'static str, failed: &tokio_postgres::Error) -> Self {
        match failed.code() {
            Some(&SqlState::T_R_DEADLOCK_DETECTED) => Self::Deadlock,
            Some(_) => Self::One(number, error_of(table, failed)),
            None => Self::All(error_of(table, failed)),
        }
    }
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
        Some(&SqlState::DIVISION_BY_ZERO | &SqlState::UNIQUE_VIOLATION) => {
            StoreError::Conflict { table }
        }
        Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => {
            StoreError::Busy
        }
        Some(&SqlState::DISK_FULL) => StoreError::Full(why),
        _ => StoreError::Io(format!("database: {why}")),
    }
}
