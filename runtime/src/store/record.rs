//! Records at rest: the only file that names `serde_cbor`. Fields are stored by name, so that a record can gain fields.

use serde::de::DeserializeOwned;
use serde::Serialize;

use super::error::StoreError;

pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    serde_cbor::to_vec(record).map_err(|error| StoreError::Encode(error.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(
    table: &'static str,
    bytes: &[u8],
) -> Result<T, StoreError> {
    serde_cbor::from_slice(bytes)
        .map_err(|error| StoreError::Damaged { table, why: error.to_string() })
}
