//! The tables of a database, and the steps by which older ones become the present ones.

/// The tables of a database. One text serves both databases; see [`Dialect::render`].
#[derive(Clone, Copy)]
pub struct Schema {
    /// The name of the service whose data it is.
    pub name: &'static str,
    /// Each step makes the next version out of the one before. A step that was released is never changed.
    pub steps: &'static [&'static str],
    /// Small tables that are read for almost every request and seldom written: a process that has the database alone keeps
    /// their answers in memory until one of them is written.
    pub kept: &'static [&'static str],
}

/// The differences between the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL 15 and newer.
    Postgres,
}

impl Dialect {
    /// A step in the words of this database. `BIGINT`, `TEXT` and `BYTEA` are the only types; a table ends with `) ROWS;`
    /// and has the column `row_sum BIGINT NOT NULL`. A column that a later step adds is NULL in older rows.
    #[must_use]
    pub fn render(self, step: &str) -> String {
        match self {
            // Strict: a column holds nothing but its type. Without row ids the rows lie in the order of their keys.
            Self::Sqlite => step
                .replace("BIGINT", "INTEGER")
                .replace("BYTEA", "BLOB")
                .replace(") ROWS;", ") STRICT, WITHOUT ROWID;"),
            // The order of texts is that of their bytes on both.
            Self::Postgres => step.replace("TEXT", "TEXT COLLATE \"C\"").replace(") ROWS;", ");"),
        }
    }
}
