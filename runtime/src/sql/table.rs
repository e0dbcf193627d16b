//! Tables: a record for each key. The statements are made from the names of the columns.

use std::fmt::Write;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::batch::Statement;
use super::database::Database;
use super::value::{sum_of, Row, Value, SUM};
use crate::limits;
use crate::store::StoreError;

/// The values of the columns of a key, or of the first of them.
pub type Key = Vec<Value>;

/// The rows of one table.
pub trait Record: Sized + Send + 'static {
    /// The table.
    const TABLE: &'static str;
    /// The columns of the key, in their order.
    const KEY: &'static [&'static str];
    /// The other columns.
    const COLUMNS: &'static [&'static str];

    /// Indexes, each with its columns in their order, by which [`Table::find`] finds rows. A planner without statistics may
    /// prefer the order of the keys, and read far more.
    const INDEXES: &'static [(&'static str, &'static [&'static str])] = &[];

    /// The values of [`Record::COLUMNS`].
    fn values(&self) -> Vec<Value>;

    /// Reads [`Record::COLUMNS`].
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    fn read(row: &mut Row) -> Result<Self, StoreError>;
}

/// A table of a database: read here, written by batches.
pub struct Table<R> {
    database: Database,
    sql: Arc<Sql>,
    record: PhantomData<fn() -> R>,
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self { database: self.database.clone(), sql: Arc::clone(&self.sql), record: PhantomData }
    }
}

/// The statements that every row needs.
struct Sql {
    get: Arc<str>,
    finds: Arc<str>,
    put: Arc<str>,
    insert: Arc<str>,
    delete: Arc<str>,
    count: Arc<str>,
}

impl<R: Record> Table<R> {
    pub(super) fn new(database: Database) -> Self {
        let (table, key) = (R::TABLE, equal(R::KEY, 1));
        let all = [R::KEY, R::COLUMNS, &[SUM]].concat();
        let insert =
            format!("INSERT INTO {table} ({}) VALUES ({})", all.join(", "), numbers(all.len()));
        let columns = [R::COLUMNS, &[SUM]].concat();
        let set = columns.iter().map(|column| format!("{column} = excluded.{column}"));
        let set = set.collect::<Vec<_>>().join(", ");
        let put = format!("{insert} ON CONFLICT ({}) DO UPDATE SET {set}", R::KEY.join(", "));
        let columns = columns.join(", ");
        let sql = Sql {
            get: format!("SELECT {columns} FROM {table} WHERE {key}").into(),
            finds: format!("SELECT 1 FROM {table} WHERE {key}").into(),
            put: put.into(),
            insert: insert.into(),
            delete: format!("DELETE FROM {table} WHERE {key}").into(),
            count: format!("SELECT COUNT(*) FROM {table}").into(),
        };
        Self { database, sql: Arc::new(sql), record: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        R::TABLE
    }

    /// The row with this key.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Closed`], [`StoreError::Damaged`].
    pub async fn get(&self, key: Key) -> Result<Option<R>, StoreError> {
        let get = self.statement(&self.sql.get, key.clone());
        let Some(row) = self.database.query(get, 1).await?.into_iter().next() else {
            return Ok(None);
        };
        let known = sum_of(R::KEY.iter().copied().zip(&key));
        R::read(&mut row.whole(known, R::COLUMNS)?).map(Some)
    }

    /// Whether there is a row with this key.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn contains(&self, key: Key) -> Result<bool, StoreError> {
        let rows = self.database.query(self.finds(key), 1).await?;
        Ok(!rows.is_empty())
    }

    /// At most `limit` rows (and at most [`limits::STORE_SCAN_ROWS`]) whose keys begin with `prefix`, in the order of their
    /// keys, from the first one behind `after`.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn scan(
        &self,
        prefix: &[Value],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Vec<(Key, R)>, StoreError> {
        if prefix.len() >= R::KEY.len() && after.is_some() {
            // One row at most has all of a key, and none is behind it.
            return Ok(Vec::new());
        }
        self.scan_whole(prefix, after, limit.min(limits::STORE_SCAN_ROWS)).await
    }

