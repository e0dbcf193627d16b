//! Resources of devices: CBOR or JSON.

pub(crate) mod endpoints;
mod json;
