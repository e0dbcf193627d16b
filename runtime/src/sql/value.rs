//! Values of columns, and rows as they are read.

use crate::store::{checksum, StoreError};

/// The column of the sum of a row, which every table has.
pub(super) const SUM: &str = "row_sum";

/// The value of a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// BLOB or BYTEA.
    Blob(Vec<u8>),
    /// A number above 2^63 - 1, which no column holds: a batch with it is refused.
    Unfit,
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Unfit, Self::Int)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Int(i64::from(flag))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Value {
    /// Whether it is a text with a zero byte, which PostgreSQL does not take.
    pub(super) fn has_zero(&self) -> bool {
        matches!(self, Self::Text(text) if text.contains('\0'))
    }

    fn sum(&self, column: &str) -> u32 {
        let column = column.as_bytes();
        match self {
            Self::Null | Self::Unfit => 0,
            Self::Int(number) => checksum::of(&[column, &[1], &number.to_be_bytes()]),
            Self::Text(text) => checksum::of(&[column, &[2], text.as_bytes()]),
            Self::Blob(bytes) => checksum::of(&[column, &[3], bytes]),
        }
    }

    /// Bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Int(_) | Self::Unfit => 8,
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
        }
    }
}

/// The sum of a row, of columns and values: SQLite has no checksum of its own. The order of columns does not count, and NULL
/// adds nothing, so that a column which a later version adds leaves the sums of older rows right.
pub(super) fn sum_of<'a>(columns: impl Iterator<Item = (&'a str, &'a Value)>) -> u32 {
    columns.fold(0, |sum, (name, value)| sum.wrapping_add(value.sum(name)))
}

/// A row, read from its first column to its last.
#[derive(Debug)]
pub struct Row {
    table: &'static str,
    values: std::vec::IntoIter<Value>,
}

impl Row {
    /// A row of this table.
    pub(super) fn new(table: &'static str, values: Vec<Value>) -> Self {
        Self { table, values: values.into_iter() }
    }

    /// Its values, from the first one that was not read.
    pub(super) fn rest(&self) -> &[Value] {
        self.values.as_slice()
    }

    /// The row without its sum, which is its last column, when that is the one of its values. `known` is the sum of the
    /// columns that the query named, `names` are those that it read.
    pub(super) fn whole(self, known: u32, names: &[&str]) -> Result<Self, StoreError> {
        let mut values: Vec<Value> = self.values.collect();
        let sum = values.pop();
        let read = sum_of(names.iter().copied().zip(&values));
        if sum == Some(known.wrapping_add(read).into()) {
            return Ok(Self::new(self.table, values));
        }
        let why = "its sum is not that of its values: the file was damaged".to_owned();
        Err(StoreError::Damaged { table: self.table, why })
    }

    /// The next column as it is.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] behind the last one.
    pub fn value(&mut self) -> Result<Value, StoreError> {
        self.values.next().ok_or_else(|| self.damaged("a column is missing"))
    }

    /// The next column, a number that is not negative.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn number(&mut self) -> Result<u64, StoreError> {
        self.maybe_number()?.ok_or_else(|| self.damaged("NULL in the place of a number"))
    }

    /// As [`Row::number`]; `None` for NULL.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn maybe_number(&mut self) -> Result<Option<u64>, StoreError> {
        match self.value()? {
            Value::Null => Ok(None),
            Value::Int(number) => {
                let number = u64::try_from(number);
                number.map(Some).map_err(|_| self.damaged("a negative number"))
            }
            _ => Err(self.damaged("no number")),
        }
    }

    /// The next column, 0 or 1.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn flag(&mut self) -> Result<bool, StoreError> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damaged("a flag that is neither 0 nor 1")),
        }
    }

    /// The next column, a text.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn text(&mut self) -> Result<String, StoreError> {
        self.maybe_text()?.ok_or_else(|| self.damaged("NULL in the place of a text"))
    }

    /// As [`Row::text`]; `None` for NULL.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn maybe_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.value()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            _ => Err(self.damaged("no text")),
        }
    }

    /// The next column, bytes.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn blob(&mut self) -> Result<Vec<u8>, StoreError> {
        self.maybe_blob()?.ok_or_else(|| self.damaged("NULL in the place of bytes"))
    }

    /// As [`Row::blob`]; `None` for NULL.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn maybe_blob(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.value()? {
            Value::Null => Ok(None),
            Value::Blob(bytes) => Ok(Some(bytes)),
            _ => Err(self.damaged("no bytes")),
        }
    }

    /// The next column, bytes of a fixed length.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.blob()?.try_into().map_err(|_| self.damaged("bytes of another length"))
    }

    /// That this row says something that its table cannot hold.
    pub fn damaged(&self, why: impl Into<String>) -> StoreError {
        StoreError::Damaged { table: self.table, why: why.into() }
    }
}
