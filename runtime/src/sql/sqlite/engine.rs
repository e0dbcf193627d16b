//! SQLite: the only file that names `rusqlite`.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};

use crate::limits::{SQL_CACHE_TO_READ, SQL_CACHE_TO_WRITE, SQL_LOG_BYTES, SQL_PREPARED};
use crate::sql::batch::{Batch, Statement};
use crate::sql::value::{sum_of, Row, Value, SUM};
use crate::store::StoreError;

/// A connection to the database in a file.
pub(super) struct Link(Connection);

impl Link {
    /// The connection that writes. The file is made when it is not there.
    ///
    /// `synchronous = FULL` syncs the log at each commit, before the commit returns.
    pub(super) fn to_write(path: &Path) -> Result<Self, StoreError> {
        let link =
            Self::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        link.set(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA journal_size_limit = {SQL_LOG_BYTES}; PRAGMA wal_autocheckpoint = 0;
             PRAGMA cache_size = -{SQL_CACHE_TO_WRITE}; PRAGMA cell_size_check = ON;"
        ))?;
        link.moves_at_close(false)?;
        Ok(link)
    }

    /// A connection that reads.
    pub(super) fn to_read(path: &Path) -> Result<Self, StoreError> {
        let link = Self::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        link.set(&format!(
            "PRAGMA query_only = ON; PRAGMA cell_size_check = ON; PRAGMA cache_size = -{SQL_CACHE_TO_READ};"
        ))?;
        Ok(link)
    }

    /// A connection to the file alone, without the log beside it.
    pub(super) fn to_file(path: &Path) -> Result<Self, StoreError> {
        let text =
            path.to_str().ok_or_else(|| StoreError::Io("the path is no UTF-8".to_owned()))?;
        let name = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Self::open(Path::new(&format!("file:{name}?immutable=1")), flags)
    }

    /// A connection that makes a copy, for which SQLite asks for the right to write.
    pub(super) fn to_copy(path: &Path) -> Result<Self, StoreError> {
        Self::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn open(path: &Path, flags: OpenFlags) -> Result<Self, StoreError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection = Connection::open_with_flags(path, flags).map_err(error)?;
        connection.set_prepared_statement_cache_capacity(SQL_PREPARED);
        // A plan does not depend on values: else each query of a range would be prepared anew.
        let stable = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
        connection.set_db_config(stable, true).map_err(error)?;
        // Another connection of this process may move the log at this moment.
        connection.busy_timeout(Duration::from_secs(10)).map_err(error)?;
        let link = Self(connection);
        link.set("PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;")?;
        Ok(link)
    }

    /// Statements without values, one after the other.
    pub(super) fn set(&self, statements: &str) -> Result<(), StoreError> {
        self.0.execute_batch(statements).map_err(error)
    }

    /// The first column of the first row, a number.
    pub(super) fn number(&self, query: &str) -> Result<i64, StoreError> {
        self.0.query_row(query, [], |row| row.get(0)).map_err(error)
    }

    /// Runs `work` in one transaction, which is over when it fails.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.step("BEGIN IMMEDIATE")?;
        let done = work(self).and_then(|done| self.step("COMMIT").map(|()| done));
        if done.is_err() && !self.0.is_autocommit() {
            // When this fails, the connection is closed next, which ends the transaction too.
            let _ = self.step("ROLLBACK");
        }
        done
    }

    /// A statement without values and rows, which is prepared once.
    fn step(&self, sql: &'static str) -> Result<(), StoreError> {
        let mut prepared = self.0.prepare_cached(sql).map_err(error)?;
        prepared.execute([]).map(drop).map_err(error)
    }

    /// Counts the commit that is made.
    pub(super) fn count(&self, commit: u64) -> Result<(), StoreError> {
        let mut prepared =
            self.0.prepare_cached("UPDATE tessera_store SET commits = ?1").map_err(error)?;
        let commit = i64::try_from(commit).unwrap_or(i64::MAX);
        prepared.execute([commit]).map(drop).map_err(error)
    }

    /// Whether all is as a batch expects it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not.
    pub(super) fn expected(&self, batch: &Batch) -> Result<(), StoreError> {
        for expect in &batch.expects {
            let found = self.rows(&expect.query, 1)?;
            if found.is_empty() == expect.finds {
                return Err(StoreError::Conflict { table: expect.query.table });
            }
        }
        Ok(())
    }

    /// Makes the changes of a batch, in a transaction that others share.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one breaks a rule of its table: then none of them is made, and those of the others
    /// stay.
    pub(super) fn make_or_nothing(&self, batch: &Batch) -> Result<(), StoreError> {
        self.step("SAVEPOINT batch")?;
        let made = batch.writes.iter().try_for_each(|write| self.run(write).map(drop));
        match made {
            Ok(()) => self.step("RELEASE batch"),
            Err(conflict @ StoreError::Conflict { .. }) => {
                self.step("ROLLBACK TO batch")?;
                self.step("RELEASE batch")?;
                Err(conflict)
            }
            // The transaction of all ends with it.
            Err(failed) => Err(failed),
        }
    }

    /// Runs a statement; gives how many rows it changed.
    pub(super) fn run(&self, statement: &Statement) -> Result<usize, StoreError> {
        let mut prepared = self.0.prepare_cached(&statement.sql).map_err(error)?;
        let done = prepared.execute(rusqlite::params_from_iter(&statement.values));
        done.map_err(|failed| error_of(statement.table, failed))
    }

    /// At most `most` rows of a query.
    pub(super) fn rows(&self, query: &Statement, most: usize) -> Result<Vec<Row>, StoreError> {
        let of = |failed| error_of(query.table, failed);
        let mut prepared = self.0.prepare_cached(&query.sql).map_err(of)?;
        let columns = prepared.column_count();
        let mut found = prepared.query(rusqlite::params_from_iter(&query.values)).map_err(of)?;
        let mut rows = Vec::new();
        while rows.len() < most {
            let Some(row) = found.next().map_err(of)? else { break };
            let values = (0..columns).map(|at| row.get_ref(at).map_err(of).and_then(value));
            rows.push(Row::new(query.table, values.collect::<Result<_, _>>()?));
        }
        Ok(rows)
    }

    /// Moves what it can of the log into the database; gives the pages of the log that are left to move. A reader that looks
    /// at an older state keeps those behind it.
    pub(super) fn checkpoint(&self) -> Result<i64, StoreError> {
        let pages = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (all, moved) =
            self.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], pages).map_err(error)?;
        Ok(all.saturating_sub(moved))
    }

    /// Whether the log is moved into the database, and goes, when this connection is the last one and closes. While it is not
    /// known whether the database is whole, the log stays as it is.
    pub(super) fn moves_at_close(&self, moves: bool) -> Result<(), StoreError> {
        let never = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        self.0.set_db_config(never, !moves).map(drop).map_err(error)
    }

    /// Moves all of the log into the database and makes both durable. No other connection may read.
    pub(super) fn move_all(&self) -> Result<(), StoreError> {
        let is_busy = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
        match self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], is_busy).map_err(error)? {
            true => Err(StoreError::Io("another program has the database open: end it".to_owned())),
            false => Ok(()),
        }
    }

    /// Pages of the log.
    pub(super) fn log_pages(&self) -> Result<i64, StoreError> {
        let pages = |row: &rusqlite::Row<'_>| row.get::<_, i64>(1);
        self.0.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages).map_err(error)
    }

    /// Copies the database as of one moment into a new file.
    pub(super) fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_str().ok_or_else(|| StoreError::Io("the path is no UTF-8".to_owned()))?;
        self.0.execute("VACUUM INTO ?1", [to]).map(drop).map_err(error)
    }

    /// The faults of the database, in words, of its structure and then of its rows; none when it is whole.
    pub(super) fn faults(&self) -> Result<Vec<String>, StoreError> {
        let faults = self.faults_of_structure()?;
        if !faults.is_empty() {
            return Ok(faults);
        }
        let mut faults = Vec::new();
        for table in self.tables()? {
            let mut wrong = 0usize;
            let read = self.each_row(&table, "", |_, is_whole| {
                wrong += usize::from(!is_whole);
                Ok(())
            });
            if let Err(failed) = read {
                faults.push(format!("table {table}: {failed}"));
            } else if wrong > 0 {
                faults.push(format!("table {table}: {wrong} rows are not as they were written"));
            }
        }
        Ok(faults)
    }

    fn faults_of_structure(&self) -> Result<Vec<String>, StoreError> {
        let mut check = self.0.prepare("PRAGMA integrity_check(20)").map_err(error)?;
        let told = check.query_map([], |row| row.get::<_, String>(0)).map_err(error)?;
        let told: Result<Vec<String>, StoreError> = told.map(|line| line.map_err(error)).collect();
        match told {
            Ok(told) => Ok(told.into_iter().filter(|line| line != "ok").collect()),
            Err(StoreError::Damaged { why, .. }) => Ok(vec![why]),
            Err(failed) => Err(failed),
        }
    }

    /// The names of the tables with rows of records.
    pub(super) fn tables(&self) -> Result<Vec<String>, StoreError> {
        let query =
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'tessera_store'
                     AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let mut tables = self.0.prepare(query).map_err(error)?;
        let names = tables.query_map([], |row| row.get::<_, String>(0)).map_err(error)?;
        names.map(|name| name.map_err(error)).collect()
    }

    /// Shows each row of a table to `visit`: the names and values of its columns, and whether its sum is theirs.
    pub(super) fn each_row(
        &self,
        table: &str,
        order: &str,
        mut visit: impl FnMut(&[(String, Value)], bool) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let query = format!("SELECT * FROM {table} {order}");
        let mut rows = self.0.prepare(&query).map_err(error)?;
        let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
        let mut found = rows.query([]).map_err(error)?;
        while let Some(row) = found.next().map_err(error)? {
            let values = (0..names.len()).map(|at| row.get_ref(at).map_err(error).and_then(value));
            let Ok(values) = values.collect::<Result<Vec<_>, _>>() else {
                visit(&[], false)?;
                continue;
            };
            let columns: Vec<(String, Value)> = names.iter().cloned().zip(values).collect();
            let sum = columns.iter().find(|(name, _)| name == SUM).map(|(_, sum)| sum);
            let others = columns.iter().filter(|(name, _)| name != SUM);
            let right = sum_of(others.map(|(name, value)| (name.as_str(), value)));
            visit(&columns, sum == Some(&right.into()))?;
        }
        Ok(())
    }

    /// Closes it: the last one of a database moves the log into it.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.0.close().map_err(|(_, failed)| error(failed))
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Int(number) => (*number).into(),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            // A batch refuses it, and no key of a query is a number of that size.
            Self::Unfit => i64::MAX.into(),
        })
    }
}

fn value(value: ValueRef<'_>) -> Result<Value, StoreError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => {
                return Err(StoreError::Damaged {
                    table: "",
                    why: "a text that is no UTF-8".to_owned(),
                })
            }
        },
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        ValueRef::Real(_) => {
            return Err(StoreError::Damaged { table: "", why: "a real number".to_owned() })
        }
    })
}

fn error(failed: rusqlite::Error) -> StoreError {
    error_of("", failed)
}

fn error_of(table: &'static str, failed: rusqlite::Error) -> StoreError {
    let why = failed.to_string();
    match failed.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(why),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(ErrorCode::ConstraintViolation) => StoreError::Conflict { table },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged { table, why }
        }
        Some(ErrorCode::TooBig) => StoreError::TooLarge("value"),
        _ => StoreError::Io(why),
    }
}
