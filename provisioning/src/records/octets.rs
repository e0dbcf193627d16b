//! Hashes as hexadecimal text in JSON.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use tessera_token::encoding::hex;

pub(crate) fn serialize<S: Serializer, const N: usize>(
    bytes: &[u8; N],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex::encode(bytes))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
    from: D,
) -> Result<[u8; N], D::Error> {
    let bytes = hex::decode(&String::deserialize(from)?);
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| D::Error::custom("no hash"))
}