    /// As [`Table::scan`], and as of one moment however many rows there are: for parts of a table whose size something else
    /// bounds.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn scan_whole(
        &self,
        prefix: &[Value],
        after: Option<&[Value]>,
        most: usize,
    ) -> Result<Vec<(Key, R)>, StoreError> {
        let named = R::KEY.iter().copied().zip(prefix.iter().cloned());
        self.rows(&named.collect::<Vec<_>>(), after, most).await
    }

    /// At most `limit` rows of which these columns have these values, in the order of their keys, from the first one behind
    /// `after`, a whole key. An index should begin with these columns.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn find(
        &self,
        columns: &[(&'static str, Value)],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Vec<(Key, R)>, StoreError> {
        self.rows(columns, after, limit.min(limits::STORE_SCAN_ROWS)).await
    }

    /// At most `limit` rows of which `column` is at most `most`, the lowest first. An index should begin with it.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn up_to(
        &self,
        column: &'static str,
        most: u64,
        limit: usize,
    ) -> Result<Vec<(Key, R)>, StoreError> {
        let limit = limit.min(limits::STORE_SCAN_ROWS);
        let (all, table) = (Self::all().join(", "), R::TABLE);
        let sql =
            format!("SELECT {all} FROM {table} WHERE {column} <= $1 ORDER BY {column} LIMIT $2");
        // No column holds more.
        let most = Value::Int(i64::try_from(most).unwrap_or(i64::MAX));
        let values = vec![most, count_of(limit)];
        self.read(self.statement(&sql.into(), values), limit).await
    }

    /// At most `limit` rows of which these columns have these values and `column` is in the range, the lowest first. An index
    /// should begin with them, in this order.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn find_within(
        &self,
        columns: &[(&'static str, Value)],
        (column, range): (&'static str, RangeInclusive<u64>),
        limit: usize,
    ) -> Result<Vec<(Key, R)>, StoreError> {
        let limit = limit.min(limits::STORE_SCAN_ROWS);
        let (names, mut values): (Vec<&str>, Vec<Value>) = columns.iter().cloned().unzip();
        let (all, table, wanted) = (Self::all().join(", "), R::TABLE, equal(&names, 1));
        let and = if names.is_empty() { "" } else { " AND " };
        let at = values.len() + 1;
        let (to, last) = (at + 1, at + 2);
        let sql = format!(
            "SELECT {all} FROM {table} WHERE {wanted}{and}{column} BETWEEN ${at} AND ${to}
             ORDER BY {column} LIMIT ${last}"
        );
        let (from, to) = range.into_inner();
        values.extend([from.into(), to.into(), count_of(limit)]);
        self.read(self.statement(&sql.into(), values), limit).await
    }

    /// Of the rows of which these columns have these values the one with the highest `column`; rows where it is NULL do not
    /// count. An index should begin with them, in this order.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn highest(
        &self,
        columns: &[(&'static str, Value)],
        column: &'static str,
    ) -> Result<Option<(Key, R)>, StoreError> {
        let (names, values): (Vec<&str>, Vec<Value>) = columns.iter().cloned().unzip();
        let (all, table, wanted) = (Self::all().join(", "), R::TABLE, equal(&names, 1));
        let sql = format!(
            "SELECT {all} FROM {table} WHERE {wanted} AND {column} IS NOT NULL
             ORDER BY {column} DESC LIMIT 1"
        );
        Ok(self.read(self.statement(&sql.into(), values), 1).await?.into_iter().next())
    }

    async fn rows(
        &self,
        columns: &[(&'static str, Value)],
        after: Option<&[Value]>,
        most: usize,
    ) -> Result<Vec<(Key, R)>, StoreError> {
        self.read(self.scanning(columns, after, most), most).await
    }

    async fn read(&self, query: Statement, most: usize) -> Result<Vec<(Key, R)>, StoreError> {
        let names = [R::KEY, R::COLUMNS].concat();
        let rows = self.database.query(query, most).await?;
        rows.into_iter()
            .map(|row| {
                let mut row = row.whole(0, &names)?;
                let key = R::KEY.iter().map(|_| row.value()).collect::<Result<Key, _>>()?;
                Ok((key, R::read(&mut row)?))
            })
            .collect()
    }

    fn all() -> Vec<&'static str> {
        [R::KEY, R::COLUMNS, &[SUM]].concat()
    }

    /// The row with the highest key.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn last(&self) -> Result<Option<(Key, R)>, StoreError> {
        let (all, table) = (Self::all().join(", "), R::TABLE);
        let order: Vec<String> = R::KEY.iter().map(|column| format!("{column} DESC")).collect();
        let sql = format!("SELECT {all} FROM {table} ORDER BY {} LIMIT 1", order.join(", "));
        let rows = self.read(self.statement(&sql.into(), Vec::new()), 1).await?;
        Ok(rows.into_iter().next())
    }

    /// All rows whose keys begin with `prefix`, in pages of [`limits::SQL_WALK_ROWS`]: a commit may come between two of them.
    #[must_use]
    pub fn walk(&self, prefix: &[Value]) -> Walk<'_, R> {
        Walk { table: Some(self), prefix: prefix.to_vec(), after: None }
    }

    /// As [`Table::walk`], from the first row behind `after`.
    #[must_use]
    pub fn walk_after(&self, after: Key) -> Walk<'_, R> {
        Walk { table: Some(self), prefix: Vec::new(), after: Some(after) }
    }

    /// How many rows there are. Reads the whole table: not for a request path.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn count(&self) -> Result<u64, StoreError> {
        let statement = self.statement(&self.sql.count, Vec::new());
        // Not on the thread that asks, since all of the table is read.
        let rows = self.database.query(statement, usize::MAX).await?;
        rows.into_iter().next().map_or(Ok(0), |mut row| row.number())
    }

    /// How many rows have these values and a `column` above `above`, and fulfil the condition of a partial index, which stands
    /// here as it stands there. Reads all that it counts of the index: not for every request.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn count_above(
        &self,
        (index, condition): (&'static str, &'static str),
        columns: &[(&'static str, Value)],
        (column, above): (&'static str, u64),
    ) -> Result<u64, StoreError> {
        let (names, mut values): (Vec<&str>, Vec<Value>) = columns.iter().cloned().unzip();
        let by =
            if self.database.is_sqlite() { format!(" INDEXED BY {index}") } else { String::new() };
        let (table, wanted) = (R::TABLE, equal(&names, 1));
        // No column holds more.
        values.push(Value::Int(i64::try_from(above).unwrap_or(i64::MAX)));
        let last = values.len();
        let sql = format!(
            "SELECT COUNT(*) FROM {table}{by} WHERE {wanted} AND {column} > ${last} AND {condition}"
        );
        // Not on the thread that asks, since many rows are read.
        let rows = self.database.query(self.statement(&sql.into(), values), usize::MAX).await?;
        rows.into_iter().next().map_or(Ok(0), |mut row| row.number())
    }

    fn scanning(
        &self,
        columns: &[(&'static str, Value)],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Statement {
        let (all, table, order) = (Self::all().join(", "), R::TABLE, R::KEY.join(", "));
        let (names, mut values): (Vec<&str>, Vec<Value>) = columns.iter().cloned().unzip();
        let mut wanted = equal(&names, 1);
        if let Some(after) = after {
            // Columns of the key that are given are the same in all rows.
            let rest = R::KEY.iter().zip(after).filter(|(name, _)| !names.contains(name));
            let (rest, behind): (Vec<&str>, Vec<Value>) =
                rest.map(|(name, value)| (*name, value.clone())).unzip();
            let and = if wanted.is_empty() { "" } else { " AND " };
            let places = numbers_from(values.len() + 1, rest.len());
            // Writing to a text does not fail.
            let _ = write!(wanted, "{and}({}) > ({places})", rest.join(", "));
            values.extend(behind);
        }
        let filter = if wanted.is_empty() { String::new() } else { format!(" WHERE {wanted}") };
        // A value, and no part of the text: connections keep each text prepared.
        values.push(count_of(limit));
        let last = values.len();
        let by = self.index_of(&names);
        let sql = format!("SELECT {all} FROM {table}{by}{filter} ORDER BY {order} LIMIT ${last}");
        self.statement(&sql.into(), values)
    }

    /// The index that begins with these columns, where the database is told which one to use.
    fn index_of(&self, columns: &[&str]) -> String {
        let begins = |index: &&(&str, &[&str])| index.1.starts_with(columns);
        // Rows that the key finds come in its order.
        let by_key = R::KEY.starts_with(columns);
        match R::INDEXES.iter().find(begins).filter(|_| !by_key) {
            Some((name, _)) if self.database.is_sqlite() => format!(" INDEXED BY {name}"),
            _ => String::new(),
        }
    }

    /// A row with its sum.
    fn row(key: Key, record: &R) -> Vec<Value> {
        let mut values = [key, record.values()].concat();
        values.push(sum_of([R::KEY, R::COLUMNS].concat().into_iter().zip(&values)).into());
        values
    }

    pub(super) fn put(&self, key: Key, record: &R) -> Statement {
        self.statement(&self.sql.put, Self::row(key, record))
    }

    pub(super) fn insert(&self, key: Key, record: &R) -> Statement {
        self.statement(&self.sql.insert, Self::row(key, record))
    }

    pub(super) fn delete(&self, key: Key) -> Statement {
        self.statement(&self.sql.delete, key)
    }

    pub(super) fn finds(&self, key: Key) -> Statement {
        self.statement(&self.sql.finds, key)
    }

    /// Finds the row when all columns are as in `record`.
    pub(super) fn finds_record(&self, key: Key, record: &R) -> Statement {
        let mut sql = self.sql.finds.to_string();
        let mut values = key;
        for (column, value) in R::COLUMNS.iter().zip(record.values()) {
            // Writing to a text does not fail.
            let _ = match value {
                Value::Null => write!(sql, " AND {column} IS NULL"),
                value => {
                    values.push(value);
                    write!(sql, " AND {column} = ${}", values.len())
                }
            };
        }
        self.statement(&sql.into(), values)
    }

    fn statement(&self, sql: &Arc<str>, values: Vec<Value>) -> Statement {
        Statement { table: R::TABLE, sql: Arc::clone(sql), values }
    }
}

/// See [`Table::walk`].
pub struct Walk<'a, R> {
    /// `None` when there is no further page.
    table: Option<&'a Table<R>>,
    prefix: Key,
    /// The key before the next page.
    after: Option<Key>,
}

impl<R: Record> Walk<'_, R> {
    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn next(&mut self) -> Result<Option<Vec<(Key, R)>>, StoreError> {
        let Some(table) = self.table else { return Ok(None) };
        let page = table.scan(&self.prefix, self.after.as_deref(), limits::SQL_WALK_ROWS).await?;
        self.after = page.last().map(|(key, _)| key.clone());
        if page.len() < limits::SQL_WALK_ROWS {
            self.table = None;
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

/// A limit as a value.
fn count_of(rows: usize) -> Value {
    Value::Int(i64::try_from(rows).unwrap_or(i64::MAX))
}

/// `a = $1 AND b = $2`.
fn equal(columns: &[&str], first: usize) -> String {
    let each = columns.iter().enumerate();
    each.map(|(at, column)| format!("{column} = ${}", first + at)).collect::<Vec<_>>().join(" AND ")
}

/// `$1, $2`.
fn numbers(count: usize) -> String {
    numbers_from(1, count)
}

fn numbers_from(first: usize, count: usize) -> String {
    (first..first + count).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ")
}
