//! Resources of devices: CBOR or JSON.

pub(crate) mod ace;
mod ace_json;
pub(crate) mod endpoints;
mod json;
