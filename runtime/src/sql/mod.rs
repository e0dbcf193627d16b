//! The SQL store: records in tables, changes in batches that are made all or not at all.
//!
//! 1. A [`Schema`] says which tables there are. [`Database::open`] makes them, or brings older ones to its version.
//! 2. A [`Record`] is a row of one [`Table`]: read by key or in the order of the keys.
//! 3. A [`Batch`] puts, adds and deletes records, and says what must still be as it was read. [`Database::commit`] answers
//!    when it is durable.
//!
//! [`sqlite`] is a database in a folder of this machine, [`postgres`] one on a server that several processes share.

mod batch;
mod database;
mod kept;
mod one_count;
mod postgres;
mod schema;
mod sqlite;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use batch::Batch;
pub use database::Database;
pub use one_count::{at_one_count, forget};
#[cfg(any(test, feature = "testing"))]
pub use postgres::testing;
pub use schema::{Dialect, Schema};
pub use table::{Key, Record, Table, Walk};
pub use value::{Row, Value};
